"""Score Zarr stores on a Dask cluster, watch it, and open the result as a report.

Without ``--scheduler``, this starts a cluster of two worker processes on this machine, on loopback.
With it, the work runs on the cluster at that address, whose workers need daskal and access to the
same paths. The result has the same bits either way.

Run with ``python examples/cluster.py --out DIR`` or ``... --scheduler tcp://10.0.0.1:8786``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import zarr
from distributed import Client, LocalCluster

import daskal

NUM_CLASSES = 10
NUM_ANNOTATORS = 50


def make_stores(folder: Path, num_labeled: int, num_pool: int) -> None:
    """Store labels of simulated annotators and probabilities of a simulated model as Zarr."""
    rng = np.random.default_rng(0)
    skill = rng.uniform(0.5, 0.95, NUM_ANNOTATORS)

    def predict(truth: np.ndarray) -> np.ndarray:
        logits = rng.normal(size=(len(truth), NUM_CLASSES))
        logits[np.arange(len(truth)), truth] += 2
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    truth = rng.integers(NUM_CLASSES, size=num_labeled)
    labels = np.full((num_labeled, NUM_ANNOTATORS), -1, dtype=np.int8)
    for _ in range(3):
        annotator = rng.integers(NUM_ANNOTATORS, size=num_labeled)
        right = rng.random(num_labeled) < skill[annotator]
        guess = rng.integers(NUM_CLASSES, size=num_labeled)
        labels[np.arange(num_labeled), annotator] = np.where(right, truth, guess)
    arrays = {
        "labels": labels,
        "pred_probs": predict(truth).astype(np.float32),
        "unlabeled": predict(rng.integers(NUM_CLASSES, size=num_pool)).astype(np.float32),
    }
    for name, values in arrays.items():
        chunks = (max(1, len(values) // 16), values.shape[1])
        stored = zarr.create_array(
            folder / f"{name}.zarr", shape=values.shape, chunks=chunks, dtype=values.dtype
        )
        stored[:] = values


def tell(progress: daskal.Progress) -> None:
    """Print the progress of a pass each time another quarter of its blocks is done."""
    stage, done, total, rows, _ = progress
    if done and (4 * done // total) > (4 * (done - 1) // total):
        print(f"  {stage}: {done} of {total} blocks, {rows:,} rows")


def main(*, out: Path, scheduler: str | None = None, short: bool = False) -> None:
    make_stores(out, *((2_000, 5_000) if short else (100_000, 1_000_000)))
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1"}
    address = scheduler or LocalCluster(**options, dashboard_address=None)
    with Client(address):  # everything below runs on this client's cluster
        run = daskal.run(
            labels=out / "labels.zarr",
            pred_probs=out / "pred_probs.zarr",
            pred_probs_unlabeled=out / "unlabeled.zarr",
            out=out / "scores.zarr",
            batch_size=100,
            overwrite=True,
            progress=tell,
        )
    if scheduler is None:
        address.close()
    print(run)
    print(run.report(out / "report.html"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder to write to (default: a temporary one)")
    parser.add_argument("--scheduler", help="address of a running cluster")
    parser.add_argument("--short", action="store_true", help="fewer examples")
    given = parser.parse_args()
    main(out=given.out or Path(tempfile.mkdtemp()), scheduler=given.scheduler, short=given.short)
