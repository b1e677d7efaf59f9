"""Random problems of several classes an example: who was asked, what they chose, a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike


@dataclass(frozen=True)
class TagProblem:
    """Labels (N, M, K), probabilities (N, K) or (P, N, K), and a pool of as many columns."""

    labels: np.ndarray
    pred_probs: np.ndarray
    pool: np.ndarray

    @property
    def num_classes(self) -> int:
        return self.pred_probs.shape[-1]

    def lists(self, names: list | None = None) -> pd.DataFrame:
        """Return the labels as lists of classes, None where an annotator was not asked."""
        named = list(range(self.num_classes)) if names is None else names
        cells = np.empty(self.labels.shape[:2], dtype=object)
        for place in np.ndindex(cells.shape):
            votes = self.labels[place]
            asked = not (np.isnan(votes) | (votes < 0)).all()
            cells[place] = [named[k] for k in np.flatnonzero(votes == 1)] if asked else None
        return pd.DataFrame(cells)


def make_tags(
    seed: int,
    *,
    num_examples: int = 60,
    num_annotators: int = 5,
    num_classes: int = 4,
    num_models: int = 1,
    dtype: DTypeLike = np.float64,
    probs_dtype: DTypeLike = np.float64,
) -> TagProblem:
    """Make one problem; every row and annotator has votes, each on all classes."""
    rng = np.random.default_rng(seed)
    shape = (num_examples, num_annotators, num_classes)
    rates = rng.uniform(0.1, 0.7, num_classes)
    truth = rng.random((num_examples, num_classes)) < rates
    asked = rng.random(shape[:2]) < 0.55
    asked[np.arange(num_examples), rng.integers(num_annotators, size=num_examples)] = True
    asked[:num_annotators][np.eye(num_annotators, dtype=bool)[:num_examples]] = True
    skill = rng.uniform(0.55, 0.95, shape[1:])
    chosen = np.where(rng.random(shape) < skill, truth[:, None], rng.random(shape) < rates)
    missing = np.nan if np.dtype(dtype).kind == "f" else -1
    labels = np.where(asked[:, :, None], chosen, missing).astype(dtype)
    logits = np.where(truth, 1.0, -1.0) + rng.normal(size=(num_models, *truth.shape))
    probs = 1 / (1 + np.exp(-rng.uniform(0.5, 3.0, (num_models, 1, 1)) * logits))
    pool = 1 / (1 + np.exp(-2 * rng.normal(size=(num_models, 30, num_classes))))
    if num_models == 1:
        probs, pool = probs[0], pool[0]
    return TagProblem(labels, probs.astype(probs_dtype), pool.astype(probs_dtype))


def binary(probs: np.ndarray, k: int) -> np.ndarray:
    """Return the probabilities of one class not chosen and chosen."""
    chosen = probs[..., k].astype(np.float64)
    return np.stack([1 - chosen, chosen], axis=-1)


def dense_labels(source: Any) -> np.ndarray:
    """Return what a source of tags holds, (n, m, k), -1 where an annotator was not asked."""
    (argument,) = source.cut([0, source.shape[0]]).arguments
    tags = source.reader(argument, 0, source.shape[0])
    found = np.full(source.shape, -1)
    rows = np.repeat(np.arange(len(tags)), np.diff(tags.offsets))
    found[rows, tags.annotators] = 0
    votes = np.repeat(np.arange(len(tags.annotators)), np.diff(tags.chosen_offsets))
    found[rows[votes], tags.annotators[votes], tags.chosen] = 1
    return found
