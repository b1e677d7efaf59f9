"""What a file holds, by its name and its first bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskal.errors import InputError
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted

PARQUET, ARROW, DELIMITED, NPY, NPZ = "Parquet", "Arrow", "CSV", "npy", "npz"

PACKED = (".gz", ".bz2", ".xz", ".zst")
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
HEAD_BYTES = 8

# What people have beside these, and what to do with it.
AS_FRAME = "pandas.{}(path) makes a DataFrame, which can be passed instead."
OTHERS = {
    (".json", ".jsonl", ".ndjson"): AS_FRAME.format("read_json"),
    (".xlsx", ".xls", ".ods"): AS_FRAME.format("read_excel"),
    (".pkl", ".pickle"): AS_FRAME.format("read_pickle"),
    (".pt", ".pth", ".safetensors"): "Save the array with numpy.save(name, tensor.numpy()).",
    (".h5ad",): "Write it as Zarr first: anndata.read_h5ad(path).write_zarr(...).",
    (".h5", ".hdf5"): "Save the array as Zarr: zarr.save_array('name.zarr', file[name][:]).",
    (".txt", ".dat", ".tab"): "Name it .csv where commas separate its columns, .tsv where tabs do.",
}
EXPECTED = "Parquet, Arrow (Feather), CSV, TSV, .npy, .npz or Zarr"


def kind_by_name(file: str) -> str | None:
    """Return what a file holds by its name, None where that says nothing."""
    lower = file.lower()
    return next((kind for kind, endings in ENDINGS.items() if lower.endswith(endings)), None)


def advice_by_name(file: str) -> str | None:
    """Return what to do with a file that is not read, None where the name says nothing."""
    lower = file.lower()
    return next((advice for endings, advice in OTHERS.items() if lower.endswith(endings)), None)


def kind_of_file(name: str, file_system: Any, file: str) -> str:
    """Return what a file holds; its first bytes decide where its name does not.

    Raises
    ------
    InputError
        If it is of no kind that is read.
    """
    kind = kind_by_name(file)
    if kind is not None:
        return kind
    advice = advice_by_name(file)
    if advice is None:
        head = read_file(name, file_system, file, lambda opened: opened.read(HEAD_BYTES))
        if not head:
            raise empty_file(name, file)
        for start, kind in HEADS.items():
            if head.startswith(start):
                return kind
        advice = "Check the path, or pass the data as an array or a DataFrame."
    raise InputError(f"{name}: expected {EXPECTED}, got {redacted(file)}.", advice=advice)


def kind_of_files(name: str, file_system: Any, files: Sequence[str]) -> str:
    """Return the one kind that all files are; refuse several."""
    kinds: dict[str, str] = {}
    for file in files:
        kinds.setdefault(kind_of_file(name, file_system, file), file)
    if len(kinds) > 1:
        met = " and ".join(f"{kind} ({redacted(file)})" for kind, file in kinds.items())
        raise InputError(
            f"{name}: expected files of one kind, got {met}. Name those of one kind by a glob, "
            "such as 'folder/*.parquet'."
        )
    return next(iter(kinds))


def is_delimited_packed(file: str) -> bool:
    """Return whether a file is compressed as a whole, so that nobody can begin in its midst."""
    return file.lower().endswith(PACKED)


def empty_file(name: str, file: str) -> InputError:
    """Return the error for a file without a byte."""
    return InputError(f"{name}: expected {EXPECTED}, got {redacted(file)}, which is empty.")


def foreign_content(name: str, file: str, kind: str, head: bytes) -> InputError:
    """Return the error for a file that is not what its name says, or was cut off."""
    if not head:
        return empty_file(name, file)
    found = next((known for start, known in HEADS.items() if head.startswith(start)), None)
    if found == kind:
        said = "which is damaged or cut off. Write or copy it anew."
    elif found is not None:
        said = f"which holds {found}: give it the ending {ENDINGS[found][0]}."
    else:
        said = f"which is no {kind}. Check the path, and what wrote it."
    return InputError(f"{name}: expected {kind}, got {redacted(file)}, {said}")
