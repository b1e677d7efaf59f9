"""The consensus that a posterior gives, how good it is, and how each annotator stands to it.

Axes: n rows, m annotators, k classes, v votes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels import second_pass
from daskal.kernels.compiling import Whole, compiled, read_only
from daskal.kernels.consensus import TIE_TOLERANCE, keyed_choice
from daskal.kernels.gold import GoldTally
from daskal.kernels.known import known_rows
from daskal.kernels.posterior import tiles_with_posterior
from daskal.kernels.quality import score_consensus
from daskal.kernels.vote_tiles import VoteTile, vote_tiles
from daskal.method.expectation import JudgedVotes, LogParameters
from daskal.method.findings import Findings, merge_all
from daskal.method.merging import LIMB_BITS, QUALITY_BITS, Cells, FixedSums, merge_in_pairs
from daskal.method.tallies import AnnotatorStatistics, LabeledTally
from daskal.method.values import LABELED_COLUMNS, Block, Columns, Floats, Ints, Scorer

# Columns of what is counted of each annotator, and of each class that it gives.
NUM, AGREEING, NUM_MULTIPLE, AGREEING_MULTIPLE, SCORED, HIGH, LOW = range(7)
GIVEN, GIVEN_AGREEING, GIVEN_HIGH, GIVEN_LOW = range(4)
QUALITY_UNITS = 2.0**QUALITY_BITS
LOW_LIMB = 2**LIMB_BITS - 1


class Judged(NamedTuple):
    """The consensus of a tile's rows."""

    tile: VoteTile
    posterior: Floats  # (n, k), NaN in rows at fault
    labels: Ints  # (n,)
    quality: Floats  # (n,) posterior of the consensus
    agreement: Floats  # (n,) share of the votes that equal it, NaN without votes


def judge_tiles(
    block: Block, parameters: LogParameters, seed: int, on_invalid: str
) -> Iterator[Judged]:
    """Yield the tiles of a block with their consensus."""
    for tile, posterior in tiles_with_posterior(block, parameters, on_invalid):
        labels = np.zeros(len(tile), dtype=np.int64)
        quality, agreement = np.empty(len(tile)), np.empty(len(tile))
        first = block.first_row + tile.start
        seed64 = np.uint64(seed % 2**64)
        take_labels(
            tile.offsets, tile.classes, read_only(posterior), seed64, first,
            labels, quality, agreement,
        )  # fmt: skip
        yield Judged(tile, posterior, labels, quality, agreement)


@compiled
def take_labels(
    offsets: Ints,
    classes: NDArray[np.int32],
    posterior: Floats,
    seed: np.uint64,
    first_row: int,
    labels: Ints,
    quality: Floats,
    agreement: Floats,
) -> None:
    """Write the class of the largest share of each row, of tied ones one drawn by seed and row."""
    for i in range(len(labels)):
        row = posterior[i]
        most = row[0]
        for k in range(1, len(row)):
            most = max(most, row[k])
        least = most * (1.0 - TIE_TOLERANCE)
        tied: Whole = np.int64(0)
        for k in range(len(row)):
            tied += row[k] >= least
        chosen: Whole = np.int64(0)
        if tied > 1:
            chosen = keyed_choice(seed, first_row + i, tied)
        for k in range(len(row)):
            if row[k] >= least:
                if chosen == 0:
                    labels[i] = k
                chosen -= 1
        quality[i] = row[labels[i]]
        first, last = offsets[i], offsets[i + 1]
        same = 0
        for v in range(first, last):
            same += classes[v] == labels[i]
        agreement[i] = same / (last - first) if last > first else np.nan


def score_posterior(judged: Judged, method: str) -> Floats:
    """Return how good each consensus label is, by a method; NaN in rows at fault."""
    if method == "self_confidence":
        return judged.quality
    scores = score_consensus(Scorer(method), judged.posterior, judged.labels)
    scores[judged.tile.faulty] = np.nan
    return scores


# --- blocks -----------------------------------------------------------------------------------


def score_votes_block(
    block: Block, *, parameters: LogParameters, seed: int, on_invalid: str
) -> Floats:
    """Return the posterior of each consensus label of a block, (n,)."""
    parts = judge_tiles(block, parameters, seed, on_invalid)
    return np.concatenate([np.empty(0), *(judged.quality for judged in parts)])


def findings_of_votes(block: Block, *, parameters: LogParameters, **_options: Any) -> Findings:
    """Return what is wrong in a block of votes, and nothing else."""
    found = (tile.findings for tile in vote_tiles(block, parameters.num_classes))
    return merge_all(found)


def describe_votes_block(
    block: Block, *, parameters: LogParameters, seed: int, method: str, on_invalid: str
) -> Columns:
    """Return the consensus of each row of a block and its quality."""
    assert block.labels is not None
    num_rows = len(block.labels)
    columns: Columns = {
        "consensus_label": np.zeros(num_rows, dtype=np.int64),
        "consensus_quality_score": np.empty(num_rows),
        "annotator_agreement": np.empty(num_rows),
        "num_annotations": np.zeros(num_rows, dtype=np.int64),
    }
    for judged in judge_tiles(block, parameters, seed, on_invalid):
        found = (
            judged.labels,
            score_posterior(judged, method),
            judged.agreement,
            judged.tile.num_annotations,
        )
        write_rows(columns, judged, found)
    return columns


def write_rows(columns: Columns, judged: Judged, found: tuple[Floats | Ints, ...]) -> None:
    """Write a tile's rows into the columns of its block."""
    start = judged.tile.start
    for column, values in zip(columns.values(), found, strict=True):
        column[start : start + len(values)] = values


def votes_columns(
    block: Block, *, parameters: LogParameters, seed: int, size: int
) -> tuple[Columns, LabeledTally]:
    """Return what is stored of each row of a block, and the block's tally.

    Rows at fault are left out: the tally holds the findings.
    """
    assert block.labels is not None
    columns: Columns = {
        name: np.empty(len(block.labels), dtype) for name, dtype in LABELED_COLUMNS.items()
    }
    num_annotators = parameters.num_annotators
    counts = AnnotatorCounts(num_annotators, parameters.num_classes)
    gold = GoldTally(num_annotators) if block.probs else None

    def tallies() -> Iterator[LabeledTally]:
        for judged in judge_tiles(block, parameters, seed, "nan"):
            quality, num = judged.quality, judged.tile.num_annotations
            write_rows(columns, judged, (quality, judged.labels, quality, judged.agreement, num))
            counts.add(judged)
            if gold is not None:
                known = known_rows(block, judged.tile.place, parameters.num_classes)
                gold.add(judged.tile, known.classes, judged.labels)
            yield tally_of(judged, block.first_row, size, num_annotators)

    tally = merge_in_pairs(tallies(), LabeledTally.zero(size, num_annotators))
    return columns, replace(
        tally,
        annotators=counts.statistics(),
        classes=counts.pairs(),
        gold=None if gold is None else gold.counts(),
    )


def tally_of(judged: Judged, first_row: int, size: int, num_annotators: int) -> LabeledTally:
    """Return the tally of a tile, but for its annotators and pairs of classes."""
    voted = judged.tile.num_annotations > 0
    voted[judged.tile.faulty] = True
    start = first_row + judged.tile.start
    quality, findings = judged.quality, judged.tile.findings
    scores = second_pass.pool_tally(quality, first_row, size, findings)
    smallest = second_pass.split_by_votes(quality, voted, ~voted, start, size)
    return replace(
        LabeledTally.zero(size, num_annotators),
        scores=replace(scores, smallest=smallest.with_votes),
        without_votes=smallest.without_votes,
        quality=second_pass.pool_tally(quality[voted], first_row, size, Findings()).histogram,
    )


# --- annotators -------------------------------------------------------------------------------


class AnnotatorCounts:
    """How the votes of a block stand to its consensus, and to known classes, tile by tile."""

    def __init__(self, num_annotators: int, num_classes: int) -> None:
        """Begin with no votes."""
        self.num_classes = num_classes
        self.by_annotator = np.zeros((num_annotators, LOW + 1), dtype=np.int64)
        self.by_class = np.zeros((num_annotators * num_classes, GIVEN_LOW + 1), dtype=np.int64)
        self.by_pair = np.zeros((num_classes, num_classes), dtype=np.int64)

    def add(self, judged: Judged) -> None:
        """Count the votes of a tile."""
        tile = judged.tile
        add_votes(
            tile.offsets, tile.annotators, tile.classes,
            read_only(judged.posterior), read_only(judged.labels),
            self.by_annotator, self.by_class, self.by_pair,
        )  # fmt: skip

    def statistics(self) -> AnnotatorStatistics:
        """Return the counts by annotator as a state."""
        columns = self.by_annotator.T.copy()
        keys = np.flatnonzero(self.by_class[:, GIVEN])
        cells = self.by_class[keys].T
        return AnnotatorStatistics(
            num=columns[NUM],
            agreeing=columns[AGREEING],
            num_multiple=columns[NUM_MULTIPLE],
            agreeing_multiple=columns[AGREEING_MULTIPLE],
            quality=FixedSums.from_limbs(columns[HIGH], columns[LOW]),
            scored=columns[SCORED],
            by_class=Cells(
                keys,
                cells[:GIVEN_HIGH].copy(),
                FixedSums.from_limbs(cells[GIVEN_HIGH], cells[GIVEN_LOW]),
            ),
        )

    def pairs(self) -> Cells:
        """Return the votes by the class given and the consensus of their row."""
        counts = self.by_pair.reshape(-1)
        keys = np.flatnonzero(counts)
        return Cells(keys, counts[np.newaxis, keys], FixedSums.zero(len(keys)))


@compiled
def add_votes(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    posterior: Floats,
    labels: Ints,
    by_annotator: Ints,
    by_class: Ints,
    by_pair: Ints,
) -> None:
    """Count how votes stand to the consensus of their rows."""
    num_classes = len(by_pair)
    for i in range(len(labels)):
        first, last = offsets[i], offsets[i + 1]
        if first == last:
            continue
        label = labels[i]
        row_units = np.int64(posterior[i, label] * QUALITY_UNITS + 0.5)
        for v in range(first, last):
            j, given = annotators[v], classes[v]
            agrees = given == label
            units = np.int64(posterior[i, given] * QUALITY_UNITS + 0.5)
            counts = by_annotator[j]
            counts[NUM] += 1
            counts[AGREEING] += agrees
            counts[NUM_MULTIPLE] += last - first >= 2
            counts[AGREEING_MULTIPLE] += agrees and last - first >= 2
            counts[SCORED] += 1
            counts[HIGH] += units >> LIMB_BITS
            counts[LOW] += units & LOW_LIMB
            cell = by_class[np.int64(j) * num_classes + given]
            cell[GIVEN] += 1
            cell[GIVEN_AGREEING] += agrees
            cell[GIVEN_HIGH] += row_units >> LIMB_BITS
            cell[GIVEN_LOW] += row_units & LOW_LIMB
            by_pair[given, label] += 1


def judge_annotators(block: Block, *, parameters: LogParameters, seed: int) -> JudgedVotes:
    """Return how the votes of a block stand to its consensus and to known classes."""
    counts = AnnotatorCounts(parameters.num_annotators, parameters.num_classes)
    gold = GoldTally(parameters.num_annotators) if block.probs else None
    findings = Findings()
    for judged in judge_tiles(block, parameters, seed, "nan"):
        counts.add(judged)
        if gold is not None:
            rows = known_rows(block, judged.tile.place, parameters.num_classes)
            gold.add(judged.tile, rows.classes, judged.labels)
            findings = findings.merge(rows.findings)
        findings = findings.merge(judged.tile.findings)
    known = None if gold is None else gold.counts()
    return JudgedVotes(counts.statistics(), known, findings)
