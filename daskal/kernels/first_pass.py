"""Pass 1 over a block: statistics of labels, and of a consensus.

Axes: p models, n rows, k classes, m annotators, v votes, t temperatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.consensus import (
    clear_leader,
    count_votes,
    find_largest,
    find_tied,
    take_consensus,
)
from daskal.kernels.known import NOTHING_KNOWN, KnownRows, known_rows, without_gold
from daskal.kernels.lanes import Marks, Room, Rows, first_largest, load_scaled
from daskal.kernels.temperature_curve import LIMB_BITS, add_losses
from daskal.kernels.tiles import Tile, take_tiles
from daskal.method.findings import Findings
from daskal.method.states import ConsensusStatistics, LabelStatistics, PendingRows
from daskal.method.temperature import (
    COARSE_PLACES,
    PLACES,
    TEMPERATURE_GRID,
    LossSums,
    likely_places,
)
from daskal.method.values import NO_FAULTS, Block, Floats, Ints, Rule, SparseLabels

# Rows of a block from which its best temperature is guessed, and how many of them must have votes.
SAMPLE_ROWS = 512
LEAST_SAMPLE = 128
# Where many classes share a read, one that is guessed wrong in one block has all data read again.
SHARED_SAMPLE_ROWS = 2048

# --- counts ----------------------------------------------------------------------------------

# Columns of the counts of each annotator.
VOTES, AGREEING_PAIRS, PAIRS, UNTIED_AGREEING, UNTIED = range(5)


class VoteCounts(NamedTuple):
    """Votes, and their agreement with others."""

    by_annotator: Ints  # (m, 5)
    by_class: Ints  # (k,)

    @classmethod
    def zero(cls, num_annotators: int, num_classes: int) -> VoteCounts:
        """Return counts of nothing."""
        by_annotator = np.zeros((num_annotators, UNTIED + 1), dtype=np.int64)
        return cls(by_annotator, np.zeros(num_classes, dtype=np.int64))


class ConsensusCounts(NamedTuple):
    """How votes and models stand to a consensus, over the rows with at least two votes."""

    agreeing: Ints  # (m + 1,) votes equal to the consensus, by the row's number of votes
    labels: Ints  # (k,) rows of each consensus label
    model_errors: Ints  # (p,)
    model_choices: Ints  # (p, k) rows by the class that each model gives
    most_votes: Ints  # (1,) of any row

    @classmethod
    def zero(cls, num_models: int, num_classes: int, num_annotators: int) -> ConsensusCounts:
        """Return counts of nothing."""
        by_model = (num_models, num_classes)
        sizes = (num_annotators + 1, num_classes, num_models, by_model, 1)
        return cls(*(np.zeros(size, dtype=np.int64) for size in sizes))

    def statistics(self) -> ConsensusStatistics:
        """Return the counts as a state."""
        agreeing = self.agreeing[: int(self.most_votes[0]) + 1].copy()
        return ConsensusStatistics(agreeing, self.labels, self.model_errors, self.model_choices)


@compiled
def count_consensus(
    rows: Rows, start: int, num: int, lanes: Floats, counts: ConsensusCounts, room: Room
) -> None:
    """Count how rows in (p, k, l) lanes stand to their consensus labels, -1 for unknown ones.

    Their votes are counted in ``room.counts``.
    """
    labels, best = room.labels, room.best
    for at in range(num):
        votes = rows.offsets[start + at + 1] - rows.offsets[start + at]
        counts.most_votes[0] = max(counts.most_votes[0], votes)
        if votes < 2:
            labels[at] = -1
        if labels[at] >= 0:
            counts.labels[labels[at]] += 1
            counts.agreeing[votes] += np.int64(room.counts[labels[at], at])
    for p in range(len(lanes)):
        first_largest(lanes[p], room.most, best)
        for at in range(num):
            if labels[at] >= 0:
                counts.model_errors[p] += best[at] != labels[at]
                counts.model_choices[p, best[at]] += 1


@compiled
def add_consensus(rows: Rows, known: Ints, rule: Rule, counts: ConsensusCounts, room: Room) -> None:
    """Count how votes and models stand to the consensus of some rows under a rule.

    ``known`` are the rows' known classes, -1 for none, or is empty.
    """
    for group in range(len(rows.lanes)):
        start, num = load_scaled(rows, group, rule.inverse, room)
        take_consensus(rows, start, num, rule, room)
        for at in range(num if len(known) else 0):
            if known[start + at] >= 0:
                room.labels[at] = known[start + at]
        count_consensus(rows, start, num, room.lanes, counts, room)


@compiled
def add_labels(
    rows: Rows,
    known: Ints,
    votes: VoteCounts,
    pending: Marks,
    counts: ConsensusCounts,
    room: Room,
) -> None:
    """Count the votes of some rows, and how they stand to the majority vote or the known class.

    Rows whose majority vote the probabilities leave open are marked as ``pending``, (n,).
    """
    num_lanes, labels = rows.lanes.shape[3], room.labels
    for group in range(len(rows.lanes)):
        start, lanes = group * num_lanes, rows.lanes[group]
        num = min(num_lanes, len(rows.odd) - start)
        count_votes(rows, start, num, rows.classes, room.counts)
        find_largest(room.counts, 0.0, room)
        for at in range(num):
            i = start + at
            labels[at] = room.best[at]
            if len(known) > 0 and known[i] >= 0:
                labels[at] = known[i]
            elif room.near[at] != 1.0 and rows.offsets[i] < rows.offsets[i + 1]:
                labels[at] = clear_leader(lanes, at, room.tied, find_tied(rows, i, at, room))
                pending[i] = labels[at] < 0
        add_votes(rows, start, num, known, votes, room)
        count_consensus(rows, start, num, lanes, counts, room)


@compiled
def add_votes(rows: Rows, start: int, num: int, known: Ints, votes: VoteCounts, room: Room) -> None:
    """Count votes, and how many others of their row agree with each.

    A known class, which is its row's label, stands for what all others answered.
    """
    for v in range(rows.offsets[start], rows.offsets[start + num]):
        i, k = rows.row_of[v], rows.classes[v]
        at, others = i - start, rows.offsets[i + 1] - rows.offsets[i] - 1
        is_known = len(known) > 0 and known[i] >= 0
        right, untied = k == room.labels[at], is_known or room.near[at] == 1.0
        of_one = votes.by_annotator[rows.annotators[v]]
        of_one[VOTES] += 1
        of_one[AGREEING_PAIRS] += right * others if is_known else np.int64(room.counts[k, at]) - 1
        of_one[PAIRS] += others
        of_one[UNTIED_AGREEING] += untied and right
        of_one[UNTIED] += untied
        votes.by_class[k] += 1


# --- the first read ---------------------------------------------------------------------------


def label_statistics(
    block: Block,
    *,
    num_annotators: int,
    miscount: bool = False,
    fit: bool = True,
    guess: bool = True,
    use_gold: bool = False,
    on_invalid: str = "raise",
    sharing: int = 1,
) -> LabelStatistics:
    """Return the statistics of a block that the first read gives.

    ``miscount`` counts labels for the temperature as cleanlab does, ``fit`` says whether it is
    wanted at all, and ``guess`` whether temperatures may be left out that look far from the best by
    the first rows. As many classes as ``sharing`` says share the read, and the room for rows
    whose majority vote waits for the temperature. With ``use_gold`` the block's last array are
    known classes, which are held fixed.
    """
    block, beside = without_gold(block) if use_gold else (block, None)
    num_models, num_classes = len(block.probs), block.probs[0].shape[1]
    if not len(block.probs[0]):
        return LabelStatistics.zero(num_models, num_annotators, num_classes)
    counts = ConsensusCounts.zero(num_models, num_classes, num_annotators)
    voted = VoteCounts.zero(num_annotators, num_classes)
    num = np.zeros(4, dtype=np.int64)  # rows, those with a vote, with several, of known class
    pending = PendingRows.zero(num_models, num_classes, sharing)
    findings = Findings()
    curve = Curve(num_models, PLACES if fit else ())
    for tile in take_tiles(block, on_invalid=on_invalid, miscount=miscount):
        gold = gold_beside(beside, tile)
        tile = told(tile, gold.classes)
        if fit and guess and not num[0]:
            sample = SAMPLE_ROWS if sharing == 1 else SHARED_SAMPLE_ROWS
            curve = Curve(num_models, guess_places(tile, sample) or PLACES)
        curve.add(tile, len(tile))
        left = tile.scratch.take_zeros("pending", len(tile), dtype=np.uint8)
        add_labels(tile.rows, gold.classes, voted, left, counts, tile.room)
        votes = tile.num_annotations
        # Without gold, the known classes are empty.
        known = (gold.classes >= 0) & (votes[: len(gold.classes)] > 0)
        many = votes > 0, votes > 1, known
        num += np.array([len(votes), *map(np.count_nonzero, many)])
        if left.any():
            pending = pending.merge(pending_rows(tile, np.flatnonzero(left)))
        findings = findings.merge(tile.findings).merge(gold.findings)
    num_examples, num_labeled, num_multiple, num_gold = num.tolist()
    columns = voted.by_annotator.T.copy()
    return LabelStatistics(
        num_examples=num_examples,
        num_labeled=num_labeled,
        num_multiple=num_multiple,
        votes=columns[VOTES],
        agreeing_pairs=columns[AGREEING_PAIRS],
        pairs=columns[PAIRS],
        untied_agreeing=columns[UNTIED_AGREEING],
        untied=columns[UNTIED],
        class_counts=voted.by_class,
        losses=curve.losses(),
        fitted=tuple(num_labeled if place in curve.places else 0 for place in PLACES),
        undefined=curve.undefined,
        consensus=counts.statistics(),
        pending=pending,
        findings=findings,
        num_gold=num_gold,
    )


def gold_beside(beside: Block | None, tile: Tile) -> KnownRows:
    """Return the known classes of a tile's rows, none where there is no block of them."""
    if beside is None:
        return NOTHING_KNOWN
    return known_rows(beside, tile.place, tile.rows.lanes.shape[2])


def told(tile: Tile, known: Ints) -> Tile:
    """Return a tile whose votes count for the temperature as the known class of their row."""
    if not len(known):
        return tile
    by_vote = known[tile.rows.row_of]
    return tile.counting(np.where(by_vote >= 0, by_vote, tile.rows.counted).astype(np.int32))


class Curve:
    """The losses of each model at some places of the grid, as they are summed."""

    def __init__(self, num_models: int, places: Sequence[int]) -> None:
        """Begin with no rows."""
        self.places = places
        self.temperatures = read_only(TEMPERATURE_GRID[list(places)])
        self.sums = np.zeros((num_models, len(places), 2), dtype=np.int64)
        self.ratios = np.zeros((num_models, 2), dtype=np.int64)
        self.undefined = np.zeros(num_models, dtype=np.int64)

    def add(self, tile: Tile, num_rows: int) -> None:
        """Add the first rows of a tile."""
        for p in range(len(self.sums) if self.places else 0):
            self.undefined[p] += add_losses(
                tile.rows, p, num_rows, self.temperatures, self.sums[p], self.ratios[p], tile.room
            )

    def losses(self) -> tuple[LossSums, ...]:
        """Return the sums of each model."""
        found = []
        for limbs, ratio in zip(self.sums.tolist(), self.ratios.tolist(), strict=True):
            totals = [0] * len(PLACES)
            for place, pair in zip(self.places, limbs, strict=True):
                totals[place] = joined(*pair)
            found.append(LossSums(tuple(totals), joined(*ratio)))
        return tuple(found)


def joined(high: int, low: int) -> int:
    """Return a number of two limbs."""
    return (high << LIMB_BITS) + low


def guess_places(tile: Tile, sample_rows: int) -> tuple[int, ...]:
    """Return places of the grid that the search will compare, judging by a tile's first rows.

    None where too few of them have votes, or one of them is at fault.
    """
    num_rows = min(sample_rows, len(tile))
    num_labeled = np.count_nonzero(tile.num_annotations[:num_rows])
    if num_labeled < LEAST_SAMPLE or (tile.faulty < num_rows).any():
        return ()
    curve = Curve(len(tile.room.lanes), COARSE_PLACES)
    curve.add(tile, num_rows)
    return likely_places([model.losses for model in curve.losses()])


# --- a consensus ------------------------------------------------------------------------------


def consensus_statistics(
    block: Block, *, rule: Rule, use_gold: bool = False, on_invalid: str = "raise"
) -> ConsensusStatistics:
    """Return the statistics of a block under the rule's consensus, and the known classes."""
    block, beside = without_gold(block) if use_gold else (block, None)
    tiles = take_tiles(block, on_invalid=on_invalid, miscount=rule.miscount)
    return count_tiles(tiles, rule, len(block.probs), block.probs[0].shape[1], beside)


def statistics_of_pending(pending: PendingRows, rule: Rule) -> ConsensusStatistics:
    """Return the consensus statistics of pending rows, now that the rule can decide them."""
    tiles = pending_tiles(pending, miscount=rule.miscount)
    return count_tiles(tiles, rule, *pending.probs.shape[1:])


def count_tiles(
    tiles: Iterable[Tile],
    rule: Rule,
    num_models: int,
    num_classes: int,
    beside: Block | None = None,
) -> ConsensusStatistics:
    """Return the statistics of several tiles under the rule's consensus."""
    counts = ConsensusCounts.zero(num_models, num_classes, len(rule.tie_break.agreement))
    prepared, any_rows = read_only(rule), False
    for tile in tiles:
        any_rows = True
        known = gold_beside(beside, tile).classes
        add_consensus(tile.rows, known, prepared, counts, tile.room)
    return counts.statistics() if any_rows else ConsensusStatistics.zero(num_models, num_classes)


# --- pending rows -----------------------------------------------------------------------------


def pending_rows(tile: Tile, chosen: Ints) -> PendingRows:
    """Return some rows of a tile, by their numbers within it."""
    rows, votes = tile.rows, tile.num_annotations
    at = np.flatnonzero(np.isin(rows.row_of, chosen))
    group, lane = np.divmod(chosen, rows.lanes.shape[3])
    probs = rows.lanes[group, :, :, lane]
    return PendingRows(
        count=len(chosen),
        size=probs.size + 2 * len(at),
        index=rows.global_rows[chosen],
        offsets=np.concatenate([[0], np.cumsum(votes[chosen])]),
        annotators=rows.annotators[at].astype(np.int64),
        classes=rows.classes[at].astype(np.int64),
        probs=probs,
    )


def pending_tiles(pending: PendingRows, *, miscount: bool) -> Iterator[Tile]:
    """Yield pending rows as tiles again."""
    labels = SparseLabels(pending.offsets, pending.annotators, pending.classes, *NO_FAULTS)
    block = Block(labels, list(pending.probs.transpose(1, 0, 2)), 0)
    # A row at fault is pending only where it is kept.
    for tile in take_tiles(block, on_invalid="keep", miscount=miscount):
        tile.rows.global_rows[:] = pending.index[tile.place]
        yield tile
