"""Votes: found in a label matrix of any dtype, or taken from sparse ones, and checked.

Axes: n rows, m annotators, v votes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled, read_only
from daskal.kernels.lanes import Marks
from daskal.kernels.powers import trailing_zeros
from daskal.method.findings import (
    FRACTIONAL,
    INFINITE,
    NEGATIVE,
    OUT_OF_RANGE,
    REPEATED,
    UNKNOWN_ANNOTATOR,
)
from daskal.method.values import NO_FAULTS, Floats, Ints, SparseLabels

# Labels compared in one go, eight to a word of their marks.
PART = 1024
WORD = 8
# Votes of a tile of rows, so many or those of its one row.
MOST_VOTES = 2**17
# Labels of a tile, missing ones counted too, or those of its one row: a matrix in Fortran order, or
# of a rare dtype, is copied tile by tile.
MOST_LABELS = 2**20
# Dtypes that the finder is compiled for. Others turn into the first of these that holds them.
LABEL_DTYPES = ("i1", "i4", "i8", "f4", "f8")


class Votes(NamedTuple):
    """Votes of consecutive rows, those of row ``i`` from ``offsets[i]`` to ``offsets[i + 1]``."""

    offsets: Ints  # (n + 1,)
    annotators: NDArray[np.int32]  # (v,), ascending within a row
    classes: NDArray[np.int32]  # (v,)


class CheckedVotes(NamedTuple):
    """Votes, and what is wrong with the labels of the rows that have lost theirs."""

    votes: Votes
    faults: Marks  # (n,), 0 for nothing
    seen: Floats  # (n,)


def order_votes(
    offsets: NDArray[np.int64],
    annotators: NDArray[np.integer],
    classes: NDArray[Any],
    num_annotators: int,
) -> SparseLabels:
    """Return votes as they are stored, annotators put in ascending order within each row.

    A row with an annotator there is not, or with the same one twice, is at fault.
    """
    num = np.diff(offsets)
    first = np.zeros(len(annotators), dtype=bool)
    first[offsets[:-1][num > 0]] = True
    if not ((annotators[1:] > annotators[:-1]) | first[1:]).all():
        order = np.lexsort((annotators, np.repeat(np.arange(len(num)), num)))
        annotators, classes = annotators[order], classes[order]
    faults = np.zeros(len(annotators), dtype=np.uint8)
    faults[1:][(annotators[1:] == annotators[:-1]) & ~first[1:]] = REPEATED
    faults[(annotators < 0) | (annotators >= num_annotators)] = UNKNOWN_ANNOTATOR
    at = np.flatnonzero(faults)
    seen = annotators[at].astype(np.float64)
    if not len(at):
        return SparseLabels(offsets, annotators, classes, *NO_FAULTS)
    row_of = np.repeat(np.arange(len(num)), num)
    faulty, earliest = np.unique(row_of[at], return_index=True)
    kept = np.isin(row_of, faulty, invert=True)
    num[faulty] = 0
    offsets = np.concatenate([[0], np.cumsum(num)])
    return SparseLabels(
        offsets, annotators[kept], classes[kept], faulty, faults[at[earliest]], seen[earliest]
    )


def matrix_votes(
    matrix: NDArray[Any], start: int, most_rows: int, num_classes: int
) -> CheckedVotes:
    """Return the votes of rows from ``start`` on of an (n, m) matrix.

    Of ``most_rows`` at most, and of fewer where these have too many labels or votes.
    """
    most_rows = min(most_rows, max(MOST_LABELS // max(matrix.shape[1], 1), 1))
    labels = known_labels(matrix[start : start + most_rows])
    num_rows, num_annotators = labels.shape
    size = min(max(MOST_VOTES, num_annotators), labels.size) + PART
    offsets = np.zeros(num_rows + 1, dtype=np.int64)
    annotators, classes = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    faults, seen = np.zeros(num_rows, dtype=np.uint8), np.zeros(num_rows)
    # Below this a label is missing, and NaN is not above it.
    least = labels.dtype.type(-np.inf if labels.dtype.kind == "f" else 0)
    done = find_votes(
        labels.reshape(-1), num_annotators, least, num_classes,
        offsets, annotators, classes, faults, seen,
    )  # fmt: skip
    num = int(offsets[done])
    votes = Votes(offsets[: done + 1], annotators[:num], classes[:num])
    return CheckedVotes(votes, faults[:done], seen[:done])


def known_labels(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels in C order, in a dtype that the finder is compiled for."""
    for dtype in LABEL_DTYPES:
        if np.can_cast(labels.dtype, dtype):
            return read_only(labels, dtype)
    # Numbers that no other type holds are no classes in any.
    with np.errstate(over="ignore"):
        return read_only(labels.astype(np.float64))


@compiled
def find_votes(
    labels: NDArray[Any],
    num_annotators: int,
    least: Any,
    num_classes: int,
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    faults: Marks,
    seen: Floats,
) -> Whole:
    """Write the votes of rows of m labels each; return how many rows there was room for.

    A row with a label that is no class has no votes. There is room for those of one row, and of
    ``PART`` labels more.
    """
    num_rows, num_labels = len(faults), len(labels)
    words = np.empty(PART // WORD, dtype=np.uint64)
    marks = words.view(np.uint8)
    # Of one type from the start: what is compiled for a literal is compiled once more for others.
    row: Whole = np.int64(0)
    num: Whole = np.int64(0)
    row_start, row_end = 0, num_annotators
    for start in range(0, num_labels, PART):
        if num + PART > len(classes):
            return row
        part = labels[start : start + PART]
        if len(part) < PART:
            words[:] = 0
        for at in range(len(part)):
            marks[at] = part[at] >= least
        for word in range(len(words)):
            bits = words[word]
            while bits != 0:
                at = start + word * WORD + (trailing_zeros(bits) >> 3)
                bits &= bits - np.uint64(1)
                while at >= row_end:
                    num = close_row(row, num, faults, offsets)
                    row += 1
                    row_start, row_end = row_end, row_end + num_annotators
                label = labels[at]
                fault = check_label(np.float64(label), num_classes)
                if fault != 0:
                    if faults[row] == 0:
                        faults[row], seen[row] = fault, label
                    continue
                annotators[num], classes[num] = at - row_start, label
                num += 1
    while row < num_rows:
        num = close_row(row, num, faults, offsets)
        row += 1
    return num_rows


@compiled
def close_row(row: Whole, num: Whole, faults: Marks, offsets: Ints) -> Whole:
    """Write where a row's votes end, and return it; a row at fault has none."""
    if faults[row] != 0:
        num = offsets[row]
    offsets[row + 1] = num
    return num


@compiled
def check_label(label: float, num_classes: int) -> int:
    """Return what is wrong with a label, 0 if it is a class."""
    if label - label != 0.0:
        return INFINITE
    if label < 0.0:
        return NEGATIVE
    if label != np.floor(label):
        return FRACTIONAL
    return OUT_OF_RANGE if label >= num_classes else 0


# --- sparse votes -----------------------------------------------------------------------------


def sparse_votes(
    labels: SparseLabels, start: int, most_rows: int, num_classes: int
) -> CheckedVotes:
    """Return the votes of rows from ``start`` on of sparse labels, as of a matrix."""
    stop = min(start + most_rows, len(labels))
    first = int(labels.offsets[start])
    fitting = int(np.searchsorted(labels.offsets, first + MOST_VOTES, side="right")) - 1
    stop = max(min(stop, fitting), min(start + 1, stop))
    given = slice(first, int(labels.offsets[stop]))
    offsets = np.zeros(stop - start + 1, dtype=np.int64)
    faults, seen = np.zeros(stop - start, dtype=np.uint8), np.zeros(stop - start)
    low, high = np.searchsorted(labels.faulty_rows, [start, stop])
    at = labels.faulty_rows[low:high] - start
    faults[at], seen[at] = labels.faults[low:high], labels.values[low:high]
    size = given.stop - given.start
    annotators, classes = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.int32)
    with np.errstate(over="ignore"):
        values = read_only(labels.classes[given].astype(np.float64))
    take_votes(
        read_only(labels.offsets[start : stop + 1], np.int64),
        read_only(labels.annotators[given].astype(np.int64), np.int64),
        values, num_classes, offsets, annotators, classes, faults, seen,
    )  # fmt: skip
    num = int(offsets[-1])
    return CheckedVotes(Votes(offsets, annotators[:num], classes[:num]), faults, seen)


@compiled
def take_votes(
    bounds: Ints,
    given_annotators: Ints,
    given_classes: Floats,
    num_classes: int,
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    faults: Marks,
    seen: Floats,
) -> None:
    """Write sparse votes; a row with a label that is no class has none."""
    num: Whole = np.int64(0)
    for row in range(len(faults)):
        for v in range(bounds[row] - bounds[0], bounds[row + 1] - bounds[0]):
            label = given_classes[v]
            fault = check_label(label, num_classes)
            if fault == 0:
                annotators[num], classes[num] = given_annotators[v], label
                num += 1
            elif faults[row] == 0:
                faults[row], seen[row] = fault, label
        num = close_row(row, num, faults, offsets)


# --- votes as cleanlab counts them ------------------------------------------------------------


@compiled
def miscount_classes(votes: Votes, num_classes: int, counted: NDArray[np.int32]) -> None:
    """Write as which class each vote counts when a row's distinct labels count as 0, 1, 2, ..."""
    rank, distinct = np.empty(num_classes, dtype=np.int64), np.empty(num_classes, dtype=np.int64)
    for k in range(num_classes):
        rank[k] = -1
    for i in range(len(votes.offsets) - 1):
        num = 0
        for v in range(votes.offsets[i], votes.offsets[i + 1]):
            k = votes.classes[v]
            if rank[k] >= 0:
                continue
            rank[k] = 0
            at = num
            while at > 0 and distinct[at - 1] > k:
                distinct[at] = distinct[at - 1]
                at -= 1
            distinct[at] = k
            num += 1
        for at in range(num):
            rank[distinct[at]] = at
        for v in range(votes.offsets[i], votes.offsets[i + 1]):
            counted[v] = rank[votes.classes[v]]
        for at in range(num):
            rank[distinct[at]] = -1
