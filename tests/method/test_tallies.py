"""Tallies of pass 2: merging in any order and grouping ends in the same state."""

from __future__ import annotations

import functools
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.kernels.tallying import AnnotatorCounts, histogram
from daskal.method.merging import merge_in_pairs
from daskal.method.tallies import HISTOGRAM_BINS, AnnotatorStatistics
from tests.kernels.reference import make_scored, make_votes

NUM_ANNOTATORS, NUM_CLASSES = 6, 3


def statistics_of(seed: int) -> AnnotatorStatistics:
    """Return statistics of a small random tile."""
    rng = np.random.default_rng(seed)
    num = rng.integers(0, NUM_ANNOTATORS, size=5)
    votes = [
        (row, int(j), int(rng.integers(NUM_CLASSES)))
        for row, n in enumerate(num)
        for j in np.sort(rng.choice(NUM_ANNOTATORS, n, replace=False))
    ]
    counts = AnnotatorCounts(NUM_ANNOTATORS, NUM_CLASSES)
    labels, quality = rng.integers(0, NUM_CLASSES, 5), rng.random(5)
    counts.add(make_votes(votes, 5), make_scored(labels, quality, rng.random(len(votes))))
    return counts.statistics()


def assert_equal(found: Any, expected: Any) -> None:
    if not is_dataclass(expected):
        np.testing.assert_array_equal(found, expected)
        return
    for field in fields(expected):
        assert_equal(getattr(found, field.name), getattr(expected, field.name))


@given(st.lists(st.integers(0, 2**32 - 1), max_size=12))
def test_merging_in_pairs_is_merging(seeds: list[int]) -> None:
    states = [statistics_of(seed) for seed in seeds]
    zero = AnnotatorStatistics.zero(NUM_ANNOTATORS)
    expected = functools.reduce(AnnotatorStatistics.merge, states, zero)
    assert_equal(merge_in_pairs(iter(states), zero), expected)


@pytest.mark.parametrize(("num", "most"), [(1, 1), (8, 3), (100, 7)])
def test_each_state_is_moved_a_few_times(num: int, most: int) -> None:
    moves = []

    class State:
        def __init__(self, size: int) -> None:
            self.size = size

        def merge(self, other: State) -> State:
            moves.append(self.size + other.size)
            return State(self.size + other.size)

    assert merge_in_pairs((State(1) for _ in range(num)), State(0)).size == num
    assert sum(moves) <= num * (most + 1)


def test_a_histogram_counts_every_value_once() -> None:
    values = np.random.default_rng(0).random(50)
    values[[3, 20, 49]] = 0.0, 1.0, np.nan
    expected, _ = np.histogram(values[~np.isnan(values)], bins=HISTOGRAM_BINS, range=(0, 1))
    np.testing.assert_array_equal(histogram(values), expected)
    assert histogram(np.array([-0.5, 1.5]))[[0, -1]].tolist() == [1, 1]
