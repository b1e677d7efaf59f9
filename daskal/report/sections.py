"""The parts of a report, each from a store's aggregates to HTML."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import pandas as pd

from daskal.report.contents import (
    MATRIX_CLASSES,
    MOST_ANNOTATORS,
    MOST_BATCH_ROWS,
    MOST_CLASSES,
    POOL_NAMES,
    Contents,
    annotators_of,
    class_agreement,
    vote_shares,
)
from daskal.report.markup import Markup, join, number, section, tag, text
from daskal.report.tables import Column, data_table, matrix
from daskal.text import listed, plural

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
            f"{counts.get('labeled', 0):,} labelled, {counts.get('unlabeled', 0):,} of the pool",
        )
    ]
    estimate = contents.estimate
    if estimate is not None:
        temperatures = [] if estimate.temperatures is None else estimate.temperatures.tolist()
        weights = estimate.final
        shown += [
            (
                "Temperature",
                listed((f"{value:.2f}" for value in temperatures), most=3) or "none",
                temperature_means(temperatures),
            ),
            (
                "Weight of the model",
                listed((f"{value:.2f}" for value in weights.model_weight), most=3),
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


# --- the batch -----------------------------------------------------------------------------------


def batch_table(contents: Contents) -> Markup:
    """The next batch."""
    batch = contents.batch
    if not len(batch):
        return section("batch", "The next batch", text("There is no example to label."))
    shown = batch.head(MOST_BATCH_ROWS)
    counts = batch["pool"].value_counts()
    summary = text(
        f"{plural(len(batch), 'example')}, the lowest score first: "
        f"{counts.get('labeled', 0):,} of the labelled data and "
        f"{counts.get('unlabeled', 0):,} of the pool. The lower the score, the more one more label "
        f"is worth; the batch ends at {batch['score'].iloc[-1]:.6f}.",
        f" The first {len(shown):,} are listed." if len(shown) < len(batch) else "",
    )
    columns = [Column("Rank", "integer", shown["rank"].tolist())]
    if "id" in shown:
        ids = ["–" if pd.isna(value) else str(value) for value in shown["id"].tolist()]
        columns.append(Column("Id", "text", ids))
    columns += [
        Column("From", "text", shown["pool"].map(POOL_NAMES).tolist()),
        Column("Row", "integer", shown["row"].tolist(), "Row of the array it is from, from 0"),
        Column("Score", "fine", shown["score"].tolist()),
    ]
    table = data_table("next-batch", columns, caption="The next batch", noun="examples")
    return section("batch", "The next batch", summary, table)


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


def rounded(values: pd.Series[Any]) -> list[Any]:
    """Values as they are embedded: six places are more than are shown."""
    return values.round(6).tolist() if values.dtype.kind == "f" else values.tolist()


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
        Column(
            "Agreement",
            "share",
            rounded(shown["agreement"]),
            "Of the labels on examples with this consensus, those that say so",
        ),
        Column(
            "When given",
            "share",
            rounded(shown["precision"]),
            "Of the labels that say this class, those on examples with this consensus",
        ),
        Column("Labels given", "integer", shown["given"].tolist()),
        Column(
            "Labels there",
            "integer",
            shown["there"].tolist(),
            "Labels on examples with this consensus",
        ),
        Column("Most often instead", "text", instead),
    ]
    told = (
        "Agreement: of the labels on examples whose consensus is the class, the share that say so. "
        "When given: of the labels that say the class, the share whose example has that consensus."
    )
    if len(shown) < len(table):
        told += (
            f" Of {len(table):,} classes, the {len(shown):,} with the least agreement are listed."
        )
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
    if contents.estimate_given:
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
    parts.append(tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in facts)))
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
    changed = {name: value for name, value in options.items() if value != OPTION_DEFAULTS.get(name)}
    in_memory = any(
        not isinstance(value, str) or IN_MEMORY.match(value) for value in given.values()
    )
    if in_memory or not set(changed) <= set(told):
        return None
    words = ["daskal", "score"]
    for name, value in given.items():
        words += [flags[name], value]
    if contents.estimate_given:
        words += ["--estimate", contents.path]
    for name, value in changed.items():
        words += [told[name], str(value)]
    return shlex.join([*words, "--out", contents.path])
