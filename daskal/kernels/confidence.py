"""NumPy functions that score labels by class probabilities: three methods, each from 0 to 1.

Axes, in the shapes below: k classes, v labels, m annotators.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.tiles import sum_classes
from daskal.method.values import Floats, Ints, Scorer

# Bounds that keep the entropy's quotients finite.
CONFIDENCE_FLOOR = 1e-6


def score_consensus(scorer: Scorer, posterior: Floats, labels: Ints) -> Floats:
    """Score one label for each column of a (k, v) posterior."""
    thresholds = scorer.consensus_thresholds
    if thresholds is not None:
        posterior = adjust(posterior, np.broadcast_to(thresholds[:, None], posterior.shape))
    return score_labels(posterior, labels, scorer.method)


def score_votes(
    scorer: Scorer, posterior: Floats, rows: Ints, annotators: NDArray[np.integer], classes: Ints
) -> Floats:
    """Score votes by the posterior of their rows."""
    if scorer.method == "self_confidence" and scorer.annotator_thresholds is None:
        return posterior[classes, rows]
    at_vote = posterior[:, rows]
    if scorer.annotator_thresholds is not None:
        at_vote = adjust(at_vote, scorer.annotator_thresholds[annotators].T)
    return score_labels(at_vote, classes, scorer.method)


def adjust(probs: Floats, thresholds: Floats) -> Floats:
    """Probabilities less their classes' thresholds, shifted to be positive, normalised; (k, v)."""
    adjusted = probs - thresholds
    adjusted += thresholds.max(axis=0)
    adjusted /= sum_classes(adjusted)
    return adjusted


def score_labels(probs: Floats, labels: Ints, method: str) -> Floats:
    """Score one label for each column of (k, v) probabilities."""
    columns = np.arange(probs.shape[1])
    confidence: Floats = probs[labels, columns]
    if method == "self_confidence":
        return confidence
    if method == "normalized_margin":
        others = probs.copy()
        others[labels, columns] = -np.inf
        return (confidence - others.max(axis=0) + 1) / 2
    assert method == "confidence_weighted_entropy"
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(probs > 0, probs * np.log(probs), 0.0)
    # Without a sign of its own where it is zero.
    entropy = np.maximum(-sum_classes(terms) / np.log(len(probs)), 0.0)
    weighted = entropy / np.maximum(confidence, CONFIDENCE_FLOOR)
    return np.log1p(weighted) / np.maximum(weighted, CONFIDENCE_FLOOR)
