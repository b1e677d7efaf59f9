"""What is unusual in the data behind an estimate, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from daskal.method.states import ConsensusStatistics, LabelStatistics
from daskal.method.temperature import TEMPERATURE_GRID
from daskal.method.values import Ints
from daskal.method.weights import WEIGHT_FLOOR, ConsensusWeights, Draft
from daskal.text import listed, plural

# How many classes a flag lists.
FIRST_CLASSES = 10


# A flag that asks this, as where a model is worth little, is a warning.
QUESTION = "are the rows of pred_probs in the order of labels?"


def quality_flags(
    draft: Draft,
    weights: ConsensusWeights,
    consensus: ConsensusStatistics,
    *,
    ensemble: bool,
    class_names: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Return what is unusual in the data, in words."""
    called = Classes(class_names)
    flags = [*flags_of_rows(draft.statistics, called)]
    if draft.statistics.num_multiple:
        flags += flags_of_temperature(draft)
        flags += flags_of_weights(weights, ensemble=ensemble)
        flags += flags_of_consensus(draft.statistics, consensus, called)
        flags += flags_of_models(draft, weights, consensus, ensemble=ensemble)
    return tuple(flags)


class Classes:
    """What classes are called: by their names where they have any, else by their codes."""

    def __init__(self, names: Sequence[str] | None) -> None:
        self.names = names

    def listed(self, codes: Ints) -> str:
        """Return the first few of some classes."""
        names = codes if self.names is None else [self.names[code] for code in codes.tolist()]
        return listed(names if self.names is None else map(repr, names), most=FIRST_CLASSES)


def flags_of_rows(statistics: LabelStatistics, called: Classes) -> Iterator[str]:
    """Yield what is unusual in how labels are spread over rows and annotators."""
    for finding in statistics.findings.faults:
        yield (
            f"{finding.array}: {plural(finding.num_rows, 'row')} at fault, where the row "
            f"{finding.fault.text}"
        )
    unvoted = statistics.num_examples - statistics.num_labeled
    if unvoted:
        has, are = ("has", "it is") if unvoted == 1 else ("have", "they are")
        yield f"{plural(unvoted, 'row')} of the labels {has} no label: {are} scored as the pool is"
    if statistics.num_gold:
        known = plural(statistics.num_gold, "example", "examples")
        yield f"the known class of {known} is held fixed"
    silent = int(np.count_nonzero(statistics.votes == 0))
    if silent:
        have = plural(silent, "annotator has", "annotators have")
        yield f"{have} no label and {'takes' if silent == 1 else 'take'} no part"
    absent = np.flatnonzero(statistics.class_counts == 0)
    if len(absent) and statistics.num_labeled:
        yield (
            f"{plural(len(absent), 'class has', 'classes have')} no vote at all: "
            f"{called.listed(absent)}. Did sparse votes lose their stored zeros, are labels "
            "numbered from 1, or did nobody choose them?"
        )
    if not statistics.num_multiple:
        yield "every example has one label: temperature 1, all weights 1"
        return
    single = statistics.num_labeled - statistics.num_multiple
    if single:
        share = single / statistics.num_labeled
        have = "has" if single == 1 else "have"
        yield f"{plural(single, 'labeled example')}, {share:.1%}, {have} a single label"
    alone = int(np.count_nonzero((statistics.votes > 0) & (statistics.pairs == 0)))
    if alone:
        yield (
            f"{plural(alone, 'annotator shares', 'annotators share')} no example with another: "
            f"{'it gets' if alone == 1 else 'they get'} the mean"
        )


def flags_of_temperature(draft: Draft) -> Iterator[str]:
    """Yield what is unusual in the fitted temperatures."""
    if draft.options.temperature != "fit" or draft.temperature is None:
        return
    # The last temperature of the grid is compared with, never chosen.
    least, most = (float(TEMPERATURE_GRID[at]) for at in (0, -2))
    for model, (temperature, flat) in enumerate(zip(draft.temperature, draft.flat, strict=True)):
        of_model = "" if len(draft.flat) == 1 else f" of model {model}"
        if flat:
            yield f"the temperature{of_model} has no influence on the loss: 1 is taken"
        elif temperature in (least, most):
            yield f"the temperature{of_model} lies at the end of its grid: {temperature:g}"


def flags_of_weights(weights: ConsensusWeights, *, ensemble: bool) -> Iterator[str]:
    """Yield notes on annotators and models whose weights are at their floor."""
    low = int(np.count_nonzero(weights.annotator_weight <= WEIGHT_FLOOR))
    if low:
        weigh = plural(low, "annotator weighs", "annotators weigh")
        yield f"{weigh} the least possible: no better than chance"
    models = np.flatnonzero(weights.model_error >= weights.class_error)
    for model in models.tolist():
        which = f"model {model}" if ensemble else "the model"
        yield f"{which} weighs the least possible: no better than the commonest class"


def flags_of_consensus(
    statistics: LabelStatistics, consensus: ConsensusStatistics, called: Classes
) -> Iterator[str]:
    """Yield notes on classes that the consensus lost."""
    chosen = np.flatnonzero(consensus.consensus_counts)
    if len(chosen) == 1:
        yield f"all consensus labels of several votes are of one class, {called.listed(chosen)}"
    gone = np.flatnonzero((consensus.consensus_counts == 0) & (statistics.class_counts > 0))
    if len(gone):
        yield (
            f"{plural(len(gone), 'class with votes is', 'classes with votes are')} never the "
            "consensus of several votes: "
            f"{called.listed(gone)}"
        )


def flags_of_models(
    draft: Draft, weights: ConsensusWeights, consensus: ConsensusStatistics, *, ensemble: bool
) -> Iterator[str]:
    """Yield notes on models that may be worthless, such as one whose rows are in another order.

    cleanlab's convention puts nearly every temperature at the end of the grid: there,
    only the weight shows it.
    """
    num_rows = draft.statistics.num_multiple
    fitted = draft.options.temperature == "fit" and draft.options.convention == "paper"
    # The other end of the grid sharpens probabilities: no worthless model ends there.
    end = float(TEMPERATURE_GRID[-2])
    for model, choices in enumerate(consensus.model_choices):
        signs = []
        if fitted and draft.temperature is not None and draft.temperature[model] == end:
            signs.append(f"its temperature, {end:g}, is the end of the grid")
        if weights.model_error[model] >= weights.class_error:
            signs.append("its weight is the least possible")
        if not signs:
            continue
        agreement = 1 - consensus.model_errors[model] / num_rows
        by_chance = int(choices @ consensus.consensus_counts) / num_rows**2
        yield (
            f"{f'model {model}' if ensemble else 'the model'} may be worthless: {QUESTION} "
            f"{' and '.join(signs).capitalize()}. It agrees with the consensus on {agreement:.1%} "
            f"of the examples with several labels, and would on {by_chance:.1%} if its rows were "
            "shuffled"
        )
