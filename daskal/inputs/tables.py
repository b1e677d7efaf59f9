"""Tables as arguments: files, Arrow's tables and streams, and Dask's data frames."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dask.base import compute
from dask.delayed import delayed

from daskal.errors import InputError
from daskal.inputs.frames import frame_values
from daskal.inputs.ids import FileIds, LazyIds, RowIds
from daskal.inputs.opened import Opened, Table
from daskal.names.naming import own_names
from daskal.names.normal import as_index, objects_of, whole_numbers
from daskal.options import Storage
from daskal.tables.delimited import with_text
from daskal.tables.kinds import NPZ
from daskal.tables.matrix import check_column, open_matrix
from daskal.tables.npy import load_npy, load_npz, open_npy
from daskal.tables.opening import Files, find_table
from daskal.tables.parquet import index_of
from daskal.tables.table import Run, StoredTable, Taker
from daskal.text import listed, plural

# How many columns an error lists.
SHOWN = 8


# --- files ------------------------------------------------------------------------------------


def open_files(name: str, files: Files, columns: Table) -> Opened:
    """Return what files hold: a matrix that workers read by rows, with the names in it."""
    if files.is_table:
        return open_table(name, files.open_table(name), columns)
    if len(files.names) > 1:
        raise InputError(
            f"{name}: expected one array, got {len(files.names):,} files in {files.where}. Pass "
            "their paths as a list where each is a model's."
        )
    if files.kind == NPZ:
        return Opened(load_npz(name, files.file_system, files.names[0]))
    return Opened(open_npy(name, files.file_system, files.names[0]))


def open_table(name: str, table: StoredTable, columns: Table) -> Opened:
    """Return the matrix in a table, with the ids and names of its columns."""
    id_column = id_column_of(name, table, columns.id_column)

    def read_first(column: str) -> int | None:
        first = table.column(name, column, 0, 1)
        return len(first[0].as_py()) if len(first) and first[0].is_valid else None

    matrix = open_matrix(name, table, id_column, columns.class_columns, read_first)
    names = None if matrix.of_lists else names_of_columns(name, table, matrix.columns)
    return Opened(
        matrix,
        None if id_column is None else ids_in(name, table, id_column),
        names,
        numbered=b"pandas" in (table.schema.metadata or {}) and not table.index,
    )


def id_column_of(name: str, table: StoredTable, given: str | None) -> str | None:
    """Return the column of the ids: the one given, else the index of the DataFrame it was."""
    if given is not None:
        check_column(name, table, given, "id_column")
        return given
    return table.index[0] if len(table.index) == 1 else None


def ids_in(name: str, table: StoredTable, column: str) -> RowIds:
    """Return the ids in a column, in memory where they came as text that may stand for numbers."""
    read_as_text = with_text(table, column)
    ids = FileIds(name, read_as_text, column)
    if read_as_text is table:
        return ids
    texts = table_column(ids)
    numbers = whole_numbers(texts)
    return as_index(texts if numbers is None else numbers)


def table_column(ids: FileIds) -> pa.Array:
    """Return a column of text as one array; refuse empty fields."""
    texts = ids.table.column(ids.name, ids.column, 0, len(ids)).cast(pa.large_string())
    values = texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    missing = np.flatnonzero(pc.equal(values, "").to_numpy(zero_copy_only=False))
    if len(missing):
        raise InputError(
            f"{ids.name}: expected an id in every row of column {ids.column!r} of "
            f"{ids.table.where}, but "
            f"{plural(len(missing), 'is empty', 'are empty')} (first rows: "
            f"{listed(missing[:5].tolist(), count=len(missing))}). Fill them in, or leave those "
            "rows out."
        )
    return values


def names_of_columns(name: str, table: StoredTable, columns: Sequence[str]) -> pd.Index | None:
    """Return the names of columns; whole numbers, which files hold as text, are numbers again."""
    index = as_index(list(columns))
    numbers = None if was_text(table.schema) else whole_numbers(pa.array(list(columns)))
    if numbers is not None:
        values = numbers.to_numpy()
        if (values == np.arange(len(values))).all():
            return None
        index = pd.Index(values)
    return own_names(name, "annotators" if name == "labels" else "classes", index)


def was_text(schema: pa.Schema) -> bool:
    """Return whether the columns are those of a DataFrame whose names were text."""
    described = (schema.metadata or {}).get(b"pandas")
    levels: list[Any] = json.loads(described).get("column_indexes", []) if described else []
    return len(levels) == 1 and levels[0].get("pandas_type") in ("unicode", "string")


def open_id_files(name: str, files: Files, id_column: str | None, usual: Sequence[str]) -> Any:
    """Return the ids in a table: of the column given, one of the usual names, or the only one."""
    if not files.is_table:
        load = load_npz if files.kind == NPZ else load_npy
        return as_index(load(name, files.file_system, files.names[0]))
    table = files.open_table(name)
    names = [column for column in table.schema.names if column not in table.index]
    found = [column for column in usual if column in names] or (names if len(names) == 1 else [])
    found = found or list(table.index[:1])
    if id_column is not None:
        check_column(name, table, id_column, "id_column")
        found = [id_column]
    if not found:
        raise InputError(
            f"{name}: expected a column {' or '.join(map(repr, usual))}, or one column in all, in "
            f"{table.where}, got {listed(map(repr, names), most=SHOWN)}.",
            advice="Name the column with {id_column=}.",
        )
    return ids_in(name, table, found[0])


# --- Arrow in memory --------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenBatches:
    """The record batches of a table in memory."""

    batches: tuple[pa.RecordBatch, ...]

    def feed(self, name: str, run: Run, columns: Sequence[str], take: Taker) -> None:
        """Hand out the rows of neighboring batches, until no more are wanted."""
        row = run.start
        for batch in self.batches[run.first : run.last]:
            if not take(row, batch.select(list(columns))):
                return
            row += batch.num_rows

    def held_bytes(self, columns: Sequence[str]) -> int:
        """Return 0: nothing is decoded."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return nothing: arrays in memory are hashed."""
        return {}

    def list_size(self, column: str) -> int | None:
        """Return None: only the values tell how long lists are."""
        return None


def is_arrow(given: Any) -> bool:
    """Return whether an object is one of Arrow's tables, or gives a stream of them."""
    kinds = pa.Table | pa.RecordBatch | pa.RecordBatchReader
    return isinstance(given, kinds) or hasattr(given, "__arrow_c_stream__")


def arrow_table(given: Any) -> StoredTable:
    """Return an Arrow table in memory as those in files are."""
    if isinstance(given, pa.RecordBatchReader):
        given = given.read_all()
    try:
        batch = isinstance(given, pa.RecordBatch)
        found = pa.Table.from_batches([given]) if batch else pa.table(given)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"expected a table of Arrow's, with a name for each column, got one column, a "
            f"{type(given).__qualname__}. Make a table of it: pyarrow.table({{'name': column}})."
        ) from error
    batches = tuple(found.to_batches())
    edges = np.cumsum([0, *(batch.num_rows for batch in batches)])
    return StoredTable(
        f"the {type(given).__name__}",
        ("memory",),
        found.schema,
        edges,
        np.array([0, len(batches)]),
        GivenBatches(batches),
        index_of(found.schema),
    )


def open_arrow_table(name: str, given: Any, columns: Table) -> Opened:
    """Return the numbers of an Arrow table in memory, with the ids and names in it."""
    table = arrow_table(given)
    opened = open_table(name, table, columns)
    ids = opened.row_ids
    array = opened.array.read(name, 0, table.num_rows)
    return opened._replace(array=array, row_ids=None if ids is None else as_index(ids[:]))


# --- long format ------------------------------------------------------------------------------


def open_long(name: str, given: Any, options: Storage) -> StoredTable | None:
    """Return a table in files or in Arrow, None of anything else."""
    if isinstance(given, str | os.PathLike):
        files = find_table(name, os.fspath(given), options)
        return files.open_table(name) if files is not None and files.is_table else None
    # pandas and xarray give streams too, but not of tables in long format.
    if isinstance(given, pd.DataFrame | pd.Series) or hasattr(given, "coords"):
        return None
    return arrow_table(given) if is_arrow(given) else None


def read_columns(
    name: str, table: StoredTable, columns: Sequence[str]
) -> tuple[pd.DataFrame, bool]:
    """Return columns of a table, and whether they came as text that may stand for numbers."""
    as_text = with_text(table, *columns)
    untyped = as_text is not table
    found = {}
    for column, read in zip(
        columns, as_text.columns(name, columns, 0, table.num_rows), strict=True
    ):
        values = read.to_pylist()
        if untyped:
            values = [value or None for value in values]
        found[column] = objects_of(values, len(values))
    return pd.DataFrame(found), untyped


# --- Dask's data frames -----------------------------------------------------------------------


def is_dask_frame(given: Any) -> bool:
    """Return whether an object is a Dask DataFrame."""
    return hasattr(given, "__dask_graph__") and hasattr(type(given), "divisions")


def open_dask_frame(name: str, given: Any, columns: Table) -> Opened:
    """Return a Dask DataFrame as a Dask array; the rows of its partitions are counted now."""
    chosen = choose_frame_columns(name, given, columns)
    parts = chosen.to_delayed()
    counted = compute(*(delayed(survey_partition)(part) for part in parts))
    sizes = [size for size, _, _ in counted]
    dtype = frame_values(name, chosen._meta_nonempty).dtype
    shape = (sum(sizes), chosen.shape[1])
    arrays = [
        da.from_delayed(delayed(partition_values)(name, part, dtype), (size, shape[1]), dtype=dtype)
        for part, size in zip(parts, sizes, strict=True)
    ]
    ids = None
    if columns.id_column is not None or not is_numbered(counted):
        meta = np.empty(0, dtype=object)
        ids = LazyIds(
            da.concatenate(
                [
                    da.from_delayed(delayed(partition_ids)(part), (size,), meta=meta)
                    for part, size in zip(parts, sizes, strict=True)
                ]
            )
        )
    kind = "annotators" if name == "labels" else "classes"
    names = own_names(name, kind, chosen.columns)
    return Opened(da.concatenate(arrays), ids, names, numbered=ids is None)


def choose_frame_columns(name: str, given: Any, columns: Table) -> Any:
    """Return the columns that are wanted of a DataFrame, of pandas or Dask, its ids as index."""
    if columns.id_column is not None and columns.id_column != given.index.name:
        if columns.id_column not in given.columns:
            raise lacking_column(name, given, columns.id_column, "id_column")
        if is_dask_frame(given):
            given = given.map_partitions(lambda part: part.set_index(columns.id_column))
        else:
            given = given.set_index(columns.id_column)
    if columns.class_columns is None:
        return given
    for column in columns.class_columns:
        if column not in given.columns:
            raise lacking_column(name, given, column, "class_columns")
    return given[list(columns.class_columns)]


def lacking_column(name: str, given: Any, column: str, argument: str) -> InputError:
    """Return the error for a DataFrame without a column."""
    return InputError(
        f"{name}: expected a column {column!r} in the DataFrame, found "
        f"{listed(map(repr, given.columns), most=SHOWN)}.",
        advice=f"Name another one with {{{argument}=}}.",
    )


def survey_partition(part: pd.DataFrame) -> tuple[int, Any, bool]:
    """Return the rows of a partition, its first label, and whether its index only numbers them."""
    index = part.index
    if index.name is not None or index.dtype.kind not in "iu" or not len(index):
        return len(index), None, not len(index)
    first = int(index[0])
    return len(index), first, bool((index == np.arange(first, first + len(index))).all())


def is_numbered(counted: Sequence[tuple[int, Any, bool]]) -> bool:
    """Return whether the index of all partitions is the default, over all or in each of them."""
    filled = [each for each in counted if each[0]]
    if not all(numbered for _, _, numbered in filled):
        return False
    sizes = [size for size, _, _ in filled]
    firsts = [first for _, first, _ in filled]
    starts = [0, *np.cumsum(sizes).tolist()]
    return not any(firsts) or firsts == [start for start, _ in pairwise(starts)]


def partition_values(name: str, part: pd.DataFrame, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return the values of a partition."""
    return frame_values(name, part).astype(dtype, copy=False)


def partition_ids(part: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the index of a partition."""
    return np.asarray(part.index.astype(object))


# --- other arrays -----------------------------------------------------------------------------


def foreign_array(given: Any) -> np.ndarray[Any, Any] | None:
    """Return an object that gives an array, of PyTorch, JAX or others, None if it gives none."""
    if isinstance(given, type):
        return None
    for gives, convert in (("__array__", np.asarray), ("__dlpack__", np.from_dlpack)):
        if hasattr(given, gives):
            try:
                array = np.asarray(convert(given))
            except Exception:  # on another device, for instance: the error says what to do
                continue
            if array.dtype != object:
                return array
    return None
