"""Row-aligned arrays as the client knows them, and the readers that bring blocks to workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import dask.array as da
import numpy as np
import pandas as pd
from dask._task_spec import TaskRef

from daskal.errors import BlockError, InputError
from daskal.storage import transfers
from daskal.storage.redaction import explain, redacted, showable
from daskal.storage.retries import with_retries

Chunks = tuple[int, ...]

# What a masked value of integers becomes: as a label it is missing, as a probability refused.
MISSING_CODE = -1


class Reader(Protocol):
    """What a worker needs to get a block."""

    @property
    def name(self) -> str:
        """Name of the argument."""

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Rows ``start:stop``, given the block's argument."""


class Source(Protocol):
    """Row-aligned data of which blocks of rows can be read."""

    @property
    def name(self) -> str:
        """Name of the argument."""

    @property
    def row_axis(self) -> int:
        """Axis of the rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as an array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory, on average."""

    @property
    def kind(self) -> str:
        """Where the rows are: "memory", "stored" or "lazy"."""

    @property
    def chunk_bytes(self) -> int:
        """Bytes that storage hands out at once, decoded: a chunk or a shard; 0 if not stored."""

    @property
    def flying_bytes(self) -> int:
        """Bytes of the chunks that are in flight at most while a block is read, decoded."""

    @property
    def chunk_rows(self) -> int:
        """Rows whose multiples are edges of storage chunks; 1 where edges make no difference."""

    @property
    def row_chunks(self) -> Chunks | None:
        """The caller's own chunks along the rows, if the data has such."""

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """What the task of each block is handed, and the Dask arrays that it comes from."""


# --- readers ----------------------------------------------------------------------------------


def plain_block(name: str, block: Any) -> Any:
    """A block as a plain array; what a masked array masks is missing."""
    if isinstance(block, np.ma.MaskedArray):
        if block.dtype.kind == "i":
            return block.filled(MISSING_CODE)
        # Unsigned ones have no code for missing.
        return np.ma.filled(block if block.dtype.kind == "f" else block.astype(float), np.nan)
    if not isinstance(block, np.ndarray) and hasattr(block, "tocsr"):
        raise InputError(
            f"{name}: expected dense blocks, as the Dask array's meta says, got "
            f"{type(block).__name__}. Say what the blocks are: "
            "array.map_blocks(lambda block: block, meta=scipy.sparse.csr_array((0, 0), dtype=...))."
        )
    return np.asarray(block)


def read_part(name: str, what: str, array: Any, part: slice, axis: int = 0) -> Any:
    """Part of a stored array, or an error that says which part of what."""
    try:
        return with_retries(
            lambda: transfers.read(array, part, axis), f"{name}: {what} {part.start:,}"
        )
    except Exception as error:
        raise BlockError(
            f"{name}: {what} {part.start:,} to {part.stop:,} of {redacted(str(array.store_path))} "
            f"cannot be read: {explain(error)}"
        ) from showable(error)


@dataclass(frozen=True)
class GivenReader:
    """The task is handed the block itself."""

    name: str
    shape: tuple[int, ...]
    row_axis: int

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Rows ``start:stop``."""
        block = plain_block(self.name, argument)
        expected = list(self.shape)
        expected[self.row_axis] = stop - start
        if block.shape != tuple(expected) or block.dtype.kind not in "fiub":
            raise InputError(
                f"{self.name}: expected a block of numbers of shape {tuple(expected)} for rows "
                f"{start:,} to {stop:,}, as the Dask array says, got {block.dtype} of shape "
                f"{block.shape}. Give map_blocks the right dtype= and chunks=."
            )
        return block


@dataclass(frozen=True)
class StoredReader:
    """Rows of a Zarr array."""

    name: str
    array: Any
    row_axis: int

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Rows ``start:stop``."""
        return read_part(self.name, "rows", self.array, slice(start, stop), self.row_axis)


# --- sources ----------------------------------------------------------------------------------


def dense_row_bytes(source: Source) -> int:
    """Bytes of a row of an array without holes."""
    size = source.dtype.itemsize
    for axis, length in enumerate(source.shape):
        size *= 1 if axis == source.row_axis else length
    return size


@dataclass(frozen=True)
class MemorySource:
    """A NumPy array; each task is handed a view of its rows."""

    name: str
    array: np.ndarray[Any, Any]
    row_axis: int
    chunk_rows: int = 1
    chunk_bytes: int = 0
    flying_bytes: int = 0
    row_chunks: Chunks | None = None
    kind: str = "memory"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return dense_row_bytes(self)

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return GivenReader(self.name, self.shape, self.row_axis)

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
    row_chunks: Chunks | None = None
    kind: str = "stored"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return dense_row_bytes(self)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, or of a shard: one that a block covers is read whole."""
        return math.prod(self.array.shards or self.array.chunks) * self.dtype.itemsize

    @property
    def flying_bytes(self) -> int:
        """Bytes of the chunks that are in flight at most while a block is read, decoded."""
        return transfers.most_at_once(self.array, self.row_axis)

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
    chunk_bytes: int = 0
    flying_bytes: int = 0
    kind: str = "lazy"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return dense_row_bytes(self)

    @property
    def row_chunks(self) -> Chunks | None:
        """Chunks along the rows."""
        return tuple(int(size) for size in self.array.chunks[self.row_axis])

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return GivenReader(self.name, self.shape, self.row_axis)

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
            keys.append(TaskRef((array.name, *at)))
        return keys, [array]


def check_known_chunks(name: str, array: da.Array) -> None:
    """Refuse a Dask array whose length nobody knows."""
    if any(size != size for size in array.shape):
        raise InputError(
            f"{name}: expected known chunk sizes, got chunks {array.chunks!r}. "
            "Call .compute_chunk_sizes() on it first."
        )


def make_source(name: str, array: Any, row_axis: int) -> Source:
    """The source behind a dense array."""
    if isinstance(array, np.ndarray):
        return MemorySource(name, array, row_axis)
    if isinstance(array, da.Array):
        check_known_chunks(name, array)
        return LazySource(name, array, row_axis)
    return StoredSource(name, array, row_axis)


# --- ids --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredIds:
    """Ids of rows in a Zarr array: as many as rows, so that they stay there until wanted."""

    array: Any

    def __len__(self) -> int:
        """Number of ids."""
        return int(self.array.shape[0])

    def __getitem__(self, rows: slice | np.ndarray[Any, Any]) -> pd.Index:
        """Ids of a slice or an array of rows, as of a :class:`pandas.Index`."""
        try:
            values = self.array[rows] if isinstance(rows, slice) else self.array.oindex[rows]
        except Exception as error:
            raise BlockError(
                f"ids in {redacted(str(self.array.store_path))} cannot be read: {explain(error)}"
            ) from showable(error)
        # pandas takes NumPy's strings of any length only as objects.
        return pd.Index(values.astype(object) if values.dtype.kind == "T" else values)

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """All of them."""
        return self[:].to_numpy()


RowIds = pd.Index | StoredIds
