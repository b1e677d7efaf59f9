"""Tiles of votes: rows of a block of labels, found and checked, in one form for all kernels.

Axes: n rows, m annotators, v votes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels import votes
from daskal.kernels.compiling import first_holding, read_only
from daskal.kernels.lanes import Scratch
from daskal.method.findings import Findings
from daskal.method.values import Block, Ints, LabelBlock, SparseLabels

# Votes of a tile at most, but for those of a single row; and rows times classes. What kernels make
# of a tile stays in the cache, and yet there are few calls.
TILE_VOTES = 2**17
TILE_ELEMENTS = 2**16
LEAST_ROWS = 2**6
# Labels of a tile, missing ones counted too: a matrix in Fortran order is copied tile by tile.
TILE_LABELS = 2**20
NO_ROWS: Ints = np.empty(0, dtype=np.int64)


class VoteTile(NamedTuple):
    """Votes of consecutive rows, those of row ``i`` from ``offsets[i]`` to ``offsets[i + 1]``."""

    offsets: Ints  # (n + 1,)
    annotators: NDArray[np.int32]  # (v,), ascending within a row
    classes: NDArray[np.int32]  # (v,)
    start: int  # its first row within the block
    faulty: Ints  # rows at fault within the tile, which have lost their votes
    findings: Findings

    def __len__(self) -> int:
        """Rows of the tile."""
        return len(self.offsets) - 1

    @property
    def place(self) -> slice:
        """The tile's rows within the block."""
        return slice(self.start, self.start + len(self))

    @property
    def num_annotations(self) -> Ints:
        """Votes of each row, (n,)."""
        return np.diff(self.offsets)


def vote_tiles(
    block: Block, num_classes: int, *, most_rows: int | None = None
) -> Iterator[VoteTile]:
    """Yield the votes of a block, tile by tile, of as many rows as their posterior allows."""
    assert block.labels is not None
    if most_rows is None:
        most_rows = max(TILE_ELEMENTS // num_classes, LEAST_ROWS)
    start = 0
    while start < len(block.labels):
        stop = min(start + most_rows, len(block.labels))
        tile = read_votes(block.labels, start, stop, num_classes, block.first_row)
        yield tile
        start += len(tile)


def read_votes(
    labels: LabelBlock, start: int, stop: int, num_classes: int, first_row: int
) -> VoteTile:
    """Return the votes of rows ``start:stop``, or of fewer where these have too many votes."""
    if isinstance(labels, SparseLabels):
        most = int(labels.offsets[start]) + TILE_VOTES
        fitting = int(np.searchsorted(labels.offsets, most, side="right")) - 1
    else:
        fitting = start + TILE_LABELS // max(labels.shape[1], 1)
    stop = max(min(stop, fitting), min(start + 1, len(labels)))
    plain = plain_votes(labels, start, stop, num_classes)
    if plain is not None:
        return plain
    return find_votes(labels, start, stop, num_classes, first_row)


def plain_votes(labels: LabelBlock, start: int, stop: int, num_classes: int) -> VoteTile | None:
    """Return sparse votes that need no finding, None where some may be at fault."""
    if not isinstance(labels, SparseLabels) or labels.classes.dtype.kind not in "iu":
        return None
    low, high = np.searchsorted(labels.faulty_rows, [start, stop])
    offsets = labels.offsets[start : stop + 1]
    given = slice(int(offsets[0]), int(offsets[-1]))
    classes = labels.classes[given]
    if low < high or (len(classes) and not 0 <= classes.min() <= classes.max() < num_classes):
        return None
    return VoteTile(
        offsets=read_only(offsets - offsets[0]),
        annotators=first_holding(labels.annotators[given], ("i4",)),
        classes=first_holding(classes, ("i4",)),
        start=start,
        faulty=NO_ROWS,
        findings=Findings(),
    )


def find_votes(
    labels: LabelBlock, start: int, stop: int, num_classes: int, first_row: int
) -> VoteTile:
    """Return the votes of rows of any form, and what is wrong with them."""
    found = votes.find_votes(labels, start, stop - start, num_classes, Scratch())
    rows = np.flatnonzero(found.faults)
    return VoteTile(
        offsets=read_only(found.offsets),
        annotators=first_holding(found.annotators, ("i4",)),
        classes=first_holding(found.classes, ("i4",)),
        start=start,
        faulty=rows,
        findings=Findings.from_rows(
            "labels", found.faults[rows], rows + start + first_row, found.seen[rows]
        ),
    )
