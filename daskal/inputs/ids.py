"""Ids of rows, in memory, stored or lazy: one per row, read in slices."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dask.base import tokenize
from numpy.typing import NDArray

from daskal.errors import BlockError, InputError, InvalidDataError
from daskal.inputs.fingerprint import Identity, lazy_identity, names_identity, stored_identity
from daskal.names.naming import (
    check_exact,
    is_default,
    own_names,
    plain_texts,
    slices_of,
)
from daskal.names.normal import (
    BOOLEAN,
    BYTES,
    CLOCK,
    DURATION,
    MIXED,
    MOMENT,
    NUMBER,
    TEXT,
    WHOLE,
    as_index,
    normal,
)
from daskal.names.rows import Side, find, match_rows
from daskal.storage.addresses import address_of
from daskal.storage.redaction import explain, showable
from daskal.tables.table import StoredTable

# The column that holds the ids, where a table is given.
ID_COLUMNS = ("id", "task")


@dataclass(frozen=True)
class StoredIds:
    """Ids of rows in a Zarr array, read only where needed: there are as many as rows."""

    array: Any
    kind: str | None = None  # what the texts stand for, where they are not text

    def __len__(self) -> int:
        """Return the number of ids."""
        return int(self.array.shape[0])

    def __getitem__(self, rows: slice | np.ndarray[Any, Any]) -> pd.Index:
        """Return the ids of a slice or an array of rows, as a :class:`pandas.Index` does."""
        try:
            values = self.array[rows] if isinstance(rows, slice) else self.array.oindex[rows]
        except Exception as error:
            raise BlockError(
                f"ids in {address_of(self.array)} cannot be read: {explain(error)}"
            ) from showable(error)
        ids = as_index(np.asarray(values))
        return ids if self.kind is None else as_index(from_texts(ids.tolist(), self.kind))


@dataclass(frozen=True)
class LazyIds:
    """Ids of rows in a Dask array, computed where needed."""

    array: da.Array

    def __len__(self) -> int:
        """Return the number of ids."""
        return int(self.array.shape[0])

    def __getitem__(self, rows: slice | np.ndarray[Any, Any]) -> pd.Index:
        """Return the ids of a slice or an array of rows."""
        return as_index(np.asarray(self.array[rows].compute()))


@dataclass(frozen=True)
class FileIds:
    """Ids of rows in a column of a table file, read where needed."""

    name: str
    table: StoredTable
    column: str

    def __len__(self) -> int:
        """Return the number of ids."""
        return self.table.num_rows

    def __getitem__(self, rows: slice | np.ndarray[Any, Any]) -> pd.Index:
        """Return the ids of a slice or an array of rows."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self.read(start, max(start, stop))
        parts = np.searchsorted(self.table.edges, rows, side="right") - 1
        found = np.empty(len(rows), dtype=object)
        for part in np.unique(parts).tolist():
            at = np.flatnonzero(parts == part)
            start, stop = int(rows[at].min()), int(rows[at].max()) + 1
            found[at] = self.read(start, stop).take(rows[at] - start).astype(object)
        return as_index(found)

    def read(self, start: int, stop: int) -> pd.Index:
        """Return the ids of neighboring rows.

        Raises
        ------
        InvalidDataError
            If one is missing.
        """
        values = self.table.column(self.name, self.column, start, stop)
        if values.null_count:
            row = start + pc.index(pc.is_null(values), True).as_py()
            raise InvalidDataError(
                f"{self.name}: expected an id in every row of column {self.column!r} of "
                f"{self.table.where}, but row {row:,} has none ({values.null_count:,} such rows "
                f"of {stop - start:,}). Fill them in, or leave those rows out."
            )
        return as_index(values)


@dataclass(frozen=True)
class PickedIds:
    """The ids that some rows of a longer table have, taken where needed."""

    ids: RowIds
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self.rows)

    def __getitem__(self, rows: slice | np.ndarray[Any, Any]) -> pd.Index:
        """Return the ids of a slice or an array of rows."""
        return take_ids(self.ids, self.rows[rows])


RowIds = pd.Index | StoredIds | LazyIds | FileIds | PickedIds


def from_texts(values: list[Any], kind: str | None) -> list[Any]:
    """Return the ids that texts stand for; ``plain_texts`` wrote them."""
    if kind == BYTES:
        return [ast.literal_eval(value) for value in values]
    if kind in (MOMENT, CLOCK):
        return [pd.Timestamp(value) for value in values]
    if kind == DURATION:
        return [pd.Timedelta(value) for value in values]
    if kind == BOOLEAN:
        return [value == "True" for value in values]
    return values


@dataclass(frozen=True)
class StorableIds:
    """Ids as Zarr can hold them: whole numbers, floats or text, read in slices."""

    ids: RowIds

    @cached_property
    def forms(self) -> set[tuple[str, np.dtype[Any]]]:
        """What the ids are, and the types of their normal forms; all ids are read once."""
        parts = (normal(part) for _, part in slices_of(self.ids))
        return {(part.kind, part.values.dtype) for part in parts}

    @property
    def kind(self) -> str:
        """What all ids are."""
        kinds = {kind for kind, _ in self.forms}
        return kinds.pop() if len(kinds) == 1 else TEXT if not kinds else MIXED

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values that are stored."""
        types = {dtype for _, dtype in self.forms}
        if self.kind in (WHOLE, NUMBER) and len(types) == 1 and object not in types:
            return types.pop()
        return np.dtype(object)

    @property
    def text_kind(self) -> str | None:
        """What the texts stand for, None where they are numbers or text themselves."""
        return None if self.dtype.kind != "O" or self.kind in (TEXT, MIXED) else self.kind

    @property
    def shape(self) -> tuple[int]:
        """Shape of the array."""
        return (len(self.ids),)

    def __getitem__(self, rows: slice) -> np.ndarray[Any, Any]:
        """Return what is stored for some rows."""
        part = as_index(self.ids[rows])
        if self.dtype.kind != "O":
            return np.asarray(normal(part).values)
        return np.array(plain_texts(part), dtype=object)


def take_ids(ids: RowIds, rows: np.ndarray[Any, Any]) -> pd.Index:
    """Return the ids of some rows, ascending."""
    return ids.take(rows) if isinstance(ids, pd.Index) else ids[rows]


def nbytes_of(ids: RowIds) -> int:
    """Return the bytes of ids in memory, of picked ones those of all that they are picked from."""
    if isinstance(ids, PickedIds):
        return nbytes_of(ids.ids)
    return int(ids.memory_usage(deep=True)) if isinstance(ids, pd.Index) else 0


def ids_of(name: str, opened: Any) -> RowIds:
    """Return the ids in an opened array, which must have one axis."""
    if isinstance(opened, pd.Index | FileIds):
        return opened
    shape = tuple(getattr(opened, "shape", ()))
    if len(shape) != 1:
        raise InputError(f"{name}: expected one id per row, of shape (N,), got shape {shape}.")
    if isinstance(opened, da.Array):
        return LazyIds(opened)
    return StoredIds(opened) if hasattr(opened, "oindex") else as_index(opened)


def ids_in_memory(name: str, given: Any) -> RowIds | None:
    """Return ids that are in memory, None where an array or a path has to be opened first."""
    if isinstance(given, pd.DataFrame):
        named = [column for column in ID_COLUMNS if column in given.columns]
        if len(given.columns) != 1 and not named:
            raise InputError(
                f"{name}: expected ids, got a DataFrame with the columns "
                f"{', '.join(map(repr, given.columns))}. Pass the column of the ids."
            )
        given = given[named[0]] if named else given.iloc[:, 0]
    if isinstance(given, pd.Series):
        given = given.array
    elif type(given).__module__.partition(".")[0] == "xarray":
        given = np.asarray(given)
    if isinstance(given, np.ndarray) and given.ndim != 1:
        raise InputError(f"{name}: expected one id per row, of shape (N,), got {given.shape}.")
    if isinstance(given, pd.Index | StoredIds | LazyIds | FileIds):
        return given
    arrays = (
        *(pd.Index, pd.api.extensions.ExtensionArray, np.ndarray, list, tuple),
        *(pa.Array, pa.ChunkedArray),
    )
    if hasattr(given, "to_arrow") and hasattr(given, "to_list"):  # a Series of polars
        given = given.to_arrow()
    return as_index(given) if isinstance(given, arrays) else None


def check_ids(name: str, ids: RowIds, num_rows: int, own: RowIds | None, of: str) -> RowIds:
    """Refuse ids that cannot be those of the rows: too few, rounded, or in another order.

    ``own`` are the names that the rows of ``of`` came with: ids may differ from them, but may not
    be the same names in another order.
    """
    if len(ids) != num_rows:
        raise InputError(
            f"{name}: expected one id per row, {num_rows:,} as in {of}, got {len(ids):,}."
        )
    if isinstance(ids, pd.Index):
        check_exact(name, "rows", ids)
    if isinstance(own, pd.Index) and isinstance(ids, pd.Index):
        known = len(ids) > 0 and bool((find(own, ids) >= 0).all())
        if known:
            match_rows(Side(of, num_rows, own), Side(name, num_rows, ids))
    return ids


def in_rows_order(
    name: str, ids: RowIds, given: Any, num_rows: int, own: RowIds | None, of: str
) -> RowIds:
    """Return ids in the order of the rows, where each has the name of its row beside it."""
    index = given.index if isinstance(given, pd.Series | pd.DataFrame) else None
    if len(getattr(given, "dims", ())) == 1:
        index = given.indexes.get(given.dims[0]) if hasattr(given, "indexes") else None
    if own is None or index is None or is_default(index) or not isinstance(ids, pd.Index):
        return ids
    rows = match_rows(
        Side(of, num_rows, own),
        Side(name, len(index), own_names(name, "rows", index)),
        movable=True,
    )
    return ids if rows.order is None else ids.take(rows.order)


def open_ids(
    name: str, given: Any, num_rows: int, own: RowIds | None, of: str, open_array: Any
) -> RowIds | None:
    """Return the ids that are given, else those that the rows came with.

    ``open_array`` opens what has to be opened: a path, a URL, a Zarr or a Dask array.
    """
    if given is None:
        return own
    ids = ids_in_memory(name, given)
    if ids is None:
        ids = ids_of(name, open_array())
    else:
        ids = in_rows_order(name, ids, given, num_rows, own, of)
    return check_ids(name, ids, num_rows, own, of)


def ids_identity(ids: RowIds) -> Identity | None:
    """Return the identity of ids, to which a run that stores them is bound."""
    if isinstance(ids, StoredIds):
        return stored_identity(ids.array)
    if isinstance(ids, LazyIds):
        return lazy_identity(ids.array)
    if isinstance(ids, FileIds):
        return {**ids.table.identity(), "column": ids.column}
    if isinstance(ids, PickedIds):
        return {"of": ids_identity(ids.ids), "rows": tokenize(ids.rows)}
    return names_identity(ids.tolist())
