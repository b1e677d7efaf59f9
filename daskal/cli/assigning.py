"""The command that says whom to ask about a batch. Touches no array itself."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import Any

import click

import daskal
from daskal.cli import console
from daskal.cli.options import BATCH_FORMATS, parse_batch_path, reports_errors, storage_option
from daskal.text import plural

# What files are called that are not written here: no folder is meant.
OTHER_FORMATS = (".arrow", ".feather", ".html", ".jsonl", ".ndjson", ".tsv", ".txt", ".xlsx")


def parse_out(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse what looks like a file of a format that is not written, before any work is done."""
    if value is not None and PurePath(value).suffix.lower() in OTHER_FORMATS:
        raise click.BadParameter(
            f"expected a folder, or a name in {', '.join(BATCH_FORMATS)}, got {value!r}."
        )
    return value


@click.command()
@click.argument("store", metavar="OUT.zarr")
@click.argument("batch", metavar="[BATCH]", required=False, callback=parse_batch_path)
@click.option(
    "--out",
    callback=parse_out,
    metavar="FOLDER|FILE",
    help="Folder for a file for each annotator, or a file for all, in "
    f"{', '.join(BATCH_FORMATS)}.  [default: show how many each gets; all as CSV into a pipe]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice([ending.removeprefix(".") for ending in BATCH_FORMATS]),
    default="json",
    show_default=True,
    help="Of the files in a folder; JSON is for Label Studio.",
)
@click.option(
    "--votes-per-example",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="The most votes for each example.",
)
@click.option(
    "--capacity", type=click.IntRange(min=0), help="The most examples for each annotator."
)
@click.option(
    "--people",
    metavar="P.csv|.parquet",
    help="Who can be asked: a table with the column annotator and, perhaps, capacity; where it is "
    "empty, --capacity counts.  [default: all]",
)
@click.option(
    "--labels",
    metavar="L",
    help="The votes there are by now.  [default: those that were scored]",
)
@click.option("--id-key", default="id", show_default=True, help="As for `daskal batch`.")
@storage_option
@reports_errors
def assign(
    *,
    store: str,
    batch: str | None,
    out: str | None,
    file_format: str,
    votes_per_example: int,
    capacity: int | None,
    people: str | None,
    labels: str | None,
    id_key: str,
    storage_options: dict[str, Any] | None,
) -> None:
    """Choose whom to ask about the examples of a batch.

    BATCH is a file of `daskal batch`, by default the run's own batch. Those are asked whose votes
    are expected to tell most, nobody twice about one example.
    """
    run = daskal.Run.open(store, storage_options=storage_options)
    chosen = None
    if batch is not None:
        chosen = daskal.read_batch(batch, id_key=id_key, storage_options=storage_options)
    found = run.assign(
        chosen,
        labels=labels,
        votes_per_example=votes_per_example,
        capacity=capacity,
        people=people,
        storage_options=storage_options,
    )
    if out is None:
        if sys.stdout.isatty():
            console.show_assigned(console.open_console(), found)
        else:
            click.echo(found.to_csv(index=False), nl=False)
    elif PurePath(out).suffix.lower() in BATCH_FORMATS:
        daskal.export_batch(found, out, id_key=id_key, storage_options=storage_options)
    else:
        daskal.export_assignments(
            found, out, format=file_format, id_key=id_key, storage_options=storage_options
        )
    if out is not None:
        votes, by = plural(len(found), "vote"), plural(found["annotator"].nunique(), "annotator")
        click.echo(f"{votes} to ask for, by {by}, written to {out}", err=True)
    missing = too_few(run.batch if chosen is None else chosen, found, votes_per_example)
    if missing is not None:
        click.echo(missing, err=True)


def too_few(batch: Any, found: Any, votes_per_example: int) -> str | None:
    """Return in words how many examples get fewer votes than were asked for, None if none does."""
    examples = ["source", "row"]
    num = len(batch.drop_duplicates(examples))
    few = num - int((found.groupby(examples).size() >= votes_per_example).sum())
    if not few:
        return None
    verb = "gets" if few == 1 else "get"
    return (
        f"{few:,} of {plural(num, 'example')} {verb} fewer than "
        f"{plural(votes_per_example, 'vote')}: all others have labeled them, or have no time left."
    )
