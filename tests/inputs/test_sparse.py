"""Sparse votes: the same bits as the dense matrix they stand for, and clear faults."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import InputError, InvalidDataError
from tests import oracle, realdata
from tests.inputs.sparsekit import (
    LABELS,
    PROBS,
    as_csr,
    assert_same,
    lazy,
    results,
    small,
    write_group,
)
from tests.problems import Problem, chunkings, forbid_compute, make_problem, problems


@pytest.fixture
def small_blocks() -> Iterator[None]:
    """Make blocks of a few rows, so that small data have many of them."""
    with small():
        yield


# --- the same bits ----------------------------------------------------------------------------


def test_stored_zeros_are_votes() -> None:
    assert (as_csr(LABELS).data == 0).sum() == 3
    estimate = daskal.estimate(as_csr(LABELS), PROBS)
    np.testing.assert_array_equal(estimate.class_counts, [3, 2, 1])
    np.testing.assert_array_equal(estimate.votes, [2, 2, 2])


def test_the_callers_matrix_stays_as_it_was() -> None:
    matrix = as_csr(LABELS)
    matrix.indices[:2] = matrix.indices[:2][::-1]
    matrix.has_sorted_indices = False
    before = matrix.indices.copy()
    assert_same(results(matrix, PROBS), results(LABELS, PROBS))
    np.testing.assert_array_equal(matrix.indices, before)


@settings(max_examples=30)
@given(problem=problems(pool=False, max_examples=40, max_annotators=12), data=st.data())
def test_dense_and_sparse_have_the_same_bits(problem: Problem, data: st.DataObject) -> None:
    expected = results(problem.labels, problem.pred_probs)
    matrix = as_csr(problem.labels)
    rows = data.draw(chunkings(problem.num_examples), label="rows")
    columns = data.draw(chunkings(problem.num_annotators), label="columns")
    probs_rows = data.draw(st.sampled_from([rows, (problem.num_examples,)]), label="probs rows")
    form = data.draw(st.sampled_from([sp.csr_array, sp.csr_matrix, sp.csc_array]), label="form")
    probs = da.from_array(problem.pred_probs, chunks=(probs_rows, -1))
    with small(data.draw(st.integers(1, 40), label="block rows")):
        assert_same(results(matrix, problem.pred_probs), expected)
        assert_same(results(lazy(matrix, rows, columns, form), probs), expected)
        assert_same(results(lazy(matrix, rows, columns, form), problem.pred_probs), expected)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.usefixtures("small_blocks")
def test_stored_votes_have_the_same_bits(tmp_path: Path, chunk: int, zarr_format: int) -> None:
    problem = make_problem(3, num_examples=60)
    matrix = as_csr(problem.labels)
    group = write_group(tmp_path / "votes.zarr", matrix, chunk=chunk, zarr_format=zarr_format)
    expected = results(problem.labels, problem.pred_probs)
    assert_same(results(group, problem.pred_probs), expected)
    assert_same(results(tmp_path / "votes.zarr", problem.pred_probs), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
@pytest.mark.usefixtures("small_blocks")
def test_members_of_unsigned_integers(tmp_path: Path, dtype: type) -> None:
    problem = make_problem(4, num_examples=60)
    group = write_group(tmp_path / "votes.zarr", as_csr(problem.labels))
    for name, kind in (("data", dtype), ("indices", dtype), ("indptr", np.uint64)):
        values = group[name][:].astype(kind)
        del group[name]
        group.create_array(name, data=values, chunks=(4,))
    expected = results(problem.labels, problem.pred_probs)
    assert_same(results(group, problem.pred_probs), expected)


@pytest.mark.usefixtures("small_blocks")
def test_sharded_members(tmp_path: Path) -> None:
    problem = make_problem(4, num_examples=60)
    matrix = as_csr(problem.labels)
    group = write_group(tmp_path / "votes.zarr", matrix)
    for name in ("data", "indices", "indptr"):
        values = group[name][:]
        del group[name]
        group.create_array(name, data=values, chunks=(4,), shards=(16,))
    expected = results(problem.labels, problem.pred_probs)
    assert_same(results(group, problem.pred_probs), expected)


def test_no_matrix_of_all_annotators_is_made() -> None:
    num_rows, num_annotators = 20_000, 2_000_000
    rng = np.random.default_rng(0)
    annotators = np.sort(rng.integers(0, num_annotators // 3, (num_rows, 3)) * 3 + [0, 1, 2])
    matrix = sp.csr_array(
        (
            rng.integers(0, 2, num_rows * 3).astype(np.int8),
            annotators.ravel(),
            np.arange(0, num_rows * 3 + 1, 3),
        ),
        shape=(num_rows, num_annotators),
    )
    estimate = daskal.estimate(matrix, np.full((num_rows, 2), 0.5))
    assert estimate.num_annotations == num_rows * 3


def test_empty_rows_only_and_no_rows_at_all() -> None:
    estimate = daskal.estimate(LABELS, PROBS)
    for rows in (0, 3):
        matrix = sp.csr_array((rows, 3), dtype=np.int8)
        probs = PROBS[:rows]
        pool = daskal.score_unlabeled(probs, estimate).compute()
        for labels in (matrix, lazy(matrix, (rows,), (3,))):
            found = daskal.score_labeled(labels, probs, estimate).compute()
            np.testing.assert_array_equal(found, pool)


def test_building_reads_nothing(tmp_path: Path) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS))
    estimate = daskal.estimate(LABELS, PROBS)
    for labels in (as_csr(LABELS), lazy(as_csr(LABELS), (2, 2), (1, 2)), group):
        with forbid_compute():
            scores = daskal.score_labeled(labels, PROBS, estimate)
        assert scores.dtype == np.float64
        assert scores.shape == (4,)


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_votes_agree_with_the_oracle(name: str) -> None:
    real = realdata.load(name)
    place = {task: row for row, task in enumerate(real.task_ids)}
    column = {annotator: at for at, annotator in enumerate(real.annotator_ids)}
    votes = sp.coo_array(
        (
            real.votes["label"].to_numpy(),
            (real.votes["task"].map(place), real.votes["annotator"].map(column)),
        ),
        shape=real.labels.shape,
    )
    found = results(votes, real.pred_probs)
    assert_same(found, results(real.labels, real.pred_probs))
    with oracle.corrected():
        expected, _ = oracle.cleanlab_scores(real.labels, real.pred_probs)
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=1e-9)


# --- structure --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding_type": "csc_matrix"}, "got 'csc_matrix'.*tocsr"),
        ({"encoding_type": None}, "got None.*has not finished"),
        ({"shape": [4]}, r"shape \[N, M\] .* got \[4\]"),
        ({"shape": [5, 3]}, r"N \+ 1 = 6.*got \(5,\), \(6,\), \(6,\)"),
        ({"data": [0, 0]}, r"got \(5,\), \(6,\), \(2,\)"),
        ({"indices": [0.0, 1, 1, 2, 0, 2]}, "integers in indices, got float64"),
        ({"data": ["a"] * 6}, "class codes in data"),
    ],
)
@pytest.mark.filterwarnings("ignore:The data type")
def test_structure_is_checked_when_opened(tmp_path: Path, changes: Any, message: str) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS), **changes)
    with forbid_compute(), pytest.raises(InputError, match=message):
        daskal.score_labeled(group, PROBS, None)


def test_a_member_that_is_missing(tmp_path: Path) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS))
    del group["indices"]
    with pytest.raises(InputError, match="found no indices"):
        daskal.estimate(group, PROBS)


# --- rows at fault ----------------------------------------------------------------------------


FAULTS = {
    "beyond the last class": {"data": [0, 0, 1, 3, 2, 0]},
    "a negative label": {"data": [0, 0, 1, -1, 2, 0]},
    "no whole number": {"data": [0, 0, 1, 1.5, 2, 0]},
    "no finite number": {"data": [0, 0, 1, np.nan, 2, 0]},
    "two votes of one annotator": {"indices": [0, 1, 2, 2, 0, 2]},
    r"outside the M columns: 1 \(3\)": {"indices": [0, 1, 1, 3, 0, 2]},
    r"outside the M columns: 1 \(-1\)": {"indices": [0, 1, 1, -1, 0, 2]},
}


@pytest.mark.parametrize(("fault", "changes"), FAULTS.items(), ids=FAULTS)
def test_rows_at_fault_are_named_or_left_out(tmp_path: Path, fault: str, changes: Any) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS), **changes)
    estimate = daskal.estimate(LABELS, PROBS)
    for rows in (1, 4):
        with small(rows):
            with pytest.raises(InvalidDataError, match=f"labels: 1 row .*{fault}"):
                daskal.estimate(group, PROBS)
            scores = daskal.score_labeled(group, PROBS, estimate)
            with pytest.raises(InvalidDataError, match=f"labels: 1 row .*{fault}"):
                scores.compute()
    without = np.where(np.arange(4)[:, None] == 1, -1, LABELS)
    with pytest.warns(daskal.DataWarning, match=fault):
        left_out = daskal.estimate(group, PROBS, on_invalid="nan")
    expected = daskal.estimate(without, PROBS)
    assert left_out.flags[1:] == expected.flags
    assert replace(left_out, flags=()) == replace(expected, flags=())
    found = daskal.score_labeled(group, PROBS, estimate, on_invalid="nan").compute()
    expected = daskal.score_labeled(without, PROBS, estimate).compute()
    np.testing.assert_array_equal(found, np.where(np.arange(4) == 1, np.nan, expected))


def test_repeated_votes_survive_every_way_in() -> None:
    """Anything that went through SciPy would have added the labels up."""
    rows, annotators, classes = [0, 0, 1], [1, 1, 0], [1, 1, 0]
    coo = sp.coo_array((classes, (rows, annotators)), shape=(2, 2))
    raw = (np.array(classes), np.array(annotators), np.array([0, 2, 3]))
    csr = sp.csr_array(raw, shape=(2, 2))
    probs = np.array([[0.3, 0.7], [0.6, 0.4]])
    for labels in (coo, csr, lazy(csr, (2,), (2,)), lazy(csr, (1, 1), (1, 1))):
        with pytest.raises(InvalidDataError, match=r"two votes of one annotator .*: 0 \(1\)\."):
            daskal.estimate(labels, probs)


def test_blocks_that_are_not_what_the_meta_says() -> None:
    dense = da.from_array(LABELS, chunks=(2, -1))
    mislabeled = dense.map_blocks(as_csr, dtype=np.int16, meta=np.empty((0, 0), np.int16))
    with pytest.raises(InputError, match="expected dense blocks"):
        daskal.estimate(mislabeled, PROBS)
    meta = sp.csr_array((0, 0), dtype=np.int16)
    with pytest.raises(InputError, match="expected SciPy's sparse matrices as blocks"):
        daskal.estimate(dense.map_blocks(lambda block: block, meta=meta), PROBS)


# --- imported votes ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", realdata.NAMES)
def test_imported_votes_carry_their_ids(name: str, tmp_path: Path) -> None:
    real = realdata.load(name)
    store, out = tmp_path / "votes.zarr", tmp_path / "scores.zarr"
    daskal.import_votes(real.votes.sample(frac=1, random_state=0), store, tasks=real.task_ids)
    assert_same(results(store, real.pred_probs), results(as_csr(real.labels), real.pred_probs))
    run = daskal.run(labels=store, pred_probs=real.pred_probs, out=out, batch_size=5)
    assert set(run.estimate.annotator_ids) == set(real.annotator_ids.tolist())
    rows = run.batch["row"].to_numpy()
    assert run.batch["id"].tolist() == real.task_ids[rows].tolist()


def test_imported_votes_carry_their_names(tmp_path: Path) -> None:
    long = pd.DataFrame(
        {
            "task": ["t1", "t1", "t2", "t2", "t4", "t4"],
            "annotator": ["ann", "bo", "bo", "cy", "ann", "cy"],
            "label": ["cat", "cat", "dog", "dog", "eel", "cat"],
        }
    )
    daskal.import_votes(long, tmp_path / "votes.zarr", tasks=["t1", "t2", "t3", "t4"])
    estimate = daskal.estimate(tmp_path / "votes.zarr", PROBS)
    assert estimate.class_names == ("cat", "dog", "eel")
    assert estimate.annotator_ids == ("ann", "bo", "cy")
    assert results(tmp_path / "votes.zarr", PROBS)[0] == daskal.estimate(LABELS, PROBS)
    frame = pd.DataFrame(PROBS, columns=["cat", "eel", "dog"])
    right = daskal.estimate(tmp_path / "votes.zarr", frame[["cat", "dog", "eel"]])
    assert daskal.estimate(tmp_path / "votes.zarr", frame) == right
    frame = pd.DataFrame(PROBS, index=["t1", "t2", "t3", "t4"])
    turned = frame.loc[["t1", "t2", "t4", "t3"]]
    assert daskal.estimate(tmp_path / "votes.zarr", turned) == estimate
    with pytest.raises(InputError, match="alone has 't9'"):
        daskal.estimate(tmp_path / "votes.zarr", frame.rename(index={"t3": "t9"}))


def test_ids_that_do_not_fit_the_votes(tmp_path: Path) -> None:
    group = write_group(tmp_path / "votes.zarr", as_csr(LABELS))
    group.create_array("annotators", data=np.arange(2))
    with pytest.raises(InputError, match=r"expected 3 ids in annotators.*got 2"):
        daskal.estimate(group, PROBS)


# --- cost -------------------------------------------------------------------------------------


def crowd(num_rows: int, num_annotators: int) -> tuple[sp.csr_array, np.ndarray]:
    """Return three votes per row, and probabilities of ten classes."""
    rng = np.random.default_rng(0)
    annotators = np.sort(rng.integers(0, num_annotators - 2, (num_rows, 3)), axis=1)
    annotators += np.arange(3)
    truth = rng.integers(0, 10, num_rows)
    right = rng.random((num_rows, 3)) < 0.7
    classes = np.where(right, truth[:, None], rng.integers(0, 10, (num_rows, 3)))
    votes = sp.csr_array(
        (classes.ravel().astype(np.int8), annotators.ravel(), np.arange(0, num_rows * 3 + 1, 3)),
        shape=(num_rows, num_annotators),
    )
    probs = rng.random((num_rows, 10)) + 3 * (np.arange(10) == truth[:, None])
    return votes, probs / probs.sum(axis=1, keepdims=True)


@pytest.mark.slow
def test_the_cost_of_a_vote_hardly_grows_with_annotators() -> None:
    def seconds(votes: sp.csr_array, probs: np.ndarray) -> float:
        start = time.process_time()
        estimate = daskal.estimate(votes, probs)
        daskal.score_labeled(votes, probs, estimate).compute()
        return time.process_time() - start

    few, many = crowd(300_000, 50), crowd(300_000, 50_000)
    with dask.config.set(scheduler="sync"):
        # The least of several: whatever else runs here only adds to it.
        least = [min(seconds(*given) for _ in range(4)) for given in (few, many)]
    assert least[1] < 1.5 * least[0]
