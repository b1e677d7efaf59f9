"""Planning: how often a run reads its inputs, in which blocks, and what a worker then holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from daskal import text
from daskal.api.batch_memory import BatchMemory, ScoresSize
from daskal.api.batches import LABELED, UNLABELED
from daskal.api.iterations import STATES_AT_ONCE, AggregateOptions, classes_named
from daskal.api.multi_label import is_multi_label
from daskal.engine.graph import count_tasks
from daskal.engine.workers import worker_threads
from daskal.errors import InputError
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.sources import Source
from daskal.inputs.votes import VotesData, open_votes
from daskal.kernels import tiles
from daskal.kernels.binary import class_bytes
from daskal.kernels.panel import panel_bytes
from daskal.method import tallies
from daskal.method.expectation import MAJORITY_VOTE, sums_bytes
from daskal.method.panels import MOST_STORED_CELLS, fits_store
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
    ArrayPlan,
    SectionPlan,
)
from daskal.runs.plan import Plan
from daskal.runs.wanted import Wanted

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
    method: str | None = None,
    num_classes: int | None = None,
    max_iterations: int = 100,
    batch_size: int = 1000,
    max_per_group: int | None = None,
    consensus_method: str = "best_quality",
    panel: bool = False,
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

    With ``method``, what :func:`daskal.run_aggregate` would do with labels alone. Of ``votes`` and
    a table, it reads the votes and the ids, which tell how many examples are labeled; of CSV, where
    its lines end. Lists of classes and :class:`Tags` are read too.

    Parameters
    ----------
    labels, pred_probs, pred_probs_unlabeled, votes, estimate, multi_label
        As for :func:`daskal.run`.
    batch_size, consensus_method, panel
        As for :func:`daskal.run`.
    max_per_group : int, optional
        Plan as well that :meth:`daskal.Run.next_batch` then chooses ``batch_size`` examples with
        ``max_per_group``: groups are held beside the candidates.
    method, num_classes, max_iterations
        As for :func:`daskal.run_aggregate`. The number of classes is needed where the labels name
        none.
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
    if max_per_group is not None:
        check_size(max_per_group, name="max_per_group")
    check_choice("consensus_method", consensus_method, CONSENSUS_METHODS)
    if method is not None:
        others = (pred_probs, pred_probs_unlabeled, votes, estimate)
        if labels is None or any(other is not None for other in others):
            raise InputError(
                f"method: expected labels alone beside {method!r}, which takes no model. Leave out "
                "the method to plan a run with a model."
            )
        choices = AggregateOptions(method, max_iterations, num_classes=num_classes)
        votes_alone = open_votes(labels, None, storage_options, uniform=True)
        found = plan_votes(
            votes_alone,
            choices.checked("raise", None),
            batch_size=batch_size,
            memory_limit=memory_limit,
            threads=threads_per_worker,
        )
        return with_batch(found, {LABELED: votes_alone.blocks}, batch_size, max_per_group)
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
    found = plan_run(
        given,
        batch_size=batch_size,
        consensus_method=None if estimate is not None else consensus_method,
        panel=panel,
        memory_limit=memory_limit,
        threads=threads_per_worker,
    )
    return with_batch(found, given.blocks(), batch_size, max_per_group)


def with_batch(
    found: Plan, blocks: Mapping[str, RowBlocks], batch_size: int, max_per_group: int | None
) -> Plan:
    """Return a plan with that of a batch with groups, if there are any, from the run's scores."""
    if max_per_group is None:
        return found
    sizes = (
        ScoresSize.of_run(blocks[name], labeled=name == LABELED)
        for name in (LABELED, UNLABELED)
        if name in blocks
    )
    return replace(found, batch=BatchMemory(batch_size, True, tuple(sizes)))


def plan_run(
    given: RunInputs,
    *,
    batch_size: int,
    consensus_method: str | None,
    memory_limit: int | str | None,
    panel: bool = False,
    threads: int | None = None,
) -> Plan:
    """Return the plan of a run with opened inputs; no consensus method means no pass 1."""
    if panel:
        check_panel(given)
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
        if panel:
            counts = panel_bytes(num_annotators, probs.num_classes)
            state_bytes = max(state_bytes, counts)
        sections.append(
            plan_blocks(
                "labeled",
                given.labeled.blocks,
                probs.num_models,
                probs.num_classes,
                MULTI_LABEL_COLUMNS if given.multi_label else LABELED_COLUMNS,
                (pass_1_reads, 1),
                state_bytes,
                labels_again=panel,
                multi_label=given.multi_label,
            )
        )
    if given.pool is not None:
        state_bytes = tallies.pool_state_bytes(batch_size)
        sections.append(
            plan_blocks(
                "unlabeled",
                given.pool.blocks,
                given.pool.probs.num_models,
                given.pool.probs.num_classes,
                UNLABELED_COLUMNS,
                (0, 1),
                state_bytes,
                multi_label=given.multi_label,
            )
        )
    sources = [source for blocks in given.blocks().values() for source in blocks.sources]
    return replace(make_plan(sections, sources, memory_limit, threads), matching=given.matching)


def check_panel(given: RunInputs) -> None:
    """Refuse the panel of a run without labels, or one too large for a store's tables."""
    if given.multi_label:
        raise InputError("panel: expected False with multi_label=True, got True.")
    if given.labeled is None:
        raise InputError("panel: expected labels and pred_probs beside it, got none.")
    sizes = given.labeled.labels.num_annotators, given.labeled.probs.num_classes
    if not fits_store(*sizes):
        raise InputError(
            f"panel: expected confusion matrices of at most {MOST_STORED_CELLS:,} cells, got those "
            f"of {sizes[0]:,} annotators over {sizes[1]:,} classes. Leave it out, and call "
            "daskal.panel(labels)."
        )


def make_plan(
    sections: Sequence[SectionPlan],
    sources: Sequence[Source],
    memory_limit: int | str | None,
    threads: int | None,
    max_iterations: int | None = None,
) -> Plan:
    """Return the plan of some sections on the workers there are."""
    return Plan(
        tuple(sections),
        worker_threads() if threads is None else threads,
        text.parse_memory(memory_limit),
        IDLE_WORKER_BYTES + max(source.idle_bytes for source in sources),
        max_iterations,
    )


def plan_votes(
    given: VotesData,
    options: AggregateOptions,
    *,
    batch_size: int,
    memory_limit: int | str | None,
    threads: int | None = None,
) -> Plan:
    """Return the plan of a run on opened votes alone, of a known number of classes."""
    num_annotators, num_classes = given.labels.num_annotators, classes_named(given, options)
    if num_classes is None:
        raise InputError(
            "num_classes: expected the number of classes, as the labels name none and a plan reads "
            "no data, got None.",
            advice="Pass {num_classes=}.",
        )
    blocks, iterates = given.blocks, options.method != MAJORITY_VOTE
    iterations = options.max_iterations if iterates else None
    judges = fits_store(num_annotators, num_classes)
    state_bytes = max(
        STATES_AT_ONCE // 3 * sums_bytes(options.method, num_annotators, num_classes),
        panel_bytes(num_annotators, num_classes) if judges else 0,
        tallies.labeled_state_bytes(
            num_annotators, num_classes, 0, blocks.most_rows * num_annotators, batch_size
        ),
    )
    # The counts, the shares of votes, the iterations; then the scores and the panel.
    reads = (2 + (iterations or 0), 1 + judges)
    section = plan_blocks("labeled", blocks, 1, num_classes, LABELED_COLUMNS, reads, state_bytes)
    return make_plan([section], blocks.sources, memory_limit, threads, iterations)


def plan_blocks(
    name: str,
    blocks: RowBlocks,
    num_models: int,
    num_classes: int,
    columns: Mapping[str, str],
    reads: tuple[int, int],
    state_bytes: int,
    *,
    labels_again: bool = False,
    multi_label: bool = False,
) -> SectionPlan:
    """Return the plan of one section, whose labels may be read once more at the end."""
    num_rows, num_blocks = blocks.edges[-1], len(blocks.row_chunks)
    labels = blocks.sources[0] if blocks.has_labels else None
    num_annotators = 0 if labels is None else labels.shape[1]
    kernel_bytes = tiles.kernel_bytes(
        num_models, 2 if multi_label else num_classes, blocks.most_rows, num_annotators
    )
    if multi_label:
        row_bytes = 0 if labels is None else math.ceil(labels.row_bytes / num_classes)
        if labels is not None and labels.is_sparse:
            # All votes by class, and as float64 those of one class.
            row_bytes = 4 * labels.row_bytes
        kernel_bytes += class_bytes(num_models, num_classes, blocks.most_rows, row_bytes)
    return SectionPlan(
        name,
        num_rows,
        num_blocks,
        blocks.most_rows,
        blocks.reason,
        tuple(
            plan_array(
                source,
                (reads[0], reads[1] + (labels_again and at == 0)),
                is_labels=blocks.has_labels and at == 0,
            )
            for at, source in enumerate(blocks.sources)
        ),
        (sum(reads) + labels_again) * count_tasks(num_blocks),
        sum(
            np.dtype(dtype).itemsize * (num_classes if column in MATRICES else 1)
            for column, dtype in columns.items()
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
