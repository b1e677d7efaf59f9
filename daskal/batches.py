"""The next batch in a store, ids included, whatever kind they are and whichever pool has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from daskal import store
from daskal.selection import LABELED, UNLABELED, add_ids, as_id_column

COLUMNS = ("rank", "pool", "row", "id", "score")


def section_ids(root: Any) -> dict[str, Any]:
    """The stored ids of each pool, None where it has none."""
    return {pool: store.member(root, f"{pool}/example") for pool in (LABELED, UNLABELED)}


def write_batch(root: Any, batch: pd.DataFrame) -> None:
    """Write a batch with the ids of its examples."""
    ids = section_ids(root)
    batch = add_ids(batch, ids[LABELED], ids[UNLABELED])
    columns = {str(name): batch[name].to_numpy() for name in batch}
    if "id" in columns:
        # An array has one type: where ids are of several, or some are unknown, they are text.
        values = columns["id"].tolist()
        kinds = {type(value) for value in values}
        if kinds != {int}:
            texts = ["" if pd.isna(value) else str(value) for value in values]
            columns["id"] = np.array(texts, dtype=object)
    store.write_table(root, "batch", columns, "rank")


def stored_batch(root: Any) -> pd.DataFrame:
    """The batch of a store, ids as the examples have them."""
    table = store.read_table(root, "batch", ("rank", "pool", "row", "score"))
    assert table is not None
    table = table[[name for name in COLUMNS if name in table]]
    table = table.sort_values("rank", ignore_index=True)
    if "id" in table:
        known = section_ids(root)
        numbers = {pool: ids is not None and ids.dtype.kind in "iu" for pool, ids in known.items()}
        values = [
            None if known[pool] is None else int(value) if numbers[pool] else value
            for pool, value in zip(table["pool"], table["id"].tolist(), strict=True)
        ]
        table["id"] = as_id_column(values)
    return table
