"""A panel's votes, counted: pairs of classes, pairs of annotators, and votes beside a reference.

Axes: n rows, m annotators, s annotators whose pairs are counted, k classes, v votes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.known import UNKNOWN, known_rows
from daskal.kernels.vote_quality import judge_tiles
from daskal.method.expectation import LogParameters
from daskal.method.findings import Findings
from daskal.method.panels import MOST_PAIRED, PanelCounts
from daskal.method.values import Block, Ints


class PairCounts(NamedTuple):
    """What is counted of pairs of annotators."""

    both: Ints  # (s, s)
    agreeing: Ints  # (s, s)
    given: Ints  # (s, s, k)
    judged: Ints  # (s, s)
    wrong: Ints  # (s, s)
    wrong_both: Ints  # (s, s)


def panel_counts(
    block: Block, *, parameters: LogParameters, seed: int, paired: Ints
) -> PanelCounts:
    """Return the counts of a block; its reference is known classes if it has any."""
    num_annotators, num_classes = parameters.num_annotators, parameters.num_classes
    size = len(paired)
    places = np.full(num_annotators, -1)
    places[paired] = np.arange(size)
    confusion = np.zeros((num_annotators, num_classes, num_classes), dtype=np.int64)
    coincidences = np.zeros((0, num_classes, num_classes), dtype=np.int64)
    pairs = PairCounts(
        both=np.zeros((size, size), dtype=np.int64),
        agreeing=np.zeros((size, size), dtype=np.int64),
        given=np.zeros((size, size, num_classes), dtype=np.int64),
        judged=np.zeros((size, size), dtype=np.int64),
        wrong=np.zeros((size, size), dtype=np.int64),
        wrong_both=np.zeros((size, size), dtype=np.int64),
    )
    rows, counts = np.zeros(4, dtype=np.int64), np.zeros(num_classes, dtype=np.int64)
    findings = Findings()
    for judged in judge_tiles(block, parameters, seed, "nan"):
        tile = judged.tile
        num = tile.num_annotations
        reference = np.where(num > 0, judged.labels, UNKNOWN)
        if block.probs:
            known = known_rows(block, tile.place, num_classes)
            reference, findings = known.classes, findings.merge(known.findings)
        findings = findings.merge(tile.findings)
        most = int(num.max(initial=0)) + 1
        if most > len(coincidences):
            longer = np.zeros((most, num_classes, num_classes), dtype=np.int64)
            longer[: len(coincidences)] = coincidences
            coincidences = longer
        votes = tile.offsets, tile.annotators, tile.classes
        add_coincidences(tile.offsets, tile.classes, coincidences, counts)
        add_reference(*votes, read_only(reference), confusion)
        add_pairs(*votes, read_only(reference), read_only(places), pairs)
        voted = num > 0
        rows += (len(num), voted.sum(), (num > 1).sum(), (voted & (reference >= 0)).sum())
    num_examples, num_labeled, num_multiple, num_judged = rows.tolist()
    return PanelCounts(
        num_examples=num_examples,
        num_labeled=num_labeled,
        num_multiple=num_multiple,
        num_judged=num_judged,
        coincidences=coincidences,
        confusion=confusion,
        findings=findings,
        **pairs._asdict(),
    )


def panel_bytes(num_annotators: int, num_classes: int) -> int:
    """Return the bytes of the counts of a panel, but for rows of very many votes."""
    paired = min(num_annotators, MOST_PAIRED)
    most_votes = num_annotators + 1
    return 8 * (
        (num_annotators + min(most_votes, MOST_PAIRED)) * num_classes**2
        + paired**2 * (num_classes + 5)
    )


@compiled
def add_coincidences(
    offsets: Ints, classes: NDArray[np.int32], coincidences: Ints, counts: Ints
) -> None:
    """Count the ordered pairs of different votes of each row, by the row's number of votes.

    ``counts`` are zeros, one for each class, and are left so.
    """
    for i in range(len(offsets) - 1):
        first, last = offsets[i], offsets[i + 1]
        if last - first < 2:
            continue
        table = coincidences[last - first]
        for v in range(first, last):
            counts[classes[v]] += 1
        # A class's row of the table is added once, at its first vote.
        for v in range(first, last):
            k = classes[v]
            num = counts[k]
            if num <= 0:
                continue
            table[k, k] -= num
            for w in range(first, last):
                table[k, classes[w]] += num
            counts[k] = -num
        for v in range(first, last):
            counts[classes[v]] = 0


@compiled
def add_reference(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    reference: Ints,
    confusion: Ints,
) -> None:
    """Count votes by annotator, class of reference and class given."""
    for i in range(len(reference)):
        if reference[i] >= 0:
            for v in range(offsets[i], offsets[i + 1]):
                confusion[annotators[v], reference[i], classes[v]] += 1


@compiled
def add_pairs(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    reference: Ints,
    places: Ints,
    pairs: PairCounts,
) -> None:
    """Count how the annotators of each ordered pair answer the same rows."""
    for i in range(len(reference)):
        known = reference[i] >= 0
        for v in range(offsets[i], offsets[i + 1]):
            a, given = places[annotators[v]], classes[v]
            if a < 0:
                continue
            wrong = known and given != reference[i]
            for w in range(offsets[i], offsets[i + 1]):
                b = places[annotators[w]]
                if b < 0:
                    continue
                pairs.both[a, b] += 1
                pairs.agreeing[a, b] += given == classes[w]
                pairs.given[a, b, given] += 1
                pairs.judged[a, b] += known
                pairs.wrong[a, b] += wrong
                pairs.wrong_both[a, b] += wrong and classes[w] != reference[i]
