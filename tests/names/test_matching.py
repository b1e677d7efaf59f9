"""Names of rows, classes and annotators: small examples, then any names in any container."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daskal.errors import InputError
from daskal.names import naming, rows
from daskal.names.columns import match_annotators, match_classes
from daskal.names.naming import in_class_order, in_natural_order, own_names
from daskal.names.normal import as_index, comparable, normal
from daskal.names.rows import Side, find, match_rows

BIG = 2**63


class Stored:
    """Names in storage: they can only be sliced."""

    def __init__(self, index: pd.Index) -> None:
        self.index = index
        self.most = 0

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: slice) -> pd.Index:
        part = self.index[rows]
        self.most = max(self.most, len(part))
        return part


def side(argument: str, values, **more) -> Side:
    index = None if values is None else values if isinstance(values, Stored) else as_index(values)
    return Side(
        argument,
        more.pop("count", len(values or ()) if index is None else len(index)),
        index,
        **more,
    )


# --- what counts as names ---------------------------------------------------------------------


def test_only_a_default_index_is_no_name():
    frame = pd.DataFrame(np.zeros((6, 2)))
    assert own_names("labels", "rows", frame.index) is None
    assert own_names("labels", "rows", frame.iloc[::2].index).tolist() == [0, 2, 4]
    assert own_names("labels", "rows", frame.iloc[1:].index).tolist() == [1, 2, 3, 4, 5]
    assert own_names("labels", "rows", frame.iloc[::-1].index).tolist() == [5, 4, 3, 2, 1, 0]
    assert own_names("labels", "rows", pd.Index([0, 1, 2], dtype="int64")).tolist() == [0, 1, 2]


def test_columns_of_pivot_are_the_annotators():
    votes = pd.DataFrame({"task": [1, 1], "annotator": ["b", "a"], "label": [0, 1]})
    wide = votes.pivot(index="task", columns="annotator")
    assert own_names("labels", "annotators", wide.columns).tolist() == ["a", "b"]
    both = pd.concat({"x": wide["label"], "y": wide["label"]}, axis=1)
    assert own_names("labels", "annotators", both.columns).tolist()[0] == ("x", "a")
    rows = pd.MultiIndex.from_product([["doc"], [1, 2]])
    assert own_names("labels", "rows", rows).tolist() == [("doc", 1), ("doc", 2)]


@pytest.mark.parametrize(
    "index",
    [
        pd.Index([1.0, np.nan]),
        pd.Index(["a", None]),
        pd.Index(["a", pd.NA], dtype="string[pyarrow]"),
        pd.Index([1, pd.NA], dtype="Int64"),
        pd.Index([1, None], dtype="int64[pyarrow]"),
        pd.Index([1.0, np.nan], dtype="float64[pyarrow]"),
        pd.DatetimeIndex(["2024-01-01", pd.NaT]),
        pd.CategoricalIndex(["a", None]),
        pd.MultiIndex.from_arrays([["a", "b"], [1, None]]),
        pd.Index([1, decimal.Decimal("nan")], dtype=object),
    ],
)
def test_a_missing_name_is_an_error_that_says_where(index):
    with pytest.raises(InputError, match=r"^labels: .* missing at place 1 "):
        own_names("labels", "rows", index)


def test_rounded_ids_are_refused():
    with pytest.raises(
        InputError, match=r"^ids: .*float64 with 1.2345678901234568e\+18 at place 1"
    ):
        naming.check_names("ids", "rows", as_index(np.array([1.0, 1234567890123456789.0])))
    naming.check_names("ids", "rows", as_index([2.0**53, 0.5, np.inf]))


def test_as_index_keeps_whole_numbers_beside_a_missing_one():
    assert as_index([BIG - 1, None]).tolist() == [BIG - 1, None]
    assert as_index([(1, 2), (3, 4)]).tolist() == [(1, 2), (3, 4)]
    assert as_index(np.ma.masked_array([1, 2], [False, True])).tolist() == [1, None]
    assert as_index(pa.array([BIG + 1], pa.uint64())).tolist() == [BIG + 1]
    assert as_index(np.array(["a", "bc"], dtype=np.dtypes.StringDType())).tolist() == ["a", "bc"]
    assert as_index([]).tolist() == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], ["1", "2"]),
        ([1, 0], [True, False]),
        ([b"a", b"b"], ["a", "b"]),
        ([2**53 + 1, 0], [2.0**53, 0.0]),
        ([pd.Timestamp("2024"), 1], [pd.Timestamp("2024", tz="UTC"), 1]),
        ([(1, "a")], [(1, "b")]),
        ([2.0**60, 0.5], [2**60, 0.5]),
        ([BIG, BIG + 1], [float(BIG), float(BIG)]),
        ([-1], [2 * BIG - 1]),
        ([BIG - 1], [BIG]),
        ([np.int64(-1), np.uint64(BIG)], [2 * BIG - 1, BIG]),
    ],
)
def test_other_values_are_other_names(one, other):
    a, b = comparable(as_index(one), as_index(other))
    assert (a != b).any()
    assert -1 in find(as_index(one), as_index(other))
    assert -1 in find(as_index(other), as_index(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [1.0, 2.0]),
        ([1, 2], pd.Index([1, 2], dtype="Int8")),
        ([BIG + 1, 1], pd.Index([BIG + 1, 1], dtype="uint64[pyarrow]")),
        ([1, 2], pd.Index([1, 2], dtype="Float64")),
        ([1, 2], [decimal.Decimal(1), decimal.Decimal("2.00")]),
        ([-1, BIG], [np.int64(-1), np.uint64(BIG)]),
        ([0.5, 3], [np.float32(0.5), 3.0]),
        (["a"], pd.CategoricalIndex(["a"])),
        (["a"], np.array(["a"], dtype="<U7")),
        ([b"a"], np.array([b"a"], dtype="S7")),
        (
            [pd.Timestamp("2024", tz="UTC")],
            [
                datetime.datetime(
                    2024, 1, 1, 9, tzinfo=datetime.timezone(datetime.timedelta(hours=9))
                )
            ],
        ),
        ([pd.Timestamp("2024")], np.array(["2024-01-01"], dtype="M8[s]")),
        ([pd.Timestamp("1024")], np.array(["1024-01-01"], dtype="M8[D]")),
        ([pd.Timedelta(3, "s")], [datetime.timedelta(seconds=3)]),
        (pd.MultiIndex.from_tuples([("a", 1)]), [("a", 1.0)]),
    ],
)
def test_equal_values_are_equal_names(one, other):
    a, b = comparable(as_index(one), as_index(other))
    assert (a == b).all()
    assert find(as_index(one), as_index(other)).tolist() == list(range(len(other)))


def test_repeated_names_of_annotators_are_refused():
    with pytest.raises(InputError, match=r"labels: .* several called 'a'"):
        naming.plain_names("labels", "annotators", pd.Index(["a", "b", "a"]))
    with pytest.raises(InputError, match="several called"):
        naming.plain_names("labels", "annotators", as_index([1, 1.0]))
    with pytest.raises(InputError, match="several called"):
        naming.class_texts("pred_probs", as_index([1, "1"]))


def test_plain_names_are_equal_for_equal_names():
    day = pd.date_range("2024", periods=2, tz="UTC")
    one = naming.plain_names("labels", "annotators", day)
    assert one == naming.plain_names("labels", "annotators", day.tz_convert("Asia/Tokyo"))
    assert naming.plain_names("l", "annotators", as_index([1.0, 2.0])) == (1, 2)
    assert naming.plain_names("l", "annotators", pd.Index([BIG + 1], dtype="uint64")) == (BIG + 1,)
    assert naming.plain_names("l", "annotators", as_index([True, b"a", 0.5])) == (
        "True",
        "b'a'",
        "0.5",
    )


def test_order_of_classes_and_files():
    assert in_class_order(["10", "0", "2", "1"]) == ("0", "1", "2", "10")
    assert in_class_order(["1.0", "-1", "0.5", "+2"]) == ("-1", "0.5", "1.0", "+2")
    assert in_class_order(["b", "10", "2"]) == ("10", "2", "b")
    assert in_class_order(["yes", "No"]) == ("No", "yes")
    assert in_natural_order(["p.10", "p.9", "p.09", "q", "p/2/x", "p/10/x"]) == [
        "p.09",
        "p.9",
        "p.10",
        "p/2/x",
        "p/10/x",
        "q",
    ]
    assert in_natural_order(["10", "a", "9"]) == ["9", "10", "a"]


# --- rows -------------------------------------------------------------------------------------


def test_rows_in_one_order_need_nothing():
    found = match_rows(side("labels", [3, 1]), side("pred_probs", np.array([3, 1], dtype=np.uint8)))
    assert found.order is None
    assert found.names.tolist() == [3, 1]


def test_rows_in_another_order_are_moved_or_refused():
    left, right = side("labels", ["a", "b", "c"]), side("pred_probs", ["c", "a", "b"])
    assert match_rows(left, right, movable=True).order.tolist() == [1, 2, 0]
    with pytest.raises(
        InputError, match=r"^pred_probs: .* the same rows in another order: row 0 is 'a' and 'c'"
    ):
        match_rows(left, right)


def test_other_rows_are_refused_with_both_sides():
    left, right = side("labels", ["a", "b", "c"]), side("pred_probs", ["c", "a", "x"])
    for movable in (True, False):
        with pytest.raises(
            InputError, match=r"^pred_probs: .*labels alone has 'b' and pred_probs alone has 'x'"
        ):
            match_rows(left, right, movable=movable)
    with pytest.raises(InputError, match=r"labels alone has 'b', 'c' .*\(3 and 1 rows\)"):
        match_rows(left, side("pred_probs", ["a"]))
    with pytest.raises(InputError, match="whole numbers there and text here"):
        match_rows(side("labels", [1, 2]), side("pred_probs", ["1", "2"]), movable=True)


def test_rows_without_names_go_by_place_if_there_are_as_many():
    named, bare = side("labels", [5, 4]), side("pred_probs", None, count=2)
    assert match_rows(named, bare).names.tolist() == [5, 4]
    assert match_rows(bare, named).order is None
    with pytest.raises(InputError, match="2 and 3 rows"):
        match_rows(named, side("pred_probs", None, count=3))


def test_a_default_index_beside_its_own_numbers_shuffled_is_refused():
    default = Side.from_index("labels", "rows", pd.RangeIndex(3))
    with pytest.raises(InputError, match="sort_index"):
        match_rows(default, side("pred_probs", [2, 0, 1]))
    with pytest.raises(InputError, match="sort_index"):
        match_rows(side("labels", pd.RangeIndex(2, -1, -1)), default)
    assert match_rows(default, side("pred_probs", [5, 0, 1])).order is None
    assert match_rows(side("labels", None, count=3), side("pred_probs", [2, 0, 1])).order is None


def test_repeated_rows_must_stand_in_one_order():
    twice = side("labels", ["a", "a", "b"])
    assert match_rows(twice, side("pred_probs", ["a", "a", "b"]), movable=True).order is None
    with pytest.raises(InputError, match="one name"):
        match_rows(twice, side("pred_probs", ["a", "b", "a"]), movable=True)
    with pytest.raises(InputError, match="alone has"):
        match_rows(twice, side("pred_probs", ["a", "b", "c"]))
    with pytest.raises(InputError):
        match_rows(twice, side("pred_probs", ["b", "a", "c"]), movable=True)


def test_stored_rows_are_read_in_slices(monkeypatch):
    monkeypatch.setattr(naming, "STEP", 4)
    stored = Stored(pd.Index(range(100, 111)))
    right = side("pred_probs", np.arange(100, 111)[::-1])
    assert match_rows(side("labels", stored), right, movable=True).order.tolist() == list(
        range(10, -1, -1)
    )
    assert match_rows(side("labels", stored), side("pred_probs", stored)).order is None
    assert stored.most <= 4
    moved = Stored(pd.Index([*range(100, 108), 110, 109, 108]))
    with pytest.raises(InputError, match="row 8 is 108 and 110"):
        match_rows(side("labels", stored), side("pred_probs", moved), movable=True)


# --- classes ----------------------------------------------------------------------------------


def test_classes_are_put_in_order():
    found = match_classes(side("labels", ["no", "yes"]), side("pred_probs", ["yes", "no"]))
    assert found.order.tolist() == [1, 0]
    assert found.names == ("no", "yes")
    found = match_classes(side("labels", ["1", "2"]), side("pred_probs", [2.0, 1.0]))
    assert (found.order.tolist(), found.names) == ([1, 0], ("1", "2"))


def test_fewer_class_names_than_columns_are_refused_with_both_numbers():
    with pytest.raises(
        InputError, match=r"labels has 2 classes \('no', 'yes'\), pred_probs 3\. .*classes="
    ):
        match_classes(side("labels", ["no", "yes"]), side("pred_probs", None, count=3))
    with pytest.raises(InputError, match="labels alone has 'no'; pred_probs alone has 'maybe'"):
        match_classes(side("labels", ["no", "yes"]), side("pred_probs", ["maybe", "yes"]))


def test_columns_called_by_codes():
    bare = side("labels", None, count=3)
    for columns in ([2, 0, 1], ["2", "0", "1"]):
        found = match_classes(bare, side("pred_probs", columns))
        assert (found.order.tolist(), found.names) == ([1, 2, 0], ("0", "1", "2"))
    assert match_classes(bare, bare).names is None
    found = match_classes(side("labels", ["a", "b", "c"]), side("pred_probs", [2, 0, 1]))
    assert (found.order.tolist(), found.names) == ([1, 2, 0], ("a", "b", "c"))
    with pytest.raises(InputError, match="alone has"):
        match_classes(side("labels", ["a", "b", "c"]), side("pred_probs", ["2", "0", "1"]))
    # The order of the labels' classes is that of their codes, whatever they are called.
    assert (
        match_classes(side("labels", ["1", "0"]), side("pred_probs", None, count=2)).order is None
    )
    assert match_classes(side("labels", ["1", "0"]), side("pred_probs", [0, 1])).order.tolist() == [
        1,
        0,
    ]
    found = match_classes(side("labels", None, count=2), side("pred_probs", [True, False]))
    assert (found.order.tolist(), found.names) == ([1, 0], ("False", "True"))
    for texts in (["1", "0"], [1, 0], [True, False]):
        again = match_classes(side("estimate", list(found.names)), side("pool", texts))
        assert (again.order.tolist(), again.names) == ([1, 0], found.names)


@pytest.mark.parametrize("columns", [["0", "3", "1"], [0, 3, 1], ["a", "b", "c"], [1, 2, 3]])
def test_names_that_are_codes_are_names(columns):
    known = side("estimate", ["0", "1", "2"])
    with pytest.raises(InputError, match=r"estimate alone has .*; pool alone has"):
        match_classes(known, side("pool", columns))
    found = match_classes(known, side("pool", ["2", "0", "1"]))
    assert (found.order.tolist(), found.names) == ([1, 2, 0], ("0", "1", "2"))
    assert match_classes(known, side("pool", None, count=3)).order is None


def test_a_pool_without_names_beside_probabilities_that_were_moved():
    with pytest.raises(InputError, match=r"^pred_probs_unlabeled: expected named columns"):
        match_classes(
            side("pred_probs", ["a", "b"], moved=True), side("pred_probs_unlabeled", None, count=2)
        )


# --- annotators -------------------------------------------------------------------------------


def test_annotators_are_found_by_name():
    found = match_annotators(side("estimate", [0, 1, 2]), side("labels", pd.RangeIndex(0, 6, 2)))
    assert found.places.tolist() == [0, 2, -1]
    assert found.unknown == (4,)
    assert "does not know 1 annotator(s) of 3, who get the mean weight: 4." in found.note
    found = match_annotators(side("estimate", ["7", "8"]), side("labels", [7, 8]))
    assert "it knows none of them" in found.note
    assert "Its names are text, these are whole numbers." in found.note
    assert match_annotators(side("estimate", [1, 2]), side("labels", [1, 2])).order is None
    assert match_annotators(side("estimate", [1, 2, 3]), side("labels", [1, 2])).order.tolist() == [
        0,
        1,
    ]


def test_annotators_without_names_go_by_place_if_there_are_as_many():
    bare = side("estimate", None, count=3)
    assert match_annotators(bare, side("labels", ["a", "b", "c"])).order is None
    with pytest.raises(
        InputError, match="the 3 annotators of estimate, got 2, and estimate has no names"
    ):
        match_annotators(bare, side("labels", ["a", "b"]))
    with pytest.raises(InputError, match="no order of columns"):
        match_annotators(bare, side("labels", [2, 0, 1]))
    with pytest.raises(InputError, match="several called"):
        match_annotators(bare, side("labels", ["a", "a", "b"]))


def test_unknown_names():
    assert rows.unknown_names(["a", "x"], pd.Index(["a"]), Stored(pd.Index(["b"]))).tolist() == [
        "x"
    ]
    assert rows.unknown_names([1, 2.0], pd.Index(["a"]), pd.Index([2, 3])).tolist() == [1]
    assert len(rows.unknown_names([], pd.Index(["a"]))) == 0


# --- any names, any order, any container ------------------------------------------------------

edges = st.integers(-3, 3)
ints = (
    edges
    | edges.map(lambda n: BIG - 4 + n)
    | edges.map(lambda n: n - BIG + 4)
    | edges.map(lambda n: 2**53 + n)
)
uints = st.integers(0, 3) | st.integers(BIG - 2, BIG + 3) | st.integers(2 * BIG - 4, 2 * BIG - 1)
texts = st.sampled_from(
    ["", "0", "1", "01", "1.0", "NA", "nan", "null", "é", "é", "a", "A", " a"]
) | st.text(max_size=3)
times = st.integers(-(10**6), 10**6).map(
    lambda n: pd.Timestamp("2024", tz="UTC") + pd.Timedelta(n, "ms")
)
mixed = edges | st.booleans() | st.sampled_from(["1", "a", b"1", 0.5, 1.5, (1, "a"), (1, "b")])
KINDS = {
    "int": ints,
    "uint": uints,
    "text": texts,
    "time": times,
    "mixed": mixed,
    "bytes": st.binary(min_size=1, max_size=3),
    "half": st.integers(-6, 6).map(lambda n: n / 2),
}


def spelled(value):
    """Return what a value is, written from scratch as the tests' reference."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int | float):
        return "number", value
    return type(value).__name__, value


def containers(kind, values):
    """Return the same values in all kinds of containers."""

    def make():
        yield as_index(values)
        yield (
            pd.CategoricalIndex(
                pd.Categorical(as_index(values), categories=as_index(values).unique())
            )
            if kind != "mixed"
            else as_index(values)
        )
        if kind in ("int", "uint"):
            low, high = min(values, default=0), max(values, default=0)
            if low >= -BIG and high < BIG:
                yield pd.Index(np.array(values, dtype=np.int64))
                yield pd.Index(pd.array(np.array(values, dtype=np.int64), dtype="Int64"))
                yield pd.Index(pd.array(values, dtype="int64[pyarrow]"))
                yield as_index(pa.chunked_array([pa.array(values, pa.int64())]))
            if low >= 0:
                yield pd.Index(np.array(values, dtype=np.uint64))
                yield pd.Index(pd.array(np.array(values, dtype=np.uint64), dtype="UInt64"))
                yield pd.Index(pd.array(values, dtype="uint64[pyarrow]"))
            if all(abs(v) < 2**53 for v in values):
                yield pd.Index(np.array(values, dtype=np.float64))
                yield as_index([decimal.Decimal(v) for v in values])
            yield as_index([np.int64(v) if v < BIG else np.uint64(v) for v in values])
        if kind == "text":
            yield pd.Index(values, dtype="str")
            yield pd.Index(values, dtype="string[python]")
            yield pd.Index(pd.array(values, dtype=pd.ArrowDtype(pa.large_string())))
            yield as_index(pa.array(values, pa.string()).dictionary_encode())
            if not any(v.endswith("\0") for v in values):
                yield as_index(np.array(values, dtype=str))
            yield as_index(np.array(values, dtype=np.dtypes.StringDType()))
        if kind == "time" and values:
            index = pd.DatetimeIndex(values)
            yield index
            yield index.tz_convert("Asia/Tokyo").as_unit("ms")
            yield as_index([v.to_pydatetime() for v in values])
            yield pd.Index(
                pd.array(index, dtype=pd.ArrowDtype(pa.timestamp("us", tz="America/Lima")))
            )
        if kind == "bytes":
            yield as_index(pa.array(values, pa.binary()))
            if not any(v.endswith(b"\0") for v in values):
                yield as_index(np.array(values, dtype="S3"))
        if kind == "half":
            yield pd.Index(np.array(values, dtype=np.float32))
            yield pd.Index(pd.array(values, dtype="Float64"))

    return list(make())


@st.composite
def two_sides(draw, *, unique=True, least=0):
    """Draw names of one kind, in two sets or orders and two kinds of container."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    values = draw(
        st.lists(KINDS[kind], max_size=7, min_size=least, unique_by=spelled if unique else None)
    )
    other = draw(st.permutations(values))
    if draw(st.integers(0, 3)) == 0 and values:
        other = list(other)
        other[draw(st.integers(0, len(other) - 1))] = draw(KINDS[kind])
    if draw(st.integers(0, 3)) == 0:
        other = values
    pick = [draw(st.sampled_from(containers(kind, given))) for given in (values, other)]
    return values, list(other), pick[0], pick[1]


@given(two_sides())
@settings(max_examples=500)
def test_normal_forms_are_equal_where_values_are(sides):
    values, other, a, b = sides
    one, two = comparable(a, b)
    want = [spelled(x) == spelled(y) for x, y in zip(values, other, strict=True)]
    assert [bool(x) for x in one == two] == want
    assert {type(v) for v in normal(a).values.tolist()} <= {int, float, str, bytes, bool, tuple} | {
        np.str_
    }


@given(two_sides(unique=False), st.booleans(), st.booleans(), st.sampled_from([2, 3, 100]))
@settings(max_examples=500)
def test_rows_are_those_of_their_names_or_refused(sides, movable, stored, step):
    values, other, a, b = sides
    left, right = side("labels", Stored(a) if stored else a), side("pred_probs", b)
    before, naming.STEP = naming.STEP, step
    try:
        found = match_rows(left, right, movable=movable)
    except InputError:
        one, two = (list(map(spelled, given)) for given in (values, other))
        assert one != two
        if movable and len(set(one)) == len(one):
            assert set(one) != set(two)
        return
    finally:
        naming.STEP = before
    order = range(len(other)) if found.order is None else found.order
    assert [spelled(other[at]) for at in order] == [spelled(value) for value in values]


@given(two_sides(), st.data())
@settings(max_examples=300)
def test_annotators_are_those_of_their_names(sides, data):
    values, other, a, b = sides
    assume(len({spelled(v) for v in other}) == len(other))
    keep = data.draw(st.integers(0, len(other)))
    other, b = other[:keep], b[:keep]
    found = match_annotators(side("estimate", a), side("labels", b))
    known = [spelled(v) for v in values]
    assert found.places.tolist() == [
        known.index(spelled(v)) if spelled(v) in known else -1 for v in other
    ]
    assert (found.note is None) == (-1 not in found.places)
    # As an estimate keeps names, and gives them back from JSON.
    try:
        plain = [naming.plain_names("x", "annotators", index) for index in (a, b)]
    except InputError:
        return  # 0.5 and "0.5" cannot both be kept
    again = match_annotators(
        side("estimate", as_index(list(plain[0]))), side("labels", as_index(list(plain[1])))
    )
    assert all(x in (y, -1) or y == -1 for x, y in zip(found.places, again.places, strict=True))
    if all(type(v) in (int, str) for v in [*values, *other]):
        assert again.places.tolist() == found.places.tolist()


@given(two_sides(least=1))
@settings(max_examples=300)
def test_classes_are_those_of_their_names_or_refused(sides):
    values, other, a, b = sides
    try:
        found = match_classes(side("labels", a), side("pred_probs", b))
    except InputError:

        def same(x, y):
            return {str(spelled(v)[1]) for v in x} == {str(spelled(v)[1]) for v in y} and len(
                {str(v) for v in x}
            ) == len(x)

        assert not (same(values, other) and all(isinstance(v, str) for v in values))
        return
    texts = [naming.plain_texts(index) for index in (a, b)]
    order = list(range(len(other)) if found.order is None else found.order)
    moved = [texts[1][at] for at in order]
    assert moved == list(texts[0]) or moved == [str(code) for code in range(len(moved))]


@given(st.permutations(list(range(12))), st.sampled_from([int, str]))
def test_numbered_columns_go_to_their_codes(order, kind):
    columns = as_index([kind(code) for code in order])
    found = match_classes(side("labels", None, count=12), side("pred_probs", columns))
    places = np.arange(12) if found.order is None else found.order
    assert [order[at] for at in places] == list(range(12))


@given(
    st.lists(
        st.integers(-(10**20), 10**20).map(str)
        | st.decimals(allow_nan=False, allow_infinity=False, places=2).map(
            lambda d: format(d, "f")
        ),
        unique=True,
    )
)
def test_names_that_are_numbers_are_in_their_order(texts):
    found = [decimal.Decimal(text) for text in in_class_order(texts)]
    assert found == sorted(found)


def test_a_million_rows_are_put_in_order_without_a_loop():
    import time

    order = np.random.default_rng(0).permutation(1_000_000)
    left, right = pd.Index(np.arange(10**6) + (BIG - 2 * 10**6)), None
    right = left.take(order)
    begun = time.perf_counter()
    found = match_rows(side("labels", left), side("pred_probs", right), movable=True)
    assert (order[found.order] == np.arange(10**6)).all()
    assert time.perf_counter() - begun < 3
