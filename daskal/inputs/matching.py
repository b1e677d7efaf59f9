"""Arguments matched by the names of rows, classes and annotators, or refused."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from daskal.errors import DataWarning, EstimateError, InputError
from daskal.inputs.advice import BATCHES
from daskal.inputs.ids import RowIds
from daskal.inputs.labels import Labels
from daskal.inputs.probabilities import Probs
from daskal.inputs.sources import take_columns, take_rows
from daskal.method.aggregates import VoteModel
from daskal.method.estimate import Estimate
from daskal.method.multi_label import AnyEstimate, MultiLabelEstimate
from daskal.names import columns
from daskal.names.columns import Found, match_classes, same_classes
from daskal.names.naming import class_texts, codes_in, kind_of, spelled_as_codes
from daskal.names.normal import WHOLE, as_index
from daskal.names.rows import Match, Side, match_rows

# --- labels and probabilities -----------------------------------------------------------------


def align(
    labels: Labels, probs: Probs
) -> tuple[Labels, Probs, RowIds | None, tuple[str, ...] | None]:
    """Return labels and probabilities with rows and classes in one order, and their names.

    Rows in another order are reordered if one side is in memory, the probabilities if both are.
    """
    unnamed = labels.row_ids is None or probs.row_ids is None
    if labels.num_rows != probs.num_rows and unnamed:
        raise InputError(
            "expected labels and pred_probs with the same number of rows, got "
            f"{labels.num_rows:,} and {probs.num_rows:,}.{advice_on_rows(labels, probs)}"
        )
    if labels.template is not None and probs.template is not None:
        check_dims(labels.template.dims, probs.template.dims)
    check_masked_classes(labels, probs)
    if is_dense_in_memory(probs.sources) or not is_dense_in_memory((labels.source,)):
        rows = match_rows(labels.rows, probs.rows, movable=is_dense_in_memory(probs.sources))
        probs = probs if rows.order is None else with_rows(probs, rows)
    else:
        rows = match_rows(probs.rows, labels.rows, movable=True)
        if rows.order is not None:
            source = take_rows(labels.source, rows.order)
            template = in_order(labels.template, rows.order)
            labels = labels._replace(source=source, template=template, row_ids=probs.row_ids)
    names = labels.class_names
    known = Side(
        "labels",
        probs.num_classes if names is None else len(names),
        None if names is None else as_index(list(names)),
    )
    classes = match_classes(known, probs.classes)
    return labels, with_classes(probs, classes), rows.names, classes.names


def is_dense_in_memory(sources: Sequence[Any]) -> bool:
    """Return whether all rows are in memory and may be reordered."""
    return all(source.kind == "memory" and not source.is_sparse for source in sources)


def with_rows(probs: Probs, rows: Match) -> Probs:
    """Return probabilities with their rows put in order."""
    assert rows.order is not None
    sources = tuple(take_rows(source, rows.order) for source in probs.sources)
    template = in_order(probs.template, rows.order)
    return probs._replace(sources=sources, row_ids=rows.names, template=template)


def in_order(template: Any, order: np.ndarray[Any, Any]) -> Any:
    """Return a DataArray with its rows in another order."""
    if template is None:
        return None
    dim: Hashable = template.dims[-2] if template.ndim > 1 else template.dims[0]
    return template.isel({dim: order})


def with_classes(probs: Probs, classes: Match) -> Probs:
    """Return probabilities with their columns put in the order of the class codes."""
    probs = probs._replace(class_names=classes.names)
    if classes.order is None:
        return probs
    sources = tuple(take_columns(source, classes.order) for source in probs.sources)
    ids = None if probs.column_ids is None else probs.column_ids.take(classes.order)
    return probs._replace(sources=sources, column_ids=ids, moved=True)


def advice_on_rows(labels: Labels, probs: Probs) -> str:
    """Return advice where the numbers of rows differ."""
    if probs.ensemble and labels.num_rows == probs.num_models:
        return " Models come first in pred_probs, (P, N, K): call .transpose(1, 0, 2) on it."
    if probs.num_models * probs.num_rows == labels.num_rows:
        return f" A list is of models. {BATCHES}"
    if probs.num_rows < labels.num_rows == probs.num_classes:
        return " pred_probs seems to be transposed: rows are examples, columns classes."
    if labels.num_rows < probs.num_rows == labels.num_annotators:
        return " labels seems to be transposed: rows are examples, columns annotators."
    return " Each row of both is the same example."


def check_dims(labels: Sequence[Hashable], probs: Sequence[Hashable]) -> None:
    """Refuse DataArrays whose dimensions say that the axes are in another order."""
    rows = labels[0]
    if probs[-2] != rows and (rows in probs or probs[-2] in labels):
        raise InputError(
            "expected labels with the dimensions (row, annotator) and pred_probs with (row, class) "
            f"or (model, row, class), got {tuple(labels)!r} and {tuple(probs)!r}. Call "
            ".transpose() on the one that is transposed."
        )


def check_masked_classes(labels: Labels, probs: Probs) -> None:
    """Refuse labels in which xarray has masked a class, taking it for the fill value."""
    encoding = getattr(labels.template, "encoding", {})
    for key in ("_FillValue", "missing_value"):
        code = encoding.get(key)
        if code is None or np.ndim(code) or labels.source.dtype.kind != "f":
            continue
        if code in range(probs.num_classes):
            raise InputError(
                f"labels: expected every class to be there, got labels whose {key} is {code!r}, "
                "which is a class: xarray has made each such label missing. Open it with "
                "mask_and_scale=False."
            )


# --- models and estimates ---------------------------------------------------------------------


def check_same_model(probs: Probs, pool: Probs, classes: Side) -> Probs:
    """Return a pool whose columns are in the order of the labeled data's classes.

    Raises
    ------
    InputError
        If the pool is of other classes or models.
    """
    ours, theirs = (
        (given.ensemble, given.num_models, given.num_classes) for given in (probs, pool)
    )
    if ours != theirs:
        raise InputError(
            "expected pred_probs and pred_probs_unlabeled from the same models, got "
            f"{probs.form} and {pool.form}."
        )
    return with_classes(pool, match_classes(classes, pool.classes))


def check_fits(estimate: Any, probs: Probs, *, multi_label: bool = False) -> Probs:
    """Return probabilities whose columns are in the order of the estimate's classes.

    Raises
    ------
    EstimateError
        If they are of other classes or models than the estimate was made with.
    """
    check_same_form(estimate, probs, multi_label=multi_label)
    try:
        return with_classes(probs, match_classes(classes_of(estimate), probs.classes))
    except InputError as error:
        raise EstimateError(str(error)) from error


def check_single_label(estimate: Any) -> None:
    """Refuse an estimate of several classes an example where one is expected."""
    if isinstance(estimate, MultiLabelEstimate):
        raise EstimateError(
            "estimate: expected a daskal.Estimate, of one class an example, got a "
            "MultiLabelEstimate. Those of several classes are taken by daskal.score_labeled, "
            "score_unlabeled, label_quality and annotator_stats."
        )


def check_same_form(estimate: Any, probs: Probs, *, multi_label: bool) -> None:
    """Refuse probabilities of another number of classes or models than the estimate's."""
    name = probs.name
    kind = MultiLabelEstimate if multi_label else Estimate
    if not multi_label:
        check_single_label(estimate)
    if not isinstance(estimate, kind):
        raise EstimateError(
            f"estimate: expected a daskal.{kind.__name__}, got {type(estimate).__name__!r}. "
            f"Make one with daskal.estimate{'(..., multi_label=True)' if multi_label else ''}, or "
            f"read one with daskal.{kind.__name__}.from_json(text)."
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
            f"{name}: expected the probabilities of the models the estimate was made with, "
            f"{expected}, got {probs.form}.{'' if estimate.ensemble else of_models(probs)}"
        )


def of_models(probs: Probs) -> str:
    """Return advice on a list of arrays, if it is one, for a single model."""
    return f" A list is of models. {BATCHES}" if len(probs.sources) > 1 else ""


def classes_of(estimate: AnyEstimate) -> Side:
    """Return the classes of an estimate as one side of a match."""
    names = None if estimate.class_names is None else as_index(list(estimate.class_names))
    return Side("estimate", estimate.num_classes, names, moved=estimate.columns_moved)


def check_labeled_fits(
    estimate: Any, probs: Probs, classes: Side, *, multi_label: bool = False
) -> None:
    """Refuse labeled data whose class codes mean other classes than the estimate's.

    The codes of votes cannot be moved as columns can.
    """
    check_same_form(estimate, probs, multi_label=multi_label)
    if estimate.columns_moved and probs.column_ids is None:
        check_fits(estimate, probs, multi_label=multi_label)
    if estimate.class_names is None or classes.names is None:
        return
    index = as_index(classes.names)
    names = class_texts("labels", index)
    known = estimate.class_names
    if spelled_as_codes(names) == spelled_as_codes(known):
        return
    called_by_codes = kind_of(index) == WHOLE and codes_in(names) is not None
    if same_classes(names, known) or not called_by_codes:
        raise EstimateError(
            f"labels: expected the classes in the estimate's order, {known!r}, got "
            f"{names!r}. Import the votes with classes= in that order, or put the columns "
            "of pred_probs into it."
        )


# --- annotators -------------------------------------------------------------------------------


def find_annotators(estimate: AnyEstimate | VoteModel, labels: Labels) -> Found:
    """Return where the labels' annotators are in an estimate, -1 for an unknown one."""
    ids = estimate.annotator_ids
    known = None if ids is None else as_index(list(ids))
    kind = "aggregate" if isinstance(estimate, VoteModel) else "estimate"
    return columns.match_annotators(
        Side(f"the {kind}", estimate.num_annotators, known), labels.annotators
    )


def match_annotators(estimate: AnyEstimate | VoteModel, labels: Labels) -> list[int] | None:
    """Return the place of each column of the labels in the estimate; None where they are the same.

    Warn of annotators that the estimate does not know: they get the mean weight.
    """
    found = find_annotators(estimate, labels)
    if found.note is not None:
        warnings.warn(found.note, DataWarning, stacklevel=4)
    return None if found.order is None else found.places.tolist()
