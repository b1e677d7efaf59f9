"""Votes for several classes in long format: the same labels from any file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

import daskal
from daskal.errors import InputError, InvalidDataError, MissingPathError
from daskal.inputs.multi_label import open_multi_labels
from daskal.inputs.probabilities import open_probs
from daskal.inputs.tags import read_tags
from tests.tagkit import dense_labels

PROBS = pd.DataFrame([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5]], columns=["cat", "dog", "fox"])
# Who was asked, and what they chose: (row, annotator, classes).
ANSWERS = [(0, 0, [0]), (1, 0, []), (1, 1, [1, 2])]
EXPECTED = np.array([[[1, 0, 0], [-1, -1, -1]], [[0, 0, 0], [0, 1, 1]]])
CSV, PARQUET, ARROW, FRAME = "csv", "parquet", "arrow", "frame"


def labels_of(given: Any, probs: pd.DataFrame = PROBS) -> Any:
    return open_multi_labels(given, open_probs("pred_probs", probs, None), None)


def matrix(given: Any, probs: pd.DataFrame = PROBS) -> np.ndarray:
    return dense_labels(labels_of(given, probs).source)


def write(frame: pd.DataFrame, folder: Path, name: str, form: str) -> Any:
    """Return a table in some form; lists in CSV are JSON."""
    path = str(folder / f"{name}.{form}")
    if form == FRAME:
        return frame
    if form == CSV:
        if name == "lists":
            frame = frame.assign(label=frame["label"].map(json.dumps))
        frame.to_csv(path, index=False)
    elif form == PARQUET:
        frame.to_parquet(path, index=False)
    else:
        feather.write_feather(pa.Table.from_pandas(frame, preserve_index=False), path)
    return path


def tables_of(answers: list, tasks: list, people: list, classes: list) -> dict[str, pd.DataFrame]:
    """Return answers as lists, and as one line a class beside who was asked."""
    lists = pd.DataFrame(
        [(tasks[row], people[who], [classes[k] for k in chosen]) for row, who, chosen in answers],
        columns=["task", "annotator", "label"],
    )
    lines = lists.explode("label").dropna()
    if all(isinstance(name, int) for name in classes):
        lines["label"] = lines["label"].astype(np.int64)
    return {"lists": lists, "lines": lines, "seen": lists[["task", "annotator"]]}


# Names that a reader of CSV could take for others.
TASKS: list[list[Any]] = [[7, 3], ["007", "7"], ["7", "3"], [2**53 + 1, 2**53 + 3], ["nan", "NA"]]
PEOPLE: list[list[Any]] = [[1, 2], ["01", "1"], ["None", "null"], [-5, 2**53 + 1]]
CLASSES: list[list[Any]] = [["cat", "dog", "fox"], [0, 1, 2], ["nan", "0.50", "True"], [10, 11, 12]]


@settings(max_examples=60, deadline=None)
@given(
    tasks=st.sampled_from(TASKS),
    people=st.sampled_from(PEOPLE),
    classes=st.sampled_from(CLASSES),
    forms=st.tuples(*[st.sampled_from([CSV, PARQUET, ARROW, FRAME])] * 2),
    order=st.permutations(range(3)),
    in_lists=st.booleans(),
)
def test_any_file_and_any_names_are_the_same_labels(
    tmp_path_factory: pytest.TempPathFactory,
    tasks: list,
    people: list,
    classes: list,
    forms: tuple,
    order: list,
    in_lists: bool,
) -> None:
    folder = tmp_path_factory.mktemp("tags")
    probs = PROBS.set_axis(tasks).set_axis(classes, axis=1)
    tables = tables_of([ANSWERS[at] for at in order], tasks, people, classes)
    if in_lists:
        given: Any = write(tables["lists"], folder, "lists", forms[0])
    else:
        votes = write(tables["lines"], folder, "lines", forms[0])
        given = daskal.Tags(votes, write(tables["seen"], folder, "seen", forms[1]))
    labels = labels_of(given, probs)
    found = dense_labels(labels.source)
    by_name = dict(zip(labels.annotator_ids, found.transpose(1, 0, 2), strict=True))
    for name, expected in zip(people, EXPECTED.transpose(1, 0, 2), strict=True):
        np.testing.assert_array_equal(by_name[name], expected)


def test_several_files_are_one_table(tmp_path: Path) -> None:
    tables = tables_of(ANSWERS, [0, 1], ["ann", "bob"], ["cat", "dog", "fox"])
    for form in (CSV, PARQUET):
        parts = [write(tables["lines"][at : at + 2], tmp_path, f"part-{at}", form) for at in (0, 2)]
        seen = write(tables["seen"], tmp_path, "seen", form)
        np.testing.assert_array_equal(matrix(daskal.Tags(parts, seen)), EXPECTED)
        np.testing.assert_array_equal(
            matrix(daskal.Tags(str(tmp_path / f"part-*.{form}"), [seen])), EXPECTED
        )
    mixed = [str(tmp_path / "part-0.csv"), str(tmp_path / "part-2.parquet")]
    with pytest.raises(InputError, match="expected files of one kind, got CSV among others"):
        matrix(daskal.Tags(mixed, seen))


def test_columns_of_other_names_and_an_index() -> None:
    tables = tables_of(ANSWERS, ["a", "b"], ["ann", "bob"], ["cat", "dog", "fox"])
    names = {"task": "photo", "annotator": "who", "label": "tag"}
    votes, seen = (tables[name].rename(columns=names) for name in ("lines", "seen"))
    given = read_tags(daskal.Tags(votes, seen.set_index("photo")), None, tuple(names.values()))
    np.testing.assert_array_equal(matrix(given, PROBS.set_axis(["a", "b"])), EXPECTED)
    # A column of tasks may be called like that of the ids, unless another one is named.
    votes, seen = (
        table.rename(columns={"who": "annotator", "tag": "label"}) for table in (votes, seen)
    )
    given = read_tags(daskal.Tags(votes, seen), None, id_column="photo")
    np.testing.assert_array_equal(matrix(given, PROBS.set_axis(["a", "b"])), EXPECTED)
    with pytest.raises(InputError, match="columns clip, annotator, label in the DataFrame"):
        read_tags(daskal.Tags(votes, seen), None, ("clip", "annotator", "label"), "photo")


def test_numbers_that_were_floats_are_codes() -> None:
    lines = pd.DataFrame({"task": [1, 0, 1], "annotator": [2, 1, 2], "label": [1.0, 0.0, 2.0]})
    seen = pd.DataFrame({"task": [1, 0, 1], "annotator": [1, 1, 2.0]})
    for probs in (PROBS, PROBS.set_axis([0, 1, 2], axis=1)):
        np.testing.assert_array_equal(matrix(daskal.Tags(lines, seen), probs), EXPECTED)


def test_floats_in_csv_are_codes(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("task,annotator,label\n1,2,1.0\n0,1,0.0\n1,2,2.0\n")
    (tmp_path / "s.csv").write_text("task,annotator\n1,1\n0,1\n1,2\n")
    tags = daskal.Tags(tmp_path / "v.csv", tmp_path / "s.csv")
    np.testing.assert_array_equal(matrix(tags), EXPECTED)
    assert labels_of(tags).annotator_ids == (1, 2)


def test_of_several_lists_the_last_one_may_count() -> None:
    tables = tables_of([(0, 0, [1]), *ANSWERS], [0, 1], ["ann", "bob"], ["cat", "dog", "fox"])
    with pytest.raises(InvalidDataError, match="several for task 0 and annotator 'ann'"):
        matrix(tables["lists"])
    kept = read_tags(tables["lists"], None, on_duplicate="last")
    np.testing.assert_array_equal(matrix(kept), EXPECTED)


LINES = pd.DataFrame({"task": [0], "annotator": ["ann"], "label": ["cat"]})


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("['cat']", r"as JSON where they are text.*got \"\['cat'\]\""),
        ('["cat"', "as JSON where they are text"),
        ('"cat"', "a list of classes in each line"),
        ("cat", "not chosen is not told from not asked"),
        (0, "not chosen is not told from not asked"),
    ],
)
def test_what_is_no_list_is_refused(label: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        matrix(LINES.assign(label=[label]))


def test_lists_beside_who_was_asked_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"got lists, which tell that themselves\. Leave out seen="
    ):
        matrix(daskal.Tags(LINES.assign(label=[["cat"]]), LINES))


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(InputError, match=r"votes: expected a DataFrame.*got 5"):
        matrix(daskal.Tags(5))
    with pytest.raises(InputError, match=r"seen: expected a DataFrame.*got 5"):
        matrix(daskal.Tags(LINES, 5))


# --- one column per annotator -----------------------------------------------------------------


@pytest.mark.parametrize("form", [PARQUET, ARROW, "table"])
@pytest.mark.parametrize("has_ids", [True, False])
def test_lists_in_a_file_with_one_column_per_annotator(
    tmp_path: Path, form: str, has_ids: bool
) -> None:
    lists = pd.DataFrame({"ann": [["cat"], []], "bob": [None, ["fox", "dog"]]})
    probs = PROBS
    if has_ids:
        lists.insert(0, "photo", ["a", "b"])
        probs = PROBS.set_axis(["a", "b"])
    given: Any = (
        pa.Table.from_pandas(lists, preserve_index=False)
        if form == "table"
        else write(lists, tmp_path, "wide", form)
    )
    wanted = daskal.Table(given, id_column="photo") if has_ids else given
    labels = labels_of(wanted, probs)
    np.testing.assert_array_equal(dense_labels(labels.source), EXPECTED)
    assert labels.annotator_ids == ("ann", "bob")
    if has_ids:
        assert labels.row_ids.tolist() == ["a", "b"]
        with pytest.raises(
            InputError, match=r"task, annotator, label in .*, or one column of lists for each"
        ):
            labels_of(given, probs)


def test_an_index_and_annotators_that_are_numbers(tmp_path: Path) -> None:
    lists = pd.DataFrame({7: [["cat"], []], 3: [None, ["fox", "dog"]]}, index=["a", "b"])
    lists.to_parquet(tmp_path / "lists.parquet")
    labels = labels_of(tmp_path / "lists.parquet", PROBS.set_axis(["a", "b"]))
    assert labels.annotator_ids == (7, 3)
    assert labels.row_ids.tolist() == ["a", "b"]
    column = lists.rename_axis("photo").reset_index()
    labels = labels_of(daskal.Table(column, id_column="photo"), PROBS)
    np.testing.assert_array_equal(dense_labels(labels.source), EXPECTED)
    assert labels.row_ids.tolist() == ["a", "b"]


# --- where each example has one class ---------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        pd.DataFrame({"ann": [None, ["cat"]], "bob": [np.nan, None]}),
        pd.DataFrame({"ann": [0.0, 1.0], "bob": [None, ("dog",)]}),
        daskal.Tags(LINES),
    ],
)
def test_lists_of_classes_want_multi_label(labels: Any, tmp_path: Path) -> None:
    for ask in (
        lambda: daskal.estimate(labels, PROBS.div(PROBS.sum(axis=1), axis=0)),
        lambda: daskal.aggregate(labels),
        lambda: daskal.run(labels=labels, pred_probs=PROBS, out=tmp_path / "s.zarr"),
    ):
        with pytest.raises(InputError, match=r"got lists of classes\..* pass multi_label=True"):
            ask()
    with pytest.raises(InputError, match=r"got daskal\.Tags\..* pass multi_label=True"):
        daskal.run(votes=daskal.Tags(LINES), pred_probs=PROBS, out=tmp_path / "s.zarr")


def test_errors_do_not_show_secrets(tmp_path: Path) -> None:
    import zarr

    zarr.save_array(tmp_path / "votes.zarr", np.zeros(3))
    with pytest.raises(InputError, match=r"columns task, annotator, label, got Zarr in '.*votes"):
        matrix(daskal.Tags(tmp_path / "votes.zarr"))
    for path in ("memory://me:secret@place/votes.zarr", "memory://me:secret@place/votes.csv"):
        with pytest.raises(daskal.DaskalError) as caught:
            matrix(daskal.Tags(LINES, path))
        assert "secret" not in str(caught.value)


def test_a_path_where_nothing_is(tmp_path: Path) -> None:
    for name in ("votes.csv", "votes.parquet", "votes"):
        with pytest.raises(MissingPathError, match="cannot read"):
            matrix(daskal.Tags(tmp_path / name))
    (tmp_path / "empty").mkdir()
    with pytest.raises(daskal.DaskalError):
        matrix(daskal.Tags(tmp_path / "empty"))
