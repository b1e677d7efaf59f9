"""The examples run, and do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import dask
import dask.array as da
import numpy as np
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
    assert printed[0].split() == ["rank", "pool", "row", "score"]
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
