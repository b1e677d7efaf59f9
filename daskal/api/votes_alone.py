"""Quality, scores and annotators from votes alone, under an aggregate."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pandas as pd

from daskal.api import frames
from daskal.api.aggregation import Weighed, weigh
from daskal.engine import reduction
from daskal.engine.graph import as_array, as_frame
from daskal.errors import EstimateError, InputError
from daskal.inputs.data import annotator_index, like_template, rows_template
from daskal.inputs.gold import check_known
from daskal.kernels import vote_quality as kernels
from daskal.method.aggregates import VoteModel
from daskal.method.annotators import vote_table
from daskal.method.expectation import JudgedVotes
from daskal.method.findings import VOTES_RULE, raise_invalid
from daskal.method.values import Block, quality_meta
from daskal.options import SCORE_METHODS, Storage, check_choice, shown


def only_votes(pred_probs: Any, estimate: Any) -> VoteModel | None:
    """Return the aggregate where votes are alone, without probabilities, else None.

    Raises
    ------
    InputError, EstimateError
        If one of the two is missing.
    """
    aggregate = estimate if isinstance(estimate, VoteModel) else None
    if pred_probs is None and aggregate is None:
        raise EstimateError(
            "estimate: expected a daskal.Aggregate, as there are no pred_probs, got "
            f"{shown(type(estimate).__name__)}. Make one with daskal.aggregate, or pass pred_probs."
        )
    if pred_probs is not None and aggregate is not None:
        raise InputError(
            "pred_probs: expected None beside a daskal.Aggregate, which knows no model, got "
            "probabilities. Make an estimate with daskal.estimate to use them."
        )
    return aggregate


def score_votes(
    labels: Any, aggregate: VoteModel, on_invalid: str, storage_options: Storage
) -> Any:
    """Return the posterior of each example's consensus label, lower = label it first (lazy)."""
    weighed = weigh(labels, aggregate, on_invalid, storage_options)
    scores: da.Array = as_array(
        weighed.given.blocks,
        "score labeled",
        kernels.score_votes_block,
        np.float64,
        parameters=weighed.parameters,
        seed=aggregate.random_state,
        on_invalid=on_invalid,
    )
    return like_template(scores, rows_template(weighed.given.labels), "score")


def votes_quality(
    labels: Any, aggregate: VoteModel, method: str, on_invalid: str, storage_options: Storage
) -> Any:
    """Return label quality from votes alone, one row per example (lazy)."""
    check_choice("method", method, SCORE_METHODS)
    weighed = weigh(labels, aggregate, on_invalid, storage_options)
    return as_frame(
        weighed.given.blocks,
        "label quality",
        quality_frame_block,
        frames.quality_table(quality_meta(("",)), pd.RangeIndex(0), aggregate.class_names),
        weighed.given.labels.row_ids,
        parameters=weighed.parameters,
        seed=aggregate.random_state,
        method=method,
        on_invalid=on_invalid,
        class_names=aggregate.class_names,
    )


def quality_frame_block(
    block: Block, *, class_names: frames.ClassNames, **options: Any
) -> pd.DataFrame:
    """Return the label quality of a block, one row per example, indexed by its row of the whole."""
    columns = kernels.describe_votes_block(block, **options)
    assert block.labels is not None
    rows = pd.RangeIndex(block.first_row, block.first_row + len(block.labels))
    return frames.quality_table(columns, rows, class_names)


def votes_annotators(
    labels: Any, aggregate: VoteModel, gold: Any, on_invalid: str, storage_options: Storage
) -> pd.DataFrame:
    """Return how good each annotator is, from votes alone, the worst first (runs now)."""
    weighed = weigh(labels, aggregate, on_invalid, storage_options, gold)
    found = judge(weighed, aggregate)
    if on_invalid == "raise":
        raise_invalid(found.findings, weighed.given.names, VOTES_RULE)
    if found.gold is not None and gold is not None:
        check_known(found.gold.examples, f"{weighed.given.labels.num_rows:,} rows")
    given = weighed.given.labels
    table = vote_table(
        found.annotators,
        weighed.accuracy,
        aggregate.num_classes,
        annotator_index(given, aggregate.annotator_ids),
        found.gold,
    )
    worst = frames.named(table["worst_class"].to_numpy(), aggregate.class_names)
    return table.assign(worst_class=worst)


def judge(weighed: Weighed, aggregate: VoteModel) -> JudgedVotes:
    """Return how the votes stand to the consensus (runs now, one read)."""
    state: JudgedVotes = reduction.tree(
        weighed.given.blocks,
        "annotators",
        kernels.judge_annotators,
        parameters=weighed.parameters,
        seed=aggregate.random_state,
    ).compute()
    return state
