"""Compressed rows: what SciPy stores, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import scipy.sparse as sp

import daskal
from daskal.errors import InputError, InvalidDataError
from daskal.inputs import compressed_rows
from daskal.inputs.compressed_rows import order_votes
from daskal.method.findings import REPEATED, UNKNOWN_ANNOTATOR
from tests.inputs.sparsekit import (
    LABELS,
    PROBS,
    as_csr,
    small,
    write_group,
)


def test_votes_are_put_in_order_within_rows() -> None:
    offsets = np.array([0, 3, 3, 5])
    found = order_votes(offsets, np.array([4, 0, 2, 3, 1]), np.array([7, 8, 9, 0, 5]), 5)
    np.testing.assert_array_equal(found.annotators, [0, 2, 4, 1, 3])
    np.testing.assert_array_equal(found.classes, [8, 9, 7, 5, 0])
    np.testing.assert_array_equal(found.offsets, offsets)
    assert len(found.faulty_rows) == 0


def test_rows_with_impossible_annotators_lose_their_votes() -> None:
    offsets = np.array([0, 2, 4, 6, 7])
    annotators = np.array([1, 1, 0, 5, -1, 2, 3])
    found = order_votes(offsets, annotators, np.arange(7), 5)
    np.testing.assert_array_equal(found.faulty_rows, [0, 1, 2])
    np.testing.assert_array_equal(found.faults, [REPEATED, UNKNOWN_ANNOTATOR, UNKNOWN_ANNOTATOR])
    np.testing.assert_array_equal(found.values, [1, 5, -1])
    np.testing.assert_array_equal(found.offsets, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(found.annotators, [3])
    np.testing.assert_array_equal(found.classes, [6])


@pytest.mark.parametrize("form", [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_matrix])
def test_scipy_formats_keep_zeros_and_repetitions(form: Callable[..., Any]) -> None:
    if form in (sp.csr_array, sp.csr_matrix):
        matrix = form((np.array([0, 0, 2]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    elif form is sp.csc_array:
        matrix = form((np.array([2, 0, 0]), np.array([1, 0, 0]), np.array([0, 1, 3])), shape=(2, 2))
    else:
        matrix = form((np.array([0, 2, 0]), ([0, 1, 0], [1, 0, 1])), shape=(2, 2))
    rows = compressed_rows.rows_of("labels", matrix)
    np.testing.assert_array_equal(rows.offsets, [0, 2, 3])
    np.testing.assert_array_equal(rows.annotators, [1, 1, 0])
    np.testing.assert_array_equal(rows.classes, [0, 0, 2])


@pytest.mark.parametrize("form", ["lil", "dok", "bsr", "dia"])
def test_lossy_formats_are_refused(form: str) -> None:
    with pytest.raises(InputError, match=f"got {form.upper()}, which .* vote for class 0"):
        daskal.estimate(as_csr(LABELS).asformat(form), PROBS)


BROKEN = {
    "falls": ([0, 4, 2, 4, 6], r"1 bad row: 1 \(4 to 2\)"),
    "negative": ([0, -2, 2, 4, 6], r"2 bad rows: 0 \(0 to -2\), 1 \(-2 to 2\)"),
    "beyond": ([0, 2, 9, 9, 6], r"3 bad rows: 1 \(2 to 9\), 2 \(9 to 9\), 3 \(9 to 6\)"),
    "begins late": ([1, 2, 4, 4, 6], "begins with 1, ends with 6. Write"),
    "ends early": ([0, 2, 4, 4, 5], "begins with 0, ends with 5. Write"),
}


@pytest.mark.parametrize(("indptr", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_offsets_have_one_message(tmp_path: Path, indptr: Any, message: str) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS), indptr=indptr)
    texts = set()
    for rows in (1, 2, 4):
        with small(rows), pytest.raises(InvalidDataError) as caught:
            daskal.estimate(group, PROBS)
        texts.add(str(caught.value))
    assert len(texts) == 1
    assert re.search(message, texts.pop())


def test_many_broken_offsets_are_counted(tmp_path: Path) -> None:
    matrix = sp.csr_array((40, 3), dtype=np.int8)
    group = write_group(tmp_path / "votes.zarr", matrix, indptr=[0] + [-1] * 39 + [0])
    with (
        mock.patch.object(compressed_rows, "SCAN_ROWS", 7),
        pytest.raises(InvalidDataError, match=r"has 40 bad rows: 0 .*, 9 .*, and 30 more\."),
    ):
        daskal.estimate(group, np.full((40, 2), 0.5))


def test_broken_offsets_in_memory() -> None:
    matrix = as_csr(LABELS)
    matrix.indptr[1] = 5
    with pytest.raises(InvalidDataError, match=r"the csr matrix .* 1 \(5 to 4\)"):
        daskal.estimate(matrix, PROBS)
