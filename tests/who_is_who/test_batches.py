"""Scores beside ids, counts and an earlier batch of another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import daskal
from tests.who_is_who.asking import Case, Pair, check_pair, texts
from tests.who_is_who.imports import FOLDER
from tests.who_is_who.who import POOL, ROWS, Names, coords


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


@pytest.mark.parametrize("pair", [scores_and_ids, scores_and_counts, batch_and_exclude])
def test_one_side_shuffled_or_renamed(pair: Pair) -> None:
    check_pair(pair)
