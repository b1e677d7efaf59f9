"""Rows and classes of labels, of probabilities and of a pool."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskal
from daskal import multiannotator
from tests.who_is_who.asking import Case, Pair, check_pair, check_same, texts
from tests.who_is_who.imports import long_votes, named_estimate, open_import
from tests.who_is_who.who import (
    ANNOTATORS,
    BARE,
    BASES,
    CLASSES,
    NAMED,
    NUMBERED,
    ROWS,
    Base,
    Names,
    Table,
    base,
    probs_in,
)


def labels_and_probs(case: Case) -> None:
    """Rows of labels and rows of probabilities."""
    order, names = case.changed(case.rows, "bare", "numbered", "text")
    left: Any = case.rows.index(case.rng)
    annotators, classes = case.maybe(case.annotators), case.maybe(case.classes)
    if case.change == "bare":
        how = case.pick(*BARE, "csr")
        left = annotators = None
        order, names = list(range(ROWS)), case.rows
    elif case.change == "numbered":
        # One side has the default index of pandas, the other its numbers in another order.
        how, left = case.pick("frame", "nullable", "arrow"), None
        names = Names("number", tuple(order), ROWS)
        case.must_refuse = order != sorted(order)
    else:
        how = case.pick(*NAMED, "float", "category")
    if case.change == "text" and case.rows.kind not in ("text", "digit"):
        names = Names("text", tuple(names.texts), "other")
        case.must_refuse = True
    given = [
        probs_in(case.pick(*NAMED), values[order], names.index(case.rng), classes, case.chunk)
        for values in case.base.probs
    ]
    case.ask(
        case.labels(left, annotators, how),
        given[0] if len(given) == 1 else given,
        None,
        rows=True,
        annotators=annotators is not None,
    )


def bare_probs(case: Case) -> None:
    """Named labels beside probabilities without names: by place, and the names are kept."""
    rows, annotators = case.rows.index(case.rng), case.annotators.index(case.rng)
    given = [
        probs_in(case.pick(*BARE), values, None, None, case.chunk) for values in case.base.probs
    ]
    case.ask(
        case.named_labels(rows, annotators),
        given[0] if len(given) == 1 else given,
        None,
        rows=True,
        annotators=True,
    )


def models_of_an_ensemble(case: Case) -> None:
    """Rows and columns of two models, labels without names of rows or with them."""
    case.base = base(int(case.rng.integers(BASES)), 2)
    of_rows = case.pick(True, False)
    names = case.rows if of_rows else case.classes
    order, moved = case.changed(names)
    labels_named, first_named = case.pick(True, False), case.pick(True, True, False)
    rows = case.rows if first_named or of_rows else None
    first, second = case.base.probs
    one = probs_in(
        case.pick(*NAMED),
        first,
        None if rows is None else rows.index(case.rng),
        case.classes.index(case.rng),
        case.chunk,
    )
    if of_rows:
        two = probs_in(
            case.pick(*NAMED),
            second[order],
            moved.index(case.rng),
            case.maybe(case.classes),
            case.chunk,
        )
    else:
        two = probs_in(
            case.pick(*NAMED),
            second[:, order],
            None if rows is None else case.maybe(rows),
            moved.index(case.rng),
            case.chunk,
        )
    annotators = case.maybe(case.annotators)
    labels = case.named_labels(case.rows.index(case.rng) if labels_named else None, annotators)
    if not labels_named and case.rows.kind in NUMBERED and rows is not None:
        labels = case.labels(None, None, case.pick(*BARE, "csr"))
        annotators = None
    case.ask(
        labels,
        [one, two],
        None,
        rows=labels_named or rows is not None,
        annotators=annotators is not None,
    )


def votes_and_columns(case: Case) -> None:
    """Classes of imported votes and columns of probabilities, which may have ids as well."""
    path = open_import(case)
    order, names = case.changed(case.classes)
    rows = list(range(ROWS))
    by_row = case.pick(True, False)
    if by_row:
        rows = case.order(ROWS)
    probs = probs_in(
        case.pick(*NAMED),
        case.base.probs[0][rows][:, order],
        case.rows.take(rows).index(case.rng) if by_row else None,
        names.index(case.rng),
        case.chunk,
    )
    case.ask(path, probs, named_estimate(case), rows=True, annotators=True)


def columns_and_pool(case: Case) -> None:
    """Columns of probabilities and of the pool, in one run or in one call of the mirror."""
    order, names = case.changed(case.classes)
    labels = case.labels(None, None, case.pick(*BARE))
    probs = case.probs(case.classes)
    pool = [
        probs_in(
            case.pick(*NAMED),
            values[:, order],
            case.pool_rows.index(case.rng),
            names.index(case.rng),
            case.chunk,
        )
        for values in case.base.pool
    ]
    given = pool[0] if len(pool) == 1 else pool
    with tempfile.TemporaryDirectory() as folder:
        run = daskal.run(
            labels=labels, pred_probs=probs, pred_probs_unlabeled=given, out=f"{folder}/out"
        )
        got = self_named(run, case.pool_rows)
        check_same(got, case.scores_table(case.base.pool_scores, case.pool_rows))


def self_named(run: daskal.Run, names: Names) -> Table:
    """Return a run's scores of the pool by the ids it stored."""
    assert run.pool is not None
    ids = texts(run.ids("unlabeled")[:])
    assert sorted(ids) == sorted(names.texts)
    return dict(zip(ids, run.pool.compute()[:, None], strict=True))


def tasks_and_votes(case: Case) -> None:
    """Tasks in the order of the probabilities, and votes in any."""
    kinds = ("int", "uint", "text", "number", "digit")
    case.base = base(int(case.rng.integers(BASES)), 1)
    case.rows = Names.draw(case.rng, ROWS, case.pick(*kinds))
    case.annotators = Names.draw(case.rng, ANNOTATORS, case.pick(*kinds))
    case.classes = Names("number", tuple(range(CLASSES)), CLASSES)
    votes = long_votes(case.base.labels, case.rows, case.annotators, case.classes, case.rng)
    order, names = case.changed(case.rows)
    votes["task"] = case.rows.take(
        [case.rows.values.index(value) for value in votes["task"]]
    ).index(case.rng)
    tasks = names.index(case.rng)
    with tempfile.TemporaryDirectory() as folder:
        daskal.import_votes(
            votes, f"{folder}/votes", tasks=case.pick(tasks, pd.Series(tasks), tasks.tolist())
        )
        case.must_refuse = False
        assert case.change != "renamed", "votes of a task that is not there"
        probs = probs_in(case.pick(*BARE), case.base.probs[0][order], None, None, case.chunk)
        case.rows = case.rows.take(order)
        case.base = reordered(case.base, order)
        known = named_estimate(case)
        case.ask(f"{folder}/votes", probs, known, rows=True, annotators=True)


def reordered(problem: Base, order: list[int]) -> Base:
    """Return the same problem with its rows in another order."""
    return Base(
        problem.labels[order], tuple(values[order] for values in problem.probs), problem.pool
    )


def mirror(case: Case) -> None:
    """The functions with cleanlab's names: labels as a frame, probabilities as a DataArray."""
    case.base = base(int(case.rng.integers(BASES)), 1)
    of_rows = case.pick(True, False)
    order, names = case.changed(case.rows if of_rows else case.classes)
    how = case.pick("xarray", "lazy xarray")
    first = case.base.probs[0]
    annotators = case.annotators.index(case.rng)
    frame = case.labels(
        case.rows.index(case.rng), annotators, case.pick("float", "nullable", "xarray")
    )
    truth = multiannotator.get_label_quality_multiannotator(
        np.where(case.base.labels >= 0, case.base.labels, np.nan), first, verbose=False
    )
    if of_rows:
        given = probs_in(how, first[order], names.index(case.rng), None, case.chunk)
        info = multiannotator.get_label_quality_multiannotator(frame, given, verbose=False)
        got = info["label_quality"]
        got = got.compute() if hasattr(got, "compute") else got
        wanted = case.quality_table(truth["label_quality"], named=False)
        check_same(case.quality_table(got, named=True), wanted)
        return
    plain = np.where(case.base.labels >= 0, case.base.labels, np.nan)
    pool = case.base.pool[0]
    _, wanted = multiannotator.get_active_learning_scores(plain, first, pool)
    _, scores = multiannotator.get_active_learning_scores(
        frame,
        probs_in(how, first, None, case.classes.index(case.rng), case.chunk),
        probs_in(
            how, pool[:, order], case.pool_rows.index(case.rng), names.index(case.rng), case.chunk
        ),
    )
    check_same(case.scores_table(scores, case.pool_rows), case.scores_table(wanted, case.pool_rows))


@pytest.mark.parametrize(
    "pair",
    [
        labels_and_probs,
        bare_probs,
        models_of_an_ensemble,
        votes_and_columns,
        columns_and_pool,
        tasks_and_votes,
        mirror,
    ],
)
def test_one_side_shuffled_or_renamed(pair: Pair) -> None:
    check_pair(pair)
