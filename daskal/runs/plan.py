"""The plan of a run, from its inputs' metadata alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskal import text
from daskal.api.multi_label import is_multi_label
from daskal.engine.graph import count_tasks
from daskal.engine.workers import worker_threads
from daskal.errors import MemoryLimitError
from daskal.inputs.blocks import TARGET_BLOCK_BYTES
from daskal.inputs.data import LabeledData, PoolData
from daskal.inputs.sources import Source
from daskal.kernels import tiles
from daskal.kernels.binary import class_bytes
from daskal.method import tallies
from daskal.method.values import (
    LABELED_COLUMNS,
    MATRICES,
    MULTI_LABEL_COLUMNS,
    UNLABELED_COLUMNS,
)
from daskal.options import CONSENSUS_METHODS, Storage, check_choice, check_size
from daskal.runs.inputs import RunInputs
from daskal.runs.long_votes import VoteColumns
from daskal.runs.memory import (
    IDLE_WORKER_BYTES,
    USABLE_SHARE,
    ArrayPlan,
    SectionPlan,
    describe_section,
)
from daskal.runs.wanted import Wanted
from daskal.text import Summarized, format_bytes, plural


@dataclass(frozen=True, repr=False)
class Plan(Summarized):
    """What :func:`daskal.run` would do, from the arrays' metadata alone.

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

    Examples
    --------
    >>> import numpy as np, daskal
    >>> plan = daskal.plan(pred_probs_unlabeled=np.full((100_000, 2), 0.5), memory_limit="2GiB")
    >>> plan.num_blocks, plan.fits
    (7, True)
    """

    title = "daskal.Plan"
    heading = "Plan:"
    name_width = 13

    sections: tuple[SectionPlan, ...]
    threads: int
    memory_limit: int | None = None
    idle_bytes: int = IDLE_WORKER_BYTES

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
        return self.idle_bytes + self.threads * self.task_bytes

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
        alone = self.idle_bytes + self.task_bytes
        ways = []
        if self.threads > 1 and alone <= usable:
            possible = (usable - self.idle_bytes) // self.task_bytes
            ways.append(f"use {plural(possible, 'thread')} per worker instead of {self.threads}")
        enough = format_bytes(math.ceil(self.worker_bytes / USABLE_SHARE))
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
        if self.memory_limit is not None:
            verdict = "fits" if self.fits else "does not fit"
            lines.append(("limit", f"{format_bytes(self.memory_limit)} per worker: {verdict}"))
        return lines


# Reads of pass 1: best quality needs the weights of the majority vote first.
PASS_1_READS = {"best_quality": 2, "majority_vote": 1}


def plan(
    *,
    labels: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    votes: Any = None,
    estimate: Any = None,
    multi_label: bool | None = None,
    batch_size: int = 1000,
    consensus_method: str = "best_quality",
    memory_limit: int | str | None = None,
    threads_per_worker: int | None = None,
    id_column: str | None = None,
    class_columns: Sequence[str] | None = None,
    task: str = "task",
    annotator: str = "annotator",
    label: str = "label",
    unknown_tasks: str = "raise",
    storage_options: Storage = None,
) -> Plan:
    """Return what :func:`daskal.run` would do with these inputs; reads no data.

    Of ``votes`` and a table, it reads the votes and the ids, which tell how many examples are
    labeled; of CSV, where its lines end.

    Parameters
    ----------
    labels, pred_probs, pred_probs_unlabeled, votes, estimate, multi_label
        As for :func:`daskal.run`.
    batch_size, consensus_method
        As for :func:`daskal.run`.
    memory_limit : int or str, optional
        What a worker may take, in bytes or as ``"2GiB"``.
    threads_per_worker : int, optional
        Tasks a worker runs at once; by default as on the active scheduler.
    id_column, class_columns, task, annotator, label, unknown_tasks
        As for :func:`daskal.run`.
    storage_options : mapping, optional

    Returns
    -------
    Plan
        Blocks, tasks, bytes to read and to write, and the projected peak of a task and a worker.

    Raises
    ------
    InputError
        If the arrays' structure does not fit.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> pool = np.full((1_000_000, 10), 0.1, dtype="float32")
    >>> plan = daskal.plan(pred_probs_unlabeled=pool, memory_limit="2GiB", threads_per_worker=1)
    >>> plan.num_blocks, plan.fits
    (32, True)
    """
    check_size(batch_size, name="batch_size")
    check_choice("consensus_method", consensus_method, CONSENSUS_METHODS)
    given, _ = Wanted(
        labels,
        pred_probs,
        pred_probs_unlabeled,
        votes,
        id_column=id_column,
        class_columns=class_columns,
        vote_columns=VoteColumns(task, annotator, label),
        unknown_tasks=unknown_tasks,
        multi_label=is_multi_label(estimate, multi_label),
    ).open(storage_options, None)
    return plan_run(
        given,
        batch_size=batch_size,
        consensus_method=None if estimate is not None else consensus_method,
        memory_limit=memory_limit,
        threads=threads_per_worker,
    )


def plan_run(
    given: RunInputs,
    *,
    batch_size: int,
    consensus_method: str | None,
    memory_limit: int | str | None,
    threads: int | None = None,
) -> Plan:
    """Return the plan of a run with opened inputs; no consensus method means no pass 1."""
    pass_1_reads = 0 if consensus_method is None else PASS_1_READS[consensus_method]
    sections = []
    if given.labeled is not None:
        rows = given.labeled.blocks.most_rows
        num_annotators = given.labeled.labels.num_annotators
        probs = given.labeled.probs
        # Each of several classes an example has a state of its own.
        several = probs.num_classes if given.multi_label else 1
        state_bytes = several * tallies.labeled_state_bytes(
            num_annotators,
            2 if given.multi_label else probs.num_classes,
            probs.num_models,
            rows * num_annotators,
            batch_size,
        )
        columns = MULTI_LABEL_COLUMNS if given.multi_label else LABELED_COLUMNS
        sections.append(
            plan_section(
                "labeled",
                given.labeled,
                columns,
                (pass_1_reads, 1),
                state_bytes,
                multi_label=given.multi_label,
            )
        )
    if given.pool is not None:
        state_bytes = tallies.pool_state_bytes(batch_size)
        sections.append(
            plan_section(
                "unlabeled",
                given.pool,
                UNLABELED_COLUMNS,
                (0, 1),
                state_bytes,
                multi_label=given.multi_label,
            )
        )
    sources = [source for blocks in given.blocks().values() for source in blocks.sources]
    return Plan(
        tuple(sections),
        worker_threads() if threads is None else threads,
        text.parse_memory(memory_limit),
        IDLE_WORKER_BYTES + max(source.idle_bytes for source in sources),
    )


def plan_section(
    name: str,
    data: LabeledData | PoolData,
    columns: Mapping[str, str],
    reads: tuple[int, int],
    state_bytes: int,
    *,
    multi_label: bool,
) -> SectionPlan:
    """Return the plan of one section."""
    blocks, probs = data.blocks, data.probs
    num_rows, num_blocks = blocks.edges[-1], len(blocks.row_chunks)
    labels = blocks.sources[0] if blocks.has_labels else None
    num_annotators = 0 if labels is None else labels.shape[1]
    num_classes = 2 if multi_label else probs.num_classes
    kernel_bytes = tiles.kernel_bytes(
        probs.num_models, num_classes, blocks.most_rows, num_annotators
    )
    if multi_label:
        row_bytes = 0 if labels is None else math.ceil(labels.row_bytes / probs.num_classes)
        if labels is not None and labels.is_sparse:
            # All votes by class, and as float64 those of one class.
            row_bytes = 4 * labels.row_bytes
        kernel_bytes += class_bytes(
            probs.num_models, probs.num_classes, blocks.most_rows, row_bytes
        )
    return SectionPlan(
        name,
        num_rows,
        num_blocks,
        blocks.most_rows,
        blocks.reason,
        tuple(
            plan_array(source, reads, is_labels=blocks.has_labels and at == 0)
            for at, source in enumerate(blocks.sources)
        ),
        sum(reads) * count_tasks(num_blocks),
        sum(
            np.dtype(dtype).itemsize * (probs.num_classes if name in MATRICES else 1)
            for name, dtype in columns.items()
        ),
        state_bytes,
        kernel_bytes,
    )


# A compressed label takes no more than this: it is one of few codes.
LABEL_BYTES = 2


def plan_array(source: Source, reads: tuple[int, int], *, is_labels: bool) -> ArrayPlan:
    """Return the plan of one array."""
    # Most of a sparse vote is its annotator's number, which compresses less than a label.
    is_few_codes = is_labels and source.is_compressed and not source.is_sparse
    return ArrayPlan(
        source.name,
        source.shape,
        str(source.dtype),
        source.kind,
        source.num_rows if source.rows_read is None else source.rows_read,
        source.row_bytes,
        source.chunk_bytes,
        reads,
        min(1.0, LABEL_BYTES / source.dtype.itemsize) if is_few_codes else 1.0,
        source.in_flight_bytes,
        source.held_bytes,
    )
