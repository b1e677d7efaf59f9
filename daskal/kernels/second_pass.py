"""Pass 2: the per-block map that scores labeled rows and the pool, smallest k included."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from daskal.errors import InvalidDataError
from daskal.kernels import consensus, tiles
from daskal.kernels.powers import simd_levels
from daskal.kernels.tiles import (
    LOW_TOLERANCE,
    CheckedTile,
    Tile,
    checked_pool,
    checked_tiles,
    row_bounds,
)
from daskal.method.findings import FIRST_ROWS, Findings, raise_invalid
from daskal.method.merging import QUALITY_BITS, Cells, FixedSums, merge_in_pairs
from daskal.method.tallies import (
    HISTOGRAM_BINS,
    AnnotatorStatistics,
    Candidates,
    LabeledTally,
    PoolTally,
    Smallest,
)
from daskal.method.values import (
    LABELED_COLUMNS,
    Block,
    Bools,
    Columns,
    Floats,
    Ints,
    LabeledScores,
    PoolRule,
    Rule,
)


def model_votes(probs: Floats, temperature: Floats | None, first_row: int) -> Tile:
    """The models of a (p, k, n) tile of the pool as the annotators of its rows."""
    with np.errstate(invalid="ignore"):
        scaled = consensus.scale_probs(probs, temperature)
    num_models, _, num_rows = scaled.shape
    return tiles.make_tile(
        scaled,
        np.repeat(np.arange(num_rows), num_models),
        np.tile(np.arange(num_models), num_rows),
        scaled.argmax(axis=1).T.ravel(),
        np.arange(first_row, first_row + num_rows),
    )


def score_pool(probs: Floats, rule: PoolRule, first_row: int) -> Floats:
    """ActiveLab score of each row of a (p, k, n) tile of the pool.

    Of several models, it is that of the class most of them are surest of, ties decided as those of
    annotators are.
    """
    if rule.tie_break is None:
        return consensus.score_unlabeled(probs, rule)
    tile = model_votes(probs, rule.temperature, first_row)
    labels, _ = consensus.majority_vote(tile, tile.probs.mean(axis=0), rule.tie_break)
    every = np.arange(len(labels))
    confidence = np.zeros(len(labels))
    for model, weight in zip(tile.probs, rule.model_weight, strict=True):
        confidence += model[labels, every] * weight
    total = rule.model_weight.sum() + rule.mean_weight
    return (confidence + rule.mean_weight / len(tile.counts)) / total


# Scores compared at once: they and their mask stay in the cache.
SCAN_ROWS = 2**16


def fixed_sums(groups: NDArray[np.integer], values: Floats, num_groups: int) -> FixedSums:
    """Return the sums of values by group, of a tile's values at most; NaN counts as zero.

    The sums of at most ``MAX_TILE_ROWS`` values of size 1 are exact.
    """
    units = np.rint(np.ldexp(np.nan_to_num(values), QUALITY_BITS))
    low = np.bincount(groups, units, num_groups).astype(np.int64)
    return FixedSums.from_limbs(np.zeros_like(low), low)


def smallest_of(scores: Floats, rows: Ints, size: int) -> Smallest:
    """Return the smallest of some scores, ``rows`` ascending; NaN is none."""
    kept = smallest_places(scores, size)
    return Smallest.sorted(size, scores[kept], rows[kept])


def smallest_of_block(scores: Floats, first_row: int, size: int) -> Smallest:
    """Return the smallest of the scores of consecutive rows."""
    kept = smallest_places(scores, size)
    return Smallest.sorted(size, scores[kept], kept + first_row)


def smallest_places(scores: Floats, size: int) -> Ints:
    """Places of the ``size`` smallest scores, of equal ones the first, ascending.

    A score has to beat the least that would do so far, so that most cost one comparison.
    """
    found = np.zeros(0, dtype=np.int64)
    limit = np.nan
    for start in range(0, len(scores), SCAN_ROWS):
        part = scores[start : start + SCAN_ROWS]
        beats = ~np.isnan(part) if np.isnan(limit) else part < limit
        found = np.concatenate([found, np.flatnonzero(beats) + start])
        if len(found) >= max(2 * size, 1):
            found = found[first_smallest(scores[found], size)]
            limit = scores[found].max() if size else -np.inf
    return found if len(found) <= size else found[first_smallest(scores[found], size)]


def first_smallest(scores: Floats, size: int) -> NDArray[np.bool_]:
    """Which are the ``size`` smallest of at least so many, of equal ones the first."""
    if size == 0:
        return np.zeros(len(scores), dtype=bool)
    limit = np.partition(scores, size - 1)[size - 1]
    chosen = scores < limit
    ties = np.flatnonzero(scores == limit)
    chosen[ties[: size - np.count_nonzero(chosen)]] = True
    return chosen


def histogram(values: Floats) -> Ints:
    """Counts of values between 0 and 1 in bins of equal width; NaN is in none."""
    counts = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    # By parts: a few arrays as long as a block of two classes would outweigh the block.
    for start in range(0, len(values), SCAN_ROWS):
        part = values[start : start + SCAN_ROWS]
        kept = part[~np.isnan(part)]
        bins = np.clip((kept * HISTOGRAM_BINS).astype(np.int64), 0, HISTOGRAM_BINS - 1)
        counts += np.bincount(bins, minlength=HISTOGRAM_BINS)
    return counts


@functools.cache
def cpu_level() -> str:
    """SIMD level NumPy runs at: log and exp of other levels differ in the last bit."""
    return " ".join(simd_levels())


# --- tallies ----------------------------------------------------------------------------------


def annotator_statistics(
    tile: Tile, labels: Ints, quality: Floats, vote_quality: Floats, num_annotators: int
) -> AnnotatorStatistics:
    """Return how a tile's votes stand to its consensus, given its quality and each vote's."""
    agrees = tile.classes == labels[tile.rows]
    several = tile.num_annotations[tile.rows] >= 2

    def count(chosen: Bools) -> Ints:
        return np.bincount(tile.annotators[chosen], minlength=num_annotators)

    cells, inverse = np.unique(
        tile.annotators.astype(np.int64) * tile.probs.shape[1] + tile.classes, return_inverse=True
    )
    return AnnotatorStatistics(
        num=np.bincount(tile.annotators, minlength=num_annotators),
        agreeing=count(agrees),
        num_multiple=count(several),
        agreeing_multiple=count(several & agrees),
        quality=fixed_sums(tile.annotators, vote_quality, num_annotators),
        scored=count(~np.isnan(vote_quality)),
        by_class=Cells(
            cells,
            np.stack(
                [
                    np.bincount(inverse, minlength=len(cells)),
                    np.bincount(inverse, agrees, len(cells)).astype(np.int64),
                ]
            ),
            fixed_sums(inverse, quality[tile.rows], len(cells)),
        ),
    )


def class_cells(tile: Tile, labels: Ints) -> Cells:
    """Return a tile's votes by the class given and the consensus label of the row."""
    keys, num = np.unique(
        tile.classes * tile.probs.shape[1] + labels[tile.rows], return_counts=True
    )
    return Cells(keys, num[np.newaxis], FixedSums.zero(len(keys)))


def pool_tally(scores: Floats, first_row: int, size: int, findings: Findings) -> PoolTally:
    """Return the tally of the scores of consecutive rows."""
    smallest = smallest_of_block(scores, first_row, size)
    return PoolTally(len(scores), histogram(scores), smallest, findings, (cpu_level(),))


def labeled_tally(
    tile: Tile, scores: LabeledScores, findings: Findings, size: int, num_annotators: int
) -> LabeledTally:
    """Return the tally of one tile of labeled rows."""
    voted = tile.num_annotations > 0
    labels = scores.consensus_label
    return LabeledTally(
        scores=PoolTally(
            num_rows=len(voted),
            histogram=histogram(scores.score),
            smallest=smallest_of(scores.score[voted], tile.global_rows[voted], size),
            findings=findings,
            cpu_levels=(cpu_level(),),
        ),
        without_votes=smallest_of(scores.score[~voted], tile.global_rows[~voted], size),
        quality=histogram(scores.consensus_quality_score[voted]),
        classes=class_cells(tile, labels),
        annotators=annotator_statistics(
            tile,
            labels,
            scores.consensus_quality_score,
            scores.posterior[tile.classes, tile.rows],
            num_annotators,
        ),
    )


# --- blocks to scores -------------------------------------------------------------------------


def score_tile(checked: CheckedTile, rule: Rule, on_invalid: str) -> LabeledScores:
    """Scores of one labeled tile."""
    tile, findings, faulty = checked
    if on_invalid == "raise":
        raise_invalid(findings)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        scores = consensus.score_labeled(tile, rule)
    if len(faulty) and on_invalid == "nan":
        scores.score[faulty] = np.nan
        scores.consensus_quality_score[faulty] = np.nan
    if len(faulty) and on_invalid == "keep":
        check_posterior(scores.posterior, tile)
    return scores


def check_posterior(posterior: Floats, tile: Tile) -> None:
    """Refuse rows whose probabilities are so far off that no posterior comes of them."""
    with np.errstate(invalid="ignore"):
        off = (posterior < LOW_TOLERANCE) | (posterior > 1 - LOW_TOLERANCE)
    rows = tile.global_rows[off.any(axis=0)]
    if len(rows):
        raise InvalidDataError(
            "pred_probs: expected probabilities that give each class between 0 and 1 once votes "
            f"are taken in, got others in {len(rows):,} row(s) of a block: "
            f"{rows[:FIRST_ROWS].tolist()}. Normalise these rows."
        )


def labeled_tiles(
    block: Block, rule: Rule, on_invalid: str
) -> Iterator[tuple[Tile, LabeledScores, Findings]]:
    """Scores of a labeled block, tile by tile."""
    for checked in checked_tiles(block, on_invalid=on_invalid):
        yield checked.tile, score_tile(checked, rule, on_invalid), checked.findings


def joined(parts: Iterable[Floats], block: Block) -> Floats:
    """The scores of all tiles of a block, put in their place as they come."""
    scores = np.empty(block.probs[0].shape[0])
    start = 0
    for part in parts:
        scores[start : start + len(part)] = part
        start += len(part)
    return scores


def score_labeled_block(block: Block, *, rule: Rule, on_invalid: str) -> Floats:
    """ActiveLab scores of a labeled block, (n,)."""
    tiles = labeled_tiles(block, rule, on_invalid)
    return joined((scores.score for _, scores, _ in tiles), block)


def unlabeled_tiles(
    block: Block, rule: PoolRule, on_invalid: str
) -> Iterator[tuple[Floats, Findings]]:
    """Scores of a block of the pool, tile by tile."""
    for start, stop in row_bounds(block):
        probs, findings, faulty, plain = checked_pool(block, start, stop)
        if on_invalid == "raise":
            raise_invalid(findings)
        if len(faulty) and on_invalid == "nan":
            probs[:, :, faulty] = 1 / probs.shape[1]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            score = consensus.score_unlabeled(probs, rule, plain=plain)
        if len(faulty) and on_invalid == "nan":
            score[faulty] = np.nan
        yield score, findings


def score_unlabeled_block(block: Block, *, rule: PoolRule, on_invalid: str) -> Floats:
    """ActiveLab scores of a block of the pool, (n,)."""
    tiles = unlabeled_tiles(block, rule, on_invalid)
    return joined((score for score, _ in tiles), block)


def labeled_columns(
    block: Block, *, rule: Rule, on_invalid: str, size: int
) -> tuple[Columns, LabeledTally]:
    """Return what is stored of each row of a labeled block, and the block's tally.

    Rows at fault are left out under ``on_invalid="raise"`` too: the tally holds the findings.
    """
    num_annotators = len(rule.tie_break.agreement)
    columns: Columns = {
        name: np.empty(len(block.probs[0]), dtype) for name, dtype in LABELED_COLUMNS.items()
    }

    def tallies() -> Iterator[LabeledTally]:
        left_out = "nan" if on_invalid == "raise" else on_invalid
        for tile, scores, findings in labeled_tiles(block, rule, left_out):
            found = {**scores._asdict(), "num_annotations": tile.num_annotations}
            start = int(tile.global_rows[0]) - block.first_row
            for name, column in columns.items():
                column[start : start + len(scores.score)] = found[name]
            yield labeled_tally(tile, scores, findings, size, num_annotators)

    return columns, merge_in_pairs(tallies(), LabeledTally.zero(size, num_annotators))


def unlabeled_scores(
    block: Block, *, rule: PoolRule, on_invalid: str, size: int
) -> tuple[Floats, PoolTally]:
    """Return the scores of a block of the pool, (n,), and the block's tally.

    Rows at fault are left out under ``on_invalid="raise"`` too: the tally holds the findings.
    """
    left_out = "nan" if on_invalid == "raise" else on_invalid
    found: list[Findings] = []

    def tiles() -> Iterator[Floats]:
        for score, findings in unlabeled_tiles(block, rule, left_out):
            found.extend([findings] if findings else [])
            yield score

    scores = joined(tiles(), block)
    findings = functools.reduce(Findings.merge, found, Findings())
    return scores, pool_tally(scores, block.first_row, size, findings)


def candidates_of_block(
    block: Block, *, size: int, max_annotations: int | None = None
) -> Candidates:
    """The smallest of a block of scores, with the annotations of each row where they are known.

    Rows that have ``max_annotations`` already are left out.
    """
    scores: NDArray[np.float64] = np.asarray(block.probs[0], dtype=np.float64)
    if len(block.probs) == 1:
        return Candidates(smallest_of_block(scores, block.first_row, size), Smallest.zero(size))
    rows = np.arange(block.first_row, block.first_row + len(scores))
    num: NDArray[np.integer] = np.asarray(block.probs[1], dtype=np.int64)
    voted = num > 0
    if max_annotations is not None:
        voted &= num < max_annotations
    unvoted = num <= 0
    return Candidates(
        smallest_of(scores[voted], rows[voted], size),
        smallest_of(scores[unvoted], rows[unvoted], size),
    )


def findings_of_block(block: Block) -> Findings:
    """What is wrong in a block, labeled or of the pool, and nothing else."""
    if block.labels is not None:
        return functools.reduce(
            Findings.merge, (checked.findings for checked in checked_tiles(block)), Findings()
        )
    found = (checked_pool(block, *bounds).findings for bounds in row_bounds(block))
    return functools.reduce(Findings.merge, found, Findings())
