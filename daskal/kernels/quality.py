"""Pass 2 beyond the scores: quality of examples, of votes and of annotators, and majority votes.

Axes: p models, n rows, k classes, m annotators, v votes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled, first_holding, read_only
from daskal.kernels.first_pass import (
    UNTIED,
    UNTIED_AGREEING,
    ConsensusCounts,
    VoteCounts,
    add_labels,
)
from daskal.kernels.known import NOTHING_KNOWN
from daskal.kernels.lanes import Rows, Scratch
from daskal.kernels.powers import LN2, log1p, log2
from daskal.kernels.scoring import ScoredRows, vote_majority
from daskal.kernels.second_pass import score_pool_rows, score_tile, with_model_votes
from daskal.kernels.tallying import AnnotatorCounts, Table, add_confidence
from daskal.kernels.tiles import Tile, take_tiles
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

# --- labels scored by probabilities ----------------------------------------------------------

# Bounds that keep the entropy's quotients finite.
CONFIDENCE_FLOOR = 1e-6

METHODS = {"self_confidence": 0, "normalized_margin": 1, "confidence_weighted_entropy": 2}
SELF_CONFIDENCE, NORMALIZED_MARGIN, WEIGHTED_ENTROPY = METHODS.values()


def score_consensus(scorer: Scorer, posterior: Floats, labels: Ints) -> Floats:
    """Return the score of one label for each row of an (n, k) posterior."""
    thresholds = scorer.consensus_thresholds
    table = None if thresholds is None else thresholds[np.newaxis]
    none = np.zeros(len(labels), dtype=np.int64)
    return score_labels(scorer.method, posterior, np.arange(len(labels)), labels, table, none)


def score_votes(scorer: Scorer, posterior: Floats, rows: Rows) -> Floats:
    """Return the scores of votes by the (n, k) posterior of their rows."""
    table = scorer.annotator_thresholds
    return score_labels(scorer.method, posterior, rows.row_of, rows.classes, table, rows.annotators)


def score_labels(
    method: str,
    probs: Floats,
    rows: NDArray[np.integer],
    labels: NDArray[np.integer],
    thresholds: Floats | None,
    groups: NDArray[np.integer],
) -> Floats:
    """Return the scores of labels of some rows, each adjusted by its group's (k,) thresholds."""
    scores, row = np.empty(len(labels)), np.empty(probs.shape[1])
    table = np.zeros((0, len(row))) if thresholds is None else thresholds
    score_each(
        METHODS[method],
        first_holding(probs, ("f8",)),
        first_holding(table, ("f8",)),
        first_holding(rows, ("i8",)),
        first_holding(labels, ("i8",)),
        first_holding(groups, ("i8",)),
        row,
        scores,
    )
    return scores


@compiled
def score_each(
    method: int,
    probs: Floats,
    thresholds: Floats,
    rows: Ints,
    labels: Ints,
    groups: Ints,
    row: Floats,
    scores: Floats,
) -> None:
    """Write the score of each label by the (n, k) probabilities of its row."""
    for v in range(len(labels)):
        for k in range(len(row)):
            row[k] = probs[rows[v], k]
        if len(thresholds) > 0:
            adjust(row, thresholds[groups[v]])
        scores[v] = score_label(row, labels[v], method)


@compiled
def adjust(row: Floats, thresholds: Floats) -> None:
    """Take thresholds off a row's probabilities, shifted to be positive, and normalise them."""
    largest = thresholds[0]
    for k in range(1, len(row)):
        largest = max(largest, thresholds[k])
    total = 0.0
    for k in range(len(row)):
        row[k] = row[k] - thresholds[k] + largest
        total += row[k]
    for k in range(len(row)):
        row[k] /= total


@compiled
def score_label(row: Floats, label: int, method: int) -> float:
    """Return the score of one label by a row's probabilities."""
    confidence = row[label]
    if method == SELF_CONFIDENCE or confidence != confidence:
        return confidence
    if method == NORMALIZED_MARGIN:
        others = -np.inf
        for k in range(len(row)):
            if k != label:
                others = max(others, row[k])
        return (confidence - others + 1.0) / 2.0
    total = 0.0
    for k in range(len(row)):
        if row[k] > 0.0:
            total += row[k] * (log2(row[k]) * LN2)
    # Without a sign of its own where it is zero.
    entropy = max(-total / (log2(float(len(row))) * LN2), 0.0)
    weighted = entropy / max(confidence, CONFIDENCE_FLOOR)
    return log1p(weighted) / max(weighted, CONFIDENCE_FLOOR)


class Answer(NamedTuple):
    """What is said of a tile."""

    tile: Tile
    scores: tuple[ScoredRows, ...]
    vote_quality: Floats  # (v,)


def answers(block: Block, question: Question, *, detail: bool = False) -> Iterator[Answer]:
    """Yield the answer to a question, tile by tile; in ``detail`` with the first posterior."""
    rules, on_invalid = read_only(question.rules), question.on_invalid
    detail = detail or not question.vote_scorer.plain
    for tile in take_tiles(block, on_invalid=on_invalid, miscount=rules[0].miscount):
        if on_invalid == "raise":
            raise_invalid(tile.findings)
        scored: list[ScoredRows] = []
        for rule, scorer in zip(rules, question.scorers, strict=True):
            again = not (rule.by_agreement or scorer.plain)
            wanted = again or (detail and not scored)
            # Answers are kept, so their scores are in memory of their own.
            scores = score_tile(tile, rule, on_invalid, Scratch(), detail=wanted)
            scored.append(rescore(tile, scores, scorer) if again else scores)
        votes = scored[0].vote_quality
        if not question.vote_scorer.plain:
            votes = score_votes(question.vote_scorer, scored[0].posterior, tile.rows)
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
        "vote_row": tile.rows.global_rows[tile.rows.row_of],
        "vote_annotator": tile.rows.annotators.astype(np.int64),
        "vote_label": tile.rows.classes.astype(np.int64),
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
        scored = answer.scores[0]._replace(vote_quality=answer.vote_quality)
        counts.add(answer.tile.rows, scored)
    columns = ((block.first_row, join(parts, {})),)
    return BlockColumns(columns, findings, counts.statistics())


def confidence_block(block: Block, *, question: Question) -> ConfidenceSums:
    """Return the confidence in consensus labels and votes of a block, by class."""
    num_classes = block.probs[0].shape[1]
    table = Table((len(question.rules[0].tie_break.agreement) + 1) * num_classes)
    for answer in answers(block, question, detail=True):
        rows = answer.tile.rows
        slots = table.with_room(len(rows.classes) + len(rows.odd))
        add_confidence(rows, answer.scores[0], slots)
    return ConfidenceSums(num_classes, table.cells(1))


def majority_block(block: Block, *, tie_break: TieBreak) -> Ints:
    """Return the majority vote of each row; one without votes goes by the tie-breaks alone."""
    labels = np.empty(len(block.probs[0]), dtype=np.int64)
    as_they_are, even = read_only((np.zeros(len(block.probs)), np.ones(len(block.probs))))
    prepared = read_only(tie_break)
    for tile in take_tiles(block, on_invalid="keep"):
        unused, part = tile.scratch.take("score", len(tile)), labels[tile.place]
        vote_majority(tile.rows, as_they_are, prepared, even, part, unused, tile.room)
    return labels


def largest_label_block(block: Block) -> Largest:
    """Return the largest label of a block, -1 for none."""
    labels = block.labels.classes if isinstance(block.labels, SparseLabels) else block.labels
    assert labels is not None
    finite = np.asarray(labels)[np.isfinite(labels)]
    # An unsigned type holds no -1.
    return Largest(int(finite.max()) if len(finite) else -1)


def model_votes_block(block: Block, *, inverse: Floats) -> ModelVotes:
    """Return how the models vote on a block of the pool."""
    num_models, num_classes = len(block.probs), block.probs[0].shape[1]
    votes = VoteCounts.zero(num_models, num_classes)
    counts = ConsensusCounts.zero(num_models, num_classes, num_models)
    prepared = read_only(inverse)
    known = NOTHING_KNOWN.classes
    for tile in take_tiles(block, on_invalid="keep"):
        left = tile.scratch.take("pending", len(tile), dtype=np.uint8)
        rows = with_model_votes(tile, prepared)
        add_labels(rows, known, votes, left, counts, tile.room)
    columns = votes.by_annotator.T.copy()
    return ModelVotes(votes.by_class, columns[UNTIED_AGREEING], columns[UNTIED])


def pool_columns_block(block: Block, *, rule: PoolRule) -> BlockColumns:
    """Return the scores of a block of the pool as it is, and what is wrong with it."""
    scores, findings = score_pool_rows(block, rule, "keep")
    return BlockColumns(((block.first_row, {"score": scores}),), findings)


def score_pool_block(block: Block, *, rule: PoolRule) -> Floats:
    """Return the ActiveLab scores of a block of the pool; raise rows at fault."""
    gathered = pool_columns_block(block, rule=rule)
    raise_invalid(gathered.findings)
    return gathered.column("score")
