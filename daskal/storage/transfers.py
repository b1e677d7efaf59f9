"""Rows from and to Zarr arrays: on a local disk, in the calling thread itself.

Zarr passes each chunk from the caller to the thread of its event loop, from there to another thread
to be read, and to a third one to be decoded. If all cores are busy, these threads wait for a core
and for Python's lock longer than they work (measured). With one caller per core they gain nothing,
except for slow storage, where many chunks have to be in flight at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from daskal.storage.addresses import obstore_url
from daskal.storage.locations import FILE_SCHEME
from daskal.storage.loops import in_event_loop, run_here
from daskal.storage.objects import attempt_on

# Most bytes of chunks read together: all chunks of one request are in memory at once, encoded and
# decoded, and what they need beyond the memory the allocator keeps comes from the system page by
# page. That took as long as decoding (measured).
PIECE_BYTES = 8 * 2**20


def is_local(array: Any) -> bool:
    """Return whether a Zarr array is on a local disk, where blocks are mostly read in pieces."""
    from zarr.storage import LocalStore

    return isinstance(array.store, LocalStore)


def is_late(array: Any) -> bool:
    """Return whether a Zarr array's storage may take long to answer, as object stores do."""
    from zarr.storage import LocalStore, MemoryStore

    if isinstance(array.store, LocalStore | MemoryStore):
        return False
    return not (obstore_url(array.store) or "").startswith(FILE_SCHEME)


def can_run_here(array: Any) -> bool:
    """Return whether a Zarr array's chunks are best moved by the thread that asks for them."""
    return is_local(array) and not in_event_loop()


def pieces(array: Any, rows: slice) -> Iterator[slice]:
    """Yield the rows of an array in pieces of whole chunks, or whole shards."""
    shape, unit = array.shape, (array.shards or array.chunks)[0]
    row_bytes = math.prod(shape[1:]) * array.dtype.itemsize
    step = unit * max(PIECE_BYTES // max(unit * row_bytes, 1), 1)
    start = rows.start
    while start < rows.stop:
        stop = min((start // unit) * unit + step, rows.stop)
        yield slice(start, stop)
        start = stop


async def read_pieces(array: Any, rows: slice) -> np.ndarray[Any, Any]:
    """Return rows of an array, read piece by piece into one result."""
    from zarr.buffer import cpu

    values = np.empty((rows.stop - rows.start, *array.shape[1:]), dtype=array.dtype)
    others = (slice(None),) * (array.ndim - 1)
    for piece in pieces(array, rows):
        place = values[piece.start - rows.start : piece.stop - rows.start]
        await array.async_array.get_orthogonal_selection(
            (piece, *others),
            out=cpu.NDBuffer.from_numpy_array(place),
            prototype=cpu.buffer_prototype,
        )
    return values


def most_at_once(array: Any, axis: int = 0) -> int:
    """Return the most bytes of decoded chunks in flight while a block is read."""
    import zarr

    unit = array.shards or array.chunks
    # How many chunks of an array Zarr has in flight at once; all of them without a limit.
    concurrency = zarr.config.get("async.concurrency")
    flying = (concurrency or array.nchunks) * math.prod(unit) * array.dtype.itemsize
    if is_local(array) and axis == 0:
        across = unit[0] * math.prod(array.shape[1:]) * array.dtype.itemsize
        return int(max(PIECE_BYTES, min(flying, across)))
    return int(flying)


def read(array: Any, part: slice, axis: int = 0) -> Any:
    """Return part of a Zarr array along an axis, within its bounds."""
    selection = (*(slice(None),) * axis, part)
    if not can_run_here(array):
        return array[selection]
    if axis == 0:
        return run_here(read_pieces(array, part))
    return run_here(array.async_array.getitem(selection))


def write(array: Any, rows: slice, values: Any) -> None:
    """Set ``array[rows] = values`` of a Zarr array."""
    if can_run_here(array):
        run_here(array.async_array.setitem((rows,), values))
    else:
        array[rows] = values


def write_rows(array: Any, start: int, stop: int, values: Any) -> None:
    """Write rows ``start:stop``, which are whole chunks, trying again where storage fails."""
    assert start % array.chunks[0] == 0
    assert stop % array.chunks[0] == 0 or stop == array.shape[0]
    attempt_on(
        array.store,
        lambda: write(array, slice(start, stop), values),
        f"rows {start:,} to {stop:,} of {array.store_path} cannot be written",
    )
