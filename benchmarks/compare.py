"""Each promise of speed, measured side by side: daskal, cleanlab, and reading or making alone.

Prints one Markdown table. Each row's works run in turn in this process, on Dask's threads unless
it says otherwise; times are medians.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np

import daskal
from benchmarks import data, timing
from daskal import api, blocks, reduction
from daskal.inputs import open_probs


class Sizes(NamedTuple):
    """How much of everything."""

    labeled: int = 100_000
    pool: int = 2_000_000
    stored_pool: int = 1_000_000
    stored_labeled: int = 1_000_000
    made: int = 20_000_000
    growth: int = 2_000_000


SMALL = Sizes(600, 20_000, 20_000, 5_000, 40_000, 20_000)


class Row(NamedTuple):
    """One line of the table; ``ratio`` is at least or at most ``target``."""

    work: str
    daskal: float
    against: str
    other: float
    ratio: float
    target: str
    met: bool

    def cells(self) -> list[str]:
        """The line as text."""
        times = timing.show_seconds
        return [
            self.work,
            times(self.daskal),
            f"{self.against}: {times(self.other)}",
            f"{self.ratio:.3g}",
            self.target,
            "yes" if self.met else "no",
        ]


HEADER = ("work", "daskal", "against", "ratio", "target", "met")


def quiet(work: Callable[[], object]) -> None:
    """Run cleanlab without its prints and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        work()


def cleanlab_scores(labels: Any, probs: Any, pool: Any = None) -> None:
    """Score both pools with cleanlab."""
    from cleanlab.multiannotator import get_active_learning_scores

    quiet(lambda: get_active_learning_scores(labels, probs, pool))


def score_both_passes(labels: Any, probs: Any) -> None:
    """The whole labelled path: pass 1, then scores."""
    estimate = daskal.estimate(labels, probs)
    daskal.score_labeled(labels, probs, estimate).compute()


# --- against cleanlab -------------------------------------------------------------------------


def labeled_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Labelled data in memory."""
    rows = []
    for num_annotators, num_rows, cleanlab_repeats, target in (
        (50, sizes.labeled, 3, 300),
        (500, sizes.labeled, 1, 500),
    ):
        labels, probs = data.make_labeled(0, num_rows, num_annotators, 10)

        def one_thread(x: Any = labels, p: Any = probs) -> None:
            with dask.config.set(scheduler="synchronous"):
                score_both_passes(x, p)

        seconds = timing.interleave(
            {
                "threads": lambda x=labels, p=probs: score_both_passes(x, p),
                "one": one_thread,
                "cleanlab": lambda x=labels, p=probs: cleanlab_scores(x, p),
            },
            repeats,
            slow={"cleanlab": cleanlab_repeats},
        )
        alone = seconds["cleanlab"]
        for name, words in (("threads", "all cores"), ("one", "one core")):
            ratio = alone / seconds[name]
            rows.append(
                Row(
                    f"labelled, N = {num_rows:,}, M = {num_annotators}, K = 10, in memory, {words}",
                    seconds[name],
                    "cleanlab, one core",
                    alone,
                    ratio,
                    f"at least {target}",
                    ratio >= target,
                )
            )
    return rows


def pool_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """A pool in memory: time and extra memory."""
    labels, probs = data.make_labeled(0, 200, 5, 10)
    pool = data.make_probs(np.random.default_rng(1), sizes.pool, 10)
    estimate = daskal.estimate(labels, probs)
    lazy = daskal.score_unlabeled(pool, estimate)

    def one_thread() -> None:
        lazy.compute(scheduler="synchronous")

    seconds = timing.interleave(
        {
            "daskal": lazy.compute,
            "one": one_thread,
            "cleanlab": lambda: cleanlab_scores(labels, probs, pool),
            "cleanlab, labels alone": lambda: cleanlab_scores(labels, probs, pool[:1]),
        },
        repeats,
    )
    alone = seconds["cleanlab"] - seconds["cleanlab, labels alone"]
    rows = []
    for name, words in (("daskal", "all cores"), ("one", "one core")):
        ratio = alone / seconds[name]
        rows.append(
            Row(
                f"pool, U = {sizes.pool:,}, K = 10, in memory, {words}",
                seconds[name],
                "cleanlab, one core",
                alone,
                ratio,
                "at least 10",
                ratio >= 10,
            )
        )
    ours = timing.extra_memory(lazy.compute)
    theirs = timing.extra_memory(lambda: cleanlab_scores(labels, probs, pool))
    sys.stderr.write(
        f"extra memory of the pool in memory: daskal {ours / 2**20:.1f} MiB, cleanlab "
        f"{theirs / 2**20:.1f} MiB, 1/{theirs / ours:.1f}; the scores themselves are "
        f"{sizes.pool * 8 / 2**20:.1f} MiB\n"
    )
    return rows


# --- against reading or making alone ----------------------------------------------------------


class NoState:
    """A state of nothing, for blocks that are only read."""

    def merge(self, other: NoState) -> NoState:
        """Nothing."""
        return self


def only_read(block: Any) -> NoState:
    """A block that is read and forgotten."""
    return NoState()


def read_all(cut: blocks.RowBlocks) -> None:
    """Read the same blocks as daskal does, with the same tasks, and do nothing with them."""
    reduction.tree(cut, only_read).compute("reading")


def stored_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """Data in Zarr against reading it."""
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
        seconds = timing.interleave(
            {"daskal": lazy.compute, "read": lambda: read_all(cut)}, repeats
        )
        ratio = seconds["daskal"] / seconds["read"]
        work = f"pool from Zarr, U = {sizes.stored_pool:,}, K = 100, float32"
        rows.append(
            Row(
                work,
                seconds["daskal"],
                "reading",
                seconds["read"],
                ratio,
                "at most 1.4",
                ratio <= 1.4,
            )
        )
    for kind in ("float64", "int8"):
        with tempfile.TemporaryDirectory() as folder:
            labels, probs = data.make_labeled(0, sizes.stored_labeled, 50, 10)
            values = labels if kind == "float64" else data.as_codes(labels)
            label_path = data.store(Path(folder) / "labels.zarr", values)
            probs_path = data.store(Path(folder) / "probs.zarr", probs.astype(np.float32))
            del labels, probs, values
            cut = api.labeled_blocks(label_path, probs_path, None)[2]

            def thrice(cut: blocks.RowBlocks = cut) -> None:
                for _ in range(3):
                    read_all(cut)

            seconds = timing.interleave(
                {
                    "daskal": lambda x=label_path, p=probs_path: score_both_passes(x, p),
                    "read": thrice,
                },
                repeats,
            )
            ratio = seconds["daskal"] / seconds["read"]
            rows.append(
                Row(
                    f"labelled from Zarr, both passes, N = {sizes.stored_labeled:,}, M = 50, "
                    f"K = 10, labels {kind}, probabilities float32",
                    seconds["daskal"],
                    "reading three times",
                    seconds["read"],
                    ratio,
                    "at most 1.5",
                    ratio <= 1.5,
                )
            )
    return rows


def made_rows(sizes: Sizes, repeats: int) -> list[Row]:
    """A pool made on the fly: against making it, and ten times the rows."""
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

    seconds = timing.interleave(
        {"daskal": lambda: score(sizes.made), "making": lambda: make(sizes.made)},
        min(repeats, 3),
    )
    ratio = seconds["daskal"] / seconds["making"]
    rows = [
        Row(
            f"pool made on the fly and ranked, U = {sizes.made:,}, K = 10",
            seconds["daskal"],
            "making it",
            seconds["making"],
            ratio,
            "at most 1.5",
            ratio <= 1.5,
        )
    ]
    few, many = sizes.growth, 10 * sizes.growth
    seconds = timing.interleave({"few": lambda: score(few), "many": lambda: score(many)}, repeats)
    ratio = seconds["many"] / seconds["few"]
    rows.append(
        Row(
            f"ten times the rows, U = {many:,}",
            seconds["many"],
            f"U = {few:,}",
            seconds["few"],
            ratio,
            "at most 10.5",
            ratio <= 10.5,
        )
    )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure all rows and print the table."""
    options = timing.arguments(__doc__).parse_args(argv)
    sizes = SMALL if options.small else Sizes()
    repeats = 1 if options.small else options.repeats
    rows = []
    for measure in (labeled_rows, pool_rows, stored_rows, made_rows):
        for row in measure(sizes, repeats):
            sys.stderr.write(" | ".join(row.cells()) + "\n")
            rows.append(row)
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(HEADER, [r.cells() for r in rows])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
