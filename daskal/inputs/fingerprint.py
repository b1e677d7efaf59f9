"""What a run is bound to: where its inputs are, how they are laid out, and its options.

Stored inputs go by resolved URL and array metadata, never by contents; inputs in memory by Dask's
token. Nothing that could be a secret takes part: no storage options, no user or query of a URL.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
from dask.base import tokenize

from daskal.storage.objects import stored_metadata
from daskal.storage.redaction import redacted

Described = dict[str, Any]

MISSING = "(none)"


def store_url(store: Any) -> str:
    """Where a Zarr store is, the same for every way to say so."""
    directory = getattr(store, "root", None)
    if directory is not None:
        return Path(directory).resolve().as_uri()
    file_system = getattr(store, "fs", None)
    if file_system is not None:
        protocol = file_system.protocol
        first = protocol if isinstance(protocol, str) else protocol[0]
        return redacted(f"{first}://{store.path}")
    archive = getattr(store, "path", None)
    if archive is not None:
        return Path(archive).resolve().as_uri()
    return str(store)


def describe_stored(array: Any) -> Described:
    """URL and metadata of a Zarr array."""
    url = store_url(array.store)
    return {"url": f"{url}/{array.path}" if array.path else url, **stored_metadata(array)}


def describe(value: Any) -> Any:
    """What an input, or a part of one, is known by."""
    kind = type(value).__module__.partition(".")[0]
    if kind == "zarr" and hasattr(value, "chunks"):
        return describe_stored(value)
    if isinstance(value, np.ndarray | da.Array):
        known_by = tokenize(value) if isinstance(value, np.ndarray) else value.name
        return {"shape": list(value.shape), "dtype": str(value.dtype), "token": known_by}
    if isinstance(value, pd.Index):
        return describe_names(value)
    if isinstance(value, os.PathLike | str):
        return redacted(os.fspath(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: describe(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: describe(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [describe(part) for part in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return tokenize(value)


def describe_names(names: Any) -> Described | None:
    """Ids, however many, by their number and a token."""
    return None if names is None else {"number": len(names), "token": tokenize(names)}


def text_token(text: str) -> str:
    """A short stand-in for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(described: Described) -> Described:
    """As it comes back from JSON."""
    return dict(json.loads(json.dumps(described, sort_keys=True)))


def differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each value of nested mappings that is not the same in both: its dotted name, then and now.

    What is a mapping on one side only is one difference, whatever it holds.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            dotted = f"{name}.{key}" if name else key
            yield from differences(before.get(key, MISSING), now.get(key, MISSING), dotted)
    elif not same(before, now):
        yield name, before, now


def in_words(value: Any) -> str:
    """A value of a fingerprint as an error shows it."""
    if isinstance(value, Mapping):
        return "given"
    return "not given" if value == MISSING else repr(value)


def changes(before: Described, now: Described) -> list[str]:
    """What differs between two fingerprints, in words."""
    return [
        f"{name}: was {in_words(then)}, is {in_words(new)}"
        for name, then, new in differences(canonical(before), canonical(now))
    ]


def same(a: Any, b: Any) -> bool:
    """Whether two values from JSON are equal, NaN to itself."""
    return json.dumps(a) == json.dumps(b)
