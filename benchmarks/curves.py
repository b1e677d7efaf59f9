"""Curves and tables of loops over many seeds, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP = 300, 200, 52, 64, 46
# Visible on white and on black; the dashes distinguish the lines without color.
STYLES = (
    ("#808080", ""),
    ("#b8860b", "2 3"),
    ("#3a9a5c", "7 3 2 3"),
    ("#c8502d", "7 3"),
    ("#2f7fd0", ""),
)


def half_width(values: np.ndarray) -> float:
    """Return half of the 95 % interval of a mean over seeds, by Student's t."""
    num = len(values)
    if num < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, num - 1) * values.std(ddof=1) / np.sqrt(num))


def interval(values: np.ndarray, digits: int = 1) -> str:
    """Return a mean in percent with its 95 % interval."""
    return f"{100 * values.mean():.{digits}f} ± {100 * half_width(values):.{digits}f}"


def make_tables(points: Sequence[Any], strategies: Sequence[str]) -> str:
    """Return two Markdown tables: means, and the last strategy minus each of the others."""
    frame = pd.DataFrame(points)
    means = [
        "| setting | annotators | strategy | accuracy, mean over the loop | accuracy at the end "
        "| consensus correct at the end | share of batch labeled again |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = strategies[-1]
    gains = [
        f"| setting | annotators | {ours}, minus | accuracy, mean over the loop "
        "| accuracy at the end | consensus correct at the end |",
        "|---|---|---|---|---|---|",
    ]
    for (setting, noise), group in frame.groupby(["setting", "noise"], sort=False):
        final = group[group["annotations"] == group["annotations"].max()]
        over = group.groupby(["strategy", "seed"])["accuracy"].mean().unstack("seed")
        again = group.groupby("strategy")["again"].mean()
        end, right = (
            final.pivot(index="strategy", columns="seed", values=name)
            for name in ("accuracy", "consensus")
        )
        measures = (over, end, right)
        for strategy in strategies:
            texts = [interval(table.loc[strategy].to_numpy()) for table in measures]
            texts.append(f"{100 * again[strategy]:.0f} %")
            means.append(f"| {setting} | {noise} | {strategy} | {' | '.join(texts)} |")
        for other in strategies[:-1]:
            texts = [interval((t.loc[ours] - t.loc[other]).to_numpy(), 2) for t in measures]
            gains.append(f"| {setting} | {noise} | {other} | {' | '.join(texts)} |")
    return "\n".join(
        [
            "Means over seeds in percent, with 95 % intervals:\n",
            *means,
            "\nDifferences seed by seed, in percentage points, with 95 % intervals:\n",
            *gains,
            "",
        ]
    )


def summarise(points: Sequence[Any]) -> pd.DataFrame:
    """Return the curves as numbers: mean accuracy and half of its 95 % interval, by budget."""
    keys = ["setting", "noise", "strategy", "annotations"]
    by = pd.DataFrame(points).groupby(keys, sort=False)["accuracy"]
    half = by.apply(lambda values: half_width(values.to_numpy()))
    return pd.DataFrame({"accuracy": by.mean(), "half_width": half, "seeds": by.size()})


def draw(points: Sequence[Any], strategies: Sequence[str]) -> str:
    """Draw accuracy by budget: a panel per setting (rows) and kind of annotators (columns)."""
    frame = pd.DataFrame(points)
    settings, noises = frame["setting"].unique(), frame["noise"].unique()
    width = LEFT + len(noises) * (PANEL_WIDTH + GAP)
    height = TOP + len(settings) * (PANEL_HEIGHT + 2 * GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<title>Accuracy by number of annotations, mean over seeds with 95 % intervals</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        legend(strategies),
    ]
    for row, setting in enumerate(settings):
        for column, noise in enumerate(noises):
            group = frame[(frame["setting"] == setting) & (frame["noise"] == noise)]
            x = LEFT + column * (PANEL_WIDTH + GAP)
            y = TOP + row * (PANEL_HEIGHT + 2 * GAP)
            title = f"{setting}, {noise} annotators"
            parts.append(f'<g transform="translate({x} {y})">{panel(group, title, strategies)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def legend(strategies: Sequence[str]) -> str:
    """Draw the lines and their names, above the panels."""
    parts, x = [], LEFT
    for strategy, (colour, dash) in zip(strategies, STYLES, strict=True):
        parts.append(
            f'<line x1="{x}" x2="{x + 30}" y1="20" y2="20" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/><text x="{x + 36}" y="24" fill="#222">{strategy}</text>'
        )
        x += 60 + 7 * len(strategy)
    return "".join(parts)


def panel(group: pd.DataFrame, title: str, strategies: Sequence[str]) -> str:
    """Draw one set of axes with a line and a band per strategy."""
    by = group.groupby(["strategy", "annotations"])["accuracy"]
    mean = by.mean().unstack()
    # A single seed has no interval, so its band is just the line.
    half = by.apply(lambda values: half_width(values.to_numpy())).unstack().fillna(0.0)
    budgets = mean.columns.to_numpy(dtype=float)
    low = float(np.floor(20 * (mean - half).min().min()) / 20)
    high = float(np.ceil(20 * (mean + half).max().max()) / 20)

    def place(x: np.ndarray, y: np.ndarray) -> str:
        across = PANEL_WIDTH * (x - budgets[0]) / (budgets[-1] - budgets[0])
        down = PANEL_HEIGHT * (1 - (y - low) / (high - low))
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))

    parts = [f'<text y="-8" font-weight="600" fill="#222">{title}</text>']
    for value in np.arange(low, high + 0.001, 0.05):
        y = PANEL_HEIGHT * (1 - (value - low) / (high - low))
        parts.append(
            f'<line x2="{PANEL_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="-6" y="{y + 4:.1f}" text-anchor="end" fill="#555">{100 * value:.0f} %</text>'
        )
    for value in budgets[:: max(1, len(budgets) // 4)]:
        x = PANEL_WIDTH * (value - budgets[0]) / (budgets[-1] - budgets[0])
        parts.append(
            f'<text x="{x:.1f}" y="{PANEL_HEIGHT + 16}" text-anchor="middle" fill="#555">'
            f"{value:.0f}</text>"
        )
    for strategy, (colour, dash) in zip(strategies, STYLES, strict=True):
        line, spread = mean.loc[strategy].to_numpy(), half.loc[strategy].to_numpy()
        band = f"{place(budgets, line + spread)} {place(budgets[::-1], (line - spread)[::-1])}"
        parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.15"/>')
        parts.append(
            f'<polyline points="{place(budgets, line)}" fill="none" stroke="{colour}" '
            f'stroke-width="1.8" stroke-dasharray="{dash}"/>'
        )
    return "".join(parts)
