"""Pass 2 beyond the scores: quality of examples, of votes and of annotators, and majority votes.

Axes: p models, n rows, k classes, m annotators, v votes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from daskal.kernels.compiling import read_only
from daskal.kernels.confidence import score_consensus, score_votes
from daskal.kernels.consensus import prepare_rule, prepare_temperature, prepare_tie_break
from daskal.kernels.label_counts import UNTIED, UNTIED_AGREEING, add_labels, make_counts
from daskal.kernels.pool import vote_majority
from daskal.kernels.scoring import ScoredRows
from daskal.kernels.second_pass import model_votes, score_pool_rows, score_tile
from daskal.kernels.tallying import AnnotatorCounts, Table, add_confidence
from daskal.kernels.tiles import Loader, Tile, check_tile, labeled_tiles
from daskal.method.findings import Findings, raise_invalid
from daskal.method.tallies import BlockColumns, ConfidenceSums, Largest, ModelVotes
from daskal.method.values import (
    QUALITY_COLUMNS,
    Block,
    Columns,
    Floats,
    Ints,
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
    scores: tuple[ScoredRows, ...]
    vote_quality: Floats  # (v,)


def answers(block: Block, question: Question, *, detail: bool = False) -> Iterator[Answer]:
    """Yield the answer to a question, tile by tile; in ``detail`` with the first posterior."""
    prepared = [prepare_rule(rule, len(block.probs)) for rule in question.rules]
    detail = detail or not question.vote_scorer.plain
    for tile in labeled_tiles(block, on_invalid=question.on_invalid):
        if question.on_invalid == "raise":
            raise_invalid(tile.findings)
        scored: list[ScoredRows] = []
        for rule, ready, scorer in zip(question.rules, prepared, question.scorers, strict=True):
            again = rule.quality_method == "crowdlab" and not scorer.plain
            wanted = again or (detail and not scored)
            scores = score_tile(tile, rule, ready, question.on_invalid, detail=wanted)
            scored.append(rescore(tile, scores, scorer) if again else scores)
        votes = scored[0].vote_quality
        if not question.vote_scorer.plain:
            votes = score_votes(question.vote_scorer, scored[0].posterior, tile.votes)
        yield Answer(tile, tuple(scored), votes)


def rescore(tile: Tile, scores: ScoredRows, scorer: Scorer) -> ScoredRows:
    """Return scores with the quality by another method; rows without votes keep theirs."""
    quality = score_consensus(scorer, scores.posterior, scores.label)
    keep = (tile.num_annotations == 0) | np.isnan(scores.quality)
    return scores._replace(quality=np.where(keep, scores.quality, quality))


def quality_columns(answer: Answer, suffixes: Sequence[str]) -> Columns:
    """The columns of label quality, in the order in which cleanlab has them."""
    columns: Columns = {}
    for suffix, scores in zip(suffixes, answer.scores, strict=True):
        found = (scores.label, scores.quality, scores.agreement)
        for name, column in zip(QUALITY_COLUMNS, found, strict=True):
            columns[name + suffix] = column
        columns.setdefault("num_annotations", answer.tile.num_annotations)
    return columns


def vote_columns(answer: Answer) -> Columns:
    """One entry a vote."""
    tile = answer.tile
    return {
        "vote_row": np.repeat(tile.global_rows, tile.num_annotations),
        "vote_annotator": tile.votes.annotators.astype(np.int64),
        "vote_label": tile.votes.classes.astype(np.int64),
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
    counts = AnnotatorCounts(num_annotators, block.probs[0].shape[1])
    for answer in answers(block, question):
        parts.append(described(answer, question, quality, votes))
        findings = findings.merge(answer.tile.findings)
        main = answer.scores[0]
        counts.add(answer.tile.votes, main.label, main.quality, answer.vote_quality)
    columns = ((block.first_row, join(parts, {})),)
    return BlockColumns(columns, findings, counts.statistics())


def confidence_block(block: Block, *, question: Question) -> ConfidenceSums:
    """Return the confidence in consensus labels and votes of a block, by class."""
    num_classes = block.probs[0].shape[1]
    table = Table((len(question.rules[0].tie_break.agreement) + 1) * num_classes)
    for answer in answers(block, question, detail=True):
        tile, main = answer.tile, answer.scores[0]
        table.make_room(len(tile.votes.classes) + len(tile))
        table.taken += add_confidence(
            tile.votes, read_only(main.label, np.int64), read_only(main.posterior),
            table.keys, table.values,
        )  # fmt: skip
    return ConfidenceSums(num_classes, table.cells(1))


def majority_block(block: Block, *, tie_break: TieBreak) -> Ints:
    """Return the majority vote of each row; one without votes goes by the tie-breaks alone."""
    labels = np.empty(len(block.probs[0]), dtype=np.int64)
    as_they_are = prepare_temperature(None, len(block.probs))
    prepared = prepare_tie_break(tie_break)
    even = read_only(np.ones(len(block.probs)))
    for tile in labeled_tiles(block, on_invalid="keep"):
        start = int(tile.global_rows[0]) - block.first_row
        part = labels[start : start + len(tile)]
        vote_majority(
            tile.probs, tile.votes, tile.odd, as_they_are,
            prepared, tile.global_rows, even, part, np.empty(len(tile)),
        )  # fmt: skip
    return labels


def largest_label_block(block: Block) -> Largest:
    """Return the largest label of a block, -1 for none."""
    labels = block.labels.classes if isinstance(block.labels, SparseLabels) else block.labels
    assert labels is not None
    finite = np.asarray(labels)[np.isfinite(labels)]
    # An unsigned type holds no -1.
    return Largest(int(finite.max()) if len(finite) else -1)


def model_votes_block(block: Block, *, temperature: Floats | None) -> ModelVotes:
    """Return how the models vote on a block of the pool."""
    num_models, num_classes = len(block.probs), block.probs[0].shape[1]
    loader = Loader(block.probs)
    inverses = prepare_temperature(temperature, num_models)
    by_model = np.zeros((num_models, UNTIED + 1), dtype=np.int64)
    class_counts = np.zeros(num_classes, dtype=np.int64)
    counts = make_counts(num_models, num_classes, num_models)
    for start, stop in loader.bounds():
        first_row = block.first_row + start
        loaded = loader.load(start, stop)
        probs, odd, *_ = check_tile(loaded, "pred_probs_unlabeled", first_row, keep=True)
        votes = model_votes(probs, odd, inverses)
        pending = np.zeros(len(odd), dtype=np.uint8)
        add_labels(probs, votes, odd, by_model, class_counts, pending, counts)
    return ModelVotes(class_counts, by_model[:, UNTIED_AGREEING].copy(), by_model[:, UNTIED].copy())


def pool_columns_block(block: Block, *, rule: PoolRule) -> BlockColumns:
    """Return the scores of a block of the pool as it is, and what is wrong with it."""
    scores, findings = score_pool_rows(block, rule, "keep")
    return BlockColumns(((block.first_row, {"score": scores}),), findings)


def score_pool_block(block: Block, *, rule: PoolRule) -> Floats:
    """Return the ActiveLab scores of a block of the pool; raise rows at fault."""
    gathered = pool_columns_block(block, rule=rule)
    raise_invalid(gathered.findings)
    return gathered.column("score")
