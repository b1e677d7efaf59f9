"""What groups and diversity do to a batch, and what they cost beside scoring.

Near-duplicates are planted in a pool: pictures of low score, each in up to a hundred copies. Of the
examples in a batch, the share of distinct pictures is counted, for the lowest scores as they are,
with the pictures known as groups, and by both ways of choosing unlike embeddings. Then the batch of
a pool that is made while it is scored is chosen in the same ways. Exits with status 1 if groups let
a picture into a batch twice.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

import daskal
from benchmarks import data, timing

# Candidates for each example of the batch, in place of ten.
FEWER = 3
NUM_DIMENSIONS = 64
NUM_CLASSES = 100
MOST_COPIES = 100
# A copy's distance from the first one, as a share of the distance between pictures.
NOISE = 0.01


class Planted(NamedTuple):
    """A pool with copies: scores, the picture that each row is of, and embeddings in Zarr."""

    scores: NDArray[np.float64]
    pictures: NDArray[np.int64]
    embeddings: zarr.Array


def make_planted(num_rows: int, folder: Path) -> Planted:
    """Return a pool half of which are copies of pictures with scores among the lowest fifth."""
    rng = np.random.default_rng(0)
    copies = rng.integers(1, MOST_COPIES + 1, num_rows // MOST_COPIES)
    copied = np.repeat(np.arange(len(copies)), copies)
    single = np.arange(len(copies), len(copies) + num_rows - len(copied))
    pictures = np.concatenate([copied, single])
    lowest = np.concatenate([0.2 * rng.random(len(copies)), rng.random(len(single))])
    scores = lowest[pictures] + 1e-4 * rng.random(num_rows)
    order = rng.permutation(num_rows)
    pictures, scores = pictures[order], scores[order]
    embeddings = zarr.create_array(
        folder / "embeddings.zarr",
        shape=(num_rows, NUM_DIMENSIONS),
        chunks=(data.CHUNK_ROWS, NUM_DIMENSIONS),
        dtype="float32",
    )
    places = rng.standard_normal((len(lowest), NUM_DIMENSIONS), dtype=np.float32)
    for start in range(0, num_rows, data.CHUNK_ROWS):
        rows = pictures[start : start + data.CHUNK_ROWS]
        noise = rng.standard_normal((len(rows), NUM_DIMENSIONS), dtype=np.float32)
        embeddings[start : start + len(rows)] = places[rows] + np.float32(NOISE) * noise
    return Planted(scores, pictures, embeddings)


def repeated(points: NDArray[np.float32], num_rows: int, path: Path) -> zarr.Array:
    """Return as many embeddings as there are rows, the same ones over and over."""
    found = zarr.create_array(
        path,
        shape=(num_rows, NUM_DIMENSIONS),
        chunks=(data.CHUNK_ROWS, NUM_DIMENSIONS),
        dtype="float32",
    )
    for start in range(0, num_rows, data.CHUNK_ROWS):
        rows = np.arange(start, min(start + data.CHUNK_ROWS, num_rows)) % len(points)
        found[start : start + len(rows)] = points[rows]
    return found


def ways(groups: Any, embeddings: Any, size: int) -> dict[str, dict[str, Any]]:
    """Return the options of each way of choosing."""
    options: dict[str, dict[str, Any]] = {
        "the lowest scores": {},
        "one of each group": {"groups": groups, "max_per_group": 1},
        "k-center": {"embeddings": embeddings, "diversity": "k_center"},
        "Cluster-Margin": {"embeddings": embeddings, "diversity": "cluster_margin"},
        f"Cluster-Margin, {FEWER * size:,} candidates": {
            "embeddings": embeddings,
            "diversity": "cluster_margin",
            "candidates": FEWER * size,
        },
    }
    return {name: {"size": size, **given} for name, given in options.items()}


def choose(scores: Any, options: dict[str, Any]) -> pd.DataFrame:
    """Return the batch of a pool."""
    return daskal.next_batch(None, scores, **options)


def show_distinct(planted: Planted, size: int, repeats: int) -> tuple[str, bool]:
    """Return the table of distinct pictures, and whether groups kept every picture unique."""
    options = ways(planted.pictures, planted.embeddings, size)
    shares = {
        name: len(set(planted.pictures[choose(planted.scores, given)["row"]])) / size
        for name, given in options.items()
    }
    times = timing.interleave(
        {
            name: lambda given=given: choose(planted.scores, given)
            for name, given in options.items()
        },
        repeats,
    )
    rows = [
        [name, f"{share:.1%}", timing.show_seconds(times.median(name))]
        for name, share in shares.items()
    ]
    header = (f"{len(planted.scores):,} rows with copies, {size:,} chosen", "distinct", "time")
    return timing.table(header, rows), shares["one of each group"] == 1


def show_cost(num_rows: int, embeddings: Any, size: int, repeats: int) -> str:
    """Return the table of what choosing costs beside scoring."""
    labels, probs = data.make_labeled(0, 5_000, 20, NUM_CLASSES)
    estimate = daskal.estimate(labels, probs)
    scores = daskal.score_unlabeled(data.make_pool(num_rows, NUM_CLASSES, 100_000), estimate)
    groups = np.random.default_rng(1).integers(0, num_rows // 10, num_rows)
    works: dict[str, Callable[[], object]] = {
        name: lambda given=given: choose(scores, given)
        for name, given in ways(groups, embeddings, size).items()
    }
    times = timing.interleave(works, repeats)
    rows = []
    for name in works:
        ratio = times.ratio(name, "the lowest scores")
        rows.append([name, f"{ratio.wall - 1:+.1%}", f"{ratio.cpu - 1:+.1%}"])
    header = (
        f"{num_rows:,} rows of {NUM_CLASSES} classes scored, {size:,} chosen",
        "more time",
        "more processor time",
    )
    return timing.table(header, rows)


def main(argv: list[str] | None = None) -> int:
    """Measure and print both tables."""
    parser = timing.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows with planted copies")
    parser.add_argument("--cost-rows", type=int, default=10_000_000, help="rows that are scored")
    options = parser.parse_args(argv)
    num_rows, cost_rows = (30_000, 30_000) if options.small else (options.rows, options.cost_rows)
    size, repeats = (100, 1) if options.small else (1_000, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        planted = make_planted(num_rows, Path(folder))
        distinct, unique = show_distinct(planted, size, repeats)
        sys.stdout.write(f"{timing.machine()}\n\n{distinct}\n\n")
        embeddings = repeated(planted.embeddings[:], cost_rows, Path(folder) / "more.zarr")
        sys.stdout.write(f"{show_cost(cost_rows, embeddings, size, repeats)}\n")
    return int(not unique)


if __name__ == "__main__":
    sys.exit(main())
