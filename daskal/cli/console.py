"""Output in a terminal: progress, warnings and results. Touches no array."""

from __future__ import annotations

import logging
import shlex
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from daskal.errors import DataWarning
from daskal.text import format_bytes, listed

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from daskal import Warmup
    from daskal.demo import Judgement
    from daskal.engine.progress import Progress
    from daskal.importing.importer import ImportSummary
    from daskal.runs.result import Run

STAGES = {
    "votes": "pass 1: votes",
    "temperature": "pass 1: temperature",
    "ties": "pass 1: ties",
    "consensus": "pass 1: consensus",
    "score labeled": "pass 2: labeled",
    "score unlabeled": "pass 2: pool",
    "make labeled": "making: labeled",
    "make unlabeled": "making: pool",
    "test labeled": "judging: labeled",
    "test unlabeled": "judging: pool",
    "survey": "reading ids",
    "write": "writing votes",
}
STAGE_WIDTH = max(map(len, STAGES.values()))
# Least seconds between two lines about one pass where output is no terminal.
LINE_INTERVAL = 10.0
# Width of text where output is no terminal: enough for one line per row of every table.
PIPE_WIDTH = 100
SHOWN_ANNOTATORS = 5
SHOWN_EXAMPLES = 10
SHOWN_CLASSES = 10
EACH_COMPILES = (
    "Each process compiles its kernels for half a minute, as no folder can keep them: set "
    "NUMBA_CACHE_DIR to one that can be written to."
)


# --- progress ---------------------------------------------------------------------------------


def clock_time(seconds: float) -> str:
    """Return seconds as people read them: 0:05, 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def short_count(count: float) -> str:
    """Return a count in three digits: 950, 12.3k, 4.5M."""
    for unit in ("", "k", "M"):
        if count < 999.5:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}G"


class Meter:
    """The speed of a pass, in which rows that were done before it began do not count."""

    def __init__(self, first: Progress, clock: Callable[[], float]) -> None:
        self.began = clock()
        self.clock = clock
        self.first = first

    def describe(self, progress: Progress) -> str:
        """Return the blocks done, rows per second, and the time left or, at the end, taken."""
        seconds = self.clock() - self.began
        rows, blocks = progress.rows - self.first.rows, progress.done - self.first.done
        parts = [f"{progress.done:,}/{progress.total:,} blocks"]
        if rows and seconds > 0:
            parts.append(f"{short_count(rows / seconds)} rows/s")
            if progress.done < progress.total:
                # Where the number of rows is unknown, the share of blocks tells the time left.
                share = (
                    (progress.total_rows - progress.rows) / rows
                    if progress.total_rows
                    else (progress.total - progress.done) / blocks
                )
                parts.append(f"{clock_time(share * seconds)} left")
            else:
                parts.append(f"in {clock_time(seconds)}")
        return "  ".join(parts)


class Lines:
    """Progress as plain lines, for logs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.meters: dict[str, Meter] = {}
        self.shown: dict[str, float] = {}
        # Called from the cluster's thread as well as from the caller's.
        self.lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        """Print a line if one is due: at a pass's first and last block, and in between."""
        with self.lock:
            meter = self.meters.setdefault(progress.stage, Meter(progress, self.clock))
            now = self.clock()
            due = now - self.shown.get(progress.stage, meter.began) >= LINE_INTERVAL
            if due or progress.done == progress.total:
                self.shown[progress.stage] = now
                name = STAGES.get(progress.stage, progress.stage)
                click.echo(f"{name:<{STAGE_WIDTH}} {meter.describe(progress)}", err=True)


@contextmanager
def bars() -> Iterator[Callable[[Progress], None]]:
    """Yield a callback that shows one progress bar per pass, for terminals."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[state]}"),
    )
    meters: dict[str, Meter] = {}
    tasks: dict[str, Any] = {}
    lock = threading.Lock()

    def show(progress: Progress) -> None:
        with lock:
            stage = progress.stage
            if stage not in tasks:
                meters[stage] = Meter(progress, time.monotonic)
                tasks[stage] = display.add_task(STAGES.get(stage, stage), state="")
            display.update(
                tasks[stage],
                completed=progress.done,
                total=progress.total,
                state=meters[stage].describe(progress),
            )

    with Bars(*columns, console=Console(stderr=True)) as display:
        yield show


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """Show progress on standard error: bars in a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        with bars() as show:
            yield show
    else:
        yield Lines()


@contextmanager
def show_warnings() -> Iterator[None]:
    """Show each warning in one line, warnings about data always."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"Warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield


class Teller(logging.Handler):
    """Shows log records as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        click.echo(record.getMessage(), err=True)


@contextmanager
def show_compiling() -> Iterator[None]:
    """Show that kernels are compiled, during which nothing else moves."""
    logger, teller = logging.getLogger("daskal.kernels"), Teller(logging.INFO)
    level = logger.level
    logger.addHandler(teller)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(teller)


# --- results ----------------------------------------------------------------------------------


def open_console() -> Console:
    """Return the console for results, without colors where the output is not a terminal."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if terminal else PIPE_WIDTH)


def make_table(*columns: str, left: tuple[str, ...] = ()) -> Table:
    """Return an empty table whose numbers are aligned to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    return table


def print_section(output: Console, title: str, table: Table) -> None:
    """Print a table under its title."""
    output.print(f"[bold]{title}[/bold]")
    output.print(table)


def show_run(output: Console, run: Run, *, accuracies: Any | None = None) -> None:
    """Print a finished run: estimate, annotators, next batch.

    ``accuracies`` are the annotators' true ones, where they are known.
    """
    if run.estimate is not None:
        show_estimate(output, run)
    if run.annotator_stats is not None:
        show_annotators(output, run, accuracies)
    show_batch(output, run.batch)


def show_stored(output: Console, run: Run) -> None:
    """Print where the run is stored, and what comes next."""
    from rich.markup import escape

    path = escape(shlex.quote(run.path))
    output.print(f"Stored in [bold]{escape(run.path)}[/bold]. Next:", soft_wrap=True)
    output.print(f"  daskal batch {path} --size 100 --out next.csv", soft_wrap=True)
    output.print(f"  daskal report {path} --out report.html", soft_wrap=True)


def show_estimate(output: Console, run: Run) -> None:
    """Print the estimate in a few lines."""
    from rich.markup import escape

    assert run.estimate is not None
    table = make_table("", "", left=("",))
    table.box, table.show_header = None, False
    for name, value in run.estimate.summary():
        table.add_row(name, escape(value))
    print_section(output, "Estimate", table)
    output.print()


def show_annotators(output: Console, run: Run, accuracies: Any | None) -> None:
    """Print the best annotators and the worst."""
    from rich.markup import escape

    stats, estimate = run.annotator_stats, run.estimate
    assert stats is not None
    assert estimate is not None
    weights = estimate.annotator_weight
    columns = ["annotator", "quality", "weight", "agreement", "worst class", "labels"]
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
            f"{weights[name]:.3f}",
            f"{row['agreement_with_consensus']:.3f}",
            str(row["worst_class"]),
            f"{int(row['num_examples_labeled']):,}",
        ]
        if accuracies is not None:
            cells.append(f"{accuracies[int(name)]:.3f}")
        table.add_row(*cells, end_section=cut and place == SHOWN_ANNOTATORS)
    print_section(output, title, table)


def show_batch(output: Console, batch: pd.DataFrame, *, shown: int = SHOWN_EXAMPLES) -> None:
    """Print the first examples to label next."""
    import pandas as pd
    from rich.markup import escape

    relabel = int((batch["pool"] == "labeled").sum())
    table = make_table(*map(str, batch.columns), left=("pool", "id"))
    formats = {"score": "{:.4f}", "row": "{:,}"}
    for row in batch.head(shown).to_dict("records"):
        cells = (
            "" if pd.isna(cell) else formats.get(str(name), "{}").format(cell)
            for name, cell in row.items()
        )
        table.add_row(*map(escape, cells))
    first = f", the first {shown}" if len(batch) > shown else ""
    title = f"Label next: {len(batch):,} examples, {relabel:,} of them again{first}"
    print_section(output, title, table)


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
