"""The one way in which states merge: field by field, exactly, in any order.

A state is a frozen dataclass whose fields are counts, sums of integers, or states themselves.
Merging is associative and commutative, so that one block, many blocks and any tree of merges end in
the same state.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from daskal.method.values import Floats, Ints


class Mergeable(Protocol):
    """A state that merges with others of its kind."""

    def merge(self, other: Self) -> Self:
        """Return both together."""


State = TypeVar("State", bound=Mergeable)


@dataclass(frozen=True)
class Merging:
    """The base of states: each field is added, or merged in its own way.

    Integers and arrays of one shape are added, tuples go part by part, and what has a ``merge`` of
    its own is merged by it. A field with the metadata ``merge`` is merged by that function.
    """

    def merge(self, other: Self) -> Self:
        """Return both together."""
        return type(self)(
            **{
                part.name: part.metadata.get("merge", merge_values)(
                    getattr(self, part.name), getattr(other, part.name)
                )
                for part in fields(self)
            }
        )


def merge_values(a: Any, b: Any) -> Any:
    """Return two values of a field merged, None if either is None."""
    if a is None or b is None:
        return None
    if isinstance(a, tuple):
        return tuple(merge_values(*pair) for pair in zip(a, b, strict=True))
    return a.merge(b) if hasattr(a, "merge") else a + b


def add_padded(a: Ints, b: Ints) -> Ints:
    """Return the sum of two counts of which one may be longer."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    total = long.copy()
    total[: len(short)] += short
    return total


def keep_first(a: Any, b: Any) -> Any:
    """Return the value that both sides hold."""
    return a


def merge_all(states: Iterable[State]) -> State:
    """Return all states merged, one at a time."""
    return functools.reduce(lambda a, b: a.merge(b), states)


def merge_in_pairs(states: Iterable[State], zero: State) -> State:
    """Return all states merged as they come, each result with one of as many states.

    Tables of many cells grow as they are merged: this way each cell is moved log n times, not n.
    """
    piles: list[tuple[int, State]] = []
    for state in states:
        num, pile = 1, state
        while piles and piles[-1][0] == num:
            num, pile = 2 * num, piles.pop()[1].merge(pile)
        piles.append((num, pile))
    return functools.reduce(lambda merged, pile: pile[1].merge(merged), reversed(piles), zero)


# --- sums in fixed point ----------------------------------------------------------------------

# Qualities are summed as integers in units of 2**-39, in two limbs: the low one has 20 bits.
QUALITY_BITS = 39
LIMB_BITS = 20


@dataclass(frozen=True)
class FixedSums:
    """Sums of values from 0 to 1, exact in any order.

    Attributes
    ----------
    limbs : (2, g) int64
        High and low limb of each sum, the low one below its base.
    """

    limbs: Ints

    @classmethod
    def zero(cls, num_sums: int) -> FixedSums:
        """Return sums of no values."""
        return cls(np.zeros((2, num_sums), dtype=np.int64))

    @classmethod
    def from_limbs(cls, high: Ints, low: Ints) -> FixedSums:
        """Return the unique form of a sum, whose low limb is below its base."""
        return cls(np.stack([high + (low >> LIMB_BITS), low & (2**LIMB_BITS - 1)]))

    def merge(self, other: FixedSums) -> FixedSums:
        """Return both together."""
        return FixedSums.from_limbs(*(self.limbs + other.limbs))

    def values(self) -> Floats:
        """Return the sums as floats, (g,)."""
        high, low = self.limbs.astype(np.float64)
        sums: Floats = np.ldexp(high, LIMB_BITS - QUALITY_BITS) + np.ldexp(low, -QUALITY_BITS)
        return sums


@dataclass(frozen=True)
class Cells:
    """Counts and sums by cell of a large table, of which only the cells that occur are kept.

    Attributes
    ----------
    keys : (c,) int64
        Numbers of the cells, ascending.
    counts : (f, c) int64
        Several counts of each cell.
    sums : FixedSums of c sums
    """

    keys: Ints
    counts: Ints
    sums: FixedSums

    @classmethod
    def zero(cls, num_counts: int) -> Cells:
        """Return no cells."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, np.zeros((num_counts, 0), dtype=np.int64), FixedSums.zero(0))

    def merge(self, other: Cells) -> Cells:
        """Return both together."""
        keys, at = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        mine, others = at[: len(self.keys)], at[len(self.keys) :]

        def by_cell(a: Ints, b: Ints) -> Ints:
            total = np.zeros((len(a), len(keys)), dtype=np.int64)
            total[:, mine] += a
            total[:, others] += b
            return total

        limbs = by_cell(self.sums.limbs, other.sums.limbs)
        return Cells(keys, by_cell(self.counts, other.counts), FixedSums.from_limbs(*limbs))
