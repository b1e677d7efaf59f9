"""Votes without a model: an iteration compared with crowd-kit's, and a billion votes.

First 6,000,000 votes of 1,000,000 tasks by 2,400 annotators over 5 classes, in memory: the time of
one iteration is the difference between runs of several and of one, of both sides in turn, and the
memory what Python and NumPy hold beyond the votes. Then votes made on the fly, in a process of
their own for each size.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import scipy.sparse
from crowdkit.aggregation import DawidSkene, OneCoinDawidSkene

import daskal
from benchmarks import timing

NUM_TASKS, SMALL_TASKS = 1_000_000, 2_000
VOTES_A_TASK, NUM_ANNOTATORS, NUM_CLASSES = 6, 2_400, 5
# Iterations beyond the first that are timed, and how often in turn.
MORE, MORE_CROWDKIT, TURNS = 10, 2, 5
SIZES, SMALL_SIZES = (10**7, 10**8, 10**9), (10**4, 10**5)
BLOCK_TASKS = 100_000
CROWDKIT = {"dawid_skene": DawidSkene, "one_coin": OneCoinDawidSkene}


def make_votes(num_tasks: int, seed: int) -> scipy.sparse.csr_array:
    """Make votes of annotators who are right 40 to 90 % of the time, else guess."""
    rng = np.random.default_rng(seed)
    group = NUM_ANNOTATORS // VOTES_A_TASK
    drawn = rng.integers(group, size=(num_tasks, VOTES_A_TASK), dtype=np.int32)
    # One of each group, so that they are in order and nobody votes twice.
    annotators = drawn + np.arange(0, NUM_ANNOTATORS, group, dtype=np.int32)
    truth = rng.integers(NUM_CLASSES, size=(num_tasks, 1), dtype=np.int8)
    skill = np.linspace(0.4, 0.9, group, dtype=np.float32)[drawn]
    right = rng.random((num_tasks, VOTES_A_TASK), dtype=np.float32) < skill
    guesses = rng.integers(NUM_CLASSES, size=right.shape, dtype=np.int8)
    classes = np.where(right, truth, guesses)
    offsets = np.arange(0, classes.size + 1, VOTES_A_TASK)
    return scipy.sparse.csr_array(
        (classes.ravel(), annotators.ravel(), offsets), shape=(num_tasks, NUM_ANNOTATORS)
    )


def as_table(votes: scipy.sparse.csr_array) -> pd.DataFrame:
    """Return votes in long format, as crowd-kit takes them."""
    rows = np.repeat(np.arange(votes.shape[0]), np.diff(votes.indptr))
    return pd.DataFrame({"task": rows, "worker": votes.indices, "label": votes.data})


def crowdkit(table: pd.DataFrame, method: str, iterations: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CROWDKIT[method](n_iter=iterations, tol=-np.inf).fit(table)


def ours(votes: scipy.sparse.csr_array, method: str, iterations: int) -> daskal.Aggregate:
    return daskal.aggregate(votes, method, max_iterations=iterations, tolerance=0)


def seconds(work: Any) -> timing.Cost:
    began = timing.Cost(time.perf_counter(), time.process_time())
    work()
    return timing.Cost(time.perf_counter(), time.process_time()) - began


def an_iteration(work: Any, more: int) -> timing.Cost:
    """Return what one more iteration costs."""
    few, many = seconds(partial(work, 1)), seconds(partial(work, 1 + more))
    return timing.Cost((many.wall - few.wall) / more, (many.cpu - few.cpu) / more)


def compare(num_tasks: int) -> list[list[str]]:
    """Return a row for each method: an iteration's time and the memory, against crowd-kit's."""
    votes = make_votes(num_tasks, 0)
    table = as_table(votes)
    rows = []
    for method in CROWDKIT:
        ours(votes[:1_000], method, 2)  # compiles
        runs: dict[str, list[timing.Cost]] = {"daskal": [], "crowd-kit": []}
        for _ in range(TURNS):
            runs["daskal"].append(an_iteration(partial(ours, votes, method), MORE))
            runs["crowd-kit"].append(an_iteration(partial(crowdkit, table, method), MORE_CROWDKIT))
        times = timing.Times(runs)
        ratio = times.ratio("crowd-kit", "daskal")
        memory = timing.extra_memory(partial(ours, votes, method, 1))
        their_memory = timing.extra_memory(partial(crowdkit, table, method, 1))
        rows.append(
            [
                f"{method}, {votes.nnz:,} votes",
                timing.show_seconds(times.median("daskal")),
                timing.show_seconds(times.median("crowd-kit")),
                f"{ratio.wall:.3g}",
                f"{ratio.cpu:.3g}",
                timing.show_bytes(memory),
                timing.show_bytes(their_memory),
                f"{their_memory / memory:.3g}",
            ]
        )
    return rows


# --- a billion --------------------------------------------------------------------------------


def make_block(_: Any, block_info: Any = None) -> scipy.sparse.csr_array:
    start, stop = block_info[0]["array-location"][0]
    return make_votes(stop - start, start)


def lazy_votes(num_votes: int) -> da.Array:
    """Return votes that each task makes itself."""
    num_tasks = num_votes // VOTES_A_TASK
    rows = da.zeros((num_tasks, 1), chunks=(min(BLOCK_TASKS, num_tasks), 1), dtype=np.int8)
    meta = scipy.sparse.csr_array((0, 0), dtype=np.int8)
    return rows.map_blocks(
        make_block, chunks=(rows.chunks[0], (NUM_ANNOTATORS,)), dtype=np.int8, meta=meta
    )


def aggregate_lazily(num_votes: int) -> tuple[float, float, float, int]:
    """Return wall-clock and processor seconds of three passes, those of making, and the peak."""
    with dask.config.set(scheduler="threads", num_workers=2):
        ours(make_votes(1_000, 0), "dawid_skene", 2)
        votes = lazy_votes(num_votes)
        cost = seconds(partial(ours, votes, "dawid_skene", 1))
        made = seconds(lambda: votes.map_blocks(count_block, dtype=np.int64).sum().compute())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return cost.wall, cost.cpu, made.cpu, peak


def count_block(block: scipy.sparse.csr_array) -> np.ndarray[Any, Any]:
    return np.full((1, 1), block.nnz)


def grow(sizes: tuple[int, ...]) -> list[list[str]]:
    """Return a row for each size: three passes over votes made on the fly."""
    rows = []
    for num_votes in sizes:
        command = [sys.executable, "-m", "benchmarks.votes", "--one", str(num_votes)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        wall, cpu, made, peak = map(float, done.stdout.split())
        rows.append(
            [
                f"{num_votes:,}",
                timing.show_seconds(wall),
                f"{cpu / num_votes / 3 * 1e9:.3g}",
                f"{(cpu - 3 * made) / num_votes / 3 * 1e9:.3g}",
                f"{peak / 2**20:.0f} MiB",
            ]
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="finish in seconds; for tests only")
    parser.add_argument("--one", type=int, metavar="VOTES", help="one size, made on the fly")
    options = parser.parse_args(argv)
    if options.one:
        sys.stdout.write(" ".join(map(str, aggregate_lazily(options.one))) + "\n")
        return 0
    header = (
        "an iteration in memory",
        "daskal",
        "crowd-kit",
        "ratio",
        "ratio of processor time",
        "memory",
        "crowd-kit's",
        "ratio",
    )
    rows = compare(SMALL_TASKS if options.small else NUM_TASKS)
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n\n")
    header = (
        "votes made on the fly",
        "three passes",
        "ns a vote and pass",
        "without making them",
        "peak memory",
    )
    rows = grow(SMALL_SIZES if options.small else SIZES)
    sys.stdout.write(f"{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
