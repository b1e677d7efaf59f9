"""Long-format votes into an aligned sparse store, from and to wherever they are."""

import importlib.util
import pickle
import re
import subprocess
import sys
import urllib.request
import uuid

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.engine.progress import Progress
from daskal.errors import (
    DaskalError,
    InputError,
    InvalidDataError,
    MissingPathError,
    StorageError,
    StoreExistsError,
)
from daskal.importing import files, importer, votes_store
from daskal.importing.importer import import_votes
from daskal.storage import transfers
from daskal.tables import delimited
from tests import realdata


def table(*rows, columns=("task", "annotator", "label")):
    return pd.DataFrame(list(rows), columns=list(columns))


def members(path, **options):
    group = zarr.open_group(str(path), mode="r", storage_options=options or None)
    return {name: array[:].tolist() for name, array in group.arrays()}


def as_votes(path):
    """The stored votes as (task, annotator, code), in the store's order."""
    stored = members(path)
    rows = np.repeat(np.arange(len(stored["tasks"])), np.diff(stored["indptr"]))
    return [
        (stored["tasks"][row], stored["annotators"][column], code)
        for row, column, code in zip(rows, stored["indices"], stored["data"], strict=True)
    ]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "labels.zarr"


@pytest.fixture(
    params=["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow)]
)
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


VOTES = table(("b", 7, 0), ("a", 7, 1), ("b", 3, 0), ("a", 5, 2))


def test_store_is_csr_with_ids_beside_it(out):
    summary = import_votes(VOTES, out)
    assert members(out) == {
        "data": [2, 1, 0, 0],
        "indices": [1, 2, 0, 2],
        "indptr": [0, 2, 4],
        "tasks": ["a", "b"],
        "annotators": [3, 5, 7],
    }
    group = zarr.open_group(str(out), mode="r")
    assert dict(group.attrs) == {
        "encoding-type": "csr_matrix",
        "encoding-version": "0.1.0",
        "shape": [2, 3],
        "daskal": {"num_classes": 3, "classes": None},
    }
    dtypes = {name: str(array.dtype) for name, array in group.arrays() if name != "tasks"}
    assert dtypes == {"data": "int16", "indices": "int32", "indptr": "int64", "annotators": "int64"}
    assert summary == importer.ImportSummary(
        str(out), 2, 3, 4, 3, 0, 0, None, "sorted as text", "whole numbers as they are"
    )


def test_votes_for_class_zero_are_stored_and_so_are_their_chunks(out):
    import_votes(table((0, 0, 0), (1, 0, 0)), out)
    assert members(out)["data"] == [0, 0]
    assert (out / "data" / "c" / "0").exists()


def test_rows_follow_the_given_tasks_and_may_be_empty(out):
    summary = import_votes(VOTES, out, tasks=["c", "b", "d", "a", "e"])
    stored = members(out)
    assert stored["tasks"] == ["c", "b", "d", "a", "e"]
    assert stored["indptr"] == [0, 0, 2, 2, 4, 4]
    assert stored["data"] == [0, 0, 2, 1]
    assert summary.num_unlabeled == 3


@pytest.mark.parametrize(
    "ids",
    [
        np.array([20, 10, 30]),
        np.array([20, 10, 30], dtype="uint8"),
        pd.Index([20, 10, 30]),
        pd.Series([20.0, 10.0, 30.0]),
        [20, 10, 30],
        dd.from_pandas(pd.Series([20, 10, 30]), npartitions=1),
    ],
    ids=["numpy", "small", "index", "floats", "list", "dask"],
)
def test_tasks_may_be_any_array(out, ids):
    import_votes(table((10, 1, 0), (30, 1, 1)), out, tasks=ids)
    stored = members(out)
    assert stored["tasks"] == [20, 10, 30]
    assert stored["indptr"] == [0, 0, 1, 2]


def write_tasks(kind, path, ids):
    if kind == "npy":
        np.save(path, np.array(ids))
    elif kind == "parquet":
        pd.DataFrame({"other": 0, "task": ids}).to_parquet(path)
    elif kind == "index":
        pd.DataFrame({"other": 0}, index=pd.Index(ids, name="task")).to_parquet(path)
    elif kind == "csv":
        pd.DataFrame({"name": ids}).to_csv(path, index=False)
    elif kind == "zarr":
        array = zarr.create_array(path, shape=(len(ids),), dtype=str if ids[0] == "b" else "i4")
        array[:] = np.array(ids)
    else:
        import_votes(table(*((task, 0, 0) for task in ids)), path, tasks=ids)


@pytest.mark.parametrize("ids", [["b", "a", "c"], [20, 10, 30]], ids=["text", "numbers"])
@pytest.mark.parametrize("kind", ["npy", "parquet", "index", "csv", "zarr", "group"])
def test_tasks_may_be_a_file(tmp_path, out, kind, ids):
    suffix = {"index": "parquet", "group": "zarr"}.get(kind, kind)
    path = tmp_path / f"tasks.{suffix}"
    write_tasks(kind, path, ids)
    import_votes(table((ids[1], 1, 4)), out, tasks=path)
    assert members(out)["tasks"] == ids
    assert members(out)["indptr"] == [0, 0, 1, 1]


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".csv", ".tsv", ".csv.gz"])
def test_votes_may_be_a_file(tmp_path, out, suffix):
    path = tmp_path / f"votes{suffix}"
    if suffix in (".parquet", ".feather"):
        getattr(VOTES, f"to_{suffix[1:]}")(path)
    else:
        VOTES.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    import_votes(path, out)
    assert as_votes(out) == [("a", 5, 2), ("a", 7, 1), ("b", 3, 0), ("b", 7, 0)]


@pytest.mark.parametrize("part_bytes", [9, 40, 1000])
def test_csv_is_read_in_parts(tmp_path, out, monkeypatch, part_bytes):
    monkeypatch.setattr(delimited, "PART_BYTES", part_bytes)
    monkeypatch.setattr(files, "VOTES_PER_PART", 3)
    votes = table(*((f"t{number:02}", number % 3, number % 2) for number in range(30)))
    (tmp_path / "0.csv").write_text("")
    votes[:11].to_csv(tmp_path / "1.csv", index=False)
    votes[11:12].to_csv(tmp_path / "2.csv", index=False)
    votes[12:][["label", "task", "annotator"]].to_csv(tmp_path / "3.csv", index=False)
    import_votes(str(tmp_path / "*.csv"), out)
    assert as_votes(out) == [tuple(vote) for vote in votes.itertuples(index=False)]


def test_csv_of_nothing(tmp_path, out):
    path = tmp_path / "votes.csv"
    path.write_text("")
    with pytest.raises(InputError, match=r"expected data, got .*votes\.csv, which is empty"):
        import_votes(path, out)
    path.write_text("task,annotator,label\n")
    with pytest.raises(InvalidDataError, match="at least one vote"):
        import_votes(path, out)
    path.write_text("task,annotator\n1,2\n")
    with pytest.raises(InputError, match=r"no 'label' among 'task', 'annotator' in .*votes\.csv"):
        import_votes(path, out)


@pytest.mark.parametrize("form", ["folder", "glob", "list"])
def test_votes_may_be_many_files(tmp_path, out, form):
    folder = tmp_path / "votes"
    folder.mkdir()
    for number in range(4):
        VOTES[number : number + 1].to_parquet(folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").write_text("")
    given = {
        "folder": folder,
        "glob": str(folder / "*.parquet"),
        "list": sorted(folder.glob("part*")),
    }
    import_votes(given[form], out)
    assert as_votes(out) == [("a", 5, 2), ("a", 7, 1), ("b", 3, 0), ("b", 7, 0)]


def test_row_groups_are_read_in_parts(tmp_path, out, monkeypatch):
    monkeypatch.setattr(files, "VOTES_PER_PART", 2)
    VOTES.to_parquet(tmp_path / "votes.parquet", row_group_size=1)
    seen = []
    import_votes(tmp_path / "votes.parquet", out, progress=seen.append)
    assert Progress("survey", 2, 2, 4, 0) in seen
    assert as_votes(out) == [("a", 5, 2), ("a", 7, 1), ("b", 3, 0), ("b", 7, 0)]


def test_parquet_index_counts_as_columns(tmp_path, out):
    VOTES.set_index(["task", "annotator"]).to_parquet(tmp_path / "votes.parquet")
    import_votes(tmp_path / "votes.parquet", out)
    import_votes(VOTES.set_index(["task", "annotator"]), tmp_path / "frame.zarr")
    assert members(out) == members(tmp_path / "frame.zarr")


def test_columns_may_have_other_names(out):
    votes = VOTES.set_axis(["item", "worker", "answer"], axis=1).assign(task="no")
    import_votes(votes, out, task="item", annotator="worker", label="answer")
    assert as_votes(out) == [("a", 5, 2), ("a", 7, 1), ("b", 3, 0), ("b", 7, 0)]


def test_dask_frames_and_every_scheduler_give_the_same_store(tmp_path, scheduler):
    import_votes(VOTES, tmp_path / "frame.zarr")
    frame = dd.from_pandas(VOTES, npartitions=3, sort=False)
    import_votes(frame, tmp_path / "dask.zarr")
    assert members(tmp_path / "frame.zarr") == members(tmp_path / "dask.zarr")


def test_a_cluster_gives_the_same_store(tmp_path, cluster):
    seen = []
    import_votes(VOTES, tmp_path / "local.zarr")
    frame = dd.from_pandas(VOTES, npartitions=3, sort=False)
    with cluster.as_current(), dask.config.set(scheduler="dask.distributed"):
        import_votes(frame, tmp_path / "cluster.zarr", progress=seen.append)
    assert members(tmp_path / "local.zarr") == members(tmp_path / "cluster.zarr")
    assert [step[:3] for step in seen] == [
        *[("survey", done, 3) for done in range(4)],
        *[("write", done, 1) for done in range(2)],
    ]
    assert [step[3:] for step in seen if step.done == step.total] == [(4, 0), (4, 4)]


def test_progress_counts_every_part(out, scheduler):
    seen = []
    frame = dd.from_pandas(VOTES, npartitions=2, sort=False)
    import_votes(frame, out, progress=seen.append)
    assert seen == [
        Progress("survey", 0, 2, 0, 0),
        Progress("survey", 1, 2, 2, 0),
        Progress("survey", 2, 2, 4, 0),
        Progress("write", 0, 1, 0, 4),
        Progress("write", 1, 1, 4, 4),
    ]


@pytest.mark.parametrize(
    ("ids", "stored"),
    [
        (["x", "y"], ["x", "y"]),
        (pd.Categorical(["y", "x"]), ["x", "y"]),
        (pd.array([5, -2], dtype="Int64"), [-2, 5]),
        (np.array([2**63 + 1, 5], dtype="uint64"), [5, 2**63 + 1]),
        (pd.Series([2**63 + 1, 5], dtype=object), [5, 2**63 + 1]),
        ([3.0, 1.0], [1, 3]),
        ([b"y", b"x"], ["x", "y"]),
        ([uuid.UUID(int=2), uuid.UUID(int=1)], [str(uuid.UUID(int=n)) for n in (1, 2)]),
        ([("a", 2), ("a", 1)], ["('a', 1)", "('a', 2)"]),
        (pd.to_datetime(["2024-05-02", "2024-05-01"]).date, ["2024-05-01", "2024-05-02"]),
        (["é", "z", ""], ["", "z", "é"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ids_of_any_one_type(out, ids, stored):
    votes = pd.DataFrame({"task": ids, "annotator": ids, "label": 0})
    import_votes(votes, out)
    assert members(out)["tasks"] == stored
    assert members(out)["annotators"] == stored


def test_csv_ids_are_numbers_only_where_all_are_written_so(tmp_path, out):
    path = tmp_path / "votes.csv"
    path.write_text("task,annotator,label\n10,007,cat\n9,12,None\n")
    import_votes(path, out)
    stored = members(out)
    assert stored["tasks"] == [9, 10]
    assert stored["annotators"] == ["007", "12"]
    assert zarr.open_group(str(out)).attrs["daskal"]["classes"] == ["None", "cat"]


def test_csv_ids_take_the_type_of_the_tasks(tmp_path, out):
    path = tmp_path / "votes.csv"
    path.write_text("task,annotator,label\n10,1,1.0\n9,1,0.0\n")
    import_votes(path, out, tasks=["9", "10"])
    assert members(out)["tasks"] == ["9", "10"]
    assert members(out)["data"] == [0, 1]
    import_votes(path, out, tasks=[10, 9], overwrite=True)
    assert members(out)["tasks"] == [10, 9]
    assert members(out)["data"] == [1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "codes", "names"),
    [
        (["dog", "cat", "dog"], None, [1, 0, 1], ["cat", "dog"]),
        (["dog", "cat", "dog"], ["dog", "eel", "cat"], [0, 2, 0], ["dog", "eel", "cat"]),
        ([0, 1, 0], ["dog", "eel", "cat"], [0, 1, 0], ["dog", "eel", "cat"]),
        ([3, 5, 3], [1, 2, 3, 4, 5], [2, 4, 2], ["1", "2", "3", "4", "5"]),
        ([0, 4, 2], None, [0, 4, 2], None),
        ([True, False, True], None, [1, 0, 1], ["False", "True"]),
        ([True, False, True], ["True", "False"], [0, 1, 0], ["True", "False"]),
        (["10", "9", "1"], None, [2, 1, 0], ["1", "9", "10"]),
        (["dog", "cat", "dog"], {0: "dog", 1: "cat"}, [0, 1, 0], ["dog", "cat"]),
        ([1.0, 0.0, 1.0], None, [1, 0, 1], None),
    ],
)
def test_labels_become_codes(out, labels, classes, codes, names):
    votes = pd.DataFrame({"task": [0, 1, 2], "annotator": 0, "label": labels})
    summary = import_votes(votes, out, classes=classes)
    assert members(out)["data"] == codes
    assert zarr.open_group(str(out), mode="r").attrs["daskal"] == {
        "num_classes": len(names) if names else max(codes) + 1,
        "classes": names,
    }
    assert summary.classes == (tuple(names) if names else None)


def test_many_classes_need_wider_codes(out):
    import_votes(table((0, 0, 40_000)), out)
    assert zarr.open_group(str(out))["data"].dtype == np.int32
    assert members(out)["data"] == [40_000]


REPEATED = table((1, "x", 0), (2, "y", 1), (1, "x", 2), (2, "y", 3), (1, "y", 0))


def test_repeated_pairs_are_an_error_by_default(out, scheduler):
    with pytest.raises(InvalidDataError) as error:
        import_votes(dd.from_pandas(REPEATED, npartitions=3, sort=False), out)
    assert "several of 2 (task, annotator) pairs: (1, 'x'), (2, 'y')." in str(error.value)
    assert not out.exists()


def test_the_last_of_repeated_votes_can_be_kept(out, scheduler):
    frame = dd.from_pandas(REPEATED, npartitions=5, sort=False)
    summary = import_votes(frame, out, on_duplicate="last")
    assert as_votes(out) == [(1, "x", 2), (1, "y", 0), (2, "y", 3)]
    assert (summary.num_votes, summary.num_replaced) == (3, 2)


def test_the_last_vote_is_the_last_of_all_parts(out, monkeypatch):
    monkeypatch.setattr(importer, "VOTES_PER_PART", 1)
    monkeypatch.setattr(files, "VOTES_PER_PART", 1)
    votes = table((9, 1, 0), (8, 1, 0), (1, 1, 1), (1, 1, 2))
    with dask.config.set(scheduler="synchronous"):
        frame = dd.concat(
            [dd.from_pandas(votes, npartitions=1), dd.from_pandas(votes[2:3], npartitions=1)]
        )
        import_votes(frame, out, on_duplicate="last")
    assert as_votes(out) == [(1, 1, 1), (8, 1, 0), (9, 1, 0)]


def mixed(values):
    return pd.Series(values, dtype=object)


@pytest.mark.parametrize(
    ("columns", "options", "kind", "message"),
    [
        ({"task": [0, None, None]}, {}, InvalidDataError, "'task', but 2 are missing .*: 1, 2"),
        ({"label": [0, np.nan, 1]}, {}, InvalidDataError, "'label', but 1 is missing .*: 1"),
        (
            {"annotator": mixed([4, 4, "b7"])},
            {},
            InvalidDataError,
            r"'annotator' is of mixed types: whole numbers \(4, row 0\) and text \('b7', row 2\)",
        ),
        ({"task": [0, 1.5, 2]}, {}, InvalidDataError, "whole numbers or text .*'task'.* 1 .*1.5"),
        ({"label": [0, 0.5, 1]}, {}, InvalidDataError, "'label'.* holds 0.5"),
        ({"label": [0, -1, -1]}, {}, InvalidDataError, r"2 votes have other labels \(-1\)"),
        (
            {"label": ["cat", "eel", "fox"]},
            {"classes": ["cat", "dog"]},
            InvalidDataError,
            r"among 'cat', 'dog', but 2 votes have other labels \('eel', 'fox'\)",
        ),
        ({"label": [0, 1, 2]}, {"classes": ["a", "b"]}, InvalidDataError, r"1 vote .*\(2\)"),
        ({"label": [0, 1, 2]}, {"classes": [1, 2, 3]}, InvalidDataError, r"1 vote .*\(0\)"),
        ({}, {"classes": ["a", "a"]}, InputError, "distinct names"),
        ({}, {"classes": "cat"}, InputError, "distinct names"),
        (
            {},
            {"tasks": [0, 5]},
            InvalidDataError,
            r"one of the 2 in tasks, but 2 are not \(1, 2\), with 2 votes",
        ),
        ({}, {"tasks": ["0", "1", "2"]}, InputError, "got '0' where the votes have 0"),
        ({}, {"tasks": [0, 1, 2, 1]}, InputError, r"1 occurs more than once \(1\)"),
        ({}, {"tasks": [0, 1, None]}, InputError, "1 of 3 is missing"),
        ({}, {"tasks": []}, InputError, "there are none"),
        ({}, {"tasks": [0, "1", 2]}, InputError, "tasks: expected ids that are all"),
        ({}, {"tasks": np.zeros((2, 2))}, InputError, "tasks: expected a one-dimensional"),
        ({}, {"label": "answer"}, InputError, "no 'answer' among 'task', 'annotator', 'label'"),
        ({}, {"label": "task"}, InputError, "three columns"),
        ({}, {"on_duplicate": "first"}, InputError, "'error' or 'last', got 'first'"),
    ],
)
def test_bad_votes_get_one_clear_error_and_leave_nothing(out, columns, options, kind, message):
    votes = pd.DataFrame({"task": [0, 1, 2], "annotator": [0, 0, 1], "label": [0, 1, 0]})
    with pytest.raises(kind, match=message) as error:
        import_votes(votes.assign(**columns), out, **options)
    assert isinstance(error.value, DaskalError)
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    assert not out.exists()


def test_faults_are_the_same_however_the_votes_are_cut(tmp_path, out):
    votes = pd.DataFrame({"task": range(9), "annotator": 0, "label": [0, 1, None] * 3})
    texts = set()
    for parts in (1, 2, 9):
        with pytest.raises(InvalidDataError) as error:
            import_votes(dd.from_pandas(votes, npartitions=parts, sort=False), out)
        texts.add(str(error.value))
    assert len(texts) == 1
    assert "3 are missing (first rows: 2, 5, 8)" in texts.pop()


def test_types_that_differ_between_parts_are_mixed(tmp_path, out):
    folder = tmp_path / "votes"
    folder.mkdir()
    table((1, 1, 0), (2, 1, 0)).to_parquet(folder / "0.parquet")
    table(("three", 1, 0)).to_parquet(folder / "1.parquet")
    with pytest.raises(InvalidDataError, match=r"\(1, row 0\) and text \('three', row 2\)"):
        import_votes(folder, out)


def test_csv_without_a_label_among_numbers(tmp_path, out):
    path = tmp_path / "votes.csv"
    path.write_text("task,annotator,label\n1,1,0\n2,1,nan\n")
    with pytest.raises(InvalidDataError, match="beside whole numbers it holds 'nan'"):
        import_votes(path, out)


def test_no_votes_at_all(out):
    with pytest.raises(InvalidDataError, match="at least one vote in a DataFrame, got none"):
        import_votes(VOTES[:0], out)


def test_sources_that_cannot_be_read(tmp_path, out):
    with pytest.raises(MissingPathError, match=r"nowhere\.parquet"):
        import_votes(tmp_path / "nowhere.parquet", out)
    with pytest.raises(MissingPathError, match="no file under"):
        import_votes(str(tmp_path / "*.parquet"), out)
    with pytest.raises(MissingPathError, match=r"tasks from .*nowhere\.npy"):
        import_votes(VOTES, out, tasks=tmp_path / "nowhere.npy")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1, cut off")
    with pytest.raises(InputError, match=r"got .*bad\.parquet, which is damaged or cut off"):
        import_votes(tmp_path / "bad.parquet", out)
    np.save(tmp_path / "objects.npy", np.array(["a", 1], dtype=object))
    with pytest.raises(StorageError, match=r"objects\.npy': ValueError: Object arrays"):
        import_votes(VOTES, out, tasks=tmp_path / "objects.npy")
    with pytest.raises(InputError, match="got int"):
        import_votes(7, out)
    with pytest.raises(StorageError, match="nosuch") as error:
        import_votes("nosuch://user:pa55word@host/votes.parquet", out)
    assert "pa55word" not in str(error.value)


@pytest.mark.parametrize("on_duplicate", ["error", "last"])
def test_votes_that_become_more_while_they_are_read(out, on_duplicate):
    reads = []

    def grow(part):
        reads.append(len(part))
        return part if len(reads) == 1 else pd.concat([part, table(("a", 3, 1), ("b", 5, 1))])

    frame = dd.from_delayed([dask.delayed(grow, pure=False)(VOTES)], meta=VOTES)
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(InvalidDataError, match="the second read found other"),
    ):
        import_votes(frame, out, on_duplicate=on_duplicate)
    assert len(reads) == 2
    assert not out.exists()


def test_an_existing_store_is_kept_unless_told_otherwise(tmp_path, out):
    import_votes(VOTES, out)
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        import_votes(VOTES[:1], out)
    with pytest.raises(InvalidDataError):
        import_votes(VOTES.assign(label=-1), out, overwrite=True)
    assert len(members(out)["data"]) == 4
    import_votes(VOTES[:1], out, overwrite=True)
    assert members(out)["data"] == [0]


def put_group(out):
    zarr.open_group(str(out)).create_array("probs", data=np.ones(3))


def put_array(out):
    zarr.save_array(str(out), np.ones(3))


def put_run(out):
    daskal.run(pred_probs_unlabeled=np.full((4, 2), 0.5), out=out)


def put_array_beside(out):
    import_votes(VOTES, out)
    zarr.open_group(str(out), mode="r+").create_array("probs", data=np.ones(3))


def put_file_beside(out):
    import_votes(VOTES, out)
    (out / "thesis.txt").write_text("all of it")


def put_namesakes(out):
    group = zarr.open_group(str(out))
    group.attrs["encoding-type"] = "csr_matrix"
    group.create_array("data", data=np.ones(3))


def put_file(out):
    out.write_text("all of it")


def put_folder(out):
    out.mkdir()
    (out / "thesis.txt").write_text("all of it")


def contents(path):
    files = [path] if path.is_file() else path.rglob("*")
    return {str(file): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("through", ["path", "url", "link"])
@pytest.mark.parametrize(
    "put",
    [
        put_group,
        put_array,
        put_run,
        put_array_beside,
        put_file_beside,
        put_namesakes,
        put_file,
        put_folder,
    ],
)
def test_overwriting_deletes_nothing_but_imports(tmp_path, put, through):
    real = tmp_path / "real"
    put(real)
    before = contents(real)
    (tmp_path / "link").symlink_to(real)
    given = {"path": real, "url": f"file://{real}", "link": tmp_path / "link"}
    with pytest.raises(StoreExistsError, match="is no import of daskal, or holds something"):
        import_votes(VOTES, given[through], overwrite=True)
    assert contents(real) == before


@pytest.mark.parametrize("through", ["path", "url", "link"])
def test_overwriting_replaces_an_import_in_its_place(tmp_path, through):
    real = tmp_path / "real"
    import_votes(VOTES, real)
    (tmp_path / "link").symlink_to(real)
    given = {"path": real, "url": f"file://{real}", "link": tmp_path / "link"}
    import_votes(VOTES[:1], given[through], overwrite=True)
    assert members(real)["data"] == [0]
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def source_by_file(inside):
    VOTES.to_parquet(inside / "v.parquet")
    return {"votes": inside / "v.parquet"}


def source_by_glob(inside):
    VOTES.to_csv(inside / "v.csv", index=False)
    return {"votes": str(inside.parent.parent / "*" / "data" / "*.csv")}


def source_by_link(inside):
    VOTES.to_parquet(inside / "v.parquet")
    link = inside.parent.parent / "mine.parquet"
    link.symlink_to(inside / "v.parquet")
    return {"votes": link}


def source_by_frame(inside):
    VOTES.to_parquet(inside / "v.parquet")
    return {"votes": dd.read_parquet(inside / "v.parquet")}


def source_of_tasks(inside):
    np.save(inside / "t.npy", np.array(["b", "a"]))
    return {"votes": VOTES, "tasks": f"file://{inside}/t.npy"}


def source_is_the_import(inside):
    return {"votes": VOTES, "tasks": inside.parent}


@pytest.mark.parametrize(
    "make",
    [
        source_by_file,
        source_by_glob,
        source_by_link,
        source_by_frame,
        source_of_tasks,
        source_is_the_import,
    ],
)
def test_no_source_is_overwritten(out, make):
    import_votes(VOTES, out)
    given = make(out / "data")
    before = contents(out)
    with pytest.raises(InputError, match="expected a place apart from out="):
        import_votes(**given, out=out, overwrite=True)
    assert contents(out) == before


def test_an_import_that_fails_leaves_the_earlier_one(tmp_path, out, monkeypatch):
    import_votes(VOTES, out)
    before = contents(out)

    def fail(*_args, **_kwargs):
        raise InvalidDataError("no")

    monkeypatch.setattr(importer, "check_end", fail)
    with pytest.raises(InvalidDataError, match="no"):
        import_votes(VOTES[:1], out, overwrite=True)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]


def test_a_torn_import_is_no_store_of_votes_and_may_be_replaced(out, monkeypatch):
    def die(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(votes_store.VotesStore, "finish", die)
        patch.setattr(votes_store.VotesStore, "remove", lambda self: None)
        with pytest.raises(KeyboardInterrupt):
            import_votes(VOTES, out)
    group = zarr.open_group(str(out), mode="r")
    assert dict(group.attrs) == {"daskal": {"importing": True}}
    import_votes(VOTES, out, overwrite=True)
    assert len(members(out)["data"]) == 4


def test_the_store_may_be_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    VOTES.to_csv(tmp_path / "votes.csv", index=False)
    import_votes("~/votes.csv", "~/labels.zarr")
    assert members(tmp_path / "labels.zarr")["indptr"] == [0, 2, 4]


def test_each_chunk_is_written_once(out, monkeypatch):
    monkeypatch.setattr(votes_store, "CHUNK", 8)
    monkeypatch.setattr(importer, "VOTES_PER_PART", 5)
    monkeypatch.setattr(files, "VOTES_PER_PART", 5)
    written = []
    write = transfers.write

    def count(array, rows, values):
        if array.name.split("/")[-1] in ("data", "indices", "indptr"):
            chunk = array.chunks[0]
            assert rows.start % chunk == 0
            assert rows.stop % chunk == 0 or rows.stop == array.shape[0]
            chunks = range(rows.start // chunk, -(-rows.stop // chunk))
            written.extend((array.name, number) for number in chunks)
        write(array, rows, values)

    monkeypatch.setattr(transfers, "write", count)
    rng = np.random.default_rng(0)
    pairs = rng.permutation(40 * 6)[:100]
    votes = table(*((pair // 6, pair % 6, pair % 3) for pair in pairs.tolist()))
    expected = sorted((pair // 6, pair % 6, pair % 3) for pair in pairs.tolist())
    import_votes(votes, out)
    rows = len({vote[0] for vote in expected})
    assert len(written) == len(set(written)) == 13 + 13 + -(-(rows + 1) // 8)
    assert as_votes(out) == expected


@settings(deadline=None, max_examples=60)
@given(
    votes=st.lists(
        st.tuples(st.integers(-3, 9), st.sampled_from(["", "a", "é"]), st.integers(0, 4)),
        min_size=1,
        max_size=60,
    ),
    parts=st.integers(1, 20),
    size=st.integers(1, 30),
    chunk=st.integers(1, 20),
    extra=st.sets(st.integers(10, 20)),
    seed=st.randoms(use_true_random=False),
    text=st.booleans(),
)
def test_any_votes_come_back(votes, parts, size, chunk, extra, seed, text, tmp_path_factory):
    frame = table(*votes)
    if text:
        frame["task"] = frame["task"].astype(str)
    wanted = frame.drop_duplicates(["task", "annotator"], keep="last")
    tasks = [*frame["task"].unique().tolist(), *(str(t) if text else t for t in extra)]
    seed.shuffle(tasks)
    out = tmp_path_factory.mktemp("any") / "labels.zarr"
    with pytest.MonkeyPatch.context() as patch, dask.config.set(scheduler="synchronous"):
        patch.setattr(votes_store, "CHUNK", chunk)
        patch.setattr(importer, "VOTES_PER_PART", size)
        patch.setattr(files, "VOTES_PER_PART", size)
        import_votes(
            dd.from_pandas(frame, npartitions=parts, sort=False),
            out,
            tasks=tasks,
            on_duplicate="last",
        )
    place = {task: row for row, task in enumerate(tasks)}
    expected = sorted(
        wanted.itertuples(index=False, name=None), key=lambda vote: (place[vote[0]], vote[1])
    )
    assert as_votes(out) == expected
    assert members(out)["tasks"] == tasks
    assert members(out)["annotators"] == sorted(frame["annotator"].unique())


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_sets_go_in(out, name):
    folder = realdata.DATA / name
    summary = import_votes(folder / "labels.parquet", out, tasks=folder / "tasks.parquet")
    labels = pd.read_parquet(folder / "labels.parquet")
    tasks = pd.read_parquet(folder / "tasks.parquet")["task"].tolist()
    place = {task: row for row, task in enumerate(tasks)}
    expected = sorted(
        labels.itertuples(index=False, name=None), key=lambda vote: (place[vote[0]], vote[1])
    )
    assert as_votes(out) == expected
    assert members(out)["tasks"] == tasks
    assert summary.num_votes == len(labels)
    assert summary.num_unlabeled == len(set(tasks) - set(labels["task"]))


def test_real_repeated_votes(tmp_path):
    paths = sorted(realdata.DATA.glob("*/labels_with_duplicates.parquet"))
    if not paths:
        pytest.skip(f"no real set with repeated votes under {realdata.DATA}")
    for path in paths:
        out = tmp_path / f"{path.parent.name}.zarr"
        with pytest.raises(InvalidDataError, match="there are several of"):
            import_votes(path, out)
        import_votes(path, out, on_duplicate="last")
        votes = pd.read_parquet(path).drop_duplicates(["task", "annotator"], keep="last")
        votes = votes.sort_values(["task", "annotator"])
        assert as_votes(out) == list(votes.itertuples(index=False, name=None))


MEASURED_IMPORT = """
import resource, sys
from daskal.importing.importer import import_votes
print(import_votes(sys.argv[1], sys.argv[2]).num_votes)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_hold_a_dense_matrix(tmp_path, out):
    num_tasks, num_annotators, each = 1_000_000, 50_000, 3
    rows = np.random.default_rng(0).permutation(num_tasks)
    for vote in range(each):
        annotators = (rows * 7919 + vote * 16_411) % num_annotators
        votes = pd.DataFrame({"task": rows, "annotator": annotators, "label": rows % 10})
        votes.to_parquet(tmp_path / f"{vote}.parquet")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED_IMPORT, str(tmp_path / "*.parquet"), str(out)],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    num_votes, peak_mib = map(int, done.stdout.split())
    assert num_votes == each * num_tasks
    # As bytes of one code each, the matrix would take 46 GiB.
    assert peak_mib < 1536


@pytest.mark.skipif(importlib.util.find_spec("anndata") is None, reason="anndata is not installed")
def test_anndata_reads_the_store(out):
    import anndata
    from anndata.experimental import read_elem_lazy

    import_votes(VOTES, out, tasks=["c", "b", "a"])
    group = zarr.open_group(str(out), mode="r")
    matrix = anndata.io.read_elem(group)
    assert matrix.shape == (3, 3)
    assert matrix.nnz == 4
    assert matrix.data.tolist() == [0, 0, 2, 1]
    assert matrix.toarray().tolist() == [[0, 0, 0], [0, 0, 0], [0, 2, 1]]
    assert read_elem_lazy(group).compute().toarray().tolist() == matrix.toarray().tolist()
    assert anndata.io.read_elem(group["tasks"]).tolist() == ["c", "b", "a"]


@pytest.fixture
def bucket(monkeypatch):
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    options = {
        "key": "the-access-key",
        "secret": "the-secret-key",
        "endpoint_url": f"http://{host}:{port}",
    }
    # moto keeps its buckets for the life of the process.
    request = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(request, timeout=10).close()
    s3fs.S3FileSystem(**options).mkdir("votes")
    yield options
    server.stop()


def test_s3_to_s3_is_the_local_store(tmp_path, bucket):
    import s3fs

    filesystem = s3fs.S3FileSystem(**bucket)
    VOTES.to_parquet(tmp_path / "votes.parquet")
    pd.DataFrame({"task": ["c", "b", "a"]}).to_csv(tmp_path / "tasks.csv", index=False)
    filesystem.put(str(tmp_path / "votes.parquet"), "votes/in/part.parquet")
    filesystem.put(str(tmp_path / "tasks.csv"), "votes/tasks.csv")
    import_votes(VOTES, tmp_path / "local.zarr", tasks=["c", "b", "a"])
    for again in (False, True):
        import_votes(
            "s3://votes/in",
            "s3://votes/labels.zarr",
            tasks="s3://votes/tasks.csv",
            overwrite=again,
            storage_options=bucket,
        )
    with pytest.raises(StoreExistsError):
        import_votes(VOTES, "s3://votes/labels.zarr", storage_options=bucket)
    filesystem.invalidate_cache()
    filesystem.get("votes/labels.zarr", str(tmp_path / "copy.zarr"), recursive=True)
    local, copy = tmp_path / "local.zarr", tmp_path / "copy.zarr"
    files = sorted(path.relative_to(local) for path in local.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
    for file in files:
        assert (local / file).read_bytes() == (copy / file).read_bytes(), file
        assert b"the-secret-key" not in (copy / file).read_bytes()


def test_s3_faults_name_the_place_but_no_secret(out, bucket):
    with pytest.raises(MissingPathError, match="s3://votes/nowhere") as error:
        import_votes("s3://votes/nowhere.parquet", out, storage_options=bucket)
    unreachable = bucket | {
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    with pytest.raises(StorageError, match=re.escape("s3://votes/in.parquet")) as unreached:
        import_votes("s3://votes/in.parquet", out, storage_options=unreachable)
    with pytest.raises(MissingPathError, match="s3://nobucket/labels") as unwritten:
        import_votes(VOTES, "s3://nobucket/labels.zarr", storage_options=bucket)
    for raised in (error, unreached, unwritten):
        assert "the-secret-key" not in str(raised.value)
        assert "the-access-key" not in str(raised.value)
