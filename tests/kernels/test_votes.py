"""Labels turned into sparse votes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal.inputs.compressed_rows import order_votes
from daskal.kernels import tiles, votes
from daskal.kernels.lanes import Scratch
from daskal.method import findings
from daskal.method.values import Block
from tests.kernels.reference import miscount
from tests.problems import cast_labels


def taken(labels, num_classes, start=0):
    """Rows, annotators, classes, and faults with the values seen, of all rows from one on."""
    rows, annotators, classes, faults, seen = [], [], [], [], []
    while start < len(labels):
        found = votes.find_votes(labels, start, 4096, num_classes, Scratch())
        num = np.diff(found.offsets)
        assert len(found.faults) > 0
        np.testing.assert_array_equal(found.row_of, np.repeat(np.arange(len(num)), num))
        rows.append(found.row_of + start)
        annotators.append(found.annotators)
        classes.append(found.classes)
        faults.append(found.faults)
        seen.append(found.seen)
        start += len(num)
    return [np.concatenate(part) for part in (rows, annotators, classes, faults, seen)]


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i1", "i2", "i4", "i8", ">i4", ">f8", "g"])
@pytest.mark.parametrize("num_annotators", [0, 1, 3, 50, 300, 3000])
def test_votes_of_a_matrix(dtype, num_annotators):
    rng = np.random.default_rng(num_annotators)
    shape = (40, num_annotators)
    matrix = np.where(rng.random(shape) < 0.05, rng.integers(0, 4, shape), np.nan)
    for order in "CF":
        labels = np.array(cast_labels(matrix, dtype), order=order)
        rows, annotators, classes, faults, _ = taken(labels, 4, start=7)
        expected = np.nonzero(~np.isnan(matrix[7:]))
        np.testing.assert_array_equal(rows - 7, expected[0])
        np.testing.assert_array_equal(annotators, expected[1])
        np.testing.assert_array_equal(classes, matrix[7:][expected])
        assert not faults.any()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 700), st.sampled_from([1, 30, 2000]))
def test_rows_are_cut_where_there_is_no_more_room(seed, num_annotators, most):
    labels = np.random.default_rng(seed).integers(-1, 3, (30, num_annotators)).astype("i1")
    whole = taken(labels, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(votes, "MOST_VOTES", most)
        for a, b in zip(taken(labels, 3), whole, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "?"])
def test_unsigned_labels_are_all_given(dtype):
    _, _, classes, faults, _ = taken(np.array([[0, 1], [1, 1]], dtype=dtype), 3)
    assert classes.tolist() == [0, 1, 1, 1]
    assert not faults.any()


def test_rows_with_a_label_that_is_no_class_lose_their_votes():
    matrix = np.array(
        [[0, 1.5], [np.nan, 1], [9, 0], [-1, 0], [np.inf, 2], [1e300, 0], [2, -np.inf], [7, 0.5]]
    )
    rows, _, classes, faults, seen = taken(matrix, 3)
    assert rows.tolist() == [1]
    assert classes.tolist() == [1]
    assert faults.tolist() == [
        findings.FRACTIONAL,
        0,
        findings.OUT_OF_RANGE,
        findings.NEGATIVE,
        findings.INFINITE,
        findings.OUT_OF_RANGE,
        findings.INFINITE,
        findings.OUT_OF_RANGE,
    ]
    assert seen.tolist() == [1.5, 0, 9, -1, np.inf, 1e300, -np.inf, 7]
    huge = np.array([[2**63 - 1, 0]])
    assert taken(huge, 3)[3].tolist() == [findings.OUT_OF_RANGE]


@pytest.mark.parametrize("dtype", ["f8", "i1", "u2", "i8"])
@pytest.mark.parametrize("most", [1, 10, 2**17])
def test_sparse_votes_are_those_of_a_matrix(monkeypatch, dtype, most):
    monkeypatch.setattr(votes, "MOST_VOTES", most)
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((30, 5)) < 0.4, rng.integers(0, 4, (30, 5)), np.nan)
    matrix[3, 2] = 100
    rows, annotators = np.nonzero(~np.isnan(matrix))
    offsets = np.searchsorted(rows, np.arange(31))
    annotators[offsets[6]] = 99  # row 6 has a vote of an annotator there is not
    classes = matrix[rows, np.minimum(annotators, 4)]
    classes[offsets[6]] = 0
    sparse = order_votes(offsets, annotators, classes.astype(dtype), 5)
    matrix[6] = np.nan
    probs = [np.full((30, 4), 0.25)]
    found, expected = (
        [
            (tile.rows.annotators.copy(), tile.rows.classes.copy(), tile.findings)
            for tile in tiles.take_tiles(Block(labels, probs, 0), on_invalid="nan")
        ]
        for labels in (sparse, matrix)
    )
    for each in (0, 1):
        np.testing.assert_array_equal(
            *(np.concatenate([tile[each] for tile in side]) for side in (found, expected))
        )
    faults = [fault for *_, found_of in found for fault in found_of.faults]
    assert {(fault.code, *row) for fault in faults for row in fault.rows} == {
        (findings.OUT_OF_RANGE, 3, 100.0),
        (findings.UNKNOWN_ANNOTATOR, 6, 99.0),
    }


@given(st.integers(0, 2**32 - 1))
def test_classes_as_cleanlab_counts_them(seed):
    labels = np.random.default_rng(seed).integers(-1, 6, (9, 7))
    block = Block(labels, [np.full((9, 6), 1 / 6)], 0)
    (tile,) = tiles.take_tiles(block, on_invalid="raise", miscount=True)
    expected = [miscount(row[row >= 0].tolist()) for row in labels]
    assert tile.rows.counted.tolist() == [k for row in expected for k in row]
