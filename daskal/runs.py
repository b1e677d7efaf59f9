"""Both passes, from inputs to a finished store, and the store as a result."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daskal import api, findings, inputs, reduction, scoring, selection, store
from daskal.annotators import annotator_table
from daskal.blocks import RowBlocks, cut_rows
from daskal.errors import DataWarning, InputError
from daskal.locations import redacted
from daskal.progress import Report
from daskal.results import Run
from daskal.store import Section, SectionWriter
from daskal.tallies import LabeledTally, PoolTally
from daskal.version import __version__
from daskal.weights import Estimate, Options

Storage = Mapping[str, Any] | None


@dataclass(frozen=True)
class RunInputs:
    """What a run reads, opened and checked."""

    labels: inputs.Labels | None
    probs: inputs.Probs | None
    pool: inputs.Probs | None
    labeled: RowBlocks | None
    unlabeled: RowBlocks | None

    @classmethod
    def open(cls, labels: Any, pred_probs: Any, pool: Any, storage_options: Storage) -> RunInputs:
        """Open what is given."""
        if (labels is None) != (pred_probs is None):
            missing, given = ("labels", "pred_probs")
            if pred_probs is None:
                missing, given = given, missing
            raise InputError(
                f"expected labels and pred_probs together, got {given} only: pass {missing} too."
            )
        if labels is None and pool is None:
            raise InputError(
                "expected labels and pred_probs, pred_probs_unlabeled, or all three; got none."
            )
        given_labels = probs = labeled = pool_probs = unlabeled = None
        if labels is not None:
            given_labels, probs, labeled = api.labeled_blocks(
                labels, pred_probs, storage_options, uniform=True
            )
        if pool is not None:
            pool_probs = inputs.open_probs("pred_probs_unlabeled", pool, storage_options)
            unlabeled = cut_rows(pool_probs.sources, has_labels=False, uniform=True)
        if probs is not None and pool_probs is not None:
            check_same_model(probs, pool_probs)
        return cls(given_labels, probs, pool_probs, labeled, unlabeled)

    def sections(self) -> list[Section]:
        """Sections of the store."""
        parts = (
            ("labeled", store.LABELED_COLUMNS, self.labeled),
            ("unlabeled", store.UNLABELED_COLUMNS, self.unlabeled),
        )
        return [
            Section(name, columns, blocks.edges[-1], blocks.row_chunks[0])
            for name, columns, blocks in parts
            if blocks is not None
        ]


def check_same_model(probs: inputs.Probs, pool: inputs.Probs) -> None:
    """Refuse a pool with other classes or models than the labelled data."""
    if (probs.num_classes, probs.num_models) != (pool.num_classes, pool.num_models):
        raise InputError(
            "expected pred_probs and pred_probs_unlabeled from the same model(s), got "
            f"{probs.num_models} model(s) with {probs.num_classes} classes and "
            f"{pool.num_models} model(s) with {pool.num_classes} classes."
        )


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
    storage_options: Storage = None,
    progress: Report | None = None,
) -> Run:
    """Return the result of both passes, written to a store (runs now).

    Pass 1 reads each block of the labelled data at most twice, pass 2 every block once; scores, the
    next batch and the tables come out of the same read. Runs on whatever Dask scheduler is active.

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
        Replace what is stored under ``out``.
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
    StoreExistsError
        If there is something under ``out``.

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
    api.check_options(options, on_invalid)
    selection.check_size(batch_size, None)
    given = RunInputs.open(labels, pred_probs, pred_probs_unlabeled, storage_options)
    path = os.fspath(out)
    attrs = {
        "version": __version__,
        "inputs": {
            name: describe_input(value)
            for name, value in (
                ("labels", labels),
                ("pred_probs", pred_probs),
                ("pred_probs_unlabeled", pred_probs_unlabeled),
            )
            if value is not None
        },
        "options": {**options._asdict(), "on_invalid": on_invalid, "batch_size": batch_size},
    }
    root = store.create(
        path, given.sections(), attrs, overwrite=overwrite, storage_options=storage_options
    )
    if estimate is None and given.labels is not None:
        assert given.probs is not None
        assert given.labeled is not None
        estimate = api.estimate_blocks(
            given.labels, given.probs, given.labeled, options, on_invalid, progress
        )
    if estimate is not None:
        store.write_estimate(root, estimate.to_json())
    labeled = score_labeled_section(given, estimate, root, on_invalid, batch_size, progress)
    unlabeled = score_unlabeled_section(given, estimate, root, on_invalid, batch_size, progress)
    report_findings(labeled, unlabeled, on_invalid)
    write_ids(root, given, labeled_ids, unlabeled_ids, storage_options)
    write_tables(root, given, estimate, labeled, unlabeled, batch_size)
    store.finish(root, scalars(labeled, unlabeled))
    return Run.open(path, storage_options=storage_options)


def describe_input(given: Any) -> Any:
    """What an input was, in words: a path, or kind, shape and dtype."""
    if isinstance(given, str | os.PathLike):
        return redacted(os.fspath(given))
    if isinstance(given, list | tuple):
        return [describe_input(item) for item in given]
    kind = f"{type(given).__module__.partition('.')[0]}.{type(given).__qualname__}"
    shape = tuple(getattr(given, "shape", ()))
    dtype = getattr(given, "dtype", None)
    return f"{kind} of shape {shape}" + (f", {dtype}" if dtype is not None else "")


def score_labeled_section(
    given: RunInputs,
    estimate: Estimate | None,
    root: Any,
    on_invalid: str,
    batch_size: int,
    progress: Report | None,
) -> LabeledTally | None:
    """Pass 2 over the labelled data."""
    if given.labeled is None:
        return None
    assert given.labels is not None
    assert given.probs is not None
    assert estimate is not None
    api.check_fits(estimate, given.probs, "pred_probs")
    task = reduction.tree(
        given.labeled,
        scoring.store_labeled_block,
        told=progress is not None,
        rule=estimate.rule(api.match_annotators(estimate, given.labels)),
        on_invalid=on_invalid,
        writer=SectionWriter(root["labeled"]),
        batch_size=batch_size,
    )
    tally: LabeledTally = task.compute("score labeled", progress)
    return tally


def score_unlabeled_section(
    given: RunInputs,
    estimate: Estimate | None,
    root: Any,
    on_invalid: str,
    batch_size: int,
    progress: Report | None,
) -> PoolTally | None:
    """Pass 2 over the pool."""
    if given.unlabeled is None:
        return None
    assert given.pool is not None
    temperature, model_weight, mean_weight = api.pool_weights(estimate, given.pool)
    task = reduction.tree(
        given.unlabeled,
        scoring.store_unlabeled_block,
        told=progress is not None,
        temperature=temperature,
        model_weight=model_weight,
        mean_weight=mean_weight,
        on_invalid=on_invalid,
        writer=SectionWriter(root["unlabeled"]),
        batch_size=batch_size,
    )
    tally: PoolTally = task.compute("score pool", progress)
    return tally


def report_findings(
    labeled: LabeledTally | None, unlabeled: PoolTally | None, on_invalid: str
) -> None:
    """Raise or warn of the rows at fault, and warn of workers that round differently."""
    tallies = [labeled.scores] if labeled is not None else []
    tallies += [unlabeled] if unlabeled is not None else []
    found = findings.Findings()
    levels: set[str] = set()
    for tally in tallies:
        found = found.merge(tally.findings)
        levels.update(tally.cpu_levels)
    if on_invalid == "raise":
        findings.raise_invalid(found)
    elif found:
        warnings.warn(findings.describe(found), DataWarning, stacklevel=3)
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
    invalid = sum(finding.num_rows for tally in tallies for finding in tally.findings.faults)
    return {
        "num_labeled_rows": 0 if labeled is None else labeled.scores.num_rows,
        "num_unlabeled_rows": 0 if unlabeled is None else unlabeled.num_rows,
        "num_invalid_rows": invalid,
        "cpu_levels": sorted(levels),
    }


def write_ids(
    root: Any, given: RunInputs, labeled_ids: Any, unlabeled_ids: Any, storage_options: Storage
) -> None:
    """Store the examples' ids where they are known."""
    found = {
        "labeled": first_known(labeled_ids, given.labels, given.probs),
        "unlabeled": first_known(unlabeled_ids, given.pool),
    }
    for section, ids in found.items():
        if ids is None or section not in root:
            continue
        array = inputs.open_argument(f"{section}_ids", ids, storage_options).array
        num_rows = root[f"{section}/score"].shape[0]
        if tuple(array.shape) != (num_rows,):
            raise InputError(
                f"{section}_ids: expected one id an example, shape ({num_rows},), got "
                f"{tuple(array.shape)}."
            )
        store.write_column(root[section], "example", np.asarray(array[:]), "example")


def first_known(ids: Any, *sources: Any) -> Any:
    """Ids that were passed, or those the inputs came with."""
    if ids is not None:
        return ids
    for source in sources:
        if source is not None and source.row_ids is not None:
            return source.row_ids.to_numpy()
    return None


def write_tables(
    root: Any,
    given: RunInputs,
    estimate: Estimate | None,
    labeled: LabeledTally | None,
    unlabeled: PoolTally | None,
    batch_size: int,
) -> None:
    """Write annotators, histograms and the next batch."""
    if labeled is not None:
        assert estimate is not None
        assert given.labels is not None
        known = given.labels.annotator_ids
        ids = pd.RangeIndex(given.labels.num_annotators) if known is None else pd.Index(known)
        table = annotator_table(labeled.annotators, estimate, ids).sort_index(kind="stable")
        weight = estimate.annotator_weight
        agreement = estimate.agreement_with_annotators
        columns = {
            "annotator": table.index.to_numpy(),
            **{str(name): table[name].to_numpy() for name in table},
            "weight": weight.reindex(table.index).to_numpy(),
            "agreement_with_annotators": agreement.reindex(table.index).to_numpy(),
        }
        store.write_table(root, "annotators", columns, "annotator")
        given_class, consensus = np.divmod(labeled.classes.cells, estimate.num_classes)
        store.write_table(
            root,
            "classes",
            {"given": given_class, "consensus": consensus, "num_votes": labeled.classes.num},
            "cell",
        )
    histograms = {}
    if labeled is not None:
        histograms["labeled_score"] = labeled.scores.histogram
        histograms["consensus_quality_score"] = labeled.quality
    if unlabeled is not None:
        histograms["unlabeled_score"] = unlabeled.histogram
    store.write_table(root, "histograms", histograms, "bin")
    batch = selection.rank(
        batch_size,
        None if labeled is None else labeled.scores.smallest,
        None if unlabeled is None else unlabeled.smallest,
        None if labeled is None else labeled.bare,
    )
    section_ids = {section: root.get(f"{section}/example") for section in ("labeled", "unlabeled")}
    batch = selection.add_ids(batch, section_ids["labeled"], section_ids["unlabeled"])
    columns = {str(name): batch[name].to_numpy() for name in batch}
    store.write_table(root, "batch", columns, "rank")
