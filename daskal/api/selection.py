"""The next batch: the smallest scores of labeled examples and the pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from daskal.api.batch_memory import check_memory
from daskal.api.batches import LABELED, UNLABELED, add_ids
from daskal.api.choosing import (
    BESIDE_BATCH,
    check_same_kind,
    choose,
    raise_all_findings,
    rank,
)
from daskal.api.diversity import (
    Diversity,
    check_diversity,
    choose_unlike,
    open_embeddings,
)
from daskal.api.exclusion import Excluded
from daskal.api.score_sources import Beside, ScoreSource, by_source, open_source
from daskal.errors import InputError, InvalidDataError
from daskal.method.candidates import Limits
from daskal.method.choice import CLUSTER_MARGIN, Choice
from daskal.method.tallies import Candidates
from daskal.options import Storage, check_size, is_number, shown


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
    quality: Any = None,
    stop_at_quality: float | None = None,
    groups: Any = None,
    group_column: str | None = None,
    max_per_group: int | None = None,
    embeddings: Any = None,
    diversity: str | None = None,
    candidates: int | None = None,
    num_clusters: int | None = None,
    random_state: int = 0,
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
    quality : array_like of shape (N,), float, optional
        Quality of each labeled example's consensus label.
    stop_at_quality : float, optional
        Leave out labeled examples whose label has at least this quality; needs ``quality``. Those
        without a vote stay, where ``num_annotations`` tells them.
    groups : array_like of shape (N,), or pair of them of shape (N,) and (U,), optional
        What examples have in common of which a batch should hold few, such as a cluster of copies,
        a user, a video or the predicted class: numbers, text, or values of any other kind. One
        array where there is one source of scores, a pair (labeled, unlabeled) where there are two;
        either of them may be None. An array, a path or URL, or a table. A missing value, an empty
        text or -1 is no group.
    group_column : str, optional
        The column of ``groups`` to take, where these are tables or their paths.
    max_per_group : int, optional
        The most examples of one group in the batch, of both sources together; needs ``groups``.
    embeddings : array_like of shape (N, D), or pair of them of shape (N, D) and (U, D), optional
        Where examples lie, near each other where they are alike; a pair as ``groups``. Only the
        rows of the candidates are read.
    diversity : {"cluster_margin", "k_center"}, optional
        Choose unlike examples among the candidates; needs ``embeddings``. The candidates are
        clustered by average linkage, and the batch takes turns among the clusters, the smallest
        first (Cluster-Margin, arXiv 2107.14263; needs scikit-learn), or each example taken is the
        farthest from those taken before (greedy k-center). Distances are Euclidean.
    candidates : int, optional
        How many of the lowest scores are candidates; by default 10 times the size.
    num_clusters : int, optional
        Clusters of the candidates; by default as many as the size.
    random_state : int
        Seed of what is drawn: members of clusters, and the first example of k-center.
    storage_options : mapping, optional

    Returns
    -------
    pandas.DataFrame
        Columns ``rank`` (from 1), ``source`` ("labeled" or "unlabeled"), ``row``, ``id`` (where
        ids are known) and ``score``, lowest score first. Its ``attrs`` tell how it was chosen, for
        the report.

    Raises
    ------
    InputError
        If there are no scores, or their shape or the size makes no sense, or ids are excluded and
        none are known.
    MemoryLimitError
        If the candidates do not fit into the memory of a worker.

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
    if scores is None and pool is None:
        raise InputError("expected scores of labeled examples, of a pool, or of both; got none.")
    check_size(size, max_relabel_fraction)
    limits = check_limits(
        Limits(max_annotations, stop_at_quality, max_per_group),
        Beside(None, num_annotations, quality, groups),
    )
    diverse = check_diversity(size, embeddings, diversity, candidates, num_clusters, random_state)
    grouped = by_source("groups", groups, scores, pool)
    given = {
        LABELED: (
            "scores",
            scores,
            Beside(labeled_ids, num_annotations, quality, grouped[LABELED]),
        ),
        UNLABELED: ("pool", pool, Beside(unlabeled_ids, groups=grouped[UNLABELED])),
    }
    sources = [
        open_source(name, *arguments, group_column, storage_options)
        for name, arguments in given.items()
        if arguments[1] is not None
    ]
    points = {}
    if diverse is not None:
        parts = by_source("embeddings", embeddings, scores, pool)
        points = {
            source.name: open_embeddings(parts[source.name], source, storage_options)
            for source in sources
        }
    excluded = Excluded.from_argument(exclude, (LABELED, UNLABELED))
    wanted = int(size) if diverse is None else diverse.candidates
    check_memory(
        "size" if diverse is None else "candidates", wanted, sources, grouped=groups is not None
    )
    excluded.check(sources)
    found = {}
    for source in sources:
        left_out = excluded.of_source(source)
        try:
            found[source.name] = choose(source, wanted, left_out, limits)
        except InvalidDataError:
            raise_all_findings(given[source.name][1], storage_options)
            raise
    ranking = rank_found(wanted, found, max_relabel_fraction)
    chosen = ranking
    if diverse is not None:
        chosen = choose_unlike(ranking, points, diverse, int(size), max_relabel_fraction)
    batch = with_ids(chosen, sources)
    choice_of(chosen, limits, diverse, len(ranking))._replace(
        max_relabel_fraction=max_relabel_fraction,
        num_excluded=None if exclude is None else excluded.num_asked,
    ).put_on(batch)
    return batch


def choice_of(
    chosen: pd.DataFrame, limits: Limits, diverse: Diversity | None, num_candidates: int
) -> Choice:
    """Return what there is to tell of how examples of a ranking were chosen."""
    choice = Choice(max_annotations=limits.max_annotations, stop_at_quality=limits.stop_at_quality)
    if limits.max_per_group is not None:
        counts = chosen["group"][chosen["group"] >= 0].value_counts()
        choice = choice._replace(
            max_per_group=limits.max_per_group,
            num_groups=len(counts),
            most_of_group=int(counts.max()) if len(counts) else 0,
            num_in_no_group=len(chosen) - int(counts.sum()),
        )
    if diverse is not None:
        clusters = min(diverse.num_clusters, num_candidates)
        choice = choice._replace(
            diversity=diverse.method,
            num_candidates=num_candidates,
            num_clusters=clusters if diverse.method == CLUSTER_MARGIN else None,
            random_state=diverse.random_state,
        )
    return choice


def rank_found(
    size: int, found: Mapping[str, Candidates], max_relabel_fraction: float | None
) -> pd.DataFrame:
    """Return the smallest scores of both sources in one ranking."""
    check_same_kind(found)
    labeled, unlabeled = found.get(LABELED), found.get(UNLABELED)
    return rank(
        size,
        None if labeled is None else labeled.with_votes,
        None if unlabeled is None else unlabeled.with_votes,
        None if labeled is None else labeled.without_votes,
        max_relabel_fraction=max_relabel_fraction,
    )


def check_limits(limits: Limits, beside: Beside) -> Limits:
    """Return what leaves examples out; refuse what makes no sense, or misses what it goes by."""
    for name, value, needs, given in (
        ("max_annotations", limits.max_annotations, "num_annotations", beside.num_annotations),
        ("max_per_group", limits.max_per_group, "groups", beside.groups),
        ("stop_at_quality", limits.stop_at_quality, "quality", beside.quality),
    ):
        if value is None:
            continue
        if name != "stop_at_quality":
            check_size(value, name=name)
        elif not (is_number(value) and 0 < value <= 1):
            raise InputError(f"{name}: expected a number above 0 and up to 1, got {shown(value)}.")
        if given is None:
            advice = "Pass {groups=}." if needs == "groups" else ""
            raise InputError(f"{name}: expected {needs} beside it, got none.", advice=advice)
    if beside.groups is not None and limits.max_per_group is None:
        raise InputError("groups: expected max_per_group beside them, got none.")
    return limits


def with_ids(frame: pd.DataFrame, sources: list[ScoreSource]) -> pd.DataFrame:
    """Return a ranking as a batch, with the ids of its examples where they are known."""
    ids = {source.name: source.ids for source in sources}
    return add_ids(frame.drop(columns=list(BESIDE_BATCH)), ids.get(LABELED), ids.get(UNLABELED))
