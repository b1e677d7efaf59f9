"""Groups of examples, of which a batch holds few: one value of any kind for each row."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.inputs.arguments import open_ids_argument
from daskal.inputs.ids import LazyIds, RowIds, StoredIds, ids_in_memory, ids_of, in_rows_order
from daskal.inputs.readers import StoredReader
from daskal.inputs.sources import (
    Source,
    file_source,
    lazy_source,
    memory_source,
    stored_source,
)
from daskal.inputs.tables import is_arrow, is_dask_frame
from daskal.names.naming import check_exact, listed
from daskal.options import Storage, shown
from daskal.tables.delimited import with_text
from daskal.tables.matrix import TableColumn
from daskal.tables.opening import find_table
from daskal.tables.table import StoredTable

NAME = "groups"
ADVICE = "Name the column of the groups with {group_column=}."
# A text in memory, on average: what planning takes for one.
TEXT_BYTES = 64


@dataclass(frozen=True)
class ValuesReader:
    """The task reads values of any kind, or is handed them."""

    name: str
    ids: StoredIds | None = None

    def __call__(self, argument: Any, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start:stop``."""
        values = argument if self.ids is None else self.ids[start:stop]
        found: NDArray[Any] = np.asarray(values)
        if found.shape != (stop - start,):
            raise InputError(
                f"{self.name}: expected a block of shape {(stop - start,)} for rows {start:,} to "
                f"{stop:,}, got {found.shape}."
            )
        return found


def open_groups(
    given: Any, column: str | None, num_rows: int, own: RowIds | None, storage_options: Storage
) -> Source:
    """Return groups as a source of one value for each row of the scores.

    ``given`` is an array of shape (N,), a table of which ``column`` is the column, or the path of
    either, or a source; ``own`` are the names of the rows, by which a Series is put in order.
    """
    if isinstance(given, Source):
        return checked(given, num_rows)
    if isinstance(given, str | os.PathLike):
        files = find_table(NAME, os.fspath(given), storage_options)
        if files is not None and files.is_table:
            table = files.open_table(NAME)
            chosen = only_column(column, list(table.schema.names), table.where)
            return checked(column_source(table, chosen), num_rows)
    given, is_table = column_of_frame(given, column)
    if column is not None and not is_table:
        raise InputError(
            f"group_column: expected a table in groups, got {shown(given)}, which has no columns. "
            "Leave group_column out."
        )
    ids = ids_in_memory(NAME, given)
    if ids is None:
        ids = ids_of(NAME, open_ids_argument(NAME, given, storage_options))
    else:
        ids = in_rows_order(NAME, ids, given, num_rows, own, "the scores")
    return checked(values_source(ids), num_rows)


def column_of_frame(given: Any, column: str | None) -> tuple[Any, bool]:
    """Return the column of the groups in a table in memory, or of Dask; whether it is a table."""
    # Columns by themselves, of pandas and polars, give streams too.
    if is_arrow(given) and hasattr(given, "columns") and not isinstance(given, pd.DataFrame):
        given = given.read_all() if hasattr(given, "read_all") else given
        given = pa.table(given).to_pandas(types_mapper=pd.ArrowDtype)
    is_lazy = is_dask_frame(given)
    is_table = isinstance(given, pd.DataFrame) or (is_lazy and given.ndim == 2)
    if is_table:
        given = given[only_column(column, list(given.columns), "the DataFrame")]
    if is_lazy and given.dtype.kind not in "iufb":
        # Dask warns of pandas' own types, such as those of text.
        given = given.map_partitions(as_objects, meta=as_objects(given._meta))
    return (given.to_dask_array(lengths=True) if is_lazy else given), is_table


def as_objects(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return values as Python objects."""
    return values.astype(object)


def only_column(column: str | None, names: list[Any], where: str) -> Any:
    """Return the column that is named, or the only one."""
    if column is None and len(names) == 1:
        return names[0]
    if column not in names:
        raise InputError(
            f"{NAME}: expected {'one column' if column is None else f'a column {column!r}'} in "
            f"{where}, got {listed(names)}.",
            advice=ADVICE,
        )
    return column


def column_source(table: StoredTable, column: str) -> Source:
    """Return a column of a table in files as a source; of CSV, values are text."""
    source = file_source(NAME, TableColumn(with_text(table, column), column), row_axis=0)
    return sized(source)


def values_source(values: RowIds) -> Source:
    """Return values of any kind as a source."""
    if isinstance(values, StoredIds):
        source = stored_source(NAME, values.array, row_axis=0)
        if source.dtype.kind in "iufb":
            assert isinstance(source.reader, StoredReader)
            return source
        return sized(replace(source, reader=ValuesReader(NAME, values)))
    if isinstance(values, LazyIds):
        return sized(replace(lazy_source(NAME, values.array, 0), reader=ValuesReader(NAME)))
    assert isinstance(values, pd.Index)
    check_exact(NAME, "rows", values)
    plain = values.to_numpy() if values.dtype.kind in "iufb" else values.astype(object).to_numpy()
    return sized(replace(memory_source(NAME, plain, 0), reader=ValuesReader(NAME)))


def sized(source: Source) -> Source:
    """Return a source whose rows are taken for short texts where they are no numbers."""
    return source if source.dtype.kind in "iufb" else replace(source, row_bytes=TEXT_BYTES)


def checked(source: Source, num_rows: int) -> Source:
    """Return a source that has a value for each row."""
    if len(source.shape) != 1 or source.num_rows != num_rows:
        raise InputError(
            f"{NAME}: expected one group for each of the {num_rows:,} scores, got shape "
            f"{source.shape}."
        )
    return source
