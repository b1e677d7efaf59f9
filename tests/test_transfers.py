"""Rows from and to Zarr arrays, in the thread that asks."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import ClassVar

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore, MemoryStore

from daskal import transfers


def make_array(store, shape=(40, 6), chunks=(7, 3), **options):
    values = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    array = zarr.create_array(
        store, shape=shape, chunks=chunks, dtype=values.dtype, overwrite=True, **options
    )
    array[:] = values
    return array, values


@settings(max_examples=30)
@given(st.data())
def test_reads_are_those_of_zarr(tmp_path_factory, data):
    layout = data.draw(st.sampled_from([{}, {"shards": (14, 6)}, {"zarr_format": 2}]))
    array, values = make_array(tmp_path_factory.mktemp("store") / "a.zarr", **layout)
    start = data.draw(st.integers(0, 40))
    stop = data.draw(st.integers(start, 40))
    for selection in ((slice(start, stop),), (slice(None), slice(0, min(stop, 6)))):
        np.testing.assert_array_equal(transfers.read(array, selection), values[selection])


@pytest.mark.parametrize("layout", [{}, {"shards": (14, 6)}, {"zarr_format": 2}])
def test_writes_are_those_of_zarr(tmp_path, layout):
    array, values = make_array(tmp_path / "a.zarr", **layout)
    transfers.write(array, (slice(14, 28),), -values[14:28])
    values[14:28] *= -1
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr", mode="r")[:], values)


class ThreadsNoted(LocalStore):
    """A local store that notes which threads ask for chunks."""

    asked: ClassVar[set[int]] = set()

    async def get(self, *args, **options):
        self.asked.add(threading.get_ident())
        return await super().get(*args, **options)


@pytest.mark.parametrize("num_asking", [1, 3])
def test_local_chunks_are_moved_by_the_thread_that_asks(tmp_path, num_asking):
    make_array(tmp_path / "a.zarr")
    array = zarr.open_array(ThreadsNoted(tmp_path / "a.zarr"), mode="r+")
    ThreadsNoted.asked.clear()
    before = set(threading.enumerate())
    asking = [
        threading.Thread(target=transfers.read, args=(array, (slice(0, 40),)))
        for _ in range(num_asking)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert ThreadsNoted.asked == {thread.ident for thread in asking}
    assert set(threading.enumerate()) == before


def test_what_is_meant_for_other_threads_is_run_here():
    async def where():
        return await asyncio.to_thread(threading.get_ident)

    assert transfers.run_here(where()) == threading.get_ident()


def test_other_stores_are_left_to_zarr():
    array, values = make_array(MemoryStore())
    np.testing.assert_array_equal(transfers.read(array, (slice(3, 9),)), values[3:9])
    transfers.write(array, (slice(3, 9),), values[:6])
    np.testing.assert_array_equal(array[3:9], values[:6])


def test_a_thread_whose_event_loop_runs_can_read_too(tmp_path):
    array, values = make_array(tmp_path / "a.zarr")

    async def cell():
        transfers.write(array, (slice(0, 1),), -values[:1])
        return transfers.read(array, (slice(0, 5),))

    found = asyncio.run(cell())
    np.testing.assert_array_equal(found, np.concatenate([-values[:1], values[1:5]]))


@pytest.mark.parametrize("raised", [OSError("broken"), KeyboardInterrupt()])
def test_what_is_raised_gets_through_and_nothing_is_left_behind(
    tmp_path, monkeypatch, caplog, raised
):
    array, _ = make_array(tmp_path / "a.zarr", chunks=(2, 3))
    asked = []

    def break_third(*args, **options):
        asked.append(args)
        if len(asked) == 3:
            raise raised
        return fetch(*args, **options)

    fetch = zarr.storage._local._get
    monkeypatch.setattr(zarr.storage._local, "_get", break_third)
    with pytest.raises(type(raised)):
        transfers.read(array, (slice(0, 40),))
    # A loop left open warns when it is collected, and a task that is lost is logged.
    gc.collect()
    assert not caplog.records
    assert 3 <= len(asked) < array.nchunks
