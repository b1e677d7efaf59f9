"""What is unusual in the data is said of each estimate."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskal
from tests.problems import no_overlap, single_label


def flags(labels: np.ndarray, probs: np.ndarray, **options: Any) -> tuple[str, ...]:
    found = daskal.estimate(labels, probs, **options).flags
    assert daskal.estimate(labels, probs, **options).summary()[-len(found) :] == [
        ("warning" if "may be worthless" in flag else "note", flag) for flag in found
    ]
    return found


def one_hot(labels: np.ndarray, num_classes: int, share: float) -> np.ndarray:
    probs = np.full((len(labels), num_classes), (1 - share) / (num_classes - 1))
    probs[np.arange(len(labels)), labels] = share
    return probs


TRUTH = np.arange(60) % 3
# Two annotators who are always right, and a third who never is.
AGREEING = np.stack([TRUTH, TRUTH, TRUTH], axis=1)


def test_plain_data_has_no_flag() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, size=400)
    right = rng.random((400, 5)) < 0.85
    labels = np.where(right, truth[:, np.newaxis], rng.integers(0, 3, size=(400, 5)))
    given = np.where(rng.random(400) < 0.8, truth, rng.integers(0, 3, size=400))
    assert daskal.estimate(labels, one_hot(given, 3, 0.8)).flags == ()


def test_temperature_at_either_end_of_its_grid() -> None:
    low = "the temperature lies at the end of its grid: 0.1"
    assert low in flags(AGREEING, one_hot(TRUTH, 3, 0.34))
    high = "the temperature lies at the end of its grid: 7.25"
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 3, size=(60, 3))
    assert high in flags(noise, one_hot(TRUTH, 3, 0.9999))
    both = np.stack([one_hot(TRUTH, 3, 0.34), one_hot((TRUTH + 1) % 3, 3, 0.999)])
    found = flags(AGREEING, both)
    assert "the temperature of model 0 lies at the end of its grid: 0.1" in found
    assert "the temperature of model 1 lies at the end of its grid: 7.25" in found
    assert not any(
        "grid" in flag for flag in flags(noise, one_hot(TRUTH, 3, 0.9999), temperature=3)
    )


def test_a_flat_loss() -> None:
    probs = np.full((60, 3), 1 / 3)
    assert "the temperature has no influence on the loss: 1 is taken" in flags(AGREEING, probs)


def test_annotators_without_labels_or_overlap() -> None:
    problem = no_overlap(1, num_examples=60, num_annotators=6, pool=None)
    found = flags(problem.labels, problem.pred_probs)
    assert "2 annotators share no example with another: they get the mean" in found
    wider = np.insert(problem.labels, [0, 3], np.nan, axis=1)
    assert "2 annotators have no label and take no part" in flags(wider, problem.pred_probs)


def test_weights_at_their_floor() -> None:
    wrong = (TRUTH + 1) % 3
    labels = np.stack([TRUTH, TRUTH, wrong], axis=1)
    found = flags(labels, one_hot(wrong, 3, 0.6))
    assert "1 annotator weighs the least possible: no better than chance" in found
    assert "the model weighs the least possible: no better than the commonest class" in found
    both = flags(labels, np.stack([one_hot(TRUTH, 3, 0.6), one_hot(wrong, 3, 0.6)]))
    assert "model 1 weighs the least possible: no better than the commonest class" in both
    assert not any(flag.startswith("model 0") for flag in both)


def test_a_consensus_of_one_class_and_classes_that_vanished() -> None:
    labels = np.zeros((60, 3))
    labels[::7, 0] = 2
    labels[3, 1] = 1
    found = flags(labels, one_hot(np.zeros(60, dtype=int), 4, 0.7))
    assert "all consensus labels of several votes are of one class, 0" in found
    assert "2 classes with votes are never the consensus of several votes: 1, 2" in found


def test_classes_without_a_vote() -> None:
    probs = one_hot(TRUTH + 1, 4, 0.8)
    assert (
        "1 class has no vote at all: 0. Did sparse votes lose their stored zeros, are labels "
        "numbered from 1, or did nobody choose them?"
    ) in flags(AGREEING + 1, probs)
    named = daskal.estimate(AGREEING + 1, pd.DataFrame(probs, columns=list("abcd")))
    assert any("no vote at all: 'a'." in flag for flag in named.flags)
    single = np.where(np.arange(3) == 0, AGREEING + 1, -1)
    assert any("no vote at all: 0." in flag for flag in flags(single, probs))


def crowd(seed: int, num_rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of five good annotators, and a good model."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, size=num_rows)
    right = rng.random((num_rows, 5)) < 0.85
    labels = np.where(right, truth[:, np.newaxis], rng.integers(0, 3, size=(num_rows, 5)))
    given = np.where(rng.random(num_rows) < 0.8, truth, rng.integers(0, 3, size=num_rows))
    return labels, one_hot(given, 3, 0.8)


@pytest.mark.parametrize("convention", ["paper", "cleanlab"])
def test_a_good_model_gets_no_warning(convention: str) -> None:
    assert daskal.estimate(*crowd(0), convention=convention).warnings == ()


@pytest.mark.parametrize("wrong", ["shuffled rows", "rolled columns"])
def test_a_worthless_model_is_said_aloud(wrong: str) -> None:
    labels, probs = crowd(1)
    rng = np.random.default_rng(2)
    worthless = rng.permutation(probs) if wrong == "shuffled rows" else np.roll(probs, 1, axis=1)
    with pytest.warns(daskal.DataWarning, match="are the rows of pred_probs in the order"):
        estimate = daskal.estimate(labels, worthless)
    (warning,) = estimate.warnings
    consensus = daskal.label_quality(labels, worthless, estimate).compute()["consensus_label"]
    agreement = np.mean(worthless.argmax(axis=1) == consensus)
    assert f"on {agreement:.1%} of the examples" in warning
    assert re.search(r"and would on 33\.\d% if its rows were shuffled", warning)
    assert daskal.Estimate.from_json(estimate.to_json()).warnings == estimate.warnings
    both = daskal.estimate(labels, np.stack([probs, worthless]))
    assert [warning.split(" may be")[0] for warning in both.warnings] == ["model 1"]


def test_single_labels() -> None:
    problem = single_label(1, num_examples=30, pool=None)
    found = flags(problem.labels, problem.pred_probs)
    assert found == ("every example has one label: temperature 1, all weights 1",)
    labels = AGREEING.astype(float)
    labels[:15, 1:] = np.nan
    labels[40:] = np.nan
    found = flags(labels, one_hot(TRUTH, 3, 0.8))
    assert "15 labeled examples, 37.5%, have a single label" in found
    assert "20 rows of the labels have no label: they are scored as the pool is" in found


def test_rows_at_fault_stay_on_record() -> None:
    labels = AGREEING.copy()
    labels[4, 0] = 8
    probs = one_hot(TRUTH, 3, 0.8)
    probs[[9, 11]] = 0
    with pytest.warns(daskal.DataWarning):
        found = daskal.estimate(labels, probs, on_invalid="nan").flags
    assert "labels: 1 row at fault, where the row has a label beyond the last class" in found
    assert "pred_probs: 2 rows at fault, where the row is all zero" in found
