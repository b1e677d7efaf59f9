"""Opening long-format votes and lists of task ids, wherever fsspec can reach them."""

from __future__ import annotations

import dataclasses
import functools
import io
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
import pyarrow.parquet as pq
from dask.base import compute, is_dask_collection
from dask.delayed import Delayed, delayed
from fsspec.utils import read_block

from daskal.errors import InputError, MissingPathError
from daskal.importing.columns import as_ids
from daskal.storage.files import find_files, is_glob, open_file_system, read_file
from daskal.storage.locations import check_stored, is_url, open_zarr, options_for, storage_errors
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries
from daskal.storage.tables import Column, member

VOTES_PER_PART = 1_000_000
"""Votes a task sorts at once: some 30 MB, and few enough parts that each may probe all ids."""

CSV_PART_BYTES = 32 * 2**20
"""Bytes of a CSV file that a task reads at once."""

HEADER_BYTES = 2**16
"""Bytes of a CSV file to fetch at once until its first line ends."""

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
    where = ", ".join(map(redacted, paths))
    with storage_errors("read votes from", where, storage_options):
        file_system, _ = open_file_system(paths[0], storage_options)
        files = [file for path in paths for file in find_files(file_system, path)]
        untyped = paths[0].lower().endswith(_CSV_SUFFIXES)
        open_files = _open_csv if untyped else _open_parquet
        return Source(open_files(file_system, files, columns), columns, untyped, where)


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
        if not is_url(path) and not is_glob(path) and not Path(path).exists():
            raise MissingPathError(
                f"cannot read votes from {redacted(path)}: nothing is stored there. Check the path."
            )
    return paths


def _open_parquet(file_system: Any, files: Sequence[str], columns: Sequence[str]) -> list[Delayed]:
    # Not Dask's reader: it decides by compressed size, and turns ids beside a null into floats.
    footers = compute(*(delayed(_read_footer)(file_system, file) for file in files))
    parts = []
    for file, (names, group_sizes) in zip(files, footers, strict=True):
        _check_columns(names, columns, f" in {file}")
        for groups in _neighbours(group_sizes):
            parts.append(delayed(_read_parquet)(file_system, file, groups, columns))
    return parts


def _read_footer(file_system: Any, file: str) -> tuple[list[str], list[int]]:
    def read(opened: Any) -> tuple[list[str], list[int]]:
        footer = pq.ParquetFile(opened)
        sizes = [footer.metadata.row_group(i).num_rows for i in range(footer.num_row_groups)]
        return list(footer.schema_arrow.names), sizes

    return read_file("votes", file_system, file, read)


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
    file_system: Any, file: str, groups: Sequence[int], columns: Sequence[str]
) -> pd.DataFrame:
    def read(opened: Any) -> pa.Table:
        return pq.ParquetFile(opened).read_row_groups(list(groups), columns=list(columns))

    table = read_file("votes", file_system, file, read)
    # Without the pandas metadata an id kept as the pandas index is a column like any other.
    frame = table.replace_schema_metadata().to_pandas(types_mapper=pd.ArrowDtype)
    return frame[list(columns)]


def _open_csv(file_system: Any, files: Sequence[str], columns: Sequence[str]) -> list[Delayed]:
    # Not Dask's reader: what of a file cannot be read for the moment is not read again there.
    parts = []
    headers = compute(*(delayed(_read_header)(file_system, file) for file in files))
    for file, (header, size) in zip(files, headers, strict=True):
        if not header:
            continue
        separator = _separator(file)
        names = list(_parse_csv(header, separator).columns)
        _check_columns(names, columns, f" in {file}")
        # Nobody can begin in the midst of what is compressed.
        count = 1 if _is_compressed(file) else max(1, size // CSV_PART_BYTES)
        edges = np.linspace(0, size, count + 1).astype(np.int64).tolist()
        for start, stop in itertools.pairwise(edges):
            place = None if count == 1 else (start, stop - start)
            parts.append(delayed(_read_csv)(file_system, file, place, header, separator, columns))
    if not parts:
        raise InputError(
            f"votes: expected a line of column names in {files[0]}, got an empty file."
        )
    return parts


def _separator(file: str) -> str:
    return "\t" if ".tsv" in file.lower() else ","


def _is_compressed(file: str) -> bool:
    return not file.lower().endswith((".csv", ".tsv"))


def _read_header(file_system: Any, file: str) -> tuple[bytes, int]:
    """Read the line of column names; return it with the size of the file as it is stored."""

    def read(opened: Any) -> tuple[bytes, int]:
        return opened.readline(), file_system.size(file)

    return read_file("votes", file_system, file, read, compression="infer", block_size=HEADER_BYTES)


def _read_csv(
    file_system: Any,
    file: str,
    place: tuple[int, int] | None,
    header: bytes,
    separator: str,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Read a file, or the lines that begin in a place given as its first byte and its length."""

    def read(opened: Any) -> bytes:
        content: bytes = opened.read() if place is None else read_block(opened, *place, b"\n")
        return content

    content = read_file("votes", file_system, file, read, compression="infer")
    if place is not None and place[0] > 0:
        content = header + content
    return _parse_csv(content, separator)[list(columns)]


def _parse_csv(content: bytes, separator: str) -> pd.DataFrame:
    # Types guessed from each block would differ between blocks: all is text until all is known.
    # Only an empty field is missing: "None" or "NA" may be a class or an id.
    return pd.read_csv(
        io.BytesIO(content),
        dtype="string[pyarrow]",
        keep_default_na=False,
        na_values=[""],
        sep=separator,
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
    file_system, root = open_file_system(path, storage_options)
    lower = path.lower()
    if lower.endswith(".npy"):
        load = functools.partial(np.load, allow_pickle=False)
        return read_file("tasks", file_system, root, load), False
    if lower.endswith(_CSV_SUFFIXES):
        content = read_file(
            "tasks", file_system, root, lambda file: file.read(), compression="infer"
        )
        return _task_column(_parse_csv(content, _separator(lower)), task, path), True
    doing = f"reading tasks from {redacted(path)!r}"
    if not lower.endswith((".parquet", ".pq")):
        stored = with_retries(
            lambda: any(file_system.exists(f"{root}/{name}") for name in ZARR_FILES),
            doing,
            storage_options,
        )
        if stored:
            return _zarr_tasks(path, task, storage_options), False
    options = options_for(path, storage_options)
    frame = with_retries(
        lambda: pd.read_parquet(path, storage_options=options), doing, storage_options
    )
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


def _zarr_tasks(path: str, task: str, storage_options: Mapping[str, Any] | None) -> Any:
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
    return _readable(Column(node)[:])


def _readable(values: Any) -> Any:
    # pandas does not take NumPy's variable-length strings everywhere.
    return values.astype(object) if values.dtype.kind == "T" else values
