"""What choosing the next batch costs compared with scoring, and that chunking does not change it.

A pool made on the fly is scored, both in memory and by a run into a store. Then the 1,000 lowest
scores are found among those in memory, chunked in several ways, and among those in the store. Exits
with status 1 if any two batches differ.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd

import daskal
from benchmarks import data, timing

SIZE = 1_000


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=100_000_000)
    options = parser.parse_args(argv)
    num_rows = 50_000 if options.small else options.rows
    labels, probs = data.make_labeled(0, 5_000, 20, 10)
    estimate = daskal.estimate(labels, probs)
    pool = data.make_pool(num_rows)
    batches: list[pd.DataFrame] = []

    def choose(scores: Any) -> None:
        batches.append(daskal.next_batch(None, scores, size=SIZE))

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.zarr"

        def run() -> daskal.Run:
            return daskal.run(pred_probs_unlabeled=pool, estimate=estimate, out=out, overwrite=True)

        lazy = daskal.score_unlabeled(pool, estimate)
        scores: np.ndarray[Any, Any] = lazy.compute()
        stored = run().pool
        cuts = {rows: da.from_array(scores, chunks=rows) for rows in (100_000, 777_777, 5_000_000)}
        times = timing.interleave(
            {
                "scoring in memory": lazy.compute,
                "scoring into a store": run,
                "scores in memory": lambda: choose(scores),
                **{
                    f"scores in memory, in chunks of {rows:,} rows": lambda cut=cut: choose(cut)
                    for rows, cut in cuts.items()
                },
                "scores in the store": lambda: choose(stored),
                "scoring and choosing in one": lambda: choose(lazy),
            },
            1 if options.small else options.repeats,
        )
    rows = []
    for name in times.runs:
        base = "scoring into a store" if "store" in name else "scoring in memory"
        share = "" if name == base else f"{times.ratio(name, base).wall:.1%}"
        rows.append([name, timing.show_seconds(times.median(name)), share])
    header = (f"{num_rows:,} scores, the {SIZE:,} lowest", "time", "share of scoring")
    sys.stdout.write(f"{timing.machine()}\n\n{timing.table(header, rows)}\n")
    return int(not all(batch.equals(batches[0]) for batch in batches))


if __name__ == "__main__":
    sys.exit(main())
