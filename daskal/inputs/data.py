"""Labels and probabilities opened together: the same rows, cut into blocks, fit for an estimate."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import pandas as pd

from daskal.errors import DataWarning, EstimateError, InputError
from daskal.inputs import arguments
from daskal.inputs.arguments import Labels, Probs
from daskal.inputs.blocks import RowBlocks, cut_rows
from daskal.inputs.sources import RowIds
from daskal.method.estimate import Estimate
from daskal.method.findings import Names
from daskal.method.values import PoolRule
from daskal.options import Storage, shown
from daskal.text import listed

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
    given = arguments.open_labels(labels, storage_options)
    probs = arguments.open_probs(
        "pred_probs", pred_probs, storage_options, least_classes=least_classes
    )
    arguments.check_aligned(given, probs)
    sources = [given.source, *probs.sources]
    return LabeledData(given, probs, cut_rows(sources, has_labels=True, uniform=uniform))


def open_pool(
    pred_probs: Any, storage_options: Storage, *, uniform: bool = False, least_classes: int = 2
) -> PoolData:
    """Return the pool's probabilities as blocks, ``uniform`` ones if asked for."""
    probs = arguments.open_probs(POOL, pred_probs, storage_options, least_classes=least_classes)
    return PoolData(probs, cut_rows(probs.sources, has_labels=False, uniform=uniform))


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
            f"weight: {listed(map(repr, names), most=10)}",
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


def like_template(array: da.Array, template: Any, name: str) -> Any:
    """Return the rows' scores as xarray, if that is what came in."""
    if template is None:
        return array
    rows = arguments.row_dim(template)
    others = [key for key, coord in template.coords.items() if not set(coord.dims) <= {rows}]
    coords = template.drop_vars(others).coords
    return type(template)(array, dims=(rows,), coords=coords, name=name)
