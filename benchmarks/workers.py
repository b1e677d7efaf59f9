"""How many workers for how much data: what a block costs a worker, and what it costs the scheduler.

Both are measured with ``daskal.run`` on pools in Zarr: the cost of one of four times the rows less
that of the smaller one, so that what each run costs anyway cancels out. A worker's thread is one
thread of this process. The scheduler's share is processor time of the process that it shares with
the client, beside two worker processes, at blocks of 4,096 rows. All else is arithmetic.
"""

from __future__ import annotations

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import dask
import numpy as np

import daskal
from benchmarks import data, timing
from daskal.inputs import blocks
from daskal.text import format_bytes

CLASSES = (10, 100)
ITEM_BYTES = 4  # probabilities are float32
BLOCK_VALUES = blocks.TARGET_BLOCK_BYTES // ITEM_BYTES
POWERS = tuple(range(8, 13))
# Rows of the blocks, and of the storage chunks, with which the scheduler is measured.
SMALL_BLOCK_ROWS = blocks.MIN_BLOCK_ROWS
# Memory of the graph for each block, as benchmarks.scheduler measures it.
GRAPH_BYTES = 6_000
HOUR = 3600


class Pools(NamedTuple):
    """Two pools of the same classes: paths, and the values in each."""

    small: str
    large: str
    values: tuple[int, int]


def make_pools(folder: Path, num_classes: int, num_values: int) -> Pools:
    """Store a pool, and one of four times the rows."""
    rng, paths = np.random.default_rng(num_classes), []
    for name, factor in (("small", 1), ("large", 4)):
        probs = data.make_probs(rng, factor * num_values // num_classes, num_classes)
        paths.append(data.store(folder / f"{name}-{num_classes}.zarr", probs.astype(np.float32)))
    return Pools(*paths, (num_values, 4 * num_values))


def cost_of(pool: str, out: Path) -> timing.Cost:
    """Return the cost of a run."""
    began = timing.Cost(time.perf_counter(), time.process_time())
    daskal.run(pred_probs_unlabeled=pool, out=out, overwrite=True)
    return timing.Cost(time.perf_counter(), time.process_time()) - began


def extra(pools: Pools, out: Path, repeats: int) -> timing.Cost:
    """Return how much more the larger pool costs: medians over turns."""
    cost_of(pools.small, out)
    turns = [cost_of(pools.large, out) - cost_of(pools.small, out) for _ in range(repeats)]
    return timing.Cost(*(float(np.median(column)) for column in zip(*turns, strict=True)))


@contextlib.contextmanager
def two_workers() -> Iterator[None]:
    """Use two worker processes of one thread each."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster),
    ):
        yield


def block_cost(pools: Pools, out: Path, repeats: int) -> timing.Cost:
    """Return what a full block costs one thread."""
    with dask.config.set(scheduler="synchronous"):
        cost = extra(pools, out, repeats)
    share = BLOCK_VALUES / (pools.values[1] - pools.values[0])
    return timing.Cost(cost.wall * share, cost.cpu * share)


def scheduler_cost(pools: Pools, num_classes: int, out: Path, repeats: int) -> float:
    """Return the seconds of processor time of client and scheduler for a block."""
    block_values = SMALL_BLOCK_ROWS * num_classes
    size = block_values * ITEM_BYTES
    with mock.patch.object(blocks, "TARGET_BLOCK_BYTES", size), two_workers():
        cost = extra(pools, out, repeats)
    return cost.cpu / ((pools.values[1] - pools.values[0]) / block_values)


def show_hours(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for size, unit in ((24 * HOUR, "days"), (HOUR, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} seconds"


def paper_row(power: int, num_classes: int, block: float, scheduler: float) -> list[str]:
    """Return what a pool takes, from the costs of a block."""
    size = 10**power * num_classes * ITEM_BYTES
    num_blocks = math.ceil(size / blocks.TARGET_BLOCK_BYTES)
    work = size / blocks.TARGET_BLOCK_BYTES * block
    threads = max(1, math.ceil(work / HOUR))
    return [
        f"10^{power}",
        str(num_classes),
        format_bytes(size),
        f"{num_blocks:,}",
        show_hours(work),
        f"{threads:,}",
        f"{format_bytes(size / work * threads)}/s",
        show_hours(num_blocks * scheduler),
        format_bytes(num_blocks * GRAPH_BYTES),
    ]


def main(argv: list[str] | None = None) -> int:
    """Measure and print both tables."""
    options = timing.arguments(__doc__).parse_args(argv)
    num_values = 400_000 if options.small else 20_000_000
    repeats = 1 if options.small else options.repeats
    measured, costs = [], {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with mock.patch.object(data, "CHUNK_ROWS", SMALL_BLOCK_ROWS):
            pools = make_pools(folder / "small chunks", CLASSES[0], num_values)
        scheduler = scheduler_cost(pools, CLASSES[0], folder / "out.zarr", repeats)
        for num_classes in CLASSES:
            pools = make_pools(folder, num_classes, num_values)
            block = block_cost(pools, folder / "out.zarr", repeats)
            costs[num_classes] = block.cpu
            measured.append(
                [
                    str(num_classes),
                    timing.show_seconds(block.wall),
                    timing.show_seconds(block.cpu),
                    f"{format_bytes(blocks.TARGET_BLOCK_BYTES / block.wall)}/s",
                    timing.show_seconds(scheduler),
                    f"{block.cpu / scheduler:.0f}",
                ]
            )
    header = (
        "classes",
        "block, a thread",
        "block, processor time",
        "read and scored",
        "block, scheduler",
        "threads at most",
    )
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, measured)}\n\n")
    paper = [
        paper_row(power, num_classes, costs[num_classes], scheduler)
        for num_classes in CLASSES
        for power in POWERS
    ]
    header = (
        *("rows", "classes", "float32", "blocks", "one thread"),
        *("threads for an hour", "storage gives then", "scheduler", "its graph"),
    )
    sys.stdout.write(f"{timing.table(header, paper)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
