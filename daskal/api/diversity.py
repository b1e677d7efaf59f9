"""A batch of unlike examples: embeddings of the candidates are read, and some are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal.api.choosing import ranked, relabel_cap
from daskal.api.score_sources import ScoreSource
from daskal.engine.graph import as_matrix
from daskal.engine.workers import machine_memory
from daskal.errors import InputError, InvalidDataError, MemoryLimitError
from daskal.inputs.arguments import check_numeric, open_argument
from daskal.inputs.blocks import cut_rows
from daskal.inputs.picked import pick_rows
from daskal.inputs.sources import Source, make_source, take_rows
from daskal.method.choice import CLUSTER_MARGIN, DIVERSITY
from daskal.method.diversity import k_center, round_robin
from daskal.method.values import Block, Floats, Ints
from daskal.names.rows import Side, match_rows
from daskal.options import Storage, check_choice, check_size, checked_seed
from daskal.text import format_bytes, listed

NAME = "embeddings"
# How many times more candidates there are than the batch has examples, as in Cluster-Margin.
CANDIDATES = 10
# Embeddings are held so often at most, as float64; and SciPy holds all distances twice, each pair
# once.
COPIES, PAIR_BYTES = 3, 8


class Diversity(NamedTuple):
    """How unlike examples are chosen among the candidates."""

    method: str
    candidates: int
    num_clusters: int
    random_state: int


def check_diversity(
    size: int,
    embeddings: Any,
    method: Any,
    candidates: Any,
    num_clusters: Any,
    random_state: Any,
) -> Diversity | None:
    """Return how unlike examples are chosen, None where they are not; refuse what makes no sense.

    Raises
    ------
    InputError
        If embeddings, method and numbers do not go together.
    """
    if embeddings is None and method is None:
        for name, value in (("candidates", candidates), ("num_clusters", num_clusters)):
            if value is not None:
                raise InputError(f"{name}: expected embeddings and diversity beside it, got none.")
        return None
    if embeddings is None:
        raise InputError("diversity: expected embeddings beside it, got none.")
    check_choice("diversity", method, DIVERSITY)
    candidates = CANDIDATES * size if candidates is None else candidates
    check_size(candidates, name="candidates")
    if candidates < size:
        raise InputError(
            f"candidates: expected at least as many as the size, {size:,}, got {candidates:,}."
        )
    if num_clusters is not None:
        check_size(num_clusters, name="num_clusters")
        if method != CLUSTER_MARGIN:
            raise InputError(
                f"num_clusters: expected diversity={CLUSTER_MARGIN!r}, got {method!r}."
            )
    number = size if num_clusters is None else num_clusters
    return Diversity(method, int(candidates), int(number), checked_seed(random_state))


# --- embeddings -------------------------------------------------------------------------------


def open_embeddings(given: Any, scores: ScoreSource, storage_options: Storage) -> Source:
    """Return embeddings as a source with the rows of the scores; nothing of them is read."""
    if given is None:
        raise InputError(
            f"{NAME}: expected some for the {scores.name} examples too, got none. Pass a pair."
        )
    if isinstance(given, Source):
        source, names, numbered = given, None, False
    else:
        opened = open_argument(NAME, given, storage_options)
        if len(opened.array.shape) != 2:
            raise InputError(
                f"{NAME}: expected shape (N, D), one row for each score, got "
                f"{tuple(opened.array.shape)}."
            )
        source = make_source(NAME, opened.array, row_axis=0)
        names, numbered = opened.row_ids, opened.numbered
    check_numeric(NAME, source, "fiu")
    if source.num_rows != scores.num_rows:
        raise InputError(
            f"{NAME}: expected one row for each of the {scores.num_rows:,} scores, got "
            f"{source.num_rows:,}."
        )
    rows = match_rows(
        scores.rows,
        Side(NAME, source.num_rows, names, numbered),
        movable=source.kind == "memory",
    )
    return source if rows.order is None else take_rows(source, rows.order)


def rows_of_block(block: Block) -> Floats:
    """Return the embeddings of a block."""
    return np.asarray(block.probs[0], dtype=np.float64)


def read_embeddings(source: Source, rows: Ints) -> Floats:
    """Return the embeddings of some rows (runs now): only parts that hold one of them are read."""
    order = np.argsort(rows)
    blocks = cut_rows([pick_rows(source, rows[order])], has_labels=False)
    found = np.empty((len(rows), source.shape[1]))
    found[order] = as_matrix(blocks, NAME, rows_of_block, source.shape[1]).compute()
    wrong = rows[~np.isfinite(found).all(axis=1)]
    if len(wrong):
        raise InvalidDataError(
            f"{NAME}: expected finite numbers, but {len(wrong):,} of the {len(rows):,} candidates' "
            f"rows hold others: rows {listed(map(str, np.sort(wrong)), most=10)}. Repair them, or "
            "leave them out of the scores."
        )
    return found


def embeddings_of(frame: pd.DataFrame, sources: Mapping[str, Source]) -> Floats:
    """Return the embeddings of the candidates of both sources, in the order of the frame."""
    widths = {source.shape[1] for source in sources.values()}
    if len(widths) > 1:
        raise InputError(
            f"{NAME}: expected as many numbers a row for labeled examples as for the pool, got "
            f"{' and '.join(map(str, sorted(widths)))}."
        )
    points = np.empty((len(frame), widths.pop()))
    for name, source in sources.items():
        at = np.flatnonzero(frame["source"] == name)
        if len(at):
            points[at] = read_embeddings(source, frame["row"].to_numpy()[at])
    return points


# --- the choice -------------------------------------------------------------------------------


def choose_unlike(
    frame: pd.DataFrame,
    sources: Mapping[str, Source],
    diversity: Diversity,
    size: int,
    max_relabel_fraction: float | None,
) -> pd.DataFrame:
    """Return ``size`` of the candidates in a ranking, ranked anew."""
    if not len(frame):
        return frame
    check_memory(len(frame), sources.values(), diversity.method)
    points = embeddings_of(frame, sources)
    relabel = frame["relabel"].to_numpy(dtype=bool)
    cap = relabel_cap(size, max_relabel_fraction)
    seed = diversity.random_state
    if diversity.method == CLUSTER_MARGIN:
        clusters = cluster(points, diversity.num_clusters)
        taken = round_robin(clusters, relabel, size=size, max_relabel=cap, seed=seed)
    else:
        taken = k_center(points, relabel, size=size, max_relabel=cap, seed=seed)
    return ranked(frame.iloc[np.sort(taken)])


def cluster(points: Floats, num_clusters: int) -> Ints:
    """Return the cluster of each candidate, by average linkage of Euclidean distances."""
    if num_clusters >= len(points):
        return np.arange(len(points))
    try:
        from sklearn.cluster import AgglomerativeClustering
    except ImportError as error:
        raise InputError(
            f"diversity: expected scikit-learn for {CLUSTER_MARGIN!r}, which is not installed. "
            "Install the extra daskal[diversity], or pass diversity='k_center'."
        ) from error
    found: Ints = AgglomerativeClustering(num_clusters, linkage="average").fit_predict(points)
    return found


def check_memory(num: int, sources: Iterable[Source], method: str) -> None:
    """Refuse candidates whose embeddings and distances do not fit into memory."""
    limit = machine_memory()
    needed = max(COPIES * 8 * num * source.shape[1] for source in sources)
    needed += PAIR_BYTES * num**2 if method == CLUSTER_MARGIN else 0
    if needed > limit:
        raise MemoryLimitError(
            f"candidates: expected candidates that fit into {format_bytes(limit)} of memory, got "
            f"{num:,}, which need {format_bytes(needed)} by {method!r}. Pass fewer candidates"
            f"{', or k_center' if method == CLUSTER_MARGIN else ''}."
        )
