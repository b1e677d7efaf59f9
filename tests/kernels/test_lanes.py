"""Rows side by side: loaded, checked, scaled, each with the same bits in any lane."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal.kernels import lanes, tiles
from daskal.kernels.compiling import first_holding
from daskal.method import findings
from daskal.method.values import Block
from tests.kernels import reference


def filled(models):
    """Lanes of some (p, n, k) rows, what is wrong with each, and the values seen."""
    num_models, num_rows, num_classes = np.shape(models)
    room = lanes.make_room(num_models, num_classes)
    groups = np.empty((-(-num_rows // room.lanes.shape[2]), *room.lanes.shape))
    faults, seen = np.zeros((num_models, num_rows), np.uint8), np.zeros((num_models, num_rows))
    for p, probs in enumerate(np.asarray(models)):
        given = first_holding(probs, ("f4", "f8"))
        found = lanes.fill_lanes(given, p, groups, faults[p], seen[p], room)
        assert found == faults[p].any()
    return groups, faults, seen


def scaled(probs, temperature, odd=None):
    """P' of (n, k) rows, n at most a group of lanes."""
    num_rows, num_classes = probs.shape
    room = lanes.make_room(1, num_classes)
    marks = np.array([0] * num_rows if odd is None else odd, dtype=np.uint8)
    nothing, codes = np.zeros(num_rows + 1, dtype=np.int64), np.zeros(0, dtype=np.int32)
    rows = lanes.Rows(filled([probs])[0], marks, nothing[1:], nothing, codes, codes, codes, codes)
    inverse = first_holding(np.array([1 / temperature]), ("f8",))
    assert lanes.load_scaled(rows, 0, inverse, room) == (0, num_rows)
    return room.mean[:, :num_rows].T


@pytest.mark.parametrize("num_classes", [1, 3, 1500])
@pytest.mark.parametrize("num_rows", [1, 7, 8, 15, 16, 40, 80])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_come_into_lanes_as_they_are(num_classes, num_rows, dtype):
    probs = np.random.default_rng(0).random((2, num_rows, num_classes)).astype(dtype)
    groups, *_ = filled(probs)
    together = groups.transpose(1, 0, 3, 2).reshape(2, -1, num_classes)
    np.testing.assert_array_equal(together[:, :num_rows], probs)
    assert (together[:, num_rows:] == 1 / num_classes).all()


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i1", "?", ">f8", "g"])
@pytest.mark.parametrize("num_models", [1, 2])
def test_a_tile_of_any_dtype_and_order_holds_its_values(dtype, num_models):
    block = (np.random.default_rng(0).random((9, 4)) * 3).astype(dtype)
    for each in (block, np.asfortranarray(block), block[::-1]):
        models = [each, each[:, ::-1]][:num_models]
        (tile,) = tiles.take_tiles(Block(None, models, 0), on_invalid="keep")
        np.testing.assert_array_equal(tile.rows.lanes[0, 0, :, :9].T, each.astype(np.float64))


@pytest.mark.parametrize(
    ("row", "fault", "seen"),
    [
        ([0.5, 0.5], 0, 0),
        ([0.5, 0.5009], 0, 0),
        ([1.0009, 0.0], 0, 0),
        ([1.0 + 5e-7, -5e-7], 0, 0),
        ([0.5, 0.502], findings.BAD_SUM, 1.002),
        ([0.0, 0.0], findings.ALL_ZERO, 0.0),
        ([1.2, -0.2], findings.BELOW_ZERO, -0.2),
        ([1.002, 0.0], findings.ABOVE_ONE, 1.002),
        ([1.2, 1.3], findings.ABOVE_ONE, 1.3),
        ([np.nan, 0.5], findings.NOT_FINITE, np.nan),
        ([np.inf, 0.5], findings.NOT_FINITE, np.inf),
        ([np.inf, -np.inf], findings.NOT_FINITE, np.nan),
        ([1e308, 1e308], findings.ABOVE_ONE, 1e308),
    ],
)
@pytest.mark.parametrize("num_good", [0, 1, 100])
def test_faults_of_a_row(row, fault, seen, num_good):
    _, faults, values = filled([[*[[0.3, 0.7]] * num_good, row]])
    np.testing.assert_array_equal(faults, [[0] * num_good + [fault]])
    np.testing.assert_array_equal(values, [[0] * num_good + [seen]])


@pytest.mark.parametrize("total", [0.999, 1.001])
@pytest.mark.parametrize("beside", [[0.5, 0.5], [1 + 5e-7, -5e-7]])
def test_sums_at_the_tolerance_are_the_same_beside_any_row(total, beside):
    # The row beside it decides whether a group of lanes is looked at closely.
    for edge in (total, np.nextafter(total, 1), np.nextafter(total, 2 if total > 1 else 0)):
        _, faults, _ = filled([[[edge, 0.0], beside]])
        assert bool(faults[0, 0]) == (not 1 - 1e-3 <= edge <= 1 + 1e-3)
        assert not faults[0, 1]


def test_faults_of_each_model():
    probs = np.full((2, 3, 2), 0.5)
    probs[1, 2] = 0.0
    block = Block(np.zeros((3, 1), dtype="i1"), list(probs), 10)
    (tile,) = tiles.take_tiles(block, on_invalid="nan")
    assert tile.findings.faults[0][:3] == ("pred_probs[1]", findings.ALL_ZERO, 1)
    assert tile.findings.faults[0].rows == ((12, 0.0),)
    assert tile.faulty.tolist() == [2]
    assert tile.num_annotations.tolist() == [1, 1, 0]
    assert (tile.rows.lanes == 0.5).all()
    (kept,) = tiles.take_tiles(block, on_invalid="keep")
    assert kept.rows.odd.tolist() == [0, 0, 1]
    assert kept.num_annotations.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(kept.rows.lanes[0, :, :, :3].transpose(0, 2, 1), probs)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 3, 10, 70, 1100]),
    st.sampled_from([1e-4, 0.05, 0.1, 0.3, 1.0, 2.5, 7.25]),
)
def test_scaled_probabilities(seed, num_classes, temperature):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(num_classes, 0.3), 12)
    probs[rng.random(probs.shape) < 0.1] = 0.0
    probs[:, 0] += 1e-3
    probs /= probs.sum(axis=1, keepdims=True)
    found = scaled(probs, temperature)
    expected = np.array([reference.scale(row, temperature) for row in probs])
    np.testing.assert_allclose(found, expected, rtol=1e-12 / min(temperature, 1), atol=1e-290)
    for at in range(12):
        np.testing.assert_array_equal(scaled(probs[at : at + 1], temperature)[0], found[at])


def test_literal_scaled_probabilities():
    probs = np.array([[0.5, 0.25, 0.25], [0.9, 0.1, 0.0]])
    half = scaled(probs, 0.5)
    np.testing.assert_allclose(half[0], np.array([4, 1, 1]) / 6, rtol=1e-14)
    np.testing.assert_allclose(half[1], [81 / 82, 1 / 82, 0], rtol=1e-14, atol=1e-50)
    # A zero counts as 1e-30.
    powers = np.array([0.9, 0.1, 1e-30]) ** (1 / 8)
    np.testing.assert_allclose(scaled(probs, 8.0)[1], powers / powers.sum(), rtol=1e-13)
    # Where powers alone would all underflow.
    np.testing.assert_allclose(scaled(np.full((2, 1000), 1e-3), 1e-4), 1e-3, rtol=1e-12)


def test_rows_at_fault_that_are_kept():
    probs = np.array([[0.2, 0.8], [np.nan, 0.5], [np.inf, 0.5], [300.0, 100.0], [-4.0, 2.0]])
    found = scaled(probs, 0.1, odd=[0, 1, 1, 1, 1])
    np.testing.assert_array_equal(found[0], scaled(probs[:1], 0.1)[0])
    assert np.isnan(found[1:3]).all()
    np.testing.assert_allclose(found[3], scaled(np.array([[0.75, 0.25]]), 0.1)[0], rtol=1e-12)
    np.testing.assert_allclose(found[4], [0, 1], atol=1e-200)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_first_largest_is_argmax(seed, num_classes):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (num_classes, 64)) / 2
    x[rng.random(x.shape) < 0.1] = np.nan
    most, classes = np.empty(64), np.empty(64, dtype=np.int64)
    lanes.first_largest(x, most, classes)
    np.testing.assert_array_equal(classes, x.argmax(axis=0))
    np.testing.assert_array_equal(most, x.max(axis=0))


@pytest.mark.parametrize("num_classes", [2, 10, 100, 1000, 100_000])
@pytest.mark.parametrize("num_models", [1, 5])
def test_tiles_stay_small(num_models, num_classes):
    rows = tiles.tile_rows(num_models, num_classes)
    num_lanes = lanes.count_lanes(num_classes)
    assert rows % num_lanes == 0
    assert num_lanes <= rows <= tiles.MOST_TILE_ROWS
    assert rows == num_lanes or rows * num_models * num_classes <= tiles.TILE_ELEMENTS


def test_tiles_of_two_blocks_at_once_have_arrays_of_their_own():
    def block(label):
        return Block(np.full((100, 3), label), [np.full((100, 4), 0.25)], 0)

    def take(label):
        return tiles.take_tiles(block(label), on_invalid="raise")

    first, second = take(1), take(2)
    one, other = next(first), next(second)
    assert (one.rows.classes == 1).all()
    assert (other.rows.classes == 2).all()
    second.close()
    # What the abandoned one leaves is used again.
    assert next(take(3)).scratch is other.scratch
    assert (one.rows.classes == 1).all()


def test_arrays_of_one_name_and_two_types_are_two():
    scratch = lanes.Scratch()
    whole = scratch.take("x", 5, dtype=np.int64)
    real = scratch.take("x", 5)
    assert (whole.dtype, real.dtype) == (np.int64, np.float64)
    assert not np.shares_memory(whole, real)
    assert np.shares_memory(scratch.take("x", 3), real)
