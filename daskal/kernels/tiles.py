"""Tiles of a block: some thousand rows, brought into lanes, checked, and their votes found.

Axes: p models, n rows, k classes, g groups of rows, l lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import first_holding
from daskal.kernels.lanes import (
    MANY_LANES,
    Codes,
    Marks,
    Room,
    Rows,
    Scratch,
    count_lanes,
    fill_lanes,
    make_room,
)
from daskal.kernels.votes import MOST_LABELS, MOST_VOTES, FoundVotes, find_votes, miscount_votes
from daskal.method.findings import Findings
from daskal.method.values import Block, Floats, Ints
from daskal.text import MIB

# Probabilities of a tile, 4 MiB of them as float64. Between the kernels that work on a tile, each
# thread waits for Python's lock: with tiles of an eighth, two threads gained nothing (measured).
TILE_ELEMENTS = 2**19
MOST_TILE_ROWS = 2**15
# Dtypes that rows are brought into lanes from.
PROB_DTYPES = ("f4", "f8")


class Tile(NamedTuple):
    """Rows of a block. Their arrays hold until the next tile is taken, or there is none.

    A row at fault takes no part: it has lost its votes and its probabilities are uniform, or, where
    such rows are kept as they are, it is marked as odd. (Labels that are no class never are kept.)
    """

    rows: Rows
    place: slice  # of the rows in their block
    findings: Findings
    faulty: Ints  # numbers of rows at fault within the tile
    room: Room
    scratch: Scratch

    def __len__(self) -> int:
        """Rows of the tile."""
        return len(self.rows.odd)

    @property
    def num_annotations(self) -> Ints:
        """Votes of each row, (n,)."""
        offsets = self.rows.offsets
        return offsets[1:] - offsets[:-1]

    def counting(self, counted: Codes) -> Tile:
        """Return the tile with votes that count for the temperature as other classes, (v,)."""
        rows = self.rows._replace(counted=counted)
        return Tile(rows, self.place, self.findings, self.faulty, self.room, self.scratch)


def tile_rows(num_models: int, num_classes: int) -> int:
    """Return the rows of a tile: groups of lanes as whole as can be."""
    fitting, num_lanes = TILE_ELEMENTS // (num_models * num_classes), count_lanes(num_classes)
    return max(num_lanes, min(MOST_TILE_ROWS, fitting - fitting % num_lanes))


def take_tiles(block: Block, *, on_invalid: str, miscount: bool = False) -> Iterator[Tile]:
    """Yield the tiles of a block, labeled or of the pool.

    With ``miscount``, votes count for the temperature as cleanlab counts them.
    """
    num_models, (num_rows, num_classes) = len(block.probs), block.probs[0].shape
    step, start = tile_rows(num_models, num_classes), 0
    room = make_room(num_models, num_classes)
    with Scratch.lent() as scratch:
        while start < num_rows:
            tile = take_tile(block, start, min(step, num_rows - start), on_invalid, room, scratch)
            if miscount:
                counted = scratch.take("counted", len(tile.rows.classes), dtype=np.int32)
                places = scratch.take("places", num_classes, dtype=np.int64)
                tile = tile.counting(counted)
                miscount_votes(tile.rows, room.tied, places)
            yield tile
            start = tile.place.stop


def take_tile(
    block: Block, start: int, most_rows: int, on_invalid: str, room: Room, scratch: Scratch
) -> Tile:
    """Return the rows from ``start`` on that fit a tile."""
    votes = votes_from(block, start, most_rows, scratch)
    place = slice(start, start + len(votes.faults))
    lanes, faulty, findings = checked_lanes(block, place, room, scratch)
    odd = scratch.take_zeros("odd", len(votes.faults), dtype=np.uint8)
    if len(faulty) and on_invalid == "keep":
        odd[faulty] = 1
    elif len(faulty):
        group, lane = np.divmod(faulty, lanes.shape[3])
        lanes[group, :, :, lane] = 1 / lanes.shape[2]
        votes = votes.without(faulty)
    if votes.faults.any():
        rows = np.flatnonzero(votes.faults)
        index = rows + block.first_row + start
        found = Findings.from_rows("labels", votes.faults[rows], index, votes.seen[rows])
        findings, faulty = findings.merge(found), np.union1d(faulty, rows)
    index = np.arange(block.first_row + start, block.first_row + place.stop)
    taken = Rows(lanes, odd, index, *votes[:4], votes.classes)
    return Tile(taken, place, findings, faulty, room, scratch)


def votes_from(block: Block, start: int, most_rows: int, scratch: Scratch) -> FoundVotes:
    """Return the votes of rows from ``start`` on; a pool's rows have none."""
    if block.labels is None:
        return FoundVotes.room(scratch, most_rows, 0)
    return find_votes(block.labels, start, most_rows, block.probs[0].shape[1], scratch)


def checked_lanes(
    block: Block, place: slice, room: Room, scratch: Scratch
) -> tuple[Floats, Ints, Findings]:
    """Return rows in (g, p, k, l) lanes, the numbers of those at fault, and what is wrong."""
    num_models, num_rows = len(block.probs), place.stop - place.start
    num_groups = -(-num_rows // room.lanes.shape[2])
    lanes = scratch.take("lanes", num_groups, *room.lanes.shape)
    faults: Marks = scratch.take_zeros("faults", num_models, num_rows, dtype=np.uint8)
    seen = scratch.take("seen", num_models, num_rows)
    findings = Findings()
    name = "pred_probs" if block.labels is not None else "pred_probs_unlabeled"
    for p, probs in enumerate(block.probs):
        given = first_holding(probs[place], PROB_DTYPES)
        if fill_lanes(given, p, lanes, faults[p], seen[p], room):
            rows = np.flatnonzero(faults[p])
            array = name if num_models == 1 else f"{name}[{p}]"
            index = rows + block.first_row + place.start
            found = Findings.from_rows(array, faults[p, rows], index, seen[p, rows])
            findings = findings.merge(found)
    bad: NDArray[np.intp] = np.flatnonzero(faults.any(axis=0)) if findings else NO_ROWS
    return lanes, bad, findings


NO_ROWS: NDArray[np.intp] = np.empty(0, dtype=np.intp)

# --- memory -----------------------------------------------------------------------------------

# What the kernels make of a block beside its results, rows that wait for the temperature included,
# and what the allocator keeps.
KERNEL_BYTES = 32 * MIB
# Float64 arrays of a tile's probabilities: in lanes, and once more where a rare dtype is turned.
TILE_ARRAYS = 2
# Float64 arrays of a group of lanes, beside one for each model.
LANE_ARRAYS = 3
# Of each label of a tile that is copied, and of each vote (counted with its masks in NumPy).
LABEL_BYTES, VOTE_BYTES = 8, 44


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
