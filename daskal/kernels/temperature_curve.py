"""The temperature's loss curve: which temperature makes a model's guesses honest.

A row's loss is ``log sum_k (p_k / max p)^(1/T)`` less its votes' mean of ``log(p_k / max p) / T``,
and less by how much its votes exceed the floor. Each is rounded to a whole number of small units,
so that sums are exact in every order.

Axes: n rows, k classes, v votes, t temperatures, l lanes.
"""

from __future__ import annotations

import numpy as np

from daskal.kernels.compiling import Whole, compiled
from daskal.kernels.lanes import PROB_FLOOR, Room, Rows
from daskal.kernels.powers import LN2, ROUNDING, bits_of, exp2, log2
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
def add_units(limbs: Ints, units: int) -> None:
    """Add to the two limbs of a sum."""
    low = limbs[1] + units
    limbs[0] += low >> LIMB_BITS
    limbs[1] = low & LOW_LIMB


@compiled
def add_losses(
    rows: Rows,
    model: int,
    num_rows: int,
    temperatures: Floats,
    sums: Ints,
    ratios: Ints,
    room: Room,
) -> Whole:
    """Add the losses of one model on the first rows; return how many with votes have none.

    ``temperatures`` ascend, ``sums`` are (t, 2) limbs and ``ratios`` (2,). Rows marked as odd may
    have no number for a loss.
    """
    lanes, most, totals, offsets = room.lanes[0], room.most, room.totals, rows.offsets
    kept, least, means, num_lanes = room.trust, room.divisors, room.near, len(room.most)
    # No total exceeds log K, so a vote that clears this line clears the floor; what a low
    # temperature leaves above it stays above it at higher ones.
    line = LOG_FLOOR + log2(float(len(lanes))) * LN2
    undefined = 0
    for start in range(0, num_rows, num_lanes):
        num = min(num_lanes, num_rows - start)
        take_ratios(rows.lanes[start // num_lanes, model], lanes, most, totals)
        kept[:], least[:], means[:] = 0.0, 0.0, 0.0
        for v in range(offsets[start], offsets[start + num]):
            at = rows.row_of[v] - start
            ratio = lanes[rows.counted[v], at] * LN2
            is_lost = ratio <= LEAST_RATIO
            ratio = 0.0 if is_lost else ratio
            kept[at] -= 1.0 if is_lost else 0.0
            means[at] += ratio
            least[at] = min(least[at], ratio)
        floored, in_all, lowest = 0, 0, 0.0
        for at in range(num):
            votes = offsets[start + at + 1] - offsets[start + at]
            if votes > 0 and rows.odd[start + at] and not 0.0 < most[at] < np.inf:
                undefined += 1
                kept[at], least[at] = 0.0, 0.0
            elif votes > 0:
                # What is at the floor at every temperature counts as a constant, so that a loss
                # which no temperature changes is flat to the last unit.
                share = -kept[at] / votes
                kept[at] = 1.0 - share
                floored += to_units(share * -LOG_FLOOR, UNITS)
                in_all += to_units(means[at] / votes, RATIO_UNITS)
            lowest = min(lowest, least[at])
        add_units(ratios, in_all)
        for t in range(len(temperatures)):
            inverse = 1.0 / temperatures[t]
            add_powers(lanes, inverse, totals)
            units = floored + sum_kept(totals, kept)
            for at in range(num if lowest < line * temperatures[t] else 0):
                if least[at] < line * temperatures[t]:
                    units -= excess_of_row(rows, start + at, at, inverse, totals[at], lanes)
            add_units(sums[t], units)
    return undefined


@compiled
def take_ratios(probs: Floats, ratios: Floats, most: Floats, logs: Floats) -> None:
    """Write the logarithms of lanes' ratios to the largest, that, and its logarithm, (l,).

    What is no number above 0 counts as 0, and that as the least number there is.
    """
    most[:] = 0.0
    for k in range(len(probs)):
        lane = probs[k]
        for at in range(len(most)):
            most[at] = max(most[at], lane[at])
    for at in range(len(most)):
        logs[at] = log2(most[at])
    for k in range(len(probs)):
        lane, ratio = probs[k], ratios[k]
        for at in range(len(most)):
            ratio[at] = log2(lane[at] if lane[at] > 0.0 else 0.0) - logs[at]


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
def excess_of_row(rows: Rows, i: int, at: int, inverse: float, total: float, lanes: Floats) -> int:
    """Return by how much a row's votes exceed the floored loss, in units."""
    first, last = rows.offsets[i], rows.offsets[i + 1]
    excess = 0.0
    for v in range(first, last):
        ratio = lanes[rows.counted[v], at] * LN2
        if ratio > LEAST_RATIO:
            excess += max(total - ratio * inverse + LOG_FLOOR, 0.0)
    return to_units(excess / (last - first), UNITS)
