"""The temperature's search: what a block leaves out changes no bit of the estimate."""

from __future__ import annotations

from unittest import mock

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.engine import reduction
from daskal.kernels import first_pass, temperature_curve, tiles
from daskal.kernels.first_pass import label_statistics
from daskal.method import temperature, weights
from daskal.method.values import Block
from tests.kernels import reference
from tests.problems import make_problem


@pytest.fixture
def small_tiles(monkeypatch):
    """Blocks of several tiles, of which the first one's first rows are the sample."""
    monkeypatch.setattr(tiles, "MOST_TILE_ROWS", 128)
    monkeypatch.setattr(first_pass, "SAMPLE_ROWS", 60)
    monkeypatch.setattr(first_pass, "LEAST_SAMPLE", 40)


def mixed_problem():
    """Timid probabilities in the first half of the rows, far too sure ones in the second."""
    problem = make_problem(3, num_examples=1200, num_classes=4, pool=None)
    probs = problem.pred_probs.copy()
    probs[:600] **= 0.2
    probs /= probs.sum(axis=1, keepdims=True)
    return problem.labels, probs


def whole(labels, probs, **options):
    return label_statistics(Block(labels, [probs], 0), num_annotators=labels.shape[1], **options)


def test_windows():
    # Around T = 1 (place 16): from 0.8 (12) to 2 (20); the ends of the grid have one side.
    assert temperature.window_around(16) == tuple(range(12, 21))
    assert temperature.window_around(0) == tuple(range(5))
    assert temperature.window_around(32) == tuple(range(28, 32))
    losses = [9] * 33
    losses[16], losses[20] = 1, 2
    assert set(temperature.likely_places([losses])) == {0, 4, 8, *range(12, 25), 28, 32}


def test_where_classes_share_a_read_more_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr(first_pass, "SAMPLE_ROWS", 60)
    monkeypatch.setattr(first_pass, "SHARED_SAMPLE_ROWS", 600)
    monkeypatch.setattr(first_pass, "LEAST_SAMPLE", 40)
    labels, probs = mixed_problem()
    # Timid rows first, which are few.
    labels, probs = labels[540:], probs[540:]
    assert not weights.is_loss_known(whole(labels, probs))
    assert weights.is_loss_known(whole(labels, probs, sharing=2))


def losses_at(labels, probs, places, *, miscount=False):
    """The sums of one model at some places."""
    curve = first_pass.Curve(1, places)
    block = Block(labels, [probs], 0)
    for tile in tiles.take_tiles(block, on_invalid="raise", miscount=miscount):
        curve.add(tile, len(tile))
    return curve.losses()[0]


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 3, 10, 70]),
    st.sampled_from([0.05, 0.5, 5.0]),
    st.booleans(),
)
def test_losses_are_the_soft_cross_entropy(seed, num_classes, sharpness, miscount):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(num_classes, sharpness), 20)
    probs[:, 1:][rng.random((20, num_classes - 1)) < 0.2] = 0.0
    probs[:, 0] += 1e-3
    probs /= probs.sum(axis=1, keepdims=True)
    labels = rng.integers(-2, num_classes, (20, 4))
    places = (0, 3, 8, 16, 21, 32)
    found = losses_at(labels, probs, places, miscount=miscount).losses
    for place in places:
        expected = 0.0
        for row, p in zip(labels, probs, strict=True):
            classes = [k for _, k in reference.votes_of_row(row)]
            if classes:
                counted = reference.miscount(classes) if miscount else classes
                expected += reference.loss(p, counted, temperature.TEMPERATURE_GRID[place])
        assert found[place] == pytest.approx(expected, rel=1e-11, abs=1e-10)


def test_places_left_out_change_nothing_of_the_others():
    labels, probs = mixed_problem()
    every = losses_at(labels, probs, temperature.PLACES)
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 20):
        places = sorted(rng.choice(33, size, replace=False).tolist())
        some = losses_at(labels, probs, places)
        assert some.ratios == every.ratios
        expected = [total if at in places else 0 for at, total in enumerate(every.log_totals)]
        assert list(some.log_totals) == expected


def test_sums_of_many_lost_votes_do_not_overflow():
    # Each vote is as far below the best class as counts, and costs the most at the least T.
    probs = np.tile([1.0, np.exp(temperature_curve.LEAST_RATIO * 0.999)], (60_000, 1))
    labels = np.ones((60_000, 1), dtype="i1")
    one, many = losses_at(labels[:1], probs[:1], (0, 32)), losses_at(labels, probs, (0, 32))
    assert many.ratios == 60_000 * one.ratios
    assert many.log_totals == tuple(60_000 * total for total in one.log_totals)
    assert many.losses[0] == pytest.approx(-60_000 * temperature_curve.LOG_FLOOR, rel=1e-9)


@pytest.mark.parametrize("num_rows", [1, 7, 3000])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_certain_predictions_leave_the_loss_flat(num_rows, num_classes):
    rng = np.random.default_rng(num_rows)
    probs = np.eye(num_classes)[rng.integers(0, num_classes, num_rows)]
    labels = rng.integers(0, num_classes, (num_rows, 4))
    state = whole(labels, probs, guess=False)
    losses = state.losses[0].losses
    assert len(set(losses)) == 1
    wrong = (labels != probs.argmax(axis=1)[:, np.newaxis]).mean(axis=1).sum()
    assert losses[0] == pytest.approx(-wrong * temperature_curve.LOG_FLOOR, rel=1e-9)
    estimate = daskal.estimate(labels, probs)
    assert estimate.temperature == 1
    assert any("temperature" in flag for flag in estimate.flags)


def test_a_block_leaves_out_what_looks_far_from_the_best(small_tiles):
    labels, probs = mixed_problem()
    labels, probs = labels[:600], probs[:600]
    every, some = whole(labels, probs, guess=False), whole(labels, probs)
    assert set(every.fitted) == {every.num_labeled}
    assert set(some.fitted) == {every.num_labeled, 0}
    assert weights.is_loss_known(some)
    for place in temperature.compared_places([some.losses[0].losses]):
        assert some.losses[0].losses[place] == every.losses[0].losses[place]
    assert whole(labels, probs, fit=False).fitted == (0,) * 33


def test_a_wrong_guess_costs_one_read_and_no_bit(small_tiles):
    labels, probs = mixed_problem()
    with mock.patch.object(first_pass, "LEAST_SAMPLE", 10**9):
        expected = daskal.estimate(labels, probs)
    for rows, rounds in ((600, 3), (1200, 3), (30, 2)):
        with mock.patch.object(
            reduction, "reduce_blocks", side_effect=reduction.reduce_blocks
        ) as reduce_blocks:
            found = daskal.estimate(
                da.from_array(labels, chunks=(rows, -1)), da.from_array(probs, chunks=(rows, -1))
            )
        assert found.to_json() == expected.to_json()
        assert reduce_blocks.call_count == rounds
    curve = expected.temperature_curve
    assert len(curve) < 33
    assert not curve.isna().to_numpy().any()
    assert curve[0].idxmin() == expected.temperature


def test_several_models_share_the_places_compared(small_tiles):
    labels, probs = mixed_problem()
    both = np.stack([probs, probs[:, ::-1]])
    chunks = [
        daskal.estimate(
            da.from_array(labels, chunks=(rows, -1)), da.from_array(both, chunks=(-1, rows, -1))
        )
        for rows in (1200, 300, 35)
    ]
    assert chunks[0].to_json() == chunks[1].to_json() == chunks[2].to_json()
    assert chunks[0].temperature_curve.shape[1] == 2
