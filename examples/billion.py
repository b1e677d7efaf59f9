"""Rank a pool of 1,000,000,000 examples on a laptop.

The probabilities are made block by block while they are scored, as with a model's inference: they
are never stored and never all in memory. A block's scores exist until its 1,000 lowest are known.

Run with ``python examples/billion.py``: some minutes on 2 cores, in less than 2 GiB. Use ``--rows``
for a smaller pool.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import dask
import dask.array as da
import numpy as np
from dask.diagnostics import ProgressBar

import daskal

NUM_CLASSES = 10
BLOCK_ROWS = 500_000


def make_probs(block_info: dict) -> np.ndarray:
    """Return one block of probabilities: softmax of random logits, the same on every run."""
    place = block_info[None]
    rng = np.random.default_rng(place["chunk-location"][0])
    probs = rng.standard_normal(place["chunk-shape"], dtype=np.float32)
    probs *= 3
    np.exp(probs, out=probs)
    probs /= probs.sum(axis=1, keepdims=True)
    return probs


def make_pool(num_rows: int) -> da.Array:
    """Return the pool's probabilities, lazy, (U, K)."""
    rows = tuple(min(BLOCK_ROWS, num_rows - start) for start in range(0, num_rows, BLOCK_ROWS))
    return da.map_blocks(
        make_probs,
        chunks=(rows, (NUM_CLASSES,)),
        dtype=np.float32,
        meta=np.empty((0, 0), dtype=np.float32),
    )


def label_some(rng: np.random.Generator, num_rows: int = 5_000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels with 20 annotators and three labels per example, and their probabilities."""
    truth = rng.integers(0, NUM_CLASSES, num_rows)
    logits = 2 * rng.standard_normal((num_rows, NUM_CLASSES))
    logits[np.arange(num_rows), truth] += 3
    probs = np.exp(logits)
    probs /= probs.sum(axis=1, keepdims=True)
    labels = np.full((num_rows, 20), -1, dtype=np.int8)
    for row in range(num_rows):
        for annotator in rng.choice(20, size=3, replace=False):
            right = rng.random() < 0.6 + annotator / 50
            labels[row, annotator] = truth[row] if right else rng.integers(NUM_CLASSES)
    return labels, probs


def main(num_rows: int, num_threads: int, batch_size: int) -> None:
    labels, probs = label_some(np.random.default_rng(0))
    estimate = daskal.estimate(labels, probs)
    scores = daskal.score_labeled(labels, probs, estimate)
    pool = daskal.score_unlabeled(make_pool(num_rows), estimate)
    began = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=num_threads), ProgressBar(dt=1):
        batch = daskal.next_batch(scores, pool, size=batch_size)
    seconds = time.perf_counter() - began
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(batch.head(10).to_string(index=False))
    print(
        f"{num_rows:,} examples ranked in {seconds:,.0f} s by {num_threads} threads: "
        f"{num_rows / seconds:,.0f} rows/s, peak memory {peak / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000_000, help="examples in the pool")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=1_000)
    parser.add_argument("--short", action="store_true", help="a small run, for the tests")
    options = parser.parse_args()
    main(1_200_000 if options.short else options.rows, options.threads, options.batch_size)
