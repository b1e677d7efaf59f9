"""Words of bits, and memory asked for ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.kernels.compiling import compiled
from daskal.kernels.instructions import BITS, ask_for, bits_from, trailing_zeros
from daskal.kernels.votes import LABEL_DTYPES

SPECIAL = (-np.inf, -1.5, -1, -0.0, 0, 0.5, 1, 2**31, np.inf, np.nan)


@compiled
def mark(values, start, least):
    return bits_from(values, start, least)


@compiled
def first_bit(word):
    return trailing_zeros(word)


@compiled
def ask(values, offset):
    ask_for(values, offset)


@pytest.mark.parametrize("dtype", LABEL_DTYPES)
@given(data=st.data())
def test_each_bit_says_whether_a_value_reaches_the_least(dtype, data):
    start = data.draw(st.integers(0, 9))
    seed = data.draw(st.integers(0, 2**32 - 1))
    size = start + BITS + data.draw(st.integers(0, 3))
    with np.errstate(invalid="ignore"):
        values = np.random.default_rng(seed).choice(SPECIAL, size).astype(dtype)
    values.flags.writeable = False
    least = data.draw(st.sampled_from([-np.inf, -1, 0, 1] if dtype[0] == "f" else [-1, 0, 1]))
    word = int(mark(values, start, values.dtype.type(least)))
    bits = [bool(word >> place & 1) for place in range(BITS)]
    assert bits == (values[start : start + BITS] >= least).tolist()


@given(st.integers(1, 2**64 - 1))
def test_the_lowest_bit_of_a_word(word):
    assert first_bit(np.uint64(word)) == (word & -word).bit_length() - 1


@pytest.mark.parametrize("offset", [0, 8, -(2**40), 2**62])
def test_what_is_asked_for_need_not_be_there(offset):
    values = np.zeros((2, 2))
    ask(values[:, :1], offset)
    assert not values.any()
