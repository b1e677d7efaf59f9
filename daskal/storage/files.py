"""Files behind paths and URLs: found, and read with retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from daskal.errors import InputError, MissingPathError
from daskal.names.naming import in_natural_order
from daskal.storage.locations import FILE_SCHEME, options_for, reach_file, storage_errors
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries

Result = TypeVar("Result")

# What lies directly under a Zarr array or group, in either format.
ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def is_glob(path: str) -> bool:
    """Whether a path stands for all files it matches."""
    return any(sign in path for sign in "*?[")


def open_file_system(path: str, options: Mapping[str, Any] | None) -> tuple[Any, str]:
    """Return the file system behind a path or URL, known to answer, and the path there."""
    from fsspec.core import url_to_fs

    reach_file(path, options)
    file_system, root = url_to_fs(path, **(options_for(path, options) or {}))
    return file_system, root


def find_files(file_system: Any, path: str) -> list[str]:
    """Return the files that a path or URL names: one, those of a folder, or those of a glob.

    They are in natural order, part.2 before part.10, as Dask writes and reads them. Of a folder,
    Zarr stores in it are left aside, and what is hidden.
    """
    root = file_system._strip_protocol(path)

    def find() -> list[str]:
        if is_glob(path):
            return [file for file in file_system.glob(root) if not file_system.isdir(file)]
        if not file_system.isdir(root):
            return [root]
        return files_in(root, file_system.find(root))

    found = with_retries(find, f"listing {redacted(path)!r}", file_system.storage_options)
    if not found:
        raise MissingPathError(f"there is no file under {redacted(path)!r}. Check the path.")
    return in_natural_order(found)


def files_in(root: str, found: list[str]) -> list[str]:
    """Return the files of a folder that are neither hidden nor parts of a Zarr store."""
    below = {file: file[len(root) :].strip("/").split("/") for file in found}
    stores = {tuple(parts[:-1]) for parts in below.values() if parts[-1] in ZARR_FILES}
    if () in stores:
        raise InputError(
            f"expected files, or a folder of them, got {redacted(root)!r}, which is a Zarr store."
        )
    return [
        file
        for file, parts in below.items()
        if not any(part.startswith(("_", ".")) for part in parts)
        and not any(tuple(parts[:depth]) in stores for depth in range(1, len(parts)))
    ]


def read_file(
    name: str,
    file_system: Any,
    file: str,
    read: Callable[[Any], Result],
    *,
    compression: str | None = None,
    block_size: int | None = None,
) -> Result:
    """Return what is read of a file, opened anew where that fails for the moment.

    What the file holds is its ``name`` in an error. Of remote files at least ``block_size`` bytes
    are fetched at once.
    """
    options = file_system.storage_options

    def read_opened() -> Result:
        with file_system.open(file, "rb", block_size, compression=compression) as opened:
            return read(opened)

    where = file_system.unstrip_protocol(file).removeprefix(FILE_SCHEME)
    with storage_errors(f"read {name} from", where, options):
        return with_retries(read_opened, f"reading {redacted(where)!r}", options)
