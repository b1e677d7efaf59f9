from __future__ import annotations

import pickle

import dask.array as da
import krippendorff
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

import daskal
from tests import problems, realdata

NAN = np.nan
VOTES = np.array([[0, 0, 1], [1, 1, 1], [2, 2, NAN], [1, NAN, 0], [0, 2, 0], [2, 2, 1]])
TRUTH = np.array([0, 1, 2, 1, 0, 2])


def is_real(name: str) -> np.ndarray:
    return realdata.load(name).labels


# --- small -------------------------------------------------------------------------------------


def test_confusion_and_accuracy_by_hand():
    panel = daskal.panel(VOTES, gold=TRUTH)
    assert panel.confusion[0].tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    assert panel.confusion[1].tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 2]]
    assert panel.annotators["accuracy"].tolist() == [1, 0.8, 2 / 5]
    assert panel.annotators["num_judged"].tolist() == [6, 5, 5]
    assert (panel.reference, panel.biased, panel.num_judged) == ("gold", False, 6)
    assert panel.agreement.loc[0, 1] == 4 / 5
    assert panel.agreement.loc[1, 2] == 1 / 4


def test_rows_without_a_known_class_are_judged_by_nothing():
    panel = daskal.panel(VOTES, gold=np.where(np.arange(6) < 2, TRUTH, -1))
    assert panel.num_judged == 2
    assert panel.annotators["num_judged"].tolist() == [2, 2, 2]
    # What needs no reference counts all rows.
    assert panel.krippendorff_alpha == daskal.panel(VOTES).krippendorff_alpha


def test_the_consensus_as_reference_is_marked():
    panel = daskal.panel(VOTES)
    assert panel.biased
    assert any("flatters" in note for name, note in panel.summary() if name == "note")
    aggregate = daskal.aggregate(VOTES, "one_coin")
    labels = daskal.label_quality(VOTES, None, aggregate).compute()["consensus_label"]
    by_aggregate = daskal.panel(VOTES, aggregate=aggregate)
    by_gold = daskal.panel(VOTES, gold=labels.to_numpy())
    np.testing.assert_array_equal(by_aggregate.confusion, by_gold.confusion)


@pytest.mark.parametrize("num_judges", [2, 7])
def test_copies_count_as_one_and_independent_judges_as_many(num_judges):
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=20_000)

    def judge() -> np.ndarray:
        wrong = (truth + rng.integers(1, 4, size=len(truth))) % 4
        return np.where(rng.random(len(truth)) < 0.7, truth, wrong)

    copies = np.column_stack([judge()] * num_judges)
    assert daskal.panel(copies, gold=truth).effective_annotators == pytest.approx(1)
    apart = np.column_stack([judge() for _ in range(num_judges)])
    found = daskal.panel(apart, gold=truth)
    assert found.effective_annotators == pytest.approx(num_judges, rel=0.1)
    assert abs(found.mean_error_correlation) < 0.02


def test_correlation_of_errors_as_numpy_has_it():
    labels = problems.make_problem(2, num_examples=400, num_annotators=5, pool=None).labels
    truth = np.random.default_rng(0).integers(4, size=400)
    found = daskal.panel(labels, gold=truth).error_correlation
    for a in range(5):
        for b in range(5):
            both = problems.is_vote(labels[:, a]) & problems.is_vote(labels[:, b])
            wrong = labels[both] != truth[both, None]
            expected = np.corrcoef(wrong[:, a], wrong[:, b])[0, 1]
            assert found.loc[a, b] == pytest.approx(expected, abs=1e-12)


def test_habits_are_seen():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=600)
    good = np.where(rng.random(600) < 0.95, truth, rng.integers(3, size=600))
    votes = np.column_stack([truth, good, np.full(600, 2), rng.integers(3, size=600)])
    table = daskal.panel(votes, gold=truth).annotators
    assert table["spam_score"][0] == 0
    assert table["spam_score"][2] == 1
    assert table["by_habit"].tolist() == [False, False, True, True]


def test_spam_score_by_hand():
    """Two classes met, shares of answers (1, 0, 0) and (1/2, 1/2, 0)."""
    votes = np.array([[0], [0], [0], [1]])
    found = daskal.panel(votes, gold=[0, 0, 1, 1], num_classes=3)
    assert found.annotators["spam_score"][0] == pytest.approx(1 - (0.5**2 + 0.5**2) / 2)
    assert np.isnan(daskal.panel(votes, gold=[0, 0, 0, 0]).annotators["spam_score"][0])


# --- oracles -----------------------------------------------------------------------------------


def check_alpha(labels: np.ndarray) -> None:
    panel = daskal.panel(labels)
    codes = list(range(panel.num_classes))
    for metric, value in panel.krippendorff_alpha.items():
        expected = krippendorff.alpha(
            reliability_data=labels.T, level_of_measurement=metric, value_domain=codes
        )
        assert value == pytest.approx(expected, abs=1e-10), metric


@pytest.mark.parametrize("seed", range(5))
def test_alpha_as_the_package_has_it(seed):
    check_alpha(problems.make_problem(seed, pool=None).labels)


@pytest.mark.parametrize("name", realdata.NAMES)
def test_alpha_and_cohens_kappa_on_real_votes(name):
    labels = is_real(name)
    check_alpha(labels)
    panel = daskal.panel(labels)
    codes = list(range(panel.num_classes))
    votes = problems.is_vote(labels)
    most = np.argsort(-votes.sum(axis=0))[:12]
    compared = 0
    for a in most:
        for b in most:
            both = votes[:, a] & votes[:, b]
            if both.any() and len(np.unique(labels[both][:, [a, b]])) > 1:
                expected = cohen_kappa_score(labels[both, a], labels[both, b], labels=codes)
                assert panel.cohen_kappa.loc[a, b] == pytest.approx(expected, abs=1e-12)
                compared += 1
    assert compared > 10


@pytest.mark.parametrize("num_raters", [2, 5])
def test_fleiss_kappa_as_in_statsmodels(num_raters):
    labels = problems.make_problem(
        num_raters, pool=None, num_annotators=5, labels_per_example=num_raters
    ).labels
    votes = problems.is_vote(labels)
    full = np.array([row[given] for row, given in zip(labels, votes, strict=True)]).astype(int)
    table, _ = aggregate_raters(full)
    found = daskal.panel(labels).fleiss_kappa
    assert found == pytest.approx(fleiss_kappa(table), abs=1e-12)


# --- the same counts ---------------------------------------------------------------------------


def test_the_same_counts_for_any_chunks():
    problem = problems.make_problem(9, num_examples=200, pool=None)
    expected = daskal.panel(problem.labels)
    chunked = da.from_array(problem.labels, chunks=((1, 120, 79), -1))
    assert daskal.panel(chunked) == expected
    assert daskal.Panel.from_json(expected.to_json()) == expected
    assert pickle.loads(pickle.dumps(expected)) == expected
    with pytest.raises(daskal.DaskalError, match="cut or changed since"):
        daskal.Panel.from_json(expected.to_json().replace("consensus", "gold"))


def test_pairs_of_many_annotators_are_sampled():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=50)
    right = rng.random((50, 230)) < 0.8
    labels = np.where(right, truth[:, None], rng.integers(3, size=(50, 230)))
    panel = daskal.panel(labels, gold=truth)
    assert panel.sampled
    assert panel.agreement.shape == (200, 200)
    a, b = panel.agreement.index[[3, 77]]
    assert panel.agreement.loc[a, b] == np.mean(labels[:, a] == labels[:, b])
    assert len(panel.annotators) == 230
    assert "sample of 200 annotators" in repr(panel)
    other = daskal.panel(labels, gold=truth, random_state=1)
    assert (panel.paired != other.paired).any()


def test_names_come_back():
    frame = pd.DataFrame(VOTES, columns=["ann", "bob", "cat"], index=list("uvwxyz"))
    panel = daskal.panel(frame, gold=pd.DataFrame({"task": ["v"], "label": [1]}))
    assert panel.annotators.index.tolist() == ["ann", "bob", "cat"]
    assert panel.cohen_kappa.columns.tolist() == ["ann", "bob", "cat"]
    assert panel.num_judged == 1


# --- odd panels --------------------------------------------------------------------------------


def test_odd_panels():
    with pytest.raises(daskal.DaskalError, match="at least one vote"):
        daskal.panel(np.full((3, 2), -1))
    with pytest.raises(daskal.DaskalError, match="expected votes, got none in 3 rows"):
        daskal.panel(np.full((3, 2), -1), num_classes=3)
    with pytest.raises(daskal.DaskalError, match=r"labels: 1 row .* 0 \(5\)"):
        daskal.panel(np.array([[5, 1]]), num_classes=2)
    with pytest.raises(daskal.DaskalError, match=r"gold: 1 row .* 0 \(5\)"):
        daskal.panel(np.array([[0, 1]]), gold=[5], num_classes=2)
    with pytest.raises(daskal.DaskalError, match=r"aggregate: expected a daskal.Aggregate"):
        daskal.panel(VOTES, aggregate="one_coin")
    alike = daskal.panel(np.zeros((3, 2), dtype=int))
    assert np.isnan(alike.krippendorff_alpha["nominal"])
    assert np.isnan(alike.fleiss_kappa)
    single = daskal.panel(np.array([[0, -1], [-1, 1]]))
    assert np.isnan(single.fleiss_kappa)
    assert np.isnan(single.effective_annotators)
    assert "effective annotators   –" in repr(single)


def test_matrices_beyond_the_memory_are_refused():
    votes = scipy.sparse.csr_array(
        (np.array([1, 299]), np.array([0, 1]), np.array([0, 2])), shape=(1, 10**6)
    )
    with pytest.raises(daskal.DaskalError, match="confusion matrices"):
        daskal.panel(votes, memory_limit="2GiB")
