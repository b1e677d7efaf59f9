"""Votes weighed by parameters: the posterior of each row, and its sums over a block.

Axes: n rows, m annotators, k classes, v votes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.gold import UNKNOWN, gold_of
from daskal.kernels.powers import exp2, log2
from daskal.kernels.vote_tiles import TILE_ELEMENTS, VoteTile, vote_tiles
from daskal.method.expectation import (
    FLOOR,
    LEAST_PROBABILITY,
    MAJORITY_VOTE,
    ExpectationSums,
    LogParameters,
    Parameters,
    Units,
    VoteCounts,
)
from daskal.method.findings import Findings, raise_invalid
from daskal.method.values import Block, Floats, Ints

# More classes than anyone has: a label beyond is a code that stands for something else.
MOST_CLASSES = 2**15


# --- counts -----------------------------------------------------------------------------------


def count_votes(block: Block, *, num_annotators: int, num_classes: int | None) -> VoteCounts:
    """Return the counts of a block; without a number of classes, of all that occur."""
    most = MOST_CLASSES if num_classes is None else num_classes
    votes, classes = np.zeros(num_annotators, dtype=np.int64), np.zeros(most, dtype=np.int64)
    gold_counts = np.zeros(most, dtype=np.int64)
    num_rows = num_labeled = num_multiple = 0
    findings = Findings()
    for tile in vote_tiles(block, most, most_rows=TILE_ELEMENTS):
        add_counts(tile.annotators, tile.classes, votes, classes)
        num = tile.num_annotations
        num_rows += len(num)
        num_labeled += int(np.count_nonzero(num))
        num_multiple += int(np.count_nonzero(num > 1))
        findings = findings.merge(tile.findings)
        known, faults = gold_of(block, tile, most)
        gold_counts += np.bincount(known[known >= 0], minlength=most)
        findings = findings.merge(faults)
    return VoteCounts(
        num_examples=num_rows,
        num_labeled=num_labeled,
        num_multiple=num_multiple,
        num_gold=int(gold_counts.sum()),
        votes=votes,
        class_counts=without_tail(classes),
        gold_counts=without_tail(gold_counts),
        findings=findings,
    )


def without_tail(counts: Ints) -> Ints:
    """Return counts up to the last that is not zero."""
    return counts[: int(np.flatnonzero(counts).max(initial=-1)) + 1].copy()


@compiled
def add_counts(
    annotators: NDArray[np.int32], classes: NDArray[np.int32], votes: Ints, class_counts: Ints
) -> None:
    """Count votes by annotator and by class."""
    for v in range(len(classes)):
        votes[annotators[v]] += 1
        class_counts[classes[v]] += 1


# --- parameters -------------------------------------------------------------------------------


def log_parameters(method: str, parameters: Parameters) -> LogParameters:
    """Return the logarithms of parameters."""
    prior = logarithms(np.maximum(parameters.prior, FLOOR))
    num_annotators = len(parameters.accuracy)
    if method == MAJORITY_VOTE:
        return LogParameters(parameters.prior, None, num_annotators)
    if parameters.confusion is not None:
        given_first = parameters.confusion.transpose(0, 2, 1)
        table = logarithms(np.maximum(given_first, LEAST_PROBABILITY))
        return LogParameters(prior, table, num_annotators)
    # An annotator without votes may have some in other data: it counts as the mean.
    right = np.nan_to_num(parameters.accuracy, nan=mean_of_known(parameters.accuracy))
    wrong = (1 - right) / (len(prior) - 1)
    coins = np.stack([right, wrong], axis=1)
    table = logarithms(np.clip(coins, FLOOR, 1 - FLOOR))
    return LogParameters(prior, table, num_annotators)


def plain_parameters(num_annotators: int, num_classes: int) -> LogParameters:
    """Return the parameters under which shares of votes are the posterior."""
    return LogParameters(np.full(num_classes, 1 / num_classes), None, num_annotators)


def mean_of_known(values: Floats) -> float:
    """Return the mean of the values that are not NaN, in an order of its own."""
    known = values[~np.isnan(values)].tolist()
    return sum(known) / max(len(known), 1)


def logarithms(values: Floats) -> Floats:
    """Return the logarithms of some numbers to base two."""
    values = np.ascontiguousarray(values)
    logs = np.empty(values.size)
    write_logarithms(read_only(values.reshape(-1)), logs)
    return logs.reshape(values.shape)


@compiled
def write_logarithms(values: Floats, logs: Floats) -> None:
    """Write the logarithm of each number."""
    for at in range(len(values)):
        logs[at] = log2(values[at])


# --- posterior --------------------------------------------------------------------------------


class Posterior(NamedTuple):
    """What parameters make of a tile's votes."""

    shares: Floats  # (n, k), the prior for a row without votes
    likelihood: Floats  # (n,) logarithms to base two, 0 for a row without votes


def posterior_of(
    tile: VoteTile, parameters: LogParameters | None, num_classes: int, gold: Ints | None = None
) -> Posterior:
    """Return the posterior of a tile's rows; without parameters, the shares of their votes.

    Known classes are certain.
    """
    shares, likelihood = np.zeros((len(tile), num_classes)), np.zeros(len(tile))
    known = np.full(len(tile), UNKNOWN) if gold is None else gold
    known = read_only(known)
    votes = tile.offsets, tile.annotators, tile.classes
    if parameters is None or parameters.table is None:
        prior = np.full(num_classes, 1 / num_classes) if parameters is None else parameters.prior
        share_votes(tile.offsets, tile.classes, known, read_only(prior), shares)
        return Posterior(shares, likelihood)
    prior, table = read_only(parameters.prior), read_only(parameters.table)
    if table.ndim == 3:
        add_confusion(*votes, prior, table.reshape(-1), shares.reshape(-1))
    else:
        add_coins(*votes, prior, table, shares)
    normalise(tile.offsets, known, shares, likelihood, np.empty(len(shares)))
    return Posterior(shares, likelihood)


@compiled
def share_votes(
    offsets: Ints, classes: NDArray[np.int32], known: Ints, prior: Floats, shares: Floats
) -> None:
    """Write the share of each class among a row's votes."""
    for i in range(len(shares)):
        row = shares[i]
        first, last = offsets[i], offsets[i + 1]
        if known[i] >= 0:
            row[known[i]] = 1.0
        elif first == last:
            for k in range(len(row)):
                row[k] = prior[k]
        else:
            for v in range(first, last):
                row[classes[v]] += 1.0
            for k in range(len(row)):
                row[k] /= last - first


@compiled
def cell_of(j: Any, k: Any, num_classes: np.uint64) -> np.uint64:
    """Return the place of an annotator and a class given in a flat (m, k, k) table.

    Unsigned, for Numba asks of signed places whether they count from the end.
    """
    return (np.uint64(j) * num_classes + np.uint64(k)) * num_classes


@compiled
def add_confusion(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    prior: Floats,
    table: Floats,
    logs: Floats,
) -> None:
    """Write each row's log p_k + sum_j log pi_jk,L_ij, flat (n, k); ``table`` is (m, k, k) flat."""
    num_classes = np.uint64(len(prior))
    for i in range(np.uint64(len(offsets) - 1)):
        row = i * num_classes
        for k in range(num_classes):
            logs[row + k] = prior[k]
        for v in range(np.uint64(offsets[i]), np.uint64(offsets[i + np.uint64(1)])):
            cell = cell_of(annotators[v], classes[v], num_classes)
            for k in range(num_classes):
                logs[row + k] += table[cell + k]


@compiled
def add_coins(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    prior: Floats,
    table: Floats,
    logs: Floats,
) -> None:
    """Write each row's log p_k + sum_j log(s_j or its complement's share), under (m, 2) coins."""
    for i in range(len(logs)):
        row = logs[i]
        for k in range(len(row)):
            row[k] = prior[k]
        wrong = 0.0
        for v in range(offsets[i], offsets[i + 1]):
            j = annotators[v]
            wrong += table[j, 1]
            row[classes[v]] += table[j, 0] - table[j, 1]
        for k in range(len(row)):
            row[k] += wrong


@compiled
def normalise(
    offsets: Ints, known: Ints, shares: Floats, likelihood: Floats, totals: Floats
) -> None:
    """Turn logarithms into probabilities that sum to 1; write each row's likelihood."""
    for i in range(len(shares)):
        row = shares[i]
        most = row[0]
        for k in range(1, len(row)):
            most = max(most, row[k])
        likelihood[i] = row[known[i]] if known[i] >= 0 else most
        for k in range(len(row)):
            row[k] -= most
    # Of all rows in one loop, on the processor's vectors.
    flat = shares.reshape(-1)
    for at in range(len(flat)):
        flat[at] = exp2(flat[at])
    for i in range(len(shares)):
        row = shares[i]
        total = row[0]
        for k in range(1, len(row)):
            total += row[k]
        totals[i] = total
        for k in range(len(row)):
            row[k] /= total
    for i in range(len(shares)):
        totals[i] = log2(totals[i])
    for i in range(len(shares)):
        if offsets[i] == offsets[i + 1]:
            likelihood[i] = 0.0
        elif known[i] < 0:
            likelihood[i] += totals[i]
        if known[i] >= 0:
            row = shares[i]
            for k in range(len(row)):
                row[k] = 0.0
            row[known[i]] = 1.0


# --- sums -------------------------------------------------------------------------------------


def expectation(
    block: Block,
    *,
    parameters: LogParameters | None,
    units: Units,
    num_annotators: int,
    num_classes: int,
    one_coin: bool,
    use_gold: bool,
) -> ExpectationSums:
    """Return the sums of a block's posterior; without parameters, of the shares of its votes."""
    prior = np.zeros(num_classes, dtype=np.int64)
    shape = (num_annotators,) if one_coin else (num_annotators, num_classes, num_classes)
    cells = np.zeros(shape, dtype=np.int64)
    whole = np.empty(num_classes, dtype=np.int64)
    num_rows, likelihood = 0, 0
    for tile in vote_tiles(block, num_classes):
        gold = gold_of(block, tile, num_classes).classes if use_gold else None
        found = posterior_of(tile, parameters, num_classes, gold)
        add_rows(tile.offsets, read_only(found.shares), 2.0**units.prior, prior)
        votes = tile.offsets, tile.annotators, tile.classes
        if one_coin:
            add_agreeing(*votes, read_only(found.shares), 2.0**units.cells, cells)
        else:
            add_masses(*votes, read_only(found.shares), 2.0**units.cells, cells.reshape(-1), whole)
        likelihood += sum_units(read_only(found.likelihood), 2.0**units.likelihood)
        num_rows += int(np.count_nonzero(tile.num_annotations))
    return ExpectationSums(num_rows, prior, cells, int(likelihood))


@compiled
def add_rows(offsets: Ints, shares: Floats, unit: float, prior: Ints) -> None:
    """Add up the posterior of the rows with votes, by class."""
    for i in range(len(shares)):
        if offsets[i] < offsets[i + 1]:
            for k in range(len(prior)):
                prior[k] += np.int64(shares[i, k] * unit + 0.5)


@compiled
def add_masses(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    shares: Floats,
    unit: float,
    cells: Ints,
    whole: Ints,
) -> None:
    """Add up the posterior of each vote's row, by annotator, class given and true class, flat."""
    num_classes = np.uint64(shares.shape[1])
    for i in range(np.uint64(len(offsets) - 1)):
        for k in range(num_classes):
            whole[k] = np.int64(shares[i, k] * unit + 0.5)
        for v in range(np.uint64(offsets[i]), np.uint64(offsets[i + np.uint64(1)])):
            cell = cell_of(annotators[v], classes[v], num_classes)
            for k in range(num_classes):
                cells[cell + k] += whole[k]


@compiled
def add_agreeing(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    shares: Floats,
    unit: float,
    cells: Ints,
) -> None:
    """Add up the posterior of the class that each vote gives, by annotator."""
    for i in range(len(shares)):
        for v in range(offsets[i], offsets[i + 1]):
            cells[annotators[v]] += np.int64(shares[i, classes[v]] * unit + 0.5)


@compiled
def sum_units(values: Floats, unit: float) -> int:
    """Return the sum of numbers of at most 0, in whole units."""
    total = np.int64(0)
    for i in range(len(values)):
        total -= np.int64(0.5 - values[i] * unit)
    return total  # type: ignore[return-value]


# --- blocks -----------------------------------------------------------------------------------


def posterior_block(block: Block, *, parameters: LogParameters, on_invalid: str) -> Floats:
    """Return the posterior of a block, (n, k)."""
    assert block.labels is not None
    found = np.empty((len(block.labels), parameters.num_classes))
    for tile, rows in tiles_with_posterior(block, parameters, on_invalid):
        found[tile.start : tile.start + len(tile)] = rows
    return found


def tiles_with_posterior(
    block: Block, parameters: LogParameters, on_invalid: str
) -> Iterator[tuple[VoteTile, Floats]]:
    """Yield the tiles of a block with their posterior, NaN in rows at fault."""
    for tile in vote_tiles(block, parameters.num_classes):
        if on_invalid == "raise":
            raise_invalid(tile.findings)
        rows = posterior_of(tile, parameters, parameters.num_classes).shares
        rows[tile.faulty] = np.nan
        yield tile, rows
