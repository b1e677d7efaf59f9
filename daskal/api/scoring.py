"""Pass 2 on arrays: scores of labeled examples and of the pool, lazily."""

from __future__ import annotations

from typing import Any, cast

import dask.array as da
import numpy as np

from daskal.api import multi_label as many
from daskal.api.votes_alone import only_votes, score_votes
from daskal.engine.graph import as_array
from daskal.inputs.data import (
    LabeledData,
    fit_pool,
    like_template,
    open_labeled,
    open_pool,
    pool_rule,
    rows_template,
)
from daskal.inputs.matching import check_labeled_fits, match_annotators
from daskal.kernels import second_pass
from daskal.method.aggregates import VoteModel
from daskal.method.estimate import Estimate
from daskal.method.multi_label import AnyEstimate, MultiLabelEstimate
from daskal.method.values import Rule
from daskal.options import ON_INVALID, Storage, check_choice


def score_labeled(
    labels: Any,
    pred_probs: Any,
    estimate: AnyEstimate | VoteModel,
    *,
    multi_label: bool | None = None,
    reduce: str | None = "mean",
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return the ActiveLab score of each labeled example, lower = label it first (lazy).

    ``s_i = (Q_i (sum_j w_j + w_M) + w/K) / (sum_j w_j + w_M + w)`` over the annotators j of example
    i, Q_i the quality of its consensus label and w the mean weight (ActiveLab, arXiv 2301.11856,
    equation 3). An example without a label is scored as if it were in the pool.

    Parameters
    ----------
    labels : array_like of shape (N, M)
        As for :func:`daskal.estimate`. Annotators match the estimate's by id where both sides have
        ids, else by position.
    pred_probs : array_like of shape (N, K) or (P, N, K), or list of P of shape (N, K), or None
        None with an aggregate: the score is then the posterior of the consensus label.
    estimate : Estimate, MultiLabelEstimate or Aggregate
    multi_label : bool, optional
        Whether an example may have several classes; by default as the estimate says.
    reduce : {"mean", "min"} or None
        With several classes an example: its score is the mean over classes, or the least of them;
        None gives all of them.
    on_invalid : {"raise", "nan"}
        Whether a row at fault raises when its block is computed, or scores NaN.
    storage_options : mapping, optional

    Returns
    -------
    dask.array.Array of shape (N,), float64
        Scores between 0 and 1; an ``xarray.DataArray`` if one of the inputs is. Of several classes
        an example with ``reduce=None``, of shape (N, K), NaN in a class on which nobody voted.

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
    multi_label = many.is_multi_label(estimate, multi_label)
    many.check_reduce(reduce, multi_label=multi_label)
    if multi_label:
        several = cast("MultiLabelEstimate", estimate)
        return many.score_labeled(labels, pred_probs, several, reduce, on_invalid, storage_options)
    check_choice("on_invalid", on_invalid, ON_INVALID)
    aggregate = only_votes(pred_probs, estimate)
    if aggregate is not None:
        return score_votes(labels, aggregate, on_invalid, storage_options)
    # Of any other type, it is refused where it has to fit the probabilities.
    estimate = cast("Estimate", estimate)
    given = open_labeled(labels, pred_probs, storage_options)
    check_labeled_fits(estimate, given.probs, given.classes)
    scores = labeled_scores(
        given, estimate.rule(match_annotators(estimate, given.labels)), on_invalid
    )
    return like_template(scores, rows_template(given.probs, given.labels), "score")


def labeled_scores(given: LabeledData, rule: Rule, on_invalid: str) -> da.Array:
    """Return the scores of opened labeled data under a rule, lazily."""
    return as_array(
        given.blocks,
        "score labeled",
        second_pass.score_labeled_block,
        np.float64,
        rule=rule,
        on_invalid=on_invalid,
    )


def score_unlabeled(
    pred_probs_unlabeled: Any,
    estimate: AnyEstimate | None = None,
    *,
    multi_label: bool | None = None,
    reduce: str | None = "mean",
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
    estimate : Estimate or MultiLabelEstimate, optional
        Today's, or yesterday's from :meth:`Estimate.from_json`.
    multi_label : bool, optional
        Whether an example may have several classes; by default as the estimate says.
    reduce : {"mean", "min"} or None
        With several classes an example: its score is the mean over classes, or the least of them;
        None gives all of them.
    on_invalid : {"raise", "nan"}
        Whether a row at fault raises when its block is computed, or scores NaN.
    storage_options : mapping, optional

    Returns
    -------
    dask.array.Array of shape (U,), float64
        Scores between 0 and 1; an ``xarray.DataArray`` if the input is. Of several classes an
        example with ``reduce=None``, of shape (U, K).

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
    multi_label = many.is_multi_label(estimate, multi_label)
    many.check_reduce(reduce, multi_label=multi_label)
    if multi_label:
        several = cast("MultiLabelEstimate | None", estimate)
        return many.score_unlabeled(
            pred_probs_unlabeled, several, reduce, on_invalid, storage_options
        )
    estimate = cast("Estimate | None", estimate)
    check_choice("on_invalid", on_invalid, ON_INVALID)
    pool = fit_pool(estimate, open_pool(pred_probs_unlabeled, storage_options))
    scores = as_array(
        pool.blocks,
        "score unlabeled",
        second_pass.score_unlabeled_block,
        np.float64,
        rule=pool_rule(estimate, pool),
        on_invalid=on_invalid,
    )
    return like_template(scores, pool.probs.template, "score")
