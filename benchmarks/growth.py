"""Time and peak memory as a pool is doubled, each size in a process of its own.

The pool's probabilities are made on the fly; its 1,000 lowest scores are found on 2 threads. Times
are the least of 3 runs; the nanoseconds a row and the growth are of processor time.
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import time

import dask

import daskal
from benchmarks import data, timing

COUNTS = tuple(100_000 * 2**doubling for doubling in range(11))
SMALL_COUNTS = COUNTS[:3]
# Two blocks at the least: as many are in work at any size.
BLOCK_ROWS = 50_000


def rank(num_rows: int) -> tuple[float, float, int]:
    """Seconds on the clock and of processor time, and the most memory the process had in bytes."""
    labels, probs = data.make_labeled(0, 5_000, 20, 10)
    estimate = daskal.estimate(labels, probs)

    def run(rows: int) -> None:
        daskal.next_batch(
            None,
            daskal.score_unlabeled(data.make_pool(rows, block_rows=BLOCK_ROWS), estimate),
            size=1_000,
        )

    with dask.config.set(scheduler="threads", num_workers=2):
        run(20 * BLOCK_ROWS)
        # Of all that was imported: it would fall due within one size or another.
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        run(num_rows)
        wall, cpu = time.perf_counter() - began, time.process_time() - used
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str] | None = None) -> int:
    """Measure all sizes and print the table."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--one", type=int, metavar="ROWS", help="one measurement")
    options = parser.parse_args(argv)
    if options.one:
        sys.stdout.write(" ".join(map(str, rank(options.one))) + "\n")
        return 0
    rows = []
    before = None
    for num_rows in SMALL_COUNTS if options.small else COUNTS:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(num_rows)]
        found = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            for _ in range(1 if options.small else 3)
        ]
        wall, cpu = (min(float(run[at]) for run in found) for at in (0, 1))
        peak = max(int(run[2]) for run in found)
        rows.append(
            [
                f"{num_rows:,}",
                timing.show_seconds(wall),
                timing.show_seconds(cpu),
                f"{cpu / num_rows * 1e9:.3g}",
                "" if before is None else f"{cpu / before:.3g}",
                f"{peak / 2**20:.0f} MiB",
            ]
        )
        before = cpu
    header = ("rows", "time", "processor time", "ns a row", "times the line before", "peak memory")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
