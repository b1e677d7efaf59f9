"""Counts and sums of pass 2: annotators against the consensus, cells of large tables, histograms.

Axes: n rows, k classes, m annotators, v votes, s slots of a table.
"""

from __future__ import annotations

import numpy as np

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.votes import Votes
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
# Knuth's: the golden ratio's bits scatter keys that follow each other.
SCATTER = np.uint64(0x9E3779B97F4A7C15)


class Table:
    """Cells of a large table by their number, of which only those that occur take room."""

    def __init__(self, num_cells: int) -> None:
        """Begin with none of so many cells."""
        self.num_cells = num_cells
        self.keys = np.full(LEAST_SLOTS, EMPTY)
        self.values = np.zeros((LEAST_SLOTS, CELL_LOW + 1), dtype=np.int64)
        self.taken = 0

    def make_room(self, num_entries: int) -> None:
        """Have free slots for the cells of so many more entries."""
        slots = len(self.keys)
        while slots < 2 * min(self.taken + num_entries, self.num_cells):
            slots *= 2
        if slots > len(self.keys):
            keys, values = np.full(slots, EMPTY), np.zeros((slots, CELL_LOW + 1), dtype=np.int64)
            move_cells(self.keys, self.values, keys, values)
            self.keys, self.values = keys, values

    def cells(self, num_counts: int) -> Cells:
        """Return the cells as a state, with one count each or two."""
        at = np.flatnonzero(self.keys != EMPTY)
        at = at[np.argsort(self.keys[at])]
        values = self.values[at].T
        sums = FixedSums.from_limbs(values[CELL_HIGH], values[CELL_LOW])
        return Cells(self.keys[at], values[:num_counts].copy(), sums)


@compiled
def find_slot(keys: Ints, key: int) -> int:
    """Return the slot of a cell: its own, or the free one that is its."""
    last = len(keys) - 1
    at = np.int64((np.uint64(key) * SCATTER) >> np.uint64(32)) & last
    while keys[at] != key and keys[at] != EMPTY:
        at = (at + 1) & last
    return at  # type: ignore[return-value]


@compiled
def take_slot(keys: Ints, key: int) -> tuple[int, int]:
    """Return the slot of a cell, and how many slots it has taken anew."""
    at = find_slot(keys, key)
    new = keys[at] == EMPTY
    keys[at] = key
    return at, int(new)


@compiled
def move_cells(keys: Ints, values: Ints, more_keys: Ints, more_values: Ints) -> None:
    """Move the cells of a table into a larger one."""
    for at in range(len(keys)):
        if keys[at] != EMPTY:
            slot, _ = take_slot(more_keys, keys[at])
            for column in range(values.shape[1]):
                more_values[slot, column] = values[at, column]


@compiled
def to_units(quality: float) -> int:
    """Return a quality in units of the sums; NaN counts as zero."""
    return int(np.rint(quality * QUALITY_UNITS)) if quality == quality else 0


@compiled
def add_votes(
    votes: Votes,
    num_classes: int,
    labels: Ints,
    quality: Floats,
    vote_quality: Floats,
    by_annotator: Ints,
    keys: Ints,
    values: Ints,
) -> int:
    """Count how votes stand to the consensus of their rows; return how many cells are new.

    ``by_annotator`` is (m, 7); the cells are those of annotators and the classes they gave.
    """
    taken = 0
    offsets, classes, annotators = votes.offsets, votes.classes, votes.annotators
    for i in range(len(labels)):
        first, last = offsets[i], offsets[i + 1]
        row_units = to_units(quality[i])
        for v in range(first, last):
            agrees = classes[v] == labels[i]
            j, units = annotators[v], to_units(vote_quality[v])
            by_annotator[j, NUM] += 1
            by_annotator[j, AGREEING] += agrees
            by_annotator[j, NUM_MULTIPLE] += last - first >= 2
            by_annotator[j, AGREEING_MULTIPLE] += agrees and last - first >= 2
            by_annotator[j, SCORED] += vote_quality[v] == vote_quality[v]
            by_annotator[j, HIGH] += units >> LIMB_BITS
            by_annotator[j, LOW] += units & LOW_LIMB
            slot, new = take_slot(keys, np.int64(j) * num_classes + classes[v])
            taken += new
            values[slot, COUNT] += 1
            values[slot, SECOND_COUNT] += agrees
            values[slot, CELL_HIGH] += row_units >> LIMB_BITS
            values[slot, CELL_LOW] += row_units & LOW_LIMB
    return taken


@compiled
def add_pairs(votes: Votes, num_classes: int, labels: Ints, keys: Ints, values: Ints) -> int:
    """Count votes by the class given and the consensus label; return how many cells are new."""
    taken = 0
    offsets, classes = votes.offsets, votes.classes
    for i in range(len(labels)):
        for v in range(offsets[i], offsets[i + 1]):
            slot, new = take_slot(keys, classes[v] * num_classes + labels[i])
            taken += new
            values[slot, COUNT] += 1
    return taken


@compiled
def add_confidence(
    votes: Votes,
    labels: Ints,
    posterior: Floats,
    keys: Ints,
    values: Ints,
) -> int:
    """Sum the posterior of consensus labels and of votes; return how many cells are new.

    The cells are those of annotators and classes, the consensus before the first annotator.
    """
    taken = 0
    num_classes = posterior.shape[1]
    for i in range(len(labels)):
        first, last = votes.offsets[i], votes.offsets[i + 1]
        for v in range(first - 1 if first < last else last, last):
            k = votes.classes[v] if v >= first else labels[i]
            row = votes.annotators[v] + 1 if v >= first else 0
            slot, new = take_slot(keys, np.int64(row) * num_classes + k)
            taken += new
            units = to_units(posterior[i, k])
            values[slot, COUNT] += 1
            values[slot, CELL_HIGH] += units >> LIMB_BITS
            values[slot, CELL_LOW] += units & LOW_LIMB
    return taken


class AnnotatorCounts:
    """How the votes of a block stand to its consensus, tile by tile."""

    def __init__(self, num_annotators: int, num_classes: int) -> None:
        """Begin with no votes."""
        self.num_classes = num_classes
        self.by_annotator = np.zeros((num_annotators, LOW + 1), dtype=np.int64)
        self.table = Table(num_annotators * num_classes)

    def add(self, votes: Votes, labels: Ints, quality: Floats, vote_quality: Floats) -> None:
        """Count the votes of some rows, given their consensus, its quality and each vote's."""
        table = self.table
        table.make_room(len(votes.classes))
        table.taken += add_votes(
            votes, self.num_classes,
            read_only(labels, np.int64), read_only(quality), read_only(vote_quality),
            self.by_annotator, table.keys, table.values,
        )  # fmt: skip

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
    add_to_histogram(read_only(values), counts)
    return counts
