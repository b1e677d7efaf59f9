"""Every function of cleanlab.multiannotator, with its options, against the package itself."""

from __future__ import annotations

import contextlib
import itertools
import logging
import warnings
from collections.abc import Iterator
from dataclasses import astuple

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from cleanlab import multiannotator as cl
from cleanlab.internal.multiannotator_utils import (
    format_multiannotator_labels as cleanlab_format,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal import DaskalError, DataWarning
from daskal import multiannotator as functions
from tests import oracle, realdata
from tests.problems import VARIANTS, chunkings, make_problem, problems, single_label

EXACT = {"rtol": 0, "atol": 1e-9}
SCORE_OPTIONS = (
    {"method": "normalized_margin"},
    {"method": "confidence_weighted_entropy"},
    {"adjust_pred_probs": True},
    {"method": "normalized_margin", "adjust_pred_probs": True},
)
METHODS = (
    "majority_vote",
    ["majority_vote", "best_quality"],
    ["best_quality", "majority_vote"],
)


def same_scores(labels, pred_probs, pool) -> None:
    ensemble = np.ndim(pool if pred_probs is None else pred_probs) == 3
    ours, theirs = (
        (functions.get_active_learning_scores_ensemble, oracle.cleanlab_scores_ensemble)
        if ensemble
        else (functions.get_active_learning_scores, oracle.cleanlab_scores)
    )
    for got, expected in zip(
        ours(labels, pred_probs, pool), theirs(labels, pred_probs, pool), strict=True
    ):
        assert type(got) is np.ndarray
        assert got.dtype == np.float64
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, **EXACT)


def same_quality(labels, pred_probs, **options) -> None:
    with quiet():
        if pred_probs.ndim == 3:
            got = functions.get_label_quality_multiannotator_ensemble(labels, pred_probs, **options)
            expected = oracle.cleanlab_quality_ensemble(labels, pred_probs, **options)
        else:
            got = functions.get_label_quality_multiannotator(labels, pred_probs, **options)
            expected = oracle.cleanlab_quality(labels, pred_probs, **options)
    same_info(got, expected)


def same_info(got, expected) -> None:
    assert list(got) == list(expected)
    for name, value in expected.items():
        if name.endswith("weight"):
            assert type(got[name]) is type(value)
            np.testing.assert_allclose(got[name], value, **EXACT)
        elif name == "annotator_stats":
            same_stats(got[name], value)
        else:
            pd.testing.assert_frame_equal(got[name], value, **EXACT)


def same_stats(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    # Annotators equal but for a last bit may stand in either order.
    order = expected["annotator_quality"].round(9), expected["agreement_with_consensus"].round(9)
    got_order = got["annotator_quality"].round(9), got["agreement_with_consensus"].round(9)
    for mine, theirs in zip(got_order, order, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-9)
    pd.testing.assert_frame_equal(got.loc[expected.index], expected, **EXACT)


@contextlib.contextmanager
def quiet(category: type[Warning] = DataWarning) -> Iterator[None]:
    """Silence the warnings on data that is unusual here on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


# ------------------------------------------------------------------------------ the same numbers


@pytest.mark.parametrize("models", [1, 2, 3])
@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
def test_scores(make, models: int) -> None:
    problem = make(models, num_models=models)
    with quiet():
        same_scores(problem.labels, problem.pred_probs, problem.pool)
        same_scores(problem.labels, problem.pred_probs, None)
        same_scores(None, None, problem.pool)


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"single_label"}))
def test_quality(name: str, models: int) -> None:
    problem = VARIANTS[name](3, num_models=models)
    for calibrate, detailed in itertools.product((False, True), repeat=2):
        same_quality(
            problem.labels,
            problem.pred_probs,
            calibrate_probs=calibrate,
            return_detailed_quality=detailed,
            return_weights=True,
        )


@pytest.mark.parametrize("score_options", [{}, *SCORE_OPTIONS], ids=str)
@pytest.mark.parametrize("make", ["plain", "no_overlap", "unseen_class", "exact_zeros"])
def test_every_option_of_quality(make: str, score_options: dict) -> None:
    problem = VARIANTS[make](4)
    for method, quality in itertools.product(METHODS, ("crowdlab", "agreement")):
        same_quality(
            problem.labels,
            problem.pred_probs,
            consensus_method=method,
            quality_method=quality,
            label_quality_score_kwargs=score_options,
            return_weights=quality == "crowdlab",
        )
        same_quality(
            problem.labels,
            problem.pred_probs,
            consensus_method=method,
            quality_method=quality,
            label_quality_score_kwargs=score_options,
            return_detailed_quality=False,
        )


def test_tables_not_asked_for_are_not_there() -> None:
    problem = make_problem(5)
    same_quality(
        problem.labels,
        problem.pred_probs,
        return_detailed_quality=False,
        return_annotator_stats=False,
    )


@settings(max_examples=25)
@given(problem=problems(max_examples=30, max_annotators=12, max_models=3, max_classes=12))
def test_any_problem(problem) -> None:
    with quiet():
        same_scores(problem.labels, problem.pred_probs, problem.pool)
    if (~np.isnan(problem.labels)).sum(axis=1).max() > 1:
        same_quality(problem.labels, problem.pred_probs, return_weights=True)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint8])
def test_an_integer_matrix_is_counted_rightly(dtype) -> None:
    problem = VARIANTS["dense"](6, num_classes=6)
    labels = problem.labels.astype(dtype)
    same_scores(labels, problem.pred_probs, problem.pool)
    same_quality(labels, problem.pred_probs, quality_method="agreement")
    floats, _ = functions.get_active_learning_scores(problem.labels, problem.pred_probs)
    integers, _ = functions.get_active_learning_scores(labels, problem.pred_probs)
    assert np.abs(floats - integers).max() > 1e-3


def test_single_precision() -> None:
    problem = make_problem(7, num_examples=200, probs_dtype=np.float32)
    ours = functions.get_active_learning_scores(problem.labels, problem.pred_probs, problem.pool)
    theirs = oracle.cleanlab_scores(problem.labels, problem.pred_probs, problem.pool)
    for got, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_one_class() -> None:
    labels = np.array([[0, 0, np.nan], [0, np.nan, 0], [np.nan, 0, np.nan]])
    same_scores(labels, np.ones((3, 1)), np.ones((2, 1)))
    same_quality(labels, np.ones((3, 1)), calibrate_probs=True)


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_scores(name: str) -> None:
    real = realdata.load(name)
    same_scores(real.labels, real.pred_probs, real.pred_probs[:50])
    models = np.stack([real.pred_probs, sharpened(real.pred_probs)])
    same_scores(real.labels, models, models[:, :50])


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_quality(name: str) -> None:
    real = realdata.load(name)
    frame = pd.DataFrame(real.labels, index=real.task_ids, columns=real.annotator_ids)
    same_quality(frame, real.pred_probs, return_weights=True)
    same_quality(
        real.labels,
        real.pred_probs,
        consensus_method=["majority_vote", "best_quality"],
        calibrate_probs=True,
        label_quality_score_kwargs={"adjust_pred_probs": True},
    )
    same_quality(real.labels, real.pred_probs, quality_method="agreement")
    models = np.stack([real.pred_probs, sharpened(real.pred_probs)])
    same_quality(real.labels, models, calibrate_probs=True, return_weights=True)


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_majority_vote(name: str) -> None:
    real = realdata.load(name)
    for probs in (None, real.pred_probs):
        np.testing.assert_array_equal(
            functions.get_majority_vote_label(real.labels, probs),
            oracle.cleanlab_majority(real.labels, probs),
        )


def sharpened(probs: np.ndarray) -> np.ndarray:
    powers = probs**1.5
    return powers / powers.sum(axis=1, keepdims=True)


# --------------------------------------------------------------------------------- majority votes


@pytest.mark.parametrize("make", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("with_probs", [False, True])
def test_majority_vote(make, with_probs: bool) -> None:
    problem = make(8)
    probs = problem.pred_probs if with_probs else None
    got = functions.get_majority_vote_label(problem.labels, probs, verbose=False)
    assert got.dtype == np.int64
    if make in (VARIANTS["all_ties"], VARIANTS["one_example"]) and not with_probs:
        # cleanlab has no answer where every example is tied.
        counts = (problem.labels[:, :, None] == np.arange(problem.num_classes)).sum(axis=1)
        np.testing.assert_array_equal(counts[np.arange(len(got)), got], counts.max(axis=1))
        return
    np.testing.assert_array_equal(got, oracle.cleanlab_majority(problem.labels, probs))


def test_majority_vote_of_an_unsigned_matrix() -> None:
    labels = np.array([[0, 1, 1], [2, 2, 0]], dtype=np.uint8)
    assert functions.get_majority_vote_label(labels).tolist() == [1, 2]


def test_majority_vote_goes_by_each_tie_break_in_turn() -> None:
    nan = np.nan
    labels = np.array(
        [
            [0, 1, nan],  # tied: the probabilities say 0, and 1 is the rarer class
            [0, 0, 1],
            [0, nan, 0],
            [nan, 1, 1],
            [2, nan, 3],  # tied in frequency too: annotator 0 agrees with more majorities
            [3, nan, 2],
        ]
    )
    probs = np.full((6, 4), 0.25)
    probs[0] = [0.6, 0.2, 0.1, 0.1]
    np.testing.assert_array_equal(functions.get_majority_vote_label(labels), [1, 0, 0, 1, 2, 3])
    np.testing.assert_array_equal(
        functions.get_majority_vote_label(labels, probs), [0, 0, 0, 1, 2, 3]
    )
    for given_probs in (None, probs):
        np.testing.assert_array_equal(
            functions.get_majority_vote_label(labels, given_probs),
            oracle.cleanlab_majority(labels, given_probs),
        )


def test_a_draw_is_the_same_in_every_run_and_chunking() -> None:
    labels = np.tile([[0.0, 1.0], [2.0, 3.0]], (200, 1))
    labels[::40] = [[0, 0]]
    labels[20::40] = [[1, 1]]
    expected = functions.get_majority_vote_label(labels)
    assert set(expected[labels[:, 0] == 2]) == {2, 3}
    lazy = da.from_array(labels, chunks=((1, 250, 149), 2))
    np.testing.assert_array_equal(functions.get_majority_vote_label(lazy).compute(), expected)


def test_rows_without_labels_go_by_the_tie_breaks() -> None:
    labels = np.array([[0, 0, 1], [np.nan] * 3, [1, 1, np.nan], [0, 0, np.nan]])
    probs = np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.5, 0.5]])
    for given_probs in (None, probs):
        np.testing.assert_array_equal(
            functions.get_majority_vote_label(labels, given_probs, verbose=False),
            oracle.cleanlab_majority(labels, given_probs),
        )


# --------------------------------------------------------------------------- an ensemble's pool


def ensemble_with_ties(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two models of one temperature and different weights that tie on part of the pool."""
    rng = np.random.default_rng(seed)
    problem = make_problem(seed, num_examples=120, num_classes=3, labels_per_example=(2, 4))
    first = problem.pred_probs
    # The same rows in another order: as good as random, but of the same temperature.
    second = first.copy()
    wrong = rng.random(len(first)) < 0.4
    second[wrong] = np.roll(first[wrong], 1, axis=1)
    pool = rng.dirichlet(np.ones(3), size=60)
    other = pool.copy()
    other[:30] = pool[:30][:, [1, 0, 2]]
    return problem.labels, np.stack([first, second]), np.stack([pool, other])


@pytest.mark.parametrize("seed", range(6))
def test_ties_between_models_look_at_the_whole_pool(seed: int) -> None:
    labels, models, pool = ensemble_with_ties(seed)
    got = functions.get_active_learning_scores_ensemble(labels, models, pool)[1]
    expected = oracle.cleanlab_scores_ensemble(labels, models, pool)[1]
    np.testing.assert_allclose(got, expected, **EXACT)
    lazy = da.from_array(pool, chunks=(2, (7, 50, 3), 3))
    again = functions.get_active_learning_scores_ensemble(labels, models, lazy)[1]
    np.testing.assert_array_equal(again.compute(), got)


def test_one_model_is_an_ensemble() -> None:
    problem = make_problem(9)
    plain = functions.get_active_learning_scores(problem.labels, problem.pred_probs, problem.pool)
    ensemble = functions.get_active_learning_scores_ensemble(
        problem.labels, problem.pred_probs[None], problem.pool[None]
    )
    for got, expected in zip(ensemble, plain, strict=True):
        np.testing.assert_array_equal(got, expected)


# ------------------------------------------------------------------------------ names and kinds


def named_frame(problem) -> pd.DataFrame:
    rows = pd.Index([f"example {i}" for i in range(problem.num_examples)][::-1], name="example")
    annotators = pd.Index([f"person {j}" for j in range(problem.num_annotators)], name="who")
    return pd.DataFrame(problem.labels, index=rows, columns=annotators)


def test_names_of_rows_and_annotators() -> None:
    problem = make_problem(10)
    frame = named_frame(problem)
    same_scores(frame, problem.pred_probs, problem.pool)
    same_quality(frame, problem.pred_probs, consensus_method=["majority_vote", "best_quality"])
    np.testing.assert_array_equal(
        functions.get_majority_vote_label(frame), oracle.cleanlab_majority(frame)
    )


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "object"])
def test_kinds_of_data_frames(dtype: str) -> None:
    problem = make_problem(11)
    frame = pd.DataFrame(problem.labels).astype("Int64").astype(dtype)
    assert frame.isna().to_numpy().any()
    same_scores(frame, problem.pred_probs, problem.pool)
    same_quality(frame, problem.pred_probs)


def test_a_data_frame_of_integers_is_counted_as_floats() -> None:
    problem = VARIANTS["dense"](12, num_classes=6)
    same_scores(pd.DataFrame(problem.labels.astype(int)), problem.pred_probs, None)


# ------------------------------------------------------------------------------ lazy collections


@settings(max_examples=12)
@given(data=st.data(), problem=problems(max_examples=30, max_annotators=9, max_models=2))
def test_lazy_scores_and_tables(data, problem) -> None:
    chunk = chunkings(problem.num_examples)
    at = problem.pred_probs.ndim - 2
    labels = da.from_array(problem.labels, chunks=(data.draw(chunk), -1))
    probs = da.from_array(problem.pred_probs, chunks=(*(-1,) * at, data.draw(chunk), -1))
    size = problem.pool.shape[at]
    pool = da.from_array(problem.pool, chunks=(*(-1,) * at, data.draw(chunkings(size)), -1))
    suffix = "_ensemble" if at else ""
    scores = getattr(functions, f"get_active_learning_scores{suffix}")
    quality = getattr(functions, f"get_label_quality_multiannotator{suffix}")
    with quiet():
        lazy = scores(labels, probs, pool)
        eager = scores(problem.labels, problem.pred_probs, problem.pool)
        for got, expected in zip(lazy, eager, strict=True):
            assert isinstance(got, da.Array)
            np.testing.assert_array_equal(got.compute(), expected)
        if (~np.isnan(problem.labels)).sum(axis=1).max() > 1:
            same_lazily(
                quality(labels, probs, return_weights=True),
                quality(problem.labels, problem.pred_probs, return_weights=True),
            )


def same_lazily(lazy, eager) -> None:
    assert list(lazy) == list(eager)
    for name, expected in eager.items():
        if name.endswith("label_quality"):
            assert isinstance(lazy[name], dd.DataFrame)
            got = lazy[name].compute()
            pd.testing.assert_frame_equal(got, expected, check_exact=True)
            assert (lazy[name].dtypes == got.dtypes).all()
        elif name == "annotator_stats":
            pd.testing.assert_frame_equal(lazy[name], expected, check_exact=True)
        else:
            np.testing.assert_array_equal(lazy[name], expected)


@pytest.mark.parametrize("score_options", SCORE_OPTIONS, ids=str)
def test_lazy_tables_by_every_method(score_options: dict) -> None:
    problem = make_problem(13)
    options = {
        "consensus_method": ["majority_vote", "best_quality"],
        "label_quality_score_kwargs": score_options,
        "calibrate_probs": True,
    }
    labels = da.from_array(problem.labels, chunks=(17, -1))
    probs = da.from_array(problem.pred_probs, chunks=(17, -1))
    same_lazily(
        functions.get_label_quality_multiannotator(labels, probs, **options),
        functions.get_label_quality_multiannotator(problem.labels, problem.pred_probs, **options),
    )


def test_stored_arrays_and_names(tmp_path) -> None:
    problem = make_problem(14)
    stored = zarr.create_array(tmp_path / "p.zarr", data=problem.pred_probs, chunks=(9, 4))
    frame = named_frame(problem)
    lazy = functions.get_label_quality_multiannotator(frame, stored)
    eager = functions.get_label_quality_multiannotator(frame, problem.pred_probs)
    table = lazy["label_quality"].compute()
    pd.testing.assert_frame_equal(table, eager["label_quality"], check_exact=True)
    detail = lazy["detailed_label_quality"].compute()
    pd.testing.assert_frame_equal(detail, eager["detailed_label_quality"], check_names=False)
    scores = functions.get_active_learning_scores(frame, str(tmp_path / "p.zarr"), stored)
    assert all(isinstance(found, da.Array) for found in scores)


def test_a_lazy_majority_vote_knows_the_classes() -> None:
    problem = make_problem(15)
    codes = np.where(np.isnan(problem.labels), -1, problem.labels).astype(np.int8)
    lazy = functions.get_majority_vote_label(da.from_array(codes, chunks=(30, -1)))
    np.testing.assert_array_equal(lazy.compute(), oracle.cleanlab_majority(problem.labels))


# -------------------------------------------------------------------------- the caller's arrays


@pytest.mark.parametrize("models", [1, 2])
def test_arrays_stay_as_they_were_and_may_be_read_only(models: int) -> None:
    problem = make_problem(16, num_models=models)
    arrays = (problem.labels, problem.pred_probs, problem.pool)
    before = [array.tobytes() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    suffix = "_ensemble" if models > 1 else ""
    getattr(functions, f"get_active_learning_scores{suffix}")(*arrays)
    getattr(functions, f"get_label_quality_multiannotator{suffix}")(
        *arrays[:2], calibrate_probs=True
    )
    if models == 1:
        functions.get_majority_vote_label(*arrays[:2])
    frame = pd.DataFrame(problem.labels)
    functions.format_multiannotator_labels(frame)
    functions.format_multiannotator_labels(problem.labels)
    assert [array.tobytes() for array in arrays] == before


# ------------------------------------------------------------------- probabilities that are none


def spoil(probs: np.ndarray, kind: str) -> np.ndarray:
    probs = probs.copy()
    rows = probs[3], probs[8]
    for row in rows:
        match kind:
            case "NaN":
                row[1] = np.nan
            case "zero":
                row[:] = 0
            case "negative":
                row[:] = [-0.1, 0.6, 0.3, 0.2]
            case "above one":
                row[:] = [3.0, 1.0, 0.5, 0.0]
            case "sum":
                row *= 0.7
    return probs


@pytest.mark.parametrize("kind", ["NaN", "zero", "negative", "above one", "sum"])
def test_probabilities_that_cleanlab_takes_are_taken(kind: str) -> None:
    problem = make_problem(17, labels_per_example=3)
    probs, pool = spoil(problem.pred_probs, kind), spoil(problem.pool, kind)
    with pytest.warns(DataWarning) as reported:
        got = functions.get_active_learning_scores(problem.labels, probs, pool)
    assert len(reported) == 1
    assert "pred_probs: 2 rows" in str(reported[0].message)
    assert "pred_probs_unlabeled: 2 rows" in str(reported[0].message)
    assert "3 (" in str(reported[0].message)
    assert reported[0].filename == __file__
    expected = oracle.cleanlab_scores(problem.labels, probs, pool)
    for mine, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, **EXACT)


@pytest.mark.parametrize("kind", ["NaN", "zero", "sum"])
def test_quality_by_probabilities_that_are_none(kind: str) -> None:
    problem = make_problem(17, labels_per_example=3)
    probs = spoil(problem.pred_probs, kind)
    with pytest.warns(DataWarning, match="2 rows"):
        got = functions.get_label_quality_multiannotator(problem.labels, probs)
    same_info(got, oracle.cleanlab_quality(problem.labels, probs))


def test_quality_by_probabilities_beyond_all_measure() -> None:
    problem = make_problem(17, labels_per_example=3)
    probs = spoil(problem.pred_probs, "above one") * 5
    refused_alike("get_label_quality_multiannotator", problem.labels, probs)
    single = single_label(17)
    probs = spoil(single.pred_probs, "above one") * 5
    refused_alike("get_active_learning_scores", single.labels, probs)


def test_lazy_probabilities_are_held_to_more() -> None:
    problem = make_problem(17)
    probs = da.from_array(spoil(problem.pred_probs, "sum"), chunks=(20, -1))
    with pytest.raises(DaskalError, match="does not sum to 1"):
        functions.get_active_learning_scores(problem.labels, probs)


# ---------------------------------------------------------------------------------------- errors


def scores_errors(labels, probs, pool):
    nan = np.nan
    gap_row, gap_column = labels.copy(), labels.copy()
    gap_row[4] = nan
    gap_column[:, 2] = nan
    fraction, below, beyond = labels.copy(), labels.copy(), labels.copy()
    at = tuple(np.argwhere(~np.isnan(labels))[5])
    fraction[at], below[at], beyond[at] = 0.5, -1, 9
    words = pd.DataFrame(labels).astype(object).replace({0.0: "cat"})
    return {
        "nothing": (None, None, None),
        "labels alone": (labels, None, None),
        "probabilities alone": (None, probs, None),
        "list of probabilities": (labels, probs.tolist(), None),
        "frame of probabilities": (labels, pd.DataFrame(probs.reshape(-1, 4)), None),
        "list as pool": (labels, probs, pool.tolist()),
        "pool of other classes": (labels, probs, pool[..., :3]),
        "list of labels": (labels.tolist(), probs, None),
        "flat labels": (labels[:, 0], probs, None),
        "words": (words, probs, None),
        "array of words": (words.to_numpy(), probs, None),
        "array of strings": (labels.astype(str), probs, None),
        "row without label": (gap_row, probs, None),
        "column without label": (gap_column, probs, None),
        "named column without label": (
            pd.DataFrame(gap_column, columns=list("abcdefgh")),
            probs,
            None,
        ),
        "fraction": (fraction, probs, None),
        "negative": (below, probs, None),
        "negative integer": (np.nan_to_num(labels, nan=-1).astype(int), probs, None),
        "too few classes": (beyond, probs, None),
        "fewer rows": (labels[:-1], probs, None),
        "no rows": (labels[:0], probs[..., :0, :], None),
        "other rank": (labels, probs[0], None),
        "pool of other rank": (labels, probs, pool[0]),
    }


ERRORS = tuple(scores_errors(*astuple(make_problem(18))))


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("models", [1, 2])
def test_scores_refuse_what_cleanlab_refuses(name: str, models: int) -> None:
    problem = make_problem(18, num_models=models)
    arguments = scores_errors(problem.labels, problem.pred_probs, problem.pool)[name]
    suffix = "_ensemble" if models > 1 else ""
    refused_alike(f"get_active_learning_scores{suffix}", *arguments)


QUALITY_ERRORS = (
    "list of probabilities",
    "frame of probabilities",
    "list of labels",
    "flat labels",
    "words",
    "array of words",
    "array of strings",
    "row without label",
    "column without label",
    "fraction",
    "negative",
    "negative integer",
    "too few classes",
    "fewer rows",
    "no rows",
    "other rank",
)


@pytest.mark.parametrize("name", QUALITY_ERRORS)
@pytest.mark.parametrize("models", [1, 2])
def test_quality_refuses_what_cleanlab_refuses(name: str, models: int) -> None:
    problem = make_problem(18, num_models=models)
    labels, probs, _ = scores_errors(problem.labels, problem.pred_probs, problem.pool)[name]
    suffix = "_ensemble" if models > 1 else ""
    refused_alike(f"get_label_quality_multiannotator{suffix}", labels, probs)
    if models == 1:
        refused_alike("get_majority_vote_label", labels, probs)


def test_labels_of_one_annotator_have_no_quality() -> None:
    problem = single_label(19)
    one = make_problem(19, num_annotators=1, labels_per_example=1)
    for labels, probs in (
        (problem.labels, problem.pred_probs),
        (one.labels, one.pred_probs),
    ):
        refused_alike("get_label_quality_multiannotator", labels, probs)
        refused_alike("get_label_quality_multiannotator_ensemble", labels, probs[None])
        refused_alike("get_majority_vote_label", labels, probs)
        # The same data has scores, and a majority where nobody asks for more.
        same_scores(labels, probs, None)
        np.testing.assert_array_equal(
            functions.get_majority_vote_label(labels, probs, False), np.nanmax(labels, axis=1)
        )


@pytest.mark.parametrize(
    "options",
    [
        {"consensus_method": "oracle"},
        {"consensus_method": ["best_quality", "oracle"]},
        {"quality_method": "oracle"},
        {"quality_method": "agreement", "return_weights": True},
        {"label_quality_score_kwargs": {"method": "oracle"}},
        {"label_quality_score_kwargs": {"oracle": 1}},
        {
            "label_quality_score_kwargs": {
                "method": "confidence_weighted_entropy",
                "adjust_pred_probs": True,
            }
        },
    ],
    ids=str,
)
def test_options_that_cleanlab_refuses(options: dict) -> None:
    problem = make_problem(20)
    refused_alike("get_label_quality_multiannotator", problem.labels, problem.pred_probs, **options)


def test_ensembles_have_no_score_options() -> None:
    problem = make_problem(20, num_models=2)
    refused_alike(
        "get_label_quality_multiannotator_ensemble",
        problem.labels,
        problem.pred_probs,
        label_quality_score_kwargs={"method": "normalized_margin"},
    )


def test_a_pool_of_other_models() -> None:
    problem = make_problem(21, num_models=3)
    with pytest.raises(DaskalError, match="3 and 2"):
        functions.get_active_learning_scores_ensemble(
            problem.labels, problem.pred_probs, problem.pool[:2]
        )


def refused_alike(function: str, *arguments, **options) -> None:
    with quiet(Warning), np.errstate(all="ignore"), pytest.raises(Exception) as theirs:
        getattr(cl, function)(*arguments, **options)
    with pytest.raises(DaskalError) as ours:
        getattr(functions, function)(*arguments, **options)
    assert isinstance(ours.value, type(theirs.value))
    assert str(ours.value)


def test_messages_name_the_rows_at_fault() -> None:
    problem = make_problem(22)
    labels = problem.labels.copy()
    labels[[4, 70]] = np.nan
    with pytest.raises(DaskalError, match=r"none in 2 rows: 4, 70\."):
        functions.get_active_learning_scores(labels, problem.pred_probs)
    labels = pd.DataFrame(problem.labels, columns=list("abcdefgh"))
    labels[["c", "e"]] = np.nan
    labels["a"] = 0.0
    with pytest.raises(DaskalError, match="none of 2 annotators: c, e"):
        functions.get_active_learning_scores(labels, problem.pred_probs)


# ------------------------------------------------------------------------------ notes and remarks


def test_labels_that_never_agree_are_remarked_on() -> None:
    problem = VARIANTS["all_ties"](23)
    with pytest.warns(DataWarning, match="no two annotators agree"):
        functions.get_label_quality_multiannotator(problem.labels, problem.pred_probs)


def test_nothing_is_printed(capsys, caplog) -> None:
    problem = VARIANTS["no_overlap"](24)
    with caplog.at_level(logging.INFO, logger="daskal"):
        functions.get_label_quality_multiannotator(problem.labels, problem.pred_probs)
    assert capsys.readouterr() == ("", "")
    assert any("share no example with another" in record.message for record in caplog.records)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="daskal"):
        functions.get_label_quality_multiannotator(
            problem.labels, problem.pred_probs, verbose=False
        )
    assert caplog.records == []


# ------------------------------------------------------------------------------------- reshaping


def test_long_to_wide() -> None:
    votes = pd.DataFrame(
        {"task": ["b", "b", "a"], "annotator": [7, 3, 7], "label": [1, 0, 2]}, index=[5, 6, 7]
    )
    wide = functions.convert_long_to_wide_dataset(votes)
    expected = pd.DataFrame([[np.nan, 2.0], [0.0, 1.0]], index=["a", "b"], columns=[3, 7])
    pd.testing.assert_frame_equal(wide, expected)
    pd.testing.assert_frame_equal(wide, cl.convert_long_to_wide_dataset(votes))


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_long_to_wide(name: str) -> None:
    votes = realdata.load(name).votes
    pd.testing.assert_frame_equal(
        functions.convert_long_to_wide_dataset(votes), cl.convert_long_to_wide_dataset(votes)
    )


def test_long_votes_that_make_no_matrix() -> None:
    votes = pd.DataFrame({"task": [0, 0, 1], "annotator": [1, 1, 1], "label": [0, 1, 0]})
    with pytest.raises(ValueError, match=r"got another for \[\(0, 1\)\] \(1 in all\)"):
        functions.convert_long_to_wide_dataset(votes)
    with pytest.raises(KeyError, match="none named annotator, label") as missing:
        functions.convert_long_to_wide_dataset(votes[["task"]])
    assert isinstance(missing.value, DaskalError)
    assert str(missing.value).startswith("expected columns task")


FORMATS = {
    "strings": np.array([["a", "b"], ["c", "nan"]]),
    "objects": np.array([["a", np.nan], ["b", "a"]], dtype=object),
    "floats": np.array([[3.0, np.nan], [7.0, 3.0]]),
    "integers": np.array([[3, 5], [7, 3]]),
    "frame of strings": pd.DataFrame({"x": ["b", np.nan], "y": ["c", "b"]}, index=[4, 5]),
    "frame with NA": pd.DataFrame({"x": [2, pd.NA], "y": [5, 2]}),
    "nullable": pd.DataFrame({"x": [2, pd.NA], "y": [5, 2]}).astype("Int64"),
    "truth": pd.DataFrame({"x": [True, False], "y": [True, True]}),
}


@pytest.mark.parametrize("labels", FORMATS.values(), ids=FORMATS)
def test_format(labels) -> None:
    codes, names = functions.format_multiannotator_labels(labels)
    with quiet(Warning):
        expected_codes, expected_names = cleanlab_format(labels)
    pd.testing.assert_frame_equal(codes, expected_codes)
    assert names == expected_names


def test_format_of_categories_and_of_nothing() -> None:
    kinds = pd.DataFrame({"x": ["b", "a"], "y": ["a", None]}, dtype="category")
    codes, names = functions.format_multiannotator_labels(kinds)
    np.testing.assert_array_equal(codes.to_numpy(dtype=float), [[1, 0], [0, np.nan]])
    assert names == {0: "a", 1: "b"}
    with pytest.raises(TypeError, match="got list"):
        functions.format_multiannotator_labels([[1, 2]])
    with pytest.raises(TypeError, match="of one kind"):
        functions.format_multiannotator_labels(np.array([["a", 1]], dtype=object))
