"""The estimate once all is known, with what is unusual in the data behind it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np

from daskal import calibration
from daskal.statistics import ConsensusStatistics, LabelStatistics
from daskal.weights import (
    WEIGHT_FLOOR,
    ConsensusWeights,
    Draft,
    Estimate,
    agreement_with_others,
    compared_places,
)

# Classes that a flag lists.
FIRST_CLASSES = 10


def finish(
    draft: Draft,
    majority: ConsensusWeights,
    final: ConsensusWeights,
    consensus: ConsensusStatistics,
    *,
    ensemble: bool,
    annotator_ids: tuple[Hashable, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Estimate:
    """The estimate, once the weights are known."""
    statistics = draft.statistics
    losses = None
    if draft.options.temperature == "fit" and statistics.num_multiple:
        curves = [model.losses for model in statistics.losses]
        unit = statistics.num_labeled * np.log(len(statistics.class_counts))
        losses = np.full((len(curves), len(calibration.PLACES)), np.nan)
        # What else is known depends on how rows were cut into blocks.
        for place in compared_places(curves):
            losses[:, place] = [curve[place] / unit for curve in curves]
    estimate = Estimate(
        options=draft.options,
        ensemble=ensemble,
        num_examples=statistics.num_examples,
        num_labeled=statistics.num_labeled,
        num_multiple=statistics.num_multiple,
        temperatures=draft.temperature,
        losses=losses,
        class_counts=statistics.class_counts.copy(),
        votes=statistics.votes.copy(),
        agreement=agreement_with_others(statistics),
        tie_agreement=draft.tie_break.agreement,
        majority=majority,
        final=final,
        flags=(),
        annotator_ids=annotator_ids,
        class_names=class_names,
    )
    return replace(estimate, flags=quality_flags(estimate, draft, consensus))


def quality_flags(
    estimate: Estimate, draft: Draft, consensus: ConsensusStatistics
) -> tuple[str, ...]:
    """What is unusual in the data, in words."""
    flags = [*flags_of_rows(estimate, draft.statistics)]
    if not estimate.single_label:
        flags += flags_of_temperature(draft)
        flags += flags_of_weights(estimate)
        flags += flags_of_consensus(estimate, consensus)
    return tuple(flags)


def flags_of_rows(estimate: Estimate, statistics: LabelStatistics) -> Iterator[str]:
    """How the labels lie over rows and annotators."""
    for array, fault, num, _ in statistics.findings.faults:
        yield f"{array}: {num:,} row(s) at fault, where the row {fault}"
    bare = statistics.num_examples - statistics.num_labeled
    if bare:
        yield f"{bare:,} row(s) of the labels have no label: they are scored as the pool is"
    silent = int(np.count_nonzero(estimate.votes == 0))
    if silent:
        yield f"{silent:,} annotator(s) have no label and take no part"
    if estimate.single_label:
        yield "every example has one label: temperature 1, all weights 1"
        return
    single = statistics.num_labeled - statistics.num_multiple
    if single:
        share = single / statistics.num_labeled
        yield f"{single:,} labelled example(s), {share:.1%}, have a single label"
    alone = int(np.count_nonzero((estimate.votes > 0) & (statistics.pairs == 0)))
    if alone:
        yield f"{alone:,} annotator(s) share no example with another: they get the mean"


def flags_of_temperature(draft: Draft) -> Iterator[str]:
    """What the fit of the temperature came to."""
    if draft.options.temperature != "fit" or draft.temperature is None:
        return
    # The last of the grid is compared, never chosen.
    least, most = (float(calibration.TEMPERATURE_GRID[at]) for at in (0, -2))
    for model, (temperature, flat) in enumerate(zip(draft.temperature, draft.flat, strict=True)):
        of_model = "" if len(draft.flat) == 1 else f" of model {model}"
        if flat:
            yield f"the temperature{of_model} has no influence on the loss: 1 is taken"
        elif temperature in (least, most):
            yield f"the temperature{of_model} lies at the end of its grid: {temperature:g}"


def flags_of_weights(estimate: Estimate) -> Iterator[str]:
    """Annotators and models at their floor."""
    low = int(np.count_nonzero(estimate.final.annotator_weight <= WEIGHT_FLOOR))
    if low:
        yield f"{low:,} annotator(s) weigh the least possible: no better than chance"
    models = np.flatnonzero(estimate.final.model_error >= estimate.final.class_error)
    for model in models.tolist():
        which = f"model {model}" if estimate.ensemble else "the model"
        yield f"{which} weighs the least possible: no better than the commonest class"


def flags_of_consensus(estimate: Estimate, consensus: ConsensusStatistics) -> Iterator[str]:
    """Classes that the consensus lost."""
    chosen = np.flatnonzero(consensus.consensus_counts)
    if len(chosen) == 1:
        yield f"all consensus labels of several votes are of one class, {chosen[0]}"
    gone = np.flatnonzero((consensus.consensus_counts == 0) & (estimate.class_counts > 0))
    if len(gone):
        listed = ", ".join(map(str, gone[:FIRST_CLASSES].tolist()))
        more = ", ..." if len(gone) > FIRST_CLASSES else ""
        yield (
            f"{len(gone):,} class(es) with votes are never the consensus of several votes: "
            f"{listed}{more}"
        )
