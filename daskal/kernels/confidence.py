"""Scores of labels by class probabilities: three methods, each from 0 to 1.

Axes: n rows, k classes, v labels, g groups of labels that share their thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.powers import LN2, log1p, log2
from daskal.kernels.votes import Votes
from daskal.method.values import Floats, Ints, Scorer

# Bounds that keep the entropy's quotients finite.
CONFIDENCE_FLOOR = 1e-6

METHODS = {"self_confidence": 0, "normalized_margin": 1, "confidence_weighted_entropy": 2}
SELF_CONFIDENCE, NORMALIZED_MARGIN, WEIGHTED_ENTROPY = METHODS.values()


def score_consensus(scorer: Scorer, posterior: Floats, labels: Ints) -> Floats:
    """Return the score of one label for each row of an (n, k) posterior."""
    thresholds = scorer.consensus_thresholds
    table = None if thresholds is None else thresholds[np.newaxis]
    none = np.zeros(len(labels), dtype=np.int64)
    return score_labels(posterior, np.arange(len(labels)), labels, scorer.method, table, none)


def score_votes(scorer: Scorer, posterior: Floats, votes: Votes) -> Floats:
    """Return the scores of votes by the (n, k) posterior of their rows."""
    rows = np.repeat(np.arange(len(votes.offsets) - 1), np.diff(votes.offsets))
    table = scorer.annotator_thresholds
    return score_labels(posterior, rows, votes.classes, scorer.method, table, votes.annotators)


def score_labels(
    probs: Floats,
    rows: Ints,
    labels: NDArray[np.integer],
    method: str,
    thresholds: Floats | None,
    groups: NDArray[np.integer],
) -> Floats:
    """Return the scores of labels of some rows, each adjusted by its group's (k,) thresholds."""
    scores = np.empty(len(labels))
    table = np.zeros((0, probs.shape[1])) if thresholds is None else thresholds
    score_each(
        read_only(probs),
        read_only(rows, np.int64),
        read_only(labels, np.int64),
        METHODS[method],
        read_only(table),
        read_only(groups, np.int64),
        scores,
    )
    return scores


@compiled
def score_each(
    probs: Floats,
    rows: Ints,
    labels: Ints,
    method: int,
    thresholds: Floats,
    groups: Ints,
    scores: Floats,
) -> None:
    """Write the score of each label by the (n, k) probabilities of its row."""
    row = np.empty(probs.shape[1])
    for v in range(len(labels)):
        for k in range(len(row)):
            row[k] = probs[rows[v], k]
        if len(thresholds) > 0:
            adjust(row, thresholds[groups[v]])
        scores[v] = score_label(row, labels[v], method)


@compiled
def adjust(row: Floats, thresholds: Floats) -> None:
    """Take thresholds off a row's probabilities, shifted to be positive, and normalise them."""
    largest = thresholds[0]
    for k in range(1, len(row)):
        largest = max(largest, thresholds[k])
    total = 0.0
    for k in range(len(row)):
        row[k] = row[k] - thresholds[k] + largest
        total += row[k]
    for k in range(len(row)):
        row[k] /= total


@compiled
def score_label(row: Floats, label: int, method: int) -> float:
    """Return the score of one label by a row's probabilities."""
    confidence = row[label]
    if method == SELF_CONFIDENCE or confidence != confidence:
        return confidence
    if method == NORMALIZED_MARGIN:
        others = -np.inf
        for k in range(len(row)):
            if k != label:
                others = max(others, row[k])
        return (confidence - others + 1.0) / 2.0
    total = 0.0
    for k in range(len(row)):
        if row[k] > 0.0:
            total += row[k] * (log2(row[k]) * LN2)
    # Without a sign of its own where it is zero.
    entropy = max(-total / (log2(float(len(row))) * LN2), 0.0)
    weighted = entropy / max(confidence, CONFIDENCE_FLOOR)
    return log1p(weighted) / max(weighted, CONFIDENCE_FLOOR)
