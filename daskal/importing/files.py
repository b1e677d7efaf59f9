"""Opening long-format votes, wherever fsspec can reach them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from dask.base import compute
from dask.dataframe.utils import UNKNOWN_CATEGORIES
from dask.delayed import Delayed, delayed
from fsspec.utils import read_block

from daskal.errors import InputError, MissingPathError
from daskal.importing.exports import FORMS, TABLE_FORMS, Keys, TableKeys, table_form, table_keys
from daskal.importing.formats import (
    CSV,
    HEAD_BYTES,
    NUMPY,
    PACKED,
    UNKNOWN,
    WIDE_TEXT,
    ZIPPED,
    columns_of_folders,
    foreign_by_head,
    kind_of_files,
    open_parquet,
    parse_csv,
    refusal,
    separator_of,
    typed_columns_of_folders,
)
from daskal.importing.records import COLUMNS, answers_in_table, is_json, open_json, split
from daskal.storage.files import find_files, is_glob, open_file_system, read_file
from daskal.storage.locations import is_url, storage_errors
from daskal.storage.redaction import redacted

VOTES_PER_PART = 1_000_000
"""Votes a task sorts at once: some 30 MB, and few enough parts that each may probe all ids."""

CSV_PART_BYTES = 32 * 2**20
"""Bytes of a CSV file that a task reads at once."""

HEADER_BYTES = 2**16
"""Bytes of a CSV file to fetch at once until its first line ends."""


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
        files = [file for path in paths for file in find_files(file_system, path)]
        origin = [*paths, *map(file_system.unstrip_protocol, files)]
        keys = Keys.given(columns)
        if all(map(is_json, files)):
            if form in TABLE_FORMS:
                raise InputError(f"form: expected a table of {form}, got JSON in {where}.")
            parts, left_out = split(open_json(file_system, files, keys, form))
            return Source(parts, COLUMNS, False, where, origin=origin, left_out=left_out)
        kind = kind_of_files("votes", files)
        if kind == CSV:
            found = find_table_form(file_system, files, columns, form)
            if found is not None:
                exported, wanted = found
                tables = _open_csv(file_system, files, wanted.columns)
                answers = [delayed(answers_in_table)(table, exported, wanted) for table in tables]
                parts, left_out = split(answers)
                return Source(parts, COLUMNS, True, where, origin=origin, left_out=left_out)
            parts = _open_csv(file_system, files, columns)
            return Source(parts, columns, True, where, origin=origin)
        if kind == NUMPY:
            raise refusal("votes", files[0], UNKNOWN)
        parts, order = _open_parquet(file_system, files, columns)
        return Source(parts, columns, False, where, order, origin)


def find_table_form(
    file_system: Any, files: Sequence[str], columns: tuple[str, str, str], form: str | None
) -> tuple[str, TableKeys] | None:
    """Return the tool that exported a table, and its columns; None of a table of another kind."""
    header, _ = _read_header(file_system, files[0])
    if not header or foreign_by_head(header[:HEAD_BYTES]) in (PACKED, WIDE_TEXT, ZIPPED):
        return None
    names = [str(name) for name in parse_csv(header, separator_of(files[0])).columns]
    found = form or (None if set(columns) <= set(names) else table_form(names))
    if found is None:
        return None
    if found not in TABLE_FORMS:
        raise InputError(f"form: expected JSON of {found}, got a table in {redacted(files[0])}.")
    return found, table_keys(found, Keys.given(columns), names)


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
            "votes: expected a path or URL of Parquet or CSV (or a list of them), a pandas "
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


def _open_parquet(
    file_system: Any, files: Sequence[str], columns: Sequence[str]
) -> tuple[list[Delayed], tuple[str, ...] | None]:
    # Not Dask's reader: it decides by compressed size, and turns ids beside a null into floats.
    footers = compute(*(delayed(_read_footer)(file_system, file, columns[2]) for file in files))
    parts = []
    for file, footer, folders in zip(files, footers, typed_columns_of_folders(files), strict=True):
        fixed = {name: folders[name] for name in folders if name not in footer.names}
        _check_columns([*footer.names, *fixed], columns, f" in {file}")
        for groups in _neighbors(footer.group_sizes):
            parts.append(delayed(_read_parquet)(file_system, file, groups, columns, fixed))
    orders = {footer.label_order for footer in footers}
    return parts, orders.pop() if len(orders) == 1 else None


class _Footer(NamedTuple):
    """What a Parquet file says of itself: its columns, rows of its groups, order of its labels."""

    names: list[str]
    group_sizes: list[int]
    label_order: tuple[str, ...] | None


def _read_footer(file_system: Any, file: str, label: str) -> _Footer:
    def read(opened: Any) -> _Footer:
        table = open_parquet("votes", file, opened)
        names = list(table.schema_arrow.names)
        sizes = [table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)]
        order = None
        kind = table.schema_arrow.field(label).type if label in names else None
        if sizes and kind is not None and pa.types.is_dictionary(kind) and kind.ordered:
            # The categories are stored with the values alone.
            (first, *_) = table.read_row_group(0, columns=[label]).column(0).chunks
            values = first.dictionary.to_pylist()
            order = tuple(values) if all(isinstance(value, str) for value in values) else None
        return _Footer(names, sizes, order)

    return read_file("votes", file_system, file, read)


def _neighbors(group_sizes: Sequence[int]) -> Iterator[list[int]]:
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
    file_system: Any,
    file: str,
    groups: Sequence[int],
    columns: Sequence[str],
    fixed: Mapping[str, pa.Scalar],
) -> pd.DataFrame:
    """Read row groups of a file; ``fixed`` are the columns that its folders' names hold."""
    stored = [name for name in columns if name not in fixed]

    def read(opened: Any) -> pa.Table:
        return open_parquet("votes", file, opened).read_row_groups(list(groups), columns=stored)

    table = read_file("votes", file_system, file, read)
    for name in columns:
        if name in fixed:
            table = table.append_column(name, pa.repeat(fixed[name], table.num_rows))
    # Without the pandas metadata an id kept as the pandas index is a column like any other.
    frame = table.replace_schema_metadata().to_pandas(types_mapper=pd.ArrowDtype)
    return frame[list(columns)]


def _open_csv(file_system: Any, files: Sequence[str], columns: Sequence[str]) -> list[Delayed]:
    # Not Dask's reader: what of a file cannot be read for the moment is not read again there.
    parts = []
    headers = compute(*(delayed(_read_header)(file_system, file) for file in files))
    folders = columns_of_folders(files)
    for file, (header, size), given in zip(files, headers, folders, strict=True):
        if not header:
            continue
        foreign = foreign_by_head(header[:HEAD_BYTES])
        if foreign in (PACKED, WIDE_TEXT, ZIPPED):
            raise refusal("votes", file, foreign)
        names = list(parse_csv(header, separator_of(file)).columns)
        fixed = {name: given[name] for name in given if name not in names}
        _check_columns([*names, *fixed], columns, f" in {file}")
        # Nobody can begin in the midst of what is compressed.
        count = 1 if _is_compressed(file) else max(1, size // CSV_PART_BYTES)
        edges = np.linspace(0, size, count + 1).astype(np.int64).tolist()
        for start, stop in itertools.pairwise(edges):
            place = None if count == 1 else (start, stop - start)
            parts.append(delayed(_read_csv)(file_system, file, place, header, columns, fixed))
    if not parts:
        raise InputError(
            f"votes: expected a line of column names in {files[0]}, got an empty file."
        )
    return parts


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
    columns: Sequence[str],
    fixed: Mapping[str, str | None],
) -> pd.DataFrame:
    """Read a file, or the lines that begin in a place given as its first byte and its length.

    ``fixed`` are the columns that the names of its folders hold.
    """

    def read(opened: Any) -> bytes:
        content: bytes = opened.read() if place is None else read_block(opened, *place, b"\n")
        return content

    content = read_file("votes", file_system, file, read, compression="infer")
    if place is not None and place[0] > 0:
        content = header + content
    try:
        table = parse_csv(content, separator_of(file))
    except pd.errors.ParserError as error:
        if place is None:
            raise
        # Of all parts, the first whose end was cut within quotes is sure to come here.
        raise InputError(
            f"votes: {redacted(file)} cannot be read in parts, each of whole lines ({error}). If "
            "quoted cells hold line breaks, compress the file (.csv.gz), which is then read as a "
            "whole, store it as Parquet, or pass a DataFrame."
        ) from error
    table = table.assign(**{n: pd.array([v] * len(table), "string") for n, v in fixed.items()})
    return table[list(columns)]


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
