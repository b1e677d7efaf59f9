"""The next batch: which examples, in which order, and what is left out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.errors import DataWarning, InputError
from daskal.kernels.second_pass import smallest_of
from tests.problems import make_problem

LABELED = np.array([0.9, 0.2, 0.4, np.nan, 0.2])
POOL = np.array([0.5, 0.1, 0.2, 0.6])
LABELED_IDS = np.array(["a", "b", "c", "d", "e"])
POOL_IDS = np.array(["p", "q", "r", "s"])


def chosen(batch: pd.DataFrame) -> list[tuple[str, int]]:
    return [(pool[0], row) for pool, row in zip(batch["source"], batch["row"], strict=True)]


# ---------------------------------------------------------------------------------- by hand


def test_ties_go_by_pool_and_row() -> None:
    batch = daskal.next_batch(LABELED, POOL, size=4)
    assert chosen(batch) == [("u", 1), ("l", 1), ("l", 4), ("u", 2)]
    assert batch["rank"].tolist() == [1, 2, 3, 4]
    assert batch["score"].tolist() == [0.1, 0.2, 0.2, 0.2]


def test_nan_is_never_chosen_and_a_batch_may_be_short() -> None:
    batch = daskal.next_batch(LABELED, POOL, size=100)
    assert len(batch) == 8
    assert ("l", 3) not in chosen(batch)


@pytest.mark.parametrize(("fraction", "labeled"), [(0.0, 0), (0.25, 1), (0.5, 2), (1.0, 2)])
def test_relabeling_is_capped(fraction: float, labeled: int) -> None:
    batch = daskal.next_batch(LABELED, POOL, size=4, max_relabel_fraction=fraction)
    assert len(batch) == 4
    assert (batch["source"] == "labeled").sum() == labeled


def test_cap_is_that_of_the_decimal_fraction() -> None:
    batch = daskal.next_batch(np.zeros(100), np.ones(100), size=100, max_relabel_fraction=0.29)
    assert (batch["source"] == "labeled").sum() == 29


def test_examples_without_votes_do_not_count_as_labeled_again() -> None:
    batch = daskal.next_batch(
        LABELED,
        POOL,
        size=3,
        max_relabel_fraction=0.0,
        num_annotations=np.array([1, 0, 1, 1, 2]),
    )
    assert chosen(batch) == [("u", 1), ("l", 1), ("u", 2)]


def test_examples_with_votes_enough_are_left_out() -> None:
    num = np.array([1, 3, 2, 0, 0], dtype=np.int32)
    batch = daskal.next_batch(LABELED, size=5, num_annotations=num, max_annotations=2)
    assert chosen(batch) == [("l", 4), ("l", 0)]
    batch = daskal.next_batch(LABELED, size=5, num_annotations=num, max_annotations=3)
    assert chosen(batch) == [("l", 4), ("l", 2), ("l", 0)]


def test_excluded_ids_leave_either_pool() -> None:
    batch = daskal.next_batch(
        LABELED,
        POOL,
        size=3,
        labeled_ids=LABELED_IDS,
        unlabeled_ids=POOL_IDS,
        exclude=["q", "b"],
    )
    assert batch["id"].tolist() == ["e", "r", "c"]


def test_unknown_ids_among_those_excluded_are_a_warning() -> None:
    with pytest.warns(DataWarning, match=r"^exclude: 2 of its 3 ids .* 'nobody', 'none'\."):
        batch = daskal.next_batch(
            LABELED,
            POOL,
            size=1,
            labeled_ids=LABELED_IDS,
            unlabeled_ids=POOL_IDS,
            exclude=["nobody", "e", "none"],
        )
    assert batch["id"].tolist() != ["e"]


def test_a_batch_of_the_old_spelling_is_excluded() -> None:
    first = daskal.next_batch(LABELED, POOL, size=2)
    old = first.assign(source=first["source"].str.replace("labeled", "labelled"))
    expected = daskal.next_batch(LABELED, POOL, size=3, exclude=first)
    assert daskal.next_batch(LABELED, POOL, size=3, exclude=old).equals(expected)


def test_excluded_batch_without_ids_goes_by_source_and_row() -> None:
    first = daskal.next_batch(LABELED, POOL, size=3)
    second = daskal.next_batch(LABELED, POOL, size=3, exclude=first)
    everything = daskal.next_batch(LABELED, POOL, size=6)
    assert chosen(first) + chosen(second) == chosen(everything)


def test_excluded_batch_with_ids_goes_by_them() -> None:
    first = daskal.next_batch(None, POOL, size=2, unlabeled_ids=POOL_IDS)
    assert first["id"].tolist() == ["q", "r"]
    # Tomorrow's pool lacks an example, so that rows have moved.
    second = daskal.next_batch(None, POOL[1:], size=2, unlabeled_ids=POOL_IDS[1:], exclude=first)
    assert second["id"].tolist() == ["s"]


def test_excluded_batch_with_ids_against_a_pool_without() -> None:
    first = daskal.next_batch(None, POOL, size=2, unlabeled_ids=POOL_IDS)
    assert chosen(daskal.next_batch(None, POOL, size=2, exclude=first)) == [("u", 0), ("u", 3)]


def test_repeated_ids_are_all_left_out() -> None:
    ids = np.array([7] * 6 + [8, 9])
    batch = daskal.next_batch(None, np.arange(8) / 10, size=2, unlabeled_ids=ids, exclude=[7])
    assert batch["id"].tolist() == [8, 9]


def test_ids_in_zarr_and_dask(tmp_path: Path) -> None:
    stored = zarr.create_array(str(tmp_path / "ids.zarr"), shape=(4,), chunks=(2,), dtype=str)
    stored[:] = POOL_IDS.astype(object)
    for ids in (stored, da.from_array(POOL_IDS, chunks=3)):
        batch = daskal.next_batch(None, POOL, size=2, unlabeled_ids=ids, exclude=["q"])
        assert batch["id"].tolist() == ["r", "p"]


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 0}, "size: expected a whole number"),
        ({"size": True}, "size: expected a whole number"),
        ({"max_relabel_fraction": 1.5}, "max_relabel_fraction: expected a number from 0 to 1"),
        ({"max_annotations": 2}, "expected num_annotations beside it"),
        ({"max_annotations": 0, "num_annotations": np.zeros(5, int)}, "max_annotations: expected"),
        (
            {"num_annotations": np.zeros(4, int)},
            "num_annotations: expected one number per score, 5",
        ),
        ({"num_annotations": np.zeros((5, 1), int)}, r"num_annotations: expected shape \(N,\)"),
        ({"exclude": ["a"]}, "neither the labeled examples nor the pool have ids"),
        ({"exclude": "a", "labeled_ids": LABELED_IDS}, "expected a list of ids, got the text 'a'"),
        ({"exclude": [1], "labeled_ids": LABELED_IDS}, "expected ids that are text"),
        ({"exclude": ["1"], "labeled_ids": np.arange(5)}, "expected ids that are whole numbers"),
        ({"exclude": pd.DataFrame({"row": [1]})}, "without 'source'"),
    ],
)
def test_arguments_that_mean_nothing(options: dict[str, Any], words: str) -> None:
    with pytest.raises(daskal.DaskalError, match=words):
        daskal.next_batch(LABELED, POOL, **{"size": 2, **options})


def test_no_scores_at_all() -> None:
    with pytest.raises(daskal.DaskalError, match="got none"):
        daskal.next_batch(None, size=1)


# --------------------------------------------------------------------------------- properties

# Few distinct scores, so that ties are common.
SCORES = st.lists(st.sampled_from([0.1, 0.2, 0.3, float("nan")]), min_size=1, max_size=30)


def expected(
    scores: np.ndarray,
    pool: np.ndarray,
    num: np.ndarray,
    size: int,
    cap: int,
    most: int,
    out: set[int],
) -> list[tuple[str, int]]:
    """Return the batch that plain sorting gives."""
    rows = [
        (score, "labeled", row, num[row] > 0)
        for row, score in enumerate(scores)
        if score == score and num[row] < most and row not in out
    ]
    rows += [
        (score, "unlabeled", row, False)
        for row, score in enumerate(pool)
        if score == score and 100 + row not in out
    ]
    batch, relabeled = [], 0
    for _, name, row, again in sorted(rows):
        if again and relabeled == cap:
            continue
        relabeled += again
        batch.append((name[0], row))
    return batch[:size]


@given(st.data())
def test_batch_is_that_of_plain_sorting_for_any_chunks(data: st.DataObject) -> None:
    scores, pool = np.array(data.draw(SCORES)), np.array(data.draw(SCORES))
    num = np.array(
        data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores)))
    )
    size, most = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 4))
    fraction = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    known = [*range(len(scores)), *range(100, 100 + len(pool))]
    out = data.draw(st.sets(st.sampled_from(known)))
    chunks = data.draw(st.integers(1, 30))
    batch = daskal.next_batch(
        da.from_array(scores, chunks=chunks),
        da.from_array(pool, chunks=max(1, chunks // 2)),
        size=size,
        labeled_ids=np.arange(len(scores)),
        unlabeled_ids=np.arange(100, 100 + len(pool)),
        max_relabel_fraction=fraction,
        exclude=sorted(out),
        num_annotations=num,
        max_annotations=most,
    )
    cap = int(fraction * size)
    assert chosen(batch) == expected(scores, pool, num, size, cap, most, out)


# --------------------------------------------------------------------------------- of a run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    problem = make_problem(1, num_examples=60, pool=40)
    labels = problem.labels.copy()
    labels[::5] = np.nan
    return daskal.run(
        labels=labels,
        pred_probs=problem.pred_probs,
        pred_probs_unlabeled=problem.pool,
        labeled_ids=np.arange(60),
        unlabeled_ids=np.arange(1000, 1040),
        out=tmp_path_factory.mktemp("run") / "scores.zarr",
        batch_size=10,
    )


def test_run_goes_by_the_stored_annotations(run: daskal.Run) -> None:
    bare = run.next_batch(size=100, max_relabel_fraction=0.0)
    assert sorted(bare.loc[bare["source"] == "labeled", "row"]) == list(range(0, 60, 5))
    num = run.root["labeled/num_annotations"][:]
    capped = run.next_batch(size=100, max_annotations=2)
    rows = capped.loc[capped["source"] == "labeled", "row"].to_numpy()
    assert sorted(rows) == np.flatnonzero(num < 2).tolist()


def test_run_goes_on_where_its_batch_ends(run: daskal.Run) -> None:
    assert run.next_batch(size=10).equals(run.batch)
    later = run.next_batch(size=10, exclude=run.batch)
    both = run.next_batch(size=20)
    assert chosen(run.batch) + chosen(later) == chosen(both)
    assert run.next_batch(size=10, exclude=run.batch["id"].tolist()).equals(later)


def test_batch_read_back_from_csv_excludes_the_same(run: daskal.Run, tmp_path: Path) -> None:
    daskal.export_batch(run.batch, tmp_path / "out.csv")
    out = pd.read_csv(tmp_path / "out.csv")
    assert run.next_batch(size=10, exclude=out).equals(run.next_batch(size=10, exclude=run.batch))


# --------------------------------------------------------------------------- of many scores


@given(SCORES, st.integers(0, 12))
def test_smallest_is_that_of_sorting(scores: list[float], size: int) -> None:
    values = np.array(scores)
    rows = np.arange(5, 5 + len(values))
    order = np.lexsort((rows, values))
    order = order[~np.isnan(values[order])][:size]
    found = smallest_of(values, 5, size)
    apart = [smallest_of(values[:7], 5, size), smallest_of(values[7:], 12, size)]
    assert found.rows.tolist() == rows[order].tolist()
    assert found.scores.tolist() == values[order].tolist()
    for merged in (apart[0].merge(apart[1]), apart[1].merge(apart[0])):
        assert merged.rows.tolist() == found.rows.tolist()


@pytest.mark.parametrize(
    ("exclude", "words"),
    [
        (["nobody", "none"], "none of which is one"),
        (pd.DataFrame({"source": ["unlabeled"], "row": [99]}), "none of which is one"),
        (pd.DataFrame({"source": ["unlabeled"], "row": [0], "id": ["zz"]}), "none of which is one"),
        (pd.DataFrame({"source": ["elsewhere"], "row": [0]}), "in the column 'source'"),
        (pd.DataFrame({"From": ["pool"], "Row": [0]}), r"daskal\.read_batch"),
        ([None, "q"], "a name is missing at place 0"),
        ([pd.DataFrame({"source": [], "row": []})], "a list of batches"),
        (7, "expected a list of ids or a batch, got int"),
        ({"a": 1}, "expected a list of ids or a batch, got dict"),
    ],
)
def test_what_excludes_nothing_is_an_error(exclude: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        daskal.next_batch(None, POOL, size=2, unlabeled_ids=POOL_IDS, exclude=exclude)


@pytest.mark.parametrize("make", [list, tuple, set, frozenset, iter, np.array, pd.Series, pd.Index])
def test_ids_to_exclude_in_any_container(make: Any) -> None:
    expected = daskal.next_batch(None, POOL, size=2, unlabeled_ids=POOL_IDS, exclude=["q"])
    ids = make([POOL_IDS[1]]) if make is not iter else (name for name in [POOL_IDS[1]])
    other = daskal.next_batch(None, POOL, size=2, unlabeled_ids=POOL_IDS, exclude=ids)
    assert POOL_IDS[1] not in other["id"].tolist()
    assert "q" not in expected["id"].tolist()


def test_large_ids_are_excluded_exactly() -> None:
    ids = np.array([2**63 + 1, 2**63 + 3, 7], dtype="uint64")
    batch = daskal.next_batch(
        None, np.array([0.1, 0.2, 0.3]), size=3, unlabeled_ids=ids, exclude=[2**63 + 1]
    )
    assert batch["row"].tolist() == [1, 2]


def test_faults_behind_lazy_scores_are_named_all_at_once_whatever_the_scores():
    """Faults of two blocks, of which one alone fails first."""
    labels = np.tile([[0, 1, 0], [1, 1, 0]], (5, 1))
    probs = np.full((10, 2), 0.5)
    found = daskal.aggregate(labels)
    with pytest.warns(daskal.DataWarning):
        estimate = daskal.estimate(labels, probs)
    tags = np.zeros((10, 3, 2), dtype=int)
    tags[::2] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", daskal.DataWarning)
        several = daskal.estimate(tags, probs, multi_label=True)

    def broken(array, value):
        again = array.astype(float)
        again[[1, 8]] = value
        return da.from_array(again, chunks=(4, *array.shape[1:]))

    for scores, rows, expected in (
        (daskal.score_labeled(broken(labels, 7), probs, estimate), "1 (7), 8 (7)", "class prob"),
        (daskal.score_unlabeled(broken(probs, 7), estimate), "1 (7), 8 (7)", "class prob"),
        (daskal.score_labeled(broken(labels, 7), None, found), "1 (7), 8 (7)", "whole numbers"),
        (
            daskal.score_labeled(broken(tags, 7), probs, several, multi_label=True),
            "1 (7), 8 (7)",
            "that are 0, 1, or missing",
        ),
    ):
        with pytest.raises(daskal.DaskalError) as caught:
            daskal.next_batch(scores, size=3)
        assert "2 rows where the row has a" in str(caught.value)
        assert rows in str(caught.value)
        assert expected in str(caught.value)
