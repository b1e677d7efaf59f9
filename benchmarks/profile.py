"""Where the time goes: functions by their share of the time, on one thread.

Profiles two paths in memory: labeled data (both passes) and a pool.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np

import daskal
from benchmarks import data, timing

PACKAGE = Path(daskal.__file__).parent
SHOWN = 14


def shares(work: Callable[[], object]) -> list[list[str]]:
    """Return functions by their own time; NumPy's counts for the daskal function that calls it."""
    work()
    profile = cProfile.Profile()
    profile.runcall(work)
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(entry[2] for entry in entries.values())
    own = {key: entry[2] for key, entry in entries.items()}
    names: dict[str, float] = {}
    # Time inside other functions counts for their callers, up to daskal or Dask.
    charged: dict[tuple[str, int, str], float] = dict.fromkeys(own, 0.0)
    for key, entry in entries.items():
        if is_ours(key):
            charged[key] += own[key]
            continue
        callers = entry[4]
        calls = sum(caller[2] for caller in callers.values()) or 1.0
        for caller, (_, _, caller_own, _) in callers.items():
            if is_ours(caller):
                charged[caller] += own[key] * caller_own / calls
    for key, seconds in charged.items():
        if is_ours(key):
            name = f"{Path(key[0]).stem}.{key[2]}"
            names[name] = names.get(name, 0.0) + seconds
    names["(all else: Dask, NumPy's Python layers)"] = total - sum(names.values())
    ordered = sorted(names.items(), key=lambda item: -item[1])[:SHOWN]
    return [[name, f"{seconds / total:.1%}"] for name, seconds in ordered]


def is_ours(key: tuple[str, int, str]) -> bool:
    """Return whether a profiled function is daskal's."""
    return PACKAGE in Path(key[0]).parents


def main(argv: list[str] | None = None) -> int:
    """Profile both paths and print a table for each."""
    options = timing.arguments(__doc__).parse_args(argv)
    num_labeled, num_pool = (5_000, 20_000) if options.small else (500_000, 2_000_000)
    labels, probs = data.make_labeled(0, num_labeled, 50, 10)
    pool = data.make_probs(np.random.default_rng(1), num_pool, 10)
    estimate = daskal.estimate(labels, probs)

    def labeled() -> None:
        found = daskal.estimate(labels, probs)
        daskal.score_labeled(labels, probs, found).compute()

    with dask.config.set(scheduler="synchronous"):
        tables = {
            f"labeled, N = {num_labeled:,}, M = 50, K = 10": shares(labeled),
            f"pool, U = {num_pool:,}, K = 10": shares(
                lambda: daskal.score_unlabeled(pool, estimate).compute()
            ),
        }
    sys.stdout.write(f"{timing.machine()}\n")
    for title, rows in tables.items():
        sys.stdout.write(f"\n{title}\n\n{timing.table(('function', 'share'), rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
