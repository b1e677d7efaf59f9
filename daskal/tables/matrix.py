"""Rows of numbers from columns of a table: one column a class, or one list a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from daskal.errors import InputError, InvalidDataError
from daskal.tables.table import BATCH_ROWS, StoredTable, plain_array, plain_type
from daskal.text import listed

# Stands for a missing whole number, as in a DataFrame.
MISSING_CODE = -1
# Rows put together at once: their columns stay in the cache while they are laid side by side.
TILE_ROWS = 2**11
# Batches of a table that are in memory while one is laid into the rows wanted.
BATCHES_HELD = 2
SHOWN = 8
# What the columns of votes in long format are called unless something else is said.
VOTE_COLUMNS = ("task", "annotator", "label")
LONG_VOTES = (
    "Votes in long format become a store with {daskal.import_votes}, or are passed to {daskal.run} "
    "as {votes=}."
)


def is_numeric(kind: pa.DataType) -> bool:
    """Return whether values of a type are numbers that NumPy has too."""
    kind = plain_type(kind)
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Return whether values of a type are lists of numbers."""
    kind = plain_type(kind)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in lists) and is_numeric(kind.value_type)


def numpy_type(kind: pa.DataType) -> np.dtype[Any]:
    """Return NumPy's type for numbers, one with a code for missing values: signed."""
    kind = plain_type(kind)
    if pa.types.is_boolean(kind):
        return np.dtype(np.int8)
    dtype = np.dtype(kind.to_pandas_dtype())
    if dtype.kind != "u":
        return dtype
    return np.dtype(f"i{min(2 * dtype.itemsize, 8)}")


def common_type(kinds: Sequence[pa.DataType]) -> np.dtype[Any]:
    """Return the one type that holds the numbers of all columns."""
    return np.result_type(*(numpy_type(kind) for kind in kinds))


def as_numbers(values: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers as NumPy's, missing ones as NaN or as a negative code."""
    values = plain_array(values)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if dtype.kind == "f":
        found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return found.astype(dtype, copy=False)
    if values.null_count:
        if pa.types.is_unsigned_integer(values.type):
            values = values.cast(pa.from_numpy_dtype(dtype))
        values = values.fill_null(MISSING_CODE)
    return values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)


@dataclass(frozen=True)
class TableMatrix:
    """Numbers of a table as a matrix, which workers read by rows.

    Either ``columns`` are its columns, or there is one of lists, each as long as a row.
    """

    table: StoredTable
    columns: tuple[str, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    of_lists: bool = False

    @property
    def edges(self) -> NDArray[np.int64]:
        """First row of each part, and the number of rows."""
        return self.table.edges

    @property
    def held_bytes(self) -> int:
        """Most bytes held beside the rows that are wanted."""
        batches = BATCHES_HELD * BATCH_ROWS * self.shape[1] * self.dtype.itemsize
        return self.table.parts.held_bytes(self.columns) + batches

    def read(self, name: str, start: int, stop: int, row_axis: int = 0) -> NDArray[Any]:
        """Return some rows."""
        assert row_axis == 0
        rows = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        fill = self.fill_lists if self.of_lists else self.fill_columns

        def take(row: int, batch: pa.RecordBatch) -> bool:
            fill(name, row, batch, rows[row - start : row - start + batch.num_rows])
            return True

        self.table.read(name, self.columns, start, stop, take)
        # Arrow would keep what it decoded with for the next table: a block or two.
        pa.default_memory_pool().release_unused()
        return rows

    def fill_columns(self, name: str, row: int, batch: pa.RecordBatch, rows: NDArray[Any]) -> None:
        """Lay the columns of a batch side by side."""
        columns = [as_numbers(batch.column(column), self.dtype) for column in self.columns]
        for at in range(0, batch.num_rows, TILE_ROWS):
            np.stack(
                [column[at : at + TILE_ROWS] for column in columns],
                axis=1,
                out=rows[at : at + TILE_ROWS],
            )

    def fill_lists(self, name: str, row: int, batch: pa.RecordBatch, rows: NDArray[Any]) -> None:
        """Lay the lists of a batch below each other."""
        rows[...] = list_rows(name, row, batch.column(0), self.shape[1], self.dtype)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the matrix, from metadata alone."""
        return {
            **self.table.identity(),
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "columns": list(self.columns),
        }


@dataclass(frozen=True)
class TableColumn:
    """Values of any kind in one column of a table, which workers read by rows.

    A missing one is NaN among floats, -1 among whole numbers, None among others.
    """

    table: StoredTable
    column: str

    @property
    def kind(self) -> pa.DataType:
        """Type of the values."""
        return plain_type(self.table.schema.field(self.column).type)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the array."""
        return (self.table.num_rows,)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type for the values."""
        # Among all 64 bits of an unsigned integer, there is no code for a missing one.
        plain = is_numeric(self.kind) and not pa.types.is_uint64(self.kind)
        return numpy_type(self.kind) if plain else np.dtype(object)

    @property
    def edges(self) -> NDArray[np.int64]:
        """First row of each part, and the number of rows."""
        return self.table.edges

    @property
    def held_bytes(self) -> int:
        """Most bytes held beside the rows that are wanted."""
        return self.table.parts.held_bytes([self.column])

    def read(self, name: str, start: int, stop: int, row_axis: int = 0) -> NDArray[Any]:
        """Return some rows."""
        assert row_axis == 0
        values = self.table.column(name, self.column, start, stop)
        if self.dtype != object:
            parts = [as_numbers(part, self.dtype) for part in values.chunks]
            return np.concatenate([np.empty(0, dtype=self.dtype), *parts])
        # Strings are made faster by Arrow; it would turn moments into numbers.
        text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        found = values.to_numpy() if text else values.to_pylist()
        return np.fromiter(found, dtype=object, count=stop - start)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the column, from metadata alone."""
        return {**self.table.identity(), "column": self.column}


def list_rows(
    name: str, row: int, lists: pa.Array, size: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return lists of one length as the rows of a matrix; ``row`` is the number of the first.

    Raises
    ------
    InvalidDataError
        If a list is missing or of another length.
    """
    lists = plain_array(lists)
    lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != size)
    if len(wrong):
        at = int(wrong[0])
        length = int(lengths[at])
        came = "none" if length < 0 else f"one of {length:,}"
        raise InvalidDataError(
            f"{name}: expected a list of {size:,} numbers in each row, but row {row + at:,} has "
            f"{came} ({len(wrong):,} such rows from row {row:,} on). Write lists of one length."
        )
    return as_numbers(lists.flatten(), dtype).reshape(len(lists), size)


# --- which columns ----------------------------------------------------------------------------


def check_column(name: str, table: StoredTable, column: str, argument: str) -> None:
    """Refuse the name of a column that the table lacks."""
    if column not in table.schema.names:
        raise InputError(
            f"{name}: expected a column {column!r} in {table.where}, found "
            f"{listed(map(repr, table.schema.names), most=SHOWN)}.",
            advice=f"Name another one with {{{argument}=}}.",
        )


def choose_columns(
    name: str, table: StoredTable, id_column: str | None, class_columns: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns of numbers: those that are named, else all but the ids.

    Raises
    ------
    InputError
        If one is not there, or holds no numbers.
    """
    if class_columns is not None:
        for column in class_columns:
            check_column(name, table, column, "class_columns")
    ids = {*table.index, *(() if id_column is None else (id_column,))}
    chosen = [column for column in table.schema.names if column not in ids]
    if class_columns is not None:
        chosen = list(class_columns)
    kinds = {column: table.schema.field(column).type for column in chosen}
    lists = [column for column, kind in kinds.items() if is_list(kind)]
    odd = [column for column, kind in kinds.items() if not (is_numeric(kind) or is_list(kind))]
    # One list a row, or one number a column, and nothing beside them.
    others = odd or (lists if len(lists) < len(chosen) else lists[1:])
    if others or not chosen:
        shown = listed((f"{column!r} ({kinds[column]})" for column in others), most=SHOWN)
        what, advice = "class", "{class_columns=}."
        if name.startswith("labels"):
            if set(VOTE_COLUMNS) <= set(table.schema.names):
                raise InputError(
                    f"{name}: expected a column of numbers for each annotator in {table.where}, "
                    f"got votes in long format ({listed(map(repr, VOTE_COLUMNS))}).",
                    advice=LONG_VOTES,
                )
            what, advice = "annotator", "{class_columns=}. " + LONG_VOTES
        raise InputError(
            f"{name}: expected columns of numbers, one for each {what}, or one column of lists, "
            f"in {table.where}, got {'also ' if len(others) < len(chosen) else ''}"
            f"{shown or 'no column'}.",
            advice="Name the ids with {id_column=}, or the columns to take with " + advice,
        )
    return tuple(chosen)


def open_matrix(
    name: str,
    table: StoredTable,
    id_column: str | None,
    class_columns: Sequence[str] | None,
    read_first: Callable[[str], int | None],
) -> TableMatrix:
    """Return the numbers of a table as a matrix.

    ``read_first`` returns the length of the first list of a column, for formats that do not tell.
    """
    columns = choose_columns(name, table, id_column, class_columns)
    kinds = [table.schema.field(column).type for column in columns]
    if not is_list(kinds[0]):
        return TableMatrix(table, columns, (table.num_rows, len(columns)), common_type(kinds))
    kind = plain_type(kinds[0])
    size: int | None
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
    else:
        size = table.parts.list_size(columns[0])
        size = read_first(columns[0]) if size is None else size
    if size is None:
        raise InputError(
            f"{name}: expected lists of numbers, all of one length, in column {columns[0]!r} of "
            f"{table.where}. Write lists of one length."
        )
    dtype = numpy_type(kind.value_type)
    return TableMatrix(table, columns, (table.num_rows, size), dtype, of_lists=True)
