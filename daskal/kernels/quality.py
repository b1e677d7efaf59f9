"""Pass 2 beyond the scores: quality of examples, of votes and of annotators, and majority votes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from daskal.kernels import consensus
from daskal.kernels.confidence import score_consensus, score_votes
from daskal.kernels.second_pass import (
    annotator_statistics,
    fixed_sums,
    model_votes,
    score_pool,
    score_tile,
)
from daskal.kernels.tiles import Tile, checked_pool, checked_tiles, row_bounds
from daskal.method.findings import Findings, raise_invalid
from daskal.method.merging import Cells, merge_in_pairs
from daskal.method.tallies import (
    AnnotatorStatistics,
    BlockColumns,
    ConfidenceSums,
    Largest,
    ModelVotes,
)
from daskal.method.values import (
    QUALITY_COLUMNS,
    Block,
    Columns,
    Floats,
    Ints,
    LabeledScores,
    PoolRule,
    Question,
    Scorer,
    SparseLabels,
    TieBreak,
    quality_meta,
    votes_meta,
)


class Answer(NamedTuple):
    """What is said of a tile."""

    tile: Tile
    scores: tuple[LabeledScores, ...]
    vote_quality: Floats  # (v,)
    findings: Findings


def answers(block: Block, question: Question) -> Iterator[Answer]:
    """The answer to a question, tile by tile."""
    for checked in checked_tiles(block, on_invalid=question.on_invalid):
        tile = checked.tile
        scored = []
        for rule, scorer in zip(question.rules, question.scorers, strict=True):
            scores = score_tile(checked, rule, question.on_invalid)
            if rule.quality_method == "crowdlab" and not scorer.plain:
                scores = rescore(tile, scores, scorer)
            scored.append(scores)
        with np.errstate(invalid="ignore"):
            votes = score_votes(
                question.vote_scorer, scored[0].posterior, tile.rows, tile.annotators, tile.classes
            )
        yield Answer(tile, tuple(scored), votes, checked.findings)


def rescore(tile: Tile, scores: LabeledScores, scorer: Scorer) -> LabeledScores:
    """Scores with the consensus quality by another method; a row without votes keeps its own."""
    with np.errstate(invalid="ignore"):
        quality = score_consensus(scorer, scores.posterior, scores.consensus_label)
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


def join(parts: Sequence[Columns], empty: Columns) -> Columns:
    """Columns of consecutive tiles as one; ``empty`` for no tiles."""
    if not parts:
        return empty
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def describe_block(block: Block, *, question: Question, quality: bool, votes: bool) -> Columns:
    """Return columns of a block: label quality, one entry a row, and votes, one entry a vote."""
    parts = [described(answer, question, quality, votes) for answer in answers(block, question)]
    nothing = (quality_meta(question.suffixes) if quality else {}) | (votes_meta() if votes else {})
    return join(parts, nothing)


def described(answer: Answer, question: Question, quality: bool, votes: bool) -> Columns:
    """Return what is asked of a tile."""
    columns = quality_columns(answer, question.suffixes) if quality else {}
    return columns | vote_columns(answer) if votes else columns


# --- states -----------------------------------------------------------------------------------


def answer_block(
    block: Block, *, question: Question, num_annotators: int, quality: bool, votes: bool
) -> BlockColumns:
    """Return all that is asked of a block, in one read; columns only where wanted."""
    parts = []
    findings = Findings()

    def statistics() -> Iterator[AnnotatorStatistics]:
        nonlocal findings
        for answer in answers(block, question):
            parts.append(described(answer, question, quality, votes))
            findings = findings.merge(answer.findings)
            main = answer.scores[0]
            yield annotator_statistics(
                answer.tile,
                main.consensus_label,
                main.consensus_quality_score,
                answer.vote_quality,
                num_annotators,
            )

    annotators = merge_in_pairs(statistics(), AnnotatorStatistics.zero(num_annotators))
    return BlockColumns(((block.first_row, join(parts, {})),), findings, annotators)


def confidence_block(block: Block, *, question: Question) -> ConfidenceSums:
    """Confidence in consensus labels and votes of a block, by class."""
    state = ConfidenceSums.zero(block.probs[0].shape[1])
    for answer in answers(block, question):
        main = answer.scores[0]
        state = state.merge(confidence_sums(answer.tile, main.consensus_label, main.posterior))
    return state


def confidence_sums(tile: Tile, labels: Ints, posterior: Floats) -> ConfidenceSums:
    """Return the sums of a tile with its consensus labels and posterior."""
    num_classes = len(posterior)
    voted = np.flatnonzero(tile.num_annotations)
    given = (tile.annotators.astype(np.int64) + 1) * num_classes + tile.classes
    values = [posterior[labels[voted], voted], posterior[tile.classes, tile.rows]]
    cells, at = np.unique(np.concatenate([labels[voted], given]), return_inverse=True)
    num = np.bincount(at, minlength=len(cells))
    sums = fixed_sums(at, np.concatenate(values), len(cells))
    return ConfidenceSums(num_classes, Cells(cells, num[np.newaxis], sums))


def majority_block(block: Block, *, tie_break: TieBreak) -> Ints:
    """Majority vote of each row of a block; a row without votes goes by the tie-breaks alone."""
    labels = [np.empty(0, dtype=np.int64)]
    for tile, _, _ in checked_tiles(block, on_invalid="keep"):
        probs = tile.probs.mean(axis=0)
        labels.append(consensus.majority_vote(tile, probs, tie_break, unvoted=True)[0])
    return np.concatenate(labels)


def largest_label_block(block: Block) -> Largest:
    """The largest label of a block, -1 for none."""
    labels = block.labels.classes if isinstance(block.labels, SparseLabels) else block.labels
    assert labels is not None
    finite = np.asarray(labels)[np.isfinite(labels)]
    # An unsigned type holds no -1.
    return Largest(int(finite.max()) if len(finite) else -1)


def count_model_votes(tile: Tile) -> ModelVotes:
    """Return the votes on a tile whose annotators are the models."""
    num_models = len(tile.probs)
    tied = tile.counts == tile.counts.max(axis=0)
    untied = (tied.sum(axis=0) == 1)[tile.rows]
    agrees = untied & (tile.classes == tied.argmax(axis=0)[tile.rows])
    return ModelVotes(
        tile.counts.sum(axis=1),
        np.bincount(tile.annotators[agrees], minlength=num_models),
        np.bincount(tile.annotators[untied], minlength=num_models),
    )


def model_votes_block(block: Block, *, temperature: Floats | None) -> ModelVotes:
    """How the models vote on a block of the pool."""
    state = ModelVotes.zero(len(block.probs), block.probs[0].shape[1])
    for start, stop in row_bounds(block):
        probs = checked_pool(block, start, stop).probs
        tile = model_votes(probs, temperature, block.first_row + start)
        state = state.merge(count_model_votes(tile))
    return state


def pool_columns_block(block: Block, *, rule: PoolRule) -> BlockColumns:
    """Return ActiveLab scores of a block of the pool as it is, and what is wrong with it."""
    found = Findings()
    scores = [np.empty(0)]
    for start, stop in row_bounds(block):
        probs, findings, *_ = checked_pool(block, start, stop)
        found = found.merge(findings)
        with np.errstate(invalid="ignore"):
            scores.append(score_pool(probs, rule, block.first_row + start))
    return BlockColumns(((block.first_row, {"score": np.concatenate(scores)}),), found)


def score_pool_block(block: Block, *, rule: PoolRule) -> Floats:
    """ActiveLab scores of a block of the pool; raises rows at fault."""
    found = pool_columns_block(block, rule=rule)
    raise_invalid(found.findings)
    return found.column("score")
