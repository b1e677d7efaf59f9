"""What one bad row costs: a run over a pool with it, compared with one over the clean pool.

Puts a row with each kind of fault at a random place, runs both with ``on_invalid="nan"`` in turn,
and compares the best times of several rounds. Exits with status 1 if a row is not named, or is not
the only one without a score.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

import dask
import numpy as np

import daskal

KINDS = {
    "is NaN or infinite": lambda row: row * np.nan,
    "has a negative probability": lambda row: row - np.float32(0.6),
    "has a probability above 1": lambda row: row * 100,
    "is all zero": lambda row: row * 0,
    "does not sum to 1": lambda row: row * np.float32(0.9),
}


def run(pool: np.ndarray, out: Path) -> tuple[float, float, list[str], daskal.Run]:
    """Return the wall and processor seconds of a run, its warnings, and its result."""
    began, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", daskal.DataWarning)
        found = daskal.run(pred_probs_unlabeled=pool, out=out, on_invalid="nan", overwrite=True)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    return wall, cpu, [str(warning.message) for warning in caught], found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    pool = rng.random((options.rows, options.classes), dtype=np.float32)
    pool /= pool.sum(axis=1, keepdims=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="threads"):
        out = Path(folder) / "out.zarr"
        run(pool[:100_000], out)
        for fault, spoil in KINDS.items():
            place = int(rng.integers(options.rows))
            good = pool[place].copy()
            clean, planted = [], []
            for _ in range(options.rounds):
                clean.append(run(pool, out)[:2])
                pool[place] = spoil(good)
                *times, caught, result = run(pool, out)
                planted.append(times)
                pool[place] = good
                named = (
                    len(caught) == 1 and f"1 row where the row {fault}: {place:,} (" in caught[0]
                )
                alone = np.flatnonzero(np.isnan(result.pool.compute())).tolist() == [place]
                failed += not (named and alone)
            best = [np.min(times, axis=0) for times in (planted, clean)]
            wall, cpu = best[0] / best[1]
            print(
                f"{fault:<28} row {place:>12,}  named: {named}  alone: {alone}  "
                f"clean {best[1][0]:.2f} s  ratio {wall:.3f} (processor time {cpu:.3f})"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
