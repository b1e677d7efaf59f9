"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest

import daskal

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CountingModel:
    """Predicts from the features, and writes down how many rows it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        self.asked.append(len(features))
        weights = np.exp(features[:, :4])
        return weights / weights.sum(axis=1, keepdims=True)


def test_inference_chooses_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    load("inference").main(pool_size=3_000, batch_size=5)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["rank", "source", "row", "score"]
    assert len(printed) == 6


def test_inference_asks_the_model_once_a_block() -> None:
    model: Any = CountingModel()
    features = np.random.default_rng(0).normal(size=(100, 6))
    with dask.config.set(scheduler="sync"):
        probs = load("inference").predict_pool(model, da.from_array(features, chunks=(30, 3)))
        scores = daskal.score_unlabeled(probs)
        assert model.asked == []
        batch = daskal.next_batch(None, scores, size=3)
    assert sorted(model.asked) == [10, 30, 30, 30]
    expected = daskal.score_unlabeled(model.predict_proba(features)).compute()
    assert batch["row"].tolist() == np.argsort(expected)[:3].tolist()


def run_short(name: str, *arguments: str) -> str:
    """Return what an example prints in its short form, started as a user would start it."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--short", *arguments],
        cwd=EXAMPLES.parent,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quickstart() -> None:
    printed = run_short("quickstart")
    assert "<daskal.Estimate>" in printed
    assert len(re.findall(r"(?m)^ +\d+ (?:un)?labeled +\d+ 0\.\d+$", printed)) == 10
    whole, doubtful = (float(share) for share in re.findall(r"(\d+\.\d)% of", printed))
    assert doubtful < whole


def test_active_learning() -> None:
    printed = run_short("active_learning")
    assert [int(labels) for labels in re.findall(r"(?m)^(\d+) ", printed)] == [200, 250, 300]
    first, *later = re.findall(r"(?m)^\d+ +([\d.]+)% +([\d.]+)%", printed)
    assert first[0] == first[1]
    assert len(later) == 2


@pytest.mark.slow
def test_cluster(tmp_path: Path) -> None:
    printed = run_short("cluster", "--out", str(tmp_path))
    assert "score unlabeled: 2 of 2 blocks, 5,000 rows" in printed
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(daskal.Run.open(tmp_path / "scores.zarr").batch) == 100


def test_named_data(tmp_path: Path) -> None:
    printed = run_short("named_data", "--out", str(tmp_path))
    people = re.findall(r"(?m)^ *(ann|bo|cy|di|em) +0\.\d+", printed)
    assert people[0] == "em"
    assert sorted(people) == ["ann", "bo", "cy", "di", "em"]
    assert len(re.findall(r"(?m)^ *\d+ +(?:un)?labeled +\d+ picture-\d+.jpg", printed)) == 5
    assert "100 more pictures, 0 of them in the first batch." in printed
    labels = pd.read_csv(tmp_path / "labels.csv")
    assert len(labels) == 200
    assert set(labels["consensus_label"]) == {"cat", "dog", "fox"}
    assert "picture-" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_s3() -> None:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    pytest.importorskip("xarray")
    printed = run_short("s3")
    assert len(re.findall(r"(?m)^ +\d +(?:un)?labeled +\d+ 0\.\d+$", printed)) == 5
    assert "Lowest consensus quality: 0." in printed


def test_tags(tmp_path: Path) -> None:
    printed = run_short("tags")
    assert "<daskal.MultiLabelEstimate>" in printed
    worst = re.findall(r"(?m)^(ann|bo|cy|di) +0\.\d+", printed)
    assert (worst[0], sorted(worst)) == ("di", ["ann", "bo", "cy", "di"])
    assert len(re.findall(r"(?m)^ *\d+ +(?:un)?labeled +\d+ +photo-\d+", printed)) == 5
    votes, consensus = (float(share) for share in re.findall(r"(\d+\.\d)% of the tags", printed))
    assert consensus > votes


def test_llm_judges() -> None:
    printed = run_short("llm_judges")
    habits = dict(re.findall(r"(?m)^([\w-]+) +0\.\d.* (True|False)$", printed))
    assert habits == {
        "large": "False",
        "medium": "False",
        "medium-b": "False",
        "medium-copy": "False",
        "lenient": "True",
    }
    effective = float(re.findall(r"5 judges count as (\d\.\d)", printed)[0])
    assert effective < 4.5
    shares = [float(share) for share in re.findall(r"(\d+\.\d)%", printed)]
    _, fooled, apart, with_model, first = shares
    assert fooled < apart
    assert first < with_model


@pytest.mark.slow
def test_billion() -> None:
    printed = run_short("billion", "--batch-size", "20")
    assert len(re.findall(r"(?m)^ +\d+ (?:un)?labeled +\d+ +0\.\d+$", printed)) == 10
    assert "1,200,000 examples ranked" in printed
    assert "100% Completed" in printed
