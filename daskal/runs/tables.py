"""The next batch in a store, with ids of any kind, which some examples may lack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal.api.batches import (
    COLUMNS,
    LABELED,
    UNLABELED,
    add_ids,
    as_id_column,
    with_source,
)
from daskal.api.choosing import BESIDE_BATCH, rank
from daskal.inputs.data import annotator_index
from daskal.inputs.ids import StorableIds, StoredIds, from_texts, take_ids
from daskal.inputs.labels import Labels
from daskal.inputs.matching import find_annotators
from daskal.method.aggregates import VoteModel
from daskal.method.annotators import ANNOTATOR_COLUMNS, annotator_table, vote_table
from daskal.method.doubtful import DOUBTFUL_COLUMNS, DoubtfulLabels
from daskal.method.estimate import Estimate
from daskal.method.tallies import (
    AnnotatorStatistics,
    GoldCounts,
    LabeledTally,
    MultiLabelTally,
    PoolTally,
)
from daskal.method.values import Floats
from daskal.names.naming import plain_texts
from daskal.names.normal import WHOLE, as_index, key_of
from daskal.runs.inputs import Given, RunInputs
from daskal.storage.stores import update_attributes
from daskal.storage.tables import member, read_table, reading, write_column, write_table

# Attribute of stored ids whose texts stand for values of another kind.
ID_KIND = "daskal_kind"
# Columns of class codes, whose attribute ``classes`` names the classes.
CODE_COLUMNS = (
    "labeled/consensus_label",
    "doubtful_labels/consensus_label",
    "annotators/worst_class",
    "classes/given",
    "classes/consensus",
)


def section_ids(root: Any) -> dict[str, StoredIds | None]:
    """Return the stored ids of the labeled examples and of the pool, None where there are none."""
    found = {}
    for section in (LABELED, UNLABELED):
        array = member(root, f"{section}/example")
        kind = None if array is None else array.attrs.get(ID_KIND)
        found[section] = None if array is None else StoredIds(array, kind)
    return found


def write_batch(root: Any, batch: pd.DataFrame) -> None:
    """Write a batch with the ids of its examples."""
    ids = section_ids(root)
    batch = add_ids(batch, ids[LABELED], ids[UNLABELED])
    columns = {str(name): batch[name].to_numpy() for name in batch}
    if "id" in columns:
        columns["id"] = storable_ids(batch["id"])
    write_table(root, "batch", columns, "rank")


def storable_ids(ids: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return ids as an array of one type: text if they are of several, or some are unknown."""
    if ids.dtype.kind in "iu":
        return ids.to_numpy()
    known = ids.notna().to_numpy()
    texts = np.full(len(ids), "", dtype=object)
    texts[known] = plain_texts(as_index(ids[known].tolist()))
    return texts


def write_doubtful(root: Any, doubtful: DoubtfulLabels) -> None:
    """Write the labels of lowest quality, with the ids of their examples."""
    columns = dict(zip(DOUBTFUL_COLUMNS, doubtful.columns, strict=True))
    ids = section_ids(root)[LABELED]
    if ids is not None:
        # Stored ids are read at these rows only, in ascending order.
        order = np.argsort(columns["row"])
        texts = np.full(len(order), None, dtype=object)
        texts[order] = take_ids(ids, columns["row"][order]).astype(object)
        columns["id"] = storable_ids(as_id_column(texts.tolist()))
    write_table(root, "doubtful_labels", columns, "doubtful")


def stored_batch(root: Any) -> pd.DataFrame:
    """Return the batch of a store, its ids of the same kind as the examples' ids."""
    table = read_table(root, "batch", ("rank", "row", "score"))
    assert table is not None
    table = with_source(table)
    with reading(root, "batch"):
        if "source" not in table:
            raise ValueError("column source is missing")
    table = table[[name for name in COLUMNS if name in table]]
    table = table.sort_values("rank", ignore_index=True)
    if "id" in table:
        ids = np.full(len(table), None, dtype=object)
        for source, known in section_ids(root).items():
            at = np.flatnonzero(table["source"] == source)
            if known is not None:
                ids[at] = as_stored(table["id"].to_numpy()[at].tolist(), known)
        table["id"] = as_id_column(ids.tolist())
    return table


def stored_doubtful(root: Any) -> pd.DataFrame | None:
    """Return the labels of lowest quality, codes as they are; stores before 0.2 have none."""
    table = read_table(root, "doubtful_labels", DOUBTFUL_COLUMNS)
    known = section_ids(root)[LABELED]
    if table is None or known is None or "id" not in table:
        return table
    return table.assign(id=as_stored(table["id"].tolist(), known))


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


def write_ids(root: Any, given: Given) -> None:
    """Store the examples' known ids, and the kind of value that their texts stand for."""
    for section, ids in given.ids.items():
        storable = StorableIds(ids)
        kind = {} if storable.text_kind is None else {ID_KIND: storable.text_kind}
        write_column(
            root[section], "example", storable, dimension_names=("example",), attributes=kind
        )
    for section, rows in given.table_rows.items():
        write_column(root[section], "table_row", rows, dimension_names=("example",))


def annotator_columns(
    state: AnnotatorStatistics, labels: Labels, estimate: Estimate, gold: GoldCounts | None = None
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the annotators with labels, in the order of their columns."""
    column = pd.RangeIndex(labels.num_annotators)
    table = annotator_table(state, estimate, column, gold).sort_index()
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


def name_codes(root: Any, known: Estimate | VoteModel) -> None:
    """Put the classes' names beside every column of their codes, for readers of the store."""
    if known.named_classes is None:
        return
    for column in CODE_COLUMNS:
        update_attributes(root[column], {"classes": list(known.named_classes)})


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
        columns = annotator_columns(
            labeled.annotators, given.labeled.labels, estimate, labeled.gold
        )
        write_table(root, "annotators", with_kinds(columns), "annotator")
        write_classes(root, labeled, estimate.num_classes)
        write_doubtful(root, labeled.doubtful)
        name_codes(root, estimate)
    write_histograms(root, labeled, unlabeled)
    write_smallest(root, labeled, unlabeled, batch_size)


def write_votes_tables(
    root: Any,
    labels: Labels,
    aggregate: VoteModel,
    accuracy: Floats,
    tally: LabeledTally,
    batch_size: int,
) -> None:
    """Write annotators, histograms and the next batch of votes without a model."""
    columns = pd.RangeIndex(labels.num_annotators)
    table = vote_table(
        tally.annotators, accuracy, aggregate.num_classes, columns, tally.gold
    ).sort_index()
    ids = annotator_index(labels, aggregate.annotator_ids).take(table.index.to_numpy())
    values = {str(name): table[name].to_numpy() for name in table}
    annotators = with_kinds({"annotator": ids.to_numpy(), **values})
    write_table(root, "annotators", annotators, "annotator")
    write_classes(root, tally, aggregate.num_classes)
    write_doubtful(root, tally.doubtful)
    name_codes(root, aggregate)
    write_histograms(root, tally, None)
    write_smallest(root, tally, None, batch_size)


def write_classes(root: Any, tally: LabeledTally, num_classes: int) -> None:
    """Write the votes by the class given and the consensus."""
    given, consensus = np.divmod(tally.classes.keys, num_classes)
    columns = {"given": given, "consensus": consensus, "num_votes": tally.classes.counts[0]}
    write_table(root, "classes", columns, "cell")


def write_histograms(
    root: Any, labeled: LabeledTally | MultiLabelTally | None, unlabeled: PoolTally | None
) -> None:
    """Write the histograms of scores and of consensus quality."""
    histograms = {}
    if labeled is not None:
        histograms["labeled_score"] = labeled.scores.histogram
        histograms["consensus_quality_score"] = labeled.quality
    if unlabeled is not None:
        histograms["unlabeled_score"] = unlabeled.histogram
    write_table(root, "histograms", histograms, "bin")


def write_smallest(
    root: Any,
    labeled: LabeledTally | MultiLabelTally | None,
    unlabeled: PoolTally | None,
    batch_size: int,
) -> None:
    """Write the next batch."""
    batch = rank(
        batch_size,
        None if labeled is None else labeled.scores.smallest,
        None if unlabeled is None else unlabeled.smallest,
        None if labeled is None else labeled.without_votes,
    )
    write_batch(root, batch.drop(columns=list(BESIDE_BATCH)))
