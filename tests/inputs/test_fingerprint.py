"""What a run is bound to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore, MemoryStore

from daskal.inputs.fingerprint import (
    canonical,
    changes,
    lazy_identity,
    memory_identity,
    names_identity,
    stored_identities,
    stored_identity,
)
from tests.faultkit import ROOT


@pytest.fixture
def array(tmp_path: Path) -> zarr.Array:
    made = zarr.create_array(
        tmp_path / "a.zarr", shape=(10, 2), chunks=(4, 2), dtype="f4", fill_value=np.nan
    )
    made.attrs["note"] = "of no account"
    return made


def test_stored_array_is_its_url_and_metadata(array: zarr.Array, tmp_path: Path) -> None:
    found = stored_identity(array)
    assert found["url"] == (tmp_path / "a.zarr").as_uri()
    assert found["shape"] == [10, 2]
    assert found["data_type"] == "float32"
    assert "attributes" not in found
    array.attrs["note"] = "changed"
    array[:] = 1
    assert stored_identity(zarr.open_array(tmp_path / "." / "a.zarr")) == found


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_member_of_a_group(tmp_path: Path, zarr_format: int) -> None:
    group = zarr.create_group(tmp_path / "g.zarr", zarr_format=zarr_format)
    member = group.create_array("probs", shape=(3,), chunks=(3,), dtype="i2")
    member.attrs["note"] = "of no account"
    found = stored_identity(member)
    assert found["url"] == (tmp_path / "g.zarr").as_uri() + "/probs"
    assert found["zarr_format"] == zarr_format
    assert "note" not in found
    assert stored_identities((3, 2), {"data": member}) == {"shape": [3, 2], "data": found}


def identity(values: np.ndarray) -> dict[str, object]:
    return memory_identity(values.shape, values.dtype, values)


def test_values_in_memory_go_by_token() -> None:
    values = np.arange(6.0).reshape(3, 2)
    assert identity(values) == identity(values.copy())
    assert identity(values)["shape"] == [3, 2]
    for other in (values + 1, values.astype("f4"), values.reshape(2, 3)):
        assert identity(other) != identity(values)


def test_masked_values_go_by_mask_too() -> None:
    values = np.ma.array([1, 2, 3], mask=[False, True, False])
    other = np.ma.array([1, 2, 3], mask=[False, False, True])
    assert identity(values) == identity(values.copy())
    assert identity(values) != identity(other)


def test_lazy_arrays_go_by_name() -> None:
    lazy = da.from_array(np.arange(6.0).reshape(3, 2), chunks=2)
    assert lazy_identity(lazy) == {"shape": [3, 2], "dtype": "float64", "name": lazy.name}


def test_names_go_by_number_and_token() -> None:
    assert names_identity(None) is None
    assert names_identity(("a", "b")) == names_identity(("a", "b"))
    assert names_identity(("a", "b")) != names_identity(("b", "a"))
    assert (names_identity(("a", "b")) or {})["number"] == 2


def test_identities_are_the_same_in_another_process(array: zarr.Array, tmp_path: Path) -> None:
    """Whatever seed Python's own hashes have there."""
    code = (
        "import numpy as np, dask.array as da\n"
        "from daskal.inputs.fingerprint import lazy_identity, memory_identity, names_identity\n"
        f"lazy = da.from_zarr({str(tmp_path / 'a.zarr')!r}).map_blocks(np.exp, dtype='f4')\n"
        "numbers, words = np.arange(5), np.array(['a', 'b'], dtype=object)\n"
        "print(memory_identity((5,), numbers.dtype, numbers, words))\n"
        "print(lazy_identity(lazy), names_identity(('x', 1)))\n"
    )
    shown = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert "token" in shown[0]
    assert shown[0] == shown[1]


def remote(path: str, token: str) -> zarr.Array:
    """Return an array on storage that is asked with options and by a URL, both of them secret."""
    store = FsspecStore.from_url(f"memory://{path}", storage_options={"token": token})
    return zarr.create_array(store, shape=(2,), chunks=(2,), dtype="f4", overwrite=True)


def test_no_secret_takes_part() -> None:
    first = stored_identity(remote("bucket/a.zarr?X-Amz-Signature=abc", "tok-1"))
    assert first == stored_identity(remote("bucket/a.zarr?X-Amz-Signature=def", "tok-2"))
    assert "bucket/a.zarr" in first["url"]
    assert first != stored_identity(remote("bucket/b.zarr?X-Amz-Signature=abc", "tok-1"))
    named = da.zeros(3, name="s3://key:secret@bucket/a.zarr?X-Amz-Signature=abc")
    assert "secret" not in lazy_identity(named)["name"]
    assert "abc" not in lazy_identity(named)["name"]


def test_another_store_in_memory_is_another_input() -> None:
    arrays = [zarr.create_array(MemoryStore(), shape=(2,), dtype="f4") for _ in range(2)]
    assert stored_identity(arrays[0]) != stored_identity(arrays[1])


def test_changes_in_words() -> None:
    before = canonical({"a": {"b": 1, "c": (1, 2)}, "gone": None, "nan": float("nan")})
    now = {"a": {"b": 2, "c": [1, 2]}, "new": "x", "nan": float("nan")}
    assert changes(before, now) == [
        "a.b: was 1, is 2",
        "gone: was None, is not given",
        "new: was not given, is 'x'",
    ]
    assert changes(before, before) == []
