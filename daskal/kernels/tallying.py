"""Counts and sums of pass 2: annotators against the consensus, cells of large tables, histograms.

Axes: n rows, k classes, m annotators, v votes, s slots of a table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskal.kernels.compiling import Whole, compiled, first_holding
from daskal.kernels.lanes import Rows
from daskal.kernels.scoring import ScoredRows
from daskal.method.merging import LIMB_BITS, QUALITY_BITS, Cells, FixedSums
from daskal.method.tallies import HISTOGRAM_BINS, AnnotatorStatistics
from daskal.method.values import Floats, Ints

# Columns of the counts of each annotator.
NUM, AGREEING, NUM_MULTIPLE, AGREEING_MULTIPLE, SCORED, HIGH, LOW = range(7)
# Columns of the cells of a table: two counts, and the limbs of a sum.
COUNT, SECOND_COUNT, CELL_HIGH, CELL_LOW = range(4)

QUALITY_UNITS = 2.0**QUALITY_BITS
LOW_LIMB = 2**LIMB_BITS - 1

# A table's slots to begin with. Never more than half of them are taken.
LEAST_SLOTS = 2**10
EMPTY = -1
# Of one type: what is compiled for a literal is compiled once more for others.
NOTHING = np.int64(0)
# Knuth's: the golden ratio's bits scatter keys that follow each other.
SCATTER = np.uint64(0x9E3779B97F4A7C15)


class Slots(NamedTuple):
    """The slots of a table."""

    keys: Ints  # (s,)
    values: Ints  # (s, 4)
    taken: Ints  # (1,)

    @classmethod
    def empty(cls, num_slots: int) -> Slots:
        """Return so many free ones."""
        values = np.zeros((num_slots, CELL_LOW + 1), dtype=np.int64)
        return cls(np.full(num_slots, EMPTY), values, np.zeros(1, dtype=np.int64))


class Table:
    """Cells of a large table by their number, of which only those that occur take room."""

    def __init__(self, num_cells: int) -> None:
        """Begin with none of so many cells."""
        self.num_cells = num_cells
        self.slots = Slots.empty(LEAST_SLOTS)

    def with_room(self, num_entries: int) -> Slots:
        """Return the slots, with free ones for the cells of so many more entries."""
        slots, num = self.slots, len(self.slots.keys)
        while num < 2 * min(int(slots.taken[0]) + num_entries, self.num_cells):
            num *= 2
        if num > len(slots.keys):
            self.slots = Slots.empty(num)
            move_cells(slots, self.slots)
        return self.slots

    def cells(self, num_counts: int) -> Cells:
        """Return the cells as a state, with one count each or two."""
        keys = self.slots.keys
        at = np.flatnonzero(keys != EMPTY)
        at = at[np.argsort(keys[at])]
        values = self.slots.values[at].T
        sums = FixedSums.from_limbs(values[CELL_HIGH], values[CELL_LOW])
        return Cells(keys[at], values[:num_counts].copy(), sums)


@compiled
def find_slot(keys: Ints, key: Whole) -> int:
    """Return the slot of a cell: its own, or the free one that is its."""
    last = len(keys) - 1
    at = np.int64((np.uint64(key) * SCATTER) >> np.uint64(32)) & last
    while keys[at] != key and keys[at] != EMPTY:
        at = (at + 1) & last
    return at  # type: ignore[return-value]


@compiled
def take_slot(slots: Slots, key: Whole) -> int:
    """Return the slot of a cell, taken anew where it has none."""
    at = find_slot(slots.keys, key)
    slots.taken[0] += slots.keys[at] == EMPTY
    slots.keys[at] = key
    return at


@compiled
def move_cells(slots: Slots, larger: Slots) -> None:
    """Move the cells of a table into larger slots."""
    for at in range(len(slots.keys)):
        if slots.keys[at] != EMPTY:
            new = take_slot(larger, slots.keys[at])
            for column in range(slots.values.shape[1]):
                larger.values[new, column] = slots.values[at, column]


@compiled
def add_to_cell(slots: Slots, key: Whole, second: Whole, units: Whole) -> None:
    """Count one more entry of a cell, and add to its second count and its sum."""
    values = slots.values[take_slot(slots, key)]
    values[COUNT] += 1
    values[SECOND_COUNT] += second
    values[CELL_HIGH] += units >> LIMB_BITS
    values[CELL_LOW] += units & LOW_LIMB


@compiled
def to_units(quality: float) -> int:
    """Return a quality in units of the sums; NaN counts as zero."""
    return int(np.rint(quality * QUALITY_UNITS)) if quality == quality else 0


@compiled
def add_votes(
    rows: Rows, scored: ScoredRows, num_classes: int, by_annotator: Ints, slots: Slots
) -> None:
    """Count how votes stand to the consensus of their rows.

    ``by_annotator`` is (m, 7); the cells are those of annotators and the classes they gave.
    """
    for v in range(len(rows.classes)):
        i, j, k = rows.row_of[v], np.int64(rows.annotators[v]), rows.classes[v]
        several, agrees = rows.offsets[i + 1] - rows.offsets[i] >= 2, k == scored.label[i]
        quality, of_one = scored.vote_quality[v], by_annotator[j]
        units = to_units(quality)
        of_one[NUM] += 1
        of_one[AGREEING] += agrees
        of_one[NUM_MULTIPLE] += several
        of_one[AGREEING_MULTIPLE] += agrees and several
        of_one[SCORED] += quality == quality
        of_one[HIGH] += units >> LIMB_BITS
        of_one[LOW] += units & LOW_LIMB
        add_to_cell(slots, j * num_classes + k, int(agrees), to_units(scored.quality[i]))


@compiled
def add_pairs(rows: Rows, labels: Ints, num_classes: int, slots: Slots) -> None:
    """Count votes by the class given and the consensus label."""
    for v in range(len(rows.classes)):
        key = rows.classes[v] * num_classes + labels[rows.row_of[v]]
        add_to_cell(slots, key, NOTHING, NOTHING)


@compiled
def add_confidence(rows: Rows, scored: ScoredRows, slots: Slots) -> None:
    """Sum the posterior of consensus labels and of votes.

    The cells are those of annotators and classes, the consensus before the first annotator.
    """
    posterior = scored.posterior
    num_classes = posterior.shape[1]
    for i in range(len(rows.odd)):
        if rows.offsets[i] < rows.offsets[i + 1]:
            label = scored.label[i]
            add_to_cell(slots, label, NOTHING, to_units(posterior[i, label]))
    for v in range(len(rows.classes)):
        k, row = np.int64(rows.classes[v]), np.int64(rows.annotators[v]) + 1
        quality = posterior[rows.row_of[v], k]
        add_to_cell(slots, row * num_classes + k, NOTHING, to_units(quality))


class AnnotatorCounts:
    """How the votes of a block stand to its consensus, tile by tile."""

    def __init__(self, num_annotators: int, num_classes: int) -> None:
        """Begin with no votes."""
        self.num_classes = num_classes
        self.by_annotator = np.zeros((num_annotators, LOW + 1), dtype=np.int64)
        self.table = Table(num_annotators * num_classes)

    def add(self, rows: Rows, scored: ScoredRows) -> None:
        """Count the votes of some rows."""
        slots = self.table.with_room(len(rows.classes))
        add_votes(rows, scored, self.num_classes, self.by_annotator, slots)

    def statistics(self) -> AnnotatorStatistics:
        """Return the counts as a state."""
        columns = self.by_annotator.T.copy()
        return AnnotatorStatistics(
            num=columns[NUM],
            agreeing=columns[AGREEING],
            num_multiple=columns[NUM_MULTIPLE],
            agreeing_multiple=columns[AGREEING_MULTIPLE],
            quality=FixedSums.from_limbs(columns[HIGH], columns[LOW]),
            scored=columns[SCORED],
            by_class=self.table.cells(2),
        )


# --- histograms -------------------------------------------------------------------------------


@compiled
def add_to_histogram(values: Floats, counts: Ints) -> None:
    """Count values between 0 and 1 in bins of equal width; NaN is in none."""
    for i in range(len(values)):
        x = values[i]
        if x == x:
            counts[np.int64(max(min(x * HISTOGRAM_BINS, HISTOGRAM_BINS - 1.0), 0.0))] += 1


def histogram(values: Floats) -> Ints:
    """Return how many values between 0 and 1 are in each of the bins."""
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    add_to_histogram(first_holding(values, ("f8",)), counts)
    return counts
