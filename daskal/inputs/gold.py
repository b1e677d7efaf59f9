"""Known classes of some examples: gold questions, as row-aligned data beside the labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from daskal.errors import InputError, MissingColumnError
from daskal.inputs.arguments import check_numeric, open_argument
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.fingerprint import memory_identity
from daskal.inputs.ids import RowIds
from daskal.inputs.labels import Labels
from daskal.inputs.sources import Cut, Source, make_source, take_rows
from daskal.inputs.tables import open_long, read_columns
from daskal.names.naming import listed, plain_texts, slices_of
from daskal.names.normal import WHOLE, as_index, normal, whole_numbers
from daskal.names.rows import Side, find, match_rows
from daskal.options import Storage
from daskal.tables.table import StoredTable

NAME = "gold"
UNKNOWN = -1
TASK, LABEL = "task", "label"
ADVICE = (
    "Pass one class code for each row, missing ones NaN or negative, or a table with the columns "
    "'task' and 'label'."
)


def open_gold(given: Any, labels: Labels, storage_options: Storage) -> Source:
    """Return known classes as a source of one code for each row of the labels.

    ``given`` is an array of shape (N,) or the path of one, a table with the columns ``task`` and
    ``label`` or the path of one, or a Series of labels by task.
    """
    if isinstance(given, str | os.PathLike):
        table = open_long(NAME, given, storage_options)
        given = given if table is None else read_table(table)
    if isinstance(given, pd.Series) and is_by_task(given, labels):
        given = given.rename(LABEL).rename_axis(TASK).reset_index()
    if isinstance(given, pd.DataFrame):
        return table_source(given, labels)
    opened = open_argument(NAME, given, storage_options)
    if len(opened.array.shape) != 1:
        raise InputError(f"{NAME}: expected shape (N,), got {tuple(opened.array.shape)}. {ADVICE}")
    source = make_source(NAME, opened.array, row_axis=0)
    check_numeric(NAME, source, "fiub")
    if source.num_rows != labels.num_rows:
        raise InputError(
            f"{NAME}: expected one class code for each of the {labels.num_rows:,} rows of labels, "
            f"got {source.num_rows:,}. {ADVICE}"
        )
    rows = match_rows(
        labels.rows,
        Side(NAME, source.num_rows, opened.row_ids, opened.numbered),
        movable=source.kind == "memory",
    )
    return source if rows.order is None else take_rows(source, rows.order)


def with_gold(blocks: RowBlocks, gold: Source) -> RowBlocks:
    """Return blocks whose last array are the known classes."""
    return replace(blocks, sources=(*blocks.sources, gold))


def is_by_task(series: pd.Series[Any], labels: Labels) -> bool:
    """Return whether a Series gives the labels of some tasks, not one for each row in order."""
    return len(series) != labels.num_rows or (
        labels.row_ids is not None and not isinstance(series.index, pd.RangeIndex)
    )


def check_known(num_known: int, where: str) -> None:
    """Refuse known classes none of which can be compared with a vote."""
    if not num_known:
        raise InputError(
            f"{NAME}: expected the known class of at least one example with votes, got none in "
            f"{where}. {ADVICE} Leave {NAME} out where no class is known."
        )


# --- tables -----------------------------------------------------------------------------------


def read_table(table: StoredTable) -> pd.DataFrame:
    """Return the tasks and labels in files; text of CSV that stands for numbers as these."""
    check_columns(table.schema.names)
    frame, untyped = read_columns(NAME, table, [TASK, LABEL])
    if not untyped:
        return frame
    tasks = whole_numbers(pa.array(frame[TASK], pa.large_string()).drop_null())
    if tasks is not None and len(tasks) == len(frame):
        frame[TASK] = tasks.to_numpy()
    codes = pd.to_numeric(frame[LABEL], errors="coerce")
    return frame.assign(**{LABEL: codes}) if codes.count() == frame[LABEL].count() else frame


def check_columns(names: Any) -> None:
    """Refuse a table without the two columns."""
    if not {TASK, LABEL} <= set(names):
        raise MissingColumnError(
            f"{NAME}: expected the columns {TASK!r} and {LABEL!r}, got "
            f"{', '.join(map(repr, names))}. {ADVICE}"
        )


def table_source(table: pd.DataFrame, labels: Labels) -> Source:
    """Return the source of a table of tasks and their labels."""
    check_columns(table.columns)
    given, table = table, table[[TASK, LABEL]].dropna(subset=[LABEL]).infer_objects()
    check_known(len(table), f"{len(given):,} rows of its table")
    tasks = as_index(table[TASK].to_numpy())
    if tasks.has_duplicates:
        repeated = tasks[tasks.duplicated()]
        raise InputError(
            f"{NAME}: expected one label for each task, got several of {listed(repeated)}. Keep "
            "one of them."
        )
    rows = rows_of_tasks(tasks, labels)
    codes = codes_of(table[LABEL], labels.class_names)
    order = np.argsort(rows, kind="stable")
    return known_rows_source(rows[order], codes[order], labels.num_rows)


def rows_of_tasks(tasks: pd.Index, labels: Labels) -> NDArray[np.int64]:
    """Return the row of each task, by its id where the rows have ids, else by its number."""
    if labels.row_ids is None:
        if normal(tasks).kind != WHOLE and len(tasks):
            raise InputError(
                f"{NAME}: expected the numbers of rows as tasks, as labels has no ids of rows, got "
                f"{listed(tasks)}. Give the labels ids (a DataFrame, or daskal.import_votes)."
            )
        rows = tasks.to_numpy(dtype=np.int64)
        unknown = tasks[(rows < 0) | (rows >= labels.num_rows)]
    else:
        rows = find_rows(labels.row_ids, tasks)
        unknown = tasks[rows < 0]
    if len(unknown):
        raise InputError(
            f"{NAME}: expected tasks that are rows of labels, but {len(unknown):,} of "
            f"{len(tasks):,} {'is' if len(unknown) == 1 else 'are'} none: {listed(unknown)}. Leave "
            "them out, or correct their ids."
        )
    return rows


def find_rows(ids: RowIds, tasks: pd.Index) -> NDArray[np.int64]:
    """Return the row of each task among ids that may be stored, -1 where it is not there."""
    rows = np.full(len(tasks), UNKNOWN)
    for start, part in slices_of(ids):
        places = find(part, tasks)
        rows = np.where((rows < 0) & (places >= 0), places + start, rows)
    return rows


def codes_of(labels: pd.Series[Any], class_names: tuple[str, ...] | None) -> NDArray[np.float64]:
    """Return the codes of labels that are codes or names of classes; others are refused later."""
    if pd.api.types.is_numeric_dtype(labels.dtype):
        return labels.to_numpy(dtype=np.float64)
    if class_names is None:
        raise InputError(
            f"{NAME}: expected class codes, as the classes of labels have no names, got "
            f"{listed(as_index(labels.unique()))}."
        )
    names = as_index(list(class_names))
    codes = find(names, as_index(plain_texts(as_index(labels.to_numpy()))))
    unknown = labels[codes < 0].unique()
    if len(unknown):
        raise InputError(
            f"{NAME}: expected labels that are classes ({listed(names)}), got "
            f"{listed(as_index(unknown))}. Correct them, or leave them out."
        )
    return codes.astype(np.float64)


def known_rows_source(rows: NDArray[np.int64], codes: NDArray[np.float64], num_rows: int) -> Source:
    """Return the source of the codes of some rows, ascending; each task is handed its own."""
    return Source(
        name=NAME,
        kind="memory",
        shape=(num_rows,),
        dtype=codes.dtype,
        row_axis=0,
        row_bytes=codes.dtype.itemsize,
        reader=KnownRowsReader(NAME),
        cut=partial(cut_known_rows, rows, codes),
        identity=partial(memory_identity, (num_rows,), codes.dtype, rows, codes),
    )


def cut_known_rows(
    rows: NDArray[np.int64], codes: NDArray[np.float64], edges: Sequence[int]
) -> Cut:
    """Return the known rows of each block and their codes."""
    bounds = np.searchsorted(rows, edges)
    return Cut([(rows[slice(*part)], codes[slice(*part)]) for part in pairwise(bounds.tolist())])


@dataclass(frozen=True)
class KnownRowsReader:
    """The task is handed the known rows of its block."""

    name: str

    def __call__(self, argument: Any, start: int, stop: int) -> NDArray[np.float64]:
        """Return the code of each of the rows ``start:stop``, NaN where there is none."""
        rows, codes = argument
        block = np.full(stop - start, np.nan)
        block[rows - start] = codes
        return block
