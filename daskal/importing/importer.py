"""Long-format crowd votes (task, annotator, label) to an aligned sparse store.

Two reads of the votes: a survey finds every id, counts and faults; then the votes, their ids turned
into row and column numbers, are sorted by Dask's own shuffle into ranges of rows, which one chain
of tasks appends to the store by whole chunks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import dask.dataframe as dd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import Delayed, delayed
from distributed import as_completed
from distributed.scheduler import KilledWorker

from daskal.engine.workers import active_client
from daskal.errors import ClusterError, InputError, InvalidDataError
from daskal.importing.alignment import Labels, resolve_labels, resolve_tasks, row_edges, sorted_ids
from daskal.importing.columns import Survey, as_column, listed, positions
from daskal.importing.files import VOTES_PER_PART, Source, open_tasks, open_votes
from daskal.importing.votes_store import CHANGED, Appended, SortedVotes, VotesStore
from daskal.storage.locations import is_url, storage_errors

Report = Callable[[str, int, int], None]

_FAN_IN = 8
_BUCKETS = 16
_PART_SHIFT = 40


@dataclasses.dataclass(frozen=True)
class ImportSummary:
    """What `import_votes` stored, and where.

    Attributes
    ----------
    path
        Where the store is, as it was given.
    num_examples, num_annotators, num_votes, num_classes
        N, M, the number of stored votes, and K.
    num_unlabeled
        Rows without a vote.
    num_replaced
        Votes left out because a later one of the same annotator on the same task was kept.
    classes
        Names of the classes in the order of their codes, where known.

    Examples
    --------
    >>> import tempfile, pandas as pd, daskal
    >>> votes = pd.DataFrame({"task": ["a", "b"], "annotator": ["x", "x"], "label": [0, 1]})
    >>> summary = daskal.import_votes(votes, out=tempfile.mkdtemp() + "/labels.zarr")
    >>> summary.num_examples, summary.num_annotators, summary.num_votes, summary.num_classes
    (2, 1, 2, 2)
    """

    path: str
    num_examples: int
    num_annotators: int
    num_votes: int
    num_classes: int
    num_unlabeled: int
    num_replaced: int
    classes: tuple[str, ...] | None


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
    overwrite: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    progress: Report | None = None,
) -> ImportSummary:
    """Turn long-format votes into a store of sparse votes, aligned with the probabilities.

    The votes are read twice, by partitions, on whatever Dask scheduler is active; memory is needed
    for a few partitions and for the ids, not for the votes.

    Parameters
    ----------
    votes
        One row a vote: the path or URL of Parquet (a file, a folder, a glob) or CSV (``.csv``,
        ``.tsv``, compressed too), a list of such paths, a pandas DataFrame or a Dask DataFrame.
    out
        Path or URL of the store to make. Where ``overwrite`` replaces one, the old one is deleted
        once the new votes have been surveyed.
    task, annotator, label
        Names of the three columns. Ids are whole numbers or text; any other single type is kept as
        its text. In CSV, a column where all values are written as whole numbers holds numbers.
    tasks
        Ids of the rows in the order the probabilities have: an array, an index, or the path or URL
        of Parquet, CSV, ``.npy`` or Zarr. Tasks without votes become empty rows. By default the
        sorted ids met in the votes.
    classes
        Names in the order of the codes 0..K-1. Labels are then these names or, where they are
        whole numbers and no name is one, the codes themselves. By default whole numbers are codes,
        and other labels get codes in lexicographic order.
    on_duplicate
        What to do where an annotator has several votes on a task: raise, or keep the last one in
        the order of the source.
    overwrite
        Replace a store that is there.
    storage_options
        Options for fsspec, used for every URL among ``votes``, ``tasks`` and ``out``; never stored.
    progress
        Called as ``progress(stage, done, total)``, the stages being ``"survey"`` and ``"write"``.

    Returns
    -------
    ImportSummary
        Counts, class names and path. The store is a Zarr v3 group in AnnData's CSR convention
        (``data``, ``indices``, ``indptr``), with arrays ``tasks`` and ``annotators`` beside it and
        the classes in ``attrs["daskal"]``. A stored 0 is a vote for class 0.

    Raises
    ------
    InputError
        If columns are missing, or ids or classes given do not fit the votes.
    InvalidDataError
        If ids or labels are missing, of mixed types, unknown, or pairs are repeated.
    StoreExistsError
        If ``out`` exists and ``overwrite`` is false, or is something else than a Zarr store.
    MissingPathError, StorageError
        If a path or URL cannot be read or written.

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
    store = VotesStore(
        path if is_url(path) else str(Path(path).absolute()), dict(storage_options or {})
    )
    with storage_errors("write votes to", path, storage_options):
        store.refuse_existing(overwrite=overwrite)
    source = open_votes(votes, (task, annotator, label), storage_options)
    given = None if tasks is None else open_tasks(tasks, task, storage_options)

    with storage_errors("read votes from", source.where, storage_options):
        survey = _survey(source, progress)
    _check_survey(survey, source)
    labels = resolve_labels(survey.label, classes, label, untyped=source.untyped)
    rows, counts = resolve_tasks(survey.task, given, task, untyped=source.untyped)
    people = sorted_ids(survey.annotator, untyped=source.untyped)[0]
    edges = row_edges(counts, VOTES_PER_PART)
    num_votes, num_examples, num_annotators = survey.num_votes, len(rows), len(people)

    with storage_errors("import votes into", path, storage_options):
        store.remove()
        try:
            store.create(
                num_votes=num_votes, num_classes=labels.num_classes, tasks=rows, annotators=people
            )
            del survey, rows, people  # as long as the ids: not needed while the votes are sorted
            end = _append_votes(source, store, labels, edges, num_votes, on_duplicate, progress)
            _check_end(end, store, num_examples, num_votes, on_duplicate)
            store.finish(
                shape=(num_examples, num_annotators),
                num_classes=labels.num_classes,
                classes=None if labels.names is None else list(labels.names),
            )
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what counts
                store.remove()
            raise
    return ImportSummary(
        path,
        num_examples,
        num_annotators,
        end.num_votes,
        labels.num_classes,
        int(np.count_nonzero(counts == 0)),
        num_votes - end.num_votes,
        labels.names,
    )


def _survey(source: Source, progress: Report | None) -> Survey:
    surveys = [delayed(Survey.from_block)(part, source.columns) for part in source.parts]
    ticks = [survey.num_votes for survey in surveys]
    buckets = _BUCKETS if len(surveys) > _FAN_IN else 1
    splits = [delayed(Survey.split, nout=buckets)(survey, buckets) for survey in surveys]
    merged = [_merge([split[bucket] for split in splits]) for bucket in range(buckets)]
    return Survey.join(_compute(merged, ticks, "survey", progress))


def _merge(surveys: list[Delayed]) -> Delayed:
    while len(surveys) > 1:
        groups = [surveys[first : first + _FAN_IN] for first in range(0, len(surveys), _FAN_IN)]
        surveys = [delayed(Survey.merge)(group) for group in groups]
    return surveys[0]


def _check_survey(survey: Survey, source: Source) -> None:
    if not survey.num_votes:
        raise InvalidDataError(f"votes: expected at least one vote in {source.where}, got none.")
    tallies = (survey.task, survey.annotator, survey.label)
    for name, tally in zip(source.columns, tallies, strict=True):
        tally.check(name)


def _append_votes(
    source: Source,
    store: VotesStore,
    labels: Labels,
    edges: list[int],
    num_votes: int,
    on_duplicate: str,
    progress: Report | None,
) -> Appended:
    """Sort the votes into ranges of rows, and append range after range to the store.

    The chain of appends is what keeps two tasks from writing one chunk; the ranges themselves are
    sorted in parallel.
    """
    rows = delayed(VotesStore.read_ids)(store, "tasks")
    people = delayed(VotesStore.read_ids)(store, "annotators")
    meta: dict[str, type] = {"row": np.int64, "annotator": np.int32, "code": np.int32}
    if on_duplicate == "last":
        meta["order"] = np.int64
    numbered = [
        delayed(_number_votes)(parts, part, source.columns, (rows, people), labels, meta)
        for part, parts in enumerate(source.grouped(num_votes))
    ]
    empty = pd.DataFrame({name: np.empty(0, dtype) for name, dtype in meta.items()})
    frame = dd.from_delayed(numbered, meta=empty, verify_meta=False)
    ranges = frame.set_index("row", divisions=edges).to_delayed()
    states = [delayed(Appended.nothing)()]
    for first, end, part in zip(edges[:-1], edges[1:], ranges, strict=True):
        block = delayed(SortedVotes.from_frame)(part, first, end)
        states.append(delayed(VotesStore.append)(store, states[-1], block))
    finished = delayed(VotesStore.append)(store, states[-1], SortedVotes.nothing(), last=True)
    ticks = [state.num_rows for state in states[1:]]
    appended: Appended = _compute([finished], ticks, "write", progress)[0]
    return appended


def _number_votes(
    parts: Sequence[pd.DataFrame],
    part: int,
    source_columns: Sequence[str],
    ids: tuple[pa.Array, pa.Array],
    labels: Labels,
    meta: Mapping[str, type],
) -> pd.DataFrame:
    """Turn ids and labels of some partitions into row numbers, column numbers and codes."""
    indexes = (*ids, labels.values)
    numbers: dict[str, npt.NDArray[Any]] = {}
    for column, target, index in zip(source_columns, meta, indexes, strict=False):
        parsed = [as_column(frame[column]).values for frame in parts if len(frame)]
        # Parts may differ in type (a number column with and without values above 2**63).
        chunks = [values.cast(index.type) for values in parsed if values is not None]
        values = pa.concat_arrays(chunks) if chunks else pa.array([], index.type)
        if len(values) < sum(map(len, parts)) or values.null_count:
            raise InvalidDataError(CHANGED)
        places = positions(values, index)
        if (places < 0).any():
            raise InvalidDataError(CHANGED)
        numbers[target] = places.astype(meta[target])
    numbers["code"] = labels.codes[numbers["code"]]
    if "order" in meta:
        numbers["order"] = (part << _PART_SHIFT) + np.arange(len(numbers["row"]))
    return pd.DataFrame(numbers)


def _check_end(
    end: Appended, store: VotesStore, num_examples: int, num_votes: int, on_duplicate: str
) -> None:
    if end.repeated and on_duplicate == "error":
        rows, people = store.read_ids("tasks"), store.read_ids("annotators")
        shown = [(rows[row].as_py(), people[annotator].as_py()) for row, annotator in end.examples]
        raise InvalidDataError(
            f"votes: expected one vote of an annotator on a task, but {end.repeated:,} "
            f"(task, annotator) pairs have several ({listed(shown, end.repeated)}). Remove the "
            "surplus, or pass on_duplicate='last' to keep the last vote of each pair."
        )
    if end.num_rows != num_examples or (end.num_votes != num_votes and not end.repeated):
        raise InvalidDataError(CHANGED)


def _compute(
    wanted: list[Delayed], ticks: list[Delayed], stage: str, progress: Report | None
) -> list[Any]:
    """Compute ``wanted`` on the active scheduler, reporting each of ``ticks`` as it is done."""
    client = active_client()
    total = len(ticks)
    if progress is not None:
        progress(stage, 0, total)
    if client is not None:
        return _compute_on_cluster(client, wanted, ticks, stage, progress)
    if progress is None:
        return list(compute(*wanted))
    waiting = {tick.key for tick in ticks}

    def posttask(key: Any, *_: Any) -> None:
        if key in waiting:
            waiting.remove(key)
            progress(stage, total - len(waiting), total)

    with Callback(posttask=posttask):
        return list(compute(*wanted, *ticks)[: len(wanted)])


def _compute_on_cluster(
    client: Any, wanted: list[Delayed], ticks: list[Delayed], stage: str, progress: Report | None
) -> list[Any]:
    futures = client.compute([*wanted, *ticks] if progress is not None else wanted)
    try:
        if progress is not None:
            for done, _ in enumerate(as_completed(futures[len(wanted) :]), start=1):
                progress(stage, done, len(ticks))
        return list(client.gather(futures[: len(wanted)]))
    except KilledWorker as error:
        raise ClusterError(
            "workers died again and again on the same votes, most often for want of memory: "
            f"{error}. Give workers more memory, or use fewer threads a worker."
        ) from error
