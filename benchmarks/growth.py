"""Time and peak memory as a pool is doubled, each size in a process of its own.

The pool's probabilities are made on the fly; its 1,000 lowest scores are found on 2 threads. Each
size runs in turn with half of it. Growth is the median over turns of its processor time divided by
that of the halves before and after, so that drifts in the machine's speed cancel out.
"""

from __future__ import annotations

import gc
import resource
import statistics
import subprocess
import sys
import time

import dask

import daskal
from benchmarks import data, timing

COUNTS = tuple(100_000 * 2**doubling for doubling in range(11))
SMALL_COUNTS = COUNTS[:3]
# At least two blocks at any size, so that as many are always being worked on.
BLOCK_ROWS = 50_000
# How long each size is measured, in turn with its half.
LEAST_SECONDS = 3.0


def rank(num_rows: int, least_seconds: float) -> tuple[float, float, float, int]:
    """Measure one size in turn with its half, at least twice and for ``least_seconds``.

    Returns the median wall-clock and processor seconds, the ratio of its processor time to that of
    its half, and the peak memory of the process in bytes.
    """
    labels, probs = data.make_labeled(0, 5_000, 20, 10)
    estimate = daskal.estimate(labels, probs)

    def run(rows: int) -> timing.Cost:
        began = timing.Cost(time.perf_counter(), time.process_time())
        daskal.next_batch(
            None,
            daskal.score_unlabeled(data.make_pool(rows, block_rows=BLOCK_ROWS), estimate),
            size=1_000,
        )
        return timing.Cost(time.perf_counter(), time.process_time()) - began

    with dask.config.set(scheduler="threads", num_workers=2):
        run(20 * BLOCK_ROWS)
        # After the imports: otherwise it would happen while some size is measured.
        gc.collect()
        halves, wholes = [run(num_rows // 2)], []
        while len(wholes) < 2 or sum(cost.wall for cost in wholes) < least_seconds:
            wholes.append(run(num_rows))
            halves.append(run(num_rows // 2))
    growth = statistics.median(
        2 * whole.cpu / (before.cpu + after.cpu)
        for whole, before, after in zip(wholes, halves, halves[1:], strict=False)
    )
    wall = statistics.median(cost.wall for cost in wholes)
    cpu = statistics.median(cost.cpu for cost in wholes)
    return wall, cpu, growth, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str] | None = None) -> int:
    """Measure all sizes and print the table."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--one", type=int, metavar="ROWS", help="one measurement")
    options = parser.parse_args(argv)
    least_seconds = 0.0 if options.small else LEAST_SECONDS
    if options.one:
        sys.stdout.write(" ".join(map(str, rank(options.one, least_seconds))) + "\n")
        return 0
    rows = []
    for num_rows in SMALL_COUNTS if options.small else COUNTS:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(num_rows)]
        command += ["--small"] if options.small else []
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall, cpu, growth, peak = map(float, done.stdout.split())
        rows.append(
            [
                f"{num_rows:,}",
                timing.show_seconds(wall),
                timing.show_seconds(cpu),
                f"{cpu / num_rows * 1e9:.3g}",
                f"{growth:.3g}",
                f"{peak / 2**20:.0f} MiB",
            ]
        )
    header = (
        "rows",
        "time",
        "processor time",
        "ns per row",
        "ratio to half the rows",
        "peak memory",
    )
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
