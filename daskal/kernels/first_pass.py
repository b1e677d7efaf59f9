"""Pass 1 over a block: statistics of labels, and of a consensus.

Axes: p models, n rows, k classes, m annotators, v votes, t temperatures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from daskal.kernels.compiling import read_only
from daskal.kernels.consensus import prepare_rule
from daskal.kernels.label_counts import (
    AGREEING_PAIRS,
    PAIRS,
    UNTIED,
    UNTIED_AGREEING,
    VOTES,
    ConsensusCounts,
    add_consensus,
    add_labels,
    make_counts,
)
from daskal.kernels.temperature_curve import LIMB_BITS, add_losses
from daskal.kernels.tiles import (
    NO_ROWS,
    Tile,
    counted_classes,
    freeze,
    labeled_tiles,
    tile_rows,
)
from daskal.method.findings import Findings
from daskal.method.states import ConsensusStatistics, LabelStatistics, PendingRows
from daskal.method.temperature import (
    COARSE_PLACES,
    PLACES,
    TEMPERATURE_GRID,
    LossSums,
    likely_places,
)
from daskal.method.values import Block, Floats, Ints, Rule

# Rows of a block from which its best temperature is guessed, and how many of them must have votes.
SAMPLE_ROWS = 512
LEAST_SAMPLE = 128

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
    num_models, num_classes = len(block.probs), block.probs[0].shape[1]
    if not len(block.probs[0]):
        return LabelStatistics.zero(num_models, num_annotators, num_classes)
    counts = make_counts(num_models, num_classes, num_annotators)
    by_annotator = np.zeros((num_annotators, UNTIED + 1), dtype=np.int64)
    class_counts = np.zeros(num_classes, dtype=np.int64)
    num = np.zeros(3, dtype=np.int64)  # rows, those with a vote, those with several
    pending = PendingRows.zero(num_models, num_classes)
    findings = Findings()
    places = PLACES if fit else ()
    curve: Curve | None = None
    for tile in labeled_tiles(block, on_invalid=on_invalid):
        if curve is None:
            if fit and guess:
                places = guess_places(tile, miscount) or places
            curve = Curve(num_models, places, miscount)
        curve.add(tile, len(tile))
        left = np.zeros(len(tile), dtype=np.uint8)
        add_labels(tile.probs, tile.votes, tile.odd, by_annotator, class_counts, left, counts)
        votes = tile.num_annotations
        num += np.array([len(votes), np.count_nonzero(votes), np.count_nonzero(votes > 1)])
        pending = pending.merge(pending_rows(tile, np.flatnonzero(left)))
        findings = findings.merge(tile.findings)
    assert curve is not None
    num_labeled = int(num[1])
    return LabelStatistics(
        num_examples=int(num[0]),
        num_labeled=num_labeled,
        num_multiple=int(num[2]),
        votes=by_annotator[:, VOTES].copy(),
        agreeing_pairs=by_annotator[:, AGREEING_PAIRS].copy(),
        pairs=by_annotator[:, PAIRS].copy(),
        untied_agreeing=by_annotator[:, UNTIED_AGREEING].copy(),
        untied=by_annotator[:, UNTIED].copy(),
        class_counts=class_counts,
        losses=curve.losses(),
        fitted=tuple(num_labeled if place in places else 0 for place in PLACES),
        undefined=curve.undefined,
        consensus=consensus_of(counts),
        pending=pending,
        findings=findings,
    )


class Curve:
    """The losses of each model at some places of the grid, as they are summed."""

    def __init__(self, num_models: int, places: Sequence[int], miscount: bool) -> None:
        """Begin with no rows."""
        self.places, self.miscount = places, miscount
        self.temperatures = read_only(TEMPERATURE_GRID[list(places)])
        self.sums = np.zeros((num_models, len(places), 2), dtype=np.int64)
        self.ratios = np.zeros((num_models, 1, 2), dtype=np.int64)
        self.undefined = np.zeros(num_models, dtype=np.int64)

    def add(self, tile: Tile, num_rows: int) -> None:
        """Add the first rows of a tile."""
        if not self.places:
            return
        votes = tile.votes._replace(offsets=tile.votes.offsets[: num_rows + 1])
        counted = counted_classes(votes, tile.probs.shape[2], miscount=self.miscount)
        for p, probs in enumerate(tile.probs):
            self.undefined[p] += add_losses(
                probs[:num_rows], votes, counted, tile.odd, self.temperatures,
                self.sums[p], self.ratios[p],
            )  # fmt: skip

    def losses(self) -> tuple[LossSums, ...]:
        """Return the sums of each model."""
        found = []
        for limbs, (ratio,) in zip(self.sums.tolist(), self.ratios.tolist(), strict=True):
            totals = [0] * len(PLACES)
            for place, pair in zip(self.places, limbs, strict=True):
                totals[place] = joined(*pair)
            found.append(LossSums(tuple(totals), joined(*ratio)))
        return tuple(found)


def joined(high: int, low: int) -> int:
    """Return a number of two limbs."""
    return (high << LIMB_BITS) + low


def guess_places(tile: Tile, miscount: bool) -> tuple[int, ...]:
    """Return places of the grid that the search will compare, judging by a tile's first rows.

    None where too few of them have votes, or one of them is at fault.
    """
    num_rows = min(SAMPLE_ROWS, len(tile))
    num_labeled = np.count_nonzero(tile.num_annotations[:num_rows])
    if num_labeled < LEAST_SAMPLE or (tile.faulty < num_rows).any():
        return ()
    curve = Curve(len(tile.probs), COARSE_PLACES, miscount)
    curve.add(tile, num_rows)
    return likely_places([model.losses for model in curve.losses()])


# --- a consensus ------------------------------------------------------------------------------


def consensus_of(counts: ConsensusCounts) -> ConsensusStatistics:
    """Return what was counted as a state."""
    agreeing = counts.agreeing[: int(counts.most_votes[0]) + 1].copy()
    return ConsensusStatistics(agreeing, counts.labels, counts.model_errors, counts.model_choices)


def consensus_statistics(
    block: Block, *, rule: Rule, on_invalid: str = "raise"
) -> ConsensusStatistics:
    """Return the statistics of a block under the rule's consensus."""
    num_models, num_classes = len(block.probs), block.probs[0].shape[1]
    return count_tiles(labeled_tiles(block, on_invalid=on_invalid), rule, num_models, num_classes)


def statistics_of_pending(pending: PendingRows, rule: Rule) -> ConsensusStatistics:
    """Return the consensus statistics of pending rows, now that the rule can decide them."""
    return count_tiles(pending_tiles(pending), rule, *pending.probs.shape[1:])


def count_tiles(
    tiles: Iterator[Tile], rule: Rule, num_models: int, num_classes: int
) -> ConsensusStatistics:
    """Return the statistics of several tiles under the rule's consensus."""
    counts = make_counts(num_models, num_classes, len(rule.tie_break.agreement))
    prepared = prepare_rule(rule, num_models)
    any_rows = False
    for tile in tiles:
        any_rows = True
        counted = counted_classes(tile.votes, num_classes, miscount=rule.miscount)
        add_consensus(tile.probs, tile.votes, counted, tile.odd, prepared, tile.global_rows, counts)
    return consensus_of(counts) if any_rows else ConsensusStatistics.zero(num_models, num_classes)


# --- pending rows -----------------------------------------------------------------------------


def pending_rows(tile: Tile, rows: Ints) -> PendingRows:
    """Return some rows of a tile, by their numbers within it."""
    num_models, _, num_classes = tile.probs.shape
    if not len(rows):
        return PendingRows.zero(num_models, num_classes)
    votes = tile.num_annotations
    chosen = np.zeros(len(tile), dtype=bool)
    chosen[rows] = True
    at = np.flatnonzero(np.repeat(chosen, votes))
    probs: Floats = np.ascontiguousarray(tile.probs[:, rows].transpose(1, 0, 2))
    return PendingRows(
        count=len(rows),
        size=probs.size + 2 * len(at),
        index=tile.global_rows[rows],
        offsets=np.concatenate([[0], np.cumsum(votes[rows])]),
        annotators=tile.votes.annotators[at].astype(np.int64),
        classes=tile.votes.classes[at].astype(np.int64),
        probs=probs,
    )


def pending_tiles(pending: PendingRows) -> Iterator[Tile]:
    """Yield pending rows as tiles again, of consecutive rows each."""
    num_models, num_classes = pending.probs.shape[1:]
    step = tile_rows(num_models, num_classes)
    for start in range(0, len(pending.index), step):
        rows = slice(start, min(start + step, len(pending.index)))
        offsets = pending.offsets[rows.start : rows.stop + 1]
        given = slice(offsets[0], offsets[-1])
        annotators, classes = pending.annotators[given], pending.classes[given]
        # A row whose probabilities are at fault is pending where it is kept: all are looked at.
        odd = np.ones(rows.stop - rows.start, dtype=np.uint8)
        yield Tile(
            read_only(pending.probs[rows].transpose(1, 0, 2)),
            freeze(offsets - offsets[0], annotators, classes),
            read_only(odd, np.uint8),
            read_only(pending.index[rows], np.int64),
            Findings(),
            NO_ROWS,
        )
