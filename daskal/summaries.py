"""What a run stores beside scores: ids, annotators, histograms, the next batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal import inputs, selection, store
from daskal.annotators import annotator_table
from daskal.api import annotator_places
from daskal.batches import write_batch
from daskal.kernels import Floats
from daskal.quality import annotator_index
from daskal.runinputs import RunInputs
from daskal.tallies import AnnotatorStatistics, LabeledTally, PoolTally
from daskal.weights import Estimate


def write_ids(root: Any, given: RunInputs) -> None:
    """Store the examples' ids where they are known."""
    for section, ids in given.ids.items():
        store.write_column(root[section], "example", ids, "example")


def annotator_columns(
    state: AnnotatorStatistics, labels: inputs.Labels, estimate: Estimate
) -> dict[str, np.ndarray[Any, Any]]:
    """The annotators with labels, in the order of their columns."""
    column = pd.RangeIndex(labels.num_annotators)
    table = annotator_table(state, estimate, column).sort_index()
    ids = annotator_index(labels, estimate.annotator_ids)
    places = np.array(annotator_places(estimate, labels), dtype=np.int64)[table.index]

    def known(values: Floats) -> Floats:
        return np.where(places < 0, np.nan, values[places])

    return {
        "annotator": ids.take(table.index.to_numpy()).to_numpy(),
        **{str(name): table[name].to_numpy() for name in table},
        "weight": known(estimate.final.annotator_weight),
        "agreement_with_annotators": known(estimate.agreement),
    }


def write_tables(
    root: Any,
    given: RunInputs,
    estimate: Estimate | None,
    labeled: LabeledTally | None,
    unlabeled: PoolTally | None,
    batch_size: int,
) -> None:
    """Write annotators, histograms and the next batch."""
    if labeled is not None:
        assert estimate is not None
        assert given.labels is not None
        columns = annotator_columns(labeled.annotators, given.labels, estimate)
        store.write_table(root, "annotators", columns, "annotator")
        given_class, consensus = np.divmod(labeled.classes.cells, estimate.num_classes)
        store.write_table(
            root,
            "classes",
            {"given": given_class, "consensus": consensus, "num_votes": labeled.classes.num},
            "cell",
        )
    histograms = {}
    if labeled is not None:
        histograms["labeled_score"] = labeled.scores.histogram
        histograms["consensus_quality_score"] = labeled.quality
    if unlabeled is not None:
        histograms["unlabeled_score"] = unlabeled.histogram
    store.write_table(root, "histograms", histograms, "bin")
    batch = selection.rank(
        batch_size,
        None if labeled is None else labeled.scores.smallest,
        None if unlabeled is None else unlabeled.smallest,
        None if labeled is None else labeled.bare,
    )
    write_batch(root, batch)
