"""Coroutines of a store, run in Zarr's own loop from wherever they are asked for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from daskal.storage.loops import run_in_zarr
from daskal.storage.objects import get_bytes, put_bytes


class LoopNoted(LocalStore):
    """A local store that notes in which loop it is asked for something."""

    loop: Any = None

    async def get(self, *args: Any, **options: Any) -> Any:
        self.loop = asyncio.get_running_loop()
        return await super().get(*args, **options)


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_the_loop_is_the_one_in_which_zarr_calls_stores(tmp_path: Any) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=np.arange(3))
    store = LoopNoted(tmp_path / "a.zarr", read_only=True)
    assert zarr.open_array(store, mode="r").shape == array.shape
    assert store.loop is run_in_zarr(running_loop())


def test_threads_and_running_loops_may_ask(tmp_path: Any) -> None:
    store = LocalStore(tmp_path)

    def there_and_back(number: int) -> bytes | None:
        put_bytes(store, f"object-{number}", bytes([number]))
        return get_bytes(store, f"object-{number}")

    async def cell() -> bytes | None:
        return there_and_back(8)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(there_and_back, range(8))) == [bytes([n]) for n in range(8)]
    assert asyncio.run(cell()) == b"\x08"


def test_errors_get_through() -> None:
    async def fail() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError, match="no"):
        run_in_zarr(fail())


def test_whoever_is_interrupted_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def interrupt(future: Any, timeout: float | None = None) -> None:
        assert begun.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_in_zarr(wait())
    assert cancelled.wait(10)
