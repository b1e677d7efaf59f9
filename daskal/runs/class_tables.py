"""The tables of a run where an example may have several classes: annotators and classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal.api.class_quality import over_all_classes, over_classes, stats_by_class
from daskal.inputs.data import annotator_index
from daskal.inputs.labels import Labels
from daskal.inputs.matching import find_annotators
from daskal.method.findings import Findings
from daskal.method.multi_label import MultiLabelEstimate
from daskal.method.states import ClassStates
from daskal.method.tallies import MultiLabelTally, PoolTally
from daskal.runs.inputs import RunInputs
from daskal.runs.tables import with_kinds, write_histograms, write_smallest
from daskal.storage.stores import update_attributes
from daskal.storage.tables import write_table

# Columns that name a class by its code.
CODE_COLUMNS = ("labeled/consensus_labels", "annotators/worst_class", "class_stats/class")


def annotator_columns(
    tally: MultiLabelTally, labels: Labels, estimate: MultiLabelEstimate
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the annotators with votes, in the order of their columns; means over classes."""
    states = tuple(None if one is None else one.annotators for one in tally.by_class)
    column = pd.RangeIndex(labels.num_annotators)
    by_class = stats_by_class(ClassStates(states, Findings()), estimate, column)
    table = over_all_classes(by_class, estimate, column, tally.asked, "mean").sort_index()
    if estimate.named_classes is not None:
        table["worst_class"] = table["worst_class"].cat.codes.astype(np.int64)
    places = find_annotators(estimate, labels).places[table.index]

    def known(values: pd.DataFrame) -> np.ndarray[Any, Any]:
        means = over_classes(values.to_numpy(), "mean")
        return np.where(places < 0, np.nan, means[places])

    ids = annotator_index(labels, estimate.annotator_ids)
    return {
        "annotator": ids.take(table.index.to_numpy()).to_numpy(),
        **{str(name): table[name].to_numpy() for name in table},
        "weight": known(estimate.annotator_weight),
        "agreement_with_annotators": known(estimate.agreement_with_annotators),
    }


def class_columns(
    tally: MultiLabelTally, estimate: MultiLabelEstimate
) -> dict[str, np.ndarray[Any, Any]]:
    """Return what is known of each class, by its code; NaN for one without votes."""
    cells = np.zeros((len(tally.by_class), 4), dtype=np.int64)
    num_consensus = np.zeros(len(cells), dtype=np.int64)
    for k, one in enumerate(tally.by_class):
        if one is not None:
            cells[k, one.votes.keys] = one.votes.counts[0]
            num_consensus[k] = one.num_consensus
    absent, missed, invented, present = cells.T
    models = estimate.model_weight, estimate.temperature
    weight, temperature = (
        np.asarray(values, dtype=np.float64).reshape(len(cells), -1).mean(axis=1)
        for values in models
    )
    with np.errstate(invalid="ignore"):
        return {
            "class": np.arange(len(cells)),
            "agreement": (absent + present) / cells.sum(axis=1),
            "agreement_where_present": present / (present + missed),
            "num_votes": cells.sum(axis=1),
            "num_chosen": invented + present,
            "num_consensus": num_consensus,
            "model_weight": weight,
            "temperature": temperature,
        }


def write_class_tables(
    root: Any,
    given: RunInputs,
    estimate: MultiLabelEstimate | None,
    labeled: MultiLabelTally | None,
    unlabeled: PoolTally | None,
    batch_size: int,
) -> None:
    """Write annotators, classes, histograms and the next batch."""
    if labeled is not None:
        assert estimate is not None
        assert given.labeled is not None
        columns = annotator_columns(labeled, given.labeled.labels, estimate)
        write_table(root, "annotators", with_kinds(columns), "annotator")
        write_table(root, "class_stats", class_columns(labeled, estimate), "class")
        if estimate.named_classes is not None:
            for column in CODE_COLUMNS:
                update_attributes(root[column], {"classes": list(estimate.named_classes)})
    write_histograms(root, labeled, unlabeled)
    write_smallest(root, labeled, unlabeled, batch_size)
