"""Stores to write to: opening them, their groups, arrays and attributes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

from daskal.errors import InputError, StorageError
from daskal.options import Storage
from daskal.storage.locations import FILE_SCHEME, is_url, options_for, reach, storage_errors
from daskal.storage.objects import attempt_on, list_names
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries


class NoGroupError(StorageError):
    """An array where a group was expected."""


def local_path(path: str) -> Path | None:
    """Return the place on a local disk that a path or URL names; None if it is elsewhere."""
    if path.startswith(FILE_SCHEME):
        path = url2pathname(path.removeprefix(FILE_SCHEME))
    # Workers may have another working directory.
    return None if is_url(path) else Path(path).expanduser().absolute()


def open_store(path: str, storage_options: Storage, *, read_only: bool) -> Any:
    """Return the storage under a path or URL."""
    from zarr.storage import FsspecStore, LocalStore

    if path.endswith(".zip"):
        raise InputError(
            f"out: expected a directory or a URL, got {redacted(path)!r}: parts of a ZIP "
            "file cannot be written at the same time."
        )
    place = local_path(path)
    if place is not None:
        # Unlike fsspec, Zarr's own store writes each object whole or not at all.
        return LocalStore(place, read_only=read_only)
    options = options_for(path, storage_options)
    return FsspecStore.from_url(path, storage_options=options, read_only=read_only)


def names_under(path: str, storage_options: Storage) -> list[str] | None:
    """Return the names of what is directly under a path or URL, None where there is nothing.

    A file counts as its own only name; an empty folder exists and has no names.
    """
    place = local_path(path)
    if place is not None and not place.is_dir():
        return [place.name] if place.exists() else None
    reach(path, storage_options)
    names = list_names(open_store(path, storage_options, read_only=True))
    return names if names or place is not None else None


def open_group(what: str, path: str, mode: Any, storage_options: Storage, **options: Any) -> Any:
    """Return the root group of a store; ``what`` names the store in an error."""
    import zarr
    from zarr.errors import ContainsArrayError

    with storage_errors(f"open {what}", path, storage_options):
        if mode == "r":
            reach(path, storage_options)
        store = open_store(path, storage_options, read_only=mode == "r")
        try:
            return with_retries(
                lambda: zarr.open_group(
                    store, mode=mode, use_consolidated=False, zarr_format=3, **options
                ),
                f"opening {redacted(path)!r}",
                storage_options,
            )
        except ContainsArrayError as error:
            raise NoGroupError(
                f"expected {what}, got {redacted(path)!r}, which is a Zarr array."
            ) from error


def create_root_array(path: str, storage_options: Storage, **layout: Any) -> Any:
    """Return a new array that is a store of its own."""
    import zarr

    store = open_store(path, storage_options, read_only=False)
    return attempt_on(
        store,
        lambda: zarr.create_array(store, overwrite=True, zarr_format=3, **layout),
        f"{redacted(path)!r} cannot be created",
    )


def open_root_array(path: str, storage_options: Storage) -> Any:
    """Return an array that is a store of its own, to be written to."""
    import zarr

    store = open_store(path, storage_options, read_only=False)
    return attempt_on(
        store, lambda: zarr.open_array(store, mode="r+"), f"{redacted(path)!r} cannot be opened"
    )


def require_group(root: Any, name: str) -> Any:
    """Return a group of a store, new where there is none."""
    return attempt_on(
        root.store,
        lambda: root.require_group(name),
        f"{name!r} of {root.store_path} cannot be created",
    )


def create_array(group: Any, name: str, **layout: Any) -> Any:
    """Return a new array of a group, in place of one that is there."""
    return attempt_on(
        group.store,
        lambda: group.create_array(name, overwrite=True, **layout),
        f"{name!r} of {group.store_path} cannot be created",
    )


def cut_array(array: Any, num_rows: int) -> None:
    """Keep the first rows of an array, and remove the chunks of the others."""
    attempt_on(
        array.store,
        lambda: array.resize((num_rows, *array.shape[1:])),
        f"{array.store_path} cannot be cut to {num_rows:,} rows",
    )


def update_attributes(group: Any, attributes: Mapping[str, Any]) -> None:
    """Set attributes of a group, all of them in one write."""
    attempt_on(
        group.store,
        lambda: group.update_attributes(dict(attributes)),
        f"the attributes of {group.store_path} cannot be written",
    )


def consolidate(root: Any) -> Any:
    """Return a group that knows the metadata of all its members, which are written into it."""
    import zarr

    def write() -> Any:
        with warnings.catch_warnings():
            # Zarr warns that consolidated metadata is new in format 3, and of every foreign object.
            warnings.simplefilter("ignore")
            return zarr.consolidate_metadata(root.store, path=root.path)

    return attempt_on(root.store, write, f"the metadata of {root.store_path} cannot be written")
