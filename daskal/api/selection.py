"""The next batch: the smallest scores over both pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal.engine import reduction
from daskal.errors import InputError, InvalidDataError
from daskal.inputs import arguments
from daskal.inputs.blocks import cut_rows
from daskal.inputs.sources import Source, make_source
from daskal.kernels import second_pass
from daskal.method.findings import raise_invalid
from daskal.method.tallies import Candidates, Smallest
from daskal.options import Storage, check_size

COLUMNS = ("rank", "pool", "row", "id", "score")

LABELED, UNLABELED = "labeled", "unlabeled"


# --- what is left out -------------------------------------------------------------------------


class Pool(NamedTuple):
    """One of the two pools to choose from: its scores, and what is known of its examples."""

    name: str
    scores: Any
    ids: Any = None
    num_annotations: Any = None


class Excluded(NamedTuple):
    """Examples that are not to be chosen: ids of either pool, and (pool, row, id) of a batch."""

    ids: frozenset[Any] = frozenset()
    batch: tuple[tuple[str, int, Any], ...] = ()

    @classmethod
    def from_argument(cls, exclude: Any) -> Excluded:
        """Ids, or an earlier batch."""
        if exclude is None:
            return cls()
        if isinstance(exclude, pd.DataFrame):
            missing = {"pool", "row"} - set(exclude.columns)
            if missing:
                raise InputError(
                    "exclude: expected ids, or a batch with the columns 'pool' and 'row', got a "
                    f"DataFrame without {' and '.join(repr(name) for name in sorted(missing))}."
                )
            ids = exclude["id"] if "id" in exclude else pd.Series(None, exclude.index, dtype=object)
            plain = ids.astype(object).where(ids.notna(), None).tolist()
            pairs = zip(exclude["pool"].tolist(), exclude["row"].tolist(), plain, strict=True)
            return cls(batch=tuple(pairs))
        if isinstance(exclude, str | bytes):
            raise InputError(f"exclude: expected a list of ids, got the text {exclude!r}.")
        return cls(frozenset(np.asarray(exclude).ravel().tolist()))

    def of_pool(self, pool: Pool) -> tuple[frozenset[Any], frozenset[int]]:
        """Ids and rows that are left out of a pool; a batch goes by ids where both sides know."""
        mine = [(row, key) for name, row, key in self.batch if name == pool.name]
        if pool.ids is None:
            return frozenset(), frozenset(row for row, _ in mine)
        ids = self.ids | as_kind_of(pool.ids, [key for _, key in mine if key is not None])
        return ids, frozenset(row for row, key in mine if key is None)

    def check(self, pools: Sequence[Pool]) -> None:
        """Refuse ids that cannot be those of any example."""
        known = [pool for pool in pools if pool.ids is not None]
        if self.ids and not known:
            raise InputError(
                "exclude: expected ids that the examples have, but neither pool has ids. Pass "
                "labeled_ids or unlabeled_ids, or exclude an earlier batch (a DataFrame)."
            )
        kinds = {
            isinstance(pick_rows(pool.ids, np.zeros(1, dtype=np.int64))[0], str)
            for pool in known
            if pool.ids.shape[0]
        }
        given = {isinstance(key, str) for key in self.ids}
        if given and kinds and not given & kinds:
            wanted, got = ("text", "numbers") if True in kinds else ("numbers", "text")
            raise InputError(
                f"exclude: expected ids that are {wanted}, as the examples', got {got}."
            )


def as_kind_of(known: Any, keys: Sequence[Any]) -> set[Any]:
    """Ids from a file, which may hold numbers as text or the reverse, as those that are known."""
    if not (keys and known.shape[0]):
        return set(keys)
    if isinstance(pick_rows(known, np.zeros(1, dtype=np.int64))[0], str):
        return {str(key) for key in keys}
    return {int(key) if isinstance(key, str) and key.isdigit() else key for key in keys}


def drop(state: Smallest, pool: Pool, ids: frozenset[Any], rows: frozenset[int]) -> Smallest:
    """The candidates that are not left out."""
    keep = np.array([row not in rows for row in state.rows.tolist()], dtype=bool)
    if ids and len(keep):
        order = np.argsort(state.rows)
        names = pick_rows(pool.ids, state.rows[order])
        keep[order] &= np.array([name not in ids for name in names], dtype=bool)
    return Smallest(state.size, state.scores[keep], state.rows[keep])


# --- the smallest -----------------------------------------------------------------------------


def open_scores(name: str, given: Any, kinds: str, storage_options: Storage) -> Source:
    """A 1-D array, as a source of blocks."""
    opened = arguments.open_argument(name, given, storage_options)
    if len(opened.array.shape) != 1:
        raise InputError(f"{name}: expected shape (N,), got {tuple(opened.array.shape)}.")
    source = make_source(name, opened.array, row_axis=0)
    arguments.check_numeric(name, source, kinds)
    return source


def choose(
    pool: Pool,
    name: str,
    size: int,
    excluded: Excluded,
    max_annotations: int | None,
    storage_options: Storage,
) -> Candidates:
    """The smallest of a pool that are not left out.

    Read once with room for all that may be left out, and again only where ids are not unique.
    """
    sources = [open_scores(name, pool.scores, "fiu", storage_options)]
    if pool.num_annotations is not None:
        num = open_scores("num_annotations", pool.num_annotations, "iu", storage_options)
        if num.shape != sources[0].shape:
            raise InputError(
                f"num_annotations: expected one number a score, {sources[0].shape[0]:,}, got "
                f"{num.shape[0]:,}."
            )
        sources.append(num)
    blocks = cut_rows(sources, has_labels=False)
    ids, rows = excluded.of_pool(pool)
    wanted = size + len(ids) + len(rows)
    while True:
        tree = reduction.tree(
            blocks,
            "batch",
            second_pass.candidates_of_block,
            size=wanted,
            max_annotations=max_annotations,
        )
        try:
            found: Candidates = tree.compute()
        except InvalidDataError:
            raise_all_findings(pool.scores, storage_options)
            raise
        states = (found.with_votes, found.without_votes)
        kept = [drop(state, pool, ids, rows) for state in states]
        if all(
            len(left.rows) >= size or len(state.rows) < wanted
            for left, state in zip(kept, states, strict=True)
        ):
            return Candidates(*kept)
        wanted *= 2


def raise_all_findings(scores: Any, storage_options: Storage) -> None:
    """Say what is wrong in all blocks behind lazy scores, not in the one that failed first."""
    array = arguments.open_argument("scores", scores, storage_options).array
    findings = reduction.reduce_same_blocks(array, "findings", second_pass.findings_of_block)
    if findings is not None:
        raise_invalid(findings)


def rank(
    size: int,
    labeled: Smallest | None,
    unlabeled: Smallest | None,
    without_votes: Smallest | None = None,
    max_relabel_fraction: float | None = None,
) -> pd.DataFrame:
    """The ``size`` smallest over both pools, ties by pool and row.

    At most ``max_relabel_fraction`` of ``size`` come from ``labeled``; rows of the labels without
    votes are in ``without_votes`` and do not count against it.
    """
    parts = [
        (LABELED, labeled, True),
        (LABELED, without_votes, False),
        (UNLABELED, unlabeled, False),
    ]
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
        # A product such as 0.29 * 100 falls short of its whole number by rounding.
        cap = math.floor(round(max_relabel_fraction * size, 6))
        frame = frame[~(frame["relabel"] & (frame["relabel"].cumsum() > cap))]
    frame = frame.head(size).reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame[["rank", "pool", "row", "score"]]


# --- ids ---------------------------------------------------------------------------------------


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
    frame.insert(3, "id", as_id_column(ids.tolist()).set_axis(frame.index))
    return frame


def as_id_column(ids: Sequence[Any]) -> pd.Series[Any]:
    """Ids as a column; whole numbers stay whole beside unknown ones."""
    column = pd.Series(ids, dtype=object)
    whole = [isinstance(value, int) for value in ids if value is not None]
    return column if any(whole) and len(whole) < len(ids) else column.infer_objects()


def pick_rows(ids: Any, rows: np.ndarray[Any, Any]) -> list[Any]:
    """The ids of some rows, ascending."""
    if hasattr(ids, "oindex"):
        return list(np.asarray(ids.oindex[rows]).tolist())
    if hasattr(ids, "dask"):
        return list(np.asarray(ids[rows].compute()).tolist())
    return list(np.asarray(ids)[rows].tolist())


def known_ids(name: str, given: Any, scores: Any, storage_options: Storage) -> Any:
    """Ids as an array: those given, or the coords of the scores."""
    if given is None:
        coords = getattr(scores, "coords", None)
        dim = None if coords is None else scores.dims[0]
        return None if coords is None or dim not in coords else coords[dim].values
    array = arguments.open_argument(name, given, storage_options).array
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
    exclude: Any = None,
    num_annotations: Any = None,
    max_annotations: int | None = None,
    storage_options: Storage = None,
) -> pd.DataFrame:
    """Return the examples to label next: the smallest scores over both pools (runs now).

    Reads the scores once, and holds only as many of them in a place as may be chosen. Ties go by
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
    exclude : array_like or pandas.DataFrame, optional
        What is out for labelling already: ids, of either pool, or an earlier batch. The examples of
        a batch go by id where it and this call have ids, else by pool and row.
    num_annotations : array_like of shape (N,), int, optional
        Votes of each labelled example. Those without one do not count as labelled for
        ``max_relabel_fraction``.
    max_annotations : int, optional
        Leave out labelled examples that have so many votes; needs ``num_annotations``.
    storage_options : mapping, optional

    Returns
    -------
    pandas.DataFrame
        Columns ``rank`` (from 1), ``pool`` ("labeled" or "unlabeled"), ``row``, ``id`` (where ids
        are known) and ``score``, lowest score first.

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
       rank       pool  row  score
    0     1  unlabeled    1    0.1
    1     2    labeled    1    0.2
    >>> daskal.next_batch(scores, pool, size=2, exclude=first)
       rank       pool  row  score
    0     1  unlabeled    0    0.5
    1     2    labeled    0    0.9
    """
    check_size(size, max_relabel_fraction)
    if scores is None and pool is None:
        raise InputError("expected scores of labelled examples, of a pool, or of both; got none.")
    if max_annotations is not None:
        check_size(max_annotations, name="max_annotations")
    if num_annotations is None and max_annotations is not None:
        raise InputError("max_annotations: expected num_annotations beside it, got none.")
    pools = {
        "scores": Pool(
            LABELED,
            scores,
            known_ids("labeled_ids", labeled_ids, scores, storage_options),
            num_annotations,
        ),
        "pool": Pool(
            UNLABELED, pool, known_ids("unlabeled_ids", unlabeled_ids, pool, storage_options)
        ),
    }
    pools = {name: given for name, given in pools.items() if given.scores is not None}
    excluded = Excluded.from_argument(exclude)
    excluded.check(list(pools.values()))
    found = {
        given.name: choose(given, name, int(size), excluded, max_annotations, storage_options)
        for name, given in pools.items()
    }
    ids = {given.name: given.ids for given in pools.values()}
    labeled, unlabeled = found.get(LABELED), found.get(UNLABELED)
    frame = rank(
        int(size),
        None if labeled is None else labeled.with_votes,
        None if unlabeled is None else unlabeled.with_votes,
        None if labeled is None else labeled.without_votes,
        max_relabel_fraction=max_relabel_fraction,
    )
    return add_ids(frame, ids.get(LABELED), ids.get(UNLABELED))
