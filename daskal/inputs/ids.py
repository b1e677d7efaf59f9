"""Ids of rows, in memory or stored, and whether two arrays go by the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daskal.errors import BlockError, InputError
from daskal.storage.redaction import explain, redacted, showable

# Ids compared at once, where those of the votes are stored.
COMPARE_IDS = 2**18


@dataclass(frozen=True)
class StoredIds:
    """Ids of rows in a Zarr array: as many as rows, so that they stay there until wanted."""

    array: Any

    def __len__(self) -> int:
        """Number of ids."""
        return int(self.array.shape[0])

    def __getitem__(self, rows: slice | np.ndarray[Any, Any]) -> pd.Index:
        """Return the ids of a slice or an array of rows, as a :class:`pandas.Index` does."""
        try:
            values = self.array[rows] if isinstance(rows, slice) else self.array.oindex[rows]
        except Exception as error:
            raise BlockError(
                f"ids in {redacted(str(self.array.store_path))} cannot be read: {explain(error)}"
            ) from showable(error)
        # pandas takes NumPy's strings of any length only as objects.
        return pd.Index(values.astype(object) if values.dtype.kind == "T" else values)

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """Return all ids."""
        return self[:].to_numpy()


RowIds = pd.Index | StoredIds


def own_ids(index: pd.Index) -> pd.Index | None:
    """Return an index that names something, None for the default 0, 1, 2, ..."""
    return None if isinstance(index, pd.RangeIndex) and index.start == 0 else index


def check_same_ids(name: str, ids: RowIds | None, other: str, others: RowIds | None) -> None:
    """Refuse rows that go by other ids, or by the same in another order."""
    if ids is None or others is None or len(ids) != len(others):
        return
    for start in range(0, len(ids), COMPARE_IDS):
        cut = slice(start, start + COMPARE_IDS)
        a, b = ids[cut], others[cut]
        if not a.equals(b):
            at = next(i for i, pair in enumerate(zip(a, b, strict=True)) if pair[0] != pair[1])
            raise InputError(
                f"expected the same examples in the rows of {name} and {other}, got {a[at]!r} and "
                f"{b[at]!r} in row {start + at:,}. Put both into the same order."
            )
