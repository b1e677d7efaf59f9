"""The temperature's loss curve: which temperature makes a model's guesses honest.

A row's loss is ``log sum_k (p_k / max p)^(1/T)`` less its votes' mean of ``log(p_k / max p) / T``,
and less by how much its votes exceed the floor. Each is rounded to a whole number of small units,
so that sums are exact in every order.

Axes: n rows, k classes, v votes, t temperatures, l lanes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled
from daskal.kernels.lanes import PROB_FLOOR, Marks, count_lanes, load_lanes
from daskal.kernels.powers import LN2, ROUNDING, bits_of, exp2, log2
from daskal.kernels.votes import Votes
from daskal.method.temperature import COARSE_GRID, RATIO_BITS, TOTAL_BITS
from daskal.method.values import Floats, Ints

# Losses are floored here, at the logarithm of the least probability.
LOG_FLOOR = float(np.log(PROB_FLOOR))
# A vote whose class is this much less likely than the best (in logs) is at the floor at every
# temperature of the grid.
LEAST_RATIO = LOG_FLOOR * COARSE_GRID[-1]

UNITS, RATIO_UNITS = 2.0**TOTAL_BITS, 2.0**RATIO_BITS
# Sums are kept in two limbs, the low one below 2**32 after each group of lanes.
LIMB_BITS = 32
LOW_LIMB = 2**LIMB_BITS - 1
ROUNDING_BITS = np.float64(ROUNDING).view(np.uint64)


@compiled
def to_units(x: float, units: float) -> int:
    """Return a number rounded to whole units, of less than 2**53 of them."""
    return int(np.rint(x * units))


@compiled
def add_units(sums: Ints, t: Whole, units: int) -> None:
    """Add to the two limbs of a sum."""
    low = sums[t, 1] + units
    sums[t, 0] += low >> LIMB_BITS
    sums[t, 1] = low & LOW_LIMB


@compiled
def add_losses(
    probs: Floats,
    votes: Votes,
    counted: NDArray[np.int32],
    odd: Marks,
    temperatures: Floats,
    sums: Ints,
    ratios: Ints,
) -> int:
    """Add the losses of one model's (n, k) rows; return how many rows with votes have none.

    ``counted`` says as which class each vote counts, ``temperatures`` ascend, ``sums`` are
    (t, 2) limbs and ``ratios`` (1, 2). Rows marked as ``odd`` may have no number for a loss.
    """
    num_rows, num_classes = probs.shape
    num_lanes = count_lanes(num_classes)
    lanes = np.empty((num_classes, num_lanes))
    most, totals = np.empty(num_lanes), np.empty(num_lanes)
    kept, least = np.empty(num_lanes), np.empty(num_lanes)
    # No total exceeds log K, so a vote that clears this line clears the floor; what a low
    # temperature leaves above it stays above it at higher ones.
    line = LOG_FLOOR + log2(float(num_classes)) * LN2
    undefined = 0
    for start in range(0, num_rows, num_lanes):
        num = load_lanes(probs, start, lanes)
        take_ratios(lanes, most, totals)
        floored = 0
        for at in range(num_lanes):
            kept[at], least[at] = 0.0, 0.0
            if at >= num or votes.offsets[start + at] == votes.offsets[start + at + 1]:
                continue
            if odd[start + at] and not 0.0 < most[at] < np.inf:
                undefined += 1
                continue
            first, last = votes.offsets[start + at], votes.offsets[start + at + 1]
            mean, lost = 0.0, 0
            for v in range(first, last):
                ratio = lanes[counted[v], at] * LN2
                if ratio <= LEAST_RATIO:
                    lost += 1
                else:
                    mean += ratio
                    least[at] = min(least[at], ratio)
            # What is at the floor at every temperature counts as a constant, so that a loss
            # which no temperature changes is flat to the last unit.
            kept[at] = 1.0
            if lost > 0:
                share = lost / (last - first)
                kept[at] -= share
                floored += to_units(share * -LOG_FLOOR, UNITS)
            add_units(ratios, np.int64(0), to_units(mean / (last - first), RATIO_UNITS))
        for t in range(len(temperatures)):
            inverse = 1.0 / temperatures[t]
            add_powers(lanes, inverse, totals)
            units = floored + sum_kept(totals, kept)
            for at in range(num):
                if least[at] < line * temperatures[t]:
                    units -= excess_of_row(
                        lanes, at, votes, counted, start + at, inverse, totals[at]
                    )
            add_units(sums, t, units)
    return undefined


@compiled
def take_ratios(lanes: Floats, most: Floats, logs: Floats) -> None:
    """Turn lanes into the logarithms of their ratios to the largest; write that and its log, (l,).

    What is no number above 0 counts as 0, and that as the least number there is.
    """
    most[:] = 0.0
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(most)):
            x = lane[at] if lane[at] > 0.0 else 0.0
            lane[at] = x
            most[at] = max(most[at], x)
    for at in range(len(most)):
        logs[at] = log2(most[at])
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(most)):
            lane[at] = log2(lane[at]) - logs[at]


@compiled
def add_powers(lanes: Floats, inverse: float, totals: Floats) -> None:
    """Write the logarithm of the sum of each lane's powers, (l,)."""
    totals[:] = 0.0
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(totals)):
            totals[at] += exp2(lane[at] * inverse)
    for at in range(len(totals)):
        totals[at] = log2(totals[at]) * LN2


@compiled
def sum_kept(totals: Floats, kept: Floats) -> int:
    """Return the sum of the lanes' totals, of each the share that is kept, in units."""
    units = np.uint64(0)
    for at in range(len(totals)):
        # The last bits of such a sum count units: few processors turn vectors into whole numbers.
        units += bits_of(totals[at] * kept[at] * UNITS + ROUNDING) - ROUNDING_BITS
    return np.int64(units)  # type: ignore[return-value]


@compiled
def excess_of_row(
    lanes: Floats,
    at: int,
    votes: Votes,
    counted: NDArray[np.int32],
    i: int,
    inverse: float,
    total: float,
) -> int:
    """Return by how much a row's votes exceed the floored loss, in units."""
    first, last = votes.offsets[i], votes.offsets[i + 1]
    excess = 0.0
    for v in range(first, last):
        ratio = lanes[counted[v], at] * LN2
        if ratio > LEAST_RATIO:
            excess += max(total - ratio * inverse + LOG_FLOOR, 0.0)
    return to_units(excess / (last - first), UNITS)
