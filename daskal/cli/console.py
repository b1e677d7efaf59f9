"""Results as a terminal shows them. Touches no array."""

from __future__ import annotations

import math
import shlex
import sys
from typing import IO, TYPE_CHECKING, Any, cast

import click

from daskal.report.glossary import GLOSSARY
from daskal.text import Summarized, format_bytes, listed, plural

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from daskal import Warmup
    from daskal.demo import Judgement
    from daskal.importing.summary import ImportSummary
    from daskal.method.panels import Panel
    from daskal.runs.result import Run

# Width of text where output is no terminal: enough for one line per row of every table.
PIPE_WIDTH = 100
SHOWN_ANNOTATORS = 5
SHOWN_EXAMPLES = 10
SHOWN_JUDGES = 20
SHOWN_CLASSES = 10
SHOWN_LABELS = 25
# No table is wider.
WIDEST = 10_000
# Length of the bar that stands for all.
BAR_WIDTH = 30


class Trimmed:
    """A stream without the blanks with which tables fill their lines to the end."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.begun = ""

    def write(self, text: str) -> int:
        """Write the lines that are whole; keep what is begun."""
        *lines, self.begun = (self.begun + text).split("\n")
        self.stream.writelines(f"{line.rstrip(' ')}\n" for line in lines)
        return len(text)

    def flush(self) -> None:
        """Write what is left, too."""
        self.stream.write(self.begun)
        self.begun = ""
        self.stream.flush()

    def isatty(self) -> bool:
        """Return whether people see it at once."""
        return False


def open_console() -> Console:
    """Return the console for results, without colors where the output is not a terminal."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=PIPE_WIDTH, file=cast("IO[str]", Trimmed(sys.stdout)))


def make_table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    """Return an empty table whose numbers are aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    return table


def print_section(output: Console, title: str, table: Table, *, whole: bool = False) -> None:
    """Print a table under its title.

    With ``whole``, no cell is broken into lines: names and paths in it can be copied.
    """
    output.print(f"[bold]{title}[/bold]", soft_wrap=True)
    width = output.width
    if whole:
        options = output.options.update(max_width=WIDEST)
        output.width = max(width, output.measure(table, options=options).maximum)
    output.print(table, crop=False)
    output.width = width


def show_run(output: Console, run: Run, *, accuracies: Any | None = None) -> None:
    """Print a finished run: estimate, annotators, next batch.

    ``accuracies`` are the annotators' true ones, where they are known.
    """
    if run.estimate is not None or run.aggregate is not None:
        show_estimate(output, run)
    if run.annotator_stats is not None:
        show_annotators(output, run, accuracies)
    show_batch(output, run.batch)


def show_stored(output: Console, run: Run, report: str | None = None) -> None:
    """Print where the run is stored, and what comes next; ``report`` is one that is written."""
    from rich.markup import escape

    path = escape(shlex.quote(run.path))
    output.print(f"Stored in [bold]{escape(run.path)}[/bold].", soft_wrap=True)
    if report is not None:
        output.print(f"Report, for a browser: [bold]{escape(report)}[/bold]", soft_wrap=True)
    output.print("Next:")
    output.print(f"  daskal batch {path} --size 100 --out next.csv", soft_wrap=True)
    if run.scores is not None:
        output.print(f"  daskal labels {path} --out labels.csv", soft_wrap=True)
    if report is None:
        output.print(f"  daskal report {path} --out report.html", soft_wrap=True)


def show_estimate(output: Console, run: Run) -> None:
    """Print the estimate in a few lines."""
    known: Any = run.aggregate if run.estimate is None else run.estimate
    show_summary(output, "Estimate" if run.aggregate is None else "Aggregate", known)
    output.print()


def show_summary(output: Console, title: str, summarized: Summarized) -> None:
    """Print an object in a few lines of names and values, broken between words."""
    from rich.markup import escape

    table = make_table("", "", left=("",))
    table.box, table.show_header = None, False
    for name, value in summarized.summary():
        table.add_row(name, escape(value))
    print_section(output, title, table)


def show_annotators(output: Console, run: Run, accuracies: Any | None) -> None:
    """Print the best annotators and the worst."""
    from rich.markup import escape

    stats, estimate = run.annotator_stats, run.estimate
    assert stats is not None
    weights: Any = None if estimate is None else estimate.annotator_weight
    if weights is not None and weights.ndim == 2:
        # Of several classes an example, each has weights of its own.
        weights = weights.mean(axis=1)
    columns = ["annotator", "quality", "agreement", "worst class", "labels"]
    if weights is not None:
        columns.insert(2, "weight")
    if accuracies is not None:
        columns.append("truly right")
    table = make_table(*columns)
    best_first = stats.iloc[::-1]
    shown, title = [*range(len(stats))], "Annotators, the best first"
    cut = len(stats) > 2 * SHOWN_ANNOTATORS
    if cut:
        shown = shown[:SHOWN_ANNOTATORS] + shown[-SHOWN_ANNOTATORS:]
        title = f"Annotators: the best and the worst {SHOWN_ANNOTATORS} of {len(stats):,}"
    for place, at in enumerate(shown, start=1):
        name, row = best_first.index[at], best_first.iloc[at]
        cells = [
            escape(str(name)),
            f"{row['annotator_quality']:.3f}",
            f"{row['agreement_with_consensus']:.3f}",
            str(best_first["worst_class"].iloc[at]),
            f"{int(row['num_examples_labeled']):,}",
        ]
        if weights is not None:
            cells.insert(2, f"{weights[name]:.3f}")
        if accuracies is not None:
            cells.append(f"{accuracies[int(name)]:.3f}")
        table.add_row(*cells, end_section=cut and place == SHOWN_ANNOTATORS)
    print_section(output, title, table, whole=True)


def show_panel(output: Console, panel: Panel) -> None:
    """Print what a panel is worth, and its annotators, the worst first."""
    from rich.markup import escape

    show_summary(output, "Panel", panel)
    output.print()
    people = panel.annotators
    people = people[people["num_judged"] > 0].sort_values("accuracy", kind="stable")
    table = make_table("annotator", "right", "at least", "at most", "habit", "judged")
    for annotator, row in people.head(SHOWN_JUDGES).iterrows():
        shares = (row[key] for key in ("accuracy", "accuracy_low", "accuracy_high", "spam_score"))
        cells = ("" if math.isnan(share) else f"{share:.3f}" for share in shares)
        table.add_row(escape(str(annotator)), *cells, f"{int(row['num_judged']):,}")
    more = len(people) - SHOWN_JUDGES
    title = "Annotators, the worst first" + (f"; {more:,} more" if more > 0 else "")
    print_section(output, title, table, whole=True)


def show_batch(output: Console, batch: pd.DataFrame, *, shown: int = SHOWN_EXAMPLES) -> None:
    """Print the first examples to label next."""
    import pandas as pd
    from rich.markup import escape

    relabel = int((batch["source"] == "labeled").sum())
    table = make_table(*map(str, batch.columns), left=("source", "id"))
    formats = {"score": "{:.4f}", "row": "{:,}"}
    for row in batch.head(shown).to_dict("records"):
        cells = (
            "" if pd.isna(cell) else formats.get(str(name), "{}").format(cell)
            for name, cell in row.items()
        )
        table.add_row(*map(escape, cells))
    first = f", the first {shown}" if len(batch) > shown else ""
    again = f"{relabel:,}" if relabel else "none"
    title = f"Label next: {plural(len(batch), 'example')}, {again} of them again{first}"
    print_section(output, title, table, whole=True)


def show_assigned(output: Console, assigned: pd.DataFrame) -> None:
    """Print how many examples each annotator is asked about."""
    from rich.markup import escape

    table = make_table("annotator", "examples", "gain, bits", left=("annotator",))
    for name, part in assigned.groupby("annotator", sort=False):
        table.add_row(escape(str(name)), f"{len(part):,}", f"{part['gain'].sum():.1f}")
    print_section(output, f"Whom to ask: {plural(len(assigned), 'vote')}", table, whole=True)


def show_labels(output: Console, labels: pd.DataFrame, below: float | None) -> None:
    """Print labels, the lowest quality first."""
    from rich.markup import escape

    names = {
        "consensus_label": "label",
        "consensus_labels": "labels",
        "consensus_quality_score": "quality",
        "annotator_agreement": "agreement",
        "num_annotations": "votes",
    }
    labels = labels.reset_index().rename(columns=names)
    formats = {"quality": "{:.4f}", "agreement": "{:.3f}", "score": "{:.4f}", "row": "{:,}"}
    table = make_table(*map(str, labels.columns), left=("id", "label", "labels"))
    if "labels" in labels:
        labels["labels"] = [", ".join(map(str, chosen)) for chosen in labels["labels"]]
    for row in labels.to_dict("records"):
        cells = (formats.get(str(name), "{}").format(cell) for name, cell in row.items())
        table.add_row(*map(escape, cells))
    limit = "" if below is None else f" below a quality of {below:g}"
    num = "one" if len(labels) == 1 else f"{len(labels):,}"
    title = f"Consensus labels{limit}: the {num} of lowest quality"
    print_section(output, title, table, whole=True)


def show_judgements(output: Console, judgements: dict[str, Judgement], share: float) -> None:
    """Print what share of errors the lowest scores find, for everything that was judged."""
    lowest = f"lowest {share:.0%} of scores"
    table = make_table(
        "share that is wrong", "overall", f"in the {lowest}", left=("share that is wrong",)
    )
    for name, judgement in judgements.items():
        table.add_row(name, f"{judgement.wrong:.1%}", f"{judgement.wrong_among_lowest:.1%}")
    print_section(output, "What the scores find (the truth is known here, and was not used)", table)
    for name, judgement in judgements.items():
        output.print(f"The {lowest} hold {judgement.found:.0%} of the wrong {name}.")
    output.print()


def show_right_by_quality(output: Console, counts: Any) -> None:
    """Print how often labels of each quality are right; ``counts`` are labels and right ones."""
    table = make_table("quality", "labels", "right", "", left=("",))
    num, right = counts.tolist()
    for at, (labels, correct) in enumerate(zip(num, right, strict=True)):
        share = correct / labels if labels else None
        table.add_row(
            f"{at / len(num):.1f} to {(at + 1) / len(num):.1f}",
            f"{labels:,}",
            "" if share is None else f"{share:.1%}",
            "" if share is None else "█" * round(BAR_WIDTH * share),
        )
    print_section(output, "How often labels of each quality are right", table)
    for word in ("quality", "score"):
        output.print(f"[bold]{word.capitalize()}[/bold]: {GLOSSARY[word]}")
    output.print("The report explains the other words.")
    output.print()


def show_import(output: Console, made: ImportSummary) -> None:
    """Print what was imported."""
    from rich.markup import escape

    table = make_table("", "", left=("",))
    table.box, table.show_header = None, False
    for name, count in (
        ("tasks", made.num_examples),
        ("without votes", made.num_unlabeled),
        ("annotators", made.num_annotators),
        ("votes", made.num_votes),
        ("replaced by later ones", made.num_replaced),
        ("classes", made.num_classes),
    ):
        table.add_row(name, f"{count:,}")
    for why, count in made.left_out.items():
        table.add_row(f"left out, {why}", f"{count:,}")
    table.add_row("order of tasks", made.task_order)
    table.add_row("order of classes", made.class_order)
    if made.classes is not None:
        table.add_row("their order", escape(listed(made.classes, most=SHOWN_CLASSES)))
    print_section(output, "Imported", table)
    output.print(f"Stored in [bold]{escape(made.path)}[/bold]", soft_wrap=True)


def show_warmup(done: Warmup) -> None:
    """Print what there was to compile, and where it is."""
    click.echo(
        f"Compiled in {done.seconds:.1f} s."
        if done.compiled
        else "Nothing to compile: already there."
    )
    click.echo(f"Cache: {done.folder}")


def describe_cost(seconds: float, peak: int | None, limit: int | None) -> str:
    """Return in words what a run took: time, and memory where known."""
    text = f"Done in {seconds:.1f} s"
    if peak is not None:
        text += f"; no worker held more than {format_bytes(peak)}"
        if limit:
            text += f" of its {format_bytes(limit)}"
    return text
