"""Single objects of a store: read, written whole, listed and removed, with retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from daskal.errors import StorageError
from daskal.storage.redaction import explain, redacted, showable
from daskal.storage.retries import with_retries

Result = TypeVar("Result")


def attempt(operation: Callable[[], Result], what: str) -> Result:
    """Return what a storage operation returns; its error as a :class:`StorageError`."""
    what = redacted(what)
    try:
        return with_retries(operation, what)
    except Exception as error:
        raise StorageError(f"{what}: {explain(error)}") from showable(error)


def put_bytes(store: Any, key: str, content: bytes) -> None:
    """Write one object of the store whole."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    buffer = default_buffer_prototype().buffer.from_bytes(content)
    attempt(lambda: sync(store.set(key, buffer)), f"{key} of {store} cannot be written")


def get_bytes(store: Any, key: str) -> bytes | None:
    """One object of the store, None where there is none."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    prototype = default_buffer_prototype()
    found = attempt(lambda: sync(store.get(key, prototype)), f"{key} of {store} cannot be read")
    return None if found is None else found.to_bytes()


def list_keys(store: Any, prefix: str) -> list[str]:
    """Keys of the store's objects below a prefix, but for what an interrupted write left."""
    from zarr.core.sync import sync

    async def collect() -> list[str]:
        return [key async for key in store.list_prefix(prefix)]

    keys = attempt(lambda: sync(collect()), f"{prefix!r} of {store} cannot be listed")
    return [key for key in keys if not key.endswith(".partial")]


def remove(store: Any, prefix: str) -> None:
    """Remove every object below a prefix."""
    from zarr.core.sync import sync

    attempt(lambda: sync(store.delete_dir(prefix)), f"{prefix!r} of {store} cannot be removed")


def remove_key(store: Any, key: str) -> None:
    """Remove one object."""
    from zarr.core.sync import sync

    attempt(lambda: sync(store.delete(key)), f"{key} of {store} cannot be removed")


def join_key(root: Any, key: str) -> str:
    """Key of an object beside the group's metadata."""
    return f"{root.path}/{key}" if root.path else key
