"""The labels of lowest quality: found block by block, merged in any order."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskal.method import doubtful
from daskal.method.doubtful import DOUBTFUL_COLUMNS, DoubtfulLabels


def columns(quality: list[float], votes: list[int] | None = None) -> dict[str, np.ndarray]:
    num = len(quality)
    return {
        "score": np.arange(num) / 10,
        "consensus_label": np.arange(num, dtype=np.int32),
        "consensus_quality_score": np.array(quality, dtype=np.float64),
        "annotator_agreement": np.ones(num),
        "num_annotations": np.array(votes or [1] * num, dtype=np.int32),
    }


def rows(found: DoubtfulLabels) -> list[int]:
    return dict(zip(DOUBTFUL_COLUMNS, found.columns, strict=True))["row"].tolist()


def test_lowest_first_ties_by_row_without_votes_left_out() -> None:
    found = DoubtfulLabels.from_columns(
        columns([0.5, 0.2, np.nan, 0.2, 0.1, 0.3], [1, 2, 1, 1, 0, 3]), first_row=100
    )
    assert rows(found) == [101, 103, 105, 100]
    by_name = dict(zip(DOUBTFUL_COLUMNS, found.columns, strict=True))
    assert by_name["consensus_label"].tolist() == [1, 3, 5, 0]
    assert by_name["num_annotations"].tolist() == [2, 1, 3, 1]
    assert by_name["score"].tolist() == [0.1, 0.3, 0.5, 0.0]


@given(
    quality=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, np.nan]), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_same_whatever_the_blocks_and_the_order_of_merges(quality, cuts, order) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubtful, "NUM_DOUBTFUL", 5)
        patch.setattr(doubtful, "SCAN_ROWS", 7)
        whole = columns(quality)
        edges = sorted({0, *(min(cut, len(quality)) for cut in cuts), len(quality)})
        parts = [
            DoubtfulLabels.from_columns(
                {name: values[start:stop] for name, values in whole.items()}, start
            )
            for start, stop in itertools.pairwise(edges)
        ]
        order.shuffle(parts)
        found = functools.reduce(DoubtfulLabels.merge, parts, DoubtfulLabels.zero())
        known = [at for at in range(len(quality)) if not np.isnan(quality[at])]
        assert rows(found) == sorted(known, key=lambda at: (quality[at], at))[:5]
