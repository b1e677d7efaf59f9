"""Mergeable tallies of pass 2: annotators against the consensus, and the smallest scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daskal.kernels import Floats, Ints, Tile

QUALITY_BITS = 40
LIMB_BITS = 20


def fixed_sums(groups: NDArray[np.integer], values: Floats, num_groups: int) -> Ints:
    """Sums of values by group, as integers in units of 2**-40 in two limbs, (2, groups).

    Only for a tile: the sums of at most ``kernels.MAX_TILE_ROWS`` values of size 1 are exact.
    """
    units = np.rint(np.ldexp(values, QUALITY_BITS))
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
            *(none, none, none, none, pair),
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
        """The smallest of some scores; NaN is none."""
        kept = np.flatnonzero(~np.isnan(scores))
        if len(kept) > size > 0:
            # Every score up to the size-th smallest, so that ties are still all there.
            limit = np.partition(scores[kept], size - 1)[size - 1]
            kept = kept[scores[kept] <= limit]
        scores, rows = scores[kept], rows[kept]
        order = np.lexsort((rows, scores))[:size]
        return cls(size, scores[order], rows[order])

    def merge(self, other: Smallest) -> Smallest:
        """Both together."""
        return Smallest.from_scores(
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.rows, other.rows]),
            self.size,
        )
