"""Pictures, annotators and classes with names: from two tables to a batch, labels and a report.

Run with ``python examples/named_data.py --out DIR``. The tables are simulated here; yours come from
``pandas.read_csv`` or ``pandas.read_parquet``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import daskal

CLASSES = ["cat", "dog", "fox"]
# How often each annotator is right; the last one only guesses.
SKILL = {"ann": 0.95, "bo": 0.9, "cy": 0.8, "di": 0.7, "em": 1 / 3}


def make_tables(num_pictures: int, num_labeled: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return votes, one row for each label given, and the model's probabilities of all pictures."""
    rng = np.random.default_rng(0)
    pictures = pd.Index([f"picture-{number:05d}.jpg" for number in range(num_pictures)])
    truth = rng.integers(len(CLASSES), size=num_pictures)
    evidence = rng.normal(size=(num_pictures, len(CLASSES)))
    evidence[np.arange(num_pictures), truth] += 1.5
    probs = np.exp(evidence) / np.exp(evidence).sum(axis=1, keepdims=True)

    votes = []
    for picture in range(num_labeled):
        for annotator in rng.choice(list(SKILL), size=3, replace=False):
            others = [label for label in range(len(CLASSES)) if label != truth[picture]]
            is_right = rng.random() < SKILL[annotator]
            label = truth[picture] if is_right else rng.choice(others)
            votes.append((pictures[picture], annotator, CLASSES[label]))
    table = pd.DataFrame(votes, columns=["task", "annotator", "label"])
    # In some other order than the probabilities: rows are matched by name.
    table = table.sample(frac=1, random_state=0)
    return table, pd.DataFrame(probs, index=pictures, columns=CLASSES)


def main(out: Path, *, short: bool = False) -> None:
    num_pictures, num_labeled = (600, 200) if short else (5_000, 1_000)
    votes, probs = make_tables(num_pictures, num_labeled)
    print(votes.head(3).to_string(index=False))

    # One row per picture, one column per annotator, missing where there is no vote.
    codes = votes["label"].map({name: code for code, name in enumerate(CLASSES)})
    labels = votes.assign(label=codes).pivot(index="task", columns="annotator", values="label")

    run = daskal.run(
        labels=labels,
        pred_probs=probs.loc[labels.index],
        pred_probs_unlabeled=probs.drop(labels.index),
        batch_size=100,
        out=out / "scores.zarr",
    )
    print("\nAnnotators, the worst first:")
    print(run.annotator_stats.round(3).to_string())

    print("\nThe most doubtful labels:")
    print(run.doubtful_labels(size=5).round(3).to_string(index=False))

    print("\nWhat to label next:")
    print(run.batch.head(5).to_string(index=False))

    # Files for others: labels for training, the batch for a labeling tool, a page for a browser.
    run.export_labels(out / "labels.csv")
    daskal.export_batch(run.batch, out / "next.csv")
    run.report(out / "report.html")

    # While the batch is out for labeling, the next one leaves it out, by name.
    following = run.next_batch(size=100, exclude=daskal.read_batch(out / "next.csv"))
    again = set(run.batch["id"]) & set(following["id"])
    print(f"\n{len(following)} more pictures, {len(again)} of them in the first batch.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="an empty folder (default: a temporary one)")
    parser.add_argument("--short", action="store_true", help="fewer pictures")
    given = parser.parse_args()
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        main(given.out, short=given.short)
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder), short=given.short)
