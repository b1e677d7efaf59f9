"""The temperature grid, the sums of losses over it, and the choice that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from daskal.method.merging import Merging
from daskal.method.values import Floats

# The parts of losses are summed as integers in units of 2**-40 and, as temperatures below 1
# multiply it, of 2**-44: sums are exact in every order.
TOTAL_BITS, RATIO_BITS = 40, 44

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
# Places in the grid: all, and those of the coarse grid.
PLACES = tuple(range(len(TEMPERATURE_GRID)))
COARSE_PLACES = PLACES[::FINE_STEPS]


@dataclass(frozen=True)
class LossSums(Merging):
    """What the soft cross-entropy of one model is made of, at every temperature.

    A row's is ``log sum_k (p_k / max p)^(1/T)`` less the votes' mean of ``log(p_k / max p) / T``,
    and less by how much its votes exceed the floor; a vote at the floor at every temperature counts
    as that.

    Attributes
    ----------
    log_totals : tuple of t int
        The first summed over the labeled rows, less the excess, in units of 2**-40; 0 at
        temperatures left out.
    ratios : int
        The votes' mean log ratios summed, in units of 2**-44.
    """

    log_totals: tuple[int, ...] = (0,) * len(PLACES)
    ratios: int = 0

    @property
    def losses(self) -> list[float]:
        """The sum of the rows' losses at each temperature, in nats; none where it was left out."""
        ratios = self.ratios * 2.0**-RATIO_BITS
        return [
            total * 2.0**-TOTAL_BITS - ratios * inverse
            for total, inverse in zip(self.log_totals, INVERSES.tolist(), strict=True)
        ]


def window_around(coarse: int) -> tuple[int, ...]:
    """Return the places to compare once the coarse grid's least loss is at ``coarse``.

    The far end of the grid is compared with its left neighbors, never chosen itself.
    """
    stop = coarse if coarse == PLACES[-1] else coarse + FINE_STEPS + 1
    return PLACES[max(coarse - FINE_STEPS, 0) : stop]


def coarse_order(losses: Sequence[float]) -> list[int]:
    """Return the coarse places ordered by loss, of equal ones the first in the grid first."""
    return sorted(COARSE_PLACES, key=lambda place: losses[place])


def likely_places(curves: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Return the places a search over more rows will compare, going by some models' losses so far.

    The loss is convex in 1/T but for its floor: with more rows its least coarse point may give way
    to the second, hardly to a third.
    """
    places = set(COARSE_PLACES)
    for losses in curves:
        for coarse in coarse_order(losses)[:2]:
            places.update(window_around(coarse))
    return tuple(sorted(places))


# --- temperature ------------------------------------------------------------------------------


def choose_temperature(losses: Sequence[float], undefined: int) -> tuple[float, bool]:
    """Return the temperature of least loss, and whether the loss is flat.

    The search goes over the coarse grid first, and then around the best place in it.
    """
    grid = TEMPERATURE_GRID
    if undefined:
        # If some row's loss is NaN, so are all sums: the first of the grid, as a search would take.
        return float(grid[0]), False
    compared = compared_places([losses])
    if len({losses[place] for place in compared}) == 1:
        return 1.0, True
    window = window_around(coarse_order(losses)[0])
    return float(grid[min(window, key=lambda place: losses[place])]), False


def compared_places(curves: Sequence[Sequence[float]]) -> list[int]:
    """Return the places of the grid on which the temperatures depend, given the models' losses."""
    places = set(COARSE_PLACES)
    for losses in curves:
        places.update(window_around(coarse_order(losses)[0]))
    return sorted(places)
