"""What commands are given: tables, votes, estimates; and where small inputs are worked on."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

import daskal
from daskal.errors import EstimateError
from daskal.storage import locations
from daskal.storage.redaction import redacted

# Inputs that take up to this much in storage are worked on by threads of the command itself: a
# cluster takes some seconds to start, in which they are done (docs/performance.md).
SMALL_BYTES = 64 * 2**20
# The scheduler for them.
THREADS = "threads"

OPTIONS = (
    click.option(
        "--votes",
        metavar="V",
        multiple=True,
        help="Votes, one a line of Parquet or CSV, in place of --labels: --pred-probs is then one "
        "table of all examples with their ids, in any order, and those without a vote are the "
        "pool.",
    ),
    click.option("--id-column", metavar="COLUMN", help="Column of the examples' ids in tables."),
    click.option(
        "--class-columns",
        metavar="NAME,NAME,...",
        help="Columns of tables that hold probabilities.  [default: all but the ids]",
    ),
    click.option("--task", default="task", show_default=True, help="Column of tasks in --votes."),
    click.option(
        "--annotator", default="annotator", show_default=True, help="Column of their annotators."
    ),
    click.option("--label", default="label", show_default=True, help="Column of their labels."),
    click.option(
        "--unknown-tasks",
        type=click.Choice(["raise", "ignore"]),
        default="raise",
        show_default=True,
        help="Where --votes have tasks that are no ids of --pred-probs.",
    ),
)


def table_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options for votes and tables, which it gets as one mapping ``tables``."""

    @functools.wraps(command)
    def run(
        *,
        votes: tuple[str, ...],
        id_column: str | None,
        class_columns: str | None,
        task: str,
        annotator: str,
        label: str,
        unknown_tasks: str,
        **options: Any,
    ) -> None:
        tables = {
            "votes": None if not votes else votes[0] if len(votes) == 1 else list(votes),
            "id_column": id_column,
            "class_columns": None if class_columns is None else split_names(class_columns),
            "task": task,
            "annotator": annotator,
            "label": label,
            "unknown_tasks": unknown_tasks,
        }
        command(tables=tables, **options)

    for option in reversed(OPTIONS):
        run = option(run)
    return run


def split_names(text: str) -> list[str]:
    """Return the names in a list written with commas."""
    return [name.strip() for name in text.split(",")]


def check_inputs(
    labels: str | None, votes: Any, pred_probs: tuple[str, ...], unlabeled: tuple[str, ...]
) -> None:
    """Refuse incomplete inputs, and votes beside what they stand for."""
    if votes is not None:
        if labels is not None or unlabeled:
            raise click.UsageError(
                "With --votes, --pred-probs holds all examples: leave out --labels and --unlabeled."
            )
        if not pred_probs:
            raise click.UsageError("Pass --votes and --pred-probs together.")
        return
    if pred_probs and labels is None:
        raise click.UsageError("Pass --pred-probs together with --labels or --votes.")
    if labels is not None and not pred_probs:
        raise click.UsageError("Pass --labels and --pred-probs together.")
    if labels is None and not unlabeled:
        raise click.UsageError(
            "Pass --labels and --pred-probs, --unlabeled, or all three; or --votes and "
            "--pred-probs."
        )


def with_seen(
    labels: str | None, votes: Any, seen: str | None, *, multi_label: bool
) -> tuple[Any, Any]:
    """Return labels and votes, those that are given with the table of who was asked, if any."""
    if seen is None:
        return labels, votes
    if not multi_label:
        raise click.UsageError("--seen is for --multi-label: pass both.")
    if labels is None and votes is None:
        raise click.UsageError("Pass --seen together with --labels or --votes.")
    tags = daskal.Tags(votes if labels is None else labels, seen)
    return (tags, None) if votes is None else (None, tags)


# --- small inputs -----------------------------------------------------------------------------


def choose_scheduler(
    scheduler: str | None, workers: int | None, memory_limit: int | None, paths: Iterable[Any]
) -> str | None:
    """Return where a command runs: where it was told, else on threads if its inputs are small."""
    if scheduler is not None or workers is not None or memory_limit is not None:
        return scheduler
    return THREADS if are_small(paths, SMALL_BYTES) else None


def are_small(paths: Iterable[Any], most: int) -> bool:
    """Return whether all paths are local, and take no more than so many bytes together."""
    total = 0
    for path in flat(paths):
        if "://" in path or "::" in path:
            return False
        for size in sizes_under(path):
            total += size
            if total > most:
                return False
    return True


def flat(paths: Iterable[Any]) -> Iterator[str]:
    """Yield the paths among arguments, each of which is a path, several, or None."""
    for path in paths:
        if isinstance(path, str | os.PathLike):
            yield os.fspath(path)
        elif path is not None:
            yield from flat(path)


def sizes_under(path: str) -> Iterator[int]:
    """Yield the size of each file under a path; a missing one has none."""
    place = Path(path).expanduser()
    found = [place] if place.exists() else map(Path, glob.glob(str(place), recursive=True))
    for each in found:
        if each.is_dir():
            for folder, _, files in os.walk(each):
                yield from (os.stat(os.path.join(folder, file)).st_size for file in files)
        elif each.is_file():
            yield each.stat().st_size


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
    several = daskal.MultiLabelEstimate.is_written_in(content)
    return (daskal.MultiLabelEstimate if several else daskal.Estimate).from_json(content)
