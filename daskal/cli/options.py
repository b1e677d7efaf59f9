"""What the commands share: handling of errors, options, schedulers."""

from __future__ import annotations

import functools
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import daskal
from daskal import text
from daskal.cli import console, launching, meters
from daskal.errors import DaskalError, InputError

if TYPE_CHECKING:
    from daskal.engine.progress import ProgressCallback

INTERRUPTED = 130
# Arguments that errors advise, as they are written on the command line.
TYPED = {
    "overwrite=True": "--overwrite",
    "resume=True": "--resume",
    "resume=True (daskal score --resume)": "`daskal score --resume`",
    "on_duplicate='last'": "--on-duplicate last",
    "on_invalid='nan'": "--on-invalid nan",
    "task=": "--task",
    "annotator=": "--annotator",
    "label=": "--label",
    "classes=": "--classes",
    "num_classes=": "--num-classes",
    "form=": "--form",
    "labels=": "--labels",
    "votes=": "--votes",
    "multi_label=True": "--multi-label",
    "daskal.Tags(votes, seen)": "--seen",
    "seen=": "--seen",
    "id_column=": "--id-column",
    "class_columns=": "--class-columns",
    "group_column=": "--group-column",
    "groups=": "--labeled-groups and --unlabeled-groups",
    "unknown_tasks='ignore'": "--unknown-tasks ignore",
    "daskal.import_votes": "`daskal import`",
    "daskal.run": "`daskal score`",
}
BATCH_FORMATS = (".csv", ".parquet", ".json")
LABEL_FORMATS = (".csv", ".parquet", ".jsonl")


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--debug``; if it fails, end it with one message and exit status 1."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        try:
            with meters.show_warnings():
                command(**options)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            resume = " The same command with --resume continues." if "resume" in options else ""
            click.echo(f"Interrupted.{resume}", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            if debug:
                click.echo(traceback.format_exc(), err=True)
            if isinstance(error, DaskalError):
                raise click.ClickException(error.with_names(TYPED)) from error
            hint = "" if debug else " (run again with --debug for the traceback)"
            raise click.ClickException(f"{type(error).__name__}: {error}{hint}") from error

    return run


def parse_memory(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return the number of bytes that a text such as 2GiB stands for."""
    try:
        return text.parse_memory(value)
    except InputError:
        raise click.BadParameter(f"expected a size such as 2GiB or 500MB, got {value!r}.") from None


def parse_storage(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return storage options from JSON. Errors do not repeat the text: it may hold secrets."""
    if value is None:
        return None
    try:
        options = json.loads(value)
    except ValueError as error:
        # json's own error repeats the text; the position of the fault is enough.
        place = getattr(error, "pos", 0)
        raise click.BadParameter(
            f"expected a JSON object such as '{{\"anon\": true}}', got text that is no JSON at "
            f"character {place}."
        ) from None
    if not isinstance(options, dict):
        raise click.BadParameter("expected a JSON object, got another kind of JSON value.")
    return options


def check_ending(value: str | None, endings: tuple[str, ...]) -> str | None:
    """Return a path, refused unless its ending names a format."""
    if value is not None and Path(value).suffix.lower() not in endings:
        raise click.BadParameter(f"expected a name in {', '.join(endings)}, got {value!r}.")
    return value


def parse_batch_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return the path of a batch."""
    return check_ending(value, BATCH_FORMATS)


def parse_labels_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return the path of a table of labels."""
    return check_ending(value, LABEL_FORMATS)


def parse_report_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Return the path of a report, refused where no file can be: before any work is done."""
    if value is not None and (Path(value).is_dir() or not Path(value).resolve().parent.is_dir()):
        raise click.BadParameter(f"expected a file in a folder that is there, got {value!r}.")
    return value


def parse_batch_paths(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Any:
    """Return paths, refused unless their endings name a format."""
    return tuple(parse_batch_path(context, parameter, value) for value in values)


# --- options ----------------------------------------------------------------------------------


def report_option(explained: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option for the file of a report."""
    return click.option("--report", callback=parse_report_path, metavar="FILE.html", help=explained)


workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one per core]"
)
memory_option = click.option(
    "--memory-limit",
    callback=parse_memory,
    metavar="SIZE",
    help="Memory of each worker, such as 2GiB.  [default: the machine's, shared out]",
)
storage_option = click.option(
    "--storage-options",
    callback=parse_storage,
    metavar="JSON",
    help="Options for the storage behind URLs, as a JSON object; never stored.",
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Examples in the next batch.",
)
max_per_group_option = click.option(
    "--max-per-group",
    type=click.IntRange(min=1),
    help="At most so many examples of one group, such as a user or a video.",
)
scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS|threads|processes",
    help="Run on this Dask scheduler.  [default: threads for small inputs, else a cluster on this "
    "machine, for this run only]",
)
convention_option = click.option(
    "--convention",
    type=click.Choice(["paper", "cleanlab"]),
    default="paper",
    show_default=True,
    help="Count an example's labels by class, or as cleanlab 2.9.0 does.",
)

MULTI_LABEL = (
    click.option(
        "--multi-label",
        is_flag=True,
        help="An example may have several classes: labels are (N, M, K) of 0, 1 and missing, or a "
        "table of task, annotator and label, whose labels are lists, or one class with --seen.",
    ),
    click.option(
        "--seen",
        metavar="S",
        help="Who was asked about what, a table of task and annotator, where --labels or --votes "
        "have one line for each class chosen.",
    ),
    click.option(
        "--reduce",
        type=click.Choice(["mean", "min"]),
        default="mean",
        show_default=True,
        help="What becomes of the scores of an example's classes, with --multi-label.",
    ),
)


def multi_label_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for examples with several classes."""
    for option in reversed(MULTI_LABEL):
        command = option(command)
    return command


INPUTS = (
    click.option("--labels", metavar="L", help="Labels, (N, M), or imported votes."),
    click.option(
        "--pred-probs",
        metavar="P",
        multiple=True,
        help="Their probabilities, (N, K) or (P, N, K); several times for several models.",
    ),
    click.option(
        "--unlabeled",
        metavar="U",
        multiple=True,
        help="The pool's probabilities, (U, K) or (P, U, K); several times for several models.",
    ),
    click.option(
        "--estimate", metavar="E.json|OLD.zarr", help="Score with this estimate, without pass 1."
    ),
)


def inputs_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for its inputs."""
    for option in reversed(INPUTS):
        command = option(command)
    return command


# Options of `daskal score` that do not change its plan.
PLANNED_ALIKE = (
    "--gold",
    "--on-duplicate",
    "--out",
    "--scheduler",
    "--workers",
    "--convention",
    "--on-invalid",
    "--labeled-ids",
    "--unlabeled-ids",
    "--report",
)
PLANNED_ALIKE_FLAGS = ("--use-gold", "--overwrite", "--resume")


def other_score_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take, and ignore, the options of `daskal score` that change no plan."""
    for name in PLANNED_ALIKE:
        command = click.option(name, hidden=True, expose_value=False)(command)
    for name in PLANNED_ALIKE_FLAGS:
        command = click.option(name, is_flag=True, hidden=True, expose_value=False)(command)
    return command


def check_scheduler(scheduler: str | None, workers: int | None) -> None:
    """Refuse a number of workers for a cluster that is already running."""
    if scheduler is not None and scheduler not in launching.LOCAL_SCHEDULERS and workers:
        raise click.UsageError("--workers is for work on this machine, not for an ADDRESS.")


def one_or_all(paths: tuple[str, ...]) -> Any:
    """Return no path, the only path, or the list of the paths of several models."""
    return None if not paths else paths[0] if len(paths) == 1 else list(paths)


# --- what they work on ------------------------------------------------------------------------


@contextmanager
def timed_work(
    scheduler: str | None,
    workers: int | None,
    memory_limit: int | None,
    *,
    kernels: bool = False,
) -> Iterator[tuple[int | None, ProgressCallback]]:
    """Yield a progress callback on a running scheduler; at the end, print time and memory used.

    Where its processes are new ones that run ``kernels``, these are compiled first: once, not by
    all processes at the same time.
    """
    began = time.monotonic()
    peak = None
    with meters.show_compiling(), ExitStack() as stack:
        progress = stack.enter_context(meters.show_progress())
        if kernels and scheduler in (None, "processes") and daskal.warmup().folder is None:
            click.echo(meters.EACH_COMPILES, err=True)
        client = stack.enter_context(launching.scheduler(scheduler, workers, memory_limit))
        limit = memory_limit
        if client is not None:
            click.echo(f"Dashboard: {client.dashboard_link}", err=True)
        if client is not None and scheduler is None:
            limit = launching.workers_limit(client)
        yield limit, progress
        if client is not None and scheduler is None:
            peak = launching.workers_peak(client)
    click.echo(console.describe_cost(time.monotonic() - began, peak, limit), err=True)
