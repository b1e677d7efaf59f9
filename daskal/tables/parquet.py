"""Parquet: row groups are the parts, told by the files' footers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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

# Neighboring row groups are read together up to so many stored bytes, larger ones one by one: what
# is read ahead of them stays in memory until the last of them is decoded.
TOGETHER_BYTES = 2**23
# Most bytes of a column that are read at once of a row group of which few rows are wanted, and
# fetched beyond what is wanted of a remote file.
BUFFER_BYTES = 2**20
# A column is decoded with a dictionary and a page in memory, the latter as stored and unpacked: of
# about 1 MiB each by default, and of no more than all its values.
PAGES_HELD, PAGE_BYTES, VALUE_BYTES = 3, 2**20, 8
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
        number = run.first - int(self.file_parts[run.file])
        sizes = self.sizes[run.first : run.last, self.leaves_of(columns)].sum(axis=1)
        rows = self.group_rows[run.first : run.last]

        def read(opened: Any) -> None:
            row = run.start
            for first, last in neighbors(sizes):
                end = row + int(rows[first:last].sum())
                few = 2 * (run.stop - row) < end - row
                buffer_bytes = int(sizes[first]) // max(len(columns), 1) if few else None
                groups = range(number + first, number + last)
                read_groups(opened, groups, columns, row, take, buffer_bytes)
                row = end

        file = self.files[run.file]
        read_file(name, self.file_system, file, read, block_size=BUFFER_BYTES)

    def leaves_of(self, columns: Sequence[str]) -> list[int]:
        """Return the numbers of the leaf columns that some columns are stored in."""
        names = set(columns)
        return [at for at, leaf in enumerate(self.leaves) if leaf.split(".")[0] in names]

    def held_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes held while row groups are decoded: as stored, and their pages."""
        leaves = self.leaves_of(columns)
        groups = self.sizes[:, leaves].sum(axis=1)
        stored = max(int(groups.max(initial=0)), min(int(groups.sum()), TOGETHER_BYTES))
        # What is fetched of a remote file is kept until more of it is.
        copies = 1 if getattr(self.file_system, "local_file", False) else 2
        pages = np.minimum(self.num_values[:, leaves] * VALUE_BYTES, PAGE_BYTES).sum(axis=1)
        return copies * stored + PAGES_HELD * int(pages.max(initial=0))

    def describe(self) -> dict[str, Any]:
        """Return what identifies the files beside their URLs."""
        return {"bytes": list(self.file_bytes), "row_groups": len(self.group_rows)}

    def list_size(self, column: str) -> int | None:
        """Return how many values each list of a column holds, by the counts in the footers."""
        at = self.leaves_of([column])
        filled = self.group_rows > 0
        if len(at) != 1 or not filled.any():
            return None
        values, rows = self.num_values[filled, at[0]], self.group_rows[filled]
        size = int(values[0] // rows[0])
        return size if (values == size * rows).all() else None


def neighbors(sizes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first and the end of neighboring row groups that are read together."""
    first = stored = 0
    for at, size in enumerate(sizes.tolist()):
        if at > first and stored + size > TOGETHER_BYTES:
            yield first, at
            first, stored = at, 0
        stored += size
    if first < len(sizes):
        yield first, len(sizes)


def read_groups(
    opened: Any,
    groups: Sequence[int],
    columns: Sequence[str],
    row: int,
    take: Taker,
    buffer_bytes: int | None,
) -> None:
    """Hand out the rows of row groups of an opened file, until no more are wanted.

    What they are stored in is read at once, or column by column, so many bytes at a time.
    """
    size = 0 if buffer_bytes is None else max(1, min(buffer_bytes, BUFFER_BYTES))
    table = pq.ParquetFile(opened, buffer_size=size, pre_buffer=buffer_bytes is None)
    batches = table.iter_batches(
        BATCH_ROWS, row_groups=list(groups), columns=list(columns), use_threads=False
    )
    for batch in batches:
        if not take(row, batch):
            break
        row += batch.num_rows
    # Arrow would keep what it decoded with, beside what the next groups take.
    del batches, table
    pa.default_memory_pool().release_unused()


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
