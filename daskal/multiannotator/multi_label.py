"""cleanlab's scores where an example may have several classes, which cleanlab itself refuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskal.api import multi_label as many
from daskal.errors import InputError
from daskal.inputs.data import PoolData, open_multi_labeled, open_pool
from daskal.inputs.matching import check_same_model
from daskal.method.findings import MULTI_LABEL_RULE, raise_invalid
from daskal.method.multi_label import MultiLabelEstimate
from daskal.multiannotator.arguments import LABELS, POOL, PROBS, check_rank, check_type, is_lazy
from daskal.options import Options, check_flag


def is_multi_label(wanted: Any) -> bool:
    """Return whether several classes an example are meant."""
    check_flag("multi_label", wanted)
    return bool(wanted)


def multi_label_scores(
    labels: Any, pred_probs: Any, pool: Any, *, ensemble: bool
) -> tuple[Any, Any, list[str]]:
    """Return the scores of labeled examples and the pool, means over classes, and notes.

    Rows at fault are errors, and examples and annotators without votes take no part: only the way
    labels are counted is cleanlab's.
    """
    if pred_probs is None and pool is None:
        raise InputError(f"expected {PROBS}, {POOL} or both, got neither.")
    for name, given in ((PROBS, pred_probs), (POOL, pool)):
        if given is not None:
            check_type(name, given)
    scores: Any = np.array([])
    scores_unlabeled: Any = np.array([])
    estimate = None
    opened = None if pool is None else open_pool(pool, None, least_classes=1)
    if opened is not None:
        check_rank(POOL, opened.probs, ensemble=ensemble)
    if pred_probs is not None:
        if labels is None:
            raise InputError(
                f"{LABELS}: expected the labels that {PROBS} belong to, got None. Pass the "
                f"probabilities of examples without labels as {POOL}."
            )
        estimate, scores, opened = score_labeled(labels, pred_probs, opened, ensemble=ensemble)
    if opened is not None:
        scores_unlabeled = many.pool_scores(opened, estimate, "mean", "raise")
        if not is_lazy(pool):
            scores_unlabeled = scores_unlabeled.compute()
    return scores, scores_unlabeled, []


def score_labeled(
    labels: Any, pred_probs: Any, pool: PoolData | None, *, ensemble: bool
) -> tuple[MultiLabelEstimate, Any, PoolData | None]:
    """Return the estimate, the scores, and the pool with its columns in the same order."""
    given = open_multi_labeled(labels, pred_probs, None)
    check_rank(PROBS, given.probs, ensemble=ensemble)
    if pool is not None:
        pool = pool.with_probs(check_same_model(given.probs, pool.probs, given.classes))
    whole = isinstance(labels, np.ndarray) and labels.dtype.kind in "iu"
    options = Options("paper" if whole else "cleanlab", "fit", "best_quality", "crowdlab", 0)
    statistics = many.read_labels(given, options, "raise", many.reduce_blocks)
    raise_invalid(statistics.findings, given.names, MULTI_LABEL_RULE)
    estimate = many.finish_estimate(statistics, given, options, many.reduce_blocks)
    scores = many.labeled_scores(given, estimate.rules(), "mean", "raise")
    lazy = is_lazy(labels) or is_lazy(pred_probs)
    return estimate, scores if lazy else scores.compute(), pool
