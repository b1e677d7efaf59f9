"""Compile all kernels ahead of time, into Numba's cache."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from daskal.kernels.compiling import compiled
from daskal.kernels.expectation import count_votes, expectation
from daskal.kernels.first_pass import consensus_statistics, label_statistics, statistics_of_pending
from daskal.kernels.panel import panel_counts
from daskal.kernels.posterior import log_parameters
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
from daskal.kernels.vote_quality import judge_annotators, votes_columns
from daskal.kernels.votes import LABEL_DTYPES
from daskal.method.expectation import DAWID_SKENE, METHODS, ONE_COIN, Parameters, Units
from daskal.method.values import (
    NO_FAULTS,
    Block,
    Floats,
    LabelBlock,
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


class Warmup(NamedTuple):
    """What there was to compile, and where it is kept.

    Attributes
    ----------
    compiled : bool
        False where everything was in the cache already, or nothing can be kept.
    seconds : float
    folder : str or None
        Where the compiled kernels are; None where no folder can keep them.
    """

    compiled: bool
    seconds: float
    folder: str | None


def warmup() -> Warmup:
    """Return once all kernels are in Numba's cache, compiled if need be.

    For images, and for workers before they begin: ``client.run(daskal.warmup)``. Without it, what
    is missing is compiled when it is first used. Each kind of processor, version of Python and
    version of Numba needs its own compiled kernels; one folder holds them all. Where no folder can
    be written to, each process compiles for itself what it uses, and this does nothing.

    Returns
    -------
    Warmup

    Examples
    --------
    >>> import daskal
    >>> done = daskal.warmup()  # some 20 seconds, once on a machine
    >>> daskal.warmup().compiled
    False
    """
    began = time.perf_counter()
    cache: Any = complete.resolve()._cache  # type: ignore[attr-defined]
    missing = cache.folder() is None and cache.is_kept
    if missing:
        warm_up()
        complete()
    return Warmup(missing, time.perf_counter() - began, cache.folder())


@compiled
def complete() -> bool:
    """Return True. Compiled last: where a cache holds this, it holds everything."""
    return True


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
    read_votes_alone(labels)


def read_votes_alone(labels: LabelBlock) -> None:
    """Run what reads votes without a model."""
    block = Block(labels, [np.array([0.0, 1.0])], 0)
    size: Any = {"num_annotators": NUM_ANNOTATORS, "num_classes": NUM_CLASSES}
    units = Units.from_counts(count_votes(block, **size))
    even, right = (
        np.full((NUM_ANNOTATORS, NUM_CLASSES, NUM_CLASSES), 0.5),
        np.full(NUM_ANNOTATORS, 0.5),
    )
    for method in METHODS:
        confusion = even if method == DAWID_SKENE else None
        parameters = log_parameters(method, Parameters(even[0, 0], confusion, right))
        one_coin = method == ONE_COIN
        expectation(block, parameters=parameters, units=units, one_coin=one_coin, use_gold=True)
        votes_columns(block, parameters=parameters, seed=0, size=1)
    judge_annotators(block, parameters=parameters, seed=0)
    panel_counts(block, parameters=parameters, seed=0, paired=np.arange(NUM_ANNOTATORS))


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
