"""Tiles of a block: some thousand rows, loaded, checked, and ready for the compiled kernels.

Axes: p models, n rows, k classes, m annotators, v votes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import read_only
from daskal.kernels.lanes import MANY_LANES, Marks, check_probs
from daskal.kernels.votes import (
    MOST_LABELS,
    MOST_VOTES,
    CheckedVotes,
    Votes,
    matrix_votes,
    miscount_classes,
    sparse_votes,
)
from daskal.method.findings import Findings
from daskal.method.values import Block, Floats, Ints, LabelBlock, SparseLabels
from daskal.text import MIB

# Probabilities of a tile as float64: 1 MiB of them, which several kernels find in the cache.
TILE_ELEMENTS = 2**17
MOST_TILE_ROWS = 2**12
NO_ROWS: NDArray[np.intp] = np.empty(0, dtype=np.intp)


class Tile(NamedTuple):
    """Rows of a block.

    A row at fault takes no part: it has lost its votes and its probabilities are uniform, or, where
    such rows are kept as they are, it has a mark in ``odd``. (Labels that are no class never are.)
    """

    probs: Floats  # (p, n, k)
    votes: Votes
    odd: Marks  # (n,)
    global_rows: Ints  # (n,)
    findings: Findings
    faulty: NDArray[np.intp]  # numbers of rows at fault within the tile

    def __len__(self) -> int:
        """Rows of the tile."""
        return self.probs.shape[1]

    @property
    def num_annotations(self) -> Ints:
        """Votes of each row, (n,)."""
        return np.diff(self.votes.offsets)


def tile_rows(num_models: int, num_classes: int) -> int:
    """Return the rows of a tile: groups of lanes as whole as can be."""
    fitting = TILE_ELEMENTS // (num_models * num_classes)
    return max(MANY_LANES, min(MOST_TILE_ROWS, fitting - fitting % MANY_LANES))


class Loader:
    """Brings rows of a block into float64, tile by tile, into the same memory each time."""

    def __init__(self, blocks: Sequence[NDArray[Any]]) -> None:
        """Take one (n, k) array a model."""
        self.blocks = blocks
        self.num_rows, self.num_classes = blocks[0].shape
        self.step = tile_rows(len(blocks), self.num_classes)
        self.room: Floats = np.empty(0)

    def bounds(self) -> Iterator[tuple[int, int]]:
        """Yield where the tiles begin and end."""
        for start in range(0, self.num_rows, self.step):
            yield start, min(start + self.step, self.num_rows)

    def load(self, start: int, stop: int) -> Floats:
        """Return rows as (p, n, k): of the block itself, or until the next ones are loaded."""
        parts = [block[start:stop] for block in self.blocks]
        whole = parts[0].dtype == np.float64 and parts[0].dtype.isnative
        if len(parts) == 1 and whole and parts[0].flags.c_contiguous and parts[0].flags.aligned:
            return read_only(parts[0])[np.newaxis]
        shape = (len(parts), stop - start, self.num_classes)
        if not len(self.room):
            self.room = np.empty(len(parts) * min(self.step, self.num_rows) * self.num_classes)
        probs = self.room[: shape[0] * shape[1] * shape[2]].reshape(shape)
        # What is beyond all float64 becomes infinite, and is refused.
        with np.errstate(over="ignore"):
            for out, part in zip(probs, parts, strict=True):
                np.copyto(out, part, casting="unsafe")
        return read_only(probs)


def prob_findings(
    name: str, faults: Marks, seen: Floats, first_row: int
) -> tuple[Findings, NDArray[np.intp]]:
    """Return what is wrong with some (p, n) rows of probabilities, and which rows are at fault."""
    findings = Findings()
    for model, (found, values) in enumerate(zip(faults, seen, strict=True)):
        rows = np.flatnonzero(found)
        array = name if len(faults) == 1 else f"{name}[{model}]"
        findings = findings.merge(
            Findings.from_rows(array, found[rows], rows + first_row, values[rows])
        )
    return findings, np.flatnonzero(faults.any(axis=0))


class CheckedProbs(NamedTuple):
    """Probabilities of a tile, and what is wrong with them."""

    probs: Floats  # (p, n, k), uniform in rows at fault that are not kept
    odd: Marks  # (n,)
    findings: Findings
    faulty: NDArray[np.intp]


def check_tile(probs: Floats, name: str, first_row: int, *, keep: bool) -> CheckedProbs:
    """Return (p, n, k) probabilities fit for the kernels, and what is wrong with them."""
    num_models, num_rows, num_classes = probs.shape
    faults, seen = np.zeros((num_models, num_rows), np.uint8), np.zeros((num_models, num_rows))
    odd = np.zeros(num_rows, dtype=np.uint8)
    if not check_probs(probs, faults, seen):
        return CheckedProbs(probs, read_only(odd, np.uint8), Findings(), NO_ROWS)
    findings, faulty = prob_findings(name, faults, seen, first_row)
    if keep:
        odd[faulty] = 1
    else:
        probs = probs.copy()
        probs[:, faulty] = 1 / num_classes
        probs = read_only(probs)
    return CheckedProbs(probs, read_only(odd, np.uint8), findings, faulty)


# --- labeled rows -----------------------------------------------------------------------------


def votes_of(labels: LabelBlock, start: int, most_rows: int, num_classes: int) -> CheckedVotes:
    """Return the votes of rows from ``start`` on, a matrix's or sparse ones."""
    if isinstance(labels, SparseLabels):
        return sparse_votes(labels, start, most_rows, num_classes)
    return matrix_votes(labels, start, most_rows, num_classes)


def drop_votes(votes: Votes, rows: NDArray[np.intp]) -> Votes:
    """Return votes with those of some rows taken out."""
    num = np.diff(votes.offsets)
    kept = np.ones(len(num), dtype=bool)
    kept[rows] = False
    at = np.flatnonzero(np.repeat(kept, num))
    offsets = np.concatenate([[0], np.cumsum(num * kept)])
    return Votes(offsets, votes.annotators[at], votes.classes[at])


def freeze(offsets: Ints, annotators: NDArray[np.integer], classes: NDArray[np.integer]) -> Votes:
    """Return votes as kernels take them."""
    return Votes(
        read_only(offsets, np.int64),
        read_only(annotators, np.int32),
        read_only(classes, np.int32),
    )


def labeled_tiles(block: Block, *, on_invalid: str = "raise") -> Iterator[Tile]:
    """Yield the tiles of a labeled block."""
    assert block.labels is not None
    loader = Loader(block.probs)
    start = 0
    while start < loader.num_rows:
        votes, faults, seen = votes_of(block.labels, start, loader.step, loader.num_classes)
        stop, first_row = start + len(faults), block.first_row + start
        loaded = loader.load(start, stop)
        probs, odd, findings, faulty = check_tile(
            loaded, "pred_probs", first_row, keep=on_invalid == "keep"
        )
        rows = np.flatnonzero(faults)
        if len(rows):
            found = Findings.from_rows("labels", faults[rows], rows + first_row, seen[rows])
            findings = findings.merge(found)
        if len(faulty) and on_invalid != "keep":
            votes = drop_votes(votes, faulty)
        global_rows = read_only(np.arange(first_row, first_row + len(faults)), np.int64)
        yield Tile(probs, freeze(*votes), odd, global_rows, findings, np.union1d(faulty, rows))
        start = stop


def counted_classes(votes: Votes, num_classes: int, *, miscount: bool) -> NDArray[np.int32]:
    """Return as which class each vote counts for the temperature, (v,)."""
    if not miscount:
        return votes.classes
    counted = np.empty(len(votes.classes), dtype=np.int32)
    miscount_classes(votes, num_classes, counted)
    return read_only(counted, np.int32)


# --- memory -----------------------------------------------------------------------------------

# What the kernels make of a block beside its results, rows that wait for the temperature included,
# and what the allocator keeps.
KERNEL_BYTES = 32 * MIB
# Float64 arrays of a tile's probabilities: as loaded, and once more where rows are at fault.
TILE_ARRAYS = 2
# Float64 arrays of a group of lanes, beside one for each model.
LANE_ARRAYS = 2
# Of each label of a tile that is copied, and of each vote (counted with its masks in NumPy).
LABEL_BYTES, VOTE_BYTES = 8, 40


def kernel_bytes(
    num_models: int, num_classes: int, block_rows: int, num_annotators: int = 0
) -> int:
    """Return the most bytes that the kernels take beside a block and its results."""
    rows = min(tile_rows(num_models, num_classes), block_rows)
    values = TILE_ARRAYS * num_models * rows + (num_models + LANE_ARRAYS) * MANY_LANES
    labels = min(rows * num_annotators, max(MOST_LABELS, num_annotators))
    votes = min(labels, max(MOST_VOTES, num_annotators))
    arrays = max(KERNEL_BYTES, 8 * values * num_classes)
    return arrays + LABEL_BYTES * labels + VOTE_BYTES * votes
