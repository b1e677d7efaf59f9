"""The ids of the rows, in the order the probabilities have."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.base import is_dask_collection

from daskal.errors import InputError
from daskal.importing.columns import as_ids
from daskal.importing.formats import (
    CSV,
    CSV_SUFFIXES,
    NUMPY,
    PARQUET_SUFFIXES,
    kind_of_files,
    open_parquet,
    parse_csv,
    separator_of,
    typed_columns_of_folders,
)
from daskal.names.normal import as_index
from daskal.storage.files import ZARR_FILES, find_files, is_glob, open_file_system, read_file
from daskal.storage.locations import check_stored, is_url, open_zarr, storage_errors
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries
from daskal.storage.tables import Column, member
from daskal.text import listed


@dataclasses.dataclass(frozen=True)
class Ids:
    """The ids of the rows in row order.

    ``untyped`` says that they came as text, so that ``7`` may mean a number (CSV); ``origin`` is
    what they were read from, if that is stored somewhere.
    """

    values: pa.Array
    untyped: bool = False
    origin: Any = None


def open_tasks(tasks: Any, task: str, storage_options: Mapping[str, Any] | None) -> Ids:
    """Read the ids of the rows, from an array or files; ``task`` names the column of a table."""
    paths = paths_of(tasks)
    if paths is not None:
        where = listed(map(redacted, paths))
        with storage_errors("read tasks from", where, storage_options):
            values, untyped, origin = load_tasks(paths, task, storage_options)
        return Ids(as_ids(values, f"tasks ({where})"), untyped, origin)
    if isinstance(tasks, set | frozenset | Mapping):
        raise InputError(
            f"tasks: expected ids in the order of the rows, got a {type(tasks).__name__}: pass a "
            "list of them in that order."
        )
    origin = None if isinstance(tasks, list | tuple | pd.Index | pd.Series) else tasks
    if isinstance(tasks, pd.DataFrame | dd.DataFrame):
        origin = tasks if is_dask_collection(tasks) else None
        if tasks.index.name == task and task not in tasks.columns:
            tasks = tasks.reset_index()
        tasks = task_column(tasks, task, "a DataFrame")
    if is_dask_collection(tasks):
        tasks = tasks.compute()
    if isinstance(tasks, np.ma.MaskedArray):
        tasks = as_index(tasks)  # knows which are missing
    if not isinstance(tasks, pd.Series | pd.Index | list | tuple):
        tasks = readable(np.asarray(tasks))
    return Ids(as_ids(tasks, "tasks"), origin=origin)


def paths_of(tasks: Any) -> list[str] | None:
    """Return the paths that ``tasks`` is, None where it is the ids themselves.

    Text in a list is a path where all of it names tables that are there.
    """
    if isinstance(tasks, str | os.PathLike):
        return [os.fspath(tasks)]
    if not isinstance(tasks, list | tuple) or not tasks:
        return None
    if all(isinstance(each, os.PathLike) for each in tasks):
        return [os.fspath(each) for each in tasks]
    names_table = all(isinstance(each, str | os.PathLike) and is_table(each) for each in tasks)
    return [os.fspath(each) for each in tasks] if names_table else None


def is_table(path: str | os.PathLike[str]) -> bool:
    """Return whether text is the path of a table, and no id."""
    text = os.fspath(path)
    if not text.lower().endswith((*CSV_SUFFIXES, *PARQUET_SUFFIXES, ".npy")):
        return False
    return is_url(text) or is_glob(text) or Path(text).expanduser().exists()


def load_tasks(
    paths: Sequence[str], task: str, storage_options: Mapping[str, Any] | None
) -> tuple[Any, bool, Any]:
    """Return ids from files or a Zarr store, whether they came as text, and where they are."""
    file_system, root = open_file_system(paths[0], storage_options)
    if len(paths) == 1 and may_be_zarr(paths[0]):
        stored = with_retries(
            lambda: any(file_system.exists(f"{root}/{name}") for name in ZARR_FILES),
            f"reading tasks from {redacted(paths[0])!r}",
            storage_options,
        )
        if stored:
            return zarr_tasks(paths[0], task, storage_options), False, list(paths)
    files = [file for path in paths for file in find_files(file_system, path)]
    kind = kind_of_files("tasks", files)
    origin = [*paths, *map(file_system.unstrip_protocol, files)]
    if kind == NUMPY:
        load = functools.partial(np.load, allow_pickle=False)
        arrays = [read_file("tasks", file_system, file, load) for file in files]
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0], False, origin
    if kind == CSV:
        parts = [read_csv(file_system, file, task) for file in files]
        return pd.concat(parts, ignore_index=True), True, origin
    parts = [
        read_parquet(file_system, file, task, given.get(task))
        for file, given in zip(files, typed_columns_of_folders(files), strict=True)
    ]
    return pd.concat(parts, ignore_index=True), False, origin


def may_be_zarr(path: str) -> bool:
    """Return whether a path may name a Zarr store."""
    tables = (*CSV_SUFFIXES, *PARQUET_SUFFIXES, ".npy")
    return not is_glob(path) and not path.lower().endswith(tables)


def read_csv(file_system: Any, file: str, task: str) -> pd.Series[Any]:
    """Return the ids in a CSV file, as text."""
    content = read_file("tasks", file_system, file, lambda f: f.read(), compression="infer")
    return task_column(parse_csv(content, separator_of(file)), task, file)


def read_parquet(
    file_system: Any, file: str, task: str, in_folder: pa.Scalar | None
) -> pd.Series[Any]:
    """Return the ids in a Parquet file; ``in_folder`` is the one its folder's name says."""

    def read(opened: Any) -> pa.ChunkedArray:
        table = open_parquet("tasks", file, opened)
        names = list(table.schema_arrow.names)
        if task not in names:
            if in_folder is not None:
                rows = table.metadata.num_rows
                return pa.chunked_array([pa.repeat(in_folder, rows)])
            index = (table.schema_arrow.pandas_metadata or {}).get("index_columns", ())
            names = [name for name in names if name not in index]
        column = task if task in names else only_one(names, task, file)
        ids = table.read(columns=[column]).column(0)
        return ids.cast(ids.type.value_type) if pa.types.is_dictionary(ids.type) else ids

    ids = read_file("tasks", file_system, file, read)
    return pd.Series(pd.arrays.ArrowExtensionArray(ids))


def task_column(frame: Any, task: str, where: str) -> Any:
    """Return the column of ids of a pandas or Dask table."""
    names = list(frame.columns)
    return frame[task] if task in names else frame[only_one(names, task, where)]


def only_one(names: Sequence[Any], task: str, where: str) -> Any:
    """Return the one column of a table that has no column of the name wanted."""
    if len(names) == 1:
        return names[0]
    raise InputError(
        f"tasks ({redacted(where)}): expected a column {task!r}, or one column in all, got "
        f"{listed(map(repr, names))}."
    )


def zarr_tasks(path: str, task: str, storage_options: Mapping[str, Any] | None) -> Any:
    """Return the ids in a Zarr array, or in a group such as an import makes."""
    node = open_zarr("tasks", path, storage_options)
    if not hasattr(node, "chunks"):
        found = (member(node, name) for name in (task, "tasks"))
        node = next((array for array in found if array is not None), None)
        if node is None:
            raise InputError(
                f"tasks ({redacted(path)}): expected a Zarr array, or a group with an array "
                f"{task!r} or 'tasks', got a group without either."
            )
    check_stored("tasks", node)
    return readable(Column(node)[:])


def readable(values: Any) -> Any:
    """Return an array as pandas takes it: not everywhere NumPy's strings of any length."""
    return values.astype(object) if values.dtype.kind == "T" else values
