"""Photos with several tags each: who tags well, and which photos to have tagged next.

Four people have tagged some photos. They and the model are simulated, so the true tags are known:
di leaves out half of the tags that are there, as people do who are in a hurry. A photo that a
person has not seen has no list; one on which the person found nothing has an empty list.

Run with ``python examples/tags.py``.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

import daskal

TAGS = ["sky", "sea", "sand", "dog", "people"]
SHARES = (0.6, 0.4, 0.3, 0.1, 0.25)
# How often each person names a tag that is there, and one that is not.
PEOPLE = {"ann": (0.95, 0.03), "bo": (0.9, 0.05), "cy": (0.85, 0.05), "di": (0.5, 0.1)}
# How often a person was asked about a photo.
ASKED = 0.6


def tag(truth: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return the tags that each person chose, None where a person was not asked."""
    cells = {}
    for name, (found, invented) in PEOPLE.items():
        chosen = rng.random(truth.shape) < np.where(truth, found, invented)
        asked = rng.random(len(truth)) < ASKED
        cells[name] = [
            [TAGS[k] for k in np.flatnonzero(row)] if seen else None
            for row, seen in zip(chosen, asked, strict=True)
        ]
    return pd.DataFrame(cells)


def predict(truth: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Return probabilities of a simulated model, one for each tag."""
    logits = np.where(truth, 1.0, -1.0) + rng.normal(size=truth.shape)
    return pd.DataFrame(1 / (1 + np.exp(-2 * logits)), columns=TAGS)


def main(num_tagged: int, num_more: int) -> None:
    """Estimate, choose a batch, and compare the consensus with the truth."""
    rng = np.random.default_rng(0)
    truth = rng.random((num_tagged + num_more, len(TAGS))) < SHARES
    names = [f"photo-{number}" for number in range(len(truth))]
    labels = tag(truth[:num_tagged], rng).set_axis(names[:num_tagged])
    probs = predict(truth, rng).set_axis(names)
    pred_probs, pool = probs[:num_tagged], probs[num_tagged:]

    estimate = daskal.estimate(labels, pred_probs, multi_label=True)
    print(estimate)
    people = daskal.annotator_stats(labels, pred_probs, estimate)
    print(f"\nAnnotators, the worst first:\n{people.round(3).to_string()}")

    scores = daskal.score_labeled(labels, pred_probs, estimate)
    more = daskal.score_unlabeled(pool, estimate)
    batch = daskal.next_batch(
        scores, more, size=5, labeled_ids=labels.index, unlabeled_ids=pool.index
    )
    print(f"\nTo be tagged next:\n{batch.round(3).to_string(index=False)}")

    quality = daskal.label_quality(labels, pred_probs, estimate).compute()
    lists = {"one person": labels.stack().dropna(), "the consensus": quality["consensus_labels"]}
    known = pd.DataFrame(truth, index=names, columns=TAGS)
    for who, chosen in lists.items():
        photos = chosen.index.get_level_values(0)
        given = np.array([[tag in found for tag in TAGS] for found in chosen])
        print(f"{(given == known.loc[photos]).to_numpy().mean():.1%} of the tags are right: {who}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="Only a few photos.")
    few = parser.parse_args().short
    main(*((300, 200) if few else (5_000, 20_000)))
