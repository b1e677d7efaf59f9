"""Columns of a store and small tables of them: a group for each table, an array for each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from daskal.storage import transfers
from daskal.storage.locations import storage_errors
from daskal.storage.objects import options_of
from daskal.storage.retries import with_retries
from daskal.storage.stores import create_array, require_group

Result = TypeVar("Result")

# Rows per chunk of a table or of ids; text is a Python object a row wherever its chunk is read.
COLUMN_CHUNK, TEXT_CHUNK = 2**20, 2**17


def write_table(
    root: Any, name: str, columns: Mapping[str, np.ndarray[Any, Any]], dimension: str
) -> None:
    """Write a small table as one group with one array per column."""
    group = require_group(root, name)
    for column, values in columns.items():
        write_column(group, column, values, dimension_names=(dimension,))


def write_column(group: Any, name: str, values: Any, **layout: Any) -> None:
    """Write one whole array, copying stored values chunk by chunk; text may be of any length."""
    text = values.dtype.kind in "OUTS"
    num_rows = values.shape[0]
    step = max(1, min(num_rows, TEXT_CHUNK if text else COLUMN_CHUNK))
    array = create_array(
        group,
        name,
        shape=values.shape,
        chunks=(step,),
        dtype=str if text else values.dtype,
        **layout,
    )
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        part = np.asarray(values[start:stop])
        if part.dtype.kind == "S":
            # Zarr's format has no arrays of bytes.
            part = np.strings.decode(part, "utf-8", "replace")
        transfers.write_rows(array, start, stop, part.astype(object) if text else part)


def reading(root: Any, what: str) -> AbstractContextManager[None]:
    """Turn any error of a damaged store into one clear error."""
    return storage_errors(f"read {what} in", str(root.store_path), options_of(root.store))


def attempt_read(root: Any, what: str, operation: Callable[[], Result]) -> Result:
    """Return what is read from a store, retried while the error is transient."""
    with reading(root, what):
        return with_retries(
            operation, f"reading {what} in {root.store_path}", options_of(root.store)
        )


def member(root: Any, key: str) -> Any | None:
    """Return an array or a group of a store, None where there is none."""
    return attempt_read(root, key, lambda: root.get(key))


@dataclass(frozen=True)
class Column:
    """A stored column as Dask takes an array: what cannot be read is one clear error."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    def __getitem__(self, place: Any) -> np.ndarray[Any, Any]:
        """Return part of the column."""
        return attempt_read(self.array, "a block", lambda: np.asarray(self.array[place]))


def read_table(root: Any, name: str, required: Sequence[str] = ()) -> pd.DataFrame | None:
    """Return one of the small tables, None where there is none.

    The required columns come first, then the others by name: a store lists them in any order.
    """
    group = member(root, name)
    if group is None:
        return None
    columns = attempt_read(
        root, name, lambda: {column: array[:] for column, array in group.arrays()}
    )
    with reading(root, name):
        if {len(values) for values in columns.values()} - {len(next(iter(columns.values())))}:
            raise ValueError("columns differ in length")
        lacking = sorted(set(required) - set(columns))
        if lacking:
            raise ValueError(f"columns {', '.join(lacking)} are missing")
    ordered = [*required, *sorted(set(columns) - set(required))]
    # Text in pandas' own dtype, whatever Zarr returns.
    return pd.DataFrame(
        {
            column: values.tolist() if values.dtype.kind in "OUT" else values
            for column, values in ((name, columns[name]) for name in ordered)
        }
    )
