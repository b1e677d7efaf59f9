"""Mergeable tallies of pass 2: annotators against the consensus, scores as a whole."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskal.findings import Findings
from daskal.kernels import Floats, Ints, LabeledScores, Tile
from daskal.powers import simd_levels

QUALITY_BITS = 39
LIMB_BITS = 20
# Scores compared at once: they and their mask stay in the cache.
SCAN_ROWS = 2**16


class Mergeable(Protocol):
    """A state that merges with others of its kind."""

    def merge(self, other: Self) -> Self:
        """Both together."""


State = TypeVar("State", bound=Mergeable)


def merge_in_pairs(states: Iterable[State], zero: State) -> State:
    """Merge states as they come, equal numbers of them with each other.

    Tables of many cells grow as they are merged: here each cell is moved log n times, not n.
    """
    piles: list[tuple[int, State]] = []
    for state in states:
        num, pile = 1, state
        while piles and piles[-1][0] == num:
            num, pile = 2 * num, piles.pop()[1].merge(pile)
        piles.append((num, pile))
    return functools.reduce(lambda merged, pile: pile[1].merge(merged), reversed(piles), zero)


def fixed_sums(groups: NDArray[np.integer], values: Floats, num_groups: int) -> Ints:
    """Sums of values by group, as integers in units of 2**-39 in two limbs, (2, groups).

    Only for a tile: the sums of at most ``kernels.MAX_TILE_ROWS`` values of size 1 are exact. NaN
    counts as zero.
    """
    units = np.rint(np.ldexp(np.nan_to_num(values), QUALITY_BITS))
    return carry(np.stack([np.zeros(num_groups), np.bincount(groups, units, num_groups)]))


def carry(limbs: NDArray[np.generic]) -> Ints:
    """The one form of a two-limb sum in which the low limb is below its base."""
    high, low = limbs.astype(np.int64)
    return np.stack([high + (low >> LIMB_BITS), low & (2**LIMB_BITS - 1)])


def fixed_values(limbs: Ints) -> Floats:
    """The sums as floats."""
    high, low = limbs
    return np.ldexp(high.astype(np.float64), LIMB_BITS - QUALITY_BITS) + np.ldexp(
        low.astype(np.float64), -QUALITY_BITS
    )


@dataclass(frozen=True)
class AnnotatorStatistics:
    """How each annotator's labels stand to the consensus, and by the class the annotator gave.

    Attributes
    ----------
    num, agreeing, num_multiple, agreeing_multiple : (m,) int64
        Votes and votes equal to the consensus; over all rows, and over rows with several votes.
    quality : (2, m) int64
        Sum of the detailed quality of the annotator's labels, in two limbs.
    scored : (m,) int64
        Labels with a detailed quality, which is NaN only where probabilities at fault are kept.
    cells : (c,) int64
        ``annotator * num_classes + class`` of the pairs that occur, ascending.
    cell_num, cell_agreeing : (c,) int64
    cell_quality : (2, c) int64
        Sum of the consensus quality of the rows in the cell, in two limbs.
    """

    num: Ints
    agreeing: Ints
    num_multiple: Ints
    agreeing_multiple: Ints
    quality: Ints
    scored: Ints
    cells: Ints
    cell_num: Ints
    cell_agreeing: Ints
    cell_quality: Ints

    @classmethod
    def zero(cls, num_annotators: int) -> AnnotatorStatistics:
        """Statistics of no rows."""
        none = np.zeros(num_annotators, dtype=np.int64)
        empty = np.zeros(0, dtype=np.int64)
        pair = np.zeros((2, num_annotators), dtype=np.int64)
        return cls(
            *(none, none, none, none, pair, none),
            *(empty, empty, empty, np.zeros((2, 0), dtype=np.int64)),
        )

    @classmethod
    def from_tile(
        cls, tile: Tile, labels: Ints, quality: Floats, vote_quality: Floats, num_annotators: int
    ) -> AnnotatorStatistics:
        """Statistics of a tile, given its consensus, its quality and that of each vote."""
        num_classes = tile.probs.shape[1]
        agrees = tile.classes == labels[tile.rows]
        several = tile.num_annotations[tile.rows] >= 2

        def count(chosen: NDArray[np.bool_]) -> Ints:
            return np.bincount(tile.annotators[chosen], minlength=num_annotators)

        cells, inverse = np.unique(
            tile.annotators.astype(np.int64) * num_classes + tile.classes, return_inverse=True
        )
        return cls(
            np.bincount(tile.annotators, minlength=num_annotators),
            count(agrees),
            count(several),
            count(several & agrees),
            fixed_sums(tile.annotators, vote_quality, num_annotators),
            count(~np.isnan(vote_quality)),
            cells,
            np.bincount(inverse, minlength=len(cells)),
            np.bincount(inverse, agrees, len(cells)).astype(np.int64),
            fixed_sums(inverse, quality[tile.rows], len(cells)),
        )

    def merge(self, other: AnnotatorStatistics) -> AnnotatorStatistics:
        """Both together."""
        both, at = np.unique(np.concatenate([self.cells, other.cells]), return_inverse=True)
        mine, others = at[: len(self.cells)], at[len(self.cells) :]

        def by_cell(a: Ints, b: Ints) -> Ints:
            total = np.zeros(len(both), dtype=np.int64)
            total[mine] += a
            total[others] += b
            return total

        return AnnotatorStatistics(
            self.num + other.num,
            self.agreeing + other.agreeing,
            self.num_multiple + other.num_multiple,
            self.agreeing_multiple + other.agreeing_multiple,
            carry(self.quality + other.quality),
            self.scored + other.scored,
            both,
            by_cell(self.cell_num, other.cell_num),
            by_cell(self.cell_agreeing, other.cell_agreeing),
            carry(
                np.stack(
                    [
                        by_cell(a, b)
                        for a, b in zip(self.cell_quality, other.cell_quality, strict=True)
                    ]
                )
            ),
        )


@dataclass(frozen=True)
class Smallest:
    """The ``size`` smallest scores, by (score, row)."""

    size: int
    scores: Floats
    rows: Ints

    @classmethod
    def zero(cls, size: int) -> Smallest:
        """No scores."""
        return cls(size, np.zeros(0), np.zeros(0, dtype=np.int64))

    @classmethod
    def from_scores(cls, scores: Floats, rows: Ints, size: int) -> Smallest:
        """The smallest of some scores, ``rows`` ascending; NaN is none."""
        kept = smallest_places(scores, size)
        return cls.sorted(size, scores[kept], rows[kept])

    @classmethod
    def from_block(cls, scores: Floats, first_row: int, size: int) -> Smallest:
        """The smallest of the scores of consecutive rows."""
        kept = smallest_places(scores, size)
        return cls.sorted(size, scores[kept], kept + first_row)

    @classmethod
    def sorted(cls, size: int, scores: Floats, rows: Ints) -> Smallest:
        """The first ``size`` by (score, row)."""
        order = np.lexsort((rows, scores))[:size]
        return cls(size, scores[order], rows[order])

    def merge(self, other: Smallest) -> Smallest:
        """Both together."""
        return Smallest.sorted(
            self.size,
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.rows, other.rows]),
        )


def smallest_places(scores: Floats, size: int) -> Ints:
    """Places of the ``size`` smallest scores, of equal ones the first, ascending.

    A score has to beat the least that would do so far, so that most cost one comparison.
    """
    found = np.zeros(0, dtype=np.int64)
    limit = np.nan
    for start in range(0, len(scores), SCAN_ROWS):
        part = scores[start : start + SCAN_ROWS]
        beats = ~np.isnan(part) if np.isnan(limit) else part < limit
        found = np.concatenate([found, np.flatnonzero(beats) + start])
        if len(found) >= max(2 * size, 1):
            found = found[first_smallest(scores[found], size)]
            limit = scores[found].max() if size else -np.inf
    return found if len(found) <= size else found[first_smallest(scores[found], size)]


def first_smallest(scores: Floats, size: int) -> NDArray[np.bool_]:
    """Which are the ``size`` smallest of at least so many, of equal ones the first."""
    if size == 0:
        return np.zeros(len(scores), dtype=bool)
    limit = np.partition(scores, size - 1)[size - 1]
    chosen = scores < limit
    ties = np.flatnonzero(scores == limit)
    chosen[ties[: size - np.count_nonzero(chosen)]] = True
    return chosen


@dataclass(frozen=True)
class Candidates:
    """The smallest scores of examples that have votes, and of those that have none."""

    voted: Smallest
    bare: Smallest

    def merge(self, other: Candidates) -> Candidates:
        """Both together."""
        return Candidates(self.voted.merge(other.voted), self.bare.merge(other.bare))


# --- the outcome of pass 2 --------------------------------------------------------------------

HISTOGRAM_BINS = 200


def histogram(values: Floats) -> Ints:
    """Counts of values between 0 and 1 in bins of equal width; NaN is in none."""
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    # By parts: a few arrays as long as a block of two classes would outweigh the block.
    for start in range(0, len(values), SCAN_ROWS):
        part = values[start : start + SCAN_ROWS]
        kept = part[~np.isnan(part)]
        bins = np.clip((kept * HISTOGRAM_BINS).astype(np.int64), 0, HISTOGRAM_BINS - 1)
        counts += np.bincount(bins, minlength=HISTOGRAM_BINS)
    return counts


@dataclass(frozen=True)
class ClassTally:
    """Votes by the class given and the consensus label of the row.

    Attributes
    ----------
    cells : (c,) int64
        ``given * num_classes + consensus`` of the pairs that occur, ascending.
    num : (c,) int64
    """

    cells: Ints
    num: Ints

    @classmethod
    def zero(cls) -> ClassTally:
        """Tally of no votes."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def from_tile(cls, tile: Tile, labels: Ints) -> ClassTally:
        """Tally of a tile's votes."""
        num_classes = tile.probs.shape[1]
        return cls(*np.unique(tile.classes * num_classes + labels[tile.rows], return_counts=True))

    def merge(self, other: ClassTally) -> ClassTally:
        """Both together."""
        cells, at = np.unique(np.concatenate([self.cells, other.cells]), return_inverse=True)
        num = np.zeros(len(cells), dtype=np.int64)
        np.add.at(num, at, np.concatenate([self.num, other.num]))
        return ClassTally(cells, num)


@dataclass(frozen=True)
class PoolTally:
    """What pass 2 says of scores as a whole: histogram, smallest, faults.

    Attributes
    ----------
    num_rows : int
    histogram : (HISTOGRAM_BINS,) int64
    smallest : Smallest
    findings : Findings
    cpu_levels : tuple of str
        The workers' SIMD levels: their last bits agree where these do.
    """

    num_rows: int
    histogram: Ints
    smallest: Smallest
    findings: Findings
    cpu_levels: tuple[str, ...]

    @classmethod
    def zero(cls, size: int) -> PoolTally:
        """Tally of no rows."""
        none = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        return cls(0, none, Smallest.zero(size), Findings(), ())

    @classmethod
    def from_scores(
        cls, scores: Floats, first_row: int, size: int, findings: Findings
    ) -> PoolTally:
        """Tally of the scores of consecutive rows."""
        smallest = Smallest.from_block(scores, first_row, size)
        return cls(len(scores), histogram(scores), smallest, findings, (cpu_level(),))

    def merge(self, other: PoolTally) -> PoolTally:
        """Both together."""
        return PoolTally(
            self.num_rows + other.num_rows,
            self.histogram + other.histogram,
            self.smallest.merge(other.smallest),
            self.findings.merge(other.findings),
            tuple(sorted({*self.cpu_levels, *other.cpu_levels})),
        )


@dataclass(frozen=True)
class LabeledTally:
    """What pass 2 says of the labelled data as a whole.

    Attributes
    ----------
    scores : PoolTally
    bare : Smallest
        The smallest scores of rows without votes; ``scores.smallest`` has those with votes.
    quality : (HISTOGRAM_BINS,) int64
        Histogram of the consensus quality of rows with votes.
    classes : ClassTally
    annotators : AnnotatorStatistics
    """

    scores: PoolTally
    bare: Smallest
    quality: Ints
    classes: ClassTally
    annotators: AnnotatorStatistics

    @classmethod
    def zero(cls, size: int, num_annotators: int) -> LabeledTally:
        """Tally of no rows."""
        none = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        annotators = AnnotatorStatistics.zero(num_annotators)
        return cls(PoolTally.zero(size), Smallest.zero(size), none, ClassTally.zero(), annotators)

    @classmethod
    def from_tile(
        cls,
        tile: Tile,
        scores: LabeledScores,
        findings: Findings,
        size: int,
        num_annotators: int,
    ) -> LabeledTally:
        """Tally of one tile."""
        voted = tile.num_annotations > 0
        bare = Smallest.from_scores(scores.score[~voted], tile.global_rows[~voted], size)
        smallest = Smallest.from_scores(scores.score[voted], tile.global_rows[voted], size)
        labels = scores.consensus_label
        return cls(
            PoolTally(len(voted), histogram(scores.score), smallest, findings, (cpu_level(),)),
            bare,
            histogram(scores.consensus_quality_score[voted]),
            ClassTally.from_tile(tile, labels),
            AnnotatorStatistics.from_tile(
                tile,
                labels,
                scores.consensus_quality_score,
                scores.posterior[tile.classes, tile.rows],
                num_annotators,
            ),
        )

    def merge(self, other: LabeledTally) -> LabeledTally:
        """Both together."""
        return LabeledTally(
            self.scores.merge(other.scores),
            self.bare.merge(other.bare),
            self.quality + other.quality,
            self.classes.merge(other.classes),
            self.annotators.merge(other.annotators),
        )


@functools.cache
def cpu_level() -> str:
    """SIMD level NumPy runs at: log and exp of other levels differ in the last bit."""
    return " ".join(simd_levels())
