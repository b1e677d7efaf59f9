"""Labels and probabilities together: names and coords go with them, and must agree."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import daskal
from daskal.errors import EstimateError, InputError
from tests.inputs.densekit import EXPECTED, INTEGERS, PEOPLE, PROBLEM, TASKS
from tests.problems import forbid_compute


def test_coords_travel() -> None:
    labels = xr.DataArray(
        INTEGERS,
        dims=("task", "annotator"),
        coords={
            "task": TASKS,
            "annotator": PEOPLE,
            "length": ("task", np.arange(50)),
            "cell": (("task", "annotator"), np.zeros((50, 6))),
            "batch": 3,
        },
    )
    probs = xr.DataArray(PROBLEM.pred_probs, dims=("row", "class"))
    estimate = daskal.estimate(labels, probs)
    assert list(estimate.annotator_weight.index) == PEOPLE
    for given in (labels, labels.chunk({"task": 11})):
        with forbid_compute():
            scores = daskal.score_labeled(given, probs, estimate)
        assert scores.dims == ("task",)
        assert set(scores.coords) == {"task", "length", "batch"}
        assert list(scores.indexes["task"]) == TASKS
        assert scores.name == "score"
        assert scores.chunks is not None
        np.testing.assert_array_equal(scores.compute().values, np.frombuffer(EXPECTED[1]))
        assert float(scores.sel(task="t07")) == np.frombuffer(EXPECTED[1])[7]


def test_coords_of_several_levels_travel() -> None:
    index = pd.MultiIndex.from_product([list("ab"), range(25)], names=["part", "number"])
    coords = xr.Coordinates.from_pandas_multiindex(index, "task")
    probs = xr.DataArray(PROBLEM.pred_probs, dims=("task", "class"), coords=coords)
    estimate = daskal.estimate(PROBLEM.labels, probs)
    scores = daskal.score_labeled(PROBLEM.labels, probs, estimate)
    assert scores.indexes["task"].equals(index)
    assert float(scores.sel(part="b", number=3)) == np.frombuffer(EXPECTED[1])[28]


def test_ids_of_a_frame_travel() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS, columns=PEOPLE)
    probs = pd.DataFrame(PROBLEM.pred_probs, index=TASKS, columns=["cat", "dog", "eel"])
    estimate = daskal.estimate(labels, probs)
    assert estimate.annotator_ids == tuple(PEOPLE)
    assert estimate.class_names == ("cat", "dog", "eel")
    turned = daskal.score_labeled(labels[PEOPLE[::-1]], probs, estimate)
    np.testing.assert_allclose(turned.compute(), np.frombuffer(EXPECTED[1]), rtol=0, atol=1e-15)


def moved_estimate() -> tuple[pd.DataFrame, daskal.Estimate]:
    """Return probabilities whose columns stand in another order than the codes, and the estimate
    of them."""
    frame = pd.DataFrame(PROBLEM.pred_probs)
    shuffled = frame[[2, 0, 1, *range(3, frame.shape[1])]]
    return shuffled, daskal.estimate(INTEGERS, shuffled)


def test_an_estimate_says_whether_columns_were_moved() -> None:
    shuffled, moved = moved_estimate()
    plain = daskal.estimate(INTEGERS, shuffled.sort_index(axis=1))
    assert (moved.columns_moved, plain.columns_moved) == (True, False)
    assert moved == plain
    assert hash(moved) == hash(plain)
    assert "columns_moved" not in plain.to_json()
    for again in (daskal.Estimate.from_json(moved.to_json()), pickle.loads(pickle.dumps(moved))):
        assert again.columns_moved
        assert again.to_json() == moved.to_json()


def test_columns_without_names_beside_an_estimate_whose_columns_were_moved(tmp_path) -> None:
    shuffled, estimate = moved_estimate()
    estimate = daskal.Estimate.from_json(estimate.to_json())
    advice = r"expected named columns.*\(a DataFrame with the columns '0', '1', '2'.*\)"
    for call in (
        lambda probs: daskal.score_unlabeled(probs, estimate),
        lambda probs: daskal.score_labeled(INTEGERS, probs, estimate),
        lambda probs: daskal.label_quality(INTEGERS, probs, estimate),
        lambda probs: daskal.annotator_stats(INTEGERS, probs, estimate),
        lambda probs: daskal.run(
            pred_probs_unlabeled=probs, estimate=estimate, out=tmp_path / "pool.zarr"
        ),
    ):
        with pytest.raises(EstimateError, match=advice):
            call(shuffled.to_numpy())
    expected = daskal.score_labeled(
        INTEGERS, PROBLEM.pred_probs, daskal.estimate(INTEGERS, PROBLEM.pred_probs)
    ).compute()
    for named in (shuffled, shuffled.sort_index(axis=1)):
        scores = daskal.score_labeled(INTEGERS, named, estimate).compute()
        np.testing.assert_array_equal(scores, expected)


def test_models_whose_columns_were_moved_to_those_of_another(tmp_path) -> None:
    frame = pd.DataFrame(PROBLEM.pred_probs).add_prefix("c")
    models = [frame, frame.iloc[:, ::-1]]
    estimate = daskal.estimate(INTEGERS, models)
    assert estimate.columns_moved
    bare = [model.to_numpy() for model in models]
    with pytest.raises(EstimateError, match=r"pred_probs_unlabeled: expected named columns"):
        daskal.score_unlabeled(bare, estimate)
    with pytest.raises(InputError, match=r"pred_probs_unlabeled: expected named columns"):
        daskal.run(
            labels=INTEGERS,
            pred_probs=models,
            pred_probs_unlabeled=bare,
            out=tmp_path / "out.zarr",
        )
    with pytest.raises(InputError, match=r"^pred_probs\[2\]: expected named columns"):
        daskal.estimate(INTEGERS, [*models, bare[0]])


def test_dimensions_that_are_turned_round_are_refused() -> None:
    labels = xr.DataArray(INTEGERS[:6], dims=("task", "annotator"))
    probs = xr.DataArray(PROBLEM.pred_probs[:6, :2], dims=("class", "task"))
    with pytest.raises(InputError, match="transpose"):
        daskal.estimate(labels, probs)


@pytest.mark.parametrize("index", [TASKS, None])
def test_numbers_of_rows_that_differ_beside_names(index: list[str] | None) -> None:
    """A side with an index in memory and one without, or with another number of rows."""
    frame = pd.DataFrame(PROBLEM.pred_probs, index=index)
    labels = pd.DataFrame(INTEGERS).iloc[::2]
    with pytest.raises(InputError, match=r"25 and 50"):
        daskal.estimate(labels, frame)
    with pytest.raises(InputError, match="got 25 and 50"):
        daskal.estimate(INTEGERS[::2], pd.DataFrame(PROBLEM.pred_probs, index=TASKS))


def test_one_of_several_coordinates_names_the_rows() -> None:
    labels = pd.DataFrame(INTEGERS, index=TASKS)
    order = np.random.default_rng(1).permutation(50)
    probs = xr.DataArray(
        PROBLEM.pred_probs,
        dims=("row", "class"),
        coords={"task": ("row", TASKS), "length": ("row", np.arange(50.0))},
    ).isel(row=order)
    expected = daskal.estimate(INTEGERS, PROBLEM.pred_probs)
    assert daskal.estimate(labels, probs).temperature == expected.temperature
    several = probs.assign_coords(page=("row", order))
    with pytest.raises(InputError, match=r"names its rows, got 'task', 'page'.*set_index"):
        daskal.estimate(labels, several)
    measured = probs.drop_vars("task").assign_coords(size=("row", order / 2))
    by_place = daskal.estimate(INTEGERS[order], measured)
    assert by_place.temperature == expected.temperature
