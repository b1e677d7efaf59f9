"""Lists of classes and long votes: what they mean, and which are refused."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather
from pyarrow import parquet as pq

import daskal
from daskal.errors import InputError, InvalidDataError
from daskal.inputs.multi_label import open_multi_labels
from daskal.inputs.probabilities import open_probs
from tests.tagkit import dense_labels, make_tags

PROBS = pd.DataFrame([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5]], columns=["cat", "dog", "fox"])


def matrix(given, probs=PROBS):
    """Return the labels of each class, (n, m, k), -1 where an annotator was not asked."""
    labels = open_multi_labels(given, open_probs("pred_probs", probs, None), None)
    return dense_labels(labels.source)


EXPECTED = np.array([[[1, 0, 0], [-1, -1, -1]], [[0, 0, 0], [0, 1, 1]]])


def test_lists_in_cells():
    lists = pd.DataFrame({"ann": [["cat"], []], "bob": [None, ["fox", "dog", "dog"]]})
    np.testing.assert_array_equal(matrix(lists), EXPECTED)
    arrays = pd.DataFrame({"ann": [("cat",), set()], "bob": [np.nan, np.array(["fox", "dog"])]})
    np.testing.assert_array_equal(matrix(arrays), EXPECTED)


def test_codes_beside_names_and_without():
    lists = pd.DataFrame({"ann": [[0], []], "bob": [None, [2, 1]]})
    np.testing.assert_array_equal(matrix(lists), EXPECTED)
    np.testing.assert_array_equal(matrix(lists, PROBS.to_numpy()), EXPECTED)
    # Columns that are numbers are the codes of classes, in whatever order.
    moved = PROBS.set_axis([0, 1, 2], axis=1)[[2, 0, 1]]
    np.testing.assert_array_equal(matrix(lists, moved), EXPECTED)


def test_one_line_a_list_and_one_line_a_class():
    column = pd.DataFrame(
        {
            "task": [1, 0, 1, 0],
            "annotator": ["bob", "ann", "ann", "bob"],
            "label": [["dog", "fox"], ["cat"], [], None],
        }
    )
    np.testing.assert_array_equal(matrix(column), EXPECTED)
    lines = pd.DataFrame(
        {"task": [1, 0, 1], "annotator": ["bob", "ann", "bob"], "label": ["dog", "cat", "fox"]}
    )
    seen = pd.DataFrame({"task": [1, 0, 1], "annotator": ["ann", "ann", "bob"]})
    np.testing.assert_array_equal(matrix(daskal.Tags(lines, seen)), EXPECTED)
    np.testing.assert_array_equal(matrix(daskal.Tags(lines, pd.concat([seen, seen]))), EXPECTED)


def test_tasks_are_found_by_id():
    named = PROBS.set_axis(["t7", "t3"])
    column = pd.DataFrame(
        {"task": ["t3", "t7", "t3"], "annotator": [2, 1, 1], "label": [[1, 2], [0], []]}
    )
    np.testing.assert_array_equal(matrix(column, named), EXPECTED)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv"])
def test_long_votes_in_files_and_arrow_tables(tmp_path, ending):
    named = PROBS.set_axis(["t7", "t3"])
    column = pd.DataFrame(
        {"task": ["t3", "t7", "t3"], "annotator": [2, 1, 1], "label": [["dog", "fox"], ["cat"], []]}
    )
    lines = column.explode("label").dropna()
    seen = column[["task", "annotator"]]
    paths = {name: str(tmp_path / f"{name}.{ending}") for name in ("lists", "lines", "seen")}
    for name, frame in (("lists", column), ("lines", lines), ("seen", seen)):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if ending == "parquet":
            pq.write_table(table, paths[name])
        elif ending == "arrow":
            feather.write_feather(table, paths[name])
        else:
            frame.to_csv(paths[name], index=False)
        if (name, ending) == ("lists", "parquet"):
            np.testing.assert_array_equal(matrix(table, named), EXPECTED)
    tags = daskal.Tags(paths["lines"], paths["seen"])
    np.testing.assert_array_equal(matrix(tags, named), EXPECTED)
    if ending == "csv":
        # As pandas writes them: not JSON.
        with pytest.raises(InputError, match="expected lists of classes, as JSON"):
            matrix(paths["lists"], named)
    else:
        np.testing.assert_array_equal(matrix(paths["lists"], named), EXPECTED)


LINES = pd.DataFrame({"task": [0], "annotator": ["ann"], "label": ["cat"]})


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (pd.DataFrame({"ann": [["cat"], "dog"]}), InputError, "lists of classes in the cells"),
        (
            pd.DataFrame({"ann": [["cow"], []]}),
            InvalidDataError,
            "'cat', 'dog', 'fox', got 1 other: 'cow'",
        ),
        (pd.DataFrame({"ann": [[3], []]}), InvalidDataError, "1 other: 3"),
        (pd.DataFrame({"ann": [[None], []]}), InvalidDataError, "1 other: nan"),
        (LINES, InputError, "not chosen is not told from not asked"),
        (daskal.Tags(LINES, LINES.assign(task=1)), InvalidDataError, "task 0 and annotator 'ann'"),
        (daskal.Tags(LINES, LINES.assign(task=5)), InputError, "got 1 other: 5"),
        (LINES.assign(label=[["cat"]], task=9), InputError, r"rows 0 to N - 1 of pred_probs.*9"),
        (daskal.Tags(LINES[["task"]]), InputError, "columns task, annotator, label"),
        (daskal.Tags({"task": [0]}), InputError, "votes: expected a DataFrame, an Arrow table or"),
        (pa.table(LINES[["task"]]), InputError, "columns task, annotator, label in the Table"),
        (pa.table(LINES), InputError, "not chosen is not told from not asked"),
        (dd.from_pandas(LINES, npartitions=1), InputError, r"Pass labels\.compute\(\)"),
        (daskal.Tags(LINES.assign(annotator=None)), InputError, "a task and an annotator"),
        (
            pd.concat([LINES.assign(label=[["cat"]])] * 2),
            InvalidDataError,
            "several for task 0 and annotator 'ann'",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(given, error, said):
    with pytest.raises(error, match=said):
        matrix(given)


# --- arrays and cells of other kinds ----------------------------------------------------------


def scores(labels, probs, **options):
    estimate = daskal.estimate(labels, probs, multi_label=True, **options)
    return np.asarray(daskal.score_labeled(labels, probs, estimate))


def test_objects_are_numbers_or_lists():
    problem = make_tags(50, num_classes=3)
    expected = scores(problem.labels, problem.pred_probs)
    objects = problem.labels.astype(object)
    missing = np.isnan(problem.labels)
    for given in (
        np.where(missing, None, objects),
        np.where(missing, pd.NA, objects),
        np.where(missing, None, objects).tolist(),
        problem.lists().to_numpy(),
    ):
        np.testing.assert_array_equal(scores(given, problem.pred_probs), expected)


@pytest.mark.parametrize("kind", [tuple, frozenset, np.array, pd.Series, pd.Index])
def test_lists_of_any_kind(kind):
    problem = make_tags(51, num_classes=3)
    expected = scores(problem.labels, problem.pred_probs)
    lists = problem.lists()
    made = lists.map(lambda cell: cell if cell is None else kind(np.array(cell, dtype=int)))
    np.testing.assert_array_equal(scores(made, problem.pred_probs), expected)


@pytest.mark.parametrize(
    ("columns", "called"),
    [
        (["0", "1", "2"], ["0", "1", "2"]),
        (["2", "1", "0"], ["2", "1", "0"]),
        (["2", "1", "0"], [2, 1, 0]),
        ([2, 1, 0], ["2", "1", "0"]),
        ([1, 2, 3], [1, 2, 3]),
        ([3, 1, 2], [3.0, 1.0, 2.0]),
        (["b", "c", "a"], ["b", "c", "a"]),
        (["b", "c", "a"], [0, 1, 2]),
        ([0.5, 1.5, 2.5], [0.5, 1.5, 2.5]),
    ],
)
def test_classes_are_found_by_name_or_number(columns, called):
    problem = make_tags(52, num_classes=3)
    probs = pd.DataFrame(problem.pred_probs, columns=columns)
    found = scores(problem.lists(called), probs)
    expected = scores(problem.labels, problem.pred_probs)
    # Columns may have been put in order by their codes, and sums of classes be rounded otherwise.
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_two_classes_called_false_and_true():
    problem = make_tags(53, num_classes=2)
    probs = pd.DataFrame(problem.pred_probs, columns=[False, True])
    expected = scores(problem.labels, problem.pred_probs)
    np.testing.assert_array_equal(scores(problem.lists([False, True]), probs), expected)


@pytest.mark.parametrize(
    ("columns", "called", "said"),
    [
        # Classes called 1 to 3: a 0 is none of them, and 1 and 2 are no codes.
        ([1, 2, 3], [0, 1, 2], "'1', '2', '3', got 1 other: 0"),
        (["a", "b", "c"], ["0", "1", "2"], "classes of pred_probs, 'a', 'b', 'c', got 3 others"),
        ([0, 1, 2], [False, True, 2], "got 2 others: .*'True'"),
        ([0, 1, 2], ["01", 1, 2], "got 1 other: '01'"),
        ([0, 1, 2], [0, 1, 10**30], "got 1 other"),
    ],
)
def test_numbers_are_no_codes_of_classes_called_by_numbers(columns, called, said):
    problem = make_tags(54, num_classes=3)
    probs = pd.DataFrame(problem.pred_probs, columns=columns)
    with pytest.raises(InvalidDataError, match=said):
        scores(problem.lists(called), probs)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_lists_of_zeros_and_ones_are_refused(num_classes):
    problem = make_tags(55, num_classes=num_classes)
    cells = np.empty(problem.labels.shape[:2], dtype=object)
    for place in np.ndindex(cells.shape):
        votes = problem.labels[place]
        cells[place] = None if np.isnan(votes).any() else votes.astype(int).tolist()
    with pytest.raises(InputError, match="zeros and ones each, which look like a vote on every"):
        scores(pd.DataFrame(cells), problem.pred_probs)
    # All of two classes, chosen by everybody, are still lists of classes.
    both = pd.DataFrame({"ann": [[0, 1]], "bob": [[0, 1]]})
    assert scores(both, [[0.5, 0.6]]).shape == (1,)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            pd.DataFrame({"ann": [[["cat"]], []]}),
            r"names or numbers of classes, got \['cat'\] in one",
        ),
        (pd.DataFrame({"ann": [[{"tag": "cat"}], []]}), "Lists do not hold lists or records"),
        (pd.Series([["cat"], []]), r"got a Series of 2 values.*labels\.to_frame"),
        ([[["cat"], None], [[], ["dog"]]], "got nested lists of others. Pass an"),
        (
            np.full((2, 1, 3), "1", dtype=object),
            r"objects of shape \(2, 1, 3\) that are no numbers",
        ),
        (np.zeros((2, 1, 3, 1), dtype=object), "then the K classes, got shape"),
        (pa.chunked_array([[0, 1]]), "a name for each column, got one column"),
    ],
)
def test_what_holds_no_lists_is_refused(labels, said):
    with pytest.raises(InputError, match=said):
        matrix(labels)


def test_ids_that_occur_twice_are_refused():
    votes = pd.DataFrame({"task": ["a"], "annotator": ["ann"], "label": [["cat"]]})
    with pytest.raises(InputError, match="a name of its own for each of its rows, got several"):
        matrix(votes, PROBS.set_axis(["a", "a"]))


@pytest.mark.parametrize(
    "labels", [pd.DataFrame(index=range(2)), pd.DataFrame({"ann": [None] * 2})]
)
def test_nobody_asked(labels):
    with pytest.raises(InvalidDataError, match="expected at least one vote, got none in 2 rows"):
        daskal.estimate(labels, PROBS, multi_label=True)
