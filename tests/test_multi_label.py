"""Several classes an example: the numbers of K binary problems, in the reads of one."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import DataWarning, EstimateError, InputError, InvalidDataError
from tests import oracle
from tests.counting import counted_array
from tests.problems import chunkings, forbid_compute
from tests.tagkit import binary, make_tags
from tests.tagoracle import oracle_scores

CONVENTIONS = ("paper", "cleanlab")
EXACT = {"rtol": 1e-9, "atol": 1e-9}
pytestmark = pytest.mark.filterwarnings("ignore::daskal.DataWarning")


def estimate(labels, probs, **options):
    return daskal.estimate(labels, probs, multi_label=True, **options)


# --- the numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("num_models", [1, 3])
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1), num_classes=st.integers(1, 20))
def test_scores_are_those_of_binary_problems(seed, num_classes, num_models, convention):
    problem = make_tags(seed, num_classes=num_classes, num_models=num_models, num_examples=40)
    expected, pool = oracle_scores(problem, convention)
    found = estimate(problem.labels, problem.pred_probs, convention=convention)
    for reduce, over in (("mean", np.mean), ("min", np.min), (None, lambda x, axis: x)):
        scores = daskal.score_labeled(problem.labels, problem.pred_probs, found, reduce=reduce)
        np.testing.assert_allclose(scores.compute(), over(expected, axis=1), **EXACT)
        scores = daskal.score_unlabeled(problem.pool, found, reduce=reduce)
        np.testing.assert_allclose(scores.compute(), over(pool, axis=1), **EXACT)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.int64])
@pytest.mark.parametrize("probs_dtype", [np.float32, np.float64])
def test_each_class_has_the_estimate_of_its_binary_problem(dtype, probs_dtype):
    problem = make_tags(1, num_classes=20, dtype=dtype, probs_dtype=probs_dtype)
    found = estimate(problem.labels, problem.pred_probs)
    for k, one in found.by_class.items():
        votes = np.ascontiguousarray(problem.labels[:, :, k])
        assert one == daskal.estimate(votes, binary(problem.pred_probs, k))


def test_the_pool_alone_has_temperature_and_weights_1():
    pool = make_tags(2).pool
    expected = [oracle.cleanlab_scores(None, None, binary(pool, k))[1] for k in range(4)]
    scores = daskal.score_unlabeled(pool, multi_label=True).compute()
    np.testing.assert_allclose(scores, np.mean(expected, axis=0), **EXACT)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_lists_and_long_votes_are_the_same_as_the_array(convention):
    problem = make_tags(3)
    names = ["sky", "sea", "sand", "sun"]
    probs = pd.DataFrame(problem.pred_probs, columns=names)
    expected = estimate(problem.labels, probs, convention=convention)
    scores = daskal.score_labeled(problem.labels, probs, expected).compute()
    lists = problem.lists(names)
    column = lists.stack().rename_axis(["task", "annotator"]).rename("label").reset_index()
    column = column.sample(frac=1, random_state=0)
    asked = column[column["label"].notna()]
    lines = asked.explode("label").dropna()
    for labels in (lists, column, daskal.Tags(column), daskal.Tags(lines, asked)):
        found = estimate(labels, probs, convention=convention)
        assert [one.to_json() for one in found.by_class.values() if one] == [
            replace(one, annotator_ids=found.annotator_ids).to_json()
            for one in expected.by_class.values()
            if one
        ]
        assert list(found.by_class) == names
        np.testing.assert_array_equal(daskal.score_labeled(labels, probs, found), scores)


# --- the same bits, in the same reads ---------------------------------------------------------


@settings(max_examples=6)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_chunks_change_no_bit(data, seed):
    problem = make_tags(seed, num_classes=18, dtype=np.int8)
    rows = data.draw(chunkings(len(problem.labels)))
    labels = da.from_array(problem.labels, chunks=(rows, 2, 7))
    probs = da.from_array(problem.pred_probs, chunks=(rows, 5))
    expected = estimate(problem.labels, problem.pred_probs)
    found = estimate(labels, probs)
    assert found.to_json() == expected.to_json()
    whole = daskal.score_labeled(problem.labels, problem.pred_probs, expected).compute()
    np.testing.assert_array_equal(daskal.score_labeled(labels, probs, found).compute(), whole)


@pytest.mark.parametrize("num_classes", [2, 40])
def test_each_pass_reads_each_chunk_once(tmp_path, num_classes):
    problem = make_tags(4, num_examples=400, num_classes=num_classes, dtype=np.int8)
    labels, votes = counted_array(tmp_path / "l", problem.labels, chunks=(100, 5, num_classes))
    probs, model = counted_array(tmp_path / "p", problem.pred_probs, chunks=(100, num_classes))
    found = estimate(labels, probs, temperature=2.0)
    assert {*votes.reads().values(), *model.reads().values()} == {2}  # votes, and the consensus
    assert len(model.reads()) == 4
    for ask in (daskal.score_labeled, daskal.label_quality):
        votes.forget()
        model.forget()
        ask(labels, probs, found).compute()
        assert {*votes.reads().values(), *model.reads().values()} == {1}
    votes.forget()
    daskal.annotator_stats(labels, probs, found)
    assert set(votes.reads().values()) == {1}


def test_lazy_functions_compute_nothing():
    problem = make_tags(5)
    found = estimate(problem.labels, problem.pred_probs)
    with forbid_compute():
        scores = daskal.score_labeled(problem.labels, problem.pred_probs, found)
        every = daskal.score_unlabeled(problem.pool, found, reduce=None)
        quality = daskal.label_quality(problem.labels, problem.pred_probs, found)
    assert (scores.shape, scores.dtype) == ((60,), np.float64)
    assert every.shape == (30, 4)
    assert list(quality.columns) == [
        "consensus_labels",
        "consensus_quality_score",
        "annotator_agreement",
        "num_annotations",
    ]


def test_a_batch_of_lazy_scores():
    problem = make_tags(6)
    found = estimate(problem.labels, problem.pred_probs)
    scores = daskal.score_labeled(problem.labels, problem.pred_probs, found)
    pool = daskal.score_unlabeled(problem.pool, found)
    batch = daskal.next_batch(scores, pool, size=10)
    both = np.sort(np.concatenate([scores.compute(), pool.compute()]))
    np.testing.assert_array_equal(batch["score"], both[:10])


# --- no votes, and rows at fault --------------------------------------------------------------


def test_an_annotator_who_saw_nothing_counts_nowhere():
    problem = make_tags(7)
    more = np.concatenate([problem.labels, np.full_like(problem.labels[:, :1], np.nan)], axis=1)
    one, other = (estimate(labels, problem.pred_probs) for labels in (problem.labels, more))
    np.testing.assert_array_equal(
        daskal.score_labeled(problem.labels, problem.pred_probs, one).compute(),
        daskal.score_labeled(more, problem.pred_probs, other).compute(),
    )
    assert other.annotator_weight.iloc[-1].isna().all()
    assert len(daskal.annotator_stats(more, problem.pred_probs, other)) == 5


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("num_models", [1, 2])
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.2, 0.5, 0.8]),
    dtype=st.sampled_from([np.float64, np.float32, np.int8]),
)
def test_only_votes_that_were_given_count(seed, share, dtype, num_models, convention):
    """Annotators see some classes of some examples; rows, annotators and a class have no votes."""
    problem = make_tags(seed, num_models=num_models, num_classes=5, dtype=np.float64)
    rng = np.random.default_rng(seed)
    votes, probs = problem.labels.copy(), problem.pred_probs.copy()
    votes[rng.random(votes.shape) < share] = np.nan
    votes[rng.integers(60, size=4)] = np.nan
    votes[:, 2] = np.nan
    votes[:, :, 3] = np.nan
    votes[:, 1, :2] = np.nan
    probs[..., 7, :], probs[..., 8, :] = 0, 1
    known = replace(problem, labels=votes, pred_probs=probs)
    expected, pool = oracle_scores(known, convention)
    labels = (np.where(np.isnan(votes), -1, votes) if dtype is np.int8 else votes).astype(dtype)
    found = estimate(labels, probs, convention=convention)
    for reduce, over in (("mean", np.nanmean), ("min", np.nanmin), (None, lambda x, axis: x)):
        scores = daskal.score_labeled(labels, probs, found, reduce=reduce)
        np.testing.assert_allclose(scores.compute(), over(expected, axis=1), **EXACT)
        scores = daskal.score_unlabeled(problem.pool, found, reduce=reduce)
        np.testing.assert_allclose(scores.compute(), over(pool, axis=1), **EXACT)


@settings(max_examples=10)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_chunks_change_no_bit_of_lists(data, seed):
    problem = make_tags(seed, num_examples=40, num_classes=18)
    lists = problem.lists()
    lists.iloc[[3, 17]] = None
    rows = data.draw(chunkings(40))
    probs = da.from_array(problem.pred_probs, chunks=(rows, 5))
    expected = estimate(lists, problem.pred_probs)
    found = estimate(lists, probs)
    assert found.to_json() == expected.to_json()
    whole = daskal.score_labeled(lists, problem.pred_probs, expected).compute()
    np.testing.assert_array_equal(daskal.score_labeled(lists, probs, found).compute(), whole)
    dense = np.where(np.isin(np.arange(40), [3, 17])[:, None, None], np.nan, problem.labels)
    again = estimate(dense, probs)
    np.testing.assert_array_equal(daskal.score_labeled(dense, probs, again).compute(), whole)


def test_a_row_without_votes_is_scored_as_the_pool_is():
    problem = make_tags(8)
    labels = problem.labels.copy()
    labels[3] = np.nan
    found = estimate(labels, problem.pred_probs)
    scores = daskal.score_labeled(labels, problem.pred_probs, found).compute()
    as_pool = daskal.score_unlabeled(problem.pred_probs, found).compute()
    np.testing.assert_allclose(scores[3], as_pool[3], rtol=1e-14)


def test_a_class_without_votes_takes_no_part():
    problem = make_tags(9)
    labels = problem.labels.copy()
    labels[:, :, 2] = np.nan
    with pytest.warns(DataWarning, match="1 class has no vote, 0 or 1, and no part in scores: 2"):
        found = daskal.estimate(labels, problem.pred_probs, multi_label=True)
    others = [0, 1, 3]
    assert found.by_class[2] is None
    assert daskal.MultiLabelEstimate.from_json(found.to_json()) == found
    expected = oracle_scores(
        replace(
            problem,
            labels=problem.labels[:, :, others],
            pred_probs=problem.pred_probs[:, others],
            pool=problem.pool[:, others],
        ),
        "paper",
    )[0]
    scores = daskal.score_labeled(labels, problem.pred_probs, found, reduce=None).compute()
    np.testing.assert_allclose(scores[:, others], expected, **EXACT)
    assert np.isnan(scores[:, 2]).all()
    mean = daskal.score_labeled(labels, problem.pred_probs, found).compute()
    np.testing.assert_allclose(mean, expected.mean(axis=1), **EXACT)


def test_no_votes_at_all_are_refused():
    with pytest.raises(InvalidDataError, match="expected at least one vote"):
        estimate(np.full((3, 2, 2), -1), np.full((3, 2), 0.5))


def test_a_class_nobody_chose_is_no_fault():
    problem = make_tags(10)
    labels = problem.labels.copy()
    labels[..., 1] = np.where(np.isnan(labels[..., 1]), np.nan, 0)
    expected, _ = oracle_scores(replace(problem, labels=labels), "paper")
    found = estimate(labels, problem.pred_probs)
    scores = daskal.score_labeled(labels, problem.pred_probs, found).compute()
    np.testing.assert_allclose(scores, expected.mean(axis=1), **EXACT)


@pytest.mark.parametrize(
    ("value", "said"),
    [(1.2, "has a probability above 1: 7 (1.2)"), (-0.2, "has a negative probability: 7 (-0.2)")],
)
def test_probabilities_beyond_0_and_1_are_named(value, said):
    problem = make_tags(11)
    probs = problem.pred_probs.copy()
    probs[7, 2] = value
    with pytest.raises(InvalidDataError) as caught:
        estimate(problem.labels, probs)
    assert said in str(caught.value)
    assert "Expected the probability of each class, from 0 to 1" in str(caught.value)
    found = estimate(problem.labels, problem.pred_probs)
    with pytest.raises(InvalidDataError, match="row where the row"):
        daskal.score_labeled(problem.labels, probs, found).compute()
    scores = daskal.score_labeled(problem.labels, probs, found, on_invalid="nan").compute()
    np.testing.assert_array_equal(np.isnan(scores), np.arange(60) == 7)


def test_all_zero_rows_are_good():
    problem = make_tags(12)
    probs = problem.pred_probs.copy()
    probs[5] = 0
    expected, _ = oracle_scores(replace(problem, pred_probs=probs), "paper")
    scores = daskal.score_labeled(problem.labels, probs, estimate(problem.labels, probs))
    np.testing.assert_allclose(scores.compute(), expected.mean(axis=1), **EXACT)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (2.0, "other than 0 and 1: 4 (2)"),
        (0.5, "other than 0 and 1: 4 (0.5)"),
        (-1.0, "negative label in a float matrix"),
        (np.inf, "no finite number"),
    ],
)
def test_labels_at_fault_are_named_and_left_out(label, said):
    problem = make_tags(13)
    labels = problem.labels.copy()
    labels[4, 1, 3] = label
    with pytest.raises(InvalidDataError) as caught:
        estimate(labels, problem.pred_probs)
    assert said in str(caught.value)
    without = problem.labels.copy()
    without[4] = np.nan
    found = estimate(labels, problem.pred_probs, on_invalid="nan")
    plain = estimate(without, problem.pred_probs)
    assert found.to_json() == plain.to_json()


def test_lists_with_rows_at_fault_are_the_same_as_the_array():
    problem = make_tags(14)
    probs = problem.pred_probs.copy()
    probs[[0, 9], [1, 2]] = 3
    lists = problem.lists()
    one, other = (estimate(given, probs, on_invalid="nan") for given in (problem.labels, lists))
    assert one.to_json() == other.to_json()
    for ask in (daskal.score_labeled, daskal.label_quality):
        found = [
            pd.DataFrame(ask(given, probs, one, on_invalid="nan").compute())
            for given in (problem.labels, lists)
        ]
        pd.testing.assert_frame_equal(*found)


# --- quality ----------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("method", ["self_confidence", "normalized_margin"])
def test_label_quality_is_that_of_binary_problems(convention, method):
    problem = make_tags(15, num_classes=18)
    found = estimate(problem.labels, problem.pred_probs, convention=convention)
    by_class = daskal.label_quality(
        problem.labels, problem.pred_probs, found, reduce=None, method=method
    ).compute()
    parts = []
    for k in range(18):
        one = daskal.label_quality(
            problem.labels[:, :, k], binary(problem.pred_probs, k), found.by_class[k], method=method
        ).compute()
        mine = by_class[by_class["class"] == k].drop(columns="class")
        pd.testing.assert_frame_equal(mine, one)
        parts.append(one)
    whole = daskal.label_quality(problem.labels, problem.pred_probs, found, method=method).compute()
    labels = np.stack([part["consensus_label"] for part in parts], axis=1)
    assert whole["consensus_labels"].tolist() == [np.flatnonzero(row).tolist() for row in labels]
    for name in ("consensus_quality_score", "annotator_agreement"):
        mean = np.mean([part[name] for part in parts], axis=0)
        np.testing.assert_allclose(whole[name], mean, rtol=1e-14)
    asked = (~np.isnan(problem.labels)).any(axis=2).sum(axis=1)
    np.testing.assert_array_equal(whole["num_annotations"], asked)


def test_annotators_are_those_of_binary_problems():
    problem = make_tags(16)
    names = ["sky", "sea", "sand", "sun"]
    probs = pd.DataFrame(problem.pred_probs, columns=names)
    found = estimate(problem.labels, probs)
    by_class = daskal.annotator_stats(problem.labels, probs, found, reduce=None)
    for k, name in enumerate(names):
        one = daskal.annotator_stats(
            problem.labels[:, :, k], binary(problem.pred_probs, k), found.by_class[name]
        )
        mine = by_class.loc[name].rename(columns={"worst_label": "worst_class"})
        pd.testing.assert_frame_equal(mine, one, check_names=False)
    whole = daskal.annotator_stats(problem.labels, probs, found)
    wide = by_class["annotator_quality"].unstack("class")
    np.testing.assert_allclose(
        whole["annotator_quality"], wide.mean(axis=1).loc[whole.index], rtol=1e-14
    )
    agreement = by_class["agreement_with_consensus"].unstack("class")
    assert whole["worst_class"].tolist() == agreement.idxmin(axis=1).loc[whole.index].tolist()
    asked = (~np.isnan(problem.labels)).any(axis=2).sum(axis=0)
    np.testing.assert_array_equal(whole["num_examples_labeled"].sort_index(), asked)


# --- names, and what is refused ---------------------------------------------------------------


def test_columns_in_another_order_are_put_in_order():
    problem = make_tags(17)
    names = ["sky", "sea", "sand", "sun"]
    probs = pd.DataFrame(problem.pred_probs, columns=names)
    lists = problem.lists(names)
    found = estimate(lists, probs)
    scores = daskal.score_labeled(lists, probs, found).compute()
    pool = pd.DataFrame(problem.pool, columns=names)
    moved = daskal.score_unlabeled(pool[names[::-1]], found).compute()
    np.testing.assert_array_equal(moved, daskal.score_unlabeled(pool, found).compute())
    rows = probs.sample(frac=1, random_state=1)
    lists.index = pd.Index([f"t{at}" for at in range(60)])
    rows.index = pd.Index([f"t{at}" for at in rows.index])
    np.testing.assert_array_equal(daskal.score_labeled(lists, rows, found).compute(), scores)


def test_xarray_in_xarray_out():
    problem = make_tags(18)
    ids, people = [f"t{at}" for at in range(60)], list("abcde")
    labels = xr.DataArray(
        problem.labels,
        dims=("task", "annotator", "class"),
        coords={"task": ids, "annotator": people, "class": ["w", "x", "y", "z"]},
    )
    probs = xr.DataArray(
        problem.pred_probs[:, ::-1],
        dims=("task", "class"),
        coords={"task": ids, "class": ["z", "y", "x", "w"]},
    )
    found = estimate(labels, probs)
    assert found.annotator_weight.index.tolist() == people
    assert list(found.by_class) == ["w", "x", "y", "z"]
    scores = daskal.score_labeled(labels, probs, found)
    assert scores["task"].to_numpy().tolist() == ids
    plain = daskal.score_labeled(
        problem.labels, problem.pred_probs, estimate(problem.labels, problem.pred_probs)
    )
    np.testing.assert_array_equal(scores.to_numpy(), plain.compute())


def test_zarr_paths_and_estimates_from_text(tmp_path):
    problem = make_tags(19, dtype=np.int8)
    zarr.save_array(tmp_path / "l.zarr", problem.labels)
    zarr.save_array(tmp_path / "p.zarr", problem.pred_probs)
    paths = (tmp_path / "l.zarr", tmp_path / "p.zarr")
    found = daskal.MultiLabelEstimate.from_json(estimate(*paths).to_json())
    expected = daskal.score_labeled(problem.labels, problem.pred_probs, found).compute()
    np.testing.assert_array_equal(daskal.score_labeled(*paths, found).compute(), expected)


def test_what_does_not_fit_is_refused():
    problem = make_tags(20)
    labels, probs = problem.labels, problem.pred_probs
    many = estimate(labels, probs)
    single = daskal.estimate(labels[:, :, 0], binary(probs, 0))
    with pytest.raises(InputError, match="an example, pass multi_label=True"):
        daskal.estimate(labels, probs)
    with pytest.raises(InputError, match=r"expected an .N, M, K. array for multi_label=True"):
        estimate(labels[:, :, 0], probs)
    with pytest.raises(InputError, match="with the K = 3 classes of pred_probs"):
        estimate(labels, probs[:, :3])
    with pytest.raises(EstimateError, match=r"expected a daskal\.MultiLabelEstimate"):
        daskal.score_labeled(labels, probs, single, multi_label=True)
    with pytest.raises(EstimateError, match=r"expected a daskal\.Estimate for multi_label=False"):
        daskal.score_unlabeled(problem.pool, many, multi_label=False)
    with pytest.raises(EstimateError, match="expected 4 classes"):
        daskal.score_unlabeled(problem.pool[:, :3], many)
    with pytest.raises(EstimateError, match="got a MultiLabelEstimate"):
        daskal.detailed_quality(labels[:, :, 0], probs, many)
    with pytest.raises(EstimateError, match=r"of schema 'daskal\.Estimate/1'"):
        daskal.Estimate.from_json(many.to_json())
    with pytest.raises(InputError, match="reduce: expected 'mean' or 'min', got 'sum'"):
        daskal.score_labeled(labels, probs, many, reduce="sum")
    with pytest.raises(InputError, match="It is for multi_label=True"):
        daskal.score_unlabeled(binary(problem.pool, 0), single, reduce=None)
    with pytest.raises(InputError, match="multi_label: expected True or False, got 'yes'"):
        daskal.estimate(labels, probs, multi_label="yes")
    with pytest.raises(InputError, match="expected the probabilities of each class"):
        daskal.score_labeled(labels, None, many)
    with pytest.raises(InputError, match="gold: expected none for multi_label=True"):
        daskal.annotator_stats(labels, probs, many, gold=np.zeros(60))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": [None]}, "no class with votes"),
        ({"class_names": ["a"]}, "class_names has 1 values, not 4"),
    ],
)
def test_estimates_that_contradict_themselves_are_refused(change, said):
    import json

    from daskal.method import schema

    problem = make_tags(21)
    content = json.loads(estimate(problem.labels, problem.pred_probs).to_json()) | change
    content.pop("sha256")
    content["sha256"] = schema.digest(content)
    with pytest.raises(EstimateError, match=said):
        daskal.MultiLabelEstimate.from_json(schema.canonical(content))


def test_an_estimate_shows_itself():
    problem = make_tags(22)
    found = estimate(problem.labels, problem.pred_probs)
    text = repr(found)
    assert text.startswith("<daskal.MultiLabelEstimate>")
    assert "annotators, classes    5, 4" in text
    assert found.temperature.index.tolist() == [0, 1, 2, 3]
    ensemble = make_tags(22, num_models=2)
    assert estimate(ensemble.labels, ensemble.pred_probs).model_weight.shape == (4, 2)


def test_rows_in_another_order_are_a_warning():
    problem = make_tags(23, num_examples=400, num_annotators=8)
    with pytest.warns(DataWarning, match="are the rows of pred_probs in the order of labels"):
        daskal.estimate(problem.labels, problem.pred_probs[::-1], multi_label=True)
