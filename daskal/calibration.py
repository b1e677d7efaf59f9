"""The temperature's loss curve over one tile: which temperature makes a model's guesses honest.

Axes as in ``kernels``: k classes, n rows of the tile, v votes of the tile, t temperatures.
"""

from __future__ import annotations

from collections.abc import Iterator
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
INVERSES: Floats = 1.0 / TEMPERATURE_GRID

# A vote whose class is this much less likely than the best (in logs) is at the floor at every
# temperature of the grid.
LEAST_RATIO = LOG_FLOOR * COARSE_GRID[-1]


def halving_chains(grid: Floats) -> tuple[tuple[int | None, ...], ...]:
    """Places in the grid of T, T/2, T/4, ... from each T that is no such half itself.

    ``None`` stands for a half that lies between grid points. p^(1/(T/2)) is the square of
    p^(1/T): a multiplication costs a sixth of an exponential.
    """
    left = set(range(len(grid)))
    chains = []
    for start in reversed(range(len(grid))):
        if start not in left:
            continue
        chain: list[int | None] = []
        wanted = grid[start]
        while wanted > grid[0] * (1 - 1e-9):
            near = [at for at in left if abs(grid[at] - wanted) < 1e-9 * wanted]
            chain.append(near[0] if near else None)
            left -= set(near)
            wanted /= 2
        while chain[-1] is None:
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


def log_totals(ratios: Floats) -> Floats:
    """Logarithm of the sum over classes of (p_k / max p)^(1/T) at each temperature, (t, n)."""
    totals = np.empty((len(TEMPERATURE_GRID), ratios.shape[1]))
    powers = np.empty_like(ratios)
    for chain in CHAINS:
        assert chain[0] is not None
        np.multiply(ratios, INVERSES[chain[0]], out=powers)
        np.exp(powers, out=powers)
        totals[chain[0]] = sum_classes(powers)
        for place in chain[1:]:
            np.multiply(powers, powers, out=powers)
            if place is not None:
                totals[place] = sum_classes(powers)
    return np.log(totals, out=totals)


def excess_over_floor(
    at_vote: Floats, rows: Ints, totals: Floats, num_classes: int
) -> Iterator[tuple[int, Floats]]:
    """How far each row's summed loss exceeds the floored one: (place in the grid, (n,)).

    Only temperatures at which some vote is below the floor come up.
    """
    # No total exceeds log K, so a vote that clears this line clears the floor; what a low
    # temperature leaves above it stays above it at higher ones.
    line = LOG_FLOOR + np.log(num_classes)
    low = np.flatnonzero(at_vote < line * TEMPERATURE_GRID[0])
    at_vote, rows = at_vote[low], rows[low]
    for place, temperature in enumerate(TEMPERATURE_GRID):
        low = np.flatnonzero(at_vote < line * temperature)
        if not len(low):
            return
        at_vote, rows = at_vote.take(low), rows.take(low)
        below = totals[place].take(rows)
        below -= at_vote * INVERSES[place]
        below += LOG_FLOOR
        np.maximum(below, 0.0, out=below)
        excess = np.bincount(rows, below, minlength=totals.shape[1])
        yield place, excess.astype(np.float64, copy=False)


def temperature_losses(ratios: Floats, tile: Tile, counted_as: Ints) -> list[int]:
    """Soft cross-entropy of one model at each temperature, summed over the tile's labelled rows.

    The sums are integers in units of ``LOSS_UNIT``; ``counted_as`` is the class each vote counts
    for.
    """
    num, rows = tile.num_annotations, tile.rows
    labeled = np.flatnonzero(num)
    if len(labeled) < len(num):
        ratios, num = ratios.take(labeled, axis=1), num[labeled]
        rows = np.repeat(np.arange(len(labeled)), num)
    num_classes, num_rows = ratios.shape
    if not num_rows:
        return [0] * len(TEMPERATURE_GRID)
    at_vote = ratios.reshape(-1).take(counted_as * num_rows + rows)
    np.maximum(at_vote, LEAST_RATIO, out=at_vote)
    totals = log_totals(ratios)
    # The mean over a row's votes of log(total) - ratio / T, were no vote below the floor.
    mean_ratio = np.bincount(rows, at_vote, minlength=num_rows) / num
    losses = totals - np.multiply.outer(INVERSES, mean_ratio)
    for place, excess in excess_over_floor(at_vote, rows, totals, num_classes):
        losses[place] -= excess / num
    losses *= 1.0 / (LOSS_UNIT * np.log(num_classes))
    sums: list[int] = np.rint(losses, out=losses).astype(np.int64).sum(axis=1).tolist()
    return sums
