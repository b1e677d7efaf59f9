"""Chunks that are not there: Zarr reads them as fill values, without a word.

Where the fill value is a class of labels, or there is none, such a chunk would invent votes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from daskal.errors import StorageError
from daskal.storage.addresses import address_of
from daskal.storage.loops import run_in_zarr
from daskal.storage.objects import attempt_on


def invents_labels(array: Any) -> bool:
    """Return whether a missing chunk of labels would be read as labels, and not as missing ones."""
    fill = array.metadata.fill_value
    return fill is None or bool(np.isfinite(fill) and fill >= 0)


def check_chunks(name: str, array: Any, start: int, values: np.ndarray[Any, Any]) -> None:
    """Refuse rows of stored labels that were read from chunks which are not there.

    Only chunks that hold nothing but the fill value are asked for.

    Raises
    ------
    StorageError
        Names the rows.
    """
    if not invents_labels(array) or not values.size:
        return
    unit = array.shards or array.chunks
    fill = array.metadata.fill_value or 0
    for chunk, part in chunks_of(unit, start, values.shape):
        if (values[part] != fill).any() or has_chunk(array, chunk):
            continue
        first = chunk[0] * unit[0]
        stop = min(first + unit[0], int(array.shape[0]))
        raise StorageError(
            f"{name}: a chunk of rows {first:,} to {stop:,} of {address_of(array)} "
            f"is not there, and would be read as {fill}, a class. If it was lost, restore it. "
            f"If all its labels really are {fill}, Zarr has left it out for holding nothing but "
            "the fill value: write the labels anew with fill_value=-1 (NaN for floats)."
        )


def chunks_of(
    unit: tuple[int, ...], start: int, shape: tuple[int, ...]
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield each chunk that some rows are in, and its part of the rows."""
    firsts = (start, *(0,) * (len(shape) - 1))
    spans = [
        range(first // size, math.ceil((first + length) / size))
        for first, length, size in zip(firsts, shape, unit, strict=True)
    ]
    for chunk in product(*spans):
        yield (
            chunk,
            tuple(
                slice(max(at * size - first, 0), (at + 1) * size - first)
                for at, size, first in zip(chunk, unit, firsts, strict=True)
            ),
        )


def has_chunk(array: Any, chunk: tuple[int, ...]) -> bool:
    """Return whether a chunk, or a shard, of an array is stored."""
    key = array.metadata.encode_chunk_key(chunk)
    path = f"{array.path}/{key}" if array.path else key
    store = array.store
    found: bool = attempt_on(
        store, lambda: run_in_zarr(store.exists(path)), f"{path} of {store} cannot be asked for"
    )
    return found
