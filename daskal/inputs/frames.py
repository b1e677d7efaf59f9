"""Values of pandas objects: numbers in one array, missing ones as NaN or as a negative code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal.errors import InputError

# The code of missing values where all columns hold whole numbers.
MISSING_CODE = -1


def frame_values(name: str, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the values of a DataFrame of numbers.

    If every column holds whole numbers (also nullable, Arrow's, categories or objects), so does the
    array: missing ones become -1, and negative ones remain codes for missing. Otherwise the array
    holds floats, NaN where a value is missing.
    """
    try:
        if all(holds_whole_numbers(frame.iloc[:, at]) for at in range(frame.shape[1])):
            return whole_values(frame)
        return float_values(frame)
    except (TypeError, ValueError, OverflowError) as error:
        kinds = ", ".join(sorted({str(dtype) for dtype in frame.dtypes}))
        raise InputError(
            f"{name}: expected numbers, got columns of {kinds} ({error}). Turn class names into "
            "codes 0 to K - 1 first: daskal.multiannotator.format_multiannotator_labels does. Take "
            "a column of ids out with .set_index(name)."
        ) from error


def holds_whole_numbers(column: pd.Series[Any]) -> bool:
    """Return whether a column holds whole numbers and, at most, missing ones beside them."""
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        dtype = dtype.categories.dtype
    if dtype.kind in "iu":
        return True
    if dtype.kind == "b":
        return not column.isna().any()
    if dtype.kind != "O":
        return False
    present = column.dropna()
    return bool(len(present)) and pd.api.types.infer_dtype(present, skipna=False) == "integer"


def whole_values(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the values of columns of whole numbers, missing ones as -1."""
    if not frame.isna().to_numpy().any() and all(dtype.kind in "iub" for dtype in frame.dtypes):
        return frame.to_numpy()
    columns = [whole_column(frame.iloc[:, at]) for at in range(frame.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros((len(frame), 0), dtype=np.int64)


def whole_column(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return the values of a column of whole numbers, missing ones as -1."""
    values = np.asarray(column, dtype=object)
    return np.where(column.isna(), MISSING_CODE, values).astype(np.int64)


def float_values(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the values of a DataFrame as float64, missing ones as NaN."""
    if any(dtype.kind == "O" for dtype in frame.dtypes):
        # pandas leaves the NA in a column of objects as it is.
        return frame.to_numpy(dtype=object, na_value=np.nan).astype(np.float64)
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)
