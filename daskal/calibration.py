"""The temperature's loss curve over one tile: which temperature makes a model's guesses honest.

Axes as in ``kernels``: k classes, n rows of the tile, v votes of the tile, t temperatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from daskal.kernels import PROB_FLOOR, Floats, Ints, Tile, sum_classes

# Losses are floored here, at the logarithm of the least probability.
LOG_FLOOR = float(np.log(PROB_FLOOR))

# Losses are summed as integers in units of 2**-40, so that sums are exact in every order.
LOSS_UNIT = 2.0**-40

COARSE_GRID = (0.1, 0.2, 0.5, 0.8, 1.0, 2.0, 3.0, 5.0, 8.0)
FINE_STEPS = 4
TEMPERATURE_GRID: Floats = np.concatenate(
    [
        *(
            np.linspace(low, high, FINE_STEPS, endpoint=False)
            for low, high in pairwise(COARSE_GRID)
        ),
        COARSE_GRID[-1:],
    ]
)
BETWEEN = -1
INVERSES: Floats = 1.0 / TEMPERATURE_GRID
# Places in the grid: all, and those of the coarse grid.
PLACES = tuple(range(len(TEMPERATURE_GRID)))
COARSE_PLACES = PLACES[::FINE_STEPS]

# A vote whose class is this much less likely than the best (in logs) is at the floor at every
# temperature of the grid.
LEAST_RATIO = LOG_FLOOR * COARSE_GRID[-1]


def window_around(coarse: int) -> tuple[int, ...]:
    """Places compared once the coarse grid's least loss is at one of its places.

    The far end of the grid is compared with its left neighbours, never chosen itself.
    """
    stop = coarse if coarse == PLACES[-1] else coarse + FINE_STEPS + 1
    return PLACES[max(coarse - FINE_STEPS, 0) : stop]


def coarse_order(losses: Sequence[float]) -> list[int]:
    """Coarse places by their loss, the first of equal ones first."""
    return sorted(COARSE_PLACES, key=lambda place: losses[place])


def likely_places(curves: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Places that a search over more rows will compare, judging by some models' losses so far.

    The loss is convex in 1/T but for its floor: with more rows its least coarse point may give way
    to the second, hardly to a third.
    """
    places = set(COARSE_PLACES)
    for losses in curves:
        for coarse in coarse_order(losses)[:2]:
            places.update(window_around(coarse))
    return tuple(sorted(places))


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


def log_ratios(probs: Floats) -> Floats:
    """Log ratios log(p_k / max p) of a (k, n) tile; -inf where p is zero."""
    out = np.clip(probs, 0.0, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.log(out, out=out)
        out -= out.max(axis=0)
    return out


def log_totals(ratios: Floats, places: Sequence[int] = PLACES) -> Floats:
    """Logarithm of the sum over classes of (p_k / max p)^(1/T), a row for each place, (t, n)."""
    row_of = {place: row for row, place in enumerate(places)}
    totals = np.empty((len(places), ratios.shape[1]))
    powers = np.empty_like(ratios)
    for chain in CHAINS:
        wanted = [power for power, place in enumerate(chain) if place in row_of]
        if not wanted:
            continue
        # A chain is always entered at its head: which places are asked for changes no bit.
        np.multiply(ratios, INVERSES[chain[0]], out=powers)
        np.exp(powers, out=powers)
        for power, place in enumerate(chain[: wanted[-1] + 1]):
            if power:
                np.multiply(powers, powers, out=powers)
            if place in row_of:
                totals[row_of[place]] = sum_classes(powers)
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
    """About what :func:`temperature_losses` says of the coarse places, for few rows in few steps.

    Votes below the floor count in full.
    """
    losses = [0.0] * len(PLACES)
    labeled = np.minimum(tile.num_annotations, 1).astype(np.float64)
    at_vote = np.maximum(ratios.reshape(-1).take(cells), LEAST_RATIO)
    mean_ratios = (at_vote / tile.num_annotations.take(tile.rows)).sum()
    for place in COARSE_PLACES:
        totals = sum_classes(np.exp(ratios * INVERSES[place]))
        losses[place] = float(np.log(totals) @ labeled - mean_ratios * INVERSES[place])
    return losses


def temperature_losses(
    ratios: Floats, tile: Tile, cells: Ints, places: Sequence[int] = PLACES
) -> list[int]:
    """Soft cross-entropy of one model at each temperature, summed over the tile's labelled rows.

    The sums are integers in units of ``LOSS_UNIT``, 0 at temperatures that are not among
    ``places``; ``cells`` says as which class each vote counts.
    """
    sums = [0] * len(PLACES)
    num, rows = tile.num_annotations, tile.rows
    at_vote = ratios.reshape(-1).take(cells)
    np.maximum(at_vote, LEAST_RATIO, out=at_vote)
    labeled = np.flatnonzero(num)
    if len(labeled) < len(num):
        ratios, num = ratios.take(labeled, axis=1), num[labeled]
        rows = np.searchsorted(labeled, rows)
    num_classes, num_rows = ratios.shape
    if not num_rows:
        return sums
    totals = log_totals(ratios, places)
    # The mean over a row's votes of log(total) - ratio / T, were no vote below the floor.
    mean_ratio = np.bincount(rows, at_vote, minlength=num_rows) / num
    # In place: with another array of their size, a tile would not fit what a process keeps free.
    losses, excesses = totals, dict(excess_over_floor(at_vote, rows, totals, places, num_classes))
    losses -= np.multiply.outer(INVERSES.take(places), mean_ratio)
    for row, excess in excesses.items():
        losses[row] -= excess / num
    losses *= 1.0 / (LOSS_UNIT * np.log(num_classes))
    units = np.rint(losses, out=losses).astype(np.int64).sum(axis=1).tolist()
    for place, unit in zip(places, units, strict=True):
        sums[place] = unit
    return sums
