"""Questions to every function about named data, and the answers compared name by name."""

from __future__ import annotations

import collections
import tempfile
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import daskal
from daskal.errors import DataWarning
from tests.who_is_who.who import (
    ANNOTATORS,
    BASES,
    CLASSES,
    NAMED,
    POOL,
    ROWS,
    Base,
    Names,
    Table,
    base,
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

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        models = int(self.rng.integers(1, 3))
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


Pair = Callable[[Case], None]


def meet(pair: Pair, seed: int) -> tuple[str, str]:
    """Return what was changed in a case, and whether it was "equal" or "refused"."""
    case = Case(seed)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            pair(case)
    except daskal.DaskalError:
        return case.change, "refused"
    assert not case.must_refuse, f"{case.change} names were taken"
    return case.change, "equal"


def failures(
    cases: Iterable[tuple[Pair, int]],
) -> tuple[list[str], collections.Counter[Any]]:
    """Return what went wrong in some cases, and how often each pair was equal or refused."""
    wrong, outcomes = [], collections.Counter()
    for pair, seed in cases:
        name = pair.__name__
        try:
            outcomes[name, *meet(pair, seed)] += 1
        except Exception as error:
            wrong.append(f"meet({name}, {seed}): {type(error).__name__}: {str(error)[:300]}")
    return wrong, outcomes


def check_pair(pair: Pair) -> None:
    """Let a pair meet some dozen times, one side shuffled or renamed."""
    wrong, outcomes = failures((pair, seed) for seed in range(12))
    assert not wrong, "\n".join(wrong)
    assert any(outcome == "equal" for _, _, outcome in outcomes)
