"""An estimate beside votes, a pool and labeled data of other names or another order."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import daskal
from daskal.api.scoring import labeled_scores
from daskal.errors import DataWarning
from daskal.inputs.data import open_labeled
from tests.who_is_who.asking import Case, Pair, check_pair, check_same
from tests.who_is_who.imports import open_import
from tests.who_is_who.who import ANNOTATORS, BARE, CLASSES, NAMED, probs_in


def estimate_and_annotators(case: Case) -> None:
    """Annotators of an estimate and of votes: all, some, and some that it does not know."""
    known = daskal.estimate(
        case.named_labels(None, case.annotators.index(case.rng)), case.base.models()
    )
    if case.pick(True, False):
        known = daskal.Estimate.from_json(known.to_json())
    order, names = case.changed(case.annotators, "fewer")
    case.must_refuse = False
    if case.change == "fewer":
        order, names = order[1:], names.take(range(1, ANNOTATORS))
    rows = case.rows.index(case.rng)
    labels = case.labels(
        rows, names.index(case.rng), case.pick(*NAMED, "float"), case.base.labels[:, order]
    )
    probs = case.probs(rows=case.rows)
    if case.change in ("shuffled", "same"):
        functions = ("score", "quality", "votes", "stats")
        case.ask(labels, probs, known, rows=True, annotators=True, functions=functions)
        return
    mine = case.annotators.texts
    places = [mine.index(name) if name in mine else -1 for name in names.texts]
    given = open_labeled(case.base.labels[:, order], case.base.models(), None)
    wanted = labeled_scores(given, case.base.estimate.rule(places), "raise").compute()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        scores = daskal.score_labeled(labels, probs, known)
    assert (-1 in places) == any(
        issubclass(note.category, DataWarning) and "does not know" in str(note.message)
        for note in told
    )
    check_same(case.scores_table(scores), case.scores_table(wanted))


def estimate_and_pool(case: Case) -> None:
    """Classes of an estimate and columns of a pool."""
    known = daskal.estimate(case.base.labels, case.probs(case.classes))
    order, names = case.changed(case.classes)
    if case.pick(True, False):
        known = daskal.Estimate.from_json(known.to_json())
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
    case.ask_pool(pool[0] if len(pool) == 1 else pool, known, case.pool_rows)


def estimate_and_labeled(case: Case) -> None:
    """Classes of an estimate and of labeled data, whose codes cannot be moved."""
    functions = ("score", "quality", "votes", "stats")
    if case.pick(True, False):
        path = open_import(case)
        order, names = case.changed(case.classes)
        # Yesterday's classes may have had another order.
        labels = case.base.labels
        inverse = np.argsort(order)
        moved = np.where(labels >= 0, inverse[labels], -1)
        columns = names
        if sorted(names.texts) == [str(code) for code in range(CLASSES)]:
            return  # columns called by codes are put in their order
        known = daskal.estimate(
            pd.DataFrame(moved, columns=case.annotators.index(case.rng)),
            pd.DataFrame(case.base.probs[0][:, order], columns=columns.index(case.rng)),
        )
        probs = case.probs(case.classes)
        case.ask(path, probs, known, rows=True, annotators=True, functions=functions)
        return
    known = daskal.estimate(case.base.labels, case.probs(case.classes))
    order, names = case.changed(case.classes)
    codes = known.named_classes is None  # columns called by them are put in their order
    case.must_refuse = case.must_refuse or not (codes or order == sorted(order))
    probs = [
        probs_in(case.pick(*NAMED), values[:, order], None, names.index(case.rng), case.chunk)
        for values in case.base.probs
    ]
    case.ask(
        case.labels(None, None, case.pick(*BARE)),
        probs[0] if len(probs) == 1 else probs,
        known,
        rows=False,
        annotators=False,
        functions=functions,
    )


@pytest.mark.parametrize("pair", [estimate_and_annotators, estimate_and_pool, estimate_and_labeled])
def test_one_side_shuffled_or_renamed(pair: Pair) -> None:
    check_pair(pair)
