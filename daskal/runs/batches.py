"""A batch that somebody passes to a run: whether its examples are that run's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from daskal.api.assignment import check_batch
from daskal.errors import InputError
from daskal.inputs.ids import RowIds, take_ids
from daskal.names.naming import kind_of, plain_texts
from daskal.names.normal import as_index, comparable

ADVICE = "Choose a batch from this run, or open the run that it was chosen from."


def batch_of_run(
    batch: Any, num_rows: Mapping[str, int], ids: Mapping[str, RowIds | None]
) -> pd.DataFrame:
    """Return a batch whose examples a run has at the same rows, by their ids where both have any.

    Raises
    ------
    InputError
        If it is no batch, or one of another run.
    """
    batch = check_batch(batch)
    for source, known in ids.items():
        part = batch[batch["source"] == source]
        num = num_rows.get(source, 0)
        foreign = int((~part["row"].between(0, num - 1)).sum())
        if foreign:
            raise InputError(
                f"batch: expected examples of this run, which has {num:,} {source} ones, but "
                f"{foreign:,} of {len(part):,} are of other rows. {ADVICE}"
            )
        if known is None or "id" not in part:
            continue
        part = part[part["id"].notna()]
        moved = np.flatnonzero(~same_ids(part, known))
        if len(moved):
            first = part.iloc[moved[0]]
            raise InputError(
                f"batch: expected examples of this run, but {len(moved):,} of {len(part):,} "
                f"{source} ones have other ids here, such as {first['id']!r}, row "
                f"{int(first['row']):,}. {ADVICE}"
            )
    return batch


def same_ids(part: pd.DataFrame, known: RowIds) -> np.ndarray[Any, Any]:
    """Return which examples have the id that is known of their row; a file may have made text."""
    rows, places = np.unique(part["row"].to_numpy(dtype=np.int64), return_inverse=True)
    if not len(rows):
        return np.ones(0, dtype=bool)
    given, own = as_index(part["id"].tolist()), take_ids(known, rows).take(places)
    if kind_of(given) != kind_of(own):
        given, own = (as_index(list(plain_texts(each))) for each in (given, own))
    one, other = comparable(given, own)
    return np.asarray(one == other, dtype=bool)
