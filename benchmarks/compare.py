"""Each speed target, measured side by side: daskal, cleanlab, and only reading or making the data.

Prints one Markdown table. What a row compares runs in turn in this process, on Dask's threads
unless it says otherwise; times and ratios are medians. The ratio of processor time, over all
threads, is more reliable while other programs keep the machine busy.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import dask
import numpy as np

import daskal
from benchmarks import data, timing
from daskal.engine import reduction
from daskal.inputs import blocks
from daskal.inputs.data import open_labeled
from daskal.inputs.probabilities import open_probs
from daskal.storage import transfers


class Sizes(NamedTuple):
    """Numbers of rows, and of probabilities where classes are many."""

    labeled: int = 100_000
    pool: int = 2_000_000
    stored_pool: int = 1_000_000
    stored_labeled: int = 1_000_000
    made: int = 20_000_000
    growth: int = 2_000_000
    values: int = 20_000_000


SMALL = Sizes(1_000, 20_000, 20_000, 5_000, 40_000, 20_000, 200_000)


class Row(NamedTuple):
    """One line of the table."""

    work: str
    ours: str
    other: str
    ratio: float
    cpu_ratio: float | None
    bound: float
    at_least: bool

    def cells(self) -> list[str]:
        """Return the line as text."""
        met = self.ratio >= self.bound if self.at_least else self.ratio <= self.bound
        return [
            self.work,
            self.ours,
            self.other,
            f"{self.ratio:.3g}",
            "" if self.cpu_ratio is None else f"{self.cpu_ratio:.3g}",
            f"at {'least' if self.at_least else 'most'} {self.bound:g}",
            "yes" if met else "no",
        ]


# Name of the measurement that reads through Zarr's own threads.
BY_ZARR = "by Zarr"

HEADER = ("work", "daskal", "against", "ratio", "ratio of processor time", "target", "met")


def slower(work: str, times: timing.Times, name: str, other: str, words: str, most: float) -> Row:
    """Return a line for work that may take at most ``most`` times as long as other work.

    If reading by Zarr itself was timed, the line includes it.
    """
    against = f"{words}: {timing.show_seconds(times.median(other))}"
    if BY_ZARR in times.runs:
        against += f" (Zarr by itself: {timing.show_seconds(times.median(BY_ZARR))})"
    ours = timing.show_seconds(times.median(name))
    return Row(work, ours, against, *times.ratio(name, other), most, at_least=False)


def faster(work: str, times: timing.Times, name: str, other: str, least: float) -> Row:
    """Return a line for work that should be at least ``least`` times as fast as cleanlab."""
    against = f"cleanlab, one core: {timing.show_seconds(times.median(other))}"
    ours = timing.show_seconds(times.median(name))
    return Row(work, ours, against, *times.ratio(other, name), least, at_least=True)


def quiet(work: Callable[[], object]) -> None:
    """Run cleanlab without its prints and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        work()


def cleanlab_scores(labels: Any, probs: Any, pool: Any = None) -> None:
    """Score labeled examples and a pool with cleanlab."""
    from cleanlab.multiannotator import get_active_learning_scores

    quiet(lambda: get_active_learning_scores(labels, probs, pool))


def score_both_passes(labels: Any, probs: Any) -> None:
    """Do the whole labeled path: pass 1, then scores."""
    estimate = daskal.estimate(labels, probs)
    daskal.score_labeled(labels, probs, estimate).compute()


# --- compared with cleanlab -------------------------------------------------------------------


def labeled_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Measure labeled data in memory."""
    rows = []
    for num_annotators, num_rows, cleanlab_repeats, target in (
        (50, sizes.labeled, 3, 1000),
        (500, sizes.labeled * 3 // 5, 1, 1500),
    ):
        labels, probs = data.make_labeled(0, num_rows, num_annotators, 10)

        def one_thread(x: Any = labels, p: Any = probs) -> None:
            with dask.config.set(scheduler="synchronous"):
                score_both_passes(x, p)

        times = timing.interleave(
            {
                "all cores": lambda x=labels, p=probs: score_both_passes(x, p),
                "one core": one_thread,
                "cleanlab": lambda x=labels, p=probs: cleanlab_scores(x, p),
            },
            repeats,
            slow={"cleanlab": cleanlab_repeats},
        )
        work = f"labeled, N = {num_rows:,}, M = {num_annotators}, K = 10, in memory"
        rows += [
            faster(f"{work}, {way}", times, way, "cleanlab", target)
            for way in ("all cores", "one core")
        ]
        if num_annotators == 50:
            rows.append(two_threads(f"{work}, two threads", times))
    return rows


def two_threads(work: str, times: timing.Times) -> Row:
    """Return a line for what a second core brings."""
    ours, other = (timing.show_seconds(times.median(way)) for way in ("all cores", "one core"))
    ratio = times.ratio("one core", "all cores")
    return Row(work, ours, f"one: {other}", ratio.wall, None, 1.7, at_least=True)


def pool_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Measure a pool in memory: time and extra memory."""
    labels, probs = data.make_labeled(0, 200, 5, 10)
    pool = data.make_probs(np.random.default_rng(1), sizes.pool, 10)
    estimate = daskal.estimate(labels, probs)
    lazy = daskal.score_unlabeled(pool, estimate)

    def one_thread() -> None:
        lazy.compute(scheduler="synchronous")

    times = timing.interleave(
        {
            "all cores": lazy.compute,
            "one core": one_thread,
            "labeled and pool": lambda: cleanlab_scores(labels, probs, pool),
            "labeled": lambda: cleanlab_scores(labels, probs, pool[:1]),
        },
        repeats,
    )
    both, labeled = times.runs["labeled and pool"], times.runs["labeled"]
    alone = [a - b for a, b in zip(both, labeled, strict=True)]
    times = timing.Times({**times.runs, "cleanlab": alone})
    work = f"pool, U = {sizes.pool:,}, K = 10, in memory"
    rows = [
        faster(f"{work}, {way}", times, way, "cleanlab", 30) for way in ("all cores", "one core")
    ]
    rows.append(two_threads(f"{work}, two threads", times))
    ours = timing.extra_memory(lazy.compute)
    theirs = timing.extra_memory(lambda: cleanlab_scores(labels, probs, pool))
    show = timing.show_bytes
    rows.append(
        Row(
            f"{work}: extra memory (the scores are {show(sizes.pool * 8)} of it)",
            show(ours),
            f"cleanlab: {show(theirs)}",
            theirs / ours,
            None,
            20,
            at_least=True,
        )
    )
    return rows


def many_classes_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Measure what a value of a pool costs where there are many classes."""
    works = {}
    for num_classes in (100, 1_000, 10_000):
        labels, probs = data.make_labeled(0, 500, 5, num_classes)
        estimate = daskal.estimate(labels, probs)
        num_rows = sizes.values // num_classes
        pool = data.make_probs(np.random.default_rng(1), num_rows, num_classes)
        works[f"K = {num_classes:,}"] = daskal.score_unlabeled(pool, estimate).compute
    times = timing.interleave(works, repeats)
    few = "K = 100"
    return [
        slower(f"pool of {sizes.values:,} values, {many}, in memory", times, many, few, few, 1.2)
        for many in works
        if many != few
    ]


# --- the first call of a process --------------------------------------------------------------

# Scores next to nothing, twice: the difference is what the first call takes to load the kernels.
# (Dask imports ``distributed`` at its first computation, whoever computes.)
FIRST_CALL = """
import time, distributed, numpy as np
from daskal import estimate, score_unlabeled
def score():
    start = time.perf_counter()
    found = estimate(np.array([[0, 1], [1, 1]]), np.full((2, 2), 0.5))
    score_unlabeled(np.full((2, 2), 0.5), found).compute()
    return time.perf_counter() - start
first = score()
print(first - score())
"""
WARM_UP = """
import time
from daskal.kernels.warming import warm_up
start = time.perf_counter()
warm_up()
print(time.perf_counter() - start)
"""


# The folder beside the code may hold kernels, which a new machine's does not.
NEW_MACHINE = """
import os, pathlib
from daskal.kernels import caching
caching.FOLDER = pathlib.Path(os.environ["NUMBA_CACHE_DIR"])
"""


def compiling_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Measure compiling every kernel on a new machine, and what a later process waits."""
    with tempfile.TemporaryDirectory() as cache:

        def seconds(code: str) -> float:
            env = dict(os.environ)
            # A trial does not compile again what this machine has compiled.
            if sizes is not SMALL:
                env["NUMBA_CACHE_DIR"], code = cache, NEW_MACHINE + code
            command = [sys.executable, "-W", "ignore", "-c", code]
            done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
            return float(done.stdout)

        compiling = seconds(WARM_UP)
        later = statistics.median(seconds(FIRST_CALL) for _ in range(repeats))
    return [
        Row("first command: compile (s)", f"{compiling:.3g} s", "", compiling, None, 30, False),
        Row("later process: load kernels (s)", f"{later:.3g} s", "", later, None, 1, False),
    ]


# --- compared with only reading or making -----------------------------------------------------


class NoState:
    """An empty state, for blocks that are only read."""

    def merge(self, other: NoState) -> NoState:
        """Return the empty state."""
        return self


def only_read(block: Any) -> NoState:
    """Discard a block that was read."""
    return NoState()


def read_all(cut: blocks.RowBlocks) -> None:
    """Read the same blocks as daskal, with the same tasks, and discard them."""
    reduction.tree(cut, "reading", only_read).compute()


def read_by_zarr(cut: blocks.RowBlocks) -> None:
    """Read them with ``array[start:stop]``, which goes through Zarr's own threads."""
    with mock.patch.object(transfers, "can_run_here", return_value=False):
        read_all(cut)


def stored_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Measure data in Zarr, compared with reading it."""
    rows = []
    labels, probs = data.make_labeled(0, 5_000, 50, 100)
    estimate = daskal.estimate(labels, probs)
    with tempfile.TemporaryDirectory() as folder:
        pool = data.make_probs(np.random.default_rng(1), sizes.stored_pool, 100)
        path = data.store(Path(folder) / "pool.zarr", pool.astype(np.float32))
        del pool
        sources = open_probs("pool", path, None).sources
        cut = blocks.cut_rows(sources, has_labels=False)
        lazy = daskal.score_unlabeled(path, estimate)
        times = timing.interleave(
            {
                "daskal": lazy.compute,
                "read": lambda: read_all(cut),
                BY_ZARR: lambda: read_by_zarr(cut),
            },
            repeats,
        )
        work = f"pool from Zarr, U = {sizes.stored_pool:,}, K = 100, float32"
        rows.append(slower(work, times, "daskal", "read", "reading", 1.4))
    for kind, most in (("float64", 1.5), ("int8", 2.0)):
        with tempfile.TemporaryDirectory() as folder:
            labels, probs = data.make_labeled(0, sizes.stored_labeled, 50, 10)
            values = labels if kind == "float64" else data.as_codes(labels)
            label_path = data.store(Path(folder) / "labels.zarr", values)
            probs_path = data.store(Path(folder) / "probs.zarr", probs.astype(np.float32))
            del labels, probs, values
            cut = open_labeled(label_path, probs_path, None).blocks

            def thrice(
                read: Callable[[blocks.RowBlocks], None], cut: blocks.RowBlocks = cut
            ) -> None:
                for _ in range(3):
                    read(cut)

            times = timing.interleave(
                {
                    "daskal": lambda x=label_path, p=probs_path: score_both_passes(x, p),
                    "read": lambda t=thrice: t(read_all),
                    BY_ZARR: lambda t=thrice: t(read_by_zarr),
                },
                repeats,
            )
            work = (
                f"labeled from Zarr, both passes, N = {sizes.stored_labeled:,}, M = 50, K = 10, "
                f"labels {kind}, probabilities float32"
            )
            rows.append(slower(work, times, "daskal", "read", "reading three times", most))
    return rows


def made_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Measure a pool made on the fly, compared with only making it, and with ten times the rows."""
    labels, probs = data.make_labeled(0, 5_000, 20, 10)
    estimate = daskal.estimate(labels, probs)

    def score(num_rows: int) -> None:
        daskal.next_batch(
            daskal.score_unlabeled(data.make_pool(num_rows)[:1], estimate),
            daskal.score_unlabeled(data.make_pool(num_rows), estimate),
            size=100,
        )

    def make(num_rows: int) -> None:
        sources = open_probs("pool", data.make_pool(num_rows), None).sources
        read_all(blocks.cut_rows(sources, has_labels=False))

    times = timing.interleave(
        {"daskal": lambda: score(sizes.made), "making": lambda: make(sizes.made)}, min(repeats, 3)
    )
    work = f"pool made on the fly and ranked, U = {sizes.made:,}, K = 10"
    rows = [slower(work, times, "daskal", "making", "making it", 1.3)]
    few, many = sizes.growth, 10 * sizes.growth
    times = timing.interleave({"few": lambda: score(few), "many": lambda: score(many)}, repeats)
    rows.append(
        slower(f"ten times the rows, U = {many:,}", times, "many", "few", f"U = {few:,}", 10.5)
    )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure all rows and print the table."""
    options = timing.arguments(__doc__).parse_args(argv)
    sizes = SMALL if options.small else Sizes()
    repeats = 1 if options.small else options.repeats
    rows = []
    for measure in (
        labeled_rows,
        pool_rows,
        many_classes_rows,
        stored_rows,
        made_rows,
        compiling_rows,
    ):
        for row in measure(sizes, repeats):
            sys.stderr.write(" | ".join(row.cells()) + "\n")
            rows.append(row)
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(HEADER, [r.cells() for r in rows])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
