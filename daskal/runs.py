"""Both passes, from inputs to a finished store; what an interrupted run left is taken up."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskal import api, findings, fingerprint, plans, reduction, scoring, store
from daskal.blocks import RowBlocks
from daskal.choices import Options, check_options, check_size
from daskal.clusters import check_cluster
from daskal.errors import ChangedInputError, DataWarning, InputError, ResumeError, StoreExistsError
from daskal.progress import Report
from daskal.records import Records
from daskal.redaction import redacted
from daskal.rereads import forget_changed
from daskal.results import SCORE_STAGES, Run
from daskal.runinputs import RunInputs, describe_input
from daskal.store import Claim, SectionWriter
from daskal.summaries import write_ids, write_tables
from daskal.tallies import LabeledTally, PoolTally
from daskal.version import __version__
from daskal.weights import Estimate

Storage = Mapping[str, Any] | None


def run(
    *,
    labels: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    out: str | os.PathLike[str],
    estimate: Estimate | None = None,
    batch_size: int = 1000,
    convention: str = "paper",
    temperature: str | float | None = "fit",
    consensus_method: str = "best_quality",
    quality_method: str = "crowdlab",
    random_state: int = 0,
    on_invalid: str = "raise",
    labeled_ids: Any = None,
    unlabeled_ids: Any = None,
    overwrite: bool = False,
    resume: bool = False,
    memory_limit: int | str | None = None,
    storage_options: Storage = None,
    progress: Report | None = None,
) -> Run:
    """Return the result of both passes, written to a store (runs now).

    Pass 1 reads each block of the labelled data at most twice, pass 2 every block once; scores, the
    next batch and the tables come out of the same read. Runs on whatever Dask scheduler is active.
    An interrupted run leaves a store that ``resume=True`` continues: it is bound to the inputs'
    resolved URLs, their arrays' metadata and the options, not to the values stored.

    Parameters
    ----------
    labels, pred_probs, convention, temperature, consensus_method, quality_method, random_state
        As for :func:`daskal.estimate`; neither labels nor pred_probs, to score a pool alone.
    pred_probs_unlabeled : array_like of shape (U, K) or (P, U, K), or list of P of shape (U, K)
        As for :func:`daskal.score_unlabeled`.
    out : str or path
        Path or URL of the Zarr store to write.
    estimate : Estimate, optional
        Score with this one, without pass 1.
    batch_size : int
        Examples in the next batch.
    on_invalid : {"raise", "nan"}
        Whether rows at fault are an error, all of them named at once, or score NaN.
    labeled_ids, unlabeled_ids : array_like of shape (N,) and (U,), optional
        Ids of the examples, stored beside their scores.
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
    if overwrite and resume:
        raise InputError("expected overwrite=True or resume=True, got both: choose one.")
    given = RunInputs.open(
        labels, pred_probs, pred_probs_unlabeled, storage_options, labeled_ids, unlabeled_ids
    )
    given.check_estimate(estimate)
    plans.plan_run(
        given,
        batch_size=batch_size,
        consensus_method=consensus_method if estimate is None else None,
        memory_limit=memory_limit,
    ).check()
    path = os.fspath(out)
    attrs = describe_run(
        given,
        {"labels": labels, "pred_probs": pred_probs, "pred_probs_unlabeled": pred_probs_unlabeled},
        {**options._asdict(), "on_invalid": on_invalid, "batch_size": batch_size},
        estimate,
    )
    if resume and is_finished(path, attrs, storage_options):
        return Run.open(path, storage_options=storage_options)
    check_cluster()
    root, claim = begin(path, given, attrs, overwrite, resume, storage_options)
    scoring_pass = ScoringPass(given, root, claim, on_invalid, batch_size, progress)
    known = store.read_estimate(root)
    if known is not None:
        estimate = Estimate.from_json(known)
    elif estimate is None and given.labels is not None:
        estimate = scoring_pass.estimate(options)
    if estimate is not None and known is None:
        store.write_estimate(root, estimate.to_json())
    labeled, unlabeled = scoring_pass.labeled(estimate), scoring_pass.unlabeled(estimate)
    report_findings(labeled, unlabeled, on_invalid, given.names)
    write_ids(root, given)
    write_tables(root, given, estimate, labeled, unlabeled, batch_size)
    claim.check()
    store.finish(root, scalars(labeled, unlabeled))
    return Run.open(path, storage_options=storage_options)


# --- beginning --------------------------------------------------------------------------------


def describe_run(
    given: RunInputs,
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
    estimate: Estimate | None,
) -> dict[str, Any]:
    """What the store is to say of the run: inputs, options, and the fingerprint it is bound to."""
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
    """Whether this very run is finished; refuses if what is there is another one."""
    found = store.find(path, storage_options)
    if found is None or found["status"] == store.CREATING:
        return False
    differences = fingerprint.changes(found.get("fingerprint", {}), attrs["fingerprint"])
    if differences:
        listed = "\n".join(f"  {difference}" for difference in differences)
        raise ResumeError(
            f"the run in {redacted(path)!r} cannot be resumed: its inputs or options are not those "
            f"it was begun with:\n{listed}\nPass those, or overwrite=True to begin anew."
        )
    return bool(found["status"] == store.FINISHED)


def begin(
    path: str,
    given: RunInputs,
    attrs: Mapping[str, Any],
    overwrite: bool,
    resume: bool,
    storage_options: Storage,
) -> tuple[Any, Claim]:
    """The store to write to, new or that of the interrupted run."""
    found = store.find(path, storage_options)
    if found is not None and not (overwrite or resume):
        running = found["status"] == store.RUNNING
        state = "holds a run that is not finished" if running else "exists already"
        raise StoreExistsError(
            f"{redacted(path)!r} {state}. Pass overwrite=True to replace it, resume=True to "
            "continue the run that made it, or another path."
        )
    if found is not None and resume and found["status"] == store.RUNNING:
        root = store.open_group(path, "r+", storage_options)
        return root, store.claim(root)
    return store.create(path, given.sections(), attrs, storage_options)


# --- pass 2 -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoringPass:
    """Pass 2 of a run, and where it keeps what is finished."""

    given: RunInputs
    root: Any
    claim: Claim
    on_invalid: str
    batch_size: int
    progress: Report | None

    def records(self, stage: str) -> Records:
        """The records of a stage."""
        return Records.of_stage(self.root, self.claim, stage, faultless=self.on_invalid == "raise")

    def estimate(self, options: Options) -> Estimate:
        """Pass 1."""
        given = self.given
        assert given.labels is not None
        assert given.probs is not None
        assert given.labeled is not None
        try:
            return api.estimate_blocks(
                given.labels,
                given.probs,
                given.labeled,
                options,
                self.on_invalid,
                self.progress,
                self.records,
                given.names,
            )
        except ChangedInputError:
            for stage in ("ties", "consensus"):
                self.compare_reads(stage)
            raise

    def compare_reads(self, stage: str) -> None:
        """Refuse a stage that saw other votes than the first read, and forget where it did."""
        assert self.given.labeled is not None
        first, later = self.records("labels"), self.records(stage)
        changed = forget_changed(first, later, self.given.labeled.row_chunks)
        if changed:
            findings.raise_changed(changed)

    def score(self, blocks: RowBlocks, section: str, function: Any, **options: Any) -> Any:
        """Score the blocks of a section."""
        stage = SCORE_STAGES[section]
        return reduction.reduce_blocks(
            blocks,
            function,
            stage,
            self.progress,
            self.records(stage),
            on_invalid=self.on_invalid,
            writer=SectionWriter(self.root[section], self.claim),
            batch_size=self.batch_size,
            **options,
        )

    def labeled(self, estimate: Estimate | None) -> LabeledTally | None:
        """Score the labelled data."""
        if self.given.labeled is None:
            return None
        assert self.given.labels is not None
        assert estimate is not None
        rule = estimate.rule(api.match_annotators(estimate, self.given.labels))
        tally: LabeledTally = self.score(
            self.given.labeled, "labeled", scoring.store_labeled_block, rule=rule
        )
        if not np.array_equal(tally.annotators.num, estimate.votes):
            # An estimate that was given counts the votes of other data.
            self.compare_reads(SCORE_STAGES["labeled"])
        return tally

    def unlabeled(self, estimate: Estimate | None) -> PoolTally | None:
        """Score the pool."""
        if self.given.unlabeled is None:
            return None
        assert self.given.pool is not None
        temperature, model_weight, mean_weight = api.pool_weights(estimate, self.given.pool)
        tally: PoolTally = self.score(
            self.given.unlabeled,
            "unlabeled",
            scoring.store_unlabeled_block,
            temperature=temperature,
            model_weight=model_weight,
            mean_weight=mean_weight,
        )
        return tally


def report_findings(
    labeled: LabeledTally | None,
    unlabeled: PoolTally | None,
    on_invalid: str,
    names: findings.Names,
) -> None:
    """Raise or warn of the rows at fault, and warn of workers that round differently."""
    tallies = [labeled.scores] if labeled is not None else []
    tallies += [unlabeled] if unlabeled is not None else []
    found = findings.merge_all(tally.findings for tally in tallies)
    levels = {level for tally in tallies for level in tally.cpu_levels}
    if on_invalid == "raise":
        findings.raise_invalid(found, names)
    elif found:
        warnings.warn(findings.left_out(found, names), DataWarning, stacklevel=3)
    if len(levels) > 1:
        warnings.warn(
            f"the workers' CPUs differ ({'; '.join(sorted(levels))}): last bits of scores may "
            "depend on which of them did a block.",
            DataWarning,
            stacklevel=3,
        )


def scalars(labeled: LabeledTally | None, unlabeled: PoolTally | None) -> dict[str, Any]:
    """Numbers of the run for the store's attrs."""
    tallies = [labeled.scores] if labeled is not None else []
    tallies += [unlabeled] if unlabeled is not None else []
    levels = {level for tally in tallies for level in tally.cpu_levels}
    found = findings.merge_all(tally.findings for tally in tallies)
    return {
        "num_labeled_rows": 0 if labeled is None else labeled.scores.num_rows,
        "num_unlabeled_rows": 0 if unlabeled is None else unlabeled.num_rows,
        # A row at fault has no score, however many faults it has.
        "num_invalid_rows": sum(tally.num_rows - int(tally.histogram.sum()) for tally in tallies),
        "invalid": findings.summarize(found),
        "cpu_levels": sorted(levels),
    }
