"""Plots as inline SVG for pages of any width, from a few hundred numbers; no script needed.

The SVG holds only shapes, stretched to the plot's width; words and ticks are HTML placed in percent
beside it, so that they keep their size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.report.markup import Markup, join, tag

Counts = NDArray[np.int64]
WIDTH, HEIGHT = 1000, 300


class Tick(NamedTuple):
    """A mark on an axis: where, from 0 to 1, and what it says."""

    at: float
    text: str


class Scale(NamedTuple):
    """Counts to heights from 0 to 1, linear or logarithmic."""

    top: int
    log: bool

    def height(self, counts: Counts) -> NDArray[np.float64]:
        """Heights of some counts; a count of 1 shows on a logarithmic scale too."""
        if self.log:
            return np.log1p(counts) / math.log1p(self.top)
        return counts / self.top

    def ticks(self) -> list[Tick]:
        """A few round counts."""
        if self.log:
            powers = range(int(math.log10(self.top)) + 1)
            step = math.ceil(len(powers) / 4)
            values = [10**power for power in powers][::step]
        else:
            values = [
                int(value) for value in round_values(0, self.top, 4) if value and value % 1 == 0
            ]
        heights = self.height(np.array(values, dtype=np.int64))
        return [Tick(float(at), short(value)) for at, value in zip(heights, values, strict=True)]


def round_values(low: float, high: float, most: int) -> list[float]:
    """At most about ``most`` round values from ``low`` to ``high``."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(size for size in (1, 2, 2.5, 5, 10) if size * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def short(value: float) -> str:
    """A count in few characters."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


def plain(value: float) -> str:
    """A coordinate in few characters."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


# --- the frame around the shapes --------------------------------------------------------------


def frame(
    shapes: Sequence[Markup],
    *,
    label: str,
    x_ticks: Sequence[Tick],
    y_ticks: Sequence[Tick],
    notes: Sequence[Markup] = (),
    size: str = "",
) -> Markup:
    """Shapes with their axes. ``label`` says in words what a reader without eyes needs."""
    grid = [
        tag("line", x1=0, x2=WIDTH, y1=plain(y), y2=plain(y), class_="grid")
        for y in (HEIGHT * (1 - tick.at) for tick in y_ticks)
    ]
    picture = tag(
        "svg",
        *grid,
        *shapes,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
    return tag(
        "div",
        tag("div", *(place("y", tick) for tick in y_ticks), class_="y-axis", aria_hidden="true"),
        tag("div", picture, *notes, class_="area"),
        tag("div", *(place("x", tick) for tick in x_ticks), class_="x-axis", aria_hidden="true"),
        class_=f"plot {size}".strip(),
    )


def place(axis: str, tick: Tick) -> Markup:
    """A tick's words."""
    side = "left" if axis == "x" else "bottom"
    return tag("span", tick.text, style=f"{side}:{plain(100 * tick.at)}%")


def note(text: object, *, x: float, y: float, class_: str = "") -> Markup:
    """Words inside the plot, at (x, y) from 0 to 1, kept inside by growing away from the edge."""
    side = f"left:{plain(100 * x)}%" if x < 0.5 else f"right:{plain(100 * (1 - x))}%"
    return tag("span", text, class_=f"note {class_}".strip(), style=f"{side};top:{plain(100 * y)}%")


def steps(heights: NDArray[np.float64], base: float, size: float) -> str:
    """Path of bars side by side, ``base`` up (or, negative, down) by ``size`` at height 1."""
    width = WIDTH / len(heights)
    filled = np.flatnonzero(heights > 0)
    parts = []
    # Neighbouring bars are one outline: no seams between them at any width.
    for run in np.split(filled, np.flatnonzero(np.diff(filled) > 1) + 1):
        if len(run):
            parts.append(f"M{plain(run[0] * width)} {plain(base)}")
            parts += [
                f"V{plain(base - size * heights[bar])}H{plain((bar + 1) * width)}" for bar in run
            ]
            parts.append(f"V{plain(base)}Z")
    return "".join(parts)


# --- plots ------------------------------------------------------------------------------------


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
) -> tuple[list[Markup], list[Tick]]:
    """Bars of several layers over one base line, on the first layer's scale, and its ticks."""
    top = int(layers[0].counts.max())
    if top == 0:
        return [], []
    scale = Scale(top, log)
    shapes = [
        tag("path", d=steps(scale.height(layer.counts), base, size), class_=layer.style)
        for layer in layers
        if layer.counts.any()
    ]
    ticks = [Tick(1 - (base - size * tick.at) / HEIGHT, tick.text) for tick in scale.ticks()]
    return shapes, ticks


def vertical(at: float, style: str) -> Markup:
    """A line from top to bottom."""
    x = plain(at * WIDTH)
    return tag("line", x1=x, x2=x, y1=0, y2=HEIGHT, class_=style)


def level(y: float, style: str) -> Markup:
    """A line from side to side."""
    return tag("line", x1=0, x2=WIDTH, y1=plain(y), y2=plain(y), class_=style)


def curves(
    x: NDArray[np.float64], lines: Sequence[NDArray[np.float64]], least: Sequence[int]
) -> tuple[list[Markup], list[Tick], list[Tick], list[tuple[float, float]]]:
    """Lines over a logarithmic x with their least points: shapes, ticks of x and y, the points."""
    at = np.log(x / x[0]) / math.log(x[-1] / x[0])
    low = min(float(line.min()) for line in lines)
    # Far from the least point a loss grows out of sight: what is cut off there settles nothing.
    high = max(low + 3 * float(np.median(line) - line.min()) for line in lines)
    high = min(max(float(line.max()) for line in lines), max(high, low + 1e-9))
    # Room below the least point for its words.
    margin = 0.25 * (high - low) or 1.0
    bottom, top = low - margin, high
    shapes, points = [], []
    for index, (line, best) in enumerate(zip(lines, least, strict=True)):
        heights = 1 - (line - bottom) / (top - bottom)
        path = "L".join(
            f"{plain(WIDTH * a)} {plain(HEIGHT * h)}" for a, h in zip(at, heights, strict=True)
        )
        shapes.append(tag("path", d=f"M{path}", class_=f"curve dash{index % 4}"))
        points.append((float(at[best]), float(heights[best])))
    x_values = (0.1, 0.2, 0.5, 1, 2, 5, 8)
    x_ticks = [
        Tick(math.log(value / x[0]) / math.log(x[-1] / x[0]), f"{value:g}") for value in x_values
    ]
    y_ticks = [
        Tick((value - bottom) / (top - bottom), f"{value:.4g}")
        for value in round_values(bottom, top, 5)
    ]
    return shapes, x_ticks, y_ticks, points


def dots(points: Sequence[tuple[float, float]]) -> Markup:
    """Round marks at (x, y) from 0 to 1, round at any width of the plot."""
    return join(
        tag("span", class_="dot", style=f"left:{plain(100 * x)}%;top:{plain(100 * y)}%")
        for x, y in points
    )


def sample(index: int) -> Markup:
    """A short piece of a curve's line, for a legend."""
    line = tag("line", x1=0, x2=30, y1=5, y2=5, class_=f"curve dash{index % 4}")
    return tag("svg", line, width=30, height=10, aria_hidden="true")
