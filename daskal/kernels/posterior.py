"""Votes weighed by parameters: the posterior of each row.

Some rows lie side by side in lanes, as in ``lanes``: loops over lanes run on the processor's
vectors, and each row's classes are summed in their order, wherever the row lies.

Axes: n rows, m annotators, k classes, v votes, l lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled, read_only
from daskal.kernels.fours import FOUR, SPARE, add_rows_of_table, in_fours
from daskal.kernels.known import NOTHING_KNOWN
from daskal.kernels.lanes import Codes
from daskal.kernels.powers import exp2, log2
from daskal.kernels.vote_tiles import VoteTile, vote_tiles
from daskal.method.expectation import (
    COINS,
    CONFUSION,
    FLOOR,
    LEAST_PROBABILITY,
    MAJORITY_VOTE,
    SHARES,
    LogParameters,
    Parameters,
)
from daskal.method.findings import VOTES_RULE, raise_invalid
from daskal.method.values import Block, Floats, Ints

# Numbers in a group of lanes, and rows (measured): few enough that the cache keeps them beside the
# table of all annotators, and enough for long loops.
LANE_ELEMENTS = 2**12
MOST_LANES, LEAST_LANES = 256, 16
# Numba counts by signed numbers from either end; by unsigned ones from the first alone.
ONE, TWO, STEP = np.uint64(1), np.uint64(2), np.uint64(FOUR)


# --- parameters -------------------------------------------------------------------------------


def log_parameters(method: str, parameters: Parameters) -> LogParameters:
    """Return the logarithms of parameters."""
    sizes = len(parameters.accuracy), len(parameters.prior)
    if method == MAJORITY_VOTE:
        return LogParameters(SHARES, *sizes, with_spare(parameters.prior), with_spare(np.empty(0)))
    prior = logarithms(np.maximum(parameters.prior, FLOOR))
    if parameters.confusion is not None:
        given_first = parameters.confusion.transpose(0, 2, 1)
        table = logarithms(np.maximum(given_first, LEAST_PROBABILITY))
        return LogParameters(CONFUSION, *sizes, prior, table)
    # An annotator without votes may have some in other data: it counts as the mean.
    right = np.nan_to_num(parameters.accuracy, nan=mean_of_known(parameters.accuracy))
    wrong = (1 - right) / (len(parameters.prior) - 1)
    coins = np.stack([right, wrong], axis=1)
    table = logarithms(np.clip(coins, FLOOR, 1 - FLOOR))
    return LogParameters(COINS, *sizes, prior, table)


def plain_parameters(num_annotators: int, num_classes: int) -> LogParameters:
    """Return the parameters under which shares of votes are the posterior."""
    even = np.full(num_classes, 1 / num_classes)
    return log_parameters(MAJORITY_VOTE, Parameters(even, None, np.empty(num_annotators)))


def mean_of_known(values: Floats) -> float:
    """Return the mean of the values that are not NaN, in an order of its own."""
    known = values[~np.isnan(values)].tolist()
    return sum(known) / max(len(known), 1)


def with_spare(values: Floats) -> Floats:
    """Return numbers as a flat table, with room behind."""
    table = np.zeros(values.size + SPARE)
    table[: values.size] = values.reshape(-1)
    return table


def logarithms(values: Floats) -> Floats:
    """Return the logarithms of some numbers to base two as a flat table, with room behind."""
    logs = with_spare(values)
    write_logarithms(logs[: values.size])
    return logs


@compiled
def write_logarithms(values: Floats) -> None:
    """Replace each number by its logarithm."""
    for at in range(len(values)):
        values[at] = log2(values[at])


# --- lanes ------------------------------------------------------------------------------------


class VoteRoom(NamedTuple):
    """Arrays that are used again for each group of lanes."""

    lanes: Floats  # (k, l) logarithms, then the posterior
    most: Floats  # (l,)
    likelihood: Floats  # (l,) logarithms to base two, 0 for a row without votes
    sums: Floats  # (l * s,) the lanes row by row, each row in fours
    units: Ints  # (l * s,) with zeros behind each row's classes
    places: NDArray[np.uint64]  # of the group's votes, in the table

    @classmethod
    def make(cls, num_rows: int, num_classes: int, num_votes: int) -> VoteRoom:
        """Return room for groups of so many rows and votes at most."""
        most_lanes = max(min(LANE_ELEMENTS // num_classes, MOST_LANES), LEAST_LANES)
        num_lanes = max(min(num_rows, most_lanes), 1)
        size = num_lanes * in_fours(num_classes)
        return cls(
            np.empty((num_classes, num_lanes)), np.empty(num_lanes), np.empty(num_lanes),
            np.empty(size), np.zeros(size, dtype=np.int64), np.empty(num_votes, dtype=np.uint64),
        )  # fmt: skip


@compiled
def share_votes(
    offsets: Ints, classes: Codes, start: Whole, num: Whole, prior: Floats, room: VoteRoom
) -> None:
    """Write the share of each class among a row's votes; that of a row without votes is ``prior``.

    There is no likelihood.
    """
    lanes, num_votes = room.lanes, room.most
    for k in range(len(lanes)):
        for at in range(num):
            lanes[k, at] = 0.0
    for at in range(num):
        first, last = offsets[start + at], offsets[start + at + 1]
        num_votes[at], room.likelihood[at] = max(last - first, 1), 0.0
        for v in range(np.uint64(first), np.uint64(last)):
            lanes[np.uint64(classes[v]), at] += 1.0
        if first == last:
            for k in range(len(lanes)):
                lanes[k, at] = prior[k]
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(num):
            lane[at] /= num_votes[at]


@compiled
def add_coins(
    offsets: Ints,
    annotators: Codes,
    classes: Codes,
    start: Whole,
    num: Whole,
    weights: LogParameters,
    room: VoteRoom,
) -> None:
    """Write each row's log p_k + sum_j log(s_j or its complement's share), under (m, 2) coins."""
    lanes, wrong, table = room.lanes, room.most, weights.table
    for k in range(len(lanes)):
        for at in range(num):
            lanes[k, at] = weights.prior[k]
    for at in range(num):
        wrong[at] = 0.0
        for v in range(np.uint64(offsets[start + at]), np.uint64(offsets[start + at + 1])):
            coin = np.uint64(annotators[v]) * TWO
            wrong[at] += table[coin + ONE]
            lanes[np.uint64(classes[v]), at] += table[coin] - table[coin + ONE]
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(num):
            lane[at] += wrong[at]


@compiled
def find_places(
    offsets: Ints, annotators: Codes, classes: Codes, start: Whole, num: Whole, room: VoteRoom
) -> None:
    """Write where each vote of a group is in a flat (m, k, k) table."""
    first, last = np.uint64(offsets[start]), np.uint64(offsets[start + num])
    num_classes = np.uint64(len(room.lanes))
    for v in range(last - first):
        j, k = np.uint64(annotators[first + v]), np.uint64(classes[first + v])
        room.places[v] = (j * num_classes + k) * num_classes


@compiled
def add_confusion(
    offsets: Ints, start: Whole, num: Whole, weights: LogParameters, room: VoteRoom
) -> None:
    """Write each row's log p_k + sum_j log pi_jk,L_ij, under a flat (m, k, k) table."""
    lanes, sums, base = room.lanes, room.sums, np.uint64(offsets[start])
    step = np.uint64(len(sums)) // np.uint64(lanes.shape[1])
    for at in range(np.uint64(num)):
        row = np.uint64(start) + at
        first, last = np.uint64(offsets[row]) - base, np.uint64(offsets[row + ONE]) - base
        for k in range(np.uint64(0), step, STEP):
            add_rows_of_table(
                sums, at * step + k, weights.prior, weights.table, k, room.places, first, last
            )
    for k in range(np.uint64(len(lanes))):
        lane = lanes[k]
        for at in range(np.uint64(num)):
            lane[at] = sums[at * step + k]


@compiled
def normalise(num: Whole, room: VoteRoom) -> None:
    """Turn logarithms into probabilities that sum to 1, and write each row's likelihood."""
    lanes, most, likelihood = room.lanes, room.most, room.likelihood
    for at in range(num):
        most[at], likelihood[at] = lanes[0, at], 0.0
    for k in range(1, len(lanes)):
        lane = lanes[k]
        for at in range(num):
            most[at] = max(most[at], lane[at])
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(num):
            lane[at] = exp2(lane[at] - most[at])
        for at in range(num):
            likelihood[at] += lane[at]
    for at in range(num):
        total = likelihood[at]
        likelihood[at] = most[at] + log2(total)
        most[at] = 1.0 / total
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(num):
            lane[at] *= most[at]


@compiled
def find_posterior(
    offsets: Ints,
    annotators: Codes,
    classes: Codes,
    known: Ints,
    start: Whole,
    num: Whole,
    weights: LogParameters,
    room: VoteRoom,
) -> None:
    """Write the posterior of a group of rows, the prior for rows without votes.

    ``known`` are the classes that are certain, -1 for none, or is empty.
    """
    lanes = room.lanes
    if weights.form == SHARES:
        share_votes(offsets, classes, start, num, weights.prior, room)
    elif weights.form == COINS:
        add_coins(offsets, annotators, classes, start, num, weights, room)
    else:
        find_places(offsets, annotators, classes, start, num, room)
        add_confusion(offsets, start, num, weights, room)
    for at in range(num if len(known) else 0):
        if known[start + at] >= 0:
            for k in range(len(lanes)):
                if k != known[start + at]:
                    lanes[k, at] = 0.0 if weights.form == SHARES else -np.inf
                elif weights.form == SHARES:
                    lanes[k, at] = 1.0
    if weights.form != SHARES:
        normalise(num, room)


# --- blocks -----------------------------------------------------------------------------------


def posterior_of(tile: VoteTile, parameters: LogParameters) -> Floats:
    """Return the posterior of a tile's rows, (n, k)."""
    shares = np.empty((len(tile), parameters.num_classes))
    votes = tile.offsets, tile.annotators, tile.classes
    room = VoteRoom.make(*shares.shape, len(tile.classes))
    write_posterior(*votes, NOTHING_KNOWN.classes, read_only(parameters), shares, room)
    return shares


@compiled
def write_posterior(
    offsets: Ints,
    annotators: Codes,
    classes: Codes,
    known: Ints,
    weights: LogParameters,
    shares: Floats,
    room: VoteRoom,
) -> None:
    """Write the posterior of all rows, row by row."""
    num_lanes = room.lanes.shape[1]
    for start in range(0, len(shares), num_lanes):
        num = min(num_lanes, len(shares) - start)
        find_posterior(offsets, annotators, classes, known, start, num, weights, room)
        for at in range(num):
            for k in range(shares.shape[1]):
                shares[start + at, k] = room.lanes[k, at]


def tiles_with_posterior(
    block: Block, parameters: LogParameters, on_invalid: str
) -> Iterator[tuple[VoteTile, Floats]]:
    """Yield the tiles of a block with their posterior, NaN in rows at fault."""
    for tile in vote_tiles(block, parameters.num_classes):
        if on_invalid == "raise":
            raise_invalid(tile.findings, rule=VOTES_RULE)
        rows = posterior_of(tile, parameters)
        rows[tile.faulty] = np.nan
        yield tile, rows


def posterior_block(block: Block, *, parameters: LogParameters, on_invalid: str) -> Floats:
    """Return the posterior of a block, (n, k)."""
    assert block.labels is not None
    found = np.empty((len(block.labels), parameters.num_classes))
    for tile, rows in tiles_with_posterior(block, parameters, on_invalid):
        found[tile.start : tile.start + len(tile)] = rows
    return found
