"""Scores of labeled rows: ActiveLab's, and CROWDLAB's quality of their labels.

Axes: p models, n rows, k classes, m annotators, v votes, l lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import Whole, compiled
from daskal.kernels.consensus import (
    LaneRule,
    Room,
    load_scaled,
    make_room,
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
    sums, offsets = room.sums, votes.offsets
    posterior, off = scored.posterior, scored.off
    detail = len(posterior) > 0
    for start in range(0, probs.shape[1], room.lanes.shape[2]):
        num = load_scaled(probs, start, rule.inverses, odd, room)
        take_consensus(votes, counted, start, num, odd, rule, global_rows, room)
        score_rows(probs, votes, start, num, rule, scored, room)
        if rule.by_agreement and not rule.single_label:
            share_votes(votes, counted, start, num, scored, room)
        for at in range(num):
            i = start + at
            if offsets[i] == offsets[i + 1]:
                score_unvoted_row(i, at, rule, scored, room)
            if detail or odd[i]:
                write_posterior(probs, votes, counted, i, at, rule, room)
                for k in range(len(sums)):
                    if detail:
                        posterior[i, k] = sums[k]
                    far = sums[k] < LOW_TOLERANCE or sums[k] > 1 - LOW_TOLERANCE
                    off[i] |= far and odd[i] != 0


@compiled
def mean_of_models(probs: Floats, i: int, k: Whole) -> float:
    """Return the mean over models of a raw probability."""
    total = probs[0, i, k]
    for p in range(1, len(probs)):
        total += probs[p, i, k]
    return total / len(probs)


@compiled
def by_models(lanes: Floats, at: int, k: Whole, by_model: Floats) -> float:
    """Return the models' part of a posterior: w_M p' summed over models."""
    total = lanes[0, k, at] * by_model[0]
    for p in range(1, len(lanes)):
        total += lanes[p, k, at] * by_model[p]
    return total


@compiled
def score_rows(
    probs: Floats,
    votes: Votes,
    start: int,
    num: int,
    rule: LaneRule,
    scored: ScoredRows,
    room: Room,
) -> None:
    """Write the scores of rows with votes, and the posterior of each vote's class."""
    offsets, classes, annotators = votes.offsets, votes.classes, votes.annotators
    by_annotator, by_model = rule.final.annotator, rule.final.model
    other_likelihood = rule.final.other_likelihood
    gain = rule.final.likelihood - other_likelihood
    lanes, counts, sums, labels = room.lanes, room.counts, room.sums, room.labels
    vote_quality, qualities, scores = scored.vote_quality, scored.quality, scored.score
    agreements, scored_labels = scored.agreement, scored.label
    share = rule.mean_weight / len(sums)
    for at in range(num):
        i, label = start + at, labels[at]
        first, last = offsets[i], offsets[i + 1]
        if first == last:
            continue
        by_votes = 0.0
        for v in range(first, last):
            by_votes += by_annotator[annotators[v]]
        trust = by_votes + rule.total_weight
        others = other_likelihood * by_votes
        sums[label] = by_models(lanes, at, label, by_model) + others
        for v in range(first, last):
            k = np.int64(classes[v])
            if counts[k] == 0 and k != label:
                sums[k] = by_models(lanes, at, k, by_model) + others
            counts[k] += 1
            sums[k] += by_annotator[annotators[v]] * gain
        agreement = counts[label] / (last - first)
        quality = sums[label] / trust
        for v in range(first, last):
            vote_quality[v] = sums[classes[v]] / trust
        for v in range(first, last):
            counts[classes[v]] = 0
        if rule.single_label:
            quality = mean_of_models(probs, i, label)
            for v in range(first, last):
                vote_quality[v] = mean_of_models(probs, i, np.int64(classes[v]))
        if rule.by_agreement:
            quality = agreement
        scored_labels[i], agreements[i], qualities[i] = label, agreement, quality
        scores[i] = (quality * trust + share) / (trust + rule.mean_weight)


@compiled
def share_votes(
    votes: Votes,
    counted: NDArray[np.int32],
    start: int,
    num: int,
    scored: ScoredRows,
    room: Room,
) -> None:
    """Write for each vote the share of its row's votes that count as its class."""
    offsets, classes, counts = votes.offsets, votes.classes, room.counts
    for i in range(start, start + num):
        first, last = offsets[i], offsets[i + 1]
        for v in range(first, last):
            counts[counted[v]] += 1
        for v in range(first, last):
            scored.vote_quality[v] = counts[classes[v]] / (last - first)
        for v in range(first, last):
            counts[counted[v]] = 0


@compiled
def score_unvoted_row(i: int, at: int, rule: LaneRule, scored: ScoredRows, room: Room) -> None:
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
    by_votes = 0.0
    for v in range(first, last):
        by_votes += weights.annotator[votes.annotators[v]]
    trust = by_votes + rule.total_weight
    gain = weights.likelihood - weights.other_likelihood
    for k in range(len(sums)):
        others = weights.other_likelihood * by_votes
        sums[k] = by_models(room.lanes, at, k, weights.model) + others
    for v in range(first, last):
        sums[votes.classes[v]] += weights.annotator[votes.annotators[v]] * gain
    for k in range(len(sums)):
        sums[k] /= trust
