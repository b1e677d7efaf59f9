"""The command that turns people's votes into labels. Touches no array."""

from __future__ import annotations

from typing import Any

import click

import daskal
from daskal.cli import console
from daskal.cli.inputs import choose_scheduler, split_names
from daskal.cli.options import (
    check_scheduler,
    memory_option,
    one_or_all,
    reports_errors,
    scheduler_option,
    storage_option,
    timed_work,
    workers_option,
)

# Forms of exports that are read.
EXPORTS = (
    "label-studio",
    "label-studio-min",
    "argilla",
    "doccano",
    "prodigy",
    "toloka",
    "mturk",
    "records",
)


@click.command("import")
@click.argument("votes", nargs=-1, required=True)
@click.option("--out", required=True, metavar="LABELS.zarr", help="The store to write.")
@click.option(
    "--task",
    default="task",
    show_default=True,
    help="Column of the tasks' ids; in JSON a key, such as data.image.",
)
@click.option(
    "--annotator", default="annotator", show_default=True, help="Column or key of the annotators."
)
@click.option(
    "--label",
    default="label",
    show_default=True,
    help="Column or key of the labels, such as answers[].label; the question in a tool's export.",
)
@click.option(
    "--form",
    type=click.Choice(EXPORTS),
    metavar="TOOL",
    help=f"The tool that exported VOTES: {', '.join(EXPORTS[:-1])}; or {EXPORTS[-1]}, "
    "JSON of any kind.  [default: told from the file]",
)
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
    """Turn votes into labels that fit the probabilities.

    VOTES are paths or URLs: Parquet or CSV with one vote per line, or what a labeling tool exports.
    Answers that were skipped, cancelled or rejected are counted and left out. The labels are stored
    sparse, one row per task; `daskal score --labels` takes them. Local files of up to 64 MiB in all
    are imported by threads of this command, unless --scheduler, --workers or --memory-limit says
    otherwise.
    """
    check_scheduler(scheduler, workers)
    names = None if classes is None else split_names(classes)
    scheduler = choose_scheduler(scheduler, workers, memory_limit, [votes, options["tasks"]])
    with timed_work(scheduler, workers, memory_limit) as (_, progress):
        made = daskal.import_votes(
            one_or_all(votes),
            classes=names,
            progress=progress,
            **options,
        )
    console.show_import(console.open_console(), made)
