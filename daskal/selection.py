"""The next batch: the smallest scores over both pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from daskal import inputs, reduction, scoring
from daskal.blocks import cut_rows
from daskal.errors import InputError
from daskal.options import check_size
from daskal.sources import make_source
from daskal.tallies import Smallest

LABELED, UNLABELED = "labeled", "unlabeled"


def smallest(
    name: str, scores: Any, size: int, storage_options: Mapping[str, Any] | None
) -> Smallest | None:
    """The smallest of a 1-D array of scores, read once."""
    if scores is None:
        return None
    opened = inputs.open_argument(name, scores, storage_options)
    if len(opened.array.shape) != 1:
        raise InputError(f"{name}: expected shape (N,), got {tuple(opened.array.shape)}.")
    source = make_source(name, opened.array, row_axis=0)
    inputs.check_numeric(name, source, "fiu")
    blocks = cut_rows([source], has_labels=False)
    state: Smallest = reduction.tree(blocks, scoring.smallest_of_block, size=size).compute("batch")
    return state


def rank(
    size: int,
    labeled: Smallest | None,
    unlabeled: Smallest | None,
    bare: Smallest | None = None,
    max_relabel_fraction: float | None = None,
) -> pd.DataFrame:
    """The ``size`` smallest over both pools, ties by pool and row.

    At most ``max_relabel_fraction`` of ``size`` come from ``labeled``; rows of the labels without
    votes are in ``bare`` and do not count against it.
    """
    parts = [(LABELED, labeled, True), (LABELED, bare, False), (UNLABELED, unlabeled, False)]
    frame = pd.concat(
        [
            pd.DataFrame(
                {"pool": pool, "row": state.rows, "score": state.scores, "relabel": relabel}
            )
            for pool, state, relabel in parts
            if state is not None
        ]
    ).sort_values(["score", "pool", "row"], kind="stable", ignore_index=True)
    if max_relabel_fraction is not None:
        cap = int(max_relabel_fraction * size)
        frame = frame[~(frame["relabel"] & (frame["relabel"].cumsum() > cap))]
    frame = frame.head(size).reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame[["rank", "pool", "row", "score"]]


def add_ids(frame: pd.DataFrame, labeled_ids: Any, unlabeled_ids: Any) -> pd.DataFrame:
    """Put the examples' ids beside their rows, where they are known."""
    if labeled_ids is None and unlabeled_ids is None:
        return frame
    ids = np.full(len(frame), None, dtype=object)
    for pool, known in ((LABELED, labeled_ids), (UNLABELED, unlabeled_ids)):
        at = np.flatnonzero(frame["pool"] == pool)
        if known is not None and len(at):
            rows = frame["row"].to_numpy()[at]
            # Stored ids are read at these rows only, in ascending order.
            order = np.argsort(rows)
            ids[at[order]] = pick_rows(known, rows[order])
    frame.insert(3, "id", pd.Series(ids, index=frame.index).infer_objects())
    return frame


def pick_rows(ids: Any, rows: np.ndarray[Any, Any]) -> list[Any]:
    """The ids of some rows, ascending."""
    if hasattr(ids, "oindex"):
        return list(np.asarray(ids.oindex[rows]).tolist())
    if hasattr(ids, "dask"):
        return list(np.asarray(ids[rows].compute()).tolist())
    return list(np.asarray(ids)[rows].tolist())


def known_ids(name: str, given: Any, scores: Any, storage_options: Any) -> Any:
    """Ids as an array: those given, or the coords of the scores."""
    if given is None:
        coords = getattr(scores, "coords", None)
        dim = None if coords is None else scores.dims[0]
        return None if coords is None or dim not in coords else coords[dim].values
    array = inputs.open_argument(name, given, storage_options).array
    num_rows = len(scores) if hasattr(scores, "__len__") else None
    if num_rows is not None and len(array.shape) == 1 and array.shape[0] != num_rows:
        raise InputError(f"{name}: expected one id a score, {num_rows:,}, got {array.shape[0]:,}.")
    return array


def next_batch(
    scores: Any,
    pool: Any = None,
    *,
    size: int,
    labeled_ids: Any = None,
    unlabeled_ids: Any = None,
    max_relabel_fraction: float | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return the examples to label next: the smallest scores over both pools (runs now).

    Reads the scores once; never more than ``size`` of them are held in a place. Ties go by
    (score, pool, row), so that every run and chunking gives the same batch.

    Parameters
    ----------
    scores : array_like of shape (N,), or None
        Scores of the labelled examples; NaN is never chosen.
    pool : array_like of shape (U,), optional
        Scores of the pool.
    size : int
        Examples to choose.
    labeled_ids, unlabeled_ids : array_like of shape (N,) and (U,), optional
        Ids of the examples; by default the xarray coords of the scores, if any.
    max_relabel_fraction : float, optional
        Greatest share of ``size`` that may come from ``scores``.
    storage_options : mapping, optional

    Returns
    -------
    pandas.DataFrame
        Columns ``rank`` (from 1), ``pool`` ("labeled" or "unlabeled"), ``row``, ``id`` (where ids
        are known) and ``score``, lowest score first.

    Raises
    ------
    InputError
        If there are no scores, or their shape or the size makes no sense.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> daskal.next_batch(np.array([0.9, 0.2]), np.array([0.5, 0.1]), size=2)
       rank       pool  row  score
    0     1  unlabeled    1    0.1
    1     2    labeled    1    0.2
    """
    check_size(size, max_relabel_fraction)
    if scores is None and pool is None:
        raise InputError("expected scores of labelled examples, of a pool, or of both; got none.")
    frame = rank(
        int(size),
        smallest("scores", scores, int(size), storage_options),
        smallest("pool", pool, int(size), storage_options),
        max_relabel_fraction=max_relabel_fraction,
    )
    return add_ids(
        frame,
        known_ids("labeled_ids", labeled_ids, scores, storage_options),
        known_ids("unlabeled_ids", unlabeled_ids, pool, storage_options),
    )
