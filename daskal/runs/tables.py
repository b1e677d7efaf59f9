"""The next batch in a store, ids included, whatever kind they are and whichever pool has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal.api import selection
from daskal.api.selection import COLUMNS, LABELED, UNLABELED, add_ids, as_id_column
from daskal.inputs import arguments
from daskal.inputs.data import annotator_index, annotator_places
from daskal.method.annotators import annotator_table
from daskal.method.estimate import Estimate
from daskal.method.tallies import AnnotatorStatistics, LabeledTally, PoolTally
from daskal.method.values import Floats
from daskal.runs.inputs import RunInputs
from daskal.storage.tables import member, read_table, write_column, write_table


def section_ids(root: Any) -> dict[str, Any]:
    """The stored ids of each pool, None where it has none."""
    return {pool: member(root, f"{pool}/example") for pool in (LABELED, UNLABELED)}


def write_batch(root: Any, batch: pd.DataFrame) -> None:
    """Write a batch with the ids of its examples."""
    ids = section_ids(root)
    batch = add_ids(batch, ids[LABELED], ids[UNLABELED])
    columns = {str(name): batch[name].to_numpy() for name in batch}
    if "id" in columns:
        # An array has one type: where ids are of several, or some are unknown, they are text.
        values = columns["id"].tolist()
        kinds = {type(value) for value in values}
        if kinds != {int}:
            texts = ["" if pd.isna(value) else str(value) for value in values]
            columns["id"] = np.array(texts, dtype=object)
    write_table(root, "batch", columns, "rank")


def stored_batch(root: Any) -> pd.DataFrame:
    """The batch of a store, ids as the examples have them."""
    table = read_table(root, "batch", ("rank", "pool", "row", "score"))
    assert table is not None
    table = table[[name for name in COLUMNS if name in table]]
    table = table.sort_values("rank", ignore_index=True)
    if "id" in table:
        known = section_ids(root)
        numbers = {pool: ids is not None and ids.dtype.kind in "iu" for pool, ids in known.items()}
        values = [
            None if known[pool] is None else int(value) if numbers[pool] else value
            for pool, value in zip(table["pool"], table["id"].tolist(), strict=True)
        ]
        table["id"] = as_id_column(values)
    return table


def write_ids(root: Any, given: RunInputs) -> None:
    """Store the examples' ids where they are known."""
    for section, ids in given.ids.items():
        write_column(root[section], "example", ids, dimension_names=("example",))


def annotator_columns(
    state: AnnotatorStatistics, labels: arguments.Labels, estimate: Estimate
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
        assert given.labeled is not None
        columns = annotator_columns(labeled.annotators, given.labeled.labels, estimate)
        write_table(root, "annotators", columns, "annotator")
        given_class, consensus = np.divmod(labeled.classes.keys, estimate.num_classes)
        write_table(
            root,
            "classes",
            {"given": given_class, "consensus": consensus, "num_votes": labeled.classes.counts[0]},
            "cell",
        )
    histograms = {}
    if labeled is not None:
        histograms["labeled_score"] = labeled.scores.histogram
        histograms["consensus_quality_score"] = labeled.quality
    if unlabeled is not None:
        histograms["unlabeled_score"] = unlabeled.histogram
    write_table(root, "histograms", histograms, "bin")
    batch = selection.rank(
        batch_size,
        None if labeled is None else labeled.scores.smallest,
        None if unlabeled is None else unlabeled.smallest,
        None if labeled is None else labeled.without_votes,
    )
    write_batch(root, batch)
