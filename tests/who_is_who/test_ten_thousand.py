"""Every pair of named things, in ten thousand random problems."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.fuzzing import MANY
from tests.who_is_who.asking import Pair, failures
from tests.who_is_who.test_batches import batch_and_exclude, scores_and_counts, scores_and_ids
from tests.who_is_who.test_estimates import (
    estimate_and_annotators,
    estimate_and_labeled,
    estimate_and_pool,
)
from tests.who_is_who.test_labeled import (
    bare_probs,
    columns_and_pool,
    labels_and_probs,
    mirror,
    models_of_an_ensemble,
    tasks_and_votes,
    votes_and_columns,
)

PAIRS: tuple[Pair, ...] = (
    labels_and_probs,
    bare_probs,
    models_of_an_ensemble,
    votes_and_columns,
    columns_and_pool,
    estimate_and_annotators,
    estimate_and_pool,
    estimate_and_labeled,
    scores_and_ids,
    scores_and_counts,
    batch_and_exclude,
    tasks_and_votes,
    mirror,
)
# Of these every so many-th problem: they write stores.
RARE = {columns_and_pool: 4, tasks_and_votes: 2}


def problems(seed: int) -> Iterator[tuple[Pair, int]]:
    """Yield cases without end, fewer of those that write a store."""
    for at in itertools.count(seed):
        for pair in PAIRS:
            if at % RARE.get(pair, 1) == 0:
                yield pair, at


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_ten_thousand_problems(part: int) -> None:
    num = MANY // 4
    wrong, outcomes = failures(itertools.islice(problems(MANY * (part + 1)), num))
    print(*sorted(outcomes.items()), sep="\n")
    assert sum(outcomes.values()) == num - len(wrong)
    assert not wrong, f"{len(wrong)} of {num:,}:\n" + "\n".join(wrong[:100])
