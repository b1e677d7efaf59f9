"""Blocks of scores: the examples of each that may still be chosen for a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.second_pass import smallest_of
from daskal.method.candidates import (
    Limits,
    SmallestOfGroups,
    group_codes,
    group_keys,
    places_in_groups,
)
from daskal.method.tallies import Candidates, Smallest
from daskal.method.values import Block, Bools, Floats, Ints

# How many more scores than are wanted are looked at, for some may be of one group; and how many
# times more each time that too many were.
SPARE, GROWTH = 1.25, 4
# Bytes that finding candidates takes for each row of a block beside the block: copies of scores and
# places; and codes of the groups, where these are values of several types (measured).
PLAIN_ROW_BYTES, GROUPED_ROW_BYTES = 32, 96


def row_bytes_beside(*, grouped: bool) -> int:
    """Return the most bytes that finding candidates takes for each row, beside the block."""
    return GROUPED_ROW_BYTES if grouped else PLAIN_ROW_BYTES


def smallest_of_groups(
    scores: Floats, groups: NDArray[Any], first_row: int, size: int, max_per_group: int
) -> SmallestOfGroups:
    """Return the smallest of the scores of consecutive rows, of each group few; NaN is none."""
    wanted = math.ceil(SPARE * size)
    while True:
        found = smallest_of(scores, 0, wanted)
        codes = group_codes(groups[found.rows])
        kept = np.flatnonzero(places_in_groups(codes) < max_per_group)[:size]
        if len(kept) == size or len(found.rows) < wanted:
            break
        wanted *= GROWTH
    rows = found.rows[kept]
    keys = group_keys(groups[rows], codes[kept])
    return SmallestOfGroups(size, found.scores[kept], rows + first_row, max_per_group, keys)


def closed_rows(
    arrays: Mapping[str, NDArray[Any]], first_row: int, limits: Limits, left_out: Ints
) -> Bools | None:
    """Return which rows of a block are left out whatever their scores, None where none is."""
    num_rows = len(arrays["scores"])
    first, last = np.searchsorted(left_out, [first_row, first_row + num_rows])
    num = arrays.get("num_annotations")
    closed = np.zeros(num_rows, dtype=bool)
    closed[left_out[first:last] - first_row] = True
    if limits.max_annotations is not None and num is not None:
        closed |= np.greater_equal(num, limits.max_annotations)
    if limits.stop_at_quality is not None and "quality" in arrays:
        good = np.greater_equal(arrays["quality"], limits.stop_at_quality)
        # Of an example without votes, the quality is no more than the model's confidence.
        closed |= good if num is None else good & np.greater(num, 0)
    return closed if closed.any() else None


def candidates_of_block(
    block: Block, *, parts: tuple[str, ...], size: int, limits: Limits, left_out: Ints
) -> Candidates:
    """Return the smallest of a block of scores, none of which is left out.

    ``parts`` names the block's arrays: ``scores``, and what is known beside them of each example:
    ``num_annotations``, ``quality``, ``groups``. ``left_out`` are rows, in ascending order.
    """
    arrays: dict[str, NDArray[Any]] = dict(zip(parts, map(np.asarray, block.probs), strict=True))
    scores: Floats = arrays["scores"].astype(np.float64, copy=False)
    closed = closed_rows(arrays, block.first_row, limits, left_out)
    groups, most = arrays.get("groups"), limits.max_per_group

    def smallest(values: Floats) -> Smallest:
        if groups is None:
            return smallest_of(values, block.first_row, size)
        assert most is not None
        return smallest_of_groups(values, groups, block.first_row, size, most)

    none = smallest(np.zeros(0))
    if "num_annotations" not in arrays:
        return Candidates(smallest(without(scores, closed)), none)
    voted = np.greater(arrays["num_annotations"], 0)
    unvoted = smallest(without(scores, voted, closed)) if not voted.all() else none
    return Candidates(smallest(without(scores, ~voted, closed)), unvoted)


def without(scores: Floats, *rows: Bools | None) -> Floats:
    """Return scores of which those of some rows are NaN."""
    for each in rows:
        if each is not None and each.any():
            scores = np.where(each, np.nan, scores)
    return scores
