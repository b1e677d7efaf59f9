"""Logarithms and powers of two, against extended precision."""

from __future__ import annotations

import numpy as np
import pytest

from daskal.kernels import powers
from daskal.kernels.compiling import compiled
from daskal.method.values import Floats

ULP = 2.0**-52

needs_extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2e-19, reason="this platform has no extended precision"
)


@compiled
def take_log2(x: Floats, out: Floats) -> None:
    for i in range(len(x)):
        out[i] = powers.log2(x[i])


@compiled
def take_exp2(x: Floats, out: Floats) -> None:
    for i in range(len(x)):
        out[i] = powers.exp2(x[i])


def apply(function, x) -> np.ndarray:
    out = np.empty(len(x))
    function(np.asarray(x, dtype=float), out)
    return out


def make_numbers(num: int = 20_000) -> np.ndarray:
    """Probabilities and ratios of all sizes, and numbers around powers of two and their roots."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(-700, 1, num))
    near_one = 1 - rng.random(num) * 2.0 ** -rng.integers(1, 53, num)
    edges = np.sqrt([0.5, 2.0, 8.0])
    return np.concatenate([sizes, near_one, edges, np.nextafter(edges, 0), np.nextafter(edges, 9)])


@needs_extended
def test_logarithms_err_by_two_units_in_the_last_place():
    x = make_numbers()
    exact = np.log2(x.astype(np.longdouble))
    error = np.abs(apply(take_log2, x) - exact)
    assert (error <= 2 * ULP * np.maximum(np.abs(exact), 2.0**-60)).all()


@needs_extended
def test_powers_err_by_a_few_units_in_the_last_place():
    y = np.concatenate([np.random.default_rng(1).uniform(-1021, 1000, 40_000), np.arange(-1021, 9)])
    exact = np.longdouble(2) ** y.astype(np.longdouble)
    assert np.abs(apply(take_exp2, y) / exact - 1).max() < 3.5 * ULP


@needs_extended
def test_log1p_errs_by_a_few_units_in_the_last_place():
    x = np.concatenate([10.0 ** np.random.default_rng(2).uniform(-300, 12, 3000), [0.4, 0.39999]])
    exact = np.log1p(x.astype(np.longdouble))
    found = np.array([powers.log1p(value) for value in x.tolist()])
    assert np.abs(found / exact - 1).max() < 3 * ULP
    assert powers.log1p(0.0) == 0


def test_what_must_be_exact_is():
    whole = np.arange(-1022, 1000)
    np.testing.assert_array_equal(apply(take_log2, np.ldexp(1.0, whole)), whole)
    np.testing.assert_array_equal(apply(take_exp2, whole), np.ldexp(1.0, whole))


def test_what_is_too_small_counts_as_the_least_normal_number():
    assert apply(take_log2, [0.0, 5e-324, 1e-310, -1.0]).tolist() == [-1022.0] * 4
    assert apply(take_exp2, [-1022.5, -1e9, -np.inf]).tolist() == [2.0**-1022] * 3


@pytest.mark.parametrize("function", [take_log2, take_exp2])
def test_a_number_has_the_same_bits_in_any_company(function):
    x = make_numbers(300)
    together = apply(function, x)
    alone = np.concatenate([apply(function, x[at : at + 1]) for at in range(len(x))])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(apply(function, x[::-1].copy())[::-1], together)
