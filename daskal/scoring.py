"""Pass 2: the per-block map that scores labelled rows and the pool, smallest k included."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskal import kernels
from daskal.errors import InvalidDataError
from daskal.findings import FIRST_ROWS, Findings, raise_invalid
from daskal.kernels import LOW_TOLERANCE, Floats, Rule
from daskal.statistics import Block, CheckedTile, checked_pool, checked_tiles, row_bounds
from daskal.tallies import Candidates, LabeledTally, PoolTally, Smallest, merge_in_pairs

# --- blocks to scores -------------------------------------------------------------------------


def score_tile(checked: CheckedTile, rule: Rule, on_invalid: str) -> kernels.LabeledScores:
    """Scores of one labelled tile."""
    tile, findings, faulty = checked
    if on_invalid == "raise":
        raise_invalid(findings)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        scores = kernels.score_labeled(tile, rule)
    if len(faulty) and on_invalid == "nan":
        scores.score[faulty] = np.nan
        scores.consensus_quality_score[faulty] = np.nan
    if len(faulty) and on_invalid == "keep":
        check_posterior(scores.posterior, tile)
    return scores


def check_posterior(posterior: Floats, tile: kernels.Tile) -> None:
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
) -> Iterator[tuple[kernels.Tile, kernels.LabeledScores, Findings]]:
    """Scores of a labelled block, tile by tile."""
    for checked in checked_tiles(block, keep_faulty=on_invalid == "keep"):
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
    """ActiveLab scores of a labelled block, (n,)."""
    tiles = labeled_tiles(block, rule, on_invalid)
    return joined((scores.score for _, scores, _ in tiles), block)


def unlabeled_tiles(
    block: Block,
    temperature: Floats | None,
    model_weight: Floats,
    mean_weight: float,
    on_invalid: str,
) -> Iterator[tuple[Floats, Findings]]:
    """Scores of a block of the pool, tile by tile."""
    for start, stop in row_bounds(block):
        probs, findings, faulty, plain = checked_pool(block, start, stop)
        if on_invalid == "raise":
            raise_invalid(findings)
        if len(faulty) and on_invalid == "nan":
            probs[:, :, faulty] = 1 / probs.shape[1]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            score = kernels.score_unlabeled(
                probs, temperature, model_weight, mean_weight, plain=plain
            )
        if len(faulty) and on_invalid == "nan":
            score[faulty] = np.nan
        yield score, findings


def score_unlabeled_block(
    block: Block,
    *,
    temperature: Floats | None,
    model_weight: Floats,
    mean_weight: float,
    on_invalid: str,
) -> Floats:
    """ActiveLab scores of a block of the pool, (n,)."""
    tiles = unlabeled_tiles(block, temperature, model_weight, mean_weight, on_invalid)
    return joined((score for score, _ in tiles), block)


def candidates_of_block(
    block: Block, *, size: int, max_annotations: int | None = None
) -> Candidates:
    """The smallest of a block of scores, with the annotations of each row where they are known.

    Rows that have ``max_annotations`` already are left out.
    """
    scores: NDArray[np.float64] = np.asarray(block.probs[0], dtype=np.float64)
    if len(block.probs) == 1:
        return Candidates(Smallest.from_block(scores, block.first_row, size), Smallest.zero(size))
    rows = np.arange(block.first_row, block.first_row + len(scores))
    num: NDArray[np.integer] = np.asarray(block.probs[1], dtype=np.int64)
    voted = num > 0
    if max_annotations is not None:
        voted &= num < max_annotations
    bare = num <= 0
    return Candidates(
        Smallest.from_scores(scores[voted], rows[voted], size),
        Smallest.from_scores(scores[bare], rows[bare], size),
    )


def findings_of_block(block: Block) -> Findings:
    """What is wrong in a block, labelled or of the pool, and nothing else."""
    if block.labels is not None:
        return functools.reduce(
            Findings.merge, (checked.findings for checked in checked_tiles(block)), Findings()
        )
    found = (checked_pool(block, *bounds).findings for bounds in row_bounds(block))
    return functools.reduce(Findings.merge, found, Findings())


# --- blocks to a store ------------------------------------------------------------------------

# Columns of a result store, and their types.
LABELED_COLUMNS = {
    "score": "float64",
    "consensus_label": "int32",
    "consensus_quality_score": "float64",
    "annotator_agreement": "float64",
    "num_annotations": "int32",
}
UNLABELED_COLUMNS = {"score": "float64"}


class Writer(Protocol):
    """Takes the columns of some rows."""

    def write(self, start: int, stop: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Write rows ``start:stop``."""


def store_labeled_block(
    block: Block, *, rule: Rule, on_invalid: str, writer: Writer, batch_size: int
) -> LabeledTally:
    """Score a labelled block, write its columns, and return its tally."""
    num_annotators = len(rule.tie_break.agreement)
    first, num_rows = block.first_row, block.probs[0].shape[0]
    columns = {name: np.empty(num_rows, dtype) for name, dtype in LABELED_COLUMNS.items()}

    def tallies() -> Iterator[LabeledTally]:
        # Faults of a run are merged over all blocks before they are raised.
        policy = "nan" if on_invalid == "raise" else on_invalid
        for tile, scores, findings in labeled_tiles(block, rule, policy):
            found = {**scores._asdict(), "num_annotations": tile.num_annotations}
            start = int(tile.global_rows[0]) - first
            for name, column in columns.items():
                column[start : start + len(scores.score)] = found[name]
            yield LabeledTally.from_tile(tile, scores, findings, batch_size, num_annotators)

    tally = merge_in_pairs(tallies(), LabeledTally.zero(batch_size, num_annotators))
    if num_rows:
        writer.write(first, first + num_rows, columns)
    return tally


def store_unlabeled_block(
    block: Block,
    *,
    temperature: Floats | None,
    model_weight: Floats,
    mean_weight: float,
    on_invalid: str,
    writer: Writer,
    batch_size: int,
) -> PoolTally:
    """Score a block of the pool, write its scores, and return its tally."""
    policy = "nan" if on_invalid == "raise" else on_invalid
    found: list[Findings] = []

    def tiles() -> Iterator[Floats]:
        for score, findings in unlabeled_tiles(
            block, temperature, model_weight, mean_weight, policy
        ):
            found.extend([findings] if findings else [])
            yield score

    scores = joined(tiles(), block)
    if len(scores):
        writer.write(block.first_row, block.first_row + len(scores), {"score": scores})
    findings = functools.reduce(Findings.merge, found, Findings())
    return PoolTally.from_scores(scores, block.first_row, batch_size, findings)
