"""Scores and statistics of whole blocks: the reference's, and the same bits for any cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskal.errors import InvalidDataError
from daskal.kernels import quality, second_pass
from daskal.kernels.first_pass import consensus_statistics, label_statistics
from daskal.kernels.second_pass import labeled_columns, score_labeled_block, score_unlabeled_block
from daskal.method.findings import ALL_ZERO
from daskal.method.values import (
    Block,
    PoolRule,
    Question,
    Rule,
    Scorer,
    TieBreak,
    VoteWeights,
    inverse_temperature,
)
from tests.kernels import reference
from tests.problems import chunkings

CLASSES = st.sampled_from([2, 3, 4, 7, 10, 70, 257])
NUM_ANNOTATORS = 5


def make_probs(rng, num_models, num_rows, num_classes):
    probs = rng.dirichlet(np.full(num_classes, 0.3), (num_models, num_rows))
    probs[rng.random(probs.shape) < 0.1] = 0
    probs[:, :, 0] += 1e-3
    return probs / probs.sum(axis=2, keepdims=True)


def make_rule(rng, num_models, num_classes, temperature, **options):
    def weights():
        likelihood = 0.7 + 0.2 * rng.random()
        other = (1 - likelihood) / (num_classes - 1)
        return VoteWeights(likelihood, other, rng.random(num_models) + 0.5, rng.random(5))

    tie_break = TieBreak(rng.integers(0, 9, num_classes), rng.random(5).round(1), 7)
    inverse = inverse_temperature(
        None if temperature is None else np.full(num_models, temperature), num_models
    )
    rule = Rule(inverse, tie_break, weights(), weights(), 0.4, True, False, False, False)
    return rule._replace(**options)


def make_case(seed, num_models, num_rows, num_classes, temperature, **options):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-2, min(num_classes, 4), (num_rows, NUM_ANNOTATORS))
    probs = make_probs(rng, num_models, num_rows, num_classes)
    return labels, probs, make_rule(rng, num_models, num_classes, temperature, **options)


def block_of(labels, probs, start=0, stop=None):
    cut = slice(start, len(probs[0]) if stop is None else stop)
    return Block(None if labels is None else labels[cut], [p[cut] for p in probs], 1000 + start)


OPTIONS = st.fixed_dictionaries(
    {
        "best_quality": st.booleans(),
        "by_agreement": st.sampled_from([False, False, True]),
        "miscount": st.booleans(),
        "single_label": st.sampled_from([False, False, True]),
    }
)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    CLASSES,
    st.integers(1, 3),
    st.sampled_from([None, 0.05, 0.1, 0.3, 1.0, 2.5]),
    OPTIONS,
)
def test_labeled_scores_are_the_references(seed, num_classes, num_models, temperature, options):
    labels, probs, rule = make_case(seed, num_models, 20, num_classes, temperature, **options)
    columns, _ = labeled_columns(block_of(labels, probs), rule=rule, on_invalid="raise", size=3)
    for i, row in enumerate(labels):
        score, label, good, agreement = reference.score_row(row, probs[:, i], rule, 1000 + i)
        assert columns["consensus_label"][i] == label
        assert columns["score"][i] == pytest.approx(score, rel=1e-11)
        assert columns["consensus_quality_score"][i] == pytest.approx(good, rel=1e-11)
        assert columns["annotator_agreement"][i] == pytest.approx(agreement, nan_ok=True)
        assert columns["num_annotations"][i] == (row >= 0).sum()


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), CLASSES, st.integers(1, 3), st.sampled_from([0.05, 1.0, 2.5, 7.25])
)
def test_the_pool_is_scored_as_rows_without_votes(seed, num_classes, num_models, temperature):
    labels, probs, rule = make_case(seed, num_models, 20, num_classes, temperature)
    bare = np.full_like(labels, -1)
    pool_rule = PoolRule(rule.inverse, rule.final.model, rule.mean_weight)
    scores = score_unlabeled_block(block_of(None, probs), rule=pool_rule, on_invalid="raise")
    as_labeled = score_labeled_block(block_of(bare, probs), rule=rule, on_invalid="raise")
    np.testing.assert_array_equal(as_labeled, scores)
    expected = [reference.score_row(bare[i], probs[:, i], rule, i)[0] for i in range(20)]
    np.testing.assert_allclose(scores, expected, rtol=1e-11)


@settings(max_examples=60)
@given(
    st.data(),
    st.integers(0, 2**32 - 1),
    CLASSES,
    st.integers(1, 3),
    st.integers(1, 150),
    st.sampled_from([None, 0.05, 0.3, 1.0, 2.5]),
    OPTIONS,
)
def test_any_cut_gives_the_same_bits(
    data, seed, num_classes, num_models, num_rows, temperature, options
):
    labels, probs, rule = make_case(seed, num_models, num_rows, num_classes, temperature, **options)
    edges = np.cumsum([0, *data.draw(chunkings(num_rows))]).tolist()
    scorer = Scorer("confidence_weighted_entropy", None, None)
    question = Question((rule,), ("",), (scorer,), scorer, "raise")
    tie_break = rule.tie_break._replace(agreement=np.full(num_models, 0.5))
    pool_rules = [
        PoolRule(rule.inverse, rule.final.model, 0.4, by_votes) for by_votes in (None, tie_break)
    ]

    def columns(start, stop):
        block, pool = (block_of(part, probs, start, stop) for part in (labels, None))
        found, _ = labeled_columns(block, rule=rule, on_invalid="raise", size=3)
        found |= quality.describe_block(block, question=question, quality=True, votes=True)
        for at, pool_rule in enumerate(pool_rules):
            found[f"pool {at}"] = quality.score_pool_block(pool, rule=pool_rule)
        found["majority"] = quality.majority_block(block, tie_break=rule.tie_break)
        return found

    def tallies(start, stop):
        block = block_of(labels, probs, start, stop)
        _, tally = labeled_columns(block, rule=rule, on_invalid="raise", size=3)
        confidence = quality.confidence_block(block, question=question)
        model_votes = quality.model_votes_block(
            block_of(None, probs, start, stop), inverse=rule.inverse
        )
        statistics = label_statistics(block, num_annotators=NUM_ANNOTATORS, guess=False)
        return [
            tally, confidence, model_votes, statistics, consensus_statistics(block, rule=rule)
        ]  # fmt: skip

    whole = columns(0, num_rows)
    parts = [columns(*bounds) for bounds in pairwise(edges)]
    for name, expected in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), expected)
    merged = [tallies(*bounds) for bounds in pairwise(edges)]
    for at, state in enumerate(tallies(0, num_rows)):
        together = merged[0][at]
        for part in merged[1:]:
            together = together.merge(part[at])
        assert_same(together, state)


def assert_same(a, b):
    """Two states are equal to the last bit."""
    assert type(a) is type(b)
    if hasattr(a, "__dataclass_fields__"):
        for name in a.__dataclass_fields__:
            assert_same(getattr(a, name), getattr(b, name))
    elif isinstance(a, tuple):
        for each, other in zip(a, b, strict=True):
            assert_same(each, other)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("num_classes", [2, second_pass.STRIP, 2 * second_pass.STRIP + 3])
@pytest.mark.parametrize("temperature", [0.05, 0.7, 3.0])
def test_a_row_at_fault_changes_no_bit_of_others(num_classes, temperature):
    rule = PoolRule(np.array([1 / temperature]), np.array([0.7]), 0.4)
    probs = make_probs(np.random.default_rng(2), 1, 150, num_classes)[0]
    faulty = np.vstack([probs, np.full((1, num_classes), np.nan)])
    good, kept = (
        score_unlabeled_block(Block(None, [each], 0), rule=rule, on_invalid="nan")
        for each in (probs, faulty)
    )
    assert not np.isnan(good).any()
    np.testing.assert_array_equal(kept[:150], good)


def test_the_pool_is_scored_by_the_surest_class():
    probs = np.array([[[0.9, 0.1], [0.5, 0.5]]])
    # (w_M max p + w/K) / (w_M + w)
    rule = PoolRule(np.ones(1), np.array([2.0]), 1.0)
    scores = score_unlabeled_block(block_of(None, probs), rule=rule, on_invalid="raise")
    np.testing.assert_allclose(scores, [(2 * 0.9 + 0.5) / 3, 0.5], rtol=1e-15)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), CLASSES)
def test_counts_are_the_references(seed, num_classes):
    labels, probs, _ = make_case(seed, 1, 90, num_classes, 1.0)
    state = label_statistics(block_of(labels, probs), num_annotators=NUM_ANNOTATORS)
    for name, expected in reference.count(labels, num_classes).items():
        np.testing.assert_array_equal(getattr(state, name), expected)


@pytest.mark.parametrize("on_invalid", ["nan", "raise"])
def test_rows_at_fault_take_no_part(on_invalid):
    labels, probs, rule = make_case(0, 2, 80, 3, 2.5)
    bad = probs.copy()
    bad[1, 70, 1] = np.nan
    bad_labels = labels.copy()
    bad_labels[5, 0] = 9
    if on_invalid == "raise":
        with pytest.raises(InvalidDataError, match=r"(?s)labels: 1 row.*pred_probs\[1\]: 1 row"):
            score_labeled_block(block_of(bad_labels, bad), rule=rule, on_invalid="raise")
        return
    found, tally = labeled_columns(block_of(bad_labels, bad), rule=rule, on_invalid="nan", size=9)
    expected, _ = labeled_columns(block_of(labels, probs), rule=rule, on_invalid="nan", size=9)
    assert np.flatnonzero(np.isnan(found["score"])).tolist() == [5, 70]
    kept = np.delete(np.arange(80), [5, 70])
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name][kept], column[kept])
    assert found["num_annotations"][[5, 70]].tolist() == [0, 0]
    assert len(tally.scores.findings.faults) == 2
    pool_rule = PoolRule(rule.inverse, rule.final.model, 0.4)
    scores = score_unlabeled_block(block_of(None, bad), rule=pool_rule, on_invalid="nan")
    assert np.flatnonzero(np.isnan(scores)).tolist() == [70]


def test_rows_too_far_off_for_a_posterior_are_refused_where_they_are_kept():
    labels, probs, rule = make_case(0, 1, 80, 3, None)
    probs[0, 70] = [5.0, 5.0, 5.0]
    with pytest.raises(InvalidDataError, match=r"1 row of a block: \[1070\]"):
        score_labeled_block(block_of(labels, probs), rule=rule, on_invalid="keep")


def test_findings_alone():
    labels, probs, _ = make_case(0, 1, 80, 3, None)
    probs[0, 70] = 0.0
    for part, name in ((labels, "pred_probs"), (None, "pred_probs_unlabeled")):
        found = second_pass.findings_of_block(block_of(part, probs))
        assert [fault[:3] for fault in found.faults] == [(name, ALL_ZERO, 1)]
        assert not second_pass.findings_of_block(block_of(part, probs, 0, 70))
