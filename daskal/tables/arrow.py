"""Arrow files and streams, Feather, and saved Hugging Face data sets: record batches are the parts.

Both formats are a series of messages, each with its length before it: where each batch lies and how
many rows it has is found without reading one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted
from daskal.tables.kinds import ARROW, HEAD_BYTES, foreign_content
from daskal.tables.parquet import check_same_columns, index_of
from daskal.tables.table import BATCH_ROWS, Run, StoredTable, Taker

FILE_MAGIC = b"ARROW1\0\0"
OLD_FEATHER = b"FEA1"
CONTINUES = b"\xff\xff\xff\xff"
# A file ends with the length of its footer, 4 bytes, and its magic; blocks in it have 24 bytes.
FOOTER_END, BLOCK_BYTES = 10, 24
# Kinds of messages, as Arrow's format numbers them.
SCHEMA, DICTIONARY, BATCH = 1, 2, 3
# Most bytes of neighboring batches read at once.
READ_BYTES = 2**23
FILES_AT_ONCE = 8
# What a saved Hugging Face data set says of itself.
STATE_FILE, SPLITS_FILE = "state.json", "dataset_dict.json"


class Message(NamedTuple):
    """A message of a file: its kind, where it is, how long it is, and the rows of a batch."""

    kind: int
    start: int
    length: int
    rows: int


class Index(NamedTuple):
    """What a file holds: its columns, and where its batches are."""

    schema: pa.Schema
    head: bytes  # the messages before the first batch: the schema, and dictionaries
    batches: NDArray[np.int64]  # start, length and rows of each
    file_bytes: int


# --- messages ---------------------------------------------------------------------------------


def field_of(table: bytes, at: int, number: int) -> int | None:
    """Return where a field of a FlatBuffers table at ``at`` is, None where it has its default."""
    vtable = at - struct.unpack_from("<i", table, at)[0]
    place = 4 + 2 * number
    if place >= struct.unpack_from("<H", table, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", table, vtable + place)[0]
    return at + offset if offset else None


def parse_message(start: int, prefix: int, metadata: bytes) -> Message:
    """Return what the metadata of a message say: a FlatBuffers table, see Arrow's Message.fbs."""
    root = struct.unpack_from("<I", metadata, 0)[0]
    kind_at, header_at, body_at = (field_of(metadata, root, number) for number in (1, 2, 3))
    kind = 0 if kind_at is None else metadata[kind_at]
    body = 0 if body_at is None else struct.unpack_from("<q", metadata, body_at)[0]
    rows = 0
    if kind == BATCH and header_at is not None:
        header = header_at + struct.unpack_from("<I", metadata, header_at)[0]
        rows_at = field_of(metadata, header, 0)
        rows = 0 if rows_at is None else struct.unpack_from("<q", metadata, rows_at)[0]
    return Message(kind, start, prefix + len(metadata) + body, rows)


def message_at(opened: Any, start: int, size: int) -> Message | None:
    """Return the message at a place of a file of so many bytes, None at the end of a stream.

    Raises
    ------
    EOFError
        If the file ends within the message.
    """
    opened.seek(start)
    prefix = opened.read(4)
    if prefix == CONTINUES:  # older files do without it
        prefix += opened.read(4)
    length = struct.unpack("<i", prefix[-4:])[0]
    if length == 0:
        return None
    if length < 0:
        raise EOFError
    metadata = opened.read(length)
    if len(metadata) < length:
        raise EOFError
    found = parse_message(start, len(prefix), metadata)
    if start + found.length > size:
        raise EOFError
    return found


def messages_of_stream(opened: Any) -> Iterator[Message]:
    """Yield the messages of a stream, one behind the other, none of whose bodies is read."""
    size, start = opened.seek(0, 2), 0
    while start < size:
        found = message_at(opened, start, size)
        if found is None:
            return
        yield found
        start += found.length
    raise EOFError


def messages_of_file(opened: Any) -> Iterator[Message]:
    """Yield the messages of a file, whose places its footer tells: see Arrow's File.fbs."""
    size = opened.seek(0, 2)
    opened.seek(max(0, size - FOOTER_END))
    length, magic = struct.unpack(f"<i{len(FILE_MAGIC) - 2}s", opened.read(FOOTER_END))
    if magic != FILE_MAGIC[:-2] or not 0 < length < size:
        raise EOFError
    opened.seek(size - FOOTER_END - length)
    footer = opened.read(length)
    root = struct.unpack_from("<I", footer, 0)[0]
    starts: list[int] = []
    for field in (2, 3):  # dictionaries, record batches
        at = field_of(footer, root, field)
        if at is None:
            continue
        vector = at + struct.unpack_from("<I", footer, at)[0]
        count = struct.unpack_from("<I", footer, vector)[0]
        blocks = range(vector + 4, vector + 4 + count * BLOCK_BYTES, BLOCK_BYTES)
        starts += [struct.unpack_from("<q", footer, block)[0] for block in blocks]
    for start in starts:
        found = message_at(opened, start, size)
        if found is not None:
            yield found


# --- tables -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batches:
    """The record batches of Arrow files."""

    file_system: Any
    files: tuple[str, ...]
    file_parts: NDArray[np.int64]
    batches: NDArray[np.int64]
    heads: tuple[bytes, ...]
    names: tuple[str, ...]
    file_bytes: tuple[int, ...]

    def feed(self, name: str, run: Run, columns: Sequence[str], take: Taker) -> None:
        """Hand out the rows of neighboring batches, until no more are wanted."""
        fields = [self.names.index(column) for column in columns]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)

        def read(opened: Any) -> None:
            row = run.start
            for start, length in pieces(self.batches[run.first : run.last]):
                opened.seek(start)
                content = self.heads[run.file] + opened.read(length)
                for batch in pa.ipc.open_stream(content, options=options):
                    ordered = batch.select(list(columns))
                    for at in range(0, batch.num_rows, BATCH_ROWS):
                        if not take(row + at, ordered.slice(at, BATCH_ROWS)):
                            return
                    row += batch.num_rows

        read_file(name, self.file_system, self.files[run.file], read)

    def held_bytes(self, columns: Sequence[str]) -> int:
        """Return the most bytes held while batches are decoded: as read, and behind the schema."""
        return 2 * max(READ_BYTES, int(self.batches[:, 1].max(initial=0)))

    def describe(self) -> dict[str, Any]:
        """Return what identifies the files beside their URLs."""
        return {"bytes": list(self.file_bytes), "batches": len(self.batches)}

    def list_size(self, column: str) -> int | None:
        """Return None: only the values tell how long lists are."""
        return None


def pieces(batches: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the place and length of neighboring batches that are read at once."""
    start = end = 0
    for place, length, _ in batches.tolist():
        if end > start and (place != end or place + length - start > READ_BYTES):
            yield start, end - start
            start = end = 0
        start = place if end == 0 else start
        end = place + length
    if end:
        yield start, end - start


def read_index(name: str, file_system: Any, file: str) -> Index:
    """Return what an Arrow file or stream holds."""

    def read(opened: Any) -> Index:
        head = opened.read(HEAD_BYTES)
        if head.startswith(OLD_FEATHER):
            raise InputError(
                f"{name}: expected Feather of version 2, got {redacted(file)} of version 1. Write "
                "it anew: pandas.read_feather(path).to_feather(path)."
            )
        is_file = head.startswith(FILE_MAGIC)
        if not (is_file or head.startswith(CONTINUES)):
            raise foreign_content(name, file, ARROW, head)
        try:
            found = list((messages_of_file if is_file else messages_of_stream)(opened))
        except (EOFError, struct.error, IndexError) as error:
            raise foreign_content(name, file, ARROW, head) from error
        before = [message for message in found if message.kind in (SCHEMA, DICTIONARY)]
        content = b"".join(read_message(opened, message) for message in before)
        if is_file:
            # The schema before the batches may be a dummy.
            opened.seek(0)
            content = pa.ipc.open_file(opened).schema.serialize().to_pybytes() + content
        schema = pa.ipc.open_stream(content).schema
        batches = [(m.start, m.length, m.rows) for m in found if m.kind == BATCH]
        index = np.array(batches, dtype=np.int64).reshape(-1, 3)
        return Index(schema, content, index, opened.seek(0, 2))

    return read_file(name, file_system, file, read)


def read_message(opened: Any, message: Message) -> bytes:
    """Return the bytes of a message."""
    opened.seek(message.start)
    content: bytes = opened.read(message.length)
    return content


def open_arrow(name: str, where: str, file_system: Any, files: Sequence[str]) -> StoredTable:
    """Return the table in Arrow files or streams, whose batches are found but not read."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        found = list(pool.map(lambda file: read_index(name, file_system, file), files))
    schema = found[0].schema
    for file, index in zip(files, found, strict=True):
        check_same_columns(name, files[0], schema, file, index.schema)
        if index.schema.names != schema.names:
            raise InputError(
                f"{name}: expected the columns of {redacted(file)} in the order of "
                f"{redacted(files[0])}. Write the files anew."
            )
    file_parts = np.cumsum([0, *(len(index.batches) for index in found)])
    batches = np.concatenate([index.batches for index in found])
    parts = Batches(
        file_system,
        tuple(files),
        file_parts,
        batches,
        tuple(index.head for index in found),
        tuple(schema.names),
        tuple(index.file_bytes for index in found),
    )
    edges = np.concatenate([[0], np.cumsum(batches[:, 2])]).astype(np.int64)
    urls = tuple(map(file_system.unstrip_protocol, files))
    return StoredTable(where, urls, schema, edges, file_parts, parts, index_of(schema))


def saved_dataset(name: str, file_system: Any, folder: str) -> list[str] | None:
    """Return the files of a data set that Hugging Face's ``save_to_disk`` wrote into a folder.

    None where the folder holds something else.
    """
    if file_system.exists(f"{folder}/{SPLITS_FILE}"):
        splits = read_file(
            name, file_system, f"{folder}/{SPLITS_FILE}", lambda opened: json.load(opened)
        )
        shown = ", ".join(repr(str(split)) for split in splits.get("splits", ()))
        raise InputError(
            f"{name}: expected one data set, got {redacted(folder)}, which holds the splits "
            f"{shown}. Put the name of one after the path."
        )
    if not file_system.exists(f"{folder}/{STATE_FILE}"):
        return None
    state = read_file(name, file_system, f"{folder}/{STATE_FILE}", lambda opened: json.load(opened))
    files = state.get("_data_files") if isinstance(state, dict) else None
    if not files:
        return None
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise InputError(
            f"{name}: expected rows in the order in which they are stored, got {redacted(folder)}, "
            "a data set that was filtered or shuffled. Call .flatten_indices() before saving it."
        )
    return [f"{folder}/{file['filename']}" for file in files]
