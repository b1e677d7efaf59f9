"""The ids of the rows, in the order the probabilities have."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from dask.base import is_dask_collection

from daskal.errors import InputError
from daskal.importing.columns import EXAMPLES, as_column
from daskal.names.naming import STEP
from daskal.names.normal import as_index
from daskal.storage.files import ZARR_FILES, is_glob, open_file_system
from daskal.storage.locations import check_stored, is_url, open_zarr, storage_errors
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries
from daskal.storage.tables import Column, member
from daskal.tables.folders import FolderTable, open_each
from daskal.tables.kinds import DELIMITED, NPY, NPZ, kind_by_name, kind_of_files
from daskal.tables.npy import load_npy, load_npz
from daskal.tables.opening import list_files
from daskal.text import listed, plural


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


def as_ids(values: Any, name: str) -> pa.Array:
    """Bring ids given as an array, index or list to one Arrow array, or raise `InputError`."""
    try:
        series = values.to_series() if isinstance(values, pd.Index) else pd.Series(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: expected a one-dimensional array of ids ({error}).") from error
    num_rows = len(series)
    column = as_column(series)
    del values, series  # as long as what has become of them, where nobody else holds them
    if column.values is None and num_rows and len(column.kinds) != 0:
        met = " and ".join(f"{kind.name} ({kind.example})" for kind in column.kinds)
        raise InputError(f"{name}: expected ids that are all whole numbers or all text, got {met}.")
    ids = column.values
    if ids is None or ids.null_count or not len(ids):
        count = num_rows if ids is None else ids.null_count
        verb = "is" if count == 1 else "are"
        what = f"{count:,} of {num_rows:,} {verb} missing" if num_rows else "there are none"
        raise InputError(f"{name}: expected an id in every place, but {what}.")
    repeated = repeated_ids(ids)
    if len(repeated):
        raise InputError(
            f"{name}: expected every id once, but "
            f"{plural(len(repeated), 'occurs', 'occur')} more than once "
            f"({listed(map(repr, repeated[:EXAMPLES].to_pylist()), count=len(repeated))})."
        )
    return ids


def repeated_ids(ids: pa.Array) -> pa.Array:
    """Return the ids that occur more than once, in order.

    Hashes are sorted, as a table of all ids or a sorted copy would take several times their memory.
    """
    hashes = np.empty(len(ids), dtype=np.uint64)
    for start, part in hashes_of(ids):
        hashes[start : start + len(part)] = part
    hashes.sort()
    shared = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(shared):
        return ids[:0]
    # By sorting: in place of a table, NumPy 2.0 cannot take numbers above those of int64.
    found = [np.isin(part, shared, kind="sort") for _, part in hashes_of(ids)]
    suspects = np.concatenate(found)
    counted = pc.value_counts(ids.filter(pa.array(suspects)))
    return counted.field("values").filter(pc.greater(counted.field("counts"), 1)).sort()


def hashes_of(ids: pa.Array) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
    """Yield the first place and the hashes of each part: equal for equal ids, seldom for others."""
    for start in range(0, len(ids), STEP):
        part = ids.slice(start, STEP).to_numpy(zero_copy_only=False)
        yield start, pd.util.hash_array(part, categorize=False)


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
    if kind_by_name(text) is None:
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
    files = [file for path in paths for file in list_files("tasks", file_system, path)]
    kind = kind_of_files("tasks", file_system, files)
    origin = [*paths, *map(file_system.unstrip_protocol, files)]
    if kind in (NPY, NPZ):
        load = load_npy if kind == NPY else load_npz
        arrays = [load("tasks", file_system, file) for file in files]
        return np.concatenate(arrays) if len(arrays) > 1 else arrays[0], False, origin
    parts = [ids_in(table, task) for table in open_each("tasks", kind, file_system, files)]
    return pd.concat(parts, ignore_index=True), kind == DELIMITED, origin


def may_be_zarr(path: str) -> bool:
    """Return whether a path may name a Zarr store."""
    return not is_glob(path) and kind_by_name(path) is None


def ids_in(table: FolderTable, task: str) -> pd.Series[Any]:
    """Return the ids in a file: those of the column of tasks, or of the only one."""
    names = [name for name in table.table.schema.names if name not in table.table.index]
    column = task if task in table.names else only_one(names, task, table.table.where)
    ids = table.read("tasks", [column], 0, table.table.num_rows)[column]
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
