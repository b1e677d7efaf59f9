"""Rows of a block as kernels take them, in lanes: brought there and checked, and scaled.

Some rows lie side by side in lanes, their classes one below the other. A loop over lanes inside a
loop over classes runs on the processor's vectors, and sums each row's classes in their order,
wherever the row lies.

Axes: p models, n rows, k classes, v votes, g groups of rows, l lanes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from daskal.kernels.compiling import compiled
from daskal.kernels.instructions import LINE, ask_for
from daskal.kernels.powers import exp2, log2
from daskal.method.findings import ABOVE_ONE, ALL_ZERO, BAD_SUM, BELOW_ZERO, NOT_FINITE
from daskal.method.values import Floats, Ints

# Rows brought side by side in one go: their part of a class fills a line of the cache.
STEP = 8
# Memory is asked for up to so many bytes ahead: from farther on it would not stay in the cache.
MOST_AHEAD = 2**16

# Probabilities are clipped here before their logarithm is taken, and losses floored at its log.
PROB_FLOOR = 1e-30
# From this inverse temperature on, powers of the least probability might underflow.
MOST_PLAIN_INVERSE = 10.0

SUM_TOLERANCE = 1e-3
LEAST_SUM, MOST_SUM = 1 - SUM_TOLERANCE, 1 + SUM_TOLERANCE
LOW_TOLERANCE, HIGH_TOLERANCE = -1e-6, MOST_SUM

# --- rows and room -----------------------------------------------------------------------------

# Rows side by side: of few classes so many, so that loops are long; of very many classes fewer, so
# that they stay in the cache (measured).
MANY_LANES, FEW_LANES = 64, 16
MANY_CLASSES = 1024

Marks = NDArray[np.uint8]
Codes = NDArray[np.int32]


class Rows(NamedTuple):
    """Some rows. Their arrays hold until the next rows are taken."""

    lanes: Floats  # (g, p, k, l) probabilities; 1/k where no row is left
    odd: Marks  # (n,) rows at fault that are kept as they are
    global_rows: Ints  # (n,)
    offsets: Ints  # (n + 1,) of votes
    row_of: Codes  # (v,)
    annotators: Codes  # (v,)
    classes: Codes  # (v,)
    counted: Codes  # (v,) as which class a vote counts for the temperature


class Room(NamedTuple):
    """Arrays that are used again for each group of lanes."""

    lanes: Floats  # (p, k, l)
    mean: Floats  # (k, l) of the models' lanes
    posterior: Floats  # (k, l)
    counts: Floats  # (k, l) of votes
    totals: Floats  # (l,)
    divisors: Floats  # (l,)
    most: Floats  # (l,)
    near: Floats  # (l,)
    trust: Floats  # (l,)
    labels: Ints  # (l,)
    best: Ints  # (l,)
    values: Floats  # (k,)
    tied: Ints  # (k,)
    counted: Ints  # (k,) zero between rows


def count_lanes(num_classes: int) -> int:
    """Return how many rows lie side by side."""
    return MANY_LANES if num_classes <= MANY_CLASSES else FEW_LANES


def make_room(num_models: int, num_classes: int) -> Room:
    """Return room for a group of lanes of so many models and classes."""
    num_lanes = count_lanes(num_classes)
    lanes = np.empty((num_models, num_classes, num_lanes))
    mean = lanes[0] if num_models == 1 else np.empty(lanes.shape[1:])
    posterior, counts = np.empty((2, num_classes, num_lanes))
    totals, divisors, most, near, trust = np.empty((5, num_lanes))
    labels, best = np.empty((2, num_lanes), dtype=np.int64)
    tied, counted = np.zeros((2, num_classes), dtype=np.int64)
    return Room(
        lanes, mean, posterior, counts, totals, divisors, most, near, trust,
        labels, best, np.empty(num_classes), tied, counted,
    )  # fmt: skip


class Scratch:
    """Arrays that are used again for each tile: memory fresh from the system costs more than work.

    An array holds until the next one of its name and type is taken.
    """

    free: ClassVar[list[Scratch]] = []  # left by earlier blocks

    @classmethod
    @contextlib.contextmanager
    def lent(cls) -> Iterator[Scratch]:
        """Lend the arrays of an earlier block, whichever thread worked on it."""
        try:
            one = cls.free.pop()
        except IndexError:
            one = cls()
        try:
            yield one
        finally:
            cls.free.append(one)

    def __init__(self) -> None:
        """Begin with none."""
        self.kept: dict[tuple[str, DTypeLike], NDArray[Any]] = {}

    def take(self, name: str, *shape: int, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return an array that holds anything."""
        size = math.prod(shape)
        kept = self.kept.get((name, dtype))
        if kept is None or kept.size < size:
            kept = self.kept[name, dtype] = np.empty(size, dtype)
        return kept[:size].reshape(shape)

    def take_zeros(self, name: str, *shape: int, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return an array of zeros."""
        taken = self.take(name, *shape, dtype=dtype)
        taken.fill(0)
        return taken


# --- loaded and checked -----------------------------------------------------------------------


@compiled
def fill_lanes(
    probs: NDArray[Any], model: int, lanes: Floats, faults: Marks, seen: Floats, room: Room
) -> bool:
    """Bring one model's (n, k) rows into (g, p, k, l) lanes; return whether any is at fault.

    What is wrong with a row, and the value seen, is written where something is, (n,).
    """
    (num_rows, num_classes), num_lanes = probs.shape, lanes.shape[3]
    sums, least = room.totals, room.most
    found, ahead = False, bytes_ahead(probs, num_lanes, num_classes)
    for group in range(len(lanes)):
        start, own = group * num_lanes, lanes[group, model]
        num = min(num_lanes, num_rows - start)
        load_lanes(probs[start : start + num], 1.0 / num_classes, ahead, own)
        sums[:], least[:] = 0.0, 0.0
        add_sums(own, sums, least)
        if are_good(sums, least):
            continue
        for i in range(start, start + num):
            fault, value = check_row(probs[i])
            if fault != 0:
                faults[i], seen[i] = fault, value
                found = True
    return found


@compiled
def bytes_ahead(probs: NDArray[Any], num_lanes: int, num_classes: int) -> int:
    """Return how far on lies what is read soon: the next group's rows, or else their next classes.

    ``num_classes`` at a time are brought into lanes.
    """
    ahead = num_lanes * probs.strides[0]
    return ahead if ahead <= MOST_AHEAD else num_classes * probs.itemsize


@compiled
def load_lanes(probs: NDArray[Any], rest: float, ahead: int, lanes: Floats) -> None:
    """Bring the rows of a group into (k, l) lanes, and ``rest`` where there is no row.

    What lies so many bytes ``ahead`` of them is asked for.
    """
    num_rows, num_classes = probs.shape
    whole = num_rows - num_rows % STEP
    for at in range(0, whole, STEP):
        for row in range(at, at + STEP):
            for place in range(0, num_classes * probs.itemsize, LINE):
                ask_for(probs, row * probs.strides[0] + place + ahead)
        for k in range(num_classes):
            lane = lanes[k]
            for step in range(STEP):
                lane[at + step] = probs[at + step, k]
    for k in range(num_classes):
        for at in range(whole, num_rows):
            lanes[k, at] = probs[at, k]
        for at in range(num_rows, lanes.shape[1]):
            lanes[k, at] = rest


@compiled
def add_sums(lanes: Floats, sums: Floats, least: Floats) -> None:
    """Add the classes of each lane to its sum, and take the least of them."""
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(sums)):
            sums[at] += lane[at]
            least[at] = min(least[at], lane[at])


@compiled
def are_good(sums: Floats, least: Floats) -> bool:
    """Return whether no lane has to be looked at closely, by its sum and its least class or 0."""
    # No term of a good sum is above it, and a sum with NaN is NaN.
    good = 0
    for at in range(len(sums)):
        good += (sums[at] >= LEAST_SUM) & (sums[at] <= MOST_SUM) & (least[at] >= 0.0)
    return good == len(sums)


@compiled
def check_row(row: NDArray[Any]) -> tuple[int, float]:
    """Return what is wrong with a row of probabilities, 0 for nothing, and the value seen."""
    total, least, most = 0.0, np.inf, -np.inf
    finite = True
    for k in range(len(row)):
        x = np.float64(row[k])
        finite &= x - x == 0.0
        total += x
        least, most = min(least, x), max(most, x)
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


# --- scaled -----------------------------------------------------------------------------------


@compiled
def find_divisors(lanes: Floats, inverse: float, odd: Marks, divisors: Floats) -> bool:
    """Write what each lane is divided by before it is scaled; return whether by anything but 1.

    Rows marked as ``odd`` are at fault and kept: of NaN and infinities nothing but NaN can come,
    and numbers far above 1 would overflow.
    """
    divided = inverse > MOST_PLAIN_INVERSE
    for at in range(len(divisors)):
        divisors[at] = PROB_FLOOR if divided else 1.0
    if divided:
        for k in range(len(lanes)):
            lane = lanes[k]
            for at in range(len(divisors)):
                divisors[at] = max(divisors[at], lane[at])
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
def take_powers(lanes: Floats, inverse: float, odd: Marks, powers: Floats, room: Room) -> None:
    """Write the powers of (k, l) lanes that a softmax of log(clip(p) / sum) / T is made of.

    ``inverse`` is 1/T; with one of 0, probabilities are taken as they are. What is to be divided by
    is in ``room.totals`` (NaN where only that can come out), and the largest in ``room.most``.
    """
    divisors, totals, most = room.divisors, room.totals, room.most
    if inverse == 0.0:
        for at in range(len(totals)):
            totals[at], most[at] = 1.0, lanes[0, at]
        for k in range(len(lanes)):
            power, lane = powers[k], lanes[k]
            for at in range(len(totals)):
                power[at] = lane[at]
                most[at] = max(most[at], lane[at])
        return
    divided = find_divisors(lanes, inverse, odd, divisors)
    for at in range(len(totals)):
        totals[at], most[at] = divisors[at] * 0.0, 0.0
    add_powers(lanes, inverse, divided, divisors, powers, totals, most)


@compiled
def add_powers(
    lanes: Floats,
    inverse: float,
    divided: bool,
    divisors: Floats,
    powers: Floats,
    totals: Floats,
    most: Floats,
) -> None:
    """Write the powers of some classes' lanes, add them to the totals, and take the largest.

    The last of ``powers`` is used again where there are fewer than classes.
    """
    for k in range(len(lanes)):
        power, lane = powers[min(k, len(powers) - 1)], lanes[k]
        if inverse == 1.0:
            for at in range(len(totals)):
                power[at] = max(lane[at], PROB_FLOOR)
                totals[at] += power[at]
                most[at] = max(most[at], power[at])
        else:
            if divided:
                for at in range(len(totals)):
                    power[at] = log2(max(lane[at], PROB_FLOOR) / divisors[at])
            else:
                for at in range(len(totals)):
                    power[at] = log2(max(lane[at], PROB_FLOOR))
            for at in range(len(totals)):
                x = exp2(power[at] * inverse)
                power[at] = x
                totals[at] += x
                most[at] = max(most[at], x)


@compiled
def load_scaled(rows: Rows, group: int, inverse: Floats, room: Room) -> tuple[int, int]:
    """Scale a group of rows, and take their mean over models; return the first and their number."""
    totals, num_lanes = room.totals, rows.lanes.shape[3]
    start = group * num_lanes
    num = min(num_lanes, len(rows.odd) - start)
    for p in range(len(inverse)):
        scaled = room.lanes[p]
        odd = rows.odd[start : start + num]
        take_powers(rows.lanes[group, p], inverse[p], odd, scaled, room)
        for at in range(len(totals)):
            totals[at] = 1.0 / totals[at]
        for k in range(len(scaled)):
            lane = scaled[k]
            for at in range(len(totals)):
                lane[at] *= totals[at]
    if len(inverse) > 1:
        take_sum(room.lanes, room.mean)
        for k in range(len(room.mean)):
            mean = room.mean[k]
            for at in range(len(mean)):
                mean[at] /= len(inverse)
    return start, num


@compiled
def take_sum(lanes: Floats, total: Floats) -> None:
    """Write the sum over models of (p, k, l) lanes."""
    for k in range(len(total)):
        out, lane = total[k], lanes[0, k]
        for at in range(len(out)):
            out[at] = lane[at]
        for p in range(1, len(lanes)):
            lane = lanes[p, k]
            for at in range(len(out)):
                out[at] += lane[at]


# --- the largest ------------------------------------------------------------------------------


@compiled
def first_largest(lanes: Floats, most: Floats, classes: Ints) -> None:
    """Write the first class of the largest value of each lane, (l,), and that value.

    As NumPy has it, NaN is the largest.
    """
    for at in range(len(most)):
        most[at], classes[at] = lanes[0, at], 0
    for k in range(1, len(lanes)):
        lane = lanes[k]
        for at in range(len(most)):
            x, best = lane[at], most[at]
            above = (x > best) | ((x != x) & (best == best))
            classes[at] = k if above else classes[at]
            most[at] = x if above else best
