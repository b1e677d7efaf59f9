"""NumPy kernels: literal values, and the same bits for a row wherever in a tile it lies."""

from __future__ import annotations

import functools
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal.kernels import calibration, consensus, powers, tiles
from daskal.kernels.tiles import row_bounds
from daskal.method import findings, merging, temperature
from daskal.method.temperature import LossSums
from daskal.method.values import Block, PoolRule, Rule, TieBreak, VoteWeights
from tests.problems import chunkings

CLASSES = st.sampled_from([2, 3, 4, 7, 10, 31, 64, 100, 257, 1000])


def make_probs(rng, num_models, num_classes, num_rows, *, zeros=0.1):
    probs = rng.dirichlet(np.full(num_classes, 0.3), (num_models, num_rows))
    probs[rng.random(probs.shape) < zeros] = 0
    probs[:, :, 0] += 1e-3
    probs /= probs.sum(axis=2, keepdims=True)
    return probs


def make_tile(rng, num_models, num_classes, num_rows, num_annotators=5):
    labels = rng.integers(-2, min(num_classes, 4), (num_rows, num_annotators))
    rows, annotators = np.nonzero(labels >= 0)
    probs = make_probs(rng, num_models, num_classes, num_rows)
    return tiles.make_tile(
        np.ascontiguousarray(probs.transpose(0, 2, 1)),
        rows,
        annotators,
        labels[rows, annotators],
        np.arange(1000, 1000 + num_rows),
    )


def cut(tile, start, stop):
    """Return rows ``start:stop`` of a tile as a tile."""
    votes = (tile.rows >= start) & (tile.rows < stop)
    return tiles.make_tile(
        np.ascontiguousarray(tile.probs[:, :, start:stop]),
        tile.rows[votes] - start,
        tile.annotators[votes],
        tile.classes[votes],
        tile.global_rows[start:stop],
    )


def make_rule(rng, num_models, num_classes, temperature, **options):
    def weights():
        likelihood = 0.7 + 0.2 * rng.random()
        return VoteWeights(
            likelihood,
            (1 - likelihood) / (num_classes - 1),
            rng.random(num_models) + 0.5,
            rng.random(5),
        )

    tie_break = TieBreak(rng.integers(0, 9, num_classes), rng.random(5).round(1), 7)
    rule = Rule(
        np.full(num_models, temperature),
        tie_break,
        weights(),
        weights(),
        0.4,
        "best_quality",
        "crowdlab",
        False,
        False,
    )
    return rule._replace(**options)


# --- small literal tiles ----------------------------------------------------------------------


def test_first_true_and_its_number():
    mask = np.array([[0, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(tiles.first_true(mask), [1, 3, 0])
    np.testing.assert_array_equal(tiles.count_true(mask), [2, 0, 2])
    many = np.ones((70_000, 2), dtype=bool)
    many[:69_999, 1] = False
    np.testing.assert_array_equal(tiles.first_true(many), [0, 69_999])
    np.testing.assert_array_equal(tiles.count_true(many), [70_000, 1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_first_largest_is_argmax(seed, num_classes, num_rows):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (num_classes, num_rows)) / 2
    x[rng.random(x.shape) < 0.1] = np.nan
    np.testing.assert_array_equal(tiles.first_largest(x), x.argmax(axis=0))


def test_halving_chains_hold_the_grid_once():
    chains = calibration.CHAINS
    places = [place for chain in chains for place in chain if place >= 0]
    assert sorted(places) == list(range(len(temperature.TEMPERATURE_GRID)))
    grid = temperature.TEMPERATURE_GRID
    for chain in chains:
        for power, place in enumerate(chain):
            if place != calibration.BETWEEN:
                assert grid[place] * 2**power == pytest.approx(grid[chain[0]], rel=1e-12)
    # 8, 4, 2, 1, 0.5, (0.25 is not in the grid), 0.125
    assert (32, 26, 20, 16, 8, calibration.BETWEEN, 1) in chains


def test_scaled_probabilities():
    probs = np.array([[[0.5, 0.9], [0.25, 0.1], [0.25, 0.0]]])
    half = consensus.scale_probs(probs, np.array([0.5]))[0]
    np.testing.assert_allclose(half[:, 0], np.array([4, 1, 1]) / 6, rtol=1e-14)
    np.testing.assert_allclose(half[:, 1], [81 / 82, 1 / 82, 0], rtol=1e-14, atol=1e-50)
    # A zero counts as 1e-30.
    wide = consensus.scale_probs(probs, np.array([8.0]))[0]
    powers = np.array([0.9, 0.1, 1e-30]) ** (1 / 8)
    np.testing.assert_allclose(wide[:, 1], powers / powers.sum(), rtol=1e-13)
    # Where powers alone would all underflow.
    steep = consensus.scale_probs(np.full((1, 1000, 2), 1e-3), np.array([1e-4]))
    np.testing.assert_allclose(steep, 1e-3, rtol=1e-12)
    assert consensus.scale_probs(probs, None) is probs


def test_the_pool_is_scored_by_the_surest_class():
    probs = np.array([[[0.9, 0.5], [0.1, 0.5]]])
    # (w_M max p + w/K) / (w_M + w)
    score = consensus.score_unlabeled(probs, PoolRule(np.ones(1), np.array([2.0]), 1.0))
    np.testing.assert_allclose(score, [(2 * 0.9 + 0.5) / 3, 0.5], rtol=1e-15)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([0.5, 0.5], None),
        ([0.5, 0.5009], None),
        ([1.0009, 0.0], None),
        ([1.0 + 5e-7, -5e-7], None),
        ([0.5, 0.502], findings.BAD_SUM),
        ([0.0, 0.0], findings.ALL_ZERO),
        ([1.2, -0.2], findings.BELOW_ZERO),
        ([1.002, 0.0], findings.ABOVE_ONE),
        ([np.nan, 0.5], findings.NOT_FINITE),
        ([np.inf, 0.5], findings.NOT_FINITE),
        ([np.inf, -np.inf], findings.NOT_FINITE),
    ],
)
@pytest.mark.parametrize("num_good", [0, 1, 40])
def test_faults_of_a_row(row, fault, num_good):
    probs = np.array([*[[0.3, 0.7]] * num_good, row]).T[np.newaxis]
    least = tiles.least_prob([probs[0].T], 0, num_good + 1)
    with np.errstate(invalid="ignore"):
        totals = tiles.sum_classes(probs)
    faults = tiles.check_probs(probs, totals, least=least)
    if fault is None:
        assert faults is None
    else:
        np.testing.assert_array_equal(faults, [[0] * num_good + [fault]])


# --- the same bits wherever a row lies --------------------------------------------------------


@settings(max_examples=60)
@given(
    st.data(),
    st.integers(0, 2**32 - 1),
    CLASSES,
    st.integers(1, 3),
    st.integers(1, 70),
    st.sampled_from([0.05, 0.1, 0.3, 1.0, 2.5, 7.25]),
    st.booleans(),
)
def test_any_tiling_gives_the_same_bits(
    data, seed, num_classes, num_models, num_rows, temperature, vectorised
):
    with mock.patch.object(powers, "log_is_vectorised", return_value=vectorised):
        check_any_tiling(data, seed, num_classes, num_models, num_rows, temperature)


def check_any_tiling(data, seed, num_classes, num_models, num_rows, temperature):
    rng = np.random.default_rng(seed)
    tile = make_tile(rng, num_models, num_classes, num_rows)
    rule = make_rule(rng, num_models, num_classes, temperature)
    edges = np.cumsum([0, *data.draw(chunkings(num_rows))]).tolist()
    parts = [cut(tile, *bounds) for bounds in pairwise(edges)]

    def assert_alike(function):
        whole = function(tile)
        pieces = [function(part) for part in parts]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), whole)

    assert_alike(lambda part: tiles.sum_classes(part.probs))
    assert_alike(lambda part: consensus.scale_probs(part.probs, rule.temperature))
    assert_alike(lambda part: consensus.take_consensus(part, rule)[0])
    for field in range(5):
        assert_alike(lambda part, field=field: consensus.score_labeled(part, rule)[field])
    assert_alike(
        lambda part: consensus.score_unlabeled(
            part.probs.copy(), PoolRule(rule.temperature, rule.final.model, 0.4)
        )
    )
    for model in range(num_models):
        assert_alike(
            lambda part, model=model: calibration.log_totals(
                calibration.ratios_to_largest(part.probs[model])
            )
        )

        def losses(part, model=model):
            ratios = calibration.ratios_to_largest(part.probs[model])
            return calibration.loss_sums(ratios, part, part.cells)

        assert functools.reduce(LossSums.merge, map(losses, parts)) == losses(tile)


@settings(max_examples=40)
@given(st.data(), st.integers(0, 2**32 - 1), CLASSES, st.sampled_from(["f8", "f4", "f2", "i1"]))
def test_a_tile_of_any_rows_holds_their_values(data, seed, num_classes, dtype):
    rng = np.random.default_rng(seed)
    block = (rng.random((20, num_classes)) * 100).astype(dtype)
    start = data.draw(st.integers(0, 20))
    stop = data.draw(st.integers(start, 20))
    tile = tiles.load_probs([block, block[::-1]], start, stop)
    assert tile.dtype == np.float64
    np.testing.assert_array_equal(tile[0], block[start:stop].T.astype(np.float64))
    np.testing.assert_array_equal(tile[1], block[::-1][start:stop].T.astype(np.float64))


@pytest.mark.parametrize("num_classes", [2, 10, 100, 1000, 100_000])
@pytest.mark.parametrize("num_models", [1, 5])
def test_tiles_stay_small(num_models, num_classes):
    rows = tiles.tile_rows(num_models, num_classes)
    assert tiles.MIN_TILE_ROWS <= rows <= tiles.MAX_TILE_ROWS
    assert rows == tiles.MIN_TILE_ROWS or (rows * num_models * num_classes <= tiles.TILE_ELEMENTS)


@pytest.mark.parametrize(("num_annotators", "rows"), [(0, 2**14), (512, 2**14), (2048, 2**12)])
def test_tiles_of_many_annotators_have_fewer_rows(num_annotators, rows):
    assert tiles.tile_rows(1, 2, num_annotators) == rows


@pytest.mark.parametrize(("given_share", "rows"), [(0.0, 2**12), (0.25, 2**8)])
def test_tiles_are_cut_for_the_labels_and_votes_of_their_block(given_share, rows):
    labels = np.full((2**12, 2**11), -1, dtype=np.int8)
    labels[:, : int(given_share * 2**11)] = 0
    bounds = list(row_bounds(Block(labels, [np.full((2**12, 2), 0.5)], 0)))
    assert bounds == [(start, start + rows) for start in range(0, 2**12, rows)]


@pytest.mark.parametrize("total", [0.999, 1.001])
@pytest.mark.parametrize("beside", [[0.5, 0.5], [1 + 5e-7, -5e-7]])
def test_sums_at_the_tolerance_are_the_same_beside_any_row(total, beside):
    # The row beside it decides whether a tile is looked at closely.
    for edge in (total, np.nextafter(total, 1), np.nextafter(total, 2 if total > 1 else 0)):
        probs = np.array([[edge, 0.0], beside]).T[np.newaxis]
        faults = tiles.check_probs(probs, tiles.sum_classes(probs), least=float(probs.min()))
        outside = not 1 - 1e-3 <= edge <= 1 + 1e-3
        assert (faults is not None and bool(faults[0, 0])) == outside


@pytest.mark.parametrize("num_classes", [31, 32, 1000])
@pytest.mark.parametrize("temperature", [None, 0.05, 0.5, 1.0, 2.5])
def test_rows_kept_together_score_as_classes_do(monkeypatch, num_classes, temperature):
    rng = np.random.default_rng(num_classes)
    probs = make_probs(rng, 1, num_classes, 50).transpose(0, 2, 1)
    scale = None if temperature is None else np.array([temperature])
    rule = PoolRule(scale, np.array([0.7]), 0.4)
    together = consensus.score_unlabeled(probs.copy(), rule)
    monkeypatch.setattr(tiles, "ROW_CLASSES", 2000)
    apart = consensus.score_unlabeled(probs.copy(), rule)
    np.testing.assert_allclose(together, apart, rtol=1e-13)
    if num_classes < 32:
        np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "?"])
def test_rows_are_kept_together_as_they_are(dtype):
    block = (np.random.default_rng(0).random((9, 40)) * 3).astype(dtype)
    tile = tiles.load_rows(np.asfortranarray(block), 2, 7)
    assert tile.dtype == np.float64
    np.testing.assert_array_equal(tile, block[2:7].T[np.newaxis])
    assert tile[0].T.flags.c_contiguous


@pytest.mark.parametrize("num_classes", [32, 1000, 8191, 8192, 8193, 20_000])
def test_a_row_has_the_same_sum_beside_any_others(num_classes):
    rows = np.random.default_rng(num_classes).random((7, num_classes))
    together = tiles.sum_rows(rows)
    for stop in range(1, 8):
        np.testing.assert_array_equal(tiles.sum_rows(rows[:stop]), together[:stop])
        np.testing.assert_array_equal(tiles.sum_rows(rows[stop - 1 : stop]), together[stop - 1])


def test_the_floor_is_in_the_tables_of_powers_beside_any_largest():
    assert tiles.PROB_FLOOR / tiles.HIGH_TOLERANCE >= powers.LEAST
    assert powers.BEYOND > tiles.HIGH_TOLERANCE


def test_least_of_all_models():
    blocks = [np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([[0.1, 0.9], [np.nan, 0.5]])]
    assert tiles.least_prob(blocks, 0, 1) == 0.1
    assert np.isnan(tiles.least_prob(blocks, 0, 2))
    assert tiles.least_prob(blocks, 1, 1) == np.inf


def test_largest_of_rows():
    rows = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    assert tiles.largest_of_rows(rows).tolist() == [0.7, 0.5, 0.8]
    assert tiles.largest_of_rows(rows[:0]).tolist() == []


def test_sums_over_a_tile_fit_their_types():
    assert tiles.MAX_TILE_ROWS * 2**merging.QUALITY_BITS <= 2**53
    assert 500 * 2**temperature.TOTAL_BITS * tiles.MAX_TILE_ROWS < 2**63


def test_posterior_of_a_tile_in_any_order():
    rng = np.random.default_rng(3)
    tile = make_tile(rng, 1, 3, 20)
    weights = make_rule(rng, 1, 3, 1.0).final
    q, _ = consensus.posterior(tile, tile.probs, weights)
    np.testing.assert_allclose(q.sum(axis=0), 1, rtol=1e-12)
    turned = np.asfortranarray(tile.probs)
    np.testing.assert_array_equal(consensus.posterior(tile, turned, weights)[0], q)


@pytest.mark.parametrize(("num_models", "label"), [(1, 0), (2, 1)])
def test_no_last_bit_of_a_mean_decides_between_models(num_models, label):
    # One vote for each of two classes, whose mean probabilities differ by rounding alone.
    tile = tiles.make_tile(
        np.full((num_models, 2, 1), 0.5),
        np.array([0, 0]),
        np.array([0, 1]),
        np.array([0, 1]),
        np.array([0]),
    )
    mean = np.array([[np.nextafter(0.5, 1)], [0.5]])
    rarer = TieBreak(np.array([9, 3]), np.ones(2), 0)
    assert consensus.majority_vote(tile, mean, rarer)[0].tolist() == [label]


def test_rows_without_votes_are_a_tie_of_all_classes_where_asked():
    none = np.zeros(0, dtype=np.int64)
    tile = tiles.make_tile(np.full((1, 3, 1), 1 / 3), none, none, none, np.array([0]))
    rarer = TieBreak(np.array([9, 3, 5]), np.ones(2), 0)
    mean = np.array([[0.4], [0.2], [0.4]])
    assert consensus.majority_vote(tile, mean, rarer, unvoted=True)[0].tolist() == [2]
