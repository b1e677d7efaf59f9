"""The candidates of each source of scores, and both sources in one ranking."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskal.api.batches import LABELED, UNLABELED
from daskal.api.exclusion import Exclusion
from daskal.api.score_sources import ScoreSource
from daskal.engine import reduction
from daskal.engine.graph import function_of
from daskal.errors import InputError
from daskal.inputs import arguments
from daskal.kernels.candidates import candidates_of_block
from daskal.kernels.multi_label import findings_of_classes, score_classes
from daskal.kernels.second_pass import (
    findings_of_block,
    score_labeled_block,
    score_unlabeled_block,
)
from daskal.kernels.vote_quality import findings_of_votes, score_votes_block
from daskal.method.candidates import Limits, SmallestOfGroups, walk
from daskal.method.findings import (
    MULTI_LABEL_RULE,
    RULE,
    VOTES_RULE,
    Expected,
    Findings,
    raise_invalid,
)
from daskal.method.tallies import Candidates, Smallest
from daskal.options import Storage

# What finds the faults behind lazy scores, by what computes these, and what was expected.
FINDERS: Mapping[Any, tuple[Callable[..., Findings], Expected]] = {
    score_labeled_block: (findings_of_block, RULE),
    score_unlabeled_block: (findings_of_block, RULE),
    score_votes_block: (findings_of_votes, VOTES_RULE),
    score_classes: (findings_of_classes, MULTI_LABEL_RULE),
}
NO_ROWS = np.zeros(0, dtype=np.int64)
# Columns of a ranking, beside the rank; the last two are not for the batch.
RANKED = ("source", "row", "score", "relabel", "group")
BESIDE_BATCH = RANKED[-2:]

# --- one source -------------------------------------------------------------------------------


def candidates_of(
    source: ScoreSource, size: int, limits: Limits, left_out: NDArray[np.int64]
) -> Candidates:
    """Return the smallest scores of a source without the rows ``left_out`` (runs now)."""
    tree = reduction.tree(
        source.blocks,
        "batch",
        candidates_of_block,
        parts=source.parts,
        size=size,
        limits=limits,
        left_out=left_out,
    )
    found: Candidates = tree.compute()
    return found


def choose(source: ScoreSource, size: int, exclusion: Exclusion, limits: Limits) -> Candidates:
    """Return the smallest scores of a source that are not left out.

    Scores are read once, with room for all that may be left out; again only if ids are not unique.
    """
    if "groups" in source.beside:
        return choose_of_groups(source, size, exclusion, limits)
    wanted = size + exclusion.size
    while True:
        found = candidates_of(source, wanted, limits, NO_ROWS)
        states = (found.with_votes, found.without_votes)
        kept = [exclusion.drop(state, source) for state in states]
        if all(
            len(left.rows) >= size or len(state.rows) < wanted
            for left, state in zip(kept, states, strict=True)
        ):
            return Candidates(*kept)
        wanted *= 2


def choose_of_groups(
    source: ScoreSource, size: int, exclusion: Exclusion, limits: Limits
) -> Candidates:
    """Return the smallest scores of a source that are not left out, of each group few.

    An example that is left out must not count for its group, so blocks have to know it. If ids of a
    batch are not where they were in it, all ids are searched, and the scores are read once more.
    """
    left_out = exclusion.rows_left_out(source, search=False)
    found = candidates_of(source, size, limits, left_out)
    for state in (found.with_votes, found.without_votes):
        if len(exclusion.drop(state, source).rows) < len(state.rows):
            left_out = exclusion.rows_left_out(source, search=True)
            return candidates_of(source, size, limits, left_out)
    return found


def raise_all_findings(scores: Any, storage_options: Storage) -> None:
    """Raise the faults of all blocks behind lazy scores, not only of the one that failed first."""
    array = arguments.open_argument("scores", scores, storage_options).array
    if isinstance(array, da.Array) and function_of(array) in FINDERS:
        find, rule = FINDERS[function_of(array)]
        raise_invalid(reduction.reduce_same_blocks(array, "faulty rows", find), rule=rule)


# --- both -------------------------------------------------------------------------------------


def rank(
    size: int,
    labeled: Smallest | None,
    unlabeled: Smallest | None,
    without_votes: Smallest | None = None,
    max_relabel_fraction: float | None = None,
) -> pd.DataFrame:
    """Return the ``size`` smallest scores of both sources, ties ordered by source and row.

    At most ``max_relabel_fraction`` of ``size`` come from ``labeled``; labeled rows without votes
    are in ``without_votes`` and do not count towards it. The column ``relabel`` says which do. Of a
    group, there are no more than the states say; the column ``group`` numbers them, -1 for none.
    """
    parts = [
        (source, state, relabel)
        for source, state, relabel in (
            (LABELED, labeled, True),
            (LABELED, without_votes, False),
            (UNLABELED, unlabeled, False),
        )
        if state is not None
    ]
    frame = pd.concat(
        [
            pd.DataFrame(
                {"source": source, "row": state.rows, "score": state.scores, "relabel": relabel}
            )
            for source, state, relabel in parts
        ],
        ignore_index=True,
    )
    groups = np.concatenate([groups_of(state) for _, state, _ in parts])
    frame = frame.sort_values(["score", "source", "row"], kind="stable")
    most = {state.max_per_group for _, state, _ in parts if isinstance(state, SmallestOfGroups)}
    groups = groups[frame.index]
    frame["group"] = pd.factorize(groups)[0]
    taken = walk(
        groups if most else None,
        frame["relabel"].to_numpy(dtype=bool),
        size=size,
        max_per_group=next(iter(most), None),
        max_relabel=relabel_cap(size, max_relabel_fraction),
    )
    return ranked(frame.iloc[taken])


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return examples that are in their order, with their ranks."""
    columns = {name: frame[name].to_numpy() for name in RANKED}
    return pd.DataFrame({"rank": np.arange(1, len(frame) + 1), **columns})


def groups_of(state: Smallest) -> NDArray[np.object_]:
    """Return the group of each example, None where it is in none."""
    if isinstance(state, SmallestOfGroups):
        return state.groups
    return np.full(len(state.rows), None, dtype=object)


def relabel_cap(size: int, fraction: float | None) -> int | None:
    """Return how many labeled examples a batch may hold."""
    # Rounding: a product such as 0.29 * 100 falls just short of the whole number.
    return None if fraction is None else math.floor(round(fraction * size, 6))


def check_same_kind(found: Mapping[str, Candidates]) -> None:
    """Refuse groups of the two sources that can never be the same, such as text and numbers."""
    kinds = []
    for candidates in found.values():
        groups = [*groups_of(candidates.with_votes), *groups_of(candidates.without_votes)]
        kinds.append({key[0] for key in groups if key is not None})
    if len(kinds) == 2 and all(kinds) and not kinds[0] & kinds[1]:
        one, other = (" and ".join(sorted(each)) for each in kinds)
        raise InputError(
            f"groups: expected groups of one kind for labeled examples and the pool, got {one} and "
            f"{other}, which are never the same group. Convert one of them."
        )
