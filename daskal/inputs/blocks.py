"""Blocks of rows as tasks: one task reads what it needs of its block and computes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.inputs.sources import Source
from daskal.text import MIB, format_bytes

TARGET_BLOCK_BYTES = 128 * MIB
MIN_BLOCKS = 32
MIN_BLOCK_ROWS = 4096
# Few blocks in memory have up to this many times more rows: they need no reading, and shorter tasks
# would make threads wait for each other.
MEMORY_FACTOR = 8
# Where storage may take long to answer, a block has this many chunks, which are asked for together.
LATE_CHUNKS = 10


# --- blocks -----------------------------------------------------------------------------------


class BlockSize(NamedTuple):
    """Number of rows per block, and the reason for it."""

    rows: int
    reason: str


def choose_block(
    num_rows: int,
    row_bytes: int,
    chunk_rows: Sequence[int],
    *,
    in_memory: bool = False,
    late_rows: int = 0,
) -> BlockSize:
    """Return the number of rows per block, by a rule that is the same on every machine.

    Blocks hold at most ``TARGET_BLOCK_BYTES``, and there are at least ``MIN_BLOCKS`` of them while
    each keeps ``MIN_BLOCK_ROWS`` and ``late_rows`` at least. If all is in memory, they keep up to
    ``MEMORY_FACTOR`` times as many, and are equal and even in number, so that two cores have the
    same to do. Their edges are edges of every storage chunking in ``chunk_rows`` where that is
    possible, else of the coarsest one.
    """
    fitting = max(1, TARGET_BLOCK_BYTES // max(row_bytes, 1))
    least = max(MIN_BLOCK_ROWS * (MEMORY_FACTOR if in_memory else 1), late_rows)
    spread = max(least, math.ceil(num_rows / MIN_BLOCKS))
    wanted = min(fitting, spread)
    if in_memory and wanted < num_rows:
        wanted = math.ceil(num_rows / (2 * math.ceil(num_rows / (2 * wanted))))
    unit = math.lcm(*chunk_rows)
    if unit > fitting:
        unit = max(chunk_rows, default=1)
    rows = max(unit, wanted // unit * unit)
    if rows >= num_rows:
        return BlockSize(max(1, num_rows), "all rows fit one block")
    if rows > wanted:
        reason = f"a storage chunk has {unit:,} rows, and a chunk is never read in parts"
    elif in_memory and (fitting <= spread or spread == least):
        most = format_bytes(TARGET_BLOCK_BYTES) if fitting <= spread else f"{least:,} rows"
        reason = f"an even number of equal blocks of at most {most}"
    elif fitting <= spread:
        reason = f"as many rows as {format_bytes(TARGET_BLOCK_BYTES)} hold"
    elif spread == late_rows:
        reason = f"{LATE_CHUNKS} storage chunks are asked for together, as storage may answer late"
    elif spread == least:
        reason = f"no block is smaller than {least:,} rows"
    else:
        reason = f"at least {MIN_BLOCKS} blocks, so that every core has work"
    if 1 < unit < rows:
        reason += f", in whole storage chunks of {unit:,}"
    return BlockSize(rows, reason)


def block_edges(num_rows: int, rows: int) -> list[int]:
    """Return edges of blocks of equal size, the last perhaps smaller; no rows make one block."""
    return [*range(0, num_rows, rows), num_rows] if num_rows else [0, 0]


# Where storage chunks are of differing sizes, a block holds about this many chunks of results.
CHUNKS_PER_BLOCK = 4


def part_edges(
    num_rows: int, parts: NDArray[np.int64], wanted: int, chunk_rows: int
) -> tuple[int, ...]:
    """Return edges of blocks of whole parts where these are of differing sizes.

    Each edge is the next multiple of ``chunk_rows`` behind the edge of a part: of the part behind
    it, a block reads no more than its first rows too.
    """
    edges = [0]
    while edges[-1] < num_rows:
        at = int(np.searchsorted(parts, edges[-1] + wanted, side="right")) - 1
        if parts[at] <= edges[-1]:
            at = int(np.searchsorted(parts, edges[-1], side="right"))
        edges.append(min(-(-int(parts[at]) // chunk_rows) * chunk_rows, num_rows))
    return tuple(edges) if num_rows else (0, 0)


# No scheduler holds more tasks than this; a petabyte of probabilities has fewer.
MAX_BLOCKS = 2**23


@dataclass(frozen=True)
class RowBlocks:
    """Row-aligned sources and where their rows are cut.

    Attributes
    ----------
    sources : tuple of Source
    edges : tuple of int
        First row of each block, and the number of rows.
    has_labels : bool
        Whether the first source holds labels.
    unit : int or None
        Rows of a chunk in which results are stored; None where blocks are of one size, and each is
        a chunk.
    reason : str
        Why blocks have this many rows.
    """

    sources: tuple[Source, ...]
    edges: tuple[int, ...]
    has_labels: bool
    unit: int | None = None
    reason: str = ""

    @property
    def row_chunks(self) -> tuple[int, ...]:
        """Rows of each block."""
        return tuple(b - a for a, b in zip(self.edges, self.edges[1:], strict=False))

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk in which results are stored."""
        return self.row_chunks[0] if self.unit is None else self.unit

    @property
    def most_rows(self) -> int:
        """Rows of the largest block."""
        return max(self.row_chunks)


def block_size(sources: Sequence[Source]) -> BlockSize:
    """Return how many rows a block of row-aligned sources has, and why."""
    return choose_block(
        sources[0].num_rows,
        sum(source.row_bytes for source in sources),
        [source.chunk_rows for source in sources],
        in_memory=all(source.kind == "memory" for source in sources),
        late_rows=max(late_rows(source) for source in sources),
    )


def late_rows(source: Source) -> int:
    """Return the rows of as many chunks as are asked for together, 0 where storage is near."""
    if not source.is_late:
        return 0
    return LATE_CHUNKS * source.chunk_bytes // max(source.row_bytes, 1)


def cut_rows(sources: Sequence[Source], *, has_labels: bool, uniform: bool = False) -> RowBlocks:
    """Cut row-aligned sources into blocks.

    Dask arrays keep their own row chunks where they all agree and nothing stored would be cut
    through; else, or if ``uniform``, blocks are of one size, or go along the parts of a table whose
    parts are of differing sizes.
    """
    num_rows = sources[0].num_rows
    lazy = {source.row_chunks for source in sources if source.row_chunks is not None}
    parts = [source.part_edges for source in sources if source.part_edges is not None]
    if len(lazy) == 1 and not uniform and not parts:
        edges = [0]
        for rows in lazy.pop():
            edges.append(edges[-1] + rows)
        units = {source.chunk_rows for source in sources}
        if all(edge % unit == 0 for unit in units for edge in edges[:-1]):
            return RowBlocks(tuple(sources), tuple(edges), has_labels)
    size = block_size(sources)
    if num_rows / size.rows > MAX_BLOCKS:
        names = ", ".join(source.name for source in sources)
        raise InputError(
            f"{names}: expected at most {MAX_BLOCKS:,} blocks of rows, got {num_rows:,} rows in "
            f"blocks of {size.rows:,}. Check the shape, or score it in parts."
        )
    if parts and size.rows < num_rows:
        return cut_parts(sources, parts, size, has_labels)
    edges = block_edges(num_rows, size.rows)
    return RowBlocks(tuple(sources), tuple(edges), has_labels, reason=size.reason)


def cut_parts(
    sources: Sequence[Source],
    parts: Sequence[NDArray[np.int64]],
    size: BlockSize,
    has_labels: bool,
) -> RowBlocks:
    """Cut sources along the parts of a table, of several the one with the largest."""
    num_rows = sources[0].num_rows
    coarsest = max(parts, key=lambda edges: int(np.diff(edges).max(initial=0)))
    unit = math.lcm(*(source.chunk_rows for source in sources))
    rows = max(1, 2 ** int(math.log2(max(1, size.rows // CHUNKS_PER_BLOCK))))
    chunk_rows = max(unit, rows // unit * unit) if unit <= size.rows else rows
    edges = part_edges(num_rows, coarsest, size.rows, chunk_rows)
    reason = f"{size.reason}, along parts of the table, which are of differing sizes"
    return RowBlocks(tuple(sources), edges, has_labels, chunk_rows, reason)
