"""The command line. Touches no array.

Whatever is slow to import waits until a command needs it, so that help comes at once.
"""

from __future__ import annotations

import functools
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import daskal
from daskal import console, launching
from daskal.errors import DaskalError, EstimateError

if TYPE_CHECKING:
    import pandas as pd

    from daskal.progress import Report

Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 130
# Share of the lowest scores that the demo judges.
LOWEST = 0.1
BATCH_FORMATS = (".csv", ".parquet", ".json")


# --- what the commands share ------------------------------------------------------------------


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command ``--debug``, and end it with one message and exit status 1 where it fails."""

    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(command)
    def run(*, debug: bool, **options: Any) -> None:
        try:
            with console.show_warnings():
                command(**options)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            if debug:
                click.echo(traceback.format_exc(), err=True)
            text = str(error)
            if not isinstance(error, DaskalError):
                hint = "" if debug else " (run again with --debug for the traceback)"
                text = f"{type(error).__name__}: {text}{hint}"
            raise click.ClickException(text) from error

    return run


def parse_memory(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Bytes from text such as 2GiB."""
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        size = parse_bytes(value)
    except ValueError:
        size = 0
    if size <= 0:
        raise click.BadParameter(f"expected a size such as 2GiB or 500MB, got {value!r}.")
    return size


def parse_storage(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """Options of the storage from JSON; what was given may hold secrets and is not repeated."""
    if value is None:
        return None
    try:
        options = json.loads(value)
    except ValueError as error:
        # json's own error repeats the text; its place in it is enough.
        place = getattr(error, "pos", 0)
        raise click.BadParameter(
            f"expected a JSON object such as '{{\"anon\": true}}', got text that is no JSON at "
            f"character {place}."
        ) from None
    if not isinstance(options, dict):
        raise click.BadParameter("expected a JSON object, got another kind of JSON value.")
    return options


def parse_batch_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """A path whose ending names a format."""
    if value is not None and Path(value).suffix not in BATCH_FORMATS:
        raise click.BadParameter(f"expected a name in {', '.join(BATCH_FORMATS)}, got {value!r}.")
    return value


workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one a core]"
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
scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS|threads|processes",
    help="Run on this Dask scheduler.  [default: a cluster on this machine, for this run only]",
)
convention_option = click.option(
    "--convention",
    type=click.Choice(["paper", "cleanlab"]),
    default="paper",
    show_default=True,
    help="Count an example's labels by class, or as cleanlab 2.9.0 does.",
)


@contextmanager
def timed_work(
    scheduler: str | None, workers: int | None, memory_limit: int | None
) -> Iterator[tuple[Any, Report]]:
    """A scheduler and a progress display; what was used is told at the end."""
    began = time.monotonic()
    peak = limit = None
    with (
        console.show_progress() as progress,
        launching.scheduler(scheduler, workers, memory_limit) as client,
    ):
        yield client, progress
        if client is not None and scheduler is None:
            peak, limit = launching.workers_peak(client), launching.workers_limit(client)
    click.echo(console.describe_cost(time.monotonic() - began, peak, limit), err=True)


def check_scheduler(scheduler: str | None, workers: int | None, memory_limit: int | None) -> None:
    """Refuse options that a scheduler cannot follow."""
    if scheduler is not None and scheduler not in launching.LOCAL_SCHEDULERS and workers:
        raise click.UsageError("--workers is for a cluster on this machine, not for an ADDRESS.")
    if scheduler is not None and memory_limit is not None:
        raise click.UsageError("--memory-limit is for a cluster on this machine, not for others.")


def one_or_all(paths: tuple[str, ...]) -> Any:
    """No path, the path, or the list of those of several models."""
    return None if not paths else paths[0] if len(paths) == 1 else list(paths)


def read_estimate(path: str, storage_options: dict[str, Any] | None) -> Any:
    """The estimate in a JSON file or in a result store."""
    if not path.rstrip("/").endswith(".json"):
        found = daskal.Run.open(path, storage_options=storage_options).estimate
        if found is None:
            raise EstimateError(
                f"expected a store with an estimate, {path!r} has none: it holds scores of a pool "
                "that were made without one."
            )
        return found
    import fsspec

    try:
        with fsspec.open(path, encoding="utf-8", mode="r", **(storage_options or {})) as file:
            text = file.read()
    except OSError as error:
        raise EstimateError(
            f"expected an estimate's JSON in {path!r}, which cannot be read: {error}"
        ) from error
    return daskal.Estimate.from_json(text)


def write_batch(batch: pd.DataFrame, path: str) -> None:
    """Write a batch in the format its path names."""
    suffix = Path(path).suffix
    if suffix == ".csv":
        batch.to_csv(path, index=False)
    elif suffix == ".json":
        batch.to_json(path, orient="records", indent=2)
    else:
        batch.to_parquet(path, index=False)


# --- the commands -----------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version=daskal.__version__, prog_name="daskal")
def main() -> None:
    """Which examples to label next: crowd labels and a model's probabilities, larger than memory.

    Start with `daskal demo`. Then `daskal score` on your own Zarr arrays, `daskal batch` for what
    to send to annotators.
    """


@main.command()
@click.option(
    "--examples",
    type=click.IntRange(min=2),
    default=20_000,
    show_default=True,
    help="Labelled examples.",
)
@click.option(
    "--pool", type=click.IntRange(min=1), help="Unlabelled examples.  [default: 5 times as many]"
)
@click.option("--annotators", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--classes", type=click.IntRange(min=2, max=2**31 - 1), default=10, show_default=True)
@click.option(
    "--labels-per-example",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Mean number of labels of a labelled example.",
)
@click.option(
    "--accuracy",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="How often the model is right.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("daskal-demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for the data and the scores; replaces an earlier demo in it.",
)
@batch_size_option
@convention_option
@workers_option
@memory_option
@reports_errors
def demo(
    *,
    examples: int,
    pool: int | None,
    annotators: int,
    classes: int,
    labels_per_example: int,
    accuracy: float,
    seed: int,
    out: Path,
    batch_size: int,
    convention: str,
    workers: int | None,
    memory_limit: int | None,
) -> None:
    """Make crowd data, score them, show the result.

    Annotators of differing skill, some of whom only guess, label some examples; a model gives
    probabilities for these and for a pool without labels. DIR then holds labels.zarr,
    pred_probs.zarr, unlabeled.zarr, truth.zarr and the result, scores.zarr.
    """
    crowd = daskal.demo.Crowd(
        num_examples=examples,
        num_unlabeled=5 * examples if pool is None else pool,
        num_annotators=annotators,
        num_classes=classes,
        labels_per_example=labels_per_example,
        model_accuracy=accuracy,
        seed=seed,
    )
    click.echo(
        f"{crowd.num_examples:,} examples labelled by {annotators:,} annotators, a pool of "
        f"{crowd.num_unlabeled:,}, {classes:,} classes, in {out}",
        err=True,
    )
    with timed_work(None, workers, memory_limit) as (client, progress):
        daskal.demo.make(crowd, out, client, progress)
        run = daskal.run(
            labels=out / "labels.zarr",
            pred_probs=out / "pred_probs.zarr",
            pred_probs_unlabeled=out / "unlabeled.zarr",
            out=out / "scores.zarr",
            batch_size=batch_size,
            convention=convention,
            progress=progress,
        )
        judgements = {
            name: daskal.demo.judge(crowd, section, out, client, share=LOWEST)
            for name, section in (
                ("consensus labels", "labeled"),
                ("predictions in the pool", "unlabeled"),
            )
        }
    output = console.open_console()
    console.show_run(output, run, accuracies=crowd.accuracies())
    console.show_judgements(output, judgements, LOWEST)
    console.show_stored(output, run)


@main.command()
@click.option("--labels", metavar="L", help="Labels, an (N, M) Zarr array.")
@click.option(
    "--pred-probs",
    metavar="P",
    multiple=True,
    help="Probabilities of the same examples, (N, K) or (P, N, K); once a model.",
)
@click.option(
    "--unlabeled",
    metavar="U",
    multiple=True,
    help="Probabilities of the pool, (U, K) or (P, U, K); once a model.",
)
@click.option("--out", required=True, metavar="OUT.zarr", help="The store to write.")
@click.option(
    "--estimate", metavar="E.json|OLD.zarr", help="Score with this estimate, without pass 1."
)
@scheduler_option
@workers_option
@memory_option
@convention_option
@batch_size_option
@click.option("--overwrite", is_flag=True, help="Replace what is stored under OUT.")
@click.option("--labeled-ids", metavar="I", help="Ids of the labelled examples, a Zarr array.")
@click.option("--unlabeled-ids", metavar="J", help="Ids of the pool, a Zarr array.")
@storage_option
@reports_errors
def score(
    *,
    labels: str | None,
    pred_probs: tuple[str, ...],
    unlabeled: tuple[str, ...],
    out: str,
    estimate: str | None,
    scheduler: str | None,
    workers: int | None,
    memory_limit: int | None,
    convention: str,
    batch_size: int,
    overwrite: bool,
    labeled_ids: str | None,
    unlabeled_ids: str | None,
    storage_options: dict[str, Any] | None,
) -> None:
    """Score labelled examples and a pool, both passes, into a store.

    Labels with their probabilities, a pool, or both. A pool alone is scored with an earlier
    estimate, or with none: then by the model's probabilities only.
    """
    if (labels is None) != (not pred_probs):
        raise click.UsageError("Pass --labels and --pred-probs together.")
    if labels is None and not unlabeled:
        raise click.UsageError("Pass --labels and --pred-probs, --unlabeled, or all three.")
    check_scheduler(scheduler, workers, memory_limit)
    known = None if estimate is None else read_estimate(estimate, storage_options)
    with timed_work(scheduler, workers, memory_limit) as (_, progress):
        run = daskal.run(
            labels=labels,
            pred_probs=one_or_all(pred_probs),
            pred_probs_unlabeled=one_or_all(unlabeled),
            out=out,
            estimate=known,
            batch_size=batch_size,
            convention=convention,
            labeled_ids=labeled_ids,
            unlabeled_ids=unlabeled_ids,
            overwrite=overwrite,
            storage_options=storage_options,
            progress=progress,
        )
    output = console.open_console()
    console.show_run(output, run)
    console.show_stored(output, run)


@main.command()
@click.argument("store", metavar="OUT.zarr")
@click.option("--size", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--max-relabel-fraction",
    type=click.FloatRange(0, 1),
    help="Greatest share of labelled examples, to be labelled again.",
)
@click.option(
    "--out",
    callback=parse_batch_path,
    metavar="next.csv|.parquet|.json",
    help="Write the batch here.  [default: show its first examples; all of it as CSV into a pipe]",
)
@storage_option
@reports_errors
def batch(
    *,
    store: str,
    size: int,
    max_relabel_fraction: float | None,
    out: str | None,
    storage_options: dict[str, Any] | None,
) -> None:
    """Choose the examples to label next from a result store, lowest score first."""
    run = daskal.Run.open(store, storage_options=storage_options)
    chosen = run.next_batch(size=size, max_relabel_fraction=max_relabel_fraction)
    if out is not None:
        write_batch(chosen, out)
        click.echo(f"{len(chosen):,} examples written to {out}", err=True)
    elif sys.stdout.isatty():
        console.show_batch(console.open_console(), chosen, shown=25)
    else:
        click.echo(chosen.to_csv(index=False), nl=False)


@main.command("import")
@click.argument("votes", nargs=-1, required=True)
@click.option("--out", required=True, metavar="LABELS.zarr", help="The store to write.")
@click.option("--task", default="task", show_default=True, help="Column of the tasks' ids.")
@click.option("--annotator", default="annotator", show_default=True, help="... of the annotators'.")
@click.option("--label", default="label", show_default=True, help="... of the labels.")
@click.option(
    "--tasks",
    metavar="IDS",
    help="Ids of all tasks in the order of the probabilities: Parquet, CSV, .npy or Zarr.  "
    "[default: those met in the votes, sorted]",
)
@click.option(
    "--classes",
    metavar="NAME,NAME,...",
    help="The classes in the order of the probabilities' columns.  "
    "[default: whole numbers as they are, names sorted]",
)
@click.option(
    "--on-duplicate",
    type=click.Choice(["error", "last"]),
    default="error",
    show_default=True,
    help="Where an annotator labelled a task several times.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is stored under LABELS.zarr.")
@scheduler_option
@workers_option
@memory_option
@storage_option
@reports_errors
def import_votes(
    *,
    votes: tuple[str, ...],
    classes: str | None,
    scheduler: str | None,
    workers: int | None,
    memory_limit: int | None,
    **options: Any,
) -> None:
    """Turn votes, one a line of Parquet or CSV, into labels that fit the probabilities.

    VOTES are paths or URLs. The labels are stored sparse, one row a task; `daskal score --labels`
    takes them.
    """
    check_scheduler(scheduler, workers, memory_limit)
    names = None if classes is None else [name.strip() for name in classes.split(",")]
    with timed_work(scheduler, workers, memory_limit) as (_, progress):
        made = daskal.importing.import_votes(
            one_or_all(votes),
            classes=names,
            progress=lambda stage, done, total: progress(daskal.Progress(stage, done, total, 0, 0)),
            **options,
        )
    console.show_import(console.open_console(), made)


if __name__ == "__main__":
    main()
