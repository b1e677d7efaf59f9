"""Rows from and to Zarr arrays, in the thread that asks."""

from __future__ import annotations

import asyncio
import gc
import threading
from types import SimpleNamespace
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore, MemoryStore

from daskal.storage import loops, transfers


def make_array(store, shape=(40, 6), chunks=(7, 3), **options):
    values = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    array = zarr.create_array(
        store, shape=shape, chunks=chunks, dtype=values.dtype, overwrite=True, **options
    )
    array[:] = values
    return array, values


LAYOUTS = [{}, {"shards": (14, 6)}, {"zarr_format": 2}, {"zarr_format": 2, "order": "F"}]


@settings(max_examples=60)
@given(st.data(), st.sampled_from(LAYOUTS), st.sampled_from([1, 200, 2**20]))
def test_reads_are_those_of_zarr(tmp_path_factory, data, layout, piece_bytes):
    array, values = make_array(tmp_path_factory.mktemp("store") / "a.zarr", **layout)
    start = data.draw(st.integers(0, 40))
    stop = data.draw(st.integers(start, 40))
    with mock.patch.object(transfers, "PIECE_BYTES", piece_bytes):
        found = transfers.read(array, slice(start, stop))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[start:stop])
    columns = slice(min(start, 6), min(stop, 6))
    np.testing.assert_array_equal(transfers.read(array, columns, 1), values[:, columns])


@pytest.mark.parametrize("dtype", ["i1", "f2", ">f8", "?"])
def test_what_is_read_has_the_type_of_the_array(tmp_path, dtype):
    values = (np.arange(12).reshape(6, 2) % 2).astype(dtype)
    array = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(4, 1))
    found = transfers.read(array, slice(1, 6))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values[1:])


def test_chunks_that_were_never_written_are_filled(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(9, 2), chunks=(3, 2), dtype="f4", fill_value=7
    )
    array[3:6] = 1
    expected = np.repeat(np.float32([7, 1, 7]), 6).reshape(9, 2)
    np.testing.assert_array_equal(transfers.read(array, slice(0, 9)), expected)


@given(st.integers(1, 30), st.integers(1, 9), st.integers(0, 400), st.data())
def test_pieces_are_whole_chunks(chunk_rows, chunks_a_shard, piece_bytes, data):
    unit = chunk_rows * chunks_a_shard
    shards = (unit, 2) if chunks_a_shard > 1 else None
    array = SimpleNamespace(
        shape=(100, 2), chunks=(chunk_rows, 1), shards=shards, dtype=np.dtype("f4")
    )
    start = data.draw(st.integers(0, 100))
    stop = data.draw(st.integers(start, 100))
    with mock.patch.object(transfers, "PIECE_BYTES", piece_bytes):
        found = list(transfers.pieces(array, slice(start, stop)))
    assert [row for piece in found for row in range(piece.start, piece.stop)] == [
        *range(start, stop)
    ]
    assert all(piece.stop % unit == 0 for piece in found[:-1])
    assert all(piece.stop > piece.start for piece in found)
    # No larger than asked for, unless a chunk is.
    whole = [piece.stop - piece.start // unit * unit for piece in found]
    assert all(rows * 8 <= piece_bytes or rows <= unit for rows in whole)
    assert all(2 * rows * 8 > piece_bytes or rows == unit for rows in whole[:-1])


@pytest.mark.parametrize("layout", [{}, {"shards": (14, 6)}, {"zarr_format": 2}])
def test_writes_are_those_of_zarr(tmp_path, layout):
    array, values = make_array(tmp_path / "a.zarr", **layout)
    transfers.write(array, slice(14, 28), -values[14:28])
    values[14:28] *= -1
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr", mode="r")[:], values)


def test_bytes_in_flight(tmp_path):
    def most(store, axis=0, **layout):
        array = zarr.create_array(store, shape=(10**5, 600), dtype="f4", overwrite=True, **layout)
        return transfers.most_at_once(array, axis)

    chunk = 1000 * 600 * 4
    assert most(MemoryStore(), chunks=(1000, 600)) == 10 * chunk
    assert most(tmp_path, chunks=(1000, 600)) == transfers.PIECE_BYTES
    assert most(tmp_path, chunks=(1000, 600), axis=1) == 10 * chunk
    assert most(tmp_path, chunks=(10_000, 600)) == 10 * chunk
    # A piece is at least one chunk along the rows, of which there are many across.
    assert most(tmp_path, chunks=(10_000, 200)) == 10 * chunk
    assert most(tmp_path, chunks=(10_000, 30)) == 10 * chunk // 2
    assert most(tmp_path, chunks=(1000, 600), shards=(50_000, 600)) == 50 * chunk


@pytest.mark.parametrize(("setting", "num_chunks"), [(3, 3), (64, 64), (None, 100)])
def test_as_many_chunks_are_in_flight_as_zarr_is_configured(setting, num_chunks):
    array = zarr.create_array(MemoryStore(), shape=(1000, 8), chunks=(10, 8), dtype="f4")
    with zarr.config.set({"async.concurrency": setting}):
        assert transfers.most_at_once(array) == num_chunks * 10 * 8 * 4


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
        threading.Thread(target=transfers.read, args=(array, slice(0, 40)))
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

    assert loops.run_here(where()) == threading.get_ident()


def test_other_stores_are_left_to_zarr():
    array, values = make_array(MemoryStore())
    np.testing.assert_array_equal(transfers.read(array, slice(3, 9)), values[3:9])
    transfers.write(array, slice(3, 9), values[:6])
    np.testing.assert_array_equal(array[3:9], values[:6])


def test_a_thread_whose_event_loop_runs_can_read_too(tmp_path):
    array, values = make_array(tmp_path / "a.zarr")

    async def cell():
        transfers.write(array, slice(0, 1), -values[:1])
        return transfers.read(array, slice(0, 5))

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
        transfers.read(array, slice(0, 40))
    # A loop left open warns when it is collected, and a task that is lost is logged.
    gc.collect()
    assert not caplog.records
    assert 3 <= len(asked) < array.nchunks
