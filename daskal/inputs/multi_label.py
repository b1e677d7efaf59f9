"""Labels of several classes an example: an (N, M, K) array, or lists of the classes chosen."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
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
from daskal.inputs.tables import is_dask_frame
from daskal.inputs.tags import (
    LISTS,
    PAIR_COLUMNS,
    LongTable,
    TagTables,
    find_annotators,
    lists_of,
    read_tags,
    task_names,
)
from daskal.method.values import Ints
from daskal.names.columns import match_classes, names_beside_codes
from daskal.names.naming import (
    PLAIN_CODE,
    check_unique,
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
from daskal.text import plural

FORMS = (
    "Pass an (N, M, K) array of 0, 1 and missing; a DataFrame of one row per example and one "
    "column per annotator, whose cells are lists of classes; a table with the columns task, "
    "annotator and label, whose labels are lists; or one line for each chosen class, and a table "
    "of who was asked, with {daskal.Tags(votes, seen)}."
)
# What pandas calls objects that are all numbers.
NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty")
# What a whole number looks like in text, also one that has been a float.
WHOLE_TEXT = re.compile(r"(0|-?[1-9][0-9]*)(\.0*)?")


def open_multi_labels(given: Any, probs: Probs, storage_options: Storage) -> Labels:
    """Return labels of several classes an example, whose probabilities are opened already."""
    given = read_tags(given, storage_options)
    if isinstance(given, TagTables):
        return open_tags(given, probs)
    if isinstance(given, pd.Series):
        raise InputError(
            f"labels: expected one column for each annotator, got a Series of {len(given):,} "
            "values. Of one annotator, pass labels.to_frame().",
        )
    if isinstance(given, list | tuple):
        given = array_of_lists(given)
    if isinstance(given, np.ndarray) and given.dtype == object:
        given = without_objects(given)
    if isinstance(given, pd.DataFrame):
        return open_lists(given, probs)
    if is_dask_frame(given):
        raise InputError(
            "labels: expected a table in memory or in files for multi_label=True, got a Dask "
            "DataFrame. Pass labels.compute(), or an (N, M, K) Dask array of 0, 1 and missing."
        )
    return open_dense(given, probs, storage_options)


def array_of_lists(given: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return nested lists as an array, refused where they are not of one length."""
    try:
        return np.asarray(given)
    except ValueError as error:
        raise InputError(
            "labels: expected rows of one length for multi_label=True, as an array has, got nested "
            "lists of others.",
            advice=FORMS,
        ) from error


def without_objects(given: np.ndarray[Any, Any]) -> Any:
    """Return an array of objects as numbers, NaN where one is missing; one of lists as a table."""
    if given.ndim == 2:
        return pd.DataFrame(given)
    missing = pd.isna(given)
    kind = pd.api.types.infer_dtype(given[~missing], skipna=False)
    if kind not in NUMBERS:
        raise InputError(
            "labels: expected 0, 1 and missing in an (N, M, K) array for multi_label=True, got "
            f"objects of shape {given.shape} that are no numbers ({kind}).",
            advice=FORMS,
        )
    return np.where(missing, np.nan, given).astype(np.float64)


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
            f"column per annotator, then the K classes, got shape {shape}.",
            advice=FORMS,
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
    untyped: bool = False  # whether classes came as text that may stand for numbers


def open_lists(frame: pd.DataFrame, probs: Probs) -> Labels:
    """Return labels given as lists, one row per example and one column per annotator."""
    values = frame.to_numpy(dtype=object)
    rows, annotators = np.nonzero(frame.notna().to_numpy(dtype=bool))
    cells = values[rows, annotators]
    for at, cell in enumerate(cells):
        if not isinstance(cell, LISTS):
            raise InputError(
                f"labels: expected lists of classes in the cells, got {shown(cell)} in row "
                f"{rows[at]:,}. A single class is a list of one; a cell is missing where the "
                "annotator was not asked.",
                advice=FORMS,
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


def open_tags(tables: TagTables, probs: Probs) -> Labels:
    """Return labels given in long format, in the order of the probabilities' rows."""
    names, codes = find_annotators(tables.parts)
    lines = [
        rows_of_tasks(table, probs) * len(names) + places
        for table, places in zip(tables.parts, codes, strict=True)
    ]
    labels = tables.votes.frame["label"]
    if tables.seen is None:
        pairs, (lengths, chosen) = lines[0], flattened(lists_of(labels))
        refuse_repeated(pairs, tables.votes.frame)
    else:
        pairs = np.unique(lines[0])
        lengths, chosen = by_pair(pairs, lines[1], tables.votes.frame)
    rows, annotators = np.divmod(pairs, max(len(names), 1))
    return labels_of(
        Pairs(rows, annotators, lengths, chosen, untyped=tables.votes.untyped),
        probs,
        num_rows=probs.num_rows,
        row_ids=probs.row_ids,
        numbered=probs.numbered,
        annotators=names,
        num_annotators=len(names),
    )


def refuse_repeated(pairs: Ints, votes: pd.DataFrame) -> None:
    """Refuse several lists of an annotator on a task."""
    order = np.argsort(pairs, kind="stable")
    again = order[1:][pairs[order][1:] == pairs[order][:-1]]
    if len(again):
        task, annotator = (votes[name].tolist()[again.min()] for name in PAIR_COLUMNS)
        raise InvalidDataError(
            "labels: expected one line for each task and annotator, got several for task "
            f"{task!r} and annotator {annotator!r}. Join their lists."
        )


def by_pair(pairs: Ints, lines: Ints, votes: pd.DataFrame) -> tuple[Ints, list[Any]]:
    """Return how many classes each of some ascending pairs chose, and all of them in order."""
    labels = votes["label"].to_numpy(dtype=object)
    if any(isinstance(label, LISTS) for label in labels):
        raise InputError(
            "labels: expected one class in each line beside a table of who was asked, got lists, "
            "which tell that themselves.",
            advice="Leave out {seen=}.",
        )
    place = np.searchsorted(pairs, lines)
    within = np.minimum(place, len(pairs) - 1)
    unseen = np.flatnonzero(pairs[within] != lines) if len(pairs) else np.arange(len(lines))
    if len(unseen):
        task, annotator = (votes[name].tolist()[unseen[0]] for name in PAIR_COLUMNS)
        raise InvalidDataError(
            "labels: expected each vote's task and annotator in seen, got "
            f"{plural(len(unseen), 'vote')} of others, such as task {task!r} and annotator "
            f"{annotator!r}. Add them to seen."
        )
    order = np.argsort(place, kind="stable")
    return np.bincount(place, minlength=len(pairs)), labels[order].tolist()


def rows_of_tasks(table: LongTable, probs: Probs) -> Ints:
    """Return the row of each line's task in the probabilities."""
    known = pd.RangeIndex(probs.num_rows) if probs.row_ids is None else as_index(probs.row_ids[:])
    check_unique("pred_probs", "rows", known)
    tasks = task_names(table, known)
    rows = find(known, tasks)
    unknown = tasks[rows < 0].unique()
    if len(unknown):
        of = "rows 0 to N - 1" if probs.row_ids is None else "the ids"
        raise InputError(
            f"labels: expected tasks among {of} of pred_probs, got "
            f"{plural(len(unknown), 'other')}: {listed(unknown)}. Name the rows of pred_probs (a "
            "DataFrame with an index) as the tasks are.",
            advice="Of a table, name the column of ids with {id_column=}.",
        )
    return rows


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
    codes = class_codes(pairs, probs)
    refuse_vectors(pairs, codes, probs.num_classes)
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


def class_codes(pairs: Pairs, probs: Probs) -> Ints:
    """Return the codes of chosen classes, by name where the probabilities' columns have names.

    Numbers are codes unless classes are called by numbers, and text is if no class has a name.
    """
    names = match_classes(Side("labels", probs.num_classes), probs.classes).names
    places = {} if names is None else {name: at for at, name in enumerate(names)}
    called = names_beside_codes(names)
    numbers_are_codes = called is None or not any(map(WHOLE_TEXT.fullmatch, called))
    text_is_code = called is None or pairs.untyped
    codes, distinct = distinct_classes(pairs.chosen)
    found, unknown = np.zeros(len(distinct), dtype=np.int64), []
    for at, value in enumerate(distinct):
        text = "" if pd.isna(value) else str(plain_name(value))
        whole = WHOLE_TEXT.fullmatch(text) if pairs.untyped else None
        number = text if whole is None else whole[1]
        code = places.get(text, places.get(number))
        if code is None and numbers_are_codes and (text_is_code or not isinstance(value, str)):
            is_code = PLAIN_CODE.fullmatch(number) and len(number) < 19
            code = int(number) if is_code and int(number) < probs.num_classes else None
        if code is None:
            unknown.append(value)
        else:
            found[at] = code
    if unknown:
        known = f"from 0 to {probs.num_classes - 1:,}" if called is None else listed(list(called))
        raise InvalidDataError(
            f"labels: expected classes of pred_probs, {known}, got "
            f"{plural(len(unknown), 'other')}: {listed(unknown)}. Name the columns of pred_probs "
            "(a DataFrame) as the classes are, or number the classes from 0. Who chose nothing "
            "has an empty list, or a line in seen alone."
        )
    return found[codes]


def distinct_classes(chosen: Sequence[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the place of each class among the distinct ones, and these."""
    values = np.empty(len(chosen), dtype=object)
    # To Python, True and 1 are the same; as classes they are not.
    values[:] = [str(v) if isinstance(v, bool | np.bool_) else v for v in chosen]
    try:
        codes, distinct = pd.factorize(values, use_na_sentinel=False)
    except TypeError as error:
        nested = next(value for value in chosen if not isinstance(value, Hashable))
        raise InputError(
            f"labels: expected lists of names or numbers of classes, got {shown(nested)} in one. "
            "Lists do not hold lists or records: take out what names the class."
        ) from error
    return codes, distinct


def refuse_vectors(pairs: Pairs, codes: Ints, num_classes: int) -> None:
    """Refuse lists of a 0 or 1 for each class, which would be taken for the classes 0 and 1."""
    if num_classes < 2 or not len(pairs.lengths) or (pairs.lengths != num_classes).any():
        return
    if codes.max() > 1 or any(isinstance(value, str) for value in pairs.chosen):
        return
    if num_classes > 2 or (codes.reshape(-1, 2) != [0, 1]).any():
        raise InputError(
            f"labels: expected lists of the classes chosen, got lists of {num_classes:,} zeros and "
            "ones each, which look like a vote on every class. List the classes that are chosen, "
            "or pass such votes as one array of shape (N, M, K)."
        )
