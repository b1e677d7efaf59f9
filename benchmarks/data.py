"""Synthetic data of a chosen size: probabilities, crowd labels, stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Rows of a storage chunk: 8 MB with 100 float32 classes.
CHUNK_ROWS = 20_000
# How sure of itself the model is: the fitted temperature is about this. Not 2, where daskal takes
# square roots.
SURENESS = 2.5


def make_probs(
    rng: np.random.Generator, num_rows: int, num_classes: int, truth: NDArray[Any] | None = None
) -> Floats:
    """Return the softmax of normal logits, with a higher one for the true class."""
    logits = rng.standard_normal((num_rows, num_classes)) * SURENESS
    if truth is not None:
        logits[np.arange(num_rows), truth] += 1.5 * SURENESS
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def make_labeled(
    seed: int, num_rows: int, num_annotators: int, num_classes: int
) -> tuple[Floats, Floats]:
    """Return labels (float64, NaN if missing) of 3 to 5 annotators per row, 3 in 4 correct."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, num_classes, num_rows)
    labels = np.full((num_rows, num_annotators), np.nan)
    num = rng.integers(3, 6, num_rows)
    for vote in range(5):
        rows = np.flatnonzero(num > vote)
        annotators = rng.integers(0, num_annotators, len(rows))
        # Each annotator gets one of the first votes, as cleanlab refuses an empty column.
        annotators[:num_annotators] = np.arange(min(num_annotators, len(rows)))
        right = rng.random(len(rows)) < 0.75
        wrong = rng.integers(0, num_classes, len(rows))
        labels[rows, annotators] = np.where(right, truth[rows], wrong)
    return labels, make_probs(rng, num_rows, num_classes, truth)


def as_codes(labels: Floats) -> NDArray[np.int8]:
    """Return the labels as int8, with -1 for missing."""
    return np.where(np.isnan(labels), -1, labels).astype(np.int8)


def store(path: Path, array: NDArray[Any]) -> str:
    """Store an array as Zarr with the default codecs."""
    stored = zarr.create_array(
        path, shape=array.shape, dtype=array.dtype, chunks=(CHUNK_ROWS, array.shape[1])
    )
    stored[:] = array
    return str(path)


def make_block(block_info: Any = None) -> NDArray[np.float32]:
    """Return one block of a pool that is never stored, the same on every run."""
    place = block_info[None]
    rng = np.random.default_rng(place["chunk-location"][0])
    rows, num_classes = place["chunk-shape"]
    logits = rng.standard_normal((rows, num_classes), dtype=np.float32)
    logits *= SURENESS
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def make_pool(num_rows: int, num_classes: int = 10, block_rows: int = 500_000) -> da.Array:
    """Return a lazy pool, made block by block while it is scored."""
    rows = [min(block_rows, num_rows - start) for start in range(0, num_rows, block_rows)]
    return da.map_blocks(
        make_block,
        chunks=(tuple(rows), (num_classes,)),
        dtype=np.float32,
        meta=np.empty((0, 0), dtype=np.float32),
    )
