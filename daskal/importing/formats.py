"""Which files hold a table: what their names and first bytes say, and what can be made of others.

Folders called ``column=value`` on the way to a file are columns, as Hive and Dask write them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from daskal.errors import InputError
from daskal.names.normal import whole_numbers
from daskal.storage.redaction import redacted

CSV_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.bz2", ".csv.xz", ".csv.zst")
PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
CSV, PARQUET, NUMPY = "CSV", "Parquet", "NumPy"

HEAD_BYTES = 512
"""First bytes that tell what a file is."""

HIVE_NOTHING = "__HIVE_DEFAULT_PARTITION__"


class Foreign(NamedTuple):
    """A kind of file that is not read, and what to do with it."""

    name: str
    advice: str


AS_FRAME = "pandas.{}(path) makes a DataFrame, which can be passed instead."
JSON = Foreign(
    "JSON",
    "pandas.read_json(path), with lines=True where each line is an object of its own, makes a "
    "DataFrame, which can be passed instead.",
)
EXCEL = Foreign("an Excel workbook", AS_FRAME.format("read_excel"))
FEATHER = Foreign("Feather, or another Arrow file", AS_FRAME.format("read_feather"))
PICKLE = Foreign("a pickle", AS_FRAME.format("read_pickle"))
ZIPPED = Foreign("a ZIP file", "Unpack it, or compress the CSV with gzip and name it .csv.gz.")
TEXT = Foreign("text", "Name it .csv where commas separate its columns, .tsv where tabs do.")
PACKED = Foreign("compressed", "If it is CSV, name it .csv.gz, .csv.bz2, .csv.xz or .csv.zst.")
WIDE_TEXT = Foreign("text in UTF-16", "Store it as UTF-8, with a name that ends in .csv or .tsv.")
EMPTY = Foreign("empty", "Check the path.")
UNKNOWN = Foreign("neither of them", "Store the table as Parquet or CSV, or pass a DataFrame.")

BY_SUFFIX = {
    (".json", ".jsonl", ".ndjson"): JSON,
    (".xlsx", ".xls", ".ods"): EXCEL,
    (".feather", ".arrow", ".ipc"): FEATHER,
    (".pkl", ".pickle"): PICKLE,
    (".zip",): ZIPPED,
    (".txt", ".dat", ".tab"): TEXT,
}
BY_HEAD = {
    (b"ARROW1", b"FEA1"): FEATHER,
    (b"\x80\x04", b"\x80\x05"): PICKLE,
    (b"PK\x03\x04",): ZIPPED,
    (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"): PACKED,
    (b"\xff\xfe", b"\xfe\xff"): WIDE_TEXT,
    (b"{", b"["): JSON,
}


def foreign_by_name(file: str) -> Foreign | None:
    """Return what a file is by its name, None where it may be a table."""
    lower = file.lower()
    if lower.endswith(CSV_SUFFIXES):
        return None
    for suffix in COMPRESSED:
        lower = lower.removesuffix(suffix)
    return next((kind for suffixes, kind in BY_SUFFIX.items() if lower.endswith(suffixes)), None)


def foreign_by_head(head: bytes) -> Foreign:
    """Return what a file that is no Parquet is by its first bytes."""
    if not head:
        return EMPTY
    for starts, kind in BY_HEAD.items():
        if head.startswith(starts):
            return kind
    try:
        # The last character may be cut in two.
        text = head.decode() if len(head) < HEAD_BYTES else head[:-3].decode(errors="ignore")
    except UnicodeDecodeError:
        return UNKNOWN
    return TEXT if all(sign.isprintable() or sign.isspace() for sign in text) else UNKNOWN


def refusal(what: str, file: str, foreign: Foreign) -> InputError:
    """Return the error about a file that is not read."""
    kind = foreign.name
    return InputError(
        f"{what}: expected Parquet or CSV (.csv, .tsv, compressed ones too), got {redacted(file)}, "
        f"which is {kind}.",
        advice=foreign.advice,
    )


def kind_of_files(what: str, files: Sequence[str]) -> str:
    """Return the one kind that all files are by their names, Parquet where the name says nothing.

    Raises
    ------
    InputError
        If one is of a kind that is not read, or there are several kinds.
    """
    kinds: dict[str, str] = {}
    for file in files:
        foreign = foreign_by_name(file)
        if foreign is not None:
            raise refusal(what, file, foreign)
        lower = file.lower()
        kind = CSV if lower.endswith(CSV_SUFFIXES) else PARQUET
        kinds.setdefault(NUMPY if lower.endswith(".npy") else kind, file)
    if len(kinds) > 1:
        met = " and ".join(f"{kind} ({redacted(file)})" for kind, file in kinds.items())
        raise InputError(
            f"{what}: expected files of one kind, got {met}. Name those of one kind by a glob, "
            "such as 'folder/*.csv'."
        )
    return next(iter(kinds))


def open_parquet(what: str, file: str, opened: Any) -> pq.ParquetFile:
    """Return an opened file as Parquet; what else it is, the error says."""
    try:
        return pq.ParquetFile(opened)
    except pa.ArrowInvalid as error:
        opened.seek(0)
        head = opened.read(HEAD_BYTES)
        if head.startswith(b"PAR1"):  # it is damaged
            raise
        raise refusal(what, file, foreign_by_head(head)) from error


def separator_of(file: str) -> str:
    """Return what separates the columns of a CSV file, by its name."""
    return "\t" if ".tsv" in file.lower() else ","


def parse_csv(content: bytes, separator: str) -> pd.DataFrame:
    """Return CSV as a table of text.

    Types guessed from each block would differ between blocks: all is text until all is known. Only
    an empty field is missing: "None" or "NA" may be a class or an id.
    """
    return pd.read_csv(
        io.BytesIO(content),
        dtype="string[pyarrow]",
        keep_default_na=False,
        na_values=[""],
        sep=separator,
    )


def columns_of_folders(files: Sequence[str]) -> list[dict[str, str | None]]:
    """Return for each file the values that the names of the folders above it give to columns."""
    found = []
    for file in files:
        pairs = (part.partition("=") for part in file.split("/")[:-1] if "=" in part)
        values = {unquote(name): unquote(value) for name, _, value in pairs if name}
        found.append({n: None if v == HIVE_NOTHING else v for n, v in values.items()})
    return found


def typed_columns_of_folders(files: Sequence[str]) -> list[dict[str, pa.Scalar]]:
    """Return the same as Arrow values, whole numbers where all values of a column are such."""
    found = columns_of_folders(files)
    typed: list[dict[str, pa.Scalar]] = [{} for _ in found]
    for name in dict.fromkeys(name for values in found for name in values):
        places = [place for place, values in enumerate(found) if name in values]
        texts = pa.array([found[place][name] for place in places], pa.large_string())
        present = whole_numbers(texts.drop_null())
        column = texts if present is None else texts.cast(present.type)
        for place, value in zip(places, column, strict=True):
            typed[place][name] = value
    return typed
