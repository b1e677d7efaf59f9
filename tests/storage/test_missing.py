"""Chunks of labels that are not there, and would be read as votes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import daskal
from daskal.errors import StorageError
from daskal.storage.missing import check_chunks, chunks_of
from tests.problems import make_problem

PROBLEM = make_problem(1, num_examples=240, num_annotators=6)
LABELS = np.nan_to_num(PROBLEM.labels, nan=-1).astype("i1")


def stored(folder: Path, **layout: Any) -> zarr.Array:
    array = zarr.create_array(
        str(folder / "l.zarr"), shape=LABELS.shape, dtype="i1", **{"chunks": (60, 6), **layout}
    )
    array[...] = LABELS
    return array


LAYOUTS: dict[str, tuple[dict[str, Any], str]] = {
    "Zarr 2, null": ({"zarr_format": 2, "fill_value": None}, "1.0"),
    "Zarr 2, 0": ({"zarr_format": 2, "fill_value": 0}, "1.0"),
    "Zarr 3, 0": ({"fill_value": 0}, "c/1/0"),
    "Zarr 3, 2": ({"fill_value": 2}, "c/1/0"),
    "half of the annotators": ({"fill_value": 0, "chunks": (60, 3)}, "c/1/1"),
    "a shard": ({"fill_value": 0, "chunks": (20, 6), "shards": (60, 6)}, "c/1/0"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_chunk_is_an_error_that_names_its_rows(tmp_path: Path, layout: str) -> None:
    options, chunk = LAYOUTS[layout]
    stored(tmp_path, **options)
    whole = daskal.estimate(tmp_path / "l.zarr", PROBLEM.pred_probs)
    assert whole.num_annotations == np.count_nonzero(LABELS >= 0)
    (tmp_path / "l.zarr" / chunk).unlink()
    with pytest.raises(StorageError, match=r"labels: a chunk of rows 60 to 120 of .* is not there"):
        daskal.estimate(tmp_path / "l.zarr", PROBLEM.pred_probs)


def test_votes_of_a_missing_chunk(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=2)
    row, annotator = np.nonzero(LABELS >= 0)
    offsets = np.concatenate([[0], np.cumsum((LABELS >= 0).sum(axis=1))])
    for name, values in (
        ("indptr", offsets),
        ("indices", annotator),
        ("data", LABELS[row, annotator]),
    ):
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(100,), fill_value=None
        )
        array[:] = values
    group.attrs.update({"encoding-type": "csr_matrix", "shape": list(LABELS.shape)})
    daskal.estimate(tmp_path / "v.zarr", PROBLEM.pred_probs)
    (tmp_path / "v.zarr" / "data" / "2").unlink()
    with pytest.raises(StorageError, match=r"a chunk of rows 200 to 300 of .*data"):
        daskal.estimate(tmp_path / "v.zarr", PROBLEM.pred_probs)


def test_where_a_missing_chunk_reads_as_missing_labels(tmp_path: Path) -> None:
    stored(tmp_path, fill_value=-1)
    shutil.rmtree(tmp_path / "l.zarr" / "c" / "1")
    estimate = daskal.estimate(tmp_path / "l.zarr", PROBLEM.pred_probs)
    assert estimate.num_examples - estimate.num_labeled == 60


def test_a_class_of_a_whole_chunk_that_is_stored(tmp_path: Path) -> None:
    array = zarr.create_array(
        str(tmp_path / "a.zarr"),
        data=np.zeros((8, 2), "i1"),
        chunks=(4, 2),
        fill_value=0,
        config={"write_empty_chunks": True},
    )
    check_chunks("labels", array, 0, array[:])
    check_chunks("labels", array, 2, array[2:7])


def test_parts_of_chunks() -> None:
    found = dict(chunks_of((4, 2), 2, (5, 3)))
    assert found[0, 0] == (slice(0, 2), slice(0, 2))
    assert found[1, 1] == (slice(2, 6), slice(2, 4))
    assert len(found) == 4
