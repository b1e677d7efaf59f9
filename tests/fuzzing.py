"""Inputs of every form: the same values in other dtypes, layouts and containers; broken ones."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import zarr
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.problems import Problem, is_vote, normalize, problems

# Cases of each slow test; fewer where time is short.
MANY = int(os.environ.get("DASKAL_TEST_CASES", "10000"))

# --- forms of one array -----------------------------------------------------------------------


def lay_out(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """Return the same values in another memory layout."""
    kind = draw(st.sampled_from(["C", "F", "reversed", "strided", "swapped", "readonly"]))
    if kind == "F":
        return np.asfortranarray(array)
    if kind == "reversed":
        flipped = (slice(None, None, -1),) * array.ndim
        return array[flipped].copy()[flipped]
    if kind == "strided":
        wide = np.zeros((*array.shape[:-1], array.shape[-1] * 2 + 1), dtype=array.dtype)
        wide[..., 1::2] = array
        return wide[..., 1::2]
    if kind == "swapped" and array.dtype.itemsize > 1:
        return array.astype(array.dtype.newbyteorder(">"))
    if kind == "readonly":
        array = array.copy()
        array.setflags(write=False)
    return array


def cuts(draw: st.DrawFn, size: int, *, empty: bool) -> tuple[int, ...]:
    """Return chunk sizes that sum to ``size``; with ``empty`` some may be 0."""
    edges = sorted(draw(st.lists(st.integers(0, size), max_size=4)))
    chunks = tuple(np.diff([0, *edges, size]).tolist())
    return chunks if empty else tuple(chunk for chunk in chunks if chunk) or (size,)


def contain(draw: st.DrawFn, array: np.ndarray) -> Any:
    """Return the same array as NumPy, Dask, Zarr, a DataFrame or a list."""
    kinds = ["numpy", "numpy", "dask", "list"]
    if array.size and array.dtype.itemsize <= 8 and not np.ma.isMaskedArray(array):
        kinds.append("zarr")
    if array.ndim == 2 and not np.ma.isMaskedArray(array):
        kinds.append("frame")
    kind = draw(st.sampled_from(kinds))
    if kind == "dask":
        chunks = [
            cuts(draw, size, empty=axis == array.ndim - 2) for axis, size in enumerate(array.shape)
        ]
        return da.from_array(array, chunks=tuple(chunks), asarray=False)
    if kind == "zarr":
        chunks = tuple(draw(st.integers(1, size)) for size in array.shape)
        version = draw(st.sampled_from([2, 3]))
        # A chunk of labels that Zarr leaves out cannot be told from one that was lost.
        return zarr.create_array(
            {},
            data=np.ascontiguousarray(array),
            chunks=chunks,
            zarr_format=version,
            config={"write_empty_chunks": True},
        )
    if kind == "frame":
        return pd.DataFrame(np.asarray(array, dtype=array.dtype.newbyteorder("=")))
    if kind == "list" and array.size and not np.ma.isMaskedArray(array):
        return array.tolist()
    return array


def shape_labels(draw: st.DrawFn, labels: np.ndarray) -> Any:
    """Return a float64 matrix with NaN in another form."""
    kinds = ["f2", "f4", "f8", "i1", "i2", "i8", "masked"]
    kind = draw(st.sampled_from([*kinds, "u1"] if is_vote(labels).all() else kinds))
    if kind == "masked":
        codes = np.where(is_vote(labels), labels, 0).astype(
            draw(st.sampled_from(["u1", "i4", "f4"]))
        )
        return contain(draw, np.ma.masked_array(codes, mask=~is_vote(labels)))
    if kind[0] == "f":
        array = labels.astype(kind)
    else:
        missing = draw(st.integers(-128, -1)) if kind[0] == "i" else 0
        array = np.where(is_vote(labels), labels, missing).astype(kind)
    return contain(draw, lay_out(draw, array))


def shape_probs(draw: st.DrawFn, probs: np.ndarray) -> Any:
    """Return probabilities in another form."""
    if probs.ndim == 3 and draw(st.booleans()):
        return [contain(draw, lay_out(draw, model)) for model in probs]
    return contain(draw, lay_out(draw, probs))


# --- values -----------------------------------------------------------------------------------

SMALL = {"zero": 0, "denormal": 5e-324, "tiny": 1e-40, "negative": -9e-7}


def extreme(draw: st.DrawFn, probs: np.ndarray) -> np.ndarray:
    """Return probabilities of which some are 0, denormal, nearly 1, or a little off."""
    probs = probs.copy()
    rows = draw(st.lists(st.integers(0, probs.shape[-2] - 1), max_size=5, unique=True))
    for row in rows:
        kind = draw(st.sampled_from(["zero", "denormal", "one", "tiny", "negative", "off"]))
        best = probs[..., row, :].argmax(axis=-1)
        worst = probs[..., row, :].argmin(axis=-1)
        flat = probs[..., row, :].reshape(-1, probs.shape[-1])
        for at, model in enumerate(flat):
            low, high = np.ravel(worst)[at], np.ravel(best)[at]
            if kind == "off":
                model *= 1 + 9e-4
            elif kind == "one":
                model[:] = 0
                model[high] = 1
            elif low != high:
                model[low] = SMALL[kind]
                model[high] += 1 - model.sum()
        probs[..., row, :] = flat.reshape(probs[..., row, :].shape)
    return probs


@dataclass(frozen=True)
class Case:
    """A problem, the same in another form, and the rows at fault in it."""

    problem: Problem
    labels: Any
    pred_probs: Any
    pool: Any
    bad_labeled: tuple[int, ...] = ()
    bad_pool: tuple[int, ...] = ()
    is_extreme: bool = False


BAD_PROBS = ("nan", "inf", "-inf", "negative", "above", "zero", "sum")
BAD_LABELS = ("fraction", "beyond", "negative", "infinite")


def spoil_probs(draw: st.DrawFn, probs: np.ndarray, row: int) -> None:
    """Put one fault into a row of one model."""
    model = probs if probs.ndim == 2 else probs[draw(st.integers(0, len(probs) - 1))]
    column = draw(st.integers(0, probs.shape[-1] - 1))
    kind = draw(st.sampled_from(BAD_PROBS))
    if kind == "zero":
        model[row] = 0
    elif kind == "sum":
        model[row] *= draw(st.sampled_from([0.5, 0.99, 1.01]))
    else:
        model[row, column] = {
            "nan": np.nan,
            "inf": np.inf,
            "-inf": -np.inf,
            "negative": draw(st.sampled_from([-1e-5, -1.0, -1e300])),
            "above": draw(st.sampled_from([1.01, 2.0, 1e300])),
        }[kind]


def spoil_labels(draw: st.DrawFn, labels: np.ndarray, row: int, num_classes: int) -> None:
    """Put one fault into a row of float labels."""
    column = draw(st.integers(0, labels.shape[1] - 1))
    labels[row, column] = {
        "fraction": draw(st.sampled_from([0.5, 1e-9, -0.25])),
        "beyond": draw(st.sampled_from([num_classes, num_classes + 3, 1e18, 1e300])),
        "negative": draw(st.sampled_from([-1, -1e300])),
        "infinite": draw(st.sampled_from([np.inf, -np.inf])),
    }[draw(st.sampled_from(BAD_LABELS))]


@st.composite
def good_cases(draw: st.DrawFn) -> Case:
    """Return good input in any form."""
    problem = draw(problems(max_examples=24, max_annotators=8, max_classes=8, max_models=2))
    is_extreme = draw(st.booleans())
    if is_extreme:
        problem = replace(
            problem,
            pred_probs=extreme(draw, problem.pred_probs),
            pool=extreme(draw, problem.pool),
        )
    dtype = draw(st.sampled_from(["f8", "f8", "f4", "f2"]))
    if dtype != "f8":
        # What is rounded is the problem: its other forms and the oracle are given its values.
        narrow = [normalize(array).astype(dtype) for array in (problem.pred_probs, problem.pool)]
        problem = replace(problem, pred_probs=narrow[0], pool=narrow[1])
    case = Case(
        problem,
        shape_labels(draw, problem.labels),
        shape_probs(draw, problem.pred_probs),
        shape_probs(draw, problem.pool),
        is_extreme=is_extreme,
    )
    wide = [array.astype(float) for array in (problem.pred_probs, problem.pool)]
    return replace(case, problem=replace(problem, pred_probs=wide[0], pool=wide[1]))


@st.composite
def bad_cases(draw: st.DrawFn) -> Case:
    """Return input of any form with some rows at fault."""
    problem = draw(problems(max_examples=24, max_annotators=8, max_classes=8, max_models=2))
    probs, pool, labels = (
        array.copy() for array in (problem.pred_probs, problem.pool, problem.labels)
    )
    rows = st.lists(st.integers(0, problem.num_examples - 1), max_size=3, unique=True)
    in_probs, in_labels = draw(rows), draw(rows)
    in_pool = draw(st.lists(st.integers(0, pool.shape[-2] - 1), max_size=3, unique=True))
    for row in in_probs:
        spoil_probs(draw, probs, row)
    for row in in_labels:
        spoil_labels(draw, labels, row, problem.num_classes)
    for row in in_pool:
        spoil_probs(draw, pool, row)
    return Case(
        problem,
        contain(draw, lay_out(draw, labels)),
        shape_probs(draw, probs),
        shape_probs(draw, pool),
        tuple(sorted({*in_probs, *in_labels})),
        tuple(sorted(set(in_pool))),
    )


# --- anything ---------------------------------------------------------------------------------

ANY_DTYPE = st.one_of(
    hnp.floating_dtypes(endianness="?"),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.boolean_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.datetime64_dtypes(),
    hnp.unicode_string_dtypes(max_len=4),
    st.just(np.dtype(object)),
)
NO_ARRAYS = (None, "", "x", 3, 0.5, [], [[]], {}, object(), b"", [[1], [1, 2]])
SIDE = st.integers(0, 4)


@st.composite
def wild_arrays(draw: st.DrawFn) -> Any:
    """Return arrays of any dtype, rank, size and values, some of them nearly good."""
    kind = draw(st.sampled_from(["any", "any", "probs", "labels", "no array"]))
    if kind == "no array":
        return draw(st.sampled_from(NO_ARRAYS))
    shape = tuple(draw(st.lists(SIDE, max_size=4)))
    if kind == "probs":
        array = normalize(np.ones((draw(SIDE), max(1, draw(SIDE)))))
    elif kind == "labels":
        array = np.zeros((draw(SIDE), draw(SIDE)), dtype=draw(st.sampled_from(["i1", "u1", "f4"])))
    else:
        dtype = draw(ANY_DTYPE)
        if dtype.kind == "O":
            array = np.full(shape, draw(st.sampled_from([None, "a", 1, 0.5, b"x"])), dtype=object)
        else:
            array = draw(hnp.arrays(dtype, shape))
    if draw(st.booleans()) and array.dtype.kind in "fiub" and array.ndim:
        return lay_out(draw, array)
    if draw(st.booleans()) and array.ndim:
        return da.from_array(
            array, chunks=tuple(cuts(draw, size, empty=True) for size in array.shape)
        )
    return array
