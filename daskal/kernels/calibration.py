"""The temperature's loss curve over one tile: which temperature makes a model's guesses honest.

Axes as in ``kernels``: k classes, n rows of the tile, v votes of the tile, t temperatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from daskal.kernels.powers import prepare_powers
from daskal.kernels.tiles import PROB_FLOOR, TILE_ELEMENTS, Tile, sum_classes
from daskal.method.temperature import (
    COARSE_GRID,
    COARSE_PLACES,
    INVERSES,
    PLACES,
    RATIO_BITS,
    TEMPERATURE_GRID,
    TOTAL_BITS,
    LossSums,
)
from daskal.method.values import Floats, Ints

# Losses are floored here, at the logarithm of the least probability.
LOG_FLOOR = float(np.log(PROB_FLOOR))

# Between 2**12 and 2**13 the last bit of a float64 is one of these units.
ROUNDING = 1.5 * 2**12
LOW_BITS = 26

BETWEEN = -1

# A vote whose class is this much less likely than the best (in logs) is at the floor at every
# temperature of the grid.
LEAST_RATIO = LOG_FLOOR * COARSE_GRID[-1]


def halving_chains(grid: Floats) -> tuple[tuple[int, ...], ...]:
    """Places in the grid of T, T/2, T/4, ... from each T that is no such half itself.

    -1 stands for a half that lies between grid points. p^(1/(T/2)) is the square of
    p^(1/T): a multiplication costs a sixth of an exponential.
    """
    left = set(range(len(grid)))
    chains = []
    for start in reversed(range(len(grid))):
        if start not in left:
            continue
        chain: list[int] = []
        wanted = grid[start]
        while wanted > grid[0] * (1 - 1e-9):
            near = [at for at in left if abs(grid[at] - wanted) < 1e-9 * wanted]
            chain.append(near[0] if near else BETWEEN)
            left -= set(near)
            wanted /= 2
        while chain[-1] == BETWEEN:
            chain.pop()
        chains.append(tuple(chain))
    return tuple(chains)


CHAINS = halving_chains(TEMPERATURE_GRID)


def ratios_to_largest(probs: Floats) -> Floats:
    """Ratios p_k / max p of a (k, n) tile; NaN in a row of nothing but zeros."""
    if not probs.size or not probs.min() >= 0:
        probs = np.clip(probs, 0.0, np.inf)
    with np.errstate(invalid="ignore"):
        return probs / probs.max(axis=0)


def log_of(ratios: Floats) -> Floats:
    """Logarithms, -inf of zero."""
    with np.errstate(divide="ignore"):
        return np.log(ratios)


def log_totals(ratios: Floats, places: Sequence[int] = PLACES) -> Floats:
    """Logarithm of the sum over classes of (p_k / max p)^(1/T), a row for each place, (t, n)."""
    row_of = {place: row for row, place in enumerate(places)}
    totals = np.empty((len(places), ratios.shape[1]))
    powers = prepare_powers(ratios)
    for chain in CHAINS:
        wanted = [power for power, place in enumerate(chain) if place in row_of]
        if not wanted:
            continue
        # A chain is always entered at its head: which places are asked for changes no bit.
        raised = powers.raise_to(float(INVERSES[chain[0]]))
        for power, place in enumerate(chain[: wanted[-1] + 1]):
            if power:
                np.multiply(raised, raised, out=raised)
            if place in row_of:
                totals[row_of[place]] = sum_classes(raised)
    return np.log(totals, out=totals)


def excess_over_floor(
    at_vote: Floats, rows: Ints, totals: Floats, places: Sequence[int], num_classes: int
) -> Iterator[tuple[int, Floats]]:
    """How far each row's summed loss exceeds the floored one: (row of ``totals``, (n,)).

    Only temperatures at which some vote is below the floor come up; ``places`` ascend.
    """
    # No total exceeds log K, so a vote that clears this line clears the floor; what a low
    # temperature leaves above it stays above it at higher ones.
    line = LOG_FLOOR + np.log(num_classes)
    for row, place in enumerate(places):
        low = np.flatnonzero(at_vote < line * TEMPERATURE_GRID[place])
        if not len(low):
            return
        at_vote, rows = at_vote.take(low), rows.take(low)
        below = totals[row].take(rows)
        below -= at_vote * INVERSES[place]
        below += LOG_FLOOR
        np.maximum(below, 0.0, out=below)
        excess = np.bincount(rows, below, minlength=totals.shape[1])
        yield row, excess.astype(np.float64, copy=False)


def rough_losses(ratios: Floats, tile: Tile, cells: Ints) -> list[float]:
    """About the losses at the coarse places, for few rows in few steps, 0 at the others.

    Votes below the floor count in full.
    """
    labeled = np.minimum(tile.num_annotations, 1).astype(np.float64)
    ratios = log_of(ratios)
    at_vote = ratios.reshape(-1).take(cells)
    at_vote[at_vote <= LEAST_RATIO] = 0.0
    mean_ratios = (at_vote / tile.num_annotations.take(tile.rows)).sum()
    losses = [0.0] * len(PLACES)
    step = max(TILE_ELEMENTS // ratios.size, 1)
    for start in range(0, len(COARSE_PLACES), step):
        places = COARSE_PLACES[start : start + step]
        inverses = INVERSES.take(places)
        powers = np.multiply.outer(inverses, ratios)
        totals = np.log(np.exp(powers, out=powers).sum(axis=1)) @ labeled
        for place, loss in zip(places, (totals - inverses * mean_ratios).tolist(), strict=True):
            losses[place] = loss
    return losses


def rounded_sums(x: Floats) -> list[int]:
    """Sum of each row of a (t, n) array, values from 0 to 500 rounded to 2**-40, in that unit.

    The array is lost.
    """
    x += ROUNDING
    # The bits of numbers that share their exponent count units; that sums of them wrap is undone.
    first = int(np.float64(ROUNDING).view(np.int64)) * x.shape[1]
    sums = x.view(np.int64).sum(axis=1).tolist()
    return [(total - first + 2**63) % 2**64 - 2**63 for total in sums]


def rounded_sum(x: Floats, bits: int) -> int:
    """Sum of values rounded to 2**-bits, in that unit; none is beyond 2**(62 - bits)."""
    units = np.rint(np.ldexp(x, bits)).astype(np.int64)
    return (int((units >> LOW_BITS).sum()) << LOW_BITS) + int((units & (2**LOW_BITS - 1)).sum())


def loss_sums(ratios: Floats, tile: Tile, cells: Ints, places: Sequence[int] = PLACES) -> LossSums:
    """Soft cross-entropy of one model at ``places`` of the grid, over the tile's labeled rows.

    ``cells`` says as which class each vote counts.
    """
    num, rows = tile.num_annotations, tile.rows
    at_vote = log_of(ratios.reshape(-1).take(cells))
    labeled = np.flatnonzero(num)
    if len(labeled) < len(num):
        ratios, num = ratios.take(labeled, axis=1), num[labeled]
        rows = np.searchsorted(labeled, rows)
    num_classes, num_rows = ratios.shape
    if not num_rows:
        return LossSums()
    totals = log_totals(ratios, places)
    # The mean over a row's votes of log(total) - ratio / T, were no vote below the floor.
    # What is at the floor at every temperature counts as a constant, so that a loss which no
    # temperature changes is flat to the last unit.
    lost = np.flatnonzero(at_vote <= LEAST_RATIO)
    at_vote[lost] = 0.0
    mean_ratio = np.bincount(rows, at_vote, minlength=num_rows) / num
    excesses = {
        row: rounded_sum(excess / num, TOTAL_BITS)
        for row, excess in excess_over_floor(at_vote, rows, totals, places, num_classes)
    }
    floored = 0
    if len(lost):
        share = np.bincount(rows.take(lost), minlength=num_rows) / num
        totals *= 1 - share
        floored = rounded_sum(share * -LOG_FLOOR, TOTAL_BITS)
    sums = [0] * len(PLACES)
    for row, (place, total) in enumerate(zip(places, rounded_sums(totals), strict=True)):
        sums[place] = total + floored - excesses.get(row, 0)
    return LossSums(tuple(sums), rounded_sum(mean_ratio, RATIO_BITS))
