"""Votes: found in a label matrix of any dtype, or taken from sparse ones, and checked.

Axes: n rows, m annotators, v votes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled, first_holding, is_held
from daskal.kernels.consensus import insert
from daskal.kernels.instructions import BITS, bits_from, trailing_zeros
from daskal.kernels.lanes import Codes, Marks, Rows, Scratch
from daskal.method.findings import (
    FRACTIONAL,
    INFINITE,
    NEGATIVE,
    OUT_OF_RANGE,
)
from daskal.method.values import Floats, Ints, LabelBlock, SparseLabels

# Votes of a tile of rows, so many or those of its one row.
MOST_VOTES = 2**17
# Labels of a tile that is copied, as of a matrix in Fortran order or of a rare dtype, missing ones
# counted too, or those of its one row.
MOST_LABELS = 2**20
# Dtypes that the finder is compiled for.
LABEL_DTYPES = ("i1", "i4", "i8", "f4", "f8")


class FoundVotes(NamedTuple):
    """Votes, and what is wrong with the labels of the rows that have lost theirs."""

    offsets: Ints  # (n + 1,)
    row_of: Codes  # (v,)
    annotators: Codes  # (v,)
    classes: Codes  # (v,)
    faults: Marks  # (n,), 0 for nothing
    seen: Floats  # (n,)

    @classmethod
    def room(cls, scratch: Scratch, num_rows: int, num_votes: int) -> FoundVotes:
        """Return room for so many."""
        return cls(
            scratch.take_zeros("offsets", num_rows + 1, dtype=np.int64),
            scratch.take("row of", num_votes, dtype=np.int32),
            scratch.take("annotators", num_votes, dtype=np.int32),
            scratch.take("classes", num_votes, dtype=np.int32),
            scratch.take_zeros("label faults", num_rows, dtype=np.uint8),
            scratch.take_zeros("labels seen", num_rows),
        )

    def of_rows(self, num_rows: Whole) -> FoundVotes:
        """Return those of the first rows, now that they are written; rows at fault lose theirs."""
        offsets = self.offsets[: num_rows + 1]
        close_rows(offsets)
        row_of, annotators, classes = (each[: offsets[-1]] for each in self[1:4])
        faults, seen = self.faults[:num_rows], self.seen[:num_rows]
        found = FoundVotes(offsets, row_of, annotators, classes, faults, seen)
        return found.without(np.flatnonzero(faults)) if faults.any() else found

    def without(self, rows: Ints) -> FoundVotes:
        """Return votes with those of some rows taken out."""
        num = np.diff(self.offsets)
        num[rows] = 0
        kept = num[self.row_of] > 0
        row_of, annotators, classes = (each[kept] for each in self[1:4])
        offsets = np.concatenate([[0], np.cumsum(num)])
        return FoundVotes(offsets, row_of, annotators, classes, self.faults, self.seen)


@compiled
def close_rows(offsets: Ints) -> None:
    """Write the offsets of rows without votes, of which nothing was written."""
    for row in range(1, len(offsets)):
        offsets[row] = max(offsets[row], offsets[row - 1])


def find_votes(
    labels: LabelBlock, start: int, most_rows: int, num_classes: int, scratch: Scratch
) -> FoundVotes:
    """Return the votes of rows from ``start`` on, of an (n, m) matrix or sparse ones.

    Of ``most_rows`` at most, and of fewer where these have too many labels or votes.
    """
    if isinstance(labels, SparseLabels):
        return find_sparse(labels, start, most_rows, num_classes, scratch)
    if not is_held(labels, LABEL_DTYPES):
        most_rows = min(most_rows, max(MOST_LABELS // max(labels.shape[1], 1), 1))
    matrix = first_holding(labels[start : start + most_rows], LABEL_DTYPES)
    num_rows, num_annotators = matrix.shape
    size = min(max(MOST_VOTES, num_annotators), matrix.size) + BITS
    found = FoundVotes.room(scratch, num_rows, size)
    # Below this a label is missing, and NaN is not above it.
    least = matrix.dtype.type(-np.inf if matrix.dtype.kind == "f" else 0)
    done = find_dense(matrix.reshape(-1), num_annotators, least, num_classes, found)
    return found.of_rows(done)


@compiled
def find_dense(
    labels: NDArray[Any], num_annotators: int, least: Any, num_classes: int, found: FoundVotes
) -> Whole:
    """Write the votes of rows of m labels each; return how many rows there was room for.

    There is room for those of one row, and of ``BITS`` labels more.
    """
    most, inverse = len(found.classes) - BITS, 1.0 / num_annotators
    # Of one type from the start: what is compiled for a literal is compiled once more for others.
    num: Whole = np.int64(0)
    for start in range(0, len(labels), BITS):
        if num > most:
            return start // num_annotators
        if start + BITS <= len(labels):
            bits = bits_from(labels, start, least)
        else:
            bits = np.uint64(0)
            for at in range(start, len(labels)):
                bits |= np.uint64(labels[at] >= least) << np.uint64(at - start)
        while bits != 0:
            at = start + trailing_zeros(bits)
            bits &= bits - np.uint64(1)
            # A quotient in few instructions: half a label keeps it off what rounding reaches.
            row = np.int64((at + 0.5) * inverse)
            annotator = at - row * num_annotators
            num = add_vote(row, num, annotator, labels[at], num_classes, found)
    return len(found.faults)


@compiled
def add_vote(
    row: Whole, num: Whole, annotator: Whole, label: Any, num_classes: int, found: FoundVotes
) -> Whole:
    """Write one more vote, and what is wrong with its label; return how many votes there are."""
    fault = check_label(np.float64(label), num_classes)
    if fault != 0 and found.faults[row] == 0:
        found.faults[row], found.seen[row] = fault, label
    found.row_of[num], found.annotators[num] = row, annotator
    found.classes[num] = np.int32(label) if fault == 0 else np.int32(0)
    found.offsets[row + 1] = num + 1
    return num + 1


@compiled
def check_label(label: float, num_classes: int) -> int:
    """Return what is wrong with a label, 0 if it is a class."""
    if (label >= 0.0) & (label < num_classes) & (label == np.floor(label)):
        return 0
    if label - label != 0.0:
        return INFINITE
    if label < 0.0:
        return NEGATIVE
    return FRACTIONAL if label != np.floor(label) else OUT_OF_RANGE


# --- sparse votes -----------------------------------------------------------------------------


def find_sparse(
    labels: SparseLabels, start: int, most_rows: int, num_classes: int, scratch: Scratch
) -> FoundVotes:
    """Return the votes of rows from ``start`` on of sparse labels, as of a matrix."""
    stop = min(start + most_rows, len(labels))
    first = labels.offsets[start]
    fitting = int(np.searchsorted(labels.offsets, first + MOST_VOTES, side="right")) - 1
    stop = max(min(stop, fitting), min(start + 1, stop))
    given = slice(first, labels.offsets[stop])
    found = FoundVotes.room(scratch, stop - start, given.stop - first)
    low, high = np.searchsorted(labels.faulty_rows, [start, stop])
    at = labels.faulty_rows[low:high] - start
    found.faults[at], found.seen[at] = labels.faults[low:high], labels.values[low:high]
    take_votes(
        first_holding(labels.offsets[start : stop + 1], ("i8",)),
        first_holding(labels.annotators[given], ("i8",)),
        first_holding(labels.classes[given], ("f8",)),
        num_classes,
        found,
    )
    return found.of_rows(stop - start)


@compiled
def take_votes(
    bounds: Ints, annotators: Ints, classes: Floats, num_classes: int, found: FoundVotes
) -> None:
    """Write sparse votes."""
    for row in range(len(found.faults)):
        for v in range(bounds[row] - bounds[0], bounds[row + 1] - bounds[0]):
            add_vote(row, v, annotators[v], classes[v], num_classes, found)


# --- votes as cleanlab counts them ------------------------------------------------------------


@compiled
def miscount_votes(rows: Rows, distinct: Ints, places: Ints) -> None:
    """Write as which class each vote counts when a row's distinct labels count as 0, 1, 2, ..."""
    for i in range(len(rows.odd)):
        first, last = rows.offsets[i], rows.offsets[i + 1]
        num: Whole = np.int64(0)
        for v in range(first, last):
            num = insert(distinct, num, rows.classes[v])
        for at in range(num):
            places[distinct[at]] = at
        for v in range(first, last):
            rows.counted[v] = places[rows.classes[v]]
