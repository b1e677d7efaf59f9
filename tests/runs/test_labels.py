"""Consensus labels out of a store: lazily, the doubtful ones, and to files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

import daskal
from daskal.errors import InputError, StorageError, StoreExistsError
from tests.problems import forbid_compute, make_problem

CLASSES = ["cat", "dog", "cow", "pig"]
COLUMNS = [
    "id",
    "consensus_label",
    "consensus_quality_score",
    "annotator_agreement",
    "num_annotations",
    "score",
]


def make_run(folder: Path, ids: Any = None, *, chunk: int = 70, **options: Any) -> daskal.Run:
    """Return a run over several blocks, whose classes have names."""
    problem = make_problem(3, num_examples=200, num_annotators=30, pool=50)
    labels = problem.labels.copy()
    labels[5] = np.nan  # a row without votes
    stored = zarr.create_array(
        folder / "labels.zarr", shape=labels.shape, chunks=(chunk, 30), dtype="float64"
    )
    stored[...] = labels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daskal.inputs.blocks.MIN_BLOCK_ROWS", chunk)
        run = daskal.run(
            labels=stored,
            pred_probs=pd.DataFrame(problem.pred_probs, columns=CLASSES),
            labeled_ids=ids,
            out=folder / "s.zarr",
            **options,
        )
    assert run.labels is not None
    assert run.labels.npartitions == 3
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    return make_run(tmp_path_factory.mktemp("labels"), [f"img/{row}" for row in range(200)])


def test_labels_are_those_of_the_store_and_of_label_quality(run: daskal.Run) -> None:
    with forbid_compute():
        labels = daskal.Run.open(run.path).labels
    assert labels is not None
    assert labels.known_divisions
    found = labels.compute()
    pd.testing.assert_frame_equal(found.head(0), labels._meta)
    assert list(found) == COLUMNS
    assert found["id"].tolist() == [f"img/{row}" for row in range(200)]
    assert found.index.equals(pd.RangeIndex(200, name="row"))
    codes = run.root["labeled/consensus_label"][:]
    assert found["consensus_label"].tolist() == [CLASSES[code] for code in codes]
    for name in COLUMNS[2:]:
        np.testing.assert_array_equal(found[name], run.root[f"labeled/{name}"][:])
    problem = make_problem(3, num_examples=200, num_annotators=30, pool=50)
    votes = problem.labels.copy()
    votes[5] = np.nan
    probs = pd.DataFrame(problem.pred_probs, columns=CLASSES)
    expected = daskal.label_quality(votes, probs, run.estimate).compute()
    pd.testing.assert_frame_equal(
        found[COLUMNS[1:5]].reset_index(drop=True), expected.reset_index(drop=True)
    )


def test_codes_stay_codes_and_rows_need_no_ids(tmp_path: Path) -> None:
    problem = make_problem(1)
    run = daskal.run(labels=problem.labels, pred_probs=problem.pred_probs, out=tmp_path / "s.zarr")
    assert run.labels is not None
    assert list(run.labels) == COLUMNS[1:]
    assert run.labels.dtypes["consensus_label"] == np.int64


def test_a_pool_alone_has_no_labels(tmp_path: Path) -> None:
    run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1]]), out=tmp_path / "s.zarr")
    assert run.labels is None
    for ask in (run.doubtful_labels, lambda: run.export_labels(tmp_path / "l.csv")):
        with pytest.raises(InputError, match="a pool alone"):
            ask()


@pytest.mark.parametrize("below", [None, 0.5])
@pytest.mark.parametrize("stored", [True, False])
def test_doubtful_labels_are_the_lowest_of_those_with_votes(
    run: daskal.Run, below: float | None, stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not stored:
        monkeypatch.setattr("daskal.runs.result.stored_doubtful", lambda root: None)
    assert run.labels is not None
    labels = run.labels.compute()
    kept = labels[labels["num_annotations"] > 0]
    if below is not None:
        kept = kept[kept["consensus_quality_score"] < below]
    expected = kept.sort_values(["consensus_quality_score", "row"])
    for size in (3, 30, 999):
        found = run.doubtful_labels(size=size, below=below)
        pd.testing.assert_frame_equal(found, expected.head(size))
    assert 5 not in found.index


IDS = {
    "text": [f"a,{row}" for row in range(200)],
    "whole": np.arange(2**60, 2**60 + 200),
    "dates": pd.date_range("2024-01-01", periods=200),
    "mixed": [f"a{row}" if row % 2 else row for row in range(200)],
}


@pytest.mark.parametrize("kind", IDS)
def test_files_hold_the_labels(tmp_path: Path, kind: str) -> None:
    run = make_run(tmp_path, IDS[kind])
    assert run.labels is not None
    labels = run.labels.compute().reset_index()
    texts = [str(value) for value in labels["id"]]
    for ending in ("csv", "jsonl", "parquet"):
        file = tmp_path / f"l.{ending}"
        assert run.export_labels(file) == 200
    # As text first: not every version of pandas reads floats exactly.
    csv = pd.read_csv(tmp_path / "l.csv", dtype=str)
    numbers = labels.select_dtypes("number").dtypes
    csv = csv.astype({name: dtype for name, dtype in numbers.items() if name != "id"})
    lines = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
    table = pd.read_parquet(tmp_path / "l.parquet")
    assert [str(line["id"]) for line in lines] == csv["id"].tolist()
    if kind != "dates":
        assert csv["id"].tolist() == texts
    if kind != "mixed":
        assert table["id"].tolist() == labels["id"].tolist()
    for found in (csv, pd.DataFrame(lines), table):
        assert list(found) == ["row", *COLUMNS]
        for name in ("row", *COLUMNS[1:]):
            pd.testing.assert_series_equal(
                found[name],
                labels[name],
                check_dtype=False,
                check_exact=True,
                check_categorical=False,
            )


def test_below_and_size_choose(run: daskal.Run, tmp_path: Path) -> None:
    every = run.doubtful_labels(size=999, below=0.5)
    assert run.export_labels(tmp_path / "l.csv", below=0.5) == len(every)
    in_row_order = pd.read_csv(tmp_path / "l.csv")
    assert in_row_order["row"].tolist() == sorted(every.index)
    assert run.export_labels(tmp_path / "l.csv", below=0.5, size=7) == 7
    assert pd.read_csv(tmp_path / "l.csv")["row"].tolist() == every.index[:7].tolist()
    assert run.export_labels(tmp_path / "l.parquet", below=1e-9) == 0
    assert list(pd.read_parquet(tmp_path / "l.parquet")) == ["row", *COLUMNS]
    file = io.BytesIO()
    run.export_labels(file, size=2)
    assert file.getvalue().count(b"\n") == 3


def test_only_a_table_of_labels_is_replaced(run: daskal.Run, tmp_path: Path) -> None:
    for name, content in (("a.csv", b"x,y\n"), ("a.jsonl", b"\xff"), ("a.parquet", b"PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StoreExistsError, match="no table of labels"):
            run.export_labels(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    with pytest.raises(InputError, match=r"ends in \.csv, \.parquet, \.jsonl"):
        run.export_labels(tmp_path / "labels.xlsx")
    with pytest.raises(StorageError, match="no such folder"):
        run.export_labels(tmp_path / "nowhere" / "l.csv")
    with pytest.raises(InputError, match="below: expected a quality"):
        run.export_labels(tmp_path / "l.csv", below=5)


def test_no_part_of_a_file_is_left(
    run: daskal.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, start: int, stop: int) -> Any:
        raise RuntimeError("lost") if start else ValueError("lost")

    monkeypatch.setattr("daskal.runs.labels.read_part", fail)
    with pytest.raises(daskal.DaskalError):
        run.export_labels(tmp_path / "l.csv")
    assert not (tmp_path / "l.csv").exists()


def test_class_names_stand_beside_the_codes(run: daskal.Run) -> None:
    for column in ("labeled/consensus_label", "annotators/worst_class", "classes/given"):
        assert run.root[column].attrs["classes"] == CLASSES
