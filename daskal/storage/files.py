"""Files behind paths and URLs: found, and read with retries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from daskal.errors import MissingPathError
from daskal.storage.locations import FILE_SCHEME, options_for, reach_file, storage_errors
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries

Result = TypeVar("Result")


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
    """Return the files that a path or URL names: one, those of a folder, or those of a glob."""
    root = file_system._strip_protocol(path)

    def find() -> list[str]:
        if is_glob(path):
            return [file for file in file_system.glob(root) if not file_system.isdir(file)]
        if not file_system.isdir(root):
            return [root]
        return [
            file
            for file in file_system.find(root)
            if not any(part.startswith(("_", ".")) for part in file[len(root) :].split("/"))
        ]

    found = with_retries(find, f"listing {redacted(path)!r}", file_system.storage_options)
    if not found:
        raise MissingPathError(f"there is no file under {redacted(path)!r}. Check the path.")
    return sorted(found)


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
