"""Curves and tables of loops over many seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks import timing

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP = 300, 200, 52, 100, 50
# Names of strategies are about so wide; so many of them stand side by side.
LEGEND_WIDTH, LEGEND_COLUMNS = 250, 4
# Visible on white and on black; the dashes distinguish the lines without color. The last is that
# of the last strategy.
STYLES = (
    ("#808080", ""),
    ("#808080", "2 3"),
    ("#b8860b", "2 3"),
    ("#3a9a5c", "7 3 2 3"),
    ("#8a5cc0", "7 3 2 3"),
    ("#c8502d", "7 3"),
    ("#d06fa0", "7 3"),
    ("#30a0a0", "7 3"),
    ("#2f7fd0", "2 3"),
    ("#8f5a2b", "7 3"),
    ("#5b6f1e", "7 3 2 3"),
    ("#1b3f8b", "7 3"),
)
LAST_STYLE = ("#2f7fd0", "")


class Measure(NamedTuple):
    """A column of a table: what of the points, over the whole loop or at its end."""

    heading: str
    column: str
    at_end: bool = True
    percent: bool = True


MEASURES = (
    Measure("test accuracy, mean over the loop", "accuracy", at_end=False),
    Measure("test accuracy", "accuracy"),
    Measure("consensus right", "consensus"),
    Measure("right over all examples", "everything"),
    Measure("labels kept a vote", "kept", percent=False),
    Measure("right ones a vote", "right", percent=False),
    Measure("majority right", "majority"),
)
SHOWN = {
    "accuracy": "accuracy on the test set",
    "consensus": "consensus right, labeled examples",
    "everything": "right over all examples",
    "kept": "labels kept a vote",
}


def half_width(values: np.ndarray) -> float:
    """Return half of the 95 % interval of a mean over seeds, by Student's t."""
    num = len(values)
    if num < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, num - 1) * values.std(ddof=1) / np.sqrt(num))


def interval(values: np.ndarray, *, percent: bool = True, gain: bool = False) -> str:
    """Return a mean with its 95 % interval; a gain whose interval leaves out zero in bold."""
    factor, digits = (100, 1) if percent else (1, 3)
    mean, half = values.mean(), half_width(values)
    text = f"{factor * mean:{'+' if gain else ''}.{digits}f} ± {factor * half:.{digits}f}"
    return f"**{text}**" if gain and abs(mean) > half else text


def comparable(points: pd.DataFrame) -> pd.DataFrame:
    """Return the rounds of each case and setting that every loop reached."""
    loops = points.groupby(["case", "setting", "strategy", "seed"])["round"].transform("max")
    last = loops.groupby([points["case"], points["setting"]]).transform("min")
    return points[points["round"] <= last]


def by_seed(group: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return a measure of the loops of one case and setting, strategies x seeds."""
    if measure.at_end:
        group = group[group["round"] == group["round"].max()]
    return group.groupby(["strategy", "seed"])[measure.column].mean().unstack("seed")


def means_table(points: pd.DataFrame, strategies: Sequence[str]) -> str:
    """Return the table of means."""
    rows = []
    for (case, setting), group in points.groupby(["case", "setting"], sort=False):
        again = group.groupby("strategy")["again"].mean()
        tables = [(measure, by_seed(group, measure)) for measure in MEASURES]
        for name in [one for one in strategies if one in again]:
            cells = [
                interval(found.loc[name].to_numpy(), percent=measure.percent)
                for measure, found in tables
            ]
            rows.append([case, setting, name, *cells, f"{100 * again[name]:.0f} %"])
    headings = [measure.heading for measure in MEASURES]
    return timing.table(["case", "setting", "strategy", *headings, "asked again"], rows)


def gains_table(points: pd.DataFrame, strategies: Sequence[str]) -> str:
    """Return the table of the last strategy minus each of the others, seed by seed."""
    ours, rows = strategies[-1], []
    for (case, setting), group in points.groupby(["case", "setting"], sort=False):
        tables = [(measure, by_seed(group, measure)) for measure in MEASURES]
        for other in [one for one in strategies[:-1] if one in tables[0][1].index]:
            cells = [
                interval(
                    (found.loc[ours] - found.loc[other]).to_numpy(),
                    percent=measure.percent,
                    gain=True,
                )
                for measure, found in tables
            ]
            rows.append([case, setting, other, *cells])
    headings = [measure.heading for measure in MEASURES]
    return timing.table(["case", "setting", f"{ours}, minus", *headings], rows)


def overview(points: pd.DataFrame, strategies: Sequence[str], measure: Measure) -> str:
    """Return what the last strategy gains over each other one, a row per case and setting."""
    ours, rows = strategies[-1], []
    for (case, setting), group in points.groupby(["case", "setting"], sort=False):
        found = by_seed(group, measure)
        row = [case, setting, f"{100 * found.loc[ours].mean():.1f}"]
        for other in strategies[:-1]:
            there = other in found.index
            gain = (found.loc[ours] - found.loc[other]).to_numpy() if there else None
            row.append("" if gain is None else interval(gain, gain=True))
        rows.append(row)
    return timing.table(["case", "setting", ours, *(f"- {one}" for one in strategies[:-1])], rows)


def contrasts_table(
    points: pd.DataFrame, pairs: Sequence[tuple[str, str]], strategies: Sequence[str]
) -> str:
    """Return a strategy's gain in one case over another, seed by seed, for pairs of cases."""
    groups = dict(iter(points.groupby(["case", "setting"], sort=False)))
    rows = []
    for (case, setting), group in groups.items():
        for other in [second for first, second in pairs if first == case]:
            if (other, setting) not in groups:
                continue
            both = pd.concat([group, groups[other, setting]])
            last = both.groupby("case")["round"].max().min()
            both = both[both["round"] <= last]
            tables = [
                (measure, *(by_seed(both[both["case"] == name], measure) for name in (case, other)))
                for measure in MEASURES
            ]
            for strategy in strategies:
                if strategy in tables[0][1].index:
                    cells = [
                        interval(
                            (found.loc[strategy] - base.loc[strategy]).to_numpy(),
                            percent=measure.percent,
                            gain=True,
                        )
                        for measure, found, base in tables
                    ]
                    rows.append([case, other, setting, strategy, *cells])
    headings = [measure.heading for measure in MEASURES]
    return timing.table(["case", "minus", "setting", "strategy", *headings], rows)


def summarise(points: pd.DataFrame) -> pd.DataFrame:
    """Return the curves as numbers: means and halves of their 95 % intervals, by round."""
    keys = ["case", "setting", "strategy", "round"]
    columns = ["accuracy", "consensus", "everything", "majority", "kept", "right", "again"]
    groups = points.groupby(keys, sort=False)
    found = groups[["annotations", *columns]].mean()
    for name in columns:
        found[f"{name}_half"] = groups[name].apply(lambda values: half_width(values.to_numpy()))
    return found.assign(seeds=groups.size())


def draw(points: pd.DataFrame, strategies: Sequence[str]) -> str:
    """Draw the curves of one case: a panel per setting (rows) and measure (columns)."""
    settings = list(points["setting"].unique())
    width = LEFT + len(SHOWN) * (PANEL_WIDTH + GAP)
    height = TOP + len(settings) * (PANEL_HEIGHT + 2 * GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Accuracy by number of votes, mean over seeds with 95 % intervals</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        legend(strategies),
    ]
    for row, setting in enumerate(settings):
        group = points[points["setting"] == setting]
        for column, (measure, title) in enumerate(SHOWN.items()):
            x = LEFT + column * (PANEL_WIDTH + GAP)
            y = TOP + row * (PANEL_HEIGHT + 2 * GAP)
            drawn = panel(group, measure, f"{setting}: {title}", strategies)
            parts.append(f'<g transform="translate({x} {y})">{drawn}</g>')
    return "\n".join([*parts, "</svg>\n"])


def styles(strategies: Sequence[str]) -> list[tuple[str, tuple[str, str]]]:
    """Return each strategy with its color and dashes."""
    assert len(strategies) <= len(STYLES) + 1, "add a style to STYLES"
    return list(zip(strategies, [*STYLES[: len(strategies) - 1], LAST_STYLE], strict=True))


def legend(strategies: Sequence[str]) -> str:
    """Draw the lines and their names, above the panels."""
    parts = []
    for place, (strategy, (colour, dash)) in enumerate(styles(strategies)):
        x = LEFT + LEGEND_WIDTH * (place % LEGEND_COLUMNS)
        y = 18 + 20 * (place // LEGEND_COLUMNS)
        parts.append(
            f'<line x1="{x}" x2="{x + 30}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/><text x="{x + 36}" y="{y + 4}" fill="#222">{strategy}'
            "</text>"
        )
    return "".join(parts)


def panel(group: pd.DataFrame, measure: str, title: str, strategies: Sequence[str]) -> str:
    """Draw one set of axes with a line and a band per strategy."""
    by = group.groupby(["strategy", "round"])[measure]
    mean = by.mean().unstack()
    # A single seed has no interval, so its band is just the line.
    half = by.apply(lambda values: half_width(values.to_numpy())).unstack().fillna(0.0)
    budgets = group.groupby("round")["annotations"].mean().to_numpy()
    low = float(np.floor(20 * (mean - half).min().min()) / 20)
    high = float(np.ceil(20 * (mean + half).max().max()) / 20)
    high = max(high, low + 0.05)
    span = max(budgets[-1] - budgets[0], 1.0)

    def place(x: np.ndarray, y: np.ndarray) -> str:
        across = PANEL_WIDTH * (x - budgets[0]) / span
        down = PANEL_HEIGHT * (1 - (y - low) / (high - low))
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))

    parts = [f'<text y="-8" font-weight="600" fill="#222">{title}</text>']
    for value in np.arange(low, high + 0.001, 0.05 if high - low < 0.45 else 0.1):
        y = PANEL_HEIGHT * (1 - (value - low) / (high - low))
        parts.append(
            f'<line x2="{PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="-6" y="{y + 4:.1f}" text-anchor="end" fill="#555">{100 * value:.0f} %</text>'
        )
    for value in budgets[:: max(1, len(budgets) // 4)]:
        x = PANEL_WIDTH * (value - budgets[0]) / span
        parts.append(
            f'<text x="{x:.1f}" y="{PANEL_HEIGHT + 16}" text-anchor="middle" fill="#555">'
            f"{value:.0f}</text>"
        )
    for strategy, (colour, dash) in styles(strategies):
        if strategy not in mean.index:
            continue
        line, spread = mean.loc[strategy].to_numpy(), half.loc[strategy].to_numpy()
        band = f"{place(budgets, line + spread)} {place(budgets[::-1], (line - spread)[::-1])}"
        parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.08"/>')
        parts.append(
            f'<polyline points="{place(budgets, line)}" fill="none" stroke="{colour}" '
            f'stroke-width="1.8" stroke-dasharray="{dash}"/>'
        )
    return "".join(parts)
