from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

import daskal
from tests import problems, realdata

NAN = np.nan
VOTES = np.array([[0, 0, 1], [1, 1, 1], [0, 0, NAN], [1, NAN, 0], [0, 1, NAN]])
KNOWN = np.array([1, 1, 0, NAN, NAN])


def test_accuracy_of_annotators_by_hand():
    found = daskal.aggregate(VOTES)
    people = daskal.annotator_stats(VOTES, None, found, gold=KNOWN).sort_index()
    assert people["gold_accuracy"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    assert people["num_gold"].tolist() == [3, 3, 2]


@pytest.mark.parametrize("votes_alone", [True, False])
def test_wilson_interval_as_in_statsmodels(votes_alone):
    problem = problems.make_problem(8, num_examples=300)
    rng = np.random.default_rng(0)
    known = np.where(rng.random(300) < 0.4, rng.integers(4, size=300), -1)
    probs = None if votes_alone else problem.pred_probs
    found = (
        daskal.aggregate(problem.labels)
        if votes_alone
        else daskal.estimate(problem.labels, problem.pred_probs)
    )
    people = daskal.annotator_stats(problem.labels, probs, found, gold=known).sort_index()
    asked = problems.is_vote(problem.labels) & (known >= 0)[:, None]
    right = (asked & (problem.labels == known[:, None])).sum(axis=0)
    num = asked.sum(axis=0)
    np.testing.assert_array_equal(people["num_gold"], num)
    np.testing.assert_allclose(people["gold_accuracy"], right / num)
    low, high = proportion_confint(right, num, method="wilson")
    np.testing.assert_allclose(people["gold_low"], low, atol=1e-12)
    np.testing.assert_allclose(people["gold_high"], high, atol=1e-12)
    # The other columns are those without known classes.
    plain = daskal.annotator_stats(problem.labels, probs, found).sort_index()
    pd.testing.assert_frame_equal(people[plain.columns], plain)


@pytest.mark.parametrize("votes_alone", [True, False])
def test_accuracy_of_consensus_and_model_in_the_store(votes_alone, tmp_path):
    problem = problems.make_problem(8, num_examples=300, num_models=2)
    rng = np.random.default_rng(0)
    known = np.where(rng.random(300) < 0.4, rng.integers(4, size=300), -1)
    asked = known >= 0
    out = tmp_path / "out.zarr"
    if votes_alone:
        run = daskal.run_aggregate(labels=problem.labels, gold=known, out=out)
        quality = daskal.label_quality(problem.labels, None, run.aggregate)
        model = None
    else:
        given = {"labels": problem.labels, "pred_probs": problem.pred_probs}
        run = daskal.run(**given, gold=known, out=out)
        quality = daskal.label_quality(*given.values(), run.estimate)
        chosen = problem.pred_probs.argmax(axis=2)
        model = [np.mean(each[asked] == known[asked]) for each in chosen]
    consensus = quality.compute()["consensus_label"].to_numpy()
    assert run.gold_accuracy["consensus"] == np.mean(consensus[asked] == known[asked])
    assert run.gold_accuracy.get("model") == model
    assert "num_gold" in run.annotator_stats
    people = daskal.annotator_stats(
        problem.labels,
        None if votes_alone else problem.pred_probs,
        run.aggregate if votes_alone else run.estimate,
        gold=known,
    )
    assert people.attrs["gold_accuracy"] == run.gold_accuracy
    html = run.report().html
    assert "Consensus is right" in html
    assert ("Model is right" in html) is not votes_alone


def test_known_classes_held_fixed():
    """Two annotators who are always wrong outvote a good one, until known classes tell."""
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=200)
    votes = np.column_stack([1 - truth, 1 - truth, truth])
    alone = daskal.label_quality(votes, None, daskal.aggregate(votes)).compute()
    assert (alone["consensus_label"] == 1 - truth).all()
    known = np.where(np.arange(200) < 120, truth, -1)
    found = daskal.aggregate(votes, gold=known, use_gold=True)
    assert found.num_gold == 120
    told = daskal.label_quality(votes, None, found).compute()
    assert (told["consensus_label"] == truth).all()
    assert daskal.aggregate(votes, gold=known) != found


def test_known_classes_held_fixed_beside_a_model():
    """Two annotators who are always wrong outvote a good one and the model, until told."""
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=300)
    votes = np.column_stack([(truth + 1) % 3, (truth + 1) % 3, truth])
    probs = np.full((300, 3), 0.15)
    probs[np.arange(300), truth] = 0.7
    known = np.where(np.arange(300) < 200, truth, -1)
    with pytest.warns(daskal.DataWarning, match="worthless"):
        alone = daskal.estimate(votes, probs)
    told = daskal.estimate(votes, probs, gold=known, use_gold=True)
    assert told.flags[0] == "the known class of 200 examples is held fixed"
    # Where classes are known, the others stand for them: 200 rows of 2; elsewhere nobody agrees
    # with the third, and the two agree with each other once in two.
    assert told.agreement.tolist() == pytest.approx([100 / 600, 100 / 600, 400 / 600])
    assert told.annotator_weight.idxmax() == 2
    assert told.model_weight > 1 > 1e-5 > alone.model_weight
    quality = daskal.label_quality(votes, probs, told).compute()
    assert (quality["consensus_label"] == truth).all()
    # The rest of the statistics is that of the consensus with these rows' labels fixed.
    majority = np.where(known >= 0, truth, (truth + 1) % 3)
    assert told.majority.consensus_likelihood == pytest.approx(
        (votes == majority[:, None]).mean(axis=1).mean()
    )
    assert told.majority.model_error[0] == pytest.approx((majority != truth).mean())
    again = daskal.Estimate.from_json(told.to_json())
    assert again == told


def test_known_classes_in_an_estimate_have_the_same_bits_for_any_chunks(tmp_path):
    problem = problems.make_problem(4, num_examples=200, num_models=2)
    known = np.where(np.arange(200) % 3 == 0, np.arange(200) % 4, -1)
    given = {"labels": problem.labels, "pred_probs": problem.pred_probs}
    expected = daskal.estimate(**given, gold=known, use_gold=True)
    assert expected != daskal.estimate(**given)
    chunked = da.from_array(problem.labels, chunks=(31, -1))
    table = pd.DataFrame({"task": np.arange(0, 200, 3), "label": known[::3]})
    for gold in (table, da.from_array(known, chunks=17)):
        found = daskal.estimate(chunked, problem.pred_probs, gold=gold, use_gold=True)
        assert found == expected
    run = daskal.run(**given, gold=known, use_gold=True, out=tmp_path / "out.zarr")
    assert run.estimate == expected
    assert "use_gold=True" in run.report().html
    plain = daskal.run(**given, gold=known, out=tmp_path / "plain.zarr")
    assert plain.estimate == daskal.estimate(**given)
    with pytest.raises(daskal.DaskalError, match="use_gold"):
        daskal.run(**given, gold=known, out=tmp_path / "out.zarr", resume=True)


def test_nothing_known_to_hold_fixed(tmp_path):
    problem = problems.make_problem(4, num_examples=50)
    given = {"labels": problem.labels, "pred_probs": problem.pred_probs}
    with pytest.raises(daskal.DaskalError, match="expected known labels, gold=, beside it"):
        daskal.estimate(**given, use_gold=True)
    with pytest.raises(daskal.DaskalError, match="expected no estimate beside it"):
        daskal.run(
            **given,
            gold=[0] * 50,
            use_gold=True,
            estimate=daskal.estimate(**given),
            out=tmp_path / "out.zarr",
        )
    with pytest.raises(daskal.DaskalError, match=r"gold: 1 row .* last class: 3 \(9\)"):
        daskal.estimate(**given, gold=np.where(np.arange(50) == 3, 9, -1), use_gold=True)


def nothing_known() -> dict[str, object]:
    """Known classes that no vote can be compared with: of ``VOTES`` and a row without votes."""
    return {
        "missing": np.full(6, NAN),
        "negative": np.full(6, -1),
        "lazy": da.full(6, -1, chunks=2),
        "empty table": pd.DataFrame({"task": [], "label": []}),
        "table of missing labels": pd.DataFrame({"task": [0, 1], "label": [NAN, NAN]}),
        "of an example without votes": np.array([NAN] * 5 + [1]),
    }


@pytest.mark.parametrize("known", nothing_known().values(), ids=nothing_known())
def test_known_classes_that_say_nothing_are_refused(known, tmp_path):
    votes = np.vstack([VOTES, np.full(3, NAN)])
    probs = np.tile([0.6, 0.4], (6, 1))
    found = daskal.aggregate(votes)
    with pytest.warns(daskal.DataWarning):
        estimate = daskal.estimate(votes, probs)
    out = tmp_path / "out.zarr"
    calls = (
        lambda: daskal.aggregate(votes, gold=known),
        lambda: daskal.aggregate(votes, "majority_vote", gold=known, use_gold=True),
        lambda: daskal.panel(votes, known),
        lambda: daskal.run_aggregate(labels=votes, gold=known, out=out, overwrite=out.exists()),
        lambda: daskal.annotator_stats(votes, None, found, gold=known),
        lambda: daskal.annotator_stats(votes, probs, estimate, gold=known),
        lambda: daskal.estimate(votes, probs, gold=known, use_gold=True),
        lambda: daskal.run(
            labels=votes, pred_probs=probs, gold=known, use_gold=True, out=tmp_path / "told.zarr"
        ),
        lambda: daskal.run(
            labels=votes, pred_probs=probs, estimate=estimate, gold=known, out=tmp_path / "run.zarr"
        ),
    )
    for call in calls:
        with pytest.raises(daskal.DaskalError, match="gold: expected the known class of at least"):
            call()


def test_known_classes_of_examples_without_votes_are_not_counted():
    votes = np.vstack([VOTES, np.full(3, NAN)])
    known = [1, NAN, NAN, NAN, NAN, 1]
    assert daskal.aggregate(votes, gold=known).num_gold == 1
    with pytest.warns(daskal.DataWarning):
        told = daskal.estimate(votes, np.tile([0.6, 0.4], (6, 1)), gold=known, use_gold=True)
    assert "the known class of 1 example is held fixed" in told.flags


def test_known_classes_that_do_not_fit_are_refused_where_they_are_not_used():
    with pytest.raises(daskal.DaskalError, match="gold: expected one class code for each of the 5"):
        daskal.estimate(VOTES, np.full((5, 2), 0.5), gold=[0, 1])


@pytest.mark.parametrize("method", ["dawid_skene", "one_coin"])
def test_all_known_is_counting(method):
    """With every class known, the parameters are shares of counts, found in one iteration."""
    problem = problems.make_problem(4, num_examples=200, pool=None)
    truth = np.random.default_rng(0).integers(4, size=200)
    found = daskal.aggregate(problem.labels, method, gold=truth, use_gold=True, num_classes=4)
    votes = problems.is_vote(problem.labels)
    right = (problem.labels == truth[:, None]).sum(axis=0) / votes.sum(axis=0)
    np.testing.assert_allclose(found.annotator_accuracy, right, atol=1e-12)
    prior = np.bincount(truth, minlength=4) / 200
    np.testing.assert_allclose(found.class_prior, prior, atol=1e-12)
    if method == "dawid_skene":
        rows = votes[:, 0] & (truth == 2)
        expected = np.bincount(problem.labels[rows, 0].astype(int), minlength=4) / rows.sum()
        np.testing.assert_allclose(found.confusion[0, 2], expected, atol=1e-9)


def test_the_same_bits_for_any_chunks():
    problem = problems.make_problem(4, num_examples=200, pool=None)
    known = np.where(np.arange(200) % 3 == 0, np.arange(200) % 4, -1)
    table = pd.DataFrame({"task": np.arange(0, 200, 3), "label": known[::3]})
    expected = daskal.aggregate(problem.labels, gold=known, use_gold=True)
    chunked = da.from_array(problem.labels, chunks=(31, -1))
    for gold in (known, table, da.from_array(known, chunks=31)):
        assert daskal.aggregate(chunked, gold=gold, use_gold=True) == expected


@pytest.mark.parametrize("num_classes", [None, 2])
def test_known_classes_that_are_none_are_named(num_classes):
    with pytest.raises(daskal.DaskalError, match=r"gold: 1 row where .* last class: 1 \(7\)"):
        daskal.aggregate(VOTES, gold=[0, 7, -1, -1, 1], num_classes=num_classes)
    with pytest.raises(daskal.DaskalError, match=r"gold: 1 row where .* whole number: 0 \(0.5\)"):
        daskal.aggregate(VOTES, gold=[0.5, 0, 1, 0, 1], num_classes=num_classes)
    found = daskal.aggregate(VOTES)
    with pytest.raises(daskal.DaskalError, match=r"gold: 1 row .* last class: 1 \(7\)"):
        daskal.annotator_stats(VOTES, None, found, gold=[0, 7, -1, -1, 1])
    probs = np.full((5, 2), 0.5)
    with pytest.warns(daskal.DataWarning):
        estimate = daskal.estimate(VOTES, probs)
    with pytest.raises(daskal.DaskalError, match=r"gold: 1 row .* last class: 1 \(7\)"):
        daskal.annotator_stats(VOTES, probs, estimate, gold=[0, 7, -1, -1, 1])


@pytest.mark.parametrize("name", realdata.NAMES)
def test_known_classes_do_not_hurt_on_real_votes(name):
    found = realdata.load(name)
    truth = pd.read_parquet(realdata.DATA / name / "truth.parquet")
    labels = pd.DataFrame(found.labels, index=found.task_ids, columns=found.annotator_ids)
    alone = daskal.aggregate(labels)
    told = daskal.aggregate(labels, gold=truth.iloc[::2], use_gold=True)
    held_out = truth.iloc[1::2].set_index("task")["label"]

    def accuracy(aggregate) -> float:
        consensus = daskal.label_quality(labels, None, aggregate).compute()["consensus_label"]
        return (consensus.loc[held_out.index] == held_out).mean()

    assert accuracy(told) >= accuracy(alone) - 0.02
