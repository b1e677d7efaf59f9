"""Quality of consensus labels, of votes and of annotators, for data of any size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from daskal.api import class_quality, frames
from daskal.api.multi_label import check_reduce, is_multi_label
from daskal.api.votes_alone import only_votes, votes_annotators, votes_quality
from daskal.engine import reduction
from daskal.engine.graph import as_frame
from daskal.errors import InputError
from daskal.inputs.data import (
    LabeledData,
    annotator_index,
    open_labeled,
)
from daskal.inputs.gold import check_known, open_gold, with_gold
from daskal.inputs.ids import RowIds
from daskal.inputs.matching import check_labeled_fits, check_single_label, match_annotators
from daskal.kernels.gold import answer_with_gold
from daskal.kernels.quality import answer_block
from daskal.method.aggregates import VoteModel
from daskal.method.annotators import annotator_table
from daskal.method.estimate import Estimate
from daskal.method.expectation import JudgedVotes
from daskal.method.findings import raise_invalid
from daskal.method.multi_label import AnyEstimate
from daskal.method.tallies import BlockColumns
from daskal.method.values import Question, Scorer, quality_meta, votes_meta
from daskal.names.columns import names_beside_codes
from daskal.options import ON_INVALID, SCORE_METHODS, Storage, check_choice


@dataclass(frozen=True)
class Inquiry:
    """Labeled data, the question put to it, and the names that go into the answer."""

    given: LabeledData
    question: Question
    row_ids: RowIds | None
    annotator_ids: pd.Index
    class_names: tuple[str, ...] | None = None


def inquire(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    scorer: Scorer,
    on_invalid: str,
    storage_options: Storage,
) -> Inquiry:
    """Return the inquiry into labeled data under an estimate."""
    check_choice("on_invalid", on_invalid, ON_INVALID)
    check_choice("method", scorer.method, SCORE_METHODS)
    check_single_label(estimate)
    given = open_labeled(labels, pred_probs, storage_options)
    check_labeled_fits(estimate, given.probs, given.classes)
    rule = estimate.rule(match_annotators(estimate, given.labels))
    return Inquiry(
        given,
        Question((rule,), ("",), (scorer,), scorer, on_invalid),
        given.row_ids,
        annotator_index(given.labels, estimate.annotator_ids),
        names_beside_codes(estimate.class_names or given.class_names),
    )


def label_quality(
    labels: Any,
    pred_probs: Any,
    estimate: AnyEstimate | VoteModel,
    *,
    multi_label: bool | None = None,
    reduce: str | None = "mean",
    method: str = "self_confidence",
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return the consensus label of each example and how good it is (CROWDLAB; lazy).

    The quality of a consensus label is its posterior probability, the mean of the model's scaled
    probability and the votes' likelihoods weighted by how good model and annotators are (CROWDLAB,
    arXiv 2210.06812, section 3). It is for ranking, not the chance that the label is right: where
    classes are many, most labels of a quality below one half may still be right.

    Parameters
    ----------
    labels : array_like of shape (N, M)
        As for :func:`daskal.estimate`.
    pred_probs : array_like of shape (N, K) or (P, N, K), or list of P of shape (N, K), or None
        None with an aggregate: the posterior is then the aggregate's.
    estimate : Estimate, MultiLabelEstimate or Aggregate
        It decides ``consensus_method`` and ``quality_method``. Made with ``temperature=None``, it
        takes probabilities as they are, as CROWDLAB's paper does.
    multi_label : bool, optional
        Whether an example may have several classes; by default as the estimate says.
    reduce : {"mean", "min"} or None
        With several classes an example: its quality is the mean over classes, or the least; None
        gives one row per example and class.
    method : {"self_confidence", "normalized_margin", "confidence_weighted_entropy"}
        How the quality follows from the posterior q: the label's q, its lead over the best other
        class, or the posterior's entropy against the label's q; all between 0 and 1.
    on_invalid : {"raise", "nan"}
        Whether a row at fault raises when its block is computed, or has the quality NaN.
    storage_options : mapping, optional

    Returns
    -------
    dask.dataframe.DataFrame of N rows
        Columns ``consensus_label`` (int64, or a category by name where the classes have names),
        ``consensus_quality_score``, ``annotator_agreement``
        (share of the votes equal to the consensus; float64) and ``num_annotations`` (int64). The
        index is the examples' ids where the labels or probabilities have them, else their rows. An
        example without votes has the model's label and confidence, and NaN for agreement. With
        several classes an example, ``consensus_labels`` is the list of those it has, the agreement
        is the mean over classes with votes, and ``num_annotations`` counts the annotators; with
        ``reduce=None`` the column ``class`` comes first, and ``consensus_label`` is 0 or 1.

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
    >>> quality = daskal.label_quality(labels, pred_probs, estimate).compute()
    >>> quality["consensus_label"].tolist()
    [0, 1, 1, 1]
    >>> quality["annotator_agreement"].tolist()
    [1.0, 1.0, 0.5, 1.0]
    """
    multi_label = is_multi_label(estimate, multi_label)
    check_reduce(reduce, multi_label=multi_label)
    if multi_label:
        check_choice("method", method, SCORE_METHODS)
        return class_quality.label_quality(
            labels, pred_probs, estimate, reduce, method, on_invalid, storage_options
        )
    aggregate = only_votes(pred_probs, estimate)
    if aggregate is not None:
        return votes_quality(labels, aggregate, method, on_invalid, storage_options)
    # Of any other type, it is refused where it has to fit the probabilities.
    estimate = cast("Estimate", estimate)
    inquiry = inquire(labels, pred_probs, estimate, Scorer(method), on_invalid, storage_options)
    return lazy_quality(inquiry)


def lazy_quality(inquiry: Inquiry) -> Any:
    """Return label quality lazily, one row per example."""
    return as_frame(
        inquiry.given.blocks,
        "label quality",
        frames.quality_frame_block,
        frames.quality_table(
            quality_meta(inquiry.question.suffixes), pd.RangeIndex(0), inquiry.class_names
        ),
        inquiry.row_ids,
        question=inquiry.question,
        class_names=inquiry.class_names,
    )


def lazy_votes(inquiry: Inquiry) -> Any:
    """Return the quality of votes lazily, one row per vote."""
    ids = inquiry.annotator_ids
    return as_frame(
        inquiry.given.blocks,
        "vote qualities",
        frames.votes_frame_block,
        frames.votes_table(votes_meta(), ids, inquiry.class_names),
        inquiry.row_ids,
        question=inquiry.question,
        annotators=ids,
        class_names=inquiry.class_names,
    )


def lazy_matrix(inquiry: Inquiry, prefix: str) -> Any:
    """Return the quality of votes as a lazy matrix, one column per annotator."""
    columns = pd.Index([f"{prefix}{annotator}" for annotator in inquiry.annotator_ids])
    return as_frame(
        inquiry.given.blocks,
        "vote qualities",
        frames.wide_frame_block,
        pd.DataFrame(np.zeros((0, len(columns))), columns=columns),
        inquiry.row_ids,
        question=inquiry.question,
        columns=columns,
    )


def detailed_quality(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    *,
    method: str = "self_confidence",
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return how good each single vote is, one row per vote (CROWDLAB; lazy).

    The quality of a vote is the posterior probability of the class it gives. The table has as
    many rows as there are votes, whatever N and M are.

    Parameters
    ----------
    labels, pred_probs, estimate, method, on_invalid, storage_options
        As for :func:`daskal.label_quality`. Rows at fault have no votes under
        ``on_invalid="nan"``.

    Returns
    -------
    dask.dataframe.DataFrame of one row per vote
        Columns ``annotator`` (id where known, else column), ``label`` (int64) and ``quality``
        (float64), in the order of examples and then annotators. The index is the examples' ids
        where known, else their rows.

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
    >>> votes = daskal.detailed_quality(labels, pred_probs, estimate).compute()
    >>> votes.loc[2, ["annotator", "label"]].to_numpy().tolist()
    [[0, 1], [1, 0]]
    """
    inquiry = inquire(labels, pred_probs, estimate, Scorer(method), on_invalid, storage_options)
    return lazy_votes(inquiry)


def annotator_stats(
    labels: Any,
    pred_probs: Any,
    estimate: AnyEstimate | VoteModel,
    *,
    multi_label: bool | None = None,
    reduce: str | None = "mean",
    gold: Any = None,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> pd.DataFrame:
    """Return how good each annotator is, the worst first (CROWDLAB; runs now, one read).

    An annotator's quality is the mean quality of all its votes, weighted by the model's part in
    them, and its agreement with the consensus where others voted too (CROWDLAB, arXiv 2210.06812,
    section 3.3).

    Parameters
    ----------
    labels, pred_probs, estimate, multi_label, storage_options
        As for :func:`daskal.label_quality`.
    reduce : {"mean", "min"} or None
        With several classes an example: an annotator's quality is the mean over classes, or the
        least; None gives one row per class and annotator.
    gold : array_like of shape (N,), DataFrame or Series, optional
        Known classes of some examples, as for :func:`daskal.aggregate`.
    on_invalid : {"raise", "nan"}
        Whether rows at fault, all of which are named, are an error or are left out.

    Returns
    -------
    pandas.DataFrame of one row per annotator with votes
        Columns ``annotator_quality`` (NaN for one who shares no example with another, sorted last),
        ``agreement_with_consensus`` over all its votes, ``worst_class``, the class it gave that
        agrees least, and ``num_examples_labeled``; indexed by annotator, sorted by the first two.
        With ``gold`` also ``gold_accuracy``, the share of its votes on examples of known class that
        are right, ``gold_low`` and ``gold_high``, Wilson's 95 % interval, and ``num_gold``; and in
        ``attrs["gold_accuracy"]`` how often the consensus and each model are right. Under
        an aggregate the quality is the mean posterior of the classes an annotator gave. With
        several classes an example the agreement is the mean over classes, and ``worst_class`` the
        class in which the annotator agrees least with the consensus; with ``reduce=None`` it is
        ``worst_label``, the answer 0 or 1.

    Raises
    ------
    InputError, EstimateError
        If arrays and estimate do not fit together.
    InvalidDataError
        If rows are at fault.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> estimate = daskal.estimate(labels, pred_probs)
    >>> stats = daskal.annotator_stats(labels, pred_probs, estimate)
    >>> stats["num_examples_labeled"].to_dict()
    {1: 3, 0: 3, 2: 2}
    """
    multi_label = is_multi_label(estimate, multi_label)
    check_reduce(reduce, multi_label=multi_label)
    if multi_label:
        if gold is not None:
            raise InputError("gold: expected none for multi_label=True, where it is not supported.")
        return class_quality.annotator_stats(
            labels, pred_probs, estimate, reduce, on_invalid, storage_options
        )
    aggregate = only_votes(pred_probs, estimate)
    if aggregate is not None:
        return votes_annotators(labels, aggregate, gold, on_invalid, storage_options)
    # Of any other type, it is refused where it has to fit the probabilities.
    estimate = cast("Estimate", estimate)
    inquiry = inquire(labels, pred_probs, estimate, Scorer(), on_invalid, storage_options)
    # Faults of all blocks are merged before they are raised.
    inquiry = replace(inquiry, question=inquiry.question._replace(on_invalid="nan"))
    found: BlockColumns | JudgedVotes
    if gold is None:
        found = answer(inquiry, quality=False, votes=False)
    else:
        found = answer_gold(inquiry, gold, storage_options)
    if on_invalid == "raise":
        raise_invalid(found.findings, inquiry.given.names)
    if isinstance(found, JudgedVotes) and found.gold is not None:
        check_known(found.gold.examples, f"{inquiry.given.labels.num_rows:,} rows")
    assert found.annotators is not None
    table = annotator_table(
        found.annotators, estimate, inquiry.annotator_ids, getattr(found, "gold", None)
    )
    worst = frames.named(table["worst_class"].to_numpy(), inquiry.class_names)
    return table.assign(worst_class=worst)


def answer_gold(inquiry: Inquiry, gold: Any, storage_options: Storage) -> JudgedVotes:
    """Return how votes stand to the consensus and to known classes, from one read (runs now)."""
    given = inquiry.given
    state: JudgedVotes = reduction.tree(
        with_gold(given.blocks, open_gold(gold, given.labels, storage_options)),
        "quality columns",
        answer_with_gold,
        question=inquiry.question,
        num_annotators=given.labels.num_annotators,
    ).compute()
    return state


def answer(inquiry: Inquiry, *, quality: bool, votes: bool) -> BlockColumns:
    """Return the answer to an inquiry, from one read (runs now)."""
    state: BlockColumns = reduction.tree(
        inquiry.given.blocks,
        "quality columns",
        answer_block,
        question=inquiry.question,
        num_annotators=inquiry.given.labels.num_annotators,
        quality=quality,
        votes=votes,
    ).compute()
    return state
