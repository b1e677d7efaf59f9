"""Counts, lists and sizes, in words."""

from __future__ import annotations

import html

import pytest

from daskal import text
from daskal.errors import InputError

HOSTILE = "</td><script>alert('1')</script>&\""


def test_counts() -> None:
    assert text.plural(1, "row") == "1 row"
    assert text.plural(2000, "row") == "2,000 rows"
    assert text.plural(2, "class", "classes") == "2 classes"


def test_summary_table_escapes_names_and_values() -> None:
    made = text.summary_table(HOSTILE, [(HOSTILE, HOSTILE)])
    assert "<script" not in made
    assert made.count(html.escape(HOSTILE)) == 3


@pytest.mark.parametrize(
    ("given_limit", "expected"),
    [
        (None, None),
        (10, 10),
        (1.5e9, 1_500_000_000),
        ("2GiB", 2**31),
        ("2 GB", 2 * 10**9),
        ("2G", 2 * 10**9),
        ("64k", 64_000),
        ("512mib", 2**29),
        ("1e3", 1000),
        ("0.5 TiB", 2**39),
        ("100B", 100),
    ],
)
def test_memory_limits(given_limit: object, expected: int | None) -> None:
    assert text.parse_memory(given_limit) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [0, -1, "", "lots", "GB", "2GiBs", "nan", "-1GB", "inf", "1e999", []]
)
def test_memory_limits_that_mean_nothing(wrong: object) -> None:
    with pytest.raises(InputError, match="memory_limit: expected a positive number of bytes"):
        text.parse_memory(wrong)  # type: ignore[arg-type]


def test_sizes_for_people() -> None:
    given = (0, 1023, 1024, 3 * 2**20, 5 * 2**40, 5000 * 2**40)
    shown = [text.format_bytes(size) for size in given]
    assert shown == ["0 B", "1023 B", "1.0 KiB", "3.0 MiB", "5.0 TiB", "5000.0 TiB"]


def test_lists_show_the_first_few() -> None:
    assert text.listed(map(repr, "abc")) == "'a', 'b', 'c'"
    assert text.listed([1.0, 2.5], most=2) == "1.0, 2.5"
    assert text.listed(range(3000), most=2) == "0, 1 and 2,998 more"
    assert text.listed(range(5), count=12) == "0, 1, 2, 3, 4 and 7 more"
    assert text.listed(range(4), most=2, noun="rows") == "0, 1 and 2 more rows"
    assert text.listed(iter(())) == ""
