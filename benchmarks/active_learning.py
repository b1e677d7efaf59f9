"""What the order of labeling is worth: accuracy at equal budget, by strategy, over many seeds.

A loop of labeling and training on scikit-learn's digits with simulated annotators. Strategies
differ only in their scores: for the same seed, all have the same split, annotators, labels that
each annotator would give, model, and method for the consensus labels that it is trained on.

    python -m benchmarks.active_learning                 everything, written to docs/
    python -m benchmarks.active_learning --short         two seeds, printed to the terminal

Needs scikit-learn, and cleanlab to check the scores of one strategy.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# The matrices are small: more threads only get in each other's way. NumPy reads this on import.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import dask
import numpy as np
from cleanlab import multiannotator as cleanlab_multiannotator
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

import daskal
from benchmarks.curves import draw, make_tables, summarise

NUM_CLASSES = 10
NUM_TEST = 500
NUM_ANNOTATORS = 30
FOLDS = 5
DOCS = Path(__file__).resolve().parent.parent / "docs"


class Setting(NamedTuple):
    """How a loop starts and continues."""

    name: str
    num_start: int  # examples labeled at the start
    start_labels: tuple[int, ...]  # number of labels of each of them, repeated in turn
    with_pool: bool
    rounds: int
    batch: int


SETTINGS = (
    Setting("new or again", 100, (2,), True, 20, 50),
    Setting("again only", 300, (1, 2), False, 16, 50),
)
# The lowest and highest share of correct labels of an annotator.
NOISE = {"good": (0.8, 1.0), "mixed": (0.5, 0.95), "bad": (0.3, 0.8)}


# --- the simulation ---------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What is the same for every strategy: the data, and the label each annotator would give."""

    features: np.ndarray  # (n, f) of the examples that may be labeled
    truth: np.ndarray  # (n,)
    test_features: np.ndarray
    test_truth: np.ndarray
    votes: np.ndarray  # (n, m)
    turn: np.ndarray  # (n, m): whose turn it is, 0 for the annotator who is asked first

    @classmethod
    def make(cls, noise: tuple[float, float], seed: int) -> World:
        """Return the world of a seed."""
        rng = np.random.default_rng(seed)
        features, truth = load_digits(return_X_y=True)
        order = rng.permutation(len(truth))
        features, truth = features[order] / 16, truth[order]
        accuracy = rng.uniform(*noise, NUM_ANNOTATORS)
        num = len(truth) - NUM_TEST
        shape = (num, NUM_ANNOTATORS)
        right = rng.random(shape) < accuracy
        wrong = (truth[:num, None] + rng.integers(1, NUM_CLASSES, shape)) % NUM_CLASSES
        return cls(
            features[:num],
            truth[:num],
            features[num:],
            truth[num:],
            np.where(right, truth[:num, None], wrong),
            rng.random(shape).argsort(axis=1).argsort(axis=1),
        )

    def labels(self, num: np.ndarray) -> np.ndarray:
        """Return the first ``num`` labels of each example, (n, m), -1 where there is none."""
        return np.where(self.turn < num[:, None], self.votes, -1)


def fit(features: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a trained model as a function from features to probabilities of all classes."""
    model = LogisticRegression(tol=1e-2, max_iter=200).fit(features, labels)

    def predict(given: np.ndarray) -> np.ndarray:
        probs = np.zeros((len(given), NUM_CLASSES))
        probs[:, model.classes_] = model.predict_proba(given)
        return probs

    return predict


def out_of_sample(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return probabilities of each example by a model that has not seen its label."""
    probs = np.empty((len(labels), NUM_CLASSES))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
        probs[test] = fit(features[train], labels[train])(features[test])
    return probs


# --- strategies -------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Scores of the labeled examples and of the pool, lower = label it first."""

    labeled: np.ndarray
    pool: np.ndarray


class Look(NamedTuple):
    """What a strategy may use."""

    labels: np.ndarray
    probs: np.ndarray
    pool_probs: np.ndarray
    rng: np.random.Generator


def by_chance(look: Look) -> Scores:
    return Scores(look.rng.random(len(look.probs)), look.rng.random(len(look.pool_probs)))


def by_confidence(look: Look) -> Scores:
    return Scores(look.probs.max(axis=1), look.pool_probs.max(axis=1))


def by_entropy(look: Look) -> Scores:
    def score(probs: np.ndarray) -> np.ndarray:
        return (probs * np.log(np.maximum(probs, 1e-30))).sum(axis=1)

    return Scores(score(look.probs), score(look.pool_probs))


def by_activelab(look: Look, convention: str) -> Scores:
    estimate = daskal.estimate(look.labels, look.probs, convention=convention)
    pool = look.pool_probs
    return Scores(
        daskal.score_labeled(look.labels, look.probs, estimate).compute(),
        daskal.score_unlabeled(pool, estimate).compute() if len(pool) else np.empty(0),
    )


def as_shipped(look: Look) -> Scores:
    return by_activelab(look, "cleanlab")


def as_published(look: Look) -> Scores:
    return by_activelab(look, "paper")


STRATEGIES: dict[str, Callable[[Look], Scores]] = {
    "random": by_chance,
    "least confidence": by_confidence,
    "entropy": by_entropy,
    "ActiveLab, cleanlab 2.9.0": as_shipped,
    "ActiveLab, paper": as_published,
}


def check_against_cleanlab(look: Look, scores: Scores) -> None:
    """Raise an error if the scores called cleanlab's are not those that cleanlab computes."""
    wide = np.where(look.labels < 0, np.nan, look.labels.astype(float))
    wide = wide[:, ~np.isnan(wide).all(axis=0)]
    pool = look.pool_probs.copy() if len(look.pool_probs) else None
    labeled, unlabeled = cleanlab_multiannotator.get_active_learning_scores(
        wide, look.probs.copy(), pool
    )
    np.testing.assert_allclose(scores.labeled, labeled, atol=1e-9)
    if pool is not None:
        np.testing.assert_allclose(scores.pool, unlabeled, atol=1e-9)


# --- the loop ---------------------------------------------------------------------------------


class Point(NamedTuple):
    """The state of one loop before a round."""

    setting: str
    noise: str
    strategy: str
    seed: int
    annotations: int
    accuracy: float  # of the model, on the test set
    consensus: float  # share of labeled examples whose consensus label is correct
    again: float  # share of the last batch that had labels already


def run_loop(setting: Setting, noise: str, strategy: str, seed: int) -> Iterator[Point]:
    """Run one loop and yield a point per round."""
    world = World.make(NOISE[noise], seed)
    rng = np.random.default_rng([seed, 1])
    num = np.zeros(len(world.truth), dtype=np.int64)
    num[: setting.num_start] = np.resize(setting.start_labels, setting.num_start)
    # Probabilities from the round before: of each example, by a model that has not seen its label.
    known: np.ndarray | None = None
    again = float("nan")
    for turn in range(setting.rounds + 1):
        rows = np.flatnonzero(num)
        labels = world.labels(num)[rows]
        consensus = consensus_labels(labels, None if known is None else known[rows])
        probs = out_of_sample(world.features[rows], consensus, seed)
        predict = fit(world.features[rows], consensus)
        right = predict(world.test_features).argmax(axis=1) == world.test_truth
        agrees = consensus == world.truth[rows]
        yield Point(
            setting.name, noise, strategy, seed, int(num.sum()), right.mean(), agrees.mean(), again
        )
        rest = np.flatnonzero(num == 0) if setting.with_pool else np.empty(0, dtype=np.int64)
        known = np.full((len(num), NUM_CLASSES), np.nan)
        known[rows] = probs
        if len(rest):
            known[rest] = predict(world.features[rest])
        look = Look(labels, probs, known[rest], rng)
        scores = STRATEGIES[strategy](look)
        if strategy.endswith("2.9.0") and turn == 0:
            check_against_cleanlab(look, scores)
        batch = daskal.next_batch(
            scores.labeled, scores.pool if len(rest) else None, size=setting.batch
        )
        old = (batch["source"] == "labeled").to_numpy()
        again = float(old.mean())
        chosen = batch["row"].to_numpy()
        num[rows[chosen[old]]] += 1
        num[rest[chosen[~old]]] += 1


def consensus_labels(labels: np.ndarray, probs: np.ndarray | None) -> np.ndarray:
    """Return the labels a model is trained on: CROWDLAB's, with the paper's convention."""
    if probs is None:
        return daskal.multiannotator.get_majority_vote_label(
            np.where(labels < 0, np.nan, labels.astype(float))
        )
    estimate = daskal.estimate(labels, probs)
    found = daskal.label_quality(labels, probs, estimate).compute()
    return found["consensus_label"].to_numpy()


def run_seed(seed: int, rounds: int | None) -> list[Point]:
    """Return the points of all loops of a seed."""
    points = []
    with dask.config.set(scheduler="sync"):
        for setting, noise, strategy in itertools.product(SETTINGS, NOISE, STRATEGIES):
            shortened = setting if rounds is None else setting._replace(rounds=rounds)
            points += run_loop(shortened, noise, strategy, seed)
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="two seeds, three rounds, no files")
    parser.add_argument("--out", type=Path, default=DOCS)
    options = parser.parse_args()
    began = time.perf_counter()
    num_seeds, rounds = (2, 3) if options.short else (options.seeds, None)
    points: list[Point] = []
    with ProcessPoolExecutor(options.processes) as workers:
        for seed, found in enumerate(workers.map(run_seed, range(num_seeds), [rounds] * num_seeds)):
            points += found
            print(f"seed {seed} of {num_seeds}: {time.perf_counter() - began:,.0f} s", flush=True)
    tables = make_tables(points, list(STRATEGIES))
    print(tables)
    if options.short:
        return
    (options.out / "active-learning-tables.txt").write_text(tables, encoding="utf-8")
    summarise(points).to_csv(options.out / "active-learning.csv", float_format="%.5f")
    picture = draw(points, list(STRATEGIES))
    (options.out / "active-learning.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
