"""Progress and warnings, as they go to standard error."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest

from daskal.cli import meters
from daskal.engine.progress import Progress
from daskal.errors import DataWarning


def clock(*times: float) -> Callable[[], float]:
    ticking: Iterator[float] = iter(times)
    return lambda: next(ticking)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (5, "0:05"), (59.6, "1:00"), (3723, "1:02:03")]
)
def test_clock_time(seconds: float, text: str) -> None:
    assert meters.clock_time(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0.5, "0.5"),
        (950, "950"),
        (999.9, "1k"),
        (12_345, "12.3k"),
        (4.5e6, "4.5M"),
        (1e12, "1e+03G"),
    ],
)
def test_short_count(count: float, text: str) -> None:
    assert meters.short_count(count) == text


def test_meter_tells_speed_and_time_left() -> None:
    meter = meters.Meter(Progress("votes", 0, 4, 0, 4000), clock(0.0, 2.0, 8.0))
    text = meter.describe(Progress("votes", 1, 4, 1000, 4000))
    assert text == "1/4 blocks  500 rows/s  0:06 left"
    assert meter.describe(Progress("votes", 4, 4, 4000, 4000)) == "4/4 blocks  500 rows/s  in 0:08"


def test_meter_leaves_out_what_was_done_before_a_resume() -> None:
    meter = meters.Meter(Progress("votes", 2, 4, 2000, 4000), clock(0.0, 2.0))
    text = meter.describe(Progress("votes", 3, 4, 3000, 4000))
    assert text == "3/4 blocks  500 rows/s  0:02 left"


def test_meter_tells_the_time_left_by_blocks_where_nobody_knows_the_rows() -> None:
    meter = meters.Meter(Progress("survey", 0, 4, 0, 0), clock(0.0, 2.0, 8.0))
    text = meter.describe(Progress("survey", 1, 4, 1000, 0))
    assert text == "1/4 blocks  500 rows/s  0:06 left"
    assert meter.describe(Progress("survey", 4, 4, 4000, 0)) == "4/4 blocks  500 rows/s  in 0:08"


def test_lines_come_at_intervals_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    lines = meters.Lines(lambda: now[0])
    now = [0.0]
    for now[0], done in ((0.0, 0), (1.0, 1), (11.0, 2), (12.0, 3), (13.0, 4)):
        lines(Progress("votes", done, 4, done * 10, 40))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "pass 1: votes       2/4 blocks  1.82 rows/s  0:11 left",
        "pass 1: votes       4/4 blocks  3.08 rows/s  in 0:13",
    ]


def test_warnings_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    with meters.show_warnings():
        for _ in range(2):
            warnings.warn("an annotator is new", DataWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: an annotator is new\n" * 2
