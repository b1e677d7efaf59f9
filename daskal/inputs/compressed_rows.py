"""Sparse votes as compressed rows, whichever of SciPy's formats they came in.

A stored 0 is a vote for class 0, so no operation of SciPy is used that adds up or drops entries:
the three arrays of the compressed rows are cut and joined as they are.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.errors import InputError, InvalidDataError
from daskal.method.findings import REPEATED, UNKNOWN_ANNOTATOR
from daskal.method.values import NO_FAULTS, SparseLabels
from daskal.text import plural

MEMBERS = ("indptr", "indices", "data")
# How many offsets are checked at once when broken ones are described (8 MiB).
SCAN_ROWS = 2**20
FIRST_ROWS = 10

# SciPy's formats whose entries are not those that the caller stored.
LOSSY_FORMATS = {
    "lil": "drops a stored 0",
    "dok": "drops a stored 0",
    "bsr": "fills its blocks up with zeros",
    "dia": "fills its diagonals up with zeros",
}


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


class Rows(NamedTuple):
    """Compressed rows, unchecked: votes of row i are ``offsets[i]:offsets[i + 1]``."""

    offsets: NDArray[np.integer]
    annotators: NDArray[np.integer]
    classes: NDArray[Any]

    def cut(self, start: int, stop: int) -> Rows:
        """Return rows ``start:stop``, as views."""
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return Rows(
            self.offsets[start : stop + 1], self.annotators[first:last], self.classes[first:last]
        )

    def ordered(self, num_annotators: int) -> SparseLabels:
        """Return these rows as a block of labels, its votes in order."""
        offsets = self.offsets.astype(np.int64)
        return order_votes(offsets - offsets[0], self.annotators, self.classes, num_annotators)


# --- structure --------------------------------------------------------------------------------


def check_dtypes(name: str, rows: Rows) -> None:
    """Refuse members that do not hold the numbers expected."""
    for member, array, kinds in zip(MEMBERS, rows, ("iu", "iu", "fiub"), strict=True):
        if array.dtype.kind not in kinds:
            expected = "class codes" if member == "data" else "integers"
            raise InputError(f"{name}: expected {expected} in {member}, got {array.dtype}.")


def offsets_are_sound(
    offsets: NDArray[np.integer], num_votes: int, *, first: bool, last: bool
) -> bool:
    """Return whether the offsets of a block never fall, and stay within the votes."""
    low, high = int(offsets[0]), int(offsets[-1])
    return bool(
        (low == 0 if first else low >= 0)
        and (high == num_votes if last else high <= num_votes)
        and (offsets[1:] >= offsets[:-1]).all()
    )


def raise_broken_offsets(name: str, where: str, indptr: Any, num_votes: int) -> None:
    """Raise an error on all broken offsets, the same whichever block they were found in."""
    ends = int(indptr[0]), int(indptr[-1])
    rows: list[str] = []
    count = 0
    for start in range(0, indptr.shape[0] - 1, SCAN_ROWS):
        offsets = np.asarray(indptr[start : start + SCAN_ROWS + 1])
        before, after = offsets[:-1], offsets[1:]
        bad = np.flatnonzero((after < before) | (before < 0) | (after > num_votes))
        count += len(bad)
        rows += [
            f"{start + at:,} ({before[at]:,} to {after[at]:,})"
            for at in bad[: FIRST_ROWS - len(rows)].tolist()
        ]
    more = f", and {count - len(rows):,} more" if count > len(rows) else ""
    listed = f", and has {plural(count, 'bad row')}: {', '.join(rows)}{more}" if count else ""
    raise InvalidDataError(
        f"{name}: expected indptr of {where} to begin with 0, never fall and end with "
        f"{num_votes:,}, the length of data; it begins with {ends[0]:,}, ends with {ends[1]:,}"
        f"{listed}. Write the sparse votes anew."
    )


# --- matrices ---------------------------------------------------------------------------------


def is_sparse(value: Any) -> bool:
    """Return whether a value is one of SciPy's matrices or arrays, without importing SciPy."""
    return hasattr(value, "tocsr") and any(
        base.__module__.startswith("scipy.sparse") for base in type(value).__mro__
    )


def rows_of(name: str, matrix: Any) -> Rows:
    """Return the compressed rows of a SciPy matrix in any format that keeps all votes."""
    if matrix.ndim != 2:
        raise InputError(f"{name}: expected an (N, M) sparse matrix, got shape {matrix.shape}.")
    if matrix.format in LOSSY_FORMATS:
        raise InputError(
            f"{name}: expected a CSR, CSC or COO matrix, got {matrix.format.upper()}, which "
            f"{LOSSY_FORMATS[matrix.format]}: a 0 is a vote for class 0. Build a CSR matrix from "
            "(label, (row, annotator)) instead."
        )
    if matrix.format == "csr":
        return Rows(matrix.indptr, matrix.indices, matrix.data)
    if matrix.format == "csc":
        columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
        return compress(matrix.indices, columns, matrix.data, matrix.shape[0])
    return compress(matrix.row, matrix.col, matrix.data, matrix.shape[0])


def compress(
    rows: NDArray[np.integer], annotators: NDArray[np.integer], classes: NDArray[Any], num_rows: int
) -> Rows:
    """Return votes in any order as compressed rows; SciPy would add up repeated ones."""
    order = np.argsort(rows, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))])
    return Rows(offsets, annotators[order], classes[order])


def mean_row_bytes(num_rows: int, rows: Any) -> int:
    """Return the mean bytes of a row of votes; the three members may be stored."""
    offsets, annotators, classes = rows
    vote = annotators.dtype.itemsize + classes.dtype.itemsize
    return offsets.dtype.itemsize + math.ceil(vote * annotators.shape[0] / max(num_rows, 1))
