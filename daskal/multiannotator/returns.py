"""The return values of cleanlab's functions, made by daskal's."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from daskal.api.estimation import finish_estimate
from daskal.api.frames import wide_table
from daskal.api.quality import Inquiry, answer, lazy_matrix, lazy_quality, lazy_votes
from daskal.api.scoring import labeled_scores
from daskal.engine import reduction
from daskal.engine.graph import as_array
from daskal.errors import ArgumentTypeError, InputError
from daskal.inputs.data import PoolData, like_template, pool_rule, rows_template
from daskal.kernels.quality import (
    confidence_block,
    majority_block,
    model_votes_block,
    pool_columns_block,
    score_pool_block,
)
from daskal.method.annotators import annotator_table
from daskal.method.estimate import Estimate
from daskal.method.findings import describe
from daskal.method.tallies import BlockColumns, ConfidenceSums, ModelVotes
from daskal.method.values import Question, Scorer, TieBreak, quality_meta, votes_meta
from daskal.method.weights import Draft, class_thresholds, impute_mean, ratio
from daskal.multiannotator import arguments
from daskal.multiannotator.arguments import LABELS, POOL, PROBS, Given
from daskal.options import CONSENSUS_METHODS, QUALITY_METHODS, SCORE_METHODS, check_choice

logger = logging.getLogger("daskal")

PREFIX = "quality_annotator_"
NO_SCORE_OPTIONS: Mapping[str, Any] = {}

# --- active learning --------------------------------------------------------------------------


def active_learning_scores(
    labels: Any, pred_probs: Any, pool: Any, *, ensemble: bool
) -> tuple[Any, Any, list[str]]:
    """Return the scores of labeled examples and the pool, and notes on the data."""
    if pred_probs is None and pool is None:
        raise InputError(f"expected {PROBS}, {POOL} or both, got neither.")
    for name, given in ((PROBS, pred_probs), (POOL, pool)):
        if given is not None:
            arguments.check_type(name, given)
    opened = None if pool is None else arguments.take_pool(pool, ensemble=ensemble)
    scores: Any = np.array([])
    estimate = None
    notes: list[str] = []
    if pred_probs is not None:
        if labels is None:
            raise InputError(
                f"{LABELS}: expected the labels that {PROBS} belong to, got None. Pass the "
                f"probabilities of examples without labels as {POOL}."
            )
        given = arguments.take_labeled(labels, pred_probs, ensemble=ensemble)
        if opened is not None:
            opened = arguments.fit_pool(given.data, opened)
        options = given.options()
        statistics = arguments.read(given, options, single=True)
        estimate = finish_estimate(statistics, given.data, options, given.on_invalid)
        notes = arguments.notes_on(statistics)
        scores = score_labeled(given, estimate)
    if opened is None:
        return scores, np.array([]), notes
    lazy = arguments.is_lazy(pool)
    scores_unlabeled, found = score_pool(opened, estimate, lazy=lazy)
    return scores, scores_unlabeled, notes + found


def score_labeled(given: Given, estimate: Estimate) -> Any:
    """Return scores of the labeled examples."""
    scores = labeled_scores(given.data, estimate.rule(), given.on_invalid)
    if given.lazy:
        template = rows_template(given.data.probs, given.data.labels)
        return like_template(scores, template, "score")
    return scores.compute()


def score_pool(pool: PoolData, estimate: Estimate | None, *, lazy: bool) -> tuple[Any, list[str]]:
    """Return the scores of the pool, and notes on the data."""
    rule = pool_rule(estimate, pool)
    if pool.probs.num_models > 1:
        # Ties between models are broken by statistics of the whole pool, which is read first.
        votes: ModelVotes = reduction.tree(
            pool.blocks, "models", model_votes_block, inverse=rule.inverse
        ).compute()
        agreement = impute_mean(
            ratio(votes.untied_agreeing, votes.untied), np.ones_like(votes.untied), fallback=1.0
        )
        rule = rule._replace(tie_break=TieBreak(votes.class_counts, agreement, 0))
    if lazy:
        scores = as_array(pool.blocks, "score unlabeled", score_pool_block, np.float64, rule=rule)
        return like_template(scores, pool.probs.template, "score"), []
    found: BlockColumns = reduction.tree(
        pool.blocks, "score unlabeled", pool_columns_block, rule=rule
    ).compute()
    return found.column("score"), [describe(found.findings)] if found.findings else []


# --- label quality ----------------------------------------------------------------------------


def label_quality_info(
    given: Given,
    methods: list[str],
    quality_method: str,
    *,
    calibrate: bool,
    detailed: bool,
    stats: bool,
    weights: bool,
    verbose: bool,
    score_options: Mapping[str, Any],
) -> tuple[dict[str, Any], list[str]]:
    """Return the tables and weights asked for, and notes on the data."""
    if not methods:
        raise InputError("consensus_method: expected at least one method, got an empty list.")
    for method in methods:
        check_choice("consensus_method", method, CONSENSUS_METHODS)
    check_choice("quality_method", quality_method, QUALITY_METHODS)
    options = given.options(
        temperature="fit" if calibrate else None,
        quality_method=quality_method,
        consensus_method="best_quality" if "best_quality" in methods else "majority_vote",
    )
    statistics = arguments.read(given, options, single=False)
    estimate = finish_estimate(statistics, given.data, options, given.on_invalid)
    estimates = [arguments.by_method(estimate, method) for method in methods]
    used = detailed or quality_method == "crowdlab"
    question = make_question(
        given, estimates, score_options if used else NO_SCORE_OPTIONS, detailed=detailed
    )
    inquiry = Inquiry(given.data, question, given.row_ids, given.annotator_ids)
    tables = lazy_tables if given.lazy else tables_now
    info = tables(given, inquiry, estimates[0], detailed=detailed, stats=stats)
    if weights:
        last = estimates[-1].final
        info["model_weight"] = (
            last.model_weight.copy() if estimate.ensemble else last.model_weight[0]
        )
        info["annotator_weight"] = last.annotator_weight.copy()
    if verbose:
        for flag in estimate.flags:
            logger.info("%s", flag)
    return info, arguments.notes_on(statistics)


def make_question(
    given: Given, estimates: Sequence[Estimate], score_options: Mapping[str, Any], *, detailed: bool
) -> Question:
    """Return the question put to the labeled rows, class thresholds included."""
    unknown = sorted(set(score_options) - {"method", "adjust_pred_probs"})
    if unknown:
        raise ArgumentTypeError(
            "label_quality_score_kwargs: expected method and adjust_pred_probs only, got "
            f"{unknown} too."
        )
    method = score_options.get("method", "self_confidence")
    check_choice("label_quality_score_kwargs['method']", method, SCORE_METHODS)
    scorers = [Scorer(method)] * len(estimates)
    rules = [estimate.rule() for estimate in estimates]
    if score_options.get("adjust_pred_probs", False):
        if method == "confidence_weighted_entropy":
            raise InputError(
                f"label_quality_score_kwargs: expected no adjust_pred_probs with {method!r}, which "
                "has no form for it."
            )
        scorers = [adjusted_scorer(given, rule, method) for rule in rules]
    others = [f"_{estimate.options.consensus_method}" for estimate in estimates[1:]]
    votes = scorers[0] if detailed else Scorer()
    return Question(tuple(rules), ("", *others), tuple(scorers), votes, given.on_invalid)


def adjusted_scorer(given: Given, rule: Any, method: str) -> Scorer:
    """Return a scorer that subtracts class thresholds, which take one read to find."""
    sums: ConfidenceSums = reduction.tree(
        given.data.blocks,
        "thresholds",
        confidence_block,
        question=Question((rule,), ("",), (Scorer(),), Scorer(), given.on_invalid),
    ).compute()
    thresholds = class_thresholds(*sums.table(given.data.labels.num_annotators))
    return Scorer(method, thresholds[0], thresholds[1:])


def tables_now(
    given: Given, inquiry: Inquiry, estimate: Estimate, *, detailed: bool, stats: bool
) -> dict[str, Any]:
    """Return the tables as pandas, from one read."""
    found = answer(inquiry, quality=True, votes=detailed)
    index, columns = given.matrix.row_names, given.matrix.column_names
    names = quality_meta(inquiry.question.suffixes)
    table = pd.DataFrame({name: found.column(name) for name in names}, index=index)
    info = {"label_quality": table}
    if detailed:
        votes = {name: found.column(name) for name in votes_meta()}
        ids = pd.RangeIndex(given.data.labels.num_annotators) if columns is None else columns
        wide = wide_table(votes, 0, table.index, ids)
        info["detailed_label_quality"] = wide.add_prefix(PREFIX)
    if stats:
        assert found.annotators is not None
        info["annotator_stats"] = annotator_table(found.annotators, estimate, columns)
    return info


def lazy_tables(
    given: Given, inquiry: Inquiry, estimate: Estimate, *, detailed: bool, stats: bool
) -> dict[str, Any]:
    """Return the tables of examples lazily, and the table of annotators computed."""
    info = {"label_quality": lazy_quality(inquiry)}
    if detailed:
        # Sparse votes stay sparse: their quality has one row per vote.
        is_sparse = given.data.labels.source.is_sparse
        info["detailed_label_quality"] = (
            lazy_votes(inquiry) if is_sparse else lazy_matrix(inquiry, PREFIX)
        )
    if stats:
        found = answer(inquiry, quality=False, votes=False)
        assert found.annotators is not None
        info["annotator_stats"] = annotator_table(found.annotators, estimate, inquiry.annotator_ids)
    return info


# --- majority vote ----------------------------------------------------------------------------


def majority_vote(labels: Any, pred_probs: Any, *, strict: bool) -> tuple[Any, list[str]]:
    """Return the majority vote of each row, and notes on the data."""
    if pred_probs is None:
        matrix = arguments.take_labels(labels)
        pred_probs = arguments.uniform_probs(matrix, arguments.count_classes(matrix))
    given = arguments.take_labeled(labels, pred_probs, ensemble=False)
    options = given.options(temperature=None, consensus_method="majority_vote")
    statistics = arguments.read(given, options, single=False, strict=strict)
    tie_break = Draft.from_statistics(statistics, options).tie_break
    votes = as_array(given.data.blocks, "majority", majority_block, np.int64, tie_break=tie_break)
    # Callers that do not ask for checks of the labels get no notes from them.
    notes = arguments.notes_on(statistics) if strict else []
    if given.lazy:
        template = rows_template(given.data.labels, given.data.probs)
        return like_template(votes, template, "majority_vote"), notes
    return votes.compute(), notes
