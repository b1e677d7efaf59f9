"""Mergeable states beside the scores: whole columns, class confidence, votes of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.findings import Findings
from daskal.kernels import Floats, Ints, Tile
from daskal.tallies import AnnotatorStatistics, carry, fixed_sums, fixed_values

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Gathered:
    """Columns of some blocks, for results that are held in memory whole.

    Attributes
    ----------
    blocks : tuple of (first row, columns), in row order
    findings : Findings
    annotators : AnnotatorStatistics, optional
    """

    blocks: tuple[tuple[int, Columns], ...]
    findings: Findings
    annotators: AnnotatorStatistics | None = None

    def merge(self, other: Gathered) -> Gathered:
        """Both together; the columns stay in pieces."""
        return Gathered(
            tuple(sorted((*self.blocks, *other.blocks), key=lambda block: block[0])),
            self.findings.merge(other.findings),
            None
            if self.annotators is None or other.annotators is None
            else self.annotators.merge(other.annotators),
        )

    def column(self, name: str) -> NDArray[Any]:
        """One column of all blocks."""
        return np.concatenate([columns[name] for _, columns in self.blocks])


@dataclass(frozen=True)
class ConfidenceSums:
    """Posterior of the consensus labels and of the votes, by class.

    Attributes
    ----------
    num_classes : int
    cells : (c,) int64
        ``(annotator + 1) * num_classes + class`` of the pairs that occur, ascending; the consensus
        stands for annotator -1.
    num : (c,) int64
    sums : (2, c) int64
        In two limbs.
    """

    num_classes: int
    cells: Ints
    num: Ints
    sums: Ints

    @classmethod
    def zero(cls, num_classes: int) -> ConfidenceSums:
        """Sums of no labels."""
        none = np.zeros(0, dtype=np.int64)
        return cls(num_classes, none, none, np.zeros((2, 0), dtype=np.int64))

    @classmethod
    def from_tile(cls, tile: Tile, labels: Ints, posterior: Floats) -> ConfidenceSums:
        """Sums of a tile with its consensus labels and posterior."""
        num_classes = len(posterior)
        voted = np.flatnonzero(tile.num_annotations)
        given = (tile.annotators.astype(np.int64) + 1) * num_classes + tile.classes
        values = [posterior[labels[voted], voted], posterior[tile.classes, tile.rows]]
        cells, at = np.unique(np.concatenate([labels[voted], given]), return_inverse=True)
        sums = fixed_sums(at, np.concatenate(values), len(cells))
        return cls(num_classes, cells, np.bincount(at, minlength=len(cells)), sums)

    def merge(self, other: ConfidenceSums) -> ConfidenceSums:
        """Both together."""
        cells, at = np.unique(np.concatenate([self.cells, other.cells]), return_inverse=True)
        num = np.zeros(len(cells), dtype=np.int64)
        np.add.at(num, at, np.concatenate([self.num, other.num]))
        sums = np.zeros((2, len(cells)), dtype=np.int64)
        for limb, mine, others in zip(sums, self.sums, other.sums, strict=True):
            np.add.at(limb, at, np.concatenate([mine, others]))
        return ConfidenceSums(self.num_classes, cells, num, carry(sums))

    def table(self, num_annotators: int) -> tuple[Floats, Ints]:
        """Sums and numbers of labels, (1 + m, k): the consensus, then each annotator."""
        shape = (1 + num_annotators, self.num_classes)
        sums, num = np.zeros(shape), np.zeros(shape, dtype=np.int64)
        sums.flat[self.cells] = fixed_values(self.sums)
        num.flat[self.cells] = self.num
        return sums, num


@dataclass(frozen=True)
class ModelVotes:
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
        """Votes on no rows."""
        none = np.zeros(num_models, dtype=np.int64)
        return cls(np.zeros(num_classes, dtype=np.int64), none, none)

    @classmethod
    def from_tile(cls, tile: Tile) -> ModelVotes:
        """Votes on a tile whose annotators are the models."""
        num_models = len(tile.probs)
        tied = tile.counts == tile.counts.max(axis=0)
        untied = (tied.sum(axis=0) == 1)[tile.rows]
        agrees = untied & (tile.classes == tied.argmax(axis=0)[tile.rows])
        return cls(
            tile.counts.sum(axis=1),
            np.bincount(tile.annotators[agrees], minlength=num_models),
            np.bincount(tile.annotators[untied], minlength=num_models),
        )

    def merge(self, other: ModelVotes) -> ModelVotes:
        """Both together."""
        return ModelVotes(
            self.class_counts + other.class_counts,
            self.untied_agreeing + other.untied_agreeing,
            self.untied + other.untied,
        )


@dataclass(frozen=True)
class Largest:
    """The largest of some numbers."""

    value: int

    def merge(self, other: Largest) -> Largest:
        """The larger of both."""
        return max(self, other, key=lambda largest: largest.value)
