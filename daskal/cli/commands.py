"""The commands that make something: data, scores, plans, imports. Touches no array.

Slow imports wait until a command needs them, so that help is shown at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import daskal
from daskal.cli import console
from daskal.cli.options import (
    batch_size_option,
    check_inputs,
    check_scheduler,
    convention_option,
    inputs_options,
    memory_option,
    one_or_all,
    reports_errors,
    scheduler_option,
    storage_option,
    timed_work,
    workers_option,
)
from daskal.cli.results import batch, report
from daskal.errors import EstimateError
from daskal.storage import locations
from daskal.storage.redaction import redacted

# Share of the lowest scores that the demo judges.
LOWEST = 0.1


def read_estimate(path: str, storage_options: dict[str, Any] | None) -> Any:
    """Return the estimate in a JSON file or in a result store."""
    if not path.rstrip("/").endswith(".json"):
        found = daskal.Run.open(path, storage_options=storage_options).estimate
        if found is None:
            raise EstimateError(
                f"expected a store with an estimate, {redacted(path)!r} has none: it holds scores "
                "of a pool that were made without one."
            )
        return found
    import fsspec

    with (
        locations.storage_errors("read the estimate in", path, storage_options),
        fsspec.open(
            path, mode="r", encoding="utf-8", **(locations.options_for(path, storage_options) or {})
        ) as file,
    ):
        content = file.read()
    return daskal.Estimate.from_json(content)


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
    help="Labeled examples.",
)
@click.option(
    "--pool", type=click.IntRange(min=1), help="Unlabeled examples.  [default: 5 times as many]"
)
@click.option("--annotators", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--classes", type=click.IntRange(min=2, max=2**31 - 1), default=10, show_default=True)
@click.option(
    "--labels-per-example",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Mean number of labels of a labeled example.",
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
        f"{crowd.num_examples:,} examples labeled by {annotators:,} annotators, a pool of "
        f"{crowd.num_unlabeled:,}, {classes:,} classes, in {out}",
        err=True,
    )
    with timed_work(None, workers, memory_limit, kernels=True) as (limit, progress):
        daskal.demo.make(crowd, out, progress)
        run = daskal.run(
            labels=out / "labels.zarr",
            pred_probs=out / "pred_probs.zarr",
            pred_probs_unlabeled=out / "unlabeled.zarr",
            out=out / "scores.zarr",
            batch_size=batch_size,
            convention=convention,
            memory_limit=limit,
            progress=progress,
        )
        judgements = {
            name: daskal.demo.judge(crowd, section, out, progress, share=LOWEST)
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
@inputs_options
@click.option("--out", required=True, metavar="OUT.zarr", help="The store to write.")
@scheduler_option
@workers_option
@memory_option
@convention_option
@batch_size_option
@click.option(
    "--on-invalid",
    type=click.Choice(["raise", "nan"]),
    default="raise",
    show_default=True,
    help="Where rows hold invalid values: end with an error, or leave them out, their scores NaN.",
)
@click.option("--overwrite", is_flag=True, help="Replace the result stored under OUT.zarr.")
@click.option("--resume", is_flag=True, help="Continue the run interrupted under OUT.zarr.")
@click.option("--labeled-ids", metavar="I", help="Ids of the labeled examples, a Zarr array.")
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
    on_invalid: str,
    overwrite: bool,
    resume: bool,
    labeled_ids: str | None,
    unlabeled_ids: str | None,
    storage_options: dict[str, Any] | None,
) -> None:
    """Score labeled examples and a pool, both passes, into a store.

    Labels with their probabilities, a pool, or both. A pool alone is scored with an earlier
    estimate, or with none: then by the model's probabilities only.
    """
    check_inputs(labels, pred_probs, unlabeled)
    check_scheduler(scheduler, workers)
    if overwrite and resume:
        raise click.UsageError("Choose --overwrite or --resume.")
    known = None if estimate is None else read_estimate(estimate, storage_options)
    with timed_work(scheduler, workers, memory_limit, kernels=True) as (limit, progress):
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
            on_invalid=on_invalid,
            overwrite=overwrite,
            resume=resume,
            memory_limit=limit,
            storage_options=storage_options,
            progress=progress,
        )
    output = console.open_console()
    console.show_run(output, run)
    console.show_stored(output, run)


@main.command()
@inputs_options
@memory_option
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Tasks a worker runs at once; `daskal score` runs one on a cluster of its own.",
)
@batch_size_option
@storage_option
@reports_errors
def plan(
    *,
    labels: str | None,
    pred_probs: tuple[str, ...],
    unlabeled: tuple[str, ...],
    estimate: str | None,
    memory_limit: int | None,
    threads: int,
    batch_size: int,
    storage_options: dict[str, Any] | None,
) -> None:
    """Show what `daskal score` would do with these inputs, without reading data.

    Blocks, tasks, bytes to read and write, and the projected peak memory of a worker. Fails where
    that is beyond --memory-limit.
    """
    check_inputs(labels, pred_probs, unlabeled)
    found = daskal.plan(
        labels=labels,
        pred_probs=one_or_all(pred_probs),
        pred_probs_unlabeled=one_or_all(unlabeled),
        estimate=None if estimate is None else read_estimate(estimate, storage_options),
        batch_size=batch_size,
        memory_limit=memory_limit,
        threads_per_worker=threads,
        storage_options=storage_options,
    )
    click.echo(repr(found))
    found.check()


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
    help="Where an annotator labeled a task several times.",
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
    """Turn votes, one per line of Parquet or CSV, into labels that fit the probabilities.

    VOTES are paths or URLs. The labels are stored sparse, one row per task;
    `daskal score --labels` takes them.
    """
    check_scheduler(scheduler, workers)
    names = None if classes is None else [name.strip() for name in classes.split(",")]
    with timed_work(scheduler, workers, memory_limit) as (_, progress):
        made = daskal.import_votes(
            one_or_all(votes),
            classes=names,
            progress=progress,
            **options,
        )
    console.show_import(console.open_console(), made)


@main.command()
@reports_errors
def warmup() -> None:
    """Compile the kernels, once on a machine or in an image.

    They are kept in NUMBA_CACHE_DIR if that is set, otherwise beside daskal's code or, where that
    cannot be written to, in the user's cache folder. Without this, the first command that scores
    compiles them, for half a minute.
    """
    with console.show_compiling():
        done = daskal.warmup()
    if done.folder is None:
        raise click.ClickException(
            "expected a folder to keep compiled kernels in, found none that can be written to. Set "
            "NUMBA_CACHE_DIR to one."
        )
    console.show_warmup(done)


main.add_command(batch)
main.add_command(report)
