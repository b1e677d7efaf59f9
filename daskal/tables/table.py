"""A table in files: its columns, its parts, and rows of it read part by part.

A part is what storage hands out at once: a row group of Parquet, a record batch of Arrow, some
lines of CSV. Where parts begin is known once the table is open; no value has been read by then,
only the line ends of CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daskal.errors import StorageError
from daskal.storage.redaction import redacted

# Rows decoded at once, beside the block they are for.
BATCH_ROWS = 2**15

# Takes a row's number and the rows from there on. It returns whether it wants more.
Taker = Callable[[int, pa.RecordBatch], bool]


class Run(NamedTuple):
    """Neighboring parts of one file: the file's number, its parts ``first:last``, and rows wanted.

    ``start`` is the first row of the first part, ``stop`` the end of the rows wanted, which may be
    in the midst of the last part.
    """

    file: int
    first: int
    last: int
    start: int
    stop: int


class Parts(Protocol):
    """The parts of a table's files, and how they are read; travels to the workers."""

    def feed(self, name: str, run: Run, columns: Sequence[str], take: Taker) -> None:
        """Hand out the rows of neighboring parts, from the first on, until no more are wanted.

        Where a read fails for the moment, rows are handed out again from the first.
        """

    def held_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes held while parts are decoded, beside the rows handed out."""

    def list_size(self, column: str) -> int | None:
        """Return how many values each list of a column holds, None where only these tell it."""

    def describe(self) -> dict[str, Any]:
        """Return what identifies the files beside their URLs, in plain values."""


@dataclass(frozen=True)
class StoredTable:
    """A table in files.

    Attributes
    ----------
    where : str
        Where it is, as an error shows it.
    urls : tuple of str
        Its files.
    schema : pyarrow.Schema
        The columns; those of an index of pandas are among them.
    edges : ndarray of int64
        First row of each part, and the number of rows.
    file_parts : ndarray of int64
        First part of each file, and the number of parts.
    parts : Parts
    index : tuple of str
        The columns that were the index of a DataFrame.
    """

    where: str
    urls: tuple[str, ...]
    schema: pa.Schema
    edges: NDArray[np.int64]
    file_parts: NDArray[np.int64]
    parts: Parts
    index: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self.edges[-1])

    def runs(self, start: int, stop: int) -> Iterator[Run]:
        """Yield the parts that hold some rows, file by file."""
        first = int(np.searchsorted(self.edges, start, side="right")) - 1
        end = int(np.searchsorted(self.edges, stop, side="left"))
        while first < end:
            file = int(np.searchsorted(self.file_parts, first, side="right")) - 1
            last = min(end, int(self.file_parts[file + 1]))
            yield Run(file, first, last, int(self.edges[first]), min(stop, int(self.edges[last])))
            first = last

    def read(self, name: str, columns: Sequence[str], start: int, stop: int, take: Taker) -> None:
        """Hand the rows ``start:stop`` of some columns to ``take``, with the number of the first.

        Raises
        ------
        StorageError
            If the files hold fewer rows than when they were opened.
        """
        for run in self.runs(start, stop):
            reached = run.start

            def within(row: int, batch: pa.RecordBatch, run: Run = run) -> bool:
                nonlocal reached
                reached = row + batch.num_rows
                low, high = max(row, start), min(reached, run.stop)
                if low < high:
                    take(low, batch.slice(low - row, high - low))
                return reached < run.stop

            self.parts.feed(name, run, columns, within)
            if reached < run.stop:
                raise StorageError(
                    f"{name}: expected {run.stop - run.start:,} rows from row {run.start:,} on in "
                    f"{redacted(self.urls[run.file])}, got {reached - run.start:,}: the file has "
                    "changed since it was opened, or is damaged."
                )

    def column(self, name: str, column: str, start: int, stop: int) -> pa.ChunkedArray:
        """Return some rows of one column."""
        return self.columns(name, [column], start, stop)[0]

    def columns(
        self, name: str, columns: Sequence[str], start: int, stop: int
    ) -> list[pa.ChunkedArray]:
        """Return some rows of some columns, read together."""
        found: dict[int, list[pa.Array]] = {}

        def take(row: int, batch: pa.RecordBatch) -> bool:
            found[row] = [plain_array(batch.column(column)) for column in columns]
            return True

        self.read(name, columns, start, stop, take)
        arrays = []
        for at, column in enumerate(columns):
            values = [found[row][at] for row in sorted(found)]
            kind = plain_type(self.schema.field(column).type)
            arrays.append(pa.chunked_array(values, values[0].type if values else kind))
        return arrays

    def identity(self) -> dict[str, Any]:
        """Return what identifies the table, from its metadata alone."""
        described = {"urls": [redacted(url) for url in self.urls], "rows": self.num_rows}
        return {**described, **self.parts.describe()}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values behind a dictionary or an extension."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def plain_array(values: pa.Array) -> pa.Array:
    """Return the values behind a dictionary or an extension."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def regular_rows(edges: NDArray[np.int64]) -> int | None:
    """Return the rows of each part where all but the last are of one size, which is no smaller."""
    sizes = np.diff(edges)
    if not len(sizes):
        return 1
    rows = int(sizes[0])
    return rows if (sizes[:-1] == rows).all() and sizes[-1] <= rows and rows > 0 else None
