"""What a run would do: its inputs' metadata, put into the arithmetic of :mod:`daskal.planning`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from daskal import inputs, planning, sizes
from daskal.blocks import RowBlocks, block_size
from daskal.choices import CONSENSUS_METHODS, check_choice, check_size
from daskal.clusters import worker_threads
from daskal.planning import ArrayPlan, Plan, SectionPlan
from daskal.reduction import SPLIT_EVERY
from daskal.runinputs import RunInputs
from daskal.scoring import LABELED_COLUMNS, UNLABELED_COLUMNS
from daskal.sources import Source

Storage = Mapping[str, Any] | None

# Reads of pass 1: best quality needs the weights of the majority vote first.
PASS_1_READS = {"best_quality": 2, "majority_vote": 1}


def plan(
    *,
    labels: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    estimate: Any = None,
    batch_size: int = 1000,
    consensus_method: str = "best_quality",
    memory_limit: int | str | None = None,
    threads_per_worker: int | None = None,
    storage_options: Storage = None,
) -> Plan:
    """Return what :func:`daskal.run` would do with these inputs; reads no data.

    Parameters
    ----------
    labels, pred_probs, pred_probs_unlabeled, estimate, batch_size, consensus_method
        As for :func:`daskal.run`.
    memory_limit : int or str, optional
        What a worker may take, in bytes or as ``"2GiB"``.
    threads_per_worker : int, optional
        Tasks a worker runs at once; by default as on the active scheduler.
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
    given = RunInputs.open(labels, pred_probs, pred_probs_unlabeled, storage_options)
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
    """The plan of a run whose inputs are open; without a consensus to find, there is no pass 1."""
    pass_1_reads = 0 if consensus_method is None else PASS_1_READS[consensus_method]
    sections = []
    if given.labeled is not None:
        assert given.labels is not None
        assert given.probs is not None
        rows = given.labeled.row_chunks[0]
        num_annotators = given.labels.num_annotators
        state_bytes = planning.labeled_state_bytes(
            num_annotators,
            given.probs.num_classes,
            given.probs.num_models,
            rows * num_annotators,
            batch_size,
        )
        sections.append(
            plan_section(
                "labeled",
                given.labeled,
                given.probs,
                LABELED_COLUMNS,
                (pass_1_reads, 1),
                state_bytes,
            )
        )
    if given.unlabeled is not None:
        assert given.pool is not None
        state_bytes = planning.pool_state_bytes(batch_size)
        sections.append(
            plan_section(
                "unlabeled", given.unlabeled, given.pool, UNLABELED_COLUMNS, (0, 1), state_bytes
            )
        )
    return Plan(
        tuple(sections),
        worker_threads() if threads is None else threads,
        sizes.parse_memory(memory_limit),
    )


def plan_section(
    name: str,
    blocks: RowBlocks,
    probs: inputs.Probs,
    columns: Mapping[str, str],
    reads: tuple[int, int],
    state_bytes: int,
) -> SectionPlan:
    """The plan of one pool."""
    num_rows, num_blocks = blocks.edges[-1], len(blocks.row_chunks)
    size = block_size(blocks.sources)
    num_annotators = blocks.sources[0].shape[1] if blocks.has_labels else 0
    return SectionPlan(
        name,
        num_rows,
        num_blocks,
        size.rows,
        size.reason,
        tuple(
            plan_array(source, reads, is_labels=blocks.has_labels and at == 0)
            for at, source in enumerate(blocks.sources)
        ),
        sum(reads) * planning.count_tasks(num_blocks, SPLIT_EVERY),
        sum(np.dtype(dtype).itemsize for dtype in columns.values()),
        state_bytes,
        planning.kernel_bytes(probs.num_models, probs.num_classes, size.rows, num_annotators),
    )


# A compressed label, one code of few, takes no more than this.
LABEL_BYTES = 2


def plan_array(source: Source, reads: tuple[int, int], *, is_labels: bool) -> ArrayPlan:
    """The plan of one array."""
    compressed = bool(getattr(getattr(source, "array", None), "compressors", ()))
    return ArrayPlan(
        source.name,
        source.shape,
        str(source.dtype),
        source.kind,
        source.shape[source.row_axis],
        source.row_bytes,
        source.chunk_bytes,
        reads,
        min(1.0, LABEL_BYTES / source.dtype.itemsize) if is_labels and compressed else 1.0,
        source.flying_bytes,
    )
