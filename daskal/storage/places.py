"""Where things are stored: one place however it is written, and what reads from inside it.

A run or an import may replace what an earlier one left under ``out``. No source of the new one may
lie there, however it is given: by a link, a URL, an opened array, or somewhere in a Dask graph.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from inspect import isroutine
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from daskal.errors import InputError
from daskal.storage.addresses import obstore_url
from daskal.storage.redaction import redacted

LOCAL = "file"
# Other names of the same kind of storage.
SCHEMES = {"": LOCAL, "local": LOCAL, "s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs"}
# Attributes that hold the array inside an object, in Zarr, xarray, Dask and here.
HOLDERS = (
    *("array", "_array", "zarr_array", "members", "reader", "readers", "func", "value", "given"),
)
# How deep objects within objects are searched.
DEPTH = 12


class Place(NamedTuple):
    """Where something is stored: the kind of storage, and the path in it."""

    scheme: str
    parts: tuple[str, ...]

    def is_within(self, other: Place) -> bool:
        """Return whether this place is the other one, or lies below it."""
        return self.scheme == other.scheme and self.parts[: len(other.parts)] == other.parts


def place_of_path(path: str | os.PathLike[str]) -> Place:
    """Return the place a path or URL stands for, links followed; of a chain of URLs, the last."""
    text = os.fspath(path).rsplit("::", 1)[-1]
    scheme, separator, rest = text.partition("://")
    if not separator and text.startswith(("file:", "local:")):
        scheme, _, rest = text.partition(":")
    elif not separator:
        scheme, rest = "", text
    scheme = SCHEMES.get(scheme.lower(), scheme.lower())
    if scheme == LOCAL:
        rest = unquote(urlsplit(text).path) if text.startswith("file:") else rest
        return Place(LOCAL, Path(os.path.realpath(os.path.expanduser(rest))).parts)
    # Without user and query, which say who reads and not where from.
    host, *parts = rest.partition("?")[0].split("/")
    return Place(scheme, tuple(part for part in (host.rpartition("@")[2], *parts) if part))


def place_of_node(node: Any) -> Place | None:
    """Return the place of a Zarr array or group, None if its store has none, as in memory."""
    store = node.store
    within = tuple(part for part in node.path.split("/") if part)
    if (url := obstore_url(store)) is not None:
        place = place_of_path(url)
        return Place(place.scheme, (*place.parts, *within))
    # Stores that wrap another one hold it as an attribute.
    while not hasattr(store, "fs") and hasattr(store, "_store"):
        store = store._store
    file_system = getattr(store, "fs", None)
    path = getattr(store, "root", None) or getattr(store, "path", None)
    if path is None:
        return None
    place = place_of_path(path)
    if file_system is not None:
        protocol = file_system.protocol
        first = protocol if isinstance(protocol, str) else protocol[0]
        place = place_of_path(f"{first}://{path}")
    return Place(place.scheme, (*place.parts, *within))


# --- what a value reads from ------------------------------------------------------------------


def places_in(value: Any, seen: dict[int, Any] | None = None, depth: int = 0) -> Iterator[Place]:
    """Yield the places that a value reads from, as far as they can be found."""
    seen = {} if seen is None else seen
    if value is None or depth > DEPTH or id(value) in seen:
        return
    # Kept alive, so that no later object gets the same id.
    seen[id(value)] = value
    if isinstance(value, str | os.PathLike):
        yield place_of_path(value)
    elif hasattr(value, "__array_interface__"):
        yield from places_of_memory_map(value)
    elif hasattr(value, "store") and hasattr(value, "store_path"):
        place = place_of_node(value)
        yield from () if place is None else (place,)
    else:
        for part in parts_of(value):
            yield from places_in(part, seen, depth + 1)


def places_of_memory_map(array: Any) -> Iterator[Place]:
    """Yield the file that an array is mapped from, if there is one."""
    while array is not None:
        if (filename := getattr(array, "filename", None)) is not None:
            yield place_of_path(filename)
            return
        array = getattr(array, "base", None)


def parts_of(value: Any) -> Iterable[Any]:
    """Return the parts of a value that may read from storage."""
    if isinstance(value, Mapping):
        return [part for part in value.values() if not is_plain(part)]
    if isinstance(value, list | tuple | set | frozenset):
        return [part for part in value if not is_plain(part)]
    if isinstance(value, functools.partial):
        return [*value.args, *value.keywords.values()]
    parts: list[Any] = []
    if hasattr(value, "__dask_graph__"):
        parts += graph_of(value)
    if isinstance(getattr(value, "encoding", None), Mapping):  # of xarray
        parts += [value.encoding.get("source"), getattr(value, "data", None)]
    parts += [*getattr(value, "args", ()), *dict(getattr(value, "kwargs", {}) or {}).values()]
    parts += [part for name in HOLDERS if (part := getattr(value, name, None)) is not None]
    return [part for part in parts if not (isroutine(part) or isinstance(part, type))]


def graph_of(collection: Any) -> list[Any]:
    """Return the tasks of a Dask collection, and the operands of its expressions."""
    expression = getattr(collection, "expr", None)
    operands: list[Any] = []
    if expression is not None and hasattr(expression, "walk"):
        operands = [operand for part in expression.walk() for operand in part.operands]
    graph = collection.__dask_graph__()
    return [*operands, *(dict(graph) if graph is not None else {}).values()]


def is_plain(value: Any) -> bool:
    """Return whether a value is a number or the like, which reads from no storage."""
    return value is None or isinstance(value, bool | int | float | complex | slice)


# --- refusal ----------------------------------------------------------------------------------


def refuse_sources_under(out: str | os.PathLike[str], sources: Mapping[str, Any]) -> None:
    """Refuse to write where something is read from, before anything is written.

    Raises
    ------
    InputError
        If a source lies under ``out``, or ``out`` within one.
    """
    target = place_of_path(out)
    for name, source in sources.items():
        for place in places_in(source):
            if place.is_within(target):
                raise InputError(
                    f"{name}: expected a place apart from out={redacted(os.fspath(out))!r}, got "
                    f"one that lies under it, {shown_place(place)}: writing there could destroy "
                    "it. Choose another out."
                )
            if target.is_within(place) and is_array(source):
                raise InputError(
                    f"out: expected a place of its own, got {redacted(os.fspath(out))!r}, which "
                    f"lies within {name}, {shown_place(place)}. Choose another out."
                )


def is_array(source: Any) -> bool:
    """Return whether a source is one array or file, which nothing else can lie in."""
    return hasattr(source, "chunks") or hasattr(source, "__array_interface__")


def shown_place(place: Place) -> str:
    """Return a place as people write it."""
    if place.scheme == LOCAL:
        return repr(str(Path(*place.parts)))
    return repr(f"{place.scheme}://{'/'.join(place.parts)}")
