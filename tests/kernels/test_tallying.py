"""Tables of cells that grow, and sums in fixed point."""

from __future__ import annotations

import numpy as np
import pytest

from daskal.kernels import tallying
from daskal.kernels.tallying import AnnotatorCounts, Slots, Table
from tests.kernels.reference import make_scored, make_votes


@pytest.mark.parametrize(("num_rows", "num_classes"), [(1, 3), (300, 10), (4000, 1000)])
def test_cells_of_a_large_table(num_rows, num_classes):
    rng = np.random.default_rng(num_rows)
    num_annotators = 50
    counts = AnnotatorCounts(num_annotators, num_classes)
    expected: dict[int, list[float]] = {}
    for _ in range(3):
        annotators = rng.integers(0, num_annotators, num_rows)
        classes = rng.integers(0, num_classes, num_rows)
        labels = rng.integers(0, num_classes, num_rows)
        quality = rng.integers(0, 2**10, num_rows) / 2**10
        votes = make_votes(list(zip(range(num_rows), annotators, classes, strict=True)), num_rows)
        counts.add(votes, make_scored(labels, quality, quality))
        for j, k, label, q in zip(annotators, classes, labels, quality, strict=True):
            cell = expected.setdefault(int(j * num_classes + k), [0, 0, 0.0])
            cell[0] += 1
            cell[1] += k == label
            cell[2] += q
    cells = counts.statistics().by_class
    assert cells.keys.tolist() == sorted(expected)
    assert counts.table.slots.taken[0] == len(expected) <= len(counts.table.slots.keys) / 2
    sums = cells.sums.values()
    for at, key in enumerate(cells.keys.tolist()):
        assert [*cells.counts[:, at], sums[at]] == expected[key]


def test_a_table_takes_no_more_room_than_its_cells():
    assert len(Table(5).with_room(10**9).keys) == tallying.LEAST_SLOTS


def test_a_full_circle_of_slots():
    # Keys whose slots are all taken by others go on at the beginning.
    slots = Slots.empty(8)
    assert len({tallying.take_slot(slots, key) for key in range(7)}) == 7
    assert all(slots.keys[tallying.find_slot(slots.keys, key)] == key for key in range(7))
    assert tallying.take_slot(slots, 3) == tallying.find_slot(slots.keys, 3)
    assert slots.taken[0] == 7


def test_no_number_counts_as_zero():
    assert tallying.to_units(np.nan) == 0
    assert tallying.to_units(1.0) == 2**39


def test_pairs_of_classes():
    votes = make_votes([(0, 0, 2), (0, 1, 2), (2, 0, 1)], 3)
    table = Table(9)
    tallying.add_pairs(votes, np.array([2, 0, 0]), 3, table.with_room(3))
    cells = table.cells(1)
    assert cells.keys.tolist() == [1 * 3 + 0, 2 * 3 + 2]
    assert cells.counts.tolist() == [[1, 2]]
