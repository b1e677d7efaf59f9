"""The parts of a report, each from a store's aggregates to HTML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daskal import charts
from daskal.charts import Counts, Layer, Tick
from daskal.markup import Markup, join, number, plural, tag
from daskal.tables import Column, data_table, embed, matrix
from daskal.weights import Estimate

# More than these are not put in the page: it stays small enough to be sent by mail.
MOST_ANNOTATORS = 10_000
MOST_CLASSES = 500
MOST_BATCH_ROWS = 5_000
# A matrix of more classes fits no screen.
MATRIX_CLASSES = 12
CURVES = 8

POOL_NAMES = {"labeled": "labelled", "unlabeled": "pool"}


@dataclass(frozen=True)
class Contents:
    """What a report is made of: the small tables of a store, None or empty where it has none."""

    path: str
    attrs: Mapping[str, Any]
    estimate: Estimate | None
    annotators: pd.DataFrame | None
    classes: pd.DataFrame | None
    histograms: Mapping[str, Counts]
    batch: pd.DataFrame

    @property
    def num_labeled(self) -> int:
        """Rows of the labelled data that were scored."""
        return int(self.attrs["num_labeled_rows"])

    @property
    def num_pool(self) -> int:
        """Rows of the pool."""
        return int(self.attrs["num_unlabeled_rows"])

    def class_name(self, code: int) -> str:
        """A class as people know it."""
        names = None if self.estimate is None else self.estimate.class_names
        return str(code) if names is None else f"{code} {names[code]}"


def section(name: str, title: str, *children: object) -> Markup:
    """One part of the page."""
    return tag("section", tag("h2", title), *children, id=name)


def text(*parts: object) -> Markup:
    """A paragraph."""
    return tag("p", *parts)


# --- the head ---------------------------------------------------------------------------------


def run_in_a_line(contents: Contents) -> str:
    """The run in one line."""
    what = []
    if contents.num_labeled:
        what.append(plural(contents.num_labeled, "labelled example"))
    if contents.num_pool:
        what.append(f"a pool of {contents.num_pool:,}")
    line = f"{' and '.join(what) or 'Nothing'} scored"
    estimate = contents.estimate
    if estimate is None:
        return f"{line} without an estimate: temperature 1, both weights 1."
    return (
        f"{line} with {plural(estimate.num_annotations, 'label')} by "
        f"{plural(estimate.num_annotators, 'annotator')} over "
        f"{plural(estimate.num_classes, 'class', 'classes')}."
    )


def tiles(contents: Contents) -> Markup:
    """The few numbers that matter most."""
    counts = contents.batch["pool"].value_counts()
    shown = [
        (
            "Next batch",
            f"{len(contents.batch):,}",
            f"{counts.get('labeled', 0):,} labelled, {counts.get('unlabeled', 0):,} new",
        )
    ]
    estimate = contents.estimate
    if estimate is not None:
        temperatures = [] if estimate.temperatures is None else estimate.temperatures.tolist()
        weights = estimate.final
        shown += [
            ("Temperature", listed(temperatures, 2) or "none", temperature_means(temperatures)),
            (
                "Weight of the model",
                listed(weights.model_weight.tolist(), 2),
                f"an annotator's, on average: {weights.mean_weight:.2f}",
            ),
            (
                "Votes that match the consensus",
                number(weights.consensus_likelihood),
                f"over {plural(estimate.num_multiple, 'example')} with several labels",
            ),
        ]
    return tag(
        "div",
        *(
            tag("div", tag("span", name), tag("strong", value), tag("small", more), class_="tile")
            for name, value, more in shown
        ),
        class_="tiles",
    )


def listed(values: Sequence[float], digits: int) -> str:
    """Numbers side by side, not more than fit."""
    shown = ", ".join(f"{value:.{digits}f}" for value in values[:3])
    return f"{shown}, …" if len(values) > 3 else shown


def temperature_means(temperatures: Sequence[float]) -> str:
    """What a temperature says of the model."""
    if not temperatures:
        return "probabilities as they are"
    if max(temperatures) < 1:
        return "below 1: the model was too cautious"
    if min(temperatures) > 1:
        return "above 1: the model was too sure of itself"
    return "1: probabilities as they are" if set(temperatures) == {1} else "one for each model"


def quality_flags(contents: Contents) -> Markup:
    """What is unusual in the data."""
    flags = [] if contents.estimate is None else list(contents.estimate.flags)
    invalid = int(contents.attrs["num_invalid_rows"])
    if invalid:
        flags.append(f"{plural(invalid, 'row')} with values that are no probabilities or labels")
    levels = contents.attrs["cpu_levels"]
    if len(levels) > 1:
        flags.append("workers of different CPUs took part: last bits may depend on which did what")
    if flags:
        body = tag("ul", *(tag("li", flag[:1].upper() + flag[1:] + ".") for flag in flags))
    else:
        body = text("Nothing unusual was found.")
    return section("data", "What the data looks like", body)


# --- scores -----------------------------------------------------------------------------------


def batch_table(contents: Contents) -> Markup:
    """The next batch."""
    batch = contents.batch
    if not len(batch):
        return section("batch", "The next batch", text("There is no example to label."))
    shown = batch.head(MOST_BATCH_ROWS)
    counts = batch["pool"].value_counts()
    summary = text(
        f"{plural(len(batch), 'example')}, the lowest score first: "
        f"{counts.get('labeled', 0):,} that have labels already and "
        f"{counts.get('unlabeled', 0):,} of the pool. The lower the score, the more one more label "
        f"is worth; the batch ends at {batch['score'].iloc[-1]:.6f}.",
        f" The first {len(shown):,} are listed." if len(shown) < len(batch) else "",
    )
    columns = [Column("Rank", "integer", shown["rank"].tolist())]
    if "id" in shown:
        ids = ["–" if value is None else str(value) for value in shown["id"].tolist()]
        columns.append(Column("Id", "text", ids))
    columns += [
        Column("From", "text", shown["pool"].map(POOL_NAMES).tolist()),
        Column("Row", "integer", shown["row"].tolist(), "Row of the array it is from, from 0"),
        Column("Score", "fine", shown["score"].tolist()),
    ]
    table = data_table("next-batch", columns, caption="The next batch", noun="examples")
    return section("batch", "The next batch", summary, table)


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
    chosen = {
        name: bin_scores(contents.batch, keys[name], num_bins) for name in found
    }
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
        shapes.append(tag("rect", x=0, y=0, width=charts.plain(at * charts.WIDTH),
                          height=charts.HEIGHT, class_="chosen"))
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
            tag("p", "Point at a bar to read its numbers.", class_="readout needs-script"),
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


# --- annotators and consensus -----------------------------------------------------------------


def annotators_table(contents: Contents, csv: str | None) -> Markup | None:
    """The annotators, the worst first."""
    table = annotators_of(contents)
    if table is None:
        return None
    total = len(table)
    told = [
        "Quality is the chance, as estimated, that a label of the annotator is right; weight is "
        "how much it counts beside the model and the others."
    ]
    if total > MOST_ANNOTATORS:
        half = MOST_ANNOTATORS // 2
        table = pd.concat([table.head(half), table.tail(half)])
        told.append(f" Of {total:,}, the {half:,} worst and the {half:,} best are listed.")
    link = None
    if csv is not None:
        link = text(tag("a", f"All {total:,} annotators as CSV", href=csv, download=csv))
    headings = {
        "annotator_quality": ("Quality", "share", ""),
        "weight": ("Weight", "real", "Weight of one label in the consensus"),
        "agreement_with_consensus": ("With consensus", "share", "Labels equal to the consensus"),
        "agreement_with_annotators": ("With others", "share", "Others' labels that agree"),
        "num_examples_labeled": ("Labels", "integer", "Examples labelled"),
    }
    columns = [Column("Annotator", "text", [str(name) for name in table["annotator"]])]
    columns += [
        Column(label, kind, rounded(table[name]), explained)
        for name, (label, kind, explained) in headings.items()
        if name in table
    ]
    if "worst_class" in table:
        worst = ["–" if code < 0 else contents.class_name(code) for code in table["worst_class"]]
        columns.append(
            Column("Worst class", "text", worst, "The class given with the least agreement")
        )
    listing = data_table("annotators-table", columns, caption="Annotators", noun="annotators")
    return section("annotators", "Annotators", text(*told), link, listing)


def annotators_of(contents: Contents) -> pd.DataFrame | None:
    """Annotators with labels, the worst first; from the estimate where the run read no labels."""
    if contents.annotators is not None:
        by = ["annotator_quality", "agreement_with_consensus"]
        return contents.annotators.sort_values(by, kind="stable", ignore_index=True)
    if contents.estimate is None:
        return None
    weight = contents.estimate.annotator_weight
    table = pd.DataFrame(
        {
            "annotator": weight.index,
            "weight": weight.to_numpy(),
            "agreement_with_annotators": contents.estimate.agreement_with_annotators.to_numpy(),
            "num_examples_labeled": contents.estimate.votes,
        }
    )
    table = table[table["num_examples_labeled"] > 0]
    return table.sort_values("weight", kind="stable", ignore_index=True)


def rounded(values: pd.Series[Any]) -> list[Any]:
    """Values as they are embedded: six places are more than are shown."""
    return values.round(6).tolist() if values.dtype.kind == "f" else values.tolist()


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


def classes_table(contents: Contents) -> Markup | None:
    """Agreement class by class."""
    if contents.classes is None or contents.estimate is None or not len(contents.classes):
        return None
    num_classes = contents.estimate.num_classes
    table = class_agreement(contents.classes, num_classes)
    shown = table.head(MOST_CLASSES)
    names = [contents.class_name(code) for code in shown.index]
    instead = ["–" if code < 0 else contents.class_name(code) for code in shown["instead"]]
    columns = [
        Column("Class", "text", names),
        Column("Agreement", "share", rounded(shown["agreement"]),
               "Of the labels on examples with this consensus, those that say so"),
        Column("When given", "share", rounded(shown["precision"]),
               "Of the labels that say this class, those on examples with this consensus"),
        Column("Labels given", "integer", shown["given"].tolist()),
        Column("Labels there", "integer", shown["there"].tolist(),
               "Labels on examples with this consensus"),
        Column("Most often instead", "text", instead),
    ]
    told = (
        "Agreement: of the labels on examples whose consensus is the class, the share that say so. "
        "When given: of the labels that say the class, the share whose example has that consensus."
    )
    if len(shown) < len(table):
        told += f" Of {len(table):,} classes, the {len(shown):,} with the least agreement are listed."
    grid = None
    if num_classes <= MATRIX_CLASSES:
        shares = vote_shares(contents.classes, num_classes)
        grid = matrix(
            [contents.class_name(code) for code in range(num_classes)],
            shares.tolist(),
            caption="Labels given (columns) by consensus (rows), in % of the row",
        )
    listing = data_table("classes-table", columns, caption="Classes", noun="classes")
    return section("classes", "Agreement class by class", text(told), grid, listing)


def vote_shares(classes: pd.DataFrame, num_classes: int) -> np.ndarray[Any, Any]:
    """Share of the votes by class given (columns) for each consensus (rows)."""
    counts = np.zeros((num_classes, num_classes))
    counts[classes["consensus"], classes["given"]] = classes["num_votes"]
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def class_agreement(classes: pd.DataFrame, num_classes: int) -> pd.DataFrame:
    """Votes and agreement of each class that occurs, the least agreement first."""
    given, consensus, num = (
        classes[name].to_numpy() for name in ("given", "consensus", "num_votes")
    )
    same = given == consensus

    def count(codes: Any, votes: Any) -> Counts:
        return np.bincount(codes, votes, num_classes).astype(np.int64)

    agreeing, by_given, there = count(given[same], num[same]), count(given, num), count(consensus, num)
    other = np.flatnonzero(~same)
    instead = np.full(num_classes, -1)
    # Written from the least votes up, so that the most, of the smallest class, is what stays.
    order = other[np.lexsort((-given[other], num[other]))]
    instead[consensus[order]] = given[order]
    with np.errstate(invalid="ignore"):
        table = pd.DataFrame(
            {
                "agreement": agreeing / there,
                "precision": agreeing / by_given,
                "given": by_given,
                "there": there,
                "instead": instead,
            }
        )
    table = table[(by_given > 0) | (there > 0)]
    return table.sort_values(["agreement", "precision"], kind="stable")


# --- the estimate -----------------------------------------------------------------------------


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
                label=f"Mean loss by temperature, least at {listed(chosen, 2)}",
                x_ticks=ticks,
                y_ticks=y_ticks,
                notes=notes,
            ),
            tag("figcaption", "Mean loss against the annotators' labels, by temperature"),
            tag("ul", *legend, class_="legend") if legend else None,
        ),
    )


# --- how to repeat it -------------------------------------------------------------------------

OPTION_DEFAULTS = {
    "convention": "paper",
    "temperature": "fit",
    "consensus_method": "best_quality",
    "quality_method": "crowdlab",
    "random_state": 0,
    "on_invalid": "raise",
    "batch_size": 1000,
}
# How a store describes an input that was an object in memory.
IN_MEMORY = re.compile(r"[\w.]+ of shape \(")


def repeat(contents: Contents) -> Markup:
    """Code that makes this result again."""
    lines = ["import daskal", "", "run = daskal.run("]
    for name, value in contents.attrs["inputs"].items():
        lines.append(f"    {name}={as_code(value)}")
    if contents.num_labeled == 0 and contents.estimate is not None:
        lines.append("    estimate=estimate,  # estimate.json in the store")
    lines += [
        f"    {name}={value!r},"
        for name, value in contents.attrs["options"].items()
        if value != OPTION_DEFAULTS.get(name)
    ]
    lines += [f"    out={contents.path!r},", ")", "run.batch  # the next batch"]
    parts = [
        text("The same inputs and options give the same bits, whatever the cluster and chunks."),
        tag("pre", tag("code", "\n".join(lines)), tabindex=0),
    ]
    command = command_line(contents)
    if command is not None:
        parts += [text("Or from a shell:"), tag("pre", tag("code", command), tabindex=0)]
    facts = [("Store", contents.path), ("daskal", contents.attrs["version"])]
    facts += [("CPU level", level) for level in contents.attrs["cpu_levels"]]
    parts.append(
        tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in facts))
    )
    return section("repeat", "How to repeat it", *parts)


def as_code(value: Any) -> str:
    """An input as an argument; one that was in memory as a name to fill in."""
    values = value if isinstance(value, list) else [value]
    if any(IN_MEMORY.match(str(item)) for item in values):
        return f"...,  # {'; '.join(map(str, values))}"
    return f"{value!r},"


def command_line(contents: Contents) -> str | None:
    """The command that does the same, where one does."""
    given, options = contents.attrs["inputs"], contents.attrs["options"]
    flags = {
        "labels": "--labels",
        "pred_probs": "--pred-probs",
        "pred_probs_unlabeled": "--unlabeled",
    }
    told = {"convention": "--convention", "batch_size": "--batch-size"}
    changed = {
        name: value for name, value in options.items() if value != OPTION_DEFAULTS.get(name)
    }
    in_memory = any(
        not isinstance(value, str) or IN_MEMORY.match(value) for value in given.values()
    )
    if in_memory or not set(changed) <= set(told):
        return None
    words = ["daskal", "score"]
    for name, value in given.items():
        words += [flags[name], value]
    if contents.num_labeled == 0 and contents.estimate is not None:
        words += ["--estimate", contents.path]
    for name, value in changed.items():
        words += [told[name], str(value)]
    return shlex.join([*words, "--out", contents.path])
