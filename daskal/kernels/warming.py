"""Compile all kernels ahead of time, into Numba's cache."""

from __future__ import annotations

import numpy as np

from daskal.kernels.first_pass import consensus_statistics, label_statistics, statistics_of_pending
from daskal.kernels.quality import (
    answer_block,
    confidence_block,
    describe_block,
    majority_block,
    model_votes_block,
    score_pool_block,
)
from daskal.kernels.second_pass import (
    findings_of_block,
    labeled_columns,
    score_unlabeled_block,
)
from daskal.kernels.tallying import Table
from daskal.kernels.votes import LABEL_DTYPES
from daskal.method.values import (
    NO_FAULTS,
    Block,
    Floats,
    PoolRule,
    Question,
    Rule,
    Scorer,
    SparseLabels,
    TieBreak,
    VoteWeights,
)

# Two annotators at odds about classes that two models hold equally likely: nothing is left out.
NUM_ROWS, NUM_CLASSES, NUM_MODELS, NUM_ANNOTATORS = 2, 2, 2, 2


def warm_up() -> None:
    """Run every kernel on next to nothing, for every dtype of labels.

    What is in Numba's cache already is loaded from there.
    """
    even = np.full((NUM_ROWS, NUM_CLASSES), 0.5)
    odd = np.array([[0.5, 0.5], [np.nan, 0.5]])
    labels = np.array([[0, 1], [-1, 1]])
    for dtype in LABEL_DTYPES:
        findings_of_block(Block(labels.astype(dtype), [even], 0))
    score_pool(even.astype(np.float32))
    Table(10**6).with_room(10**6)
    score_pool(even)
    read_labels(Block(labels, [even] * NUM_MODELS, 0))
    annotators = np.array([0, 1, 1])
    sparse = SparseLabels(np.array([0, 2, 3]), annotators, annotators, *NO_FAULTS)
    read_labels(Block(sparse, [odd] * NUM_MODELS, 0))


def score_pool(probs: Floats) -> None:
    """Score a pool in each way, by one model and by two."""
    one, two = Block(None, [probs], 0), Block(None, [probs] * NUM_MODELS, 0)
    score_unlabeled_block(one, rule=PoolRule.without_estimate(1), on_invalid="raise")
    rule = PoolRule.without_estimate(NUM_MODELS)
    score_pool_block(two, rule=rule._replace(tie_break=make_rule().tie_break))
    score_pool_block(two, rule=rule)
    model_votes_block(two, inverse=np.ones(NUM_MODELS))


def read_labels(block: Block) -> None:
    """Run what reads labels, rows at fault left out."""
    rule = make_rule()
    scorer = Scorer("confidence_weighted_entropy", np.full(2, 0.5), np.full((2, 2), 0.5))
    question = Question((rule,), ("",), (scorer,), scorer, "nan")
    statistics = label_statistics(
        block, num_annotators=NUM_ANNOTATORS, miscount=True, on_invalid="nan"
    )
    statistics_of_pending(statistics.pending, rule)
    consensus_statistics(block, rule=rule, on_invalid="nan")
    labeled_columns(block, rule=rule, on_invalid="nan", size=1)
    describe_block(block, question=question, quality=True, votes=True)
    answer_block(block, question=question, num_annotators=NUM_ANNOTATORS, quality=True, votes=True)
    confidence_block(block, question=question)
    majority_block(block, tie_break=rule.tie_break)


def make_rule() -> Rule:
    """Return a rule that uses every kernel of the consensus."""
    weights = VoteWeights(0.8, 0.2, np.ones(NUM_MODELS), np.ones(NUM_ANNOTATORS))
    tie_break = TieBreak(np.ones(NUM_CLASSES, dtype=np.int64), np.ones(NUM_ANNOTATORS), 0)
    inverse = np.full(NUM_MODELS, 0.5)
    return Rule(inverse, tie_break, weights, weights, 1.0, True, False, True, False)
