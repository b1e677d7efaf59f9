"""Opening long-format votes and lists of task ids, wherever fsspec can reach them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from dask.base import compute, is_dask_collection
from dask.delayed import Delayed, delayed

from daskal.errors import InputError, MissingPathError
from daskal.importing.columns import as_ids
from daskal.storage.locations import check_stored, is_url, storage_errors
from daskal.storage.redaction import redacted

VOTES_PER_PART = 1_000_000
"""Votes a task sorts at once: some 30 MB, and few enough parts that each may probe all ids."""

_CSV_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.bz2", ".csv.xz", ".csv.zst")
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


@dataclasses.dataclass(frozen=True)
class Source:
    """Votes in partitions (lazy pandas frames) in source order.

    ``untyped`` says that every value was read as text, so that ``7`` may mean a number (CSV).
    """

    parts: list[Delayed]
    columns: tuple[str, str, str]
    untyped: bool
    where: str

    def grouped(self, num_votes: int) -> list[list[Delayed]]:
        """Join neighbouring small partitions, to about `VOTES_PER_PART` votes each."""
        wanted = max(1, min(len(self.parts), math.ceil(num_votes / VOTES_PER_PART)))
        edges = np.linspace(0, len(self.parts), wanted + 1).astype(int)
        return [self.parts[a:b] for a, b in itertools.pairwise(edges)]


@dataclasses.dataclass(frozen=True)
class Ids:
    """The ids of the rows in row order; ``untyped`` as in `Source`."""

    values: pa.Array
    untyped: bool = False


def open_votes(
    votes: Any, columns: tuple[str, str, str], storage_options: Mapping[str, Any] | None
) -> Source:
    """Open votes as lazy partitions and check their columns; reads metadata only."""
    if len(set(columns)) < len(columns):
        raise InputError(f"task, annotator and label: expected three columns, got {columns!r}.")
    if isinstance(votes, pd.DataFrame):
        frame = _with_columns(votes, columns)
        starts = range(0, max(1, len(frame)), VOTES_PER_PART)
        slices = [frame.iloc[start : start + VOTES_PER_PART] for start in starts]
        return Source([delayed(part) for part in slices], columns, False, "a DataFrame")
    if isinstance(votes, dd.DataFrame):
        parts = _with_columns(votes, columns).to_delayed()
        return Source(parts, columns, False, "a Dask DataFrame")
    paths = _as_paths(votes)
    options = dict(storage_options or {}) if is_url(paths[0]) else None
    where = ", ".join(map(redacted, paths))
    with storage_errors("read votes from", where, storage_options):
        if not paths[0].lower().endswith(_CSV_SUFFIXES):
            return Source(_open_parquet(paths, columns, options or {}), columns, False, where)
        frame = _with_columns(_open_csv(paths, options), columns)
        return Source(frame.to_delayed(), columns, True, where)


def open_tasks(tasks: Any, task: str, storage_options: Mapping[str, Any] | None) -> Ids:
    """Read the ids of the rows, from an array or a file; ``task`` names the column of a table."""
    if isinstance(tasks, str | os.PathLike):
        path = os.fspath(tasks)
        with storage_errors("read tasks from", redacted(path), storage_options):
            values, untyped = _load_tasks(path, task, storage_options)
        return Ids(as_ids(values, f"tasks ({redacted(path)})"), untyped)
    if is_dask_collection(tasks):
        tasks = tasks.compute()
    if not isinstance(tasks, pd.Series | pd.Index | list | tuple):
        tasks = _readable(np.asarray(tasks))
    return Ids(as_ids(tasks, "tasks"))


def _as_paths(votes: Any) -> list[str]:
    many = votes if isinstance(votes, list | tuple) else [votes]
    if not many or not all(isinstance(path, str | os.PathLike) for path in many):
        raise InputError(
            "votes: expected a path or URL of Parquet or CSV (or a list of them), a pandas "
            f"DataFrame or a Dask DataFrame, got {type(votes).__name__}."
        )
    paths = [os.fspath(path) for path in many]
    for path in paths:
        # Dask takes a folder that is not there for one without files.
        if not is_url(path) and not _is_glob(path) and not Path(path).exists():
            raise MissingPathError(
                f"cannot read votes from {redacted(path)}: nothing is stored there. Check the path."
            )
    return paths


def _is_glob(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _open_parquet(
    paths: Sequence[str], columns: Sequence[str], options: dict[str, Any]
) -> list[Delayed]:
    # Not Dask's reader: it decides by compressed size, and turns ids beside a null into floats.
    filesystem, _ = fsspec.core.url_to_fs(paths[0], **options)
    files = [file for path in paths for file in _files(filesystem, path)]
    footers = compute(*(delayed(_read_footer)(filesystem, file) for file in files))
    parts = []
    for file, (names, group_sizes) in zip(files, footers, strict=True):
        _check_columns(names, columns, f" in {file}")
        for groups in _neighbours(group_sizes):
            parts.append(delayed(_read_parquet)(filesystem, file, groups, columns))
    return parts


def _files(filesystem: Any, path: str) -> list[str]:
    root = filesystem._strip_protocol(path)
    if _is_glob(path):
        found = filesystem.glob(root)
    elif filesystem.isdir(root):
        found = [
            file
            for file in filesystem.find(root)
            if not any(part.startswith(("_", ".")) for part in file[len(root) :].split("/"))
        ]
    else:
        return [root]
    if not found:
        raise MissingPathError(f"votes: there is no file under {redacted(path)}. Check the path.")
    return sorted(found)


def _read_footer(filesystem: Any, file: str) -> tuple[list[str], list[int]]:
    with filesystem.open(file) as opened:
        footer = pq.ParquetFile(opened)
        sizes = [footer.metadata.row_group(i).num_rows for i in range(footer.num_row_groups)]
        return list(footer.schema_arrow.names), sizes


def _neighbours(group_sizes: Sequence[int]) -> Iterator[list[int]]:
    """Row groups in runs of at most `VOTES_PER_PART` votes, unless one group alone has more."""
    run: list[int] = []
    for group, size in enumerate(group_sizes):
        if run and sum(group_sizes[member] for member in run) + size > VOTES_PER_PART:
            yield run
            run = []
        run.append(group)
    if run:
        yield run


def _read_parquet(
    filesystem: Any, file: str, groups: Sequence[int], columns: Sequence[str]
) -> pd.DataFrame:
    with filesystem.open(file) as opened:
        table = pq.ParquetFile(opened).read_row_groups(list(groups), columns=list(columns))
    # Without the pandas metadata an id kept as the pandas index is a column like any other.
    frame = table.replace_schema_metadata().to_pandas(types_mapper=pd.ArrowDtype)
    return frame[list(columns)]


def _open_csv(paths: Sequence[str], options: dict[str, Any] | None) -> Any:
    # Types guessed from each block would differ between blocks: all is text until all is known.
    # Only an empty field is missing: "None" or "NA" may be a class or an id.
    compressed = not all(path.lower().endswith((".csv", ".tsv")) for path in paths)
    return dd.read_csv(
        list(paths),
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        sep="\t" if ".tsv" in paths[0].lower() else ",",
        blocksize=None if compressed else "32MiB",
        compression="infer",
        storage_options=options,
    )


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


def _load_tasks(
    path: str, task: str, storage_options: Mapping[str, Any] | None
) -> tuple[Any, bool]:
    options = dict(storage_options or {}) if is_url(path) else None
    lower = path.lower()
    if lower.endswith(".npy"):
        with fsspec.open(path, "rb", **(options or {})) as file:
            return np.load(file, allow_pickle=False), False
    if lower.endswith(_CSV_SUFFIXES):
        separator = "\t" if ".tsv" in lower else ","
        frame = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            sep=separator,
            storage_options=options,
        )
        return _task_column(frame, task, path), True
    if not lower.endswith((".parquet", ".pq")):
        filesystem, root = fsspec.core.url_to_fs(path, **(options or {}))
        if any(filesystem.exists(f"{root}/{name}") for name in ZARR_FILES):
            return _zarr_tasks(path, task, options), False
    frame = pd.read_parquet(path, storage_options=options)
    if frame.index.name == task:
        frame = frame.reset_index()
    return _task_column(frame, task, path), False


def _task_column(frame: pd.DataFrame, task: str, path: str) -> Any:
    if task in frame.columns:
        return frame[task]
    if len(frame.columns) == 1:
        return frame.iloc[:, 0]
    raise InputError(
        f"tasks ({redacted(path)}): expected a column {task!r}, or one column in all, got "
        f"{', '.join(map(repr, frame.columns))}."
    )


def _zarr_tasks(path: str, task: str, options: dict[str, Any] | None) -> Any:
    node: Any = zarr.open(path, mode="r", storage_options=options)
    if isinstance(node, zarr.Group):
        names = [name for name in (task, "tasks") if name in node]
        if not names:
            raise InputError(
                f"tasks ({redacted(path)}): expected a Zarr array, or a group with an array "
                f"{task!r} or 'tasks', got a group without either."
            )
        node = node[names[0]]
    check_stored("tasks", node)
    return _readable(node[:])


def _readable(values: Any) -> Any:
    # pandas does not take NumPy's variable-length strings everywhere.
    return values.astype(object) if values.dtype.kind == "T" else values
