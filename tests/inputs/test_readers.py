"""Readers: blocks of every kind of source, read where the reader has travelled to."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from daskal.errors import BlockError, InputError
from daskal.inputs.readers import GivenReader, plain_block
from daskal.inputs.sources import Source, make_source
from daskal.inputs.sparse import sparse_lazy_source, sparse_memory_source, sparse_stored_source
from tests.inputs.sparsekit import LABELS, as_csr, lazy, write_group

EDGES = (0, 1, 4)


def read_blocks(source: Source) -> list[Any]:
    """Return the blocks between the edges, read by a reader that was pickled."""
    reader = pickle.loads(pickle.dumps(source.reader))
    cut = source.cut(EDGES)
    with dask.config.set(scheduler="synchronous"):
        graph = {}
        for array in cut.arrays:
            graph.update(array.dask)
        arguments = [look_up(argument, graph) for argument in cut.arguments]
    return [
        reader(argument, start, stop)
        for argument, start, stop in zip(arguments, EDGES[:-1], EDGES[1:], strict=True)
    ]


def look_up(argument: Any, graph: dict[Any, Any]) -> Any:
    """Return the argument of a task in the graph, in which references are resolved."""
    from dask._task_spec import GraphNode, Task, TaskRef

    if not isinstance(argument, GraphNode | TaskRef):
        return argument
    task = Task("argument", lambda given: given, argument)
    return dask.get({**graph, "argument": task}, "argument")


def dense_sources(tmp_path: Path) -> dict[str, Source]:
    stored = zarr.create_array(tmp_path / "a.zarr", data=LABELS, chunks=(3, 2))
    return {
        "memory": make_source("labels", LABELS, 0),
        "stored": make_source("labels", stored, 0),
        "lazy": make_source("labels", da.from_array(LABELS, chunks=(3, 2)), 0),
    }


def sparse_sources(tmp_path: Path) -> dict[str, Source]:
    votes = as_csr(LABELS)
    return {
        "memory": sparse_memory_source("labels", votes),
        "stored": sparse_stored_source("labels", write_group(tmp_path / "v.zarr", votes)),
        "lazy": sparse_lazy_source("labels", lazy(votes, (3, 1), (1, 2))),
    }


@pytest.mark.parametrize("kind", ["memory", "stored", "lazy"])
def test_dense_blocks(kind: str, tmp_path: Path) -> None:
    found = read_blocks(dense_sources(tmp_path)[kind])
    np.testing.assert_array_equal(found[0], LABELS[:1])
    np.testing.assert_array_equal(found[1], LABELS[1:])


@pytest.mark.parametrize("kind", ["memory", "stored", "lazy"])
def test_sparse_blocks(kind: str, tmp_path: Path) -> None:
    found = read_blocks(sparse_sources(tmp_path)[kind])[1]
    np.testing.assert_array_equal(found.offsets, [0, 2, 2, 4])
    np.testing.assert_array_equal(found.annotators, [1, 2, 0, 2])
    np.testing.assert_array_equal(found.classes, [1, 1, 2, 0])


@pytest.mark.parametrize("kind", ["memory", "stored", "lazy"])
def test_models_stand_before_rows(kind: str, tmp_path: Path) -> None:
    probs = np.arange(24.0).reshape(2, 4, 3)
    given = {
        "memory": lambda: probs,
        "stored": lambda: zarr.create_array(tmp_path / "a.zarr", data=probs, chunks=(1, 3, 2)),
        "lazy": lambda: da.from_array(probs, chunks=(1, 3, 2)),
    }[kind]()
    found = read_blocks(make_source("pred_probs", given, 1))
    np.testing.assert_array_equal(found[0], probs[:, :1])
    np.testing.assert_array_equal(found[1], probs[:, 1:])


def test_what_is_in_memory_stays_there() -> None:
    """A reader is sent to each worker: an array that went with it would be sent as often."""
    rng = np.random.default_rng(0)
    dense = rng.random((100_000, 4))
    votes = sp.csr_array(
        (np.ones(100_000, dtype=np.int8), np.zeros(100_000, dtype=int), np.arange(100_001)),
        shape=(100_000, 4),
    )
    for source in (
        make_source("labels", dense, 0),
        make_source("labels", da.from_array(dense, chunks=1000), 0),
        sparse_memory_source("labels", votes),
        sparse_lazy_source("labels", lazy(votes, (100_000,), (4,))),
    ):
        assert len(pickle.dumps(source.reader)) < 1000


def test_masked_values_are_missing() -> None:
    mask = [False, True]
    assert plain_block("labels", np.ma.array([1, 2], mask=mask)).tolist() == [1, -1]
    for dtype in ("u1", "f4"):
        found = plain_block("labels", np.ma.array([1, 2], mask=mask, dtype=dtype))
        np.testing.assert_array_equal(found, [1, np.nan])


def test_a_block_of_another_shape_is_refused() -> None:
    reader = GivenReader("labels", (4, 3), 0)
    with pytest.raises(InputError, match=r"shape \(2, 3\) for rows 0 to 2, .* of shape \(2, 2\)"):
        reader(np.zeros((2, 2)), 0, 2)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    stored = zarr.create_array(tmp_path / "a.zarr", data=LABELS, chunks=(4, 3))
    (tmp_path / "a.zarr" / "c" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(BlockError, match=r"labels: rows 1 to 3 of .*a\.zarr cannot be read"):
        make_source("labels", stored, 0).reader(None, 1, 3)
