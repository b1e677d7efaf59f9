"""Columns of two arguments: classes and annotators matched by name, and put in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskal.errors import InputError
from daskal.names.naming import (
    check_names,
    check_unique,
    class_texts,
    codes_in,
    kind_of,
    listed,
    spelled_as_codes,
)
from daskal.names.normal import WHOLE, as_index
from daskal.names.rows import Match, Places, Side, find, only_in, shuffled_numbers
from daskal.text import plural

# --- classes ----------------------------------------------------------------------------------


def match_classes(left: Side, right: Side) -> Match:
    """Return how columns of probabilities, the right side, fit the classes of the left.

    The left side (labels, an estimate, or probabilities that are in order already) has the order of
    the class codes. ``names`` is a tuple of texts, None where neither side has names.

    Columns called 0 to K - 1 are class codes in any order (column 2 is class 2) if the classes of
    the other side have other names, or none. As text ("2") they are class codes only if it has
    none.

    Raises
    ------
    InputError
        If one side has classes that the other lacks, or another number of them.
    """
    ours, theirs = (
        None if side.names is None else class_texts(side.argument, as_index(side.names))
        for side in (left, right)
    )
    if left.count != right.count:
        raise different_classes(left, right, ours, theirs)
    if theirs is None:
        if left.moved:
            raise unnamed_columns(left, right, ours)
        return Match(None, ours)
    if ours is not None and same_classes(ours, theirs):
        known, wanted = (as_index(spelled_as_codes(names)) for names in (theirs, ours))
        return Match(unless_identity(find(known, wanted)), ours)
    codes = codes_in(theirs)
    assert right.names is not None
    if ours is not None and (codes is None or kind_of(as_index(right.names)) != WHOLE):
        raise different_classes(left, right, ours, theirs)
    if codes is None:
        return Match(None, theirs)
    order = np.argsort(codes)
    names = tuple(theirs[at] for at in order.tolist()) if ours is None else ours
    return Match(unless_identity(order), names)


def same_classes(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether names are those of the same classes, in whatever order."""
    return sorted(spelled_as_codes(one)) == sorted(spelled_as_codes(other))


def names_beside_codes(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the names of classes, None where each name is the class's own code."""
    return None if texts is None or is_identity(codes_in(texts)) else texts


def is_identity(places: Places | None) -> bool:
    """Return whether places are 0, 1, 2, ..."""
    return places is not None and bool((places == np.arange(len(places))).all())


def unless_identity(places: Places) -> Places | None:
    """Return places, None where they leave the order as it is."""
    return None if is_identity(places) else places


def unnamed_columns(left: Side, right: Side, names: Sequence[str] | None) -> InputError:
    """Return the error for columns without names beside some that were put in order by theirs."""
    called = "" if names is None else f" with the columns {listed(names)}"
    return InputError(
        f"{right.argument}: expected named columns, as the probabilities of {left.argument} had, "
        f"which were put in the order of their names, got {right.count:,} without names. Name them "
        f"(a DataFrame{called}), or put the columns of both in the order of the class codes."
    )


def different_classes(
    left: Side, right: Side, ours: Sequence[str] | None, theirs: Sequence[str] | None
) -> InputError:
    """Return the error for classes that are not the same."""
    numbers = f"{left.argument} has {left.count:,} classes"
    if ours is not None:
        numbers += f" ({listed(ours)})"
    numbers += f", {right.argument} {right.count:,}"
    if theirs is not None:
        numbers += f" ({listed(theirs)})"
    advice = "Give both the same classes, by the same names."
    if ours is None or theirs is None:
        advice = (
            "Name all classes in the order of the probabilities' columns: classes= of "
            "daskal.import_votes, or the columns of a DataFrame."
        )
    else:
        one, other = (as_index(list(names)) for names in (ours, theirs))
        for argument, lacking in (
            (left.argument, only_in(one, other)),
            (right.argument, only_in(other, one)),
        ):
            if len(lacking):
                numbers += f"; {argument} alone has {listed(lacking)}"
    return InputError(
        f"{right.argument}: expected the classes of {left.argument}; {numbers}. {advice}"
    )


# --- annotators -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """Where the annotators of some votes are in an estimate: their places, -1 for the unknown."""

    places: Places
    num_known: int
    unknown: tuple[Any, ...]
    note: str | None

    @property
    def order(self) -> Places | None:
        """The places, None where they are all of the estimate's in its order."""
        same = is_identity(self.places) and len(self.places) == self.num_known
        return None if same else self.places


def match_annotators(estimate: Side, votes: Side) -> Found:
    """Return the place in the estimate of each annotator of the votes.

    One that the estimate does not know has the place -1, and ``note`` says so for a warning.

    Raises
    ------
    InputError
        If names are missing or repeated, or one side has none and another number of annotators.
    """
    for side in (estimate, votes):
        if side.names is not None:
            check_names(side.argument, "annotators", side.names)
            check_unique(side.argument, "annotators", as_index(side.names))
    if estimate.names is None or votes.names is None:
        if estimate.count != votes.count:
            raise InputError(
                f"{votes.argument}: expected the {estimate.count:,} annotators of "
                f"{estimate.argument}, got {votes.count:,}, and {unnamed_side(estimate, votes)} "
                "has no names to match them by. Name the columns (a DataFrame) in both calls."
            )
        named = votes if estimate.names is None else estimate
        if named.names is not None and shuffled_numbers(as_index(named.names)):
            raise InputError(
                f"{votes.argument}: expected annotators in the order of {estimate.argument}, got "
                f"{named.argument} with the numbers {listed(as_index(named.names))}, which are no "
                f"order of columns, and {unnamed_side(estimate, votes)} without names. Name the "
                "columns on both sides, or put them into order."
            )
        return Found(np.arange(votes.count), estimate.count, (), None)
    known, given = as_index(estimate.names), as_index(votes.names)
    places = find(known, given)
    unknown = given[places < 0]
    if not len(unknown):
        return Found(places, len(known), (), None)
    none = "; it knows none of them" if len(unknown) == len(given) else ""
    kinds = kind_of(known), kind_of(unknown)
    hint = f" Its names are {kinds[0]}, these are {kinds[1]}." if kinds[0] != kinds[1] else ""
    note = (
        f"{votes.argument}: {estimate.argument} does not know "
        f"{plural(len(unknown), 'annotator')} of {len(given):,}, who get the mean weight: "
        f"{listed(unknown)}{none}.{hint}"
    )
    return Found(places, len(known), tuple(unknown.tolist()), note)


def unnamed_side(one: Side, other: Side) -> str:
    """Return the name of the argument whose annotators have no names."""
    return one.argument if one.names is None else other.argument
