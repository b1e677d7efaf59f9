"""Examples with several classes at once: K binary problems that share each read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from daskal.api.rounds import rounds_of, settle
from daskal.engine import reduction
from daskal.engine.graph import as_array, as_matrix
from daskal.errors import EstimateError, InputError
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.data import (
    LabeledData,
    PoolData,
    fit_pool,
    like_rows,
    like_template,
    open_multi_labeled,
    open_pool,
    rows_template,
)
from daskal.inputs.matching import check_labeled_fits, match_annotators
from daskal.kernels.multi_label import (
    class_consensus_statistics,
    class_label_statistics,
    score_classes,
)
from daskal.method import weights
from daskal.method.estimate import make_estimate
from daskal.method.multi_label import MultiLabelEstimate
from daskal.method.states import ClassStates, ConsensusStatistics
from daskal.method.values import PoolRule, Rule
from daskal.method.weights import Draft
from daskal.options import ON_INVALID, REDUCE, Options, Storage, check_choice, check_flag

# Returns the merged state of a stage over all blocks.
Reduce = Callable[..., Any]


def reduce_blocks(
    stage: str, blocks: RowBlocks, function: Callable[..., Any], **options: Any
) -> Any:
    """Return the merged state of a stage, followed and recorded by nobody."""
    return reduction.reduce_blocks(blocks, stage, function, **options)


def is_multi_label(estimate: Any, wanted: bool | None) -> bool:
    """Return whether several classes an example are meant: as the estimate says, else as wanted."""
    many = isinstance(estimate, MultiLabelEstimate)
    if wanted is None:
        return many
    check_flag("multi_label", wanted)
    if estimate is not None and many != wanted:
        expected = "a daskal.MultiLabelEstimate" if wanted else "a daskal.Estimate"
        raise EstimateError(
            f"estimate: expected {expected} for multi_label={wanted}, got one of type "
            f"{type(estimate).__name__}. Make it with daskal.estimate(..., multi_label={wanted})."
        )
    return wanted


def check_reduce(reduce: Any, *, multi_label: bool) -> None:
    """Refuse what makes no score of several classes' scores, or where there is nothing to do so."""
    if multi_label:
        if reduce is not None:
            check_choice("reduce", reduce, REDUCE)
    elif reduce != REDUCE[0]:
        raise InputError(
            f"reduce: expected 'mean', as it is, where each example has one class, got {reduce!r}.",
            advice="It is for {multi_label=True}.",
        )


# --- pass 1 -----------------------------------------------------------------------------------


def read_labels(
    given: LabeledData, options: Options, on_invalid: str, reduce: Reduce
) -> ClassStates:
    """Return the first read's statistics of each class.

    Classes of which a block has guessed T wrong are read once more, all together.
    """

    def read(stage: str, wanted: Sequence[bool], *, guess: bool) -> ClassStates:
        state: ClassStates = reduce(
            stage,
            given.blocks,
            class_label_statistics,
            wanted=tuple(wanted),
            num_annotators=given.labels.num_annotators,
            miscount=options.convention == "cleanlab",
            fit=options.temperature == "fit",
            guess=guess,
        )
        return state

    found = read("votes", [True] * given.probs.num_classes, guess=True)
    if options.temperature != "fit" or (on_invalid == "raise" and found.findings):
        return found
    again = [state.num_multiple > 0 and not weights.is_loss_known(state) for state in found.states]
    if not any(again):
        return found
    second = read("temperature", again, guess=False)
    pairs = zip(found.states, second.states, strict=True)
    return replace(found, states=tuple(old if new is None else new for old, new in pairs))


def finish_estimate(
    first: ClassStates, given: LabeledData, options: Options, reduce: Reduce
) -> MultiLabelEstimate:
    """Return the estimate of each class that has votes, from the first read and a second one."""
    num_models = given.probs.num_models
    if not any(state.num_labeled for state in first.states):
        # Refuses data without votes, in the words it has for them.
        Draft.from_statistics(first.states[0], options)

    def read_again(stage: str, rules: list[Rule | None]) -> Sequence[ConsensusStatistics | None]:
        state: ClassStates = reduce(
            stage, given.blocks, class_consensus_statistics, rules=tuple(rules)
        )
        return state.states

    problems = [
        rounds_of(state, options, num_models) if state.num_labeled else None
        for state in first.states
    ]
    settled = settle(problems, read_again)
    return MultiLabelEstimate(
        tuple(
            None
            if one is None
            else make_estimate(
                *one,
                ensemble=given.probs.ensemble,
                annotator_ids=given.labels.annotator_ids,
            )
            for one in settled
        ),
        given.class_names,
        given.probs.moved,
    )


# --- pass 2 -----------------------------------------------------------------------------------


def open_to_score(
    labels: Any, pred_probs: Any, estimate: Any, on_invalid: str, storage_options: Storage
) -> tuple[LabeledData, tuple[Rule | None, ...]]:
    """Return labeled data that fit an estimate, and the rule of each class."""
    check_choice("on_invalid", on_invalid, ON_INVALID)
    if pred_probs is None:
        raise InputError(
            "pred_probs: expected the probabilities of each class for multi_label=True, got None. "
            "Votes without a model are of one class an example: daskal.aggregate."
        )
    given = open_multi_labeled(labels, pred_probs, storage_options)
    check_labeled_fits(estimate, given.probs, given.classes, multi_label=True)
    return given, estimate.rules(match_annotators(estimate, given.labels))


def score_labeled(
    labels: Any,
    pred_probs: Any,
    estimate: MultiLabelEstimate,
    reduce: str | None,
    on_invalid: str,
    storage_options: Storage,
) -> Any:
    """Return the scores of labeled examples, (N,), or (N, K) without ``reduce``, lazily."""
    given, rules = open_to_score(labels, pred_probs, estimate, on_invalid, storage_options)
    return labeled_scores(given, rules, reduce, on_invalid)


def labeled_scores(
    given: LabeledData, rules: Sequence[Rule | None], reduce: str | None, on_invalid: str
) -> Any:
    """Return the scores of opened labeled data, lazily."""
    template = rows_template(given.probs, given.labels)
    return lazy_scores(given.blocks, "score labeled", rules, reduce, on_invalid, template)


def score_unlabeled(
    pred_probs: Any,
    estimate: MultiLabelEstimate | None,
    reduce: str | None,
    on_invalid: str,
    storage_options: Storage,
) -> Any:
    """Return the scores of the pool, (U,), or (U, K) without ``reduce``, lazily."""
    check_choice("on_invalid", on_invalid, ON_INVALID)
    pool = fit_pool(estimate, open_pool(pred_probs, storage_options, least_classes=1))
    return pool_scores(pool, estimate, reduce, on_invalid)


def pool_scores(
    pool: PoolData, estimate: MultiLabelEstimate | None, reduce: str | None, on_invalid: str
) -> Any:
    """Return the scores of an opened pool that fits the estimate, lazily."""
    rules = pool_rules(pool, estimate)
    template = pool.probs.template
    return lazy_scores(pool.blocks, "score unlabeled", rules, reduce, on_invalid, template)


def pool_rules(pool: PoolData, estimate: MultiLabelEstimate | None) -> tuple[PoolRule | None, ...]:
    """Return the rule of each class by which a pool that fits the estimate is scored."""
    if estimate is not None:
        return estimate.pool_rules()
    return (PoolRule.without_estimate(pool.probs.num_models),) * pool.probs.num_classes


def lazy_scores(
    blocks: RowBlocks,
    stage: str,
    rules: Sequence[Rule | None] | Sequence[PoolRule | None],
    reduce: str | None,
    on_invalid: str,
    template: Any,
) -> Any:
    """Return scores of blocks, one a row, or one a row and class."""
    options = {"rules": rules, "reduce": reduce, "on_invalid": on_invalid}
    if reduce is None:
        matrix = as_matrix(blocks, stage, score_classes, len(rules), **options)
        return like_rows(matrix, template, "score", "class")
    scores = as_array(blocks, stage, score_classes, np.float64, **options)
    return like_template(scores, template, "score")
