"""The temperature's search: what a block leaves out changes no bit of the estimate."""

from __future__ import annotations

from fractions import Fraction
from unittest import mock

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.engine import reduction
from daskal.kernels import calibration, first_pass, tiles
from daskal.kernels.first_pass import label_statistics
from daskal.method import temperature, weights
from daskal.method.values import Block
from tests.problems import make_problem


@pytest.fixture
def small_tiles(monkeypatch):
    """Make blocks of several tiles; the sample is the first rows of the first tile."""
    monkeypatch.setattr(tiles, "MIN_TILE_ROWS", 100)
    monkeypatch.setattr(tiles, "MAX_TILE_ROWS", 100)
    monkeypatch.setattr(first_pass, "SAMPLE_ROWS", 60)
    monkeypatch.setattr(first_pass, "LEAST_SAMPLE", 40)


def mixed_problem():
    """Return probabilities, timid in the first half of the rows, overconfident in the second."""
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


def test_places_left_out_change_nothing_of_the_others():
    labels, probs = mixed_problem()
    tile = next(tiles.checked_tiles(Block(labels, [probs], 0))).tile
    ratios = calibration.ratios_to_largest(tile.probs[0])
    every = calibration.loss_sums(ratios, tile, tile.cells)
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 20):
        places = sorted(rng.choice(33, size, replace=False).tolist())
        some = calibration.loss_sums(ratios, tile, tile.cells, places)
        assert some.ratios == every.ratios
        expected = [total if at in places else 0 for at, total in enumerate(every.log_totals)]
        assert list(some.log_totals) == expected


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0.0, 1e-13, 1.0, 7.0, 499.0])
)
def test_sums_of_rounded_values_are_exact(seed, num_rows, most):
    x = np.random.default_rng(seed).random((3, num_rows)) * most
    expected = [sum(round(Fraction(value) * 2**40) for value in row) for row in x.tolist()]
    assert [calibration.rounded_sum(row, 40) for row in x] == expected
    assert calibration.rounded_sums(x.copy()) == expected


def test_sums_of_a_tile_do_not_overflow():
    x = np.full((1, tiles.MAX_TILE_ROWS), 499.0)
    assert calibration.rounded_sums(x) == [499 * 2**40 * tiles.MAX_TILE_ROWS]
    least = np.full(tiles.MAX_TILE_ROWS, calibration.LEAST_RATIO)
    expected = round(Fraction(calibration.LEAST_RATIO) * 2**44) * tiles.MAX_TILE_ROWS
    assert calibration.rounded_sum(least, temperature.RATIO_BITS) == expected


@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_first_guess_of_the_losses_is_near_them(num_classes):
    rng = np.random.default_rng(num_classes)
    probs = rng.dirichlet(np.full(num_classes, 5.0), 300)
    labels = rng.integers(-1, num_classes, (300, 5))
    tile = next(tiles.checked_tiles(Block(labels, [probs], 0))).tile
    ratios = calibration.ratios_to_largest(tile.probs[0])
    rough = calibration.rough_losses(ratios, tile, tile.cells)
    exact = calibration.loss_sums(ratios, tile, tile.cells).losses
    places = list(temperature.COARSE_PLACES)
    # Votes below the floor count in full in the guess.
    high = places[3:]
    np.testing.assert_allclose([rough[at] for at in high], [exact[at] for at in high], rtol=1e-9)


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
    assert losses[0] == pytest.approx(-wrong * calibration.LOG_FLOOR, rel=1e-9)
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
