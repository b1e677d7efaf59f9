"""Single objects of a store: read, written whole, listed and removed, with retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from daskal.storage.loops import run_in_zarr
from daskal.storage.retries import attempt

Result = TypeVar("Result")

# Ending of the names of files that Zarr's local store has not finished writing.
PARTIAL = ".partial"


def options_of(store: Any) -> Mapping[str, Any] | None:
    """Return the storage options of a store, whose secrets no error may show."""
    held = getattr(store, "store", None)
    if isinstance(config := getattr(held, "config", None), Mapping):  # of obstore
        return config
    file_system = getattr(store, "fs", None)
    # A file system that is not asynchronous is wrapped in one that is.
    file_system = getattr(file_system, "sync_fs", file_system)
    return getattr(file_system, "storage_options", None)


def attempt_on(store: Any, operation: Callable[[], Result], what: str) -> Result:
    """Return the result of an operation on a store, retried while its error is transient."""
    return attempt(operation, what, options_of(store))


def put_bytes(store: Any, key: str, content: bytes) -> None:
    """Write one object of the store whole."""
    from zarr.buffer import default_buffer_prototype

    buffer = default_buffer_prototype().buffer.from_bytes(content)
    attempt_on(
        store,
        lambda: run_in_zarr(store.set(key, buffer)),
        f"{key} of {store} cannot be written",
    )


def get_bytes(store: Any, key: str) -> bytes | None:
    """Return one object of the store, None where there is none."""
    from zarr.buffer import default_buffer_prototype

    prototype = default_buffer_prototype()
    found = attempt_on(
        store,
        lambda: run_in_zarr(store.get(key, prototype)),
        f"{key} of {store} cannot be read",
    )
    return None if found is None else found.to_bytes()


def modified_at(store: Any, key: str) -> datetime | None:
    """Return when an object of the store was last written, None where storage does not say."""
    root, file_system = getattr(store, "root", None), getattr(store, "fs", None)
    if isinstance(root, Path):
        return datetime.fromtimestamp((root / key).stat().st_mtime, UTC)
    if file_system is None:
        return None
    path = f"{store.path.rstrip('/')}/{key}"
    found = attempt_on(
        store,
        lambda: run_in_zarr(file_system._info(path)),
        f"{key} of {store} cannot be found",
    )
    date = found.get("LastModified", found.get("mtime"))
    return datetime.fromtimestamp(date, UTC) if isinstance(date, float) else date


def forget_listings(store: Any) -> None:
    """Drop cached listings, as other workers write to the storage too."""
    file_system = getattr(store, "fs", None)
    if file_system is not None:
        file_system.invalidate_cache()


def list_keys(store: Any, prefix: str) -> list[str]:
    """Return the keys under a prefix, except for what an interrupted write left."""

    async def collect() -> list[str]:
        forget_listings(store)
        return [key async for key in store.list_prefix(prefix)]

    keys = attempt_on(
        store, lambda: run_in_zarr(collect()), f"{prefix!r} of {store} cannot be listed"
    )
    return [key for key in keys if not key.endswith(PARTIAL)]


def list_names(store: Any, prefix: str = "") -> list[str]:
    """Return the names of what is directly under the root of a store, or under a prefix."""

    async def collect() -> list[str]:
        forget_listings(store)
        return [name.rstrip("/").rsplit("/", 1)[-1] async for name in store.list_dir(prefix)]

    return attempt_on(store, lambda: run_in_zarr(collect()), f"{store} cannot be listed")


def remove(store: Any, prefix: str) -> None:
    """Remove every object below a prefix."""

    async def delete() -> None:
        forget_listings(store)
        await store.delete_dir(prefix)

    attempt_on(store, lambda: run_in_zarr(delete()), f"{prefix!r} of {store} cannot be removed")


def remove_key(store: Any, key: str) -> None:
    """Remove one object."""
    attempt_on(store, lambda: run_in_zarr(store.delete(key)), f"{key} of {store} cannot be removed")


def remove_partial(store: Any) -> None:
    """Remove what writes to a local disk left behind when they were killed."""
    directory = getattr(store, "root", None)
    if directory is not None:
        for litter in directory.rglob(f"*{PARTIAL}"):
            litter.unlink(missing_ok=True)


def join_key(root: Any, key: str) -> str:
    """Return the key of an object beside the group's metadata."""
    return f"{root.path}/{key}" if root.path else key


def stored_metadata(array: Any) -> dict[str, Any]:
    """Return the metadata of an array as they are stored, in either format; no attributes."""
    from zarr.buffer import default_buffer_prototype

    metadata: dict[str, Any] = {}
    # As they are stored: their form in memory depends on the version of Zarr.
    for key, content in array.metadata.to_buffer_dict(default_buffer_prototype()).items():
        if key != ".zattrs":
            metadata.update(json.loads(content.to_bytes()))
    metadata.pop("attributes", None)
    return metadata
