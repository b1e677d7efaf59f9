"""What NumPy has no word for: 64 values compared into a word of bits, and memory asked for ahead.

Work that goes from vote to vote, or from row to row, waits for memory that nobody has asked for.
"""

from __future__ import annotations

from typing import Any

from daskal.kernels.compiling import instruction

BITS = 64
# Bytes that are asked for ahead of those compared, and bytes of a line of the cache.
AHEAD, LINE = 8192, 64


@instruction
def bits_from(context: Any, values: Any, start: Any, least: Any) -> Any:
    """Return which of the 64 values from ``start`` on reach the least, the first the lowest bit.

    NaN does not. ``values`` is one-dimensional and in C order. Those ``AHEAD`` bytes on are asked
    for.
    """
    from llvmlite import ir
    from numba.core.types import Float, int64, uint64

    is_float = isinstance(least, Float)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, start, least = args
        first = data_of(context, builder, signature.args[0], values)
        size = signature.args[0].dtype.bitwidth // 8
        place = builder.gep(first, [start])
        for ahead in range(AHEAD, AHEAD + BITS * size, LINE):
            prefetch(builder, place, ir.IntType(64)(ahead))
        vector = ir.VectorType(first.type.pointee, BITS)
        given = builder.load(builder.bitcast(place, vector.as_pointer()), align=size)
        none = ir.Constant(vector, ir.Undefined)
        every = ir.Constant(ir.VectorType(ir.IntType(32), BITS), [0] * BITS)
        bound = builder.insert_element(none, least, ir.IntType(32)(0))
        bound = builder.shuffle_vector(bound, bound, every)
        compare = builder.fcmp_ordered if is_float else builder.icmp_signed
        return builder.bitcast(compare(">=", given, bound), ir.IntType(BITS))

    return uint64(values, int64, values.dtype), build


@instruction
def trailing_zeros(context: Any, word: Any) -> Any:
    """Return the number of zero bits below the lowest bit set, in a word that is not 0."""
    from llvmlite import ir
    from numba.core.types import int64, uint64

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return int64(uint64), build


@instruction
def ask_for(context: Any, values: Any, offset: Any) -> Any:
    """Ask for the line of memory some bytes from an array's start; none has to be there."""
    from numba.core.types import int64, none

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, offset = args
        prefetch(builder, data_of(context, builder, signature.args[0], values), offset)
        return context.get_dummy_value()

    return none(values, int64), build


def data_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Return the pointer to the first element of an array."""
    from numba.np import arrayobj

    make: Any = arrayobj.make_array
    return make(kind)(context, builder, array).data


def prefetch(builder: Any, place: Any, offset: Any) -> None:
    """Have the processor bring a line of memory into its caches, without waiting for it."""
    from llvmlite import ir

    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    at = builder.gep(builder.bitcast(place, byte), [offset])
    reading, keep, data = number(0), number(3), number(1)
    builder.call(function, [at, reading, keep, data])
