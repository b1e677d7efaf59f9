"""Votes for several classes an example and one table of probabilities, matched by id.

Rows that somebody was asked about are the labeled ones, the others the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from daskal.errors import InputError
from daskal.inputs.multi_label import open_tags
from daskal.inputs.opened import with_columns
from daskal.inputs.probabilities import open_probs
from daskal.inputs.tables import is_dask_frame
from daskal.inputs.tags import LongTable, Tags, TagTables, read_tags, task_names
from daskal.names.naming import listed
from daskal.names.rows import find
from daskal.options import Storage, check_choice
from daskal.runs.inputs import RunInputs
from daskal.runs.long_votes import (
    UNKNOWN_TASKS,
    VoteColumns,
    ids_of_table,
    index_of_ids,
    not_in_table,
    rows_of_probs,
    sections_of_table,
)
from daskal.text import plural

NAME_COLUMNS = "Name them with {task=}, {annotator=} and {label=}."


def read_run_tags(
    given: Any,
    storage_options: Storage,
    columns: VoteColumns,
    id_column: str | None,
    on_duplicate: str,
) -> Any:
    """Return the labels of a run: votes in long format, read whole, anything else as it is."""
    return read_tags(
        given,
        storage_options,
        columns,
        id_column,
        on_duplicate=on_duplicate,
        advice=NAME_COLUMNS,
    )


def open_tag_votes(
    votes: Any,
    pred_probs: Any,
    storage_options: Storage,
    *,
    columns: VoteColumns,
    id_column: str | None,
    class_columns: Sequence[str] | None,
    unknown: str,
    on_duplicate: str,
) -> RunInputs:
    """Return the sections of a table of probabilities that votes for several classes make.

    Raises
    ------
    InputError
        If the table has no ids, or the votes lack columns.
    InvalidDataError
        If votes are at fault, or on tasks that the table lacks.
    """
    check_choice("unknown_tasks", unknown, UNKNOWN_TASKS)
    if is_dask_frame(votes):
        raise InputError(
            "votes: expected a table in memory or in files where an example may have several "
            "classes, got a Dask DataFrame. Pass votes.compute()."
        )
    table = with_columns(pred_probs, id_column, class_columns)
    probs = open_probs("pred_probs", table, storage_options, least_classes=1)
    ids = index_of_ids(ids_of_table(probs).values)
    given = votes if isinstance(votes, Tags) else Tags(votes)
    tables = read_run_tags(given, storage_options, columns, id_column, on_duplicate)
    rows = [find(ids, task_names(part, ids)) for part in tables.parts]
    places = np.unique(rows[0][rows[0] >= 0])
    lacking = [part.frame[found < 0] for part, found in zip(tables.parts, rows, strict=True)]
    if not len(places) or (unknown == "raise" and any(map(len, lacking))):
        raise not_in_table(described(tables, lacking), ids[0], len(ids), places)
    known = [
        LongTable(part.frame[found >= 0].reset_index(drop=True), part.untyped)
        for part, found in zip(tables.parts, rows, strict=True)
    ]
    tables = TagTables(known[-1], None if tables.seen is None else known[0])
    labels = open_tags(tables, rows_of_probs(probs, places, ids.take(places)))
    return sections_of_table(labels, probs, ids, places, multi_label=True)


def described(tables: TagTables, lacking: Sequence[pd.DataFrame]) -> str:
    """Return in words the tasks that a table of probabilities lacks."""
    tasks = pd.unique(pd.concat([frame["task"] for frame in lacking]).astype(object))
    every = pd.unique(pd.concat([part.frame["task"] for part in tables.parts]).astype(object))
    shown = listed(pd.Index(tasks, tupleize_cols=False))
    lines = plural(sum(map(len, lacking)), "line")
    return f"{len(tasks):,} of {plural(len(every), 'task')} ({shown}), in {lines}"
