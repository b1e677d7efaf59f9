"""LLM judges as annotators: what the panel is worth, and the few answers a person should check.

Five judges grade many answers as bad, fair or good. The judges are simulated, so the truth is
known: one is good, two are fair, one says "good" to nearly everything, and one copies another's
grade most of the time. A person has graded a few hundred answers, as gold questions.

The panel shows what agreement alone hides: the copy errs where the copied judge does, and the
lenient judge answers by habit. Dawid and Skene's model, which takes errors to be independent,
trusts the two that confirm each other: without the copy it is far better, and as good as CROWDLAB
with a small classifier and all five.

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
# Answers that a person has graded.
NUM_GOLD = 500


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
    rows = rng.choice(len(truth), size=NUM_GOLD, replace=False)
    gold = pd.DataFrame({"task": rows, "label": truth[rows]})

    panel = daskal.panel(grades, gold)
    print("The judges, by the gold questions:")
    print(panel.annotators.round(3).to_string())
    print("\nCorrelation of their errors:")
    print(panel.error_correlation.round(2).to_string())
    print(f"\n{panel.num_annotators} judges count as {panel.effective_annotators:.1f}.")
    alpha = panel.krippendorff_alpha
    print(f"Krippendorff's alpha: {alpha['nominal']:.3f}, ordinal {alpha['ordinal']:.3f}")

    pred_probs = classify(truth, rng)
    estimate = daskal.estimate(grades, pred_probs)
    qualities = {
        method: daskal.label_quality(grades, None, aggregate)
        for method, aggregate in (
            ("majority vote", daskal.aggregate(grades, "majority_vote")),
            ("Dawid-Skene", daskal.aggregate(grades)),
        )
    }
    apart = grades.drop(columns="medium-copy")
    qualities["... without the copy"] = daskal.label_quality(apart, None, daskal.aggregate(apart))
    qualities["CROWDLAB, with a model"] = daskal.label_quality(grades, pred_probs, estimate)
    print("\nConsensus grades that are right (the truth is known, for the judges are simulated):")
    for method, quality in qualities.items():
        right = quality.compute()["consensus_label"].to_numpy() == truth
        print(f"  {method:<24}{right.mean():.1%}")

    # All answers have grades already: a person's grade helps most where the scores are lowest.
    scores = daskal.score_labeled(grades, pred_probs, estimate)
    batch = daskal.next_batch(scores, size=len(truth) // 100)
    seen = right[batch["row"].to_numpy()]
    print(f"  ... in the 1% that a person should see first: {seen.mean():.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="fewer answers")
    main(short=parser.parse_args().short)
