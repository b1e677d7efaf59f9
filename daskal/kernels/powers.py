"""Powers x^a of many numbers at once, without a logarithm and an exponential for each.

NumPy's ``log`` and ``exp`` of float64 are vectorised for AVX-512 alone; elsewhere they cost some 5
ns a number each, where a product costs 0.2. There, a number is taken as ``c (1 + r)``, c being the
nearest of 256 steps from one power of two to the next: c^a comes from a table and (1 + r)^a from a
polynomial. That takes half the time, and errs by one unit in the last place where a logarithm's
last bit is multiplied to dozens (measured: ``tests/test_powers.py``).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, Protocol

import numpy as np

from daskal.method.values import Floats

# SIMD levels, as NumPy names them in its releases, for which its log and exp are vectorised.
VECTORISED_LEVELS = frozenset({"AVX512F", "AVX512_SKX", "X86_V4"})

# A float64 is a sign, 11 bits of exponent (less the bias), and 52 bits of fraction.
FRACTION_BITS, BIAS = 52, 1023
STEP_BITS = 8
SHIFT = FRACTION_BITS - STEP_BITS
# Half a step, and what keeps sign, exponent and step of a number: added and cut off, they round.
HALF_STEP, KEPT = np.int64(1 << (SHIFT - 1)), np.int64(-1 << SHIFT)
# Numbers the table holds: 2**-100 is just below the floor of probabilities.
LEAST_EXPONENT, BEYOND_EXPONENT = -100, 1
LEAST, BEYOND = 2.0**LEAST_EXPONENT, 2.0**BEYOND_EXPONENT
FIRST_CELL = np.int64((BIAS + LEAST_EXPONENT) << STEP_BITS)
# No r is further from 0 than half of the first step.
FARTHEST = 2.0 ** -(STEP_BITS + 1)
# The polynomial serves exponents up to this one. Others are halved before and squared after.
MOST_EXPONENT = 2.0
# One a temperature of the grid: 200 KiB each.
NUM_TABLES = 33


class Powers(Protocol):
    """Powers of the same numbers, one exponent after the other."""

    def raise_to(self, exponent: float) -> Floats:
        """Each number raised to a positive exponent: an array that the next call overwrites."""


@functools.cache
def simd_levels() -> tuple[str, ...]:
    """SIMD levels at which NumPy runs here."""
    # NumPy leaves out lists that are empty.
    found = np.show_config(mode="dicts").get("SIMD Extensions", {})
    return (*found.get("baseline", ()), *found.get("found", ()))


@functools.cache
def log_is_vectorised() -> bool:
    """Whether NumPy's logarithm and exponential of float64 use this processor's vectors."""
    return not VECTORISED_LEVELS.isdisjoint(simd_levels())


class PowersByLog:
    """``exp(a log x)`` of numbers from 0 on."""

    def __init__(self, x: Floats) -> None:
        """Take the numbers' logarithms."""
        with np.errstate(divide="ignore"):
            self.logs = np.log(x)
        self.powers = np.empty_like(self.logs)

    def raise_to(self, exponent: float) -> Floats:
        """Each number raised to a positive exponent: an array that the next call overwrites."""
        np.multiply(self.logs, exponent, out=self.powers)
        return np.exp(self.powers, out=self.powers)


class PowersByTable:
    """``c^a (1 + r)^a`` of numbers from 0 on."""

    def __init__(self, x: Floats, out: Floats | None = None, *, inside: bool = False) -> None:
        """Find each number's place in the tables, and its r, into ``out`` where it is given.

        All numbers are ``inside`` where they are known to be in the tables.
        """
        # Bits are looked at, and places counted, in C order.
        assert x.flags.c_contiguous
        assert out is None or out.flags.c_contiguous
        self.outside = NO_PLACES
        if x.size and not inside and not (x.min() >= LEAST and x.max() < BEYOND):
            self.outside = np.flatnonzero(~((x >= LEAST) & (x < BEYOND)))
            with np.errstate(divide="ignore", invalid="ignore"):
                self.outside_logs = np.log(x.reshape(-1).take(self.outside))
            x = x.copy() if out is None else np.positive(x, out=out)
            x.reshape(-1)[self.outside] = 1.0
        steps = x.view(np.int64) + HALF_STEP
        self.cells = np.right_shift(steps, SHIFT)
        self.cells -= FIRST_CELL
        steps &= KEPT
        self.powers = steps.view(np.float64)
        self.rests = np.subtract(x, self.powers, out=out)
        self.rests /= self.powers

    def raise_to(self, exponent: float) -> Floats:
        """Each number raised to a positive exponent: an array that the next call overwrites."""
        squarings = max(0, math.ceil(math.log2(exponent / MOST_EXPONENT)))
        table = power_table(exponent / 2**squarings)
        of_steps = table.powers.take(self.cells)
        first, *others = table.coefficients
        powers = np.multiply(self.rests, first, out=self.powers)
        for coefficient in others:
            powers += coefficient
            powers *= self.rests
        powers *= of_steps
        powers += of_steps
        for _ in range(squarings):
            np.multiply(powers, powers, out=powers)
        if len(self.outside):
            powers.reshape(-1)[self.outside] = np.exp(self.outside_logs * exponent)
        return powers


NO_PLACES = np.empty(0, dtype=np.int64)


class PowerTable(NamedTuple):
    """What powers of one exponent a are made of."""

    powers: Floats  # c^a of each cell
    coefficients: tuple[float, ...]  # of r^4, r^3, r^2, r in (1 + r)^a


@functools.lru_cache(maxsize=NUM_TABLES)
def power_table(exponent: float) -> PowerTable:
    """The table of one exponent.

    The polynomial is the binomial series up to r^5, whose last term gives way to the polynomial of
    degree 3 that is nearest to it (Chebyshev): what is left is below 2**-54.
    """
    # Extended precision, where the platform has it, and no SIMD: the same on all its processors.
    num_steps = 2**STEP_BITS
    steps = np.arange(num_steps, 2 * num_steps, dtype=np.longdouble) / num_steps
    octaves = np.longdouble(2) ** np.arange(LEAST_EXPONENT, BEYOND_EXPONENT + 1)
    series = [1.0]
    for power in range(1, 6):
        series.append(series[-1] * (exponent - power + 1) / power)
    _, linear, square, cube, fourth, fifth = series
    cube += fifth * 5 / 4 * FARTHEST**2
    linear -= fifth * 5 / 16 * FARTHEST**4
    powers = np.multiply.outer(octaves**exponent, steps**exponent).astype(np.float64).reshape(-1)
    return PowerTable(powers, (fourth, cube, square, linear))


def prepare_powers(x: Floats) -> Powers:
    """Powers of numbers from 0 on, to be taken in turn."""
    return PowersByLog(x) if log_is_vectorised() else PowersByTable(x)


def power(x: Floats, exponent: float, out: Floats | None = None, *, inside: bool = False) -> Floats:
    """x^a of numbers from 0 on, a > 0; ``out``, perhaps ``x`` itself, is lost.

    All numbers are ``inside`` where they are known to be neither below ``LEAST`` nor NaN, and below
    ``BEYOND``: they need not be looked through.
    """
    if exponent == 0.5:
        return np.sqrt(x, out=out)
    if log_is_vectorised():
        with np.errstate(divide="ignore"):
            logs = np.log(x, out=out)
        logs *= exponent
        return np.exp(logs, out=logs)
    return PowersByTable(x, out, inside=inside).raise_to(exponent)
