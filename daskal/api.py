"""The public functions: validate, plan, reduce, map. No numeric code."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np

from daskal import findings, flags, inputs, reduction, scoring, weights
from daskal.blocks import Ledger, RowBlocks, as_array, cut_rows
from daskal.choices import ON_INVALID, Options, check_choice, check_options, shown
from daskal.errors import DataWarning, EstimateError
from daskal.progress import Report
from daskal.statistics import ConsensusStatistics, LabelStatistics
from daskal.weights import Draft, Estimate

Storage = Mapping[str, Any] | None


def estimate(
    labels: Any,
    pred_probs: Any,
    *,
    convention: str = "paper",
    temperature: str | float | None = "fit",
    consensus_method: str = "best_quality",
    quality_method: str = "crowdlab",
    random_state: int = 0,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Estimate:
    """Return what the labels tell of annotators, models and consensus (pass 1; runs now).

    Reads each block of the labelled data at most twice, and once more only where blocks differ so
    much that one guesses wrong where the best temperature lies. The weights are CROWDLAB's (arXiv
    2210.06812, section 3), on probabilities scaled by the temperature that best fits the votes, as
    ActiveLab takes them (arXiv 2301.11856, section 3).

    Parameters
    ----------
    labels : array_like of shape (N, M)
        Label of each example by each annotator, 0 to K - 1. Missing: NaN in a float matrix, any
        negative number in an integer one, ``pd.NA`` in a DataFrame. NumPy, pandas,
        ``dask.array``, ``zarr.Array``, xarray, or the path or URL of a Zarr array.
    pred_probs : array_like of shape (N, K) or (P, N, K), or list of P of shape (N, K)
        Class probabilities from one model, or from P.
    convention : {"paper", "cleanlab"}
        How labels are counted for the temperature and for ``quality_method="agreement"``: by class,
        or as cleanlab 2.9.0 does.
    temperature : "fit", float or None
        Fit each model's temperature, use this one, or None: the probabilities as they are.
    consensus_method : {"best_quality", "majority_vote"}
    quality_method : {"crowdlab", "agreement"}
    random_state : int
        Key of the last tie-break of the majority vote.
    on_invalid : {"raise", "nan"}
        Whether rows at fault are an error or are left out.
    storage_options : mapping, optional
        Passed on to the storage behind a path or URL.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If the arrays' structure does not fit.
    InvalidDataError
        If rows hold no probabilities or no labels of classes; names them.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> daskal.estimate(labels, pred_probs).num_annotations
    8
    """
    options = Options(convention, temperature, consensus_method, quality_method, random_state)
    options = check_options(options, on_invalid)
    given_labels, probs, blocks = labeled_blocks(labels, pred_probs, storage_options)
    statistics = read_labels(given_labels, blocks, options, on_invalid)
    names = row_names(given_labels, probs)
    if on_invalid == "raise":
        findings.raise_invalid(statistics.findings, names)
    elif statistics.findings:
        warnings.warn(findings.left_out(statistics.findings, names), DataWarning, stacklevel=2)
    return settle(statistics, given_labels, probs, blocks, options, on_invalid)


def row_names(labels: inputs.Labels, probs: inputs.Probs) -> findings.Names:
    """What finds the ids of labelled examples."""
    ids = probs.row_ids if labels.row_ids is None else labels.row_ids
    return {} if ids is None else dict.fromkeys(("labels", "pred_probs"), ids.__getitem__)


def labeled_blocks(
    labels: Any,
    pred_probs: Any,
    storage_options: Storage,
    *,
    uniform: bool = False,
    least_classes: int = 2,
) -> tuple[inputs.Labels, inputs.Probs, RowBlocks]:
    """The labelled data as row-aligned blocks."""
    given_labels = inputs.open_labels(labels, storage_options)
    probs = inputs.open_probs(
        "pred_probs", pred_probs, storage_options, least_classes=least_classes
    )
    inputs.check_aligned(given_labels, probs)
    sources = [given_labels.source, *probs.sources]
    return given_labels, probs, cut_rows(sources, has_labels=True, uniform=uniform)


def estimate_blocks(
    labels: inputs.Labels,
    probs: inputs.Probs,
    blocks: RowBlocks,
    options: Options,
    on_invalid: str,
    report: Report | None = None,
    ledger: Callable[[str], Ledger] | None = None,
    names: findings.Names | None = None,
) -> Estimate:
    """Pass 1 over blocks; ``ledger`` gives the one of a stage, ``names`` the ids of rows."""
    statistics = read_labels(labels, blocks, options, on_invalid, report, ledger)
    if on_invalid == "raise":
        findings.raise_invalid(statistics.findings, names)
    return settle(statistics, labels, probs, blocks, options, on_invalid, report, ledger)


def reduce_stage(
    stage: str,
    blocks: RowBlocks,
    function: Callable[..., Any],
    report: Report | None,
    ledger: Callable[[str], Ledger] | None,
    **arguments: Any,
) -> Any:
    """The state of one round of pass 1."""
    kept = None if ledger is None else ledger(stage)
    return reduction.reduce_blocks(blocks, function, stage, report, kept, **arguments)


def read_labels(
    labels: inputs.Labels,
    blocks: RowBlocks,
    options: Options,
    on_invalid: str,
    report: Report | None = None,
    ledger: Callable[[str], Ledger] | None = None,
) -> LabelStatistics:
    """The first read of pass 1, and one more if a block guessed the temperature wrong."""

    def read(stage: str, *, guess: bool) -> LabelStatistics:
        state: LabelStatistics = reduce_stage(
            stage,
            blocks,
            LabelStatistics.from_block,
            report,
            ledger,
            num_annotators=labels.num_annotators,
            miscount=options.convention == "cleanlab",
            fit=options.temperature == "fit",
            guess=guess,
            keep_faulty=on_invalid == "keep",
        )
        return state

    statistics = read("labels", guess=True)
    needless = options.temperature != "fit" or statistics.num_multiple == 0
    refused = on_invalid == "raise" and statistics.findings
    if needless or refused or weights.is_settled(statistics):
        return statistics
    return read("temperature", guess=False)


def settle(
    statistics: LabelStatistics,
    labels: inputs.Labels,
    probs: inputs.Probs,
    blocks: RowBlocks,
    options: Options,
    on_invalid: str,
    report: Report | None = None,
    ledger: Callable[[str], Ledger] | None = None,
) -> Estimate:
    """The estimate that follows from the first read, and from the second where one is needed."""
    draft = Draft.from_statistics(statistics, options)

    def read_again(stage: str, rule: Any) -> ConsensusStatistics:
        state: ConsensusStatistics = reduce_stage(
            stage,
            blocks,
            ConsensusStatistics.from_block,
            report,
            ledger,
            rule=rule,
            keep_faulty=on_invalid == "keep",
        )
        if int(state.consensus_counts.sum()) != statistics.num_multiple:
            findings.raise_changed()
        return state

    if statistics.num_multiple == 0:
        majority = final = weights.equal_weights(statistics, probs.num_models)
        consensus = statistics.consensus
    else:
        if statistics.pending.overflown:
            consensus = read_again("ties", draft.rule())
        else:
            consensus = statistics.consensus.merge(statistics.pending.statistics(draft.rule()))
        majority = final = weights.consensus_weights(statistics, consensus)
        if options.consensus_method == "best_quality":
            consensus = read_again("consensus", draft.rule(majority))
            final = weights.consensus_weights(statistics, consensus)
    return flags.finish(
        draft,
        majority,
        final,
        consensus,
        ensemble=probs.ensemble,
        annotator_ids=labels.annotator_ids,
        class_names=labels.class_names or probs.class_names,
    )


# --- pass 2 -----------------------------------------------------------------------------------


def check_fits(estimate: Any, probs: inputs.Probs, name: str) -> None:
    """Refuse an estimate made for other classes or models."""
    if not isinstance(estimate, Estimate):
        raise EstimateError(
            f"estimate: expected a daskal.Estimate, got {shown(estimate)}. Make one with "
            "daskal.estimate, or read one with daskal.Estimate.from_json(text)."
        )
    if estimate.num_classes != probs.num_classes:
        raise EstimateError(
            f"{name}: expected {estimate.num_classes:,} classes (columns), as the estimate has, "
            f"got {probs.num_classes:,}. Estimate again with this model's probabilities."
        )
    if (estimate.ensemble, estimate.num_models) != (probs.ensemble, probs.num_models):
        models = estimate.num_models
        expected = f"an ensemble's, (P, N, K) with P = {models:,}" if estimate.ensemble else "one's"
        raise EstimateError(
            f"{name}: expected the probabilities of the model(s) the estimate was made with, "
            f"{expected}, got {probs.form}."
        )
    if None not in (estimate.class_names, probs.class_names) and (
        estimate.class_names != probs.class_names
    ):
        raise EstimateError(
            f"{name}: expected the classes in the estimate's order, {estimate.class_names!r}, got "
            f"{probs.class_names!r}. Put the columns into that order."
        )


def annotator_places(estimate: Estimate, labels: inputs.Labels) -> list[int]:
    """Place of each column of the labels in the estimate, -1 for one it does not know."""
    known, given = estimate.annotator_ids, labels.annotator_ids
    if known is None or given is None:
        unknown = max(labels.num_annotators - estimate.num_annotators, 0)
        return [*range(labels.num_annotators - unknown), *[-1] * unknown]
    place = {annotator: at for at, annotator in enumerate(known)}
    return [place.get(annotator, -1) for annotator in given]


def match_annotators(estimate: Estimate, labels: inputs.Labels) -> list[int] | None:
    """Place of each column of the labels in the estimate; None where they are the same.

    Warns of annotators the estimate does not know, and of guesses by position.
    """
    given = labels.annotator_ids
    places = annotator_places(estimate, labels)
    if places == list(range(estimate.num_annotators)):
        return None
    if None in (estimate.annotator_ids, given) and len(places) < estimate.num_annotators:
        warnings.warn(
            f"labels: taken for the first {len(places):,} of the estimate's "
            f"{estimate.num_annotators:,} annotators, for one side has no ids. Name the "
            "columns (a DataFrame) when estimating and when scoring to match them by id.",
            DataWarning,
            stacklevel=4,
        )
    new = [at for at, found in enumerate(places) if found < 0]
    if new:
        names = new if given is None else [given[at] for at in new]
        warnings.warn(
            f"labels: the estimate does not know {len(new):,} annotator(s), who get the mean "
            f"weight: {names[:10]}{', ...' if len(names) > 10 else ''}",
            DataWarning,
            stacklevel=4,
        )
    return places


def like_template(array: da.Array, template: Any, name: str) -> Any:
    """The rows' scores as xarray, if that is what came in."""
    if template is None:
        return array
    rows = inputs.row_dim(template)
    others = [key for key, coord in template.coords.items() if not set(coord.dims) <= {rows}]
    coords = template.drop_vars(others).coords
    return type(template)(array, dims=(rows,), coords=coords, name=name)


def score_labeled(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    *,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return the ActiveLab score of each labelled example, lower = label it first (lazy).

    ``s_i = (Q_i (sum_j w_j + w_M) + w/K) / (sum_j w_j + w_M + w)`` over the annotators j of example
    i, Q_i the quality of its consensus label and w the mean weight (ActiveLab, arXiv 2301.11856,
    equation 3). An example without a label is scored as one of the pool.

    Parameters
    ----------
    labels : array_like of shape (N, M)
        As for :func:`daskal.estimate`. Annotators match the estimate's by id where both sides have
        ids, else by position.
    pred_probs : array_like of shape (N, K) or (P, N, K), or list of P of shape (N, K)
    estimate : Estimate
    on_invalid : {"raise", "nan"}
        Whether a row at fault raises when its block is computed, or scores NaN.
    storage_options : mapping, optional

    Returns
    -------
    dask.array.Array of shape (N,), float64
        Scores between 0 and 1; an ``xarray.DataArray`` if one of the inputs is.

    Raises
    ------
    InputError, EstimateError
        If arrays and estimate do not fit together.
    InvalidDataError
        On computing, if a block holds a row at fault.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> estimate = daskal.estimate(labels, pred_probs)
    >>> scores = daskal.score_labeled(labels, pred_probs, estimate)
    >>> int(scores.compute().argmin())
    2
    """
    check_choice("on_invalid", on_invalid, ON_INVALID)
    given_labels, probs, blocks = labeled_blocks(labels, pred_probs, storage_options)
    check_fits(estimate, probs, "pred_probs")
    rule = estimate.rule(match_annotators(estimate, given_labels))
    scores = as_array(
        blocks, scoring.score_labeled_block, np.float64, rule=rule, on_invalid=on_invalid
    )
    return like_template(scores, inputs.rows_template(probs, given_labels), "score")


def pool_weights(
    estimate: Estimate | None, probs: inputs.Probs
) -> tuple[np.ndarray[Any, Any] | None, np.ndarray[Any, Any], float]:
    """Temperature, model weights and mean annotator weight that score the pool."""
    if estimate is None:
        return np.ones(probs.num_models), np.ones(probs.num_models), 1.0
    check_fits(estimate, probs, "pred_probs_unlabeled")
    return estimate.temperatures, estimate.final.model_weight, estimate.final.mean_weight


def score_unlabeled(
    pred_probs_unlabeled: Any,
    estimate: Estimate | None = None,
    *,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return the ActiveLab score of each example of the pool, lower = label it first (lazy).

    ``s_i = (w_M max_k p'_ik + w/K) / (w_M + w)`` (ActiveLab, arXiv 2301.11856, equation 4): on one
    scale with :func:`daskal.score_labeled`. Without an estimate, T = w_M = w = 1.

    Parameters
    ----------
    pred_probs_unlabeled : array_like of shape (U, K) or (P, U, K), or list of P of shape (U, K)
        A Dask array may be a model's inference: its probabilities are then never stored.
    estimate : Estimate, optional
        Today's, or yesterday's from :meth:`Estimate.from_json`.
    on_invalid : {"raise", "nan"}
        Whether a row at fault raises when its block is computed, or scores NaN.
    storage_options : mapping, optional

    Returns
    -------
    dask.array.Array of shape (U,), float64
        Scores between 0 and 1; an ``xarray.DataArray`` if the input is.

    Raises
    ------
    InputError, EstimateError
        If array and estimate do not fit together.
    InvalidDataError
        On computing, if a block holds a row at fault.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> daskal.score_unlabeled(np.array([[0.9, 0.1], [0.5, 0.5]])).compute()
    array([0.7, 0.5])
    """
    check_choice("on_invalid", on_invalid, ON_INVALID)
    probs = inputs.open_probs("pred_probs_unlabeled", pred_probs_unlabeled, storage_options)
    temperature, model_weight, mean_weight = pool_weights(estimate, probs)
    scores = as_array(
        cut_rows(probs.sources, has_labels=False),
        scoring.score_unlabeled_block,
        np.float64,
        temperature=temperature,
        model_weight=model_weight,
        mean_weight=mean_weight,
        on_invalid=on_invalid,
    )
    return like_template(scores, probs.template, "score")
