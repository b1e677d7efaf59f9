"""Files of votes and tasks: their kinds, their order, and what orders rows and classes."""

import os
import warnings

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr

from daskal.errors import DataWarning, InputError, MissingPathError
from daskal.importing.importer import import_votes
from daskal.tables import delimited
from daskal.tables.kinds import PACKED
from daskal.tables.opening import find_table

CHANGES = pd.DataFrame({"task": 1, "annotator": "a", "label": range(12)})
TASKS = pd.DataFrame({"task": [f"t{number * 5 % 12}" for number in range(12)]})
VOTES = pd.DataFrame({"task": ["b", "a"], "annotator": ["x", "y"], "label": ["no", "yes"]})


def stored(path, name):
    return zarr.open_group(str(path), mode="r")[name][:].tolist()


def write(table, kind, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        table.to_parquet(path)
    elif kind == "npy":
        np.save(path, table["task"].to_numpy(dtype="U"))
    else:
        table.to_csv(path, index=False)


def parts_of(table, kind, form, folder):
    """Write each row as a file of its own; return how to pass them all."""
    inner = {"nested": "{0}/part", "hive": "day={0}/part"}.get(form, "part.{0}")
    for place in range(len(table)):
        name = f"{inner.format(place)}.{kind}"
        write(table.iloc[place : place + 1], kind, folder / name)
    globs = {"glob": f"{folder}/*.{kind}", "url": f"file://{folder}/*.{kind}"}
    if form == "list":
        return [f"{folder}/part.{place}.{kind}" for place in range(len(table))]
    if form == "globs":
        return [f"{folder}/part.?.{kind}", f"{folder}/part.1?.{kind}"]
    return globs.get(form, folder)


FORMS = ["folder", "glob", "url", "list", "globs", "nested", "hive"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_the_last_vote_is_that_of_the_last_file(tmp_path, form, kind):
    given = parts_of(CHANGES, kind, form, tmp_path / "votes")
    import_votes(given, tmp_path / "o.zarr", on_duplicate="last")
    assert stored(tmp_path / "o.zarr", "data") == [11]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["csv", "parquet", "npy"])
def test_tasks_are_read_file_by_file(tmp_path, form, kind):
    given = parts_of(TASKS, kind, form, tmp_path / "tasks")
    import_votes(VOTES.assign(task="t0"), tmp_path / "o.zarr", tasks=given)
    assert stored(tmp_path / "o.zarr", "tasks") == TASKS["task"].tolist()


def test_a_list_of_files_stays_in_its_order(tmp_path):
    write(CHANGES[5:], "csv", tmp_path / "a.csv")
    write(CHANGES[:5], "csv", tmp_path / "z.csv")
    given = [tmp_path / "a.csv", tmp_path / "z.csv"]
    import_votes(given, tmp_path / "o.zarr", on_duplicate="last")
    assert stored(tmp_path / "o.zarr", "data") == [4]


def test_names_of_files_that_are_not_there_are_ids(tmp_path):
    votes = VOTES.assign(task=["1.csv", "2.csv"])
    import_votes(votes, tmp_path / "o.zarr", tasks=["2.csv", "1.csv"])
    assert stored(tmp_path / "o.zarr", "tasks") == ["2.csv", "1.csv"]


@pytest.mark.parametrize(
    "make",
    [
        lambda ids: pd.DataFrame({"other": 0, "task": ids}),
        lambda ids: pd.DataFrame({"name": ids}),
        lambda ids: pd.DataFrame({"other": 0}, index=pd.Index(ids, name="task")),
        lambda ids: dd.from_pandas(pd.DataFrame({"other": 0, "task": ids}), 2, sort=False),
    ],
    ids=["column", "only", "index", "dask"],
)
def test_tasks_may_be_a_table(tmp_path, make):
    import_votes(VOTES, tmp_path / "o.zarr", tasks=make(["b", "c", "a"]))
    assert stored(tmp_path / "o.zarr", "tasks") == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"a", "b"}, "order of the rows, got a set"),
        ({"a": 0, "b": 1}, "order of the rows, got a dict"),
        (pd.DataFrame({"x": ["a"], "y": ["b"]}), "a column 'task', or one column in all"),
        (np.ma.masked_array([1, 2], [False, True]), "1 of 2 is missing"),
    ],
    ids=["set", "dict", "columns", "masked"],
)
def test_tasks_without_order_or_column(tmp_path, tasks, message):
    with pytest.raises(InputError, match=message):
        import_votes(VOTES, tmp_path / "o.zarr", tasks=tasks)


# --- folders that are columns -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("names", "ids"), [(["10", "9"], [9, 10]), (["010", "a b"], ["010", "a b"])]
)
def test_folders_may_be_a_column(tmp_path, kind, names, ids):
    for name, task in zip(names, VOTES["task"], strict=True):
        folder = tmp_path / "votes" / f"annotator={name.replace(' ', '%20')}"
        write(pd.DataFrame({"task": [task], "label": [0]}), kind, folder / f"p.{kind}")
    import_votes(tmp_path / "votes", tmp_path / "o.zarr")
    assert stored(tmp_path / "o.zarr", "annotators") == ids


def test_tasks_may_be_folders(tmp_path):
    for name in ("b", "a"):
        write(pd.DataFrame({"x": [0], "y": [1]}), "parquet", tmp_path / f"t/task={name}/p.parquet")
    import_votes(VOTES, tmp_path / "o.zarr", tasks=tmp_path / "t")
    assert stored(tmp_path / "o.zarr", "tasks") == ["a", "b"]


def test_stores_in_a_folder_are_left_aside(tmp_path):
    folder = tmp_path / "mine"
    write(VOTES, "parquet", folder / "v.parquet")
    import_votes(folder, folder / "sub" / "labels.zarr")
    import_votes(folder, folder / "sub" / "labels.zarr", overwrite=True)
    assert stored(folder / "sub" / "labels.zarr", "tasks") == ["a", "b"]
    with pytest.raises(InputError, match="which is a Zarr store"):
        import_votes(folder / "sub" / "labels.zarr", tmp_path / "o.zarr")
    (folder / "v.parquet").unlink()
    with pytest.raises(MissingPathError, match="no file under"):
        import_votes(folder, tmp_path / "o.zarr")


# --- other files ------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["votes", "tasks"])
@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("v.txt", b"", r"Name it \.csv"),
        ("v.csv.zip", b"", r"name it \.csv\.gz"),
        ("v.xlsx", b"", "read_excel"),
        ("v.feather", b"", "is empty"),
        ("v.pkl", b"", "read_pickle"),
        ("v.csv.zst", b"", r"compressed in a way that is not read.*\.csv\.gz"),
        ("v", "task,annotator,label\nä,b,1\n".encode(), r"is text\. Name it \.csv"),
        ("v", b'{"task": 1}', "is JSON.*read_json"),
        ("v.parquet", b"ARROW1 and more than twelve bytes", "holds Arrow"),
        ("v", b"PK\x03\x04 and more than twelve bytes", "ZIP"),
        ("v", b"\x1f\x8b and more than twelve bytes", r"is compressed.*\.csv\.gz"),
        ("v", "task,annotator,label".encode("utf-16"), "UTF-16"),
        ("v.png", b"\x89PNG and more than twelve bytes", "none of them"),
        ("v", b"", "is empty"),
    ],
)
def test_what_is_no_table_gets_advice_that_fits(tmp_path, argument, name, content, advice):
    (tmp_path / name).write_bytes(content)
    given = {"votes": VOTES, argument: tmp_path / name}
    with pytest.raises(InputError, match=f"{argument}: expected (Parquet|data).*{advice}") as error:
        import_votes(**given, out=tmp_path / "o.zarr")
    assert "magic" not in str(error.value)


def test_tasks_in_json_get_advice_that_fits(tmp_path):
    (tmp_path / "t.jsonl.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"tasks: expected Parquet, .*read_json"):
        import_votes(VOTES, tmp_path / "o.zarr", tasks=tmp_path / "t.jsonl.gz")


def test_csv_in_utf_16(tmp_path):
    VOTES.to_csv(tmp_path / "v.csv", index=False, encoding="utf-16")
    with pytest.raises(InputError, match="UTF-8"):
        import_votes(tmp_path / "v.csv", tmp_path / "o.zarr")


def test_files_of_two_kinds(tmp_path):
    write(VOTES, "csv", tmp_path / "v" / "a.csv")
    write(VOTES, "parquet", tmp_path / "v" / "b.parquet")
    with pytest.raises(InputError, match=r"one kind, got CSV \(.*a\.csv\) and Parquet"):
        import_votes(tmp_path / "v", tmp_path / "o.zarr")


@pytest.mark.parametrize("part_bytes", [60, 100, 150, 222])
@pytest.mark.parametrize("name", ["v.csv", *(f"v.csv{packed}" for packed in PACKED)])
def test_csv_with_line_breaks_in_cells_is_read_in_parts(tmp_path, monkeypatch, part_bytes, name):
    monkeypatch.setattr(delimited, "PART_BYTES", part_bytes)
    monkeypatch.setattr(delimited, "PACKED_PART_BYTES", part_bytes)
    votes = pd.DataFrame({"task": range(20), "annotator": "x", "label": 0, "text": "a\nb,c\n" * 5})
    votes.to_csv(tmp_path / name, index=False)
    found = find_table("votes", str(tmp_path / name), None)
    assert len(found.open_table("votes").edges) > 2
    assert import_votes(tmp_path / name, tmp_path / "o.zarr").num_votes == 20
    assert stored(tmp_path / "o.zarr", "tasks") == list(range(20))


def test_quotes_in_the_midst_of_a_field_are_letters(tmp_path):
    lines = [f'{row},x,0,it is {row}" wide' for row in range(3)]
    lines += ['3,x,0,"a ""quoted"" one, with a\nbreak"', '4,x,0,the "best" one']
    (tmp_path / "v.csv").write_text("\n".join(["task,annotator,label,text", *lines]))
    assert import_votes(tmp_path / "v.csv", tmp_path / "o.zarr").num_votes == 5


# --- orders -----------------------------------------------------------------------------------


def imported(votes, out, **options):
    """The summary of an import, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        summary = import_votes(votes, out, **options)
    return summary, [str(each.message) for each in caught]


def test_orders_that_nobody_asked_for_are_said(tmp_path):
    summary, said = imported(VOTES, tmp_path / "o.zarr")
    assert (summary.task_order, summary.class_order) == ("sorted as text", "sorted as text")
    assert "rows are the 2 tasks met in the votes, sorted as text ('a', 'b')" in said[0]
    assert "classes are the 2 labels met in the votes, sorted as text ('no', 'yes')" in said[1]
    assert "Pass tasks, their ids in the order of the probabilities" in said[0]
    assert "Pass classes, all of them in the order of the probabilities' columns" in said[1]


def test_given_orders_are_no_warning(tmp_path):
    given = {"tasks": ["b", "a"], "classes": ["yes", "no"]}
    summary, said = imported(VOTES, tmp_path / "o.zarr", **given)
    assert (summary.task_order, summary.class_order, said) == ("as given", "as given", [])


def test_numbers_are_sorted_by_value(tmp_path):
    votes = pd.DataFrame({"task": [10, 9], "annotator": "x", "label": ["10", "9"]})
    summary, said = imported(votes, tmp_path / "o.zarr")
    assert (summary.task_order, summary.class_order) == ("sorted by value", "sorted by value")
    assert summary.classes == ("9", "10")
    assert len(said) == 2


@pytest.mark.parametrize("form", ["frame", "dask", "parquet"])
def test_ordered_categories_keep_their_order(tmp_path, form):
    levels = pd.CategoricalDtype(["low", "medium", "high"], ordered=True)
    labels = pd.Series(["high", "low", "high"]).astype(levels)
    votes = pd.DataFrame({"task": [0, 1, 2], "annotator": "x", "label": labels})
    if form == "dask":
        votes = dd.from_pandas(votes, npartitions=2)
    elif form == "parquet":
        dd.from_pandas(votes, npartitions=2).to_parquet(tmp_path / "v", write_index=False)
        votes = tmp_path / "v"
    summary, said = imported(votes, tmp_path / "o.zarr", tasks=[0, 1, 2])
    assert summary.classes == ("low", "medium", "high")
    assert summary.class_order == "as the ordered categories of the column"
    assert said == []
    assert stored(tmp_path / "o.zarr", "data") == [2, 0, 2]


def test_unordered_categories_are_sorted(tmp_path):
    votes = VOTES.assign(label=VOTES["label"].astype(pd.CategoricalDtype(["yes", "no"])))
    assert imported(votes, tmp_path / "o.zarr")[0].classes == ("no", "yes")
    assert os.path.exists(tmp_path / "o.zarr")
