"""Pass 2: the per-block map that scores labeled rows and the pool, smallest k included.

Axes: p models, n rows, k classes, m annotators, v votes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.errors import InvalidDataError
from daskal.kernels.compiling import first_holding, is_held, read_only
from daskal.kernels.lanes import MOST_PLAIN_INVERSE, Rows, Scratch, make_room
from daskal.kernels.scoring import (
    ScoredRows,
    choose_classes,
    score_labeled,
    score_pool,
    score_unchecked,
    vote_majority,
)
from daskal.kernels.tallying import AnnotatorCounts, Table, add_pairs, histogram
from daskal.kernels.tiles import PROB_DTYPES, Tile, take_tiles, tile_rows
from daskal.method.findings import FIRST_ROWS, Findings, raise_invalid
from daskal.method.tallies import Candidates, LabeledTally, PoolTally, Smallest
from daskal.method.values import LABELED_COLUMNS, Block, Columns, Floats, Ints, PoolRule, Rule
from daskal.text import plural

# Classes that a good pool's rows are scored by at a time, so that they stay in the nearest cache
# (measured).
STRIP = 64

# --- the smallest scores ----------------------------------------------------------------------


def smallest_of(scores: Floats, first_row: int, size: int) -> Smallest:
    """Return the smallest of the scores of consecutive rows; NaN is none."""
    if not 0 < size < len(scores):
        limit = np.nan if size else -np.inf
    else:
        limit = np.partition(scores, size - 1)[size - 1]
    # NaN comes last: with one for a limit, all others are among the smallest.
    kept = np.flatnonzero(~np.isnan(scores) if np.isnan(limit) else scores <= limit)
    return Smallest.sorted(size, scores[kept], kept + first_row)


def split_by_votes(
    scores: Floats, voted: NDArray[np.bool_], unvoted: NDArray[np.bool_], first_row: int, size: int
) -> Candidates:
    """Return the smallest scores of consecutive rows that have votes, and of those without."""
    chosen = (np.where(rows, scores, np.nan) for rows in (voted, unvoted))
    return Candidates(*(smallest_of(each, first_row, size) for each in chosen))


# --- labeled rows -----------------------------------------------------------------------------


def score_tiles(
    block: Block, rule: Rule, on_invalid: str, *, votes: bool
) -> Iterator[tuple[Tile, ScoredRows]]:
    """Yield the tiles of a labeled block and their scores, rows at fault as ``on_invalid`` says.

    As those of tiles do, arrays of scores hold until the next ones are taken.
    """
    prepared = read_only(rule)
    for tile in take_tiles(block, on_invalid=on_invalid, miscount=rule.miscount):
        yield tile, score_tile(tile, prepared, on_invalid, tile.scratch, votes=votes)


def score_tile(
    tile: Tile,
    rule: Rule,
    on_invalid: str,
    scratch: Scratch,
    *,
    votes: bool = True,
    detail: bool = False,
) -> ScoredRows:
    """Return the scores of a tile, of ``votes`` too, in ``detail`` with every class's posterior."""
    num_rows, num_classes = len(tile), tile.rows.lanes.shape[2]
    scored = ScoredRows(
        scratch.take("score", num_rows),
        scratch.take("label", num_rows, dtype=np.int64),
        scratch.take("quality", num_rows),
        scratch.take("agreement", num_rows),
        scratch.take("vote quality", len(tile.rows.classes) if votes else 0),
        scratch.take("posterior", num_rows if detail else 0, num_classes),
        scratch.take_zeros("off", num_rows, dtype=np.uint8),
    )
    score_labeled(tile.rows, rule, float(rule.final.model.sum()), scored, tile.room)
    if len(tile.faulty) and on_invalid == "nan":
        scored.score[tile.faulty] = np.nan
        scored.quality[tile.faulty] = np.nan
    if scored.off.any():
        raise_off(tile.rows.global_rows[scored.off != 0])
    return scored


def raise_off(rows: Ints) -> None:
    """Refuse rows whose probabilities are so far off that no posterior comes of them."""
    raise InvalidDataError(
        "pred_probs: expected probabilities that give each class between 0 and 1 once votes "
        f"are taken in, got others in {plural(len(rows), 'row')} of a block: "
        f"{rows[:FIRST_ROWS].tolist()}. Normalise these rows."
    )


def score_labeled_block(block: Block, *, rule: Rule, on_invalid: str) -> Floats:
    """Return the ActiveLab scores of a labeled block, (n,)."""
    scores = np.empty(len(block.probs[0]))
    for tile, scored in score_tiles(block, rule, on_invalid, votes=False):
        if on_invalid == "raise":
            raise_invalid(tile.findings)
        scores[tile.place] = scored.score
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
    for tile, scored in score_tiles(block, rule, left_out, votes=True):
        columns["score"][tile.place] = scored.score
        columns["consensus_label"][tile.place] = scored.label
        columns["consensus_quality_score"][tile.place] = scored.quality
        columns["annotator_agreement"][tile.place] = scored.agreement
        columns["num_annotations"][tile.place] = tile.num_annotations
        annotators.add(tile.rows, scored)
        slots = pairs.with_room(len(tile.rows.classes))
        add_pairs(tile.rows, scored.label, num_classes, slots)
        findings = findings.merge(tile.findings)
    scores, voted = columns["score"], columns["num_annotations"] > 0
    smallest = split_by_votes(scores, voted, ~voted, block.first_row, size)
    tally = LabeledTally(
        scores=PoolTally(num_rows, histogram(scores), smallest.with_votes, findings),
        without_votes=smallest.without_votes,
        quality=histogram(columns["consensus_quality_score"][voted]),
        classes=pairs.cells(1),
        annotators=annotators.statistics(),
    )
    return columns, tally


# --- the pool ---------------------------------------------------------------------------------


def score_pool_rows(block: Block, rule: PoolRule, on_invalid: str) -> tuple[Floats, Findings]:
    """Return the scores of a block of the pool, (n,), and what is wrong with it.

    Rows at fault get NaN, or with ``on_invalid="keep"`` what their probabilities give.
    """
    scores = np.empty(len(block.probs[0]))
    findings = Findings()
    inverse, by_model, mean_weight = read_only(rule[:3])
    total = float(rule.model_weight.sum())
    if len(inverse) == 1 and score_plainly(block, rule, scores):
        return scores, findings
    for tile in take_tiles(block, on_invalid=on_invalid):
        part = scores[tile.place]
        if rule.tie_break is None:
            score_pool(tile.rows, inverse, by_model, total, mean_weight, part, tile.room)
        else:
            # At the classes that most models vote for; ties are decided as annotators' are.
            rows = with_model_votes(tile, inverse)
            labels = tile.scratch.take("label", len(part), dtype=np.int64)
            tie_break = read_only(rule.tie_break)
            vote_majority(rows, inverse, tie_break, by_model, labels, part, tile.room)
            part += mean_weight / rows.lanes.shape[2]
            part /= total + mean_weight
        if on_invalid != "keep":
            part[tile.faulty] = np.nan
        findings = findings.merge(tile.findings)
    return scores, findings


def score_plainly(block: Block, rule: PoolRule, scores: Floats) -> bool:
    """Write the scores by one model; return whether that will do, as it does for good rows."""
    (probs,), num_classes = block.probs, block.probs[0].shape[1]
    if rule.tie_break is not None or not 0 < rule.inverse[0] <= MOST_PLAIN_INVERSE:
        return False
    # In tiles where they have to be copied, and at once where not.
    step = len(probs) if is_held(probs, PROB_DTYPES) else tile_rows(1, num_classes)
    inverse, weight, mean = map(float, (rule.inverse[0], rule.model_weight[0], rule.mean_weight))
    room = make_room(1, min(STRIP, num_classes))
    for start in range(0, len(probs), max(step, 1)):
        given = first_holding(probs[start : start + step], PROB_DTYPES)
        part = scores[start : start + step]
        if not score_unchecked(given, inverse, weight, mean, part, room):
            return False
    return True


def with_model_votes(tile: Tile, inverse: Floats) -> Rows:
    """Return the rows of a tile of the pool with the models as their annotators."""
    num_rows, num_models = len(tile), len(inverse)
    classes = tile.scratch.take("classes", num_rows * num_models, dtype=np.int32)
    choose_classes(tile.rows, inverse, classes, tile.room)
    row_of, annotators = np.divmod(np.arange(len(classes), dtype=np.int32), np.int32(num_models))
    return tile.rows._replace(
        offsets=np.arange(num_rows + 1) * num_models,
        row_of=row_of,
        annotators=annotators,
        classes=classes,
        counted=classes,
    )


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
    smallest = smallest_of(scores, first_row, size)
    return PoolTally(len(scores), histogram(scores), smallest, findings)


# --- beside the scores ------------------------------------------------------------------------


def findings_of_block(block: Block, **_options: Any) -> Findings:
    """Return what is wrong in a block, labeled or of the pool, and nothing else."""
    found = (tile.findings for tile in take_tiles(block, on_invalid="keep"))
    return functools.reduce(Findings.merge, found, Findings())
