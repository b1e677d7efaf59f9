"""Classes taken out of a block, and what is wrong with its rows."""

from __future__ import annotations

import numpy as np
import pytest

from daskal.kernels.binary import binary_blocks, check_block
from daskal.kernels.multi_label import class_label_statistics, score_classes
from daskal.method.findings import ABOVE_ONE, BELOW_ZERO, NOT_BINARY, NOT_FINITE
from daskal.method.values import Block, PoolRule, TagLabels

LABELS = np.array([[[1, 0], [-1, 1]], [[0, 0], [-1, -1]], [[1, 1], [0, 0]]], dtype=np.int8)
PROBS = np.array([[0.9, 0.25], [0.5, 0.0], [1.0, 0.75]])
# The same votes, but that the first row's second annotator has one on the first class, too.
TAGS = TagLabels(
    np.array([0, 2, 3, 5]),
    np.array([0, 1, 0, 0, 1], dtype=np.int32),
    np.array([0, 1, 2, 2, 4, 4]),
    np.array([0, 1, 0, 1], dtype=np.int32),
)


def blocks(labels, probs=PROBS, wanted=(True, True)):
    return dict(binary_blocks(check_block(Block(labels, [probs], 5)), wanted))


def test_a_class_has_its_votes_and_two_probabilities():
    found = blocks(LABELS)
    np.testing.assert_array_equal(found[0].labels, [[1, -1], [0, -1], [1, 0]])
    np.testing.assert_array_equal(found[1].probs[0], [[0.75, 0.25], [1, 0], [0.25, 0.75]])
    assert found[1].first_row == 5
    assert list(blocks(LABELS, wanted=(False, True))) == [1]


def test_lists_of_classes_have_the_votes_of_who_was_asked():
    found = blocks(TAGS)
    np.testing.assert_array_equal(found[0].labels.offsets, [0, 2, 3, 5])
    np.testing.assert_array_equal(found[0].labels.classes, [1, 0, 0, 1, 0])
    np.testing.assert_array_equal(found[1].labels.classes, [0, 1, 0, 1, 0])


@pytest.mark.parametrize("labels", [LABELS, TAGS])
def test_a_row_at_fault_loses_its_votes_in_all_classes(labels):
    probs = PROBS.copy()
    probs[0, 1] = 1.5
    checked = check_block(Block(labels, [probs], 5))
    assert checked.faulty.tolist() == [0]
    (finding,) = checked.findings.faults
    assert (finding.array, finding.code, finding.rows) == ("pred_probs", ABOVE_ONE, ((5, 1.5),))
    for k, one in binary_blocks(checked, (True, True)):
        np.testing.assert_array_equal(one.probs[0][0], [0.5, 0.5])
        if labels is TAGS:
            assert one.labels.offsets[1] == 0
        else:
            assert (one.labels[0] == -1).all()
        state = class_label_statistics(
            Block(labels, [probs], 5), wanted=(True, True), num_annotators=2
        ).states[k]
        assert (state.num_examples, state.num_labeled) == (3, 2)


@pytest.mark.parametrize(
    ("value", "code"), [(np.nan, NOT_FINITE), (np.inf, NOT_FINITE), (-1.0, BELOW_ZERO)]
)
def test_probabilities_at_fault(value, code):
    probs = PROBS.copy()
    probs[2, 0] = value
    (finding,) = check_block(Block(None, [PROBS, probs], 0)).findings.faults
    assert (finding.array, finding.code) == ("pred_probs_unlabeled[1]", code)
    np.testing.assert_equal(finding.rows, ((2, value),))


def test_values_beyond_0_and_1_by_rounding_are_put_there():
    probs = np.array([[1 + 5e-4, -5e-7]])
    found = blocks(np.ones((1, 1, 2), dtype=np.uint8), probs)
    np.testing.assert_array_equal(found[0].probs[0], [[0, 1]])
    np.testing.assert_array_equal(found[1].probs[0], [[1, 0]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
def test_labels_that_are_no_answer(dtype):
    labels = np.array([[[1, 0]], [[1, 3]]], dtype=dtype)
    (finding,) = check_block(Block(labels, [PROBS[:2]], 0)).findings.faults
    assert (finding.array, finding.code, finding.rows) == ("labels", NOT_BINARY, ((1, 3.0),))
    found = blocks(labels, PROBS[:2])
    assert not (found[1].labels[1] >= 0).any()
    assert found[0].labels[0, 0] == 1


def test_scores_of_a_pool_are_the_mean_the_least_or_all():
    rules = (PoolRule.without_estimate(1),) * 2
    block = Block(None, [PROBS], 0)
    found = {
        reduce: score_classes(block, rules=rules, reduce=reduce, on_invalid="raise")
        for reduce in ("mean", "min", None)
    }
    # (max(p, 1 - p) + 1/2) / 2, p as it is.
    expected = np.array([[0.7, 0.625], [0.5, 0.75], [0.75, 0.625]])
    np.testing.assert_allclose(found[None], expected, rtol=1e-15)
    np.testing.assert_allclose(found["mean"], expected.mean(axis=1), rtol=1e-15)
    np.testing.assert_allclose(found["min"], expected.min(axis=1), rtol=1e-15)
    one = score_classes(block, rules=(rules[0], None), reduce="mean", on_invalid="raise")
    np.testing.assert_allclose(one, expected[:, 0], rtol=1e-15)
