"""What the engine itself costs a block: tasks that read nothing and compute nothing.

Prints, for each scheduler and number of blocks, microseconds a block for building the graph and for
running it, and the memory the client (with the scheduler in it) grew by.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np

from benchmarks import timing
from daskal import blocks, reduction

COUNTS = (1_000, 10_000, 100_000)
SMALL_COUNTS = (10, 100)
SCHEDULERS = ("synchronous", "threads", "2 worker processes")


@dataclass(frozen=True)
class EmptyReader:
    """Reads nothing."""

    name: str = "nothing"

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Rows of no columns."""
        return np.empty((stop - start, 0))


@dataclass(frozen=True)
class EmptySource:
    """As much of a source as the graph of its blocks needs."""

    reader: EmptyReader = EmptyReader()

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Nothing for any block."""
        return [None] * (len(edges) - 1), []


class Count:
    """How many blocks there were."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def merge(self, other: Count) -> Count:
        """Both together."""
        return Count(self.blocks + other.blocks)


def count_one(block: Any) -> Count:
    """One block."""
    return Count(1)


def resident() -> int:
    """Peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(num_blocks: int) -> tuple[float, float, int]:
    """Seconds to build and to run the reduction of so many blocks, and bytes grown by."""
    before = resident()
    cut = blocks.RowBlocks((EmptySource(),), tuple(range(num_blocks + 1)), has_labels=False)  # type: ignore[arg-type]
    began = time.perf_counter()
    task = reduction.tree(cut, count_one)
    built = time.perf_counter()
    assert task.compute("empty").blocks == num_blocks
    return built - began, time.perf_counter() - built, resident() - before


def measure(scheduler: str, num_blocks: int) -> tuple[float, float, int]:
    """As ``run``, under a scheduler."""
    if scheduler != SCHEDULERS[2]:
        with dask.config.set(scheduler=scheduler):
            run(10)
            return run(num_blocks)
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
        run(10)
        return run(num_blocks)


def main(argv: list[str] | None = None) -> int:
    """Measure each in a process of its own, so that peaks of memory are apart."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--one", nargs=2, metavar=("SCHEDULER", "BLOCKS"), help="one measurement")
    options = parser.parse_args(argv)
    if options.one:
        build, compute, grown = measure(options.one[0], int(options.one[1]))
        sys.stdout.write(f"{build} {compute} {grown}\n")
        return 0
    rows = []
    for scheduler in SCHEDULERS:
        for num_blocks in SMALL_COUNTS if options.small else COUNTS:
            command = [sys.executable, "-m", "benchmarks.scheduler", "--one", scheduler]
            done = subprocess.run(
                [*command, str(num_blocks)], check=True, capture_output=True, text=True
            )
            build, compute, grown = map(float, done.stdout.split())
            rows.append(
                [
                    scheduler,
                    f"{num_blocks:,}",
                    f"{build / num_blocks * 1e6:.3g}",
                    f"{compute / num_blocks * 1e6:.3g}",
                    f"{grown / 2**20:.0f} MiB",
                ]
            )
    header = ("scheduler", "blocks", "building, us a block", "running, us a block", "grown by")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
