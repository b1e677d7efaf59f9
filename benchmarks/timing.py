"""Timing side by side: what is compared runs in turn, and results are medians."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import dask
import numpy as np
import zarr

import daskal

# The least duration of a turn.
TURN_SECONDS = 0.3


class Cost(NamedTuple):
    """Wall-clock seconds, and seconds of processor time over all threads."""

    wall: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        """Return how much more one run cost than another."""
        return Cost(self.wall - other.wall, self.cpu - other.cpu)


class Times(NamedTuple):
    """The cost of each run of each function."""

    runs: Mapping[str, Sequence[Cost]]

    def median(self, name: str) -> float:
        """Return the median wall-clock seconds of a function."""
        return statistics.median(cost.wall for cost in self.runs[name])

    def ratio(self, name: str, other: str) -> Cost:
        """Return the cost of a function relative to another: medians over turns that ran both."""
        pairs = list(zip(self.runs[name], self.runs[other], strict=False))
        return Cost(
            statistics.median(a.wall / b.wall for a, b in pairs),
            statistics.median(a.cpu / b.cpu for a, b in pairs),
        )


def interleave(
    works: Mapping[str, Callable[[], object]], repeats: int, slow: Mapping[str, int] | None = None
) -> Times:
    """Time functions A, B, ... in turn, after one round of warm-up.

    A short function is repeated within its turn, whose mean counts: the system takes some 30 ms to
    put waking threads on cores of their own. Functions in ``slow`` run only the given number of
    times, without a warm-up.
    """
    turns = dict.fromkeys(works, repeats) | dict(slow or {})
    runs: dict[str, list[Cost]] = {name: [] for name in works}
    for turn in range(max(turns.values()) + 1):
        for name, work in works.items():
            if turn > turns[name] or (turn == 0 and name in (slow or {})):
                continue
            cost = time_turn(work)
            if turn:
                runs[name].append(cost)
    return Times(runs)


def time_turn(work: Callable[[], object]) -> Cost:
    """Return the mean cost of a function, repeated until the turn has taken ``TURN_SECONDS``."""
    began = Cost(time.perf_counter(), time.process_time())
    num_runs, cost = 0, Cost(0.0, 0.0)
    while cost.wall < TURN_SECONDS:
        work()
        num_runs += 1
        cost = Cost(time.perf_counter(), time.process_time()) - began
    return Cost(cost.wall / num_runs, cost.cpu / num_runs)


def extra_memory(work: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held at once, beyond those held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def show_seconds(seconds: float) -> str:
    """Return seconds with three digits."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def show_bytes(size: float) -> str:
    """Return bytes as MiB."""
    return f"{size / 2**20:.3g} MiB"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Return the processor and the versions used."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if "model name" in line]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Dask {dask.__version__}, Zarr {zarr.__version__}, "
        f"daskal {daskal.__version__}"
    )


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options that all measurements share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="finish in seconds; for tests only")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each function")
    return parser
