"""The sparse form of a block of labels: every matrix and every store turns into it at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.method.findings import (
    FRACTIONAL,
    INFINITE,
    NEGATIVE,
    OUT_OF_RANGE,
    REPEATED,
    UNKNOWN_ANNOTATOR,
)
from daskal.method.values import NO_FAULTS, LabelBlock, SparseLabels

# Eight bools are one word of 64 bits.
WORD_BITS = 3
WORD = 1 << WORD_BITS

# Rows by which the votes of a row are judged.
SAMPLE_ROWS = 64
# Labels looked at in one go: fewer, and threads would hand Python's lock to and fro too often.
MASK_SIZE = 2**21


@dataclass(frozen=True)
class Votes:
    """Votes of consecutive rows.

    Attributes
    ----------
    rows : numpy.ndarray of int64, (v,)
        Ascending.
    annotators : numpy.ndarray of integer, (v,)
        Ascending within a row.
    classes : numpy.ndarray of int64, (v,)
    faulty_rows, faults, values : numpy.ndarray, (f,)
        Rows with a label that is none of the classes, the kind of fault, and the label seen. Their
        votes are left out.
    """

    rows: NDArray[np.int64]
    annotators: NDArray[np.integer]
    classes: NDArray[np.int64]
    faulty_rows: NDArray[np.int64]
    faults: NDArray[np.uint8]
    values: NDArray[np.float64]

    def drop_rows(self, rows: NDArray[np.integer]) -> Votes:
        """Return the same rows with the votes of ``rows`` taken out."""
        kept = np.isin(self.rows, rows, invert=True)
        return replace(
            self,
            rows=self.rows[kept],
            annotators=self.annotators[kept],
            classes=self.classes[kept],
        )


def order_votes(
    offsets: NDArray[np.int64],
    annotators: NDArray[np.integer],
    classes: NDArray[Any],
    num_annotators: int,
) -> SparseLabels:
    """Votes as they are stored, with annotators put in ascending order within each row.

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
    if annotators.dtype.kind == "u":
        # Older releases of NumPy do not count unsigned integers of 64 bits.
        annotators = annotators.astype(np.int64)
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


def votes_of(block: LabelBlock, start: int, stop: int, num_classes: int) -> Votes:
    """Votes of rows ``start:stop`` of a block of labels, a matrix or sparse."""
    if isinstance(block, SparseLabels):
        return sparse_votes(block, start, stop, num_classes)
    matrix = np.ascontiguousarray(block[start:stop])
    num_annotators = matrix.shape[1]
    places, labels = given_labels(matrix.reshape(-1))
    rows = places // max(num_annotators, 1)
    places -= rows * num_annotators
    return check_classes(rows, places, labels, num_classes)


def given_labels(labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Places of the labels that are not missing, and these labels."""
    if labels.dtype.kind in "ub":
        return np.arange(len(labels)), labels
    found = []
    for start in range(0, max(len(labels), 1), MASK_SIZE):
        part = labels[start : start + MASK_SIZE]
        places = true_places(is_given(part))
        found.append((places, part.take(places)))
        places += start
    if len(found) == 1:
        return found[0]
    all_places, given = zip(*found, strict=True)
    return np.concatenate(all_places), np.concatenate(given)


def is_given(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which labels are not missing."""
    if labels.dtype.kind in "ub":
        return np.ones(labels.shape, dtype=bool)
    # NaN alone differs from itself.
    return np.greater_equal(labels, 0) if labels.dtype.kind == "i" else np.equal(labels, labels)


def votes_a_row(block: LabelBlock) -> float:
    """About how many votes a row has, judging by some rows from all over a block."""
    if isinstance(block, SparseLabels):
        return len(block.classes) / max(len(block), 1)
    sample = block[:: max(len(block) // SAMPLE_ROWS, 1)]
    return np.count_nonzero(is_given(sample)) / max(len(sample), 1)


def true_places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """As ``np.flatnonzero``, several times faster where few are true.

    Words of eight without any are left out first, if they are more than half.
    """
    num_words = len(mask) // WORD
    if num_words < WORD:
        return np.flatnonzero(mask)
    words = mask[: num_words * WORD].view(np.uint64)
    any_true = words != 0
    if 2 * np.count_nonzero(any_true) > num_words:
        return np.flatnonzero(mask)
    kept = true_places(any_true)
    inside = np.flatnonzero(words.take(kept).view(np.bool_))
    kept *= WORD
    places = kept.take(inside >> WORD_BITS)
    places += inside & (WORD - 1)
    rest = np.flatnonzero(mask[num_words * WORD :])
    return np.concatenate([places, rest + num_words * WORD]) if len(rest) else places


def sparse_votes(block: SparseLabels, start: int, stop: int, num_classes: int) -> Votes:
    """Votes of rows ``start:stop`` of a sparse block."""
    offsets = block.offsets[start : stop + 1]
    first, last = offsets[0], offsets[-1]
    rows = np.repeat(np.arange(stop - start), np.diff(offsets))
    votes = check_classes(
        rows, block.annotators[first:last], block.classes[first:last], num_classes
    )
    low, high = np.searchsorted(block.faulty_rows, [start, stop])
    if low == high:
        return votes
    # Votes at fault have been left out, so no row is in both lists.
    faulty = np.concatenate([votes.faulty_rows, block.faulty_rows[low:high] - start])
    order = np.argsort(faulty)
    return replace(
        votes,
        faulty_rows=faulty[order],
        faults=np.concatenate([votes.faults, block.faults[low:high]])[order],
        values=np.concatenate([votes.values, block.values[low:high]])[order],
    )


def check_classes(
    rows: NDArray[np.int64],
    annotators: NDArray[np.integer],
    labels: NDArray[np.generic],
    num_classes: int,
) -> Votes:
    """Votes with labels as class codes; rows with a label that is no class lose their votes."""
    with np.errstate(invalid="ignore"):
        classes = labels.astype(np.int64)
    # Compared in the labels' own type: one pass each where all is well.
    if not len(classes) or (
        (labels.dtype.kind != "f" or bool((np.trunc(labels) == labels).all()))
        and classes.min() >= 0
        and classes.max() < num_classes
    ):
        return Votes(rows, annotators, classes, *NO_FAULTS)
    with np.errstate(over="ignore"):
        seen = labels.astype(np.float64)
    faults = np.zeros(len(seen), dtype=np.uint8)
    faults[seen >= num_classes] = OUT_OF_RANGE
    faults[seen != np.floor(seen)] = FRACTIONAL
    faults[seen < 0] = NEGATIVE
    faults[~np.isfinite(seen)] = INFINITE
    at = np.flatnonzero(faults)
    faulty, first = np.unique(rows[at], return_index=True)
    at = at[first]
    return Votes(rows, annotators, classes, faulty, faults[at], seen[at]).drop_rows(faulty)
