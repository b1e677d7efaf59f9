"""Sparse votes in every form, and the results of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import dask.array as da
import numpy as np
import scipy.sparse as sp
import zarr

import daskal
from daskal.inputs import blocks
from tests.problems import is_vote

# 4 rows, 3 annotators; the first row's votes are all for class 0.
LABELS = np.array([[0, 0, -1], [-1, 1, 1], [-1, -1, -1], [2, -1, 0]])
PROBS = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.2, 0.2, 0.6]])


def as_csr(labels: np.ndarray) -> sp.csr_array:
    """Return the votes of a matrix as CSR with explicit zeros."""
    rows, annotators = np.nonzero(is_vote(labels))
    classes = labels[rows, annotators].astype(np.int16)
    return sp.csr_array((classes, (rows, annotators)), shape=labels.shape)


def write_group(
    root: Path, matrix: Any, *, chunk: int = 5, zarr_format: Any = 3, **changes: Any
) -> zarr.Group:
    """Write a CSR group as AnnData does; ``changes`` replace members and attributes."""
    members = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
    attrs = {
        "encoding-type": "csr_matrix",
        "encoding-version": "0.1.0",
        "shape": list(matrix.shape),
    }
    group = zarr.open_group(root, mode="w", zarr_format=zarr_format)
    for name, values in members.items():
        values = np.asarray(changes.pop(name, values))
        group.create_array(name, data=values, chunks=(min(chunk, max(1, len(values))),))
    group.attrs.update({**attrs, **{key.replace("_", "-"): v for key, v in changes.items()}})
    return group


def lazy(
    matrix: Any, rows: tuple[int, ...], columns: tuple[int, ...], form: Any = sp.csr_array
) -> da.Array:
    """Return a Dask array of sparse blocks."""
    whole = sp.csr_matrix(matrix) if form is sp.csr_matrix else matrix
    edges = [np.cumsum([0, *sizes]) for sizes in (rows, columns)]
    blocks = [
        [
            da.from_delayed(
                dask_value(form(whole[a:b, c:d])),
                (b - a, d - c),
                meta=form((0, 0), dtype=matrix.dtype),
            )
            for c, d in zip(edges[1], edges[1][1:], strict=False)
        ]
        for a, b in zip(edges[0], edges[0][1:], strict=False)
    ]
    # da.block would look into the blocks: only their keys are wanted.
    return da.concatenate([da.concatenate(row, axis=1) for row in blocks], axis=0)


def dask_value(value: Any) -> Any:
    from dask.delayed import delayed

    return delayed(lambda: value, pure=False)()


def results(labels: Any, probs: Any) -> tuple[daskal.Estimate, np.ndarray]:
    """Return the estimate without ids, and the scores."""
    estimate = daskal.estimate(labels, probs)
    scores = daskal.score_labeled(labels, probs, estimate)
    plain = dataclasses.replace(estimate, annotator_ids=None, class_names=None)
    return plain, np.asarray(scores)


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    assert found[0].to_json() == expected[0].to_json()
    np.testing.assert_array_equal(found[1], expected[1])


def small(rows: int = 3) -> Any:
    return mock.patch.object(blocks, "MIN_BLOCK_ROWS", rows)
