"""Rows side by side: some of them at a time, their classes one below the other.

A loop over lanes inside a loop over classes runs on the processor's vectors, and sums each row's
classes in their order, wherever the row lies. Lanes that no row is left for hold even
probabilities.

Axes: p models, n rows, k classes, l lanes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled
from daskal.kernels.powers import exp2, log2
from daskal.method.findings import ABOVE_ONE, ALL_ZERO, BAD_SUM, BELOW_ZERO, NOT_FINITE
from daskal.method.values import Floats, Ints

# Rows side by side: of few classes so many, so that loops are long; of very many classes fewer, so
# that they stay in the cache (measured).
MANY_LANES, FEW_LANES = 64, 16
MANY_CLASSES = 1024
# Rows brought side by side in one go: their part of a class fills a line of the cache.
STEP = 8

# Probabilities are clipped here before their logarithm is taken, and losses floored at its log.
PROB_FLOOR = 1e-30
# From this inverse temperature on, powers of the least probability might underflow.
MOST_PLAIN_INVERSE = 10.0

SUM_TOLERANCE = 1e-3
LEAST_SUM, MOST_SUM = 1 - SUM_TOLERANCE, 1 + SUM_TOLERANCE
LOW_TOLERANCE, HIGH_TOLERANCE = -1e-6, MOST_SUM

Marks = NDArray[np.uint8]


@compiled
def count_lanes(num_classes: int) -> int:
    """Return how many rows lie side by side."""
    return MANY_LANES if num_classes <= MANY_CLASSES else FEW_LANES


@compiled
def load_lanes(probs: Floats, start: int, lanes: Floats) -> int:
    """Bring rows of an (n, k) array from ``start`` on into (k, l) lanes; return how many."""
    num_classes, num_lanes = lanes.shape
    num_rows = min(num_lanes, len(probs) - start)
    whole = num_rows - num_rows % STEP
    for at in range(0, whole, STEP):
        first = start + at
        for k in range(num_classes):
            lane = lanes[k]
            lane[at] = probs[first, k]
            lane[at + 1] = probs[first + 1, k]
            lane[at + 2] = probs[first + 2, k]
            lane[at + 3] = probs[first + 3, k]
            lane[at + 4] = probs[first + 4, k]
            lane[at + 5] = probs[first + 5, k]
            lane[at + 6] = probs[first + 6, k]
            lane[at + 7] = probs[first + 7, k]
    for at in range(whole, num_rows):
        for k in range(num_classes):
            lanes[k, at] = probs[start + at, k]
    for at in range(num_rows, num_lanes):
        for k in range(num_classes):
            lanes[k, at] = 1.0 / num_classes
    return num_rows


# --- checks -----------------------------------------------------------------------------------


@compiled
def sum_lanes(lanes: Floats, totals: Floats) -> None:
    """Write the sum of each lane, (l,)."""
    totals[:] = 0.0
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(totals)):
            totals[at] += lane[at]


@compiled
def span_lanes(lanes: Floats, least: Floats, most: Floats) -> None:
    """Write the least and the largest of each lane, (l,); what is NaN may hide."""
    # Numba takes a second to compile the assignment of one array to another.
    for at in range(len(least)):
        least[at] = most[at] = lanes[0, at]
    for k in range(1, len(lanes)):
        lane = lanes[k]
        for at in range(len(least)):
            least[at] = min(least[at], lane[at])
            most[at] = max(most[at], lane[at])


@compiled
def any_suspect(totals: Floats, least: Floats) -> bool:
    """Return whether some lane has to be looked at closely."""
    # No term of a good sum is above it, and a sum with NaN is NaN.
    good = 0
    for at in range(len(totals)):
        good += (totals[at] >= LEAST_SUM) & (totals[at] <= MOST_SUM) & (least[at] >= 0.0)
    return good < len(totals)


@compiled
def check_row(row: Floats) -> tuple[int, float]:
    """Return what is wrong with a row of probabilities, 0 for nothing, and the value seen."""
    total, least, most = 0.0, np.inf, -np.inf
    finite = True
    for k in range(len(row)):
        x = row[k]
        finite &= x - x == 0.0
        total += x
        least = x if x < least else least
        most = x if x > most else most
    if not finite:
        return NOT_FINITE, total
    if least < LOW_TOLERANCE:
        return BELOW_ZERO, least
    if most > HIGH_TOLERANCE:
        return ABOVE_ONE, most
    if least == 0.0 and most == 0.0:
        return ALL_ZERO, total
    if total < LEAST_SUM or total > MOST_SUM:
        return BAD_SUM, total
    return 0, total


@compiled
def check_probs(probs: Floats, faults: Marks, seen: Floats) -> bool:
    """Write what is wrong with each row of each model, (p, n); return whether anything is.

    Nothing is written where nothing is wrong.
    """
    num_models, num_rows, num_classes = probs.shape
    num_lanes = count_lanes(num_classes)
    lanes = np.empty((num_classes, num_lanes))
    totals, least, most = np.empty(num_lanes), np.empty(num_lanes), np.empty(num_lanes)
    found = False
    for p in range(num_models):
        for start in range(0, num_rows, num_lanes):
            num = load_lanes(probs[p], start, lanes)
            sum_lanes(lanes, totals)
            span_lanes(lanes, least, most)
            if not any_suspect(totals, least):
                continue
            for i in range(start, start + num):
                fault, value = check_row(probs[p, i])
                if fault != 0:
                    faults[p, i], seen[p, i] = fault, value
                    found = True
    return found


# --- scaled probabilities ---------------------------------------------------------------------


@compiled
def find_divisors(lanes: Floats, inverse: float, odd: Marks, divisors: Floats) -> bool:
    """Write what each lane is divided by before it is scaled; return whether by anything but 1.

    Rows marked as ``odd`` are at fault and kept: of NaN and infinities nothing but NaN can come,
    and numbers far above 1 would overflow.
    """
    divided = inverse > MOST_PLAIN_INVERSE
    if divided:
        divisors[:] = PROB_FLOOR
        for k in range(len(lanes)):
            lane = lanes[k]
            for at in range(len(divisors)):
                divisors[at] = max(divisors[at], lane[at])
    else:
        divisors[:] = 1.0
    for at in range(len(odd)):
        if odd[at]:
            divided = True
            divisors[at] = PROB_FLOOR
            for k in range(len(lanes)):
                x = lanes[k, at]
                if x != x or x == np.inf:
                    divisors[at] = np.nan
                elif x > divisors[at]:
                    divisors[at] = x
    return divided


@compiled
def take_logs(lanes: Floats, divisors: Floats, divided: bool) -> None:
    """Turn lanes into the logarithms of their clipped probabilities."""
    for k in range(len(lanes)):
        lane = lanes[k]
        if divided:
            for at in range(len(lane)):
                lane[at] = log2(max(lane[at], PROB_FLOOR) / divisors[at])
        else:
            for at in range(len(lane)):
                lane[at] = log2(max(lane[at], PROB_FLOOR))


@compiled
def scale_lanes(
    lanes: Floats, inverse: float, odd: Marks, divisors: Floats, totals: Floats
) -> None:
    """Turn lanes into softmax(log(clip(p) / sum) / T), ``inverse`` being 1/T.

    With an ``inverse`` of 0 they stay as they are. ``odd`` has a mark for each row of the lanes.
    """
    if inverse == 0.0:
        return
    divided = find_divisors(lanes, inverse, odd, divisors)
    if inverse != 1.0:
        take_logs(lanes, divisors, divided)
    for at in range(len(totals)):
        # NaN where that is all that can come out.
        totals[at] = divisors[at] * 0.0
    for k in range(len(lanes)):
        lane = lanes[k]
        if inverse == 1.0:
            for at in range(len(lane)):
                lane[at] = max(lane[at], PROB_FLOOR)
        else:
            for at in range(len(lane)):
                lane[at] = exp2(lane[at] * inverse)
        for at in range(len(lane)):
            totals[at] += lane[at]
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(lane)):
            lane[at] /= totals[at]


# --- the largest ------------------------------------------------------------------------------


@compiled
def first_largest(lanes: Floats, most: Floats, odd: Marks, classes: Ints) -> None:
    """Write the first class of the largest value of each lane, (l,), and that value.

    As NumPy has it, NaN is the largest.
    """
    for at in range(len(most)):
        most[at], classes[at] = lanes[0, at], 0
    for k in range(1, len(lanes)):
        lane = lanes[k]
        for at in range(len(most)):
            above = lane[at] > most[at]
            classes[at] = k if above else classes[at]
            most[at] = lane[at] if above else most[at]
    for at in range(len(odd)):
        if odd[at]:
            for k in range(len(lanes) - 1, -1, -1):
                if lanes[k, at] != lanes[k, at]:
                    classes[at], most[at] = k, np.nan
