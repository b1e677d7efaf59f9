"""Long-format crowd votes (task, annotator, label) to an aligned sparse store.

Two reads of the votes: a survey finds every id, counts and faults; then the votes, their ids turned
into row and column numbers, are sorted by Dask's own shuffle into ranges of rows, which one chain
of tasks appends to the store by whole chunks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import operator
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from dask.delayed import delayed

from daskal.engine.graph import SPLIT_EVERY, call_each, make_frame, merged, new_name
from daskal.engine.progress import ProgressCallback, Steps, compute_steps
from daskal.errors import DataWarning, InputError, InvalidDataError
from daskal.importing.alignment import (
    AS_GIVEN,
    SORTED,
    Labels,
    order_of_ids,
    resolve_labels,
    resolve_tasks,
    row_edges,
    sorted_ids,
)
from daskal.importing.columns import Survey, as_column, positions
from daskal.importing.files import VOTES_PER_PART, Source, open_votes
from daskal.importing.records import add_counts
from daskal.importing.summary import ImportSummary
from daskal.importing.tasks import open_tasks
from daskal.importing.votes_store import CHANGED, Appended, SortedVotes, VotesStore
from daskal.storage.locations import storage_errors
from daskal.storage.places import refuse_sources_under
from daskal.text import listed, plural

BUCKETS = 16
PART_SHIFT = 40


def import_votes(
    votes: Any,
    out: str | os.PathLike[str],
    *,
    task: str = "task",
    annotator: str = "annotator",
    label: str = "label",
    tasks: Any = None,
    classes: Sequence[Any] | None = None,
    on_duplicate: Literal["error", "last"] = "error",
    form: str | None = None,
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: ProgressCallback | None = None,
) -> ImportSummary:
    """Turn long-format votes into a store of sparse votes, aligned with the probabilities.

    The votes are read twice, by partitions, on whatever Dask scheduler is active; memory is needed
    for a few partitions and for the ids, not for the votes.

    Parameters
    ----------
    votes
        One row a vote: the path or URL of Parquet, Arrow, Feather or CSV (``.csv``, ``.tsv``,
        compressed too), or of what a labeling tool exports (``form``); a folder or a glob of them,
        a list of such paths, a pandas DataFrame or a Dask DataFrame. Files of a folder or glob are
        read in natural order (part.2 before part.10), a list in the order given. Folders called
        ``annotator=ann`` hold that column's value.
    out
        Path or URL of the store to make. Where ``overwrite`` replaces one, the old one stays until
        the new one is whole; in object storage, until the new votes have been surveyed.
    task, annotator, label
        Names of the three columns, or keys where votes are objects in JSON, such as
        ``"data.image"`` or ``"answers[].label"``. Ids are whole numbers or text; any other single
        type is kept as its text. In CSV, a column where all values are written as whole numbers
        holds numbers.
    tasks
        Ids of the rows in the order the probabilities have: an array, an index, a table with the
        column ``task`` or only one, or the path or URL of such files, ``.npy`` or Zarr. Folders,
        globs and lists of files are read as of ``votes``. Tasks without votes become empty rows. By
        default the sorted ids met in the votes, which a warning says.
    classes
        Names in the order of the codes 0..K-1. Labels are then these names or, where they are
        whole numbers and no name is one, the codes themselves. By default whole numbers are codes,
        ordered categories keep their order, and other labels are sorted, which a warning says.
    on_duplicate
        What to do where an annotator has several votes on a task: raise, or keep the last one in
        the order of the source.
    form
        The labeling tool that exported the votes: ``"label-studio"``, ``"label-studio-min"``,
        ``"argilla"``, ``"doccano"``, ``"prodigy"``, ``"toloka"`` or ``"mturk"``; or ``"records"``,
        JSON of any kind whose keys are given. By default it is told from the file. Answers that
        were skipped, cancelled, rejected or have no single label are counted and left out.
    overwrite
        Replace an earlier import, and nothing else: neither what was put beside its arrays nor
        votes or tasks that lie under ``out``.
    storage_options
        Options for fsspec, used for every URL among ``votes``, ``tasks`` and ``out``; never stored.
    progress
        Called with a ``Progress(stage, done, total, rows, total_rows)`` as partitions are read
        (stage ``"survey"``) and ranges of rows written (``"write"``); its rows are votes.

    Returns
    -------
    ImportSummary
        Counts, class names and path. The store is a Zarr v3 group in AnnData's CSR convention
        (``data``, ``indices``, ``indptr``), with arrays ``tasks`` and ``annotators`` beside it and
        the classes in ``attrs["daskal"]``. A stored 0 is a vote for class 0.

    Raises
    ------
    InputError
        If columns are missing, ids or classes given do not fit the votes, or votes or tasks lie
        under ``out``.
    InvalidDataError
        If ids or labels are missing, of mixed types, unknown, or pairs are repeated.
    StoreExistsError
        If ``out`` exists and ``overwrite`` is false, or holds anything that no import made.
    MissingPathError, StorageError
        If a path or URL cannot be read or written.

    Warns
    -----
    DataWarning
        If tasks or classes were sorted, since nothing said how they are ordered.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> votes = pd.DataFrame({"task": ["b", "a", "b"], "annotator": [7, 7, 3], "label": [0, 1, 0]})
    >>> out = tempfile.mkdtemp() + "/labels.zarr"
    >>> summary = import_votes(votes, out, tasks=["a", "b", "c"])
    >>> summary.num_examples, summary.num_annotators, summary.num_votes, summary.num_unlabeled
    (3, 2, 3, 1)
    """
    if on_duplicate not in ("error", "last"):
        raise InputError(f"on_duplicate: expected 'error' or 'last', got {on_duplicate!r}.")
    path = os.fspath(out)
    store = VotesStore.under(path, dict(storage_options or {}))
    made = store.successor()
    with storage_errors("write votes to", path, storage_options):
        store.refuse_existing(overwrite=overwrite)
        if made != store:
            made.refuse_existing(overwrite=overwrite)
    source = open_votes(votes, (task, annotator, label), storage_options, form)
    given = None if tasks is None else open_tasks(tasks, task, storage_options)
    if overwrite:
        origins = {"votes": source.origin, "tasks": None if given is None else given.origin}
        refuse_sources_under(out, origins)

    with storage_errors("read votes from", source.where, storage_options):
        survey = survey_votes(source, progress)
    check_survey(survey, source)
    labels = resolve_labels(
        survey.label, classes, label, untyped=source.untyped, categories=source.label_order
    )
    rows, counts = resolve_tasks(survey.task, given, task, untyped=source.untyped)
    task_order = AS_GIVEN if given is not None else order_of_ids(rows)
    for note in notes_on_order(rows, task_order, labels):
        warnings.warn(note, DataWarning, stacklevel=2)
    people = sorted_ids(survey.annotator, untyped=source.untyped)[0]
    num_votes, num_examples, num_annotators = survey.num_votes, len(rows), len(people)
    left_out = survey.left_out

    with storage_errors("import votes into", path, storage_options):
        made.remove()
        try:
            made.create(
                num_votes=num_votes, num_classes=labels.num_classes, tasks=rows, annotators=people
            )
            del survey, rows, people  # as long as the ids: not needed while the votes are sorted
            end = append_votes(source, made, labels, counts, num_votes, on_duplicate, progress)
            check_end(end, made, num_examples, num_votes, on_duplicate)
            made.finish(
                shape=(num_examples, num_annotators),
                num_classes=labels.num_classes,
                classes=None if labels.names is None else list(labels.names),
            )
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what counts
                made.remove()
            raise
        store.give_way(made)
    return ImportSummary(
        path,
        num_examples,
        num_annotators,
        end.num_votes,
        labels.num_classes,
        int(np.count_nonzero(counts == 0)),
        num_votes - end.num_votes,
        labels.names,
        task_order,
        labels.order,
        left_out,
    )


def notes_on_order(rows: pa.Array, task_order: str, labels: Labels) -> Iterator[str]:
    """Yield what there is to say of an order that nobody asked for."""
    if task_order in SORTED:
        yield (
            f"rows are the {plural(len(rows), 'task')} met in the votes, {task_order} "
            f"({listed(map(repr, rows[:3].to_pylist()), count=len(rows))}). Pass tasks, their "
            "ids in the order of the probabilities, unless theirs is the same."
        )
    if labels.order in SORTED and labels.names is not None:
        yield (
            f"classes are the {plural(len(labels.names), 'label')} met in the votes, "
            f"{labels.order} ({listed(map(repr, labels.names))}). Pass classes, all of them in "
            "the order of the probabilities' columns, unless theirs is the same."
        )


def survey_votes(source: Source, progress: ProgressCallback | None) -> Survey:
    """Return what the first read of the votes finds: all ids, counts and faults."""
    buckets = BUCKETS if len(source.parts) > SPLIT_EVERY else 1
    name = new_name("survey")
    surveys = call_each(
        name,
        survey_part,
        ([part] for part in source.parts),
        announces=progress is not None,
        count_rows=surveyed_rows,
        columns=source.columns,
        buckets=buckets,
    ).delayed()
    by_bucket = (
        call_each(new_name("pick"), operator.getitem, ([each, bucket] for each in surveys))
        for bucket in range(buckets)
    )
    steps = Steps("survey", name, (0,) * len(surveys), count_rows=surveyed_rows)
    tasks = [merged(picked, Survey.merge) for picked in by_bucket]
    *found, left_out = compute_steps(
        [*tasks, delayed(add_counts)(list(source.left_out))], steps, progress
    )
    return dataclasses.replace(Survey.join(found), left_out=left_out)


def survey_part(part: pd.DataFrame, *, columns: Sequence[str], buckets: int) -> list[Survey]:
    """Return what one partition of the votes holds, dealt out to buckets."""
    return Survey.from_block(part, columns).split(buckets)


def surveyed_rows(surveys: Sequence[Survey]) -> int:
    """Return the number of votes behind the buckets of a partition."""
    return surveys[0].num_votes


def check_survey(survey: Survey, source: Source) -> None:
    """Refuse votes that are none, and columns at fault."""
    if not survey.num_votes:
        raise InvalidDataError(f"votes: expected at least one vote in {source.where}, got none.")
    tallies = (survey.task, survey.annotator, survey.label)
    for name, tally in zip(source.columns, tallies, strict=True):
        tally.check(name)


def append_votes(
    source: Source,
    store: VotesStore,
    labels: Labels,
    counts: npt.NDArray[np.int64],
    num_votes: int,
    on_duplicate: str,
    progress: ProgressCallback | None,
    *,
    skip_unknown: bool = False,
) -> Appended:
    """Sort the votes into ranges of rows, and append one after the other to the store.

    The chain of appends keeps two tasks from writing one chunk; ranges are sorted in parallel.
    """
    ids = call_each(new_name("read ids"), store.read_ids, [["tasks"], ["annotators"]]).delayed()
    meta: dict[str, type] = {"row": np.int64, "annotator": np.int32, "code": np.int32}
    if on_duplicate == "last":
        meta["order"] = np.int64
    numbered = call_each(
        new_name("number votes"),
        number_votes,
        ([parts, at, *ids] for at, parts in enumerate(source.grouped(num_votes))),
        columns=source.columns,
        labels=labels,
        meta=meta,
        skip_unknown=skip_unknown,
    )
    empty = pd.DataFrame({name: np.empty(0, dtype) for name, dtype in meta.items()})
    edges = row_edges(counts, VOTES_PER_PART)
    ranges = make_frame(numbered, empty).set_index("row", divisions=edges).to_delayed()
    blocks = call_each(
        new_name("sort votes"),
        SortedVotes.from_frame,
        ((part, *cut) for part, cut in zip(ranges, pairwise(edges), strict=True)),
    ).delayed()
    name = new_name("write")
    appended = call_each(
        name,
        append_range,
        ([block, block is blocks[-1]] for block in blocks),
        in_turn=True,
        announces=progress is not None,
        store=store,
    )
    steps = Steps("write", name, tuple(np.add.reduceat(counts, edges[:-1]).tolist()))
    end: Appended = compute_steps(appended.delayed()[-1:], steps, progress)[0]
    return end


def append_range(
    before: Appended | None, block: SortedVotes, last: bool, *, store: VotesStore
) -> Appended:
    """Return the state of the store with one range of rows more."""
    return store.append(Appended.nothing() if before is None else before, block, last=last)


def number_votes(
    parts: Sequence[pd.DataFrame],
    part: int,
    tasks: pa.Array,
    annotators: pa.Array,
    *,
    columns: Sequence[str],
    labels: Labels,
    meta: Mapping[str, type],
    skip_unknown: bool = False,
) -> pd.DataFrame:
    """Turn ids and labels of some partitions into row numbers, column numbers and codes."""
    indexes = (tasks, annotators, labels.values)
    numbers: dict[str, npt.NDArray[Any]] = {}
    for column, target, index in zip(columns, meta, indexes, strict=False):
        parsed = [as_column(frame[column]).values for frame in parts if len(frame)]
        # Parts may differ in type (a number column with and without values above 2**63).
        chunks = [values.cast(index.type) for values in parsed if values is not None]
        values = pa.concat_arrays(chunks) if chunks else pa.array([], index.type)
        if len(values) < sum(map(len, parts)) or values.null_count:
            raise InvalidDataError(CHANGED)
        places = positions(values, index)
        if (places < 0).any() and not (skip_unknown and target == "row"):
            raise InvalidDataError(CHANGED)
        numbers[target] = places.astype(meta[target])
    numbers["code"] = labels.codes[numbers["code"]]
    if "order" in meta:
        numbers["order"] = (part << PART_SHIFT) + np.arange(len(numbers["row"]))
    return pd.DataFrame(numbers)[numbers["row"] >= 0 if skip_unknown else slice(None)]


def check_end(
    end: Appended, store: VotesStore, num_examples: int, num_votes: int, on_duplicate: str
) -> None:
    """Refuse pairs with several votes, and votes that changed between the reads."""
    if end.repeated and on_duplicate == "error":
        rows, people = store.read_ids("tasks"), store.read_ids("annotators")
        shown = [(rows[row].as_py(), people[annotator].as_py()) for row, annotator in end.examples]
        raise InvalidDataError(
            "votes: expected one vote of an annotator on a task, but there are several of "
            f"{plural(end.repeated, '(task, annotator) pair')}: "
            f"{listed(map(repr, shown), count=end.repeated)}.",
            advice="Remove the surplus, or pass {on_duplicate='last'} to keep the last vote of "
            "each pair.",
        )
    if end.num_rows != num_examples or (end.num_votes != num_votes and not end.repeated):
        raise InvalidDataError(CHANGED)
