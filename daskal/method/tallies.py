"""Mergeable states of pass 2: annotators against the consensus, the smallest scores, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.method.doubtful import NUM_DOUBTFUL, DoubtfulLabels
from daskal.method.findings import Findings
from daskal.method.merging import Cells, FixedSums, Merging, keep_first
from daskal.method.values import Bools, Columns, Floats, Ints

HISTOGRAM_BINS = 200

# --- annotators -------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnnotatorStatistics(Merging):
    """How each annotator's labels agree with the consensus, in all and by the class given.

    Attributes
    ----------
    num, agreeing, num_multiple, agreeing_multiple : (m,) int64
        Votes and votes equal to the consensus; over all rows, and over rows with several votes.
    quality : FixedSums of m sums
        Detailed quality of the annotator's labels.
    scored : (m,) int64
        Labels with a detailed quality, which is NaN only where probabilities at fault are kept.
    by_class : Cells
        By ``annotator * num_classes + class``: votes, votes equal to the consensus, and the sum of
        the consensus quality of their rows.
    """

    num: Ints
    agreeing: Ints
    num_multiple: Ints
    agreeing_multiple: Ints
    quality: FixedSums
    scored: Ints
    by_class: Cells

    @classmethod
    def zero(cls, num_annotators: int) -> AnnotatorStatistics:
        """Return statistics of no rows."""
        none = np.zeros(num_annotators, dtype=np.int64)
        return cls(
            num=none,
            agreeing=none,
            num_multiple=none,
            agreeing_multiple=none,
            quality=FixedSums.zero(num_annotators),
            scored=none,
            by_class=Cells.zero(2),
        )


@dataclass(frozen=True)
class GoldCounts(Merging):
    """How votes and consensus stand to known classes, over rows with votes.

    Attributes
    ----------
    votes, right : (m,) int64
        Votes of each annotator on such rows, and those for the known class.
    examples, consensus_right : int
        Such rows, and those whose consensus is the known class.
    model_right : (p,) int64, or None
        Those whose known class is the most probable one of each model, None without a model.
    """

    votes: Ints
    right: Ints
    examples: int
    consensus_right: int
    model_right: Ints | None = None

    @property
    def accuracy(self) -> dict[str, float | list[float]]:
        """Share of the examples on which the consensus and each model are right."""
        models = None if self.model_right is None else self.model_right.tolist()
        return gold_accuracy(self.examples, self.consensus_right, models)


def gold_accuracy(
    num: int, consensus_right: int, model_right: Sequence[int] | None
) -> dict[str, float | list[float]]:
    """Return how often consensus and models are right on examples of known class."""
    if not num:
        return {}
    found: dict[str, float | list[float]] = {"consensus": consensus_right / num}
    if model_right is not None:
        found["model"] = [right / num for right in model_right]
    return found


@dataclass(frozen=True)
class ConfidenceSums(Merging):
    """Posterior of the consensus labels and of the votes, by class.

    Attributes
    ----------
    num_classes : int
    by_class : Cells
        By ``(annotator + 1) * num_classes + class``, the consensus standing for annotator -1:
        labels, and the sum of their posterior.
    """

    num_classes: int = field(metadata={"merge": keep_first})
    by_class: Cells

    @classmethod
    def zero(cls, num_classes: int) -> ConfidenceSums:
        """Return sums of no labels."""
        return cls(num_classes, Cells.zero(1))

    def table(self, num_annotators: int) -> tuple[Floats, Ints]:
        """Return sums and numbers of labels, (1 + m, k): the consensus, then each annotator."""
        shape = (1 + num_annotators, self.num_classes)
        sums, num = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        sums.flat[self.by_class.keys] = self.by_class.sums.values()
        num.flat[self.by_class.keys] = self.by_class.counts[0]
        return sums, num


@dataclass(frozen=True)
class ModelVotes(Merging):
    """How the models of an ensemble vote on the pool, by their most probable classes.

    Attributes
    ----------
    class_counts : (k,) int64
        Votes for each class.
    untied_agreeing, untied : (p,) int64
        Over rows untied by vote count: a model's votes for the majority, and its votes.
    """

    class_counts: Ints
    untied_agreeing: Ints
    untied: Ints

    @classmethod
    def zero(cls, num_models: int, num_classes: int) -> ModelVotes:
        """Return votes on no rows."""
        none = np.zeros(num_models, dtype=np.int64)
        return cls(np.zeros(num_classes, dtype=np.int64), none, none)


# --- scores -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Smallest:
    """The ``size`` smallest scores, by (score, row)."""

    size: int
    scores: Floats
    rows: Ints

    @classmethod
    def zero(cls, size: int) -> Smallest:
        """Return no scores."""
        return cls(size, np.zeros(0), np.zeros(0, dtype=np.int64))

    @classmethod
    def sorted(cls, size: int, scores: Floats, rows: Ints) -> Smallest:
        """Return the first ``size`` by (score, row)."""
        order = np.lexsort((rows, scores))[:size]
        return cls(size, scores[order], rows[order])

    def take(self, kept: Bools) -> Smallest:
        """Return some of the examples."""
        return Smallest(self.size, self.scores[kept], self.rows[kept])

    def merge(self, other: Smallest) -> Smallest:
        """Return the smallest of both together."""
        return Smallest.sorted(
            self.size,
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.rows, other.rows]),
        )


@dataclass(frozen=True)
class Candidates(Merging):
    """The smallest scores of examples that have votes, and of those that have none."""

    with_votes: Smallest
    without_votes: Smallest


@dataclass(frozen=True)
class PoolTally(Merging):
    """Summary of scores in pass 2: histogram, smallest scores, faults.

    Attributes
    ----------
    num_rows : int
    histogram : (HISTOGRAM_BINS,) int64
    smallest : Smallest
    findings : Findings
    """

    num_rows: int
    histogram: Ints
    smallest: Smallest
    findings: Findings

    @classmethod
    def zero(cls, size: int) -> PoolTally:
        """Return the tally of no rows."""
        none = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        return cls(0, none, Smallest.zero(size), Findings())


@dataclass(frozen=True)
class LabeledTally(Merging):
    """Summary of the labeled data in pass 2.

    Attributes
    ----------
    scores : PoolTally
        Its ``smallest`` are those of rows with votes.
    without_votes : Smallest
        The smallest scores of rows without votes.
    quality : (HISTOGRAM_BINS,) int64
        Histogram of the consensus quality of rows with votes.
    classes : Cells
        By ``given * num_classes + consensus``: votes for a class in rows of a consensus label.
    annotators : AnnotatorStatistics
    doubtful : DoubtfulLabels
        Found in the columns of a whole block, not by the kernels.
    gold : GoldCounts, optional
        Where some classes are known.
    """

    scores: PoolTally
    without_votes: Smallest
    quality: Ints
    classes: Cells
    annotators: AnnotatorStatistics
    doubtful: DoubtfulLabels = field(default_factory=DoubtfulLabels.zero)
    gold: GoldCounts | None = None

    @classmethod
    def zero(cls, size: int, num_annotators: int) -> LabeledTally:
        """Return the tally of no rows."""
        return cls(
            scores=PoolTally.zero(size),
            without_votes=Smallest.zero(size),
            quality=np.zeros(HISTOGRAM_BINS, dtype=np.int64),
            classes=Cells.zero(1),
            annotators=AnnotatorStatistics.zero(num_annotators),
        )


@dataclass(frozen=True)
class ClassTally(Merging):
    """Summary of one class of several that an example may have.

    Attributes
    ----------
    annotators : AnnotatorStatistics
    votes : Cells
        By ``2 * given + consensus``, each 0 or 1: votes.
    num_consensus : int
        Rows with votes whose consensus has the class.
    """

    annotators: AnnotatorStatistics
    votes: Cells
    num_consensus: int


@dataclass(frozen=True)
class MultiLabelTally(Merging):
    """Summary of labeled data in pass 2 where an example may have several classes.

    Attributes
    ----------
    scores : PoolTally
        Its ``smallest`` are those of rows with votes.
    without_votes : Smallest
    quality : (HISTOGRAM_BINS,) int64
        Histogram of the consensus quality, over classes, of rows with votes.
    by_class : tuple of ClassTally or None
    asked : (m,) int64
        Rows on which each annotator has votes.
    """

    scores: PoolTally
    without_votes: Smallest
    quality: Ints
    by_class: tuple[ClassTally | None, ...]
    asked: Ints


# --- whole columns ----------------------------------------------------------------------------


def in_row_order(
    a: tuple[tuple[int, Columns], ...], b: tuple[tuple[int, Columns], ...]
) -> tuple[tuple[int, Columns], ...]:
    """Return the columns of both sides' blocks, ordered by first row; they stay in pieces."""
    return tuple(sorted((*a, *b), key=lambda block: block[0]))


@dataclass(frozen=True)
class BlockColumns(Merging):
    """Columns of some blocks, for results that are held in memory whole.

    Attributes
    ----------
    blocks : tuple of (first row, columns), in row order
    findings : Findings
    annotators : AnnotatorStatistics, optional
    """

    blocks: tuple[tuple[int, Columns], ...] = field(metadata={"merge": in_row_order})
    findings: Findings
    annotators: AnnotatorStatistics | None = None

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of all blocks."""
        return np.concatenate([columns[name] for _, columns in self.blocks])


@dataclass(frozen=True)
class Largest:
    """The largest of some numbers."""

    value: int

    def merge(self, other: Largest) -> Largest:
        """Return the larger of both."""
        return max(self, other, key=lambda largest: largest.value)


# --- sizes ------------------------------------------------------------------------------------


def labeled_state_bytes(
    num_annotators: int, num_classes: int, num_models: int, block_votes: int, batch_size: int
) -> int:
    """Return the most bytes that the states of a block of labeled rows take."""
    cells = min(num_annotators * num_classes, block_votes)
    pairs = min(num_classes**2, block_votes)
    first_pass = 8 * (6 * num_annotators + 4 * num_classes) + 64 * 33 * num_models
    second_pass = 8 * (7 * num_annotators + 5 * cells + 4 * pairs) + 2 * 16 * batch_size
    second_pass += 40 * NUM_DOUBTFUL
    return max(first_pass, second_pass)


def pool_state_bytes(batch_size: int) -> int:
    """Return the most bytes that the state of a block of the pool takes."""
    return 16 * batch_size
