"""Strategies: which examples the next votes are asked for. Each is one function of a ``Look``."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from cleanlab import multiannotator as cleanlab_multiannotator
from numpy.typing import NDArray

import daskal
from daskal.method.weights import ConsensusWeights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A label of this quality is good enough not to be asked about again.
GOOD_ENOUGH = 0.9
# The lowest scores, so many times as many as the batch, among which unlike examples are chosen.
AS_MANY_CANDIDATES = 3


@dataclass(frozen=True)
class Look:
    """What a strategy may use: nothing of it rests on a vote that has not been revealed.

    Examples are numbered. ``labeled`` are the numbers of those with votes, in the order of
    ``labels``, ``probs`` and ``features``; ``pool`` those of the others.
    """

    size: int  # of the batch
    round: int
    labeled: Ints
    pool: Ints
    labels: NDArray[np.int16]  # (len(labeled), m), -1 for missing
    probs: Floats  # out of sample
    pool_probs: Floats
    features: Floats
    pool_features: Floats
    can_ask: NDArray[np.bool_]  # (len(labeled),): has a vote that has not been revealed
    rng: np.random.Generator

    def lowest(self, scores: Floats, pool_scores: Floats, **options: Any) -> Ints:
        """Return the numbers of the examples with the lowest scores that can be asked about.

        ``options`` are those of ``daskal.next_batch``, of examples that can be asked about.
        """
        batch = daskal.next_batch(
            scores[self.can_ask],
            pool_scores if len(self.pool) else None,
            size=self.size,
            labeled_ids=self.labeled[self.can_ask],
            unlabeled_ids=self.pool if len(self.pool) else None,
            **options,
        )
        return batch["id"].to_numpy(dtype=np.int64)


def by_chance(look: Look) -> Ints:
    return look.lowest(look.rng.random(len(look.labeled)), look.rng.random(len(look.pool)))


def by_chance_new_first(look: Look) -> Ints:
    """Choose among new examples; among old ones only when the new ones do not fill the batch."""
    again = 1 + look.rng.random(len(look.labeled))
    return look.lowest(again, look.rng.random(len(look.pool)))


def by_confidence(look: Look) -> Ints:
    return look.lowest(look.probs.max(axis=1), look.pool_probs.max(axis=1))


def by_entropy(look: Look) -> Ints:
    def score(probs: Floats) -> Floats:
        return (probs * np.log(np.maximum(probs, 1e-30))).sum(axis=1)

    return look.lowest(score(look.probs), score(look.pool_probs))


def by_dawid_skene(look: Look) -> Ints:
    """Choose by the posterior of the votes where there are any, else by the model's confidence."""
    aggregate = daskal.aggregate(look.labels, max_iterations=20)
    scores = daskal.score_labeled(look.labels, None, aggregate).compute()
    return look.lowest(scores, look.pool_probs.max(axis=1))


def activelab(look: Look, **options: str | None) -> tuple[Floats, Floats]:
    """Return ActiveLab's scores of the labeled examples and of the pool."""
    return scores_by(look, daskal.estimate(look.labels, look.probs, **options))


def scores_by(look: Look, estimate: daskal.Estimate) -> tuple[Floats, Floats]:
    """Return the scores of the labeled examples and of the pool by an estimate."""
    pool = look.pool_probs
    return (
        daskal.score_labeled(look.labels, look.probs, estimate).compute(),
        daskal.score_unlabeled(pool, estimate).compute() if len(pool) else np.empty(0),
    )


def as_published(look: Look, **options: str | None) -> Ints:
    return look.lowest(*activelab(look, **options))


def capped(estimate: daskal.Estimate) -> daskal.Estimate:
    """Return an estimate whose model counts for no more than the mean annotator."""

    def cap(weights: ConsensusWeights) -> ConsensusWeights:
        return weights._replace(model_weight=np.minimum(weights.model_weight, weights.mean_weight))

    return replace(estimate, majority=cap(estimate.majority), final=cap(estimate.final))


def unlike(look: Look, diversity: str) -> Ints:
    """Choose examples with unlike features among the lowest scores of ActiveLab."""
    known = look.features[look.can_ask]
    return look.lowest(
        *activelab(look),
        diversity=diversity,
        embeddings=(known, look.pool_features) if len(look.pool) else known,
        candidates=AS_MANY_CANDIDATES * look.size,
        random_state=look.round,
    )


def until_good_enough(look: Look) -> Ints:
    """Choose as ActiveLab, leaving out labels that are good enough, as long as others are left."""
    estimate = daskal.estimate(look.labels, look.probs)
    quality = daskal.label_quality(look.labels, look.probs, estimate).compute()
    given = quality["consensus_quality_score"].to_numpy()
    scores = scores_by(look, estimate)
    chosen = look.lowest(*scores, quality=given[look.can_ask], stop_at_quality=GOOD_ENOUGH)
    rest = look.lowest(*scores)
    return np.concatenate([chosen, rest[~np.isin(rest, chosen)]])[: look.size]


def with_capped_model(look: Look) -> Ints:
    return look.lowest(*scores_by(look, capped(daskal.estimate(look.labels, look.probs))))


def as_shipped(look: Look) -> Ints:
    scores = activelab(look, convention="cleanlab")
    if look.round == 0:
        check_against_cleanlab(look, *scores)
    return look.lowest(*scores)


def check_against_cleanlab(look: Look, scores: Floats, pool_scores: Floats) -> None:
    """Raise an error if the scores called cleanlab's are not those that cleanlab computes."""
    wide = np.where(look.labels < 0, np.nan, look.labels.astype(float))
    pool = look.pool_probs.copy() if len(look.pool) else None
    with contextlib.redirect_stdout(io.StringIO()):
        labeled, unlabeled = cleanlab_multiannotator.get_active_learning_scores(
            wide, look.probs.copy(), pool
        )
    np.testing.assert_allclose(scores, labeled, atol=1e-9)
    if pool is not None:
        np.testing.assert_allclose(pool_scores, unlabeled, atol=1e-9)


Strategy = Callable[[Look], Ints]

#: To compare one more, add a line. Differences are those of the last to each of the others.
STRATEGIES: dict[str, Strategy] = {
    "random": by_chance,
    "random, new first": by_chance_new_first,
    "least confidence": by_confidence,
    "entropy": by_entropy,
    "Dawid-Skene": by_dawid_skene,
    "ActiveLab, cleanlab 2.9.0": as_shipped,
    "ActiveLab, temperature 1": partial(as_published, temperature=None),
    "ActiveLab, majority": partial(as_published, consensus_method="majority_vote"),
    "ActiveLab, capped model": with_capped_model,
    "ActiveLab, k-center": partial(unlike, diversity="k_center"),
    "ActiveLab, Cluster-Margin": partial(unlike, diversity="cluster_margin"),
    "ActiveLab, stop at 0.9": until_good_enough,
    "ActiveLab, paper": as_published,
}
#: These are another strategy under a second name where there is no pool.
NEED_A_POOL = frozenset({"random, new first"})
