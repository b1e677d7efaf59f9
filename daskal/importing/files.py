"""Opening long-format votes, wherever fsspec can reach them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.dataframe.utils import UNKNOWN_CATEGORIES
from dask.delayed import Delayed, delayed
from numpy.typing import NDArray

from daskal.errors import InputError, MissingPathError
from daskal.importing.exports import FORMS, TABLE_FORMS, Keys, TableKeys, table_form, table_keys
from daskal.importing.records import COLUMNS, answers_in_table, is_json, open_json, split
from daskal.storage.files import is_glob, open_file_system
from daskal.storage.locations import is_url, storage_errors
from daskal.storage.redaction import redacted
from daskal.tables.folders import FolderTable, open_each
from daskal.tables.kinds import DELIMITED, NPY, NPZ, TABLES, UNKNOWN, kind_of_files
from daskal.tables.opening import list_files

VOTES_PER_PART = 1_000_000
"""Votes a task sorts at once: some 30 MB, and few enough parts that each may probe all ids."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Votes in partitions (lazy pandas frames) in source order.

    ``untyped`` says that every value was read as text, so that ``7`` may mean a number (CSV);
    ``label_order`` are the labels in order where they are ordered categories; ``origin`` is what is
    read, if that is stored somewhere.
    """

    parts: list[Delayed]
    columns: tuple[str, str, str]
    untyped: bool
    where: str
    label_order: tuple[str, ...] | None = None
    origin: Any = None
    # Lazy counts of answers in the exports of tools that are no votes, by why.
    left_out: Sequence[Delayed] = ()

    def grouped(self, num_votes: int) -> list[list[Delayed]]:
        """Join neighbouring small partitions, to about `VOTES_PER_PART` votes each."""
        wanted = max(1, min(len(self.parts), math.ceil(num_votes / VOTES_PER_PART)))
        edges = np.linspace(0, len(self.parts), wanted + 1).astype(int)
        return [self.parts[a:b] for a, b in itertools.pairwise(edges)]


def open_votes(
    votes: Any,
    columns: tuple[str, str, str],
    storage_options: Mapping[str, Any] | None,
    form: str | None = None,
) -> Source:
    """Open votes as lazy partitions and check their columns; reads metadata only.

    ``form`` is the labeling tool that exported them; by default it is told from the file.
    """
    if form is not None and form not in (*FORMS, *TABLE_FORMS):
        known = ", ".join(map(repr, (*FORMS, *TABLE_FORMS)))
        raise InputError(f"form: expected {known} or None, got {form!r}.")
    if len(set(columns)) < len(columns):
        raise InputError(f"task, annotator and label: expected three columns, got {columns!r}.")
    label = columns[2]
    if isinstance(votes, pd.DataFrame):
        frame = _with_columns(votes, columns)
        starts = range(0, max(1, len(frame)), VOTES_PER_PART)
        slices = [delayed(frame.iloc[start : start + VOTES_PER_PART]) for start in starts]
        order = _order_of_categories(frame.dtypes[label])
        return Source(slices, columns, False, "a DataFrame", order)
    if isinstance(votes, dd.DataFrame):
        lazy = _with_columns(votes, columns)
        order = _order_of_categories(lazy.dtypes[label])
        return Source(lazy.to_delayed(), columns, False, "a Dask DataFrame", order, lazy)
    paths = _as_paths(votes)
    where = ", ".join(map(redacted, paths))
    with storage_errors("read votes from", where, storage_options):
        file_system, _ = open_file_system(paths[0], storage_options)
        files = [file for path in paths for file in list_files("votes", file_system, path)]
        origin = [*paths, *map(file_system.unstrip_protocol, files)]
        keys = Keys.given(columns)
        if all(map(is_json, files)):
            if form in TABLE_FORMS:
                raise InputError(f"form: expected a table of {form}, got JSON in {where}.")
            parts, left_out = split(open_json(file_system, files, keys, form))
            return Source(parts, COLUMNS, False, where, origin=origin, left_out=left_out)
        tables = open_tables(file_system, files)
        untyped = tables[0].untyped
        found = find_table_form(tables[0], columns, form) if untyped else None
        if found is not None:
            exported, wanted = found
            whole = parts_of(tables, wanted.columns)
            answers = [delayed(answers_in_table)(part, exported, wanted) for part in whole]
            parts, left_out = split(answers)
            return Source(parts, COLUMNS, True, where, origin=origin, left_out=left_out)
        parts = parts_of(tables, columns)
        orders = {order_of_labels(table, label) for table in tables}
        order = orders.pop() if len(orders) == 1 else None
        return Source(parts, columns, untyped, where, order, origin)


def open_tables(file_system: Any, files: Sequence[str]) -> list[FolderTable]:
    """Return the tables in files, all of one kind; an empty file of CSV beside others is none."""
    kind = kind_of_files("votes", file_system, files, TABLES)
    if kind in (NPY, NPZ):
        raise InputError(
            f"votes: expected {TABLES}, got {redacted(files[0])}, which is {kind}.",
            advice=UNKNOWN.advice,
        )
    filled = list(files)
    if kind == DELIMITED and len(files) > 1:
        filled = [file for file in files if file_system.size(file) != 0] or filled
    return open_each("votes", kind, file_system, filled)


def find_table_form(
    table: FolderTable, columns: tuple[str, str, str], form: str | None
) -> tuple[str, TableKeys] | None:
    """Return the tool that exported a table, and its columns; None of a table of another kind."""
    names = table.table.schema.names
    found = form or (None if set(columns) <= set(names) else table_form(names))
    if found is None:
        return None
    if found not in TABLE_FORMS:
        raise InputError(f"form: expected JSON of {found}, got a table in {table.table.where}.")
    return found, table_keys(found, Keys.given(columns), names)


def parts_of(tables: Sequence[FolderTable], columns: Sequence[str]) -> list[Delayed]:
    """Return lazy partitions of tables, each of neighboring parts of one file."""
    parts = []
    for table in tables:
        _check_columns(table.names, columns, f" in {table.table.where}")
        for start, stop in neighbors(table.table.edges):
            parts.append(delayed(read_part)(table, columns, start, stop))
    return parts


def neighbors(edges: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield rows of neighboring parts, `VOTES_PER_PART` at most unless one alone has more."""
    start = 0
    for before, stop in itertools.pairwise(edges.tolist()):
        if before > start and stop - start > VOTES_PER_PART:
            yield start, before
            start = before
    yield start, int(edges[-1])


def read_part(table: FolderTable, columns: Sequence[str], start: int, stop: int) -> pd.DataFrame:
    """Return some rows of the votes."""
    return pa.table(table.read("votes", columns, start, stop)).to_pandas(types_mapper=pd.ArrowDtype)


def order_of_labels(table: FolderTable, label: str) -> tuple[str, ...] | None:
    """Return the labels in order where they are ordered categories of text."""
    stored = table.table
    kind = stored.schema.field(label).type if label in stored.schema.names else None
    if kind is None or not (pa.types.is_dictionary(kind) and kind.ordered):
        return None
    found: list[Any] = []

    def take(row: int, batch: pa.RecordBatch) -> bool:
        # The categories are stored with the values alone.
        found[:] = batch.column(0).dictionary.to_pylist()
        return True

    stored.read("votes", [label], 0, min(1, stored.num_rows), take)
    return tuple(found) if found and all(isinstance(each, str) for each in found) else None


def _order_of_categories(dtype: Any) -> tuple[str, ...] | None:
    """Return ordered categories of text; None of other columns, and where Dask knows them not."""
    if not isinstance(dtype, pd.CategoricalDtype) or not dtype.ordered:
        return None
    values = dtype.categories.tolist()
    is_known = UNKNOWN_CATEGORIES not in values
    return tuple(values) if is_known and all(isinstance(v, str) for v in values) else None


def _as_paths(votes: Any) -> list[str]:
    many = votes if isinstance(votes, list | tuple) else [votes]
    if not many or not all(isinstance(path, str | os.PathLike) for path in many):
        raise InputError(
            "votes: expected a path or URL of Parquet, Arrow or CSV (or a list of them), a pandas "
            f"DataFrame or a Dask DataFrame, got {type(votes).__name__}."
        )
    paths = [os.fspath(path) for path in many]
    for path in paths:
        # Dask takes a folder that is not there for one without files.
        if not is_url(path) and not is_glob(path) and not Path(path).expanduser().exists():
            raise MissingPathError(
                f"cannot read votes from {redacted(path)}: nothing is stored there. Check the path."
            )
    return paths


def _with_columns(frame: Any, columns: Sequence[str]) -> Any:
    index = frame.index.names if isinstance(frame, pd.DataFrame) else [frame.index.name]
    if any(name in columns and name not in frame.columns for name in index):
        frame = frame.reset_index()
    _check_columns(frame.columns, columns, "")
    return frame[list(columns)]


def _check_columns(names: Sequence[str], columns: Sequence[str], where: str) -> None:
    lacking = [name for name in columns if name not in names]
    if lacking:
        raise InputError(
            f"votes: expected columns {', '.join(map(repr, columns))}, but there is no "
            f"{', '.join(map(repr, lacking))} among {', '.join(map(repr, names))}{where}.",
            advice="Name them with {task=}, {annotator=} and {label=}.",
        )
