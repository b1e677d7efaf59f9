"""Majority votes and what settles their ties, on literal rows and against the plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal.kernels import consensus, quality
from daskal.method.values import Block, TieBreak
from tests.kernels import reference

NO_CLASS = np.array([9, 3, 5])


def majority(labels, probs, tie_break):
    """Majority votes of a block, one (n, k) array of probabilities a model."""
    models = [np.asarray(model, dtype=float) for model in np.atleast_3d(probs)]
    return quality.majority_block(Block(np.asarray(labels), models, 0), tie_break=tie_break)


def test_draws_are_those_of_splitmix64():
    for seed in (0, 7, 2**64 - 1):
        for row in (0, 1, 12345, 2**40):
            for num in (2, 3, 10):
                found = consensus.keyed_choice(np.uint64(seed), row, num)
                assert found == reference.splitmix(seed, row) % num


@pytest.mark.parametrize(
    ("labels", "probs", "label"),
    [
        # Most votes, whatever the probabilities.
        ([1, 1, 2], [0.8, 0.1, 0.1], 1),
        # Tied: the more probable one.
        ([1, 2, -1], [0.8, 0.05, 0.15], 2),
        # As probable: the rarer one over all votes.
        ([0, 2, -1], [0.4, 0.2, 0.4], 2),
        # One vote, and none: a tie of all classes.
        ([2, -1, -1], [0.4, 0.2, 0.4], 2),
        ([-1, -1, -1], [0.4, 0.2, 0.4], 2),
    ],
)
def test_literal_majority_votes(labels, probs, label):
    tie_break = TieBreak(NO_CLASS, np.ones(3), 0)
    assert majority([labels], [[probs]], tie_break).tolist() == [label]


def test_ties_go_by_the_voters_agreement_and_then_by_chance():
    even = [[[0.25] * 4]]
    as_rare = TieBreak(np.full(4, 7), np.array([0.5, 0.9, 0.8, 0.7]), 3)
    # Class 1 has the voters 0 and 1 (mean 0.7), class 2 the voters 2 and 3 (0.75).
    assert majority([[1, 1, 2, 2]], even, as_rare).tolist() == [2]
    as_good = as_rare._replace(agreement=np.full(4, 0.5))
    drawn = majority([[3, 1, -1, -1]] * 50, [[[0.25] * 4] * 50], as_good)
    expected = [(1, 3)[reference.splitmix(3, row) % 2] for row in range(50)]
    assert drawn.tolist() == expected
    assert set(expected) == {1, 3}


@pytest.mark.parametrize(("num_models", "label"), [(1, 0), (2, 1)])
def test_no_last_bit_of_a_mean_decides_between_models(num_models, label):
    # One vote for each of two classes, whose mean probabilities differ by rounding alone.
    probs = np.tile([np.nextafter(0.5, 1), 0.5], (num_models, 1, 1))
    rarer = TieBreak(np.array([9, 3]), np.ones(2), 0)
    assert majority([[0, 1]], probs, rarer).tolist() == [label]


def test_the_first_class_wins_a_tie_of_no_numbers():
    tie_break = TieBreak(NO_CLASS, np.ones(2), 0)
    assert majority([[1, 2]], [[[0.2, np.nan, 0.3]]], tie_break).tolist() == [0]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([2, 3, 10, 70]))
def test_majority_votes_are_the_references(seed, num_models, num_classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, min(num_classes, 4), (70, 5))
    labels[:, 0] = np.maximum(labels[:, 0], 0)
    probs = rng.integers(1, 4, (num_models, 70, num_classes)).astype(float)
    probs /= probs.sum(axis=2, keepdims=True)
    tie_break = TieBreak(rng.integers(0, 3, num_classes), rng.integers(0, 3, 5) / 2, seed)
    expected = [
        reference.majority(reference.votes_of_row(row), probs[:, i], tie_break, i)
        for i, row in enumerate(labels)
    ]
    assert majority(labels, probs, tie_break).tolist() == expected


@pytest.mark.parametrize(
    ("probs", "leader"),
    [
        ([[0.5, 0.3, 0.2]], 0),
        ([[0.4, 0.4, 0.2]], -1),
        # So near that scaling may tie them.
        ([[0.4, 0.4 * (1 - 1e-12), 0.2]], -1),
        ([[0.4, 0.4 * (1 - 1e-10), 0.2]], 0),
        # Only what is tied by votes counts; below the floor all is one.
        ([[0.1, 0.2, 0.7]], 1),
        ([[0.0, 1e-31, 1.0]], -1),
        ([[np.nan, 0.5, 0.5]], -1),
        # Each model must say so.
        ([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]], 0),
        ([[0.5, 0.3, 0.2], [0.3, 0.6, 0.1]], -1),
    ],
)
def test_a_leader_is_clear_before_the_temperature_is_known(probs, leader):
    lanes = np.asarray(probs)[:, :, np.newaxis] * np.ones(64)
    assert consensus.clear_leader(lanes, 5, np.array([0, 1, 9]), 2) == leader
