"""The commands that make something: data, scores, plans, imports. Touches no array.

Slow imports wait until a command needs them, so that help is shown at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import daskal
from daskal.cli import console, meters
from daskal.cli.aggregating import (
    METHODS,
    aggregate,
    gold_option,
    max_iterations_option,
    num_classes_option,
    panel_command,
    panel_option,
    use_gold_option,
)
from daskal.cli.assigning import assign
from daskal.cli.importing import import_votes
from daskal.cli.inputs import (
    check_inputs,
    choose_scheduler,
    read_estimate,
    table_options,
    with_seen,
)
from daskal.cli.options import (
    batch_size_option,
    check_scheduler,
    convention_option,
    inputs_options,
    max_per_group_option,
    memory_option,
    multi_label_options,
    one_or_all,
    other_score_options,
    report_option,
    reports_errors,
    scheduler_option,
    storage_option,
    timed_work,
    workers_option,
)
from daskal.cli.results import batch, labels, report
from daskal.text import plural

# Share of the lowest scores that the demo judges.
LOWEST = 0.1


# --- the commands -----------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=None, version=daskal.__version__, prog_name="daskal")
def main() -> None:
    """Which examples to label next: crowd labels and a model's probabilities, larger than memory.

    Start with `daskal demo`. Then `daskal score` on your own data, `daskal batch` for what to send
    to annotators, `daskal labels` for the consensus labels, `daskal report` for all of it.
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
    help="Folder for data and scores; replaces an earlier demo in it.",
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
    pred_probs.zarr, unlabeled.zarr, truth.zarr, the result, scores.zarr, and report.html.
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
        f"{crowd.num_examples:,} examples labeled by {plural(annotators, 'annotator')}, a pool of "
        f"{crowd.num_unlabeled:,}, {plural(classes, 'class', 'classes')}\nin {out}",
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
        right = daskal.demo.judge_quality(crowd, out, progress)
        report = run.report(out / daskal.demo.REPORT, right_by_quality=right)
    output = console.open_console()
    console.show_run(output, run, accuracies=crowd.accuracies())
    console.show_judgements(output, judgements, LOWEST)
    console.show_right_by_quality(output, right)
    console.show_stored(output, run, report.path)


@main.command()
@inputs_options
@table_options
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
@click.option(
    "--on-duplicate",
    type=click.Choice(["error", "last"]),
    default="error",
    show_default=True,
    help="Where an annotator has several --votes on a task.",
)
@click.option("--overwrite", is_flag=True, help="Replace the result stored under OUT.zarr.")
@click.option("--resume", is_flag=True, help="Continue the run interrupted under OUT.zarr.")
@click.option("--labeled-ids", metavar="I", help="Ids of the labeled examples.")
@click.option("--unlabeled-ids", metavar="J", help="Ids of the pool.")
@report_option("Write the result's report, too.")
@gold_option
@multi_label_options
@use_gold_option
@panel_option
@storage_option
@reports_errors
def score(
    *,
    labels: str | None,
    pred_probs: tuple[str, ...],
    unlabeled: tuple[str, ...],
    tables: dict[str, Any],
    on_duplicate: str,
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
    report: str | None,
    gold: str | None,
    multi_label: bool,
    seen: str | None,
    reduce: str,
    use_gold: bool,
    panel: bool,
    storage_options: dict[str, Any] | None,
) -> None:
    """Score labeled examples and a pool, both passes, into a store.

    Labels with their probabilities, a pool, or both; or votes and one table of probabilities. A
    pool alone is scored with an earlier estimate, or with none: then by the model's probabilities
    only. Inputs are Zarr, Parquet, Arrow, Feather, CSV, TSV, .npy or .npz; of tables also a folder
    or a glob. Local ones of up to 64 MiB in all are scored by threads of this command, others on a
    cluster, unless --scheduler, --workers or --memory-limit says otherwise.
    """
    check_inputs(labels, tables["votes"], pred_probs, unlabeled)
    check_scheduler(scheduler, workers)
    if overwrite and resume:
        raise click.UsageError("Choose --overwrite or --resume.")
    known = None if estimate is None else read_estimate(estimate, storage_options)
    paths = [labels, pred_probs, unlabeled, tables["votes"], seen, labeled_ids, unlabeled_ids]
    given, tables["votes"] = with_seen(labels, tables["votes"], seen, multi_label=multi_label)
    scheduler = choose_scheduler(scheduler, workers, memory_limit, paths)
    with timed_work(scheduler, workers, memory_limit, kernels=True) as (limit, progress):
        run = daskal.run(
            **tables,
            on_duplicate=on_duplicate,
            labels=given,
            pred_probs=one_or_all(pred_probs),
            pred_probs_unlabeled=one_or_all(unlabeled),
            out=out,
            estimate=known,
            batch_size=batch_size,
            convention=convention,
            labeled_ids=labeled_ids,
            unlabeled_ids=unlabeled_ids,
            gold=gold,
            multi_label=multi_label or None,
            reduce=reduce,
            use_gold=use_gold,
            panel=panel,
            on_invalid=on_invalid,
            overwrite=overwrite,
            resume=resume,
            memory_limit=limit,
            storage_options=storage_options,
            progress=progress,
        )
        page = None if report is None else run.report(report)
    output = console.open_console()
    console.show_run(output, run)
    console.show_stored(output, run, None if page is None else page.path)


@main.command()
@inputs_options
@table_options
@memory_option
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Tasks a worker runs at once; `daskal score` runs one on a cluster of its own.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Plan `daskal aggregate` by this method with --labels alone.",
)
@num_classes_option
@max_iterations_option
@panel_option
@batch_size_option
@max_per_group_option
@multi_label_options
@other_score_options
@storage_option
@reports_errors
def plan(
    *,
    labels: str | None,
    pred_probs: tuple[str, ...],
    unlabeled: tuple[str, ...],
    tables: dict[str, Any],
    estimate: str | None,
    memory_limit: int | None,
    threads: int,
    method: str | None,
    num_classes: int | None,
    max_iterations: int,
    panel: bool,
    batch_size: int,
    max_per_group: int | None,
    multi_label: bool,
    seen: str | None,
    reduce: str,
    storage_options: dict[str, Any] | None,
) -> None:
    """Show what `daskal score` would do, without reading data.

    Blocks, tasks, bytes to read and write, and the projected peak memory of a worker. Fails where
    that is beyond --memory-limit. Takes all options of `daskal score`. With --method, shows what
    `daskal aggregate` would do; with --max-per-group, also what `daskal batch` would hold. Of
    --votes and their table, the votes and ids are read.
    """
    if method is None:
        check_inputs(labels, tables["votes"], pred_probs, unlabeled)
    given, tables["votes"] = with_seen(labels, tables["votes"], seen, multi_label=multi_label)
    found = daskal.plan(
        **tables,
        labels=given,
        pred_probs=one_or_all(pred_probs),
        pred_probs_unlabeled=one_or_all(unlabeled),
        estimate=None if estimate is None else read_estimate(estimate, storage_options),
        method=method,
        num_classes=num_classes,
        max_iterations=max_iterations,
        panel=panel,
        batch_size=batch_size,
        max_per_group=max_per_group,
        multi_label=multi_label or None,
        memory_limit=memory_limit,
        threads_per_worker=threads,
        storage_options=storage_options,
    )
    console.show_summary(console.open_console(), "Plan", found)
    found.check()


@main.command()
@reports_errors
def warmup() -> None:
    """Compile the kernels, once on a machine or in an image.

    They are kept in NUMBA_CACHE_DIR if that is set, otherwise beside daskal's code or, where that
    cannot be written to, in the user's cache folder. Without this, the first command that scores
    compiles them, for some 20 seconds.
    """
    with meters.show_compiling():
        done = daskal.warmup()
    if done.folder is None:
        raise click.ClickException(
            "expected a folder to keep compiled kernels in, found none that can be written to. Set "
            "NUMBA_CACHE_DIR to one."
        )
    console.show_warmup(done)


main.add_command(import_votes)
main.add_command(aggregate)
main.add_command(panel_command)
main.add_command(batch)
main.add_command(assign)
main.add_command(labels)
main.add_command(report)
