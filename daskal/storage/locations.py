"""Paths and URLs: opening what is stored there, and saying what went wrong without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from daskal.errors import DaskalError, InputError, MissingPathError, StorageError
from daskal.storage.addresses import address_of
from daskal.storage.loops import run_in_zarr
from daskal.storage.objects import stored_metadata
from daskal.storage.redaction import explain, redacted, showable
from daskal.storage.retries import is_busy, with_retries

# Clients of object stores retry for minutes; a caller who opens something is answered sooner.
OPEN_SECONDS = 20.0

FILE_SCHEME = "file://"

# Advice for what holds no Zarr, by its ending.
_ADVICE_BY_SUFFIX = {
    ".h5ad": "Write it as Zarr first: anndata.read_h5ad(path).write_zarr(...).",
}


def is_url(path: str) -> bool:
    """Return whether a path is opened by fsspec, not by the operating system."""
    return "://" in path or "::" in path


@contextlib.contextmanager
def storage_errors(doing: str, where: str, options: Mapping[str, Any] | None) -> Iterator[None]:
    """Turn any error of a file system or of Zarr into one clear error."""
    where = redacted(where)
    try:
        yield
    except DaskalError:
        raise
    except FileNotFoundError as error:
        found = "it is a file, and no store" if os.path.isfile(where) else "nothing is stored there"
        raise MissingPathError(f"cannot {doing} {where!r}: {found}. Check the path.") from showable(
            error, options
        )
    except TimeoutError as error:
        raise StorageError(
            f"cannot {doing} {where!r}: no answer in {OPEN_SECONDS:.0f} seconds. Check the address "
            "and that this machine can reach it."
        ) from showable(error, options)
    except Exception as error:  # each file system has exceptions of its own, beside OSError
        if isinstance(error, MemoryError) or type(error).__module__.startswith("distributed"):
            raise
        raise StorageError(f"cannot {doing} {where!r}: {explain(error, options)}") from showable(
            error, options
        )


def options_for(path: str, options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the storage options for a path; a local path given beside a URL takes none."""
    return dict(options) if options and is_url(path) else None


def reach(path: str, options: Mapping[str, Any] | None) -> None:
    """Check that the store under a URL answers in time, and grants access."""
    if is_url(path):
        from zarr.buffer import default_buffer_prototype

        wait_for_answer(url_store(path, options).get("zarr.json", default_buffer_prototype()))


def reach_file(path: str, options: Mapping[str, Any] | None) -> None:
    """Check that the storage under a URL answers in time, whatever is stored there."""
    if is_url(path):
        from zarr.abc.store import RangeByteRequest
        from zarr.buffer import default_buffer_prototype

        first = RangeByteRequest(0, 1)
        wait_for_answer(url_store(path, options).get("", default_buffer_prototype(), first))


def wait_for_answer(request: Coroutine[Any, Any, Any]) -> None:
    """Wait for the answer to a request, but not as long as clients of object stores would.

    Only one request is sent: if one of several fails in Zarr, the others go on retrying, and warn
    when the program ends. That an endpoint is busy is an answer: the requests that follow are
    retried.
    """

    async def ask() -> None:
        await asyncio.wait_for(request, OPEN_SECONDS)

    try:
        run_in_zarr(ask())
    except Exception as error:
        if not is_busy(error):
            raise


def url_store(path: str, options: Mapping[str, Any] | None) -> Any:
    """Return the Zarr store under a URL, for reading."""
    from zarr.storage import FsspecStore

    missing: tuple[type[Exception], ...] = (
        FileNotFoundError,
        IsADirectoryError,
        NotADirectoryError,
    )
    if path.startswith("zip:"):
        # Older fsspec raises this for what is not in a zip file.
        missing += (KeyError,)
    return FsspecStore.from_url(
        path,
        storage_options=options_for(path, options),
        read_only=True,
        allowed_exceptions=missing,
    )


def open_zarr(name: str, path: str, options: Mapping[str, Any] | None) -> Any:
    """Return the Zarr array or group under a path or URL, or in a zip file, for reading."""
    import zarr

    with storage_errors(f"read {name} from", path, options):
        if not is_url(path):
            return open_local(name, path)
        reach(path, options)
        store = url_store(path, options)
        return with_retries(
            lambda: zarr.open(store, mode="r"), f"opening {redacted(path)!r}", options
        )


def open_local(name: str, path: str) -> Any:
    """Return the array or group under a local path."""
    import zarr

    # Workers may have another working directory.
    place = Path(path).expanduser().absolute()
    for file in (place, *place.parents):
        if file.suffix == ".zip" and file.is_file():
            store = zarr.storage.ZipStore(file, mode="r")
            return zarr.open(store, mode="r", path=place.relative_to(file).as_posix().strip("."))
    try:
        return zarr.open(place, mode="r")
    except FileNotFoundError as error:
        if not place.exists():
            raise
        advice = _ADVICE_BY_SUFFIX.get(place.suffix, "Check the path.")
        raise InputError(
            f"{name}: expected a Zarr array or group, got {path!r}, which is neither.",
            advice=advice,
        ) from error


def anchored(node: Any) -> Any:
    """Return a Zarr array or group whose local store is found from any working directory."""
    import zarr

    store = anchored_store(node.store)
    return node if store is node.store else zarr.open(store, path=node.path, mode="r")


def anchored_store(store: Any) -> Any:
    """Return a Zarr store; one with the absolute path in its place if it has a relative one."""
    root = getattr(store, "root", None)
    if isinstance(root, Path) and not root.is_absolute():
        return type(store)(root=root.absolute(), read_only=store.read_only)
    held: Any = getattr(store, "store", None)
    prefix = getattr(held, "prefix", None)  # a path for a local folder of obstore
    if isinstance(prefix, Path) and not prefix.is_absolute():
        return type(store)(type(held)(prefix.absolute()), read_only=store.read_only)
    return store


def check_stored(name: str, array: Any) -> None:
    """Refuse a stored array that could run code when read, or whose metadata makes no sense.

    None of its chunks has been read before.
    """
    where = address_of(array)
    if not hasattr(array, "chunks"):
        raise InputError(f"{name}: expected a Zarr array at {where}, got {type(array).__name__}.")
    if any("pickle" in codec.lower() for codec in codec_names(array)):
        raise InputError(
            f"{name}: expected an array that can be read safely, got {where}, whose codecs include "
            "pickle: reading it could run any code. Write it anew as numbers or text."
        )
    if not all(size > 0 for size in array.chunks):
        raise StorageError(
            f"{name}: expected chunks of at least one value, got {array.chunks} in the metadata of "
            f"{where}. Write the array anew."
        )


def codec_names(array: Any) -> Iterator[str]:
    """Yield the names of the codecs in an array's metadata, nested ones included."""
    metadata = stored_metadata(array)
    for key in ("codecs", "filters", "compressor"):
        yield from names_in(metadata.get(key))


def names_in(codecs: Any) -> Iterator[str]:
    """Yield the names of codecs in their JSON form."""
    if isinstance(codecs, Mapping):
        yield from (str(codecs[key]) for key in ("id", "name") if key in codecs)
        codecs = list(codecs.values())
    if isinstance(codecs, list):
        for part in codecs:
            yield from names_in(part)
