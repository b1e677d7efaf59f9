"""Rows from and to Zarr arrays: on a local disk, in the very thread that asks for them.

Zarr hands each chunk from the caller to the thread of its event loop, from there to a pool's thread
to be read, and to another one to be decoded. Where all cores compute, these threads wait for a core
and for Python's lock longer than they work (measured). With one caller a core, nothing is gained by
them either, but from storage that answers late: there, many chunks have to be in flight at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, TypeVarTuple

import numpy as np

# Chunks are read together up to so many bytes: all that are asked for at once are held at once, as
# stored and decoded, and what they take beyond what the allocator keeps has to be fetched from the
# system page by page. That took as long as decoding (measured).
PIECE_BYTES = 8 * 2**20

# Zarr has so many chunks of an array in flight at once.
ZARR_CONCURRENCY = 10

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class CallersLoop(asyncio.SelectorEventLoop):
    """An event loop that does the work meant for other threads itself."""

    def run_in_executor(
        self, executor: Any, func: Callable[[*Arguments], Result], *args: *Arguments
    ) -> asyncio.Future[Result]:
        """Run a function now; return a future that is done."""
        future: asyncio.Future[Result] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run_here(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine, and all that it would have other threads do, in this thread."""
    loop = CallersLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def in_event_loop() -> bool:
    """Whether this thread runs an event loop already, as a notebook's does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_local(array: Any) -> bool:
    """Whether a Zarr array is on a local disk, and its blocks as a rule read by pieces."""
    from zarr.storage import LocalStore

    return isinstance(array.store, LocalStore)


def can_run_here(array: Any) -> bool:
    """Whether a Zarr array's chunks are best moved by the thread that asks."""
    return is_local(array) and not in_event_loop()


def pieces(array: Any, rows: slice) -> Iterator[slice]:
    """Rows of an array in pieces of whole chunks, or whole shards."""
    shape, unit = array.shape, (array.shards or array.chunks)[0]
    row_bytes = math.prod(shape[1:]) * array.dtype.itemsize
    step = unit * max(PIECE_BYTES // max(unit * row_bytes, 1), 1)
    start = rows.start
    while start < rows.stop:
        stop = min((start // unit) * unit + step, rows.stop)
        yield slice(start, stop)
        start = stop


async def read_pieces(array: Any, rows: slice) -> np.ndarray[Any, Any]:
    """Rows of an array, read piece by piece into their place."""
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
    """Bytes of the chunks that are in flight at most while a block is read, decoded."""
    unit = array.shards or array.chunks
    flying = ZARR_CONCURRENCY * math.prod(unit) * array.dtype.itemsize
    if is_local(array) and axis == 0:
        across = unit[0] * math.prod(array.shape[1:]) * array.dtype.itemsize
        return int(max(PIECE_BYTES, min(flying, across)))
    return int(flying)


def read(array: Any, part: slice, axis: int = 0) -> Any:
    """Part of a Zarr array along an axis, within its bounds."""
    selection = (*(slice(None),) * axis, part)
    if not can_run_here(array):
        return array[selection]
    if axis == 0:
        return run_here(read_pieces(array, part))
    return run_here(array.async_array.getitem(selection))


def write(array: Any, rows: slice, values: Any) -> None:
    """``array[rows] = values`` of a Zarr array."""
    if can_run_here(array):
        run_here(array.async_array.setitem((rows,), values))
    else:
        array[rows] = values
