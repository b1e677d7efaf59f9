"""How many labels are good enough, and how many votes would lift the others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskal.method.aggregates import VoteModel
from daskal.method.estimate import Estimate
from daskal.method.expectation import MAJORITY_VOTE
from daskal.method.values import Floats, Ints

# Qualities that somebody may stop at. All are edges of the histogram's bins.
TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Cost(NamedTuple):
    """What one quality takes."""

    quality: float
    num_above: int
    num_below: int
    votes: int | None  # None where no number of votes would do


class Sharing(NamedTuple):
    """A quality that is a mean: each vote that agrees adds ``most`` to it, by its weight."""

    weight: float  # of all that the quality rests on, in votes of the mean weight
    most: float

    def votes(self, quality: Floats, target: float) -> Floats:
        """Return how many votes lift each quality to the target, all of which agree.

        With n votes, ``(weight Q + n most) / (weight + n)`` reaches the target.
        """
        if self.most <= target:
            return np.full(len(quality), np.inf)
        return self.weight * (target - quality) / (self.most - target)


class Odds(NamedTuple):
    """A quality that is a posterior: each vote that agrees multiplies its odds."""

    factor: float

    def votes(self, quality: Floats, target: float) -> Floats:
        """Return how many votes lift each quality to the target, all of which agree."""
        if self.factor <= 1:
            return np.full(len(quality), np.inf)
        rise = np.log(target / (1 - target)) - np.log(quality / (1 - quality))
        return rise / np.log(self.factor)


def rise_of(known: Estimate | VoteModel) -> Sharing | Odds | None:
    """Return how votes lift a quality, on average; None where it rests on no votes.

    An annotator is taken to be the mean one, and an example to have as many votes as the mean.
    """
    if not known.num_labeled:
        return None
    num_votes = known.num_annotations / known.num_labeled
    if isinstance(known, VoteModel):
        if known.method == MAJORITY_VOTE:
            return Sharing(num_votes, 1.0)
        right = float(np.nanmean(known.accuracy))
        return Odds(right * (known.num_classes - 1) / max(1 - right, np.finfo(float).eps))
    if not known.num_multiple:
        return None
    if known.options.quality_method == "agreement":
        return Sharing(num_votes, 1.0)
    weights = known.final
    models = float(weights.model_weight.sum()) / weights.mean_weight
    return Sharing(models + num_votes, weights.consensus_likelihood)


def cost_curve(counts: Ints, known: Estimate | VoteModel) -> list[Cost]:
    """Return what each quality takes, from a histogram of qualities between 0 and 1.

    The votes are the fewest: all of them agree with the consensus. Each example below a quality
    takes a whole number, and counts with the middle of its bin.
    """
    rise = rise_of(known)
    if rise is None:
        return []
    middles = (np.arange(len(counts)) + 0.5) / len(counts)
    found = []
    for target in TARGETS:
        end = round(target * len(counts))
        below = counts[:end]
        needed = np.ceil(rise.votes(middles[:end], target)[below > 0])
        votes = float((needed * below[below > 0]).sum())
        found.append(
            Cost(
                target,
                int(counts[end:].sum()),
                int(below.sum()),
                int(votes) if np.isfinite(votes) else None,
            )
        )
    return found
