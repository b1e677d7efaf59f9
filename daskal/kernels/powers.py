"""Logarithms and powers of two in a few instructions that processors do on vectors.

A float64 is 2^e m: its bits give e, and a polynomial the logarithm of m. Integers turn into floats
and back by adding a large number, for no processor below AVX-512 converts vectors of 64-bit
integers; exponents are shifted as unsigned ones, for AVX2 shifts no others.

Errors (measured: ``tests/kernels/test_powers.py``): two units in the last place of the logarithm,
three of the power.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daskal.kernels.compiling import compiled, instruction

# --- instructions -----------------------------------------------------------------------------


def polynomial(*coefficients: float) -> Any:
    """Return a kernel of x, s and c: a polynomial of x, the constant first, times s and plus c.

    Each step multiplies and adds at once, rounded once, on every processor.
    """

    @instruction
    def evaluate(context: Any, x: Any, scale: Any, constant: Any) -> Any:
        from llvmlite import ir
        from numba.core.types import float64

        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, scale, constant = args
            *terms, y = (ir.Constant(ir.DoubleType(), term) for term in coefficients)
            for term in reversed(terms):
                y = builder.fma(y, x, term)
            return builder.fma(scale, y, constant)

        return float64(float64, float64, float64), build

    return evaluate


# --- logarithms and powers --------------------------------------------------------------------

LN2 = float(np.log(2.0))

FRACTION_BITS = np.uint64(52)
FRACTION = np.uint64(2**52 - 1)
# The bits of sqrt(1/2), from which m is counted, and how far it is from 1 in bits.
ROOT = np.uint64(0x3FE6A09E667F3BCD)
TO_ONE = np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
# A whole number put into the last bits of 2^52 is added to it.
WHOLE = np.uint64(0x4330000000000000)
WHOLE_BIAS = 2.0**52 + 1023
# Added to a number of less than 2^51 and taken off again, it rounds to a whole one, and the sum's
# last bits hold that.
ROUNDING = 1.5 * 2.0**52
# The least normal number, taken instead of those below it, and the least power of two given back.
LEAST_NORMAL = 2.0**-1022
LEAST_POWER = -1022.0

# log2((1 + s) / (1 - s)) / s in s^2, to 2e-16 of it up to the s of sqrt(2).
log_series = polynomial(
    2.885390081777927,
    0.9617966939243334,
    0.5770780172467823,
    0.4121984019742357,
    0.3206163935263423,
    0.26144407006393944,
    0.2429183013526297,
)
# (2^f - 1) / f in f, to 6e-16 of 2^f up to an f of 1/2.
power_series = polynomial(
    0.6931471805599462,
    0.24022650695910075,
    0.05550410866465167,
    0.009618129107618665,
    0.0013333558200794592,
    0.00015403530424776529,
    1.5252672924850737e-05,
    1.3215451633221434e-06,
    1.0205905413765595e-07,
    7.070977866508138e-09,
)


@compiled
def bits_of(x: Any) -> Any:
    """Return the bits of a float64."""
    return np.float64(x).view(np.uint64)


@compiled
def float_of(bits: Any) -> Any:
    """Return the float64 of some bits."""
    return np.uint64(bits).view(np.float64)


@compiled
def log2(x: float) -> float:
    """Return the logarithm of a number from 0 on, of at least the least normal one."""
    bits = bits_of(max(x, LEAST_NORMAL)) + TO_ONE
    exponent = float_of((bits >> FRACTION_BITS) | WHOLE) - WHOLE_BIAS
    m = float_of((bits & FRACTION) + ROOT)
    s = (m - 1.0) / (m + 1.0)
    return log_series(s * s, s, exponent)


@compiled
def log1p(x: float) -> float:
    """Return the natural logarithm of 1 + x, x from 0 on."""
    s = x / (2.0 + x)
    # Up to the s of sqrt(2) the series holds.
    return log_series(s * s, s, 0.0) * LN2 if x < 0.4 else log2(1.0 + x) * LN2


@compiled
def exp2(y: float) -> float:
    """Return two to a power below 1024, taken as at least the least normal number's."""
    y = max(y, LEAST_POWER)
    rounded = y + ROUNDING
    f = y - (rounded - ROUNDING)
    power = power_series(f, f, 1.0)
    return float_of(bits_of(power) + (bits_of(rounded) << FRACTION_BITS))
