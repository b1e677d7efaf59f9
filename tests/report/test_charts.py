"""Coordinates, ticks and shapes."""

from __future__ import annotations

import numpy as np
import pytest

from daskal.report.charts import (
    HEIGHT,
    Histogram,
    Layer,
    Note,
    Path,
    Plot,
    Scale,
    Tick,
    bars,
    bars_outline,
    coordinate,
    curves,
    percent,
    round_values,
    short_count,
)


@pytest.mark.parametrize(
    ("low", "high", "most", "values"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0, 930, 4, [0, 250, 500, 750]),
        (0.13, 0.5, 4, [0.2, 0.3, 0.4, 0.5]),
        (1, 1, 4, [1]),
    ],
)
def test_round_values(low: float, high: float, most: int, values: list[float]) -> None:
    assert round_values(low, high, most) == pytest.approx(values)


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (1500, "1.5k"), (2_000_000, "2M"), (10**10, "10G")]
)
def test_short_count(value: float, text: str) -> None:
    assert short_count(value) == text


def test_coordinates_keep_what_is_seen() -> None:
    assert [coordinate(value) for value in (0.0, 10.0, 12.345, 100.5)] == [
        "0",
        "10",
        "12.35",
        "100.5",
    ]


def test_places_in_percent() -> None:
    assert [percent(share) for share in (0.0, 0.5, 0.33333)] == ["0%", "50%", "33.33%"]


def test_notes_grow_away_from_the_nearer_edge() -> None:
    assert Note("a", x=0.1, y=0.2).place == "left:10%;top:20%"
    assert Note("a", x=0.9, y=0.2).place == "right:10%;top:20%"


def test_grid_lies_at_the_ticks() -> None:
    plot = Plot("", [], [], [Tick(0, "0"), Tick(0.75, "3")], x_title="x", y_title="y")
    assert plot.grid == ["300", "75"]


def test_histogram_in_numbers() -> None:
    counts = [np.arange(40), np.full(40, 1000)]
    histogram = Histogram(["a", "b"], counts, (0.5, 1.0))
    assert len(histogram.rows) == 20
    assert histogram.rows[1] == ("0.525", ["5", "2,000"])
    assert histogram.data["counts"] == [list(range(40)), [1000] * 40]


def test_linear_scale() -> None:
    scale = Scale(8, log=False)
    assert scale.height(np.array([0, 4, 8])).tolist() == [0, 0.5, 1]
    assert [(tick.at, tick.text) for tick in scale.ticks()] == [
        (0.25, "2"),
        (0.5, "4"),
        (0.75, "6"),
        (1.0, "8"),
    ]


def test_logarithmic_scale_shows_a_count_of_one() -> None:
    scale = Scale(10**7, log=True)
    heights = scale.height(np.array([0, 1, 10**7]))
    assert heights[0] == 0
    assert heights[1] > 0.04
    assert heights[2] == 1
    assert [tick.text for tick in scale.ticks()] == ["1", "100", "10k", "1M"]


def test_counts_have_whole_ticks() -> None:
    assert [tick.text for tick in Scale(1, log=False).ticks()] == ["1"]
    assert [tick.text for tick in Scale(3, log=False).ticks()] == ["1", "2", "3"]


def test_bars_join_neighbors_and_leave_gaps() -> None:
    path = bars_outline(np.array([0.5, 1.0, 0.0, 0.5]), base=100, size=100)
    assert path == "M0 100V50H250V0H500V100ZM750 100V50H1000V100Z"
    assert bars_outline(np.zeros(3), 100, 100) == ""


def test_bars_downwards_hang_from_the_base_line() -> None:
    paths, ticks = bars([Layer(np.array([4]), "x")], log=False, base=180, size=-100)
    assert paths == [Path("M0 180V280H1000V180Z", "x")]
    assert ticks[-1].at == pytest.approx(1 - 280 / HEIGHT)


def test_bars_of_nothing_are_none() -> None:
    assert bars([Layer(np.zeros(4, np.int64), "x")], log=False, base=1, size=1) == ([], [])


def test_curve_marks_its_least_point() -> None:
    x = np.array([0.1, 1.0, 10.0])
    _, x_ticks, y_ticks, points = curves(x, [np.array([5.0, 1.0, 2.0])], [1])
    assert points[0][0] == pytest.approx(0.5)
    # Lower on the page than the middle: the least loss.
    assert points[0][1] > 0.5
    assert x_ticks[0] == (0.0, "0.1")
    assert all(0 <= tick.at <= 1 for tick in y_ticks)


def test_flat_curve_has_a_place() -> None:
    x = np.array([0.1, 1.0, 8.0])
    _, _, _, points = curves(x, [np.ones(3)], [1])
    assert 0 <= points[0][1] <= 1
