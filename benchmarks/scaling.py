"""The same job on one and two threads, and on one and two worker processes.

The job: both passes over labeled data in Zarr, and a pool in Zarr of 100 classes.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np

import daskal
from benchmarks import data, timing

WAYS = ("1 thread", "2 threads", "1 worker process", "2 worker processes")
ALONE = {"2 threads": "1 thread", "2 worker processes": "1 worker process"}


@contextlib.contextmanager
def workers(way: str) -> Iterator[None]:
    """Use threads of this process, or worker processes with one thread each."""
    num = int(way[0])
    if "thread" in way:
        with dask.config.set(scheduler="threads", num_workers=num):
            yield
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=num,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster),
    ):
        yield


def run(folder: Path) -> None:
    """Do both passes."""
    labels, probs = str(folder / "labels.zarr"), str(folder / "probs.zarr")
    estimate = daskal.estimate(labels, probs)
    daskal.next_batch(
        daskal.score_labeled(labels, probs, estimate),
        daskal.score_unlabeled(str(folder / "pool.zarr"), estimate),
        size=1_000,
    )


def main(argv: list[str] | None = None) -> int:
    """Measure all kinds of workers in turn and print the table."""
    options = timing.arguments(__doc__).parse_args(argv)
    num_labeled, num_pool = (2_000, 4_000) if options.small else (200_000, 600_000)
    repeats = 1 if options.small else options.repeats
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels, probs = data.make_labeled(0, num_labeled, 50, 100)
        pool = data.make_probs(np.random.default_rng(1), num_pool, 100)
        data.store(folder / "labels.zarr", labels)
        data.store(folder / "probs.zarr", probs.astype(np.float32))
        data.store(folder / "pool.zarr", pool.astype(np.float32))
        del labels, probs, pool
        for _ in range(repeats):
            for way in WAYS:
                with workers(way):
                    run(folder)
                    began = time.perf_counter()
                    run(folder)
                    seconds[way].append(time.perf_counter() - began)
    median = {way: float(np.median(times)) for way, times in seconds.items()}
    rows = [
        [
            way,
            timing.show_seconds(median[way]),
            f"{median[ALONE[way]] / median[way]:.3g}" if way in ALONE else "",
        ]
        for way in WAYS
    ]
    header = ("workers", "time", "speedup")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
