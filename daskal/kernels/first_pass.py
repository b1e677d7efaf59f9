"""Pass 1 over a block: statistics of labels, and of a consensus."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.kernels import calibration
from daskal.kernels.consensus import clear_leader, take_consensus
from daskal.kernels.tiles import (
    CheckedTile,
    Tile,
    at_class,
    checked_tiles,
    count_true,
    first_largest,
    first_true,
    make_tile,
    miscounted_cells,
    tile_rows,
)
from daskal.method.states import ConsensusStatistics, LabelStatistics, PendingRows
from daskal.method.temperature import PLACES, LossSums, likely_places
from daskal.method.values import Block, Floats, Ints, Rule

# Rows of a tile from which the best temperature of its block is guessed, and how many of them must
# have votes.
SAMPLE_ROWS = 512
LEAST_SAMPLE = 128

# Bits of a float64's exact integers.
EXACT_BITS = 53

# --- the first read ---------------------------------------------------------------------------


def label_statistics(
    block: Block,
    *,
    num_annotators: int,
    miscount: bool = False,
    fit: bool = True,
    guess: bool = True,
    on_invalid: str = "raise",
) -> LabelStatistics:
    """Return the statistics of a block that the first read gives.

    ``miscount`` counts labels for the temperature as cleanlab does, ``fit`` says whether it is
    wanted at all, and ``guess`` whether temperatures may be left out that look far from the best by
    the first ``SAMPLE_ROWS`` rows.
    """
    places = PLACES if fit else ()
    state = None
    for checked in checked_tiles(block, on_invalid=on_invalid):
        likely = guess_places(checked, miscount) if fit and guess else ()
        if likely:
            places, guess = likely, False
        found = label_statistics_of_tile(
            checked, num_annotators=num_annotators, miscount=miscount, places=places
        )
        state = found if state is None else state.merge(found)
    if state is None:
        return LabelStatistics.zero(len(block.probs), num_annotators, block.probs[0].shape[1])
    return state


def label_statistics_of_tile(
    checked: CheckedTile, *, num_annotators: int, miscount: bool, places: Sequence[int]
) -> LabelStatistics:
    """Return the statistics of one tile; the temperature's at ``places`` of the grid."""
    tile = checked.tile
    num, rows, counts = tile.num_annotations, tile.rows, tile.counts
    tied = counts == counts.max(axis=0)
    num_tied = count_true(tied)
    majority = first_true(tied)
    untied = num_tied == 1
    # An annotator has at most one vote a row.
    untied_agreeing, untied_votes, votes = sum_together(
        tile.annotators,
        [
            tile.classes == np.where(untied, majority, -1).take(rows),
            untied.take(rows),
            np.ones(len(rows)),
        ],
        len(num),
        num_annotators,
    )
    agreeing_pairs, pairs = sum_together(
        tile.annotators,
        [counts.reshape(-1).take(tile.cells) - 1, (num - 1).take(rows)],
        len(num) * int(num.max(initial=0)),
        num_annotators,
    )
    # A row with one vote is never tied, so every pending row has several.
    left = np.flatnonzero((num_tied > 1) & (num > 0))
    if len(left):
        clear = clear_leader(tied.take(left, axis=1), tile.probs.take(left, axis=2))
        majority[left] = clear.argmax(axis=0)
        left = left[clear.sum(axis=0) > 1]
    num_labeled = int(np.count_nonzero(num))
    losses, undefined = tile_losses(checked, miscount, places)
    return LabelStatistics(
        num_examples=len(num),
        num_labeled=num_labeled,
        num_multiple=int(np.count_nonzero(num > 1)),
        votes=votes,
        agreeing_pairs=agreeing_pairs,
        pairs=pairs,
        untied_agreeing=untied_agreeing,
        untied=untied_votes,
        class_counts=counts.sum(axis=1),
        losses=losses,
        fitted=tuple(num_labeled if place in places else 0 for place in PLACES),
        undefined=undefined,
        consensus=consensus_statistics_of_tile(tile, majority, tile.probs, left),
        pending=pending_rows(tile, left),
        findings=checked.findings,
    )


def sum_together(
    groups: NDArray[np.integer], counts: Sequence[NDArray[Any]], most: int, num_groups: int
) -> list[Ints]:
    """Sums by group of several counts, none of which sums to more than ``most``, in a single run.

    They share the exact integers of a float64, if they fit.
    """
    bits = EXACT_BITS // len(counts)
    if most >> bits:
        return [np.bincount(groups, values, num_groups).astype(np.int64) for values in counts]
    *rest, last = counts
    packed = last.astype(np.float64)
    for values in reversed(rest):
        packed *= 2**bits
        packed += values
    sums = np.bincount(groups, packed, num_groups).astype(np.int64)
    return [sums >> (bits * place) & (2**bits - 1) for place in range(len(counts))]


def guess_places(checked: CheckedTile, miscount: bool) -> tuple[int, ...]:
    """Places of the grid that the search will compare, judging by a tile's first rows.

    Empty where too few of them have votes, or one of them is at fault.
    """
    tile = checked.tile
    num_rows = min(SAMPLE_ROWS, len(tile.num_annotations))
    num_votes = int(np.searchsorted(tile.rows, num_rows))
    sample = make_tile(
        tile.probs[:, :, :num_rows],
        tile.rows[:num_votes],
        tile.annotators[:num_votes],
        tile.classes[:num_votes],
        tile.global_rows[:num_rows],
    )
    if np.count_nonzero(sample.num_annotations) < LEAST_SAMPLE or (checked.faulty < num_rows).any():
        return ()
    cells = miscounted_cells(sample) if miscount else sample.cells
    ratios = [calibration.ratios_to_largest(probs) for probs in sample.probs]
    return likely_places([calibration.rough_losses(model, sample, cells) for model in ratios])


def tile_losses(
    checked: CheckedTile, miscount: bool, places: Sequence[int]
) -> tuple[tuple[LossSums, ...], Ints]:
    """Losses of each model at ``places`` of the grid, and the rows of each that have none."""
    tile = checked.tile
    undefined = np.zeros(len(tile.probs), dtype=np.int64)
    if not places:
        return (LossSums(),) * len(tile.probs), undefined
    losses = []
    for model, probs in enumerate(tile.probs):
        # A NaN that is kept counts as zero here.
        ratios = calibration.ratios_to_largest(np.fmax(probs, 0) if len(checked.faulty) else probs)
        fitted = tile
        if len(checked.faulty):
            unfit = np.logical_or.reduce(np.isnan(ratios), axis=0)
            undefined[model] = np.count_nonzero(unfit & (tile.num_annotations > 0))
            fitted = tile.without_votes(unfit)
        cells = miscounted_cells(fitted) if miscount else fitted.cells
        losses.append(calibration.loss_sums(ratios, fitted, cells, places))
    return tuple(losses), undefined


# --- a consensus ------------------------------------------------------------------------------


def consensus_statistics(
    block: Block, *, rule: Rule, on_invalid: str = "raise"
) -> ConsensusStatistics:
    """Return the statistics of a block under the rule's consensus."""
    zero = ConsensusStatistics.zero(len(block.probs), block.probs[0].shape[1])
    tiles = (checked.tile for checked in checked_tiles(block, on_invalid=on_invalid))
    return merge_tiles(tiles, rule, zero)


def statistics_of_pending(pending: PendingRows, rule: Rule) -> ConsensusStatistics:
    """Return the consensus statistics of pending rows, now that the rule can decide them."""
    zero = ConsensusStatistics.zero(*pending.probs.shape[1:])
    return merge_tiles(pending_tiles(pending), rule, zero)


def merge_tiles(
    tiles: Iterator[Tile], rule: Rule, zero: ConsensusStatistics
) -> ConsensusStatistics:
    """Return the statistics of several tiles under the rule's consensus."""
    none = np.empty(0, dtype=np.int64)
    parts = (
        consensus_statistics_of_tile(tile, *take_consensus(tile, rule), none) for tile in tiles
    )
    return functools.reduce(ConsensusStatistics.merge, parts, zero)


def consensus_statistics_of_tile(
    tile: Tile, labels: Ints, scaled: Floats, left_out: Ints
) -> ConsensusStatistics:
    """Return the statistics of a tile whose consensus is known but for the rows ``left_out``."""
    multiple = tile.num_annotations >= 2
    multiple[left_out] = False
    agreeing = at_class(tile.counts, labels) * multiple
    chosen = np.stack([first_largest(model)[multiple] for model in scaled])
    return ConsensusStatistics(
        agreeing=np.bincount(tile.num_annotations, agreeing).astype(np.int64),
        consensus_counts=np.bincount(labels[multiple], minlength=len(tile.counts)),
        model_errors=np.count_nonzero(chosen != labels[multiple], axis=1),
        model_choices=np.stack(
            [np.bincount(choice, minlength=len(tile.counts)) for choice in chosen]
        ),
    )


# --- pending rows -----------------------------------------------------------------------------


def pending_rows(tile: Tile, columns: Ints) -> PendingRows:
    """Return the given columns of a tile."""
    if not len(columns):
        return PendingRows.zero(*tile.probs.shape[:2])
    chosen = np.zeros(len(tile.num_annotations), dtype=bool)
    chosen[columns] = True
    at = np.flatnonzero(chosen[tile.rows])
    offsets = np.concatenate([[0], np.cumsum(tile.num_annotations[columns])])
    probs = np.ascontiguousarray(tile.probs[:, :, columns].transpose(2, 0, 1))
    size = probs.size + 2 * len(at)
    annotators = tile.annotators[at].astype(np.int64)
    return PendingRows(
        count=len(columns),
        size=size,
        index=tile.global_rows[columns],
        offsets=offsets,
        annotators=annotators,
        classes=tile.classes[at],
        probs=probs,
    )


def pending_tiles(pending: PendingRows) -> Iterator[Tile]:
    """Yield pending rows as tiles again."""
    num_models, num_classes = pending.probs.shape[1:]
    step = tile_rows(num_models, num_classes)
    for start in range(0, len(pending.index), step):
        stop = min(start + step, len(pending.index))
        first, last = pending.offsets[start], pending.offsets[stop]
        num = np.diff(pending.offsets[start : stop + 1])
        yield make_tile(
            np.ascontiguousarray(pending.probs[start:stop].transpose(1, 2, 0)),
            np.repeat(np.arange(stop - start), num),
            pending.annotators[first:last],
            pending.classes[first:last],
            pending.index[start:stop],
        )
