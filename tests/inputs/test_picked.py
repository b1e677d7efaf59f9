"""Some rows of a source, and blocks along parts of differing sizes."""

from __future__ import annotations

import weakref
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from daskal.inputs.arguments import open_argument
from daskal.inputs.blocks import cut_rows, part_edges
from daskal.inputs.picked import PickedReader, Selection, pick_rows
from daskal.inputs.sources import Source, make_source
from tests.tables.files import FILES

VALUES = np.random.default_rng(1).random((60, 3))


def read_all(source: Source, edges: tuple[int, ...]) -> np.ndarray:
    """Return all rows of a source, read block by block as tasks do."""
    arguments, arrays = source.cut(edges)
    if arrays:
        return np.asarray(arrays[0])
    blocks = [
        source.reader(argument, *part)
        for argument, part in zip(arguments, pairwise(edges), strict=True)
    ]
    return np.concatenate(blocks, axis=source.row_axis)


FORMS: dict[str, Any] = {
    "memory": lambda _: VALUES,
    "lazy": lambda _: da.from_array(VALUES, chunks=(17, 2)),
    "Zarr": lambda folder: zarr.create_array(folder / "z.zarr", data=VALUES, chunks=(8, 3)),
    **{
        name: lambda folder, name=name: FILES[name](VALUES, folder)
        for name in ("npy", "Parquet", "Parquet folder", "Feather", "CSV")
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_rows_are_those_of_the_whole(form: str, share: float, tmp_path: Path) -> None:
    source = make_source("probs", open_argument("probs", FORMS[form](tmp_path), None).array, 0)
    rows = np.flatnonzero(np.random.default_rng(2).random(60) < share)
    picked = pick_rows(source, rows)
    assert (picked.num_rows, picked.shape) == (len(rows), (len(rows), 3))
    if share < 1:
        assert picked.identity() != source.identity()
    for step in (1, 7, 60):
        edges = (*range(0, len(rows), step), len(rows)) if len(rows) else (0, 0)
        with dask.config.set(scheduler="sync"):
            assert read_all(picked, edges).tobytes() == VALUES[rows].tobytes()


def test_rows_of_several_models() -> None:
    models = np.stack([VALUES, 1 - VALUES])
    picked = pick_rows(make_source("probs", models, 1), np.array([3, 59]))
    assert read_all(picked, (0, 1, 2)).tolist() == models[:, [3, 59]].tolist()


def test_parts_without_the_rows_are_not_read(tmp_path: Path) -> None:
    source = make_source("probs", FORMS["Zarr"](tmp_path), 0)
    asked: list[tuple[int, int]] = []

    class Watched:
        name = "probs"

        def __call__(self, argument: Any, start: int, stop: int) -> Any:
            asked.append((start, stop))
            return source.reader(argument, start, stop)

    picked = pick_rows(source, np.array([1, 2, 9, 50]))
    reader = type(picked.reader)(Watched(), 0, 8, 100)
    (argument,) = picked.cut((0, 4)).arguments
    assert reader(argument, 0, 4).tolist() == VALUES[[1, 2, 9, 50]].tolist()
    # Rows 1 to 9 lie in neighboring chunks; chunks 2 to 5 hold none.
    assert asked == [(1, 10), (50, 51)]
    # Chunks 0, 1 and 6.
    assert picked.rows_read == 24


@pytest.mark.parametrize("parts", [8, np.array([0, 8, 20, 20, 31, 60])], ids=["equal", "differing"])
def test_one_block_is_in_memory_at_a_time(parts: int | np.ndarray) -> None:
    asked: list[weakref.ref[Any]] = []

    class Watched:
        name = "probs"

        def __call__(self, argument: Any, start: int, stop: int) -> Any:
            assert all(block() is None for block in asked)
            block = VALUES[start:stop].copy()
            asked.append(weakref.ref(block))
            return block

    wanted = np.delete(np.arange(60), [0, 4, 30, 58])
    picked = pick_rows(make_source("probs", zarr.array(VALUES, chunks=(8, 3)), 0), wanted)
    (argument,) = picked.cut((0, len(wanted))).arguments
    found = PickedReader(Watched(), 0, parts, 12)(argument, 0, len(wanted))
    assert found.tolist() == VALUES[wanted].tolist()
    assert len(asked) > 3


@given(rows=st.sets(st.integers(0, 40)))
def test_selections_keep_the_rows(rows: set[int]) -> None:
    wanted = np.array(sorted(rows), dtype=np.int64)
    selection = Selection.of(wanted)
    assert len(selection) == len(wanted)
    assert selection.between(selection.start, selection.stop).tolist() == wanted.tolist()
    edges = np.arange(42)
    assert selection.count_before(edges).tolist() == np.searchsorted(wanted, edges).tolist()
    assert len(selection.listed) <= max(1, len(wanted))


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=20),
    wanted=st.integers(1, 50),
    chunk_rows=st.integers(1, 10),
)
def test_blocks_along_parts(sizes: list[int], wanted: int, chunk_rows: int) -> None:
    parts = np.concatenate([[0], np.cumsum(sizes)])
    num_rows = int(parts[-1])
    edges = part_edges(num_rows, parts, wanted, chunk_rows)
    assert (edges[0], edges[-1]) == (0, num_rows)
    assert all(edge % chunk_rows == 0 for edge in edges[:-1])
    if num_rows:
        assert all(b > a for a, b in pairwise(edges))
    # An edge is less than a chunk behind a part's, so that no part is read twice as a whole.
    distances = [edge - max(part for part in parts if part <= edge) for edge in edges]
    assert all(distance < chunk_rows for distance in distances)
    most = max(wanted, *sizes)
    assert all(b - a < most + chunk_rows for a, b in pairwise(edges))


def test_results_are_stored_in_chunks_that_blocks_cover(tmp_path: Path) -> None:
    matrix = open_argument("probs", FILES["Parquet folder"](VALUES, tmp_path), None).array
    source = make_source("probs", matrix, 0)
    assert source.part_edges is not None
    many = np.cumsum([0, *[50_000, 7_000, 90_000] * 12])
    blocks = cut_rows([replace_parts(source, many)], has_labels=False, uniform=True)
    assert len(blocks.edges) > 10
    assert all(edge % blocks.chunk_rows == 0 for edge in blocks.edges[:-1])
    assert blocks.most_rows == max(blocks.row_chunks)
    assert "differing sizes" in blocks.reason


def replace_parts(source: Source, edges: np.ndarray) -> Source:
    return replace(source, part_edges=edges, shape=(int(edges[-1]), 3))
