"""Probabilities of one or several models, opened as row-aligned sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from daskal.errors import InputError
from daskal.inputs.arguments import Opened, check_numeric, open_argument
from daskal.inputs.ids import RowIds, check_same_ids
from daskal.inputs.sources import Source, make_source
from daskal.inputs.sparse import is_sparse_kind
from daskal.options import Storage

ONE_COLUMN = (
    " The probabilities p of the second of two classes are written np.column_stack([1 - p, p])."
)


class Probs(NamedTuple):
    """The probabilities of one or several models."""

    sources: tuple[Source, ...]  # each (N, K), or (P, N, K)
    ensemble: bool
    num_models: int
    num_rows: int
    num_classes: int
    row_ids: RowIds | None
    template: Any
    class_names: tuple[str, ...] | None = None

    @property
    def form(self) -> str:
        """How many models and classes there are, in words."""
        classes = f"{self.num_classes:,} classes"
        if not self.ensemble:
            return f"one model's probabilities, (N, K), of {classes}"
        return f"an ensemble's, (P, N, K), of {self.num_models:,} model(s) and {classes}"


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
        raise InputError(
            f"{name}: expected shape (N, K), or (P, N, K) for P models, got "
            f"{tuple(first.array.shape)}.{ONE_COLUMN if ndim == 1 else ''}"
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
            f"{name}: expected {len(opened)} models of one shape (N, K), got {sorted(shapes)}."
        )
    sources = tuple(
        make_source(f"{name}[{model}]", item.array, row_axis=0) for model, item in enumerate(opened)
    )
    for model, item in enumerate(opened):
        check_same_ids(f"{name}[0]", opened[0].row_ids, f"{name}[{model}]", item.row_ids)
    return check_probs_shape(name, sources, True, len(sources), opened[0], least_classes)


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
            f"{name}: expected at least {least_classes} classes (columns), got shape "
            f"{sources[0].shape}. A "
            "single probability p of two classes is written as the columns 1 - p and p."
        )
    if num_models < 1:
        raise InputError(f"{name}: expected at least one model, got shape {sources[0].shape}.")
    names = first.column_ids
    return Probs(
        sources,
        ensemble,
        num_models,
        num_rows,
        num_classes,
        first.row_ids,
        first.template,
        # Columns that are numbered have no names, whatever they are numbered with.
        tuple(names) if names is not None and all(isinstance(n, str) for n in names) else None,
    )
