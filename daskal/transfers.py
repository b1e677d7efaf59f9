"""Rows from and to Zarr arrays: on a local disk, in the very thread that asks for them.

Zarr hands each chunk from the caller to the thread of its event loop, from there to a pool's thread
to be read, and to another one to be decoded. Where all cores compute, these threads wait for a core
and for Python's lock longer than they work (measured). With one caller a core, nothing is gained by
them either, but from storage that answers late: there, many chunks have to be in flight at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

Selection = tuple[slice, ...]
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
            loop.run_until_complete(asyncio.wait(left))
        loop.close()


def in_event_loop() -> bool:
    """Whether this thread runs an event loop already, as a notebook's does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def can_run_here(array: Any) -> bool:
    """Whether a Zarr array's chunks are best moved by the thread that asks."""
    from zarr.storage import LocalStore

    return isinstance(array.store, LocalStore) and not in_event_loop()


def read(array: Any, selection: Selection) -> Any:
    """``array[selection]`` of a Zarr array."""
    if can_run_here(array):
        return run_here(array.async_array.getitem(selection))
    return array[selection]


def write(array: Any, selection: Selection, values: Any) -> None:
    """``array[selection] = values`` of a Zarr array."""
    if can_run_here(array):
        run_here(array.async_array.setitem(selection, values))
    else:
        array[selection] = values
