"""Names in a normal form, in which equal values of other dtypes are equal.

Whole numbers are compared exactly and never as floats, text whatever holds it, moments whatever
their time zone; 1, True, "1" and b"1" are four names.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

WHOLE, NUMBER, TEXT, BYTES, BOOLEAN = "whole numbers", "numbers", "text", "bytes", "booleans"
MOMENT, CLOCK, DURATION = "moments", "dates and times", "durations"
MIXED = "values of several types"

# Up to here float64 holds every whole number; beyond it, neighbors become one value.
EXACT_FLOAT = 2.0**53
INT64 = np.iinfo(np.int64)
NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


def as_index(values: Any) -> pd.Index:
    """Return ids of any container as an index that holds the same values.

    pandas would turn whole numbers beside a missing one into floats, and tuples into levels.
    """
    if isinstance(values, pd.Index):
        return values
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = pd.arrays.ArrowExtensionArray(values)
    elif isinstance(values, np.ma.MaskedArray):
        mask, values = np.ma.getmaskarray(values), values.data.astype(object)
        values[mask] = None
    elif isinstance(values, np.ndarray) and values.dtype.kind in "TUV":
        values = values.astype(object)
    elif isinstance(values, list | tuple):
        values = objects_of(values, len(values))
    if isinstance(values, np.ndarray) and values.dtype == object:
        return pd.Index(values, dtype=object, tupleize_cols=False)
    index: pd.Index = pd.Index(values, tupleize_cols=False)
    return index


def objects_of(values: Iterable[Any], count: int) -> np.ndarray[Any, Any]:
    """Return Python objects as an array of them; NumPy would make a matrix of tuples."""
    return np.fromiter(values, dtype=object, count=count)


@dataclass(frozen=True)
class Normal:
    """Names in the form in which they are compared: what they are, and one plain array of them."""

    kind: str
    values: np.ndarray[Any, Any]


def normal(index: pd.Index) -> Normal:
    """Return the normal form of an index without missing names."""
    if isinstance(index.dtype, pd.CategoricalDtype):
        index = pd.Index(index.to_numpy(), dtype=index.dtype.categories.dtype, tupleize_cols=False)
    if isinstance(index, pd.MultiIndex):
        return spelled_out(index)
    dtype: Any = index.dtype
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return spelled_out(index)
    if dtype.kind in "iu":
        return Normal(WHOLE, narrowed(index.to_numpy(dtype=f"{dtype.kind}8")))
    if dtype.kind == "b":
        return Normal(BOOLEAN, index.to_numpy(dtype=bool))
    if dtype.kind == "f":
        return normal_floats(index.to_numpy(dtype=np.float64))
    if dtype.kind in "mM":
        return normal_times(index)
    return normal_objects(index, np.asarray(index.astype(object)))


def narrowed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return whole numbers as int64 if all of them fit, so that equal numbers have one dtype."""
    if values.dtype.kind == "u" and len(values) and values.max() <= INT64.max:
        return values.astype(np.int64)
    return values


def normal_floats(values: np.ndarray[Any, Any]) -> Normal:
    """Return floats that are whole as whole numbers."""
    whole = (np.floor(values) == values) & (np.abs(values) <= EXACT_FLOAT)
    return Normal(WHOLE, values.astype(np.int64)) if whole.all() else Normal(NUMBER, values)


def normal_times(index: pd.Index) -> Normal:
    """Return moments, times and durations as nanoseconds."""
    if isinstance(index.dtype, pd.ArrowDtype):
        index = pd.Index(index.astype(pandas_dtype(index.dtype.pyarrow_dtype)))
    if not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return spelled_out(index)
    aware = getattr(index, "tz", None) is not None
    kind = DURATION if isinstance(index, pd.TimedeltaIndex) else MOMENT if aware else CLOCK
    ticks, factor = index.asi8, NANOSECONDS[index.unit]
    fits = not len(ticks) or max(-int(ticks.min()), int(ticks.max())) <= INT64.max // factor
    return Normal(kind, ticks * factor if fits else ticks.astype(object) * factor)


def pandas_dtype(kind: pa.DataType) -> Any:
    """Return the dtype pandas itself has for Arrow's moments, times and durations."""
    if pa.types.is_duration(kind):
        return f"timedelta64[{kind.unit}]"
    if not pa.types.is_timestamp(kind):
        return object
    return f"datetime64[{kind.unit}]" if kind.tz is None else pd.DatetimeTZDtype(kind.unit, kind.tz)


def normal_objects(index: pd.Index, values: np.ndarray[Any, Any]) -> Normal:
    """Return the normal form of Python objects, as whole arrays where they are of one type."""
    inferred = pd.api.types.infer_dtype(values, skipna=False)
    if inferred == "string":
        return Normal(TEXT, values)
    if inferred == "bytes":
        return Normal(BYTES, values)
    if inferred == "boolean":
        return Normal(BOOLEAN, values.astype(bool))
    if inferred == "floating":
        return normal_floats(values.astype(np.float64))
    if inferred == "integer":
        for dtype in (np.int64, np.uint64):
            try:
                whole = values.astype(dtype)
            except OverflowError:
                continue
            # NumPy silently wraps some of its own scalars around.
            if (whole == values).all():
                return Normal(WHOLE, narrowed(whole))
    form = spelled_out(index)
    keys = [key for kind, key in form.values if kind == WHOLE]
    if keys and len(keys) == len(index) and INT64.min <= min(keys) and max(keys) <= INT64.max:
        # Decimals, or floats beside integers.
        return Normal(WHOLE, np.array(keys, dtype=np.int64))
    return form


def spelled_out(index: pd.Index) -> Normal:
    """Return each name with its own kind, for names of several kinds or of rare ones."""
    values = index.astype(object).tolist()
    return Normal(MIXED, objects_of(map(key_of, values), len(values)))


def key_of(value: Any) -> tuple[str, Any]:
    """Return the kind of one name and its value, so that 1, True, "1" and b"1" are four names."""
    if isinstance(value, bool | np.bool_):
        return BOOLEAN, bool(value)
    if isinstance(value, str):
        return TEXT, str.__str__(value)
    if isinstance(value, bytes):
        return BYTES, bytes(value)
    if isinstance(value, int | np.integer):
        return WHOLE, int(value)
    if isinstance(value, float | np.floating):
        exact = float(value)
        whole = exact.is_integer() and abs(exact) <= EXACT_FLOAT
        return (WHOLE, int(exact)) if whole else (NUMBER, exact)
    if isinstance(value, decimal.Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return (WHOLE, int(value)) if whole else (NUMBER, value)
    if isinstance(value, tuple):
        return "tuples", tuple(key_of(part) for part in value)
    if isinstance(value, datetime.datetime | np.datetime64):
        moment = pd.Timestamp(value)
        return CLOCK if moment.tzinfo is None else MOMENT, ticks_of(moment.asm8)
    if isinstance(value, datetime.timedelta | np.timedelta64):
        return DURATION, ticks_of(pd.Timedelta(value).asm8)
    return f"{type(value).__module__}.{type(value).__qualname__}", hashable(value)


def ticks_of(value: Any) -> int:
    """Return a time in nanoseconds, exactly for any unit."""
    unit, _ = np.datetime_data(value.dtype)
    return int(value.astype(np.int64)) * NANOSECONDS[unit]


def hashable(value: Any) -> Any:
    """Return a value that can be hashed: the value itself if possible, else its text."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def comparable(one: pd.Index, other: pd.Index) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the normal forms of two indexes as arrays of one dtype, to be compared by value."""
    a, b = normal(one), normal(other)
    if a.kind != b.kind:
        a, b = spelled_out(one), spelled_out(other)
    if a.values.dtype == b.values.dtype:
        return a.values, b.values
    # int64 beside uint64: their common dtype would be float64.
    return a.values.astype(object), b.values.astype(object)


CANONICAL_INTEGER = r"^(0|-?[1-9][0-9]*)$"


def whole_numbers(values: pa.Array) -> pa.Array | None:
    """Return text as whole numbers where all of it is written as such (``"7"``, not ``"007"``)."""
    if not len(values) or not pc.all(pc.match_substring_regex(values, CANONICAL_INTEGER)).as_py():
        return None
    for kind in (pa.int64(), pa.uint64()):
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None
