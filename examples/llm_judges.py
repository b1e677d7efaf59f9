"""LLM judges as annotators: find the few answers that a person should check.

Five judges grade many answers as bad, fair or good, and a small classifier gives probabilities. The
judges are simulated, so the truth is known: one is good, two are fair, one says "good" to nearly
everything, and one copies another's grade most of the time.

The copy shows a risk: the weights rest on agreement, so judges that share a model or a prompt
confirm each other, and both get too much weight. Choose judges that err independently.

Run with ``python examples/llm_judges.py``.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

import daskal

GRADES = ("bad", "fair", "good")
SHARES = (0.2, 0.3, 0.5)
# How often a judge was not asked, or its answer could not be parsed.
SILENT = 0.3


def err(truth: np.ndarray, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Return grades that are right with probability ``accuracy``, and otherwise any other."""
    wrong = (truth + rng.integers(1, len(GRADES), size=len(truth))) % len(GRADES)
    return np.where(rng.random(len(truth)) < accuracy, truth, wrong)


def simulate(num_answers: int, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the true grades and those of the judges; missing ones are <NA>."""
    truth = rng.choice(len(GRADES), p=SHARES, size=num_answers)
    fair = err(truth, 0.75, rng)
    judges = {
        "large": err(truth, 0.9, rng),
        "medium": fair,
        "medium-b": err(truth, 0.75, rng),
        "medium-copy": np.where(rng.random(num_answers) < 0.8, fair, err(truth, 0.75, rng)),
        "lenient": np.where(rng.random(num_answers) < 0.85, 2, truth),
    }
    grades = pd.DataFrame(judges).astype("Int8")
    return truth, grades.mask(rng.random(grades.shape) < SILENT)


def classify(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return probabilities of a simulated classifier, (N, K), float32."""
    logits = rng.normal(size=(len(truth), len(GRADES)))
    logits[np.arange(len(truth)), truth] += 1.2
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probs.astype(np.float32)


def main(*, short: bool = False) -> None:
    rng = np.random.default_rng(0)
    truth, grades = simulate(5_000 if short else 500_000, rng)
    pred_probs = classify(truth, rng)

    estimate = daskal.estimate(grades, pred_probs)
    people = daskal.annotator_stats(grades, pred_probs, estimate)
    people["weight"] = estimate.annotator_weight[people.index]
    people["worst_class"] = [GRADES[grade] for grade in people["worst_class"]]
    people["truly right"] = [
        (grades[judge].dropna() == truth[grades[judge].notna()]).mean() for judge in people.index
    ]
    print("The judges, worst first (the truth is known only because they are simulated):")
    print(people.round(3).to_string())

    quality = daskal.label_quality(grades, pred_probs, estimate).compute()
    right = quality["consensus_label"].to_numpy() == truth
    print(f"\nConsensus grades that are right: {right.mean():.1%}")

    # All answers have grades already: a person's grade helps most where the scores are lowest.
    scores = daskal.score_labeled(grades, pred_probs, estimate)
    batch = daskal.next_batch(scores, size=len(truth) // 100)
    seen = right[batch["row"].to_numpy()]
    print(f"... in the 1% that a person should see first: {seen.mean():.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer answers")
    main(short=parser.parse_args().short)
