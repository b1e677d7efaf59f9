"""One place however it is written, and whatever reads from below it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray
import zarr

from daskal.errors import InputError
from daskal.storage.places import place_of_path, places_in, refuse_sources_under

VALUES = np.arange(12).reshape(6, 2)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with sources of every kind in it, also linked from elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "out.zarr"
    zarr.open_group(folder, mode="w").create_array("a", data=VALUES, chunks=(2, 2))
    np.save(folder / "m.npy", VALUES)
    pd.DataFrame({"task": [1, 2]}).to_parquet(folder / "v.parquet")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "link to a").symlink_to(folder / "a")
    return folder


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": lambda out: out / "a",
    "text": lambda out: str(out / "a"),
    "relative": lambda out: "out.zarr/a",
    "home": lambda out: "~/out.zarr/a",
    "dots": lambda out: f"{out}/../out.zarr/./a",
    "file URL": lambda out: (out / "a").as_uri(),
    "file: without slashes": lambda out: f"file:{out}/a",
    "local URL": lambda out: f"local://{out}/a",
    "chain": lambda out: f"simplecache::file://{out}/a",
    "link to the folder": lambda out: "link/a",
    "link into the folder": lambda out: "link to a",
    "the folder": lambda out: out,
    "Zarr array": lambda out: zarr.open_array(out / "a", mode="r"),
    "Zarr array by URL": lambda out: zarr.open_array(out.as_uri() + "/a", mode="r"),
    "Zarr group": lambda out: zarr.open_group(out, mode="r"),
    "list of models": lambda out: [VALUES, str(out / "a")],
    "memory map": lambda out: np.load(out / "m.npy", mmap_mode="r"),
    "view of a memory map": lambda out: np.asarray(np.load(out / "m.npy", mmap_mode="r"))[1:],
    "Dask": lambda out: da.from_zarr(str(out / "a")),
    "Dask over an opened array": lambda out: da.from_array(zarr.open_array(out / "a", mode="r")),
    "Dask, computed with": lambda out: (da.from_zarr(str(out / "a")) + 0)[1:].rechunk(3),
    "xarray over Dask": lambda out: xarray.DataArray(da.from_zarr(str(out / "a"))),
    "Dask DataFrame": lambda out: dd.read_parquet(out / "v.parquet"),
    "Dask DataFrame, computed with": lambda out: dd.read_parquet(out / "v.parquet")[["task"]] + 1,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_source_under_out_is_refused(out: Path, way: str) -> None:
    source = WAYS[way](out)
    before = sorted(path for path in out.rglob("*"))
    for target in (out, str(out), out.as_uri(), "out.zarr", "link", f"{out}/"):
        with pytest.raises(InputError, match="labels: expected a place apart from out="):
            refuse_sources_under(target, {"labels": source})
    assert sorted(path for path in out.rglob("*")) == before


@pytest.mark.parametrize("way", WAYS)
def test_a_source_elsewhere_is_taken(out: Path, way: str) -> None:
    refuse_sources_under(out.parent / "out.zarr2", {"labels": WAYS[way](out)})
    refuse_sources_under("s3://bucket/out.zarr", {"labels": WAYS[way](out)})


def test_out_within_a_source(out: Path) -> None:
    with pytest.raises(InputError, match="out: expected a place of its own"):
        refuse_sources_under(out / "a" / "scores", {"labels": zarr.open_array(out / "a")})


def test_what_is_in_memory_has_no_place() -> None:
    memory = zarr.create_array(zarr.storage.MemoryStore(), data=VALUES)
    for value in (VALUES, memory, da.ones(3), pd.DataFrame({"a": [1]}), None, [VALUES, VALUES]):
        assert list(places_in(value)) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s3://bucket/a/b", "s3a://bucket/a//b/"),
        ("s3://key:secret@bucket/a", "s3://bucket/a?versionId=1"),
        ("simplecache::s3://bucket/a", "s3://bucket/a"),
        ("gs://b/x", "gcs://b/x/"),
    ],
)
def test_urls_of_one_place(one: str, other: str) -> None:
    assert place_of_path(one) == place_of_path(other)


def test_names_that_begin_alike_are_other_places() -> None:
    assert not place_of_path("s3://b/ab").is_within(place_of_path("s3://b/a"))
    assert not place_of_path("/x/ab").is_within(place_of_path("/x/a"))
    assert place_of_path("/x/a b").is_within(place_of_path("file:///x/a%20b"))
    assert place_of_path(os.path.curdir).is_within(place_of_path("/"))
