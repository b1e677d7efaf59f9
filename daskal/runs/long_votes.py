"""Votes in long format and one table of probabilities, matched by id.

Rows with votes are the labeled ones, the others the pool. The votes are surveyed first, which tells
the labeled rows; they are imported into the result store
once it has begun, as sparse votes on the labeled rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from dask.base import tokenize
from numpy.typing import NDArray

from daskal.engine.progress import ProgressCallback
from daskal.errors import InputError, InvalidDataError
from daskal.importing.alignment import Labels as LabelCodes
from daskal.importing.alignment import (
    Voted,
    find_voted,
    resolve_labels,
    sorted_ids,
    unknown_tasks,
)
from daskal.importing.files import Source as VotesSource
from daskal.importing.files import open_votes
from daskal.importing.importer import append_votes, check_end, check_survey, survey_votes
from daskal.importing.tasks import Ids, as_ids
from daskal.importing.votes_store import CHUNK, VotesStore
from daskal.inputs.data import LabeledData, join_labeled, pool_of
from daskal.inputs.fingerprint import Identity
from daskal.inputs.ids import PickedIds, RowIds
from daskal.inputs.labels import Labels, open_labels
from daskal.inputs.opened import with_columns
from daskal.inputs.picked import pick_rows
from daskal.inputs.probabilities import Probs, open_probs
from daskal.inputs.readers import GivenRowsReader
from daskal.inputs.sources import Source, cut_nothing
from daskal.names.naming import PLAIN_NUMBER, class_texts, in_class_order
from daskal.names.normal import as_index
from daskal.options import Storage, check_choice
from daskal.runs.inputs import RunInputs
from daskal.storage.locations import storage_errors
from daskal.storage.redaction import redacted
from daskal.text import plural

UNKNOWN_TASKS = ("raise", "ignore")
# Group of the result store that holds the votes.
VOTES = "matched_votes"
# Bytes of a vote, its annotator and its class, and of the offset of a row.
VOTE_BYTES, OFFSET_BYTES = 4 + 4, 8


class VoteColumns(NamedTuple):
    """The columns of votes in long format."""

    task: str = "task"
    annotator: str = "annotator"
    label: str = "label"


@dataclass(frozen=True)
class LongVotes:
    """Votes that have been surveyed, and the table of probabilities that they are matched with."""

    source: VotesSource
    probs: Probs
    ids: pd.Index
    voted: Voted
    annotators: pa.Array
    codes: LabelCodes
    id_column: str | None

    @property
    def num_votes(self) -> int:
        """Votes on rows of the table."""
        return int(self.voted.counts.sum())

    def identity(self) -> Identity:
        """Return what identifies the votes: where they are, and which rows have how many."""
        origin = self.source.origin
        given = origin if isinstance(origin, list) else []
        return {
            "files": [redacted(str(path)) for path in given] or self.source.where,
            "columns": list(self.source.columns),
            "votes": self.num_votes,
            "rows": tokenize(self.voted.places, self.voted.counts),
            "annotators": tokenize(self.annotators.to_pylist()),
            "id_column": self.id_column,
        }

    def planned(self) -> RunInputs:
        """Return the inputs of the run, as if the votes had been imported already."""
        num_rows, num_annotators = len(self.voted.places), len(self.annotators)
        row_bytes = OFFSET_BYTES + -(-self.num_votes * VOTE_BYTES // num_rows)
        source = Source(
            name="labels",
            kind="stored",
            shape=(num_rows, num_annotators),
            dtype=np.dtype(np.int32),
            row_axis=0,
            row_bytes=row_bytes,
            reader=GivenRowsReader("labels", num_annotators),
            cut=cut_nothing,
            identity=self.identity,
            chunk_bytes=CHUNK * VOTE_BYTES // 2,
            in_flight_bytes=CHUNK * VOTE_BYTES,
            is_sparse=True,
            is_compressed=True,
        )
        names = self.codes.names
        labeled_ids = self.ids.take(self.voted.places)
        labels = Labels(
            source,
            num_rows,
            num_annotators,
            labeled_ids,
            tuple(self.annotators.to_pylist()),
            None,
            None if names is None else tuple(names),
        )
        return sections_of_table(labels, self.probs, self.ids, self.voted.places)

    def imported(
        self,
        given: RunInputs,
        path: str,
        storage_options: Storage,
        progress: ProgressCallback | None,
        *,
        on_duplicate: str,
    ) -> RunInputs:
        """Return the planned inputs with the votes from the result store, written if need be."""
        store = VotesStore.under(f"{path}/{VOTES}", dict(storage_options or {}))
        with storage_errors("import votes into", path, storage_options):
            if not store.is_finished():
                self.write(store, progress, on_duplicate)
        labels = open_labels(store.url, storage_options)
        assert given.labeled is not None
        return replace(given, labeled=with_source(given.labeled, labels.source))

    def write(
        self, store: VotesStore, progress: ProgressCallback | None, on_duplicate: str
    ) -> None:
        """Write the votes into a store."""
        codes, voted = self.codes, self.voted
        store.remove()
        store.create(
            num_votes=self.num_votes,
            num_classes=codes.num_classes,
            tasks=voted.ids,
            annotators=self.annotators,
        )
        end = append_votes(
            self.source,
            store,
            codes,
            voted.counts,
            self.num_votes,
            on_duplicate,
            progress,
            skip_unknown=voted.num_unknown > 0,
        )
        check_end(end, store, len(voted.ids), self.num_votes, on_duplicate)
        store.finish(
            shape=(len(voted.ids), len(self.annotators)),
            num_classes=codes.num_classes,
            classes=None if codes.names is None else list(codes.names),
        )


def with_source(labeled: LabeledData, source: Source) -> LabeledData:
    """Return labeled data whose labels are read from elsewhere, in the same blocks."""
    blocks = replace(labeled.blocks, sources=(source, *labeled.blocks.sources[1:]))
    return replace(labeled, labels=labeled.labels._replace(source=source), blocks=blocks)


def replace_name(probs: Probs, name: str) -> Probs:
    """Return probabilities that errors call by another name."""
    sources = tuple(
        replace(source, name=source.name.replace("pred_probs", name, 1)) for source in probs.sources
    )
    return probs._replace(sources=sources)


def rows_of_probs(probs: Probs, rows: NDArray[np.int64], ids: RowIds) -> Probs:
    """Return the probabilities of some rows."""
    sources = tuple(pick_rows(source, rows) for source in probs.sources)
    return probs._replace(
        sources=sources, num_rows=len(rows), row_ids=ids, template=None, numbered=False
    )


def sections_of_table(
    labels: Labels,
    probs: Probs,
    ids: pd.Index,
    places: NDArray[np.int64],
    *,
    multi_label: bool = False,
) -> RunInputs:
    """Return the rows of a table that have labels, at some places, and the others as the pool."""
    labeled_ids = ids.take(places)
    labeled = join_labeled(labels, rows_of_probs(probs, places, labeled_ids), uniform=True)
    rows = {"labeled": places}
    known: dict[str, RowIds] = {"labeled": labeled_ids}
    rest = np.delete(np.arange(probs.num_rows), places)
    pool = None
    if len(rest):
        rows["unlabeled"], known["unlabeled"] = rest, PickedIds(ids, rest)
        named = replace_name(probs, "pred_probs_unlabeled")
        pool = pool_of(rows_of_probs(named, rest, known["unlabeled"]), uniform=True)
    return RunInputs.joined(labeled, pool, known, rows, multi_label=multi_label)


# --- opening ----------------------------------------------------------------------------------


def open_long_votes(
    votes: Any,
    pred_probs: Any,
    storage_options: Storage,
    *,
    columns: VoteColumns,
    id_column: str | None,
    class_columns: Sequence[str] | None,
    unknown: str,
    progress: ProgressCallback | None = None,
) -> LongVotes:
    """Return votes matched by id with the rows of a table of probabilities; reads the votes once.

    Raises
    ------
    InputError
        If the table has no ids, or lacks tasks of the votes.
    InvalidDataError
        If votes are at fault, or their labels are no classes of the table.
    """
    check_choice("unknown_tasks", unknown, UNKNOWN_TASKS)
    table = with_columns(pred_probs, id_column, class_columns)
    probs = open_probs("pred_probs", table, storage_options)
    ids = ids_of_table(probs)
    source = open_vote_source(votes, columns, id_column, storage_options)
    with storage_errors("read votes from", source.where, storage_options):
        survey = survey_votes(source, progress)
    check_survey(survey, source)
    task, _, label = source.columns
    voted = find_voted(survey.task, ids, task, untyped=source.untyped, of="pred_probs")
    if (voted.num_unknown and unknown == "raise") or not len(voted.places):
        unmatched = unknown_tasks(survey.task, ids, task, untyped=source.untyped, of="pred_probs")
        raise not_in_table(unmatched, ids.values[0].as_py(), len(ids.values), voted.places)
    codes = resolve_labels(
        survey.label,
        classes_of_table(probs),
        label,
        untyped=source.untyped,
        categories=source.label_order,
        advice="Correct or remove those votes, or add their classes to pred_probs.",
    )
    if probs.column_ids is None:
        codes = replace(codes, names=None)
    people = sorted_ids(survey.annotator, untyped=source.untyped)[0]
    return LongVotes(source, probs, index_of_ids(ids.values), voted, people, codes, id_column)


def not_in_table(
    unmatched: str, first: Any, num_ids: int, matched: NDArray[np.int64]
) -> InvalidDataError:
    """Return the error for votes on tasks that the table lacks, which ``unmatched`` tells."""
    return InvalidDataError(
        f"votes: expected every task to be an id of pred_probs, but its {plural(num_ids, 'id')} "
        f"(the first of which is {first!r}) lack {unmatched}.",
        advice="Check that both columns hold the same ids, or leave those votes out with "
        "{unknown_tasks='ignore'}."
        if len(matched)
        else "Check that both columns hold the same ids.",
    )


def index_of_ids(values: pa.Array) -> pd.Index:
    """Return ids as an index, numbers as NumPy's."""
    return pd.Index(values.to_numpy()) if pa.types.is_integer(values.type) else as_index(values)


def open_vote_source(
    votes: Any, columns: VoteColumns, id_column: str | None, storage_options: Storage
) -> VotesSource:
    """Return opened votes; their tasks may be in a column that is called like that of the ids."""
    try:
        return open_votes(votes, columns, storage_options)
    except InputError:
        if id_column is None or columns.task != VoteColumns().task or id_column == columns.task:
            raise
        try:
            return open_votes(votes, columns._replace(task=id_column), storage_options)
        except InputError:
            pass
        raise


def ids_of_table(probs: Probs) -> Ids:
    """Return the ids of all rows of the table, each of which occurs once."""
    if probs.row_ids is None:
        raise InputError(
            "pred_probs: expected ids of its rows, which votes= are matched by, got none.",
            advice="Name their column with {id_column=}, or pass a DataFrame whose index they are.",
        )
    return Ids(as_ids(probs.row_ids[:], "the ids of pred_probs"))


def classes_of_table(probs: Probs) -> tuple[str, ...]:
    """Return the names of the classes in the order of their codes, numbers by value."""
    if probs.column_ids is None:
        return tuple(map(str, range(probs.num_classes)))
    texts = class_texts(probs.name, probs.column_ids)
    return in_class_order(texts) if all(map(PLAIN_NUMBER.fullmatch, texts)) else texts
