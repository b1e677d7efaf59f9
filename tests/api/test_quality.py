"""Quality of labels, votes and annotators in daskal's own terms: lazy, sparse, out of core."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import DataWarning, EstimateError, InputError, InvalidDataError
from tests import oracle, realdata
from tests.counting import counted_array
from tests.problems import chunkings, forbid_compute, is_vote, make_problem, problems, with_gaps

EXACT = {"rtol": 0, "atol": 1e-9}
CONVENTIONS = ("paper", "cleanlab")


def crowd(labels, probs, **options):
    """Return the three tables, in memory."""
    estimate = daskal.estimate(labels, probs, **options)
    return (
        daskal.label_quality(labels, probs, estimate).compute(),
        daskal.detailed_quality(labels, probs, estimate).compute(),
        daskal.annotator_stats(labels, probs, estimate),
    )


def as_wide(votes: pd.DataFrame, shape: tuple[int, int]) -> np.ndarray:
    wide = np.full(shape, np.nan)
    wide[votes.index, votes["annotator"]] = votes["quality"]
    return wide


# ------------------------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("temperature", "calibrate"), [("fit", True), (None, False)])
@settings(max_examples=8)
@given(problem=problems(max_examples=40, max_annotators=12, max_models=3, min_labels=2))
def test_same_as_the_oracle(problem, convention, temperature, calibrate) -> None:
    if problem.num_annotators < 2:
        return
    quality, votes, stats = crowd(
        problem.labels, problem.pred_probs, convention=convention, temperature=temperature
    )
    ensemble = problem.pred_probs.ndim == 3
    theirs = oracle.cleanlab_quality_ensemble if ensemble else oracle.cleanlab_quality
    with oracle.convention(convention):
        expected = theirs(problem.labels, problem.pred_probs, calibrate_probs=calibrate)
    pd.testing.assert_frame_equal(quality, expected["label_quality"], **EXACT)
    np.testing.assert_allclose(
        as_wide(votes, problem.labels.shape), expected["detailed_label_quality"], **EXACT
    )
    given = is_vote(problem.labels)
    np.testing.assert_array_equal(votes["label"], problem.labels[given])
    columns = expected["annotator_stats"]
    pd.testing.assert_frame_equal(
        stats.loc[columns.index].reset_index(drop=True), columns.reset_index(drop=True), **EXACT
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("consensus", ["best_quality", "majority_vote"])
@pytest.mark.parametrize("quality_method", ["crowdlab", "agreement"])
def test_every_method_of_an_estimate(convention, consensus, quality_method) -> None:
    problem = make_problem(1)
    quality, votes, stats = crowd(
        problem.labels,
        problem.pred_probs,
        convention=convention,
        consensus_method=consensus,
        quality_method=quality_method,
    )
    with oracle.convention(convention):
        expected = oracle.cleanlab_quality(
            problem.labels,
            problem.pred_probs,
            calibrate_probs=True,
            consensus_method=consensus,
            quality_method=quality_method,
        )
    pd.testing.assert_frame_equal(quality, expected["label_quality"], **EXACT)
    np.testing.assert_allclose(
        as_wide(votes, problem.labels.shape), expected["detailed_label_quality"], **EXACT
    )
    pd.testing.assert_frame_equal(
        stats.loc[expected["annotator_stats"].index], expected["annotator_stats"], **EXACT
    )


@pytest.mark.parametrize("method", ["normalized_margin", "confidence_weighted_entropy"])
def test_methods_of_scoring(method: str) -> None:
    problem = make_problem(2)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    with oracle.corrected():
        expected = oracle.cleanlab_quality(
            problem.labels,
            problem.pred_probs,
            calibrate_probs=True,
            label_quality_score_kwargs={"method": method},
        )
    labels, probs = problem.labels, problem.pred_probs
    quality = daskal.label_quality(labels, probs, estimate, method=method).compute()
    pd.testing.assert_frame_equal(quality, expected["label_quality"], **EXACT)
    votes = daskal.detailed_quality(labels, probs, estimate, method=method).compute()
    np.testing.assert_allclose(
        as_wide(votes, labels.shape), expected["detailed_label_quality"], **EXACT
    )


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_sets(name: str) -> None:
    real = realdata.load(name)
    frame = pd.DataFrame(real.labels, index=real.task_ids, columns=real.annotator_ids)
    quality, votes, stats = crowd(frame, real.pred_probs)
    with oracle.corrected():
        expected = oracle.cleanlab_quality(frame, real.pred_probs, calibrate_probs=True)
    pd.testing.assert_frame_equal(quality, expected["label_quality"], **EXACT)
    pd.testing.assert_frame_equal(
        stats.loc[expected["annotator_stats"].index],
        expected["annotator_stats"],
        check_index_type=False,
        **EXACT,
    )
    keys = zip(votes.index, votes["annotator"], votes["label"], strict=True)
    known = real.votes.set_index(["task", "annotator"])["label"].to_dict()
    assert {(task, annotator): label for task, annotator, label in keys} == known
    wide = votes.reset_index().pivot(index="index", columns="annotator", values="quality")
    wide = wide.reindex(index=real.task_ids, columns=real.annotator_ids)
    np.testing.assert_allclose(wide, expected["detailed_label_quality"], **EXACT)


# ------------------------------------------------------------------------- what goes in and out


@settings(max_examples=15)
@given(data=st.data(), problem=problems(max_examples=40, max_annotators=9, max_models=2))
def test_any_chunking_gives_the_same_bits(data, problem) -> None:
    expected = crowd(problem.labels, problem.pred_probs)
    rows = data.draw(chunkings(problem.num_examples))
    labels = da.from_array(problem.labels, chunks=(rows, -1))
    models = (-1,) * (problem.pred_probs.ndim - 2)
    probs = da.from_array(problem.pred_probs, chunks=(*models, rows, -1))
    for got, known in zip(crowd(labels, probs), expected, strict=True):
        pd.testing.assert_frame_equal(got, known, check_exact=True)


def test_sparse_votes_give_the_same_and_stay_sparse() -> None:
    problem = make_problem(3, num_examples=90, num_annotators=20)
    rows, annotators = np.nonzero(is_vote(problem.labels))
    classes = problem.labels[rows, annotators].astype(np.int16)
    votes = sp.csr_array((classes, (rows, annotators)), shape=problem.labels.shape)
    expected = crowd(problem.labels, problem.pred_probs)
    for got, known in zip(crowd(votes, problem.pred_probs), expected, strict=True):
        pd.testing.assert_frame_equal(got, known, check_exact=True)
    assert len(expected[1]) == len(rows)


def test_models_in_stores_of_their_own(tmp_path) -> None:
    problem = make_problem(4, num_models=3)
    stores = []
    for model, probs in enumerate(problem.pred_probs):
        path = tmp_path / f"model {model}.zarr"
        zarr.create_array(path, data=probs, chunks=(7 + model, 4))
        stores.append(str(path))
    estimate = daskal.estimate(problem.labels, stores)
    together = daskal.estimate(problem.labels, problem.pred_probs)
    assert estimate == together
    assert estimate.model_weight.shape == (3,)
    np.testing.assert_array_equal(
        daskal.score_labeled(problem.labels, stores, estimate).compute(),
        daskal.score_labeled(problem.labels, problem.pred_probs, together).compute(),
    )
    pools = [da.from_array(probs, chunks=(9, 4)) for probs in problem.pool]
    np.testing.assert_array_equal(
        daskal.score_unlabeled(pools, estimate).compute(),
        daskal.score_unlabeled(problem.pool, together).compute(),
    )
    for got, known in zip(
        crowd(problem.labels, stores), crowd(problem.labels, problem.pred_probs), strict=True
    ):
        pd.testing.assert_frame_equal(got, known, check_exact=True)


def test_ids_name_rows_and_annotators() -> None:
    problem = make_problem(5)
    examples = [f"example {i}" for i in range(problem.num_examples)]
    people = [f"person {j}" for j in range(problem.num_annotators)]
    frame = pd.DataFrame(problem.labels, index=examples, columns=people)
    estimate = daskal.estimate(frame, problem.pred_probs)
    lazy_probs = da.from_array(problem.pred_probs, chunks=(30, -1))
    quality = daskal.label_quality(frame, lazy_probs, estimate)
    assert quality.npartitions == 3
    assert not quality.known_divisions
    assert quality.compute().index.tolist() == examples
    votes = daskal.detailed_quality(frame, lazy_probs, estimate)
    assert (votes.dtypes == votes.compute().dtypes).all()
    assert set(votes.compute()["annotator"]) <= set(people)
    stats = daskal.annotator_stats(frame, lazy_probs, estimate)
    assert set(stats.index) == set(people)
    # Labels without names go by the estimate's.
    assert set(daskal.annotator_stats(problem.labels, lazy_probs, estimate).index) == set(people)


def test_annotators_match_by_name() -> None:
    problem = make_problem(6)
    people = list("abcdefgh")
    frame = pd.DataFrame(problem.labels, columns=people)
    estimate = daskal.estimate(frame, problem.pred_probs)
    expected = daskal.annotator_stats(frame, problem.pred_probs, estimate)
    turned = daskal.annotator_stats(frame[people[::-1]], problem.pred_probs, estimate)
    pd.testing.assert_frame_equal(turned.loc[expected.index], expected)
    with pytest.warns(DataWarning, match=r"does not know 1 annotator.*'new'"):
        daskal.annotator_stats(frame.rename(columns={"c": "new"}), problem.pred_probs, estimate)


def test_rows_and_annotators_without_votes() -> None:
    gapped = with_gaps(make_problem(7), 7)
    labels, probs = gapped.problem.labels, gapped.problem.pred_probs
    quality, votes, stats = crowd(labels, probs)
    kept = crowd(gapped.kept.labels, gapped.kept.pred_probs)
    pd.testing.assert_frame_equal(
        quality.iloc[gapped.rows].reset_index(drop=True), kept[0], check_exact=True
    )
    bare = np.setdiff1d(np.arange(len(labels)), gapped.rows)
    assert quality["num_annotations"][bare].tolist() == [0] * len(bare)
    assert quality["annotator_agreement"][bare].isna().all()
    np.testing.assert_array_equal(quality["consensus_label"][bare], probs[bare].argmax(axis=1))
    assert len(votes) == len(kept[1])
    assert len(stats) == len(kept[2])
    np.testing.assert_array_equal(stats.to_numpy(), kept[2].to_numpy())


def test_single_labels() -> None:
    problem = make_problem(8, labels_per_example=1)
    quality, votes, stats = crowd(problem.labels, problem.pred_probs)
    label = np.nanmax(problem.labels, axis=1).astype(int)
    np.testing.assert_array_equal(quality["consensus_label"], label)
    raw = problem.pred_probs[np.arange(len(label)), label]
    np.testing.assert_allclose(quality["consensus_quality_score"], raw, rtol=1e-15)
    np.testing.assert_array_equal(votes["quality"], quality["consensus_quality_score"])
    assert stats["annotator_quality"].isna().all()
    assert (stats["agreement_with_consensus"] == 1).all()


# ----------------------------------------------------------------------------- lazily and in one


def test_nothing_is_read_until_it_is_computed(tmp_path) -> None:
    problem = make_problem(9, num_examples=100)
    labels, label_reads = counted_array(tmp_path / "l", problem.labels, chunks=(10, 8))
    probs, prob_reads = counted_array(tmp_path / "p", problem.pred_probs, chunks=(10, 4))
    estimate = daskal.estimate(labels, probs)
    for build in (daskal.label_quality, daskal.detailed_quality):
        label_reads.forget()
        prob_reads.forget()
        with forbid_compute():
            table = build(labels, probs, estimate)
            means = table.mean(numeric_only=True)
        assert label_reads.reads() == {}
        assert table.known_divisions
        means.compute()
        assert set(label_reads.reads().values()) == {1}
        assert set(prob_reads.reads().values()) == {1}
    label_reads.forget()
    daskal.annotator_stats(labels, probs, estimate)
    assert set(label_reads.reads().values()) == {1}


def test_contents_are_not_hashed() -> None:
    class Unhashable(np.ndarray):
        def __reduce_ex__(self, protocol):
            raise AssertionError("hashed")

    problem = make_problem(10)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    probs = problem.pred_probs.view(Unhashable)
    table = daskal.label_quality(problem.labels, probs, estimate)
    assert len(table.compute(scheduler="sync")) == problem.num_examples


@pytest.mark.parametrize("scheduler", ["threads", "distributed"])
def test_any_scheduler(scheduler: str, cluster, tmp_path) -> None:
    problem = make_problem(11, num_models=2)
    expected = crowd(problem.labels, problem.pred_probs)
    probs = zarr.create_array(tmp_path / "p", data=problem.pred_probs, chunks=(2, 13, 4))
    with (
        cluster.as_current()
        if scheduler == "distributed"
        else dask.config.set(scheduler=scheduler, num_workers=2)
    ):
        labels = da.from_array(problem.labels, chunks=(13, 8))
        for got, known in zip(crowd(labels, probs), expected, strict=True):
            pd.testing.assert_frame_equal(got, known, check_exact=True)


# ------------------------------------------------------------------------------------- bad input


def test_rows_at_fault_are_named_or_left_out() -> None:
    problem = make_problem(12)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    probs = problem.pred_probs.copy()
    probs[[5, 61]] = np.nan
    lazy = da.from_array(probs, chunks=(20, -1))
    labels = problem.labels
    with pytest.raises(InvalidDataError, match=r"pred_probs: 2 rows .* 5 \(nan\), 61 \(nan\)"):
        daskal.annotator_stats(labels, lazy, estimate)
    with pytest.raises(InvalidDataError, match=r"pred_probs: 1 row .* (5|61) \(nan\)"):
        daskal.label_quality(labels, lazy, estimate).compute(scheduler="sync")
    quality = daskal.label_quality(labels, lazy, estimate, on_invalid="nan").compute()
    assert quality.index[quality["consensus_quality_score"].isna()].tolist() == [5, 61]
    votes = daskal.detailed_quality(labels, lazy, estimate, on_invalid="nan").compute()
    assert not {5, 61} & set(votes.index)
    stats = daskal.annotator_stats(labels, lazy, estimate, on_invalid="nan")
    assert stats["num_examples_labeled"].sum() == len(votes)


def test_arguments_that_do_not_fit() -> None:
    problem = make_problem(13)
    labels, probs = problem.labels, problem.pred_probs
    estimate = daskal.estimate(labels, probs)
    with pytest.raises(EstimateError, match="expected 4 classes"):
        daskal.label_quality(labels, probs[:, :3], estimate)
    with pytest.raises(EstimateError, match="got an ensemble's"):
        daskal.annotator_stats(labels, probs[None], estimate)
    with pytest.raises(InputError, match="method: expected 'self_confidence'"):
        daskal.detailed_quality(labels, probs, estimate, method="margin")
    with pytest.raises(InputError, match="on_invalid"):
        daskal.label_quality(labels, probs, estimate, on_invalid="keep")
