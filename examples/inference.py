"""Score a pool whose probabilities are never stored: inference feeds daskal block by block.

A scikit-learn model predicts inside ``map_blocks``. Its output goes straight into
``daskal.score_unlabeled`` and from there into the next batch: each block of probabilities exists
only in the task that makes it, until it is scored.

Run with ``python examples/inference.py``. Needs scikit-learn.
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

import daskal

NUM_CLASSES = 4
NUM_LABELED = 2_000
NUM_ANNOTATORS = 12


def collect_labels(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels by annotators of mixed skill, three per example; -1 means no label."""
    skill = rng.uniform(0.5, 0.95, NUM_ANNOTATORS)
    labels = np.full((len(truth), NUM_ANNOTATORS), -1, dtype=np.int8)
    for row, label in enumerate(truth):
        for annotator in rng.choice(NUM_ANNOTATORS, size=3, replace=False):
            right = rng.random() < skill[annotator]
            labels[row, annotator] = label if right else rng.integers(NUM_CLASSES)
    return labels


def predict_pool(model: LogisticRegression, features: da.Array) -> da.Array:
    """Return the model's probabilities of a pool, lazy, (U, K)."""
    if features.numblocks[1] > 1:
        features = features.rechunk({1: -1})  # the model needs all features of a row
    return features.map_blocks(
        model.predict_proba,
        chunks=(features.chunks[0], (NUM_CLASSES,)),
        dtype=np.float64,
        # Without it, Dask would call the model on an empty block to find out.
        meta=np.empty((0, 0)),
    )


def main(pool_size: int = 200_000, batch_size: int = 10) -> None:
    rng = np.random.default_rng(0)
    features, truth = make_classification(
        n_samples=NUM_LABELED + pool_size,
        n_features=20,
        n_informative=8,
        n_classes=NUM_CLASSES,
        random_state=0,
    )
    labels = collect_labels(truth[:NUM_LABELED], rng)
    # In place of features too large for memory, such as da.from_zarr("features.zarr").
    pool_features = da.from_array(features[NUM_LABELED:], chunks=(20_000, -1))

    # Probabilities of labeled examples must be out of sample: the final model sees their labels.
    votes = np.apply_along_axis(np.bincount, 1, labels + 1, minlength=NUM_CLASSES + 1)
    majority = votes[:, 1:].argmax(axis=1)
    model = LogisticRegression(max_iter=500)
    pred_probs = cross_val_predict(
        model, features[:NUM_LABELED], majority, cv=5, method="predict_proba"
    )
    model.fit(features[:NUM_LABELED], majority)

    estimate = daskal.estimate(labels, pred_probs)
    scores = daskal.score_labeled(labels, pred_probs, estimate)
    pool_scores = daskal.score_unlabeled(predict_pool(model, pool_features), estimate)
    batch = daskal.next_batch(scores, pool_scores, size=batch_size)
    print(batch.to_string(index=False))


if __name__ == "__main__":
    main()
