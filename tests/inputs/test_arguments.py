"""What people hold: every kind of array, with its ids, its coords and its faults."""

from __future__ import annotations

import dataclasses
import os
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore, ZipStore

import daskal
from daskal.errors import InputError, MissingPathError, StorageError
from daskal.inputs import arguments, blocks
from daskal.storage import redaction
from tests.counting import counted_array
from tests.problems import cast_labels, forbid_compute, is_vote, make_problem

PROBLEM = make_problem(7, num_examples=50, num_annotators=6, num_classes=3, pool=30)
INTEGERS = cast_labels(PROBLEM.labels, np.int8)
TASKS = [f"t{i:02}" for i in range(50)]
PEOPLE = list("uvwxyz")


def results(labels: Any, probs: Any, pool: Any) -> list[Any]:
    """Text of the estimate without ids, and the scores of both pools."""
    estimate = daskal.estimate(labels, probs)
    plain = dataclasses.replace(estimate, annotator_ids=None, class_names=None)
    scores = daskal.score_labeled(labels, probs, estimate)
    return [
        plain.to_json(),
        np.asarray(scores).tobytes(),
        np.asarray(daskal.score_unlabeled(pool, estimate)).tobytes(),
    ]


EXPECTED = results(PROBLEM.labels, PROBLEM.pred_probs, PROBLEM.pool)


def stored(root: Path, values: np.ndarray, **options: Any) -> zarr.Array:
    return zarr.create_array(root, data=np.asarray(values), overwrite=True, **options)


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


LABEL_FORMS = {
    "nullable": lambda: pd.DataFrame(PROBLEM.labels).astype("Int64"),
    "object": lambda: np.where(is_vote(INTEGERS), INTEGERS.astype(object), None),
    "masked floats": lambda: np.ma.masked_invalid(PROBLEM.labels),
    "masked floats, hidden labels": lambda: np.ma.array(
        np.nan_to_num(PROBLEM.labels, nan=1), mask=np.isnan(PROBLEM.labels)
    ),
    "masked integers": lambda: np.ma.masked_less(INTEGERS, 0),
    "masked unsigned": lambda: np.ma.masked_equal(INTEGERS.astype(np.uint8), 255),
    "masked, in dask": lambda: da.from_array(np.ma.masked_less(INTEGERS, 0), chunks=(13, 6)),
    "masked, hidden labels": lambda: np.ma.array(
        np.where(is_vote(INTEGERS), INTEGERS, 1), mask=~is_vote(INTEGERS)
    ),
    "half floats": lambda: PROBLEM.labels.astype(np.float16),
    "big integers": lambda: INTEGERS.astype(">i4"),
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_every_form_of_missing_labels(form: str) -> None:
    assert results(LABEL_FORMS[form](), PROBLEM.pred_probs, PROBLEM.pool) == EXPECTED


def test_models_in_arrays_of_their_own(tmp_path: Path) -> None:
    problem = make_problem(2, num_models=2)
    expected = results(problem.labels, problem.pred_probs, problem.pool)
    paths = []
    for model in range(2):
        paths.append(tmp_path / f"{model}.zarr")
        stored(paths[-1], problem.pred_probs[model], chunks=(6, 4))
    assert results(problem.labels, paths, list(problem.pool)) == expected
    mixed = [str(paths[0]), pd.DataFrame(problem.pred_probs[1])]
    assert results(problem.labels, mixed, tuple(problem.pool)) == expected
    together = xr.DataArray(problem.pred_probs, dims=("model", "example", "class"))
    scores = daskal.score_unlabeled(together, None)
    assert scores.dims == ("example",)


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


# --- ids and coords ---------------------------------------------------------------------------


def test_coords_travel() -> None:
    labels = xr.DataArray(
        INTEGERS,
        dims=("task", "annotator"),
        coords={
            "task": TASKS,
            "annotator": PEOPLE,
            "length": ("task", np.arange(50)),
            "cell": (("task", "annotator"), np.zeros((50, 6))),
            "batch": 3,
        },
    )
    probs = xr.DataArray(PROBLEM.pred_probs, dims=("row", "class"))
    estimate = daskal.estimate(labels, probs)
    assert list(estimate.annotator_weight.index) == PEOPLE
    for given in (labels, labels.chunk({"task": 11})):
        with forbid_compute():
            scores = daskal.score_labeled(given, probs, estimate)
        assert scores.dims == ("task",)
        assert set(scores.coords) == {"task", "length", "batch"}
        assert list(scores.indexes["task"]) == TASKS
        assert scores.name == "score"
        assert scores.chunks is not None
        np.testing.assert_array_equal(scores.compute().values, np.frombuffer(EXPECTED[1]))
        assert float(scores.sel(task="t07")) == np.frombuffer(EXPECTED[1])[7]


def test_coords_of_several_levels_travel() -> None:
    index = pd.MultiIndex.from_product([list("ab"), range(25)], names=["part", "number"])
    coords = xr.Coordinates.from_pandas_multiindex(index, "task")
    probs = xr.DataArray(PROBLEM.pred_probs, dims=("task", "class"), coords=coords)
    estimate = daskal.estimate(PROBLEM.labels, probs)
    scores = daskal.score_labeled(PROBLEM.labels, probs, estimate)
    assert scores.indexes["task"].equals(index)
    assert float(scores.sel(part="b", number=3)) == np.frombuffer(EXPECTED[1])[28]


def test_ids_of_a_frame_travel() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS, columns=PEOPLE)
    probs = pd.DataFrame(PROBLEM.pred_probs, index=TASKS, columns=["cat", "dog", "eel"])
    estimate = daskal.estimate(labels, probs)
    assert estimate.annotator_ids == tuple(PEOPLE)
    assert estimate.class_names == ("cat", "dog", "eel")
    turned = daskal.score_labeled(labels[PEOPLE[::-1]], probs, estimate)
    np.testing.assert_allclose(turned.compute(), np.frombuffer(EXPECTED[1]), rtol=0, atol=1e-15)


def test_ids_of_any_type_are_kept_or_named() -> None:
    labels = pd.DataFrame(INTEGERS, columns=pd.date_range("2025-01-01", periods=6))
    estimate = daskal.estimate(labels, PROBLEM.pred_probs)
    assert estimate.annotator_ids[0] == "2025-01-01 00:00:00"
    assert daskal.Estimate.from_json(estimate.to_json()) == estimate
    scores = daskal.score_labeled(labels, PROBLEM.pred_probs, estimate)
    np.testing.assert_array_equal(scores.compute(), np.frombuffer(EXPECTED[1]))


def test_stored_ids_are_read_where_they_are_wanted(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "ids", shape=(50,), chunks=(7,), dtype=str)
    array[:] = np.array(TASKS, dtype=object)
    ids = arguments.StoredIds(array)
    assert len(ids) == 50
    assert list(ids[3:5]) == TASKS[3:5]
    assert list(ids[np.array([1, 40])]) == [TASKS[1], TASKS[40]]
    assert list(ids.to_numpy()) == TASKS


def test_rows_that_are_other_examples_are_refused() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS)
    probs = pd.DataFrame(PROBLEM.pred_probs, index=TASKS[:48] + TASKS[:47:-1])
    with pytest.raises(InputError, match=r"got 't48' and 't49' in row 48\. Put both"):
        daskal.estimate(labels, probs)
    daskal.estimate(labels, probs.loc[TASKS])


def test_dimensions_that_are_turned_round_are_refused() -> None:
    labels = xr.DataArray(INTEGERS[:6], dims=("task", "annotator"))
    probs = xr.DataArray(PROBLEM.pred_probs[:6, :2], dims=("class", "task"))
    with pytest.raises(InputError, match="transpose"):
        daskal.estimate(labels, probs)


def test_annotators_of_one_name_are_refused() -> None:
    labels = pd.DataFrame(INTEGERS, columns=list("uvwxyx"))
    with pytest.raises(InputError, match=r"got several for \['x'\]"):
        daskal.estimate(labels, PROBLEM.pred_probs)


# --- faults -----------------------------------------------------------------------------------

WRONG = {
    "a dataset": (xr.Dataset({"a": ("x", [1])}), "got a Dataset. .* variables: 'a'"),
    "long votes": (
        pd.DataFrame({"task": [1], "annotator": [1], "label": [1]}),
        "votes in long format .*import_votes",
    ),
    "dask frame": (
        da.zeros((4, 2), chunks=2).to_dask_dataframe(),
        r"to_dask_array\(lengths=True\)",
    ),
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


@pytest.mark.parametrize(
    ("name", "advice"), [("a.npy", "mmap_mode"), ("b.parquet", "import_votes"), ("c", "Check")]
)
def test_what_is_no_zarr(name: str, advice: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something")
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
