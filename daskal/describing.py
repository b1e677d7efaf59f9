"""Pass 2 beyond the scores: quality of examples, of votes and of annotators, and majority votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from daskal import kernels
from daskal.confidence import Scorer
from daskal.findings import Findings, raise_invalid
from daskal.gathering import Columns, ConfidenceSums, Gathered, Largest, ModelVotes
from daskal.kernels import Floats, Ints, LabeledScores, Rule, TieBreak, Tile
from daskal.scoring import score_tile
from daskal.statistics import Block, checked_pool, checked_tiles, row_bounds
from daskal.tallies import AnnotatorStatistics, merge_in_pairs
from daskal.votes import SparseLabels

QUALITY_COLUMNS = ("consensus_label", "consensus_quality_score", "annotator_agreement")


class Question(NamedTuple):
    """What is asked of labelled rows: the consensus by each rule, the first one in detail."""

    rules: tuple[Rule, ...]
    suffixes: tuple[str, ...]  # of the columns of each rule
    scorers: tuple[Scorer, ...]  # of the consensus by each rule
    vote_scorer: Scorer
    on_invalid: str


class Answer(NamedTuple):
    """What is said of a tile."""

    tile: Tile
    scores: tuple[LabeledScores, ...]
    vote_quality: Floats  # (v,)
    findings: Findings


def answers(block: Block, question: Question) -> Iterator[Answer]:
    """The answer to a question, tile by tile."""
    for checked in checked_tiles(block, keep_faulty=question.on_invalid == "keep"):
        tile = checked.tile
        scored = []
        for rule, scorer in zip(question.rules, question.scorers, strict=True):
            scores = score_tile(checked, rule, question.on_invalid)
            if rule.quality_method == "crowdlab" and not scorer.plain:
                scores = rescore(tile, scores, scorer)
            scored.append(scores)
        with np.errstate(invalid="ignore"):
            votes = question.vote_scorer.score_votes(
                scored[0].posterior, tile.rows, tile.annotators, tile.classes
            )
        yield Answer(tile, tuple(scored), votes, checked.findings)


def rescore(tile: Tile, scores: LabeledScores, scorer: Scorer) -> LabeledScores:
    """Scores with the consensus quality by another method; a row without votes keeps its own."""
    with np.errstate(invalid="ignore"):
        quality = scorer.score_consensus(scores.posterior, scores.consensus_label)
    keep = (tile.num_annotations == 0) | np.isnan(scores.consensus_quality_score)
    return scores._replace(
        consensus_quality_score=np.where(keep, scores.consensus_quality_score, quality)
    )


def quality_columns(answer: Answer, suffixes: Sequence[str]) -> Columns:
    """The columns of label quality, in the order in which cleanlab has them."""
    columns: Columns = {}
    for suffix, scores in zip(suffixes, answer.scores, strict=True):
        for name in QUALITY_COLUMNS:
            columns[name + suffix] = getattr(scores, name)
        columns.setdefault("num_annotations", answer.tile.num_annotations)
    return columns


def vote_columns(answer: Answer) -> Columns:
    """One entry a vote."""
    tile = answer.tile
    return {
        "vote_row": tile.global_rows[tile.rows],
        "vote_annotator": tile.annotators.astype(np.int64),
        "vote_label": tile.classes,
        "vote_quality": answer.vote_quality,
    }


def annotator_statistics(answer: Answer, num_annotators: int) -> AnnotatorStatistics:
    """How the annotators' votes of a tile stand to its consensus."""
    main = answer.scores[0]
    return AnnotatorStatistics.from_tile(
        answer.tile,
        main.consensus_label,
        main.consensus_quality_score,
        answer.vote_quality,
        num_annotators,
    )


def join(parts: Sequence[Columns], empty: Columns) -> Columns:
    """Columns of consecutive tiles as one; ``empty`` for no tiles."""
    if not parts:
        return empty
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# --- states -----------------------------------------------------------------------------------


def gather_block(
    block: Block, *, question: Question, num_annotators: int, quality: bool, votes: bool
) -> Gathered:
    """All that is asked of a block, in one read; columns only where wanted."""
    parts = []
    findings = Findings()

    def statistics() -> Iterator[AnnotatorStatistics]:
        nonlocal findings
        for answer in answers(block, question):
            columns = quality_columns(answer, question.suffixes) if quality else {}
            parts.append(columns | vote_columns(answer) if votes else columns)
            findings = findings.merge(answer.findings)
            yield annotator_statistics(answer, num_annotators)

    annotators = merge_in_pairs(statistics(), AnnotatorStatistics.zero(num_annotators))
    return Gathered(((block.first_row, join(parts, {})),), findings, annotators)


def confidence_block(block: Block, *, question: Question) -> ConfidenceSums:
    """Confidence in consensus labels and votes of a block, by class."""
    state = ConfidenceSums.zero(block.probs[0].shape[1])
    for answer in answers(block, question):
        main = answer.scores[0]
        state = state.merge(
            ConfidenceSums.from_tile(answer.tile, main.consensus_label, main.posterior)
        )
    return state


# --- columns of a lazy collection -------------------------------------------------------------


def quality_frame_block(block: Block, *, question: Question) -> pd.DataFrame:
    """Label quality of a block, one row an example, indexed by its row of the whole."""
    parts = [quality_columns(answer, question.suffixes) for answer in answers(block, question)]
    columns = join(parts, quality_meta(question.suffixes))
    return pd.DataFrame(columns, index=block_rows(block))


def block_rows(block: Block) -> pd.RangeIndex:
    """Rows of a block in the whole."""
    return pd.RangeIndex(block.first_row, block.first_row + len(block.probs[0]))


def quality_meta(suffixes: Sequence[str]) -> Columns:
    """Label quality of no examples."""
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    columns: Columns = {}
    for suffix in suffixes:
        columns |= {name + suffix: none for name in QUALITY_COLUMNS}
        columns[QUALITY_COLUMNS[0] + suffix] = whole
        columns.setdefault("num_annotations", whole)
    return columns


def votes_frame_block(block: Block, *, question: Question, annotators: pd.Index) -> pd.DataFrame:
    """Quality of the votes of a block, one row a vote, indexed by its row of the whole."""
    parts = [vote_columns(answer) for answer in answers(block, question)]
    return votes_frame(join(parts, votes_meta()), annotators)


def votes_meta() -> Columns:
    """Quality of no votes."""
    whole = np.zeros(0, dtype=np.int64)
    names = ("vote_row", "vote_annotator", "vote_label", "vote_quality")
    return {name: np.zeros(0) if name == "vote_quality" else whole for name in names}


def votes_frame(columns: Columns, annotators: pd.Index) -> pd.DataFrame:
    """Votes with their annotators' ids."""
    return pd.DataFrame(
        {
            "annotator": annotators[columns["vote_annotator"]],
            "label": columns["vote_label"],
            "quality": columns["vote_quality"],
        },
        index=columns["vote_row"],
    )


def wide_frame_block(block: Block, *, question: Question, columns: pd.Index) -> pd.DataFrame:
    """Quality of the votes of a block, one row an example and one column an annotator."""
    parts = [vote_columns(answer) for answer in answers(block, question)]
    votes = join(parts, votes_meta())
    return wide_frame(votes, block.first_row, block_rows(block), columns)


def wide_frame(votes: Columns, first_row: int, index: pd.Index, columns: pd.Index) -> pd.DataFrame:
    """Quality of votes as a matrix, NaN where there is no vote."""
    wide = np.full((len(index), len(columns)), np.nan)
    wide[votes["vote_row"] - first_row, votes["vote_annotator"]] = votes["vote_quality"]
    return pd.DataFrame(wide, index=index, columns=columns)


def majority_block(block: Block, *, tie_break: TieBreak) -> Ints:
    """Majority vote of each row of a block; a row without votes goes by the tie-breaks alone."""
    labels = [np.empty(0, dtype=np.int64)]
    for tile, _, _ in checked_tiles(block, keep_faulty=True):
        probs = tile.probs.mean(axis=0)
        labels.append(kernels.majority_vote(tile, probs, tie_break, bare=True)[0])
    return np.concatenate(labels)


def largest_label_block(block: Block) -> Largest:
    """The largest label of a block, -1 for none."""
    labels = block.labels.classes if isinstance(block.labels, SparseLabels) else block.labels
    assert labels is not None
    finite = np.asarray(labels)[np.isfinite(labels)]
    # An unsigned type holds no -1.
    return Largest(int(finite.max()) if len(finite) else -1)


# --- the pool of an ensemble ------------------------------------------------------------------


class PoolRule(NamedTuple):
    """Everything that scores the pool."""

    temperature: Floats
    model_weight: Floats
    mean_weight: float
    tie_break: TieBreak | None  # only for several models


def model_votes(probs: Floats, temperature: Floats, first_row: int) -> Tile:
    """The models of a (p, k, n) tile of the pool as the annotators of its rows."""
    with np.errstate(invalid="ignore"):
        scaled = kernels.scale_probs(probs, temperature)
    num_models, _, num_rows = scaled.shape
    return kernels.make_tile(
        scaled,
        np.repeat(np.arange(num_rows), num_models),
        np.tile(np.arange(num_models), num_rows),
        scaled.argmax(axis=1).T.ravel(),
        np.arange(first_row, first_row + num_rows),
    )


def model_votes_block(block: Block, *, temperature: Floats) -> ModelVotes:
    """How the models vote on a block of the pool."""
    state = ModelVotes.zero(len(block.probs), block.probs[0].shape[1])
    for start, stop in row_bounds(block):
        probs = checked_pool(block, start, stop).probs
        tile = model_votes(probs, temperature, block.first_row + start)
        state = state.merge(ModelVotes.from_tile(tile))
    return state


def score_pool(probs: Floats, rule: PoolRule, first_row: int) -> Floats:
    """ActiveLab score of each row of a (p, k, n) tile of the pool.

    Of several models, it is that of the class most of them are surest of, ties settled as those of
    annotators are.
    """
    temperature, model_weight, mean_weight, tie_break = rule
    if tie_break is None:
        return kernels.score_unlabeled(probs, temperature, model_weight, mean_weight)
    tile = model_votes(probs, temperature, first_row)
    labels, _ = kernels.majority_vote(tile, tile.probs.mean(axis=0), tie_break)
    every = np.arange(len(labels))
    confidence = np.zeros(len(labels))
    for model, weight in zip(tile.probs, model_weight, strict=True):
        confidence += model[labels, every] * weight
    return (confidence + mean_weight / len(tile.counts)) / (model_weight.sum() + mean_weight)


def gather_pool_block(block: Block, *, rule: PoolRule) -> Gathered:
    """ActiveLab scores of a block of the pool as it is, and what is wrong with it."""
    found = Findings()
    scores = [np.empty(0)]
    for start, stop in row_bounds(block):
        probs, findings, *_ = checked_pool(block, start, stop)
        found = found.merge(findings)
        with np.errstate(invalid="ignore"):
            scores.append(score_pool(probs, rule, block.first_row + start))
    return Gathered(((block.first_row, {"score": np.concatenate(scores)}),), found)


def score_pool_block(block: Block, *, rule: PoolRule) -> Floats:
    """ActiveLab scores of a block of the pool; raises rows at fault."""
    gathered = gather_pool_block(block, rule=rule)
    raise_invalid(gathered.findings)
    return gathered.column("score")
