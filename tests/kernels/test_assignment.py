"""Who is asked: every limit is kept, and the gain is that of SciPy's solver, or nearly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import coo_array, vstack

from daskal.kernels.assignment import STEP, assign_votes, votes_of_rows
from daskal.method.values import NO_FAULTS, Block, SparseLabels


def optimum(gains: np.ndarray, allowed: np.ndarray, capacity: np.ndarray, votes: int) -> float:
    """Return the largest gain in all: the minimum-cost flow as a linear program, by HiGHS."""
    at, who = np.nonzero(allowed)
    if not len(at):
        return 0.0
    pairs, ones = np.arange(len(at)), np.ones(len(at))
    limits = vstack(
        [
            coo_array((ones, (at, pairs)), shape=(len(gains), len(at))),
            coo_array((ones, (who, pairs)), shape=(gains.shape[1], len(at))),
        ]
    ).tocsr()
    most = np.concatenate([np.full(len(gains), votes), capacity])
    found = linprog(-gains[at, who], A_ub=limits, b_ub=most, bounds=(0, 1), method="highs")
    assert found.success
    return float(-found.fun)


def random_problem(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return gains, who may be asked, capacities and votes for each example: scarce or plenty."""
    rng = np.random.default_rng(seed)
    b, m, votes = rng.integers(1, 16), rng.integers(1, 8), int(rng.integers(1, 4))
    gains = (
        rng.random((b, m)),
        np.outer(rng.random(b), rng.random(m)),
        rng.integers(0, 4, size=(b, m)).astype(float),
        np.tile(rng.random(m), (b, 1)),
    )[seed % 4]
    allowed = rng.random((b, m)) < rng.choice([0.3, 0.9])
    capacity = rng.integers(0, max(2, 2 * b * votes // m), size=m)
    return gains, allowed, capacity, votes


def test_a_thousand_random_problems_keep_every_limit_and_reach_the_optimum() -> None:
    worst = 1.0
    for seed in range(1000):
        gains, allowed, capacity, votes = random_problem(seed)
        taken = assign_votes(gains, allowed, capacity, votes)
        assert (taken <= allowed).all(), seed
        assert (taken.sum(axis=0) <= capacity).all(), seed
        assert (taken.sum(axis=1) <= votes).all(), seed
        assert (taken == assign_votes(gains, allowed, capacity, votes)).all(), seed
        # Nobody who is free is left out.
        free = taken.sum(axis=0) < capacity
        lacking = taken.sum(axis=1) < votes
        assert not (allowed & ~taken & free & lacking[:, np.newaxis]).any(), seed
        best = optimum(gains, allowed, capacity, votes)
        if best > 0:
            worst = min(worst, gains[taken].sum() / best)
    assert worst >= 1 - STEP


def test_the_best_pairs_one_by_one_would_miss_a_fifth() -> None:
    gains = np.array([[1.0, 0.9], [0.7, 0.0]])
    allowed, capacity = np.ones((2, 2), dtype=bool), np.ones(2, dtype=np.int64)
    taken = assign_votes(gains, allowed, capacity, 1)
    assert taken.tolist() == [[False, True], [True, False]]
    rows, columns = linear_sum_assignment(-gains)
    assert gains[taken].sum() == gains[rows, columns].sum() == 1.6


@given(st.integers(0, 10**6))
def test_one_vote_each_is_the_assignment_problem(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gains = rng.random(rng.integers(1, 12, size=2))
    taken = assign_votes(
        gains, np.ones(gains.shape, dtype=bool), np.ones(gains.shape[1], dtype=np.int64), 1
    )
    rows, columns = linear_sum_assignment(-gains)
    assert gains[taken].sum() >= (1 - STEP) * gains[rows, columns].sum()


def test_votes_that_gain_nothing_are_given_all_the_same() -> None:
    allowed = np.array([[True, False, True], [True, True, True]])
    taken = assign_votes(np.zeros((2, 3)), allowed, np.array([1, 2, 2]), 3)
    # The first annotator has time for one of both.
    assert taken.sum() == 4
    assert taken[:, 1:].tolist() == allowed[:, 1:].tolist()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nobody_and_nothing(shape: tuple[int, int]) -> None:
    allowed = np.ones(shape, dtype=bool)
    taken = assign_votes(np.zeros(shape), allowed, np.ones(shape[1], dtype=np.int64), 2)
    assert taken.shape == shape


@pytest.mark.parametrize("sparse", [True, False])
def test_votes_of_some_rows(sparse: bool) -> None:
    matrix = np.array([[0, -1, 1], [-1, -1, -1], [2, 2, -1], [-1, 7, 0]])
    labels: np.ndarray | SparseLabels = matrix
    if sparse:
        at, who = np.nonzero(matrix >= 0)
        offsets = np.searchsorted(at, np.arange(5))
        labels = SparseLabels(offsets, who, matrix[at, who], *NO_FAULTS)
    found = votes_of_rows(Block(labels, [], 10), rows=np.array([3, 10, 12, 13, 40]), num_classes=3)
    assert found.rows.tolist() == [10, 10, 12, 12]
    assert found.annotators.tolist() == [0, 2, 0, 1]
    assert found.classes.tolist() == [0, 1, 2, 2]
    # The row at fault has no votes.
    assert [row for row, _ in found.findings.faults[0].rows] == [13]
