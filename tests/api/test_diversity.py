"""Unlike examples in a batch: which are candidates, what is read, and what is chosen of them."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import InputError, InvalidDataError, MemoryLimitError
from tests.counting import CountingStore
from tests.problems import chunkings, make_problem

METHODS = ["cluster_margin", "k_center"]


def planted(num: int = 400, copies: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and embeddings: the lowest scores are of pictures in many copies."""
    rng = np.random.default_rng(seed)
    pictures = np.arange(num) // copies
    scores = np.sort(rng.random(num))
    points = 10 * rng.normal(size=(pictures[-1] + 1, 4))[pictures]
    return scores, points + 1e-3 * rng.normal(size=points.shape)


@pytest.mark.parametrize("method", METHODS)
def test_copies_leave_the_batch(method: str) -> None:
    scores, points = planted()
    plain = daskal.next_batch(None, scores, size=10)
    batch = daskal.next_batch(None, scores, size=10, embeddings=points, diversity=method)
    assert set(plain["row"] // 20) == {0}
    # Of 100 candidates, which are five pictures.
    assert set(batch["row"] // 20) == set(range(5))
    assert batch["score"].is_monotonic_increasing
    assert batch["rank"].tolist() == list(range(1, 11))
    wide = daskal.next_batch(
        None, scores, size=10, embeddings=points, diversity=method, candidates=400
    )
    assert len(set(wide["row"] // 20)) == 10


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_draws_the_same_again(method: str) -> None:
    scores, points = planted()

    def draw(seed: int) -> list[int]:
        batch = daskal.next_batch(
            None, scores, size=5, embeddings=points, diversity=method, random_state=seed
        )
        return batch["row"].tolist()

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(5)}) > 1


def test_fewer_clusters_give_several_examples_each() -> None:
    scores, points = planted()
    batch = daskal.next_batch(
        None,
        scores,
        size=9,
        embeddings=points,
        diversity="cluster_margin",
        candidates=60,
        num_clusters=3,
    )
    assert (batch["row"] // 20).value_counts().to_dict() == {0: 3, 1: 3, 2: 3}


@pytest.mark.parametrize("method", METHODS)
def test_both_sources_and_every_limit(method: str) -> None:
    scores, points = planted(200)
    pool, others = planted(200, seed=1)
    options: dict[str, Any] = {
        "size": 20,
        "groups": (np.arange(200) // 20, 100 + np.arange(200) // 20),
        "max_per_group": 3,
        "max_relabel_fraction": 0.25,
        "num_annotations": np.arange(200) % 4,
        "max_annotations": 3,
    }
    first = daskal.next_batch(scores, pool, **options)
    batch = daskal.next_batch(
        scores, pool, embeddings=(points, others), diversity=method, exclude=first, **options
    )
    assert len(batch) == 20
    again = batch[(batch["source"] == "labeled") & (batch["row"] % 4 > 0)]
    assert len(again) <= 5
    assert (again["row"] % 4 < 3).all()
    group = batch["row"] // 20 + 100 * (batch["source"] == "unlabeled")
    assert group.value_counts().max() <= 3
    seen = set(zip(first["source"], first["row"], strict=True))
    assert not seen & set(zip(batch["source"], batch["row"], strict=True))


# ------------------------------------------------------------------------- beside plain loops


def average_linkage(points: np.ndarray, num_clusters: int) -> list[set[int]]:
    """Merge the two clusters of least mean distance, until so many are left."""
    apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
    clusters = [{place} for place in range(len(points))]
    while len(clusters) > num_clusters:
        pairs = [
            (np.mean([apart[i, j] for i in one for j in other]), a, b)
            for a, one in enumerate(clusters)
            for b, other in enumerate(clusters[:a])
        ]
        _, a, b = min(pairs)
        clusters[b] |= clusters.pop(a)
    return clusters


def plain_choice(
    scores: np.ndarray, points: np.ndarray, method: str, size: int, candidates: int, seed: int
) -> list[int]:
    """Return the rows that are chosen by the rule as it is stated."""
    order = np.lexsort((np.arange(len(scores)), scores))
    order = order[~np.isnan(scores[order])][:candidates]
    near = points[order]
    rng = np.random.default_rng(seed)
    taken: list[int] = []
    if method == "k_center":
        taken = [int(rng.choice(len(order)))]
        while len(taken) < min(size, len(order)):
            gaps = [
                -1.0 if i in taken else min(((near[i] - near[j]) ** 2).sum() for j in taken)
                for i in range(len(order))
            ]
            taken.append(int(np.argmax(gaps)))
    else:
        drawn = rng.permutation(len(order)).tolist()
        clusters = sorted(
            average_linkage(near, min(size, len(order))), key=lambda c: (len(c), min(c))
        )
        turns = [[place for place in drawn if place in cluster] for cluster in clusters]
        while len(taken) < min(size, len(order)):
            for turn in turns:
                if turn and len(taken) < size:
                    taken.append(turn.pop(0))
    rows = sorted(taken)
    return order[rows].tolist()


@settings(max_examples=60)
@given(st.data(), st.sampled_from(METHODS))
def test_choice_is_the_plain_one_for_any_chunks(data: st.DataObject, method: str) -> None:
    num = data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    scores = rng.choice([0.1, 0.2, 0.3, 0.4, np.nan], size=num)
    points = rng.normal(size=(num, 3))
    size = data.draw(st.integers(1, 8))
    candidates = data.draw(st.integers(size, 30))
    chunks = data.draw(chunkings(num))
    with dask.config.set(scheduler="sync"):
        batch = daskal.next_batch(
            None,
            da.from_array(scores, chunks=(chunks,)),
            size=size,
            embeddings=da.from_array(points, chunks=(data.draw(chunkings(num)), 3)),
            diversity=method,
            candidates=candidates,
            random_state=7,
        )
    if np.isnan(scores).all():
        assert len(batch) == 0
        return
    expected = plain_choice(scores, points, method, size, candidates, 7)
    assert batch["row"].tolist() == expected


@pytest.mark.parametrize("scheduler", ["sync", "threads", "distributed"])
@pytest.mark.parametrize("method", METHODS)
def test_any_scheduler_gives_the_same(scheduler: str, method: str, cluster: Any) -> None:
    scores, points = planted(2000)
    expected = daskal.next_batch(None, scores, size=30, embeddings=points, diversity=method)
    with contextlib.ExitStack() as stack:
        if scheduler == "distributed":
            stack.enter_context(cluster.as_current())
        else:
            stack.enter_context(dask.config.set(scheduler=scheduler))
        found = daskal.next_batch(
            None,
            da.from_array(scores, chunks=333),
            size=30,
            embeddings=da.from_array(points, chunks=(77, 4)),
            diversity=method,
        )
    pd.testing.assert_frame_equal(found, expected)


# ------------------------------------------------------------------------------ what is read


def test_only_chunks_with_candidates_are_read(tmp_path: Path) -> None:
    scores, points = planted(1000)
    array = zarr.create_array(
        CountingStore(tmp_path / "points.zarr"), shape=points.shape, chunks=(50, 4), dtype="f4"
    )
    array[:] = points
    store = CountingStore(tmp_path / "points.zarr")
    batch = daskal.next_batch(
        None, scores, size=10, embeddings=zarr.open_array(store, mode="r"), diversity="k_center"
    )
    assert len(batch) == 10
    # The 100 lowest scores are in the first two chunks of twenty.
    assert store.reads() == {"c/0/0": 1, "c/1/0": 1}


def test_only_row_groups_with_candidates_are_read(tmp_path: Path) -> None:
    scores, points = planted(1000)
    frame = pd.DataFrame({"emb": list(points.astype(np.float32)), "name": "x"})
    path = tmp_path / "points.parquet"
    frame.to_parquet(path, row_group_size=50)
    table = daskal.Table(str(path), class_columns=["emb"])
    expected = daskal.next_batch(
        None, scores, size=10, embeddings=points.astype(np.float32), diversity="k_center"
    )
    # What lies behind the first row groups is damaged.
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    found = daskal.next_batch(None, scores, size=10, embeddings=table, diversity="k_center")
    pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(daskal.DaskalError):
        daskal.next_batch(None, scores[::-1], size=200, embeddings=table, diversity="k_center")


@pytest.mark.parametrize("votes", [False, True])
def test_columns_of_the_tables_of_a_run(votes: bool, tmp_path: Path) -> None:
    problem = make_problem(1, num_examples=60, pool=40, num_classes=3, num_annotators=4)
    probs = np.concatenate([problem.pred_probs, problem.pool])
    points = np.random.default_rng(0).normal(size=(100, 5))
    frame = pd.DataFrame(probs, columns=["a", "b", "c"]).assign(
        emb=list(points), x=points[:, 0], y=points[:, 1], id=[f"e{row}" for row in range(100)]
    )
    columns: dict[str, Any] = {"class_columns": ["a", "b", "c"], "id_column": "id"}
    if votes:
        at, who = np.nonzero(~np.isnan(problem.labels))
        names = ["abc"[code] for code in problem.labels[at, who].astype(int)]
        given = pd.DataFrame({"task": [f"e{row}" for row in at], "annotator": who, "label": names})
        shuffled = frame.sample(frac=1, random_state=1)
        shuffled.to_parquet(tmp_path / "all.parquet")
        inputs = {"votes": given, "pred_probs": str(tmp_path / "all.parquet")}
    else:
        frame[:60].to_parquet(tmp_path / "probs.parquet")
        frame[60:].to_parquet(tmp_path / "pool.parquet")
        inputs = {
            "labels": problem.labels,
            "pred_probs": str(tmp_path / "probs.parquet"),
            "pred_probs_unlabeled": str(tmp_path / "pool.parquet"),
        }
    run = daskal.run(**inputs, out=tmp_path / "scores.zarr", **columns)
    lists = run.next_batch(size=8, embedding_columns=["emb"], diversity="k_center")
    place = {name: row for row, name in enumerate(frame["id"])}
    everything = run.next_batch(size=80)
    order = [place[name] for name in everything["id"]]
    taken = plain_choice(np.arange(80) / 100, points[order], "k_center", 8, 80, 0)
    assert lists["id"].tolist() == everything["id"].iloc[taken].tolist()
    two = run.next_batch(size=8, embedding_columns=["x", "y"], diversity="k_center")
    taken = plain_choice(np.arange(80) / 100, points[order][:, :2], "k_center", 8, 80, 0)
    assert two["id"].tolist() == everything["id"].iloc[taken].tolist()
    with pytest.raises(InputError, match="got both"):
        run.next_batch(size=8, embedding_columns=["x"], embeddings=points, diversity="k_center")


# --------------------------------------------------------------------------- what is refused

SCORES, POINTS = planted(40)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"embeddings": POINTS}, "diversity: expected 'cluster_margin' or 'k_center', got None"),
        ({"diversity": "k_center"}, "diversity: expected embeddings beside it"),
        ({"candidates": 7}, "candidates: expected embeddings and diversity beside it"),
        ({"embeddings": POINTS, "diversity": "dpp"}, "expected 'cluster_margin' or 'k_center'"),
        (
            {"embeddings": POINTS, "diversity": "k_center", "candidates": 2},
            "candidates: expected at least as many as the size, 3, got 2",
        ),
        (
            {"embeddings": POINTS, "diversity": "k_center", "num_clusters": 2},
            "num_clusters: expected diversity='cluster_margin'",
        ),
        (
            {"embeddings": POINTS, "diversity": "k_center", "random_state": -1},
            "random_state: expected a whole number of at least 0, got -1",
        ),
        ({"embeddings": POINTS[:9], "diversity": "k_center"}, "one row for each of the 40 scores"),
        (
            {"embeddings": POINTS[0], "diversity": "k_center"},
            r"expected shape \(N, D\), one row",
        ),
        ({"embeddings": np.full((40, 2), "x"), "diversity": "k_center"}, "expected numbers"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        daskal.next_batch(None, SCORES, size=3, **options)


def test_both_sources_need_embeddings_of_one_width() -> None:
    options: dict[str, Any] = {"size": 3, "diversity": "k_center"}
    with pytest.raises(InputError, match="for the unlabeled examples too, got none"):
        daskal.next_batch(SCORES, SCORES, embeddings=(POINTS, None), **options)
    with pytest.raises(InputError, match="labeled examples as for the pool, got 3 and 4"):
        daskal.next_batch(SCORES, SCORES, embeddings=(POINTS, POINTS[:, :3]), **options)


def test_embeddings_that_are_no_numbers_are_named() -> None:
    points = POINTS.copy()
    points[[3, 39]] = np.nan
    with pytest.raises(InvalidDataError, match=r"1 of the 30 candidates' rows .*: rows 3\."):
        daskal.next_batch(None, SCORES, size=3, embeddings=points, diversity="k_center")


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskal.api.diversity.machine_memory", lambda: 5_000)
    options: dict[str, Any] = {"size": 3, "embeddings": POINTS}
    with pytest.raises(MemoryLimitError, match="fewer candidates, or k_center"):
        daskal.next_batch(None, SCORES, diversity="cluster_margin", **options)
    assert len(daskal.next_batch(None, SCORES, diversity="k_center", **options)) == 3


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(InputError, match=r"daskal\[diversity\]"):
        daskal.next_batch(None, SCORES, size=3, embeddings=POINTS, diversity="cluster_margin")


def test_a_frame_is_put_in_the_order_of_the_ids() -> None:
    names = [f"e{row}" for row in range(40)]
    frame = pd.DataFrame(POINTS, index=names)
    options: dict[str, Any] = {"size": 3, "unlabeled_ids": names, "diversity": "k_center"}
    expected = daskal.next_batch(None, SCORES, embeddings=frame, **options)
    found = daskal.next_batch(None, SCORES, embeddings=frame[::-1], **options)
    pd.testing.assert_frame_equal(found, expected)
