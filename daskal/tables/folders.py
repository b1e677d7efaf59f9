"""Tables of one file each, to which the folders above them may add columns.

Folders called ``column=value`` on the way to a file are columns, as Hive and Dask write them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from daskal.names.normal import whole_numbers
from daskal.storage.redaction import redacted
from daskal.tables.delimited import with_text
from daskal.tables.kinds import DELIMITED
from daskal.tables.opening import OPENERS
from daskal.tables.table import StoredTable

HIVE_NOTHING = "__HIVE_DEFAULT_PARTITION__"
FILES_AT_ONCE = 8


class FolderTable(NamedTuple):
    """A table in one file; ``fixed`` are the columns that its folders' names hold.

    ``untyped`` says that all values are read as text, so that ``7`` may mean a number (CSV).
    """

    table: StoredTable
    fixed: Mapping[str, pa.Scalar]
    untyped: bool

    @property
    def names(self) -> list[str]:
        """The names of all columns."""
        return [*self.table.schema.names, *self.fixed]

    def read(
        self, name: str, columns: Sequence[str], start: int, stop: int
    ) -> dict[str, pa.Array | pa.ChunkedArray]:
        """Return some rows of some columns; an empty field of CSV is a missing value."""
        stored = [column for column in columns if column not in self.fixed]
        table = with_text(self.table, *stored)
        found = dict(zip(stored, table.columns(name, stored, start, stop), strict=True))
        if self.untyped:
            # Only these: "None" or "NA" may be a class or an id.
            found = {
                column: pc.if_else(pc.equal(values, ""), None, values)
                for column, values in found.items()
            }
        return {
            column: found[column]
            if column in found
            else pa.repeat(self.fixed[column], stop - start)
            for column in columns
        }


def open_each(name: str, kind: str, file_system: Any, files: Sequence[str]) -> list[FolderTable]:
    """Return the table in each of some files of one kind, whose columns may differ."""

    def open_one(file: str) -> StoredTable:
        return OPENERS[kind](name, redacted(file), file_system, [file])

    untyped = kind == DELIMITED
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        tables = list(pool.map(open_one, files))
    return [
        FolderTable(
            table,
            {column: value for column, value in given.items() if column not in table.schema.names},
            untyped,
        )
        for table, given in zip(tables, columns_of_folders(files, as_text=untyped), strict=True)
    ]


def columns_of_folders(files: Sequence[str], *, as_text: bool) -> list[dict[str, pa.Scalar]]:
    """Return for each file the values that the names of the folders above it give to columns.

    They are whole numbers where all values of a column are such, unless text is wanted.
    """
    found: list[dict[str, str | None]] = []
    for file in files:
        pairs = (part.partition("=") for part in file.split("/")[:-1] if "=" in part)
        values = {unquote(name): unquote(value) for name, _, value in pairs if name}
        found.append({n: None if v == HIVE_NOTHING else v for n, v in values.items()})
    typed: list[dict[str, pa.Scalar]] = [{} for _ in found]
    for name in dict.fromkeys(name for values in found for name in values):
        places = [place for place, values in enumerate(found) if name in values]
        texts = pa.array([found[place][name] for place in places], pa.large_string())
        present = None if as_text else whole_numbers(texts.drop_null())
        column = texts if present is None else texts.cast(present.type)
        for place, value in zip(places, column, strict=True):
            typed[place][name] = value
    return typed
