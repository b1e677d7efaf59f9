"""Quality of labels and annotators where an example may have several classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskal.api.frames import block_rows, named
from daskal.api.multi_label import open_to_score
from daskal.engine import reduction
from daskal.engine.graph import as_frame
from daskal.inputs.data import annotator_index
from daskal.kernels.multi_label import class_annotators, describe_classes
from daskal.method.annotators import ANNOTATOR_COLUMNS, annotator_table
from daskal.method.findings import MULTI_LABEL_RULE, raise_invalid
from daskal.method.multi_label import MultiLabelEstimate
from daskal.method.states import ClassStates
from daskal.method.values import Block, Bools, Columns, Floats, Ints, Question, Rule, Scorer
from daskal.options import Storage

Questions = tuple[Question | None, ...]
ClassNames = tuple[str, ...] | None


def questions_of(rules: Sequence[Rule | None], method: str) -> Questions:
    """Return what is asked of each class: its label quality under its rule."""
    scorer = Scorer(method)
    return tuple(
        None if rule is None else Question((rule,), ("",), (scorer,), scorer, "raise")
        for rule in rules
    )


# --- label quality ----------------------------------------------------------------------------


def label_quality(
    labels: Any,
    pred_probs: Any,
    estimate: Any,
    reduce: str | None,
    method: str,
    on_invalid: str,
    storage_options: Storage,
) -> Any:
    """Return label quality lazily: a row per example, or per example and class."""
    given, rules = open_to_score(labels, pred_probs, estimate, on_invalid, storage_options)
    classes = estimate.named_classes
    empty = Block(np.zeros((0, 0, 0)), [np.zeros((0, len(rules)))], 0)
    options: dict[str, Any] = {
        "questions": questions_of(rules, method),
        "num_annotators": given.labels.num_annotators,
        "class_names": classes,
        "reduce": reduce,
        "on_invalid": on_invalid,
    }
    nothing: Columns = {
        "consensus_label": np.zeros((0, len(rules)), dtype=np.int64),
        "consensus_quality_score": np.zeros((0, len(rules))),
        "annotator_agreement": np.zeros((0, len(rules))),
        "num_annotations": np.zeros((0, len(rules)), dtype=np.int64),
    }
    meta = (
        table_by_class(nothing, block_rows(empty), classes)
        if reduce is None
        else table_by_row(
            nothing, np.zeros(0, dtype=np.int64), block_rows(empty), classes, known(rules), reduce
        )
    )
    return as_frame(given.blocks, "label quality", quality_block, meta, given.row_ids, **options)


def known(parts: Sequence[Any]) -> Bools:
    """Return of which classes something is known."""
    return np.array([part is not None for part in parts])


def quality_block(
    block: Block,
    *,
    questions: Questions,
    num_annotators: int,
    class_names: ClassNames,
    reduce: str | None,
    on_invalid: str,
) -> pd.DataFrame:
    """Return the label quality of a block."""
    columns, asked = describe_classes(
        block, questions=questions, num_annotators=num_annotators, on_invalid=on_invalid
    )
    rows = block_rows(block)
    if reduce is None:
        return table_by_class(columns, rows, class_names)
    return table_by_row(columns, asked, rows, class_names, known(questions), reduce)


def table_by_class(columns: Columns, rows: pd.RangeIndex, names: ClassNames) -> pd.DataFrame:
    """Return (n, k) columns as a table of one row per example and class, by example."""
    num_rows, num_classes = columns["consensus_label"].shape
    codes = np.tile(np.arange(num_classes), num_rows)
    return pd.DataFrame(
        {
            "class": named(codes, names),
            **{name: matrix.reshape(-1) for name, matrix in columns.items()},
        },
        index=rows.repeat(num_classes),
    )


def table_by_row(
    columns: Columns,
    asked: Ints,
    rows: pd.RangeIndex,
    names: ClassNames,
    classes: Bools,
    reduce: str,
) -> pd.DataFrame:
    """Return (n, k) columns as a table of one row per example, over the classes with votes."""
    return pd.DataFrame(
        {
            "consensus_labels": chosen_lists(columns["consensus_label"], names),
            "consensus_quality_score": over_classes(
                columns["consensus_quality_score"][:, classes], reduce
            ),
            "annotator_agreement": over_classes(columns["annotator_agreement"], "mean"),
            "num_annotations": asked,
        },
        index=rows,
    )


def chosen_lists(labels: NDArray[np.integer], names: Sequence[str] | None) -> Any:
    """Return the classes that each row of (n, k) labels has, as an (n,) array of lists."""
    called = list(range(labels.shape[1])) if names is None else list(names)
    lists = np.empty(len(labels), dtype=object)
    for at, row in enumerate(labels):
        lists[at] = [called[k] for k in np.flatnonzero(row)]
    return lists


def over_classes(matrix: Floats, reduce: str) -> Floats:
    """Return the mean or the least over the classes of each row, NaN left out, one by one."""
    if reduce == "min":
        return np.fmin.reduce(matrix, axis=1, initial=np.nan)
    total, num = np.zeros(len(matrix)), np.zeros(len(matrix))
    for column in matrix.T:
        there = ~np.isnan(column)
        total += np.where(there, column, 0.0)
        num += there
    with np.errstate(invalid="ignore"):
        return total / num


# --- annotators -------------------------------------------------------------------------------


def annotator_stats(
    labels: Any,
    pred_probs: Any,
    estimate: Any,
    reduce: str | None,
    on_invalid: str,
    storage_options: Storage,
) -> pd.DataFrame:
    """Return how good annotators are, in all or in each class (runs now, one read)."""
    given, rules = open_to_score(labels, pred_probs, estimate, on_invalid, storage_options)
    state: ClassStates = reduction.tree(
        given.blocks,
        "quality columns",
        class_annotators,
        questions=questions_of(rules, "self_confidence"),
        num_annotators=given.labels.num_annotators,
    ).compute()
    if on_invalid == "raise":
        raise_invalid(state.findings, given.names, MULTI_LABEL_RULE)
    table = stats_by_class(state, estimate, annotator_index(given.labels, estimate.annotator_ids))
    if reduce is None:
        return table
    assert state.asked is not None
    ids = annotator_index(given.labels, estimate.annotator_ids)
    return over_all_classes(table, estimate, ids, state.asked, reduce)


def stats_by_class(state: ClassStates, estimate: MultiLabelEstimate, ids: pd.Index) -> pd.DataFrame:
    """Return one row per class and annotator with votes, the worst of each class first."""
    tables = {
        name: annotator_table(found, one, ids).rename(columns={"worst_class": "worst_label"})
        for name, one, found in zip(
            estimate.class_index.tolist(), estimate.classes, state.states, strict=True
        )
        if one is not None
    }
    return pd.concat(tables, names=["class", "annotator"])


def over_all_classes(
    table: pd.DataFrame, estimate: MultiLabelEstimate, ids: pd.Index, asked: Ints, reduce: str
) -> pd.DataFrame:
    """Return one row per annotator with votes, over the classes of a table, the worst first."""

    def matrix(name: str) -> pd.DataFrame:
        wide = table[name].unstack("class")
        return wide.reindex(index=ids, columns=estimate.class_index)

    agreement = matrix("agreement_with_consensus").to_numpy()
    # Ties go to the class with most votes, then to the first one.
    num = matrix("num_examples_labeled").fillna(0).to_numpy()
    order = np.lexsort((-num, np.where(np.isnan(agreement), np.inf, agreement)), axis=1)
    worst = order[:, 0] if len(order) else np.zeros(0, dtype=np.int64)
    names = estimate.named_classes
    found = pd.DataFrame(
        dict(
            zip(
                ANNOTATOR_COLUMNS,
                (
                    over_classes(matrix("annotator_quality").to_numpy(), reduce),
                    over_classes(agreement, "mean"),
                    named(worst.astype(np.int64), names),
                    asked,
                ),
                strict=True,
            )
        ),
        index=ids,
    )
    return found[asked > 0].sort_values(ANNOTATOR_COLUMNS[:2], kind="stable")
