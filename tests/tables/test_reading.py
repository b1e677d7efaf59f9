"""Rows of files are those of the whole, wherever they are cut, and no more is read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.inputs.arguments import open_argument
from daskal.tables import delimited, parquet
from daskal.tables.delimited import count_lines
from daskal.tables.table import regular_rows
from tests.tables.files import FILES, arrow_of, frame_of, write_stream

VALUES = np.random.default_rng(0).random((50, 3))


@pytest.mark.parametrize("name", [name for name in FILES if name != "npz"])
def test_any_rows_of_a_file(name: str, tmp_path: Path) -> None:
    matrix = open_argument("probs", FILES[name](VALUES, tmp_path), None).array
    assert matrix.shape == (50, 3)
    for start in range(0, 51, 3):
        for stop in (start, *range(start + 1, 51, 7), 50):
            found = matrix.read("probs", start, stop)
            assert found.tobytes() == VALUES[start:stop].tobytes(), (start, stop)


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("Parquet", [0, 7, 14, 21, 28, 35, 42, 49, 50]),
        ("Parquet folder", [0, 5, 10, 15, 16, 21, 25, 30, 35, 40, 45, 50]),
        ("Feather", [0, 8, 16, 24, 32, 40, 48, 50]),
        ("Hugging Face", [0, 9, 18, 25, 34, 43, 50]),
        ("packed CSV", [0, 50]),
    ],
)
def test_parts(name: str, edges: list[int], tmp_path: Path) -> None:
    table = open_argument("probs", FILES[name](VALUES, tmp_path), None).array.table
    assert sorted(set(table.edges.tolist())) == edges


def test_regular_parts() -> None:
    for sizes, rows in (
        ([7, 7, 1], 7),
        ([7], 7),
        ([], 1),
        ([7, 8], None),
        ([7, 1, 7], None),
        ([0, 7], None),
    ):
        edges = np.concatenate([[0], np.cumsum(np.array(sizes, dtype=int))])
        assert regular_rows(edges) == rows, sizes


def test_only_the_groups_that_hold_the_rows_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = open_argument("probs", FILES["Parquet"](VALUES, tmp_path), None).array
    read: list[list[int]] = []
    original = pq.ParquetFile.iter_batches

    def iter_batches(self: Any, *arguments: Any, row_groups: list[int], **options: Any) -> Any:
        read.append(row_groups)
        return original(self, *arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    matrix.read("probs", 14, 28)
    matrix.read("probs", 13, 29)
    assert read == [[2, 3], [1, 2, 3, 4]]
    read.clear()
    # What is read of a large one is gone before the next is.
    monkeypatch.setattr(parquet, "TOGETHER_BYTES", 1)
    matrix.read("probs", 13, 29)
    assert read == [[1], [2], [3], [4]]


def test_of_a_large_group_no_more_is_read_than_a_few_rows_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).random((600_000, 3))
    pq.write_table(arrow_of(frame_of(values)), tmp_path / "t.parquet", use_dictionary=False)
    matrix = open_argument("probs", tmp_path / "t.parquet", None).array
    assert matrix.edges.tolist() == [0, 600_000]
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            content = super().read(size)
            read.append(len(content))
            return content

    def read_file(name: str, file_system: Any, file: str, read: Any, **options: Any) -> Any:
        with Counted(file) as opened:
            return read(opened)

    monkeypatch.setattr(parquet, "read_file", read_file)
    assert matrix.read("probs", 0, 600_000).tobytes() == values.tobytes()
    whole = sum(read)
    assert values.nbytes <= whole < 1.1 * values.nbytes
    read.clear()
    assert matrix.read("probs", 100, 200).tobytes() == values[100:200].tobytes()
    # Of each column a MiB (two by pyarrow before 23), and the footer.
    assert sum(read) < 0.6 * whole


def test_categories_are_ids(tmp_path: Path) -> None:
    """In every batch of a stream, also where later ones add categories."""
    tasks = pa.array(["b", "a", "b", "c"]).dictionary_encode()
    table = pa.table({"task": tasks, "x": [0.5] * 4, "y": [0.5] * 4})
    write_stream(table, tmp_path / "t.arrows", 2)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    pa.feather.write_feather(table, tmp_path / "t.feather", chunksize=2)
    for name in ("t.arrows", "t.parquet", "t.feather"):
        opened = open_argument("probs", daskal.Table(tmp_path / name, "task"), None)
        assert opened.row_ids[:].tolist() == ["b", "a", "b", "c"]
        assert opened.row_ids[1:3].tolist() == ["a", "b"]


# --- lines of CSV -----------------------------------------------------------------------------

FIELDS = st.sampled_from(["a", '"a"', '"a\nb"', '"a\r\nb"', '"a,""b"""', '""', "x", "0.5"])


@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12),
    blanks=st.lists(st.integers(0, 12), max_size=3),
    end=st.sampled_from(["\n", "\r\n"]),
    unended=st.booleans(),
    part=st.integers(1, 40),
)
def test_lines_are_counted_as_they_are_parsed(
    rows: list[tuple[str, str]], blanks: list[int], end: str, unended: bool, part: int
) -> None:
    lines = [",".join(row) for row in rows]
    for place in blanks:
        lines.insert(place, "")
    text = end.join(lines) + ("" if unended else end)
    content = text.encode()
    before = delimited.PART_BYTES
    delimited.PART_BYTES = part
    try:
        parts = count_lines(io.BytesIO(content), 0)
    finally:
        delimited.PART_BYTES = before
    assert sum(each.rows for each in parts) == len(rows)
    assert [each.start for each in parts[1:]] == [each.start + each.length for each in parts[:-1]]
    found = [
        delimited.parse(b"p,q\n" + content[each.start : each.start + each.length], "t.csv")
        for each in parts
        if each.rows
    ]
    assert [table.num_rows for table in found] == [each.rows for each in parts if each.rows]


def test_csv_in_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "PART_BYTES", 100)
    frame = pd.DataFrame(VALUES, columns=["a", "b", "c"])
    frame.insert(0, "text", ["plain", 'a "quoted"\nline'] * 25)
    frame.to_csv(tmp_path / "t.csv", index=False)
    given = daskal.Table(tmp_path / "t.csv", class_columns=["c", "a"])
    matrix = open_argument("probs", given, None).array
    assert len(matrix.edges) > 10
    for start, stop in ((0, 50), (11, 12), (3, 40)):
        expected = VALUES[start:stop, [2, 0]]
        assert matrix.read("probs", start, stop).tobytes() == expected.tobytes()
