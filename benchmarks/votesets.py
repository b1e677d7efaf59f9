"""Votes that people gave, with features and truth: read from a folder, or simulated on digits."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_digits

# The share of examples with a known class that are set apart for testing.
TEST_SHARE = 0.3
# The lowest and highest share of correct labels of a simulated annotator.
NOISE = {"good": (0.8, 1.0), "mixed": (0.5, 0.95), "bad": (0.3, 0.8)}
NUM_SIMULATED = 30


class UnusableError(ValueError):
    """A folder does not hold what it must."""


@dataclass(frozen=True)
class VoteSet:
    """A set of votes: one entry of ``rows``, ``annotators`` and ``codes`` per vote, by row."""

    name: str
    num_classes: int
    truth: NDArray[np.int64]  # (n,), -1 where unknown
    rows: NDArray[np.int64]  # (v,)
    annotators: NDArray[np.int64]  # (v,)
    codes: NDArray[np.int64]  # (v,)
    features: NDArray[np.float64] | None = None  # (n, f)

    @classmethod
    def read(cls, folder: Path) -> VoteSet:
        """Read labels.parquet, truth.parquet and, if there, tasks, classes and features."""
        for name in ("labels", "truth"):
            if not (folder / f"{name}.parquet").exists():
                raise UnusableError(f"{folder}: expected {name}.parquet in it, found none")
        votes = pd.read_parquet(folder / "labels.parquet")
        known = pd.read_parquet(folder / "truth.parquet").set_index("task")["label"]
        listed = folder / "tasks.parquet"
        tasks = pd.read_parquet(listed)["task"] if listed.exists() else votes["task"]
        tasks = pd.Index(tasks.unique())
        rows = tasks.get_indexer(votes["task"])
        if (rows < 0).any():
            raise UnusableError(f"{listed}: lacks {int((rows < 0).sum())} tasks of labels.parquet")
        if votes.duplicated(["task", "annotator"]).any():
            raise UnusableError(f"{folder}: labels.parquet repeats pairs of task and annotator")
        order = np.argsort(rows, kind="stable")
        people = votes["annotator"].factorize(sort=True)[0]
        truth = known.reindex(tasks).fillna(-1).to_numpy(dtype=np.int64)
        codes = votes["label"].to_numpy(dtype=np.int64)
        return cls(
            folder.name,
            1 + max(int(codes.max()), int(truth.max()), highest_class(folder)),
            truth,
            rows[order].astype(np.int64),
            people[order].astype(np.int64),
            codes[order],
            read_features(folder, len(tasks)) if listed.exists() else None,
        )

    @classmethod
    def simulate(cls, noise: str, seed: int) -> VoteSet:
        """Simulate annotators of scikit-learn's digits, each of whom labels every example."""
        rng = np.random.default_rng([seed, 2])
        features, truth = load_digits(return_X_y=True)
        num, num_classes = len(truth), 10
        right = rng.random((num, NUM_SIMULATED)) < rng.uniform(*NOISE[noise], NUM_SIMULATED)
        wrong = (truth[:, None] + rng.integers(1, num_classes, right.shape)) % num_classes
        return cls(
            "simulated",
            num_classes,
            truth.astype(np.int64),
            np.repeat(np.arange(num), NUM_SIMULATED),
            np.tile(np.arange(NUM_SIMULATED), num),
            np.where(right, truth[:, None], wrong).ravel().astype(np.int64),
            scaled(features),
        )

    @property
    def num_annotators(self) -> int:
        """The number of annotators, those without votes included."""
        return int(self.annotators.max()) + 1

    @property
    def num_active(self) -> int:
        """The number of annotators with votes."""
        return len(np.unique(self.annotators))

    def table(self) -> pd.DataFrame:
        """Return the label matrix, (n, m) float with NaN: a row per example, an annotator each."""
        wide = np.full((len(self.truth), self.num_annotators), np.nan)
        wide[self.rows, self.annotators] = self.codes
        return pd.DataFrame(wide)

    def true_accuracy(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return how often each annotator is right (NaN: never judged), and of how many."""
        judged = self.truth[self.rows] >= 0
        right = judged & (self.codes == self.truth[self.rows])
        num = np.bincount(self.annotators, judged, self.num_annotators).astype(np.int64)
        hits = np.bincount(self.annotators, right, self.num_annotators)
        return np.where(num > 0, hits / np.maximum(num, 1), np.nan), num

    def half(self, which: str) -> VoteSet:
        """Return the half of the votes whose annotators are right more, or less, often."""
        accuracy, _ = self.true_accuracy()
        order = np.argsort(np.nan_to_num(accuracy, nan=-1.0), kind="stable")
        given = np.bincount(self.annotators, minlength=self.num_annotators)[order]
        lower = order[np.cumsum(given) <= len(self.rows) / 2]
        kept = np.isin(self.annotators, lower, invert=which == "better")
        return self.only(kept)

    def thinned(self, most: int, rng: np.random.Generator) -> VoteSet:
        """Return at most so many votes of each example, drawn at random."""
        order = rng.permutation(len(self.rows))
        order = order[np.argsort(self.rows[order], kind="stable")]
        first = np.searchsorted(self.rows, self.rows)  # the rows are sorted
        kept = np.zeros(len(self.rows), dtype=bool)
        kept[order[np.arange(len(order)) - first < most]] = True
        return self.only(kept)

    def only(self, kept: NDArray[np.bool_]) -> VoteSet:
        """Return the set with these votes alone."""
        return replace(
            self,
            rows=self.rows[kept],
            annotators=self.annotators[kept],
            codes=self.codes[kept],
        )


def highest_class(folder: Path) -> int:
    """Return the highest code in classes.json, -1 if there is no such file."""
    path = folder / "classes.json"
    if not path.exists():
        return -1
    classes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["classes"]
    return max(int(code) for code in classes.values())


def read_features(folder: Path, num_tasks: int) -> NDArray[np.float64] | None:
    """Read the features, scaled; None if there are none."""
    path = folder / "features.npy"
    if not path.exists():
        return None
    features = np.load(path)
    if len(features) != num_tasks:
        raise UnusableError(
            f"{path}: expected {num_tasks:,} rows, as in tasks.parquet, found {len(features):,}"
        )
    return scaled(features.reshape(num_tasks, -1))


def scaled(features: NDArray[Any]) -> NDArray[np.float64]:
    """Return features around zero whose rows have a mean squared norm of one.

    One factor for all columns: the strength of the model's penalty then means the same for every
    set, and columns of little variance stay small.
    """
    centered = features.astype(np.float64)
    centered -= centered.mean(axis=0)
    norm = np.sqrt((centered**2).sum(axis=1).mean())
    return centered / norm if norm > 0 else centered


@dataclass(frozen=True)
class World:
    """What is the same for every strategy: the split, and whose vote comes next where."""

    num_classes: int
    features: NDArray[np.float64]  # (n, f) of the examples that may be labeled
    truth: NDArray[np.int64]  # (n,), -1 where unknown
    test_features: NDArray[np.float64]
    test_truth: NDArray[np.int64]
    # Votes in the order in which they are revealed: those of example i are at offsets[i] and
    # on, up to offsets[i + 1].
    offsets: NDArray[np.int64]  # (n + 1,)
    annotators: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def make(cls, votes: VoteSet, seed: int) -> World:
        """Split a set, and shuffle the votes of each example."""
        assert votes.features is not None
        rng = np.random.default_rng(seed)
        known = rng.permutation(np.flatnonzero(votes.truth >= 0))
        test = known[: round(TEST_SHARE * len(known))]
        num_votes = np.bincount(votes.rows, minlength=len(votes.truth))
        num_votes[test] = 0
        examples = rng.permutation(np.flatnonzero(num_votes))
        place = np.full(len(votes.truth), -1)
        place[examples] = np.arange(len(examples))
        order = rng.permutation(np.flatnonzero(place[votes.rows] >= 0))
        order = order[np.argsort(place[votes.rows[order]], kind="stable")]
        return cls(
            votes.num_classes,
            votes.features[examples],
            votes.truth[examples],
            votes.features[test],
            votes.truth[test],
            np.concatenate([[0], np.cumsum(num_votes[examples])]),
            votes.annotators[order],
            votes.codes[order],
        )

    @property
    def available(self) -> NDArray[np.int64]:
        """The number of votes that each example has, revealed or not, (n,)."""
        return np.diff(self.offsets)

    def labels(self, rows: NDArray[np.int64], num: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the first ``num`` votes of each row, (len(rows), m): -1 where there is none.

        Annotators without any of these votes have no column.
        """
        ends = np.cumsum(num)
        within = np.arange(ends[-1]) - np.repeat(ends - num, num)
        places = np.repeat(self.offsets[rows], num) + within
        people, columns = np.unique(self.annotators[places], return_inverse=True)
        labels = np.full((len(rows), len(people)), -1, dtype=np.int16)
        labels[np.repeat(np.arange(len(rows)), num), columns] = self.codes[places]
        return labels
