"""cleanlab's scores of several classes an example: those of each binary problem.

Apart from the problems themselves, so that a process that makes these does not import cleanlab.
"""

from __future__ import annotations

import numpy as np

from tests import oracle
from tests.tagkit import TagProblem, binary


def oracle_scores(problem: TagProblem, convention: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of each class by cleanlab, (N, K) and (U, K)."""
    ensemble = problem.pred_probs.ndim == 3
    score = oracle.cleanlab_scores_ensemble if ensemble else oracle.cleanlab_scores
    labels = problem.labels.astype(np.float64)
    labels = np.where(labels < 0, np.nan, labels)
    labeled, pool = [], []
    with oracle.convention(convention):
        for k in range(problem.num_classes):
            found = score(labels[:, :, k], binary(problem.pred_probs, k), binary(problem.pool, k))
            labeled.append(found[0])
            pool.append(found[1])
    return np.stack(labeled, axis=1), np.stack(pool, axis=1)
