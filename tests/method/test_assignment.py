"""What a vote is expected to tell, beside sums over all cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.method.assignment import (
    Answers,
    RowVotes,
    answers_by_agreement,
    answers_of,
    expected_information,
    mean_of_models,
)
from daskal.method.expectation import Parameters
from daskal.method.findings import Findings
from daskal.method.values import PoolRule


def test_a_fair_coin_is_worth_a_bit() -> None:
    posterior = np.array([[0.5, 0.5], [1.0, 0.0]])
    gains = expected_information(posterior, Answers(np.array([1.0, 0.5, 0.75])))
    # 1 - H(3/4), in bits.
    np.testing.assert_allclose(gains, [[1, 0, 0.188721876], [0, 0, 0]], atol=1e-9)


def test_confusion_may_tell_what_a_coin_does_not() -> None:
    always_first = np.array([[1.0, 0.0], [1.0, 0.0]])
    always_wrong = np.array([[0.0, 1.0], [1.0, 0.0]])
    answers = Answers(np.array([0.5, 0.0]), np.stack([always_first, always_wrong]))
    gains = expected_information(np.array([[0.5, 0.5]]), answers)
    np.testing.assert_allclose(gains, [[0, 1]])


def plain_information(q: np.ndarray, answer: np.ndarray) -> float:
    """Return the mutual information of class and vote, summed over all pairs."""
    total = 0.0
    for true, given_class in itertools.product(range(len(q)), repeat=2):
        joint = q[true] * answer[true, given_class]
        if joint > 0:
            total += joint * np.log2(joint / (q[true] * (q @ answer[:, given_class])))
    return total


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 4), st.integers(1, 4))
def test_information_is_that_of_all_cases(seed: int, k: int, m: int, b: int) -> None:
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(k, 0.5), size=b)
    confusion = rng.dirichlet(np.full(k, 0.5), size=(m, k))
    accuracy = rng.choice([0.1, 0.5, 0.9, 1.0], size=m)
    coins = np.stack([np.where(np.eye(k, dtype=bool), a, (1 - a) / (k - 1)) for a in accuracy])
    for answers, matrices in (
        (Answers(accuracy), coins),
        (Answers(accuracy, confusion), confusion),
    ):
        gains = expected_information(posterior, answers)
        expected = [[plain_information(q, matrix) for matrix in matrices] for q in posterior]
        np.testing.assert_allclose(gains, expected, atol=2e-9)


def test_agreement_gives_back_the_accuracy() -> None:
    accuracy, others, k = np.array([0.9, 0.5, 0.2, 0.05]), 0.8, 5
    agreement = accuracy * others + (1 - accuracy) * (1 - others) / (k - 1)
    agreement[3] = 0.01
    found = answers_by_agreement(agreement, others, k, np.array([1, 0, 2, 3, -1])).accuracy
    # No worse than chance; one that is unknown counts as the mean of the others.
    np.testing.assert_allclose(found, [0.5, 0.9, 0.2, 0.2, 0.45])


@pytest.mark.parametrize("likelihood", [np.nan, 0.2, 0.1])
def test_all_are_alike_where_nothing_is_known(likelihood: float) -> None:
    found = answers_by_agreement(np.array([0.0, 0.3]), likelihood, 5, np.array([0, 1])).accuracy
    assert found.tolist() == [0.6, 0.6]


def test_annotators_of_an_aggregate() -> None:
    coins = Parameters(np.array([0.5, 0.5]), None, np.array([1.0, 0.3, np.nan]))
    places = np.array([2, 1, 0, -1])
    found = answers_of("one_coin", coins, places).accuracy
    np.testing.assert_allclose(found, [0.65, 0.3, 0.999, 0.65])
    found = answers_of("majority_vote", coins, places).accuracy
    np.testing.assert_allclose(found, [0.65, 0.5, 0.999, 0.65])
    matrices = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]], np.zeros((2, 2))])
    found = answers_of("dawid_skene", coins._replace(confusion=matrices), places).confusion
    mean = [[0.75, 0.25], [0.25, 0.75]]
    assert found is not None
    np.testing.assert_allclose(found, [mean, matrices[1], matrices[0], mean])


def test_models_count_by_their_weights() -> None:
    rule = PoolRule(np.array([0.5, 0.0]), np.array([3.0, 1.0]), 1.0)
    one, two = np.array([[0.8, 0.2], [np.nan, 0.5]]), np.array([[0.2, 0.8], [0.5, 0.5]])
    root = np.sqrt([0.8, 0.2])
    expected = [(3 * root / root.sum() + [0.2, 0.8]) / 4, [0.5, 0.5]]
    np.testing.assert_allclose(mean_of_models([one, two], rule), expected)


def test_votes_come_in_the_order_asked_for() -> None:
    part = RowVotes(np.array([5, 2]), np.array([1, 0]), np.array([3, 4]), Findings())
    other = RowVotes(np.array([2]), np.array([7]), np.array([6]), Findings())
    for both in (part.merge(other), other.merge(part), RowVotes.zero().merge(part).merge(other)):
        labels = both.labels_of(np.array([-1, 5, 2, 5, 9]))
        assert labels.offsets.tolist() == [0, 0, 1, 3, 4, 4]
        assert labels.annotators.tolist() == [1, 0, 7, 1]
        assert labels.classes.tolist() == [3, 4, 6, 3]
