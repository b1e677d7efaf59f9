"""A whole active-learning loop: train, score, choose, label, and repeat until the budget is spent.

The data is scikit-learn's handwritten digits and the model is a real one. The annotators are
simulated: each gives the true digit with a probability of its own, and any other digit otherwise.
Every round asks for a batch of labels, for new or old examples, whichever score lowest. For
comparison, the same budget is spent at random.

Run with ``python examples/active_learning.py``. Needs scikit-learn. A single run says little:
``python -m benchmarks.real_votes --simulated`` compares strategies over many seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import dask
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

import daskal

NUM_CLASSES = 10
NUM_TEST = 500
NUM_START = 100


@dataclass
class Crowd:
    """Simulated annotators, who give the true class as often as their skill allows."""

    truth: np.ndarray
    skill: np.ndarray
    rng: np.random.Generator

    def ask(self, labels: np.ndarray, example: int) -> None:
        """Add a label to the (N, M) matrix, by an annotator who has not labeled the example."""
        annotator = self.rng.choice(np.flatnonzero(labels[example] < 0))
        right = self.rng.random() < self.skill[annotator]
        other = (self.truth[example] + self.rng.integers(1, NUM_CLASSES)) % NUM_CLASSES
        labels[example, annotator] = self.truth[example] if right else other


def train(features: np.ndarray, classes: np.ndarray) -> LogisticRegression:
    return LogisticRegression(tol=1e-2, max_iter=200).fit(features, classes)


def predict(model: LogisticRegression, features: np.ndarray) -> np.ndarray:
    """Return probabilities of all classes, including those the model was not trained on."""
    probs = np.zeros((len(features), NUM_CLASSES))
    probs[:, model.classes_] = model.predict_proba(features)
    return probs


def predict_out_of_sample(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return probabilities of each example by a model that has not seen its label."""
    probs = np.empty((len(features), NUM_CLASSES))
    for rest, held_out in KFold(5, shuffle=True, random_state=0).split(features):
        probs[held_out] = predict(train(features[rest], classes[rest]), features[held_out])
    return probs


def run_loop(strategy: str, *, rounds: int, batch_size: int, seed: int) -> pd.DataFrame:
    """Return the accuracy by number of labels; ``strategy`` is "ActiveLab" or "random"."""
    rng = np.random.default_rng(seed)
    features, truth = load_digits(return_X_y=True)
    order = rng.permutation(len(truth))
    features, truth = features[order] / 16, truth[order]
    test_features, test_truth = features[-NUM_TEST:], truth[-NUM_TEST:]
    features, truth = features[:-NUM_TEST], truth[:-NUM_TEST]

    crowd = Crowd(truth, rng.uniform(0.5, 0.95, size=30), rng)
    labels = np.full((len(truth), len(crowd.skill)), -1, dtype=np.int8)
    for example in np.repeat(np.arange(NUM_START), 2):
        crowd.ask(labels, example)

    history = []
    for _ in range(rounds + 1):
        labeled = np.flatnonzero((labels >= 0).any(axis=1))
        pool = np.setdiff1d(np.arange(len(truth)), labeled)
        given = labels[labeled]
        # Majority votes first; the estimate from annotators and model gives better labels below.
        votes = np.stack([(given == digit).sum(axis=1) for digit in range(NUM_CLASSES)], axis=1)
        probs = predict_out_of_sample(features[labeled], votes.argmax(axis=1))
        estimate = daskal.estimate(given, probs)
        quality = daskal.label_quality(given, probs, estimate).compute()
        model = train(features[labeled], quality["consensus_label"].to_numpy())
        history.append(
            {"labels": (labels >= 0).sum(), "accuracy": model.score(test_features, test_truth)}
        )
        if strategy == "ActiveLab":
            scores = daskal.score_labeled(given, probs, estimate)
            pool_scores = daskal.score_unlabeled(predict(model, features[pool]), estimate)
        else:
            scores, pool_scores = rng.random(len(labeled)), rng.random(len(pool))
        batch = daskal.next_batch(
            scores, pool_scores, size=batch_size, labeled_ids=labeled, unlabeled_ids=pool
        )
        history[-1]["again"] = (batch["source"] == "labeled").mean()
        for example in batch["id"]:
            crowd.ask(labels, example)
    return pd.DataFrame(history).set_index("labels")


def main(*, short: bool = False) -> None:
    rounds = 2 if short else 15
    with dask.config.set(scheduler="sync"):  # the data is small
        curves = {
            strategy: run_loop(strategy, rounds=rounds, batch_size=50, seed=0)
            for strategy in ("ActiveLab", "random")
        }
    table = pd.concat({name: curve["accuracy"] for name, curve in curves.items()}, axis=1)
    table["asked again"] = curves["ActiveLab"]["again"]
    print("Accuracy on the test set by number of labels (simulated annotators, one seed):")
    print(table.map("{:.1%}".format).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few rounds")
    main(short=parser.parse_args().short)
