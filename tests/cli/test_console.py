"""What people see: progress lines, tables, costs."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
from rich.console import Console

from daskal.cli import console
from daskal.demo import Judgement
from daskal.engine.progress import Progress
from daskal.errors import DataWarning


def clock(*times: float) -> Callable[[], float]:
    ticking: Iterator[float] = iter(times)
    return lambda: next(ticking)


def printed(show: Callable[[Console], None]) -> str:
    file = io.StringIO()
    show(Console(file=file, width=100, highlight=False))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (5, "0:05"), (59.6, "1:00"), (3723, "1:02:03")]
)
def test_clock_time(seconds: float, text: str) -> None:
    assert console.clock_time(seconds) == text


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
    assert console.short_count(count) == text


def test_meter_tells_speed_and_time_left() -> None:
    meter = console.Meter(Progress("votes", 0, 4, 0, 4000), clock(0.0, 2.0, 8.0))
    text = meter.describe(Progress("votes", 1, 4, 1000, 4000))
    assert text == "1/4 blocks  500 rows/s  0:06 left"
    assert meter.describe(Progress("votes", 4, 4, 4000, 4000)) == "4/4 blocks  500 rows/s  in 0:08"


def test_meter_leaves_out_what_was_done_before_a_resume() -> None:
    meter = console.Meter(Progress("votes", 2, 4, 2000, 4000), clock(0.0, 2.0))
    text = meter.describe(Progress("votes", 3, 4, 3000, 4000))
    assert text == "3/4 blocks  500 rows/s  0:02 left"


def test_meter_tells_the_time_left_by_blocks_where_nobody_knows_the_rows() -> None:
    meter = console.Meter(Progress("survey", 0, 4, 0, 0), clock(0.0, 2.0, 8.0))
    text = meter.describe(Progress("survey", 1, 4, 1000, 0))
    assert text == "1/4 blocks  500 rows/s  0:06 left"
    assert meter.describe(Progress("survey", 4, 4, 4000, 0)) == "4/4 blocks  500 rows/s  in 0:08"


def test_lines_come_at_intervals_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    lines = console.Lines(lambda: now[0])
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
    with console.show_warnings():
        for _ in range(2):
            warnings.warn("an annotator is new", DataWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: an annotator is new\n" * 2


def test_batch_shows_ids_as_they_are() -> None:
    batch = pd.DataFrame(
        {
            "rank": [1, 2, 3],
            "source": ["labeled", "unlabeled", "unlabeled"],
            "row": [1234, 5, 6],
            "id": ["[bold]x", "y", "z"],
            "score": [0.12345, 0.5, 0.6],
        }
    )
    text = printed(lambda output: console.show_batch(output, batch, shown=2))
    assert text.splitlines()[0] == "Label next: 3 examples, 1 of them again, the first 2"
    assert "1   labeled     1,234   [bold]x   0.1235" in text
    assert "2   unlabeled       5   y         0.5000" in text
    assert " z " not in text


def test_batch_leaves_the_place_of_an_unknown_id_empty() -> None:
    batch = pd.DataFrame(
        {
            "rank": [1, 2],
            "source": ["labeled", "unlabeled"],
            "row": [3, 4],
            "id": ["a", None],
            "score": [0.1, 0.2],
        }
    )
    text = printed(lambda output: console.show_batch(output, batch))
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["1", "labeled", "3", "a", "0.1000"],
        ["2", "unlabeled", "4", "0.2000"],
    ]


def test_labels_are_shown_as_a_table() -> None:
    labels = pd.DataFrame(
        {
            "id": ["[bold]x", "y"],
            "consensus_label": ["cat", "dog"],
            "consensus_quality_score": [0.25, 0.5],
            "annotator_agreement": [1 / 3, 1.0],
            "num_annotations": [3, 2],
            "score": [0.2, 0.4],
        },
        index=pd.Index([1234, 5], name="row"),
    )
    text = printed(lambda output: console.show_labels(output, labels, 0.6))
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines[0] == "Consensus labels below a quality of 0.6: the 2 of lowest quality"
    assert lines[1].split() == ["row", "id", "label", "quality", "agreement", "votes", "score"]
    assert lines[3].split() == ["1,234", "[bold]x", "cat", "0.2500", "0.333", "3", "0.2000"]


def test_judgements_name_what_was_judged() -> None:
    judged = {"consensus labels": Judgement(0.04, 0.25, 0.625)}
    text = printed(lambda output: console.show_judgements(output, judged, 0.1))
    assert "consensus labels         4.0%                         25.0%" in text
    assert "The lowest 10% of scores hold 62% of the wrong consensus labels." in text


@pytest.mark.parametrize(
    ("peak", "limit", "text"),
    [
        (None, None, "Done in 1.2 s"),
        (3 * 2**20, None, "Done in 1.2 s; no worker held more than 3.0 MiB"),
        (3 * 2**20, 2**31, "Done in 1.2 s; no worker held more than 3.0 MiB of its 2.0 GiB"),
    ],
)
def test_cost(peak: int | None, limit: int | None, text: str) -> None:
    assert console.describe_cost(1.23, peak, limit) == text
