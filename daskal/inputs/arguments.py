"""Whatever the user holds, opened as row-aligned sources with the names of rows and columns."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd

from daskal.errors import InputError
from daskal.inputs import sparse
from daskal.inputs.sources import RowIds, Source, StoredIds, check_known_chunks, make_source
from daskal.options import Storage, check_storage_options
from daskal.storage.locations import anchored, check_stored, open_zarr, storage_errors
from daskal.storage.redaction import redacted
from daskal.text import listed

# Ids compared at once, where those of the votes are stored.
COMPARE_IDS = 2**18
# Members of a group that an error lists.
LIST_MEMBERS = 20
ONE_COLUMN = (
    " The probabilities p of the second of two classes are written np.column_stack([1 - p, p])."
)
LONG_COLUMNS = {"task", "annotator", "label"}


class Opened(NamedTuple):
    """An argument as a bare array, with the names its rows and columns came with."""

    array: Any  # numpy.ndarray, dask.array.Array, zarr.Array, a SciPy matrix or a CSR group
    row_ids: RowIds | None = None
    column_ids: pd.Index | None = None
    template: Any = None  # the xarray.DataArray it was
    class_names: tuple[str, ...] | None = None


# --- any argument -----------------------------------------------------------------------------


def open_argument(name: str, given: Any, storage_options: Storage) -> Opened:
    """The bare array behind any argument daskal takes."""
    check_storage_options(storage_options)
    if isinstance(given, str | os.PathLike):
        given = open_zarr(name, os.fspath(given), storage_options)
    if sparse.is_sparse(given):
        return Opened(given)
    kind = type(given).__module__.partition(".")[0]
    if kind in OPENERS:
        return OPENERS[kind](name, given)
    if isinstance(given, da.Array):
        check_known_chunks(name, given)
        return Opened(given)
    if isinstance(given, list | tuple | np.ndarray):
        try:
            return Opened(np.asanyarray(given))
        except ValueError as error:
            raise InputError(
                f"{name}: expected rows of one length, as an array has, got a list of others.",
                advice="Fill missing labels up with NaN, or pass votes in long format to "
                "{daskal.import_votes}.",
            ) from error
    raise refuse(name, given)


def refuse(name: str, given: Any) -> InputError:
    """The error for what daskal does not take."""
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    advice = (
        "Call .to_dask_array(lengths=True) on it; votes in long format become a store with "
        "{daskal.import_votes}."
        if kind.startswith("dask")
        else ""
    )
    return InputError(
        f"{name}: expected a NumPy, Dask, Zarr or xarray array, a DataFrame, the path of a Zarr "
        f"array or, for labels, sparse votes, got {kind}.",
        advice=advice,
    )


def open_pandas(name: str, given: Any) -> Opened:
    """A DataFrame with its index and columns, or the values of a Series or an index."""
    if isinstance(given, pd.Series | pd.Index):
        return Opened(given.to_numpy())
    if not isinstance(given, pd.DataFrame):
        raise refuse(name, given)
    if given.columns.isin(list(LONG_COLUMNS)).sum() == len(LONG_COLUMNS):
        raise InputError(
            f"{name}: expected a matrix, got votes in long format (columns "
            f"{list(given.columns)!r}).",
            advice="Make a store of them first: {daskal.import_votes}.",
        )
    return Opened(frame_values(name, given), own_ids(given.index), own_ids(given.columns))


def frame_values(name: str, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Values of a DataFrame of numbers, missing ones as NaN."""
    kinds = {str(dtype) for dtype in frame.dtypes}
    is_whole = all(dtype.kind in "iub" for dtype in frame.dtypes)
    try:
        if is_whole and not frame.isna().to_numpy().any():
            return frame.to_numpy()
        return float_values(frame)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected numbers, got columns of {', '.join(sorted(kinds))} ({error}). Turn "
            "class names into codes 0 to K - 1 first: "
            "daskal.multiannotator.format_multiannotator_labels does."
        ) from error


def float_values(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Values of a DataFrame as float64, missing ones as NaN."""
    if any(dtype.kind == "O" for dtype in frame.dtypes):
        # pandas leaves the NA in a column of objects as it is.
        return frame.to_numpy(dtype=object, na_value=np.nan).astype(np.float64)
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def own_ids(index: pd.Index) -> pd.Index | None:
    """An index that names something: None for the default 0, 1, 2, ..."""
    return None if isinstance(index, pd.RangeIndex) and index.start == 0 else index


def open_xarray(name: str, given: Any) -> Opened:
    """A DataArray: its data, and the coords of its last two dimensions."""
    if hasattr(given, "data_vars"):
        raise InputError(
            f"{name}: expected a DataArray, got a Dataset. Choose one of its variables: "
            f"{', '.join(map(repr, given.data_vars))}."
        )
    if given.chunks is None and "preferred_chunks" in given.encoding:
        # It stands for a stored array: read by blocks, not all of it here.
        given = given.chunk({})
    rows, columns = given.dims[-2:] if given.ndim > 1 else (given.dims[0], None)
    row_ids, column_ids = given.indexes.get(rows), given.indexes.get(columns)
    data = given.data if isinstance(given.data, da.Array) else np.asanyarray(given.data)
    if isinstance(data, da.Array):
        check_known_chunks(name, data)
    return Opened(data, row_ids, column_ids, given)


def open_stored(name: str, given: Any) -> Opened:
    """A Zarr array, or the group of one sparse matrix."""
    given = anchored(given)
    if not hasattr(given, "members"):
        check_stored(name, given)
        return Opened(given)
    if sparse.is_csr_group(given):
        return open_csr_group(name, given)
    where = redacted(str(given.store_path))
    with storage_errors(f"list {name} in", where, None):
        members = sorted(key for key, _ in given.members())
    raise InputError(
        f"{name}: expected a Zarr array, got the group {where} with the members "
        f"{listed(members, most=LIST_MEMBERS)}. Put the name of one after the path: "
        "PATH/NAME, or group[NAME]."
    )


def open_csr_group(name: str, group: Any) -> Opened:
    """A CSR group with the ids and class names that daskal's own have beside the votes."""
    where = redacted(str(group.store_path))
    with storage_errors(f"read ids of {name} from", where, None):
        tasks, annotators = group.get("tasks"), group.get("annotators")
        for what, ids in (("tasks", tasks), ("annotators", annotators)):
            if ids is not None:
                check_stored(f"{what} of {name}", ids)
        column_ids = None if annotators is None else StoredIds(annotators)[:]
    described = group.attrs.get("daskal")
    names = described.get("classes") if isinstance(described, Mapping) else None
    return Opened(
        group,
        None if tasks is None else StoredIds(tasks),
        column_ids,
        class_names=tuple(map(str, names)) if isinstance(names, list) else None,
    )


OPENERS = {"pandas": open_pandas, "xarray": open_xarray, "zarr": open_stored}


def check_numeric(name: str, source: Source, kinds: str) -> None:
    """Refuse a dtype that holds no such numbers."""
    if source.dtype.kind not in kinds:
        raise InputError(
            f"{name}: expected numbers, got dtype {source.dtype}. Convert it to a float or "
            "integer dtype first."
        )


# --- probabilities ----------------------------------------------------------------------------


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
    """Probabilities as (N, K), as (P, N, K), or as a list of P separate (N, K)."""
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
    """One array of probabilities, which are never sparse."""
    opened = open_argument(name, given, storage_options)
    if is_sparse_kind(opened.array):
        raise InputError(
            f"{name}: expected a dense array of probabilities, got a sparse one. Only labels can "
            "be sparse: what is not stored there is no vote, but here it would be no probability."
        )
    return opened


def join_models(name: str, opened: Sequence[Opened], least_classes: int) -> Probs:
    """Several models in arrays of their own."""
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
    """The probabilities, if their structure makes sense."""
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


# --- labels -----------------------------------------------------------------------------------


class Labels(NamedTuple):
    """The labels of several annotators."""

    source: Source
    num_rows: int
    num_annotators: int
    row_ids: RowIds | None
    annotator_ids: tuple[Hashable, ...] | None
    template: Any
    class_names: tuple[str, ...] | None = None


def is_sparse_kind(array: Any) -> bool:
    """Whether an opened array is sparse: a SciPy matrix, a CSR group, or a Dask array of such."""
    is_group = hasattr(array, "members")
    return is_group or sparse.is_sparse(array) or sparse.is_sparse(getattr(array, "_meta", None))


def open_labels(given: Any, storage_options: Storage) -> Labels:
    """Labels as an (N, M) matrix or as sparse votes."""
    opened = open_argument("labels", given, storage_options)
    source = labels_source(opened.array)
    check_numeric("labels", source, "fiub")
    num_rows, num_annotators = source.shape
    ids = None if opened.column_ids is None else annotator_ids(opened.column_ids)
    for what, found, expected in (
        ("tasks", opened.row_ids, num_rows),
        ("annotators", opened.column_ids, num_annotators),
    ):
        if found is not None and len(found) != expected:
            raise InputError(
                f"labels: expected {expected:,} ids in {what}, as the votes have, got "
                f"{len(found):,}. Import the votes anew."
            )
    return Labels(
        source,
        num_rows,
        num_annotators,
        opened.row_ids,
        ids,
        opened.template,
        opened.class_names,
    )


def labels_source(array: Any) -> Source:
    """The source behind labels of any form."""
    if hasattr(array, "members"):
        return sparse.open_group("labels", array)
    if sparse.is_sparse(array):
        return sparse.open_matrix("labels", array)
    if len(array.shape) != 2:
        raise InputError(
            "labels: expected an (N, M) matrix, one row an example and one column an annotator, "
            f"got shape {tuple(array.shape)}. One annotator's labels are labels.reshape(-1, 1)."
        )
    if is_sparse_kind(array):
        return sparse.SparseLazySource("labels", array)
    if isinstance(array, np.ndarray) and array.dtype == object:
        array = frame_values("labels", pd.DataFrame(array))
    return make_source("labels", array, row_axis=0)


def annotator_ids(ids: pd.Index) -> tuple[Hashable, ...]:
    """Ids of the annotators: whole numbers, text, or the text of anything else."""
    if not ids.is_unique:
        repeated = ids[ids.duplicated()].unique()[:10].tolist()
        raise InputError(
            f"labels: expected one column an annotator, got several for {repeated!r}. Name each "
            "column differently, or put their votes into one."
        )
    return tuple(i if isinstance(i, int | str) else str(i) for i in ids.tolist())


# --- labels and probabilities together --------------------------------------------------------


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
    """What may be turned round where numbers of rows disagree."""
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


def check_same_ids(name: str, ids: RowIds | None, other: str, others: RowIds | None) -> None:
    """Refuse rows that go by other ids, or by the same in another order."""
    if ids is None or others is None or len(ids) != len(others):
        return
    for start in range(0, len(ids), COMPARE_IDS):
        cut = slice(start, start + COMPARE_IDS)
        a, b = ids[cut], others[cut]
        if not a.equals(b):
            at = next(i for i, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
            raise InputError(
                f"expected the same examples in the rows of {name} and {other}, got {a[at]!r} and "
                f"{b[at]!r} in row {start + at:,}. Put both into the same order."
            )


def rows_template(*opened: Labels | Probs) -> Any:
    """The DataArray whose rows results go by: one with coords, if there is any."""
    templates = [item.template for item in opened if item.template is not None]
    named = [item for item in templates if row_dim(item) in item.indexes]
    return (named or templates or [None])[0]


def row_dim(template: Any) -> Hashable:
    """Name of the dimension of the rows."""
    dim: Hashable = template.dims[-2] if template.ndim > 1 else template.dims[0]
    return dim
