"""Columns of long-format votes in Arrow, and surveys that merge."""

import datetime
from collections import Counter
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.errors import InputError
from daskal.importing.columns import Survey, Tally, as_column, positions
from daskal.importing.tasks import as_ids
from daskal.names.normal import whole_numbers
from daskal.text import plural


def counts(tally):
    return dict(zip(tally.values.to_pylist(), tally.votes.tolist(), strict=True))


def survey(*tasks):
    frame = pd.DataFrame({"task": list(tasks), "annotator": 1, "label": 0})
    return Survey.from_block(frame, ("task", "annotator", "label"))


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([1, 2], pa.int64(), [1, 2]),
        ([1.0, None], pa.int64(), [1, None]),
        (["a", None], pa.large_string(), ["a", None]),
        (pd.array([2**63], dtype="UInt64"), pa.uint64(), [2**63]),
        (pd.array([5], dtype="UInt64"), pa.int64(), [5]),
        (pd.Categorical(["b", "a", "b"]), pa.large_string(), ["b", "a", "b"]),
        (pd.array(["x"], dtype=pd.ArrowDtype(pa.string())), pa.large_string(), ["x"]),
        ([True, False], pa.large_string(), ["True", "False"]),
    ],
)
def test_columns_come_to_three_types(values, kind, stored):
    column = as_column(pd.Series(values))
    assert column.values.type == kind
    assert column.values.to_pylist() == stored


def test_mixed_columns_name_each_type_once():
    column = as_column(pd.Series([1, "a", 2, 2.5, "b"], dtype=object))
    assert column.values is None
    assert [(kind.name, kind.row, kind.example) for kind in column.kinds] == [
        ("whole numbers", 0, "1"),
        ("text", 1, "'a'"),
        ("values of type float", 3, "2.5"),
    ]


def test_positions_are_those_in_the_index():
    index = pa.array(["c", "a", "b"], pa.large_string())
    assert positions(pa.array(["a", "x", "c", "a"]), index).tolist() == [1, -1, 0, 1]


def test_positions_of_many_values_are_found_in_slices(monkeypatch):
    monkeypatch.setattr("daskal.importing.columns._PROBED", 2)
    index = pa.array([30, 10, 20])
    assert positions(pa.array([10, 20, 30, 40, 10]), index).tolist() == [1, 2, 0, -1, 1]


@given(
    ids=st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        st.lists(st.integers(0, 2**64 - 1), min_size=1),
        st.lists(st.integers(-3, 3), min_size=1),
        st.lists(st.text(max_size=3), min_size=1),
        st.lists(st.sampled_from(["a", "b", "é", "aa"]), min_size=1),
    ),
    step=st.integers(1, 5),
    num_hashes=st.sampled_from([1, 2, 2**64]),
)
def test_repeated_ids_are_named_and_no_others(ids, step, num_hashes):
    """In parts of any size, and where hashes of other ids are the same."""
    hash_array = pd.util.hash_array

    def hashed(values, *, categorize):
        return hash_array(values, categorize=categorize) % np.uint64(num_hashes - 1 or 1)

    repeated = sorted(value for value, count in Counter(ids).items() if count > 1)
    with (
        mock.patch("daskal.importing.tasks.STEP", step),
        mock.patch("pandas.util.hash_array", hashed),
    ):
        if not repeated:
            assert as_ids(ids, "ids").to_pylist() == ids
            return
        with pytest.raises(InputError) as caught:
            as_ids(ids, "ids")
    said = str(caught.value)
    assert (
        f"but {plural(len(repeated), 'occurs', 'occur')} more than once "
        f"({', '.join(map(repr, repeated[:5]))}" in said
    )


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["7", "-1", "0"], [7, -1, 0]),
        (["18446744073709551615"], [2**64 - 1]),
        (["007"], None),
        (["7", "a"], None),
        (["+7"], None),
        (["99999999999999999999"], None),
    ],
)
def test_text_is_a_number_only_as_numbers_are_written(texts, numbers):
    found = whole_numbers(pa.array(texts, pa.large_string()))
    assert (None if found is None else found.to_pylist()) == numbers


def test_merging_counts_votes_and_moves_rows():
    merged = Survey.merge([survey("a", "b", "a"), survey("b", None), survey(None, "c")])
    assert merged.num_votes == 7
    assert counts(merged.task) == {"a": 2, "b": 2, "c": 1}
    assert (merged.task.missing, merged.task.missing_rows) == (2, (4, 5))


def test_merging_keeps_numbers_of_64_bits():
    merged = Survey.merge([survey(1, 2), survey(2**64 - 1, 2)])
    assert counts(merged.task) == {1: 1, 2: 2, 2**64 - 1: 1}


@given(
    blocks=st.lists(
        st.lists(st.one_of(st.none(), st.text("aé0", max_size=3)), min_size=1), min_size=1
    ),
    buckets=st.integers(1, 5),
)
def test_buckets_and_trees_change_nothing(blocks, buckets):
    surveys = [survey(*block) for block in blocks]
    whole = Survey.from_block(
        pd.concat([pd.DataFrame({"task": b, "annotator": 1, "label": 0}) for b in blocks]),
        ("task", "annotator", "label"),
    )
    splits = [one.split(buckets) for one in surveys]
    half = len(surveys) // 2
    merged = []
    for bucket in range(buckets):
        mine = [split[bucket] for split in splits]
        parts = [Survey.merge(part) for part in (mine[:half], mine[half:]) if part]
        merged.append(Survey.merge(parts))
    joined = Survey.join(merged)
    assert joined.num_votes == whole.num_votes
    assert counts(joined.task) == counts(whole.task)
    assert joined.task.missing == whole.task.missing
    assert joined.task.missing_rows == whole.task.missing_rows
    assert joined.task.kinds == whole.task.kinds


@pytest.mark.parametrize("values", [["é", "abc", "", "é"], [2**63, 5, 7, 5]])
def test_a_value_has_one_bucket_wherever_it_stands(values):
    kind = pa.large_string() if isinstance(values[0], str) else pa.uint64()
    array = pa.array(values, kind)
    buckets = [
        Tally(array[start : start + 2], pd.Series([1, 1]).to_numpy(), (), 0, ()).split(4)
        for start in (0, 2)
    ]
    for value in values:
        places = {
            number
            for split in buckets
            for number, bucket in enumerate(split)
            if value in bucket.values.to_pylist()
        }
        assert len(places) == 1


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_equal_moments_are_one_id(unit, zone):
    moments = pd.date_range("2024-01-01", periods=3, tz="UTC")
    held = pd.Series(moments.tz_convert(zone).as_unit(unit))
    assert as_column(held).values.equals(as_column(pd.Series(moments)).values)
    far = pa.array([datetime.datetime(9000, 1, 1)], pa.timestamp("us"))
    kept = as_column(pd.Series(pd.arrays.ArrowExtensionArray(far))).values
    assert kept.to_pylist() == ["9000-01-01 00:00:00.000000"]
