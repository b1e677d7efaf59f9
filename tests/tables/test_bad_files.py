"""Files that are no tables, or not the ones expected: one clear error each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import daskal
from tests.tables.files import FILES, arrow_of, frame_of, lists_of, write_stream

VALUES = np.full((12, 3), 1 / 3)


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def two_schemas(folder: Path) -> Path:
    (folder / "t").mkdir()
    pq.write_table(arrow_of(frame_of(VALUES)), folder / "t/a.parquet")
    pq.write_table(arrow_of(frame_of(VALUES.astype("f4"))), folder / "t/b.parquet")
    return folder / "t"


def two_kinds(folder: Path) -> Path:
    (folder / "t").mkdir()
    pq.write_table(arrow_of(frame_of(VALUES)), folder / "t/a.parquet")
    frame_of(VALUES).to_csv(folder / "t/b.csv", index=False)
    return folder / "t"


def uneven_lists(folder: Path) -> Path:
    table = pa.table({"p": [[0.5, 0.5], [0.5, 0.25, 0.25], [1.0, 0.0], [1.0]]})
    pq.write_table(table, folder / "t.parquet")
    return folder / "t.parquet"


def a_missing_list(folder: Path) -> Path:
    table = pa.table({"p": pa.array([[0.5, 0.5], None], pa.list_(pa.float64(), 2))})
    pyarrow.feather.write_feather(table, folder / "t.feather")
    return folder / "t.feather"


def list_beside_number(folder: Path) -> Path:
    table = lists_of(VALUES).append_column("score", pa.array(np.zeros(12)))
    pq.write_table(table, folder / "t.parquet")
    return folder / "t.parquet"


def several_arrays(folder: Path) -> Path:
    np.savez(folder / "t.npz", a=VALUES, b=VALUES)
    return folder / "t.npz"


def objects(folder: Path) -> Path:
    np.save(folder / "t.npy", np.array([[1, "a"]], dtype=object), allow_pickle=True)
    return folder / "t.npy"


def text_in_csv(folder: Path) -> Path:
    """Numbers in the first MiB, by which columns are told, and text behind it."""
    lines = "0.25,0.75\n" * 150_000
    return written(folder, "t.csv", f"a,b\n{lines}0.5,half\n".encode())


def old_feather(folder: Path) -> Path:
    """Newer versions of pyarrow do not write them any more."""
    return written(folder, "t.feather", b"FEA1" + bytes(40) + b"FEA1")


def splits(folder: Path) -> Path:
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return folder


def shuffled(folder: Path) -> Path:
    write_stream(lists_of(VALUES), folder / "data.arrow", 5)
    state = {"_data_files": [{"filename": "data.arrow"}], "_indices_files": [{"filename": "i"}]}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "an empty Parquet file": (
        lambda folder: written(folder, "t.parquet", b""),
        r"expected data, got .*t\.parquet, which is empty",
    ),
    "an empty CSV file": (lambda folder: written(folder, "t.csv", b""), "t.csv, which is empty"),
    "an empty file": (lambda folder: written(folder, "t", b""), "which is empty"),
    "no Parquet at all": (
        lambda folder: written(folder, "t.parquet", b"something else"),
        r"expected Parquet, got .*t\.parquet, which is no Parquet",
    ),
    "Arrow called Parquet": (
        lambda folder: FILES["Feather"](VALUES, folder).rename(folder / "t.parquet"),
        r"which holds Arrow\. Give it the ending \.arrow",
    ),
    "half a Parquet file": (
        lambda folder: cut(Path(FILES["Parquet"](VALUES, folder)), 0.5),
        r"which is damaged or cut off",
    ),
    "half a Feather file": (
        lambda folder: cut(Path(FILES["Feather"](VALUES, folder)), 0.5),
        r"which is damaged or cut off",
    ),
    "half a .npy file": (
        lambda folder: cut(Path(FILES["npy"](VALUES, folder)), 0.8),
        r"which is damaged or cut off",
    ),
    "text called .npy": (lambda folder: written(folder, "t.npy", b"text"), "which is no npy"),
    "text called .feather": (
        lambda folder: written(folder, "t.feather", b"some text"),
        "which is no Arrow",
    ),
    "Parquet called CSV": (
        lambda folder: Path(FILES["Parquet"](VALUES, folder)).rename(folder / "t.csv"),
        r"expected CSV, got .*t\.csv, which holds Parquet",
    ),
    "CSV whose lines end as on old computers": (
        lambda folder: written(folder, "t.csv", b"a,b\r0.5,0.5\r0.1,0.9\r"),
        r"t\.csv, whose lines end in a carriage return alone\. Save it anew",
    ),
    "CSV compressed in a way that is not read": (
        lambda folder: written(folder, "t.csv.zst", b"\x28\xb5\x2f\xfd and more"),
        r"t\.csv\.zst, which is compressed in a way that is not read\. Unpack it",
    ),
    "half of compressed CSV": (
        lambda folder: cut(Path(FILES["packed CSV"](VALUES, folder)), 0.5),
        r"m\.csv\.gz, which is not, or is damaged or cut off\. Write or copy it anew",
    ),
    "an old Feather file": (old_feather, "expected Feather of version 2"),
    "JSON": (lambda folder: written(folder, "t.json", b"[]"), r"pandas\.read_json"),
    "an unknown file": (
        lambda folder: written(folder, "t.bin", b"\x81\x9a\xff"),
        r"none of them\. Check the path",
    ),
    "columns of other types in two files": (two_schemas, "'class 0' is double there and float"),
    "files of two kinds": (two_kinds, "expected files of one kind, got Parquet .* and CSV"),
    "lists of several lengths": (
        uneven_lists,
        "list of 2 numbers in each row, but row 1 has one of 3",
    ),
    "a list that is missing": (a_missing_list, "list of 2 numbers in each row, but row 1 has none"),
    "a list beside a number": (list_beside_number, r"got also 'probs' \(list"),
    "several arrays": (several_arrays, r"expected one array in .*, got 2 \('a', 'b'\)"),
    "Python objects": (objects, "holds Python objects: reading them could run any code"),
    "text among numbers": (text_in_csv, "conversion error to double: invalid value 'half'"),
    "rows of two lengths": (
        lambda folder: written(folder, "t.csv", b"a,b\n0.5,0.5\n1\n"),
        "Expected 2 columns, got 1",
    ),
    "two columns of one name": (
        lambda folder: written(folder, "t.csv", b"a,a\n0.5,0.5\n"),
        "expected a name of its own for each column",
    ),
    "several data sets": (splits, "which holds the splits 'train', 'test'"),
    "a shuffled data set": (shuffled, r"\.flatten_indices\(\) before saving"),
    "no match": (lambda folder: folder / "*.parquet", "there is no file under"),
    "nothing there": (lambda folder: folder / "t.parquet", "nothing is stored there"),
}


@pytest.mark.parametrize(("make", "message"), WRONG.values(), ids=WRONG)
def test_wrong_files(make: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(daskal.DaskalError, match=message) as caught:
        daskal.score_unlabeled(make(tmp_path)).compute()
    assert "pred_probs_unlabeled" in str(caught.value) or "no file under" in str(caught.value)


@pytest.mark.parametrize("ending", ["parquet", "csv", "feather"])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, r"got also 'text' \(.*string\)\. Name the ids with id_column="),
        ({"id_column": "task"}, "expected a column 'task' in .*, found 'a', 'b', 'text'"),
        ({"id_column": "text", "class_columns": ["a", "c"]}, "expected a column 'c'"),
        ({"id_column": "a", "class_columns": ["a", "b"]}, "which is the column of ids too"),
        ({"class_columns": ["a", "a"]}, "expected a list of distinct names"),
        ({"class_columns": "a,b"}, "expected a list of distinct names"),
        ({"class_columns": ["a", "text"]}, r"got also 'text'"),
    ],
)
def test_wrong_columns(ending: str, table: dict[str, Any], message: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [0.5, 0.5], "b": [0.5, 0.5], "text": ["x", "y"]})
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    else:
        getattr(frame, f"to_{ending}")(path)
    with pytest.raises(daskal.DaskalError, match=message):
        daskal.score_unlabeled(daskal.Table(path, **table))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_missing_ids(ending: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["x", None, "y"], "a": 0.5, "b": 0.5})
    path = tmp_path / f"t.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    with pytest.raises(daskal.DaskalError, match=r"expected an id in every row of column 'id'"):
        daskal.run(pred_probs_unlabeled=path, id_column="id", out=tmp_path / "out.zarr")


def test_classes_that_do_not_match(tmp_path: Path) -> None:
    frame_of(VALUES, ["ant", "bee", "cat"]).to_parquet(tmp_path / "a.parquet")
    frame_of(VALUES, ["ant", "bee", "dog"]).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(daskal.DaskalError, match=r"pred_probs alone has 'cat'; .* alone has 'dog'"):
        daskal.run(
            labels=np.zeros((12, 2), dtype=int),
            pred_probs=tmp_path / "a.parquet",
            pred_probs_unlabeled=tmp_path / "b.parquet",
            out=tmp_path / "out.zarr",
        )


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(arrow_of(frame_of(VALUES)), path, row_group_size=5)
    scores = daskal.score_unlabeled(path)
    pq.write_table(arrow_of(frame_of(VALUES[:11])), path, row_group_size=5)
    with pytest.raises(daskal.DaskalError, match="the file has changed since it was opened"):
        scores.compute()


@pytest.mark.parametrize("name", ["out.parquet", "out.npy"])
def test_a_file_is_never_overwritten(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, VALUES)
    else:
        frame_of(VALUES).to_parquet(path)
    before = path.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(daskal.DaskalError, match=r"expected a place apart|exists already"):
            daskal.run(pred_probs_unlabeled=path, out=path, overwrite=overwrite)
    assert path.read_bytes() == before


def test_tables_within_the_result_are_never_overwritten(tmp_path: Path) -> None:
    daskal.run(pred_probs_unlabeled=VALUES, out=tmp_path / "out.zarr")
    frame_of(VALUES).to_parquet(tmp_path / "out.zarr/t.parquet")
    for given in ("t.parquet", "*.parquet"):
        for form in (tmp_path / "out.zarr" / given, daskal.Table(tmp_path / "out.zarr" / given)):
            with pytest.raises(daskal.DaskalError, match="one that lies under it"):
                daskal.run(pred_probs_unlabeled=form, out=tmp_path / "out.zarr", overwrite=True)
    assert (tmp_path / "out.zarr/t.parquet").exists()
