"""The command for votes without a model. Touches no array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import daskal
from daskal.cli import console
from daskal.cli.inputs import choose_scheduler
from daskal.cli.options import (
    batch_size_option,
    check_scheduler,
    memory_option,
    reports_errors,
    scheduler_option,
    storage_option,
    timed_work,
    workers_option,
)
from daskal.errors import StorageError

METHODS = ("dawid_skene", "one_coin", "majority_vote")

gold_option = click.option(
    "--gold",
    metavar="G",
    help="Known classes of some examples: CSV or Parquet with the columns task and label, or a "
    "Zarr array of one code for each row.",
)
use_gold_option = click.option(
    "--use-gold", is_flag=True, help="Hold the known classes fixed in the estimate."
)
max_iterations_option = click.option(
    "--max-iterations",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="End after so many at the latest.",
)
panel_option = click.option(
    "--panel",
    is_flag=True,
    help="Also tell what the annotators are worth as a panel, from one more read of the labels.",
)
num_classes_option = click.option(
    "--num-classes",
    type=click.IntRange(min=2),
    help="Classes.  [default: those that the votes name, or as many as occur]",
)


@click.command()
@click.argument("votes", metavar="VOTES.zarr")
@click.option("--out", required=True, metavar="OUT.zarr", help="The store to write.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="dawid_skene",
    show_default=True,
    help="A confusion matrix for each annotator, one accuracy for each, or shares of votes.",
)
@gold_option
@use_gold_option
@max_iterations_option
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=1e-5,
    show_default=True,
    help="End when the log likelihood rises by less than this a vote.",
)
@num_classes_option
@scheduler_option
@workers_option
@memory_option
@batch_size_option
@click.option(
    "--on-invalid",
    type=click.Choice(["raise", "nan"]),
    default="raise",
    show_default=True,
    help="Where rows hold invalid labels: end with an error, or leave them out, their scores NaN.",
)
@click.option("--overwrite", is_flag=True, help="Replace the result stored under OUT.zarr.")
@click.option("--resume", is_flag=True, help="Continue the run interrupted under OUT.zarr.")
@click.option("--labeled-ids", metavar="I", help="Ids of the examples, a Zarr array.")
@storage_option
@reports_errors
def aggregate(
    *,
    votes: str,
    scheduler: str | None,
    workers: int | None,
    memory_limit: int | None,
    overwrite: bool,
    resume: bool,
    **options: Any,
) -> None:
    """Find the truth behind votes alone, without a model.

    VOTES is a label matrix or imported votes, as for `daskal score --labels`. The scores are the
    probabilities of the consensus labels: lower = label it first. Local inputs of up to 64 MiB in
    all are worked on by threads of this command, others on a cluster, unless --scheduler, --workers
    or --memory-limit says otherwise.
    """
    check_scheduler(scheduler, workers)
    if overwrite and resume:
        raise click.UsageError("Choose --overwrite or --resume.")
    paths = [votes, options["gold"], options["labeled_ids"]]
    scheduler = choose_scheduler(scheduler, workers, memory_limit, paths)
    with timed_work(scheduler, workers, memory_limit, kernels=True) as (limit, progress):
        run = daskal.run_aggregate(
            labels=votes,
            overwrite=overwrite,
            resume=resume,
            memory_limit=limit,
            progress=progress,
            **options,
        )
    output = console.open_console()
    console.show_run(output, run)
    console.show_stored(output, run)


@click.command("panel")
@click.argument("votes", metavar="VOTES.zarr")
@gold_option
@num_classes_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="PANEL.json", help="Write all counts here."
)
@scheduler_option
@workers_option
@memory_option
@storage_option
@reports_errors
def panel_command(
    *,
    votes: str,
    gold: str | None,
    num_classes: int | None,
    out: Path | None,
    scheduler: str | None,
    workers: int | None,
    memory_limit: int | None,
    storage_options: dict[str, Any] | None,
) -> None:
    """Tell what a panel of annotators or judges is worth.

    Agreement, confusion, habits, and how many independent annotators the panel is worth. Answers
    are judged by known classes, --gold, or else by the majority vote. Local inputs of up to 64 MiB
    in all are worked on by threads of this command, others on a cluster, unless --scheduler,
    --workers or --memory-limit says otherwise.
    """
    check_scheduler(scheduler, workers)
    scheduler = choose_scheduler(scheduler, workers, memory_limit, [votes, gold])
    with timed_work(scheduler, workers, memory_limit, kernels=True) as (limit, progress):
        found = daskal.panel(
            votes,
            gold,
            num_classes=num_classes,
            memory_limit=limit,
            storage_options=storage_options,
            progress=progress,
        )
    console.show_panel(console.open_console(), found)
    if out is not None:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(found.to_json())
        except OSError as error:
            raise StorageError(
                f"--out: expected a new file in a folder that is there, got {str(out)!r}: {error}."
            ) from error
        click.echo(f"Written to {out}", err=True)
