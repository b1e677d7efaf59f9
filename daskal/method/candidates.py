"""Examples that may still be chosen for a batch: those with the smallest scores, of each group few.

A group is what examples have in common of which a batch should hold few: copies of one picture, a
user, a video.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskal.method.tallies import Smallest
from daskal.method.values import Bools, Ints
from daskal.names.naming import missing_places
from daskal.names.normal import MIXED, NUMBER, TEXT, WHOLE, as_index, key_of, normal, objects_of

# An example of this group is in none: clusterings call noise so, and whole numbers have no NaN.
NO_GROUP = -1
NO_GROUP_KEYS = ((WHOLE, NO_GROUP), (TEXT, ""))
# Bytes that an example takes in a state, its score and row; and its group beside them, a text of up
# to 64 characters with its kind (measured).
EXAMPLE_BYTES, GROUP_BYTES = 16, 200
# Bytes that merging two states takes for each example of the result, the result included; and those
# that ranking takes for each candidate (measured).
MERGE_BYTES, RANKED_BYTES = 272, 160


class Limits(NamedTuple):
    """What leaves an example out of a batch, whatever its score."""

    max_annotations: int | None = None
    stop_at_quality: float | None = None
    max_per_group: int | None = None


# --- groups -----------------------------------------------------------------------------------


def group_codes(values: NDArray[Any]) -> Ints:
    """Return a code from 0 for each distinct group, -1 where an example is in none."""
    index = as_index(values)
    known = np.ones(len(index), dtype=bool)
    known[missing_places(index)] = False
    form = normal(index if known.all() else index[known])
    codes = np.full(len(index), NO_GROUP, dtype=np.int64)
    found, _ = pd.factorize(form.values)
    if form.kind in (WHOLE, NUMBER):
        found = np.where(np.equal(form.values, NO_GROUP), NO_GROUP, found)
    elif form.kind == TEXT:
        found = np.where(np.equal(form.values, ""), NO_GROUP, found)
    elif form.kind == MIXED:
        # Among values of several types too, or it would hang on the block what is a group.
        none = [key in NO_GROUP_KEYS for key in form.values.tolist()]
        found = np.where(none, NO_GROUP, found)
    codes[known] = found
    return codes


def group_keys(values: NDArray[Any], codes: Ints) -> NDArray[np.object_]:
    """Return the groups of examples in a form that is equal for equal groups, None for none."""
    keys = np.full(len(codes), None, dtype=object)
    known = codes != NO_GROUP
    index = as_index(values[known])
    form = normal(index)
    pairs: Iterable[Any] = map(key_of, index.astype(object).tolist())
    if form.kind in (WHOLE, TEXT):  # almost always, and faster than one by one
        pairs = ((form.kind, value) for value in form.values.tolist())
    keys[known] = objects_of(pairs, len(index))
    return keys


def places_in_groups(codes: Ints) -> Ints:
    """Return how many examples before each one are of its group, 0 for one that is in none."""
    order = np.argsort(codes, kind="stable")
    ranked = codes[order]
    at = np.arange(len(codes))
    first = np.ones(len(codes), dtype=bool)
    first[1:] = ranked[1:] != ranked[:-1]
    places = np.empty(len(codes), dtype=np.int64)
    places[order] = at - np.maximum.accumulate(np.where(first, at, 0))
    return np.where(codes == NO_GROUP, 0, places)


# --- states -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SmallestOfGroups(Smallest):
    """The ``size`` smallest scores by (score, row), at most ``max_per_group`` of one group.

    Whoever walks through all examples by (score, row) takes these: one that is left out has
    ``max_per_group`` of its group before it, or ``size`` that are taken.

    Attributes
    ----------
    size : int
    scores : (s,) float64
    rows : (s,) int64
    max_per_group : int
    groups : (s,) object
        As :func:`group_keys` gives them.
    """

    max_per_group: int
    groups: NDArray[np.object_]

    def take(self, kept: Bools) -> SmallestOfGroups:
        """Return some of the examples."""
        return SmallestOfGroups(
            self.size, self.scores[kept], self.rows[kept], self.max_per_group, self.groups[kept]
        )

    def merge(self, other: Smallest) -> SmallestOfGroups:
        """Return the smallest of both together."""
        assert isinstance(other, SmallestOfGroups)
        scores = np.concatenate([self.scores, other.scores])
        rows = np.concatenate([self.rows, other.rows])
        groups = np.concatenate([self.groups, other.groups])
        order = np.lexsort((rows, scores))
        codes, _ = pd.factorize(groups[order])
        order = order[places_in_groups(codes) < self.max_per_group][: self.size]
        return SmallestOfGroups(
            self.size, scores[order], rows[order], self.max_per_group, groups[order]
        )


def example_bytes(*, grouped: bool) -> int:
    """Return the most bytes that an example takes in a state, text as groups being short."""
    return EXAMPLE_BYTES + (GROUP_BYTES if grouped else 0)


# --- the walk ---------------------------------------------------------------------------------


def walk(
    groups: NDArray[np.object_] | None,
    relabel: Bools,
    *,
    size: int,
    max_per_group: int | None = None,
    max_relabel: int | None = None,
) -> Ints:
    """Return the places of the first ``size`` examples that no limit leaves out, in their order.

    At most ``max_per_group`` are of one group, and at most ``max_relabel`` are ``relabel``.
    """
    taken: list[int] = []
    of_group: dict[Any, int] = {}
    relabeled = 0
    for place, again in enumerate(relabel.tolist()):
        if len(taken) == size:
            break
        if again and relabeled == max_relabel:
            continue
        group = None if groups is None else groups[place]
        if group is not None:
            if of_group.get(group, 0) == max_per_group:
                continue
            of_group[group] = of_group.get(group, 0) + 1
        relabeled += again
        taken.append(place)
    return np.array(taken, dtype=np.int64)
