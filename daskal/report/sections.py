"""The parts of a report that are text and tables: what each template shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from daskal.report.contents import (
    MATRIX_CLASSES,
    MOST_ANNOTATORS,
    MOST_BATCH_ROWS,
    MOST_CLASSES,
    SECTION_NAMES,
    Contents,
    annotators_of,
    class_agreement,
    vote_shares,
)
from daskal.report.tables import Column, Matrix, Table, in_words, side_by_side
from daskal.text import plural

# --- the head ---------------------------------------------------------------------------------


class Tile(NamedTuple):
    """One of the few numbers that matter most."""

    name: str
    value: str
    explained: str


def overview(contents: Contents) -> dict[str, Any]:
    """Return a summary of the run in one line and a few numbers, and what to beware of."""
    return {
        "line": run_in_a_line(contents),
        "tiles": tiles(contents),
        "warnings": [] if contents.estimate is None else list(contents.estimate.warnings),
    }


def run_in_a_line(contents: Contents) -> str:
    """Return a summary of the run in one line."""
    what = []
    if contents.num_labeled:
        what.append(plural(contents.num_labeled, "labeled example"))
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


def tiles(contents: Contents) -> list[Tile]:
    """Return the few numbers that matter most."""
    counts = contents.batch["pool"].value_counts()
    shown = [
        Tile(
            "Next batch",
            f"{len(contents.batch):,}",
            f"{counts.get('labeled', 0):,} labeled, {counts.get('unlabeled', 0):,} of the pool",
        )
    ]
    estimate = contents.estimate
    if estimate is None:
        return shown
    temperatures = [] if estimate.temperatures is None else estimate.temperatures.tolist()
    weights = estimate.final
    return [
        *shown,
        Tile("Temperature", side_by_side(temperatures) or "none", temperature_means(temperatures)),
        Tile(
            "Weight of the model",
            side_by_side(weights.model_weight.tolist()),
            f"an annotator's, on average: {weights.mean_weight:.2f}",
        ),
        Tile(
            "Votes that match the consensus",
            in_words("real", weights.consensus_likelihood),
            f"over {plural(estimate.num_multiple, 'example')} with several labels",
        ),
    ]


def temperature_means(temperatures: Sequence[float]) -> str:
    """Return what a temperature means for the model, in words."""
    if not temperatures:
        return "probabilities as they are"
    if max(temperatures) < 1:
        return "below 1: the model was too cautious"
    if min(temperatures) > 1:
        return "above 1: the model was too sure of itself"
    return "1: probabilities as they are" if set(temperatures) == {1} else "one for each model"


def quality_flags(contents: Contents) -> dict[str, Any]:
    """Return what is unusual in the data."""
    flags = [] if contents.estimate is None else list(contents.estimate.flags)
    invalid = int(contents.attrs["num_invalid_rows"])
    if invalid:
        flags.append(f"{plural(invalid, 'row')} with values that are no probabilities or labels")
    return {"flags": [f"{flag[:1].upper()}{flag[1:]}." for flag in flags]}


# --- the batch --------------------------------------------------------------------------------


def next_batch(contents: Contents) -> dict[str, Any]:
    """Return the next batch."""
    batch = contents.batch
    if not len(batch):
        return {"table": None}
    shown = batch.head(MOST_BATCH_ROWS)
    counts = batch["pool"].value_counts()
    columns = [Column("Rank", "integer", shown["rank"].tolist())]
    if "id" in shown:
        ids = ["–" if pd.isna(value) else str(value) for value in shown["id"].tolist()]
        columns.append(Column("Id", "text", ids))
    columns += [
        Column("From", "text", shown["pool"].map(SECTION_NAMES).tolist()),
        Column("Row", "integer", shown["row"].tolist(), "Row of the array it is from, from 0"),
        Column("Score", "fine", shown["score"].tolist()),
    ]
    return {
        "size": plural(len(batch), "example"),
        "num_labeled": f"{counts.get('labeled', 0):,}",
        "num_pool": f"{counts.get('unlabeled', 0):,}",
        "last_score": f"{batch['score'].iloc[-1]:.6f}",
        "listed": f"{len(shown):,}" if len(shown) < len(batch) else None,
        "table": Table("next-batch", columns, "The next batch", "examples"),
    }


# --- annotators and classes -------------------------------------------------------------------

# Columns of numbers: heading, format, and explanation.
ANNOTATOR_HEADINGS = {
    "annotator_quality": ("Quality", "share", ""),
    "weight": ("Weight", "real", "Weight of one label in the consensus"),
    "agreement_with_consensus": ("With consensus", "share", "Labels equal to the consensus"),
    "agreement_with_annotators": ("With others", "share", "Others' labels that agree"),
    "num_examples_labeled": ("Labels", "integer", "Examples labeled"),
}


def annotators(contents: Contents, csv: str | None) -> dict[str, Any] | None:
    """Return the annotators, the worst first; ``csv`` is the file that lists all of them."""
    table = annotators_of(contents)
    if table is None:
        return None
    num_annotators, half = len(table), None
    if num_annotators > MOST_ANNOTATORS:
        half = MOST_ANNOTATORS // 2
        table = pd.concat([table.head(half), table.tail(half)])
    columns = [Column("Annotator", "text", [str(name) for name in table["annotator"]])]
    columns += [
        Column(label, kind, rounded(table[name]), explained)
        for name, (label, kind, explained) in ANNOTATOR_HEADINGS.items()
        if name in table
    ]
    if "worst_class" in table:
        worst = class_names(contents, table["worst_class"])
        explained = "The class given with the least agreement"
        columns.append(Column("Worst class", "text", worst, explained))
    return {
        "num_annotators": f"{num_annotators:,}",
        "num_ends": None if half is None else f"{half:,}",
        "csv": csv,
        "table": Table("annotators-table", columns, "Annotators", "annotators"),
    }


def class_names(contents: Contents, codes: pd.Series[Any]) -> list[str]:
    """Return the names of classes, a dash for the code -1."""
    return ["–" if code < 0 else contents.class_name(code) for code in codes]


def rounded(values: pd.Series[Any]) -> list[Any]:
    """Return values rounded for the page: six places are more than it shows."""
    return values.round(6).tolist() if values.dtype.kind == "f" else values.tolist()


def classes(contents: Contents) -> dict[str, Any] | None:
    """Return agreement class by class."""
    if contents.classes is None or contents.estimate is None or not len(contents.classes):
        return None
    num_classes = contents.estimate.num_classes
    table = class_agreement(contents.classes, num_classes)
    shown = table.head(MOST_CLASSES)
    columns = [
        Column("Class", "text", [contents.class_name(code) for code in shown.index]),
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
        Column("Labels given", "integer", shown["num_given"].tolist()),
        Column(
            "Labels there",
            "integer",
            shown["num_by_consensus"].tolist(),
            "Labels on examples with this consensus",
        ),
        Column("Most often instead", "text", class_names(contents, shown["given_instead"])),
    ]
    matrix = None
    if num_classes <= MATRIX_CLASSES:
        matrix = Matrix(
            [contents.class_name(code) for code in range(num_classes)],
            vote_shares(contents.classes, num_classes).tolist(),
            "Labels given (columns) by consensus (rows), in % of the row",
        )
    return {
        "num_classes": f"{len(table):,}",
        "listed": f"{len(shown):,}" if len(shown) < len(table) else None,
        "matrix": matrix,
        "table": Table("classes-table", columns, "Classes", "classes"),
    }


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
# The command line's names of inputs, and of options it can change.
INPUT_FLAGS = {
    "labels": "--labels",
    "pred_probs": "--pred-probs",
    "pred_probs_unlabeled": "--unlabeled",
    "labeled_ids": "--labeled-ids",
    "unlabeled_ids": "--unlabeled-ids",
}
OPTION_FLAGS = {
    "convention": "--convention",
    "batch_size": "--batch-size",
    "on_invalid": "--on-invalid",
}
# How a store describes an input that was an object in memory.
IN_MEMORY = re.compile(r"[\w.]+ of shape \(")


def repeat(contents: Contents) -> dict[str, Any]:
    """Return how to make this result again, in Python and from a shell."""
    return {
        "code": python_code(contents),
        "command": command_line(contents),
        "facts": [
            ("Store", contents.path),
            ("daskal", contents.attrs["version"]),
        ],
    }


def changed_options(contents: Contents) -> dict[str, Any]:
    """Return the options that differ from the defaults."""
    options = contents.attrs["options"]
    return {name: value for name, value in options.items() if value != OPTION_DEFAULTS.get(name)}


def python_code(contents: Contents) -> str:
    """Return code that makes this result again."""
    inputs = contents.attrs["inputs"]
    lines = [f"    {name}={as_code(value)}" for name, value in inputs.items()]
    if contents.estimate_given:
        lines.append("    estimate=estimate,  # estimate.json in the store")
    lines += [f"    {name}={value!r}," for name, value in changed_options(contents).items()]
    lines.append(f"    out={contents.path!r},")
    head, tail = ["import daskal", "", "run = daskal.run("], [")", "run.batch  # the next batch"]
    return "\n".join([*head, *lines, *tail])


def as_code(value: Any) -> str:
    """Return an input as an argument; one that was in memory as a name to fill in."""
    values = value if isinstance(value, list) else [value]
    if any(IN_MEMORY.match(str(item)) for item in values):
        return f"...,  # {'; '.join(map(str, values))}"
    return f"{value!r},"


def command_line(contents: Contents) -> str | None:
    """Return the command that makes this result, None where none does."""
    inputs, changed = contents.attrs["inputs"], changed_options(contents)
    in_memory = any(
        not isinstance(value, str) or IN_MEMORY.match(value) for value in inputs.values()
    )
    if in_memory or not set(changed) <= set(OPTION_FLAGS):
        return None
    words = ["daskal", "score"]
    for name, value in inputs.items():
        words += [INPUT_FLAGS[name], value]
    if contents.estimate_given:
        words += ["--estimate", contents.path]
    for name, value in changed.items():
        words += [OPTION_FLAGS[name], str(value)]
    return shlex.join([*words, "--out", contents.path])
