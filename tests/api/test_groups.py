"""Groups in a batch: at most so many examples of each, whatever the chunks and the scheduler."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.errors import InputError
from daskal.kernels.candidates import smallest_of_groups
from tests.problems import chunkings, make_problem

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
VIDEOS = np.array(["a", "a", "a", "b", "b", "c"])


def rows(batch: pd.DataFrame) -> list[int]:
    return batch["row"].tolist()


def chosen(batch: pd.DataFrame) -> list[tuple[str, int]]:
    return list(zip(batch["source"], batch["row"], strict=True))


# ---------------------------------------------------------------------------------- by hand


def test_each_group_is_limited() -> None:
    assert rows(daskal.next_batch(SCORES, size=3, groups=VIDEOS, max_per_group=1)) == [0, 3, 5]
    assert rows(daskal.next_batch(SCORES, size=4, groups=VIDEOS, max_per_group=2)) == [0, 1, 3, 4]
    assert rows(daskal.next_batch(SCORES, size=9, groups=VIDEOS, max_per_group=2)) == [
        *(0, 1),
        *(3, 4, 5),
    ]


def test_both_sources_share_a_group() -> None:
    batch = daskal.next_batch(
        SCORES[:3],
        SCORES[:3] + 0.01,
        size=6,
        groups=(["a", "a", "b"], ["a", "b", "c"]),
        max_per_group=2,
    )
    assert chosen(batch) == [
        ("labeled", 0),
        ("unlabeled", 0),
        ("unlabeled", 1),
        ("labeled", 2),
        ("unlabeled", 2),
    ]


def test_one_source_may_have_no_groups() -> None:
    batch = daskal.next_batch(SCORES, SCORES, size=12, groups=(None, VIDEOS), max_per_group=1)
    assert batch["source"].value_counts().to_dict() == {"labeled": 6, "unlabeled": 3}


@pytest.mark.parametrize(
    "groups",
    [
        np.array([1, 1, -1, -1, -1, 1]),
        np.array([1, 1, np.nan, np.nan, np.nan, 1]),
        ["a", "a", None, None, "", "a"],
        pd.array([2**63 - 1, 2**63 - 1, None, None, None, 2**63 - 1], dtype="Int64"),
        pd.Series(["a", "a", None, None, None, "a"], dtype="category"),
        [True, True, None, None, None, True],
    ],
)
def test_examples_without_a_group_are_not_limited(groups: Any) -> None:
    assert rows(daskal.next_batch(SCORES, size=6, groups=groups, max_per_group=1)) == [0, 2, 3, 4]


def test_values_of_another_kind_are_other_groups() -> None:
    groups = [1, "1", 1.0, True, b"1", 1]
    assert rows(daskal.next_batch(SCORES, size=6, groups=groups, max_per_group=1)) == [0, 1, 3, 4]


def test_what_a_cap_leaves_out_does_not_count_for_its_group() -> None:
    batch = daskal.next_batch(
        SCORES[:2],
        SCORES[:2],
        size=4,
        groups=(["a", "a"], ["a", "b"]),
        max_per_group=1,
        max_relabel_fraction=0.0,
    )
    assert chosen(batch) == [("unlabeled", 0), ("unlabeled", 1)]


def test_what_is_excluded_does_not_count_for_its_group() -> None:
    options: dict[str, Any] = {"size": 3, "groups": VIDEOS, "max_per_group": 1}
    first = daskal.next_batch(SCORES, **options)
    assert rows(daskal.next_batch(SCORES, exclude=first, **options)) == [1, 4]
    ids = list("uvwxyz")
    named = daskal.next_batch(SCORES, labeled_ids=ids, **options)
    later = daskal.next_batch(SCORES, labeled_ids=ids, exclude=named, **options)
    assert later["id"].tolist() == ["v", "y"]
    # Tomorrow the rows have moved: the ids are searched.
    moved = daskal.next_batch(
        SCORES[::-1],
        labeled_ids=ids[::-1],
        exclude=named,
        size=3,
        groups=VIDEOS[::-1],
        max_per_group=1,
    )
    assert moved["id"].tolist() == ["v", "y"]


def test_labels_that_are_good_enough_are_left_out() -> None:
    quality = np.array([0.95, 0.5, 0.9, 0.99, np.nan, 0.1])
    batch = daskal.next_batch(SCORES, size=6, quality=quality, stop_at_quality=0.9)
    assert rows(batch) == [1, 4, 5]
    # Without a vote the quality is only what the model says.
    batch = daskal.next_batch(
        SCORES, size=6, quality=quality, stop_at_quality=0.9, num_annotations=[0, 1, 1, 2, 3, 1]
    )
    assert rows(batch) == [0, 1, 4, 5]


# --------------------------------------------------------------------------------- where from


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Any]:
    frame = pd.DataFrame({"video": VIDEOS, "size": np.arange(6)})
    frame.to_parquet(tmp_path / "frame.parquet", row_group_size=4)
    frame.to_csv(tmp_path / "frame.csv", index=False)
    frame.to_feather(tmp_path / "frame.feather")
    stored = zarr.create_array(str(tmp_path / "text.zarr"), shape=(6,), chunks=(4,), dtype=str)
    stored[:] = VIDEOS.astype(object)
    codes = zarr.create_array(str(tmp_path / "codes.zarr"), shape=(6,), chunks=(4,), dtype="int16")
    codes[:] = pd.factorize(VIDEOS)[0]
    np.save(tmp_path / "codes.npy", pd.factorize(VIDEOS)[0])
    return {
        "parquet": str(tmp_path / "frame.parquet"),
        "csv": tmp_path / "frame.csv",
        "feather": tmp_path / "frame.feather",
        "frame": frame,
        "dask frame": dd.from_pandas(frame, npartitions=2),
        "arrow": pa.Table.from_pandas(frame),
    } | {
        "path of text": str(tmp_path / "text.zarr"),
        "stored text": stored,
        "path of codes": tmp_path / "codes.zarr",
        "stored codes": codes,
        "npy": tmp_path / "codes.npy",
        "lazy text": da.from_array(VIDEOS.astype(object), chunks=2),
        "lazy codes": da.from_array(pd.factorize(VIDEOS)[0], chunks=2),
        "series": frame["video"],
        "index": pd.Index(VIDEOS),
        "arrow array": pa.array(VIDEOS),
    }


def test_groups_of_any_form(tables: dict[str, Any]) -> None:
    for name, groups in tables.items():
        is_table = hasattr(groups, "columns") or name in ("parquet", "csv", "feather", "arrow")
        column = "video" if is_table else None
        batch = daskal.next_batch(
            da.from_array(SCORES, chunks=3),
            size=4,
            groups=groups,
            group_column=column,
            max_per_group=1,
        )
        assert rows(batch) == [0, 3, 5], name


def test_a_series_is_put_in_the_order_of_the_scores() -> None:
    names = list("uvwxyz")
    scores = pd.Series(SCORES, index=names)
    groups = pd.Series(VIDEOS, index=names)[::-1]
    assert rows(daskal.next_batch(scores, size=6, groups=groups, max_per_group=1)) == [0, 3, 5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_per_group": 1}, "max_per_group: expected groups beside it, got none"),
        ({"groups": VIDEOS}, "groups: expected max_per_group beside them"),
        ({"groups": VIDEOS[:5], "max_per_group": 1}, r"one group for each of the 6 scores"),
        ({"groups": VIDEOS, "max_per_group": 0}, "max_per_group: expected a whole number"),
        (
            {"groups": VIDEOS, "max_per_group": 1, "group_column": "x"},
            "group_column: expected a table in groups",
        ),
        (
            {"groups": pd.DataFrame({"a": VIDEOS, "b": VIDEOS}), "max_per_group": 1},
            "groups: expected one column in the DataFrame, got 'a', 'b'. Name the column of the",
        ),
        ({"stop_at_quality": 0.5}, "stop_at_quality: expected quality beside it"),
        ({"stop_at_quality": 0, "quality": SCORES}, "stop_at_quality: expected a number above 0"),
        ({"quality": SCORES[1:], "stop_at_quality": 0.5}, "quality: expected one number per score"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        daskal.next_batch(SCORES, size=2, **options)


def test_a_pair_is_needed_for_both_sources() -> None:
    with pytest.raises(InputError, match=r"Pass groups=\(labeled, pool\)"):
        daskal.next_batch(SCORES, SCORES, size=2, groups=VIDEOS, max_per_group=1)


def test_groups_that_can_never_be_the_same_are_refused() -> None:
    with pytest.raises(InputError, match="got whole numbers and text, which are never the same"):
        daskal.next_batch(
            SCORES, SCORES, size=2, groups=(np.arange(6), list("012345")), max_per_group=1
        )


# --------------------------------------------------------------------------------- properties


def plain_walk(
    scores: dict[str, np.ndarray],
    groups: dict[str, np.ndarray],
    *,
    size: int,
    most: int,
    cap: int,
    num: np.ndarray,
    max_annotations: int,
    quality: np.ndarray,
    stop: float,
    out: set[int],
) -> list[tuple[str, int]]:
    """Return the batch by the rule as it is stated, one example after the other."""
    examples = sorted(
        (score, source, row)
        for source, values in scores.items()
        for row, score in enumerate(values.tolist())
        if score == score
    )
    batch: list[tuple[str, int]] = []
    taken: dict[Any, int] = {}
    relabeled = 0
    for _, source, row in examples:
        labeled = source == "labeled"
        voted = labeled and num[row] > 0
        if (row if labeled else 100 + row) in out or len(batch) == size:
            continue
        if voted and (num[row] >= max_annotations or quality[row] >= stop or relabeled == cap):
            continue
        group = groups[source][row]
        if group != -1 and taken.get(group, 0) == most:
            continue
        taken[group] = taken.get(group, 0) + 1
        relabeled += voted
        batch.append((source, row))
    return batch


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    n, u = draw(st.integers(1, 25)), draw(st.integers(1, 25))
    few = st.sampled_from([0.1, 0.2, 0.3, float("nan")])
    group = st.integers(-1, draw(st.integers(0, 6)))

    def values(strategy: st.SearchStrategy[Any], count: int) -> np.ndarray:
        return np.array(draw(st.lists(strategy, min_size=count, max_size=count)))

    known = [*range(n), *range(100, 100 + u)]
    return {
        "scores": {"labeled": values(few, n), "unlabeled": values(few, u)},
        "groups": {"labeled": values(group, n), "unlabeled": values(group, u)},
        "num": values(st.integers(0, 3), n),
        "quality": values(st.sampled_from([0.4, 0.8, 0.9]), n),
        "size": draw(st.integers(1, 30)),
        "most": draw(st.integers(1, 3)),
        "fraction": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "max_annotations": draw(st.integers(1, 4)),
        "stop": draw(st.sampled_from([0.8, 0.9, 1.0])),
        "out": draw(st.sets(st.sampled_from(known), max_size=10)),
        "shift": draw(st.booleans()),
        "text": draw(st.booleans()),
    }


def batch_of(case: dict[str, Any], chunks: dict[str, Any]) -> pd.DataFrame:
    scores, groups = case["scores"], case["groups"]
    if case["text"]:
        groups = {
            name: np.array([None if g < 0 else f"g{g}" for g in part], dtype=object)
            for name, part in groups.items()
        }
    ids = {"labeled": np.arange(len(scores["labeled"]))}
    ids["unlabeled"] = np.arange(100, 100 + len(scores["unlabeled"]))
    out = pd.DataFrame({"id": sorted(case["out"])})
    out["source"] = np.where(out["id"] < 100, "labeled", "unlabeled")
    # Rows of an earlier batch, which may have moved since.
    out["row"] = out["id"] % 100 + (3 if case["shift"] else 0)
    cut = {name: da.from_array(part, chunks=(chunks[name],)) for name, part in scores.items()}
    return daskal.next_batch(
        cut["labeled"],
        cut["unlabeled"],
        size=case["size"],
        labeled_ids=ids["labeled"],
        unlabeled_ids=ids["unlabeled"],
        max_relabel_fraction=case["fraction"],
        exclude=out if len(out) else None,
        num_annotations=case["num"],
        max_annotations=case["max_annotations"],
        quality=case["quality"],
        stop_at_quality=case["stop"],
        groups=(groups["labeled"], groups["unlabeled"]),
        max_per_group=case["most"],
    )


@given(st.data())
def test_batch_is_that_of_the_plain_walk_for_any_chunks(data: st.DataObject) -> None:
    case = data.draw(cases())
    chunks = {name: data.draw(chunkings(len(part))) for name, part in case["scores"].items()}
    expected = plain_walk(
        case["scores"],
        case["groups"],
        size=case["size"],
        most=case["most"],
        cap=int(case["fraction"] * case["size"]),
        num=case["num"],
        max_annotations=case["max_annotations"],
        quality=case["quality"],
        stop=case["stop"],
        out=case["out"],
    )
    with dask.config.set(scheduler="sync"):
        assert chosen(batch_of(case, chunks)) == expected


def many_copies(seed: int) -> dict[str, Any]:
    """The lowest scores are all of three groups."""
    rng = np.random.default_rng(seed)
    groups = np.where(np.arange(40_000) < 30_000, rng.integers(3, size=40_000), np.arange(40_000))
    scores = np.sort(rng.random(40_000))
    order = rng.permutation(40_000)
    return {"scores": scores[order], "groups": groups[order]}


@pytest.mark.parametrize("scheduler", ["sync", "threads", "distributed"])
def test_any_scheduler_and_chunks_give_the_same(scheduler: str, cluster: Any) -> None:
    made = many_copies(1)
    order = np.lexsort((np.arange(40_000), made["scores"]))
    expected: list[int] = []
    taken: dict[int, int] = {}
    for row in order.tolist():
        group = int(made["groups"][row])
        if taken.get(group, 0) < 2 and len(expected) < 500:
            taken[group] = taken.get(group, 0) + 1
            expected.append(row)
    with contextlib.ExitStack() as stack:
        if scheduler == "distributed":
            stack.enter_context(cluster.as_current())
        else:
            stack.enter_context(dask.config.set(scheduler=scheduler))
        for chunks in (40_000, 9_999) if scheduler != "threads" else (40_000, 777, 123):
            batch = daskal.next_batch(
                None,
                da.from_array(made["scores"], chunks=chunks),
                size=500,
                groups=made["groups"],
                max_per_group=2,
            )
            assert rows(batch) == expected


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, np.nan]), st.integers(-1, 3)), max_size=30),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(0, 30),
)
def test_states_merge_to_that_of_all_rows(
    pairs: list[tuple[float, int]], size: int, most: int, cut: int
) -> None:
    scores = np.array([score for score, _ in pairs])
    groups = np.array([group for _, group in pairs], dtype=np.int64)
    whole = smallest_of_groups(scores, groups, 7, size, most)
    first = smallest_of_groups(scores[:cut], groups[:cut], 7, size, most)
    second = smallest_of_groups(scores[cut:], groups[cut:], 7 + min(cut, len(pairs)), size, most)
    for merged in (first.merge(second), second.merge(first)):
        assert merged.rows.tolist() == whole.rows.tolist()
        assert merged.groups.tolist() == whole.groups.tolist()


# ----------------------------------------------------------------------------------- of a run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tables of a run, its store and one of votes on one table."""
    folder = tmp_path_factory.mktemp("run")
    problem = make_problem(1, num_examples=60, pool=40, num_annotators=6, num_classes=3)
    videos = [f"v{row // 10}" for row in range(100)]
    probs = np.concatenate([problem.pred_probs, problem.pool])
    frame = pd.DataFrame(probs, columns=["c0", "c1", "c2"])
    frame = frame.assign(video=videos, id=[f"e{row}" for row in range(100)])
    frame[:60].to_parquet(folder / "probs.parquet")
    frame[60:].to_parquet(folder / "pool.parquet")
    frame.sample(frac=1, random_state=0).to_parquet(folder / "all.parquet")
    at, who = np.nonzero(~np.isnan(problem.labels))
    pd.DataFrame(
        {
            "task": [f"e{row}" for row in at],
            "annotator": who,
            "label": [f"c{int(code)}" for code in problem.labels[at, who]],
        }
    ).to_parquet(folder / "votes.parquet")
    columns = {"id_column": "id", "class_columns": ["c0", "c1", "c2"]}
    daskal.run(
        labels=problem.labels,
        pred_probs=str(folder / "probs.parquet"),
        pred_probs_unlabeled=str(folder / "pool.parquet"),
        out=folder / "scores.zarr",
        **columns,
    )
    daskal.run(
        votes=str(folder / "votes.parquet"),
        pred_probs=str(folder / "all.parquet"),
        out=folder / "votes.zarr",
        **columns,
    )
    return folder


@pytest.mark.parametrize("store", ["scores.zarr", "votes.zarr"])
def test_a_column_of_the_tables_of_a_run(folder: Path, store: str) -> None:
    run = daskal.Run.open(folder / store)
    batch = run.next_batch(size=100, group_column="video", max_per_group=2)
    everything = run.next_batch(size=100)
    video = everything["id"].str[1:].astype(int) // 10
    expected = everything[everything.groupby(video).cumcount() < 2]
    assert len(batch) == 20
    assert batch["id"].tolist() == expected["id"].tolist()


def test_a_run_stops_at_the_stored_quality(folder: Path) -> None:
    run = daskal.Run.open(folder / "scores.zarr")
    quality = run.root["labeled/consensus_quality_score"][:]
    batch = run.next_batch(size=100, stop_at_quality=0.8)
    labeled = batch.loc[batch["source"] == "labeled", "row"]
    assert sorted(labeled) == np.flatnonzero(quality < 0.8).tolist()
    assert 0 < len(labeled) < 60


def test_a_table_that_has_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    pool = pd.read_parquet(folder / "pool.parquet")
    path = str(tmp_path / "pool.parquet")
    pool.to_parquet(path)
    run = daskal.run(
        pred_probs_unlabeled=path, out=tmp_path / "s.zarr", class_columns=["c0", "c1", "c2"]
    )
    assert len(run.next_batch(size=50, group_column="video", max_per_group=1)) == 4
    with pytest.raises(InputError, match=r"expected a column 'film' in .*, got 'c0'"):
        run.next_batch(size=50, group_column="film", max_per_group=1)
    pool[::-1].assign(video="a").to_parquet(path)
    with pytest.raises(InputError, match="has changed since"):
        run.next_batch(size=50, group_column="video", max_per_group=1)


def test_groups_of_a_run_in_memory_have_to_be_passed(tmp_path: Path) -> None:
    run = daskal.run(pred_probs_unlabeled=np.full((3, 2), 0.5), out=tmp_path / "s.zarr")
    with pytest.raises(InputError, match="are from a table in files"):
        run.next_batch(size=2, group_column="video", max_per_group=1)
    batch = run.next_batch(size=2, groups=["a", "a", "b"], max_per_group=1)
    assert rows(batch) == [0, 2]


def test_what_is_no_group_does_not_hang_on_the_block():
    """-1 and an empty text are no group beside values of other types either."""
    scores = np.arange(8) / 10
    for groups in (
        np.array([-1, -1, "", "", "a", "a", 7, 7], dtype=object),
        np.array([-1, -1, -1, -1, 0.5, 0.5, 7, 7]),
    ):
        for chunks in (8, 2, (4, 4), (1, 3, 4)):
            lazy = da.from_array(scores, chunks=(chunks,))
            batch = daskal.next_batch(lazy, size=8, groups=groups, max_per_group=1)
            assert batch["row"].tolist() == [0, 1, 2, 3, 4, 6], chunks
