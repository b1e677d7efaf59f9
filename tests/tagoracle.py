"""cleanlab's scores of several classes an example: those of each binary problem.

Apart from the problems themselves, so that a process that makes these does not import cleanlab.
"""

from __future__ import annotations

import numpy as np

from tests import oracle
from tests.tagkit import TagProblem, binary


def oracle_scores(problem: TagProblem, convention: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of each class by cleanlab, (N, K) and (U, K).

    It takes no row or annotator without votes on a class: those rows are scored with the pool. A
    class without votes has none.
    """
    ensemble = problem.pred_probs.ndim == 3
    score = oracle.cleanlab_scores_ensemble if ensemble else oracle.cleanlab_scores
    labels = problem.labels.astype(np.float64)
    labels = np.where(labels < 0, np.nan, labels)
    labeled = np.full((len(labels), problem.num_classes), np.nan)
    pool = np.full((problem.pool.shape[-2], problem.num_classes), np.nan)
    with oracle.convention(convention):
        for k in range(problem.num_classes):
            voted = ~np.isnan(labels[:, :, k])
            rows, people = voted.any(axis=1), voted.any(axis=0)
            if not rows.any():
                continue
            probs, others = binary(problem.pred_probs, k), binary(problem.pool, k)
            others = np.concatenate([others, probs[..., ~rows, :]], axis=-2)
            found = score(labels[rows][:, people, k], probs[..., rows, :], others)
            labeled[rows, k] = found[0]
            pool[:, k], labeled[~rows, k] = np.split(found[1], [len(pool)])
    return labeled, pool
