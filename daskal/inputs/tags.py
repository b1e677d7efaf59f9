"""Votes for several classes an example in long format, as they are given and read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from daskal.errors import InputError
from daskal.inputs.opened import Table
from daskal.inputs.tables import is_dask_frame, names_of_columns, open_long, read_columns
from daskal.names.naming import kind_of, listed
from daskal.names.normal import CANONICAL_INTEGER, WHOLE, as_index, normal, whole_numbers
from daskal.names.rows import plain_index
from daskal.options import Storage, shown
from daskal.storage.locations import open_zarr
from daskal.storage.redaction import redacted
from daskal.tables.table import StoredTable

PAIR_COLUMNS = ("task", "annotator")
VOTE_COLUMNS = (*PAIR_COLUMNS, "label")
LISTS = (list, tuple, set, frozenset, np.ndarray, pd.Series, pd.Index)
RENAME = "Rename its columns."
WHOLE_ID = re.compile(CANONICAL_INTEGER)


@dataclass(frozen=True)
class Tags:
    """Votes for several classes an example, in long format.

    Not to be asked and to choose nothing are not the same, so both are told apart: either each line
    holds the list of classes that an annotator chose for a task, which may be empty, or each line
    is one chosen class and ``seen`` says who was asked about which task.

    Parameters
    ----------
    votes : pandas.DataFrame, Arrow table, path or list of paths
        Columns ``task`` (id of the example, or its row where the probabilities have no ids),
        ``annotator``, and ``label``: a list of classes, or one class. Classes are named as the
        columns of the probabilities are, or numbered from 0. Files are Parquet, Arrow or CSV, and
        are read whole; a list in CSV is written as JSON: ``["sky", "sea"]``.
    seen : pandas.DataFrame, Arrow table, path or list of paths, optional
        Columns ``task`` and ``annotator``: one line for each task that an annotator was asked
        about. Wanted where labels are no lists.

    Examples
    --------
    >>> import pandas as pd, daskal
    >>> votes = pd.DataFrame({"task": [0, 0, 1], "annotator": list("aab"), "label": [0, 1, 1]})
    >>> seen = pd.DataFrame({"task": [0, 0, 1, 1], "annotator": list("abab")})
    >>> pred_probs = pd.DataFrame([[0.8, 0.7], [0.1, 0.6]])
    >>> tags = daskal.Tags(votes, seen)
    >>> estimate = daskal.estimate(tags, pred_probs, multi_label=True)
    >>> estimate.num_votes.tolist(), estimate.num_chosen.tolist()
    ([4, 4], [1, 2])
    """

    votes: Any
    seen: Any = None


class LongTable(NamedTuple):
    """A table in long format that has been read.

    ``untyped`` says that its values came as text, so that ``7`` may mean a number (CSV).
    """

    frame: pd.DataFrame  # its columns have the names that Tags says
    untyped: bool = False


class TagTables(NamedTuple):
    """Votes that have been read, and who was asked, where lines hold one class each."""

    votes: LongTable
    seen: LongTable | None = None

    @property
    def asked(self) -> LongTable:
        """The table that says who was asked about which task."""
        return self.votes if self.seen is None else self.seen

    @property
    def parts(self) -> tuple[LongTable, ...]:
        """The tables, that of who was asked first."""
        return (self.votes,) if self.seen is None else (self.seen, self.votes)


# --- reading ----------------------------------------------------------------------------------


def read_tags(
    given: Any,
    storage_options: Storage,
    columns: Sequence[str] = VOTE_COLUMNS,
    id_column: str | None = None,
    *,
    on_duplicate: str = "error",
    advice: str = RENAME,
) -> Any:
    """Return votes in long format, read whole, and anything else as it is.

    Parameters
    ----------
    given : Tags or any labels
    storage_options : mapping, optional
    columns : sequence of str
        The names of the columns of tasks, annotators and labels.
    id_column : str, optional
        What the column of tasks may be called, too.
    on_duplicate : {"error", "last"}
        Whether of several lists of an annotator on a task the last one is kept.
    advice : str
        What to do if columns are not there.

    Raises
    ------
    InputError
        If a table lacks columns, or does not say of a line who voted on what.
    """
    if isinstance(given, Table):
        return read_tags(
            given.given,
            storage_options,
            columns,
            given.id_column or id_column,
            on_duplicate=on_duplicate,
            advice=advice,
        )
    names = Columns(tuple(columns), id_column, advice)
    if isinstance(given, Tags):
        votes = read_long("votes", given.votes, names, storage_options)
        seen = None
        if given.seen is not None:
            seen = read_long("seen", given.seen, names.of_pairs(), storage_options)
    else:
        seen = None
        table = open_long("labels", given, storage_options)
        if table is not None and names.found_in(table.schema.names) is None:
            given, table = read_wide(table, names), None
        if table is not None:
            given = table
        elif not isinstance(given, pd.DataFrame) or names.found_in(given.columns) is None:
            return with_ids(given, id_column)
        votes = read_long("labels", given, names, storage_options)
    if seen is None:
        # A list that is missing says that the annotator was not asked.
        frame = votes.frame[votes.frame["label"].notna()]
        if on_duplicate == "last":
            frame = frame.drop_duplicates(list(PAIR_COLUMNS), keep="last")
        votes = votes._replace(frame=frame)
    return TagTables(votes, seen)


class Columns(NamedTuple):
    """The names that columns of a table in long format may have."""

    names: tuple[str, ...]
    id_column: str | None
    advice: str

    def of_pairs(self) -> Columns:
        """Return the columns that say who was asked about which task."""
        return self._replace(names=self.names[: len(PAIR_COLUMNS)])

    def found_in(self, present: Any) -> tuple[str, ...] | None:
        """Return the names among those that are present, None where some are not."""
        others = (self.id_column, *self.names[1:])
        has_own_name = self.names[0] != VOTE_COLUMNS[0] or self.id_column is None
        options = (self.names,) if has_own_name else (self.names, others)
        there = set(present)
        return next((tuple(map(str, each)) for each in options if set(each) <= there), None)

    def found_or_refused(
        self, name: str, present: Sequence[Any], where: str, instead: str = ""
    ) -> tuple[str, ...]:
        """Return the names among those that are present; ``instead`` tells what else would do."""
        found = self.found_in(present)
        if found is None:
            raise InputError(
                f"{name}: expected a table with the columns {', '.join(self.names)} in {where}"
                f"{instead}, got {listed(list(present))}.",
                advice=self.advice,
            )
        return found


def read_long(name: str, given: Any, columns: Columns, storage_options: Storage) -> LongTable:
    """Return the columns wanted of a table, or of several in files, read whole."""
    if isinstance(given, list | tuple) and len(given):
        parts = [read_long(name, part, columns, storage_options) for part in given]
        if len({part.untyped for part in parts}) > 1:
            raise InputError(
                f"{name}: expected files of one kind, got CSV among others, whose numbers may be "
                "text. Store all of them as Parquet."
            )
        return LongTable(pd.concat([part.frame for part in parts]), parts[0].untyped)
    untyped = False
    if isinstance(given, pd.DataFrame):
        if any(label in columns.names for label in given.index.names):
            given = given.reset_index()
        found = columns.found_or_refused(name, list(given.columns), "the DataFrame")
        frame = given[list(found)]
    else:
        table = given
        if not isinstance(given, StoredTable):
            table = open_long(name, given, storage_options)
        if table is None:
            raise no_table(name, given, columns, storage_options)
        found = columns.found_or_refused(name, table.schema.names, table.where)
        frame, untyped = read_columns(name, table, found)
    frame = frame.set_axis(list(VOTE_COLUMNS[: len(found)]), axis=1).reset_index(drop=True)
    missing = np.flatnonzero(frame[list(PAIR_COLUMNS)].isna().any(axis=1))
    if len(missing):
        raise InputError(
            f"{name}: expected a task and an annotator in each line, got none in line "
            f"{missing[0]:,}. Leave such lines out."
        )
    return LongTable(frame, untyped)


def with_ids(given: Any, id_column: str | None) -> Any:
    """Return labels that are not in long format, the ids of a DataFrame's rows as its index."""
    is_column = isinstance(given, pd.DataFrame) and id_column in given.columns
    return given.set_index(id_column) if is_column else given


def read_wide(table: StoredTable, columns: Columns) -> pd.DataFrame:
    """Return a table of lists, one column per annotator, read whole.

    Raises
    ------
    InputError
        If it has other columns beside its ids.
    """
    ids = [columns.id_column] if columns.id_column in table.schema.names else list(table.index)
    people = [name for name in table.schema.names if name not in ids]
    kinds = [table.schema.field(name).type for name in people]
    if not people or not all(map(holds_lists, kinds)):
        instead = ", or one column of lists for each annotator"
        columns.found_or_refused("labels", table.schema.names, table.where, instead)
    frame, _ = read_columns("labels", table, [*ids, *people])
    frame = frame.set_index(ids) if len(ids) > 1 else frame.set_index(ids[0]) if ids else frame
    names = names_of_columns("labels", table, people)
    return frame.set_axis(pd.RangeIndex(len(people)) if names is None else names, axis=1)


def holds_lists(kind: pa.DataType) -> bool:
    """Return whether a column may hold lists; one without any has no type of its own."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_null(kind))


def no_table(name: str, given: Any, columns: Columns, storage_options: Storage) -> InputError:
    """Return the error for what is no table; raises another one for a path where nothing is."""
    got = shown(given)
    if isinstance(given, str | os.PathLike):
        open_zarr(name, os.fspath(given), storage_options)
        got = f"Zarr in {redacted(os.fspath(given))!r}"
    instead = ", such as .compute() gives" if is_dask_frame(given) else ""
    return InputError(
        f"{name}: expected a DataFrame{instead}, an Arrow table or the path of Parquet, Arrow or "
        f"CSV, with the columns {', '.join(columns.names)}, got {got}."
    )


# --- lists ------------------------------------------------------------------------------------


def lists_of(labels: pd.Series[Any]) -> list[Any]:
    """Return the lists of classes in a column, which may be written as JSON.

    Raises
    ------
    InputError
        If not every line has a list.
    """
    cells = labels.tolist()
    if cells and all(isinstance(cell, str) and cell.lstrip().startswith("[") for cell in cells):
        cells = [parsed(cell) for cell in cells]
    if not all(isinstance(cell, LISTS) for cell in cells):
        raise lists_wanted()
    return cells


def parsed(cell: str) -> Any:
    """Return the list that is written as JSON."""
    try:
        return json.loads(cell)
    except ValueError:
        raise InputError(
            "labels: expected lists of classes, as JSON where they are text, such as "
            f'["sky", "sea"], got {shown(cell)}. Write them with json.dumps, or store the table as '
            "Parquet."
        ) from None


def lists_wanted() -> InputError:
    """Return the error for lines that do not tell who was asked and chose nothing."""
    return InputError(
        "labels: expected either a list of classes in each line (in CSV as JSON), or one class in "
        "each line and a table of who was asked about which task. Without it, not chosen is not "
        "told from not asked.",
        advice="Pass it with {daskal.Tags(votes, seen)}.",
    )


# --- names ------------------------------------------------------------------------------------


def task_names(table: LongTable, known: pd.Index) -> pd.Index:
    """Return the task of each line; of tasks that came as text, as numbers if the known ids are."""
    tasks = table.frame["task"].tolist()
    if table.untyped and kind_of(known) == WHOLE:
        tasks = [int(task) if WHOLE_ID.fullmatch(task) else task for task in tasks]
    return as_index(tasks)


def find_annotators(
    tables: Sequence[LongTable],
) -> tuple[pd.Index, list[np.ndarray[Any, np.dtype[np.int64]]]]:
    """Return the annotators of all tables in order, and the place of each line's among them."""
    parts = [table.frame["annotator"].tolist() for table in tables]
    untyped = [part for part, table in zip(parts, tables, strict=True) if table.untyped]
    typed = [part for part, table in zip(parts, tables, strict=True) if not table.untyped]
    if untyped and not any(isinstance(name, str) for part in typed for name in part):
        texts = [name for part in untyped for name in part]
        if whole_numbers(pa.array(texts, pa.large_string())) is not None:
            parts = [
                list(map(int, part)) if table.untyped else part
                for part, table in zip(parts, tables, strict=True)
            ]
    every = as_index([name for part in parts for name in part])
    codes, _ = pd.factorize(plain_index(normal(every).values))
    _, first = np.unique(codes, return_index=True)
    names, codes = in_order(every.take(first), codes.astype(np.int64))
    return names, np.split(codes, np.cumsum([len(part) for part in parts])[:-1])


def in_order(
    names: pd.Index, codes: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[pd.Index, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return names in ascending order where they have one, and codes that go with it."""
    try:
        order = np.asarray(names.argsort())
    except TypeError:
        return names, codes
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return names.take(order), place[codes]
