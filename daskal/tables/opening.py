"""Paths and URLs that name files: told from Zarr stores, and opened by what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from daskal.storage.files import ZARR_FILES, find_files, is_glob, open_file_system
from daskal.storage.locations import is_url, storage_errors
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries
from daskal.tables.arrow import open_arrow, saved_dataset
from daskal.tables.delimited import open_delimited
from daskal.tables.kinds import (
    ARROW,
    DELIMITED,
    NPY,
    NPZ,
    PARQUET,
    foreign_by_name,
    kind_by_name,
    kind_of_files,
)
from daskal.tables.parquet import open_parquet
from daskal.tables.table import StoredTable

Options = Mapping[str, Any] | None

OPENERS: Mapping[str, Callable[[str, str, Any, Sequence[str]], StoredTable]] = {
    PARQUET: open_parquet,
    ARROW: open_arrow,
    DELIMITED: open_delimited,
}


class Files(NamedTuple):
    """The files behind a path, and what they hold."""

    kind: str
    file_system: Any
    names: list[str]
    where: str

    @property
    def is_table(self) -> bool:
        """Whether they hold a table, and no plain array."""
        return self.kind not in (NPY, NPZ)

    def open_table(self, name: str) -> StoredTable:
        """Return the table that they hold."""
        with storage_errors(f"read {name} from", self.where, self.file_system.storage_options):
            return OPENERS[self.kind](name, self.where, self.file_system, self.names)


def find_table(name: str, path: str, options: Options) -> Files | None:
    """Return the files behind a path or URL, None where it is a Zarr store or there is nothing.

    A URL whose name says nothing may be either: see ``find_in_folder``.

    Raises
    ------
    InputError
        If they are of no kind that is read, or of several.
    """
    told = is_glob(path) or kind_by_name(path) is not None or foreign_by_name(path) is not None
    if (is_url(path) and not told) or path.endswith(".zip"):
        return None
    with storage_errors(f"read {name} from", path, options):
        file_system, root = open_file_system(path, options)
        if not is_url(path):
            if file_system.isdir(root):
                return files_of_folder(name, path, file_system, root)
            if file_system.exists(root):
                return files_named(name, path, file_system, [root])
            if not told:
                return None
        return files_named(name, path, file_system, find_files(file_system, path))


def find_in_folder(name: str, url: str, options: Options) -> Files | None:
    """Return the files of the folder that a URL names, None where there is no such folder."""
    if ".zip" in url:
        return None
    with storage_errors(f"read {name} from", url, options):
        file_system, root = open_file_system(url, options)
        is_folder = with_retries(
            lambda: bool(file_system.isdir(root)), f"listing {redacted(url)!r}", options
        )
        return files_of_folder(name, url, file_system, root) if is_folder else None


def files_of_folder(name: str, path: str, file_system: Any, root: str) -> Files | None:
    """Return the files of a folder, None where it is part of a Zarr store or holds no table."""
    if any(file_system.exists(f"{root}/{member}") for member in ZARR_FILES):
        return None
    saved = saved_dataset(name, file_system, root)
    if saved is not None:
        return Files(ARROW, file_system, saved, redacted(path))
    if not file_system.find(root):
        return None
    found = [file for file in find_files(file_system, path) if kind_by_name(file) is not None]
    return files_named(name, path, file_system, found) if found else None


def list_files(name: str, file_system: Any, path: str) -> list[str]:
    """Return the files that a path or URL names, of a saved data set those that hold its rows."""
    root = file_system._strip_protocol(path)
    saved = None
    if not is_glob(path) and file_system.isdir(root):
        saved = saved_dataset(name, file_system, root)
    return find_files(file_system, path) if saved is None else saved


def files_named(name: str, path: str, file_system: Any, found: list[str]) -> Files:
    """Return files with what they hold."""
    return Files(kind_of_files(name, file_system, found), file_system, found, redacted(path))
