"""What a run stores beside scores: ids, annotators, histograms, the next batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal import selection, store
from daskal.annotators import annotator_table
from daskal.batches import write_batch
from daskal.runinputs import RunInputs
from daskal.tallies import LabeledTally, PoolTally
from daskal.weights import Estimate


def write_ids(root: Any, given: RunInputs) -> None:
    """Store the examples' ids where they are known."""
    for section, ids in given.ids.items():
        store.write_column(root[section], "example", ids, "example")


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
        known = given.labels.annotator_ids
        ids = pd.RangeIndex(given.labels.num_annotators) if known is None else pd.Index(known)
        table = annotator_table(labeled.annotators, estimate, ids).sort_index(kind="stable")
        weight = estimate.annotator_weight
        agreement = estimate.agreement_with_annotators
        columns = {
            "annotator": table.index.to_numpy(),
            **{str(name): table[name].to_numpy() for name in table},
            "weight": weight.reindex(table.index).to_numpy(),
            "agreement_with_annotators": agreement.reindex(table.index).to_numpy(),
        }
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
