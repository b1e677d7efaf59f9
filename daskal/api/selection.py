"""The next batch: the smallest scores of labeled examples and the pool."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from daskal.api.batches import LABELED, UNLABELED, add_ids
from daskal.api.exclusion import Excluded, Exclusion, ScoreSource
from daskal.engine import reduction
from daskal.errors import InputError, InvalidDataError
from daskal.inputs import arguments
from daskal.inputs.blocks import cut_rows
from daskal.inputs.ids import RowIds, open_ids
from daskal.inputs.opened import Opened
from daskal.inputs.sources import Source, make_source, take_rows
from daskal.kernels import second_pass
from daskal.method.findings import raise_invalid
from daskal.method.tallies import Candidates, Smallest
from daskal.names.rows import Side, match_rows
from daskal.options import Storage, check_size

# --- the smallest -----------------------------------------------------------------------------


def open_scores(
    name: str, given: Any, kinds: str, storage_options: Storage
) -> tuple[Source, Opened]:
    """Return an array of one axis as a source of blocks, and the argument as it was opened."""
    if isinstance(given, pd.DataFrame):
        raise InputError(
            f"{name}: expected an array of shape (N,), got a DataFrame. Pass its column of scores."
        )
    opened = arguments.open_argument(name, given, storage_options)
    if len(opened.array.shape) != 1:
        raise InputError(f"{name}: expected shape (N,), got {tuple(opened.array.shape)}.")
    source = make_source(name, opened.array, row_axis=0)
    arguments.check_numeric(name, source, kinds)
    return source, opened


def open_counts(given: Any, scores: Opened, num_rows: int, storage_options: Storage) -> Source:
    """Return each example's number of annotations, in the order of the scores."""
    name = "num_annotations"
    source, opened = open_scores(name, given, "iu", storage_options)
    if source.num_rows != num_rows:
        raise InputError(
            f"{name}: expected one number per score, {num_rows:,}, got {source.num_rows:,}."
        )
    rows = match_rows(
        Side("scores", num_rows, scores.row_ids, scores.numbered),
        Side(name, num_rows, opened.row_ids, opened.numbered),
        movable=source.kind == "memory",
    )
    return source if rows.order is None else take_rows(source, rows.order)


def choose(
    source: ScoreSource, size: int, exclusion: Exclusion, max_annotations: int | None
) -> Candidates:
    """Return the smallest scores of a source that are not left out.

    Scores are read once, with room for all that may be left out; again only if ids are not unique.
    """
    counts = [] if source.num_annotations is None else [source.num_annotations]
    blocks = cut_rows([source.scores, *counts], has_labels=False)
    wanted = size + exclusion.size
    while True:
        tree = reduction.tree(
            blocks,
            "batch",
            second_pass.candidates_of_block,
            size=wanted,
            max_annotations=max_annotations,
        )
        found: Candidates = tree.compute()
        states = (found.with_votes, found.without_votes)
        kept = [exclusion.drop(state, source) for state in states]
        if all(
            len(left.rows) >= size or len(state.rows) < wanted
            for left, state in zip(kept, states, strict=True)
        ):
            return Candidates(*kept)
        wanted *= 2


def open_sources(
    given: Mapping[str, tuple[str, Any, Any]], num_annotations: Any, storage_options: Storage
) -> list[ScoreSource]:
    """Return the sources of scores that are given, by (name, scores, ids)."""
    sources = []
    for argument, (name, scores, ids) in given.items():
        if scores is None:
            continue
        blocks, opened = open_scores(argument, scores, "fiu", storage_options)
        num = None
        if name == LABELED and num_annotations is not None:
            num = open_counts(num_annotations, opened, blocks.num_rows, storage_options)
        known = known_ids(f"{name}_ids", ids, opened, storage_options)
        sources.append(ScoreSource(name, argument, blocks, known, num))
    return sources


def raise_all_findings(scores: Any, storage_options: Storage) -> None:
    """Raise the faults of all blocks behind lazy scores, not only of the one that failed first."""
    array = arguments.open_argument("scores", scores, storage_options).array
    findings = reduction.reduce_same_blocks(array, "faulty rows", second_pass.findings_of_block)
    if findings is not None:
        raise_invalid(findings)


def rank(
    size: int,
    labeled: Smallest | None,
    unlabeled: Smallest | None,
    without_votes: Smallest | None = None,
    max_relabel_fraction: float | None = None,
) -> pd.DataFrame:
    """Return the ``size`` smallest scores of both sources, ties ordered by source and row.

    At most ``max_relabel_fraction`` of ``size`` come from ``labeled``; labeled rows without votes
    are in ``without_votes`` and do not count towards it.
    """
    parts = [
        (LABELED, labeled, True),
        (LABELED, without_votes, False),
        (UNLABELED, unlabeled, False),
    ]
    frame = pd.concat(
        [
            pd.DataFrame(
                {"source": source, "row": state.rows, "score": state.scores, "relabel": relabel}
            )
            for source, state, relabel in parts
            if state is not None
        ]
    ).sort_values(["score", "source", "row"], kind="stable", ignore_index=True)
    if max_relabel_fraction is not None:
        # Rounding: a product such as 0.29 * 100 falls just short of the whole number.
        cap = math.floor(round(max_relabel_fraction * size, 6))
        frame = frame[~(frame["relabel"] & (frame["relabel"].cumsum() > cap))]
    frame = frame.head(size).reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame[["rank", "source", "row", "score"]]


# --- ids ---------------------------------------------------------------------------------------


def known_ids(name: str, given: Any, opened: Opened, storage: Storage) -> RowIds | None:
    """Return the ids that are given, else those that the scores came with."""

    def open_array() -> Any:
        return arguments.open_ids_argument(name, given, storage)

    num_rows = int(opened.array.shape[0])
    return open_ids(name, given, num_rows, opened.row_ids, "the scores", open_array)


def next_batch(
    scores: Any,
    pool: Any = None,
    *,
    size: int,
    labeled_ids: Any = None,
    unlabeled_ids: Any = None,
    max_relabel_fraction: float | None = None,
    exclude: Any = None,
    num_annotations: Any = None,
    max_annotations: int | None = None,
    storage_options: Storage = None,
) -> pd.DataFrame:
    """Return the examples to label next: those with the smallest scores (runs now).

    Reads the scores once, and holds only as many of them at a time as may be chosen. Ties are
    ordered by (score, source, row), so that every run and chunking gives the same batch.

    Parameters
    ----------
    scores : array_like of shape (N,), or None
        Scores of the labeled examples; NaN is never chosen.
    pool : array_like of shape (U,), optional
        Scores of the pool.
    size : int
        Examples to choose.
    labeled_ids, unlabeled_ids : array_like of shape (N,) and (U,), optional
        Ids of the examples; by default the xarray coords of the scores, if any.
    max_relabel_fraction : float, optional
        Greatest share of ``size`` that may come from ``scores``.
    exclude : array_like or pandas.DataFrame, optional
        Examples that are out for labeling already: ids of labeled examples and of the pool, or an
        earlier batch. The examples of a batch are identified by id if both it and this call have
        ids, else by the columns ``source`` and ``row``.
    num_annotations : array_like of shape (N,), int, optional
        Votes of each labeled example. Those without one do not count as labeled for
        ``max_relabel_fraction``.
    max_annotations : int, optional
        Leave out labeled examples with at least this many votes; needs ``num_annotations``.
    storage_options : mapping, optional

    Returns
    -------
    pandas.DataFrame
        Columns ``rank`` (from 1), ``source`` ("labeled" or "unlabeled"), ``row``, ``id`` (where
        ids are known) and ``score``, lowest score first.

    Raises
    ------
    InputError
        If there are no scores, or their shape or the size makes no sense, or ids are excluded and
        none are known.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> scores, pool = np.array([0.9, 0.2]), np.array([0.5, 0.1])
    >>> first = daskal.next_batch(scores, pool, size=2)
    >>> first
       rank     source  row  score
    0     1  unlabeled    1    0.1
    1     2    labeled    1    0.2
    >>> daskal.next_batch(scores, pool, size=2, exclude=first)
       rank     source  row  score
    0     1  unlabeled    0    0.5
    1     2    labeled    0    0.9
    """
    check_size(size, max_relabel_fraction)
    if scores is None and pool is None:
        raise InputError("expected scores of labeled examples, of a pool, or of both; got none.")
    if max_annotations is not None:
        check_size(max_annotations, name="max_annotations")
    if num_annotations is None and max_annotations is not None:
        raise InputError("max_annotations: expected num_annotations beside it, got none.")
    given = {"scores": (LABELED, scores, labeled_ids), "pool": (UNLABELED, pool, unlabeled_ids)}
    sources = open_sources(given, num_annotations, storage_options)
    excluded = Excluded.from_argument(exclude, (LABELED, UNLABELED))
    excluded.check(sources)
    found = {}
    for source in sources:
        left_out = excluded.of_source(source)
        try:
            found[source.name] = choose(source, int(size), left_out, max_annotations)
        except InvalidDataError:
            raise_all_findings(given[source.argument][1], storage_options)
            raise
    ids = {source.name: source.ids for source in sources}
    labeled, unlabeled = found.get(LABELED), found.get(UNLABELED)
    frame = rank(
        int(size),
        None if labeled is None else labeled.with_votes,
        None if unlabeled is None else unlabeled.with_votes,
        None if labeled is None else labeled.without_votes,
        max_relabel_fraction=max_relabel_fraction,
    )
    return add_ids(frame, ids.get(LABELED), ids.get(UNLABELED))
