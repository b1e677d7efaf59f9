"""Read probabilities from S3 and write scores back there.

With ``--bucket``, this uses your own bucket and the credentials that s3fs finds. Without it, a
simulated S3 (moto) is first started on loopback and filled, so that the example runs anywhere.

Run with ``python examples/s3.py``. Needs s3fs, and moto's server if you do not pass a bucket.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
import zarr

import daskal

NUM_CLASSES = 5
LABELS, PROBS, POOL = "labels.zarr", "pred_probs.zarr", "unlabeled.zarr"


@contextmanager
def simulated_s3() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a bucket in a simulated S3 on this machine, and the options to access it."""
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    options = {"key": "any", "secret": "any", "endpoint_url": f"http://127.0.0.1:{port}"}
    try:
        s3fs.S3FileSystem(**options).mkdir("daskal-example")
        yield "s3://daskal-example", options
    finally:
        server.stop()


def predict(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities of a simulated model that is right more often than not, (n, K)."""
    logits = rng.normal(size=(len(truth), NUM_CLASSES))
    logits[np.arange(len(truth)), truth] += 1.5
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probs.astype(np.float32)


def fill(bucket: str, options: dict[str, Any], num_labeled: int, num_pool: int) -> None:
    """Store labels of simulated annotators and probabilities of a simulated model."""
    rng = np.random.default_rng(0)
    truth = rng.integers(NUM_CLASSES, size=num_labeled)
    labels = np.where(
        rng.random((num_labeled, 12)) < 0.25,
        np.where(rng.random((num_labeled, 12)) < 0.8, truth[:, None], 0),
        -1,
    ).astype(np.int8)
    probs = predict(truth, rng)
    pool = predict(rng.integers(NUM_CLASSES, size=num_pool), rng)
    for name, values in ((LABELS, labels), (PROBS, probs), (POOL, pool)):
        stored = zarr.create_array(
            f"{bucket}/{name}",
            shape=values.shape,
            chunks=(max(1, len(values) // 4), values.shape[1]),
            dtype=values.dtype,
            storage_options=options,
            overwrite=True,
        )
        stored[:] = values


def score(bucket: str, options: dict[str, Any]) -> None:
    """Run both passes, from and to the bucket; options are passed on and never stored."""
    run = daskal.run(
        labels=f"{bucket}/{LABELS}",
        pred_probs=f"{bucket}/{PROBS}",
        pred_probs_unlabeled=f"{bucket}/{POOL}",
        out=f"{bucket}/scores.zarr",
        batch_size=5,
        overwrite=True,
        storage_options=options,
    )
    print(run.batch.to_string(index=False))
    # The result is plain Zarr: xarray opens it in place.
    found = xr.open_zarr(f"{bucket}/scores.zarr", group="labeled", storage_options=options)
    print(f"\nLowest consensus quality: {float(found['consensus_quality_score'].min()):.3f}")


def main(*, bucket: str | None = None, short: bool = False) -> None:
    if bucket is not None:
        score(bucket, {})
        return
    with simulated_s3() as (simulated, options):
        fill(simulated, options, *((200, 300) if short else (20_000, 100_000)))
        score(simulated, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bucket", help=f"s3://bucket/folder with {LABELS}, {PROBS} and {POOL}")
    parser.add_argument("--short", action="store_true", help="fewer examples")
    given = parser.parse_args()
    main(bucket=given.bucket, short=given.short)
