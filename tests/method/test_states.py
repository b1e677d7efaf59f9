"""Pass 1 without an engine: states that merge exactly, whatever the cut."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.kernels.first_pass import (
    consensus_statistics,
    label_statistics,
    pending_tiles,
    statistics_of_pending,
)
from daskal.method.states import LabelStatistics, PendingRows
from daskal.method.temperature import TEMPERATURE_GRID
from daskal.method.values import Block
from daskal.method.weights import Draft, consensus_weights
from daskal.options import Options
from tests.problems import chunkings, make_problem

OPTIONS = Options("paper", "fit", "best_quality", "crowdlab", 0)


def as_block(labels, probs, start=0, stop=None):
    models = probs if probs.ndim == 3 else probs[np.newaxis]
    stop = len(labels) if stop is None else stop
    return Block(labels[start:stop], [model[start:stop] for model in models], start)


def assert_same(a, b):
    """Two states are equal to the last bit."""
    assert type(a) is type(b)
    if hasattr(a, "__dataclass_fields__"):
        for name in a.__dataclass_fields__:
            assert_same(getattr(a, name), getattr(b, name))
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def statistics(labels, probs, start=0, stop=None):
    return label_statistics(as_block(labels, probs, start, stop), num_annotators=labels.shape[1])


def test_counts_of_a_small_block():
    labels = np.array([[0, 0, 1], [1, -1, -1], [-1, -1, -1], [0, 1, -1]])
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.3, 0.7]])
    state = statistics(labels, probs)
    assert (state.num_examples, state.num_labeled, state.num_multiple) == (4, 3, 2)
    np.testing.assert_array_equal(state.votes, [3, 2, 1])
    np.testing.assert_array_equal(state.class_counts, [3, 3])
    # Row 0: annotators 0 and 1 agree with each other, 2 with nobody; row 3: nobody agrees.
    np.testing.assert_array_equal(state.agreeing_pairs, [1, 1, 0])
    np.testing.assert_array_equal(state.pairs, [3, 3, 2])
    # Row 3 is tied by count and takes no part.
    np.testing.assert_array_equal(state.untied_agreeing, [2, 1, 0])
    np.testing.assert_array_equal(state.untied, [2, 1, 1])
    # Majority: class 0 in row 0 (two of three votes), class 1 in row 3 (one of two, by p).
    np.testing.assert_array_equal(state.consensus.agreeing, [0, 0, 1, 2])
    np.testing.assert_array_equal(state.consensus.consensus_counts, [1, 1])
    np.testing.assert_array_equal(state.consensus.model_errors, [0])
    assert state.pending.count == 0


def test_known_classes_stand_for_the_consensus_and_for_the_others():
    labels = np.array([[0, 0, 1], [1, -1, -1], [-1, -1, -1], [0, 1, -1]])
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.3, 0.7]])
    known = np.array([1, -1, -1, 0])
    block = Block(labels, [probs, known], 0)
    state = label_statistics(block, num_annotators=3, use_gold=True)
    assert (state.num_examples, state.num_multiple, state.num_gold) == (4, 2, 2)
    np.testing.assert_array_equal(state.votes, [3, 2, 1])
    np.testing.assert_array_equal(state.class_counts, [3, 3])
    np.testing.assert_array_equal(state.agreeing_pairs, [1, 0, 2])
    np.testing.assert_array_equal(state.pairs, [3, 3, 2])
    np.testing.assert_array_equal(state.untied_agreeing, [2, 0, 1])
    np.testing.assert_array_equal(state.untied, [3, 2, 1])
    np.testing.assert_array_equal(state.consensus.agreeing, [0, 0, 1, 1])
    np.testing.assert_array_equal(state.consensus.consensus_counts, [1, 1])
    np.testing.assert_array_equal(state.consensus.model_errors, [2])
    place = TEMPERATURE_GRID.tolist().index(1)
    loss = -np.log([0.1, 0.8, 0.3]).sum()
    assert state.losses[0].losses[place] == pytest.approx(loss, abs=1e-11)
    rule = Draft.from_statistics(state, OPTIONS).rule()
    assert_same(consensus_statistics(block, rule=rule, use_gold=True), state.consensus)
    wrong = label_statistics(
        Block(labels, [probs, np.array([1, 2, np.nan, 0.5])], 100), num_annotators=3, use_gold=True
    )
    assert [fault.rows for fault in wrong.findings.faults] == [((101, 2.0),), ((103, 0.5),)]


def test_pairs_of_many_votes_a_row_are_counted_exactly():
    labels = np.zeros((600, 400), dtype=np.int64)
    probs = np.tile([0.9, 0.1], (600, 1))
    state = statistics(labels, probs)
    assert set(state.pairs.tolist()) == set(state.agreeing_pairs.tolist()) == {600 * 399}
    assert set(state.votes.tolist()) == {600}


def test_losses_are_the_soft_cross_entropy():
    labels = np.array([[0, 1, 1], [2, 2, -1]])
    probs = np.array([[0.2, 0.5, 0.3], [0.0, 0.1, 0.9]])
    losses = statistics(labels, probs).losses[0].losses
    shares = np.array([[1 / 3, 2 / 3, 0], [0, 0, 1]])
    for temperature, loss in zip(TEMPERATURE_GRID, losses, strict=True):
        powers = probs ** (1 / temperature)
        scaled = np.maximum(powers / powers.sum(axis=1, keepdims=True), 1e-30)
        expected = -(shares * np.log(scaled)).sum()
        assert loss == pytest.approx(expected, abs=1e-11)


def test_rows_tied_to_the_end_wait_for_the_whole():
    labels = np.array([[0, 1], [0, 0], [0, -1]])
    probs = np.array([[0.5, 0.5], [0.6, 0.4], [0.7, 0.3]])
    state = statistics(labels, probs)
    assert state.pending.count == 1
    np.testing.assert_array_equal(state.pending.index, [0])
    rule = Draft.from_statistics(state, OPTIONS).rule()
    decided = statistics_of_pending(state.pending, rule)
    # Class 1 is the rarer one over all votes.
    np.testing.assert_array_equal(decided.consensus_counts, [0, 1])


def test_too_many_tied_rows_are_only_counted(monkeypatch):
    monkeypatch.setattr("daskal.method.states.PENDING_LIMIT", 20)
    labels = np.tile([0, 1], (30, 1))
    probs = np.full((30, 2), 0.5)
    state = statistics(labels, probs)
    parts = [statistics(labels, probs, start, start + 3) for start in range(0, 30, 3)]
    merged = functools.reduce(lambda a, b: a.merge(b), parts)
    for each in (merged.pending, functools.reduce(lambda a, b: b.merge(a), parts).pending):
        assert each.overflown
        assert each.count == 30
        assert len(each.index) == 0
    assert state.pending.count == 30


@given(st.data(), st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from([2, 3, 7]))
def test_any_cut_and_order_of_merging_gives_the_whole(data, seed, num_models, num_classes):
    problem = make_problem(
        seed, num_examples=25, num_models=num_models, num_classes=num_classes, pool=None
    )
    labels = problem.labels.copy()
    probs = np.round(problem.pred_probs, 1) + 0.01  # makes ties
    probs /= probs.sum(axis=-1, keepdims=True)
    whole = statistics(labels, probs)
    edges = np.cumsum([0, *data.draw(chunkings(25))])
    parts = [statistics(labels, probs, a, b) for a, b in pairwise(edges)]
    parts = data.draw(st.permutations(parts))
    left = functools.reduce(lambda a, b: a.merge(b), parts)
    right = functools.reduce(lambda a, b: b.merge(a), reversed(parts))
    assert_same(left, whole)
    assert_same(right, whole)
    zero = LabelStatistics.zero(num_models, labels.shape[1], num_classes)
    assert_same(zero.merge(whole), whole)
    assert_same(whole.merge(zero), whole)


@given(st.data(), st.integers(0, 2**32 - 1))
def test_consensus_statistics_of_any_cut(data, seed):
    problem = make_problem(seed, num_examples=25, pool=None)
    state = statistics(problem.labels, problem.pred_probs)
    draft = Draft.from_statistics(state, OPTIONS)
    majority = state.consensus.merge(statistics_of_pending(state.pending, draft.rule()))
    rule = draft.rule(consensus_weights(state, majority))
    whole = consensus_statistics(as_block(problem.labels, problem.pred_probs), rule=rule)
    edges = np.cumsum([0, *data.draw(chunkings(25))])
    parts = [
        consensus_statistics(as_block(problem.labels, problem.pred_probs, a, b), rule=rule)
        for a, b in pairwise(edges)
    ]
    merged = functools.reduce(lambda a, b: b.merge(a), data.draw(st.permutations(parts)))
    assert_same(merged, whole)
    # The majority vote of rows kept aside is that of a second look at all rows.
    again = consensus_statistics(as_block(problem.labels, problem.pred_probs), rule=draft.rule())
    assert_same(again, majority)


def test_pending_rows_come_back_as_they_were():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, size=(9, 4))
    probs = np.full((9, 3), 1 / 3)
    state = statistics(labels, probs)
    pending = state.pending
    for tile in pending_tiles(pending, miscount=False):
        for at, row in enumerate(tile.rows.global_rows):
            voted = slice(*tile.rows.offsets[at : at + 2])
            given_by = np.flatnonzero(labels[row] >= 0)
            np.testing.assert_array_equal(tile.rows.annotators[voted], given_by)
            np.testing.assert_array_equal(tile.rows.classes[voted], labels[row, given_by])
    assert pending.count > 0
    assert_same(PendingRows.zero(1, 3).merge(pending), pending)


def test_several_classes_share_the_room_for_pending_rows(monkeypatch):
    monkeypatch.setattr("daskal.method.states.PENDING_LIMIT", 20)
    labels, probs = np.array([[0, 1], [1, 0]]), np.full((2, 2), 0.5)

    def pending(sharing):
        block = as_block(labels, probs)
        return label_statistics(block, num_annotators=2, sharing=sharing).pending

    # Two rows of two votes and two probabilities: twelve numbers.
    assert (pending(1).count, pending(1).overflown) == (2, False)
    assert (pending(2).count, pending(2).overflown) == (2, True)
    assert pending(2).merge(pending(2)).sharing == 2
