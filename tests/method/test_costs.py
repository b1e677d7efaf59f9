"""How many votes lift labels to a quality, beside votes given one by one."""

from __future__ import annotations

import numpy as np
import pytest

import daskal
from daskal.method.costs import TARGETS, Odds, Sharing, cost_curve, rise_of
from tests.problems import make_problem


@pytest.mark.parametrize("quality", [0.02, 0.3, 0.55, 0.79])
@pytest.mark.parametrize("target", [0.5, 0.8])
def test_votes_one_by_one_reach_the_quality(quality: float, target: float) -> None:
    if quality >= target:
        return
    sharing, odds = Sharing(4.5, 0.9), Odds(3.0)
    mean, total, num = quality, 4.5, 0
    while mean < target:
        mean, total, num = (mean * total + 0.9) / (total + 1), total + 1, num + 1
    assert np.ceil(sharing.votes(np.array([quality]), target)) == num
    chance, num = quality, 0
    while chance < target:
        chance, num = 3 * chance / (3 * chance + 1 - chance), num + 1
    assert np.ceil(odds.votes(np.array([quality]), target)) == num


def test_no_number_of_votes_lifts_beyond_what_a_vote_says() -> None:
    assert Sharing(4.0, 0.8).votes(np.array([0.3]), 0.8).tolist() == [np.inf]
    assert Odds(1.0).votes(np.array([0.3]), 0.8).tolist() == [np.inf]


def test_examples_are_counted_on_both_sides() -> None:
    problem = make_problem(5, num_examples=300, num_classes=3)
    aggregate = daskal.aggregate(problem.labels, "majority_vote", num_classes=3)
    quality = daskal.label_quality(problem.labels, None, aggregate).compute()
    voted = quality[quality["num_annotations"] > 0]["consensus_quality_score"].to_numpy()
    counts, _ = np.histogram(voted, bins=200, range=(0, 1))
    curve = cost_curve(counts, aggregate)
    assert [cost.quality for cost in curve] == list(TARGETS)
    rise = rise_of(aggregate)
    assert isinstance(rise, Sharing)
    for cost in curve:
        assert cost.num_above == counts[round(200 * cost.quality) :].sum()
        assert cost.num_above + cost.num_below == len(voted)
        assert cost.votes is not None
        assert cost.votes >= cost.num_below
    # The higher the quality, the more votes it takes.
    votes = [cost.votes for cost in curve]
    assert votes == sorted(votes)


def test_one_label_each_rests_on_the_model_alone() -> None:
    labels = np.array([[0, -1], [-1, 1], [1, -1]])
    estimate = daskal.estimate(labels, np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]))
    assert rise_of(estimate) is None
    assert cost_curve(np.ones(200, dtype=np.int64), estimate) == []


def test_an_estimate_takes_the_mean_annotator() -> None:
    problem = make_problem(3, num_examples=200, num_classes=3)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    rise = rise_of(estimate)
    assert isinstance(rise, Sharing)
    assert rise.most == estimate.consensus_likelihood
    per_example = estimate.num_annotations / estimate.num_labeled
    weight = estimate.model_weight / np.nanmean(estimate.annotator_weight)
    np.testing.assert_allclose(rise.weight, per_example + weight)
    coins = daskal.aggregate(problem.labels, "one_coin", num_classes=3)
    assert isinstance(rise_of(coins), Odds)
