"""The commands that show the results of a finished run. They touch no array."""

from __future__ import annotations

import sys
from typing import Any

import click

import daskal
from daskal import text
from daskal.cli import console
from daskal.cli.options import (
    max_per_group_option,
    parse_batch_path,
    parse_batch_paths,
    parse_labels_path,
    parse_report_path,
    report_option,
    reports_errors,
    storage_option,
)
from daskal.errors import InputError
from daskal.method.choice import Choice
from daskal.storage.places import place_of_path
from daskal.storage.redaction import redacted


@click.command()
@click.argument("store", metavar="OUT.zarr")
@click.option("--size", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option(
    "--max-relabel-fraction",
    type=click.FloatRange(0, 1),
    help="Greatest share of labeled examples, to be labeled again.",
)
@click.option(
    "--out",
    callback=parse_batch_path,
    metavar="next.csv|.parquet|.json",
    help="Write the batch here, as JSON for Label Studio.  [default: show its first examples; all "
    "of it as CSV into a pipe]",
)
@report_option("Write a report that shows the batch, too.")
@click.option(
    "--id-key",
    default="id",
    show_default=True,
    help="Name of the ids in the data of a JSON file's tasks.",
)
@click.option(
    "--exclude",
    multiple=True,
    callback=parse_batch_paths,
    metavar="FILE",
    help="A batch that is out for labeling already; may be given several times.",
)
@click.option(
    "--max-annotations",
    type=click.IntRange(min=1),
    help="Leave out labeled examples with at least this many labels.",
)
@click.option(
    "--stop-at-quality",
    type=click.FloatRange(0, 1, min_open=True),
    help="Leave out labeled examples whose label has at least this quality.",
)
@max_per_group_option
@click.option(
    "--group-column",
    metavar="COLUMN",
    help="Column of the groups, of the tables that were scored or of those named next.",
)
@click.option(
    "--labeled-groups", metavar="G", help="Groups of the labeled examples: any table or array."
)
@click.option("--unlabeled-groups", metavar="H", help="Groups of the pool.")
@click.option(
    "--diversity",
    type=click.Choice(["cluster-margin", "k-center"]),
    help="Choose examples whose embeddings are unlike, among those with the lowest scores.",
)
@click.option(
    "--embedding-column",
    "embedding_columns",
    metavar="COLUMN",
    multiple=True,
    help="Column of the embeddings, of the tables that were scored or of those named next; several "
    "times where each holds one number.",
)
@click.option(
    "--labeled-embeddings", metavar="E", help="Embeddings of the labeled examples, (N, D)."
)
@click.option("--unlabeled-embeddings", metavar="F", help="Embeddings of the pool, (U, D).")
@click.option(
    "--candidates",
    type=click.IntRange(min=1),
    help="How many of the lowest scores --diversity chooses from.  [default: 10 times the size]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of what --diversity draws.",
)
@storage_option
@reports_errors
def batch(
    *,
    store: str,
    size: int,
    max_relabel_fraction: float | None,
    out: str | None,
    report: str | None,
    id_key: str,
    exclude: tuple[str, ...],
    max_annotations: int | None,
    stop_at_quality: float | None,
    max_per_group: int | None,
    group_column: str | None,
    labeled_groups: str | None,
    unlabeled_groups: str | None,
    diversity: str | None,
    embedding_columns: tuple[str, ...],
    labeled_embeddings: str | None,
    unlabeled_embeddings: str | None,
    candidates: int | None,
    seed: int,
    storage_options: dict[str, Any] | None,
) -> None:
    """Choose the examples to label next, lowest score first."""
    if out is not None and place_of_path(out) in map(place_of_path, exclude):
        raise InputError(
            f"--out: expected a file of its own, got {redacted(out)!r}, which --exclude names too: "
            "what it says is out for labeling would be lost. Choose another name."
        )
    run = daskal.Run.open(store, storage_options=storage_options)
    import pandas as pd

    earlier = [
        daskal.read_batch(path, id_key=id_key, storage_options=storage_options) for path in exclude
    ]
    chosen = run.next_batch(
        size=size,
        max_relabel_fraction=max_relabel_fraction,
        exclude=pd.concat(earlier, ignore_index=True) if earlier else None,
        max_annotations=max_annotations,
        stop_at_quality=stop_at_quality,
        groups=pair(labeled_groups, unlabeled_groups),
        group_column=group_column,
        max_per_group=max_per_group,
        **embedding_options(embedding_columns, labeled_embeddings, unlabeled_embeddings),
        diversity=None if diversity is None else diversity.replace("-", "_"),
        candidates=candidates,
        random_state=seed,
        storage_options=storage_options,
    )
    if out is not None:
        daskal.export_batch(chosen, out, id_key=id_key, storage_options=storage_options)
        click.echo(f"{text.plural(len(chosen), 'example')} written to {out}", err=True)
    elif sys.stdout.isatty():
        console.show_batch(console.open_console(), chosen, shown=25)
    else:
        click.echo(chosen.to_csv(index=False), nl=False)
    for name, value in Choice.of_batch(chosen).lines():
        click.echo(f"{name}: {value}", err=True)
    if report is not None:
        write_report(run, report, batch=chosen)


def write_report(run: daskal.Run, path: str, **options: Any) -> None:
    """Write the report of a run, and say how large it is."""
    page = run.report(path, **options)
    click.echo(f"{text.format_bytes(len(page.html.encode()))} written to {page.path}", err=True)


def pair(labeled: str | None, unlabeled: str | None) -> tuple[str | None, str | None] | None:
    """Return what is given for both sources of scores, None where it is for neither."""
    return None if labeled is None and unlabeled is None else (labeled, unlabeled)


def embedding_options(
    columns: tuple[str, ...], labeled: str | None, unlabeled: str | None
) -> dict[str, Any]:
    """Return where embeddings are: in files of their own, or in the tables that were scored."""
    files = pair(labeled, unlabeled)
    if files is None:
        return {"embedding_columns": columns or None}
    if columns:
        return {
            "embeddings": tuple(
                None if path is None else daskal.Table(path, class_columns=columns)
                for path in files
            )
        }
    return {"embeddings": files}


@click.command()
@click.argument("store", metavar="OUT.zarr")
@click.option(
    "--out",
    callback=parse_labels_path,
    metavar="labels.parquet|.csv|.jsonl",
    help="Write the labels here.  [default: show the most doubtful ones; all as CSV into a pipe]",
)
@click.option(
    "--below",
    type=click.FloatRange(0, 1, min_open=True),
    help="Only labels of a lower quality than this, such as 0.5.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="At most so many, the lowest quality first.",
)
@storage_option
@reports_errors
def labels(
    *,
    store: str,
    out: str | None,
    below: float | None,
    size: int | None,
    storage_options: dict[str, Any] | None,
) -> None:
    """Write each example's consensus label and its quality.

    Also the share of votes that agree, the number of votes and the score. With --below or
    --size, examples without votes are left out. Quality is for ranking, not a chance. Where an
    example may have several classes, its label is a list of them, in CSV written as JSON.
    """
    run = daskal.Run.open(store, storage_options=storage_options)
    if out is None and sys.stdout.isatty():
        doubtful = run.doubtful_labels(size=size or console.SHOWN_LABELS, below=below)
        console.show_labels(console.open_console(), doubtful, below)
        return
    target: Any = sys.stdout.buffer if out is None else out
    num = run.export_labels(target, below=below, size=size, storage_options=storage_options)
    if out is not None:
        click.echo(f"{text.plural(num, 'label')} written to {out}", err=True)


@click.command()
@click.argument("store", metavar="OUT.zarr")
@click.option(
    "--out",
    callback=parse_report_path,
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="The page to write.",
)
@storage_option
@reports_errors
def report(*, store: str, out: str, storage_options: dict[str, Any] | None) -> None:
    """Write a result's report, one HTML page.

    The page needs no network and can be sent by mail.
    """
    write_report(daskal.Run.open(store, storage_options=storage_options), out)
