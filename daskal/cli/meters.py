"""Progress and warnings on standard error, while a command works. Touches no array."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from daskal.errors import DataWarning

if TYPE_CHECKING:
    from daskal.engine.progress import Progress

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
    "test quality labeled": "judging: quality",
    "survey": "reading ids",
    "write": "writing votes",
}
STAGE_WIDTH = max(map(len, STAGES.values()))
# Least seconds between two lines about one pass where output is no terminal.
LINE_INTERVAL = 10.0
EACH_COMPILES = (
    "Each process compiles its kernels for some 20 seconds, as no folder can keep them: set "
    "NUMBA_CACHE_DIR to one that can be written to."
)


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

    # What is printed meanwhile, such as a warning with a path in it, is not broken into lines.
    with Bars(*columns, console=Console(stderr=True, soft_wrap=True)) as display:
        yield show


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """Show progress on standard error: bars in a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        with bars() as show:
            yield show
    else:
        yield Lines()


def tell(text: str) -> None:
    """Print a line on standard error, above the progress bars if there are any.

    By itself click writes to what lies below the stream that the bars put in place.
    """
    click.echo(text, file=sys.stderr)


@contextmanager
def show_warnings() -> Iterator[None]:
    """Show each warning in one line, warnings about data always."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        tell(f"Warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield


class Teller(logging.Handler):
    """Shows log records as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        tell(record.getMessage())


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
