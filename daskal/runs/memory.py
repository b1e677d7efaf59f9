"""How much a run reads, writes and holds in memory, computed from sizes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from daskal.text import MIB, format_bytes, plural

# --- memory -----------------------------------------------------------------------------------

# Memory of a worker between blocks: imports, compiled kernels, and what the allocator keeps for the
# next block (measured: 305 MiB at first, up to 364 after many jobs). Compiling, in place of finding
# them in the cache, leaves some 165 MiB more.
IDLE_WORKER_BYTES = 376 * MIB
# Dask's workers begin to spill at this share of their limit, and pause soon after: a plan stays
# below it.
USABLE_SHARE = 0.7

# Columns are at most float64, and written one after the other.
WIDEST_COLUMN_BYTES = 8


@dataclass(frozen=True)
class ArrayPlan:
    """One input array: how much a run reads of it, and what a block of it costs.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : str
    kind : {"stored", "memory", "lazy"}
    row_bytes, chunk_bytes : int
        Bytes of a row and of a storage chunk, decoded.
    reads : tuple of two int
        How often pass 1 and pass 2 read it.
    stored_share : float
        Most bytes that a byte of it takes in storage.
    in_flight_bytes : int
        Bytes of the chunks that are in flight at most while a block is read, decoded.
    held_bytes : int
        Bytes held beside a block of any size while it is read.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    num_rows: int
    row_bytes: int
    chunk_bytes: int
    reads: tuple[int, int]
    stored_share: float = 1.0
    in_flight_bytes: int = 0
    held_bytes: int = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole array, decoded."""
        return self.num_rows * self.row_bytes

    @property
    def pass_bytes(self) -> tuple[int, int]:
        """Bytes to read in pass 1 and in pass 2, decoded."""
        return (self.num_bytes * self.reads[0], self.num_bytes * self.reads[1])

    def transient_bytes(self, rows: int) -> int:
        """Return the bytes held beside a block while it is read, chunks encoded and decoded."""
        block = rows * self.row_bytes
        if self.kind == "stored":
            in_flight = min(max(block, self.chunk_bytes), self.in_flight_bytes)
            return math.ceil(in_flight * (1 + self.stored_share)) + self.held_bytes
        # A block of a Dask array may be joined from smaller chunks.
        return block if self.kind == "lazy" else 0


@dataclass(frozen=True)
class MatchingMemory:
    """What the process that plans holds to match the rows of a table with votes by id.

    Attributes
    ----------
    num_rows : int
        Rows of the table.
    id_bytes : int
        Bytes of their ids.
    """

    num_rows: int
    id_bytes: int

    @property
    def held_bytes(self) -> int:
        """Bytes held throughout the run: the ids, and each section's rows in the table."""
        return self.id_bytes + 8 * self.num_rows

    @property
    def peak_bytes(self) -> int:
        """Bytes held while the ids are read, joined and compared."""
        return 2 * self.id_bytes + 16 * self.num_rows


@dataclass(frozen=True)
class SectionPlan:
    """One section of a run: its arrays, its blocks, its tasks and what it writes.

    Attributes
    ----------
    name : {"labeled", "unlabeled"}
    num_rows, num_blocks, block_rows : int
    reason : str
        Why blocks have this many rows.
    arrays : tuple of ArrayPlan
    num_tasks : int
    column_bytes : int
        Bytes written per row.
    state_bytes : int
        Most bytes that the task of a block returns.
    kernel_bytes : int
        Most bytes the kernels take beside their block.
    """

    name: str
    num_rows: int
    num_blocks: int
    block_rows: int
    reason: str
    arrays: tuple[ArrayPlan, ...]
    num_tasks: int
    column_bytes: int
    state_bytes: int
    kernel_bytes: int

    @property
    def block_bytes(self) -> int:
        """Bytes of a block of every array together."""
        return self.block_rows * sum(array.row_bytes for array in self.arrays)

    @property
    def bytes_to_write(self) -> int:
        """Bytes of scores and other columns, before compression."""
        return self.num_rows * self.column_bytes

    @property
    def task_bytes(self) -> int:
        """Projected peak of one task."""
        held = 0
        reading = []
        for array in self.arrays:
            held += self.block_rows * array.row_bytes
            reading.append(held + array.transient_bytes(self.block_rows))
        # All columns, and one column's chunk before and after compression.
        written = self.column_bytes + 2 * WIDEST_COLUMN_BYTES
        computing = held + self.block_rows * written
        return max(*reading, computing) + self.kernel_bytes + 3 * self.state_bytes


def describe_section(section: SectionPlan) -> list[tuple[str, str]]:
    """Return the lines of a plan that describe one section."""
    lines = [
        (
            section.name,
            f"{plural(section.num_rows, 'row')} in {plural(section.num_blocks, 'block')} of "
            f"{plural(section.block_rows, 'row')}, {format_bytes(section.block_bytes)}: "
            f"{section.reason}",
        )
    ]
    for array in section.arrays:
        reads = (
            f"{format_bytes(size)} in pass {number} ({times}x)"
            for number, size, times in zip((1, 2), array.pass_bytes, array.reads, strict=True)
            if times
        )
        lines.append((f"  {array.name}:", f"{array.kind} {array.shape} {array.dtype}"))
        lines.append(("", ", ".join(reads)))
    return lines
