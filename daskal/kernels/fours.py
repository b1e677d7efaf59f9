"""Rows of a table added up four numbers at a time: the compiler takes loops over votes one by one.

Tables are flat, and what is added begins anywhere: there are ``SPARE`` numbers behind the last.
Vectors of four are added element by element, to the same bits on every processor.

Axes: v votes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daskal.kernels.compiling import instruction

FOUR = 4
SPARE = FOUR - 1


# Elements lie at multiples of eight bytes, and vectors of four no better.
ALIGN = 8


def in_fours(size: int) -> int:
    """Return a size rounded up to whole fours."""
    return (size + SPARE) // FOUR * FOUR


def element(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Return a pointer to an element of a flat array."""
    from numba.np import arrayobj

    make_array: Any = arrayobj.make_array
    return builder.gep(make_array(kind)(context, builder, array).data, [at])


def four(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    """Return a pointer to four elements of a flat array."""
    from llvmlite import ir

    vector = ir.VectorType(context.get_value_type(kind.dtype), FOUR)
    return builder.bitcast(element(context, builder, kind, array, at), vector.as_pointer())


def each_place(
    context: Any, builder: Any, kind: Any, places: Any, votes: Any, use: Callable[[Any], None]
) -> None:
    """Do something at the place of each of some votes."""
    from numba.core import cgutils, types

    first, last = votes
    step = context.get_constant(types.uint64, 1)
    with cgutils.for_range_slice(builder, first, last, step) as (v, _):
        use(builder.load(element(context, builder, kind, places, v)))


@instruction
def add_rows_of_table(
    context: Any, sums: Any, at: Any, start: Any, table: Any, k: Any, places: Any, first: Any,
    last: Any,
) -> Any:  # fmt: skip
    """Write four numbers: those from ``start[k]`` on, and those of ``table`` at places plus k."""
    from numba.core import cgutils, types

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        sums, at, start, table, k, places, *votes = args
        begun = builder.load(four(context, builder, kinds[2], start, k), align=ALIGN)
        keep: Any = cgutils.alloca_once_value
        total = keep(builder, begun)

        def add(place: Any) -> None:
            row = four(context, builder, kinds[3], table, builder.add(place, k))
            added = builder.fadd(builder.load(total), builder.load(row, align=ALIGN))
            builder.store(added, total)

        each_place(context, builder, kinds[5], places, votes, add)
        target = four(context, builder, kinds[0], sums, at)
        builder.store(builder.load(total), target, align=ALIGN)
        return context.get_dummy_value()

    return types.void(sums, at, start, table, k, places, first, last), build


@instruction
def add_to_rows_of_table(
    context: Any, table: Any, k: Any, places: Any, first: Any, last: Any, values: Any, at: Any
) -> Any:
    """Add four whole numbers to those of ``table`` at places plus k."""
    from numba.core import types

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        table, k, places, *votes, values, at = args
        added = builder.load(four(context, builder, kinds[5], values, at), align=ALIGN)

        def add(place: Any) -> None:
            row = four(context, builder, kinds[0], table, builder.add(place, k))
            builder.store(builder.add(builder.load(row, align=ALIGN), added), row, align=ALIGN)

        each_place(context, builder, kinds[2], places, votes, add)
        return context.get_dummy_value()

    return types.void(table, k, places, first, last, values, at), build
