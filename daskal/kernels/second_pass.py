"""Pass 2: the per-block map that scores labeled rows and the pool, smallest k included.

Axes: p models, n rows, k classes, m annotators, v votes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from daskal.errors import InvalidDataError
from daskal.kernels.compiling import read_only
from daskal.kernels.consensus import (
    LaneRule,
    prepare_rule,
    prepare_temperature,
    prepare_tie_break,
)
from daskal.kernels.pool import score_ensemble, score_pool, vote_majority
from daskal.kernels.scoring import ScoredRows, make_scored, score_labeled
from daskal.kernels.tallying import AnnotatorCounts, Table, add_pairs, histogram
from daskal.kernels.tiles import (
    CheckedProbs,
    Loader,
    Tile,
    check_tile,
    counted_classes,
    freeze,
    labeled_tiles,
)
from daskal.kernels.votes import Votes
from daskal.method.findings import FIRST_ROWS, Findings, raise_invalid
from daskal.method.tallies import Candidates, LabeledTally, PoolTally, Smallest
from daskal.method.values import (
    LABELED_COLUMNS,
    Block,
    Columns,
    Floats,
    Ints,
    PoolRule,
    Rule,
)

# --- the smallest scores ----------------------------------------------------------------------

# Scores compared at once: they and their mask stay in the cache.
SCAN_ROWS = 2**16


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


# --- labeled rows -----------------------------------------------------------------------------


def score_tiles(
    block: Block, rule: Rule, on_invalid: str, *, detail: bool = False
) -> Iterator[tuple[Tile, ScoredRows]]:
    """Yield the tiles of a labeled block and their scores, rows at fault as ``on_invalid`` says.

    With ``detail`` the posterior of every class is kept.
    """
    prepared = prepare_rule(rule, len(block.probs))
    for tile in labeled_tiles(block, on_invalid=on_invalid):
        yield tile, score_tile(tile, rule, prepared, on_invalid, detail=detail)


def score_tile(
    tile: Tile, rule: Rule, prepared: LaneRule, on_invalid: str, *, detail: bool = False
) -> ScoredRows:
    """Return the scores of a tile."""
    num_classes = tile.probs.shape[2]
    scored = make_scored(len(tile), len(tile.votes.classes), num_classes, detail=detail)
    counted = counted_classes(tile.votes, num_classes, miscount=rule.miscount)
    score_labeled(tile.probs, tile.votes, counted, tile.odd, prepared, tile.global_rows, scored)
    if len(tile.faulty) and on_invalid == "nan":
        scored.score[tile.faulty] = np.nan
        scored.quality[tile.faulty] = np.nan
    if scored.off.any():
        raise_off(tile.global_rows[scored.off != 0])
    return scored


def raise_off(rows: Ints) -> None:
    """Refuse rows whose probabilities are so far off that no posterior comes of them."""
    raise InvalidDataError(
        "pred_probs: expected probabilities that give each class between 0 and 1 once votes "
        f"are taken in, got others in {len(rows):,} row(s) of a block: "
        f"{rows[:FIRST_ROWS].tolist()}. Normalise these rows."
    )


def score_labeled_block(block: Block, *, rule: Rule, on_invalid: str) -> Floats:
    """Return the ActiveLab scores of a labeled block, (n,)."""
    scores = np.empty(len(block.probs[0]))
    for tile, scored in score_tiles(block, rule, on_invalid):
        if on_invalid == "raise":
            raise_invalid(tile.findings)
        start = int(tile.global_rows[0]) - block.first_row
        scores[start : start + len(tile)] = scored.score
    return scores


def labeled_columns(
    block: Block, *, rule: Rule, on_invalid: str, size: int
) -> tuple[Columns, LabeledTally]:
    """Return what is stored of each row of a labeled block, and the block's tally.

    Rows at fault are left out under ``on_invalid="raise"`` too: the tally holds the findings.
    """
    num_rows, num_classes = block.probs[0].shape
    columns: Columns = {name: np.empty(num_rows, dtype) for name, dtype in LABELED_COLUMNS.items()}
    annotators = AnnotatorCounts(len(rule.tie_break.agreement), num_classes)
    pairs = Table(num_classes**2)
    findings = Findings()
    left_out = "nan" if on_invalid == "raise" else on_invalid
    for tile, scored in score_tiles(block, rule, left_out):
        start = int(tile.global_rows[0]) - block.first_row
        rows = slice(start, start + len(tile))
        columns["score"][rows] = scored.score
        columns["consensus_label"][rows] = scored.label
        columns["consensus_quality_score"][rows] = scored.quality
        columns["annotator_agreement"][rows] = scored.agreement
        columns["num_annotations"][rows] = tile.num_annotations
        annotators.add(tile.votes, scored.label, scored.quality, scored.vote_quality)
        pairs.make_room(len(tile.votes.classes))
        pairs.taken += add_pairs(
            tile.votes, num_classes, read_only(scored.label, np.int64), pairs.keys, pairs.values
        )
        findings = findings.merge(tile.findings)
    scores, voted = columns["score"], columns["num_annotations"] > 0
    with_votes, without_votes = np.flatnonzero(voted), np.flatnonzero(~voted)
    tally = LabeledTally(
        scores=PoolTally(
            num_rows=num_rows,
            histogram=histogram(scores),
            smallest=smallest_of(scores[with_votes], with_votes + block.first_row, size),
            findings=findings,
        ),
        without_votes=smallest_of(scores[without_votes], without_votes + block.first_row, size),
        quality=histogram(columns["consensus_quality_score"][with_votes]),
        classes=pairs.cells(1),
        annotators=annotators.statistics(),
    )
    return columns, tally


# --- the pool ---------------------------------------------------------------------------------


class PoolScorer:
    """A rule of the pool as kernels take it."""

    def __init__(self, rule: PoolRule, num_models: int) -> None:
        """Prepare a rule."""
        self.inverses = prepare_temperature(rule.temperature, num_models)
        self.model_weight = read_only(rule.model_weight)
        self.total_weight = float(rule.model_weight.sum())
        self.mean_weight = float(rule.mean_weight)
        self.tie_break = None if rule.tie_break is None else prepare_tie_break(rule.tie_break)

    def score(self, checked: CheckedProbs, first_row: int, scores: Floats) -> None:
        """Write the scores of a tile."""
        probs, odd = checked.probs, checked.odd
        if self.tie_break is not None:
            self.score_by_votes(checked, first_row, scores)
        elif len(probs) == 1:
            self.score_plain(probs, odd, scores)
        else:
            classes = np.empty(len(scores) * len(probs), dtype=np.int32)
            score_ensemble(
                probs, odd, self.inverses,
                self.model_weight, self.total_weight, self.mean_weight, scores, classes,
            )  # fmt: skip

    def score_by_votes(self, checked: CheckedProbs, first_row: int, scores: Floats) -> None:
        """Write the scores of a tile at the classes that most models vote for.

        Ties are decided as those of annotators are.
        """
        assert self.tie_break is not None
        probs, odd = checked.probs, checked.odd
        global_rows = read_only(np.arange(first_row, first_row + len(scores)), np.int64)
        labels, confidence = np.empty(len(scores), dtype=np.int64), np.empty(len(scores))
        vote_majority(
            probs, model_votes(probs, odd, self.inverses), odd, self.inverses,
            self.tie_break, global_rows, self.model_weight, labels, confidence,
        )  # fmt: skip
        confidence += self.mean_weight / probs.shape[2]
        np.divide(confidence, self.total_weight + self.mean_weight, out=scores)

    def score_plain(self, probs: Floats, odd: NDArray[np.uint8], scores: Floats) -> bool:
        """Write the scores of a tile of one model; return whether some row is suspect."""
        suspect: bool = score_pool(
            probs[0], odd, self.inverses[0], self.total_weight, self.mean_weight, scores
        )
        return suspect


def model_votes(probs: Floats, odd: NDArray[np.uint8], inverses: Floats) -> Votes:
    """Return the models of a (p, n, k) tile of the pool as the annotators of its rows."""
    num_models, num_rows, _ = probs.shape
    classes = np.empty(num_rows * num_models, dtype=np.int32)
    even = read_only(np.ones(num_models))
    score_ensemble(probs, odd, inverses, even, float(num_models), 1.0, np.empty(num_rows), classes)
    offsets = np.arange(num_rows + 1) * num_models
    return freeze(offsets, np.tile(np.arange(num_models), num_rows), classes)


def score_pool_rows(block: Block, rule: PoolRule, on_invalid: str) -> tuple[Floats, Findings]:
    """Return the scores of a block of the pool, (n,), and what is wrong with it.

    Rows at fault get NaN, or with ``on_invalid="keep"`` what their probabilities give.
    """
    keep = on_invalid == "keep"
    loader, scorer = Loader(block.probs), PoolScorer(rule, len(block.probs))
    scores = np.empty(loader.num_rows)
    findings = Findings()
    none_odd = read_only(np.zeros(loader.step), np.uint8)
    for start, stop in loader.bounds():
        probs, part = loader.load(start, stop), scores[start:stop]
        odd = none_odd[: stop - start]
        # What one model gives is scored at once, and looked at closely where a row seems odd.
        if len(probs) == 1 and rule.tie_break is None and not scorer.score_plain(probs, odd, part):
            continue
        first_row = block.first_row + start
        checked = check_tile(probs, "pred_probs_unlabeled", first_row, keep=keep)
        scorer.score(checked, first_row, part)
        if not keep:
            part[checked.faulty] = np.nan
        findings = findings.merge(checked.findings)
    return scores, findings


def score_unlabeled_block(block: Block, *, rule: PoolRule, on_invalid: str) -> Floats:
    """Return the ActiveLab scores of a block of the pool, (n,)."""
    scores, findings = score_pool_rows(block, rule, on_invalid)
    if on_invalid == "raise":
        raise_invalid(findings)
    return scores


def unlabeled_scores(
    block: Block, *, rule: PoolRule, on_invalid: str, size: int
) -> tuple[Floats, PoolTally]:
    """Return the scores of a block of the pool, (n,), and the block's tally.

    Rows at fault are left out under ``on_invalid="raise"`` too: the tally holds the findings.
    """
    scores, findings = score_pool_rows(block, rule, on_invalid)
    return scores, pool_tally(scores, block.first_row, size, findings)


def pool_tally(scores: Floats, first_row: int, size: int, findings: Findings) -> PoolTally:
    """Return the tally of the scores of consecutive rows."""
    smallest = smallest_of_block(scores, first_row, size)
    return PoolTally(len(scores), histogram(scores), smallest, findings)


# --- beside the scores ------------------------------------------------------------------------


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
    """Return what is wrong in a block, labeled or of the pool, and nothing else."""
    if block.labels is not None:
        labeled = (tile.findings for tile in labeled_tiles(block))
        return functools.reduce(Findings.merge, labeled, Findings())
    loader = Loader(block.probs)
    found = Findings()
    for start, stop in loader.bounds():
        probs = loader.load(start, stop)
        checked = check_tile(probs, "pred_probs_unlabeled", block.first_row + start, keep=True)
        found = found.merge(checked.findings)
    return found
