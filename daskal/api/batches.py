"""A batch as a table: its columns, the two sources of its examples, and their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from daskal.inputs.ids import take_ids

COLUMNS = ("rank", "source", "row", "id", "score")
# The two sources of examples, in the column "source".
LABELED, UNLABELED = "labeled", "unlabeled"
# The column had this name before 0.2.
EARLIER_SOURCE = "pool"


def with_source(batch: pd.DataFrame) -> pd.DataFrame:
    """Return a batch with its column ``source``, which batches before 0.2 call ``pool``."""
    if "source" in batch or EARLIER_SOURCE not in batch:
        return batch
    return batch.rename(columns={EARLIER_SOURCE: "source"})


def add_ids(frame: pd.DataFrame, labeled_ids: Any, unlabeled_ids: Any) -> pd.DataFrame:
    """Put the examples' ids beside their rows, where they are known."""
    if labeled_ids is None and unlabeled_ids is None:
        return frame
    ids = np.full(len(frame), None, dtype=object)
    for source, known in ((LABELED, labeled_ids), (UNLABELED, unlabeled_ids)):
        at = np.flatnonzero(frame["source"] == source)
        if known is not None and len(at):
            rows = frame["row"].to_numpy()[at]
            # Stored ids are read at these rows only, in ascending order.
            order = np.argsort(rows)
            ids[at[order]] = take_ids(known, rows[order]).astype(object)
    frame.insert(3, "id", as_id_column(ids.tolist()).set_axis(frame.index))
    return frame


def as_id_column(ids: Sequence[Any]) -> pd.Series[Any]:
    """Return ids as a column, in which whole numbers stay whole beside unknown ids and floats."""
    column = pd.Series(ids, dtype=object)
    whole = [isinstance(value, int | np.integer) for value in ids]
    return column if any(whole) and not all(whole) else column.infer_objects()
