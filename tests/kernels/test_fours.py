"""Rows of a table, four numbers at a time, wherever they begin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from daskal.kernels.compiling import compiled
from daskal.kernels.fours import FOUR, SPARE, add_rows_of_table, add_to_rows_of_table, in_fours
from daskal.method.values import Floats, Ints

STEP = np.uint64(FOUR)


@compiled
def take_sums(start: Floats, table: Floats, places: Any, first: Any, last: Any, out: Floats) -> Any:
    for k in range(np.uint64(0), np.uint64(len(out)), STEP):
        add_rows_of_table(out, k, start, table, k, places, first, last)


@compiled
def spread(values: Ints, table: Ints, places: Any, first: Any, last: Any) -> Any:
    for k in range(np.uint64(0), np.uint64(len(values)), STEP):
        add_to_rows_of_table(table, k, places, first, last, values, k)


def test_sizes_in_whole_fours():
    assert [in_fours(size) for size in (0, 1, 4, 5, 8)] == [0, 4, 4, 8, 8]


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("votes", [(0, 0), (1, 2), (0, 5), (2, 17)])
def test_rows_begin_anywhere(num_classes, votes):
    rng = np.random.default_rng(num_classes)
    size = in_fours(num_classes)
    table = rng.random(40 + SPARE)
    places = rng.integers(0, 40 - num_classes, 20).astype(np.uint64)
    start, out = rng.random(size), np.zeros(size)
    first, last = map(np.uint64, votes)
    take_sums(start, table, places, first, last, out)
    expected = start[:num_classes].copy()
    for place in places[slice(*votes)].tolist():
        expected += table[place : place + num_classes]
    np.testing.assert_array_equal(out[:num_classes], expected)


@pytest.mark.parametrize("num_classes", [1, 4, 6])
def test_rows_are_added_to_and_nothing_else(num_classes):
    values = np.zeros(in_fours(num_classes), dtype=np.int64)
    values[:num_classes] = 2**60 + np.arange(num_classes)
    table = np.arange(20 + SPARE)
    expected = table.copy()
    places = np.array([3, 11, 20 - num_classes, 3], dtype=np.uint64)
    for place in places.tolist():
        expected[place : place + num_classes] += values[:num_classes]
    spread(values, table, places, np.uint64(0), np.uint64(4))
    np.testing.assert_array_equal(table, expected)
