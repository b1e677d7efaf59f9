"""Pure arithmetic: how rows are cut into blocks, what is read and written, what memory it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daskal import kernels
from daskal.errors import MemoryLimitError
from daskal.markup import summary_table
from daskal.sizes import format_bytes

MIB = 2**20
TARGET_BLOCK_BYTES = 128 * MIB
MIN_BLOCKS = 32
MIN_BLOCK_ROWS = 4096
# Blocks in memory keep so many times more: they need no reading, and a task would be over so soon
# that threads wait for each other.
MEMORY_FACTOR = 4

# --- blocks -----------------------------------------------------------------------------------


class BlockSize(NamedTuple):
    """Rows of a block, and why so many."""

    rows: int
    reason: str


def choose_block(
    num_rows: int, row_bytes: int, chunk_rows: Sequence[int], *, in_memory: bool = False
) -> BlockSize:
    """Rows of a block, a fixed rule whatever the machine.

    Blocks hold at most ``TARGET_BLOCK_BYTES``, and there are at least ``MIN_BLOCKS`` of them while
    each keeps ``MIN_BLOCK_ROWS``, or ``MEMORY_FACTOR`` times as many if all is in memory. Their
    edges fall on edges of every storage chunking in ``chunk_rows`` where that is possible, else on
    those of the coarsest.
    """
    fitting = max(1, TARGET_BLOCK_BYTES // max(row_bytes, 1))
    least = MIN_BLOCK_ROWS * (MEMORY_FACTOR if in_memory else 1)
    spread = max(least, math.ceil(num_rows / MIN_BLOCKS))
    wanted = min(fitting, spread)
    unit = math.lcm(*chunk_rows)
    if unit > fitting:
        unit = max(chunk_rows, default=1)
    rows = max(unit, wanted // unit * unit)
    if rows >= num_rows:
        return BlockSize(max(1, num_rows), "all rows fit one block")
    if rows > wanted:
        reason = f"a storage chunk has {unit:,} rows, and a chunk is never read in parts"
    elif fitting <= spread:
        reason = f"as many rows as {format_bytes(TARGET_BLOCK_BYTES)} hold"
    elif spread == least:
        reason = f"no block is smaller than {least:,} rows"
    else:
        reason = f"at least {MIN_BLOCKS} blocks, so that every core has work"
    if 1 < unit < rows:
        reason += f", in whole storage chunks of {unit:,}"
    return BlockSize(rows, reason)


def block_edges(num_rows: int, rows: int) -> list[int]:
    """Edges of blocks of equal size, the last one perhaps smaller; one empty block for no rows."""
    return [*range(0, num_rows, rows), num_rows] if num_rows else [0, 0]


def count_tasks(num_blocks: int, split_every: int) -> int:
    """Tasks of one reduction over blocks: one a block, the merges, the job and the root."""
    merges, width = 0, num_blocks
    while width > 1 or not merges:
        width = math.ceil(width / split_every)
        merges += width
    return num_blocks + merges + 2


# --- memory -----------------------------------------------------------------------------------

# What a worker that has imported daskal and its engines occupies between blocks, with what the
# allocator keeps for the next one (measured: 180 MiB at first, up to 263 after many jobs).
IDLE_WORKER_BYTES = 268 * MIB
# Dask's workers begin to spill at this share of their limit, and pause soon after: a plan stays
# below it.
USABLE_SHARE = 0.7
# Tiles, what the kernels make of them, and what the allocator keeps between blocks (measured).
KERNEL_BYTES = 32 * MIB
# Float64 arrays of a value a class and row that are alive at once, and more of them a model
# (measured: 5 to 8 for one model, 12 for three).
FLAT_ARRAYS, MODEL_ARRAYS = 6, 2
# Of each vote of a tile (measured).
VOTE_BYTES = 92
# Columns are float64 at most, and written one after the other.
WIDEST_COLUMN_BYTES = 8


@dataclass(frozen=True)
class ArrayPlan:
    """One input array: what a run reads of it, and what a block of it costs.

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
    flying_bytes : int
        Bytes of the chunks that are in flight at most while a block is read, decoded.
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
    flying_bytes: int = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole array, decoded."""
        return self.num_rows * self.row_bytes

    @property
    def pass_bytes(self) -> tuple[int, int]:
        """Bytes to read in pass 1 and in pass 2, decoded."""
        return (self.num_bytes * self.reads[0], self.num_bytes * self.reads[1])

    def transient_bytes(self, rows: int) -> int:
        """Bytes held beside a block while it is read: chunks in flight, encoded and decoded."""
        block = rows * self.row_bytes
        if self.kind == "stored":
            flying = min(max(block, self.chunk_bytes), self.flying_bytes)
            return math.ceil(flying * (1 + self.stored_share))
        # A Dask array's block may be put together of smaller ones.
        return block if self.kind == "lazy" else 0


@dataclass(frozen=True)
class SectionPlan:
    """One pool: its arrays, its blocks, its tasks and what it writes.

    Attributes
    ----------
    name : {"labeled", "unlabeled"}
    num_rows, num_blocks, block_rows : int
    reason : str
        Why a block has so many rows.
    arrays : tuple of ArrayPlan
    num_tasks : int
    column_bytes : int
        Bytes written a row.
    state_bytes : int
        Most bytes of what a block's task returns.
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
    kernel_bytes: int = KERNEL_BYTES

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
        # The columns, and of one of them its chunk before and after compression.
        written = self.column_bytes + 2 * WIDEST_COLUMN_BYTES
        computing = held + self.block_rows * written
        return max(*reading, computing) + self.kernel_bytes + 3 * self.state_bytes


@dataclass(frozen=True)
class Plan:
    """What :func:`daskal.run` would do, from the arrays' metadata alone.

    Attributes
    ----------
    sections : tuple of SectionPlan
        The labelled data and the pool, those that are given.
    threads : int
        Tasks a worker runs at once.
    memory_limit : int or None
        Bytes a worker may take.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> plan = daskal.plan(pred_probs_unlabeled=np.full((100_000, 2), 0.5), memory_limit="2GiB")
    >>> plan.num_blocks, plan.fits
    (7, True)
    """

    sections: tuple[SectionPlan, ...]
    threads: int
    memory_limit: int | None = None

    @property
    def num_blocks(self) -> int:
        """Blocks of both pools."""
        return sum(section.num_blocks for section in self.sections)

    @property
    def num_tasks(self) -> int:
        """Tasks of all passes."""
        return sum(section.num_tasks for section in self.sections)

    @property
    def bytes_to_read(self) -> int:
        """Bytes read in both passes, decoded."""
        return sum(sum(array.pass_bytes) for section in self.sections for array in section.arrays)

    @property
    def bytes_to_write(self) -> int:
        """Bytes of scores and other columns, before compression."""
        return sum(section.bytes_to_write for section in self.sections)

    @property
    def task_bytes(self) -> int:
        """Projected peak of the largest task."""
        return max(section.task_bytes for section in self.sections)

    @property
    def worker_bytes(self) -> int:
        """Projected peak of a worker, its imports included."""
        return IDLE_WORKER_BYTES + self.threads * self.task_bytes

    @property
    def usable_bytes(self) -> float:
        """What a worker may take of its limit: 70 %, where Dask's workers begin to spill."""
        return math.inf if self.memory_limit is None else USABLE_SHARE * self.memory_limit

    @property
    def fits(self) -> bool:
        """Whether a worker's projected peak is within what it may take."""
        return self.worker_bytes <= self.usable_bytes

    def check(self) -> None:
        """Refuse a plan beyond the limit.

        Raises
        ------
        MemoryLimitError
        """
        if self.fits:
            return
        assert self.memory_limit is not None
        usable = int(self.usable_bytes)
        largest = max(self.sections, key=lambda section: section.task_bytes)
        alone = IDLE_WORKER_BYTES + self.task_bytes
        ways = []
        if self.threads > 1 and alone <= usable:
            possible = (usable - IDLE_WORKER_BYTES) // self.task_bytes
            ways.append(f"use {possible} thread(s) a worker instead of {self.threads}")
        enough = format_bytes(math.ceil(self.worker_bytes / USABLE_SHARE))
        ways.append(f"set a memory limit of {enough} a worker")
        coarse = [array for array in largest.arrays if array.chunk_bytes > TARGET_BLOCK_BYTES]
        if coarse:
            names = ", ".join(array.name for array in coarse)
            ways.append(f"store {names} in smaller chunks (64 MiB or less)")
        raise MemoryLimitError(
            f"needed: {format_bytes(self.worker_bytes)} a worker ({self.threads} task(s) of "
            f"{format_bytes(self.task_bytes)} beside {format_bytes(IDLE_WORKER_BYTES)} of the "
            f"worker itself); allowed: {format_bytes(usable)} (70 % of the limit of "
            f"{format_bytes(self.memory_limit)}: Dask's workers begin to spill there); block: "
            f"{largest.block_rows:,} rows of {largest.name}, {format_bytes(largest.block_bytes)} "
            f"({largest.reason}). A way out: {', or '.join(ways)}."
        )

    def summary(self) -> list[tuple[str, str]]:
        """The plan in a few lines of (name, value), for people."""
        lines = [line for section in self.sections for line in describe_section(section)]
        lines += [
            ("tasks", f"{self.num_tasks:,} over {self.num_blocks:,} blocks"),
            ("read", f"{format_bytes(self.bytes_to_read)} (decoded)"),
            ("write", f"{format_bytes(self.bytes_to_write)} (before compression)"),
            (
                "peak",
                f"{format_bytes(self.task_bytes)} a task, {format_bytes(self.worker_bytes)} a "
                f"worker of {self.threads} thread(s)",
            ),
        ]
        if self.memory_limit is not None:
            verdict = "fits" if self.fits else "does not fit"
            lines.append(("limit", f"{format_bytes(self.memory_limit)} a worker: {verdict}"))
        return lines

    def __repr__(self) -> str:
        return "\n".join(["Plan:", *(f"  {name:<13} {value}" for name, value in self.summary())])

    def _repr_html_(self) -> str:
        return summary_table("daskal.Plan", self.summary())


def describe_section(section: SectionPlan) -> list[tuple[str, str]]:
    """Lines of a plan on one pool."""
    lines = [
        (
            section.name,
            f"{section.num_rows:,} rows in {section.num_blocks:,} block(s) of "
            f"{section.block_rows:,} rows, {format_bytes(section.block_bytes)}: {section.reason}",
        )
    ]
    for array in section.arrays:
        first, second = array.pass_bytes
        lines.append(
            (
                f"  {array.name}:",
                f"{array.kind} {array.shape} {array.dtype}, "
                f"{format_bytes(first)} in pass 1 ({array.reads[0]}x), "
                f"{format_bytes(second)} in pass 2 ({array.reads[1]}x)",
            )
        )
    return lines


# --- sizes ------------------------------------------------------------------------------------


def labeled_state_bytes(
    num_annotators: int, num_classes: int, num_models: int, block_votes: int, batch_size: int
) -> int:
    """Most bytes of the states of a block of labelled rows."""
    cells = min(num_annotators * num_classes, block_votes)
    pairs = min(num_classes**2, block_votes)
    first_pass = 8 * (6 * num_annotators + 4 * num_classes) + 64 * 33 * num_models
    second_pass = 8 * (6 * num_annotators + 5 * cells + 2 * pairs) + 2 * 16 * batch_size
    return max(first_pass, second_pass)


def kernel_bytes(
    num_models: int, num_classes: int, block_rows: int, num_annotators: int = 0
) -> int:
    """Most bytes that the kernels take: a tile of many classes does not fit a cache any more."""
    rows = min(kernels.tile_rows(num_models, num_classes), block_rows)
    arrays = FLAT_ARRAYS + MODEL_ARRAYS * num_models
    # The smallest tile may have all its labels given.
    most_votes = max(kernels.TILE_VOTES, kernels.MIN_TILE_ROWS * num_annotators)
    votes = min(rows * num_annotators, most_votes)
    return max(KERNEL_BYTES, 8 * arrays * rows * num_classes) + VOTE_BYTES * votes


def pool_state_bytes(batch_size: int) -> int:
    """Most bytes of the state of a block of the pool."""
    return 16 * batch_size
