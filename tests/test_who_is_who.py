"""Who is who: of any two named things that meet, one is shuffled or renamed.

What comes back is, name by name, that of the same data in one order, or an error; never another
number in silence.
"""

from __future__ import annotations

import collections
import itertools
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import daskal
from daskal import multiannotator
from daskal.api.scoring import labeled_scores
from daskal.errors import DataWarning
from daskal.inputs.data import open_labeled
from tests.fuzzing import MANY
from tests.who import (
    ANNOTATORS,
    BARE,
    BASES,
    CLASSES,
    NAMED,
    NUMBERED,
    POOL,
    ROWS,
    Base,
    Names,
    Table,
    base,
    coords,
    in_code_order,
    labels_in,
    probs_in,
    text,
)

EXACT = 1e-12


def texts(index: Any) -> list[str]:
    """Return names as texts."""
    names = index if isinstance(index, pd.Series | pd.Index) else pd.Index(index)
    return [text(value) for value in names.astype(object).tolist()]


def check_same(got: Table, wanted: Table) -> None:
    """Refuse other names, or other values for a name."""
    assert set(got) == set(wanted), (sorted(map(str, got)), sorted(map(str, wanted)))
    for name, value in wanted.items():
        for one, other in zip(got[name], value, strict=True):
            if isinstance(other, str):
                assert one == other, (name, one, other)
            else:
                np.testing.assert_allclose(one, other, rtol=0, atol=EXACT, err_msg=str(name))


class Case:
    """One problem whose rows, annotators, classes and pool have random names."""

    def __init__(self, seed: int, models: int | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        models = int(self.rng.integers(1, 3)) if models is None else models
        self.base: Base = base(int(self.rng.integers(BASES)), models)
        self.rows = Names.draw(self.rng, ROWS)
        self.annotators = Names.draw(self.rng, ANNOTATORS)
        self.classes = in_code_order(Names.draw(self.rng, CLASSES))
        self.pool_rows = Names.draw(self.rng, POOL)
        self.chunk = int(self.rng.integers(3, ROWS + 1))
        self.change = "same"
        self.must_refuse = False

    def pick(self, *values: Any) -> Any:
        """Return one of some values."""
        return values[int(self.rng.integers(len(values)))]

    def maybe(self, names: Names) -> Any:
        """Return an index of names, or none."""
        return names.index(self.rng) if self.rng.random() < 0.7 else None

    def order(self, count: int) -> list[int]:
        """Return a random order."""
        return self.rng.permutation(count).tolist()

    def changed(self, names: Names, *changes: str) -> tuple[list[int], Names]:
        """Return an order in which one side stands, and its names, after a random change."""
        self.change = self.pick("shuffled", "shuffled", "same", "renamed", *changes)
        count = len(names.values)
        order = list(range(count)) if self.change == "same" else self.order(count)
        if self.change == "renamed":
            self.must_refuse = True
            return order, names.take(order).renamed(self.rng)
        return order, names.take(order)

    def labels(self, rows: Any, annotators: Any, how: str, values: Any = None) -> Any:
        """Return the labels in a container."""
        values = self.base.labels if values is None else values
        return labels_in(how, values, rows, annotators, self.chunk)

    def named_labels(self, rows: Any = None, columns: Any = None) -> Any:
        """Return the labels, by default without names of rows, in a random container."""
        return self.labels(rows, columns, self.pick(*NAMED, "float", "category"))

    def probs(self, columns: Any = None, rows: Any = None, *, pool: bool = False) -> Any:
        """Return the probabilities in random containers, all in the order of the problem."""
        given = self.base.pool if pool else self.base.probs
        made = [
            probs_in(
                self.pick(*NAMED),
                values,
                None if rows is None else rows.index(self.rng),
                None if columns is None else columns.index(self.rng),
                self.chunk,
            )
            for values in given
        ]
        return made[0] if len(made) == 1 else made

    # --- the answers, by name

    def estimate_table(self, estimate: Any) -> Table:
        ids = estimate.annotator_ids
        names = self.annotators.texts if ids is None else [text(value) for value in ids]
        table: Table = {
            "temperature": np.atleast_1d(estimate.temperature),
            "model": np.atleast_1d(estimate.model_weight),
        }
        weights = estimate.annotator_weight.to_numpy()
        table |= {("annotator", name): [w] for name, w in zip(names, weights, strict=True)}
        given = estimate.class_names
        known = self.classes.texts if given is None else list(given)
        counts = estimate.class_counts
        return table | {("class", name): [float(n)] for name, n in zip(known, counts, strict=True)}

    def class_name(self, value: Any) -> str:
        """Return the name of a class, which is a code where the answer knows none."""
        return value if isinstance(value, str) else self.classes.texts[int(value)]

    def scores_table(self, scores: Any, names: Names | None = None) -> Table:
        names = self.rows if names is None else names
        called = names.texts
        if isinstance(scores, xr.DataArray):
            if "row" in scores.indexes:
                called = texts(scores.indexes["row"])
            scores = scores.data
        return {name: [value] for name, value in zip(called, np.asarray(scores), strict=True)}

    def quality_table(self, frame: pd.DataFrame, named: bool) -> Table:
        called = texts(frame.index) if named else [self.rows.texts[at] for at in frame.index]
        return {
            name: [
                self.class_name(row["consensus_label"]),
                *map(float, row.drop("consensus_label")),
            ]
            for name, (_, row) in zip(called, frame.astype(object).iterrows(), strict=True)
        }

    def votes_table(self, frame: pd.DataFrame, named: bool, annotators: bool) -> Table:
        called = texts(frame.index) if named else [self.rows.texts[at] for at in frame.index]
        who = (
            texts(frame["annotator"])
            if annotators
            else [self.annotators.texts[int(at)] for at in frame["annotator"]]
        )
        labels = [self.class_name(value) for value in frame["label"].tolist()]
        values = zip(labels, frame["quality"], strict=True)
        return dict(zip(zip(called, who, strict=True), map(list, values), strict=True))

    def stats_table(self, frame: pd.DataFrame, annotators: bool) -> Table:
        who = (
            texts(frame.index)
            if annotators
            else [self.annotators.texts[int(at)] for at in frame.index]
        )
        worst = [self.class_name(value) for value in frame["worst_class"].tolist()]
        others = frame.drop(columns="worst_class").to_numpy(dtype=float).tolist()
        return {name: [cls, *rest] for name, cls, rest in zip(who, worst, others, strict=True)}

    # --- every function that takes labels and probabilities

    def ask(
        self,
        labels: Any,
        probs: Any,
        estimate: Any,
        *,
        rows: bool,
        annotators: bool,
        functions: tuple[str, ...] = (),
    ) -> None:
        """Ask one of the functions, and compare what it says with the truth."""
        truth = self.base
        asked = functions or ("estimate", "score", "quality", "votes", "stats", "plan")
        function = self.pick(*asked) if self.rng.random() < 0.93 else "run"
        fitted = estimate is None and self.pick(True, False)
        estimate = truth.estimate if estimate is None else estimate
        if function == "estimate":
            got = self.estimate_table(daskal.estimate(labels, probs))
            check_same(got, self.estimate_table(truth.estimate))
        elif function == "score":
            scores = daskal.score_labeled(labels, probs, estimate)
            check_same(self.scores_table(scores), self.scores_table(truth.scores))
        elif function == "quality":
            frame = daskal.label_quality(labels, probs, estimate).compute()
            got = self.quality_table(frame, rows)
            check_same(got, self.quality_table(truth.quality, named=False))
        elif function == "votes":
            frame = daskal.detailed_quality(labels, probs, estimate).compute()
            got = self.votes_table(frame, rows, annotators)
            check_same(got, self.votes_table(truth.votes, named=False, annotators=False))
        elif function == "stats":
            frame = daskal.annotator_stats(labels, probs, estimate)
            got = self.stats_table(frame, annotators)
            check_same(got, self.stats_table(truth.stats, annotators=False))
        elif function == "run":
            given = None if fitted else estimate
            self.ask_run(labels, probs, given, rows=rows, annotators=annotators)
        else:
            daskal.plan(labels=labels, pred_probs=probs)

    def ask_run(
        self, labels: Any, probs: Any, estimate: Any, *, rows: bool, annotators: bool
    ) -> None:
        """Score by a run, and look at all it says."""
        truth = self.base
        size = 5
        with tempfile.TemporaryDirectory() as folder:
            run = daskal.run(
                labels=labels,
                pred_probs=probs,
                out=f"{folder}/out",
                estimate=estimate,
                batch_size=size,
            )
            called = self.rows.texts
            if rows:
                called = texts(run.ids("labeled")[:])
            scores = dict(zip(called, run.scores.compute()[:, None], strict=True))
            check_same(scores, self.scores_table(truth.scores))
            wanted = np.sort(truth.scores)
            for batch, smallest in (
                (run.batch, wanted[:size]),
                (run.next_batch(size=3, exclude=run.batch), wanted[size : size + 3]),
            ):
                np.testing.assert_allclose(batch["score"], smallest, rtol=0, atol=EXACT)
                names = texts(batch["id"]) if rows else [called[at] for at in batch["row"]]
                for name, score in zip(names, batch["score"], strict=True):
                    np.testing.assert_allclose(score, scores[name][0], rtol=0, atol=EXACT)
            got = self.stats_table(run.annotator_stats, annotators)
            check_same(got, self.stats_table(truth.stats, annotators=False))

    def ask_pool(self, pool: Any, estimate: Any, names: Names) -> None:
        """Score a pool, lazily or by a run."""
        wanted = self.scores_table(self.base.pool_scores, self.pool_rows)
        if self.rng.random() < 0.1:
            with tempfile.TemporaryDirectory() as folder:
                run = daskal.run(pred_probs_unlabeled=pool, out=f"{folder}/out", estimate=estimate)
                got = self.scores_table(run.pool.compute(), names)
        else:
            got = self.scores_table(daskal.score_unlabeled(pool, estimate), names)
        check_same(got, wanted)


# --- the pairs that meet ----------------------------------------------------------------------


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


@lru_cache(maxsize=BASES)
def imported(seed: int) -> tuple[Base, Names, Names, Names, str]:
    """Return imported votes of known classes, and who is who in them."""
    rng = np.random.default_rng(1000 + seed)
    problem = base(seed, 1)
    kinds = ("int", "uint", "text", "digit", "number")
    rows, annotators = (
        Names.draw(rng, count, str(rng.choice(kinds))) for count in (ROWS, ANNOTATORS)
    )
    classes = Names.draw(rng, CLASSES, str(rng.choice(("text", "digit"))))
    out = f"{FOLDER.name}/{seed}"
    daskal.import_votes(
        long_votes(problem.labels, rows, annotators, classes, rng),
        out,
        tasks=list(rows.values),
        classes=list(classes.values),
    )
    return problem, rows, annotators, classes, out


FOLDER = tempfile.TemporaryDirectory()


def long_votes(
    labels: np.ndarray, rows: Names, annotators: Names, classes: Names, rng: np.random.Generator
) -> pd.DataFrame:
    """Return votes in long format, in a random order."""
    at, by = np.nonzero(labels >= 0)
    order = rng.permutation(len(at))
    at, by = at[order], by[order]
    return pd.DataFrame(
        {
            "task": [rows.values[row] for row in at],
            "annotator": [annotators.values[who] for who in by],
            "label": [classes.values[code] for code in labels[at, by]],
        }
    )


def open_import(case: Case) -> str:
    """Give the case the names of some imported votes, and return their path."""
    found = imported(int(case.rng.integers(BASES)))
    case.base, case.rows, case.annotators, case.classes, path = found
    return path


def named_estimate(case: Case) -> daskal.Estimate:
    """Return the estimate of the same votes by annotators that have names: imports sort them."""
    labels = pd.DataFrame(case.base.labels, columns=case.annotators.index(case.rng))
    return daskal.estimate(labels, case.base.models())


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


def series_in(case: Case, values: np.ndarray, names: Names) -> Any:
    """Return an array of one axis with names."""
    index = names.index(case.rng)
    if case.pick(True, False):
        return pd.Series(values, index=index)
    return xr.DataArray(values, dims=("row",), coords={"row": coords(index)})


def scores_and_ids(case: Case) -> None:
    """Scores and ids: the same names in another order, or other names that have their own index."""
    order, names = case.changed(case.rows)
    case.must_refuse = False
    scores = series_in(case, case.base.scores, case.rows)
    size = int(case.rng.integers(1, ROWS + 1))
    best = np.argsort(case.base.scores, kind="stable")[:size]
    if case.pick(True, False):
        ids: Any = names.index(case.rng)
        if case.pick(True, False) and not isinstance(ids, pd.MultiIndex):
            ids = case.pick(pd.Series(ids), ids.to_numpy(), ids.tolist())
        called = case.rows.texts
        if case.change == "renamed":
            called = names.texts  # other names go by place
    else:
        other = Names.draw(case.rng, ROWS)
        values = list(other.take(order).values)
        ids = pd.Series(values, index=names.index(case.rng), dtype=object)
        called = other.texts
        case.must_refuse = case.change == "renamed"  # of an index of its own
    batch = daskal.next_batch(scores, size=size, labeled_ids=ids)
    assert texts(batch["id"]) == [called[at] for at in best]


def scores_and_counts(case: Case) -> None:
    """Scores and numbers of annotations."""
    order, names = case.changed(case.rows)
    counts = (case.base.labels >= 0).sum(axis=1)
    scores = series_in(case, case.base.scores, case.rows)
    batch = daskal.next_batch(
        scores,
        size=ROWS,
        num_annotations=series_in(case, counts[order], names),
        max_annotations=3,
    )
    best = [at for at in np.argsort(case.base.scores, kind="stable") if counts[at] < 3]
    assert texts(batch["id"]) == [case.rows.texts[at] for at in best]


def batch_and_exclude(case: Case) -> None:
    """An earlier batch, or ids, and scores that stand in another order today."""
    first = daskal.next_batch(
        series_in(case, case.base.scores, case.rows),
        series_in(case, case.base.pool_scores, case.pool_rows),
        size=6,
    )
    order, names = case.changed(case.rows)
    case.must_refuse = False
    left = [at for at in range(ROWS) if names.texts[at] not in batch_ids(first, "labeled")]
    pool_order = case.order(POOL)
    pool = case.pool_rows.take(pool_order)
    left_pool = [at for at in range(POOL) if pool.texts[at] not in batch_ids(first, "unlabeled")]
    exclude: Any = first
    if case.pick(True, False):
        if {*case.rows.values, *names.values} & set(pool.values):
            return  # a list of ids means either pool, and 3 and 3.0 are one id
        ids = first["id"].tolist()
        exclude = case.pick(ids, pd.Series(ids, dtype=object), np.array([*ids, None], object)[:-1])
    elif case.pick(True, False):
        path = f"{FOLDER.name}/batch.{case.pick('csv', 'json', 'parquet')}"
        Path(path).unlink(missing_ok=True)
        daskal.export_batch(first, path)
        exclude = daskal.read_batch(path)
    scores, others = case.base.scores[order], case.base.pool_scores[pool_order]
    batch = daskal.next_batch(
        series_in(case, scores, names),
        series_in(case, others, pool),
        size=ROWS + POOL,
        exclude=exclude,
    )
    wanted = [("labeled", names.texts[at], scores[at]) for at in left]
    wanted += [("unlabeled", pool.texts[at], others[at]) for at in left_pool]
    got = zip(batch["source"], texts(batch["id"]), batch["score"], strict=True)
    assert sorted(got) == sorted(wanted)


def batch_ids(batch: pd.DataFrame, pool: str) -> set[str]:
    """Return the ids of a batch's examples of one pool."""
    return set(texts(batch.loc[batch["source"] == pool, "id"]))


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


PAIRS: dict[str, Callable[[Case], None]] = {
    function.__name__: function
    for function in (
        labels_and_probs,
        bare_probs,
        models_of_an_ensemble,
        votes_and_columns,
        columns_and_pool,
        estimate_and_annotators,
        estimate_and_pool,
        estimate_and_labeled,
        scores_and_ids,
        scores_and_counts,
        batch_and_exclude,
        tasks_and_votes,
        mirror,
    )
}

# Of these every so many-th problem: they write stores.
RARE = {"columns_and_pool": 4, "tasks_and_votes": 2}


def meet(pair: str, seed: int) -> tuple[str, str]:
    """Return what was changed in a case, and whether it was "equal" or "refused"."""
    case = Case(seed, models=2 if pair == "models_of_an_ensemble" else None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            PAIRS[pair](case)
    except daskal.DaskalError:
        return case.change, "refused"
    assert not case.must_refuse, f"{case.change} names were taken"
    return case.change, "equal"


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    """Compute in the thread of the test: thousands of graphs of a few tasks."""
    with dask.config.set(scheduler="synchronous"):
        yield


def failures(cases: Iterator[tuple[str, int]]) -> tuple[list[str], collections.Counter[Any]]:
    """Return what went wrong in some cases, and how often each pair was equal or refused."""
    wrong, outcomes = [], collections.Counter()
    for pair, seed in cases:
        try:
            outcomes[pair, *meet(pair, seed)] += 1
        except Exception as error:
            wrong.append(f"meet({pair!r}, {seed}): {type(error).__name__}: {str(error)[:300]}")
    return wrong, outcomes


@pytest.mark.parametrize("pair", PAIRS)
def test_one_side_shuffled_or_renamed(pair: str) -> None:
    wrong, outcomes = failures((pair, seed) for seed in range(12))
    assert not wrong, "\n".join(wrong)
    assert any(outcome == "equal" for _, _, outcome in outcomes)


def problems(seed: int) -> Iterator[tuple[str, int]]:
    """Yield cases without end, fewer of those that write a store."""
    for at in itertools.count(seed):
        for pair in PAIRS:
            if at % RARE.get(pair, 1) == 0:
                yield pair, at


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_problems(part: int) -> None:
    num = MANY // 4
    wrong, outcomes = failures(itertools.islice(problems(MANY * (part + 1)), num))
    print(*sorted(outcomes.items()), sep="\n")
    assert sum(outcomes.values()) == num - len(wrong)
    assert not wrong, f"{len(wrong)} of {num:,}:\n" + "\n".join(wrong[:100])
