"""Consensus labels: the majority vote with all that decides its ties, and the best quality.

Work on a row's votes touches the classes they name alone, and leaves them as they were.

Axes: p models, n rows, k classes, m annotators, v votes, l lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskal.kernels.compiling import Whole, compiled
from daskal.kernels.lanes import PROB_FLOOR, Codes, Room, Rows
from daskal.method.values import Floats, Ints, Rule, TieBreak, VoteWeights

# Posteriors this close count as tied, so that no last bit decides a consensus label.
TIE_TOLERANCE = 1e-12
# Two raw probabilities this close may count as tied once scaled, at any temperature of the grid.
NEAR_TIE = 1e-11

NO_LABEL = -1

# The generator splitmix64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
FIRST_SHIFT, SECOND_SHIFT, LAST_SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)
ONE = np.uint64(1)

# --- the majority vote ------------------------------------------------------------------------


@compiled
def count_votes(rows: Rows, start: int, num: int, classes: Codes, counts: Floats) -> None:
    """Count the votes of each lane by class, (k, l)."""
    counts[:] = 0.0
    for v in range(rows.offsets[start], rows.offsets[start + num]):
        counts[classes[v], rows.row_of[v] - start] += 1.0


@compiled
def find_largest(lanes: Floats, tolerance: float, room: Room) -> None:
    """Write the largest value of each lane, how many are about that large, and the last such class.

    With NaN among them, none is.
    """
    most, near, total, best = room.most, room.near, room.totals, room.best
    for at in range(len(most)):
        most[at], near[at], total[at], best[at] = -np.inf, 0.0, 0.0, 0
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(most)):
            most[at] = max(most[at], lane[at])
            total[at] += lane[at]
    for k in range(len(lanes)):
        lane = lanes[k]
        for at in range(len(most)):
            is_near = lane[at] >= most[at] * (1 - tolerance)
            near[at] += 1.0 if is_near else 0.0
            best[at] = k if is_near else best[at]
    for at in range(len(most)):
        # A total is NaN where a class is.
        near[at] = near[at] if total[at] == total[at] else 0.0


@compiled
def insert(values: Ints, num: Whole, value: Any) -> Whole:
    """Put one more among the first ``num`` values, which ascend; return how many there are now."""
    at = num
    while at > 0 and values[at - 1] > value:
        at -= 1
    if at > 0 and values[at - 1] == value:
        return num
    for place in range(num, at, -1):
        values[place] = values[place - 1]
    values[at] = value
    return num + 1


@compiled
def find_tied(rows: Rows, i: int, at: int, room: Room) -> Whole:
    """Write the classes with most of a row's votes, ascending; return their number."""
    # Of one type from the start: what is compiled for a literal is compiled once more for others.
    num: Whole = np.int64(0)
    for v in range(rows.offsets[i], rows.offsets[i + 1]):
        if room.counts[rows.classes[v], at] == room.most[at]:
            num = insert(room.tied, num, rows.classes[v])
    return num


@compiled
def keyed_choice(seed: Any, index: Any, num_choices: Whole) -> Any:
    """Return a draw below ``num_choices`` for a global row, the same in every block and run."""
    mixed = seed
    # One round for the seed, one more for the row.
    for term in (np.uint64(0), np.uint64(index)):
        mixed = mixed + (term + ONE) * GOLDEN
        mixed = (mixed ^ (mixed >> FIRST_SHIFT)) * FIRST_FACTOR
        mixed = (mixed ^ (mixed >> SECOND_SHIFT)) * SECOND_FACTOR
        mixed = mixed ^ (mixed >> LAST_SHIFT)
    return np.int64(mixed % np.uint64(num_choices))


@compiled
def narrow(tied: Ints, num: Whole, values: Floats, tolerance: float) -> int:
    """Keep those of several tied classes with the greatest of (k,) values; return how many.

    None where one of the values is NaN.
    """
    if num == 1:
        return 1
    best = -np.inf
    for t in range(num):
        x = values[tied[t]]
        if x != x:
            return 0
        best = max(best, x)
    kept = 0
    for t in range(num):
        if values[tied[t]] >= best * (1 - tolerance):
            tied[kept] = tied[t]
            kept += 1
    return kept


@compiled
def break_tie(rows: Rows, i: int, at: int, tie_break: TieBreak, room: Room) -> int:
    """Return which of the classes with most votes row ``i`` has, scaled in lane ``at``.

    Ties go by the (scaled) probability, then the class rarer over all votes, then the mean
    agreement of its voters, then a draw keyed by seed and global row. A row without votes has a tie
    of all classes.
    """
    tied, values, most = room.tied, room.values, room.most[at]
    num = find_tied(rows, i, at, room)
    if num == 0:
        num = len(values)
        for k in range(num):
            tied[k] = k
    for t in range(num):
        values[tied[t]] = room.mean[tied[t], at]
    # A mean over models is rounded in the order of their sums; one model's p' never is.
    num = narrow(tied, num, values, TIE_TOLERANCE if len(room.lanes) > 1 else 0.0)
    for t in range(num):
        values[tied[t]] = -float(tie_break.class_counts[tied[t]])
    num = narrow(tied, num, values, 0.0)
    if most > 0:
        for t in range(num):
            values[tied[t]] = 0.0
        for v in range(rows.offsets[i], rows.offsets[i + 1]):
            values[rows.classes[v]] += tie_break.agreement[rows.annotators[v]]
        for t in range(num):
            values[tied[t]] /= most
        num = narrow(tied, num, values, 0.0)
    return tied[keyed_choice(tie_break.seed, rows.global_rows[i], num)] if num > 0 else 0


@compiled
def take_majority(
    rows: Rows, start: int, num: int, tie_break: TieBreak, every: bool, room: Room
) -> None:
    """Write the majority labels of scaled rows that have no label yet, from their votes' counts.

    Those of rows without votes mean nothing, but with ``every`` go by the tie-breaks alone.
    """
    find_largest(room.counts, 0.0, room)
    for at in range(num):
        i = start + at
        if room.labels[at] >= 0:
            continue
        room.labels[at] = room.best[at]
        if room.near[at] != 1.0 and (every or rows.offsets[i] < rows.offsets[i + 1]):
            room.labels[at] = break_tie(rows, i, at, tie_break, room)


@compiled
def clear_leader(lanes: Floats, at: int, tied: Ints, num: Whole) -> int:
    """Return the tied class that every model puts ahead by more than scaling can undo, or -1."""
    leader = -1
    for p in range(len(lanes)):
        best, ahead, first = PROB_FLOOR, 0, -1
        for t in range(num):
            x = lanes[p, tied[t], at]
            if x != x:
                return -1
            best = max(best, x)
        for t in range(num):
            if max(lanes[p, tied[t], at], PROB_FLOOR) >= best * (1 - NEAR_TIE):
                ahead += 1
                first = tied[t]
        if ahead != 1 or (p > 0 and first != leader):
            return -1
        leader = first
    return leader


# --- the best quality -------------------------------------------------------------------------


@compiled
def weigh_lanes(rows: Rows, start: int, num: int, weights: VoteWeights, room: Room) -> None:
    """Write the posterior of each lane, times what its votes and models weigh together, (k, l).

    It is the sum of the models' probabilities and the votes' likelihoods, by weight. What the votes
    weigh is in ``room.trust``.
    """
    by_model, likelihood = weights.model, weights.other_likelihood
    posterior, trust, others = room.posterior, room.trust, room.totals
    first, last = rows.offsets[start], rows.offsets[start + num]
    trust[:] = 0.0
    for v in range(first, last):
        trust[rows.row_of[v] - start] += weights.annotator[rows.annotators[v]]
    for at in range(len(trust)):
        others[at] = likelihood * trust[at]
    for k in range(len(posterior)):
        quality, lane = posterior[k], room.lanes[0, k]
        for at in range(len(quality)):
            quality[at] = lane[at] * by_model[0]
        for p in range(1, len(by_model)):
            lane = room.lanes[p, k]
            for at in range(len(quality)):
                quality[at] += lane[at] * by_model[p]
        for at in range(len(quality)):
            quality[at] += others[at]
    gain = weights.likelihood - likelihood
    for v in range(first, last):
        weight = weights.annotator[rows.annotators[v]]
        posterior[rows.classes[v], rows.row_of[v] - start] += weight * gain


@compiled
def take_consensus(rows: Rows, start: int, num: int, rule: Rule, room: Room) -> None:
    """Write the consensus labels of scaled rows; those of rows without votes mean nothing.

    The votes of each lane are counted in ``room.counts``.
    """
    room.labels[:] = NO_LABEL
    count_votes(rows, start, num, rows.classes, room.counts)
    tied = num
    if rule.best_quality:
        if rule.by_agreement:
            count_votes(rows, start, num, rows.counted, room.posterior)
            find_largest(room.posterior, 0.0, room)
        else:
            weigh_lanes(rows, start, num, rule.majority, room)
            find_largest(room.posterior, TIE_TOLERANCE, room)
        for at in range(num):
            if room.near[at] == 1.0:
                room.labels[at] = room.best[at]
                tied -= 1
    if tied > 0:
        take_majority(rows, start, num, rule.tie_break, False, room)
