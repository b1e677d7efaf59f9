"""Scores of labeled rows: ActiveLab's, and CROWDLAB's quality of their labels; and of the pool.

Axes: p models, n rows, k classes, m annotators, v votes, l lanes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled
from daskal.kernels.consensus import (
    NO_LABEL,
    TIE_TOLERANCE,
    count_votes,
    narrow,
    take_consensus,
    take_majority,
    weigh_lanes,
)
from daskal.kernels.lanes import (
    LOW_TOLERANCE,
    Codes,
    Marks,
    Room,
    Rows,
    add_powers,
    add_sums,
    are_good,
    bytes_ahead,
    first_largest,
    load_lanes,
    load_scaled,
    take_sum,
)
from daskal.method.values import Floats, Ints, Rule, TieBreak


class ScoredRows(NamedTuple):
    """What is said of some rows and, where wanted, of their votes and every class."""

    score: Floats  # (n,)
    label: Ints  # (n,)
    quality: Floats  # (n,)
    agreement: Floats  # (n,), NaN for a row without votes
    vote_quality: Floats  # (v,) posterior of each vote's class, or (0,)
    posterior: Floats  # (n, k), or (0, k)
    off: Marks  # (n,) rows at fault of which no posterior comes


@compiled
def blend(quality: float, trust: float, mean_weight: float, num_classes: int) -> float:
    """Return ActiveLab's score: what one more vote of mean weight would leave of a quality."""
    return (quality * trust + mean_weight / num_classes) / (trust + mean_weight)


# --- labeled rows -----------------------------------------------------------------------------


@compiled
def score_labeled(
    rows: Rows, rule: Rule, model_weight: float, scored: ScoredRows, room: Room
) -> None:
    """Write the scores of some rows under a rule, whose final weights' models have a sum."""
    detail = len(scored.posterior) > 0
    for group in range(len(rows.lanes)):
        start, num = load_scaled(rows, group, rule.inverse, room)
        take_consensus(rows, start, num, rule, room)
        take_posterior(rows, group, start, num, rule, model_weight, room)
        first, last = rows.offsets[start], rows.offsets[start + num]
        for v in range(first, last if len(scored.vote_quality) > 0 else first):
            at = rows.row_of[v] - start
            scored.vote_quality[v] = room.posterior[rows.classes[v], at] / room.divisors[at]
        for at in range(num):
            score_row(rows, start + at, at, rule, model_weight, scored, room)
            if detail or rows.odd[start + at]:
                copy_posterior(rows, start + at, at, scored, room)


@compiled
def take_posterior(
    rows: Rows, group: int, start: int, num: int, rule: Rule, model_weight: float, room: Room
) -> None:
    """Write the posterior of a group's lanes, (k, l), but for the divisor of each lane, (l,).

    In ``room.trust`` is what a row's votes and models weigh together.
    """
    posterior, trust, divisors = room.posterior, room.trust, room.divisors
    weigh_lanes(rows, start, num, rule.final, room)
    for at in range(num):
        trust[at] += model_weight
        divisors[at] = trust[at]
    if rule.single_label:
        # The mean of the models' probabilities as they are.
        take_sum(rows.lanes[group], posterior)
        for at in range(num):
            divisors[at] = float(len(room.lanes))
    elif rule.by_agreement:
        count_votes(rows, start, num, rows.counted, posterior)
        for at in range(num):
            divisors[at] = float(max(rows.offsets[start + at + 1] - rows.offsets[start + at], 1))


@compiled
def score_row(
    rows: Rows,
    i: int,
    at: int,
    rule: Rule,
    model_weight: float,
    scored: ScoredRows,
    room: Room,
) -> None:
    """Write the scores of a row; without votes it has a score of the pool, wherever it is."""
    label, votes = room.labels[at], rows.offsets[i + 1] - rows.offsets[i]
    agreement = room.counts[label, at] / votes
    quality = room.posterior[label, at] / room.divisors[at]
    if votes == 0:
        label, quality = confidence_of_row(at, rule.final.model, model_weight, room)
    elif rule.by_agreement:
        quality = agreement
    scored.label[i], scored.quality[i], scored.agreement[i] = label, quality, agreement
    scored.score[i] = blend(quality, room.trust[at], rule.mean_weight, len(room.values))


@compiled
def copy_posterior(rows: Rows, i: int, at: int, scored: ScoredRows, room: Room) -> None:
    """Write the posterior of every class of a row, where there is room, and whether it is off."""
    for k in range(len(room.posterior)):
        x = room.posterior[k, at] / room.divisors[at]
        if len(scored.posterior) > 0:
            scored.posterior[i, k] = x
        if x < LOW_TOLERANCE or x > 1 - LOW_TOLERANCE:
            scored.off[i] |= rows.odd[i]


# --- the pool ---------------------------------------------------------------------------------


@compiled
def confidence_of_row(
    at: int, by_model: Floats, model_weight: float, room: Room
) -> tuple[int, float]:
    """Return the class that most models are surest of, and its scaled probability.

    The latter is the mean by the models' weights. Ties go by the plain mean over models, then the
    lower weighted mean, then the lower class.
    """
    lanes, tied, counts, values = room.lanes, room.tied, room.counted, room.values
    if len(lanes) == 1:
        best = largest_of_lane(lanes[0], at)
        return best, lanes[0, best, at]
    # Of one type from the start: what is compiled for a literal is compiled once more for others.
    most: Whole = np.int64(0)
    num: Whole = np.int64(0)
    for p in range(len(lanes)):
        k = largest_of_lane(lanes[p], at)
        counts[k] += 1
        most = max(most, counts[k])
    for k in range(len(values)):
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
        weighted = by_models(tied[t], at, by_model, lanes) / model_weight
        if weighted < sure:
            best, sure = tied[t], weighted
    return best, sure


@compiled
def by_models(k: int, at: int, by_model: Floats, lanes: Floats) -> float:
    """Return the models' probabilities of a class, summed by weight."""
    total = 0.0
    for p in range(len(by_model)):
        total += lanes[p, k, at] * by_model[p]
    return total


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


@compiled
def score_pool(
    rows: Rows,
    inverse: Floats,
    by_model: Floats,
    model_weight: float,
    mean_weight: float,
    scores: Floats,
    room: Room,
) -> None:
    """Write the score of each row of a pool, by the models' confidence."""
    for group in range(len(rows.lanes)):
        start, num = load_scaled(rows, group, inverse, room)
        for at in range(num):
            _, sure = confidence_of_row(at, by_model, model_weight, room)
            scores[start + at] = blend(sure, model_weight, mean_weight, len(room.values))


@compiled
def score_unchecked(
    probs: NDArray[Any],
    inverse: float,
    model_weight: float,
    mean_weight: float,
    scores: Floats,
    room: Room,
) -> bool:
    """Write the scores of one model's (n, k) pool; return whether all its rows are good at sight.

    Rows are read, checked and scored in one go, some classes at a time (as many as there is room
    for), so that reading does not wait for the rest, and only the largest power of each is divided.
    """
    sums, least, totals, most = room.trust, room.divisors, room.totals, room.most
    num_classes, num_lanes, strip = probs.shape[1], len(most), len(room.values)
    ahead = bytes_ahead(probs, num_lanes, strip)
    for start in range(0, len(scores), num_lanes):
        num = min(num_lanes, len(scores) - start)
        sums[:], least[:], totals[:], most[:] = 0.0, 0.0, 0.0, 0.0
        for first in range(0, num_classes, strip):
            part = probs[start : start + num, first : first + strip]
            lanes = room.lanes[0, : part.shape[1]]
            load_lanes(part, 1.0 / num_classes, ahead, lanes)
            add_sums(lanes, sums, least)
            add_powers(lanes, inverse, False, least, room.posterior[:1], totals, most)
        if not are_good(sums, least):
            return False
        for at in range(num_lanes):
            sure = most[at] * (1.0 / totals[at])
            most[at] = blend(sure, model_weight, mean_weight, num_classes)
        for at in range(num):
            scores[start + at] = most[at]
    return True


@compiled
def choose_classes(rows: Rows, inverse: Floats, classes: Codes, room: Room) -> None:
    """Write each model's surest class of each row, (n p,)."""
    for group in range(len(rows.lanes)):
        start, num = load_scaled(rows, group, inverse, room)
        for p in range(len(inverse)):
            first_largest(room.lanes[p], room.most, room.best)
            for at in range(num):
                classes[(start + at) * len(inverse) + p] = room.best[at]


@compiled
def vote_majority(
    rows: Rows,
    inverse: Floats,
    tie_break: TieBreak,
    by_model: Floats,
    labels: Ints,
    confidence: Floats,
    room: Room,
) -> None:
    """Write the majority vote of each row, and the models' weighted probability of it, (n,).

    A row without votes goes by the tie-breaks alone.
    """
    for group in range(len(rows.lanes)):
        start, num = load_scaled(rows, group, inverse, room)
        room.labels[:] = NO_LABEL
        count_votes(rows, start, num, rows.classes, room.counts)
        take_majority(rows, start, num, tie_break, True, room)
        for at in range(num):
            labels[start + at] = room.labels[at]
            confidence[start + at] = by_models(room.labels[at], at, by_model, room.lanes)
