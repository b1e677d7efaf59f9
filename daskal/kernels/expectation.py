"""Votes counted, and their posterior summed over a block: an iteration's pass.

Axes: n rows, m annotators, k classes, v votes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from daskal.kernels.compiling import Whole, compiled, read_only
from daskal.kernels.fours import SPARE, add_to_rows_of_table
from daskal.kernels.known import NOTHING_KNOWN, known_rows
from daskal.kernels.lanes import Codes
from daskal.kernels.posterior import ONE, STEP, VoteRoom, find_places, find_posterior
from daskal.kernels.powers import WHOLE, bits_of
from daskal.kernels.vote_tiles import TILE_ELEMENTS, vote_tiles
from daskal.method.expectation import (
    SHARES,
    ExpectationSums,
    LogParameters,
    Units,
    VoteCounts,
)
from daskal.method.findings import Findings
from daskal.method.values import MOST_CLASSES, Block, Ints

# --- counts -----------------------------------------------------------------------------------


def count_votes(block: Block, *, num_annotators: int, num_classes: int | None) -> VoteCounts:
    """Return the counts of a block; without a number of classes, of all that occur."""
    most = MOST_CLASSES if num_classes is None else num_classes
    votes, classes = np.zeros(num_annotators, dtype=np.int64), np.zeros(most, dtype=np.int64)
    gold_counts = np.zeros(most, dtype=np.int64)
    num_rows = num_labeled = num_multiple = num_gold = 0
    findings = Findings()
    for tile in vote_tiles(block, most, most_rows=TILE_ELEMENTS):
        add_counts(tile.annotators, tile.classes, votes, classes)
        num = tile.num_annotations
        num_rows += len(num)
        num_labeled += int(np.count_nonzero(num))
        num_multiple += int(np.count_nonzero(num > 1))
        findings = findings.merge(tile.findings)
        known, faults = known_rows(block, tile.place, most)
        num_gold += int(np.count_nonzero((known >= 0) & (num > 0)))
        gold_counts += np.bincount(known[known >= 0], minlength=most)
        findings = findings.merge(faults)
    return VoteCounts(
        num_examples=num_rows,
        num_labeled=num_labeled,
        num_multiple=num_multiple,
        num_gold=num_gold,
        votes=votes,
        class_counts=without_tail(classes),
        gold_counts=without_tail(gold_counts),
        findings=findings,
    )


def without_tail(counts: Ints) -> Ints:
    """Return counts up to the last that is not zero."""
    return counts[: int(np.flatnonzero(counts).max(initial=-1)) + 1].copy()


@compiled
def add_counts(annotators: Codes, classes: Codes, votes: Ints, class_counts: Ints) -> None:
    """Count votes by annotator and by class."""
    for v in range(len(classes)):
        votes[annotators[v]] += 1
        class_counts[classes[v]] += 1


# --- sums -------------------------------------------------------------------------------------


# Added to a number of at most 2^52, it rounds to a whole one, which the sum's last bits hold.
ROUNDING = 2.0**52


class Totals(NamedTuple):
    """Sums of a block, as they grow."""

    prior: Ints  # (k,)
    cells: Ints  # flat, (m, k, k) with room behind, or (m,)
    rows: Ints  # (1,)
    likelihood: Ints  # (1,)


class Scales(NamedTuple):
    """The units of sums, as factors."""

    prior: float
    cells: float
    likelihood: float


def expectation(
    block: Block, *, parameters: LogParameters, units: Units, one_coin: bool, use_gold: bool
) -> ExpectationSums:
    """Return the sums of a block's posterior."""
    num_annotators, num_classes = parameters.num_annotators, parameters.num_classes
    shape = (num_annotators,) if one_coin else (num_annotators, num_classes, num_classes)
    size = math.prod(shape)
    sizes = (num_classes, size + SPARE, 1, 1)
    totals = Totals(*(np.zeros(each, dtype=np.int64) for each in sizes))
    weights, scales = read_only(parameters), Scales(*(2.0**bits for bits in units))
    for tile in vote_tiles(block, num_classes, most_rows=TILE_ELEMENTS):
        gold = known_rows(block, tile.place, num_classes) if use_gold else NOTHING_KNOWN
        room = VoteRoom.make(len(tile), num_classes, len(tile.classes))
        votes = tile.offsets, tile.annotators, tile.classes
        add_posterior(*votes, gold.classes, weights, scales, one_coin, totals, room)
    cells = totals.cells[:size].reshape(shape)
    return ExpectationSums(int(totals.rows[0]), totals.prior, cells, int(totals.likelihood[0]))


@compiled
def add_posterior(
    offsets: Ints,
    annotators: Codes,
    classes: Codes,
    known: Ints,
    weights: LogParameters,
    scales: Scales,
    one_coin: bool,
    totals: Totals,
    room: VoteRoom,
) -> None:
    """Add up the posterior of all rows with votes."""
    num_lanes, num_rows = room.lanes.shape[1], len(offsets) - 1
    for start in range(0, num_rows, num_lanes):
        num = min(num_lanes, num_rows - start)
        find_posterior(offsets, annotators, classes, known, start, num, weights, room)
        add_rows(offsets, start, num, scales, totals, room)
        write_units(num, scales.cells, room)
        if one_coin:
            add_agreeing(offsets, annotators, classes, start, num, totals.cells, room)
        else:
            if weights.form == SHARES:
                find_places(offsets, annotators, classes, start, num, room)
            add_masses(offsets, start, num, totals.cells, room)


@compiled
def add_rows(
    offsets: Ints, start: Whole, num: Whole, scales: Scales, totals: Totals, room: VoteRoom
) -> None:
    """Add up the posterior of the rows of a group by class, and their likelihoods."""
    for at in range(num):
        if offsets[start + at] == offsets[start + at + 1]:
            room.likelihood[at] = 0.0
            for k in range(len(room.lanes)):
                room.lanes[k, at] = 0.0
        else:
            totals.rows[0] += 1
        # Of at most 0, in whole units.
        totals.likelihood[0] -= np.int64(0.5 - room.likelihood[at] * scales.likelihood)
    for k in range(len(room.lanes)):
        lane, total = room.lanes[k], np.int64(0)
        for at in range(num):
            total += to_units(lane[at], scales.prior)
        totals.prior[k] += total


@compiled
def to_units(share: float, scale: float) -> Whole:
    """Return a share of at most 1 in whole units, of which 1 has at most 2^52."""
    return np.int64(bits_of(share * scale + ROUNDING) - WHOLE)


@compiled
def write_units(num: Whole, scale: float, room: VoteRoom) -> None:
    """Write the posterior of a group in whole units, row by row."""
    step = len(room.units) // room.lanes.shape[1]
    for k in range(len(room.lanes)):
        lane = room.lanes[k]
        for at in range(num):
            room.units[at * step + k] = to_units(lane[at], scale)


@compiled
def add_masses(offsets: Ints, start: Whole, num: Whole, cells: Ints, room: VoteRoom) -> None:
    """Add up the posterior of each vote's row, by annotator, class given and true class, flat."""
    base = np.uint64(offsets[start])
    step = np.uint64(len(room.units)) // np.uint64(room.lanes.shape[1])
    for at in range(np.uint64(num)):
        row = np.uint64(start) + at
        first, last = np.uint64(offsets[row]) - base, np.uint64(offsets[row + ONE]) - base
        for k in range(np.uint64(0), step, STEP):
            add_to_rows_of_table(cells, k, room.places, first, last, room.units, at * step + k)


@compiled
def add_agreeing(
    offsets: Ints,
    annotators: Codes,
    classes: Codes,
    start: Whole,
    num: Whole,
    cells: Ints,
    room: VoteRoom,
) -> None:
    """Add up the posterior of the class that each vote gives, by annotator."""
    step = np.uint64(len(room.units)) // np.uint64(room.lanes.shape[1])
    for at in range(np.uint64(num)):
        row = np.uint64(start) + at
        for v in range(np.uint64(offsets[row]), np.uint64(offsets[row + ONE])):
            cells[np.uint64(annotators[v])] += room.units[at * step + np.uint64(classes[v])]
