"""Both passes over a block whose examples may have several classes at once.

The data of a block is read once. Its classes are taken out some at a time, and go one by one
through the kernels of a single label.

Axes: n rows, m annotators, k classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from daskal.kernels.binary import Checked, binary_blocks, check_block, who_was_asked
from daskal.kernels.first_pass import consensus_statistics, label_statistics
from daskal.kernels.quality import answer_block, describe_block
from daskal.kernels.second_pass import (
    labeled_columns,
    pool_tally,
    score_labeled_block,
    score_unlabeled_block,
    split_by_votes,
)
from daskal.kernels.tallying import histogram
from daskal.method.findings import MULTI_LABEL_RULE, Findings, raise_invalid
from daskal.method.states import ClassStates
from daskal.method.tallies import ClassTally, MultiLabelTally, PoolTally
from daskal.method.values import Block, Columns, Floats, Ints, PoolRule, Question, Rule

# --- pass 1 -----------------------------------------------------------------------------------


def class_label_statistics(block: Block, *, wanted: Sequence[bool], **options: Any) -> ClassStates:
    """Return the first read's statistics of each wanted class; options are those of one label."""
    checked = check_block(block)
    states: list[Any] = [None] * len(wanted)
    for k, one in binary_blocks(checked, wanted):
        states[k] = label_statistics(one, sharing=len(wanted), **options)
    return ClassStates(tuple(states), checked.findings)


def class_consensus_statistics(block: Block, *, rules: Sequence[Rule | None]) -> ClassStates:
    """Return the statistics of each class under its rule's consensus, None where it has no rule."""
    checked = check_block(block)
    states: list[Any] = [None] * len(rules)
    for k, one in binary_blocks(checked, [rule is not None for rule in rules]):
        rule = rules[k]
        assert rule is not None
        states[k] = consensus_statistics(one, rule=rule)
    return ClassStates(tuple(states), checked.findings)


# --- pass 2 -----------------------------------------------------------------------------------


def reduced(parts: Iterator[tuple[int, Floats]], num_rows: int, reduce: str) -> Floats:
    """Return the mean or the least over classes of what is said of each row, (n,)."""
    total, num = np.zeros(num_rows), 0
    for _, values in parts:
        if reduce == "mean":
            total += values
        elif num:
            np.minimum(total, values, out=total)
        else:
            total[:] = values
        num += 1
    return total / num if reduce == "mean" else total


def side_by_side(parts: Iterator[tuple[int, Floats]], num_rows: int, num_classes: int) -> Floats:
    """Return what is said of each row and class, (n, k), NaN for classes without a rule."""
    matrix = np.full((num_rows, num_classes), np.nan)
    for k, values in parts:
        matrix[:, k] = values
    return matrix


def score_classes(
    block: Block,
    *,
    rules: Sequence[Rule | None] | Sequence[PoolRule | None],
    reduce: str | None,
    on_invalid: str,
) -> Floats:
    """Return the scores of a block, labeled or of the pool: (n,), or (n, k) without ``reduce``."""
    checked = check_block(block)
    if on_invalid == "raise":
        raise_invalid(checked.findings, rule=MULTI_LABEL_RULE)
    return scores_of(checked, rules, reduce)


def findings_of_classes(block: Block, **_options: Any) -> Findings:
    """Return what is wrong in a block, labeled or of the pool, and nothing else."""
    return check_block(block).findings


def scores_of(
    checked: Checked,
    rules: Sequence[Rule | None] | Sequence[PoolRule | None],
    reduce: str | None,
) -> Floats:
    """Return the scores of a block, NaN for rows at fault."""
    block = checked.block

    def scores() -> Iterator[tuple[int, Floats]]:
        for k, one in binary_blocks(checked, [rule is not None for rule in rules]):
            rule: Any = rules[k]
            score = score_unlabeled_block if block.labels is None else score_labeled_block
            yield k, score(one, rule=rule, on_invalid="raise")

    num_rows = len(block.probs[0])
    if reduce is None:
        found = side_by_side(scores(), num_rows, len(rules))
    else:
        found = reduced(scores(), num_rows, reduce)
    found[checked.faulty] = np.nan
    return found


def tallied_pool(
    block: Block, *, rules: Sequence[PoolRule | None], reduce: str, size: int
) -> tuple[Floats, PoolTally]:
    """Return the scores of a block of the pool, (n,), and the block's tally."""
    checked = check_block(block)
    scores = scores_of(checked, rules, reduce)
    return scores, pool_tally(scores, block.first_row, size, checked.findings)


class Reduced:
    """The mean or the least over classes of what comes one class at a time, NaN left out."""

    def __init__(self, num_rows: int, reduce: str) -> None:
        """Begin with no class."""
        self.least = reduce == "min"
        self.total = np.full(num_rows, np.nan) if self.least else np.zeros(num_rows)
        self.num = np.zeros(num_rows)

    def add(self, values: Floats) -> None:
        """Take in one class."""
        if self.least:
            np.fmin(self.total, values, out=self.total)
        else:
            there = ~np.isnan(values)
            self.total += np.where(there, values, 0.0)
            self.num += there

    def values(self) -> Floats:
        """Return what comes of all classes, NaN for a row of which nothing is known."""
        if self.least:
            return self.total
        with np.errstate(invalid="ignore"):
            return self.total / self.num


def tallied_labels(
    block: Block, *, rules: Sequence[Rule | None], num_annotators: int, reduce: str, size: int
) -> tuple[Columns, MultiLabelTally]:
    """Return what is stored of each row of a labeled block, and the block's tally.

    Rows at fault are left out; the tally holds the findings.
    """
    checked = check_block(block)
    num_rows, first = len(block.probs[0]), block.first_row
    score, quality, agreement = (Reduced(num_rows, kind) for kind in (reduce, reduce, "mean"))
    labels = np.zeros((num_rows, len(rules)), dtype=np.int8)
    tallies: list[ClassTally | None] = [None] * len(rules)
    for k, one in binary_blocks(checked, [rule is not None for rule in rules]):
        rule: Any = rules[k]
        columns, tally = labeled_columns(one, rule=rule, on_invalid="raise", size=0)
        score.add(columns["score"])
        quality.add(columns["consensus_quality_score"])
        agreement.add(columns["annotator_agreement"])
        labels[:, k] = columns["consensus_label"]
        voted = columns["num_annotations"] > 0
        num = int(np.count_nonzero(columns["consensus_label"][voted]))
        tallies[k] = ClassTally(tally.annotators, tally.classes, num)
    by_row, asked = who_was_asked(checked, num_annotators)
    found: Columns = {
        "score": score.values(),
        "consensus_labels": labels,
        "consensus_quality_score": quality.values(),
        "annotator_agreement": agreement.values(),
        "num_annotations": by_row.astype(np.int32),
    }
    labels[checked.faulty] = 0
    for name in ("score", "consensus_quality_score", "annotator_agreement"):
        found[name][checked.faulty] = np.nan
    voted = by_row > 0
    smallest = split_by_votes(found["score"], voted, ~voted, first, size)
    return found, MultiLabelTally(
        scores=PoolTally(
            num_rows, histogram(found["score"]), smallest.with_votes, checked.findings
        ),
        without_votes=smallest.without_votes,
        quality=histogram(found["consensus_quality_score"][voted]),
        by_class=tuple(tallies),
        asked=asked,
    )


def describe_classes(
    block: Block, *, questions: Sequence[Question | None], num_annotators: int, on_invalid: str
) -> tuple[Columns, Ints]:
    """Return (n, k) columns of label quality by class, and how many were asked of each row, (n,).

    A class without a question has the label 0, no votes, and NaN.
    """
    checked = check_block(block)
    if on_invalid == "raise":
        raise_invalid(checked.findings, rule=MULTI_LABEL_RULE)
    shape = (len(block.probs[0]), len(questions))
    columns: Columns = {
        "consensus_label": np.zeros(shape, dtype=np.int64),
        "consensus_quality_score": np.full(shape, np.nan),
        "annotator_agreement": np.full(shape, np.nan),
        "num_annotations": np.zeros(shape, dtype=np.int64),
    }
    for k, one in binary_blocks(checked, [question is not None for question in questions]):
        question = questions[k]
        assert question is not None
        found = describe_block(one, question=question, quality=True, votes=False)
        for name, matrix in columns.items():
            matrix[:, k] = found[name]
    columns["consensus_label"][checked.faulty] = 0
    columns["consensus_quality_score"][checked.faulty] = np.nan
    return columns, who_was_asked(checked, num_annotators)[0]


def class_annotators(
    block: Block, *, questions: Sequence[Question | None], num_annotators: int
) -> ClassStates:
    """Return how annotators stand to the consensus of each class, and on how many rows they are."""
    checked = check_block(block)
    states: list[Any] = [None] * len(questions)
    for k, one in binary_blocks(checked, [question is not None for question in questions]):
        question = questions[k]
        assert question is not None
        found = answer_block(
            one, question=question, num_annotators=num_annotators, quality=False, votes=False
        )
        states[k] = found.annotators
    asked = who_was_asked(checked, num_annotators)[1]
    return ClassStates(tuple(states), checked.findings, asked)
