"""Row-aligned data as the client knows it: its size, its place, and how its rows are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import dask.array as da
import numpy as np
from dask._task_spec import TaskRef
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.inputs.fingerprint import Identity, lazy_identity, memory_identity, stored_identity
from daskal.inputs.readers import (
    ColumnsReader,
    FileReader,
    GivenReader,
    Matrix,
    Reader,
    StoredReader,
)
from daskal.storage import transfers
from daskal.tables.matrix import TableMatrix
from daskal.tables.npy import NpyMatrix
from daskal.tables.table import regular_rows

# What a worker that has read tables holds between blocks beside the usual: imports of pyarrow, and
# what the C library keeps (measured: 490 MiB in all after many tables of differing kinds).
TABLE_IDLE_BYTES = 112 * 2**20


class Cut(NamedTuple):
    """The argument of each block's task, and the Dask arrays that these come from."""

    arguments: Sequence[Any]
    arrays: Sequence[da.Array] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """Row-aligned data that can be read in blocks of rows.

    Only the reader travels to workers: an array in memory is reached through ``cut`` alone, which
    hands each task its own rows of it.

    Attributes
    ----------
    name : str
        Name of the argument.
    kind : {"memory", "stored", "lazy"}
        Where the rows are.
    shape, dtype, row_axis
        Those of the array that it is, or stands for.
    row_bytes : int
        Bytes of a row in memory, on average.
    reader : Reader
        What a worker needs to read a block.
    cut : callable
        Given the edges of blocks, returns the argument of each block's task.
    identity : callable
        Returns what a run that reads it is bound to. Computed when asked for: arrays in memory are
        hashed for it.
    chunk_rows : int
        Rows whose multiples are edges of storage chunks; 1 where edges make no difference.
    chunk_bytes : int
        Bytes that storage hands out at once, decoded: a chunk or a shard; 0 if not stored.
    in_flight_bytes : int
        Bytes of the chunks that are in flight at most while a block is read, decoded.
    held_bytes : int
        Bytes held beside a block of any size while it is read: parts of files until they are
        decoded, and what rows are picked from.
    row_chunks : tuple of int, optional
        The caller's own chunks along the rows, if the data has such.
    part_edges : ndarray of int64, optional
        First row of each part that storage hands out, and the number of rows, where these are no
        multiples of one number.
    rows_read : int, optional
        Rows decoded while all rows are read once, where these are more.
    idle_bytes : int
        Bytes that a worker takes between blocks for having read it, beside what it takes anyway.
    is_sparse : bool
        Whether blocks are compressed rows of votes.
    is_compressed : bool
        Whether chunks are compressed in storage.
    is_late : bool
        Whether storage may take long to answer.
    picked_of : pair of Source and ndarray of int64, optional
        Where it is some rows of another source: that source, and the rows.
    """

    name: str
    kind: Literal["memory", "stored", "lazy"]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    row_axis: int
    row_bytes: int
    reader: Reader
    cut: Callable[[Sequence[int]], Cut] = field(repr=False)
    identity: Callable[[], Identity] = field(repr=False)
    chunk_rows: int = 1
    chunk_bytes: int = 0
    in_flight_bytes: int = 0
    held_bytes: int = 0
    row_chunks: tuple[int, ...] | None = None
    part_edges: NDArray[np.int64] | None = field(default=None, repr=False)
    rows_read: int | None = None
    idle_bytes: int = 0
    is_sparse: bool = False
    is_compressed: bool = False
    is_late: bool = False
    picked_of: tuple[Source, NDArray[np.int64]] | None = field(default=None, repr=False)

    @property
    def num_rows(self) -> int:
        """Number of examples."""
        return self.shape[self.row_axis]


def dense_row_bytes(shape: Sequence[int], dtype: np.dtype[Any], row_axis: int) -> int:
    """Return the bytes of a row of a dense array."""
    return math.prod(shape[:row_axis]) * math.prod(shape[row_axis + 1 :]) * dtype.itemsize


# --- in memory --------------------------------------------------------------------------------


def memory_source(name: str, array: np.ndarray[Any, Any], row_axis: int) -> Source:
    """Return the source of a NumPy array; each task is handed a view of its rows."""
    return Source(
        name=name,
        kind="memory",
        shape=array.shape,
        dtype=array.dtype,
        row_axis=row_axis,
        row_bytes=dense_row_bytes(array.shape, array.dtype, row_axis),
        reader=GivenReader(name, array.shape, row_axis),
        cut=partial(cut_views, array, row_axis),
        identity=partial(memory_identity, array.shape, array.dtype, array),
    )


def cut_views(array: np.ndarray[Any, Any], row_axis: int, edges: Sequence[int]) -> Cut:
    """Return views of the rows of each block."""
    before = (slice(None),) * row_axis
    return Cut([array[(*before, slice(*rows))] for rows in pairwise(edges)])


# --- stored -----------------------------------------------------------------------------------


def stored_source(name: str, array: Any, row_axis: int, *, holds_labels: bool = False) -> Source:
    """Return the source of a Zarr array; each task reads its rows."""
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    return Source(
        name=name,
        kind="stored",
        shape=shape,
        dtype=dtype,
        row_axis=row_axis,
        row_bytes=dense_row_bytes(shape, dtype, row_axis),
        reader=StoredReader(name, array, row_axis, holds_labels),
        cut=cut_nothing,
        identity=partial(stored_identity, array),
        # Inner chunks where the array is sharded.
        chunk_rows=int(array.chunks[row_axis]),
        # A shard that a block covers is read whole.
        chunk_bytes=math.prod(array.shards or array.chunks) * dtype.itemsize,
        in_flight_bytes=transfers.most_at_once(array, row_axis),
        is_compressed=bool(array.compressors),
        is_late=transfers.is_late(array),
    )


def cut_nothing(edges: Sequence[int]) -> Cut:
    """Return nothing for any block: the reader holds what is stored."""
    return Cut([None] * (len(edges) - 1))


def file_source(name: str, matrix: Matrix, row_axis: int) -> Source:
    """Return the source of numbers in files; each task reads its rows."""
    shape, dtype = tuple(matrix.shape), matrix.dtype
    row_bytes = dense_row_bytes(shape, dtype, row_axis)
    edges = matrix.edges
    rows = 1 if edges is None else regular_rows(edges)
    largest = 0 if edges is None else int(np.diff(edges).max(initial=0)) * row_bytes
    return Source(
        name=name,
        kind="stored",
        shape=shape,
        dtype=dtype,
        row_axis=row_axis,
        row_bytes=row_bytes,
        reader=FileReader(name, matrix, row_axis),
        cut=cut_nothing,
        identity=matrix.identity,
        chunk_rows=1 if rows is None else rows,
        # Parts are decoded straight into the block, a batch of rows at a time: none is in flight.
        chunk_bytes=largest,
        held_bytes=matrix.held_bytes,
        part_edges=edges if rows is None else None,
        idle_bytes=0 if edges is None else TABLE_IDLE_BYTES,
    )


# --- lazy -------------------------------------------------------------------------------------


def check_known_chunks(name: str, array: da.Array) -> None:
    """Refuse a Dask array of unknown length."""
    if any(size != size for size in array.shape):
        raise InputError(
            f"{name}: expected known chunk sizes, got chunks {array.chunks!r}. "
            "Call .compute_chunk_sizes() on it first."
        )


def lazy_source(name: str, array: da.Array, row_axis: int) -> Source:
    """Return the source of a Dask array; each task takes a block of it, rechunked where needed."""
    check_known_chunks(name, array)
    shape, dtype = tuple(int(size) for size in array.shape), np.dtype(array.dtype)
    return Source(
        name=name,
        kind="lazy",
        shape=shape,
        dtype=dtype,
        row_axis=row_axis,
        row_bytes=dense_row_bytes(shape, dtype, row_axis),
        reader=GivenReader(name, shape, row_axis),
        cut=partial(cut_lazy, array, row_axis),
        identity=partial(lazy_identity, array),
        row_chunks=tuple(int(size) for size in array.chunks[row_axis]),
    )


def cut_lazy(array: da.Array, row_axis: int, edges: Sequence[int]) -> Cut:
    """Return the keys of the blocks; Dask rechunks the array if its chunks are others."""
    rows = tuple(int(size) for size in np.diff(edges))
    chunks = tuple(
        rows if axis == row_axis else (int(size),) for axis, size in enumerate(array.shape)
    )
    if array.chunks != chunks:
        array = da.rechunk(array, chunks)
    before, after = (0,) * row_axis, (0,) * (array.ndim - row_axis - 1)
    keys = [TaskRef((array.name, *before, block, *after)) for block in range(len(rows))]
    return Cut(keys, [array])


def make_source(name: str, array: Any, row_axis: int, *, holds_labels: bool = False) -> Source:
    """Return the source of a dense array."""
    if isinstance(array, np.ndarray):
        return memory_source(name, array, row_axis)
    if isinstance(array, da.Array):
        return lazy_source(name, array, row_axis)
    if isinstance(array, TableMatrix | NpyMatrix):
        return file_source(name, array, row_axis)
    return stored_source(name, array, row_axis, holds_labels=holds_labels)


# --- in another order -------------------------------------------------------------------------


def take_rows(source: Source, order: NDArray[np.int64]) -> Source:
    """Return the source of a NumPy array with its rows in another order."""
    assert source.kind == "memory"
    assert not source.is_sparse
    (array,) = source.cut([0, source.num_rows]).arguments
    rows = (slice(None),) * source.row_axis
    return memory_source(source.name, array[(*rows, order)], source.row_axis)


def take_columns(source: Source, order: NDArray[np.int64]) -> Source:
    """Return a source whose blocks have their columns in another order."""
    columns = tuple(order.tolist())
    return replace(
        source,
        reader=ColumnsReader(source.reader, columns),
        identity=partial(columns_identity, source.identity, columns),
    )


def columns_identity(identity: Callable[[], Identity], columns: tuple[int, ...]) -> Identity:
    """Return the identity of a source whose columns were put in order."""
    return {**identity(), "columns": list(columns)}
