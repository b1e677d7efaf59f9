"""What a run is bound to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr

from daskal.inputs import fingerprint
from daskal.inputs.fingerprint import canonical, changes, describe
from tests.faultkit import ROOT


@pytest.fixture
def array(tmp_path: Path) -> zarr.Array:
    made = zarr.create_array(
        tmp_path / "a.zarr", shape=(10, 2), chunks=(4, 2), dtype="f4", fill_value=np.nan
    )
    made.attrs["note"] = "of no account"
    return made


def test_stored_array_is_its_url_and_metadata(array: zarr.Array, tmp_path: Path) -> None:
    found = describe(array)
    assert found["url"] == (tmp_path / "a.zarr").as_uri()
    assert found["shape"] == [10, 2]
    assert found["data_type"] == "float32"
    assert "attributes" not in found
    array.attrs["note"] = "changed"
    array[:] = 1
    assert describe(zarr.open_array(tmp_path / "." / "a.zarr")) == found


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_member_of_a_group(tmp_path: Path, zarr_format: int) -> None:
    group = zarr.create_group(tmp_path / "g.zarr", zarr_format=zarr_format)
    member = group.create_array("probs", shape=(3,), chunks=(3,), dtype="i2")
    member.attrs["note"] = "of no account"
    found = describe(member)
    assert found["url"] == (tmp_path / "g.zarr").as_uri() + "/probs"
    assert found["zarr_format"] == zarr_format
    assert "note" not in found


def test_values_in_memory_go_by_token() -> None:
    values = np.arange(6.0).reshape(3, 2)
    assert describe(values) == describe(values.copy())
    assert describe(values) != describe(values + 1)
    lazy = da.from_array(values, chunks=2)
    assert describe(lazy)["token"] == lazy.name
    assert describe(pd.Index(["a", "b"])) == describe(pd.Index(["a", "b"]))
    assert describe(pd.Index(["a", "b"])) != describe(pd.Index(["b", "a"]))


def test_tokens_are_the_same_in_another_process(array: zarr.Array, tmp_path: Path) -> None:
    """Whatever seed Python's own hashes have there."""
    code = (
        "import numpy as np, dask.array as da, pandas as pd\n"
        "from daskal.inputs.fingerprint import describe\n"
        f"lazy = da.from_zarr({str(tmp_path / 'a.zarr')!r}).map_blocks(np.exp, dtype='f4')\n"
        "print(describe([np.arange(5), lazy, pd.Index(['a', 'b']), ('x', 1)]))\n"
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
    assert shown[0] == shown[1]


def test_no_secret_takes_part() -> None:
    assert fingerprint.describe("s3://key:secret@bucket/a.zarr?X-Amz-Signature=abc") == describe(
        "s3://other:words@bucket/a.zarr?X-Amz-Signature=def"
    )


def test_changes_in_words() -> None:
    before = canonical({"a": {"b": 1, "c": (1, 2)}, "gone": None, "nan": float("nan")})
    now = {"a": {"b": 2, "c": [1, 2]}, "new": "x", "nan": float("nan")}
    assert changes(before, now) == [
        "a.b: was 1, is 2",
        "gone: was None, is not given",
        "new: was not given, is 'x'",
    ]
    assert changes(before, before) == []
