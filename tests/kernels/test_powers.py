"""Powers by table and by logarithm, against extended precision."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from daskal.kernels import powers
from daskal.kernels.powers import PowersByLog, PowersByTable
from daskal.method import temperature

WAYS = [PowersByLog, PowersByTable]
EXPONENTS = [1 / 8, 0.2, 1 / 3, 0.4, 0.5, 1.0, 1 / 0.7, 2.0, 3.6, 5.0, 10.0, 1000.0]
ULP = 2.0**-52

needs_extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2e-19, reason="this platform has no extended precision"
)


def make_numbers(num: int = 20_000) -> np.ndarray:
    """Return probabilities of all magnitudes that clipped ones have, ends included."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(np.log(1e-30), 0, num))
    near_one = 1 - rng.random(num) * 2.0 ** -rng.integers(1, 53, num)
    steps = 1 + np.arange(512) / 512
    edges = [1e-30, powers.LEAST, np.nextafter(powers.BEYOND, 0), 1.001]
    return np.concatenate([sizes, near_one, steps, np.nextafter(steps, 0), edges])


@needs_extended
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_table_errs_by_about_a_unit_in_the_last_place(exponent):
    x = make_numbers()
    exact = x.astype(np.longdouble) ** np.longdouble(exponent)
    normal = exact > np.finfo(np.float64).tiny
    found = PowersByTable(x).raise_to(exponent)
    error = np.abs(found[normal] / exact[normal] - 1)
    # Each squaring that follows for a large exponent doubles the error, and rounds.
    assert error.max() < 1.5 * max(1, exponent / powers.MOST_EXPONENT * 2) * ULP
    np.testing.assert_allclose(found[~normal], exact[~normal].astype(float), atol=1e-300)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_both_ways_are_alike(exponent):
    x = make_numbers()
    by_log, by_table = (way(x).raise_to(exponent) for way in WAYS)
    np.testing.assert_allclose(by_table, by_log, rtol=70 * exponent * ULP + 4 * ULP, atol=1e-300)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_one_and_powers_of_it_are_exact(way, exponent):
    assert way(np.ones(3)).raise_to(exponent).tolist() == [1.0] * 3


@pytest.mark.parametrize("exponent", [0.125, 0.4, 3.6])
def test_what_is_in_no_table_is_raised_too(exponent):
    odd = np.array([0.0, 5e-324, 1e-310, 1e-31, 0.25, 1.0, 2.0, 1e300, np.inf, np.nan])
    with warnings.catch_warnings(), np.errstate(under="ignore", over="ignore"):
        warnings.simplefilter("error")
        found = PowersByTable(odd.copy()).raise_to(exponent)
        expected = odd**exponent
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[0] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_number_has_the_same_power_in_any_company(way):
    x = np.concatenate([make_numbers(300), [0.0, 1e-40, 3.0]])
    together = way(x).raise_to(0.4)
    alone = [way(x[at : at + 1]).raise_to(0.4)[0] for at in range(len(x))]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(way(x[::-1].copy()).raise_to(0.4)[::-1], together)
    square = way(x[:602].reshape(2, 301))
    np.testing.assert_array_equal(square.raise_to(0.4).reshape(-1), together[:602])


def test_numbers_known_to_be_in_the_tables_need_no_look():
    x = make_numbers(100)
    known = PowersByTable(x, inside=True)
    np.testing.assert_array_equal(known.raise_to(0.4), PowersByTable(x).raise_to(0.4))
    np.testing.assert_array_equal(powers.power(x, 0.4, inside=True), powers.power(x, 0.4))


@pytest.mark.parametrize("way", WAYS)
def test_exponents_follow_each_other(way):
    x = np.append(make_numbers(100), 0.0)
    kept = x.copy()
    several = way(x)
    for exponent in (0.4, 5.0, 0.125, 0.4):
        np.testing.assert_array_equal(several.raise_to(exponent), way(kept).raise_to(exponent))
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("exponent", [0.4, 0.5])
def test_power_may_take_the_place_of_its_numbers(monkeypatch, vectorised, exponent):
    monkeypatch.setattr(powers, "log_is_vectorised", lambda: vectorised)
    x = make_numbers(100)
    x[7] = 0.0
    expected = powers.power(x, exponent)
    np.testing.assert_array_equal(powers.power(x.copy(), exponent, out=np.empty_like(x)), expected)
    lost = x.copy()
    np.testing.assert_array_equal(powers.power(lost, exponent, out=lost), expected)
    np.testing.assert_allclose(expected, x**exponent, rtol=1e-13)


@pytest.mark.parametrize(
    ("levels", "vectorised"),
    [
        (("X86_V2", "X86_V3"), False),
        (("X86_V2", "X86_V3", "X86_V4"), True),
        (("SSE", "AVX2", "AVX512F"), True),
        (("NEON", "ASIMD"), False),
    ],
)
def test_way_follows_from_what_numpy_finds(monkeypatch, levels, vectorised):
    monkeypatch.setattr(powers, "simd_levels", lambda: levels)
    powers.log_is_vectorised.cache_clear()
    try:
        assert powers.log_is_vectorised() == vectorised
        way = PowersByLog if vectorised else PowersByTable
        assert isinstance(powers.prepare_powers(np.ones(2)), way)
    finally:
        powers.log_is_vectorised.cache_clear()


@pytest.mark.parametrize(
    ("config", "levels"),
    [
        ({}, ()),
        ({"SIMD Extensions": {"baseline": ["X86_V2"], "not found": ["X86_V4"]}}, ("X86_V2",)),
        ({"SIMD Extensions": {"baseline": ["A"], "found": ["B", "C"]}}, ("A", "B", "C")),
    ],
)
def test_levels_that_numpy_leaves_out_are_none(monkeypatch, config, levels):
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    assert powers.simd_levels.__wrapped__() == levels


def test_numbers_in_another_order_are_refused():
    across = make_numbers(100)[:100].reshape(10, 10).T
    with pytest.raises(AssertionError):
        PowersByTable(across)
    with pytest.raises(AssertionError):
        PowersByTable(np.ascontiguousarray(across), out=across)


def test_levels_are_named_as_numpy_names_them_here():
    levels = powers.simd_levels()
    assert len(levels) > 0
    assert all(level == level.upper() for level in levels)


def test_each_temperature_of_the_grid_keeps_its_table():
    assert len(temperature.TEMPERATURE_GRID) <= powers.NUM_TABLES
    assert powers.power_table(0.4) is powers.power_table(0.4)
