"""The formulas of the method in plain Python: short, slow, and what the kernels are held against.

Labels are an (N, M) matrix with NaN or negative numbers for missing ones, probabilities (P, N, K).
"""

from __future__ import annotations

import math

import numpy as np

from daskal.kernels.lanes import Rows, count_lanes
from daskal.kernels.scoring import ScoredRows
from daskal.method.values import Rule, TieBreak, VoteWeights

FLOOR = 1e-30
NO_POSTERIOR = np.zeros((0, 1))


def make_votes(votes: list[tuple[int, int, int]], num_rows: int) -> Rows:
    """Rows as kernels take them, from votes as (row, annotator, class) in the order of rows."""
    rows, annotators, classes = np.array(votes, dtype=np.int64).reshape(-1, 3).T
    row_of, given, codes = (x.astype(np.int32) for x in (rows, annotators, classes))
    offsets = np.searchsorted(rows, np.arange(num_rows + 1))
    lanes = np.empty((-(-num_rows // count_lanes(2)), 1, 2, count_lanes(2)))
    odd = np.zeros(num_rows, dtype=np.uint8)
    return Rows(lanes, odd, np.arange(num_rows), offsets, row_of, given, codes, codes)


def make_scored(labels, quality, vote_quality, posterior=NO_POSTERIOR) -> ScoredRows:
    """Scores of some rows and votes as kernels take them; quality stands for what is not given."""
    off = np.zeros(len(labels), dtype=np.uint8)
    return ScoredRows(quality, labels, quality, quality, vote_quality, posterior, off)


def votes_of_row(row: np.ndarray) -> list[tuple[int, int]]:
    """(annotator, class) of each vote of a row of labels."""
    return [(j, int(label)) for j, label in enumerate(row.tolist()) if label >= 0]


def scale(row: np.ndarray, temperature: float | None) -> np.ndarray:
    """One row's p', or the row as it is without a temperature."""
    if temperature is None:
        return row
    logs = np.log(np.maximum(row, FLOOR).astype(np.longdouble)) / temperature
    powers = np.exp(logs - logs.max())
    return (powers / powers.sum()).astype(float)


def loss(row: np.ndarray, classes: list[int], temperature: float) -> float:
    """One row's soft cross-entropy in nats; exact zeros stay zero."""
    ratios = (row / row.max()).astype(np.longdouble)
    powers = ratios ** (1 / np.longdouble(temperature))
    scaled = np.maximum(powers / powers.sum(), np.longdouble(FLOOR))
    return float(-sum(np.log(scaled[k]) for k in classes) / len(classes))


def miscount(classes: list[int]) -> list[int]:
    """Classes as cleanlab counts them: a row's distinct ones become 0, 1, 2, ..."""
    distinct = sorted(set(classes))
    return [distinct.index(k) for k in classes]


def splitmix(seed: int, row: int) -> int:
    """The generator's number for a row."""
    word, mixed = 2**64, seed % 2**64
    for term in (0, row):
        mixed = (mixed + (term + 1) * 0x9E3779B97F4A7C15) % word
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % word
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % word
        mixed ^= mixed >> 31
    return mixed


def narrow(tied: list[int], values: dict[int, float], tolerance: float = 0.0) -> list[int]:
    """Those of the tied classes with the greatest value."""
    best = max(values[k] for k in tied)
    return [k for k in tied if values[k] >= best * (1 - tolerance)]


def majority(
    votes: list[tuple[int, int]], scaled: np.ndarray, tie_break: TieBreak, row: int
) -> int:
    """Majority label of a row with votes; ``scaled`` is (P, K)."""
    classes = [k for _, k in votes]
    most = max(classes.count(k) for k in classes)
    tied = sorted({k for k in classes if classes.count(k) == most})
    mean = scaled.sum(axis=0) / len(scaled)
    tied = narrow(tied, dict(enumerate(mean.tolist())), 1e-12 if len(scaled) > 1 else 0.0)
    tied = narrow(tied, dict(enumerate((-tie_break.class_counts).tolist())))
    agreement = {
        k: sum(tie_break.agreement[j] for j, given in votes if given == k) / most for k in tied
    }
    tied = narrow(tied, agreement)
    return tied[splitmix(tie_break.seed, row) % len(tied)]


def posterior(
    votes: list[tuple[int, int]], scaled: np.ndarray, weights: VoteWeights
) -> tuple[np.ndarray, float]:
    """q of a row, (K,), and the weight of its votes and models together."""
    total = sum(weights.annotator[j] for j, _ in votes)
    q = np.einsum("pk,p->k", scaled, weights.model)
    for j, given in votes:
        for k in range(len(q)):
            q[k] += weights.annotator[j] * (
                weights.likelihood if k == given else weights.other_likelihood
            )
    trust = total + weights.model.sum()
    return q / trust, trust


def best(q: np.ndarray, label: int) -> int:
    """argmax of q, the label where the largest are tied."""
    near = np.flatnonzero(q >= q.max() * (1 - 1e-12))
    return int(near[0]) if len(near) == 1 else label


def score_row(
    labels: np.ndarray, probs: np.ndarray, rule: Rule, row: int
) -> tuple[float, int, float, float]:
    """Score, consensus label, its quality and its agreement of one row; ``probs`` is (P, K)."""
    votes = votes_of_row(labels)
    temperatures = [1 / x if x else None for x in rule.inverse.tolist()]
    scaled = np.array([scale(p, t) for p, t in zip(probs, temperatures, strict=True)])
    num_classes = probs.shape[1]
    if not votes:
        label, sure = confidence(scaled, rule.final.model)
        total = rule.final.model.sum()
        score = (sure * total + rule.mean_weight / num_classes) / (total + rule.mean_weight)
        return score, label, sure, math.nan
    classes = [k for _, k in votes]
    counted = miscount(classes) if rule.miscount else classes
    shares = np.array([counted.count(k) / len(counted) for k in range(num_classes)])
    label = majority(votes, scaled, rule.tie_break, row)
    if rule.best_quality:
        by_quality = posterior(votes, scaled, rule.majority)[0]
        label = best(shares if rule.by_agreement else by_quality, label)
    q, trust = posterior(votes, scaled, rule.final)
    agreement = classes.count(label) / len(classes)
    quality = probs.mean(axis=0)[label] if rule.single_label else q[label]
    if rule.by_agreement:
        quality = agreement
    score = (quality * trust + rule.mean_weight / num_classes) / (trust + rule.mean_weight)
    return score, label, quality, agreement


def confidence(scaled: np.ndarray, model_weight: np.ndarray) -> tuple[int, float]:
    """The class most models are surest of and its probability, of a row's (P, K)."""
    if len(scaled) == 1:
        return int(scaled[0].argmax()), float(scaled[0].max())
    votes = scaled.argmax(axis=1).tolist()
    most = max(votes.count(k) for k in votes)
    tied = sorted({k for k in votes if votes.count(k) == most})
    tied = narrow(tied, dict(enumerate((scaled.sum(axis=0) / len(scaled)).tolist())), 1e-12)
    weighted = np.einsum("pk,p->k", scaled, model_weight) / model_weight.sum()
    label = min(tied, key=lambda k: (weighted[k], k))
    return label, float(weighted[label])


def count(labels: np.ndarray, num_classes: int) -> dict[str, np.ndarray]:
    """The counts of the first read."""
    num_annotators = labels.shape[1]
    names = ("votes", "agreeing_pairs", "pairs", "untied_agreeing", "untied")
    found = {name: np.zeros(num_annotators, dtype=np.int64) for name in names}
    found["class_counts"] = np.zeros(num_classes, dtype=np.int64)
    for row in labels:
        votes = votes_of_row(row)
        classes = [k for _, k in votes]
        most = max((classes.count(k) for k in classes), default=0)
        leaders = {k for k in classes if classes.count(k) == most}
        for j, k in votes:
            found["votes"][j] += 1
            found["agreeing_pairs"][j] += classes.count(k) - 1
            found["pairs"][j] += len(classes) - 1
            found["untied"][j] += len(leaders) == 1
            found["untied_agreeing"][j] += leaders == {k}
            found["class_counts"][k] += 1
    return found
