"""Geometry of plots of any width, from a few hundred numbers; templates draw them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
WIDTH, HEIGHT = 1000, 300


class Tick(NamedTuple):
    """A mark on an axis: its place, from 0 to 1, and its text."""

    at: float
    text: str


class Scale(NamedTuple):
    """Scale from counts to heights between 0 and 1, linear or logarithmic."""

    top: int
    log: bool

    def height(self, counts: Counts) -> NDArray[np.float64]:
        """Return the heights of some counts; a count of 1 shows on a logarithmic scale too."""
        if self.log:
            return np.log1p(counts) / math.log1p(self.top)
        return counts / self.top

    def ticks(self) -> list[Tick]:
        """Return a few round counts to mark."""
        if self.log:
            powers = range(int(math.log10(self.top)) + 1)
            step = math.ceil(len(powers) / 4)
            values = [10**power for power in powers][::step]
        else:
            values = [
                int(value) for value in round_values(0, self.top, 4) if value and value % 1 == 0
            ]
        heights = self.height(np.array(values, dtype=np.int64))
        return [
            Tick(float(at), short_count(value)) for at, value in zip(heights, values, strict=True)
        ]


def round_values(low: float, high: float, most: int) -> list[float]:
    """Return at most about ``most`` round values from ``low`` to ``high``."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(size for size in (1, 2, 2.5, 5, 10) if size * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def short_count(value: float) -> str:
    """Return a count in few characters."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def coordinate(value: float) -> str:
    """Return a coordinate in few characters."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def percent(share: float) -> str:
    """Return a place from 0 to 1 as CSS."""
    return f"{coordinate(100 * share)}%"


# --- what a plot holds ------------------------------------------------------------------------


class Path(NamedTuple):
    """A drawn shape: its outline as SVG writes it, and the class of its style."""

    outline: str
    style: str


class Note(NamedTuple):
    """Words inside a plot, at (x, y) from 0 to 1."""

    text: str
    x: float
    y: float
    bold: bool = False

    @property
    def place(self) -> str:
        """Return the place as CSS; text extends away from the nearer edge and stays inside."""
        side = f"left:{percent(self.x)}" if self.x < 0.5 else f"right:{percent(1 - self.x)}"
        return f"{side};top:{percent(self.y)}"


class Key(NamedTuple):
    """What the shapes of a style are."""

    style: str
    text: str


@dataclass(frozen=True)
class Plot:
    """Shapes with their axes; ``label`` describes the plot for screen readers.

    ``x_title`` and ``y_title`` say what the axes count. ``keys`` name the shapes by the class of
    their style, above the plot, where no shape is in the way.
    ``base`` is where a line from side to side stands, ``edge`` where one from top to bottom ends
    the part of the plot that is marked; ``dots`` are at (x, y) from 0 to 1.
    """

    width: ClassVar[int] = WIDTH
    height: ClassVar[int] = HEIGHT

    label: str
    paths: Sequence[Path]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    x_title: str
    y_title: str
    keys: Sequence[Key] = ()
    notes: Sequence[Note] = ()
    dots: Sequence[tuple[float, float]] = ()
    base: str | None = None
    edge: str | None = None
    tall: bool = False

    @property
    def grid(self) -> list[str]:
        """Heights of the lines behind the shapes."""
        return [coordinate(HEIGHT * (1 - tick.at)) for tick in self.y_ticks]


@dataclass(frozen=True)
class Histogram:
    """The counts of a plot as numbers, over a range of values.

    For the script, which shows the counts of the bin under the pointer, and for a table.
    """

    names: Sequence[str]
    counts: Sequence[Counts]
    span: tuple[float, float]

    @property
    def data(self) -> dict[str, object]:
        """The histogram as the page's script reads it."""
        counts = [count.tolist() for count in self.counts]
        return {"span": self.span, "names": self.names, "counts": counts}

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Some twenty rows: where each starts, and its counts."""
        low, high = self.span
        num_bins = len(self.counts[0])
        step = max(1, num_bins // 20)
        return [
            (
                f"{low + (high - low) * start / num_bins:.3f}",
                [f"{int(count[start : start + step].sum()):,}" for count in self.counts],
            )
            for start in range(0, num_bins, step)
        ]


# --- shapes -----------------------------------------------------------------------------------


def bars_outline(heights: NDArray[np.float64], base: float, size: float) -> str:
    """Return the outline of bars side by side on ``base``, ``size`` high at 1 (negative: down)."""
    width = WIDTH / len(heights)
    filled = np.flatnonzero(heights > 0)
    parts = []
    # Neighboring bars are one outline: no seams between them at any width.
    for run in np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1):
        if len(run):
            parts.append(f"M{coordinate(run[0] * width)} {coordinate(base)}")
            parts += [
                f"V{coordinate(base - size * heights[bar])}H{coordinate((bar + 1) * width)}"
                for bar in run
            ]
            parts.append(f"V{coordinate(base)}Z")
    return "".join(parts)


def box_outline(left: float, width: float, share: float) -> str:
    """Return the outline of one bar on the ground, as high as a share of the plot."""
    top = coordinate(HEIGHT * (1 - share))
    right = coordinate(left + width)
    return f"M{coordinate(left)} {HEIGHT}V{top}H{right}V{HEIGHT}Z"


class Layer(NamedTuple):
    """Counts by bin, and the class of their style."""

    counts: Counts
    style: str


def bars(
    layers: Sequence[Layer],
    *,
    log: bool,
    base: float,
    size: float,
) -> tuple[list[Path], list[Tick]]:
    """Return bars of several layers over one base line, and ticks of the first layer's scale."""
    top = int(layers[0].counts.max())
    if top == 0:
        return [], []
    scale = Scale(top, log)
    paths = [
        Path(bars_outline(scale.height(layer.counts), base, size), layer.style)
        for layer in layers
        if layer.counts.any()
    ]
    ticks = [Tick(1 - (base - size * tick.at) / HEIGHT, tick.text) for tick in scale.ticks()]
    return paths, ticks


def curves(
    x: NDArray[np.float64], lines: Sequence[NDArray[np.float64]], least: Sequence[int]
) -> tuple[list[Path], list[Tick], list[Tick], list[tuple[float, float]]]:
    """Return lines over a logarithmic x: paths, ticks of x and of y, the least points."""
    at = np.log(x / x[0]) / math.log(x[-1] / x[0])
    low = min(float(line.min()) for line in lines)
    # Far from its minimum a loss grows very large; nothing of interest is cut off there.
    high = max(low + 3 * float(np.median(line) - line.min()) for line in lines)
    high = min(max(float(line.max()) for line in lines), max(high, low + 1e-9))
    # Room below the minimum for its label.
    margin = 0.25 * (high - low) or 1.0
    bottom, top = low - margin, high
    paths, points = [], []
    for index, (line, best) in enumerate(zip(lines, least, strict=True)):
        heights = 1 - (line - bottom) / (top - bottom)
        outline = "L".join(
            f"{coordinate(WIDTH * a)} {coordinate(HEIGHT * h)}"
            for a, h in zip(at, heights, strict=True)
        )
        paths.append(Path(f"M{outline}", f"curve dash{index % 4}"))
        points.append((float(at[best]), float(heights[best])))
    x_values = (0.1, 0.2, 0.5, 1, 2, 5, 8)
    x_ticks = [
        Tick(math.log(value / x[0]) / math.log(x[-1] / x[0]), f"{value:g}") for value in x_values
    ]
    y_ticks = [
        Tick((value - bottom) / (top - bottom), f"{value:.4g}")
        for value in round_values(bottom, top, 5)
    ]
    return paths, x_ticks, y_ticks, points
