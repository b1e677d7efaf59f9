"""The same data gives the same bits through every door."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from distributed import Client

import daskal
from daskal.inputs.arguments import open_argument
from daskal.inputs.sources import make_source
from tests.problems import forbid_compute, make_problem
from tests.tables.files import FILES, arrow_of, frame_of, lists_of

PROBLEM = make_problem(3, num_examples=60, pool=45)
ESTIMATE = daskal.estimate(PROBLEM.labels, PROBLEM.pred_probs)
SCORES = daskal.score_labeled(PROBLEM.labels, PROBLEM.pred_probs, ESTIMATE).compute()
POOL = daskal.score_unlabeled(PROBLEM.pool, ESTIMATE).compute()


class GivesArray:
    """An object such as PyTorch's and TensorFlow's tensors."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


class GivesDlpack:
    """An object that other libraries take over without a copy."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class GivesStream:
    """A data frame of another library, such as polars'."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


def as_zarr(values: np.ndarray, folder: Path) -> Any:
    return zarr.create_array(folder / "m.zarr", data=values, chunks=(16, values.shape[1]))


OBJECTS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "DataFrame": lambda values, _: frame_of(values),
    "Zarr": as_zarr,
    "Dask array": lambda values, _: da.from_array(values, chunks=(13, 2)),
    "xarray": lambda values, _: xr.DataArray(values),
    "Dask DataFrame": lambda values, _: dd.from_pandas(frame_of(values), npartitions=4),
    "Arrow table": lambda values, _: arrow_of(frame_of(values)),
    "Arrow batch": lambda values, _: arrow_of(frame_of(values)).to_batches()[0],
    "Arrow reader": lambda values, _: arrow_of(frame_of(values)).to_reader(max_chunksize=8),
    "Arrow lists": lambda values, _: lists_of(values),
    "Arrow stream": lambda values, _: GivesStream(arrow_of(frame_of(values))),
    "__array__": lambda values, _: GivesArray(values),
    "DLPack": lambda values, _: GivesDlpack(values),
}
DOORS = {**FILES, **OBJECTS}


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Any]:
    """Return what turns a matrix into one of the forms."""

    def through(values: np.ndarray) -> Any:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return DOORS[request.param](values, folder)

    return through


def test_probabilities(door: Callable[[np.ndarray], Any]) -> None:
    probs, pool = door(PROBLEM.pred_probs), door(PROBLEM.pool)
    # A reader of a stream is read once.
    again = door(PROBLEM.pred_probs)
    estimate = daskal.estimate(PROBLEM.labels, probs)
    assert estimate.temperature == ESTIMATE.temperature
    assert estimate.model_weight == ESTIMATE.model_weight
    assert estimate.annotator_weight.tolist() == ESTIMATE.annotator_weight.tolist()
    assert estimate.consensus_likelihood == ESTIMATE.consensus_likelihood
    found = np.asarray(daskal.score_labeled(PROBLEM.labels, again, estimate).compute())
    assert found.tobytes() == SCORES.tobytes()
    found = np.asarray(daskal.score_unlabeled(pool, estimate).compute())
    assert found.tobytes() == POOL.tobytes()


def test_labels(door: Callable[[np.ndarray], Any]) -> None:
    estimate = daskal.estimate(door(PROBLEM.labels), PROBLEM.pred_probs)
    assert estimate.temperature == ESTIMATE.temperature
    assert estimate.model_weight == ESTIMATE.model_weight
    assert estimate.annotator_weight.tolist() == ESTIMATE.annotator_weight.tolist()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float32"])
def test_labels_of_other_types_with_missing_ones(dtype: str, tmp_path: Path) -> None:
    """Nullable columns come back as they are written, unsigned ones too."""
    missing = np.isnan(PROBLEM.labels)
    values = np.where(missing, 0, PROBLEM.labels).astype(dtype)
    table = pa.table({f"a{at}": pa.array(values[:, at], mask=missing[:, at]) for at in range(8)})
    path = tmp_path / "labels.parquet"
    pq.write_table(table, path, row_group_size=11)
    for given in (path, table):
        estimate = daskal.estimate(given, PROBLEM.pred_probs)
        assert estimate.annotator_weight.tolist() == ESTIMATE.annotator_weight.tolist()
        assert estimate.annotator_ids == tuple(f"a{at}" for at in range(8))


@pytest.mark.parametrize("name", FILES)
def test_runs_of_files(name: str, tmp_path: Path, cluster: Client) -> None:
    """Both passes into a store, by workers that open the files themselves."""
    paths = {}
    for argument, values in (
        ("labels", PROBLEM.labels),
        ("pred_probs", PROBLEM.pred_probs),
        ("pred_probs_unlabeled", PROBLEM.pool),
    ):
        (tmp_path / argument).mkdir()
        paths[argument] = str(FILES[name](values, tmp_path / argument))
    with cluster.as_current():
        run = daskal.run(**paths, out=tmp_path / "out.zarr")
        again = daskal.run(**paths, out=tmp_path / "out.zarr", resume=True)
    assert run.scores.compute().tobytes() == SCORES.tobytes()
    assert run.pool.compute().tobytes() == POOL.tobytes()
    assert again.estimate == run.estimate


@pytest.mark.parametrize("name", [name for name in FILES if "CSV" not in name])
def test_nothing_is_computed_to_open_files(name: str, tmp_path: Path) -> None:
    given = FILES[name](PROBLEM.pred_probs, tmp_path)
    with forbid_compute():
        array = open_argument("pred_probs", given, None).array
        source = make_source("pred_probs", array, 0)
        assert source.shape == PROBLEM.pred_probs.shape
        assert source.identity() == make_source("pred_probs", array, 0).identity()


def test_several_models_in_tables(tmp_path: Path) -> None:
    problem = make_problem(5, num_models=2)
    expected = daskal.estimate(problem.labels, problem.pred_probs)
    paths = []
    for at, values in enumerate(problem.pred_probs):
        (tmp_path / str(at)).mkdir()
        # The second one has its columns in another order.
        frame = frame_of(values, ["ant", "bee", "cat", "dog"])
        frame = frame if at == 0 else frame[["dog", "ant", "cat", "bee"]]
        frame.to_parquet(tmp_path / f"{at}.parquet")
        paths.append(tmp_path / f"{at}.parquet")
    estimate = daskal.estimate(problem.labels, paths)
    assert estimate.temperature.tolist() == expected.temperature.tolist()
    assert estimate.model_weight.tolist() == expected.model_weight.tolist()
    assert estimate.class_names == ("ant", "bee", "cat", "dog")


def test_one_npy_of_several_models(tmp_path: Path) -> None:
    problem = make_problem(5, num_models=2)
    expected = daskal.estimate(problem.labels, problem.pred_probs)
    for order in ("C", "F"):
        np.save(tmp_path / "probs.npy", np.asarray(problem.pred_probs, order=order))
        estimate = daskal.estimate(problem.labels, tmp_path / "probs.npy")
        assert estimate.model_weight.tolist() == expected.model_weight.tolist()


# --- names ------------------------------------------------------------------------------------


@pytest.fixture
def named(tmp_path: Path) -> pd.DataFrame:
    frame = frame_of(PROBLEM.pred_probs, ["ant", "bee", "cat", "dog"])
    frame.insert(1, "task", [f"t{at}" for at in range(60)])
    return frame.assign(text="of no use")


TABLES: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "DataFrame": lambda frame, _: frame,
    "Dask DataFrame": lambda frame, _: dd.from_pandas(frame, npartitions=3, sort=False),
    "Arrow": lambda frame, _: pa.Table.from_pandas(frame),
    "Parquet": lambda frame, folder: write_as(frame, folder / "p.parquet"),
    "Feather": lambda frame, folder: write_as(frame, folder / "p.feather"),
    "CSV": lambda frame, folder: write_as(frame, folder / "p.csv"),
}


def write_as(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        getattr(frame, f"to_{path.suffix[1:]}")(path)
    return path


@pytest.mark.parametrize("form", TABLES)
def test_ids_and_classes_of_a_table(form: str, named: pd.DataFrame, tmp_path: Path) -> None:
    given = daskal.Table(
        TABLES[form](named, tmp_path), id_column="task", class_columns=["dog", "ant", "bee", "cat"]
    )
    opened = open_argument("pred_probs", given, None)
    assert list(opened.row_ids[2:4]) == ["t2", "t3"]
    assert list(opened.row_ids[np.array([3, 59])]) == ["t3", "t59"]
    assert list(opened.column_ids) == ["dog", "ant", "bee", "cat"]
    # The labels' rows have the same names, and are put in the order of the probabilities.
    shuffled = pd.DataFrame(PROBLEM.labels, index=named["task"]).iloc[::-1]
    given = daskal.Table(given.given, "task", ["ant", "bee", "cat", "dog"])
    assert daskal.estimate(shuffled, given).model_weight == ESTIMATE.model_weight


@pytest.mark.parametrize("form", ["Parquet", "Arrow", "Dask DataFrame"])
def test_the_index_of_a_frame_names_its_rows(
    form: str, named: pd.DataFrame, tmp_path: Path
) -> None:
    frame = named.set_index("task").drop(columns="text")
    opened = open_argument("pred_probs", TABLES[form](frame, tmp_path), None)
    assert opened.row_ids[:].tolist() == named["task"].tolist()
    assert opened.array.shape == (60, 4)


def test_numbers_as_names_of_classes_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    """Also where a table holds them sorted as text: 0, 1, 10, 11, 2."""
    problem = make_problem(9, num_classes=12)
    expected = daskal.estimate(problem.labels, problem.pred_probs)
    names = [str(at) for at in range(12)]
    for path in (tmp_path / "p.parquet", tmp_path / "p.csv"):
        write_as(frame_of(problem.pred_probs, names)[sorted(names)], path)
        estimate = daskal.estimate(problem.labels, path)
        assert estimate.temperature == expected.temperature
        assert estimate.model_weight == expected.model_weight


def test_whole_numbers_as_ids(tmp_path: Path) -> None:
    """CSV holds them as text, and 007 is none."""
    frame = pd.DataFrame({"id": [30, 10], "a": [0.5, 1.0], "b": [0.5, 0.0]})
    for path in (tmp_path / "p.parquet", tmp_path / "p.csv"):
        write_as(frame, path)
        opened = open_argument("pred_probs", daskal.Table(path, "id"), None)
        assert list(opened.row_ids[:]) == [30, 10]
    write_as(frame.assign(id=["007", "8"]), tmp_path / "p.csv")
    opened = open_argument("pred_probs", daskal.Table(tmp_path / "p.csv", "id"), None)
    assert list(opened.row_ids[:]) == ["007", "8"]


@pytest.mark.parametrize("ending", ["parquet", "csv", "npy", "feather"])
def test_ids_in_files(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"ids.{ending}"
    ids = [f"u{at}" for at in range(45)]
    if ending == "npy":
        np.save(path, np.array(ids))
    else:
        write_as(pd.DataFrame({"x": 1, "id": ids}), path)
    run = daskal.run(pred_probs_unlabeled=PROBLEM.pool, unlabeled_ids=path, out=tmp_path / "o.zarr")
    assert run.batch["id"].tolist() == [ids[row] for row in run.batch["row"]]


def test_rows_of_two_tables_in_another_order_are_refused(
    named: pd.DataFrame, tmp_path: Path
) -> None:
    write_as(named.drop(columns="text"), tmp_path / "p.parquet")
    labels = pd.DataFrame(PROBLEM.labels).rename(columns=str).assign(task=named["task"])
    write_as(labels.iloc[::-1], tmp_path / "l.parquet")
    with pytest.raises(daskal.DaskalError, match=r"expected its rows in the order of labels"):
        daskal.run(
            labels=tmp_path / "l.parquet",
            pred_probs=tmp_path / "p.parquet",
            id_column="task",
            out=tmp_path / "out.zarr",
        )
