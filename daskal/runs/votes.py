"""Votes without a model, from labels to a finished store; an interrupted run is continued."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.api.aggregation import Aggregate, weigh_data
from daskal.api.estimation import Following
from daskal.api.iterations import AggregateOptions, aggregate_fields, check_memory, classes_named
from daskal.api.panel import panel_data
from daskal.engine import reduction
from daskal.engine.progress import ProgressCallback
from daskal.engine.workers import check_cluster
from daskal.errors import InputError
from daskal.inputs import fingerprint
from daskal.inputs.ids import RowIds, ids_identity, take_ids
from daskal.inputs.votes import VotesData, open_votes
from daskal.kernels.vote_quality import votes_columns
from daskal.method import findings
from daskal.method.doubtful import DoubtfulLabels
from daskal.method.expectation import DAWID_SKENE
from daskal.method.panels import fits_store
from daskal.method.tallies import LabeledTally
from daskal.method.values import LABELED_COLUMNS, Block
from daskal.options import Storage, check_size
from daskal.runs import store
from daskal.runs.inputs import open_row_ids
from daskal.runs.passes import Writer, report_findings
from daskal.runs.planning import plan_votes
from daskal.runs.records import Records
from daskal.runs.result import Run
from daskal.runs.run import begin, describe_run, gold_scalars, is_finished, scalars
from daskal.runs.store import SCORE_STAGES, Section, SectionWriter
from daskal.runs.tables import write_ids, write_votes_tables
from daskal.storage.places import refuse_sources_under
from daskal.text import parse_memory


@dataclass(frozen=True)
class VoteInputs:
    """The inputs of a run on votes alone, opened and checked."""

    given: VotesData
    ids: Mapping[str, RowIds]
    table_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def open(cls, labels: Any, gold: Any, ids: Any, storage_options: Storage) -> VoteInputs:
        """Open the arguments that are given."""
        given = open_votes(labels, gold, storage_options, uniform=True)
        known = open_row_ids(
            "labeled_ids", ids, given.blocks, given.labels.row_ids, storage_options
        )
        return cls(given, {} if known is None else {"labeled": known})

    @property
    def names(self) -> findings.Names:
        """The ids of rows, by the name of their array."""
        if "labeled" not in self.ids:
            return {}
        find = functools.partial(take_ids, self.ids["labeled"])
        return dict.fromkeys(("labels", "gold"), find)

    def sections(self) -> list[Section]:
        """Return the sections of the store."""
        blocks = self.given.blocks
        return [Section("labeled", LABELED_COLUMNS, blocks.edges[-1], blocks.row_chunks[0])]

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the inputs."""
        blocks = self.given.blocks
        described: dict[str, Any] = {
            "rows": blocks.edges[-1],
            "block_rows": blocks.row_chunks[0],
            "sources": {source.name: source.identity() for source in blocks.sources},
            "annotator_ids": fingerprint.names_identity(self.given.labels.annotator_ids),
        }
        if "labeled" in self.ids:
            described["ids"] = ids_identity(self.ids["labeled"])
        return {"labeled": described}


def run_aggregate(
    *,
    labels: Any,
    method: str = DAWID_SKENE,
    gold: Any = None,
    use_gold: bool = False,
    out: str | os.PathLike[str],
    batch_size: int = 1000,
    max_iterations: int = 100,
    tolerance: float = 1e-5,
    random_state: int = 0,
    num_classes: int | None = None,
    on_invalid: str = "raise",
    labeled_ids: Any = None,
    overwrite: bool = False,
    resume: bool = False,
    memory_limit: int | str | None = None,
    storage_options: Storage = None,
    progress: ProgressCallback | None = None,
) -> Run:
    """Return the result of votes without a model, written to a store (runs now).

    The aggregate first, an iteration a pass; then each example's consensus label, its posterior as
    the score, and the tables, out of one more read. An interrupted run leaves a store that
    ``resume=True`` continues in the iteration it was in, to the same bits.

    Parameters
    ----------
    labels, method, gold, use_gold, max_iterations, tolerance, random_state, num_classes
        As for :func:`daskal.aggregate`.
    out, batch_size, on_invalid, labeled_ids, overwrite, resume, storage_options, progress
        As for :func:`daskal.run`.
    memory_limit : int or str, optional
        What a worker may take: a run that :func:`daskal.plan` projects to need more is refused, or,
        where the labels name no classes, confusion matrices that would not fit.

    Returns
    -------
    Run
        Its ``aggregate`` is the aggregate, its ``estimate`` is None.

    Raises
    ------
    InputError, InvalidDataError, MemoryLimitError
        As for :func:`daskal.aggregate`.
    StoreExistsError, ResumeError, StorageError, BlockError, ClusterError
        As for :func:`daskal.run`.

    Examples
    --------
    >>> import tempfile, numpy as np, daskal
    >>> labels = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [-1, -1, -1]])
    >>> run = daskal.run_aggregate(labels=labels, out=tempfile.mkdtemp() + "/votes.zarr")
    >>> int(run.batch["row"].iloc[0])
    4
    """
    options = AggregateOptions(
        method, max_iterations, tolerance, random_state, use_gold, num_classes
    ).checked(on_invalid, gold)
    check_size(batch_size, name="batch_size")
    if overwrite and resume:
        raise InputError("expected overwrite=True or resume=True, got both: choose one.")
    limit = parse_memory(memory_limit)
    given = VoteInputs.open(labels, gold, labeled_ids, storage_options)
    classes = classes_named(given.given, options)
    if classes is not None:
        check_memory(method, given.given.labels.num_annotators, classes, limit)
        plan_votes(
            given.given, options, batch_size=int(batch_size), memory_limit=memory_limit
        ).check()
    path = os.fspath(out)
    arguments = {"labels": labels, "gold": gold, "labeled_ids": labeled_ids}
    choices = {
        **options.kept(),
        "num_classes": options.num_classes,
        "on_invalid": on_invalid,
        "batch_size": int(batch_size),
    }
    attrs = describe_run(given, arguments, choices, None)
    if resume and is_finished(path, attrs, storage_options):
        return Run.open(path, storage_options=storage_options)
    refuse_sources_under(path, arguments)
    check_cluster()
    root, claim = begin(path, given, attrs, overwrite, resume, storage_options)

    def records(stage: str) -> Records:
        return Records.of_stage(root, claim, stage, on_invalid=on_invalid)

    text = store.read_aggregate(root)
    if text is not None:
        aggregate = Aggregate.from_json(text)
    else:
        following = Following(progress, records)
        aggregate = Aggregate(
            **aggregate_fields(given.given, options, on_invalid, following, limit)
        )
        store.write_aggregate(root, aggregate.to_json())
    weighed = weigh_data(given.given, aggregate)
    stage = SCORE_STAGES["labeled"]
    tally: LabeledTally = reduction.reduce_blocks(
        given.given.blocks,
        stage,
        store_votes_block,
        progress,
        records(stage),
        parameters=weighed.parameters,
        seed=aggregate.random_state,
        writer=SectionWriter(root["labeled"], claim),
        size=int(batch_size),
    )
    if not np.array_equal(tally.annotators.num, aggregate.votes):
        findings.raise_changed(given="labels")
    if fits_store(aggregate.num_annotators, aggregate.num_classes):
        found = panel_data(
            given.given, options, on_invalid, aggregate, Following(progress, records), limit
        )
        store.write_panel(root, found.to_json())
    report_findings(tally, None, on_invalid, given.names, findings.VOTES_RULE)
    write_ids(root, given)
    write_votes_tables(root, given.given.labels, aggregate, weighed.accuracy, tally, batch_size)
    claim.check()
    store.finish(root, {**scalars(tally, None), **gold_scalars(tally)})
    return Run.open(path, storage_options=storage_options)


def store_votes_block(block: Block, *, writer: Writer, **options: Any) -> LabeledTally:
    """Write the columns of a block, and return its tally."""
    columns, tally = votes_columns(block, **options)
    assert block.labels is not None
    stop = block.first_row + len(block.labels)
    if stop > block.first_row:
        writer.write(block.first_row, stop, columns)
    return replace(tally, doubtful=DoubtfulLabels.from_columns(columns, block.first_row))
