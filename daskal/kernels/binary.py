"""Blocks whose examples may have several classes at once, taken apart into binary problems.

Axes: p models, n rows, m annotators, k classes, v votes, c chosen classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.lanes import HIGH_TOLERANCE, LOW_TOLERANCE, Scratch
from daskal.method.findings import (
    ABOVE_ONE,
    BELOW_ZERO,
    INFINITE,
    NEGATIVE,
    NOT_BINARY,
    NOT_FINITE,
    Findings,
)
from daskal.method.values import NO_FAULTS, Block, Floats, Ints, LabelBlock, SparseLabels, TagLabels

# Classes taken out of a block at once: their probabilities fill whole lines of the cache.
CLASSES_AT_ONCE = 16
# Numbers of a block that are looked at in one go, so that they stay in the cache.
STEP_ELEMENTS = 2**16
MISSING = -1

# --- rows at fault ----------------------------------------------------------------------------


class Checked(NamedTuple):
    """A block, and what is wrong with it. A row at fault in any class takes no part in any."""

    labels: Any  # (n, m, k) array or TagLabels, None for the pool
    block: Block
    findings: Findings
    faulty: Ints  # numbers of rows at fault within the block


def check_block(block: Block) -> Checked:
    """Return a block with what is wrong with it."""
    findings = Findings()
    labels: Any = block.labels
    name = "pred_probs" if labels is not None else "pred_probs_unlabeled"
    bad = np.zeros(len(block.probs[0]), dtype=bool)
    arrays: list[tuple[str, Any, Any]] = [
        (name if len(block.probs) == 1 else f"{name}[{p}]", probs, faults_of_probs)
        for p, probs in enumerate(block.probs)
    ]
    if isinstance(labels, np.ndarray):
        arrays.append(("labels", labels, faults_of_labels))
    for called, array, faults_of in arrays:
        for rows in steps(array):
            codes, seen = faults_of(array[rows])
            at = np.flatnonzero(codes)
            if len(at):
                index = at + rows.start
                found = Findings.from_rows(called, codes[at], index + block.first_row, seen[at])
                findings = findings.merge(found)
                bad[index] = True
    return Checked(labels, block, findings, np.flatnonzero(bad))


def steps(array: NDArray[Any]) -> Iterator[slice]:
    """Yield slices of rows that are worked on in one go."""
    num_rows = len(array)
    step = max(1, STEP_ELEMENTS * num_rows // max(array.size, 1))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


NO_CODES = (np.zeros(0, dtype=np.uint8), np.zeros(0))


def faults_of_probs(probs: NDArray[Any]) -> tuple[NDArray[np.uint8], Floats]:
    """Return what is wrong with each of some (n, k) rows, 0 for nothing, and the value seen."""
    if ((probs >= LOW_TOLERANCE) & (probs <= HIGH_TOLERANCE)).all():
        return NO_CODES
    values = probs.astype(np.float64)
    return first_faults(
        values,
        (
            (NOT_FINITE, ~np.isfinite(values)),
            (BELOW_ZERO, values < LOW_TOLERANCE),
            (ABOVE_ONE, values > HIGH_TOLERANCE),
        ),
    )


def faults_of_labels(labels: NDArray[Any]) -> tuple[NDArray[np.uint8], Floats]:
    """Return what is wrong with each of some (n, m, k) rows, 0 for nothing, and the label seen."""
    if labels.dtype.kind == "b" or (labels.dtype.kind in "iu" and labels.max(initial=0) <= 1):
        return NO_CODES
    missing = labels < 0 if labels.dtype.kind in "iu" else np.isnan(labels)
    good = missing | (labels == 0) | (labels == 1)
    if good.all():
        return NO_CODES
    values = labels.astype(np.float64)
    wrong = ~good
    return first_faults(
        values.reshape(len(values), -1),
        (
            (INFINITE, (wrong & np.isinf(values)).reshape(len(values), -1)),
            (NEGATIVE, (wrong & (values < 0)).reshape(len(values), -1)),
            (NOT_BINARY, wrong.reshape(len(values), -1)),
        ),
    )


def first_faults(
    values: Floats, kinds: Sequence[tuple[int, NDArray[np.bool_]]]
) -> tuple[NDArray[np.uint8], Floats]:
    """Return the first kind of fault of each row of (n, e) values, 0 for none, and its value."""
    codes, seen = np.zeros(len(values), dtype=np.uint8), np.zeros(len(values))
    for code, wrong in kinds:
        rows = np.flatnonzero(wrong.any(axis=1) & (codes == 0))
        codes[rows] = code
        seen[rows] = values[rows, wrong[rows].argmax(axis=1)]
    return codes, seen


# --- binary problems --------------------------------------------------------------------------


def binary_blocks(checked: Checked, wanted: Sequence[bool]) -> Iterator[tuple[int, Block]]:
    """Yield the number and the block of each wanted class: probabilities [1 - p, p], votes 0 and 1.

    Probabilities are float64, those that lie beyond 0 or 1 by rounding put there. Rows at fault
    have lost their votes, and their probabilities are even. Arrays hold until the next class is
    taken.
    """
    scratch = Scratch()
    given, block, faulty = checked.labels, checked.block, checked.faulty
    tags = Tags.of(given, faulty, len(wanted)) if isinstance(given, TagLabels) else None
    for first in range(0, len(wanted), CLASSES_AT_ONCE):
        group = slice(first, min(first + CLASSES_AT_ONCE, len(wanted)))
        if not any(wanted[group]):
            continue
        probs = [
            pairs_of(model, group, faulty, scratch, f"pairs {p}")
            for p, model in enumerate(block.probs)
        ]
        labels = labels_of(given, group, faulty, scratch) if isinstance(given, np.ndarray) else None
        for at, k in enumerate(range(group.start, group.stop)):
            if wanted[k]:
                votes: LabelBlock | None = None
                if tags is not None:
                    votes = tags.of_class(k)
                elif labels is not None:
                    votes = labels[at]
                yield k, Block(votes, [model[at] for model in probs], block.first_row)


def pairs_of(
    probs: NDArray[Any], group: slice, faulty: Ints, scratch: Scratch, name: str
) -> Floats:
    """Return (k, n, 2) probabilities that some classes are not chosen, and that they are."""
    pairs = scratch.take(name, group.stop - group.start, len(probs), 2)
    for rows in steps(probs):
        chosen = pairs[:, rows, 1]
        np.clip(probs[rows, group].T, 0.0, 1.0, out=chosen, casting="unsafe")
        np.subtract(1.0, chosen, out=pairs[:, rows, 0])
    pairs[:, faulty] = 0.5
    return pairs


def labels_of(labels: NDArray[Any], group: slice, faulty: Ints, scratch: Scratch) -> NDArray[Any]:
    """Return the (k, n, m) labels of some classes."""
    # Types that have no negative numbers hold none but 0 and 1 here.
    dtype = np.dtype(np.int8) if labels.dtype.kind in "bu" else labels.dtype
    num_rows, num_annotators, _ = labels.shape
    size = group.stop - group.start
    taken = scratch.take("labels", size, num_rows, num_annotators, dtype=dtype)
    missing = np.nan if dtype.kind == "f" else MISSING
    for rows in steps(labels):
        np.copyto(taken[:, rows], labels[rows, :, group].transpose(2, 0, 1), casting="unsafe")
    taken[:, faulty] = missing
    return taken


class Tags(NamedTuple):
    """Votes as who was asked and what they chose, the chosen ones by class."""

    offsets: Ints  # (n + 1,)
    annotators: NDArray[np.int32]  # (v,)
    votes: Ints  # (c,) numbers of votes that chose a class, class by class
    bounds: Ints  # (k + 1,) of the votes of each class

    @classmethod
    def of(cls, labels: TagLabels, faulty: Ints, num_classes: int) -> Tags:
        """Return the votes of all rows but those at fault."""
        num = np.diff(labels.offsets)
        num_chosen = np.diff(labels.chosen_offsets)
        kept = np.ones(len(num), dtype=bool)
        kept[faulty] = False
        of_kept = np.repeat(kept, num)
        chosen = labels.chosen[np.repeat(of_kept, num_chosen)]
        vote_of = np.repeat(np.arange(int(of_kept.sum())), num_chosen[of_kept])
        order = np.argsort(chosen, kind="stable")
        sizes = np.bincount(chosen, minlength=num_classes)
        return cls(
            np.concatenate([[0], np.cumsum(num * kept)]),
            labels.annotators[of_kept],
            vote_of[order],
            np.concatenate([[0], np.cumsum(sizes)]),
        )

    def of_class(self, k: int) -> SparseLabels:
        """Return the votes on one class."""
        classes = np.zeros(len(self.annotators))
        classes[self.votes[self.bounds[k] : self.bounds[k + 1]]] = 1
        return SparseLabels(self.offsets, self.annotators, classes, *NO_FAULTS)


def who_was_asked(checked: Checked, num_annotators: int) -> tuple[Ints, Ints]:
    """Return how many annotators have votes on any class of each row, (n,), and of each the rows.

    Rows at fault have none.
    """
    labels, faulty = checked.labels, checked.faulty
    if isinstance(labels, TagLabels):
        by_row = np.diff(labels.offsets)
        kept = np.repeat(~np.isin(np.arange(len(by_row)), faulty), by_row)
        by_row[faulty] = 0
        return by_row, np.bincount(labels.annotators[kept], minlength=num_annotators)
    num_rows = np.zeros(len(labels), dtype=np.int64)
    by_annotator = np.zeros(num_annotators, dtype=np.int64)
    for rows in steps(labels):
        asked = (labels[rows] >= 0).any(axis=2)
        asked[faulty[(faulty >= rows.start) & (faulty < rows.stop)] - rows.start] = False
        num_rows[rows] = asked.sum(axis=1)
        by_annotator += asked.sum(axis=0)
    return num_rows, by_annotator


# --- memory -----------------------------------------------------------------------------------


def class_bytes(num_models: int, num_classes: int, block_rows: int, annotator_bytes: int) -> int:
    """Return the most bytes of the classes that are taken out of a block.

    ``annotator_bytes`` are those of the labels of one row and class.
    """
    num_held = min(num_classes, CLASSES_AT_ONCE)
    return num_held * block_rows * (16 * num_models + annotator_bytes)
