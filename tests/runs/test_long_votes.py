"""Votes in long format and one table: the same bits as labels, their probabilities and a pool."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

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
from daskal.errors import InputError, InvalidDataError, ResumeError
from daskal.runs import long_votes
from tests.problems import make_problem

CLASSES = ["fox", "cat", "emu", "dog"]
PROBLEM = make_problem(7, num_examples=70, pool=230)


class Data(NamedTuple):
    """Votes and a table of all examples, in no order; the same as labels, probabilities, pool."""

    votes: pd.DataFrame
    table: pd.DataFrame
    labeled: np.ndarray  # whether each row of the table has votes
    reference: daskal.Run


def long_form(labels: np.ndarray, seed: int) -> pd.DataFrame:
    """Return votes in long format, in no order."""
    rows, annotators = np.nonzero(~np.isnan(labels))
    names = [CLASSES[int(label)] for label in labels[rows, annotators]]
    frame = pd.DataFrame({"task": rows, "annotator": annotators, "label": names})
    frame["task"] = [f"t{row}" for row in rows]
    frame["annotator"] = [f"ann {annotator}" for annotator in annotators]
    return frame.sample(frac=1, random_state=seed, ignore_index=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("reference")
    examples = np.random.default_rng(0).permutation(300)
    probs = np.concatenate([PROBLEM.pred_probs, PROBLEM.pool])[examples]
    table = pd.DataFrame(probs, columns=CLASSES)
    table.insert(2, "task", [f"t{example}" for example in examples])
    table = table[["dog", "task", "cat", "fox", "emu"]]
    votes, labeled = long_form(PROBLEM.labels, 1), examples < 70
    ids, columns = table["task"].to_numpy(), ["dog", "cat", "fox", "emu"]
    daskal.import_votes(votes, folder / "l.zarr", tasks=list(ids[labeled]), classes=columns)
    frame = table[columns]
    reference = daskal.run(
        labels=folder / "l.zarr",
        pred_probs=frame[labeled].reset_index(drop=True),
        pred_probs_unlabeled=frame[~labeled].reset_index(drop=True),
        unlabeled_ids=list(ids[~labeled]),
        out=folder / "out.zarr",
    )
    return Data(votes, table, labeled, reference)


def assert_same(run: daskal.Run, data: Data) -> None:
    """The same estimate, scores and batch; and the ids and rows of the table beside them."""
    expected = data.reference
    assert run.estimate.to_json() == expected.estimate.to_json()
    assert run.scores.compute().tobytes() == expected.scores.compute().tobytes()
    assert run.pool.compute().tobytes() == expected.pool.compute().tobytes()
    pd.testing.assert_frame_equal(run.batch, expected.batch)
    pd.testing.assert_frame_equal(run.annotator_stats, expected.annotator_stats)
    ids = data.table["task"].to_numpy()
    for section, rows in (("labeled", data.labeled), ("unlabeled", ~data.labeled)):
        stored = xr.open_zarr(run.path, group=section)
        assert stored["table_row"].values.tolist() == np.flatnonzero(rows).tolist()
        assert stored["example"].values.tolist() == ids[rows].tolist()


def parquet(table: pd.DataFrame, folder: Path) -> str:
    pq.write_table(pa.table(table), folder / "t.parquet", row_group_size=33)
    return str(folder / "t.parquet")


def parquet_folder(table: pd.DataFrame, folder: Path) -> str:
    (folder / "t").mkdir()
    for at, (start, stop) in enumerate([(0, 10), (10, 11), (11, 200), (200, 300)]):
        part = pa.table(table.iloc[start:stop].reset_index(drop=True))
        pq.write_table(part, folder / f"t/{at}.parquet", row_group_size=50)
    return str(folder / "t")


def csv(table: pd.DataFrame, folder: Path) -> str:
    table.to_csv(folder / "t.csv", index=False)
    return str(folder / "t.csv")


def named_xarray(table: pd.DataFrame, folder: Path) -> xr.DataArray:
    frame = table.set_index("task")
    return xr.DataArray(frame, dims=("task", "class")).chunk({"task": 60})


TABLES: dict[str, Any] = {
    "Parquet": parquet,
    "Parquet folder": parquet_folder,
    "CSV": csv,
    "DataFrame": lambda table, _: table,
    "Dask DataFrame": lambda table, _: dd.from_pandas(table, npartitions=4),
    "Arrow": lambda table, _: pa.table(table),
    "xarray": named_xarray,
}


@pytest.mark.parametrize("form", TABLES)
def test_the_same_bits_for_every_table(form: str, data: Data, tmp_path: Path) -> None:
    run = daskal.run(
        votes=data.votes,
        pred_probs=TABLES[form](data.table, tmp_path),
        id_column="task",
        out=tmp_path / "out.zarr",
    )
    assert_same(run, data)
    stored = zarr.open_group(run.path, mode="r")
    assert stored["matched_votes"].attrs["encoding-type"] == "csr_matrix"
    labels = pd.Series(stored["matched_votes/tasks"][:]).tolist()
    assert labels == data.table["task"][data.labeled].tolist()


@pytest.mark.parametrize("form", ["csv", "parquet", "list", "dask"])
def test_the_same_bits_for_all_votes(
    form: str, data: Data, tmp_path: Path, cluster: Client
) -> None:
    votes: Any = tmp_path / f"v.{form}"
    if form == "csv":
        data.votes.to_csv(votes, index=False)
    elif form == "parquet":
        data.votes.to_parquet(votes)
    elif form == "dask":
        votes = dd.from_pandas(data.votes, npartitions=3)
    else:
        votes = [tmp_path / "a.csv", tmp_path / "b.csv"]
        data.votes[:50].to_csv(votes[0], index=False)
        data.votes[50:].to_csv(votes[1], index=False)
    with cluster.as_current():
        run = daskal.run(
            votes=votes,
            pred_probs=parquet_folder(data.table, tmp_path),
            id_column="task",
            out=tmp_path / "out.zarr",
        )
    assert_same(run, data)


def test_small_blocks(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, whose edges are those of row groups; results in several chunks each."""
    monkeypatch.setattr("daskal.inputs.blocks.MIN_BLOCK_ROWS", 16)
    monkeypatch.setattr("daskal.inputs.blocks.MIN_BLOCKS", 8)
    table = parquet_folder(data.table, tmp_path)
    plan = daskal.plan(votes=data.votes, pred_probs=table, id_column="task")
    assert [section.name for section in plan.sections] == ["labeled", "unlabeled"]
    assert [section.num_rows for section in plan.sections] == [70, 230]
    assert min(section.num_blocks for section in plan.sections) > 3
    run = daskal.run(
        votes=data.votes, pred_probs=table, id_column="task", out=tmp_path / "out.zarr"
    )
    assert_same(run, data)


def test_pass_1_reads_only_blocks_that_hold_votes(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all votes in the first third of the table, no other row group is decoded for them."""
    first = np.argsort(~data.labeled, kind="stable")
    table = data.table.iloc[first].reset_index(drop=True)
    pq.write_table(pa.table(table), tmp_path / "t.parquet", row_group_size=35)
    read: Counter[int] = Counter()
    original = pq.ParquetFile.iter_batches

    def iter_batches(self: Any, *arguments: Any, row_groups: list[int], **options: Any) -> Any:
        if options["columns"] != ["task"]:
            read.update(row_groups)
        return original(self, *arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    daskal.run(
        votes=data.votes,
        pred_probs=tmp_path / "t.parquet",
        id_column="task",
        out=tmp_path / "out.zarr",
    )
    # Votes are in groups 0 and 1: both reads of pass 1, and pass 2. The pool is read once.
    assert read == {0: 3, 1: 3, **dict.fromkeys(range(2, 9), 1)}


def test_unknown_tasks(data: Data, tmp_path: Path) -> None:
    away = pd.DataFrame(
        {"task": ["u1", "u2", "u2"], "annotator": ["ann 0", "ann 1", "ann 0"], "label": "dog"}
    )
    votes = pd.concat([away[:1], data.votes, away[1:]], ignore_index=True)
    given = {"votes": votes, "pred_probs": data.table, "id_column": "task"}
    with pytest.raises(InvalidDataError, match=r"2 of 72 tasks \('u1', 'u2'\), with 3 votes") as no:
        daskal.run(**given, out=tmp_path / "out.zarr")
    assert "unknown_tasks='ignore'" in str(no.value)
    assert not (tmp_path / "out.zarr").exists()
    run = daskal.run(**given, unknown_tasks="ignore", out=tmp_path / "out.zarr")
    assert_same(run, data)


def test_no_task_is_known(data: Data, tmp_path: Path) -> None:
    votes = data.votes.assign(task="x" + data.votes["task"])
    for unknown in ("raise", "ignore"):
        with pytest.raises(InvalidDataError, match="Check that both columns hold the same ids"):
            daskal.run(
                votes=votes,
                pred_probs=data.table,
                id_column="task",
                unknown_tasks=unknown,
                out=tmp_path / "out.zarr",
            )


def test_all_examples_have_votes(data: Data, tmp_path: Path) -> None:
    run = daskal.run(
        votes=data.votes,
        pred_probs=data.table[data.labeled],
        id_column="task",
        out=tmp_path / "out.zarr",
    )
    assert run.pool is None
    assert run.scores.compute().tobytes() == data.reference.scores.compute().tobytes()


def test_tasks_called_like_the_ids(data: Data, tmp_path: Path) -> None:
    table = data.table.rename(columns={"task": "image"})
    for votes, names in (
        (data.votes, {}),
        (data.votes.rename(columns={"task": "image"}), {}),
        (data.votes.rename(columns={"task": "item", "label": "says"}), {"task": "item"}),
    ):
        if "says" in votes:
            names = {**names, "label": "says"}
        run = daskal.run(
            votes=votes,
            pred_probs=table,
            id_column="image",
            **names,
            out=tmp_path / "out.zarr",
            overwrite=True,
        )
        assert_same(run, data)
    with pytest.raises(InputError, match=r"there is no 'task'.*Name them with task="):
        daskal.run(
            votes=data.votes.rename(columns={"task": "item"}),
            pred_probs=table,
            id_column="image",
            out=tmp_path / "out.zarr",
            overwrite=True,
        )


def test_codes_and_arrays_without_names(tmp_path: Path) -> None:
    """Votes hold class codes; the ids are the index of the probabilities."""
    votes = long_form(PROBLEM.labels, 1)
    coded = votes.assign(label=[CLASSES.index(label) for label in votes["label"]])
    probs = np.concatenate([PROBLEM.pred_probs, PROBLEM.pool])
    ids = [f"t{at}" for at in range(300)]
    named = xr.DataArray(probs, dims=("task", "class"), coords={"task": ids})
    expected = daskal.estimate(PROBLEM.labels, PROBLEM.pred_probs)
    for given in (pd.DataFrame(probs, index=ids), named):
        run = daskal.run(votes=coded, pred_probs=given, out=tmp_path / "out.zarr", overwrite=True)
        assert run.estimate.class_names is None
        assert run.estimate.temperature == expected.temperature
        assert run.estimate.model_weight == expected.model_weight
    wrong = pd.concat([coded, coded[:1].assign(annotator="new", label=4)])
    with pytest.raises(InvalidDataError, match="among '0', '1', '2', '3', but 1 vote has another"):
        daskal.run(votes=wrong, pred_probs=named, out=tmp_path / "o.zarr")


def test_several_models_and_a_known_estimate(data: Data, tmp_path: Path) -> None:
    columns = ["dog", "cat", "fox", "emu"]
    second = data.table.assign(**dict.fromkeys(columns, 0.25))
    for name, table in (("a", data.table), ("b", second)):
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet", row_group_size=41)
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    run = daskal.run(votes=data.votes, pred_probs=paths, id_column="task", out=tmp_path / "e.zarr")
    assert run.estimate.num_models == 2
    again = daskal.run(
        votes=data.votes,
        pred_probs=data.table,
        id_column="task",
        estimate=data.reference.estimate,
        out=tmp_path / "out.zarr",
    )
    assert_same(again, data)


# --- what does not go -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id_column": None}, "expected ids of its rows, which votes= are matched by, got none"),
        ({"pred_probs": None}, "pass pred_probs, the table of all examples, too"),
        ({"pred_probs_unlabeled": np.ones((2, 2))}, "alone, got pred_probs_unlabeled too"),
        ({"labels": np.ones((2, 2))}, "alone, got labels too"),
        ({"unknown_tasks": "keep"}, "unknown_tasks: expected 'raise' or 'ignore'"),
        ({"on_duplicate": "first"}, "on_duplicate: expected 'error' or 'last'"),
        ({"class_columns": ["dog", "cat", "fox"]}, r"among 'dog', 'cat', 'fox', but"),
        ({"votes": "nowhere.csv"}, "nothing is stored there"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], message: str, data: Data, tmp_path: Path) -> None:
    given = {"votes": data.votes, "pred_probs": data.table, "id_column": "task", **change}
    if change == {"id_column": None}:
        given["pred_probs"] = data.table.drop(columns="task")
    with pytest.raises(daskal.DaskalError, match=message):
        daskal.run(**given, out=tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


def test_ids_that_are_missing_or_doubled(data: Data, tmp_path: Path) -> None:
    doubled = data.table.assign(task=["t1", "t1", *data.table["task"][2:]])
    missing = data.table.assign(task=[None, *data.table["task"][1:]])
    for form in (parquet, lambda table, _: table):
        for table, message in (
            (doubled, r"the ids of pred_probs: expected every id once, but \d occurs? more"),
            (missing, r"missing|expected an id in every row"),
        ):
            with pytest.raises(daskal.DaskalError, match=message):
                daskal.run(
                    votes=data.votes,
                    pred_probs=form(table, tmp_path),
                    id_column="task",
                    out=tmp_path / "out.zarr",
                )


def test_several_votes_of_an_annotator(data: Data, tmp_path: Path) -> None:
    twice = pd.concat([data.votes[:1].assign(label="emu"), data.votes], ignore_index=True)
    given = {"votes": twice, "pred_probs": data.table, "id_column": "task"}
    with pytest.raises(InvalidDataError, match="expected one vote of an annotator on a task"):
        daskal.run(**given, out=tmp_path / "out.zarr")
    run = daskal.run(**given, on_duplicate="last", out=tmp_path / "out.zarr", overwrite=True)
    assert_same(run, data)


# --- stores -----------------------------------------------------------------------------------


def test_resuming(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that failed goes on: votes that are imported are not imported again."""
    given: dict[str, Any] = {
        "votes": data.votes,
        "pred_probs": parquet(data.table, tmp_path),
        "id_column": "task",
        "out": tmp_path / "out.zarr",
    }

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("daskal.runs.run.write_ids", fail)
        with pytest.raises(OSError, match="the disk is full"):
            daskal.run(**given)
    other = data.votes.assign(annotator="x" + data.votes["annotator"])
    with pytest.raises(ResumeError, match="annotators: was"):
        daskal.run(**{**given, "votes": other}, resume=True)
    with monkeypatch.context() as patched:
        patched.setattr(long_votes.LongVotes, "write", fail)
        run = daskal.run(**given, resume=True)
    assert_same(run, data)
    assert_same(daskal.run(**given, resume=True), data)
    assert_same(daskal.run(**given, overwrite=True), data)


def test_sources_within_the_result_are_kept(data: Data, tmp_path: Path) -> None:
    given = {"votes": data.votes, "pred_probs": data.table, "id_column": "task"}
    daskal.run(**given, out=tmp_path / "out.zarr")
    inside = tmp_path / "out.zarr/votes.csv"
    data.votes.to_csv(inside, index=False)
    with pytest.raises(InputError, match="votes: expected a place apart from out"):
        daskal.run(**{**given, "votes": inside}, out=tmp_path / "out.zarr", overwrite=True)
    assert inside.exists()


def test_a_dask_array_computes_only_the_blocks_with_votes(data: Data, tmp_path: Path) -> None:
    first = np.argsort(~data.labeled, kind="stable")
    table = data.table.iloc[first].set_index("task")
    computed: Counter[int] = Counter()

    def infer(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        computed[block_info[0]["chunk-location"][0]] += 1
        return block

    probs = da.from_array(table.to_numpy(), chunks=(35, 4)).map_blocks(
        infer, dtype=float, meta=np.empty((0, 0))
    )
    named = xr.DataArray(
        probs, dims=("task", "class"), coords={"task": table.index, "class": table.columns}
    )
    daskal.run(votes=data.votes, pred_probs=named, out=tmp_path / "out.zarr")
    assert computed == {0: 3, 1: 3, **dict.fromkeys(range(2, 9), 1)}
