"""What a run is bound to: where its inputs are, how they are laid out, and its options.

Stored inputs are identified by resolved URL and array metadata, never by contents; inputs in memory
by Dask's token, lazy ones by their name in Dask's graph. Nothing that could be a secret is part of
it: no storage options, no user or query of a URL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize

from daskal.storage.addresses import store_url
from daskal.storage.objects import stored_metadata
from daskal.storage.redaction import redacted

# What identifies an input, in plain values that JSON holds.
Identity = dict[str, Any]

MISSING = "(none)"


# --- identities -------------------------------------------------------------------------------


def memory_identity(
    shape: Sequence[int], dtype: np.dtype[Any], *arrays: np.ndarray[Any, Any]
) -> Identity:
    """Return the identity of values in memory, all of which are hashed."""
    return {"shape": list(shape), "dtype": str(dtype), "token": tokenize(*arrays)}


def lazy_identity(array: da.Array) -> Identity:
    """Return the identity of a Dask array: its name, which callers may choose themselves."""
    return {
        "shape": [int(size) for size in array.shape],
        "dtype": str(array.dtype),
        "name": redacted(array.name),
    }


def stored_identity(array: Any) -> Identity:
    """Return the URL and the metadata of a Zarr array."""
    url = store_url(array.store)
    return {"url": f"{url}/{array.path}" if array.path else url, **stored_metadata(array)}


def stored_identities(shape: Sequence[int], arrays: Mapping[str, Any]) -> Identity:
    """Return the identity of several Zarr arrays that make up one input."""
    parts = {name: stored_identity(array) for name, array in arrays.items()}
    return {"shape": list(shape), **parts}


def names_identity(names: Sequence[Hashable] | None) -> Identity | None:
    """Return the identity of any number of names: how many they are, and a token."""
    return None if names is None else {"number": len(names), "token": tokenize(names)}


def text_token(text: str) -> str:
    """Return a short stand-in for a long text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- fingerprints -----------------------------------------------------------------------------


def canonical(fingerprint: Identity) -> Identity:
    """Return a fingerprint as it comes back from JSON."""
    return dict(json.loads(json.dumps(fingerprint, sort_keys=True)))


def differences(before: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the differences of two nested mappings: dotted name, value then and value now.

    A mapping on one side only is one difference, whatever it holds.
    """
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before)]:
            dotted = f"{name}.{key}" if name else key
            yield from differences(before.get(key, MISSING), now.get(key, MISSING), dotted)
    elif not same(before, now):
        yield name, before, now


def in_words(value: Any) -> str:
    """Return a value of a fingerprint as an error shows it."""
    if isinstance(value, Mapping):
        return "given"
    return "not given" if value == MISSING else repr(value)


def changes(before: Identity, now: Identity) -> list[str]:
    """Return what differs between two fingerprints, in words."""
    return [
        f"{name}: was {in_words(then)}, is {in_words(new)}"
        for name, then, new in differences(canonical(before), canonical(now))
    ]


def same(a: Any, b: Any) -> bool:
    """Return whether two values from JSON are equal; NaN equals NaN."""
    return json.dumps(a) == json.dumps(b)
