"""One problem in dense arrays, and the results that every form of it must have."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import zarr

import daskal
from tests.problems import cast_labels, make_problem

PROBLEM = make_problem(7, num_examples=50, num_annotators=6, num_classes=3, pool=30)
INTEGERS = cast_labels(PROBLEM.labels, np.int8)
TASKS = [f"t{i:02}" for i in range(50)]
PEOPLE = list("uvwxyz")


def results(labels: Any, probs: Any, pool: Any) -> list[Any]:
    """Return the estimate's text without ids, and the scores of labeled examples and the pool."""
    estimate = daskal.estimate(labels, probs)
    plain = dataclasses.replace(estimate, annotator_ids=None, class_names=None)
    scores = daskal.score_labeled(labels, probs, estimate)
    return [
        plain.to_json(),
        np.asarray(scores).tobytes(),
        np.asarray(daskal.score_unlabeled(pool, estimate)).tobytes(),
    ]


EXPECTED = results(PROBLEM.labels, PROBLEM.pred_probs, PROBLEM.pool)


def stored(root: Path, values: np.ndarray, **options: Any) -> zarr.Array:
    return zarr.create_array(root, data=np.asarray(values), overwrite=True, **options)
