"""Scores of the pool, whose rows have no votes, by one model or by several.

Axes: p models, n rows, k classes, v votes, l lanes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled
from daskal.kernels.consensus import (
    TIE_TOLERANCE,
    Room,
    load_scaled,
    majority_of_lanes,
    make_room,
    narrow,
)
from daskal.kernels.lanes import (
    PROB_FLOOR,
    Marks,
    any_suspect,
    count_lanes,
    find_divisors,
    first_largest,
    load_lanes,
    span_lanes,
    sum_lanes,
    take_logs,
)
from daskal.kernels.powers import exp2, log2
from daskal.kernels.votes import Votes
from daskal.method.values import Floats, Ints, TieBreak


@compiled
def pool_score(sure: float, total_weight: float, mean_weight: float, num_classes: int) -> float:
    """Return ActiveLab's score of a row without votes, from the models' confidence."""
    return (sure * total_weight + mean_weight / num_classes) / (total_weight + mean_weight)


# --- the models' confidence -------------------------------------------------------------------


@compiled
def confidence_of_row(
    at: int, model_weight: Floats, total_weight: float, room: Room
) -> tuple[int, float]:
    """Return the class that most models are surest of, and its scaled probability.

    The latter is the mean by the models' weights. Ties go by the plain mean over models, then the
    lower weighted mean, then the lower class.
    """
    num_models, num_classes = len(room.lanes), len(room.sums)
    tied, counts, values = room.tied, room.counts, room.sums
    if num_models == 1:
        best = largest_of_lane(room.lanes[0], at)
        return best, room.lanes[0, best, at]
    # Of one type from the start: what is compiled for a literal is compiled once more for others.
    most: Whole = np.int64(0)
    num: Whole = np.int64(0)
    for p in range(num_models):
        k = largest_of_lane(room.lanes[p], at)
        counts[k] += 1
        most = max(most, counts[k])
    for k in range(num_classes):
        if counts[k] == most:
            tied[num] = k
            values[k] = room.mean[k, at]
            num += 1
        counts[k] = 0
    for t in range(num):
        if values[tied[t]] != values[tied[t]]:
            return 0, np.nan
    num = narrow(tied, num, values, TIE_TOLERANCE)
    best, sure = 0, np.inf
    for t in range(num):
        weighted = 0.0
        for p in range(num_models):
            weighted += room.lanes[p, tied[t], at] * model_weight[p]
        weighted /= total_weight
        if weighted < sure:
            best, sure = tied[t], weighted
    return best, sure


@compiled
def largest_of_lane(lanes: Floats, at: int) -> int:
    """Return the first class of the largest value of one lane; NaN is the largest."""
    best = 0
    for k in range(len(lanes)):
        if lanes[k, at] != lanes[k, at]:
            return k
        if lanes[k, at] > lanes[best, at]:
            best = k
    return best


# --- the pool ---------------------------------------------------------------------------------


@compiled
def score_pool(
    probs: Floats,
    odd: Marks,
    inverse: float,
    model_weight: float,
    mean_weight: float,
    scores: Floats,
) -> bool:
    """Write the score of each row of one model's (n, k) pool; return whether some are suspect."""
    num_rows, num_classes = probs.shape
    num_lanes = count_lanes(num_classes)
    lanes = np.empty((num_classes, num_lanes))
    totals, least = np.empty(num_lanes), np.empty(num_lanes)
    most, divisors = np.empty(num_lanes), np.empty(num_lanes)
    suspect = False
    for start in range(0, num_rows, num_lanes):
        num = load_lanes(probs, start, lanes)
        sum_lanes(lanes, totals)
        span_lanes(lanes, least, most)
        suspect |= any_suspect(totals, least)
        divided = find_divisors(lanes, inverse, odd[start : start + num], divisors)
        confidence_of_lanes(lanes, inverse, divisors, divided, most, totals)
        for at in range(num):
            scores[start + at] = pool_score(most[at], model_weight, mean_weight, num_classes)
    return suspect


@compiled
def confidence_of_lanes(
    lanes: Floats, inverse: float, divisors: Floats, divided: bool, most: Floats, totals: Floats
) -> None:
    """Turn the largest of each lane into what it is once scaled; the (k, l) lanes are lost.

    To the last bit it is the largest of the lanes once they are scaled.
    """
    if inverse == 0.0:
        for at in range(len(most)):
            # NaN if one of the lane is.
            most[at] += totals[at] * 0.0
        return
    if inverse != 1.0:
        take_logs(lanes, divisors, divided)
    for at in range(len(totals)):
        totals[at] = divisors[at] * 0.0
    for k in range(len(lanes)):
        lane = lanes[k]
        if inverse == 1.0:
            for at in range(len(lane)):
                totals[at] += max(lane[at], PROB_FLOOR)
        else:
            for at in range(len(lane)):
                totals[at] += exp2(lane[at] * inverse)
    for at in range(len(most)):
        largest = max(most[at], PROB_FLOOR)
        if inverse != 1.0:
            largest = exp2(log2(largest / divisors[at]) * inverse)
        most[at] = largest / totals[at]


@compiled
def score_ensemble(
    probs: Floats,
    odd: Marks,
    inverses: Floats,
    model_weight: Floats,
    total_weight: float,
    mean_weight: float,
    scores: Floats,
    classes: NDArray[np.int32],
) -> None:
    """Write the score of each row of the (p, n, k) pool, and each model's surest class, (n p,)."""
    num_models, num_rows, num_classes = probs.shape
    room = make_room(num_models, num_classes)
    lanes, best = room.lanes, room.best
    for start in range(0, num_rows, lanes.shape[2]):
        num = load_scaled(probs, start, inverses, odd, room)
        for at in range(num):
            _, sure = confidence_of_row(at, model_weight, total_weight, room)
            scores[start + at] = pool_score(sure, total_weight, mean_weight, num_classes)
        for p in range(num_models):
            first_largest(lanes[p], room.totals, odd[start : start + num], best)
            for at in range(num):
                classes[(start + at) * num_models + p] = best[at]


@compiled
def vote_majority(
    probs: Floats,
    votes: Votes,
    odd: Marks,
    inverses: Floats,
    tie_break: TieBreak,
    global_rows: Ints,
    model_weight: Floats,
    labels: Ints,
    confidence: Floats,
) -> None:
    """Write the majority vote of each row, and the models' weighted probability of it, (n,).

    A row without votes goes by the tie-breaks alone.
    """
    room = make_room(len(probs), probs.shape[2])
    lanes, row_labels = room.lanes, room.labels
    for start in range(0, probs.shape[1], lanes.shape[2]):
        num = load_scaled(probs, start, inverses, odd, room)
        majority_of_lanes(votes, start, num, tie_break, global_rows, room)
        for at in range(num):
            total = 0.0
            for p in range(len(lanes)):
                total += lanes[p, row_labels[at], at] * model_weight[p]
            labels[start + at], confidence[start + at] = row_labels[at], total
