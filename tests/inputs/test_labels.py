"""Labels of every form, with the ids of their annotators."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest

import daskal
from daskal.errors import InputError
from tests.inputs.densekit import EXPECTED, INTEGERS, PROBLEM, results
from tests.problems import is_vote

LABEL_FORMS = {
    "nullable": lambda: pd.DataFrame(PROBLEM.labels).astype("Int64"),
    "object": lambda: np.where(is_vote(INTEGERS), INTEGERS.astype(object), None),
    "masked floats": lambda: np.ma.masked_invalid(PROBLEM.labels),
    "masked floats, hidden labels": lambda: np.ma.array(
        np.nan_to_num(PROBLEM.labels, nan=1), mask=np.isnan(PROBLEM.labels)
    ),
    "masked integers": lambda: np.ma.masked_less(INTEGERS, 0),
    "masked unsigned": lambda: np.ma.masked_equal(INTEGERS.astype(np.uint8), 255),
    "masked, in dask": lambda: da.from_array(np.ma.masked_less(INTEGERS, 0), chunks=(13, 6)),
    "masked, hidden labels": lambda: np.ma.array(
        np.where(is_vote(INTEGERS), INTEGERS, 1), mask=~is_vote(INTEGERS)
    ),
    "half floats": lambda: PROBLEM.labels.astype(np.float16),
    "big integers": lambda: INTEGERS.astype(">i4"),
}


@pytest.mark.parametrize("form", LABEL_FORMS)
def test_every_form_of_missing_labels(form: str) -> None:
    assert results(LABEL_FORMS[form](), PROBLEM.pred_probs, PROBLEM.pool) == EXPECTED


def test_ids_of_any_type_are_kept_or_named() -> None:
    labels = pd.DataFrame(INTEGERS, columns=pd.date_range("2025-01-01", periods=6))
    estimate = daskal.estimate(labels, PROBLEM.pred_probs)
    assert estimate.annotator_ids[0] == "2025-01-01 00:00:00"
    assert daskal.Estimate.from_json(estimate.to_json()) == estimate
    scores = daskal.score_labeled(labels, PROBLEM.pred_probs, estimate)
    np.testing.assert_array_equal(scores.compute(), np.frombuffer(EXPECTED[1]))


def test_annotators_of_one_name_are_refused() -> None:
    labels = pd.DataFrame(INTEGERS, columns=list("uvwxyx"))
    with pytest.raises(InputError, match="got several called 'x'"):
        daskal.estimate(labels, PROBLEM.pred_probs)
