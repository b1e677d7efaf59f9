"""Whether every read of the labelled data saw the same votes.

Zarr reads a chunk that has vanished as fill values, without a word. Probabilities of nothing but
zeros are found as faults; labels are found here, by counts that each read takes of the same rows.
"""

from __future__ import annotations

import numpy as np

from daskal.records import Records
from daskal.statistics import ConsensusStatistics, LabelStatistics
from daskal.tallies import LabeledTally

NAMED = 5


def is_same(first: LabelStatistics, later: ConsensusStatistics | LabeledTally) -> bool:
    """Whether a later read of the same rows counted the same votes."""
    if isinstance(later, ConsensusStatistics):
        return int(later.consensus_counts.sum()) == first.num_multiple
    return np.array_equal(later.annotators.num, first.votes)


def forget_changed(first: Records, later: Records, row_chunks: tuple[int, ...]) -> str:
    """Forget the blocks that a later read saw otherwise; their rows in words, if there are any."""
    edges = np.cumsum([0, *row_chunks])
    changed = [
        block
        for block in sorted(first.finished() & later.finished())
        if not is_same(first.get(block), later.get(block))
    ]
    for block in changed:
        later.forget(block)
    if not changed:
        return ""
    named = [f"{edges[block]:,} to {edges[block + 1]:,}" for block in changed[:NAMED]]
    more = f" and in {len(changed) - NAMED:,} more blocks" if len(changed) > NAMED else ""
    return f"rows {', '.join(named)}{more}"
