"""Whom to ask: what each annotator's vote on an example is expected to tell.

Axes: b examples, m annotators, k classes, v votes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskal.method.expectation import MAJORITY_VOTE, Parameters
from daskal.method.findings import Findings
from daskal.method.values import NO_FAULTS, Floats, Ints, PoolRule, ProbBlocks, SparseLabels
from daskal.names.rows import Places

# Nobody is taken to be always right: one vote would settle everything.
MOST_ACCURACY = 0.999
# Probabilities are no less than this in logarithms.
PROB_FLOOR = 1e-30
# Gains are rounded to so many places: how they rank must not hang on the last bits of logarithms,
# which differ between processors.
GAIN_PLACES = 9


@dataclass(frozen=True)
class RowVotes:
    """The votes of some rows, in any order.

    Attributes
    ----------
    rows, annotators, classes : (v,) int64
    findings : Findings
    """

    rows: Ints
    annotators: Ints
    classes: Ints
    findings: Findings

    @classmethod
    def zero(cls) -> RowVotes:
        """Return no votes."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, none, Findings())

    def merge(self, other: RowVotes) -> RowVotes:
        """Return those of both together."""
        return RowVotes(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.annotators, other.annotators]),
            np.concatenate([self.classes, other.classes]),
            self.findings.merge(other.findings),
        )

    def labels_of(self, rows: Ints) -> SparseLabels:
        """Return the votes of the rows asked for, in their order; -1 is a row without votes."""
        order = np.lexsort((self.annotators, self.rows))
        known = self.rows[order]
        start, stop = np.searchsorted(known, rows), np.searchsorted(known, rows, side="right")
        parts = [np.arange(*span) for span in zip(start, stop, strict=True)]
        at = order[np.concatenate([np.zeros(0, dtype=np.int64), *parts])]
        offsets = np.concatenate([[0], np.cumsum(stop - start)])
        annotators = self.annotators[at].astype(np.int32)
        return SparseLabels(offsets, annotators, self.classes[at].astype(np.int32), *NO_FAULTS)


# --- how annotators answer --------------------------------------------------------------------


class Answers(NamedTuple):
    """How likely annotators are to be right, or to answer each class."""

    accuracy: Floats  # (m,)
    confusion: Floats | None = None  # (m, k, k): annotator, true class, class given


def answers_of(method: str, parameters: Parameters, places: Places) -> Answers:
    """Return how annotators answer under an aggregate, by their places in it; -1 is the mean."""
    found = parameters.of_annotators(places)
    known = parameters.accuracy[~np.isnan(parameters.accuracy)]
    accuracy = np.nan_to_num(found.accuracy, nan=float(known.mean()) if len(known) else 0.0)
    confusion = found.confusion
    if confusion is not None:
        silent = np.isnan(found.accuracy) & (places >= 0)
        mean = parameters.of_annotators(np.array([-1])).confusion
        assert mean is not None
        return Answers(accuracy, np.where(silent[:, None, None], mean, confusion))
    if method == MAJORITY_VOTE:
        # Every vote counts alike: one that is mostly wrong tells nothing.
        accuracy = np.maximum(accuracy, 1 / len(parameters.prior))
    return Answers(np.minimum(accuracy, MOST_ACCURACY))


def answers_by_agreement(
    agreement: Floats, likelihood: float, num_classes: int, places: Places
) -> Answers:
    """Return how annotators answer under an estimate, by their places in it; -1 is the mean.

    Annotator j agrees with others, who are right with probability ``l`` and else wrong in any way,
    with probability ``g_j = a_j l + (1 - a_j) l'``, ``l' = (1 - l) / (K - 1)``. So its accuracy is
    ``a_j = (g_j - l') / (l - l')``; never less than chance, at which its weight is next to nothing.
    """
    chance = 1 / num_classes
    other = (1 - likelihood) / (num_classes - 1)
    if likelihood > chance:
        accuracy = (agreement - other) / (likelihood - other)
    else:
        accuracy = np.full(len(agreement), np.nan)
    accuracy = np.clip(accuracy, chance, MOST_ACCURACY)
    known = accuracy[~np.isnan(accuracy)]
    # Where no vote can be checked by another, all are alike: halfway between chance and certainty.
    usual = float(known.mean()) if len(known) else (1 + chance) / 2
    found = np.append(np.nan_to_num(accuracy, nan=usual), usual)
    return Answers(found[places])


# --- what a vote tells ------------------------------------------------------------------------


def entropy(shares: Floats) -> Floats:
    """Return the entropy of each row of probabilities, in bits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log2(shares), 0.0)
    found: Floats = -terms.sum(axis=-1)
    return found


def expected_information(posterior: Floats, answers: Answers) -> Floats:
    """Return what a vote of each annotator is expected to tell of each example, in bits, (b, m).

    It is the mutual information of the example's class, with the posterior ``q``, and the vote
    ``l``: ``H(sum_k q_k p(l | k)) - sum_k q_k H(p(l | k))``. Each distinct annotator takes b k
    steps, or b k^2 with a confusion matrix.
    """
    num_classes = posterior.shape[1]
    gains = np.empty((len(posterior), len(answers.accuracy)))
    if answers.confusion is not None:
        for j, confusion in enumerate(answers.confusion):
            given = np.einsum("bk,kl->bl", posterior, confusion)
            gains[:, j] = entropy(given) - np.einsum("bk,k->b", posterior, entropy(confusion))
    else:
        coins, at = np.unique(answers.accuracy, return_inverse=True)
        for coin, right in enumerate(coins.tolist()):
            wrong = (1 - right) / (num_classes - 1)
            # The entropy of an answer is the same whatever the class.
            answer = entropy(np.array([right, *[wrong] * (num_classes - 1)]))
            given = posterior * (right - wrong) + wrong
            gains[:, at == coin] = (entropy(given) - answer)[:, np.newaxis]
    return np.maximum(gains, 0).round(GAIN_PLACES)


# --- what is known before the votes -----------------------------------------------------------


def mean_of_models(probs: ProbBlocks, rule: PoolRule) -> Floats:
    """Return the scaled probabilities of each row, the mean over models by their weights, (b, k).

    A row without probabilities is even over the classes.
    """
    num_classes = probs[0].shape[1]
    total = np.zeros((len(probs[0]), num_classes))
    for given, inverse, weight in zip(probs, rule.inverse, rule.model_weight, strict=True):
        found = np.asarray(given, dtype=np.float64)
        if inverse:
            logs = np.log(np.maximum(found, PROB_FLOOR)) * inverse
            found = np.exp(logs - logs.max(axis=1, keepdims=True))
        with np.errstate(invalid="ignore"):
            total += weight * found / found.sum(axis=1, keepdims=True)
    total[~np.isfinite(total).all(axis=1)] = 1
    shares: Floats = total / total.sum(axis=1, keepdims=True)
    return shares
