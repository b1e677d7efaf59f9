"""Labels and probabilities opened together: the same rows, cut into blocks, fit for an estimate."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import pandas as pd

from daskal.errors import DataWarning, EstimateError, InputError
from daskal.inputs.blocks import RowBlocks, cut_rows
from daskal.inputs.ids import RowIds, check_same_ids
from daskal.inputs.labels import Labels, open_labels
from daskal.inputs.probabilities import Probs, open_probs
from daskal.method.estimate import Estimate
from daskal.method.findings import Names
from daskal.method.values import PoolRule
from daskal.options import Storage, shown

POOL = "pred_probs_unlabeled"


@dataclass(frozen=True)
class LabeledData:
    """Labels and probabilities of the same examples, as row-aligned blocks."""

    labels: Labels
    probs: Probs
    blocks: RowBlocks

    @property
    def row_ids(self) -> RowIds | None:
        """Ids of the examples, where labels or probabilities have them."""
        return self.probs.row_ids if self.labels.row_ids is None else self.labels.row_ids

    @property
    def names(self) -> Names:
        """The ids of rows, by the name of their array."""
        ids = self.row_ids
        return {} if ids is None else dict.fromkeys(("labels", "pred_probs"), ids.__getitem__)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, where either side has them."""
        return self.labels.class_names or self.probs.class_names


@dataclass(frozen=True)
class PoolData:
    """Probabilities of unlabeled examples, as blocks of rows."""

    probs: Probs
    blocks: RowBlocks


def open_labeled(
    labels: Any,
    pred_probs: Any,
    storage_options: Storage,
    *,
    uniform: bool = False,
    least_classes: int = 2,
) -> LabeledData:
    """Return labels and probabilities as row-aligned blocks, ``uniform`` ones if asked for."""
    given = open_labels(labels, storage_options)
    probs = open_probs("pred_probs", pred_probs, storage_options, least_classes=least_classes)
    check_aligned(given, probs)
    sources = [given.source, *probs.sources]
    return LabeledData(given, probs, cut_rows(sources, has_labels=True, uniform=uniform))


def open_pool(
    pred_probs: Any, storage_options: Storage, *, uniform: bool = False, least_classes: int = 2
) -> PoolData:
    """Return the pool's probabilities as blocks, ``uniform`` ones if asked for."""
    probs = open_probs(POOL, pred_probs, storage_options, least_classes=least_classes)
    return PoolData(probs, cut_rows(probs.sources, has_labels=False, uniform=uniform))


# --- that they belong together ----------------------------------------------------------------


def check_aligned(labels: Labels, probs: Probs) -> None:
    """Refuse labels and probabilities whose rows are not the same examples."""
    if labels.num_rows != probs.num_rows:
        raise InputError(
            "expected labels and pred_probs with the same number of rows, got "
            f"{labels.num_rows:,} and {probs.num_rows:,}.{advice_on_rows(labels, probs)}"
        )
    if labels.template is not None and probs.template is not None:
        check_dims(labels.template.dims, probs.template.dims)
    check_same_ids("labels", labels.row_ids, "pred_probs", probs.row_ids)
    named = labels.class_names, probs.class_names
    if None not in named and named[0] != named[1]:
        raise InputError(
            f"expected the classes of labels and pred_probs in one order, got {named[0]!r} and "
            f"{named[1]!r}. Put the columns of pred_probs into the order of the labels' classes."
        )


def advice_on_rows(labels: Labels, probs: Probs) -> str:
    """Return what to look at where numbers of rows disagree."""
    if probs.ensemble and labels.num_rows == probs.num_models:
        return " Models come first in pred_probs, (P, N, K): call .transpose(1, 0, 2) on it."
    if probs.num_rows < labels.num_rows == probs.num_classes:
        return " pred_probs seems to be turned round: rows are examples, columns classes."
    if labels.num_rows < probs.num_rows == labels.num_annotators:
        return " labels seems to be turned round: rows are examples, columns annotators."
    return " Each row of both is the same example."


def check_dims(labels: Sequence[Hashable], probs: Sequence[Hashable]) -> None:
    """Refuse DataArrays whose dimensions say that the axes are in another order."""
    rows = labels[0]
    if probs[-2] != rows and (rows in probs or probs[-2] in labels):
        raise InputError(
            "expected labels with the dimensions (row, annotator) and pred_probs with (row, class) "
            f"or (model, row, class), got {tuple(labels)!r} and {tuple(probs)!r}. Call "
            ".transpose() on the one that is turned round."
        )


def check_same_model(probs: Probs, pool: Probs) -> None:
    """Refuse a pool with other classes or models than the labeled data."""
    ours, theirs = (
        (given.ensemble, given.num_models, given.num_classes, given.class_names)
        for given in (probs, pool)
    )
    if ours[:3] != theirs[:3]:
        raise InputError(
            "expected pred_probs and pred_probs_unlabeled from the same model(s), got "
            f"{probs.form} and {pool.form}."
        )
    if None not in (ours[3], theirs[3]) and ours[3] != theirs[3]:
        raise InputError(
            "expected the classes of pred_probs and pred_probs_unlabeled in one order, got "
            f"{ours[3]!r} and {theirs[3]!r}. Put the columns of one into the order of the other."
        )


# --- data and an estimate ---------------------------------------------------------------------


def check_fits(estimate: Any, probs: Probs, name: str) -> None:
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


def pool_rule(estimate: Estimate | None, pool: PoolData) -> PoolRule:
    """Return the rule that scores a pool."""
    if estimate is None:
        return PoolRule.without_estimate(pool.probs.num_models)
    check_fits(estimate, pool.probs, POOL)
    return estimate.pool_rule()


def annotator_places(estimate: Estimate, labels: Labels) -> list[int]:
    """Return the place of each column of the labels in the estimate, -1 for an unknown one."""
    known, given = estimate.annotator_ids, labels.annotator_ids
    if known is None or given is None:
        unknown = max(labels.num_annotators - estimate.num_annotators, 0)
        return [*range(labels.num_annotators - unknown), *[-1] * unknown]
    place = {annotator: at for at, annotator in enumerate(known)}
    return [place.get(annotator, -1) for annotator in given]


def match_annotators(estimate: Estimate, labels: Labels) -> list[int] | None:
    """Return the place of each column of the labels in the estimate; None where they are the same.

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


def annotator_index(labels: Labels, known: Sequence[Hashable] | None) -> pd.Index:
    """Return the ids of the labels' columns: their own, else the estimate's, else their numbers."""
    ids = labels.annotator_ids
    if ids is None and known is not None and len(known) == labels.num_annotators:
        ids = tuple(known)
    if ids is None:
        return pd.RangeIndex(labels.num_annotators)
    # Ids that are tuples are names, not levels.
    return pd.Index(list(ids), tupleize_cols=False)


# --- results like what came in ----------------------------------------------------------------


def rows_template(*opened: Labels | Probs) -> Any:
    """Return the DataArray whose rows results go by: one with coords, if there is any."""
    templates = [item.template for item in opened if item.template is not None]
    named = [item for item in templates if row_dim(item) in item.indexes]
    return (named or templates or [None])[0]


def row_dim(template: Any) -> Hashable:
    """Return the name of the dimension of the rows."""
    dim: Hashable = template.dims[-2] if template.ndim > 1 else template.dims[0]
    return dim


def like_template(array: da.Array, template: Any, name: str) -> Any:
    """Return the rows' scores as xarray, if that is what came in."""
    if template is None:
        return array
    rows = row_dim(template)
    others = [key for key, coord in template.coords.items() if not set(coord.dims) <= {rows}]
    coords = template.drop_vars(others).coords
    return type(template)(array, dims=(rows,), coords=coords, name=name)
