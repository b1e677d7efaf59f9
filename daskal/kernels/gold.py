"""Votes, consensus and models beside known classes.

Axes: n rows, m annotators, p models, v votes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.known import UNKNOWN, known_rows, without_gold
from daskal.kernels.quality import answer_block
from daskal.kernels.second_pass import labeled_columns
from daskal.kernels.vote_tiles import VoteTile, vote_tiles
from daskal.method.expectation import JudgedVotes
from daskal.method.findings import Findings
from daskal.method.tallies import GoldCounts, LabeledTally
from daskal.method.values import Block, Columns, Floats, Ints, Question, Rule


class GoldTally:
    """How votes and consensus stand to known classes, tile by tile."""

    def __init__(self, num_annotators: int) -> None:
        """Begin with no rows."""
        self.by_annotator = np.zeros((num_annotators, 2), dtype=np.int64)
        self.rows = np.zeros(2, dtype=np.int64)

    def add(self, tile: VoteTile, known: Ints, labels: Ints) -> None:
        """Count the rows of a tile whose class is known, given their consensus."""
        add_known(
            tile.offsets, tile.annotators, tile.classes,
            known, read_only(labels),
            self.by_annotator, self.rows,
        )  # fmt: skip

    def counts(self, model_right: Ints | None = None) -> GoldCounts:
        """Return the counts as a state, with those of models where there are any."""
        num, right = self.by_annotator.T.copy()
        return GoldCounts(num, right, int(self.rows[0]), int(self.rows[1]), model_right)


@compiled
def add_known(
    offsets: Ints,
    annotators: NDArray[np.int32],
    classes: NDArray[np.int32],
    known: Ints,
    labels: Ints,
    by_annotator: Ints,
    rows: Ints,
) -> None:
    """Count rows of known class that have votes, their votes, and the right ones of both."""
    for i in range(len(known)):
        if known[i] < 0 or offsets[i] == offsets[i + 1]:
            continue
        rows[0] += 1
        rows[1] += labels[i] == known[i]
        for v in range(offsets[i], offsets[i + 1]):
            by_annotator[annotators[v], 0] += 1
            by_annotator[annotators[v], 1] += classes[v] == known[i]


# --- beside a model ---------------------------------------------------------------------------


def gold_counts(
    block: Block, beside: Block, labels: Ints, quality: Floats, num_annotators: int
) -> tuple[GoldCounts, Findings]:
    """Return how a block's votes, consensus and models stand to known classes, and their faults."""
    tally = GoldTally(num_annotators)
    right = np.zeros(len(block.probs), dtype=np.int64)
    num_classes = block.probs[0].shape[1]
    findings = Findings()
    for tile in vote_tiles(block, num_classes):
        rows = tile.place
        # Rows at fault have no quality, and take no part.
        gold = known_rows(beside, rows, num_classes)
        findings = findings.merge(gold.findings)
        classes = read_only(np.where(np.isnan(quality[rows]), UNKNOWN, gold.classes))
        tally.add(tile, classes, labels[rows].astype(np.int64))
        at = np.flatnonzero((classes >= 0) & (tile.num_annotations > 0))
        for model, probs in enumerate(block.probs):
            chosen = probs[rows][at].argmax(axis=1)
            right[model] += np.count_nonzero(chosen == classes[at])
    return tally.counts(right), findings


def answer_with_gold(block: Block, *, question: Question, num_annotators: int) -> JudgedVotes:
    """Return how votes stand to the consensus and to known classes, beside a model."""
    block, beside = without_gold(block)
    found = answer_block(
        block, question=question, num_annotators=num_annotators, quality=True, votes=False
    )
    assert found.annotators is not None
    labels, quality = (
        found.column(name) for name in ("consensus_label", "consensus_quality_score")
    )
    gold, findings = gold_counts(block, beside, labels, quality, num_annotators)
    return JudgedVotes(found.annotators, gold, found.findings.merge(findings))


def labeled_columns_with_gold(
    block: Block, *, rule: Rule, on_invalid: str, size: int
) -> tuple[Columns, LabeledTally]:
    """Return what is stored of each row of a labeled block, and its tally with known classes."""
    block, beside = without_gold(block)
    columns, tally = labeled_columns(block, rule=rule, on_invalid=on_invalid, size=size)
    labels, quality = columns["consensus_label"], columns["consensus_quality_score"]
    gold, findings = gold_counts(block, beside, labels, quality, len(rule.tie_break.agreement))
    scores = replace(tally.scores, findings=tally.scores.findings.merge(findings))
    return columns, replace(tally, scores=scores, gold=gold)
