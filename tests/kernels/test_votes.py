"""Labels turned into sparse votes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.kernels import votes
from daskal.method import findings
from tests.problems import cast_labels


@given(st.integers(0, 2**32 - 1), st.integers(0, 3000), st.sampled_from([0, 0.002, 0.02, 0.3, 1]))
def test_true_places_are_those_numpy_finds(seed, size, share):
    mask = np.random.default_rng(seed).random(size) < share
    np.testing.assert_array_equal(votes.true_places(mask), np.flatnonzero(mask))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i1", "i2", "i8"])
@pytest.mark.parametrize("num_annotators", [0, 1, 3, 50, 300])
def test_votes_of_a_matrix(dtype, num_annotators):
    rng = np.random.default_rng(num_annotators)
    shape = (40, num_annotators)
    matrix = np.where(rng.random(shape) < 0.05, rng.integers(0, 4, shape), np.nan)
    found = votes.votes_of(cast_labels(matrix, dtype), 7, 31, 4)
    rows, annotators = np.nonzero(~np.isnan(matrix[7:31]))
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.annotators, annotators)
    np.testing.assert_array_equal(found.classes, matrix[7:31][rows, annotators])
    assert not len(found.faulty_rows)


def test_labels_are_looked_at_in_parts(monkeypatch):
    matrix = np.arange(60).reshape(6, 10) % 4 - 1
    whole = votes.votes_of(matrix, 0, 6, 3)
    monkeypatch.setattr(votes, "MASK_SIZE", 7)
    parts = votes.votes_of(matrix, 0, 6, 3)
    np.testing.assert_array_equal(parts.annotators, whole.annotators)
    np.testing.assert_array_equal(parts.classes, whole.classes)
    np.testing.assert_array_equal(parts.rows, whole.rows)


def test_unsigned_labels_are_all_given():
    found = votes.votes_of(np.array([[0, 1], [2, 1]], dtype="u1"), 0, 2, 3)
    np.testing.assert_array_equal(found.classes, [0, 1, 2, 1])


def test_rows_with_a_label_that_is_no_class_lose_their_votes():
    matrix = np.array([[0, 1.5], [np.nan, 1], [9, 0], [-1, 0], [np.inf, 2]])
    found = votes.votes_of(matrix, 0, 5, 3)
    np.testing.assert_array_equal(found.faulty_rows, [0, 2, 3, 4])
    np.testing.assert_array_equal(
        found.faults,
        [findings.FRACTIONAL, findings.OUT_OF_RANGE, findings.NEGATIVE, findings.INFINITE],
    )
    np.testing.assert_array_equal(found.values, [1.5, 9, -1, np.inf])
    np.testing.assert_array_equal(found.rows, [1])
    np.testing.assert_array_equal(found.classes, [1])


@pytest.mark.parametrize("dtype", ["f8", "i1", "u1"])
def test_votes_of_a_row_are_judged_by_some_rows(dtype):
    full = np.ones((1000, 6), dtype=dtype)
    assert votes.votes_a_row(full) == 6
    assert votes.votes_a_row(full[:0]) == 0
    if dtype != "u1":
        full[500:, :4] = np.nan if dtype == "f8" else -1
        assert votes.votes_a_row(full) == pytest.approx(4, abs=0.2)
