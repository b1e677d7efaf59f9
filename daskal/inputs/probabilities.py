"""Probabilities of one or several models, opened as row-aligned sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from daskal.errors import InputError
from daskal.inputs.advice import BATCHES, advice_on_one_axis
from daskal.inputs.arguments import check_numeric, open_argument
from daskal.inputs.ids import RowIds
from daskal.inputs.opened import Opened
from daskal.inputs.sources import Source, make_source, take_columns, take_rows
from daskal.inputs.sparse import is_sparse_kind
from daskal.names.columns import match_classes, unnamed_columns
from daskal.names.naming import class_texts
from daskal.names.rows import Side, match_rows
from daskal.options import Storage
from daskal.text import plural


class Probs(NamedTuple):
    """The probabilities of one or several models."""

    sources: tuple[Source, ...]  # each (N, K), or (P, N, K)
    ensemble: bool
    num_models: int
    num_rows: int
    num_classes: int
    row_ids: RowIds | None
    template: Any
    column_ids: pd.Index | None = None  # names of the columns, in their order
    numbered: bool = False  # whether the rows have the default index of pandas
    moved: bool = False  # whether the columns were put in the order of their names
    class_names: tuple[str, ...] | None = None  # of the class codes

    @property
    def name(self) -> str:
        """Name of the argument."""
        return self.sources[0].name.partition("[")[0]

    @property
    def rows(self) -> Side:
        """The rows as one side of a match."""
        return Side(self.name, self.num_rows, self.row_ids, self.numbered)

    @property
    def classes(self) -> Side:
        """The classes as one side of a match."""
        return Side(self.name, self.num_classes, self.column_ids, moved=self.moved)

    @property
    def form(self) -> str:
        """How many models and classes there are, in words."""
        classes = f"{self.num_classes:,} classes"
        if not self.ensemble:
            return f"one model's probabilities, (N, K), of {classes}"
        return f"an ensemble's, (P, N, K), of {plural(self.num_models, 'model')} and {classes}"


def open_probs(name: str, given: Any, storage_options: Storage, *, least_classes: int = 2) -> Probs:
    """Return probabilities given as (N, K), as (P, N, K), or as a list of P separate (N, K)."""
    if isinstance(given, list | tuple) and given and not isinstance(given[0], float | int):
        first = open_probs_array(f"{name}[0]", given[0], storage_options)
        if len(first.array.shape) == 2:
            others = [
                open_probs_array(f"{name}[{model}]", item, storage_options)
                for model, item in enumerate(given[1:], start=1)
            ]
            return join_models(name, [first, *others], least_classes)
    first = open_probs_array(name, given, storage_options)
    ndim = len(first.array.shape)
    if ndim not in (2, 3):
        advice = f" {advice_on_one_axis(first.array.dtype)}" if ndim == 1 else ""
        raise InputError(
            f"{name}: expected shape (N, K), or (P, N, K) for P models, got "
            f"{tuple(first.array.shape)}.{advice}"
        )
    source = make_source(name, first.array, row_axis=ndim - 2)
    num_models = source.shape[0] if ndim == 3 else 1
    return check_probs_shape(name, (source,), ndim == 3, num_models, first, least_classes)


def open_probs_array(name: str, given: Any, storage_options: Storage) -> Opened:
    """Return one array of probabilities, which are never sparse."""
    opened = open_argument(name, given, storage_options)
    if is_sparse_kind(opened.array):
        raise InputError(
            f"{name}: expected a dense array of probabilities, got a sparse one. Only labels can "
            "be sparse: what is not stored there is no vote, but here it would be no probability."
        )
    return opened


def join_models(name: str, opened: Sequence[Opened], least_classes: int) -> Probs:
    """Return the probabilities of several models that have an array each."""
    shapes = {tuple(item.array.shape) for item in opened}
    if len(shapes) > 1:
        raise InputError(
            f"{name}: expected {len(opened)} models of one shape (N, K), got {sorted(shapes)}. "
            f"{BATCHES}"
        )
    first = next((item for item in opened if item.row_ids is not None), opened[0])
    named = next((item for item in opened if item.column_ids is not None), opened[0])
    num_rows, num_classes = opened[0].array.shape
    sources, moved = [], False
    for model, item in enumerate(opened):
        called = f"{name}[{model}]"
        source = make_source(called, item.array, row_axis=0)
        rows = match_rows(
            Side(name, num_rows, first.row_ids, first.numbered),
            Side(called, num_rows, item.row_ids, item.numbered),
            movable=source.kind == "memory",
        )
        classes = match_classes(
            Side(name, num_classes, named.column_ids), Side(called, num_classes, item.column_ids)
        )
        source = source if rows.order is None else take_rows(source, rows.order)
        moved = moved or classes.order is not None
        sources.append(source if classes.order is None else take_columns(source, classes.order))
    joined = first._replace(
        column_ids=named.column_ids, numbered=any(item.numbered for item in opened)
    )
    probs = check_probs_shape(name, tuple(sources), True, len(sources), joined, least_classes)
    for model, item in enumerate(opened):
        if moved and item.column_ids is None:
            raise unnamed_columns(
                probs.classes, Side(f"{name}[{model}]", num_classes), probs.class_names
            )
    return probs._replace(moved=moved)


def check_probs_shape(
    name: str,
    sources: tuple[Source, ...],
    ensemble: bool,
    num_models: int,
    first: Opened,
    least_classes: int,
) -> Probs:
    """Return the probabilities, if their structure makes sense."""
    num_rows, num_classes = sources[0].shape[-2:]
    for source in sources:
        check_numeric(name, source, "fiub")
    if num_classes < least_classes:
        raise InputError(
            f"{name}: expected at least {plural(least_classes, 'class', 'classes')} (columns), got "
            f"shape {sources[0].shape}. A single probability p of two classes is written as the "
            "columns 1 - p and p."
        )
    if num_models < 1:
        raise InputError(f"{name}: expected at least one model, got shape {sources[0].shape}.")
    names = first.column_ids
    if names is not None and len(names) != num_classes:
        raise InputError(f"{name}: expected {num_classes:,} names of columns, got {len(names):,}.")
    return Probs(
        sources=sources,
        ensemble=ensemble,
        num_models=num_models,
        num_rows=num_rows,
        num_classes=num_classes,
        row_ids=first.row_ids,
        template=first.template,
        column_ids=names,
        numbered=first.numbered,
        class_names=None if names is None else class_texts(name, names),
    )
