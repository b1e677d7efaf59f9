"""Whatever the user holds, as row-aligned sources that blocks are read from."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd

from daskal.errors import BlockError, InputError, MissingPathError, StorageError

Chunks = tuple[int, ...]


# --- readers: what a worker needs to get a block ----------------------------------------------


@dataclass(frozen=True)
class GivenReader:
    """The task is handed the block itself."""

    name: str

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Rows ``start:stop``."""
        return np.asarray(argument)


@dataclass(frozen=True)
class StoredReader:
    """Rows of a Zarr array."""

    name: str
    array: Any
    row_axis: int

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Rows ``start:stop``."""
        place = (slice(None),) * self.row_axis + (slice(start, stop),)
        try:
            return self.array[place]
        except Exception as error:
            raise BlockError(
                f"{self.name}: rows {start:,} to {stop:,} of {self.array.store_path} cannot be "
                f"read: {type(error).__name__}: {error}"
            ) from error


Reader = GivenReader | StoredReader


# --- sources: what the client knows -----------------------------------------------------------


@dataclass(frozen=True)
class MemorySource:
    """A NumPy array; each task is handed a view of its rows."""

    name: str
    array: np.ndarray[Any, Any]
    row_axis: int
    chunk_rows: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return GivenReader(self.name)

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Views of the rows."""
        before = (slice(None),) * self.row_axis
        return [self.array[(*before, slice(*cut))] for cut in pairwise(edges)], []


@dataclass(frozen=True)
class StoredSource:
    """A Zarr array; each task reads its rows."""

    name: str
    array: Any
    row_axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk, an inner chunk where the array is sharded."""
        return int(self.array.chunks[self.row_axis])

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return StoredReader(self.name, self.array, self.row_axis)

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Nothing: the reader holds the array."""
        return [None] * (len(edges) - 1), []


@dataclass(frozen=True)
class LazySource:
    """A Dask array; each task takes a block of it, rechunked by Dask where needed."""

    name: str
    array: da.Array
    row_axis: int
    chunk_rows: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def row_chunks(self) -> Chunks:
        """Chunks along the rows."""
        return tuple(int(size) for size in self.array.chunks[self.row_axis])

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return GivenReader(self.name)

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Keys of the blocks."""
        rows = tuple(int(size) for size in np.diff(edges))
        chunks = tuple(
            rows if axis == self.row_axis else (size,) for axis, size in enumerate(self.shape)
        )
        array = self.array if self.array.chunks == chunks else da.rechunk(self.array, chunks)
        at = [0] * array.ndim
        keys = []
        for block in range(len(rows)):
            at[self.row_axis] = block
            keys.append((array.name, *at))
        return keys, [array]


Source = MemorySource | StoredSource | LazySource


# --- from whatever the user holds -------------------------------------------------------------


class Opened(NamedTuple):
    """An argument as a bare array, with the names its rows and columns came with."""

    array: Any  # numpy.ndarray, dask.array.Array or zarr.Array
    row_ids: pd.Index | None = None
    column_ids: pd.Index | None = None
    template: Any = None  # the xarray.DataArray it was


def open_path(name: str, path: str, storage_options: Mapping[str, Any] | None) -> Any:
    """The Zarr array or group stored under a path or URL."""
    import zarr

    options = dict(storage_options) if storage_options else None
    try:
        return zarr.open(path, mode="r", storage_options=options)
    except FileNotFoundError as error:
        raise MissingPathError(
            f"{name}: expected a Zarr array, found nothing under {path!r}. Check the path."
        ) from error
    except Exception as error:
        raise StorageError(
            f"{name}: {path!r} cannot be opened as Zarr: {type(error).__name__}: {error}"
        ) from error


def frame_values(name: str, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Values of a DataFrame of numbers, missing ones as NaN."""
    kinds = {dtype.kind for dtype in frame.dtypes}
    try:
        if kinds <= set("iub") and not frame.isna().to_numpy().any():
            return frame.to_numpy()
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected numbers, got a DataFrame with columns of {set(frame.dtypes)!r} "
            f"({error}). Turn class names into codes 0 to K - 1 first: "
            "daskal.multiannotator.format_multiannotator_labels does."
        ) from error


def own_ids(index: pd.Index) -> pd.Index | None:
    """An index that names something: None for the default 0, 1, 2, ..."""
    return None if isinstance(index, pd.RangeIndex) and index.start == 0 else index


def open_argument(name: str, given: Any, storage_options: Mapping[str, Any] | None) -> Opened:
    """The bare array behind any argument daskal takes."""
    if isinstance(given, str | os.PathLike):
        given = open_path(name, os.fspath(given), storage_options)
    kind = type(given).__module__.partition(".")[0]
    if isinstance(given, pd.DataFrame):
        return Opened(frame_values(name, given), own_ids(given.index), own_ids(given.columns))
    if kind == "xarray" and hasattr(given, "coords"):
        return open_xarray(given)
    if kind == "zarr" and hasattr(given, "members"):
        raise InputError(
            f"{name}: expected a Zarr array, got the group {given.store_path} with members "
            f"{sorted(key for key, _ in given.members())}. Name one of them in the path."
        )
    if isinstance(given, da.Array) or (kind == "zarr" and hasattr(given, "chunks")):
        return Opened(given)
    if isinstance(given, list | tuple | np.ndarray):
        return Opened(np.asanyarray(given))
    raise InputError(
        f"{name}: expected a NumPy, Dask, Zarr or xarray array, a DataFrame or the path of a Zarr "
        f"array, got {type(given).__module__}.{type(given).__qualname__}."
    )


def open_xarray(given: Any) -> Opened:
    """A DataArray: its data, and the coords of its last two dimensions."""
    rows, columns = given.dims[-2:] if given.ndim > 1 else (given.dims[0], None)
    row_ids, column_ids = (
        pd.Index(given.coords[dim].values) if dim in given.coords else None
        for dim in (rows, columns)
    )
    data = given.data if isinstance(given.data, da.Array) else np.asarray(given.data)
    return Opened(data, row_ids, column_ids, given)


def make_source(name: str, array: Any, row_axis: int) -> Source:
    """The source behind a bare array."""
    if isinstance(array, np.ndarray):
        return MemorySource(name, array, row_axis)
    if isinstance(array, da.Array):
        if any(size != size for size in array.shape):
            raise InputError(
                f"{name}: expected known chunk sizes, got chunks {array.chunks!r}. "
                "Call .compute_chunk_sizes() on it first."
            )
        return LazySource(name, array, row_axis)
    return StoredSource(name, array, row_axis)


def check_numeric(name: str, source: Source, kinds: str) -> None:
    """Refuse a dtype that holds no such numbers."""
    if source.dtype.kind not in kinds:
        raise InputError(
            f"{name}: expected numbers, got dtype {source.dtype}. Convert it to a float or "
            "integer dtype first."
        )


class Probs(NamedTuple):
    """The probabilities of one or several models."""

    sources: tuple[Source, ...]  # each (N, K), or (P, N, K)
    ensemble: bool
    num_models: int
    num_rows: int
    num_classes: int
    row_ids: pd.Index | None
    template: Any


def open_probs(name: str, given: Any, storage_options: Mapping[str, Any] | None) -> Probs:
    """Probabilities as (N, K), as (P, N, K), or as a list of P separate (N, K)."""
    if isinstance(given, list | tuple) and given and not np.isscalar(given[0]):
        opened = [
            open_argument(f"{name}[{model}]", item, storage_options)
            for model, item in enumerate(given)
        ]
        if all(np.ndim(item.array) == 2 for item in opened):
            return join_models(name, opened)
    first = open_argument(name, given, storage_options)
    ndim = len(first.array.shape)
    if ndim not in (2, 3):
        raise InputError(
            f"{name}: expected shape (N, K), or (P, N, K) for P models, got "
            f"{tuple(first.array.shape)}."
        )
    source = make_source(name, first.array, row_axis=ndim - 2)
    num_models = source.shape[0] if ndim == 3 else 1
    return check_probs_shape(name, (source,), ndim == 3, num_models, first)


def join_models(name: str, opened: Sequence[Opened]) -> Probs:
    """Several models in arrays of their own."""
    sources = tuple(
        make_source(f"{name}[{model}]", item.array, row_axis=0) for model, item in enumerate(opened)
    )
    shapes = {source.shape for source in sources}
    if len(shapes) > 1:
        raise InputError(
            f"{name}: expected {len(sources)} models of one shape (N, K), got {sorted(shapes)}."
        )
    return check_probs_shape(name, sources, True, len(sources), opened[0])


def check_probs_shape(
    name: str, sources: tuple[Source, ...], ensemble: bool, num_models: int, first: Opened
) -> Probs:
    """The probabilities, if their structure makes sense."""
    num_rows, num_classes = sources[0].shape[-2:]
    for source in sources:
        check_numeric(name, source, "fiub")
    if num_classes < 2:
        raise InputError(
            f"{name}: expected at least 2 classes (columns), got shape {sources[0].shape}. A "
            "single probability p of two classes is written as the columns 1 - p and p."
        )
    if num_models < 1:
        raise InputError(f"{name}: expected at least one model, got shape {sources[0].shape}.")
    return Probs(
        sources, ensemble, num_models, num_rows, num_classes, first.row_ids, first.template
    )


class Labels(NamedTuple):
    """The labels of several annotators."""

    source: Source
    num_rows: int
    num_annotators: int
    row_ids: pd.Index | None
    annotator_ids: tuple[Hashable, ...] | None
    template: Any


def open_labels(given: Any, storage_options: Mapping[str, Any] | None) -> Labels:
    """Labels as an (N, M) matrix."""
    opened = open_argument("labels", given, storage_options)
    if len(opened.array.shape) != 2:
        raise InputError(
            "labels: expected an (N, M) matrix, one row an example and one column an annotator, "
            f"got shape {tuple(opened.array.shape)}."
        )
    array = opened.array
    if isinstance(array, np.ndarray) and array.dtype == object:
        array = frame_values("labels", pd.DataFrame(array))
    source = make_source("labels", array, row_axis=0)
    check_numeric("labels", source, "fiub")
    num_rows, num_annotators = source.shape
    ids = None if opened.column_ids is None else tuple(opened.column_ids.tolist())
    return Labels(source, num_rows, num_annotators, opened.row_ids, ids, opened.template)


def check_aligned(labels: Labels, probs: Probs) -> None:
    """Refuse labels and probabilities of different lengths."""
    if labels.num_rows != probs.num_rows:
        raise InputError(
            "expected labels and pred_probs with the same number of rows, got "
            f"{labels.num_rows:,} and {probs.num_rows:,}."
        )
