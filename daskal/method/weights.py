"""From pass 1's statistics to an :class:`Estimate`: arithmetic on M and K numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from daskal.errors import InvalidDataError
from daskal.method.states import ConsensusStatistics, LabelStatistics
from daskal.method.temperature import choose_temperature, compared_places
from daskal.method.values import (
    Floats,
    Ints,
    Rule,
    TieBreak,
    VoteWeights,
    inverse_temperature,
)
from daskal.options import Options

# Least value of weights and of error rates.
WEIGHT_FLOOR = 1e-6


class ConsensusWeights(NamedTuple):
    """The weights that follow from one consensus."""

    consensus_likelihood: float
    class_error: float
    model_error: Floats  # (p,)
    model_weight: Floats  # (p,)
    annotator_weight: Floats  # (m,), NaN for an annotator without labels

    def for_kernels(self, num_classes: int) -> VoteWeights:
        """Return the weights for the kernels; an annotator without labels gets the mean."""
        likelihood = self.consensus_likelihood
        return VoteWeights(
            likelihood,
            # With a single class there are no others to share the rest.
            (1 - likelihood) / max(num_classes - 1, 1),
            self.model_weight,
            np.where(np.isnan(self.annotator_weight), self.mean_weight, self.annotator_weight),
        )

    @property
    def mean_weight(self) -> float:
        """Mean weight of the annotators with labels."""
        return mean_of_known(self.annotator_weight)


def ratio(numerator: Ints, denominator: Ints) -> Floats:
    """Return the quotient of counts, NaN where the divisor is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def mean_of_known(values: Floats) -> float:
    """Return the mean of all but NaN.

    Its bits do not depend on where NaN are, as those of ``nanmean`` do.
    """
    return float(np.mean(values[~np.isnan(values)]))


def impute_mean(values: Floats, given: Ints, fallback: float) -> Floats:
    """Return values with NaN replaced by their mean, for annotators that have labels."""
    known = values[~np.isnan(values)]
    mean = float(np.mean(known)) if len(known) else fallback
    return np.where(np.isnan(values) & (given > 0), mean, values)


def is_loss_known(statistics: LabelStatistics) -> bool:
    """Return whether every row's loss is known at all places on which the temperatures depend."""
    return all(
        statistics.fitted[place] == statistics.num_labeled
        for place in compared_places([model.losses for model in statistics.losses])
    )


# --- weights ----------------------------------------------------------------------------------


def consensus_weights(
    statistics: LabelStatistics, consensus: ConsensusStatistics
) -> ConsensusWeights:
    """Return CROWDLAB's weights for a consensus (arXiv 2210.06812, section 3)."""
    num_multiple = statistics.num_multiple
    shares = [
        count / num for num, count in enumerate(consensus.agreeing.tolist()) if num >= 2 and count
    ]
    likelihood = math.fsum(shares) / num_multiple
    others = num_multiple - int(consensus.consensus_counts.max())
    class_error = max(WEIGHT_FLOOR, others / num_multiple)
    agreement = agreement_with_others(statistics)
    annotator_weight = np.maximum(1 - (1 - agreement) / class_error, WEIGHT_FLOOR)
    model_error = consensus.model_errors / num_multiple
    per_row = math.sqrt(int(statistics.votes.sum()) / statistics.num_labeled)
    model_weight = np.maximum(1 - model_error / class_error, WEIGHT_FLOOR) * per_row
    return ConsensusWeights(likelihood, class_error, model_error, model_weight, annotator_weight)


def agreement_with_others(statistics: LabelStatistics) -> Floats:
    """Return the share of others' votes on an annotator's examples that agree with it, (m,)."""
    agreement = ratio(statistics.agreeing_pairs, statistics.pairs)
    return impute_mean(agreement, statistics.votes, fallback=0.0)


def equal_weights(statistics: LabelStatistics, num_models: int) -> ConsensusWeights:
    """Return the weights of single-label data: all 1."""
    nothing = np.full(num_models, np.nan)
    annotators = np.where(statistics.votes > 0, 1.0, np.nan)
    return ConsensusWeights(math.nan, math.nan, nothing, np.ones(num_models), annotators)


@dataclass(frozen=True)
class Draft:
    """What the first read gives: enough to take the majority vote of any row."""

    statistics: LabelStatistics
    temperature: Floats | None
    flat: tuple[bool, ...]
    options: Options

    @classmethod
    def from_statistics(cls, statistics: LabelStatistics, options: Options) -> Draft:
        """Fit the temperature, or take the one given."""
        num_models = len(statistics.losses)
        flat: tuple[bool, ...] = (False,) * num_models
        if statistics.num_labeled == 0:
            left_out = ", those at fault left out" if statistics.findings else ""
            raise InvalidDataError(
                "labels: expected at least one vote, got none in "
                f"{statistics.num_examples:,} rows{left_out}. Check how missing labels are coded: "
                "NaN in a float matrix, any negative number in an integer one."
            )
        if statistics.num_multiple == 0:
            return cls(statistics, np.ones(num_models), flat, options)
        if options.temperature is None:
            return cls(statistics, None, flat, options)
        if options.temperature == "fit":
            pairs = [
                choose_temperature(model.losses, undefined)
                for model, undefined in zip(
                    statistics.losses, statistics.undefined.tolist(), strict=True
                )
            ]
            flat = tuple(pair[1] for pair in pairs)
            return cls(statistics, np.array([pair[0] for pair in pairs]), flat, options)
        return cls(statistics, np.full(num_models, float(options.temperature)), flat, options)

    @property
    def tie_break(self) -> TieBreak:
        """What decides a tie in the majority vote of any row."""
        statistics = self.statistics
        agreement = ratio(statistics.untied_agreeing, statistics.untied)
        # If every row is tied, no annotator is known to be better than another.
        agreement = impute_mean(agreement, statistics.votes, fallback=1.0)
        return TieBreak(statistics.class_counts, agreement, self.options.random_state)

    def rule(self, majority: ConsensusWeights | None = None) -> Rule:
        """Return the rule that gives the majority vote or, given its weights, the best quality."""
        statistics, options = self.statistics, self.options
        num_classes = len(statistics.class_counts)
        return Rule(
            inverse_temperature(self.temperature, len(statistics.losses)),
            self.tie_break,
            majority.for_kernels(num_classes) if majority is not None else VoteWeights.unknown(),
            VoteWeights.unknown(),
            math.nan,
            options.consensus_method == "best_quality" and majority is not None,
            options.quality_method == "agreement",
            options.convention == "cleanlab",
            statistics.num_multiple == 0,
        )


# --- class thresholds -------------------------------------------------------------------------

# Least threshold of a class, and the threshold of classes without labels.
LEAST_THRESHOLD = 2e-6
ABSENT_THRESHOLD = 2.0


def class_thresholds(sums: Floats, num: Ints) -> Floats:
    """Return each class's threshold, from the summed confidence of its labels and their number."""
    means = sums / np.maximum(num, 1)
    return np.where(num > 0, np.maximum(means, LEAST_THRESHOLD), ABSENT_THRESHOLD)
