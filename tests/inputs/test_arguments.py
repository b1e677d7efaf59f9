"""What people hold: every kind of array, and its faults."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore, ZipStore

import daskal
from daskal.errors import InputError, MissingPathError, StorageError
from daskal.inputs import blocks
from daskal.storage import redaction
from tests.counting import counted_array
from tests.inputs.densekit import EXPECTED, INTEGERS, PROBLEM, results, stored


def zipped(root: Path, values: np.ndarray) -> Path:
    path = root.with_suffix(".zip")
    with ZipStore(path, mode="w") as store:
        zarr.create_group(store).create_array("deep/values", data=values, chunks=(7, 2))
    return path / "deep" / "values"


def in_group(root: Path, values: np.ndarray) -> str:
    zarr.open_group(root, mode="w").create_array("one/values", data=values, chunks=(8, 4))
    return f"{root}/one/values"


def lazily_opened(root: Path, values: np.ndarray, **options: Any) -> xr.DataArray:
    dims = ("example", "class")[: values.ndim]
    xr.Dataset({"values": (dims, values)}).chunk({"example": 9}).to_zarr(
        root, zarr_format=2, consolidated=True
    )
    return xr.open_zarr(root, **options)["values"]


KINDS = {
    "list": lambda _, x: x.tolist(),
    "fortran": lambda _, x: np.asfortranarray(x),
    "view": lambda _, x: np.repeat(x, 2, axis=0)[::2],
    "pandas": lambda _, x: pd.DataFrame(x),
    "dask": lambda _, x: da.from_array(x, chunks=(11, 2)),
    "xarray": lambda _, x: xr.DataArray(x),
    "xarray of dask": lambda _, x: xr.DataArray(da.from_array(x, chunks=(11, 2))),
    "xarray, stored": lambda root, x: lazily_opened(root, x),
    "xarray, stored, no dask": lambda root, x: lazily_opened(root, x, chunks=None),
    "zarr 2": lambda root, x: stored(root, x, chunks=(9, 2), zarr_format=2),
    "zarr 3": lambda root, x: stored(root, x, chunks=(9, 2)),
    "sharded": lambda root, x: stored(root, x, chunks=(5, 2), shards=(15, 4)),
    "in memory": lambda _, x: zarr.create_array(MemoryStore(), data=x, chunks=(9, 2)),
    "path": lambda root, x: (stored(root, x, chunks=(9, 2)), root)[1],
    "text of a path": lambda root, x: (stored(root, x), str(root))[1],
    "file://": lambda root, x: (stored(root, x), f"file://{root}")[1],
    "in a group": in_group,
    "zip": zipped,
    "zip://": lambda root, x: f"zip://deep/values::file://{zipped(root, x).parents[1]}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_bits(kind: str, tmp_path: Path) -> None:
    arrays = [
        KINDS[kind](tmp_path / f"{name}.zarr", values)
        for name, values in (
            ("labels", INTEGERS),
            ("probs", PROBLEM.pred_probs),
            ("pool", PROBLEM.pool),
        )
    ]
    assert results(*arrays) == EXPECTED
    assert results(PROBLEM.labels, arrays[1], PROBLEM.pool) == EXPECTED
    assert results(arrays[0], PROBLEM.pred_probs, arrays[2]) == EXPECTED


def test_options_are_for_urls_only(tmp_path: Path) -> None:
    stored(tmp_path / "labels", INTEGERS)
    estimate = daskal.estimate(
        tmp_path / "labels", PROBLEM.pred_probs, storage_options={"anon": True}
    )
    assert estimate.num_examples == 50


def test_each_inner_chunk_of_a_shard_is_read_once(tmp_path: Path) -> None:
    array, store = counted_array(
        tmp_path / "pool", np.full((96, 2), 0.5), chunks=(8, 2), shards=(32, 2)
    )
    with mock.patch.object(blocks, "MIN_BLOCK_ROWS", 8):
        scores = daskal.score_unlabeled(array)
    assert scores.chunks == ((8,) * 12,)
    scores.compute()
    assert set(store.reads().values()) == {1}
    assert len(store.reads()) == 12


# --- faults -----------------------------------------------------------------------------------


WRONG = {
    "a dataset": (xr.Dataset({"a": ("x", [1])}), "got a Dataset. .* variables: 'a'"),
    "long votes": (
        pd.DataFrame({"task": [1], "annotator": [1], "label": [1]}),
        "votes in long format .*import_votes",
    ),
    "a graph of Dask's": (dask.delayed(1), r"to_dask_array\(lengths=True\)"),
    "a lazy frame": (SimpleNamespace(collect=None), r"Call \.collect\(\) on it"),
    "ragged": ([[1, 2], [3]], "rows of one length"),
    "a generator": (iter([1]), "got builtins.list_iterator"),
    "a series": (pd.Series([1, 2]), r"got shape \(2,\)"),
    "text": (np.array([["a", "b"]]), "expected numbers, got dtype <U1"),
    "names": (pd.DataFrame({"u": ["cat"], "v": ["dog"]}), "Turn class names into codes"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_matrix(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        daskal.estimate(given, PROBLEM.pred_probs)


def test_a_group_lists_its_members(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for name in ("labels", "probs"):
        group.create_array(name, data=np.zeros(3))
    for given in (group, tmp_path / "g.zarr"):
        with pytest.raises(InputError, match=r"g\.zarr with the members labels, probs\. Put"):
            daskal.estimate(given, PROBLEM.pred_probs)


@pytest.mark.parametrize(
    "path", ["nothing.zarr", "file://{}/nothing.zarr", "there.zip/nothing", "zip://x::{}/there.zip"]
)
def test_nothing_under_the_path(path: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "there.zip", "w"):
        pass
    path = path.format(tmp_path) if "{" in path else os.fspath(tmp_path / path)
    with pytest.raises(MissingPathError, match="cannot read pred_probs_unlabeled from") as caught:
        daskal.score_unlabeled(path)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize(("name", "advice"), [("b.h5ad", "write_zarr"), ("c", "Check the path")])
def test_what_is_no_zarr(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"which is neither.*{advice}"):
        daskal.score_unlabeled(tmp_path / name)


def test_a_store_that_is_broken(tmp_path: Path) -> None:
    stored(tmp_path / "a", PROBLEM.pool)
    (tmp_path / "a" / "zarr.json").write_text("{")
    with pytest.raises(StorageError, match=r"cannot read pred_probs_unlabeled from .*JSONDecode"):
        daskal.score_unlabeled(tmp_path / "a")


def test_a_chunk_that_is_broken(tmp_path: Path) -> None:
    stored(tmp_path / "a", PROBLEM.pool, chunks=(30, 3))
    (tmp_path / "a" / "c" / "0" / "0").write_bytes(b"no chunk")
    with pytest.raises(daskal.DaskalError, match=r"_unlabeled: rows 0 to 30 of .*/a cannot be"):
        daskal.score_unlabeled(tmp_path / "a").compute()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pass@host/x?sig=1&a=b", "https://...@host/x?..."),
        ("get 's3://b/x?token=1', then https://u@h/y", "get 's3://b/x?...', then https://...@h/y"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("/home/me@host/what?.zarr", "/home/me@host/what?.zarr"),
        ("zip://x::https://u:p@h/x.zip?k=v", "zip://x::https://...@h/x.zip?..."),
    ],
)
def test_urls_are_shown_without_secrets(text: str, shown: str) -> None:
    assert redaction.redacted(text) == shown


def test_options_are_shown_without_secrets() -> None:
    options = {"key": "AKIA123", "client_kwargs": {"aws_session_token": "tok-1"}, "region": "eu-1"}
    error = ValueError("AKIA123 with tok-1 is not known in eu-1")
    assert redaction.explain(error, options) == "ValueError: ... with ... is not known in eu-1"
