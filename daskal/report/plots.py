"""The parts of a report that are plots: scores, consensus quality, temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from daskal.method.costs import cost_curve
from daskal.method.multi_label import MultiLabelEstimate
from daskal.report import charts
from daskal.report.charts import Counts, Histogram, Key, Layer, Note, Path, Plot, Tick
from daskal.report.contents import SECTION_NAMES, Contents
from daskal.report.tables import side_by_side
from daskal.text import plural

# Most models whose curves are drawn: more could not be distinguished.
MOST_CURVES = 8


# --- scores -----------------------------------------------------------------------------------


def scores(contents: Contents) -> dict[str, Any] | None:
    """Return all scores on one axis, the pool upwards and labeled examples downwards."""
    found = {
        SECTION_NAMES[key]: contents.histograms[f"{key}_score"]
        for key in ("unlabeled", "labeled")
        if f"{key}_score" in contents.histograms
    }
    if not sum(counts.sum() for counts in found.values()):
        return None
    num_bins = len(next(iter(found.values())))
    low, high = filled_range(list(found.values()))
    span = (low / num_bins, high / num_bins)
    series = {name: counts[low:high] for name, counts in found.items()}
    in_batch = {name: bin_scores(contents.batch, name, num_bins)[low:high] for name in found}
    end = float(contents.batch["score"].max()) if len(contents.batch) else 0.0
    names = [*series, *(f"{name}, in the batch" for name in in_batch)]
    return {
        "mirrored": len(series) == 2,
        "linear": mirrored(series, in_batch, span, end, log=False),
        "log": mirrored(series, in_batch, span, end, log=True),
        "histogram": Histogram(names, [*series.values(), *in_batch.values()], span),
    }


def bin_scores(batch: pd.DataFrame, name: str, num_bins: int) -> Counts:
    """Return the batch's scores from one kind of example, counted in the histogram's bins."""
    chosen = batch["source"].map(SECTION_NAMES) == name
    values = batch.loc[chosen, "score"].to_numpy(dtype=np.float64)
    bins = np.clip((values * num_bins).astype(np.int64), 0, num_bins - 1)
    return np.bincount(bins, minlength=num_bins)


def filled_range(histograms: Sequence[Counts]) -> tuple[int, int]:
    """Return the range of filled bins, extended to whole twentieths of all bins."""
    filled = np.flatnonzero(np.sum(histograms, axis=0))
    step = len(histograms[0]) // 20
    return int(filled[0]) // step * step, (int(filled[-1]) // step + 1) * step


def mirrored(
    series: Mapping[str, Counts],
    in_batch: Mapping[str, Counts],
    span: tuple[float, float],
    end: float,
    *,
    log: bool,
) -> Plot:
    """Return the first histogram upwards, the second downwards from one base line.

    Left of ``end``, the batch's greatest score, the plot is marked.
    """
    low, high = span
    base = charts.HEIGHT * (0.6 if len(series) == 2 else 1.0)
    sizes = (0.92 * base, 0.92 * (base - charts.HEIGHT))
    directions = ("upwards", "downwards") if len(series) == 2 else ("",)
    paths, ticks, keys = [], [], []
    for (name, counts), size in zip(series.items(), sizes, strict=False):
        layers = [Layer(counts, name), Layer(in_batch[name], "mark")]
        drawn, marks = charts.bars(layers, log=log, base=base, size=size)
        paths += drawn
        ticks += marks
        way = directions[0 if size > 0 else -1]
        keys.append(Key(name, f"{name}: {int(counts.sum()):,}" + (f", {way}" if way else "")))
    edge = None
    if end > low:
        edge = charts.coordinate((end - low) / (high - low) * charts.WIDTH)
        keys.append(Key("mark", f"the batch, up to {end:.4f}"))
    return Plot(
        label=f"Histogram of scores: {', '.join(series)}; the batch lies below {end:.4f}",
        paths=paths,
        x_ticks=linear_ticks(span),
        y_ticks=ticks,
        x_title="score",
        y_title="examples, logarithmic" if log else "examples",
        keys=keys,
        base=charts.coordinate(base),
        edge=edge,
        tall=True,
    )


def linear_ticks(span: tuple[float, float]) -> list[Tick]:
    """Return round marks of a linear axis."""
    low, high = span
    return [
        Tick((value - low) / (high - low), f"{value:.6g}")
        for value in charts.round_values(low, high, 8)
    ]


# --- consensus and temperature ----------------------------------------------------------------


def consensus(contents: Contents) -> dict[str, Any] | None:
    """Return how sure the consensus labels are."""
    counts = contents.histograms.get("consensus_quality_score")
    if counts is None or not counts.any():
        return None
    counts = counts.reshape(-1, 4).sum(axis=1)
    low, high = filled_range([counts.repeat(4)])
    low, high = low // 4, -(-high // 4)
    span = (low / len(counts), high / len(counts))
    shown = counts[low:high]
    paths, ticks = charts.bars(
        [Layer(shown, SECTION_NAMES["labeled"])],
        log=False,
        base=charts.HEIGHT,
        size=0.95 * charts.HEIGHT,
    )
    doubtful, total = int(counts[: len(counts) // 2].sum()), int(counts.sum())
    return {
        "with_model": contents.aggregate is None,
        "doubtful": plural(doubtful, "example"),
        "total": f"{total:,}",
        "share": f"{doubtful / total:.1%}",
        "verb": "lies" if doubtful == 1 else "lie",
        "costs": costs(contents),
        "plot": Plot(
            label="Histogram of consensus quality",
            paths=paths,
            x_ticks=linear_ticks(span),
            y_ticks=ticks,
            x_title="quality of the consensus label",
            y_title="examples",
        ),
        "histogram": Histogram(["examples"], [shown], span),
    }


def costs(contents: Contents) -> list[tuple[str, str, str, str]]:
    """Return how many examples have each quality, and how many votes would lift the others."""
    if contents.known is None or isinstance(contents.known, MultiLabelEstimate):
        return []
    found = cost_curve(contents.histograms["consensus_quality_score"], contents.known)
    return [
        (
            f"{cost.quality:g}",
            f"{cost.num_above:,}",
            f"{cost.num_below:,}",
            "beyond reach" if cost.votes is None else f"{cost.votes:,}",
        )
        for cost in found
    ]


def how_often_right(counts: Counts | None) -> dict[str, Any] | None:
    """Return how often labels of each quality are right, where the truth is known.

    ``counts`` are labels and right labels by quality, (2, b).
    """
    if counts is None or not counts.any():
        return None
    labels, right = counts
    half = len(labels) // 2
    below = int(labels[:half].sum())
    with np.errstate(invalid="ignore"):
        shares = right / labels
    step = charts.WIDTH / len(labels)
    known = np.flatnonzero(labels)
    bars = [
        Path(
            charts.box_outline(at * step + 0.1 * step, 0.8 * step, float(shares[at])),
            SECTION_NAMES["labeled"],
        )
        for at in known.tolist()
    ]
    chance = f"M0 {charts.HEIGHT}L{charts.WIDTH} 0"
    return {
        "sentence": f"Of the {plural(below, 'label')} of a quality below one half, "
        f"{right[:half].sum() / below:.0%} are right."
        if below
        else "No label has a quality below one half.",
        "plot": Plot(
            label="Share of right labels by quality",
            paths=[*bars, Path(chance, "curve dash1")],
            x_ticks=linear_ticks((0.0, 1.0)),
            y_ticks=[Tick(share, f"{share:.0%}") for share in (0.25, 0.5, 0.75, 1.0)],
            x_title="quality of the consensus label",
            y_title="labels that are right",
            keys=(
                Key(SECTION_NAMES["labeled"], "labels that are right"),
                Key("line", "what it would be if quality were a chance"),
            ),
        ),
        "rows": [
            (f"{at / len(labels):.2f}", f"{labels[at]:,}", f"{shares[at]:.1%}")
            for at in known.tolist()
        ],
    }


def temperature(contents: Contents) -> dict[str, Any] | None:
    """Return the loss by temperature, model by model."""
    estimate = contents.estimate
    if estimate is None or isinstance(estimate, MultiLabelEstimate):
        # Several classes have a temperature each: they stand in the table of classes.
        return None
    curve = estimate.temperature_curve
    if not len(curve) or estimate.temperatures is None:
        return {"plot": None}
    grid = curve.index.to_numpy(dtype=np.float64)
    lines = [curve[name].to_numpy(dtype=np.float64) for name in curve][:MOST_CURVES]
    chosen = estimate.temperatures.tolist()[: len(lines)]
    best = [int(np.abs(grid - value).argmin()) for value in chosen]
    paths, x_ticks, y_ticks, points = charts.curves(grid, lines, best)
    notes = []
    if len(lines) == 1:
        x, y = points[0]
        notes.append(Note(f"T = {chosen[0]:g}", x=x, y=y + 0.05, bold=True))
    return {
        "temperatures": [f"{value:g}" for value in chosen],
        "num_models": curve.shape[1],
        "plot": Plot(
            label=f"Mean loss by temperature, least at {side_by_side(chosen)}",
            paths=paths,
            x_ticks=x_ticks,
            y_ticks=y_ticks,
            x_title="temperature",
            y_title="mean loss",
            notes=notes,
            dots=points,
        ),
    }
