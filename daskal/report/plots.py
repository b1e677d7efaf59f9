"""The parts of a report that are plots: scores, consensus quality, temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from daskal.report import charts
from daskal.report.charts import Counts, Layer, Tick
from daskal.report.contents import POOL_NAMES, Contents
from daskal.report.markup import Markup, join, section, tag, text
from daskal.report.tables import embed
from daskal.text import listed, plural

# Models whose curves are drawn: more cannot be told apart.
CURVES = 8


# --- scores -----------------------------------------------------------------------------------


def scores_chart(contents: Contents) -> Markup | None:
    """Both pools' scores on one axis, the batch marked."""
    found = {
        name: contents.histograms[f"{key}_score"]
        for key, name in (("unlabeled", "pool"), ("labeled", "labelled"))
        if f"{key}_score" in contents.histograms
    }
    if not sum(counts.sum() for counts in found.values()):
        return None
    keys = {name: key for key, name in POOL_NAMES.items()}
    num_bins = len(next(iter(found.values())))
    chosen = {name: bin_scores(contents.batch, keys[name], num_bins) for name in found}
    low, high = crop(list(found.values()))
    series = {name: counts[low:high] for name, counts in found.items()}
    marked = {name: counts[low:high] for name, counts in chosen.items()}
    edge = float(contents.batch["score"].max()) if len(contents.batch) else 0.0
    span = (low / num_bins, high / num_bins)
    choice = []
    for kind, title in (("linear", "Counts as they are"), ("log", "Logarithm of counts")):
        choice.append(
            tag("input", type="radio", name="scale", id=f"scale-{kind}", checked=kind == "linear")
        )
        choice.append(tag("label", title, for_=f"scale-{kind}"))
    plots = [
        tag("div", mirrored(series, marked, span, edge, log=kind == "log"), class_=kind)
        for kind in ("linear", "log")
    ]
    names = [*series, *(f"{name}, in the batch" for name in marked)]
    counts = [*series.values(), *marked.values()]
    return section(
        "scores",
        "Scores of both pools",
        text(
            "One scale for both: an example of the pool and one that has labels compete for the "
            "same annotators. What lies left of the dashed line is the next batch."
        ),
        tag("figure", *choice, *plots, readout(names, counts, span), class_="choice"),
    )


def bin_scores(batch: pd.DataFrame, pool: str, num_bins: int) -> Counts:
    """The batch's scores of one pool, counted in the histogram's bins."""
    scores = batch.loc[batch["pool"] == pool, "score"].to_numpy(dtype=np.float64)
    bins = np.clip((scores * num_bins).astype(np.int64), 0, num_bins - 1)
    return np.bincount(bins, minlength=num_bins)


def crop(histograms: Sequence[Counts]) -> tuple[int, int]:
    """The bins from the first filled to the last, out to whole twentieths of the range."""
    filled = np.flatnonzero(np.sum(histograms, axis=0))
    step = len(histograms[0]) // 20
    return int(filled[0]) // step * step, (int(filled[-1]) // step + 1) * step


def mirrored(
    series: Mapping[str, Counts],
    marked: Mapping[str, Counts],
    span: tuple[float, float],
    edge: float,
    *,
    log: bool,
) -> Markup:
    """The first histogram upwards, the second downwards from one base line."""
    low, high = span
    base = charts.HEIGHT * (0.6 if len(series) == 2 else 1.0)
    sizes = (0.92 * base, 0.92 * (base - charts.HEIGHT))
    shapes, ticks, notes = [], [], []
    at = (edge - low) / (high - low)
    if edge > low:
        shapes.append(
            tag(
                "rect",
                x=0,
                y=0,
                width=charts.plain(at * charts.WIDTH),
                height=charts.HEIGHT,
                class_="chosen",
            )
        )
    for (name, counts), size in zip(series.items(), sizes, strict=False):
        layers = [Layer(counts, name), Layer(marked[name], "mark")]
        drawn, marks = charts.bars(layers, log=log, base=base, size=size)
        shapes += drawn
        ticks += marks
        total = f"{name} · {int(counts.sum()):,}"
        notes.append(charts.note(total, x=0.995, y=0.02 if size > 0 else 0.9, class_="name"))
    shapes.append(charts.level(base, "axis"))
    if edge > low:
        shapes.append(charts.vertical(at, "edge"))
        notes.append(charts.note(f"batch: up to {edge:.4f}", x=min(at + 0.005, 0.99), y=0.11))
    return charts.frame(
        shapes,
        label=f"Histogram of scores: {', '.join(series)}; the batch lies below {edge:.4f}",
        x_ticks=x_ticks(span),
        y_ticks=ticks,
        notes=notes,
        size="tall",
    )


def x_ticks(span: tuple[float, float]) -> list[Tick]:
    """Round marks of a linear axis."""
    low, high = span
    return [
        Tick((value - low) / (high - low), f"{value:.6g}")
        for value in charts.round_values(low, high, 8)
    ]


def readout(names: Sequence[str], counts: Sequence[Counts], span: tuple[float, float]) -> Markup:
    """What the bin under the pointer holds, and all of it as numbers for those who have none."""
    data = {"span": span, "names": names, "counts": [count.tolist() for count in counts]}
    return join(
        [
            tag(
                "p",
                "Point at a bar, or tap it, to read its numbers.",
                class_="readout needs-script",
            ),
            tag("script", embed(data), type="application/json"),
            tag("details", tag("summary", "The same in numbers"), numbers(names, counts, span)),
        ]
    )


def numbers(names: Sequence[str], counts: Sequence[Counts], span: tuple[float, float]) -> Markup:
    """A histogram in some ten rows."""
    num_bins = len(counts[0])
    step = max(1, num_bins // 20)
    low, high = span
    heads = tag("tr", tag("th", "From", scope="col"), *(tag("th", n, scope="col") for n in names))
    rows = []
    for start in range(0, num_bins, step):
        at = low + (high - low) * start / num_bins
        cells = [tag("td", f"{int(count[start : start + step].sum()):,}") for count in counts]
        rows.append(tag("tr", tag("th", f"{at:.3f}", scope="row"), *cells))
    table = tag("table", tag("thead", heads), tag("tbody", *rows), class_="numbers")
    return tag("div", table, class_="scroller", tabindex=0, role="region", aria_label="Counts")


# --- consensus and temperature ----------------------------------------------------------------


def consensus_chart(contents: Contents) -> Markup | None:
    """How sure the consensus labels are."""
    counts = contents.histograms.get("consensus_quality_score")
    if counts is None or not counts.any():
        return None
    counts = counts.reshape(-1, 4).sum(axis=1)
    low, high = crop([counts.repeat(4)])
    low, high = low // 4, -(-high // 4)
    span = (low / len(counts), high / len(counts))
    shown = counts[low:high]
    shapes, ticks = charts.bars(
        [Layer(shown, "labelled")], log=False, base=charts.HEIGHT, size=0.95 * charts.HEIGHT
    )
    doubtful = int(counts[: len(counts) // 2].sum())
    total = int(counts.sum())
    return section(
        "consensus",
        "Quality of the consensus labels",
        text(
            "The chance, as estimated, that an example's consensus label is right. "
            f"{plural(doubtful, 'example')} of {total:,} ({doubtful / total:.1%}) "
            f"{'lies' if doubtful == 1 else 'lie'} below one half."
        ),
        tag(
            "figure",
            charts.frame(
                shapes,
                label="Histogram of consensus quality",
                x_ticks=x_ticks(span),
                y_ticks=ticks,
            ),
            readout(["examples"], [shown], span),
        ),
    )


def temperature_chart(contents: Contents) -> Markup | None:
    """The loss by temperature."""
    estimate = contents.estimate
    if estimate is None:
        return None
    title = "Temperature of the model"
    curve = estimate.temperature_curve
    if not len(curve) or estimate.temperatures is None:
        return section("temperature", title, text("No temperature was fitted to the labels."))
    grid = curve.index.to_numpy(dtype=np.float64)
    lines = [curve[name].to_numpy(dtype=np.float64) for name in curve][:CURVES]
    chosen = estimate.temperatures.tolist()[: len(lines)]
    best = [int(np.abs(grid - value).argmin()) for value in chosen]
    shapes, ticks, y_ticks, points = charts.curves(grid, lines, best)
    notes = [charts.dots(points)]
    legend: list[Markup] = []
    if len(lines) == 1:
        x, y = points[0]
        notes.append(charts.note(f"T = {chosen[0]:g}", x=x, y=y + 0.05, class_="name"))
    else:
        legend = [
            tag("li", charts.sample(index), f"model {index}: T = {value:g}")
            for index, value in enumerate(chosen)
        ]
    more = ""
    if curve.shape[1] > len(lines):
        more = f" The first {len(lines)} of {curve.shape[1]} models are drawn."
    return section(
        "temperature",
        title,
        text(
            "The probabilities are divided by the temperature, on the scale of their logarithm, "
            "before they are weighed against the annotators: above 1 for a model too sure of "
            f"itself, below 1 for one too cautious. The least loss decides.{more}"
        ),
        tag(
            "figure",
            charts.frame(
                shapes,
                label="Mean loss by temperature, least at "
                + listed((f"{value:.2f}" for value in chosen), most=3),
                x_ticks=ticks,
                y_ticks=y_ticks,
                notes=notes,
            ),
            tag("figcaption", "Mean loss against the annotators' labels, by temperature"),
            tag("ul", *legend, class_="legend") if legend else None,
        ),
    )
