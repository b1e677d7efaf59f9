"""NumPy functions over one tile of rows: arrays in, arrays out, no Dask, no Zarr, no state.

A tile is small enough for its float64 probabilities to stay in the cache. Its arrays are
class-major (classes before rows), so that every reduction over classes is a few long, vectorised
row operations and gives each example the same bits wherever in a tile it lies. Only a tile of the
pool with many classes keeps its rows together: their sums are long enough, and need no transposing.

Axes, in the shapes below: p models, k classes, n rows of the tile, v votes of the tile,
m annotators, t temperatures.
"""

from __future__ import annotations

import numpy as np

from daskal.kernels.powers import power
from daskal.kernels.tiles import (
    PROB_FLOOR,
    Tile,
    at_class,
    count_cells,
    count_true,
    first_largest,
    first_true,
    keeps_rows,
    largest_of_columns,
    largest_of_rows,
    miscounted_cells,
    sum_by_class,
    sum_classes,
    sum_rows,
)
from daskal.method.values import (
    Bools,
    Floats,
    Ints,
    LabeledScores,
    PoolRule,
    Rule,
    TieBreak,
    VoteWeights,
)

# From this temperature on the least probability does not underflow when raised to 1/T.
LEAST_PLAIN_TEMPERATURE = 0.1

# Posteriors this close count as tied, so that no last bit decides a consensus label.
TIE_TOLERANCE = 1e-12
# Two raw probabilities this close may count as tied once scaled, at any temperature of the grid.
NEAR_TIE = 1e-11


# --- scaled probabilities ----------------------------------------------------------------------


def raise_probs(
    probs: Floats,
    temperature: float,
    out: Floats | None = None,
    *,
    class_axis: int = 0,
    plain: bool = False,
) -> Floats:
    """Powers clip(p)^(1/T) of a (k, n) tile, up to a factor a row; at T = 1 perhaps the tile.

    ``out``, perhaps the tile itself, is lost. An (n, k) array has its classes on axis 1. A
    ``plain`` one is known to hold no value at fault or below the floor.
    """
    if not plain and not (probs.size and probs.min() >= PROB_FLOOR):
        # NumPy's maximum of an array and a number is not vectorised, as its clip is.
        probs = out = np.clip(probs, PROB_FLOOR, np.inf, out=out)
    if temperature == 1:
        return probs
    if temperature < LEAST_PLAIN_TEMPERATURE:
        # No probability is so far above 1 that the floor would fall out of the tables of powers.
        probs = out = np.divide(probs, probs.max(axis=class_axis, keepdims=True), out=out)
    return power(probs, 1.0 / temperature, out=out, inside=plain)


def scale_probs(probs: Floats, temperature: Floats | None) -> Floats:
    """P' = softmax(log(clip(p) / sum) / T) of a (p, k, n) tile, one temperature a model."""
    if temperature is None:
        return probs
    scaled = np.empty_like(probs)
    for out, model, t in zip(scaled, probs, temperature.tolist(), strict=True):
        powers = raise_probs(model, t, out=out)
        np.divide(powers, sum_classes(powers), out=out)
    return scaled


def narrow(tied: Bools, values: Floats, tolerance: float = 0.0) -> Bools:
    """Of the tied classes, those with the greatest value, column by column."""
    candidates = np.where(tied, values, -np.inf)
    return tied & (candidates >= candidates.max(axis=0) * (1 - tolerance))


def clear_leader(tied: Bools, probs: Floats) -> Bools:
    """Of the tied classes, one that every model puts ahead by more than scaling can undo.

    Columns without such a class come back with all their ties.
    """
    floored = np.where(tied, np.maximum(probs, PROB_FLOOR), -np.inf)  # (p, k, n)
    best = floored.max(axis=1, keepdims=True)
    ahead = floored >= best * (1 - NEAR_TIE)
    leader = ahead.all(axis=0)
    clear = (ahead.sum(axis=1) == 1).all(axis=0) & leader.any(axis=0)
    return np.where(clear, leader, tied)


def keyed_choice(seed: int, index: Ints, num_choices: Ints) -> Ints:
    """A draw below ``num_choices`` for each global row, the same in every block and run."""
    golden, first, second = (
        np.uint64(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
    )
    # The generator splitmix64: one round for the seed, one more for the row.
    mixed = np.full(len(index), seed % 2**64, dtype=np.uint64)
    for term in (np.zeros_like(index), index):
        mixed = mixed + (term.astype(np.uint64) + np.uint64(1)) * golden
        mixed = (mixed ^ (mixed >> np.uint64(30))) * first
        mixed = (mixed ^ (mixed >> np.uint64(27))) * second
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed % num_choices.astype(np.uint64)).astype(np.int64)


def voters_agreement(tile: Tile, columns: Ints, agreement: Floats) -> Floats:
    """Mean over a row's voters for a class of their agreement, (k, len(columns))."""
    counts = tile.counts[:, columns]
    sums = sum_by_class(tile, agreement[tile.annotators])[:, columns]
    with np.errstate(invalid="ignore"):
        return np.where(counts > 0, sums / counts, -np.inf)


def majority_vote(
    tile: Tile,
    mean_probs: Floats,
    tie_break: TieBreak,
    *,
    unvoted: bool = False,
) -> tuple[Ints, Ints]:
    """Majority label of each row, and the columns that were decided by chance.

    Ties go by the (scaled) probability, then the class rarer over all votes, then the mean
    agreement of its voters, then a draw keyed by seed and global row. A row without votes has no
    majority: its entry is meaningless, or with ``unvoted`` that of a tie of all classes.
    """
    tied = tile.counts == tile.counts.max(axis=0)
    labels = first_true(tied)
    several = count_true(tied) > 1
    columns = np.flatnonzero(several if unvoted else several & (tile.num_annotations > 0))
    left = tied.take(columns, axis=1)
    # A mean over models is rounded in the order of their sums; one model's p' never is.
    tolerance = TIE_TOLERANCE if len(tile.probs) > 1 else 0.0
    left = narrow(left, mean_probs.take(columns, axis=1), tolerance)
    labels[columns] = left.argmax(axis=0)
    at = np.flatnonzero(count_true(left) > 1)
    if not len(at):
        return labels, at
    columns, left = columns[at], left.take(at, axis=1)
    left = narrow(left, -tie_break.class_counts[:, np.newaxis].astype(np.float64))
    if (left.sum(axis=0) > 1).any():
        left = narrow(left, voters_agreement(tile, columns, tie_break.agreement))
    num_left = left.sum(axis=0)
    by_chance = num_left > 1
    labels[columns] = left.argmax(axis=0)
    if by_chance.any():
        chance = columns[by_chance]
        draw = keyed_choice(tie_break.seed, tile.global_rows[chance], num_left[by_chance])
        order = np.cumsum(left[:, by_chance], axis=0) - 1
        labels[chance] = ((order == draw) & left[:, by_chance]).argmax(axis=0)
        return labels, chance
    return labels, columns[:0]


def posterior(tile: Tile, scaled: Floats, weights: VoteWeights) -> tuple[Floats, Floats]:
    """q_ik, (k, n), and the weight of a row's votes and models together, (n,).

    The former is the mean of the models' probabilities and the votes' likelihoods, by weight.
    """
    by_vote = weights.annotator.take(tile.annotators)
    by_votes = np.bincount(tile.rows, by_vote, minlength=scaled.shape[2])
    q = np.multiply(scaled[0], weights.model[0], order="C")
    for model, weight in zip(scaled[1:], weights.model[1:], strict=True):
        q += model * weight
    q += weights.other_likelihood * by_votes
    by_vote *= weights.likelihood - weights.other_likelihood
    np.add.at(q.reshape(-1), tile.cells, by_vote)
    trust = by_votes + weights.model.sum()
    q /= trust
    return q, trust


def vote_shares(tile: Tile, miscount: bool) -> Floats:
    """Share of a row's votes for each class, (k, n)."""
    counts = count_cells(miscounted_cells(tile), *tile.counts.shape) if miscount else tile.counts
    return counts / np.maximum(tile.num_annotations, 1)


def best_labels(q: Floats, majority: Ints) -> Ints:
    """argmax_k q, the majority vote where the largest are tied."""
    near = q >= q.max(axis=0) * (1 - TIE_TOLERANCE)
    # No class is near the largest where q is NaN.
    return np.where(count_true(near) == 1, first_true(near), majority)


def take_consensus(tile: Tile, rule: Rule) -> tuple[Ints, Floats]:
    """Consensus label of each row under the rule, and the scaled probabilities."""
    scaled = scale_probs(tile.probs, rule.temperature)
    mean_probs = scaled[0] if len(scaled) == 1 else scaled.mean(axis=0)
    labels, _ = majority_vote(tile, mean_probs, rule.tie_break)
    if rule.consensus_method == "best_quality" and rule.majority is not None:
        if rule.quality_method == "crowdlab":
            q, _ = posterior(tile, scaled, rule.majority)
        else:
            q = vote_shares(tile, rule.miscount)
        labels = best_labels(q, labels)
    return labels, scaled


# --- scores -----------------------------------------------------------------------------------


def score_labeled(tile: Tile, rule: Rule) -> LabeledScores:
    """ActiveLab score and CROWDLAB quality of each row of a tile."""
    assert rule.final is not None
    weights = rule.final
    labels, scaled = take_consensus(tile, rule)
    q, trust = posterior(tile, scaled, weights)
    if rule.single_label:
        q = tile.probs[0] if len(tile.probs) == 1 else tile.probs.mean(axis=0)
    elif rule.quality_method == "agreement":
        q = vote_shares(tile, rule.miscount)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreement = at_class(tile.counts, labels) / tile.num_annotations
    quality = agreement.copy() if rule.quality_method == "agreement" else at_class(q, labels)
    score = quality * trust
    score += rule.mean_weight / len(q)
    score /= np.add(trust, rule.mean_weight, out=trust)
    unvoted = np.flatnonzero(tile.num_annotations == 0)
    if len(unvoted):
        # A row without votes is a row of the pool, wherever it is stored, to the last bit.
        labels[unvoted], quality[unvoted] = confidence(scaled[:, :, unvoted], weights.model)
        if keeps_rows(*scaled.shape[:2]):
            probs = tile.probs[0].take(unvoted, axis=1)
            quality[unvoted] = model_confidence(probs, rule.temperature, plain=False)
        score[unvoted] = pool_score(quality[unvoted], weights.model, rule.mean_weight, len(q))
    return LabeledScores(score, labels, quality, agreement, q)


def score_unlabeled(probs: Floats, rule: PoolRule, *, plain: bool = False) -> Floats:
    """ActiveLab score of each row of a (p, k, n) tile of the pool, (n,).

    The tile is worked on in place and lost. A ``plain`` one is known to hold no value at fault or
    below the floor.
    """
    if len(probs) > 1:
        _, sure = confidence(scale_probs(probs, rule.temperature), rule.model_weight)
    else:
        sure = model_confidence(probs[0], rule.temperature, plain=plain)
    return pool_score(sure, rule.model_weight, rule.mean_weight, probs.shape[1])


def model_confidence(probs: Floats, temperature: Floats | None, *, plain: bool) -> Floats:
    """Scaled probability of the class that one model is surest of; the (k, n) tile is lost."""
    by_rows = keeps_rows(1, len(probs))
    x = np.ascontiguousarray(probs.T if by_rows else probs)
    largest, total = (largest_of_rows, sum_rows) if by_rows else (largest_of_columns, sum_classes)
    if temperature is None:
        return largest(x)
    powers = raise_probs(
        x, float(temperature[0]), out=x, class_axis=1 if by_rows else 0, plain=plain
    )
    sure = largest(powers)
    sure /= total(powers)
    return sure


def pool_score(sure: Floats, model_weight: Floats, mean_weight: float, num_classes: int) -> Floats:
    """ActiveLab's score of rows without votes, from the model's confidence."""
    total = model_weight.sum()
    score = sure * total
    score += mean_weight / num_classes
    score /= total + mean_weight
    return score


def confidence(scaled: Floats, model_weight: Floats) -> tuple[Ints, Floats]:
    """The class the models are surest of, and its scaled probability."""
    if len(scaled) == 1:
        return first_largest(scaled[0]), scaled[0].max(axis=0)
    return ensemble_confidence(scaled, model_weight)


def ensemble_confidence(scaled: Floats, model_weight: Floats) -> tuple[Ints, Floats]:
    """The class most models are surest of, and its scaled probability averaged by model weight.

    Ties go by the plain mean over models, then the lower weighted mean, then the lower class.
    """
    _, num_classes, num_rows = scaled.shape
    votes = np.stack([first_largest(model) for model in scaled])
    cells = (votes * num_rows + np.arange(num_rows)).ravel()
    counts = count_cells(cells, num_classes, num_rows)
    weighted = np.zeros((num_classes, num_rows))
    for model, weight in zip(scaled, model_weight, strict=True):
        weighted += model * weight
    weighted /= model_weight.sum()
    tied = narrow(counts == counts.max(axis=0), scaled.mean(axis=0), TIE_TOLERANCE)
    label = first_largest(np.where(tied, -weighted, -np.inf))
    return label, at_class(weighted, label)
