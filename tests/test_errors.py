"""Every bad input gets one clear error; no good one is refused."""

from __future__ import annotations

import pickle
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from tblib.pickling_support import pickle_exception

import daskal
from daskal import errors
from daskal.errors import DaskalError, EstimateError, InputError, InvalidDataError
from daskal.method import findings
from tests.problems import cast_labels, forbid_compute, make_problem

LABELS = np.array([[0, 1, -1], [1, 1, 0], [2, -1, 2], [0, 0, 1]])
FLOAT_LABELS = np.where(LABELS < 0, np.nan, LABELS)
PROBS = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.7, 0.2, 0.1]])


def message(labels: Any, probs: Any, **options: Any) -> str:
    with pytest.raises(DaskalError) as caught:
        daskal.estimate(labels, probs, **options)
    return str(caught.value)


# --- kinds ------------------------------------------------------------------------------------


def test_every_kind_is_one_of_daskals_and_crosses_processes() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, DaskalError)
    ]
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, ValueError)
        again = pickle.loads(pickle.dumps(kind("what, got, do")))
        assert (type(again), str(again)) == (kind, "what, got, do")


def with_tblib(error: Exception) -> Any:
    """Return an error after tblib has pickled it for Dask."""
    make, arguments, *state = pickle_exception(error)
    again = make(*arguments)
    if state:
        again.__setstate__(*state)
    return again


@pytest.mark.parametrize("kind", [InputError, errors.StoreExistsError, errors.MissingColumnError])
@pytest.mark.parametrize("cross", [lambda error: pickle.loads(pickle.dumps(error)), with_tblib])
def test_advice_goes_by_the_names_of_whoever_shows_it(kind: type[DaskalError], cross: Any) -> None:
    error = kind("'{overwrite=True}' is there.", advice="Pass {overwrite=True}, or {resume=True}.")
    for same in (error, cross(error)):
        assert str(same) == "'{overwrite=True}' is there. Pass overwrite=True, or resume=True."
        assert same.with_names({"overwrite=True": "--overwrite"}) == (
            "'{overwrite=True}' is there. Pass --overwrite, or resume=True."
        )
    plain = kind("overwrite=True is there.")
    assert cross(plain).with_names({"overwrite=True": "--overwrite"}) == str(plain)


def test_every_fault_has_advice() -> None:
    assert len({fault.text for fault in findings.FAULTS.values()}) == len(findings.FAULTS) == 12
    for code, fault in findings.FAULTS.items():
        assert fault.code == code
        assert fault.advise([2.5]).endswith(".")


# --- good input -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f4", ">f8"])
def test_probabilities_of_any_precision_are_good(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for num_classes in (2, 3, 10, 1000):
        rounded = rng.dirichlet(np.ones(num_classes), size=50).astype(dtype)
        scores = daskal.score_unlabeled(rounded).compute()
        exact = daskal.score_unlabeled(rounded.astype(float)).compute()
        np.testing.assert_array_equal(scores, exact)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", ">f8", "i1", "i8", ">i4"])
def test_labels_of_any_dtype_are_good(dtype: str) -> None:
    labels = cast_labels(LABELS, dtype)
    assert daskal.estimate(labels, PROBS) == daskal.estimate(LABELS, PROBS)


@pytest.mark.parametrize("dtype", ["u1", "u8", "?", "f8", "i2"])
def test_a_full_matrix_may_have_any_dtype(dtype: str) -> None:
    labels = (LABELS > 0).astype(dtype)
    estimate = daskal.estimate(labels, PROBS[:, :2] / PROBS[:, :2].sum(axis=1, keepdims=True))
    assert estimate.num_annotations == 12


@pytest.mark.parametrize("dtype", ["i1", "u1", "u8", "f4", "i8"])
def test_masked_labels_are_missing(dtype: str) -> None:
    masked = np.ma.masked_array(np.abs(LABELS).astype(dtype), mask=LABELS < 0)
    assert daskal.estimate(masked, PROBS) == daskal.estimate(LABELS, PROBS)
    lazy = da.from_array(masked, chunks=(2, 3), asarray=False)
    assert daskal.estimate(lazy, PROBS) == daskal.estimate(LABELS, PROBS)


def test_masked_probabilities_are_refused() -> None:
    assert "1 row where the row is NaN or infinite: 2 (nan)" in message(LABELS, mask_one(PROBS))
    assert daskal.estimate(LABELS, np.ma.array(PROBS)) == daskal.estimate(LABELS, PROBS)


def mask_one(probs: np.ndarray) -> np.ma.MaskedArray:
    mask = np.zeros(probs.shape, dtype=bool)
    mask[2, 1] = True
    return np.ma.masked_array(probs, mask=mask)


def test_nothing_to_score_is_no_error() -> None:
    estimate = daskal.estimate(LABELS, PROBS)
    assert daskal.score_unlabeled(PROBS[:0], estimate).compute().shape == (0,)
    assert daskal.score_labeled(LABELS[:0], PROBS[:0], estimate).compute().shape == (0,)
    pool = da.from_array(PROBS, chunks=((0, 2, 0, 2, 0), 3))
    np.testing.assert_array_equal(
        daskal.score_unlabeled(pool, estimate), daskal.score_unlabeled(PROBS, estimate)
    )
    labels = da.from_array(LABELS, chunks=((0, 2, 0, 2, 0), 3))
    assert daskal.estimate(labels, pool) == daskal.estimate(LABELS, PROBS)
    assert len(daskal.next_batch(np.empty(0), size=3)) == 0


@pytest.mark.parametrize("columns", [0, 2])
def test_fewer_columns_without_names_are_nobodys(columns: int) -> None:
    estimate = daskal.estimate(LABELS, PROBS)
    with pytest.raises(InputError, match=f"the 3 annotators of the estimate, got {columns}"):
        daskal.score_labeled(LABELS[:, :columns], PROBS, estimate)


# --- bad rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.where(LABELS < 0, 255, LABELS).astype("u1"), ["0 (255), 2 (255)", "missing label"]),
        (np.where(LABELS < 0, 99, LABELS), ["beyond the last class: 0 (99)", "missing label"]),
        (np.where(LABELS < 0, -1, LABELS + 1), ["beyond the last class: 2 (3)", "subtract 1"]),
        (LABELS.astype(float), ["negative label in a float matrix", "np.where(labels < 0, np.nan"]),
        (FLOAT_LABELS + 0.5, ["no whole number: 0 (0.5)", "may have been swapped"]),
        (np.where(LABELS < 0, np.inf, LABELS), ["no finite number: 0 (inf)", "never infinity"]),
        (LABELS.astype("u8"), ["beyond the last class: 0 (1.84467e+19)", "missing label"]),
    ],
)
def test_labels_that_are_none(labels: np.ndarray, words: list[str]) -> None:
    text = message(labels, PROBS)
    assert text.startswith("labels: ")
    for part in words:
        assert part in text


@pytest.mark.parametrize(
    ("probs", "words"),
    [
        (np.log(PROBS), ["negative probability: 0 (-1.60944)", "softmax"]),
        (PROBS * 100, ["above 1: 0 (50)", "divide by 100"]),
        (PROBS * 9, ["above 1: 0 (4.5)", "softmax"]),
        (PROBS * 1.01, ["does not sum to 1: 0 (1.01)", "keepdims=True"]),
        (np.tile([0.9, 0.8, 0.7], (4, 1)), ["does not sum to 1: 0 (2.4)", "one against the rest"]),
        (PROBS.astype(int), ["all zero: 0 (0)", "rounded to whole numbers"]),
        (np.where(PROBS > 0.7, np.nan, PROBS), ["1 row where the row is NaN or infinite: 1 (nan)"]),
    ],
)
def test_probabilities_that_are_none(probs: np.ndarray, words: list[str]) -> None:
    text = message(LABELS, probs)
    assert text.startswith("pred_probs: ")
    for part in words:
        assert part in text


@pytest.mark.parametrize(
    ("change", "good"),
    [
        (9.9e-4, True),
        (-9.9e-4, True),
        (1.1e-3, False),
        (-1.1e-3, False),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_how_far_a_sum_may_be_off(change: float, good: bool, dtype: str) -> None:
    probs = PROBS.copy()
    probs[1, 1] += change
    scores = daskal.score_unlabeled(probs.astype(dtype))
    if good:
        assert np.isfinite(scores.compute()).all()
    else:
        with pytest.raises(InvalidDataError, match=r"does not sum to 1: 1 \("):
            scores.compute()


def test_a_negative_zero_and_rounding_below_zero_are_good() -> None:
    probs = np.array([[1 + 9e-7, -9e-7, -0.0], [1, 5e-324, 0]])
    assert np.isfinite(daskal.score_unlabeled(probs).compute()).all()
    with pytest.raises(InvalidDataError, match="negative"):
        daskal.score_unlabeled(np.array([[1 + 2e-6, -2e-6]])).compute()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([np.inf, -np.inf, 0], "NaN or infinite: 1 (nan)"),
        ([np.nan, np.inf, 0], "NaN or infinite: 1 (nan)"),
        ([1e308, 1e308, 0], "above 1: 1 (1e+308)"),
        ([-1e308, -1e308, 0], "negative probability: 1 (-1e+308)"),
        (["1e4000", 0, 0], "NaN or infinite: 1 (inf)"),
        ([5e-324, 0, 0], "does not sum to 1: 1 (4.94066e-324)"),
    ],
)
def test_extreme_rows_are_named_without_a_warning_of_numpys(row: list[Any], words: str) -> None:
    probs = PROBS.astype(np.longdouble if "1e4000" in row else np.float64)
    probs[1] = np.array(row, dtype=probs.dtype)
    assert words in message(LABELS, probs)
    with pytest.raises(InvalidDataError, match="pred_probs_unlabeled: 1 row"):
        daskal.score_unlabeled(probs).compute()


def test_findings_read_the_same_however_rows_are_cut() -> None:
    probs = np.tile(PROBS, (20, 1))
    probs[[3, 40, 41]] = 0
    probs[[5, 60], 1] = 7
    probs[[4, 70], 0] = -3
    probs[30] *= 1.5
    labels = np.tile(LABELS, (20, 1))
    texts = set()
    for rows in (80, 33, 7, 1):
        texts.add(message(da.from_array(labels, chunks=(rows, 3)), probs))
    assert len(texts) == 1
    assert texts.pop().count("where the row") == 4


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_batch_of_lazy_scores_tells_what_is_wrong_in_all_blocks(
    rows: int, scheduler: str, tmp_path: Any
) -> None:
    estimate = daskal.estimate(LABELS, PROBS)
    labels, probs = LABELS.copy(), PROBS.copy()
    probs[0] = np.nan
    labels[3, 0] = 3
    lazy = da.from_array(probs, chunks=(rows, 3))

    def reported(of: Any) -> str:
        with pytest.raises(InvalidDataError) as caught, dask.config.set(scheduler=scheduler):
            of()
        return str(caught.value)

    scores = daskal.score_labeled(da.from_array(labels, chunks=(rows, 3)), lazy, estimate)
    text = reported(lambda: daskal.next_batch(scores, size=2))
    assert text == message(labels, probs)
    assert "pred_probs: 1 row" in text
    assert "labels: 1 row" in text
    probs[3] = 0
    unlabeled = daskal.score_unlabeled(da.from_array(probs, chunks=(rows, 3)))
    pool = reported(lambda: daskal.next_batch(None, unlabeled, size=2))
    whole = reported(lambda: daskal.run(pred_probs_unlabeled=probs, out=tmp_path / "o.zarr"))
    assert pool == whole
    assert "all zero: 3 (0)" in pool


def test_rows_go_by_their_ids() -> None:
    frame = pd.DataFrame(PROBS.copy(), index=["a", "b", "c", "d"])
    frame.loc["c"] = 0
    assert "all zero: 2 = 'c' (0)." in message(LABELS, frame)


def test_rows_of_one_model_among_several() -> None:
    other = PROBS.copy()
    other[3] *= 2
    assert "pred_probs[1]: 1 row where the row has a probability above 1: 3 (1.4)." in message(
        LABELS, np.stack([PROBS, other])
    )


def test_a_run_reports_rows_left_out(tmp_path: Any) -> None:
    problem = make_problem(1, num_examples=40, num_annotators=5, num_classes=3, pool=30)
    probs, labels, pool = problem.pred_probs.copy(), problem.labels.copy(), problem.pool.copy()
    probs[[2, 5]] = 0
    labels[5, 0] = 9
    pool[7, 1] = np.nan
    arguments = {"labels": labels, "pred_probs": probs, "pred_probs_unlabeled": pool}
    ids = {"labeled_ids": np.arange(40) + 100, "unlabeled_ids": [f"u{i}" for i in range(30)]}
    with pytest.warns(daskal.DataWarning) as reported:
        run = daskal.run(**arguments, **ids, out=tmp_path / "o", on_invalid="nan")
    assert len(reported) == 1
    text = str(reported[0].message)
    assert "labels: 1 row where the row has a label beyond the last class: 5 = 105 (9)." in text
    assert "pred_probs: 2 rows where the row is all zero: 2 = 102 (0), 5 = 105 (0)." in text
    assert "pred_probs_unlabeled: 1 row where the row is NaN or infinite: 7 = 'u7' (nan)." in text
    # Row 5 is at fault twice, and counts once.
    assert run.attrs["num_invalid_rows"] == 3
    assert [(part["array"], part["num_rows"]) for part in run.attrs["invalid"]] == [
        ("labels", 1),
        ("pred_probs", 2),
        ("pred_probs_unlabeled", 1),
    ]
    assert np.flatnonzero(np.isnan(run.scores.compute())).tolist() == [2, 5]
    assert np.flatnonzero(np.isnan(run.pool.compute())).tolist() == [7]
    with pytest.raises(InvalidDataError) as caught:
        daskal.run(**arguments, **ids, out=tmp_path / "p")
    assert "5 = 105 (9)" in str(caught.value)


# --- structure --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "probs", "words"),
    [
        (LABELS.astype(complex), PROBS, "labels: expected numbers, got dtype complex128"),
        (LABELS.astype("M8[s]"), PROBS, "labels: expected numbers, got dtype datetime64"),
        (LABELS, PROBS.astype(object), "pred_probs: expected numbers, got dtype object"),
        (LABELS, PROBS[:, :1], "np.column_stack|columns 1 - p and p"),
        (LABELS, PROBS[:, 0], "np.column_stack"),
        (LABELS[:, 0], PROBS, "labels.reshape"),
        (np.tile(LABELS, (5, 1)), np.tile(PROBS, (5, 1)).T, "pred_probs seems to be transposed"),
        (np.tile(LABELS, (5, 1)).T, np.tile(PROBS, (5, 1)), "labels seems to be transposed"),
        (LABELS, np.stack([PROBS, PROBS], axis=1).repeat(2, axis=0)[:4], "Models come first"),
        (LABELS[:0], PROBS[:0], "at least one vote, got none in 0 rows"),
        (LABELS[:, :0], PROBS, "at least one vote, got none in 4 rows"),
        (np.full((4, 2), np.nan), PROBS, "Check how missing labels are coded"),
        ([[0, 1], [1]], PROBS, "expected rows of one length"),
        (LABELS, np.zeros((0, 4, 3)), "at least one model"),
        (None, PROBS, "got builtins.NoneType"),
    ],
)
def test_structure_is_refused_with_advice(labels: Any, probs: Any, words: str) -> None:
    text = message(labels, probs)
    assert any(part in text for part in words.split("|"))


def test_structure_is_refused_before_anything_is_read() -> None:
    lazy = da.from_array(PROBS, chunks=(2, 3))
    cases = [(lazy[:3], LABELS), (lazy.astype(complex), LABELS), (lazy[:, :1], LABELS)]
    with forbid_compute():
        for probs, labels in cases:
            with pytest.raises(InputError):
                daskal.estimate(labels, probs)


def test_blocks_that_are_not_what_dask_says() -> None:
    lazy = da.from_array(PROBS, chunks=(2, 3))
    cases = {
        "of shape (1, 3)": lazy.map_blocks(lambda block: block[:1], dtype=float),
        "of shape (2, 2)": lazy.map_blocks(lambda block: block[:, :2], dtype=float),
        "complex128": lazy.map_blocks(lambda block: block.astype(complex), dtype=float),
        "object": lazy.map_blocks(lambda block: block.astype(object), dtype=float),
    }
    for words, array in cases.items():
        with pytest.raises(InputError, match="expected a block of numbers of shape") as caught:
            daskal.score_unlabeled(array).compute(scheduler="sync")
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("convention", 3),
        ("convention", np.array(["paper", "x"])),
        ("temperature", True),
        ("temperature", [1, 2]),
        ("temperature", np.array([1.0, 2.0])),
        ("temperature", 1 + 2j),
        ("temperature", 10**400),
        ("temperature", 1e-310),
        ("temperature", "2"),
        ("temperature", np.nan),
        ("consensus_method", ["best_quality"]),
        ("quality_method", None),
        ("random_state", None),
        ("random_state", 1.5),
        ("random_state", "a"),
        ("on_invalid", "keep"),
        ("on_invalid", None),
        ("storage_options", "anon"),
    ],
)
def test_options_of_the_wrong_kind(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name}: expected"):
        daskal.estimate(LABELS, PROBS, **{name: value})


@pytest.mark.parametrize("on_invalid", ["keep", "ignore", None])
def test_no_public_function_keeps_rows_at_fault(on_invalid: Any, tmp_path: Any) -> None:
    estimate = daskal.estimate(LABELS, PROBS)
    calls: list[Any] = [
        lambda: daskal.score_labeled(LABELS, PROBS, estimate, on_invalid=on_invalid),
        lambda: daskal.score_unlabeled(PROBS, on_invalid=on_invalid),
        lambda: daskal.label_quality(LABELS, PROBS, estimate, on_invalid=on_invalid),
        lambda: daskal.annotator_stats(LABELS, PROBS, estimate, on_invalid=on_invalid),
        lambda: daskal.run(pred_probs_unlabeled=PROBS, out=tmp_path, on_invalid=on_invalid),
    ]
    for call in calls:
        with pytest.raises(InputError, match="on_invalid: expected 'raise' or 'nan'"):
            call()


@pytest.mark.parametrize("temperature", [np.float32(2.5), np.float64(2.5), 2, 1e-300, 1e300])
def test_temperatures_that_are_good(temperature: Any) -> None:
    estimate = daskal.estimate(LABELS, PROBS, temperature=temperature)
    assert estimate.temperature == float(temperature)
    assert np.isfinite(daskal.score_labeled(LABELS, PROBS, estimate).compute()).all()


@pytest.mark.parametrize("estimate", [None, "abc", {}, object()])
def test_what_is_no_estimate(estimate: Any) -> None:
    with pytest.raises(EstimateError, match=r"expected a daskal\.Estimate, got"):
        daskal.score_labeled(LABELS, PROBS, estimate)


def test_an_estimate_that_does_not_fit() -> None:
    one = daskal.estimate(LABELS, PROBS)
    two = daskal.estimate(LABELS, np.stack([PROBS] * 2))
    for estimate, probs, words in (
        (one, np.full((4, 2), 0.5), "expected 3 classes"),
        (one, PROBS[np.newaxis], "expected the probabilities of the model"),
        (two, PROBS, r"an ensemble's, \(P, N, K\) with P = 2, got one model's"),
        (two, np.stack([PROBS] * 3), r"P = 2, got an ensemble's, \(P, N, K\), of 3 model"),
    ):
        with pytest.raises(EstimateError, match=words):
            daskal.score_unlabeled(probs, estimate)
    named = daskal.estimate(LABELS, pd.DataFrame(PROBS, columns=["x", "y", "z"]))
    with pytest.raises(EstimateError, match="alone has 'w'"):
        daskal.score_unlabeled(pd.DataFrame(PROBS, columns=["w", "y", "x"]), named)
    turned = pd.DataFrame(PROBS, columns=["x", "y", "z"])[["z", "y", "x"]]
    np.testing.assert_array_equal(
        daskal.score_unlabeled(turned, named), daskal.score_unlabeled(PROBS, named)
    )


def test_a_run_refuses_a_pool_of_another_model(tmp_path: Any) -> None:
    for pool in (PROBS[np.newaxis], np.full((2, 2), 0.5)):
        with pytest.raises(InputError, match="from the same model"):
            daskal.run(
                labels=LABELS, pred_probs=PROBS, pred_probs_unlabeled=pool, out=tmp_path / "o"
            )
    assert not (tmp_path / "o").exists()
