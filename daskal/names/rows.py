"""Rows of two arguments, matched by name or refused.

If both sides have names, names decide; else places do, and the numbers of rows must be equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daskal.errors import InputError
from daskal.names.naming import (
    SHOWN,
    Names,
    check_names,
    is_default,
    kind_of,
    listed,
    own_names,
    slices_of,
)
from daskal.names.normal import MIXED, WHOLE, as_index, comparable, normal, spelled_out

Places = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Side:
    """One of two arguments that meet: how many rows, classes or annotators it has, and their names.

    Attributes
    ----------
    argument : str
        Name of the argument, for messages.
    count : int
        How many there are.
    names : pandas.Index, a lazy sequence of them, or None
        Lazy ones are read in slices.
    numbered : bool
        Whether it came with the default index of pandas.
    moved : bool
        Whether its columns have been put in order by their names.
    """

    argument: str
    count: int
    names: Names | None = None
    numbered: bool = False
    moved: bool = False

    @classmethod
    def from_index(cls, argument: str, kind: str, index: pd.Index) -> Side:
        """Return the side of a pandas object whose rows or columns have this index."""
        return cls(argument, len(index), own_names(argument, kind, index), is_default(index))

    @property
    def in_memory(self) -> bool:
        """Whether all names are in memory."""
        return isinstance(self.names, pd.Index)


# --- finding names ----------------------------------------------------------------------------


class Lookup:
    """Search for names among those in memory, which are hashed only once."""

    def __init__(self, names: pd.Index) -> None:
        self.names = names
        self.form = normal(names)
        self.tables: dict[tuple[str, np.dtype[Any]], tuple[pd.Index, Places]] = {}

    def table(self, kind: str, dtype: np.dtype[Any]) -> tuple[pd.Index, Places]:
        """Return the distinct names in the form wanted, and the first place of each."""
        if (kind, dtype) not in self.tables:
            form = self.form if kind == self.form.kind else spelled_out(self.names)
            index = plain_index(form.values.astype(dtype, copy=False))
            first = np.flatnonzero(~index.duplicated())
            self.tables[kind, dtype] = index.take(first), first
        return self.tables[kind, dtype]

    def places(self, wanted: pd.Index) -> Places:
        """Return the first place of each name wanted, -1 where it is not there."""
        form = normal(wanted)
        if form.kind != self.form.kind:
            form = spelled_out(wanted)
        same = form.kind == MIXED or form.values.dtype == self.form.values.dtype
        # int64 beside uint64: their common dtype would be float64.
        dtype = form.values.dtype if same else np.dtype(object)
        table, first = self.table(form.kind, dtype)
        found = table.get_indexer(plain_index(form.values.astype(dtype, copy=False)))
        return np.where(found < 0, -1, first[found]) if len(first) else found.astype(np.int64)


def plain_index(values: np.ndarray[Any, Any]) -> pd.Index:
    """Return an array as an index of the same dtype, tuples as names and not as levels."""
    index: pd.Index = pd.Index(values, dtype=values.dtype, tupleize_cols=False)
    return index


def find(known: pd.Index, wanted: pd.Index) -> Places:
    """Return the first place in ``known`` of each name wanted, -1 where it is not there."""
    return Lookup(known).places(wanted)


def is_known(names: Names, wanted: pd.Index) -> np.ndarray[Any, Any]:
    """Return whether each name wanted is one of ``names``, which may be stored."""
    found = np.zeros(len(wanted), dtype=bool)
    for _, part in slices_of(names):
        a, b = comparable(part, wanted)
        found |= np.asarray(plain_index(b).isin(plain_index(a)))
        if found.all():
            break
    return found


def first_differences(left: Names, right: Names) -> list[tuple[int, Any, Any]]:
    """Return (place, left name, right name) of the first few places whose names differ."""
    found: list[tuple[int, Any, Any]] = []
    for start, part in slices_of(left):
        other = as_index(right[start : start + len(part)])
        a, b = comparable(part, other)
        at = np.flatnonzero(np.asarray(a != b, dtype=bool))[: SHOWN - len(found)]
        pairs = zip(part.take(at).tolist(), other.take(at).tolist(), strict=True)
        found += [(start + place, *pair) for place, pair in zip(at.tolist(), pairs, strict=True)]
        if len(found) == SHOWN:
            break
    return found


def only_in(names: Names, others: Names) -> pd.Index:
    """Return the names that are not among others, one of which is in memory."""
    if isinstance(others, pd.Index):
        lookup = Lookup(others)
        parts = [part[lookup.places(part) < 0] for _, part in slices_of(names)]
        lacking = [part for part in parts if len(part)]
        return lacking[0] if len(lacking) == 1 else as_index([n for part in lacking for n in part])
    whole = as_index(names)
    return whole[~is_known(others, whole)]


# --- rows -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Match:
    """How the right side fits the left: its places in the left's order, and the known names.

    ``order`` is None where nothing has to be moved; else ``right.take(order)`` has the left's
    order.
    """

    order: Places | None
    names: Any


def match_rows(left: Side, right: Side, *, movable: bool = False) -> Match:
    """Return how the rows of two arguments match.

    Parameters
    ----------
    left, right : Side
    movable : bool
        Whether the right side's rows are in memory and may be put in order. Its names are then in
        memory too; those of the left may be stored.

    Raises
    ------
    InputError
        If names differ, or stand in another order and cannot be moved; if they are missing; or if
        one side has none and another number of rows.
    """
    known = left.names if left.names is not None else right.names
    for side in (left, right):
        if side.names is not None and len(side.names) != side.count:
            raise InputError(
                f"{side.argument}: expected a name for each of its {side.count:,} rows, got "
                f"{len(side.names):,} names."
            )
        if side.names is not None:
            check_names(side.argument, "rows", side.names)
    if left.count != right.count:
        raise different_rows(left, right)
    if left.names is None or right.names is None:
        check_numbered(left, right)
        return Match(None, known)
    differing = first_differences(left.names, right.names)
    if not differing:
        return Match(None, known)
    if not (movable and right.in_memory):
        raise other_order(left, right, differing)
    return Match(row_order(left, right), known)


def row_order(left: Side, right: Side) -> Places:
    """Return the places of the right rows in the order of the left, if they are the same rows."""
    assert left.names is not None
    assert isinstance(right.names, pd.Index)
    check_unique_rows(left, right)
    lookup = Lookup(right.names)
    order = np.concatenate([lookup.places(part) for _, part in slices_of(left.names)])
    if (order < 0).any():
        raise different_rows(left, right)
    if (np.bincount(order, minlength=right.count) != 1).any():
        repeated = as_index(right.names[np.flatnonzero(np.bincount(order) > 1)])
        raise InputError(
            f"{left.argument}: expected each row once, as its rows stand in another order than "
            f"those of {right.argument}, but {listed(repeated)} occur more than once. Make the "
            "names unique, or put both into one order."
        )
    return order


def check_unique_rows(left: Side, right: Side) -> None:
    """Refuse to put rows in order by names that several of them share."""
    assert isinstance(right.names, pd.Index)
    values = pd.Index(normal(right.names).values, tupleize_cols=False)
    if not values.is_unique:
        repeated = right.names[np.flatnonzero(values.duplicated())]
        raise InputError(
            f"{right.argument}: expected its rows in the order of {left.argument}, as several have "
            f"one name ({listed(repeated)}), so that they cannot be put in order by name. Make the "
            "names unique, or put both into one order."
        )


def check_numbered(left: Side, right: Side) -> None:
    """Refuse a frame whose rows are numbered 0 to N - 1 beside one with the same numbers, shuffled.

    Matching the numbers would move the rows, matching places would not: only the caller knows which
    is right.
    """
    named, unnamed = (left, right) if right.names is None else (right, left)
    if not isinstance(named.names, pd.Index) or not unnamed.numbered:
        return
    if not shuffled_numbers(named.names):
        return
    raise InputError(
        f"{named.argument}: expected rows in the order of {unnamed.argument}, whose index is 0 to "
        f"{unnamed.count - 1:,}, got the same numbers in another order "
        f"({listed(named.names[:3], 3)}, ...). If they are the row numbers of {unnamed.argument}, "
        f"call .sort_index() on {named.argument}; if the rows correspond as they stand, "
        ".reset_index(drop=True)."
    )


def shuffled_numbers(names: pd.Index) -> bool:
    """Return whether names are the numbers 0 to n - 1 in another order."""
    form = normal(names)
    if form.kind != WHOLE or form.values.dtype != np.int64 or not len(names):
        return False
    values, places = form.values, np.arange(len(names))
    if (values == places).all() or values.min() != 0 or values.max() != len(names) - 1:
        return False
    return bool((np.bincount(values, minlength=len(names)) == 1).all())


def other_order(left: Side, right: Side, differing: list[tuple[int, Any, Any]]) -> InputError:
    """Return the error for rows that differ and may not be moved."""
    assert left.names is not None
    assert right.names is not None
    if left.in_memory and right.in_memory:
        if len(only_in(left.names, right.names)) or len(only_in(right.names, left.names)):
            return different_rows(left, right)
        what = "the same rows in another order"
    else:
        what = "other rows, or rows in another order"
    shown = ", ".join(f"row {at:,} is {one!r} and {other!r}" for at, one, other in differing[:3])
    return InputError(
        f"{right.argument}: expected its rows in the order of {left.argument}, got {what}: "
        f"{shown}. Put both into one order, for example with .reindex() by the names of one."
    )


def different_rows(left: Side, right: Side) -> InputError:
    """Return the error for rows that are not the same."""
    numbers = f"{left.count:,} and {right.count:,} rows"
    if left.names is None or right.names is None or not (left.in_memory or right.in_memory):
        return InputError(
            f"{right.argument}: expected as many rows as {left.argument}, each the same example, "
            f"got {numbers}."
        )
    return InputError(f"{right.argument}: {difference('rows', left, right)} ({numbers}).")


def difference(kind: str, left: Side, right: Side) -> str:
    """Return in words what each side has that the other lacks."""
    assert left.names is not None
    assert right.names is not None
    lacking, surplus = only_in(left.names, right.names), only_in(right.names, left.names)
    parts = [
        f"{side.argument} alone has {listed(names)}"
        for side, names in ((left, lacking), (right, surplus))
        if len(names)
    ]
    text = f"expected the same {kind} as in {left.argument}; {' and '.join(parts)}"
    if len(lacking) and len(surplus):
        kinds = kind_of(lacking), kind_of(surplus)
        if kinds[0] != kinds[1]:
            text += f". The names are {kinds[0]} there and {kinds[1]} here: convert one of them"
    return text


# --- what is excluded -------------------------------------------------------------------------


def unknown_names(wanted: Iterable[Any], *known: Names) -> pd.Index:
    """Return the wanted names that are in none of the known ones, which may be stored."""
    left = as_index(list(wanted))
    for names in known:
        left = left[~is_known(names, left)]
    return left
