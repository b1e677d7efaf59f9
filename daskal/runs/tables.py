"""The next batch in a store, with ids of any kind, which some examples may lack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal.api import selection
from daskal.api.selection import COLUMNS, LABELED, UNLABELED, add_ids, as_id_column
from daskal.inputs.data import annotator_index
from daskal.inputs.ids import StorableIds, StoredIds, from_texts
from daskal.inputs.labels import Labels
from daskal.inputs.matching import find_annotators
from daskal.method.annotators import ANNOTATOR_COLUMNS, annotator_table
from daskal.method.estimate import Estimate
from daskal.method.tallies import AnnotatorStatistics, LabeledTally, PoolTally
from daskal.method.values import Floats
from daskal.names.naming import plain_texts
from daskal.names.normal import WHOLE, as_index, key_of
from daskal.runs.inputs import RunInputs
from daskal.storage.stores import update_attributes
from daskal.storage.tables import member, read_table, reading, write_column, write_table

# Attribute of stored ids whose texts stand for values of another kind.
ID_KIND = "daskal_kind"


def section_ids(root: Any) -> dict[str, StoredIds | None]:
    """Return the stored ids of the labeled examples and of the pool, None where there are none."""
    found = {}
    for pool in (LABELED, UNLABELED):
        array = member(root, f"{pool}/example")
        kind = None if array is None else array.attrs.get(ID_KIND)
        found[pool] = None if array is None else StoredIds(array, kind)
    return found


def write_batch(root: Any, batch: pd.DataFrame) -> None:
    """Write a batch with the ids of its examples."""
    ids = section_ids(root)
    batch = add_ids(batch, ids[LABELED], ids[UNLABELED])
    columns = {str(name): batch[name].to_numpy() for name in batch}
    if "id" in columns and columns["id"].dtype.kind not in "iu":
        # An array has one type: ids of several types, or of which some are unknown, become text.
        known = batch["id"].notna().to_numpy()
        texts = np.full(len(batch), "", dtype=object)
        texts[known] = plain_texts(as_index(batch["id"][known].tolist()))
        columns["id"] = texts
    write_table(root, "batch", columns, "rank")


def stored_batch(root: Any) -> pd.DataFrame:
    """Return the batch of a store, its ids of the same kind as the examples' ids."""
    table = read_table(root, "batch", ("rank", "pool", "row", "score"))
    assert table is not None
    table = table[[name for name in COLUMNS if name in table]]
    table = table.sort_values("rank", ignore_index=True)
    if "id" in table:
        ids = np.full(len(table), None, dtype=object)
        for pool, known in section_ids(root).items():
            at = np.flatnonzero(table["pool"] == pool)
            if known is not None:
                ids[at] = as_stored(table["id"].to_numpy()[at].tolist(), known)
        table["id"] = as_id_column(ids.tolist())
    return table


def as_stored(values: list[Any], known: StoredIds) -> list[Any]:
    """Return the ids of a table, in which numbers may be text, as the examples' own kind."""
    if known.array.dtype.kind in "iu":
        return [int(value) for value in values]
    if known.array.dtype.kind == "f":
        return [float(value) for value in values]
    return from_texts(values, known.kind)


# The kind of each annotator's id, where some are numbers and some text: a column has one type.
KIND_COLUMN = "annotator_kind"


def with_kinds(columns: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return columns of annotators, with the kind of each id where text alone would not tell it."""
    ids = columns["annotator"].tolist()
    kinds = [key_of(value)[0] for value in ids]
    if columns["annotator"].dtype != object or WHOLE not in kinds:
        return columns
    texts = np.array(plain_texts(as_index(ids)), dtype=object)
    return {**columns, "annotator": texts, KIND_COLUMN: np.array(kinds, dtype=object)}


def stored_annotators(root: Any) -> pd.DataFrame | None:
    """Return the annotators of a store, their ids of the kind they were; None where none are."""
    table = read_table(root, "annotators", ("annotator", *ANNOTATOR_COLUMNS))
    if table is None or KIND_COLUMN not in table:
        return table
    pairs = zip(table["annotator"], table[KIND_COLUMN], strict=True)
    with reading(root, "annotators"):
        ids = [int(text) if kind == WHOLE else text for text, kind in pairs]
    table["annotator"] = pd.Series(ids, dtype=object)
    return table.drop(columns=KIND_COLUMN)


def write_ids(root: Any, given: RunInputs) -> None:
    """Store the examples' known ids, and the kind of value that their texts stand for."""
    for section, ids in given.ids.items():
        storable = StorableIds(ids)
        kind = {} if storable.text_kind is None else {ID_KIND: storable.text_kind}
        write_column(
            root[section], "example", storable, dimension_names=("example",), attributes=kind
        )


def annotator_columns(
    state: AnnotatorStatistics, labels: Labels, estimate: Estimate
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the annotators with labels, in the order of their columns."""
    column = pd.RangeIndex(labels.num_annotators)
    table = annotator_table(state, estimate, column).sort_index()
    ids = annotator_index(labels, estimate.annotator_ids)
    places = find_annotators(estimate, labels).places[table.index]

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
        if estimate.named_classes is not None:
            # The names of the class codes, for readers of the store.
            column = root["labeled/consensus_label"]
            update_attributes(column, {"classes": list(estimate.named_classes)})
        assert given.labeled is not None
        columns = annotator_columns(labeled.annotators, given.labeled.labels, estimate)
        write_table(root, "annotators", with_kinds(columns), "annotator")
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
