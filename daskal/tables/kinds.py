"""What a file holds, by its name and its first bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from daskal.errors import InputError
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted

PARQUET, ARROW, DELIMITED, NPY, NPZ = "Parquet", "Arrow", "CSV", "npy", "npz"

PACKED = (".gz", ".bz2", ".xz")
ENDINGS = {
    PARQUET: (".parquet", ".pq", ".parq"),
    ARROW: (".arrow", ".feather", ".ipc", ".arrows"),
    DELIMITED: tuple(
        f"{ending}{packed}" for ending in (".csv", ".tsv") for packed in ("", *PACKED)
    ),
    NPY: (".npy",),
    NPZ: (".npz",),
}
HEADS = {b"PAR1": PARQUET, b"ARROW1": ARROW, b"\xff\xff\xff\xff": ARROW, b"\x93NUMPY": NPY}
# First bytes that tell what a file is.
HEAD_BYTES = 512
TABLES = "Parquet, Arrow (Feather), CSV or TSV"
EXPECTED = "Parquet, Arrow (Feather), CSV, TSV, .npy, .npz or Zarr"
JSON_ENDINGS = (".json", ".jsonl", ".ndjson")


class Foreign(NamedTuple):
    """A kind of file that is not read, and what to do with it."""

    name: str
    advice: str


# What people have beside these, and what to do with it.
AS_FRAME = "pandas.{}(path) makes a DataFrame, which can be passed instead."
JSON = Foreign(
    "JSON",
    "pandas.read_json(path), with lines=True where each line is an object of its own, makes a "
    "DataFrame, which can be passed instead.",
)
PICKLE = Foreign("a pickle", AS_FRAME.format("read_pickle"))
ZIPPED = Foreign("a ZIP file", "Unpack it, or compress the CSV with gzip and name it .csv.gz.")
TEXT = Foreign("text", "Name it .csv where commas separate its columns, .tsv where tabs do.")
COMPRESSED = Foreign("compressed", "If it is CSV, name it .csv.gz, .csv.bz2 or .csv.xz.")
WIDE_TEXT = Foreign("text in UTF-16", "Store it as UTF-8, with a name that ends in .csv or .tsv.")
UNKNOWN = Foreign("none of them", "Check the path, or pass the data as an array or a DataFrame.")
BY_ENDING = {
    JSON_ENDINGS: JSON,
    (".xlsx", ".xls", ".ods"): Foreign("an Excel workbook", AS_FRAME.format("read_excel")),
    (".pkl", ".pickle"): PICKLE,
    (".pt", ".pth", ".safetensors"): Foreign(
        "a file of tensors", "Save the array with numpy.save(name, tensor.numpy())."
    ),
    (".h5ad",): Foreign(
        "AnnData in HDF5", "Write it as Zarr first: anndata.read_h5ad(path).write_zarr(...)."
    ),
    (".h5", ".hdf5"): Foreign(
        "HDF5", "Save the array as Zarr: zarr.save_array('name.zarr', file[name][:])."
    ),
    (".zip",): ZIPPED,
    (".zst", ".lz4", ".br"): Foreign(
        "compressed in a way that is not read",
        "Unpack it, or compress it with gzip and name it .csv.gz.",
    ),
    (".txt", ".dat", ".tab"): TEXT,
}
BY_HEAD = {
    (b"\x80\x04", b"\x80\x05"): PICKLE,
    (b"PK\x03\x04",): ZIPPED,
    (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"): COMPRESSED,
    (b"\xff\xfe", b"\xfe\xff"): WIDE_TEXT,
    (b"{", b"["): JSON,
}


def kind_by_name(file: str) -> str | None:
    """Return what a file holds by its name, None where that says nothing."""
    lower = file.lower()
    return next((kind for kind, endings in ENDINGS.items() if lower.endswith(endings)), None)


def unpacked(file: str) -> str:
    """Return the name of a file in small letters, without the ending of a compression."""
    lower = file.lower()
    return next((lower.removesuffix(each) for each in PACKED if lower.endswith(each)), lower)


def foreign_by_name(file: str) -> Foreign | None:
    """Return what a file is that is not read, None where its name does not say so."""
    plain = unpacked(file)
    return next((kind for endings, kind in BY_ENDING.items() if plain.endswith(endings)), None)


def foreign_by_head(head: bytes) -> Foreign:
    """Return what a file that is not read is by its first bytes."""
    for starts, kind in BY_HEAD.items():
        if head.startswith(starts):
            return kind
    try:
        # The last character may be cut in two.
        text = head.decode() if len(head) < HEAD_BYTES else head[:-3].decode(errors="ignore")
    except UnicodeDecodeError:
        return UNKNOWN
    return TEXT if all(sign.isprintable() or sign.isspace() for sign in text) else UNKNOWN


def kind_by_head(head: bytes) -> str | None:
    """Return what a file holds by its first bytes, None where they do not tell."""
    return next((kind for start, kind in HEADS.items() if head.startswith(start)), None)


def kind_of_file(name: str, file_system: Any, file: str, expected: str = EXPECTED) -> str:
    """Return what a file holds; its first bytes decide where its name does not.

    Raises
    ------
    InputError
        If it is of no kind that is read.
    """
    kind, foreign = kind_by_name(file), foreign_by_name(file)
    if kind is None and foreign is None:
        head = read_file(name, file_system, file, lambda opened: opened.read(HEAD_BYTES))
        if not head:
            raise empty_file(name, file)
        kind, foreign = kind_by_head(head), foreign_by_head(head)
    if kind is None:
        assert foreign is not None
        raise InputError(
            f"{name}: expected {expected}, got {redacted(file)}, which is {foreign.name}.",
            advice=foreign.advice,
        )
    return kind


def kind_of_files(
    name: str, file_system: Any, files: Sequence[str], expected: str = EXPECTED
) -> str:
    """Return the one kind that all files are; refuse several."""
    kinds: dict[str, str] = {}
    for file in files:
        kinds.setdefault(kind_of_file(name, file_system, file, expected), file)
    if len(kinds) > 1:
        met = " and ".join(f"{kind} ({redacted(file)})" for kind, file in kinds.items())
        raise InputError(
            f"{name}: expected files of one kind, got {met}. Name those of one kind by a glob, "
            "such as 'folder/*.parquet'."
        )
    return next(iter(kinds))


def is_packed(file: str) -> bool:
    """Return whether a file is compressed as a whole, so that nobody can begin in its midst."""
    return file.lower().endswith(PACKED)


def separator_of(file: str) -> str:
    """Return what separates the columns of a file, by its name."""
    return "\t" if ".tsv" in file.lower() else ","


def empty_file(name: str, file: str) -> InputError:
    """Return the error for a file without a byte."""
    return InputError(
        f"{name}: expected data, got {redacted(file)}, which is empty.",
        advice="Check the path, and what wrote it.",
    )


def foreign_content(name: str, file: str, kind: str, head: bytes) -> InputError:
    """Return the error for a file that is not what its name says, or was cut off."""
    if not head:
        return empty_file(name, file)
    found, foreign = kind_by_head(head), foreign_by_head(head)
    advice = "Check the path, and what wrote it."
    if found == kind or (kind == NPZ and foreign is ZIPPED):
        said, advice = "which is damaged or cut off", "Write or copy it anew."
    elif found is not None:
        said, advice = f"which holds {found}", f"Give it the ending {ENDINGS[found][0]}."
    elif foreign is UNKNOWN:
        said = f"which is no {kind}"
    else:
        said, advice = f"which is no {kind} but {foreign.name}", foreign.advice
    return InputError(f"{name}: expected {kind}, got {redacted(file)}, {said}.", advice=advice)
