"""Labels and probabilities opened together: the same rows, cut into blocks, fit for an estimate."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import pandas as pd

from daskal.inputs.blocks import RowBlocks, cut_rows
from daskal.inputs.gold import with_gold
from daskal.inputs.ids import RowIds, take_ids
from daskal.inputs.labels import Labels, open_labels
from daskal.inputs.matching import align, check_fits
from daskal.inputs.multi_label import open_multi_labels
from daskal.inputs.probabilities import Probs, open_probs
from daskal.inputs.sources import Source
from daskal.method.estimate import Estimate
from daskal.method.findings import Names
from daskal.method.multi_label import AnyEstimate, MultiLabelEstimate
from daskal.method.values import PoolRule
from daskal.names.columns import names_beside_codes
from daskal.names.normal import as_index
from daskal.names.rows import Side
from daskal.options import Storage


@dataclass(frozen=True)
class LabeledData:
    """Labels and probabilities of the same examples, in one order, as row-aligned blocks."""

    labels: Labels
    probs: Probs
    blocks: RowBlocks
    row_ids: RowIds | None  # of either side
    class_names: tuple[str, ...] | None  # of the class codes, of either side
    use_gold: bool = False  # whether the blocks' last array are known classes, to be held fixed

    def told(self, gold: Source) -> LabeledData:
        """Return the data with known classes that are held fixed."""
        return replace(self, blocks=with_gold(self.blocks, gold), use_gold=True)

    @property
    def names(self) -> Names:
        """The ids of rows, by the name of their array."""
        ids = self.row_ids
        if ids is None:
            return {}
        return dict.fromkeys(("labels", "pred_probs", "gold"), partial(take_ids, ids))

    @property
    def classes(self) -> Side:
        """The classes as one side of a match."""
        # Numbers of columns are kept as numbers: they may be codes of classes with other names.
        texts = names_beside_codes(self.class_names) or self.labels.class_names
        names = self.probs.column_ids if texts is None else as_index(list(texts))
        return Side("pred_probs", self.probs.num_classes, names, moved=self.probs.moved)


@dataclass(frozen=True)
class PoolData:
    """Probabilities of unlabeled examples, as blocks of rows."""

    probs: Probs
    blocks: RowBlocks

    def with_probs(self, probs: Probs) -> PoolData:
        """Return the same rows with their columns in another order."""
        return PoolData(probs, replace(self.blocks, sources=probs.sources))


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
    return join_labeled(given, probs, uniform=uniform)


def join_labeled(given: Labels, probs: Probs, *, uniform: bool) -> LabeledData:
    """Return opened labels and probabilities as row-aligned blocks."""
    given, probs, row_ids, class_names = align(given, probs)
    blocks = cut_rows([given.source, *probs.sources], has_labels=True, uniform=uniform)
    return LabeledData(given, probs, blocks, row_ids, class_names)


def open_multi_labeled(
    labels: Any, pred_probs: Any, storage_options: Storage, *, uniform: bool = False
) -> LabeledData:
    """Return labels of several classes an example, and probabilities, as row-aligned blocks."""
    probs = open_probs("pred_probs", pred_probs, storage_options, least_classes=1)
    return join_labeled(open_multi_labels(labels, probs, storage_options), probs, uniform=uniform)


def open_pool(
    pred_probs: Any, storage_options: Storage, *, uniform: bool = False, least_classes: int = 2
) -> PoolData:
    """Return the pool's probabilities as blocks, ``uniform`` ones if asked for."""
    probs = open_probs(
        "pred_probs_unlabeled", pred_probs, storage_options, least_classes=least_classes
    )
    return pool_of(probs, uniform=uniform)


def pool_of(probs: Probs, *, uniform: bool) -> PoolData:
    """Return opened probabilities of a pool as blocks."""
    return PoolData(probs, cut_rows(probs.sources, has_labels=False, uniform=uniform))


def fit_pool(estimate: AnyEstimate | None, pool: PoolData) -> PoolData:
    """Return a pool whose columns are in the order of the estimate's classes.

    Raises
    ------
    EstimateError
        If the pool is of other classes or models.
    """
    if estimate is None:
        return pool
    multi_label = isinstance(estimate, MultiLabelEstimate)
    return pool.with_probs(check_fits(estimate, pool.probs, multi_label=multi_label))


def pool_rule(estimate: Estimate | None, pool: PoolData) -> PoolRule:
    """Return the rule that scores a pool that fits the estimate."""
    if estimate is None:
        return PoolRule.without_estimate(pool.probs.num_models)
    return estimate.pool_rule()


# --- results like what came in ----------------------------------------------------------------


def annotator_index(labels: Labels, known: Sequence[Hashable] | None) -> pd.Index:
    """Return the ids of the labels' columns: their own, else the estimate's, else their numbers."""
    ids = labels.annotator_ids
    if ids is None and known is not None and len(known) == labels.num_annotators:
        ids = tuple(known)
    if ids is None:
        return pd.RangeIndex(labels.num_annotators)
    # Ids that are tuples are names, not levels of a MultiIndex.
    return pd.Index(list(ids), tupleize_cols=False)


def rows_template(*opened: Labels | Probs) -> Any:
    """Return the DataArray whose rows name those of results: one with coords, if there is any."""
    templates = [item.template for item in opened if item.template is not None]
    named = [item for item in templates if row_dim(item) in item.indexes]
    return (named or templates or [None])[0]


def row_dim(template: Any) -> Hashable:
    """Return the name of the dimension of the rows."""
    dim: Hashable = template.dims[-2] if template.ndim > 1 else template.dims[0]
    return dim


def like_template(array: da.Array, template: Any, name: str) -> Any:
    """Return the rows' scores as a DataArray if the input was one."""
    if template is None:
        return array
    rows = row_dim(template)
    others = [key for key, coord in template.coords.items() if not set(coord.dims) <= {rows}]
    coords = template.drop_vars(others).coords
    return type(template)(array, dims=(rows,), coords=coords, name=name)


def like_rows(array: da.Array, template: Any, name: str, columns: str) -> Any:
    """Return values of rows and columns as a DataArray if the input was one."""
    if template is None:
        return array
    rows = row_dim(template)
    coords = {key: coord for key, coord in template.coords.items() if set(coord.dims) <= {rows}}
    return type(template)(array, dims=(rows, columns), coords=coords, name=name)
