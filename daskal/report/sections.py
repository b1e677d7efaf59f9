"""The parts of a report that are text and tables: what each template shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, NamedTuple

import pandas as pd

from daskal.method.aggregates import VoteModel
from daskal.method.multi_label import MultiLabelEstimate
from daskal.report.contents import (
    MATRIX_CLASSES,
    MOST_ANNOTATORS,
    MOST_CLASSES,
    MOST_LABELS,
    Contents,
    annotators_of,
    batch_parts,
    class_agreement,
    vote_shares,
)
from daskal.report.tables import Column, Matrix, Table, in_words, side_by_side
from daskal.text import listed, plural

# Of several classes each has flags of its own.
MOST_FLAGS = 30

# --- the head ---------------------------------------------------------------------------------


class Tile(NamedTuple):
    """One of the few numbers that matter most."""

    name: str
    value: str
    explained: str


def overview(contents: Contents) -> dict[str, Any]:
    """Return a summary of the run in one line and a few numbers, and what to beware of."""
    date = contents.finished_at
    return {
        "line": run_in_a_line(contents),
        "date": None if date is None else f"{date.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
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
    estimate = contents.known
    if estimate is None:
        return f"{line} without an estimate: temperature 1, both weights 1."
    return (
        f"{line} with {plural(estimate.num_annotations, 'label')} by "
        f"{plural(estimate.num_annotators, 'annotator')} over "
        f"{plural(estimate.num_classes, 'class', 'classes')}."
    )


def tiles(contents: Contents) -> list[Tile]:
    """Return the few numbers that matter most."""
    parts = batch_parts(contents)
    named = {"labeled": "labeled", "unlabeled": "of the pool"}
    shown = [
        Tile(
            "Next batch",
            f"{len(contents.batch):,}",
            ", ".join(f"{num:,} {named[source]}" for source, num in parts.items()),
        )
    ]
    if contents.aggregate is not None:
        return [*shown, *votes_tiles(contents, contents.aggregate)]
    estimate = contents.estimate
    if estimate is None:
        return shown
    if isinstance(estimate, MultiLabelEstimate):
        return [*shown, *class_tiles(estimate)]
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
        *gold_tiles(contents),
    ]


def class_tiles(estimate: MultiLabelEstimate) -> list[Tile]:
    """Return the few numbers that matter most where an example may have several classes."""
    chosen = estimate.num_chosen.sum() / max(estimate.num_annotations, 1)
    likelihood = estimate.consensus_likelihood.mean()
    return [
        Tile("Votes that chose a class", in_words("real", float(chosen)), "the others did not"),
        Tile(
            "Votes that match the consensus",
            in_words("real", float(likelihood)),
            "a mean over classes",
        ),
    ]


METHOD_NAMES = {
    "dawid_skene": "Dawid and Skene",
    "one_coin": "one coin",
    "majority_vote": "majority vote",
}


def votes_tiles(contents: Contents, aggregate: VoteModel) -> list[Tile]:
    """Return the few numbers that matter most of votes without a model."""
    accuracy = aggregate.annotator_accuracy.dropna()
    rounds = f"after {plural(aggregate.iterations, 'iteration')}"
    tiles = [
        Tile(
            "Method",
            METHOD_NAMES[aggregate.method],
            rounds if aggregate.iterations else "shares of the votes",
        ),
        Tile(
            "Annotators are right",
            in_words("real", float(accuracy.mean())),
            f"on average, as estimated; from {accuracy.min():.2f} to {accuracy.max():.2f}",
        ),
    ]
    return [*tiles, *gold_tiles(contents)]


def gold_tiles(contents: Contents) -> list[Tile]:
    """Return how often consensus and models are right on examples of known class."""
    num = contents.attrs.get("num_gold")
    if not num:
        return []
    where = f"on {plural(num, 'example')} of known class"
    consensus = contents.attrs["num_gold_consensus_right"] / num
    tiles = [Tile("Consensus is right", in_words("real", consensus), where)]
    models = contents.attrs["num_gold_model_right"]
    if models:
        shares = listed((in_words("real", right / num) for right in models), most=3)
        tiles.append(Tile("Model is right", shares, where))
    return tiles


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
    flags = [] if contents.known is None else list(contents.known.flags)
    if len(flags) > MOST_FLAGS:
        flags = [*flags[:MOST_FLAGS], f"{len(flags) - MOST_FLAGS:,} more, in Run.estimate.flags"]
    invalid = int(contents.attrs["num_invalid_rows"])
    if invalid:
        flags.append(f"{plural(invalid, 'row')} with values that are no probabilities or labels")
    return {"flags": [f"{flag[:1].upper()}{flag[1:]}." for flag in flags]}


# --- labels -----------------------------------------------------------------------------------


def doubtful_labels(contents: Contents) -> dict[str, Any] | None:
    """Return the consensus labels of lowest quality; stores before 0.2 do not keep them."""
    found = contents.doubtful
    if found is None or not len(found):
        return None
    shown = found.head(MOST_LABELS)
    quality = Column("Quality", "fine", rounded(shown["consensus_quality_score"]))
    columns = [Column("Row", "integer", shown["row"].tolist(), "Row of the labels, from 0")]
    if "id" in shown:
        columns.append(Column("Id", "text", [str(value) for value in shown["id"].tolist()]))
    columns += [
        Column("Consensus label", "text", class_names(contents, shown["consensus_label"])),
        quality,
        Column(
            "Agreement",
            "share",
            rounded(shown["annotator_agreement"]),
            "Votes for the example that equal its consensus label",
        ),
        Column("Votes", "integer", shown["num_annotations"].tolist()),
        Column("Score", "fine", rounded(shown["score"])),
    ]
    return {
        "listed": plural(len(shown), "label"),
        "table": Table(
            "doubtful-labels",
            columns,
            "The most doubtful consensus labels",
            "labels",
            sorted_by=columns.index(quality),
        ),
    }


# --- annotators and classes -------------------------------------------------------------------

# Columns of numbers: heading, format, and explanation.
ANNOTATOR_HEADINGS = {
    "annotator_quality": ("Quality", "share", ""),
    "weight": ("Weight", "real", "Weight of one label in the consensus"),
    "agreement_with_consensus": (
        "Agreement with consensus",
        "share",
        "Labels equal to the consensus",
    ),
    "agreement_with_annotators": ("Agreement with others", "share", "Others' labels that agree"),
    "num_examples_labeled": ("Labels", "integer", "Examples labeled"),
    "gold_accuracy": ("Right", "share", "Of the labels on examples of known class"),
    "gold_low": ("at least", "real", "Lower end of the 95 % interval (Wilson's)"),
    "gold_high": ("at most", "real", "Upper end of the 95 % interval (Wilson's)"),
    "num_gold": ("Known", "integer", "Labels on examples of known class"),
}


# Of several classes that an example may have: heading, format, and explanation.
CLASS_HEADINGS = {
    "agreement_where_present": (
        "Found",
        "share",
        "Of the votes on examples whose consensus has the class, those that chose it",
    ),
    "agreement": (
        "Agreement",
        "share",
        "Of the votes on the class, 0 or 1, those like the consensus",
    ),
    "num_votes": ("Votes", "integer", ""),
    "num_chosen": ("Chosen", "integer", "Votes that chose the class"),
    "num_consensus": ("Examples", "integer", "Examples whose consensus has the class"),
    "model_weight": ("Weight of the model", "real", ""),
    "temperature": ("Temperature", "real", ""),
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
        "with_model": contents.aggregate is None,
        "with_weights": "weight" in table,
        "num_annotators": f"{num_annotators:,}",
        "num_ends": None if half is None else f"{half:,}",
        "csv": csv,
        "table": Table("annotators-table", columns, "Annotators", "annotators", sorted_by=1),
    }


def class_names(contents: Contents, codes: pd.Series[Any]) -> list[str]:
    """Return the names of classes, a dash for the code -1."""
    return ["–" if code < 0 else contents.class_name(code) for code in codes]


def rounded(values: pd.Series[Any]) -> list[Any]:
    """Return values rounded for the page: six places are more than it shows."""
    return values.round(6).tolist() if values.dtype.kind == "f" else values.tolist()


def several_classes(contents: Contents, table: pd.DataFrame) -> dict[str, Any]:
    """Return what is known of each of several classes that an example may have, the worst first."""
    by = ["agreement_where_present", "agreement"]
    table = table.sort_values(by, kind="stable")
    shown = table.head(MOST_CLASSES)
    columns = [Column("Class", "text", class_names(contents, shown["class"]))]
    columns += [
        Column(label, kind, rounded(shown[name]), explained)
        for name, (label, kind, explained) in CLASS_HEADINGS.items()
    ]
    return {
        "several": True,
        "num_classes": f"{len(table):,}",
        "listed": f"{len(shown):,}" if len(shown) < len(table) else None,
        "matrix": None,
        "table": Table("classes-table", columns, "Classes", "classes", sorted_by=1),
    }


def classes(contents: Contents) -> dict[str, Any] | None:
    """Return agreement class by class."""
    if contents.class_stats is not None:
        return several_classes(contents, contents.class_stats)
    if contents.classes is None or contents.known is None or not len(contents.classes):
        return None
    num_classes = contents.known.num_classes
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
        "several": False,
        "num_classes": f"{len(table):,}",
        "listed": f"{len(shown):,}" if len(shown) < len(table) else None,
        "matrix": matrix,
        "table": Table("classes-table", columns, "Classes", "classes", sorted_by=1),
    }
