"""Where a store's coroutine runs: in the calling thread, or in Zarr's own event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class CallersLoop(asyncio.SelectorEventLoop):
    """An event loop that runs work meant for other threads in its own thread."""

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
    """Run a coroutine, and any work it gives to other threads, in this thread."""
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
    """Return whether this thread already runs an event loop, as a notebook's does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@lru_cache(maxsize=1)
def zarr_loop(process: int) -> asyncio.AbstractEventLoop:
    """Return the event loop in which Zarr calls stores; each process has one.

    Zarr has no public name for it, but a store is called in it and can look it up.
    """
    import zarr
    from zarr.storage import MemoryStore, WrapperStore

    found = []

    class Noting(WrapperStore[MemoryStore]):
        async def set(self, key: str, value: Any) -> None:
            found.append(asyncio.get_running_loop())
            await super().set(key, value)

    zarr.create_group(Noting(MemoryStore()))
    return found[0]


def run_in_zarr(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in Zarr's event loop, and wait for it.

    The file systems of object stores keep their connections, which belong to one loop: the one
    that first used them. As Zarr reads and writes arrays of the same store, it has to be Zarr's.
    """
    future = asyncio.run_coroutine_threadsafe(work, zarr_loop(os.getpid()))
    try:
        return future.result()
    finally:
        # An interrupt while waiting cancels the request.
        future.cancel()
