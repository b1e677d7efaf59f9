"""Both passes, from inputs to a finished store; an interrupted run is continued."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from daskal.api.estimation import warn_of
from daskal.api.multi_label import check_reduce, is_multi_label
from daskal.engine.progress import ProgressCallback
from daskal.engine.workers import check_cluster
from daskal.errors import InputError, ResumeError, StoreExistsError
from daskal.inputs import fingerprint
from daskal.method import findings
from daskal.method.multi_label import AnyEstimate, read_estimate
from daskal.method.tallies import LabeledTally, MultiLabelTally, PoolTally
from daskal.options import (
    REDUCE,
    Options,
    Storage,
    check_choice,
    check_gold,
    check_options,
    check_size,
)
from daskal.runs import store
from daskal.runs.class_passes import ClassPasses
from daskal.runs.class_tables import write_class_tables
from daskal.runs.inputs import Given, describe_input
from daskal.runs.long_votes import VoteColumns
from daskal.runs.passes import Passes, report_findings
from daskal.runs.planning import plan_run
from daskal.runs.result import Run
from daskal.runs.store import Claim
from daskal.runs.tables import write_ids, write_tables
from daskal.runs.wanted import Wanted
from daskal.storage.places import refuse_sources_under
from daskal.storage.redaction import redacted
from daskal.version import __version__


def run(
    *,
    labels: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    votes: Any = None,
    out: str | os.PathLike[str],
    estimate: AnyEstimate | None = None,
    multi_label: bool | None = None,
    reduce: str = "mean",
    batch_size: int = 1000,
    convention: str = "paper",
    temperature: str | float | None = "fit",
    consensus_method: str = "best_quality",
    quality_method: str = "crowdlab",
    random_state: int = 0,
    on_invalid: str = "raise",
    labeled_ids: Any = None,
    unlabeled_ids: Any = None,
    id_column: str | None = None,
    class_columns: Sequence[str] | None = None,
    task: str = "task",
    annotator: str = "annotator",
    label: str = "label",
    unknown_tasks: str = "raise",
    on_duplicate: str = "error",
    gold: Any = None,
    use_gold: bool = False,
    panel: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    memory_limit: int | str | None = None,
    storage_options: Storage = None,
    progress: ProgressCallback | None = None,
) -> Run:
    """Return the result of both passes, written to a store (runs now).

    Pass 1 reads each block of the labeled data at most twice, pass 2 every block once; scores, the
    next batch and the tables come out of the same read. Runs on whatever Dask scheduler is active.
    An interrupted run leaves a store that ``resume=True`` continues: it is bound to the inputs'
    resolved URLs, their arrays' metadata and the options, not to the values stored.

    Parameters
    ----------
    labels, pred_probs, convention, temperature, consensus_method, quality_method, random_state
        As for :func:`daskal.estimate`; neither labels nor pred_probs, to score a pool alone.
    pred_probs_unlabeled : array_like of shape (U, K) or (P, U, K), or list of P of shape (U, K)
        As for :func:`daskal.score_unlabeled`.
    votes : path, list of paths, DataFrame, Dask DataFrame or Tags, optional
        In place of labels: one row a vote, as for :func:`daskal.import_votes`. ``pred_probs`` then
        holds all examples, with ids, in any order: those with votes are the labeled ones, the
        others the pool. The result tells the row of each in ``labeled/table_row`` and
        ``unlabeled/table_row``, and keeps the votes, sparse, in ``matched_votes``. Where an
        example may have several classes, :class:`Tags` or a table of lists, in memory or in
        files; the votes are not kept then.
    out : str or path
        Path or URL of the Zarr store to write.
    estimate : Estimate or MultiLabelEstimate, optional
        Score with this one, without pass 1.
    multi_label : bool, optional
        Whether an example may have several classes, as for :func:`daskal.estimate`; by default as
        the estimate says. ``gold`` is not supported then.
    reduce : {"mean", "min"}
        What becomes of the scores of an example's classes, where it may have several.
    batch_size : int
        Examples in the next batch.
    on_invalid : {"raise", "nan"}
        Whether rows at fault are an error, all of them named at once, or score NaN.
    labeled_ids, unlabeled_ids : array_like of shape (N,) and (U,), optional
        Ids of the examples, stored beside their scores.
    id_column : str, optional
        The column with the ids of the examples, in every input that is a table.
    class_columns : sequence of str, optional
        The columns with probabilities, as for :class:`daskal.Table`; the others are left out.
    task, annotator, label : str
        The columns of votes in long format. If these have no column ``task``, that is called like
        ``id_column``.
    unknown_tasks : {"raise", "ignore"}
        Whether votes on tasks that are no ids of ``pred_probs`` are an error, or are left out.
    on_duplicate : {"error", "last"}
        Whether several votes of an annotator on a task are an error, or the last one counts. With
        several classes an example, whether several lists are.
    gold : array_like of shape (N,), DataFrame or Series, optional
        Known classes of some labeled examples, as for :func:`daskal.aggregate`: the store and the
        report then say how often annotators, consensus and model are right.
    use_gold : bool
        Hold the known classes fixed in the estimate, as for :func:`daskal.estimate`.
    panel : bool
        Store what the annotators are worth as a panel, too, as :func:`daskal.panel` finds it, and
        show it in the report. This takes one more read of the labels.
    overwrite : bool
        Replace the result store under ``out``; nothing but a result store is ever replaced.
    resume : bool
        Continue the run that was interrupted under ``out``: blocks that are finished are not
        computed again. Begins anew where there is none; returns at once where it is finished.
    memory_limit : int or str, optional
        What a worker may take, in bytes or as ``"2GiB"``: a run that :func:`daskal.plan` projects
        to need more is refused.
    storage_options : mapping, optional
        Passed on to the storage behind paths and URLs; never stored.
    progress : callable, optional
        Called with a ``Progress(stage, done, total, rows, total_rows)`` as blocks end.

    Returns
    -------
    Run

    Raises
    ------
    InputError, EstimateError
        If inputs and estimate do not fit together.
    InvalidDataError
        If rows are at fault.
    MemoryLimitError
        If a worker's projected peak is above ``memory_limit``.
    StoreExistsError
        If there is something under ``out``.
    ResumeError
        If the run under ``out`` had other inputs or options; says which.
    StorageError, BlockError, ClusterError
        If storage or workers fail. What is finished stays: pass ``resume=True`` the next time.

    Examples
    --------
    >>> import tempfile, numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> out = tempfile.mkdtemp() + "/scores.zarr"
    >>> run = daskal.run(labels=labels, pred_probs=pred_probs, out=out)
    >>> int(run.batch["row"].iloc[0])
    2
    """
    options = Options(convention, temperature, consensus_method, quality_method, random_state)
    options = check_options(options, on_invalid)
    check_size(batch_size, name="batch_size")
    batch_size = int(batch_size)
    multi_label = check_kind(estimate, multi_label, reduce, panel)
    if overwrite and resume:
        raise InputError("expected overwrite=True or resume=True, got both: choose one.")
    check_gold(use_gold, gold)
    if use_gold and estimate is not None:
        raise InputError(
            "use_gold: expected no estimate beside it, got one, which is made already."
        )
    wanted = Wanted(
        labels,
        pred_probs,
        pred_probs_unlabeled,
        votes,
        labeled_ids,
        unlabeled_ids,
        id_column,
        class_columns,
        VoteColumns(task, annotator, label),
        unknown_tasks,
        on_duplicate,
        gold,
        multi_label,
        use_gold,
        panel,
    )
    path = os.fspath(out)
    if votes is not None and not (overwrite or resume):
        # Before the votes are read.
        refuse_earlier(path, store.find(path, storage_options))
    given, long_votes = wanted.open(storage_options, progress)
    given = given.fit(estimate)
    plan_run(
        given,
        batch_size=batch_size,
        consensus_method=consensus_method if estimate is None else None,
        panel=panel,
        memory_limit=memory_limit,
    ).check()
    arguments = wanted.arguments()
    attrs = describe_run(
        given,
        arguments,
        {
            **options._asdict(),
            "on_invalid": on_invalid,
            "batch_size": batch_size,
            **wanted.changed(),
            **({"multi_label": True, "reduce": reduce} if multi_label else {}),
        },
        estimate,
    )
    if resume and is_finished(path, attrs, storage_options):
        return Run.open(path, storage_options=storage_options)
    refuse_sources_under(path, arguments)
    check_cluster()
    root, claim = begin(path, given, attrs, overwrite, resume, storage_options)
    if long_votes is not None:
        given = long_votes.imported(
            given, path, storage_options, progress, on_duplicate=on_duplicate
        )
    shared = (given, root, claim, on_invalid, batch_size, progress)
    both = ClassPasses(*shared, reduce=reduce) if multi_label else Passes(*shared, use_gold)
    known = store.read_estimate(root)
    if known is not None:
        estimate = read_estimate(known)
    elif estimate is None:
        estimate = both.estimate(options)
        if estimate is not None:
            warn_of(estimate)
    if estimate is not None and known is None:
        store.write_estimate(root, estimate.to_json())
    known_as: Any = estimate
    labeled, unlabeled = both.labeled(known_as), both.unlabeled(known_as)
    rule = findings.MULTI_LABEL_RULE if multi_label else findings.RULE
    report_findings(labeled, unlabeled, on_invalid, given.names, rule)
    if panel:
        store.write_panel(root, both.panel(options.random_state).to_json())
    write_ids(root, given)
    write_all: Any = write_class_tables if multi_label else write_tables
    write_all(root, given, estimate, labeled, unlabeled, batch_size)
    claim.check()
    store.finish(root, {**scalars(labeled, unlabeled), **gold_scalars(labeled)})
    return Run.open(path, storage_options=storage_options)


def check_kind(estimate: Any, multi_label: bool | None, reduce: Any, panel: bool) -> bool:
    """Return whether an example may have several classes; refuse options that do not go with it."""
    several = is_multi_label(estimate, multi_label)
    if several:
        check_choice("reduce", reduce, REDUCE)
        if panel:
            raise InputError("panel: expected False with multi_label=True, got True.")
    else:
        check_reduce(reduce, multi_label=False)
    return several


# --- beginning --------------------------------------------------------------------------------


def describe_run(
    given: Given,
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
    estimate: AnyEstimate | None,
) -> dict[str, Any]:
    """Return what the store records of the run: inputs, options, and the fingerprint."""
    identity = {
        "version": __version__,
        **given.fingerprint(),
        "options": options,
        "estimate": None if estimate is None else fingerprint.text_token(estimate.to_json()),
    }
    return {
        "version": __version__,
        "inputs": {
            name: describe_input(value) for name, value in arguments.items() if value is not None
        },
        "options": dict(options),
        "fingerprint": fingerprint.canonical(identity),
    }


def is_finished(path: str, attrs: Mapping[str, Any], storage_options: Storage) -> bool:
    """Return whether this same run has finished; refuse a store that holds another run."""
    found = store.find(path, storage_options)
    if found is None or found["status"] == store.CREATING:
        return False
    refuse_other_version(path, found)
    differences = fingerprint.changes(found.get("fingerprint", {}), attrs["fingerprint"])
    if differences:
        shown = "\n".join(f"  {difference}" for difference in differences)
        raise ResumeError(
            f"the run in {redacted(path)!r} cannot be resumed: its inputs or options are not those "
            f"it was begun with:\n{shown}\nPass those,",
            advice="or {overwrite=True} to begin anew.",
        )
    return bool(found["status"] == store.FINISHED)


def refuse_other_version(path: str, found: Mapping[str, Any]) -> None:
    """Refuse to resume another version's run, whose records may be of another form."""
    version = found.get("version")
    if version != __version__:
        raise ResumeError(
            f"the run in {redacted(path)!r} was begun by daskal {version} and cannot be resumed by "
            f"daskal {__version__}, which records blocks differently. Resume it with that version, "
            "or pass overwrite=True to begin anew."
        )


def begin(
    path: str,
    given: Given,
    attrs: Mapping[str, Any],
    overwrite: bool,
    resume: bool,
    storage_options: Storage,
) -> tuple[Any, Claim]:
    """Return the store to write to, a new one or the interrupted run's."""
    found = store.find(path, storage_options)
    if not (overwrite or resume):
        refuse_earlier(path, found)
    if found is not None and resume and found["status"] == store.RUNNING:
        root = store.open_group(path, "r+", storage_options)
        return root, store.claim(root)
    return store.create(path, given.sections(), attrs, storage_options)


def refuse_earlier(path: str, found: Mapping[str, Any] | None) -> None:
    """Refuse to begin a run where there is a store, which ``found`` is known of."""
    if found is None:
        return
    running = found["status"] == store.RUNNING
    state = "holds a run that is not finished" if running else "exists already"
    raise StoreExistsError(
        f"{redacted(path)!r} {state}.",
        advice="Pass {overwrite=True} to replace it, {resume=True} to continue the run that made "
        "it, or another path.",
    )


def gold_scalars(tally: LabeledTally | MultiLabelTally | None) -> dict[str, Any]:
    """Return what is known of examples of known class, for the store's attributes."""
    gold = getattr(tally, "gold", None)
    if gold is None:
        return {}
    models = gold.model_right
    return {
        "num_gold": gold.examples,
        "num_gold_consensus_right": gold.consensus_right,
        "num_gold_model_right": None if models is None else models.tolist(),
    }


def scalars(
    labeled: LabeledTally | MultiLabelTally | None, unlabeled: PoolTally | None
) -> dict[str, Any]:
    """Return the numbers of the run that go into the store's attributes."""
    tallies = [labeled.scores] if labeled is not None else []
    tallies += [unlabeled] if unlabeled is not None else []
    found = findings.merge_all(tally.findings for tally in tallies)
    return {
        "num_labeled_rows": 0 if labeled is None else labeled.scores.num_rows,
        "num_unlabeled_rows": 0 if unlabeled is None else unlabeled.num_rows,
        # Counted by missing scores, as a row may have several faults.
        "num_invalid_rows": sum(tally.num_rows - int(tally.histogram.sum()) for tally in tallies),
        "invalid": findings.summarize(found),
    }
