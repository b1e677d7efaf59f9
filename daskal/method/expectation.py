"""Votes without a model: what an iteration counts, in fixed point, and the parameters that follow.

The model is Dawid and Skene's (1979): example i has a true class k with probability ``p_k``, and
annotator j answers l with probability ``pi_jkl``. With one coin for each annotator, ``pi_jkl`` is
``s_j`` for the true class and ``(1 - s_j) / (K - 1)`` for each other.

An iteration is one pass over the votes, which finds the posterior T_ik of every example and sums
it; all sums are of whole numbers, in units so fine that none can overflow. Logarithms are to base
two, and no function of the C library is used, so that the bits are the same on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from daskal.method.findings import Findings
from daskal.method.merging import Merging, add_padded
from daskal.method.tallies import AnnotatorStatistics, GoldCounts
from daskal.method.values import Floats, Ints

METHODS = ("dawid_skene", "one_coin", "majority_vote")
DAWID_SKENE, ONE_COIN, MAJORITY_VOTE = METHODS

# Sums stay below 2**62, so that one more rounding of each term is no matter.
SUM_BITS = 62
# No unit is finer than the last bit of 1.
MOST_BITS = 52
# Bits of the least logarithm of a probability: none counts as less than 2**-64.
LEAST_LOG_BITS = 6
LEAST_PROBABILITY = 2.0 ** -(2**LEAST_LOG_BITS)
# Masses, class shares and coins count as no less than this, so that no vote rules a class out for
# good.
FLOOR = 1e-10
LN2 = 0.6931471805599453


@dataclass(frozen=True)
class VoteCounts(Merging):
    """What the first read of the votes counts.

    Attributes
    ----------
    num_examples, num_labeled, num_multiple : int
        Rows, rows with a vote, rows with at least two.
    num_gold : int
        Rows with a vote whose class is known.
    votes : (m,) int64
        Votes of each annotator.
    class_counts : (k,) int64
        Votes for each class, up to the last one that occurs.
    gold_counts : (k,) int64
        Known classes, up to the last one that occurs.
    findings : Findings
    """

    num_examples: int
    num_labeled: int
    num_multiple: int
    num_gold: int
    votes: Ints
    class_counts: Ints = field(metadata={"merge": add_padded})
    gold_counts: Ints = field(metadata={"merge": add_padded})
    findings: Findings

    @property
    def num_votes(self) -> int:
        """Votes in all."""
        return int(self.votes.sum())


@dataclass(frozen=True)
class JudgedVotes(Merging):
    """How votes stand to the consensus, and to known classes where there are any."""

    annotators: AnnotatorStatistics
    gold: GoldCounts | None
    findings: Findings


class Units(NamedTuple):
    """The bits behind the point of each sum: the most with which none can overflow."""

    prior: int
    cells: int
    likelihood: int

    @classmethod
    def from_counts(cls, counts: VoteCounts) -> Units:
        """Return the units for data of some size, however it is cut."""

        def bits(most: int) -> int:
            return min(SUM_BITS - most.bit_length(), MOST_BITS)

        return cls(
            prior=bits(counts.num_labeled),
            cells=bits(int(counts.votes.max(initial=0))),
            likelihood=bits((counts.num_votes + counts.num_labeled) << LEAST_LOG_BITS),
        )


@dataclass(frozen=True)
class ExpectationSums(Merging):
    """The posterior of every example with votes, summed.

    Attributes
    ----------
    num_rows : int
        Examples with votes.
    prior : (k,) int64
        Posterior of each class.
    cells : (m, k, k) or (m,) int64
        Of each annotator, the posterior by the class given and the true class; or, with one coin,
        that of the classes given.
    likelihood : int
        Logarithms of the examples' likelihoods, to base two.
    """

    num_rows: int
    prior: Ints
    cells: Ints
    likelihood: int


class Parameters(NamedTuple):
    """What votes are weighed by."""

    prior: Floats  # (k,)
    confusion: Floats | None  # (m, k, k): annotator, true class, class given; None with one coin
    accuracy: Floats  # (m,) mean posterior of the classes given, NaN without votes

    def of_annotators(self, places: Ints) -> Parameters:
        """Return the parameters of other annotators, by their places; -1 gets the mean."""
        known = ~np.isnan(self.accuracy)
        confusion = self.confusion
        if confusion is not None:
            mean = np.zeros_like(confusion[0])
            for annotator in np.flatnonzero(known).tolist():
                mean += confusion[annotator]
            mean /= max(np.count_nonzero(known), 1)
            confusion = np.where((places < 0)[:, None, None], mean, confusion[places])
        accuracy = np.where(places < 0, np.nan, self.accuracy[places])
        return Parameters(self.prior, confusion, accuracy)


# What weighs a vote: nothing, so that shares of votes are the posterior; the annotator's coin; or
# its confusion matrix.
SHARES, COINS, CONFUSION = range(3)


class LogParameters(NamedTuple):
    """Parameters as kernels take them: logarithms to base two, flat and with room behind."""

    form: int
    num_annotators: int
    num_classes: int
    prior: Floats  # of k classes; with shares of votes no logarithms
    # (m, k, k): annotator, class given, true class; or with coins (m, 2): right, wrong
    table: Floats


def from_units(sums: Ints, bits: int) -> Floats:
    """Return sums as floats."""
    values: Floats = np.ldexp(sums.astype(np.float64), -bits)
    return values


def maximise(sums: ExpectationSums, units: Units, votes: Ints) -> Parameters:
    """Return the parameters of greatest likelihood, given the sums of an iteration."""
    prior = from_units(sums.prior, units.prior) / sums.num_rows
    masses = from_units(sums.cells, units.cells)
    if masses.ndim == 1:
        with np.errstate(invalid="ignore"):
            # Rounded sums may be a little above their votes.
            return Parameters(prior, None, np.minimum(masses / votes, 1.0))
    right = np.zeros(len(masses))
    # One after the other, for NumPy's sums go in an order that depends on the processor.
    for label in range(len(prior)):
        right += masses[:, label, label]
    with np.errstate(invalid="ignore"):
        return Parameters(prior, confusion_of(masses), np.minimum(right / votes, 1.0))


def confusion_of(masses: Floats) -> Floats:
    """Return ``pi_jkl``, (m, k, k), of masses by annotator, class given and true class.

    A class that an annotator never gave has probability 0. Where an annotator has met no example of
    a class, all classes that it gave are alike.
    """
    given = masses.max(axis=2) > 0
    masses = np.where(given[:, :, np.newaxis], np.maximum(masses, FLOOR), 0.0)
    total = np.zeros_like(masses[:, 0])
    for label in range(masses.shape[1]):
        total += masses[:, label]
    with np.errstate(invalid="ignore"):
        shares = masses / total[:, np.newaxis]
    return np.ascontiguousarray(np.nan_to_num(shares, nan=0.0).transpose(0, 2, 1))


def is_converged(before: int | None, now: int, num_votes: int, tolerance: float, bits: int) -> bool:
    """Return whether the likelihood has risen by less than the tolerance, in nats a vote."""
    if before is None:
        return False
    return in_nats(now - before, bits) < tolerance * num_votes


def in_nats(likelihood: int, bits: int) -> float:
    """Return a sum of logarithms to base two as a natural one."""
    return float(np.ldexp(float(likelihood), -bits)) * LN2


def sums_bytes(method: str, num_annotators: int, num_classes: int) -> int:
    """Return the bytes of the sums of an iteration."""
    cells = num_annotators * (num_classes**2 if method == DAWID_SKENE else 1)
    return 8 * (cells + num_classes)
