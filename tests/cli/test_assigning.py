"""``daskal assign``: whom to ask, from a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

import daskal
from tests.cli.test_commands import invoke
from tests.problems import make_problem


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    folder = tmp_path_factory.mktemp("scored")
    problem = make_problem(4, num_examples=30, pool=10, num_classes=3)
    zarr.create_array(folder / "labels.zarr", data=np.asarray(problem.labels, dtype=np.float64))
    return daskal.run(
        labels=str(folder / "labels.zarr"),
        pred_probs=problem.pred_probs,
        pred_probs_unlabeled=problem.pool,
        batch_size=12,
        out=folder / "scores.zarr",
    )


def test_into_a_pipe_a_file_and_a_folder(run: daskal.Run, tmp_path: Path) -> None:
    expected = run.assign(votes_per_example=2, capacity=5)
    given = ("assign", run.path, "--votes-per-example", 2, "--capacity", 5)
    result = invoke(*given)
    assert result.exit_code == 0, result.stderr
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(result.stdout)), expected)
    result = invoke(*given, "--out", tmp_path / "all.parquet")
    assert f"{len(expected)} votes to ask for" in result.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "all.parquet"), expected)
    result = invoke(*given, "--out", tmp_path / "people", "--format", "csv")
    assert result.exit_code == 0, result.stderr
    parts = [pd.read_csv(path) for path in (tmp_path / "people").iterdir()]
    assert sum(map(len, parts)) == len(expected)
    assert all(part["annotator"].nunique() == 1 for part in parts)


def test_of_a_batch_in_a_file(run: daskal.Run, tmp_path: Path) -> None:
    chosen = tmp_path / "next.csv"
    assert invoke("batch", run.path, "--size", 3, "--out", chosen).exit_code == 0
    (tmp_path / "people.csv").write_text("annotator,capacity\n0,1\n1,\n")
    result = invoke("assign", run.path, chosen, "--people", tmp_path / "people.csv")
    assert result.exit_code == 0, result.stderr
    found = pd.read_csv(io.StringIO(result.stdout))
    assert set(found["annotator"]) <= {0, 1}
    assert (found["annotator"] == 0).sum() <= 1


def test_what_is_missing_is_said_in_options(tmp_path: Path) -> None:
    problem = make_problem(4, num_examples=30, pool=None, num_classes=3)
    store = tmp_path / "scores.zarr"
    daskal.run(labels=problem.labels, pred_probs=problem.pred_probs, out=store)
    result = invoke("assign", store)
    assert result.exit_code == 1
    assert "Pass the votes there are with --labels." in result.stderr


def test_examples_that_get_too_few_votes_are_told(run: daskal.Run, tmp_path: Path) -> None:
    given = ("assign", run.path, "--out", tmp_path / "all.csv", "--votes-per-example")
    assert "fewer" not in invoke(*given, 1).stderr
    result = invoke(*given, 1, "--capacity", 1)
    num = run.assign(capacity=1)["row"].size
    assert result.stderr.splitlines() == [
        f"{num} votes to ask for, by {num} annotators, written to {tmp_path / 'all.csv'}",
        f"{12 - num} of 12 examples get fewer than 1 vote: all others have labeled them, or have "
        "no time left.",
    ]
    (tmp_path / "one.csv").write_text("annotator,capacity\n0,11\n")
    result = invoke("assign", run.path, "--people", tmp_path / "one.csv")
    assert "examples get fewer" in result.stderr or "1 of 12 examples gets fewer" in result.stderr


@pytest.mark.parametrize("name", ["tasks.tsv", "tasks.XLSX", "tasks.jsonl"])
def test_files_of_other_formats_are_no_folders(run: daskal.Run, tmp_path: Path, name: str) -> None:
    result = invoke("assign", run.path, "--out", tmp_path / name)
    assert result.exit_code == 2
    assert "expected a folder, or a name in .csv, .parquet, .json, got" in result.stderr
    assert not (tmp_path / name).exists()
    assert invoke("assign", run.path, "--out", tmp_path / "tasks.v2").exit_code == 0
    assert (tmp_path / "tasks.v2").is_dir()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "votes.csv").write_text("task\n")
    result = invoke("assign", tmp_path / "votes.csv")
    assert result.exit_code == 1
    assert "it is a file, and no store. Check the path." in result.stderr
