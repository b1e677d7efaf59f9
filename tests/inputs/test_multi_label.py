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

PROBS = pd.DataFrame([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5]], columns=["cat", "dog", "fox"])


def matrix(given, probs=PROBS):
    """Return the labels of each class, (n, m, k), -1 where an annotator was not asked."""
    labels = open_multi_labels(given, open_probs("pred_probs", probs, None), None)
    source = labels.source
    (argument,) = source.cut([0, labels.num_rows]).arguments
    tags = source.reader(argument, 0, labels.num_rows)
    found = np.full(source.shape, -1)
    rows = np.repeat(np.arange(len(tags)), np.diff(tags.offsets))
    found[rows, tags.annotators] = 0
    votes = np.repeat(np.arange(len(tags.annotators)), np.diff(tags.chosen_offsets))
    found[rows[votes], tags.annotators[votes], tags.chosen] = 1
    return found


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
        with pytest.raises(InputError, match="a list of classes in each line"):
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
            "'cat', 'dog', 'fox', got 1 others: 'cow'",
        ),
        (pd.DataFrame({"ann": [[3], []]}), InvalidDataError, "1 others: 3"),
        (pd.DataFrame({"ann": [[None], []]}), InvalidDataError, "1 others: nan"),
        (LINES, InputError, "not chosen is not told from not asked"),
        (daskal.Tags(LINES, LINES.assign(task=1)), InvalidDataError, "task 0 and annotator 'ann'"),
        (daskal.Tags(LINES, LINES.assign(task=5)), InvalidDataError, "1 votes of others"),
        (LINES.assign(label=[["cat"]], task=9), InputError, r"rows 0 to N - 1 of pred_probs.*9"),
        (daskal.Tags(LINES[["task"]]), InputError, "columns task, annotator, label"),
        (daskal.Tags({"task": [0]}), InputError, "votes as a DataFrame, an Arrow table or a path"),
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
