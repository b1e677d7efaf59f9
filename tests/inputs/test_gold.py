from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import zarr

import daskal
from daskal.inputs.gold import open_gold
from daskal.inputs.labels import open_labels

NAN = np.nan
VOTES = np.array([[0, 0, 1], [1, 1, 1], [0, 0, NAN], [1, NAN, 0]])
NAMED = pd.DataFrame(VOTES, index=list("uvwx"))
KNOWN = [1, NAN, 0, NAN]


def codes(given, labels) -> list[float]:
    """The codes of all rows, missing ones NaN, read in two blocks."""
    opened = open_labels(labels, None)
    source = open_gold(given, opened, None)
    edges = [0, 3, 4]
    parts = source.cut(edges).arguments
    found = [source.reader(part, *rows) for part, rows in zip(parts, [(0, 3), (3, 4)], strict=True)]
    values = np.concatenate(found).astype(float)
    return np.where(values >= 0, values, NAN).tolist()


@pytest.mark.parametrize(
    "given",
    [
        np.array([1, NAN, 0, NAN]),
        [1, -1, 0, -1],
        pd.Series([1, -1, 0, -1]),
        pd.DataFrame({"task": [2, 0], "label": [0, 1]}),
        pd.DataFrame({"label": [0, 1, NAN], "task": [2, 0, 1], "more": 0}),
        pd.Series({2: 0, 0: 1}),
    ],
)
def test_rows_without_names(given):
    np.testing.assert_equal(codes(given, VOTES), KNOWN)


@pytest.mark.parametrize(
    "given",
    [
        np.array([1, NAN, 0, NAN]),
        pd.DataFrame({"task": ["w", "u"], "label": [0, 1]}),
        pd.Series({"w": 0, "u": 1}),
        pd.Series({"x": NAN, "w": 0, "v": NAN, "u": 1}),
    ],
)
def test_rows_with_names(given):
    np.testing.assert_equal(codes(given, NAMED), KNOWN)


def test_paths(tmp_path):
    table = pd.DataFrame({"task": ["w", "u"], "label": [0, 1]})
    table.to_csv(tmp_path / "gold.csv", index=False)
    table.to_parquet(tmp_path / "gold.parquet")
    zarr.create_array(tmp_path / "gold.zarr", data=np.array([1, -1, 0, -1], dtype=np.int8))
    for name in ("gold.csv", "gold.parquet", "gold.zarr"):
        np.testing.assert_equal(codes(tmp_path / name, NAMED), KNOWN)


def test_names_of_classes(tmp_path):
    votes = pd.DataFrame(
        {"task": ["u", "v", "v"], "annotator": ["a", "a", "b"], "label": ["cat", "dog", "dog"]}
    )
    with pytest.warns(daskal.DataWarning, match="sorted"):
        daskal.import_votes(votes, out=tmp_path / "votes.zarr")
    opened = open_labels(tmp_path / "votes.zarr", None)
    source = open_gold(pd.DataFrame({"task": ["v"], "label": ["dog"]}), opened, None)
    (part,) = source.cut([0, 2]).arguments
    np.testing.assert_equal(source.reader(part, 0, 2), [NAN, 1])
    with pytest.raises(daskal.DaskalError, match=r"expected labels that are classes .* got 'cow'"):
        open_gold(pd.DataFrame({"task": ["v"], "label": ["cow"]}), opened, None)


@pytest.mark.parametrize(
    ("given", "labels", "said"),
    [
        (np.zeros(3), VOTES, "one class code for each of the 4 rows of labels, got 3"),
        (np.zeros((4, 2)), VOTES, r"expected shape \(N,\), got \(4, 2\)"),
        (np.array(list("abcd")), VOTES, "expected numbers"),
        (pd.DataFrame({"task": [0], "truth": [1]}), VOTES, "expected the columns 'task' and"),
        (pd.DataFrame({"task": [0, 0], "label": [1, 1]}), VOTES, "several of 0"),
        (pd.DataFrame({"task": [4], "label": [1]}), VOTES, "rows of labels, but 1 of 1 is none: 4"),
        (pd.DataFrame({"task": ["z", "u"], "label": 1}), NAMED, "1 of 2 is none: 'z'"),
        (pd.DataFrame({"task": ["u"], "label": 1}), VOTES, "the numbers of rows as tasks"),
        (pd.DataFrame({"task": ["u"], "label": "cat"}), NAMED, "expected class codes"),
    ],
)
def test_what_does_not_fit(given, labels, said):
    with pytest.raises(daskal.DaskalError, match=said):
        codes(given, labels)
