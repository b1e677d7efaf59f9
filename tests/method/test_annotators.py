"""Annotators against the consensus: the state, how it merges, and the table made of it."""

from __future__ import annotations

import functools
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.kernels.quality import model_votes_block
from daskal.kernels.tallying import AnnotatorCounts, Table, add_confidence
from daskal.method.annotators import annotator_table, worst_classes
from daskal.method.findings import Findings
from daskal.method.tallies import (
    AnnotatorStatistics,
    BlockColumns,
    ConfidenceSums,
    ModelVotes,
)
from daskal.method.values import Block
from tests.kernels.reference import make_scored, make_votes

NUM_ANNOTATORS, NUM_CLASSES = 4, 3


def annotator_statistics(votes, labels, quality, vote_quality) -> AnnotatorStatistics:
    """Statistics of votes (row, annotator, class)."""
    counts = AnnotatorCounts(NUM_ANNOTATORS, NUM_CLASSES)
    counts.add(make_votes(votes, len(labels)), make_scored(labels, quality, vote_quality))
    return counts.statistics()


def confidence_sums(votes, labels, posterior) -> ConfidenceSums:
    """Sums of votes (row, annotator, class), given an (n, k) posterior."""
    table = Table((NUM_ANNOTATORS + 1) * NUM_CLASSES)
    scored = make_scored(labels, np.zeros(len(labels)), np.zeros(len(votes)), posterior)
    add_confidence(make_votes(votes, len(labels)), scored, table.with_room(2 * len(votes)))
    return ConfidenceSums(NUM_CLASSES, table.cells(1))


def model_votes(votes: np.ndarray) -> ModelVotes:
    """How models vote that are sure of (n, p) classes."""
    probs = np.eye(NUM_CLASSES)[votes.T]
    return model_votes_block(Block(None, list(probs), 0), inverse=np.ones(len(probs)))


# Rows 0 and 1 have two votes, row 2 one.
VOTES = [(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 2, 2), (2, 1, 2)]
CONSENSUS = np.array([0, 2, 2])
QUALITY = np.array([0.5, 0.75, 0.25])
VOTE_QUALITY = np.array([0.5, 0.5, 0.125, 0.75, 0.25])


def literal() -> AnnotatorStatistics:
    return annotator_statistics(VOTES, CONSENSUS, QUALITY, VOTE_QUALITY)


def test_statistics_of_a_literal_tile() -> None:
    state = literal()
    assert state.num.tolist() == [2, 2, 1, 0]
    assert state.agreeing.tolist() == [1, 2, 1, 0]
    assert state.num_multiple.tolist() == [2, 1, 1, 0]
    assert state.agreeing_multiple.tolist() == [1, 1, 1, 0]
    assert state.quality.values().tolist() == [0.625, 0.75, 0.75, 0.0]
    assert state.by_class.keys.tolist() == [0, 1, 3, 5, 8]
    assert state.by_class.counts.tolist() == [[1, 1, 1, 1, 1], [1, 0, 1, 1, 1]]
    assert state.by_class.sums.values().tolist() == [0.5, 0.75, 0.5, 0.25, 0.75]


def test_a_vote_whose_quality_is_no_number_is_left_out_of_the_mean() -> None:
    vote_quality = np.where(np.arange(5) == 2, np.nan, VOTE_QUALITY)
    state = annotator_statistics(VOTES, CONSENSUS, QUALITY, vote_quality)
    assert state.scored.tolist() == [1, 2, 1, 0]
    assert state.quality.values().tolist() == [0.5, 0.75, 0.75, 0.0]


@pytest.mark.parametrize(
    ("votes", "consensus", "quality", "worst"),
    [
        # Class 1 never agrees, class 0 always does.
        ([(0, 0, 0), (1, 0, 1)], [0, 0], [1, 1], 1),
        # Both never agree: the one with more votes.
        ([(0, 0, 0), (1, 0, 2), (2, 0, 2)], [1, 1, 1], [1, 1, 1], 2),
        # As many votes: the one whose rows are surer of something else.
        ([(0, 0, 0), (1, 0, 2)], [1, 1], [0.5, 0.75], 2),
        # And all else equal: the smaller class.
        ([(0, 0, 2), (1, 0, 1)], [0, 0], [0.5, 0.5], 1),
    ],
)
def test_ties_of_the_worst_class(votes, consensus, quality, worst) -> None:
    state = annotator_statistics(
        votes, np.array(consensus), np.array(quality, dtype=float), np.full(len(votes), 0.5)
    )
    assert worst_classes(state, NUM_CLASSES).tolist() == [worst, -1, -1, -1]


def test_the_table_leaves_out_those_without_labels_and_puts_the_worst_first() -> None:
    labels = np.array([[0, 0, -1, -1], [1, -1, 2, -1], [-1, 2, -1, -1]])
    probs = np.full((3, 3), 1 / 3)
    estimate = daskal.estimate(labels, probs)
    table = annotator_table(literal(), estimate, None)
    assert sorted(table.index) == [0, 1, 2]
    assert table["annotator_quality"].is_monotonic_increasing
    assert table["num_examples_labeled"].to_dict() == {0: 2, 1: 2, 2: 1}
    assert table["agreement_with_consensus"].to_dict() == {0: 0.5, 1: 1.0, 2: 1.0}
    assert table["worst_class"].to_dict() == {0: 1, 1: 0, 2: 2}


# ---------------------------------------------------------------------------------- any tiles


@st.composite
def some_votes(draw: st.DrawFn) -> tuple[list[tuple[int, int, int]], int]:
    num_rows = draw(st.integers(1, 4))
    pairs = st.tuples(st.integers(0, num_rows - 1), st.integers(0, NUM_ANNOTATORS - 1))
    chosen = sorted(draw(st.sets(pairs, max_size=8)))
    return [(*pair, draw(st.integers(0, NUM_CLASSES - 1))) for pair in chosen], num_rows


def draw_numbers(seed: int, num_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.ones(NUM_CLASSES), size=num_rows)
    labels = rng.integers(NUM_CLASSES, size=num_rows)
    return labels, posterior[np.arange(num_rows), labels], posterior


def annotators_of(seed: int, votes: list[tuple[int, int, int]], num: int) -> AnnotatorStatistics:
    labels, quality, posterior = draw_numbers(seed, num)
    by_vote = np.array([posterior[i, k] for i, _, k in votes])
    return annotator_statistics(votes, labels, quality, by_vote)


def confidence_of(seed: int, votes: list[tuple[int, int, int]], num: int) -> ConfidenceSums:
    labels, _, posterior = draw_numbers(seed, num)
    return confidence_sums(votes, labels, posterior)


def models_of(seed: int, votes: list[tuple[int, int, int]], num: int) -> ModelVotes:
    return model_votes(np.random.default_rng(seed).integers(NUM_CLASSES, size=(num, 2)))


STATES = {
    "annotators": (annotators_of, AnnotatorStatistics.zero(NUM_ANNOTATORS)),
    "confidence": (confidence_of, ConfidenceSums.zero(NUM_CLASSES)),
    "models": (models_of, ModelVotes.zero(2, NUM_CLASSES)),
}


def same(a, b) -> bool:
    if is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    return np.array_equal(a, b)


@pytest.mark.parametrize("kind", STATES)
@given(parts=st.lists(some_votes(), min_size=3, max_size=3))
def test_states_merge_in_any_order(kind: str, parts) -> None:
    make, zero = STATES[kind]
    a, b, c = (make(seed, *part) for seed, part in enumerate(parts))
    assert same(a.merge(b), b.merge(a))
    assert same(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert same(zero.merge(a), a)
    assert same(a.merge(zero), a)


def test_confidence_by_class_of_consensus_and_annotators() -> None:
    posterior = np.array([[0.5, 0.25, 0.25], [0.25, 0.0, 0.75], [0.0, 0.5, 0.5]])
    sums, num = confidence_sums(VOTES, CONSENSUS, posterior).table(NUM_ANNOTATORS)
    assert num.tolist() == [[1, 0, 2], [1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert sums.tolist() == [
        [0.5, 0, 1.25],
        [0.5, 0, 0],
        [0.5, 0, 0.5],
        [0, 0, 0.75],
        [0, 0, 0],
    ]


def test_votes_of_models_on_a_literal_tile() -> None:
    # Three models on three rows: of one mind, two against one, and all different.
    state = model_votes(np.array([[0, 0, 0], [1, 1, 2], [0, 1, 2]]))
    assert state.class_counts.tolist() == [4, 3, 2]
    assert state.untied.tolist() == [2, 2, 2]
    assert state.untied_agreeing.tolist() == [2, 2, 1]


def test_columns_of_blocks_come_in_row_order() -> None:
    parts = [
        BlockColumns(((first, {"x": np.array([first, first + 1])}),), Findings())
        for first in (4, 0, 2)
    ]
    whole = functools.reduce(lambda a, b: a.merge(b), parts)
    assert whole.column("x").tolist() == [0, 1, 2, 3, 4, 5]
    assert whole.annotators is None
