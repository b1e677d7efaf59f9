"""Labels of several classes an example: an (N, M, K) array, or lists of the classes chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskal.errors import InputError, InvalidDataError
from daskal.inputs.arguments import check_numeric, coords_of, open_argument
from daskal.inputs.compressed_tags import CompressedTags, tag_source
from daskal.inputs.labels import Labels
from daskal.inputs.probabilities import Probs
from daskal.inputs.sources import make_source
from daskal.inputs.sparse import is_sparse_kind
from daskal.inputs.tables import is_dask_frame, read_frame
from daskal.method.values import Ints
from daskal.names.columns import match_classes, names_beside_codes
from daskal.names.naming import (
    PLAIN_CODE,
    class_texts,
    is_default,
    listed,
    own_names,
    plain_name,
    plain_names,
)
from daskal.names.normal import as_index
from daskal.names.rows import Side, find
from daskal.options import Storage, shown

PAIR_COLUMNS = ("task", "annotator")
VOTE_COLUMNS = (*PAIR_COLUMNS, "label")
LISTS = (list, tuple, set, frozenset, np.ndarray)
FORMS = (
    "Pass an (N, M, K) array of 0, 1 and missing; a DataFrame of one row per example and one "
    "column per annotator, whose cells are lists of classes; a table with the columns task, "
    "annotator and label, whose labels are lists; or daskal.Tags(votes, seen)."
)


@dataclass(frozen=True)
class Tags:
    """Votes for several classes an example, in long format.

    Not to be asked and to choose nothing are not the same, so both are told apart: either each line
    holds the list of classes that an annotator chose for a task, which may be empty, or each line
    is one chosen class and ``seen`` says who was asked about which task.

    Parameters
    ----------
    votes : pandas.DataFrame, Arrow table or path
        Columns ``task`` (id of the example, or its row where the probabilities have no ids),
        ``annotator``, and ``label``: a list of classes, or one class. Classes are named as the
        columns of the probabilities are, or numbered from 0. Files are
        Parquet, Arrow or CSV, and are read whole.
    seen : pandas.DataFrame, Arrow table or path, optional
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


def open_multi_labels(given: Any, probs: Probs, storage_options: Storage) -> Labels:
    """Return labels of several classes an example, whose probabilities are opened already."""
    if isinstance(given, Tags):
        votes = read_frame("votes", given.votes, VOTE_COLUMNS, storage_options)
        seen = read_frame("seen", given.seen, PAIR_COLUMNS, storage_options)
        return open_tags(Tags(votes, seen), probs)
    given = read_frame("labels", given, VOTE_COLUMNS, storage_options)
    if isinstance(given, pd.DataFrame):
        if set(VOTE_COLUMNS) <= set(given.columns.astype(object)):
            return open_tags(Tags(given), probs)
        return open_lists(given, probs)
    if is_dask_frame(given):
        raise InputError(
            "labels: expected a table in memory or in files for multi_label=True, got a Dask "
            "DataFrame. Pass labels.compute(), or an (N, M, K) Dask array of 0, 1 and missing."
        )
    return open_dense(given, probs, storage_options)


# --- arrays -----------------------------------------------------------------------------------


def open_dense(given: Any, probs: Probs, storage_options: Storage) -> Labels:
    """Return labels given as an (N, M, K) array."""
    class_names, first = None, None
    is_named = hasattr(given, "coords") and not hasattr(given, "data_vars")
    if is_named and given.ndim == 3:
        classes = coords_of("labels", "classes", given, given.dims[2])
        class_names = None if classes is None else class_texts("labels", classes)
        # A DataArray of rows and annotators alone tells their names.
        first = given.isel({given.dims[2]: 0}, drop=True)
        first.encoding = {}
        given = given.variable
    opened = open_argument("labels", given, storage_options)
    array = opened.array
    shape = tuple(array.shape)
    if is_sparse_kind(array) or len(shape) != 3:
        raise InputError(
            "labels: expected an (N, M, K) array for multi_label=True, one row per example, one "
            f"column per annotator, then the K classes, got shape {shape}. {FORMS}"
        )
    if shape[2] != probs.num_classes:
        raise InputError(
            f"labels: expected shape (N, M, K) with the K = {probs.num_classes:,} classes of "
            f"pred_probs last, got {shape}."
        )
    source = make_source("labels", array, row_axis=0, holds_labels=True)
    check_numeric("labels", source, "fiub")
    named = opened if first is None else open_argument("labels", first, storage_options)
    ids = named.column_ids if first is not None else None
    return Labels(
        source,
        shape[0],
        shape[1],
        named.row_ids,
        None if ids is None else plain_names("labels", "annotators", ids),
        first,
        class_names,
    )


# --- lists of classes -------------------------------------------------------------------------


class Pairs(NamedTuple):
    """Who was asked about which row, and what was chosen."""

    rows: Ints  # (v,)
    annotators: Ints  # (v,)
    lengths: Ints  # (v,) classes chosen
    chosen: Sequence[Any]  # all of them, one pair after the other


def open_lists(frame: pd.DataFrame, probs: Probs) -> Labels:
    """Return labels given as lists, one row per example and one column per annotator."""
    values = frame.to_numpy(dtype=object)
    rows, annotators = np.nonzero(~frame.isna().to_numpy())
    cells = values[rows, annotators]
    for at, cell in enumerate(cells):
        if not isinstance(cell, LISTS):
            raise InputError(
                f"labels: expected lists of classes in the cells, got {shown(cell)} in row "
                f"{rows[at]:,}. A single class is a list of one; a cell is missing where the "
                f"annotator was not asked. {FORMS}"
            )
    lengths, chosen = flattened(cells)
    names = own_names("labels", "annotators", frame.columns)
    return labels_of(
        Pairs(rows, annotators, lengths, chosen),
        probs,
        num_rows=len(frame),
        row_ids=own_names("labels", "rows", frame.index),
        numbered=is_default(frame.index),
        annotators=names,
        num_annotators=frame.shape[1],
    )


def flattened(cells: Iterable[Any]) -> tuple[Ints, list[Any]]:
    """Return how many classes each list has, and all classes of all lists."""
    lists = [list(cell) for cell in cells]
    return np.array([len(cell) for cell in lists], dtype=np.int64), list(chain(*lists))


def open_tags(tags: Tags, probs: Probs) -> Labels:
    """Return labels given in long format, in the order of the probabilities' rows."""
    votes = checked_frame("votes", tags.votes, VOTE_COLUMNS)
    if tags.seen is None:
        # A list that is missing says that the annotator was not asked.
        votes = votes[votes["label"].notna()]
    column = votes["label"].to_numpy(dtype=object)
    are_lists = [isinstance(cell, LISTS) for cell in column]
    if all(are_lists) and tags.seen is None:
        table, (lengths, chosen) = votes, flattened(column)
        again = table[table.duplicated(list(PAIR_COLUMNS))]
        if len(again):
            task, annotator = (again[name].tolist()[0] for name in PAIR_COLUMNS)
            raise InvalidDataError(
                "labels: expected one line for each task and annotator, got several for task "
                f"{task!r} and annotator {annotator!r}. Join their lists."
            )
    elif any(are_lists) or tags.seen is None:
        raise InputError(
            "labels: expected either a list of classes in each line, or one class in each line "
            "and seen=, a table of who was asked about which task: daskal.Tags(votes, seen). "
            "Without it, not chosen is not told from not asked."
        )
    else:
        seen = checked_frame("seen", tags.seen, PAIR_COLUMNS)
        table = seen.drop_duplicates(list(PAIR_COLUMNS))
        lengths, chosen = by_pair(votes, table)
    rows = rows_of_tasks(table["task"], probs)
    codes, annotators = pd.factorize(as_index(table["annotator"].tolist()), sort=False)
    annotators, codes = in_order(as_index(annotators), codes)
    return labels_of(
        Pairs(rows, codes.astype(np.int64), lengths, chosen),
        probs,
        num_rows=probs.num_rows,
        row_ids=probs.row_ids,
        numbered=probs.numbered,
        annotators=annotators,
        num_annotators=len(annotators),
    )


def checked_frame(name: str, frame: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return the columns of a table, refused if they are not there or hold nothing somewhere."""
    if not isinstance(frame, pd.DataFrame) or not set(columns) <= set(frame.columns):
        got = list(frame.columns) if isinstance(frame, pd.DataFrame) else type(frame).__name__
        raise InputError(
            f"labels: expected {name} as a DataFrame, an Arrow table or a path, with the columns "
            f"{', '.join(columns)}, got {shown(got)}."
        )
    taken = frame[list(columns)].reset_index(drop=True)
    missing = np.flatnonzero(taken[list(PAIR_COLUMNS)].isna().any(axis=1))
    if len(missing):
        raise InputError(
            f"labels: expected a task and an annotator in each line of {name}, got none in line "
            f"{missing[0]:,}. Leave such lines out."
        )
    return taken


def by_pair(votes: pd.DataFrame, table: pd.DataFrame) -> tuple[Ints, list[Any]]:
    """Return how many classes each pair of the table chose, and all of them in its order."""
    pairs = list(PAIR_COLUMNS)
    at = pd.Series(np.arange(len(table)), index=pd.MultiIndex.from_frame(table[pairs]))
    place = at.reindex(pd.MultiIndex.from_frame(votes[pairs])).to_numpy()
    unseen = np.flatnonzero(np.isnan(place.astype(np.float64)))
    if len(unseen):
        task, annotator = (votes[name].tolist()[unseen[0]] for name in pairs)
        raise InvalidDataError(
            f"labels: expected each vote's task and annotator in seen, got {len(unseen):,} votes "
            f"of others, such as task {task!r} and annotator {annotator!r}. Add them to seen."
        )
    place = place.astype(np.int64)
    order = np.argsort(place, kind="stable")
    chosen = votes["label"].to_numpy(dtype=object)[order].tolist()
    return np.bincount(place, minlength=len(table)), chosen


def rows_of_tasks(tasks: pd.Series[Any], probs: Probs) -> Ints:
    """Return the row of each task in the probabilities."""
    known = pd.RangeIndex(probs.num_rows) if probs.row_ids is None else probs.row_ids[:]
    given = as_index(tasks.tolist())
    rows = find(as_index(known), given)
    unknown = given[rows < 0]
    if len(unknown):
        of = "rows 0 to N - 1" if probs.row_ids is None else "the ids"
        raise InputError(
            f"labels: expected tasks among {of} of pred_probs, got {len(unknown):,} others: "
            f"{listed(unknown)}. Name the rows of pred_probs (a DataFrame with an index) as the "
            "tasks are."
        )
    return np.asarray(rows, dtype=np.int64)


def in_order(names: pd.Index, codes: NDArray[Any]) -> tuple[pd.Index, NDArray[Any]]:
    """Return names in ascending order where they have one, and codes that go with it."""
    try:
        order = np.asarray(names.argsort())
    except TypeError:
        return names, codes
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return names.take(order), place[codes]


# --- what a block is made of ------------------------------------------------------------------


def labels_of(
    pairs: Pairs,
    probs: Probs,
    *,
    num_rows: int,
    row_ids: Any,
    numbered: bool,
    annotators: pd.Index | None,
    num_annotators: int,
) -> Labels:
    """Return votes as labels, their pairs in the order of rows and annotators."""
    codes = class_codes(pairs.chosen, probs)
    order = np.lexsort((pairs.annotators, pairs.rows))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    # A class that is given twice counts once.
    num_classes = probs.num_classes
    of_pair = np.repeat(place, pairs.lengths)
    pair, chosen = np.divmod(np.unique(of_pair * num_classes + codes), num_classes)
    rows = CompressedTags(
        offsets_of(pairs.rows, num_rows),
        pairs.annotators[order].astype(np.int32),
        offsets_of(pair, len(order)),
        chosen.astype(np.int32),
    )
    shape = (num_rows, num_annotators, num_classes)
    return Labels(
        tag_source("labels", shape, rows),
        num_rows,
        num_annotators,
        row_ids,
        None if annotators is None else plain_names("labels", "annotators", annotators),
        None,
        numbered=numbered,
    )


def offsets_of(numbers: Ints, count: int) -> Ints:
    """Return where each of some numbers begins among them once they are sorted."""
    return np.concatenate([[0], np.cumsum(np.bincount(numbers, minlength=count))])


def class_codes(chosen: Sequence[Any], probs: Probs) -> Ints:
    """Return the codes of chosen classes, by name where the probabilities' columns have names."""
    names = match_classes(Side("labels", probs.num_classes), probs.classes).names
    called = names_beside_codes(names)
    values = np.empty(len(chosen), dtype=object)
    values[:] = chosen
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    places = {} if called is None else {name: at for at, name in enumerate(called)}
    found, unknown = np.zeros(len(distinct), dtype=np.int64), []
    for at, value in enumerate(distinct):
        text = "" if pd.isna(value) else str(plain_name(value))
        code = places.get(text)
        if code is None and PLAIN_CODE.fullmatch(text) and not isinstance(value, str | bool):
            code = int(text) if int(text) < probs.num_classes else None
        if code is None:
            unknown.append(value)
        else:
            found[at] = code
    if unknown:
        known = f"from 0 to {probs.num_classes - 1:,}" if called is None else listed(list(called))
        raise InvalidDataError(
            f"labels: expected classes of pred_probs, {known}, got {len(unknown):,} others: "
            f"{listed(unknown)}. Name the columns of pred_probs (a DataFrame) as the classes are, "
            "or number the classes from 0. Who chose nothing has an empty list, or a line in seen "
            "alone."
        )
    return found[codes]
