"""Small tables of a store: a group each, an array a column."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from daskal.errors import StorageError
from daskal.storage.tables import read_table, write_table

COLUMNS = {
    "score": np.array([0.5, 0.25]),
    "id": np.array(["b.jpg", "a.jpg"]),
    "rank": np.array([0, 1]),
    "note": np.array(["", "later"]),
}


@pytest.fixture
def root(tmp_path: Path) -> Any:
    """Return a store that holds the table."""
    store = zarr.create_group(tmp_path / "s.zarr")
    write_table(store, "batch", COLUMNS, "rank")
    return store


@pytest.mark.parametrize("listed", [*permutations(COLUMNS)], ids=" ".join)
def test_columns_have_one_order_however_the_store_lists_them(
    listed: tuple[str, ...], root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrays(self: Any) -> Iterator[tuple[str, Any]]:
        yield from ((name, self[name]) for name in listed)

    monkeypatch.setattr(zarr.Group, "arrays", arrays)
    table = read_table(root, "batch", ("rank", "score"))
    assert table is not None
    assert list(table) == ["rank", "score", "id", "note"]
    assert {name: values.tolist() for name, values in table.items()} == {
        name: values.tolist() for name, values in COLUMNS.items()
    }
    bare = read_table(root, "batch")
    assert bare is not None
    assert list(bare) == ["id", "note", "rank", "score"]


def test_a_table_that_is_not_there(root: Any) -> None:
    assert read_table(root, "annotators", ("score",)) is None


def test_a_damaged_table_is_one_error(root: Any) -> None:
    with pytest.raises(StorageError, match=r"read batch in .*: columns agreement, id2 are missing"):
        read_table(root, "batch", ("id2", "rank", "agreement"))
    del root["batch/note"]
    root["batch"].create_array("note", data=np.array([1, 2, 3]))
    with pytest.raises(StorageError, match=r"read batch in .*: columns differ in length"):
        read_table(root, "batch", ("rank",))
