"""From labels and probabilities to the next batch, in memory.

Run with ``python examples/quickstart.py``.
"""

from __future__ import annotations

import argparse

import numpy as np

import daskal

NUM_CLASSES = 4
NUM_ANNOTATORS = 20


def make_crowd(num_examples: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return true classes, and labels by annotators of mixed skill; -1 means no label."""
    truth = rng.integers(NUM_CLASSES, size=num_examples)
    skill = np.linspace(0.5, 0.95, NUM_ANNOTATORS)
    labels = np.full((num_examples, NUM_ANNOTATORS), -1, dtype=np.int8)
    rows = np.arange(num_examples)
    for _ in range(3):
        annotator = rng.integers(NUM_ANNOTATORS, size=num_examples)
        right = rng.random(num_examples) < skill[annotator]
        guess = rng.integers(NUM_CLASSES, size=num_examples)
        labels[rows, annotator] = np.where(right, truth, guess)
    return truth, labels


def predict(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities of a simulated model that is right more often than not, (n, K)."""
    logits = rng.normal(size=(len(truth), NUM_CLASSES))
    logits[np.arange(len(truth)), truth] += 1.5
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def main(*, short: bool = False) -> None:
    rng = np.random.default_rng(0)
    num_examples, num_pool = (500, 1_000) if short else (5_000, 50_000)
    truth, labels = make_crowd(num_examples, rng)
    pred_probs = predict(truth, rng)
    pool = predict(rng.integers(NUM_CLASSES, size=num_pool), rng)

    # Pass 1: how good the annotators, the model and the consensus are.
    estimate = daskal.estimate(labels, pred_probs)
    print(estimate)

    # Pass 2: scores of labeled examples and the pool on one scale, lower = label it first.
    scores = daskal.score_labeled(labels, pred_probs, estimate)
    pool_scores = daskal.score_unlabeled(pool, estimate)
    batch = daskal.next_batch(scores, pool_scores, size=10)
    print("\nLabel these next:")
    print(batch.to_string(index=False))

    quality = daskal.label_quality(labels, pred_probs, estimate).compute()
    right = quality["consensus_label"].to_numpy() == truth
    doubtful = quality["consensus_quality_score"].to_numpy() < 0.5
    print(f"\nCorrect consensus labels: {right.mean():.1%} of all,")
    print(f"{right[doubtful].mean():.1%} of those whose quality is below one half.")

    print("\nThe three worst annotators:")
    print(daskal.annotator_stats(labels, pred_probs, estimate).head(3).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer examples")
    main(short=parser.parse_args().short)
