"""Parquet: row groups are the parts, told by the files' footers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted
from daskal.tables.kinds import HEAD_BYTES, PARQUET, foreign_content
from daskal.tables.table import BATCH_ROWS, Run, StoredTable, Taker

# Of a row group of which only the first rows are wanted, no more is read than these are stored in.
# All columns together buffer this much.
BUFFERED_BYTES = 2**25
BUFFER_BYTES = (2**16, 2**20)
FOOTERS_AT_ONCE = 8


class Footer(NamedTuple):
    """What a file says of itself; ``sizes`` are the stored bytes of (row group, leaf column)."""

    schema: pa.Schema
    group_rows: NDArray[np.int64]
    sizes: NDArray[np.int64]
    leaves: tuple[str, ...]
    num_values: NDArray[np.int64]
    file_bytes: int


@dataclass(frozen=True)
class RowGroups:
    """The row groups of Parquet files."""

    file_system: Any
    files: tuple[str, ...]
    file_parts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    leaves: tuple[str, ...]
    num_values: NDArray[np.int64]
    group_rows: NDArray[np.int64]
    file_bytes: tuple[int, ...]

    def feed(self, name: str, run: Run, columns: Sequence[str], take: Taker) -> None:
        """Hand out the rows of neighboring row groups, until no more are wanted."""
        first = run.first - int(self.file_parts[run.file])
        groups = list(range(first, first + run.last - run.first))
        ends = run.start + np.cumsum(self.group_rows[run.first : run.last])
        whole = groups if int(ends[-1]) == run.stop else groups[:-1]

        def read(opened: Any) -> None:
            row = run.start
            for part, buffered in ((whole, False), (groups[len(whole) :], True)):
                if part:
                    row = read_groups(opened, part, columns, row, take, buffered=buffered)

        read_file(name, self.file_system, self.files[run.file], read)

    def stored_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes that some columns of one row group take in storage."""
        wanted = [at for at, leaf in enumerate(self.leaves) if leaf.split(".")[0] in set(columns)]
        return int(self.sizes[:, wanted].sum(axis=1).max(initial=0))

    def describe(self) -> dict[str, Any]:
        """Return what identifies the files beside their URLs."""
        return {"bytes": list(self.file_bytes), "row_groups": len(self.group_rows)}

    def list_size(self, column: str) -> int | None:
        """Return how many values each list of a column holds, by the counts in the footers."""
        at = [place for place, leaf in enumerate(self.leaves) if leaf.split(".")[0] == column]
        filled = self.group_rows > 0
        if len(at) != 1 or not filled.any():
            return None
        values, rows = self.num_values[filled, at[0]], self.group_rows[filled]
        size = int(values[0] // rows[0])
        return size if (values == size * rows).all() else None


def read_groups(
    opened: Any,
    groups: Sequence[int],
    columns: Sequence[str],
    row: int,
    take: Taker,
    *,
    buffered: bool,
) -> int:
    """Hand out the rows of row groups of an opened file; return the row after them."""
    least, most = BUFFER_BYTES
    size = max(least, min(most, BUFFERED_BYTES // max(len(columns), 1))) if buffered else 0
    table = pq.ParquetFile(opened, buffer_size=size)
    batches = table.iter_batches(
        BATCH_ROWS, row_groups=list(groups), columns=list(columns), use_threads=False
    )
    for batch in batches:
        if not take(row, batch):
            break
        row += batch.num_rows
    return row


def read_footer(name: str, file_system: Any, file: str) -> Footer:
    """Return what a file says of itself."""

    def read(opened: Any) -> Footer:
        try:
            table = pq.ParquetFile(opened)
        except pa.ArrowInvalid as error:
            opened.seek(0)
            head = opened.read(HEAD_BYTES)
            raise foreign_content(name, file, PARQUET, head) from error
        meta = table.metadata
        groups = [meta.row_group(at) for at in range(meta.num_row_groups)]
        shape = (len(groups), meta.num_columns)
        sizes, values = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for at, group in enumerate(groups):
            for leaf in range(meta.num_columns):
                column = group.column(leaf)
                sizes[at, leaf], values[at, leaf] = column.total_compressed_size, column.num_values
        leaves = tuple(meta.schema.column(at).path for at in range(meta.num_columns))
        rows = np.array([group.num_rows for group in groups], dtype=np.int64)
        opened.seek(0, 2)
        return Footer(table.schema_arrow, rows, sizes, leaves, values, opened.tell())

    return read_file(name, file_system, file, read)


def open_parquet(name: str, where: str, file_system: Any, files: Sequence[str]) -> StoredTable:
    """Return the table in Parquet files, whose footers are read."""
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        footers = list(pool.map(lambda file: read_footer(name, file_system, file), files))
    schema, leaves = footers[0].schema, footers[0].leaves
    for file, footer in zip(files, footers, strict=True):
        check_same_columns(name, files[0], schema, file, footer.schema)
        if footer.leaves != leaves:
            raise InputError(
                f"{name}: expected the columns of {redacted(file)} in the order of "
                f"{redacted(files[0])}. Write the files anew."
            )
    group_rows = np.concatenate([footer.group_rows for footer in footers])
    file_parts = np.cumsum([0, *(len(footer.group_rows) for footer in footers)])
    parts = RowGroups(
        file_system,
        tuple(files),
        file_parts,
        np.concatenate([footer.sizes for footer in footers]),
        leaves,
        np.concatenate([footer.num_values for footer in footers]),
        group_rows,
        tuple(footer.file_bytes for footer in footers),
    )
    edges = np.concatenate([[0], np.cumsum(group_rows)]).astype(np.int64)
    urls = tuple(map(file_system.unstrip_protocol, files))
    return StoredTable(where, urls, schema, edges, file_parts, parts, index_of(schema))


def index_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns that were the index of the DataFrame that was written."""
    described = (schema.metadata or {}).get(b"pandas")
    if described is None:
        return ()
    columns = json.loads(described).get("index_columns", ())
    return tuple(name for name in columns if isinstance(name, str) and name in schema.names)


def check_same_columns(
    name: str, first: str, schema: pa.Schema, file: str, other: pa.Schema
) -> None:
    """Refuse files whose columns differ in name or type."""
    ours = dict(zip(schema.names, schema.types, strict=True))
    theirs = dict(zip(other.names, other.types, strict=True))
    differing = [
        f"{column!r} is {ours.get(column, 'missing')} there and {theirs.get(column, 'missing')} "
        "here"
        for column in dict.fromkeys([*ours, *theirs])
        if ours.get(column) != theirs.get(column)
    ]
    if differing:
        more = f" (and {len(differing) - 3:,} more)" if len(differing) > 3 else ""
        raise InputError(
            f"{name}: expected the same columns in all files, but those of {redacted(file)} differ "
            f"from those of {redacted(first)}: {', '.join(differing[:3])}{more}. Write the files "
            "with one schema."
        )
