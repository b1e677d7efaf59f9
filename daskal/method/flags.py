"""What is unusual in the data behind an estimate, in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from daskal.method.states import ConsensusStatistics, LabelStatistics
from daskal.method.temperature import TEMPERATURE_GRID
from daskal.method.weights import WEIGHT_FLOOR, ConsensusWeights, Draft
from daskal.text import listed

# Classes that a flag lists.
FIRST_CLASSES = 10


def quality_flags(
    draft: Draft,
    weights: ConsensusWeights,
    consensus: ConsensusStatistics,
    *,
    ensemble: bool,
) -> tuple[str, ...]:
    """Return what is unusual in the data, in words."""
    flags = [*flags_of_rows(draft.statistics)]
    if draft.statistics.num_multiple:
        flags += flags_of_temperature(draft)
        flags += flags_of_weights(weights, ensemble=ensemble)
        flags += flags_of_consensus(draft.statistics, consensus)
    return tuple(flags)


def flags_of_rows(statistics: LabelStatistics) -> Iterator[str]:
    """How the labels lie over rows and annotators."""
    for finding in statistics.findings.faults:
        yield (
            f"{finding.array}: {finding.num_rows:,} row(s) at fault, where the row "
            f"{finding.fault.text}"
        )
    unvoted = statistics.num_examples - statistics.num_labeled
    if unvoted:
        yield f"{unvoted:,} row(s) of the labels have no label: they are scored as the pool is"
    silent = int(np.count_nonzero(statistics.votes == 0))
    if silent:
        yield f"{silent:,} annotator(s) have no label and take no part"
    if not statistics.num_multiple:
        yield "every example has one label: temperature 1, all weights 1"
        return
    single = statistics.num_labeled - statistics.num_multiple
    if single:
        share = single / statistics.num_labeled
        yield f"{single:,} labelled example(s), {share:.1%}, have a single label"
    alone = int(np.count_nonzero((statistics.votes > 0) & (statistics.pairs == 0)))
    if alone:
        yield f"{alone:,} annotator(s) share no example with another: they get the mean"


def flags_of_temperature(draft: Draft) -> Iterator[str]:
    """What the fit of the temperature came to."""
    if draft.options.temperature != "fit" or draft.temperature is None:
        return
    # The last of the grid is compared, never chosen.
    least, most = (float(TEMPERATURE_GRID[at]) for at in (0, -2))
    for model, (temperature, flat) in enumerate(zip(draft.temperature, draft.flat, strict=True)):
        of_model = "" if len(draft.flat) == 1 else f" of model {model}"
        if flat:
            yield f"the temperature{of_model} has no influence on the loss: 1 is taken"
        elif temperature in (least, most):
            yield f"the temperature{of_model} lies at the end of its grid: {temperature:g}"


def flags_of_weights(weights: ConsensusWeights, *, ensemble: bool) -> Iterator[str]:
    """Annotators and models at their floor."""
    low = int(np.count_nonzero(weights.annotator_weight <= WEIGHT_FLOOR))
    if low:
        yield f"{low:,} annotator(s) weigh the least possible: no better than chance"
    models = np.flatnonzero(weights.model_error >= weights.class_error)
    for model in models.tolist():
        which = f"model {model}" if ensemble else "the model"
        yield f"{which} weighs the least possible: no better than the commonest class"


def flags_of_consensus(
    statistics: LabelStatistics, consensus: ConsensusStatistics
) -> Iterator[str]:
    """Classes that the consensus lost."""
    chosen = np.flatnonzero(consensus.consensus_counts)
    if len(chosen) == 1:
        yield f"all consensus labels of several votes are of one class, {chosen[0]}"
    gone = np.flatnonzero((consensus.consensus_counts == 0) & (statistics.class_counts > 0))
    if len(gone):
        yield (
            f"{len(gone):,} class(es) with votes are never the consensus of several votes: "
            f"{listed(gone.tolist(), most=FIRST_CLASSES)}"
        )
