"""Scores of labeled rows: ActiveLab's, and CROWDLAB's quality of their labels.

Axes: p models, n rows, k classes, m annotators, v votes, l lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled
from daskal.kernels.consensus import (
    LaneRule,
    Room,
    load_scaled,
    make_room,
    sum_weights,
    take_consensus,
)
from daskal.kernels.lanes import LOW_TOLERANCE, Marks
from daskal.kernels.pool import confidence_of_row, pool_score
from daskal.kernels.votes import Votes
from daskal.method.values import Floats, Ints


class ScoredRows(NamedTuple):
    """What is said of the rows of a tile and of their votes; posteriors only where wanted."""

    score: Floats  # (n,)
    label: Ints  # (n,)
    quality: Floats  # (n,)
    agreement: Floats  # (n,), NaN for a row without votes
    vote_quality: Floats  # (v,) posterior of each vote's class
    posterior: Floats  # (n, k), or (0, k)
    off: Marks  # (n,) rows at fault of which no posterior comes


def make_scored(num_rows: int, num_votes: int, num_classes: int, *, detail: bool) -> ScoredRows:
    """Return room for the scores of some rows."""
    return ScoredRows(
        np.empty(num_rows),
        np.empty(num_rows, dtype=np.int64),
        np.empty(num_rows),
        np.empty(num_rows),
        np.empty(num_votes),
        np.empty((num_rows if detail else 0, num_classes)),
        np.zeros(num_rows, dtype=np.uint8),
    )


# --- labeled rows -----------------------------------------------------------------------------


@compiled
def score_labeled(
    probs: Floats,
    votes: Votes,
    counted: NDArray[np.int32],
    odd: Marks,
    rule: LaneRule,
    global_rows: Ints,
    scored: ScoredRows,
) -> None:
    """Write the scores of (p, n, k) rows under a rule."""
    room = make_room(len(probs), probs.shape[2])
    for start in range(0, probs.shape[1], room.lanes.shape[2]):
        num = load_scaled(probs, start, rule.inverses, odd, room)
        take_consensus(votes, counted, start, num, odd, rule, global_rows, room)
        for at in range(num):
            i = start + at
            if votes.offsets[i] < votes.offsets[i + 1]:
                scored.label[i] = room.labels[at]
                score_row(probs, votes, counted, i, at, rule, scored, room)
            else:
                score_bare_row(i, at, rule, scored, room)
            if len(scored.posterior) > 0 or odd[i]:
                write_posterior(probs, votes, counted, i, at, rule, room)
                if len(scored.posterior) > 0:
                    scored.posterior[i] = room.sums
                for k in range(len(room.sums)):
                    q = room.sums[k]
                    scored.off[i] |= odd[i] and (q < LOW_TOLERANCE or q > 1 - LOW_TOLERANCE)


@compiled
def mean_of_models(probs: Floats, i: int, k: int) -> float:
    """Return the mean over models of a raw probability."""
    total = probs[0, i, k]
    for p in range(1, len(probs)):
        total += probs[p, i, k]
    return total / len(probs)


@compiled
def by_models(at: int, k: int, rule: LaneRule, room: Room) -> float:
    """Return the models' part of a posterior, (w_M p') summed over models."""
    total = room.lanes[0, k, at] * rule.final.model[0]
    for p in range(1, len(room.lanes)):
        total += room.lanes[p, k, at] * rule.final.model[p]
    return total


@compiled
def score_row(
    probs: Floats,
    votes: Votes,
    counted: NDArray[np.int32],
    i: int,
    at: int,
    rule: LaneRule,
    scored: ScoredRows,
    room: Room,
) -> None:
    """Write the score of a row with votes, and the posterior of each vote's class."""
    weights, counts, sums = rule.final, room.counts, room.sums
    first, last = votes.offsets[i], votes.offsets[i + 1]
    label = scored.label[i]
    by_votes = sum_weights(votes, i, weights)
    trust = by_votes + rule.total_weight
    others = weights.other_likelihood * by_votes
    gain = weights.likelihood - weights.other_likelihood
    for v in range(first, last):
        k = votes.classes[v]
        if counts[k] == 0:
            sums[k] = by_models(at, k, rule, room) + others
        counts[k] += 1
        sums[k] += weights.annotator[votes.annotators[v]] * gain
    agreement = counts[label] / (last - first)
    quality = sums[label] if counts[label] > 0 else by_models(at, label, rule, room) + others
    quality /= trust
    for v in range(first, last):
        scored.vote_quality[v] = sums[votes.classes[v]] / trust
    for v in range(first, last):
        counts[votes.classes[v]] = 0
    if rule.single_label:
        quality = mean_of_models(probs, i, label)
        for v in range(first, last):
            scored.vote_quality[v] = mean_of_models(probs, i, votes.classes[v])
    elif rule.by_agreement:
        for v in range(first, last):
            counts[counted[v]] += 1
        for v in range(first, last):
            scored.vote_quality[v] = counts[votes.classes[v]] / (last - first)
        for v in range(first, last):
            counts[counted[v]] = 0
    if rule.by_agreement:
        quality = agreement
    scored.agreement[i], scored.quality[i] = agreement, quality
    score = quality * trust + rule.mean_weight / len(sums)
    scored.score[i] = score / (trust + rule.mean_weight)


@compiled
def score_bare_row(i: int, at: int, rule: LaneRule, scored: ScoredRows, room: Room) -> None:
    """Write the score of a row without votes: of the pool, wherever it is stored."""
    label, sure = confidence_of_row(at, rule.final.model, rule.total_weight, room)
    scored.label[i], scored.quality[i], scored.agreement[i] = label, sure, np.nan
    scored.score[i] = pool_score(sure, rule.total_weight, rule.mean_weight, len(room.sums))


@compiled
def write_posterior(
    probs: Floats,
    votes: Votes,
    counted: NDArray[np.int32],
    i: int,
    at: int,
    rule: LaneRule,
    room: Room,
) -> None:
    """Write the posterior of every class of a row."""
    weights, sums = rule.final, room.sums
    first, last = votes.offsets[i], votes.offsets[i + 1]
    if rule.single_label:
        for k in range(len(sums)):
            sums[k] = mean_of_models(probs, i, k)
        return
    if rule.by_agreement:
        sums[:] = 0.0
        for v in range(first, last):
            sums[counted[v]] += 1.0
        for k in range(len(sums)):
            sums[k] /= max(last - first, 1)
        return
    by_votes = sum_weights(votes, i, weights)
    trust = by_votes + rule.total_weight
    gain = weights.likelihood - weights.other_likelihood
    for k in range(len(sums)):
        sums[k] = by_models(at, k, rule, room) + weights.other_likelihood * by_votes
    for v in range(first, last):
        sums[votes.classes[v]] += weights.annotator[votes.annotators[v]] * gain
    for k in range(len(sums)):
        sums[k] /= trust
