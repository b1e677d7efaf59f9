"""CSV and TSV: some lines of a file are a part.

Lines are counted once when a file is opened, so that each part can be read by itself. What is
compressed has to be unpacked from its beginning to reach a part: there, parts are larger.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted
from daskal.tables.kinds import (
    COMPRESSED,
    DELIMITED,
    HEAD_BYTES,
    PICKLE,
    WIDE_TEXT,
    ZIPPED,
    empty_file,
    foreign_by_head,
    foreign_content,
    is_packed,
    kind_by_head,
    separator_of,
)
from daskal.tables.parquet import check_same_columns
from daskal.tables.table import BATCH_ROWS, Run, StoredTable, Taker

# Bytes of a file whose lines are one part, and of one that is compressed.
PART_BYTES, PACKED_PART_BYTES = 2**22, 2**25
# Bytes at the beginning of a file by which the types of its columns are told.
TYPED_BYTES = 2**20
# Text is held as it is read, behind the header, and as Arrow's parser takes it.
TEXT_COPIES = 3
VALUE_BYTES = 8
NEWLINE, RETURN, QUOTE = b'\n\r"'
BESIDE_FIELDS = b'\n\r",\t'
MARK = b"\xef\xbb\xbf"


# What reading a compressed file that is damaged or cut off ends in.
NOT_UNPACKED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


class Lines(NamedTuple):
    """Some lines of a file: their first byte, their bytes, and the rows they hold."""

    start: int
    length: int
    rows: int


@dataclass(frozen=True)
class LineParts:
    """The lines of CSV files, in parts."""

    file_system: Any
    files: tuple[str, ...]
    file_parts: NDArray[np.int64]
    lines: NDArray[np.int64]  # start, length and rows of each part
    headers: tuple[bytes, ...]
    types: tuple[tuple[str, pa.DataType], ...]

    def feed(self, name: str, run: Run, columns: Sequence[str], take: Taker) -> None:
        """Hand out the rows of neighboring parts, until no more are wanted."""
        file = self.files[run.file]
        types = {column: kind for column, kind in self.types if column in set(columns)}

        def read(opened: Any) -> None:
            row = run.start
            for start, length, rows in self.lines[run.first : run.last].tolist():
                with unpacked_or_refused(name, file):
                    opened.seek(start)
                    content = self.headers[run.file] + opened.read(length)
                table = parse_or_refuse(name, content, file, list(columns), types)
                if table.num_rows != rows:
                    raise InputError(
                        f"{name}: expected {rows:,} rows in {redacted(file)} from byte {start:,} "
                        f"on, one a line, got {table.num_rows:,}. Store the table as Parquet."
                    )
                for batch in table.to_batches(BATCH_ROWS):
                    if not take(row, batch):
                        return
                    row += batch.num_rows

        packed = "infer" if is_packed(file) else None
        read_file(name, self.file_system, file, read, compression=packed)

    def held_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes held while a part is decoded: its text, and all its values."""
        values = self.lines[:, 2] * len(columns) * VALUE_BYTES
        return int((TEXT_COPIES * self.lines[:, 1] + values).max(initial=0))

    def describe(self) -> dict[str, Any]:
        """Return what identifies the files beside their URLs."""
        return {"bytes": int(self.lines[:, 1].sum()), "parts": len(self.lines)}

    def list_size(self, column: str) -> int | None:
        """Return None: no column holds lists."""
        return None


@contextlib.contextmanager
def unpacked_or_refused(name: str, file: str) -> Iterator[None]:
    """Refuse a compressed file that cannot be unpacked."""
    try:
        yield
    except NOT_UNPACKED as error:
        raise InputError(
            f"{name}: expected {DELIMITED} compressed as its name says, got {redacted(file)}, "
            "which is not, or is damaged or cut off.",
            advice="Write or copy it anew.",
        ) from error


def parse_or_refuse(
    name: str,
    content: bytes,
    file: str,
    columns: Sequence[str] | None = None,
    types: dict[str, pa.DataType] | None = None,
) -> pa.Table:
    """Return lines as a table; refuse what is no CSV, or does not fit the types of its columns."""
    try:
        return parse(content, file, columns, types)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise InputError(
                f"{name}: expected text in UTF-8 in {redacted(file)}, got bytes that are none: "
                f"{error}.",
                advice="Store it as UTF-8.",
            ) from error
        raise InputError(
            f"{name}: expected lines of as many fields as {redacted(file)} has columns, of numbers "
            f"where its first lines hold numbers, got: {error}.",
            advice="Correct the line, or write or copy the file anew, as it may be cut off.",
        ) from error


def parse(
    content: bytes,
    file: str,
    columns: Sequence[str] | None = None,
    types: dict[str, pa.DataType] | None = None,
) -> pa.Table:
    """Return lines as a table; only an empty field is missing in a column of text."""
    return pc.read_csv(
        io.BytesIO(content),
        # One block: types told from the first one need not fit the others.
        read_options=pc.ReadOptions(use_threads=False, block_size=len(content) + 1),
        parse_options=pc.ParseOptions(
            delimiter=separator_of(file), newlines_in_values=True, ignore_empty_lines=True
        ),
        convert_options=pc.ConvertOptions(
            include_columns=None if columns is None else list(columns),
            column_types=types,
            null_values=["", "NA", "NaN", "nan", "null", "None"],
            strings_can_be_null=False,
        ),
    )


# --- lines ------------------------------------------------------------------------------------


def blocks_of(opened: Any) -> Iterator[bytes]:
    """Yield the bytes of an opened file."""
    while content := opened.read(PART_BYTES):
        yield content


class LineCounter:
    """Finds the ends of lines, which within quotes are none, and counts lines that are not empty.

    It is told the bytes of a file one block after the other.
    """

    def __init__(self) -> None:
        self.quotes = 0
        self.last_end = -1  # place of the last end of a line
        self.rows = 0
        self.place = 0
        self.tail = b""

    def add(self, content: bytes) -> tuple[int, int] | None:
        """Return the end of the last whole line in a block, and the rows before it in all."""
        values = np.frombuffer(content, dtype=np.uint8)
        ends = np.flatnonzero(values == NEWLINE)
        if self.quotes % 2 or QUOTE in content:
            quotes = self.around_fields(values, np.flatnonzero(values == QUOTE))
            before = np.searchsorted(quotes, ends) + self.quotes
            ends = ends[before % 2 == 0]
            self.quotes += len(quotes)
        if len(ends):
            lengths = np.diff(ends + self.place, prepend=self.last_end) - 1
            short = np.flatnonzero(lengths <= 1)
            bare = [
                at
                for at in short.tolist()
                if lengths[at] == 0 or self.before(content, int(ends[at])) == RETURN
            ]
            self.rows += len(ends) - len(bare)
            self.last_end = int(ends[-1]) + self.place
        self.place += len(content)
        self.tail = content[-1:]
        return (self.last_end + 1, self.rows) if len(ends) else None

    def around_fields(
        self, values: NDArray[np.uint8], quotes: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the quotes that may begin or end a field; in its midst one is as any letter."""
        edges = np.frombuffer(BESIDE_FIELDS, dtype=np.uint8)
        before = np.concatenate([np.frombuffer(self.tail or b"\n", dtype=np.uint8), values])[quotes]
        after = np.concatenate([values, edges[:1]])[quotes + 1]
        return quotes[np.isin(before, edges) | np.isin(after, edges)]

    def before(self, content: bytes, at: int) -> int:
        """Return the byte before a place in the block."""
        return content[at - 1] if at else (self.tail[0] if self.tail else 0)

    def finish(self) -> tuple[int, int]:
        """Return the end of the file, and the rows before it, the last without an end or not."""
        unended = self.place - self.last_end - 1
        bare = unended == 0 or (unended == 1 and self.tail == b"\r")
        return self.place, self.rows + (0 if bare else 1)


def count_lines(opened: Any, least_bytes: int) -> list[Lines]:
    """Return the parts of an opened file behind its header, each of so many bytes but the last."""
    counter = LineCounter()
    cuts = [cut for content in blocks_of(opened) if (cut := counter.add(content)) is not None]
    end = counter.finish()
    if not cuts or cuts[-1][0] < end[0]:
        cuts.append(end)
    parts, before = [], (0, 0)
    for cut in cuts:
        # A part without a row joins the next one.
        if cut is cuts[-1] or (cut[1] > before[1] and cut[0] - before[0] >= least_bytes):
            parts.append(Lines(before[0], cut[0] - before[0], cut[1] - before[1]))
            before = cut
    return parts


def header_length(content: bytes) -> int:
    """Return the length of the first line, its end included."""
    end = content.find(b"\n")
    while end >= 0 and content.count(b'"', 0, end) % 2:
        end = content.find(b"\n", end + 1)
    return end + 1 if end >= 0 else len(content)


def open_lines(name: str, file_system: Any, file: str) -> tuple[bytes, pa.Schema, list[Lines]]:
    """Return the header of a file, its columns as far as its head tells them, and its parts."""
    packed = is_packed(file)

    def read(opened: Any) -> tuple[bytes, pa.Schema, list[Lines]]:
        with unpacked_or_refused(name, file):
            head = opened.read(TYPED_BYTES)
        if not head.removeprefix(MARK).strip():
            raise empty_file(name, file)
        is_text = foreign_by_head(head[:HEAD_BYTES]) not in (COMPRESSED, PICKLE, WIDE_TEXT, ZIPPED)
        if kind_by_head(head) is not None or b"\0" in head or not is_text:
            raise foreign_content(name, file, DELIMITED, head[:HEAD_BYTES])
        length = header_length(head)
        header = head[:length]
        try:
            header.decode()
        except UnicodeDecodeError as error:
            raise foreign_content(name, file, DELIMITED, head[:HEAD_BYTES]) from error
        if not header.endswith(b"\n"):
            if b"\r" in header.rstrip():
                raise InputError(
                    f"{name}: expected lines that end in a line feed, got {redacted(file)}, whose "
                    "lines end in a carriage return alone.",
                    advice="Save it anew, as CSV in UTF-8.",
                )
            header += b"\n"
        first = head[length:]
        if len(head) == TYPED_BYTES:
            first = first[: first.rfind(b"\n") + 1]
        schema = parse_or_refuse(name, header + first, file).schema
        with unpacked_or_refused(name, file):
            opened.seek(length)
            parts = count_lines(opened, PACKED_PART_BYTES if packed else 0)
        return header, schema, shifted(parts, length)

    return read_file(name, file_system, file, read, compression="infer" if packed else None)


def shifted(parts: Sequence[Lines], by: int) -> list[Lines]:
    """Return parts whose places are counted from the beginning of the file."""
    return [part._replace(start=part.start + by) for part in parts if part.length]


def open_delimited(name: str, where: str, file_system: Any, files: Sequence[str]) -> StoredTable:
    """Return the table in CSV files, whose lines are counted.

    A column is of numbers, float64, if it is in the first MiB of the first file, else of text.
    """
    found = [open_lines(name, file_system, file) for file in files]
    headers = [header for header, _, _ in found]
    names = found[0][1].names
    repeated = sorted({column for column in names if names.count(column) > 1})
    if repeated:
        raise InputError(
            f"{name}: expected a name of its own for each column of {redacted(files[0])}, got "
            f"several called {', '.join(map(repr, repeated[:3]))}."
        )
    plain = [pa.schema([(column, pa.null()) for column in each.names]) for _, each, _ in found]
    for file, each in zip(files, plain, strict=True):
        check_same_columns(name, files[0], plain[0], file, each)
    schema = pa.schema([(field.name, plain_kind(field.type)) for field in found[0][1]])
    lines = [part for _, _, parts in found for part in parts]
    file_parts = np.cumsum([0, *(len(parts) for _, _, parts in found)])
    index = np.array(lines, dtype=np.int64).reshape(-1, 3)
    parts = LineParts(
        file_system,
        tuple(files),
        file_parts,
        index,
        tuple(headers),
        tuple(zip(schema.names, schema.types, strict=True)),
    )
    edges = np.concatenate([[0], np.cumsum(index[:, 2])]).astype(np.int64)
    urls = tuple(map(file_system.unstrip_protocol, files))
    return StoredTable(where, urls, schema, edges, file_parts, parts)


def plain_kind(kind: pa.DataType) -> pa.DataType:
    """Return the type that a column is read as in all parts."""
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
    return pa.float64() if is_number else pa.string()


def with_text(table: StoredTable, *columns: str) -> StoredTable:
    """Return the same table, some columns of CSV read as text: numbers may be ids such as 007."""
    parts = table.parts
    if not isinstance(parts, LineParts):
        return table
    types = tuple((name, pa.string() if name in columns else kind) for name, kind in parts.types)
    return replace(table, schema=pa.schema(types), parts=replace(parts, types=types))
