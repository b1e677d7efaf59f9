"""From the ids and labels met in votes to rows, columns and class codes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskal.errors import InputError, InvalidDataError
from daskal.importing.columns import EXAMPLES, Tally, positions
from daskal.importing.tasks import Ids
from daskal.names.naming import PLAIN_NUMBER, in_class_order
from daskal.names.normal import whole_numbers
from daskal.text import listed, plural

_MISSING_LABELS = frozenset({"nan", "na", "n/a", "<na>", "none", "null"})
_WHOLE_LABEL = re.compile(r"-?[0-9]+(\.0*)?")
_MAX_CODE = 2**31 - 2

# How classes and tasks came to their order.
AS_GIVEN = "as given"
AS_CODES = "whole numbers as they are"
AS_CATEGORIES = "as the ordered categories of the column"
BY_VALUE = "sorted by value"
AS_TEXT = "sorted as text"
SORTED = (BY_VALUE, AS_TEXT)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Every label met, the code of each, the classes, and how they came to their order."""

    values: pa.Array
    codes: npt.NDArray[np.int32]
    num_classes: int
    names: tuple[str, ...] | None
    order: str


def resolve_labels(
    tally: Tally,
    classes: Sequence[Any] | None,
    name: str,
    *,
    untyped: bool,
    categories: tuple[str, ...] | None = None,
    advice: str = "Name all classes in order with {classes=}, or drop those votes.",
) -> Labels:
    """Give every label met its code.

    ``name`` is the column's, ``untyped`` says it came as text, ``categories`` are in order;
    ``advice`` is what to do with labels that are none of the classes.
    """
    values: list[Any] = tally.values.to_pylist()
    if untyped:
        values = _typed_labels(values, name)
    whole = isinstance(values[0], int)
    names: tuple[str, ...] | None
    if classes is not None:
        names, order = _class_names(classes), AS_GIVEN
    elif whole:
        names, order = None, AS_CODES
    elif categories is not None:
        names, order = categories, AS_CATEGORIES
    else:
        names = in_class_order(values)
        order = BY_VALUE if all(map(PLAIN_NUMBER.fullmatch, names)) else AS_TEXT
    # Numbers are codes unless the names themselves are numbers (ratings 1 to 5).
    if names is None or (whole and not any(_WHOLE_LABEL.fullmatch(given) for given in names)):
        codes = values
    else:
        places = {given: place for place, given in enumerate(names)}
        codes = [places.get(str(value), -1) for value in values]
    num_classes = max(codes) + 1 if names is None else len(names)
    outside = [
        place for place, code in enumerate(codes) if not 0 <= code < min(num_classes, _MAX_CODE)
    ]
    if outside:
        shown = sorted(values[place] for place in outside)
        count = int(tally.votes[outside].sum())
        known = "class codes from 0 on" if names is None else f"among {listed(map(repr, names))}"
        raise InvalidDataError(
            f"votes: expected labels in column {name!r} to be {known}, but "
            f"{plural(count, 'vote has another label', 'votes have other labels')} "
            f"({listed(map(repr, shown))}).",
            advice=advice,
        )
    return Labels(tally.values, np.array(codes, dtype=np.int32), num_classes, names, order)


def resolve_tasks(
    tally: Tally, given: Ids | None, name: str, *, untyped: bool
) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Ids of the rows in order, and the number of votes of each row."""
    if given is None:
        return sorted_ids(tally, untyped=untyped)
    found, rows = _same_type(tally.values, untyped, given, name)
    places = positions(found, rows)
    unknown = np.flatnonzero(places < 0)
    if len(unknown):
        shown = found.take(pa.array(unknown)).sort()[:EXAMPLES].to_pylist()
        raise InvalidDataError(
            f"votes: expected every task to be one of the {len(rows):,} in tasks, but "
            f"{plural(len(unknown), 'is not', 'are not')} "
            f"({listed(map(repr, shown), count=len(unknown))}), with "
            f"{plural(int(tally.votes[unknown].sum()), 'vote')}. Add them to tasks and to the "
            "probabilities, or drop their votes."
        )
    counts = np.zeros(len(rows), dtype=np.int64)
    counts[places] = tally.votes
    return rows, counts


@dataclasses.dataclass(frozen=True)
class Voted:
    """The rows of a longer table that have votes.

    ``places`` are their rows in the table, ascending, ``counts`` their numbers of votes;
    ``num_unknown`` votes are on tasks that the table lacks.
    """

    ids: pa.Array
    counts: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    num_unknown: int


def find_voted(tally: Tally, given: Ids, name: str, *, untyped: bool, of: str) -> Voted:
    """Return the rows that have votes, in the order of the table ``of`` whose ids are given."""
    found, rows = _same_type(tally.values, untyped, given, name, of)
    places = positions(found, rows)
    order = np.argsort(places, kind="stable")[np.count_nonzero(places < 0) :]
    unknown = np.flatnonzero(places < 0)
    return Voted(
        rows.take(pa.array(places[order])),
        tally.votes[order],
        places[order],
        int(tally.votes[unknown].sum()),
    )


def unknown_tasks(tally: Tally, given: Ids, name: str, *, untyped: bool, of: str) -> str:
    """Return in words the tasks with votes that the table ``of`` lacks."""
    found, rows = _same_type(tally.values, untyped, given, name, of)
    unknown = np.flatnonzero(positions(found, rows) < 0)
    shown = found.take(pa.array(unknown)).sort()[:EXAMPLES].to_pylist()
    return (
        f"{len(unknown):,} of {len(found):,} tasks "
        f"({listed(map(repr, shown), count=len(unknown))}), with "
        f"{plural(int(tally.votes[unknown].sum()), 'vote')}"
    )


def sorted_ids(tally: Tally, *, untyped: bool) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Ids in ascending order (text by code point), and the number of votes of each."""
    numbers = whole_numbers(tally.values) if untyped else None
    ids = tally.values if numbers is None else numbers
    order = pc.sort_indices(ids)
    return ids.take(order), tally.votes[order.to_numpy()]


def order_of_ids(ids: pa.Array) -> str:
    """Return how `sorted_ids` ordered them."""
    return BY_VALUE if pa.types.is_integer(ids.type) else AS_TEXT


def row_edges(counts: npt.NDArray[np.int64], votes: int) -> list[int]:
    """First rows of ranges with about ``votes`` votes each, and the end of the last range."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ranges = max(1, round(int(offsets[-1]) / votes))
    inner = np.searchsorted(offsets, np.arange(1, ranges) * (offsets[-1] / ranges))
    edges: list[int] = np.unique(np.concatenate([[0], inner, [len(counts)]])).tolist()
    return edges


def _typed_labels(values: list[str], name: str) -> list[Any]:
    present = [value for value in values if value.lower() not in _MISSING_LABELS]
    if not present or not all(_WHOLE_LABEL.fullmatch(value) for value in present):
        return values
    if len(present) < len(values):
        missing = sorted(set(values) - set(present))
        raise InvalidDataError(
            f"votes: expected a label in every row of column {name!r}, but beside whole numbers "
            f"it holds {listed(map(repr, missing))}. Drop those rows."
        )
    return [int(value.partition(".")[0]) for value in values]


def _class_names(classes: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(classes, Mapping) and sorted(classes) == list(range(len(classes))):
        classes = [classes[code] for code in range(len(classes))]
    # A set has no order, another one in every process.
    ordered = isinstance(classes, Iterable) and not isinstance(
        classes, str | bytes | Mapping | set | frozenset
    )
    names = tuple(str(given) for given in classes) if ordered else ()
    if not names or len(set(names)) < len(names):
        raise InputError(
            "classes: expected distinct names in the order of their codes, in a list or as a "
            f"mapping of the codes 0 to K - 1, got {classes!r}."
        )
    return names


def _same_type(
    found: pa.Array, untyped: bool, given: Ids, name: str, of: str = "tasks"
) -> tuple[pa.Array, pa.Array]:
    """Ids met in the votes and ids given, both numbers or both text."""
    rows = given.values
    found_numbers = whole_numbers(found) if untyped else None
    row_numbers = whole_numbers(rows) if given.untyped else None
    if found_numbers is not None and (row_numbers is not None or pa.types.is_integer(rows.type)):
        found = found_numbers
    if row_numbers is not None and pa.types.is_integer(found.type):
        rows = row_numbers
    if found.type == rows.type:
        return found, rows
    if pa.types.is_integer(found.type) and pa.types.is_integer(rows.type):
        try:
            return found.cast(pa.uint64()), rows.cast(pa.uint64())
        except pa.ArrowInvalid:  # negative numbers on one side, above 2**63 on the other
            pass
    raise InputError(
        f"{of}: expected ids of the same type as in column {name!r} of the votes, got "
        f"{rows[0].as_py()!r} where the votes have {found[0].as_py()!r}. Convert one of them."
    )
