"""What the engine itself costs per block, with tasks that read nothing and compute nothing.

For each scheduler and number of blocks, prints microseconds per block: the processor time of this
process (client and scheduler) for building the graph and for running it, and the wall-clock time.
It also prints by how much the memory of the process grew.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import dask
import numpy as np

from benchmarks import timing
from daskal.engine import reduction
from daskal.inputs import blocks
from daskal.inputs.sources import Source, cut_nothing

COUNTS = (1_000, 10_000, 100_000)
SMALL_COUNTS = (100,)
SCHEDULERS = ("synchronous", "threads", "2 worker processes")


@dataclass(frozen=True)
class EmptyReader:
    """A reader that reads nothing."""

    name: str = "nothing"

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Return rows without columns."""
        return np.empty((stop - start, 0))


def empty_source(num_rows: int) -> Source:
    """Return a source of rows without columns."""
    return Source(
        name="nothing",
        kind="stored",
        shape=(num_rows, 0),
        dtype=np.dtype(np.float64),
        row_axis=0,
        row_bytes=0,
        reader=EmptyReader(),
        cut=cut_nothing,
        identity=dict,
    )


class Count:
    """The number of blocks."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks

    def merge(self, other: Count) -> Count:
        """Return both together."""
        return Count(self.blocks + other.blocks)


def count_one(block: Any) -> Count:
    """Count one block."""
    return Count(1)


def resident() -> int:
    """Return the peak resident memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Cost(NamedTuple):
    """Processor seconds to build and to run, wall-clock seconds, and memory growth in bytes."""

    build: float
    run: float
    wall: float
    grown: int


def run(num_blocks: int) -> Cost:
    """Return the cost of the reduction of ``num_blocks`` blocks."""
    before = resident()
    sources = (empty_source(num_blocks),)
    cut = blocks.RowBlocks(sources, tuple(range(num_blocks + 1)), has_labels=False)
    began = time.process_time()
    task = reduction.tree(cut, "empty", count_one)
    built, clock = time.process_time(), time.perf_counter()
    assert task.compute().blocks == num_blocks
    ended = time.process_time()
    wall = time.perf_counter() - clock
    return Cost(built - began, ended - built, wall, resident() - before)


def measure(scheduler: str, num_blocks: int) -> Cost:
    """Return the cost with a scheduler."""
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
    """Measure each in a process of its own, so that each has its own memory peak."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--one", nargs=2, metavar=("SCHEDULER", "BLOCKS"), help="one measurement")
    options = parser.parse_args(argv)
    if options.one:
        sys.stdout.write(" ".join(map(str, measure(options.one[0], int(options.one[1])))) + "\n")
        return 0
    rows = []
    for scheduler in SCHEDULERS:
        for num_blocks in SMALL_COUNTS if options.small else COUNTS:
            command = [sys.executable, "-m", "benchmarks.scheduler", "--one", scheduler]
            done = subprocess.run(
                [*command, str(num_blocks)], check=True, capture_output=True, text=True
            )
            cost = Cost(*map(float, done.stdout.split()))  # type: ignore[arg-type]
            rows.append(
                [
                    scheduler,
                    f"{num_blocks:,}",
                    *(f"{seconds / num_blocks * 1e6:.3g}" for seconds in cost[:3]),
                    f"{cost.grown / 2**20:.0f} MiB",
                ]
            )
    header = ("scheduler", "blocks", "building", "running", "wall clock", "memory growth")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
