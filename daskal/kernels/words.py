"""Words of bits, one for each of 64 values: compared in one go, and gone through bit by bit."""

from __future__ import annotations

from typing import Any

from daskal.kernels.compiling import instruction

BITS = 64
# Bytes that are asked for ahead of those compared, and bytes of a line of the cache.
AHEAD, LINE = 8192, 64


@instruction
def bits_from(context: Any, values: Any, start: Any, least: Any) -> Any:
    """Return which of the 64 values from ``start`` on reach the least, the first the lowest bit.

    NaN does not. ``values`` is one-dimensional and in C order. Values farther on are asked for, as
    what waits for memory most is the way from vote to vote.
    """
    from llvmlite import ir
    from numba.core.types import Float, int64, uint64
    from numba.np.arrayobj import make_array

    is_float = isinstance(least, Float)

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, start, least = args
        array = make_array(signature.args[0])(context, builder, values)
        size = signature.args[0].dtype.bitwidth // 8
        place = builder.gep(array.data, [start])
        for ahead in range(AHEAD, AHEAD + BITS * size, LINE):
            ask_for(builder, place, ahead)
        vector = ir.VectorType(array.data.type.pointee, BITS)
        given = builder.load(builder.bitcast(place, vector.as_pointer()), align=size)
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), least, ir.IntType(32)(0))
        every = ir.Constant(ir.VectorType(ir.IntType(32), BITS), [0] * BITS)
        bound = builder.shuffle_vector(first, first, every)
        compare = builder.fcmp_ordered if is_float else builder.icmp_signed
        return builder.bitcast(compare(">=", given, bound), ir.IntType(BITS))

    return uint64(values, int64, values.dtype), build


def ask_for(builder: Any, place: Any, ahead: int) -> None:
    """Ask for memory some bytes from a place, without waiting; none has to be there."""
    from llvmlite import ir

    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    at = builder.gep(builder.bitcast(place, byte), [ir.IntType(64)(ahead)])
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    reading, keep, data = number(0), number(3), number(1)
    builder.call(prefetch, [at, reading, keep, data])


@instruction
def trailing_zeros(context: Any, word: Any) -> Any:
    """Return the number of zero bits below the lowest bit set, in a word that is not 0."""
    from llvmlite import ir
    from numba.core.types import int64, uint64

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return int64(uint64), build
