"""Consensus labels: the majority vote with all that decides its ties, and the best quality.

Work on a row goes by its votes: only the classes they name are touched, and left as they were.

Axes: p models, n rows, k classes, m annotators, v votes, l lanes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled, read_only
from daskal.kernels.lanes import PROB_FLOOR, Marks, count_lanes, load_lanes, scale_lanes
from daskal.kernels.votes import Votes
from daskal.method.values import Floats, Ints, Rule, TieBreak, VoteWeights

# Posteriors this close count as tied, so that no last bit decides a consensus label.
TIE_TOLERANCE = 1e-12
# Two raw probabilities this close may count as tied once scaled, at any temperature of the grid.
NEAR_TIE = 1e-11

# The generator splitmix64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST_FACTOR, SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
FIRST_SHIFT, SECOND_SHIFT, LAST_SHIFT = np.uint64(30), np.uint64(27), np.uint64(31)
ONE = np.uint64(1)


class LaneRule(NamedTuple):
    """A rule as kernels take it: every array of one type, nothing missing."""

    inverses: Floats  # (p,) 1/T, 0 where the probabilities are taken as they are
    tie_break: TieBreak
    majority: VoteWeights
    final: VoteWeights
    total_weight: float  # of the final weights' models
    mean_weight: float
    best_quality: bool  # whether the majority's weights find better labels
    by_agreement: bool
    single_label: bool


def prepare_temperature(temperature: Floats | None, num_models: int) -> Floats:
    """Return 1/T of each model, 0 for none."""
    return read_only(np.zeros(num_models) if temperature is None else 1.0 / temperature)


def prepare_tie_break(tie_break: TieBreak) -> TieBreak:
    """Return a tie-break as kernels take it."""
    return TieBreak(
        read_only(tie_break.class_counts, np.int64),
        read_only(tie_break.agreement),
        np.uint64(tie_break.seed % 2**64),  # type: ignore[arg-type]
    )


def prepare_weights(weights: VoteWeights | None, num_models: int) -> VoteWeights:
    """Return weights as kernels take them, of nothing where there are none."""
    if weights is None:
        weights = VoteWeights(0.0, 0.0, np.zeros(num_models), np.zeros(0))
    return VoteWeights(
        float(weights.likelihood),
        float(weights.other_likelihood),
        read_only(weights.model),
        read_only(weights.annotator),
    )


def prepare_rule(rule: Rule, num_models: int) -> LaneRule:
    """Return a rule as kernels take it."""
    final = prepare_weights(rule.final, num_models)
    return LaneRule(
        prepare_temperature(rule.temperature, num_models),
        prepare_tie_break(rule.tie_break),
        prepare_weights(rule.majority, num_models),
        final,
        float(final.model.sum()),
        float(rule.mean_weight),
        rule.consensus_method == "best_quality" and rule.majority is not None,
        rule.quality_method == "agreement",
        bool(rule.single_label),
    )


# --- room to work in --------------------------------------------------------------------------


class Room(NamedTuple):
    """Arrays that are used again for each group of lanes."""

    lanes: Floats  # (p, k, l)
    mean: Floats  # (k, l)
    quality: Floats  # (k, l)
    totals: Floats  # (l,)
    divisors: Floats  # (l,)
    labels: Ints  # (l,)
    best: Ints  # (l,)
    counts: Ints  # (k,) zero between rows
    sums: Floats  # (k,)
    tied: Ints  # (k,)


@compiled
def make_room(num_models: int, num_classes: int) -> Room:
    """Return room for lanes of so many models and classes."""
    num_lanes = count_lanes(num_classes)
    return Room(
        np.empty((num_models, num_classes, num_lanes)),
        np.empty((num_classes, num_lanes)),
        np.empty((num_classes, num_lanes)),
        np.empty(num_lanes),
        np.empty(num_lanes),
        np.empty(num_lanes, dtype=np.int64),
        np.empty(num_lanes, dtype=np.int64),
        np.zeros(num_classes, dtype=np.int64),
        np.empty(num_classes),
        np.empty(num_classes, dtype=np.int64),
    )


@compiled
def load_scaled(probs: Floats, start: int, inverses: Floats, odd: Marks, room: Room) -> int:
    """Bring rows of (p, n, k) probabilities into lanes, scaled, and their mean over models.

    Return how many rows they are.
    """
    num = 0
    for p in range(len(probs)):
        lanes = room.lanes[p]
        num = load_lanes(probs[p], start, lanes)
        scale_lanes(lanes, inverses[p], odd[start : start + num], room.divisors, room.totals)
    for k in range(len(room.mean)):
        mean, lane = room.mean[k], room.lanes[0, k]
        for at in range(len(mean)):
            mean[at] = lane[at]
        if len(probs) > 1:
            for p in range(1, len(probs)):
                lane = room.lanes[p, k]
                for at in range(len(mean)):
                    mean[at] += lane[at]
            for at in range(len(mean)):
                mean[at] /= len(probs)
    return num


# --- the majority vote ------------------------------------------------------------------------


@compiled
def find_tied(
    classes: NDArray[np.int32], first: int, last: int, counts: Ints, tied: Ints
) -> tuple[int, int]:
    """Write the classes with most of a row's votes, ascending; return their number and votes."""
    if last - first == 1:
        tied[0] = classes[first]
        return 1, 1
    most, num = 0, 0
    for v in range(first, last):
        k = classes[v]
        counts[k] += 1
        most = max(most, counts[k])
    for v in range(first, last):
        k = classes[v]
        if counts[k] == most:
            at = num
            while at > 0 and tied[at - 1] > k:
                tied[at] = tied[at - 1]
                at -= 1
            tied[at] = k
            num += 1
        counts[k] = 0
    return num, most


@compiled
def keyed_choice(seed: Any, index: Any, num_choices: int) -> Any:
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
    """Keep those of the tied classes with the greatest of (k,) values; return how many.

    None where one of the values is NaN.
    """
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
def majority_of_lanes(
    votes: Votes,
    start: int,
    num: int,
    tie_break: TieBreak,
    global_rows: Ints,
    room: Room,
) -> None:
    """Write the majority label of ``num`` rows that lie in lanes.

    Ties go by the (scaled) probability, then the class rarer over all votes, then the mean
    agreement of its voters, then a draw keyed by seed and global row. A row without votes has no
    majority, and gets that of a tie of all classes.
    """
    # Taken out of their tuples once: that counts references, which costs more than a row.
    offsets, classes, annotators = votes.offsets, votes.classes, votes.annotators
    counts, tied, values, mean, labels = room.counts, room.tied, room.sums, room.mean, room.labels
    class_counts, agreement = tie_break.class_counts, tie_break.agreement
    seed = tie_break.seed
    # A mean over models is rounded in the order of their sums; one model's p' never is.
    tolerance = TIE_TOLERANCE if len(room.lanes) > 1 else 0.0
    for at in range(num):
        i = start + at
        first, last = offsets[i], offsets[i + 1]
        num_tied, most = find_tied(classes, first, last, counts, tied)
        if num_tied == 0:
            num_tied = len(tied)
            for k in range(num_tied):
                tied[k] = k
        if num_tied > 1:
            for t in range(num_tied):
                values[tied[t]] = mean[tied[t], at]
            num_tied = narrow(tied, num_tied, values, tolerance)
        if num_tied > 1:
            for t in range(num_tied):
                values[tied[t]] = -float(class_counts[tied[t]])
            num_tied = narrow(tied, num_tied, values, 0.0)
        if num_tied > 1 and most > 0:
            for t in range(num_tied):
                values[tied[t]] = 0.0
            for v in range(first, last):
                values[classes[v]] += agreement[annotators[v]]
            for t in range(num_tied):
                values[tied[t]] /= most
            num_tied = narrow(tied, num_tied, values, 0.0)
        if num_tied > 1:
            labels[at] = tied[keyed_choice(seed, global_rows[i], num_tied)]
        else:
            labels[at] = tied[0] if num_tied == 1 else 0


@compiled
def clear_leader(lanes: Floats, at: int, tied: Ints, num: int) -> int:
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
def weigh_lanes(votes: Votes, start: int, num: int, weights: VoteWeights, room: Room) -> None:
    """Write the posterior of each lane, up to a factor of the row, (k, l).

    It is the mean of the models' probabilities and the votes' likelihoods, by weight.
    """
    offsets, classes, annotators = votes.offsets, votes.classes, votes.annotators
    by_annotator, by_model = weights.annotator, weights.model
    by_votes, posterior, lanes = room.totals, room.quality, room.lanes
    for at in range(num):
        total = 0.0
        for v in range(offsets[start + at], offsets[start + at + 1]):
            total += by_annotator[annotators[v]]
        by_votes[at] = weights.other_likelihood * total
    for k in range(len(posterior)):
        quality, lane = posterior[k], lanes[0, k]
        for at in range(len(quality)):
            quality[at] = lane[at] * by_model[0]
        for p in range(1, len(lanes)):
            lane = lanes[p, k]
            for at in range(len(quality)):
                quality[at] += lane[at] * by_model[p]
        for at in range(len(quality)):
            quality[at] += by_votes[at]
    gain = weights.likelihood - weights.other_likelihood
    for at in range(num):
        for v in range(offsets[start + at], offsets[start + at + 1]):
            posterior[classes[v], at] += by_annotator[annotators[v]] * gain


@compiled
def best_labels(num: int, odd: Marks, room: Room) -> None:
    """Replace labels by those of the best quality, but where the largest ones are tied."""
    most, near, best = room.totals, room.divisors, room.best
    for at in range(len(most)):
        most[at], near[at], best[at] = room.quality[0, at], 0.0, 0
    for k in range(1, len(room.quality)):
        quality = room.quality[k]
        for at in range(len(most)):
            most[at] = max(most[at], quality[at])
    for at in range(len(most)):
        most[at] *= 1 - TIE_TOLERANCE
    for k in range(len(room.quality)):
        quality = room.quality[k]
        for at in range(len(most)):
            is_near = quality[at] >= most[at]
            near[at] += 1.0 if is_near else 0.0
            best[at] = k if is_near else best[at]
    for at in range(len(odd)):
        if odd[at]:
            for k in range(len(room.quality)):
                if room.quality[k, at] != room.quality[k, at]:
                    near[at] = 0.0
    for at in range(num):
        if near[at] == 1.0:
            room.labels[at] = best[at]


@compiled
def most_counted(
    offsets: Ints, counted: NDArray[np.int32], start: int, num: int, room: Room
) -> None:
    """Replace labels by the class that most votes count as, but where several are tied."""
    counts, tied, labels = room.counts, room.tied, room.labels
    for at in range(num):
        first, last = offsets[start + at], offsets[start + at + 1]
        num_tied, _ = find_tied(counted, first, last, counts, tied)
        if num_tied == 1:
            labels[at] = tied[0]


@compiled
def take_consensus(
    votes: Votes,
    counted: NDArray[np.int32],
    start: int,
    num: int,
    odd: Marks,
    rule: LaneRule,
    global_rows: Ints,
    room: Room,
) -> None:
    """Write the consensus labels of ``num`` rows that lie in lanes, scaled."""
    majority_of_lanes(votes, start, num, rule.tie_break, global_rows, room)
    if rule.best_quality and rule.by_agreement:
        most_counted(votes.offsets, counted, start, num, room)
    elif rule.best_quality:
        weigh_lanes(votes, start, num, rule.majority, room)
        best_labels(num, odd[start : start + num], room)
