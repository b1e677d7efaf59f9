"""The plan of a run, from its inputs' metadata alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from daskal.api.batch_memory import BatchMemory
from daskal.errors import MemoryLimitError
from daskal.inputs.blocks import TARGET_BLOCK_BYTES
from daskal.runs.memory import (
    IDLE_WORKER_BYTES,
    USABLE_SHARE,
    MatchingMemory,
    SectionPlan,
    describe_section,
)
from daskal.text import Summarized, format_bytes, plural


@dataclass(frozen=True, repr=False)
class Plan(Summarized):
    """What a run would do, from the arrays' metadata alone.

    Attributes
    ----------
    sections : tuple of SectionPlan
        The labeled data and the pool, those that are given.
    threads : int
        Tasks that a worker runs at once.
    memory_limit : int or None
        Bytes a worker may take.
    idle_bytes : int
        Bytes a worker takes between blocks, its imports included.
    max_iterations : int or None
        Of votes without a model: iterations at most, each of which reads the labels once.
    batch : BatchMemory or None
        What :meth:`daskal.Run.next_batch` holds later, where it is planned too.
    matching : MatchingMemory or None
        What the process that plans holds to match examples by id, where they are.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> plan = daskal.plan(pred_probs_unlabeled=np.full((100_000, 2), 0.5), memory_limit="2GiB")
    >>> plan.num_blocks, plan.fits
    (4, True)
    """

    title = "daskal.Plan"
    heading = "Plan:"
    name_width = 13

    sections: tuple[SectionPlan, ...]
    threads: int
    memory_limit: int | None = None
    idle_bytes: int = IDLE_WORKER_BYTES
    max_iterations: int | None = None
    batch: BatchMemory | None = None
    matching: MatchingMemory | None = None

    @property
    def num_blocks(self) -> int:
        """Blocks of all sections."""
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
        return self.idle_bytes + max(self.threads * self.task_bytes, self.batch_bytes)

    @property
    def process_bytes(self) -> int:
        """Projected peak of one process that plans and works, as on threads."""
        if self.matching is None:
            return self.worker_bytes
        beside = self.worker_bytes - self.idle_bytes + self.matching.held_bytes
        return self.idle_bytes + max(beside, self.matching.peak_bytes)

    @property
    def batch_bytes(self) -> int:
        """Projected peak of choosing a batch later, beside the idle worker; 0 if not planned."""
        return 0 if self.batch is None else self.batch.worker_bytes(self.threads)

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
        enough = format_bytes(math.ceil(self.worker_bytes / USABLE_SHARE))
        if self.batch is not None and self.batch_bytes > self.threads * self.task_bytes:
            raise MemoryLimitError(
                f"needed: {format_bytes(self.worker_bytes)} per worker, to choose a batch of "
                f"{self.batch}, on {plural(self.threads, 'thread')}; allowed: "
                f"{format_bytes(usable)} (70 % of the limit of {format_bytes(self.memory_limit)}: "
                "Dask's workers begin to spill there). A way out: choose a smaller batch, use "
                f"fewer threads per worker, or set a memory limit of {enough} per worker."
            )
        largest = max(self.sections, key=lambda section: section.task_bytes)
        alone = self.idle_bytes + self.task_bytes
        ways = []
        if self.threads > 1 and alone <= usable:
            possible = (usable - self.idle_bytes) // self.task_bytes
            ways.append(f"use {plural(possible, 'thread')} per worker instead of {self.threads}")
        ways.append(f"set a memory limit of {enough} per worker")
        coarse = [array for array in largest.arrays if array.chunk_bytes > TARGET_BLOCK_BYTES]
        if coarse:
            names = ", ".join(array.name for array in coarse)
            ways.append(f"store {names} in smaller chunks (64 MiB or less)")
        raise MemoryLimitError(
            f"needed: {format_bytes(self.worker_bytes)} per worker "
            f"({plural(self.threads, 'task')} of {format_bytes(self.task_bytes)} beside "
            f"{format_bytes(self.idle_bytes)} of the worker itself); allowed: "
            f"{format_bytes(usable)} (70 % of the limit of {format_bytes(self.memory_limit)}: "
            "Dask's workers begin to spill there); block: "
            f"{largest.block_rows:,} rows of {largest.name}, {format_bytes(largest.block_bytes)} "
            f"({largest.reason}). A way out: {', or '.join(ways)}."
        )

    def summary(self) -> list[tuple[str, str]]:
        """Return the plan in a few lines of (name, value), for people."""
        lines = [line for section in self.sections for line in describe_section(section)]
        if self.max_iterations is not None:
            most = plural(self.max_iterations, "iteration")
            lines.append(("iterations", f"at most {most} in pass 1, each reads the labels once"))
        lines += [
            ("tasks", f"{self.num_tasks:,} over {plural(self.num_blocks, 'block')}"),
            ("read", f"{format_bytes(self.bytes_to_read)} (decoded)"),
            ("write", f"{format_bytes(self.bytes_to_write)} (before compression)"),
            (
                "peak",
                f"{format_bytes(self.task_bytes)} a task, {format_bytes(self.worker_bytes)} a "
                f"worker of {plural(self.threads, 'thread')}",
            ),
        ]
        if self.batch is not None:
            lines.insert(-1, ("batch", str(self.batch)))
        if self.matching is not None:
            held = format_bytes(self.matching.held_bytes)
            peak = format_bytes(self.matching.peak_bytes)
            alone = format_bytes(self.process_bytes)
            lines.append(
                (
                    "matching",
                    f"{peak} in this process, then {held}; on threads {alone} in all",
                )
            )
        if self.memory_limit is not None:
            verdict = "fits" if self.fits else "does not fit"
            lines.append(("limit", f"{format_bytes(self.memory_limit)} per worker: {verdict}"))
        return lines
