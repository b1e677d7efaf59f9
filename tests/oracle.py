"""cleanlab 2.9.0, called as a package: what daskal's numbers are compared with.

As shipped it is the oracle of ``convention="cleanlab"``. Inside :func:`corrected` it counts labels
by class, which makes it the oracle of ``convention="paper"``.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
from cleanlab import multiannotator as cl
from cleanlab.internal import multiannotator_utils as cl_utils

Labels = np.ndarray | pd.DataFrame


class Weights(NamedTuple):
    """Results of pass 1: ``temperature`` and ``model_weight`` are (P,) arrays for an ensemble."""

    temperature: Any
    model_weight: Any
    annotator_weight: np.ndarray


def _count_by_class(
    values: Any, *, num_classes: int | None = None, multi_label: bool = False
) -> np.ndarray:
    assert not multi_label
    return np.bincount(np.asarray(values).astype(np.int64), minlength=num_classes or 0)


@contextlib.contextmanager
def corrected() -> Iterator[None]:
    """Let cleanlab count labels by class, whatever the dtype of the label matrix."""
    with (
        mock.patch.object(cl, "value_counts", _count_by_class),
        mock.patch.object(cl_utils, "value_counts", _count_by_class),
    ):
        yield


def convention(name: str) -> contextlib.AbstractContextManager[None]:
    """Return the context in which cleanlab follows ``"paper"`` or ``"cleanlab"``."""
    return {"paper": corrected, "cleanlab": contextlib.nullcontext}[name]()


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    state = np.random.get_state()  # noqa: NPY002  (cleanlab draws from the global generator)
    np.random.seed(seed)  # noqa: NPY002
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _copy(array: Any) -> Any:
    # cleanlab's ensemble functions write their scaled probabilities over the caller's.
    return None if array is None else array.copy()


def cleanlab_scores(
    labels: Labels | None,
    pred_probs: np.ndarray | None,
    pool: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ActiveLab scores of labeled examples (N,) and the pool (U,); empty where not asked."""
    with _quiet(seed):
        return cl.get_active_learning_scores(_copy(labels), _copy(pred_probs), _copy(pool))


def cleanlab_scores_ensemble(
    labels: Labels | None,
    pred_probs: np.ndarray | None,
    pool: np.ndarray | None = None,
    *,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return :func:`cleanlab_scores` of (P, N, K); cleanlab refuses P = 1 with a pool."""
    with _quiet(seed):
        return cl.get_active_learning_scores_ensemble(_copy(labels), _copy(pred_probs), _copy(pool))


def cleanlab_quality(
    labels: Labels, pred_probs: np.ndarray, *, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Return CROWDLAB's tables and weights, by name."""
    with _quiet(seed):
        return cl.get_label_quality_multiannotator(_copy(labels), _copy(pred_probs), **options)


def cleanlab_quality_ensemble(
    labels: Labels, pred_probs: np.ndarray, *, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Return :func:`cleanlab_quality` of (P, N, K) probabilities."""
    with _quiet(seed):
        return cl.get_label_quality_multiannotator_ensemble(
            _copy(labels), _copy(pred_probs), **options
        )


def cleanlab_majority(
    labels: Labels, pred_probs: np.ndarray | None = None, *, seed: int = 0
) -> np.ndarray:
    """Return the majority vote of every row, (N,) int."""
    with _quiet(seed):
        return cl.get_majority_vote_label(_copy(labels), _copy(pred_probs), verbose=False)


def cleanlab_weights(labels: Labels, pred_probs: np.ndarray, *, seed: int = 0) -> Weights:
    """Return the temperature and weights of ActiveLab, for data with overlapping labels."""
    ensemble = pred_probs.ndim == 3
    options = {
        "calibrate_probs": True,
        "return_weights": True,
        "return_detailed_quality": False,
        "return_annotator_stats": False,
    }
    quality = cleanlab_quality_ensemble if ensemble else cleanlab_quality
    found = quality(labels, pred_probs, seed=seed, **options)
    matrix = np.asarray(labels)
    with _quiet(seed):
        temperatures = [
            cl_utils.find_best_temp_scaler(matrix, probs.copy())
            for probs in (pred_probs if ensemble else pred_probs[None])
        ]
    return Weights(
        temperature=np.array(temperatures) if ensemble else temperatures[0],
        model_weight=found["model_weight"],
        annotator_weight=np.asarray(found["annotator_weight"]),
    )
