"""The public functions over every kind of input, chunking and scheduler."""

from __future__ import annotations

import pickle
import warnings

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import EstimateError, InputError, InvalidDataError, MissingPathError
from tests.counting import counted_array
from tests.problems import chunkings, forbid_compute, make_problem, problems, single_label


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


def everything(labels, probs, pool, **options):
    """Return the estimate, the scores of labeled examples and of the pool, and the batch."""
    estimate = daskal.estimate(labels, probs, **options)
    scores = daskal.score_labeled(labels, probs, estimate)
    unlabeled = daskal.score_unlabeled(pool, estimate)
    batch = daskal.next_batch(scores, unlabeled, size=7)
    return estimate, scores.compute(), unlabeled.compute(), batch


def assert_everything(got, expected):
    assert got[0].to_json() == expected[0].to_json()
    same_bits(got[1], expected[1])
    same_bits(got[2], expected[2])
    pd.testing.assert_frame_equal(got[3], expected[3], check_exact=True)


def tied(problem):
    """Return probabilities of few distinct values: ties at each level of the majority vote."""
    probs = np.round(problem.pred_probs, 1) + 0.05
    return probs / probs.sum(axis=-1, keepdims=True)


# --- same bits --------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.data(), problems(max_examples=40, max_models=2), st.booleans())
def test_any_chunking_gives_the_same_bits(data, problem, with_ties):
    probs = tied(problem) if with_ties else problem.pred_probs
    expected = everything(problem.labels, probs, problem.pool)
    rows, more, of_pool = (
        data.draw(chunkings(n))
        for n in (problem.num_examples, problem.num_examples, problem.pool.shape[-2])
    )
    lead = (probs.shape[0],) if probs.ndim == 3 else ()
    width = (probs.shape[-1],)
    with dask.config.set(scheduler="sync"):
        got = everything(
            da.from_array(problem.labels, chunks=(rows, 3)),
            da.from_array(probs, chunks=(*lead, more, width)),
            da.from_array(problem.pool, chunks=(*lead, of_pool, 2)),
        )
    assert_everything(got, expected)


CHUNKS = (1, 7, 64, 200, 333)


@pytest.mark.parametrize(
    "scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow), "distributed"]
)
def test_any_scheduler_gives_the_same_bits(scheduler, cluster, tmp_path):
    problem = make_problem(3, num_examples=333, num_annotators=12, num_classes=5, pool=200)
    probs = tied(problem)
    expected = everything(problem.labels, probs, problem.pool)
    chunks = CHUNKS if scheduler == "threads" else CHUNKS[1:4:2]
    if scheduler == "processes":
        chunks = CHUNKS[2:3]  # each computation starts its processes anew
    for rows in chunks:
        labels = da.from_array(problem.labels, chunks=(rows, 12))
        stored = zarr.create_array(
            tmp_path / f"{rows}.zarr", data=probs, chunks=(max(rows // 2, 1), 5)
        )
        pool = da.from_array(problem.pool, chunks=(rows, 5))
        if scheduler == "distributed":
            with cluster.as_current():
                got = everything(labels, stored, pool)
        else:
            with dask.config.set(scheduler=scheduler, num_workers=min(4, 1 + rows % 4)):
                got = everything(labels, stored, pool)
        assert_everything(got, expected)


@pytest.mark.parametrize("random_state", [0, 1, 2**63])
def test_chance_is_keyed_by_row_and_seed(random_state):
    # All classes tie in everything: only chance is left.
    labels = np.tile([0, 1], (200, 1))
    labels[::2] = [1, 0]
    probs = np.full((200, 2), 0.5)
    options = {"consensus_method": "majority_vote", "random_state": random_state}
    estimate = daskal.estimate(labels, probs, **options)
    whole = daskal.score_labeled(labels, probs, estimate)
    rows = da.from_array(labels, chunks=(9, 2))
    assert daskal.estimate(rows, probs, **options).to_json() == estimate.to_json()
    same_bits(daskal.score_labeled(rows, probs, estimate).compute(), whole.compute())


def test_another_seed_breaks_ties_otherwise():
    labels = np.tile([0, 1], (200, 1))
    labels[::2] = [1, 0]
    probs = np.full((200, 2), 0.5)
    errors = {
        daskal.estimate(
            labels, probs, consensus_method="majority_vote", random_state=seed
        ).final.class_error
        for seed in range(5)
    }
    assert len(errors) > 1
    assert all(0.3 < error <= 0.5 for error in errors)


# --- kinds of input ---------------------------------------------------------------------------


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_kind_of_input_gives_the_same(tmp_path, zarr_format):
    problem = make_problem(5, num_examples=50, num_annotators=6, num_classes=3)
    labels, probs = problem.labels, problem.pred_probs
    expected = daskal.estimate(labels, probs)
    codes = np.where(np.isnan(labels), -1, labels).astype(np.int8)
    frame = pd.DataFrame(labels).astype("Int64")
    path = tmp_path / "labels.zarr"
    zarr.create_array(path, data=codes, chunks=(7, 4), zarr_format=zarr_format)
    sharding = {"shards": (24, 3)} if zarr_format == 3 else {}
    probs_path = tmp_path / "probs.zarr"
    zarr.create_array(probs_path, data=probs, chunks=(12, 3), zarr_format=zarr_format, **sharding)
    for given_labels in (labels, codes, frame, str(path), path, zarr.open_array(path)):
        for given_probs in (probs, pd.DataFrame(probs), str(probs_path), da.from_array(probs)):
            estimate = daskal.estimate(given_labels, given_probs)
            assert estimate.to_json() == expected.to_json()
            scores = daskal.score_labeled(given_labels, given_probs, estimate)
            assert scores.dtype == np.float64
            same_bits(scores, daskal.score_labeled(labels, probs, expected))


def test_names_of_annotators_travel_and_match():
    problem = make_problem(0, num_examples=60, num_annotators=4, num_classes=3)
    frame = pd.DataFrame(problem.labels, columns=["ann", "bo", "cy", "di"])
    estimate = daskal.estimate(frame, problem.pred_probs)
    assert estimate.annotator_weight.nunique() == 4
    assert list(estimate.annotator_weight.index) == ["ann", "bo", "cy", "di"]
    scores = daskal.score_labeled(frame, problem.pred_probs, estimate).compute()
    turned = frame[["di", "bo", "ann", "cy"]]
    np.testing.assert_allclose(
        daskal.score_labeled(turned, problem.pred_probs, estimate).compute(), scores, rtol=1e-14
    )
    stranger = turned.rename(columns={"di": "ed"})
    with pytest.warns(daskal.DataWarning, match=r"does not know 1 annotator.*ed"):
        other = daskal.score_labeled(stranger, problem.pred_probs, estimate).compute()
    untouched = frame["di"].isna().to_numpy()
    np.testing.assert_allclose(other[untouched], scores[untouched], rtol=1e-14)
    assert (other[~untouched] != scores[~untouched]).any()


@pytest.mark.parametrize("num_classes", [5, 33, 9000])
@pytest.mark.parametrize("dtype", ["f4", ">f8"])
def test_chunks_change_no_bit_of_a_pool(num_classes, dtype):
    rng = np.random.default_rng(num_classes)
    pool = rng.dirichlet(np.full(num_classes, 0.3), 40).astype(dtype)
    pool[7] = np.nan
    pool[20, 0] += 3
    problem = make_problem(1, num_classes=num_classes)
    estimate = daskal.estimate(problem.labels, problem.pred_probs, temperature=2.5)
    whole = daskal.score_unlabeled(pool, estimate, on_invalid="nan").compute()
    assert np.flatnonzero(np.isnan(whole)).tolist() == [7, 20]
    for rows in ((1,) * 40, (7, 1, 12, 1, 19), (21, 19)):
        chunked = da.from_array(pool, chunks=(rows, num_classes))
        same_bits(daskal.score_unlabeled(chunked, estimate, on_invalid="nan"), whole)
        in_columns = np.asfortranarray(pool)
        same_bits(daskal.score_unlabeled(in_columns, estimate, on_invalid="nan"), whole)


@pytest.mark.parametrize("num_classes", [4, 40])
@pytest.mark.parametrize("temperature", ["fit", None, 0.05, 2.0, 2.5])
def test_rows_without_votes_are_rows_of_the_pool(num_classes, temperature):
    problem = make_problem(7, num_examples=40, num_annotators=5, num_classes=num_classes)
    estimate = daskal.estimate(problem.labels, problem.pred_probs, temperature=temperature)
    bare = np.full((len(problem.pool), 5), np.nan)
    same_bits(
        daskal.score_labeled(bare, problem.pool, estimate),
        daskal.score_unlabeled(problem.pool, estimate),
    )
    longer = np.concatenate([problem.labels, bare])
    probs = np.concatenate([problem.pred_probs, problem.pool])
    again = daskal.estimate(longer, probs, temperature=temperature)
    assert again.annotator_weight.equals(estimate.annotator_weight)
    assert (again.temperature, again.model_weight) == (estimate.temperature, estimate.model_weight)


def test_an_empty_column_changes_nothing():
    problem = make_problem(8, num_examples=40, num_annotators=5)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    wider = np.insert(problem.labels, 2, np.nan, axis=1)
    again = daskal.estimate(wider, problem.pred_probs)
    same_bits(np.delete(again.annotator_weight.to_numpy(), 2), estimate.annotator_weight)
    assert np.isnan(again.annotator_weight[2])
    assert any("no label" in flag for flag in again.flags)
    same_bits(
        daskal.score_labeled(wider, problem.pred_probs, again),
        daskal.score_labeled(problem.labels, problem.pred_probs, estimate),
    )


# --- estimate ---------------------------------------------------------------------------------


@given(problems(max_examples=20, max_models=2, pool=False))
def test_json_round_trip_is_exact(problem):
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    again = daskal.Estimate.from_json(estimate.to_json())
    assert again == estimate
    assert again.to_json() == estimate.to_json()
    same_bits(
        daskal.score_labeled(problem.labels, problem.pred_probs, again),
        daskal.score_labeled(problem.labels, problem.pred_probs, estimate),
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "daskal.Estimate/1"}'])
def test_text_that_is_no_estimate(text):
    with pytest.raises(EstimateError, match="expected"):
        daskal.Estimate.from_json(text)


def test_a_copy_is_as_immutable():
    estimate = daskal.estimate(GOOD_LABELS, GOOD_PROBS)
    copy = pickle.loads(pickle.dumps(estimate))
    assert copy == estimate
    for array in (copy.class_counts, copy.votes, copy.final.annotator_weight, copy.agreement):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_single_label_data_takes_its_own_path():
    problem = single_label(1, num_examples=30)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    assert estimate.single_label
    assert estimate.temperature == 1
    assert any("one label" in flag for flag in estimate.flags)
    scores = daskal.score_labeled(problem.labels, problem.pred_probs, estimate).compute()
    given_label = np.nanmax(problem.labels, axis=1).astype(int)
    quality = problem.pred_probs[np.arange(30), given_label]
    expected = (2 * quality + 1 / problem.num_classes) / 3
    np.testing.assert_allclose(scores, expected, rtol=1e-14)


def test_temperature_can_be_given():
    problem = make_problem(2, num_examples=30)
    fitted = daskal.estimate(problem.labels, problem.pred_probs)
    given_one = daskal.estimate(problem.labels, problem.pred_probs, temperature=fitted.temperature)
    assert given_one.annotator_weight.equals(fitted.annotator_weight)
    assert given_one.model_weight == fitted.model_weight
    assert len(given_one.temperature_curve) == 0
    assert fitted.temperature_curve[0].idxmin() == fitted.temperature


# --- lazy -------------------------------------------------------------------------------------


def test_building_a_graph_reads_nothing(tmp_path):
    problem = make_problem(1, num_examples=50, num_annotators=6, num_classes=3)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    labels, seen = counted_array(tmp_path / "l.zarr", problem.labels, chunks=(10, 6))
    probs = da.from_array(problem.pred_probs, chunks=(5, 3))
    with forbid_compute():
        scores = daskal.score_labeled(labels, probs, estimate)
        pool = daskal.score_unlabeled(probs, estimate)
    assert not seen.reads()
    assert scores.shape == (50,)
    assert pool.chunks == ((5,) * 10,)
    assert scores.dtype == pool.dtype == np.float64


def test_stored_inputs_make_one_task_a_block(tmp_path):
    num = 4096 * 5
    zeros = np.zeros((num, 2), np.int8)
    labels = zarr.create_array(tmp_path / "l", data=zeros, chunks=(512, 2), fill_value=-1)
    probs = zarr.create_array(tmp_path / "p", data=np.full((num, 2), 0.5), chunks=(1024, 2))
    estimate = daskal.estimate(labels, probs)
    scores = daskal.score_labeled(labels, probs, estimate)
    assert scores.numblocks == (5,)
    # One task a block, and the job they share.
    assert len(dict(scores.__dask_graph__())) == 6


def test_each_chunk_is_read_at_most_twice_and_once(tmp_path):
    rng = np.random.default_rng(0)
    num = 20_000
    labels = rng.integers(-1, 3, size=(num, 4)).astype(np.int8)
    probs = rng.dirichlet([1, 1, 1], size=num)
    stored_labels, label_reads = counted_array(tmp_path / "l", labels, chunks=(1000, 4))
    stored_probs, prob_reads = counted_array(
        tmp_path / "p", probs, chunks=(500, 3), shards=(2000, 3)
    )
    estimate = daskal.estimate(stored_labels, stored_probs)
    for reads in (label_reads.reads(), prob_reads.reads()):
        assert set(reads.values()) == {2}
    assert len(label_reads.reads()) == 20
    assert len(prob_reads.reads()) == 10  # whole shards
    label_reads.forget()
    prob_reads.forget()
    daskal.score_labeled(stored_labels, stored_probs, estimate).compute()
    daskal.score_unlabeled(stored_probs, estimate).compute()
    assert set(label_reads.reads().values()) == {1}
    assert set(prob_reads.reads().values()) == {2}


# --- bad input --------------------------------------------------------------------------------

GOOD_LABELS = np.array([[0, 1, -1], [1, 1, 0], [2, -1, 2]])
GOOD_PROBS = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN or infinite"),
        (-0.5, "negative probability"),
        (1.5, "above 1"),
        (0.9, "does not sum to 1"),
    ],
)
def test_bad_probabilities_are_named(value, words):
    probs = np.tile(GOOD_PROBS, (5, 1))
    labels = np.tile(GOOD_LABELS, (5, 1))
    probs[7, 2] = value
    for rows in (15, 4, 1):
        with pytest.raises(InvalidDataError, match=rf"pred_probs: 1 row .*{words}.*: 7 \("):
            daskal.estimate(da.from_array(labels, chunks=(rows, 3)), probs)
    scores = daskal.score_unlabeled(probs)
    with pytest.raises(InvalidDataError, match=rf"pred_probs_unlabeled: 1 row .*{words}"):
        scores.compute()
    left_out = daskal.score_unlabeled(probs, on_invalid="nan").compute()
    assert np.flatnonzero(np.isnan(left_out)).tolist() == [7]


def test_all_faults_are_told_at_once_under_any_chunking():
    probs = np.tile(GOOD_PROBS, (9, 1))
    labels = np.tile(GOOD_LABELS, (9, 1)).astype(float)
    labels[labels < 0] = np.nan
    probs[3:20] = 0
    probs[21, 0] = np.nan
    labels[22, 0] = 3
    labels[24, 1] = 0.5
    texts = set()
    for rows in (27, 5, 1):
        with pytest.raises(InvalidDataError) as caught:
            daskal.estimate(da.from_array(labels, chunks=(rows, 3)), probs)
        texts.add(str(caught.value))
    assert len(texts) == 1
    text = texts.pop()
    assert "17 rows where the row is all zero: 3 (0)" in text
    assert "and 7 more" in text
    assert "beyond the last class: 22 (3)" in text
    assert "no whole number: 24 (0.5)" in text
    with pytest.warns(daskal.DataWarning) as reported:
        estimate = daskal.estimate(labels, probs, on_invalid="nan")
    assert len(reported) == 1
    assert str(reported[0].message).splitlines()[:-1] == text.splitlines()[:-1]
    assert "labels: 1 row at fault, where the row has a label beyond the last class" in (
        estimate.flags
    )
    kept = np.setdiff1d(np.arange(27), [*range(3, 20), 21, 22, 24])
    alone = daskal.estimate(labels[kept], probs[kept])
    assert estimate.annotator_weight.equals(alone.annotator_weight)
    assert estimate.temperature == alone.temperature


@pytest.mark.parametrize(
    ("labels", "probs", "words"),
    [
        (GOOD_LABELS[:2], GOOD_PROBS, "same number of rows, got 2 and 3"),
        (GOOD_LABELS[0], GOOD_PROBS, r"expected an \(N, M\) matrix"),
        (GOOD_LABELS, GOOD_PROBS[0], r"expected shape \(N, K\)"),
        (GOOD_LABELS, GOOD_PROBS[:, :1], "at least 2 classes"),
        (GOOD_LABELS, "abc", "'abc': nothing is stored there"),
        (GOOD_LABELS, object(), "got builtins.object"),
        (np.array([["a", "b"]] * 3), GOOD_PROBS, "labels: expected numbers"),
        (GOOD_LABELS, GOOD_PROBS.astype(str), "pred_probs: expected numbers"),
        (np.full((3, 2), -1), GOOD_PROBS, "at least one vote"),
    ],
)
def test_structure_that_does_not_fit(labels, probs, words):
    with pytest.raises(daskal.DaskalError, match=words):
        daskal.estimate(labels, probs)


def test_a_missing_path_is_also_a_file_not_found(tmp_path):
    with pytest.raises(MissingPathError) as caught:
        daskal.score_unlabeled(tmp_path / "none.zarr")
    assert isinstance(caught.value, FileNotFoundError)


def test_unknown_chunks_are_refused_with_the_way_out():
    array = da.from_array(GOOD_PROBS)
    unknown = array[array[:, 0] > 0.15]
    with pytest.raises(InputError, match="compute_chunk_sizes"):
        daskal.score_unlabeled(unknown)


def test_an_estimate_of_other_classes_or_models():
    estimate = daskal.estimate(GOOD_LABELS, GOOD_PROBS)
    with pytest.raises(EstimateError, match="expected 3 classes"):
        daskal.score_unlabeled(np.full((4, 2), 0.5), estimate)
    with pytest.raises(EstimateError, match=r"got an ensemble's, \(P, N, K\), of 2 model"):
        daskal.score_unlabeled(np.stack([GOOD_PROBS] * 2), estimate)


def test_an_estimate_keeps_class_names_that_are_codes():
    bare = daskal.estimate(GOOD_LABELS, GOOD_PROBS)
    assert '"class_names":null' in bare.to_json()
    columns = list("012")
    named = daskal.estimate(GOOD_LABELS, pd.DataFrame(GOOD_PROBS, columns=columns))
    named = daskal.Estimate.from_json(named.to_json())
    assert (named.class_names, named.named_classes) == (tuple(columns), None)
    pool = pd.DataFrame(GOOD_PROBS, columns=columns)
    scores = daskal.score_unlabeled(GOOD_PROBS, bare)
    same_bits(daskal.score_unlabeled(pool, named), scores)
    same_bits(daskal.score_unlabeled(pool[["2", "0", "1"]], named), scores)
    same_bits(daskal.score_unlabeled(GOOD_PROBS, named), scores)
    other = pool.set_axis(["0", "3", "1"], axis=1)
    with pytest.raises(EstimateError, match="estimate alone has '2'; pred_probs_unlabeled alone"):
        daskal.score_unlabeled(other, named)
    for function in (daskal.score_labeled, daskal.label_quality, daskal.annotator_stats):
        with pytest.raises(EstimateError, match="expected the classes in the estimate's order"):
            function(GOOD_LABELS, other, named)
    quality = daskal.label_quality(GOOD_LABELS, pool, named).compute()
    assert quality["consensus_label"].dtype == np.int64


@pytest.mark.parametrize(
    "options",
    [
        {"convention": "papr"},
        {"temperature": 0},
        {"temperature": "auto"},
        {"consensus_method": "mean"},
        {"quality_method": "best"},
        {"on_invalid": "ignore"},
    ],
)
def test_options_that_mean_nothing(options):
    name = next(iter(options))
    with pytest.raises(InputError, match=f"{name}: expected"):
        daskal.estimate(GOOD_LABELS, GOOD_PROBS, **options)


def test_inputs_stay_as_they_were():
    problem = make_problem(4, num_examples=30)
    labels, probs, pool = problem.labels.copy(), problem.pred_probs.copy(), problem.pool.copy()
    for array in (labels, probs, pool):
        array.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*may be worthless")
        everything(labels, probs, pool)
    np.testing.assert_array_equal(labels, problem.labels)
    np.testing.assert_array_equal(probs, problem.pred_probs)
    np.testing.assert_array_equal(pool, problem.pool)
