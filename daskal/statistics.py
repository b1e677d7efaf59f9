"""Mergeable statistics of a block of rows: ``zero``, ``from_block``, ``merge``.

Every field is an integer, a sum of integers, or a list kept in row order, so that merging is exact,
associative and commutative: one block, many blocks and any tree of merges end in the same state.
``functools.reduce(merge, map(from_block, blocks))`` is the whole of a pass without an engine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal import calibration, kernels
from daskal.calibration import LossSums
from daskal.findings import LABEL_FAULTS, PROB_FAULTS, Findings
from daskal.kernels import Floats, Ints, Rule, Tile
from daskal.votes import LabelBlock, votes_a_row, votes_of

ProbBlocks = Sequence[NDArray[np.generic]]

# Rows left tied until pass 1 knows its temperature are kept up to this many numbers (32 MiB).
PENDING_LIMIT = 2**22

# Rows of a tile from which the best temperature of its block is guessed, and how many of them must
# have votes.
SAMPLE_ROWS = 512
LEAST_SAMPLE = 128

# Bits of a float64's exact integers.
EXACT_BITS = 53

# --- tiles of a block -------------------------------------------------------------------------


class Block(NamedTuple):
    """One row-aligned block: labels (None for the pool), a probability block a model, its rows."""

    labels: LabelBlock | None
    probs: ProbBlocks
    first_row: int


def row_bounds(block: Block) -> Iterator[tuple[int, int]]:
    """Bounds of the tiles of a block."""
    num_rows, num_classes = block.probs[0].shape
    num_annotators = block.labels.shape[1] if isinstance(block.labels, np.ndarray) else 0
    given = 0.0 if block.labels is None else votes_a_row(block.labels)
    step = kernels.tile_rows(len(block.probs), num_classes, num_annotators, given)
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


class CheckedProbs(NamedTuple):
    """Probabilities of a tile, what is wrong with them, and the rows at fault.

    ``plain`` ones are known to hold no value at fault or below the floor.
    """

    probs: Floats  # (p, k, n)
    findings: Findings
    faulty: NDArray[np.intp]
    plain: bool


def checked_pool(block: Block, start: int, stop: int) -> CheckedProbs:
    """The probabilities of a tile of the pool."""
    by_rows = kernels.keeps_rows(len(block.probs), block.probs[0].shape[1])
    return checked_probs(block, start, stop, "pred_probs_unlabeled", by_rows=by_rows)


def checked_probs(
    block: Block, start: int, stop: int, name: str, *, by_rows: bool = False
) -> CheckedProbs:
    """The probabilities of a tile, which may keep its rows together."""
    least = kernels.least_prob(block.probs, start, stop)
    # Infinities of both signs in one row have no sum, huge numbers one beyond all numbers.
    with np.errstate(invalid="ignore", over="ignore"):
        if by_rows:
            probs = kernels.load_rows(block.probs[0], start, stop)
            totals = kernels.sum_rows(probs[0].T)[np.newaxis]
        else:
            probs = kernels.load_probs(block.probs, start, stop)
            totals = kernels.sum_classes(probs)
    faults = kernels.check_probs(probs, totals, least=least)
    if faults is None:
        plain = least >= kernels.PROB_FLOOR
        return CheckedProbs(probs, Findings(), np.empty(0, dtype=np.intp), plain)
    findings = Findings()
    for model, (found, values, total) in enumerate(zip(faults, probs, totals, strict=True)):
        rows = np.flatnonzero(found)
        with np.errstate(invalid="ignore"):
            low, high = values.min(0), values.max(0)
        seen = np.where(found == kernels.BELOW_ZERO, low, total)
        seen = np.where(found == kernels.ABOVE_ONE, high, seen)
        array = name if len(probs) == 1 else f"{name}[{model}]"
        findings = findings.merge(
            Findings.from_rows(
                array, PROB_FAULTS, found[rows], rows + block.first_row + start, seen[rows]
            )
        )
    return CheckedProbs(probs, findings, np.flatnonzero(faults.any(axis=0)), plain=False)


class CheckedTile(NamedTuple):
    """A tile ready for the kernels, what was found wrong in it, and the rows at fault."""

    tile: Tile
    findings: Findings
    faulty: NDArray[np.intp]


def checked_tiles(block: Block, *, keep_faulty: bool = False) -> Iterator[CheckedTile]:
    """The tiles of a labelled block.

    A row at fault takes no part: it loses its votes and its probabilities become uniform; with
    ``keep_faulty`` its probabilities stay as they are (labels that are no class never do).
    """
    assert block.labels is not None
    num_classes = block.probs[0].shape[1]
    for start, stop in row_bounds(block):
        first = block.first_row + start
        probs, findings, faulty, _ = checked_probs(block, start, stop, "pred_probs")
        given = votes_of(block.labels, start, stop, num_classes)
        if len(given.faulty_rows):
            rows = given.faulty_rows + first
            findings = findings.merge(
                Findings.from_rows("labels", LABEL_FAULTS, given.faults, rows, given.values)
            )
        if len(faulty) and not keep_faulty:
            probs[:, :, faulty] = 1 / num_classes
            given = given.drop_rows(faulty)
        if len(given.faulty_rows):
            faulty = np.union1d(faulty, given.faulty_rows)
        index = np.arange(first, first + stop - start)
        tile = kernels.make_tile(probs, given.rows, given.annotators, given.classes, index)
        yield CheckedTile(tile, findings, faulty)


# --- pass 1, first round ----------------------------------------------------------------------


def add_padded(a: Ints, b: Ints) -> Ints:
    """Sum of two counts of which one may be longer."""
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    total = long.copy()
    total[: len(short)] += short
    return total


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


@dataclass(frozen=True)
class ConsensusStatistics:
    """How votes and models stand to a consensus, over the rows with at least two votes.

    Attributes
    ----------
    agreeing : (n + 1,) int64
        Votes equal to the consensus, by the row's number of votes.
    consensus_counts : (k,) int64
        Rows of each consensus label.
    model_errors : (p,) int64
        Rows whose most probable class is not the consensus label.
    """

    agreeing: Ints
    consensus_counts: Ints
    model_errors: Ints

    @classmethod
    def zero(cls, num_models: int, num_classes: int) -> ConsensusStatistics:
        """Statistics of no rows."""
        return cls(
            np.zeros(0, np.int64), np.zeros(num_classes, np.int64), np.zeros(num_models, np.int64)
        )

    @classmethod
    def from_tile(
        cls, tile: Tile, labels: Ints, scaled: Floats, left_out: Ints
    ) -> ConsensusStatistics:
        """Statistics of a tile whose consensus is known but for the rows ``left_out``."""
        multiple = tile.num_annotations >= 2
        multiple[left_out] = False
        agreeing = kernels.at_class(tile.counts, labels) * multiple
        errors = [
            np.count_nonzero((kernels.first_largest(model) != labels) & multiple)
            for model in scaled
        ]
        return cls(
            np.bincount(tile.num_annotations, agreeing).astype(np.int64),
            np.bincount(labels[multiple], minlength=len(tile.counts)),
            np.array(errors, dtype=np.int64),
        )

    @classmethod
    def from_rule(cls, tile: Tile, rule: Rule) -> ConsensusStatistics:
        """Statistics of a tile under the rule's consensus."""
        labels, scaled = kernels.consensus(tile, rule)
        return cls.from_tile(tile, labels, scaled, np.empty(0, dtype=np.int64))

    @classmethod
    def from_block(
        cls, block: Block, *, rule: Rule, keep_faulty: bool = False
    ) -> ConsensusStatistics:
        """Statistics of a block under the rule's consensus."""
        zero = cls.zero(len(block.probs), block.probs[0].shape[1])
        tiles = (checked.tile for checked in checked_tiles(block, keep_faulty=keep_faulty))
        return functools.reduce(cls.merge, (cls.from_rule(tile, rule) for tile in tiles), zero)

    def merge(self, other: ConsensusStatistics) -> ConsensusStatistics:
        """Both together."""
        return ConsensusStatistics(
            add_padded(self.agreeing, other.agreeing),
            self.consensus_counts + other.consensus_counts,
            self.model_errors + other.model_errors,
        )


@dataclass(frozen=True)
class PendingRows:
    """Rows whose majority vote only the temperature and global statistics can settle.

    They are kept whole, as a small block of their own. Beyond ``PENDING_LIMIT`` numbers only their
    count is: pass 1 then reads the data once more.
    """

    count: int
    size: int
    index: Ints  # (r,)
    offsets: Ints  # (r + 1,)
    annotators: Ints  # (v,)
    classes: Ints  # (v,)
    probs: Floats  # (r, p, k)

    @classmethod
    def zero(cls, num_models: int, num_classes: int) -> PendingRows:
        """No rows."""
        none = np.zeros(0, dtype=np.int64)
        return cls(
            0, 0, none, np.zeros(1, np.int64), none, none, np.zeros((0, num_models, num_classes))
        )

    @property
    def overflown(self) -> bool:
        """Whether there were too many rows to keep."""
        return self.size > PENDING_LIMIT

    @classmethod
    def from_tile(cls, tile: Tile, columns: Ints) -> PendingRows:
        """The given columns of a tile."""
        if not len(columns):
            return cls.zero(*tile.probs.shape[:2])
        chosen = np.zeros(len(tile.num_annotations), dtype=bool)
        chosen[columns] = True
        at = np.flatnonzero(chosen[tile.rows])
        offsets = np.concatenate([[0], np.cumsum(tile.num_annotations[columns])])
        probs = np.ascontiguousarray(tile.probs[:, :, columns].transpose(2, 0, 1))
        size = probs.size + 2 * len(at)
        annotators = tile.annotators[at].astype(np.int64)
        return cls(
            len(columns),
            size,
            tile.global_rows[columns],
            offsets,
            annotators,
            tile.classes[at],
            probs,
        )

    def merge(self, other: PendingRows) -> PendingRows:
        """Both together, in row order."""
        if not (self.count and other.count):
            return self if self.count else other
        size = self.size + other.size
        if size > PENDING_LIMIT:
            none = PendingRows.zero(*self.probs.shape[1:])
            return replace(none, count=self.count + other.count, size=size)
        index = np.concatenate([self.index, other.index])
        order = np.argsort(index, kind="stable")
        num = np.concatenate([np.diff(self.offsets), np.diff(other.offsets)])
        starts = np.concatenate([self.offsets[:-1], other.offsets[:-1] + self.offsets[-1]])[order]
        offsets = np.concatenate([[0], np.cumsum(num[order])])
        at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], num[order])
        return PendingRows(
            self.count + other.count,
            size,
            index[order],
            offsets,
            np.concatenate([self.annotators, other.annotators])[at],
            np.concatenate([self.classes, other.classes])[at],
            np.concatenate([self.probs, other.probs])[order],
        )

    def tiles(self) -> Iterator[Tile]:
        """The rows again, as tiles."""
        num_models, num_classes = self.probs.shape[1:]
        step = kernels.tile_rows(num_models, num_classes)
        for start in range(0, len(self.index), step):
            stop = min(start + step, len(self.index))
            first, last = self.offsets[start], self.offsets[stop]
            num = np.diff(self.offsets[start : stop + 1])
            yield kernels.make_tile(
                np.ascontiguousarray(self.probs[start:stop].transpose(1, 2, 0)),
                np.repeat(np.arange(stop - start), num),
                self.annotators[first:last],
                self.classes[first:last],
                self.index[start:stop],
            )

    def statistics(self, rule: Rule) -> ConsensusStatistics:
        """Consensus statistics of these rows, now that the rule can settle them."""
        zero = ConsensusStatistics.zero(*self.probs.shape[1:])
        parts = (ConsensusStatistics.from_rule(tile, rule) for tile in self.tiles())
        return functools.reduce(ConsensusStatistics.merge, parts, zero)


@dataclass(frozen=True)
class LabelStatistics:
    """What the first read of the labelled data gives.

    Attributes
    ----------
    num_examples, num_labeled, num_multiple : int
        Rows, rows with a vote, rows with at least two.
    votes : (m,) int64
        Votes of each annotator.
    agreeing_pairs, pairs : (m,) int64
        Over the annotator's votes: other votes of the row that agree, and other votes of the row.
    untied_agreeing, untied : (m,) int64
        Over rows untied by vote count: votes equal to the majority, and votes.
    class_counts : (k,) int64
        Votes for each class.
    losses : tuple of p LossSums
    fitted : tuple of t int
        Labelled rows whose loss at that temperature is in the sum.
    undefined : (p,) int64
        Rows whose loss is no number (only where rows at fault are kept).
    consensus : ConsensusStatistics
        Of the majority vote, over the rows that are not pending.
    pending : PendingRows
    findings : Findings
    """

    num_examples: int
    num_labeled: int
    num_multiple: int
    votes: Ints
    agreeing_pairs: Ints
    pairs: Ints
    untied_agreeing: Ints
    untied: Ints
    class_counts: Ints
    losses: tuple[LossSums, ...]
    fitted: tuple[int, ...]
    undefined: Ints
    consensus: ConsensusStatistics
    pending: PendingRows
    findings: Findings

    @classmethod
    def zero(cls, num_models: int, num_annotators: int, num_classes: int) -> LabelStatistics:
        """Statistics of no rows."""
        none = np.zeros(num_annotators, dtype=np.int64)
        return cls(
            *(0, 0, 0, none, none, none, none, none),
            np.zeros(num_classes, np.int64),
            (LossSums(),) * num_models,
            (0,) * len(calibration.PLACES),
            np.zeros(num_models, np.int64),
            ConsensusStatistics.zero(num_models, num_classes),
            PendingRows.zero(num_models, num_classes),
            Findings(),
        )

    @classmethod
    def from_tile(
        cls, checked: CheckedTile, *, num_annotators: int, miscount: bool, places: Sequence[int]
    ) -> LabelStatistics:
        """Statistics of one tile; the temperature's at ``places`` of the grid."""
        tile = checked.tile
        num, rows, counts = tile.num_annotations, tile.rows, tile.counts
        tied = counts == counts.max(axis=0)
        num_tied = kernels.count_true(tied)
        majority = kernels.first_true(tied)
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
            clear = kernels.clear_leader(tied.take(left, axis=1), tile.probs.take(left, axis=2))
            majority[left] = clear.argmax(axis=0)
            left = left[clear.sum(axis=0) > 1]
        num_labeled = int(np.count_nonzero(num))
        losses, undefined = tile_losses(checked, miscount, places)
        return cls(
            len(num),
            num_labeled,
            int(np.count_nonzero(num > 1)),
            votes,
            agreeing_pairs,
            pairs,
            untied_agreeing,
            untied_votes,
            counts.sum(axis=1),
            losses,
            tuple(num_labeled if place in places else 0 for place in calibration.PLACES),
            undefined,
            ConsensusStatistics.from_tile(tile, majority, tile.probs, left),
            PendingRows.from_tile(tile, left),
            checked.findings,
        )

    @classmethod
    def from_block(
        cls,
        block: Block,
        *,
        num_annotators: int,
        miscount: bool = False,
        fit: bool = True,
        guess: bool = True,
        keep_faulty: bool = False,
    ) -> LabelStatistics:
        """Statistics of a block.

        ``miscount`` counts labels for the temperature as cleanlab does, ``fit`` says whether it is
        wanted at all, and ``guess`` whether temperatures may be left out that look far from the
        best by the first ``SAMPLE_ROWS`` rows; ``keep_faulty`` leaves rows with faulty
        probabilities as they are.
        """
        places = calibration.PLACES if fit else ()
        state = None
        for checked in checked_tiles(block, keep_faulty=keep_faulty):
            likely = guess_places(checked, miscount) if fit and guess else ()
            if likely:
                places, guess = likely, False
            found = cls.from_tile(
                checked, num_annotators=num_annotators, miscount=miscount, places=places
            )
            state = found if state is None else state.merge(found)
        num_classes = block.probs[0].shape[1]
        if state is None:
            return cls.zero(len(block.probs), num_annotators, num_classes)
        return state

    def merge(self, other: LabelStatistics) -> LabelStatistics:
        """Both together."""
        pairs = zip(self.losses, other.losses, strict=True)
        return LabelStatistics(
            self.num_examples + other.num_examples,
            self.num_labeled + other.num_labeled,
            self.num_multiple + other.num_multiple,
            self.votes + other.votes,
            self.agreeing_pairs + other.agreeing_pairs,
            self.pairs + other.pairs,
            self.untied_agreeing + other.untied_agreeing,
            self.untied + other.untied,
            self.class_counts + other.class_counts,
            tuple(mine.merge(others) for mine, others in pairs),
            tuple(a + b for a, b in zip(self.fitted, other.fitted, strict=True)),
            self.undefined + other.undefined,
            self.consensus.merge(other.consensus),
            self.pending.merge(other.pending),
            self.findings.merge(other.findings),
        )


def guess_places(checked: CheckedTile, miscount: bool) -> tuple[int, ...]:
    """Places of the grid that the search will compare, judging by a tile's first rows.

    Empty where too few of them have votes, or one of them is at fault.
    """
    tile = checked.tile
    num_rows = min(SAMPLE_ROWS, len(tile.num_annotations))
    num_votes = int(np.searchsorted(tile.rows, num_rows))
    sample = kernels.make_tile(
        tile.probs[:, :, :num_rows],
        tile.rows[:num_votes],
        tile.annotators[:num_votes],
        tile.classes[:num_votes],
        tile.global_rows[:num_rows],
    )
    if np.count_nonzero(sample.num_annotations) < LEAST_SAMPLE or (checked.faulty < num_rows).any():
        return ()
    cells = kernels.miscounted_cells(sample) if miscount else sample.cells
    ratios = [calibration.ratios_to_largest(probs) for probs in sample.probs]
    return calibration.likely_places(
        [calibration.rough_losses(model, sample, cells) for model in ratios]
    )


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
            bare = np.logical_or.reduce(np.isnan(ratios), axis=0)
            undefined[model] = np.count_nonzero(bare & (tile.num_annotations > 0))
            fitted = tile.without_votes(bare)
        cells = kernels.miscounted_cells(fitted) if miscount else fitted.cells
        losses.append(calibration.loss_sums(ratios, fitted, cells, places))
    return tuple(losses), undefined
