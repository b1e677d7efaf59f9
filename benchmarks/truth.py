"""How often the consensus is right, method by method, on real votes with known truth.

The sets are looked for in DASKAL_TEST_DATA, else in ../shared/data: see CONTRIBUTING.md. Of each,
labels.parquet (task, annotator, label), truth.parquet (task, label) and pred_probs_*.npy are read.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import daskal
from benchmarks import timing

ROOT = Path(__file__).resolve().parent.parent
METHODS = {"majority_vote": "majority vote", "one_coin": "one coin", "dawid_skene": "Dawid-Skene"}
# Draws among tied classes, over which accuracies are averaged.
SEEDS, SMALL_SEEDS = range(20), range(1)


def data_folder() -> Path:
    return Path(os.environ.get("DASKAL_TEST_DATA", ROOT.parent / "shared" / "data"))


def accuracy(labels: pd.DataFrame, consensus: np.ndarray, truth: pd.Series[int]) -> float:
    found = pd.Series(consensus, index=labels.index)[truth.index]
    return float((found == truth).mean())


def of_votes(labels: pd.DataFrame, truth: pd.Series[int], method: str, seeds: range) -> float:
    """Return the accuracy of a method on votes alone."""
    shares = []
    for seed in seeds:
        aggregate = daskal.aggregate(labels, method, random_state=seed)
        quality = daskal.label_quality(labels, None, aggregate).compute()
        shares.append(accuracy(labels, quality["consensus_label"].to_numpy(), truth))
    return float(np.mean(shares))


def of_crowdlab(labels: pd.DataFrame, truth: pd.Series[int], probs: np.ndarray) -> float:
    """Return the accuracy of CROWDLAB's consensus."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", daskal.DataWarning)
        estimate = daskal.estimate(labels, probs)
    quality = daskal.label_quality(labels, probs, estimate).compute()
    return accuracy(labels, quality["consensus_label"].to_numpy(), truth)


def of_set(folder: Path, seeds: range) -> list[str]:
    """Return the row of one set."""
    votes = pd.read_parquet(folder / "labels.parquet")
    tasks = pd.read_parquet(folder / "tasks.parquet")["task"]
    labels = votes.pivot(index="task", columns="annotator", values="label").reindex(tasks)
    truth = pd.read_parquet(folder / "truth.parquet").set_index("task")["label"]
    row = [
        folder.name,
        f"{len(votes):,}",
        f"{len(votes) / len(tasks):.1f}",
        f"{len(votes) / labels.shape[1]:.0f}",
        str(int(votes["label"].max()) + 1),
    ]
    row += [f"{of_votes(labels, truth, method, seeds):.1%}" for method in METHODS]
    models = []
    for path in sorted(folder.glob("pred_probs_*.npy")):
        name = path.stem.removeprefix("pred_probs_")
        found = of_crowdlab(labels, truth, np.load(path))
        models.append(f"{found:.1%} ({name.replace('_', ' ')})")
    return [*row, "; ".join(models)]


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    options = timing.arguments(__doc__).parse_args(argv)
    folders = sorted(path.parent for path in data_folder().glob("*/truth.parquet"))
    rows = [of_set(folder, SMALL_SEEDS if options.small else SEEDS) for folder in folders]
    header = ("set", "votes", "a task", "an annotator", "classes", *METHODS.values(), "CROWDLAB")
    sys.stdout.write(f"{timing.table(header, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
