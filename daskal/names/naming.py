"""What rows, classes and annotators are called: which values are names, and in which order.

Names are shown as they came, and compared in their normal form.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd

from daskal.errors import InputError
from daskal.names.normal import (
    CLOCK,
    DURATION,
    EXACT_FLOAT,
    MOMENT,
    TEXT,
    WHOLE,
    as_index,
    key_of,
    normal,
)

# How many stored names are compared at once.
STEP = 2**18
# How many names an error lists.
SHOWN = 5
PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
PLAIN_CODE = re.compile(r"0|[1-9][0-9]*", re.ASCII)


class Sliced(Protocol):
    """Names that stay in storage until a slice of them is wanted."""

    def __len__(self) -> int:
        """Return the number of names."""

    def __getitem__(self, rows: slice) -> pd.Index:
        """Return the names of some rows."""


Names = pd.Index | Sliced


# --- what counts as names ---------------------------------------------------------------------


def is_default(index: pd.Index) -> bool:
    """Return whether an index is the 0, 1, 2, ... that pandas gives by itself."""
    # df.iloc[::2] starts with 0 too, and its labels are names.
    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1


def own_names(argument: str, kind: str, index: pd.Index) -> pd.Index | None:
    """Return the names in an index of rows or columns, None where it is the default.

    Parameters
    ----------
    argument, kind : str
        Name of the argument, and what its names are of: "rows", "classes" or "annotators".
    index : pandas.Index

    Raises
    ------
    InputError
        If a name is missing, or was rounded as a float.
    """
    if is_default(index):
        return None
    if isinstance(index, pd.MultiIndex) and kind != "rows" and index.levels[0].size == 1:
        # pivot(index=, columns=) adds a level with the name of the values above the annotators.
        index = index.droplevel(0)
    check_names(argument, kind, index)
    return index


def slices_of(names: Names) -> Iterator[tuple[int, pd.Index]]:
    """Yield the first place and the names of each part, in order."""
    for start in range(0, len(names), STEP):
        yield start, as_index(names[start : start + STEP])


def check_names(argument: str, kind: str, names: Names) -> None:
    """Refuse missing names, and whole numbers that went through float64 and were rounded."""
    for start, part in slices_of(names):
        missing = missing_places(part)
        if len(missing):
            first = ", ".join(f"{start + at:,}" for at in missing[:SHOWN].tolist())
            raise InputError(
                f"{argument}: expected a name for each of its {kind}, but a name is missing at "
                f"place {first}{', ...' if len(missing) > SHOWN else ''} (counted from 0). Fill it "
                "in, or drop the names altogether to go by position."
            )
    check_exact(argument, kind, names)


def check_exact(argument: str, kind: str, names: Names) -> None:
    """Refuse whole numbers that went through float64 and were rounded."""
    for start, part in slices_of(names):
        if part.dtype.kind == "f":
            values = part.to_numpy(dtype=np.float64)
            rounded = np.flatnonzero(np.isfinite(values) & (np.abs(values) > EXACT_FLOAT))
            if len(rounded):
                at = int(rounded[0])
                raise InputError(
                    f"{argument}: expected exact names of its {kind}, got {part.dtype} with "
                    f"{float(values[at])!r} at place {start + at:,}: beyond 2**53 "
                    "floats round whole numbers. Pass them as integers (Int64 where one of them "
                    "was missing) or as text."
                )


def missing_places(index: pd.Index) -> np.ndarray[Any, Any]:
    """Return the places of NaN, None, NaT, pd.NA or an Arrow null, in any level."""
    if isinstance(index, pd.MultiIndex):
        return np.flatnonzero(np.any([np.asarray(codes) < 0 for codes in index.codes], axis=0))
    missing = np.asarray(index.isna(), dtype=bool)
    if index.dtype.kind == "f":
        # For Arrow's floats pandas may count only null as missing, and not NaN.
        missing = missing | np.isnan(index.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.flatnonzero(missing)


def check_unique(argument: str, kind: str, index: pd.Index) -> None:
    """Refuse names that occur more than once, whatever their dtype."""
    values = pd.Index(normal(index).values, tupleize_cols=False)
    if not values.is_unique:
        repeated = index[np.flatnonzero(values.duplicated())]
        raise InputError(
            f"{argument}: expected a name of its own for each of its {kind}, got several called "
            f"{listed(repeated)}. Rename them, or put them together into one."
        )


def kind_of(index: pd.Index) -> str:
    """Return in a word or two what names are, such as text or whole numbers."""
    return normal(index).kind


# --- classes ----------------------------------------------------------------------------------


def class_texts(argument: str, index: pd.Index) -> tuple[str, ...]:
    """Return the names of classes as text, whole floats as the whole numbers they are.

    Raises
    ------
    InputError
        If a name is missing or repeated, the number 1 and the text "1" included.
    """
    check_names(argument, "classes", index)
    texts = plain_texts(index)
    check_unique(argument, "classes", as_index(list(texts)))
    return texts


def spelled_as_codes(texts: Sequence[str]) -> list[str]:
    """Return names of classes, ``False`` and ``True`` as the codes 0 and 1 of two classes."""
    if sorted(texts) == ["False", "True"]:
        return ["1" if text == "True" else "0" for text in texts]
    return list(texts)


def codes_in(texts: Sequence[str]) -> np.ndarray[Any, Any] | None:
    """Return names as class codes, None where they are not the codes 0 to K - 1.

    ``False`` and ``True`` are the codes 0 and 1 of two classes.
    """
    texts = spelled_as_codes(texts)
    if not all(PLAIN_CODE.fullmatch(text) and len(text) < 19 for text in texts):
        return None
    codes = np.array([int(text) for text in texts], dtype=np.int64)
    return codes if (np.sort(codes) == np.arange(len(codes))).all() else None


def in_class_order(texts: Iterable[str]) -> tuple[str, ...]:
    """Return names of classes in the order of their codes.

    If all names are numbers ("0", "1", "2", "10", "-1", "0.5"), they are sorted by value, otherwise
    by code point.
    """
    names = sorted(texts)
    if all(PLAIN_NUMBER.fullmatch(name) for name in names):
        names.sort(key=decimal.Decimal)
    return tuple(names)


def in_natural_order(paths: Iterable[str]) -> list[str]:
    """Return names of files in the order in which people and Dask count: part.2 before part.10."""

    def key(path: str) -> tuple[list[Any], str]:
        # Text and digits alternate, so that text is compared with text and numbers with numbers.
        parts = re.split(r"([0-9]+)", path)
        return [int(part) if at % 2 else part for at, part in enumerate(parts)], path

    return sorted(paths, key=key)


# --- names as plain values --------------------------------------------------------------------


def plain_name(value: Any) -> int | str:
    """Return a name as JSON can hold it, equal for equal names: a whole number, or text."""
    kind, key = key_of(value)
    if kind == WHOLE:
        return int(key)
    if kind == TEXT:
        return str(key)
    if kind == MOMENT:
        return str(pd.Timestamp(value).tz_convert("UTC"))
    if kind == CLOCK:
        return str(pd.Timestamp(value))
    if kind == DURATION:
        return str(pd.Timedelta(value))
    if isinstance(value, tuple):
        return str(tuple(plain_name(part) for part in value))
    return str(key.normalize() if isinstance(key, decimal.Decimal) else key)


def plain_names(argument: str, kind: str, index: pd.Index) -> tuple[int | str, ...]:
    """Return names as JSON can hold them.

    Raises
    ------
    InputError
        If one is missing or repeated.
    """
    check_names(argument, kind, index)
    check_unique(argument, kind, index)
    names = tuple(map(plain_name, index.astype(object).tolist()))
    check_unique(argument, kind, as_index(list(names)))
    return names


def plain_texts(index: pd.Index) -> tuple[str, ...]:
    """Return the unique text of each name, as a CSV file holds it."""
    return tuple(str(plain_name(value)) for value in index.astype(object).tolist())


def listed(names: Sequence[Any] | pd.Index, count: int | None = None) -> str:
    """Return the first few of some names as an error shows them, and how many more there are."""
    count = len(names) if count is None else count
    values = names[:SHOWN]
    shown = [repr(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
