"""NumPy functions that score labels by class probabilities: three methods, each from 0 to 1.

Axes, in the shapes below: k classes, v labels, m annotators.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels import Floats, Ints, sum_classes

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")

# Bounds that keep the entropy's quotients finite.
CONFIDENCE_FLOOR = 1e-6
# A class's threshold is at least this, and this much where no label is of the class.
LEAST_THRESHOLD = 2e-6
ABSENT_THRESHOLD = 2.0


class Scorer(NamedTuple):
    """How labels are scored by the posterior of their examples.

    With thresholds, the mean confidence of a class among the labels of it is taken off that
    class's probability first, so that rare and hard classes are not seen as mislabelled.
    """

    method: str = "self_confidence"
    consensus_thresholds: Floats | None = None  # (k,)
    annotator_thresholds: Floats | None = None  # (m, k)

    @property
    def plain(self) -> bool:
        """Whether a label's score is its probability."""
        return self.method == "self_confidence" and (
            self.consensus_thresholds is None and self.annotator_thresholds is None
        )

    def score_consensus(self, posterior: Floats, labels: Ints) -> Floats:
        """Score one label for each column of a (k, v) posterior."""
        thresholds = self.consensus_thresholds
        if thresholds is not None:
            posterior = adjust(posterior, np.broadcast_to(thresholds[:, None], posterior.shape))
        return score_labels(posterior, labels, self.method)

    def score_votes(
        self, posterior: Floats, rows: Ints, annotators: NDArray[np.integer], classes: Ints
    ) -> Floats:
        """Score votes by the posterior of their rows."""
        if self.method == "self_confidence" and self.annotator_thresholds is None:
            return posterior[classes, rows]
        at_vote = posterior[:, rows]
        if self.annotator_thresholds is not None:
            at_vote = adjust(at_vote, self.annotator_thresholds[annotators].T)
        return score_labels(at_vote, classes, self.method)


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


def class_thresholds(sums: Floats, num: Ints) -> Floats:
    """Threshold of each class from the sum of its labels' confidence and their number."""
    means = sums / np.maximum(num, 1)
    return np.where(num > 0, np.maximum(means, LEAST_THRESHOLD), ABSENT_THRESHOLD)
