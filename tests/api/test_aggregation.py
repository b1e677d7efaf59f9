from __future__ import annotations

import pickle

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import InvalidDataError
from tests import crowds, problems, realdata

NAN = np.nan
# Two annotators that agree, and one that says 0 to everything.
VOTES = np.array(
    [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, NAN], [1, NAN, 0], [NAN, NAN, NAN]], dtype=float
)
METHODS = ("dawid_skene", "one_coin", "majority_vote")


def sparse_votes(labels: np.ndarray) -> scipy.sparse.csr_array:
    """Labels as compressed rows, stored zeros kept."""
    rows, annotators = np.nonzero(labels == labels)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(labels)))])
    classes = labels[rows, annotators].astype(np.int64)
    return scipy.sparse.csr_array((classes, annotators, offsets), shape=labels.shape)


# --- small -------------------------------------------------------------------------------------


def test_shares_of_votes_by_hand():
    found = daskal.aggregate(VOTES, "majority_vote")
    assert found.posterior(VOTES).compute()[:2].tolist() == [[1, 0], [1 / 3, 2 / 3]]
    assert (found.iterations, found.log_likelihood, found.confusion) == (0, None, None)
    # The mean over an annotator's votes of the share that agrees.
    assert found.annotator_accuracy.tolist() == pytest.approx(
        [
            np.mean([1, 2 / 3, 2 / 3, 1, 0.5]),
            np.mean([1, 2 / 3, 2 / 3, 1]),
            np.mean([1, 1 / 3, 1 / 3, 0.5]),
        ]
    )
    prior = [(1 + 1 / 3 + 1 / 3 + 1 + 0.5) / 5]
    assert found.class_prior.tolist() == pytest.approx([*prior, 1 - prior[0]])


def test_one_iteration_by_hand():
    """The M-step on shares of votes, then the E-step, written out."""
    shares = np.array([[1, 0], [1 / 3, 2 / 3], [1 / 3, 2 / 3], [1, 0], [0.5, 0.5]])
    prior = shares.mean(axis=0)
    confusion = np.zeros((3, 2, 2))
    for i, j in zip(*np.nonzero(VOTES[:5] == VOTES[:5]), strict=True):
        confusion[j, :, int(VOTES[i, j])] += shares[i]
    confusion /= confusion.sum(axis=2, keepdims=True)
    posterior = np.tile(prior, (5, 1))
    for i, j in zip(*np.nonzero(VOTES[:5] == VOTES[:5]), strict=True):
        posterior[i] *= confusion[j, :, int(VOTES[i, j])]
    likelihood = np.log(posterior.sum(axis=1)).sum()
    posterior /= posterior.sum(axis=1, keepdims=True)
    found = daskal.aggregate(VOTES, max_iterations=1)
    np.testing.assert_allclose(found.confusion, confusion, atol=1e-9)
    np.testing.assert_allclose(found.class_prior, prior, atol=1e-12)
    np.testing.assert_allclose(found.posterior(VOTES).compute()[:5], posterior, atol=1e-9)
    assert found.log_likelihood == pytest.approx(likelihood, abs=1e-6)
    # A row without votes has the prior.
    np.testing.assert_allclose(found.posterior(VOTES).compute()[5], prior, atol=1e-12)


def test_the_habit_of_one_annotator_is_learned():
    found = daskal.aggregate(np.tile(VOTES, (20, 1)))
    quality = daskal.label_quality(VOTES, None, found).compute()
    assert quality["consensus_label"].tolist()[:5] == [0, 1, 1, 0, 1]
    assert found.confusion[2, :, 0].tolist() == [1, 1]


@pytest.mark.parametrize("method", METHODS)
def test_quality_scores_and_annotators_hang_together(method):
    found = daskal.aggregate(VOTES, method)
    posterior = found.posterior(VOTES).compute()
    quality = daskal.label_quality(VOTES, None, found).compute()
    labels = quality["consensus_label"].to_numpy()
    np.testing.assert_array_equal(
        quality["consensus_quality_score"], posterior[np.arange(6), labels]
    )
    np.testing.assert_array_equal(quality["consensus_quality_score"], posterior.max(axis=1))
    agreement = np.nanmean(np.where(VOTES == VOTES, labels[:, None] == VOTES, NAN)[:5], axis=1)
    np.testing.assert_array_equal(quality["annotator_agreement"], [*agreement, NAN])
    assert quality["num_annotations"].tolist() == [3, 3, 3, 2, 2, 0]
    scores = daskal.score_labeled(VOTES, None, found)
    np.testing.assert_array_equal(scores.compute(), quality["consensus_quality_score"])
    people = daskal.annotator_stats(VOTES, None, found)
    right = labels[:, None] == VOTES
    expected = right.sum(axis=0) / (VOTES == VOTES).sum(axis=0)
    np.testing.assert_array_equal(people["agreement_with_consensus"].sort_index(), expected)
    assert people["num_examples_labeled"].to_dict() == {0: 5, 1: 4, 2: 4}
    batch = daskal.next_batch(scores, size=2)
    assert batch["score"].tolist() == sorted(scores.compute())[:2]


@pytest.mark.parametrize("method", ["normalized_margin", "confidence_weighted_entropy"])
def test_other_methods_of_quality(method):
    found = daskal.aggregate(VOTES, "majority_vote")
    quality = daskal.label_quality(VOTES, None, found, method=method).compute()
    share = 2 / 3
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)) / np.log(2) / share
    expected = {
        "normalized_margin": (share - (1 - share) + 1) / 2,
        "confidence_weighted_entropy": np.log1p(entropy) / entropy,
    }
    assert quality["consensus_quality_score"][1] == pytest.approx(expected[method])


def test_ties_are_drawn_by_seed_and_row():
    votes = np.tile([[0.0, 1.0]], (200, 1))
    first, other = (
        daskal.label_quality(
            votes, None, daskal.aggregate(votes, "majority_vote", random_state=seed)
        )
        .compute()["consensus_label"]
        .to_numpy()
        for seed in (0, 1)
    )
    assert 60 < first.sum() < 140
    assert (first != other).any()


def test_hundreds_of_votes_do_not_underflow():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=40)
    right = rng.random((40, 1500)) < 0.8
    votes = np.where(right, truth[:, None], (truth[:, None] + 1) % 3)
    found = daskal.aggregate(votes)
    posterior = found.posterior(votes).compute()
    assert np.isfinite(posterior).all()
    assert (posterior.argmax(axis=1) == truth).all()
    assert np.isfinite(found.log_likelihood)


def test_the_likelihood_never_falls():
    problem = problems.make_problem(3, num_examples=300)
    found = [
        daskal.aggregate(problem.labels, max_iterations=num, tolerance=0).log_likelihood
        for num in range(1, 12)
    ]
    assert (np.diff(found) > -1e-6).all()


def test_it_ends_when_the_likelihood_hardly_rises():
    problem = problems.make_problem(3, num_examples=300)
    found = daskal.aggregate(problem.labels, tolerance=1e-4)
    assert found.converged
    runs = [
        daskal.aggregate(problem.labels, max_iterations=num, tolerance=0).log_likelihood
        for num in range(found.iterations - 2, found.iterations + 1)
    ]
    rises = np.diff(runs) / found.num_annotations
    assert rises[0] >= 1e-4 > rises[1]
    assert runs[-1] == found.log_likelihood
    assert not daskal.aggregate(problem.labels, max_iterations=2).converged


# --- the oracle --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", realdata.NAMES)
@pytest.mark.parametrize("method", ["dawid_skene", "one_coin"])
@pytest.mark.parametrize("iterations", [1, 20])
def test_as_crowdkit_on_real_votes(name, method, iterations):
    labels = crowds.wide(name)
    found = daskal.aggregate(labels, method, max_iterations=iterations, tolerance=0)
    posterior = found.posterior(labels).compute()
    expected = crowds.oracle_posterior(
        labels.to_numpy(), found.num_classes, method, found.iterations
    )
    np.testing.assert_allclose(posterior, expected, atol=1e-6)
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-6
    assert (posterior.argmax(axis=1) == expected.argmax(axis=1))[clear].all()


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(["dawid_skene", "one_coin"]))
def test_as_crowdkit_on_random_votes(seed, method):
    labels = problems.make_problem(seed, num_examples=60, pool=None, num_classes=3).labels
    if not set(range(3)) <= set(labels[labels == labels].astype(int)):
        return
    found = daskal.aggregate(labels, method, max_iterations=3, tolerance=0)
    expected = crowds.oracle_posterior(labels, 3, method, found.iterations)
    np.testing.assert_allclose(found.posterior(labels).compute(), expected, atol=1e-6)


# --- the same bits -----------------------------------------------------------------------------


def forms(labels: np.ndarray, tmp_path) -> dict[str, object]:
    """The same votes in other chunks and forms."""
    stored = zarr.create_array(tmp_path / "labels.zarr", data=labels, chunks=(13, 3))
    return {
        "ragged chunks": da.from_array(labels, chunks=((1, 50, len(labels) - 51), -1)),
        "stored": stored,
        "sparse": sparse_votes(labels),
        "sparse chunks": da.from_array(labels, chunks=(17, -1)).map_blocks(
            sparse_votes, meta=scipy.sparse.csr_array((0, 0), dtype=np.int64), dtype=np.int64
        ),
        "integers": np.where(labels == labels, labels, -1).astype(np.int8),
        "a frame": pd.DataFrame(labels),
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_for_any_chunks_and_form(method, tmp_path):
    labels = problems.make_problem(11, num_examples=120, pool=None).labels
    expected = daskal.aggregate(labels, method)
    posterior = expected.posterior(labels).compute()
    for name, given_labels in forms(labels, tmp_path).items():
        found = daskal.aggregate(given_labels, method)
        assert found.to_json() == expected.to_json(), name
        np.testing.assert_array_equal(found.posterior(given_labels).compute(), posterior, name)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_the_same_bits_for_any_scheduler(scheduler):
    labels = problems.make_problem(12, num_examples=120, pool=None).labels
    expected = daskal.aggregate(labels)
    with dask.config.set(scheduler=scheduler):
        assert daskal.aggregate(da.from_array(labels, chunks=(7, -1))) == expected


def test_the_same_bits_on_a_cluster(cluster):
    labels = problems.make_problem(12, num_examples=120, pool=None).labels
    chunked = da.from_array(labels, chunks=(30, -1))
    found = daskal.aggregate(chunked)
    scores = daskal.score_labeled(chunked, None, found).compute()
    with dask.config.set(scheduler="sync"):
        assert daskal.aggregate(labels) == found
        np.testing.assert_array_equal(daskal.score_labeled(labels, None, found).compute(), scores)


def test_building_computes_nothing():
    labels = problems.make_problem(12, num_examples=60, pool=None).labels
    found = daskal.aggregate(labels)
    chunked = da.from_array(labels, chunks=(30, -1))
    with problems.forbid_compute():
        assert found.posterior(chunked).shape == (60, found.num_classes)
        daskal.score_labeled(chunked, None, found)
        daskal.label_quality(chunked, None, found)


# --- as a value --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_json_and_pickle_are_exact(method):
    labels = crowds_frame()
    found = daskal.aggregate(labels, method)
    again = daskal.Aggregate.from_json(found.to_json())
    assert again == found
    assert again.to_json() == found.to_json()
    assert pickle.loads(pickle.dumps(found)) == found
    np.testing.assert_array_equal(
        again.posterior(labels).compute(), found.posterior(labels).compute()
    )
    assert again.annotator_accuracy.index.tolist() == ["ann", "bob", "cat"]
    with pytest.raises(ValueError, match="read-only"):
        found.prior[0] = 1


def crowds_frame() -> pd.DataFrame:
    return pd.DataFrame(VOTES, columns=["ann", "bob", "cat"])


def test_text_that_was_changed_is_refused():
    text = daskal.aggregate(VOTES).to_json()
    with pytest.raises(daskal.DaskalError, match="cut or changed since"):
        daskal.Aggregate.from_json(text.replace('"iterations":', '"iterations":1'))
    with pytest.raises(daskal.DaskalError, match=r"expected an aggregate of schema"):
        daskal.Aggregate.from_json('{"schema": "daskal.Estimate/1"}')


def test_annotators_are_matched_by_id():
    labels = crowds_frame()
    found = daskal.aggregate(labels)
    moved = labels[["cat", "ann", "bob"]]
    np.testing.assert_array_equal(
        found.posterior(moved).compute(), found.posterior(labels).compute()
    )
    with pytest.warns(daskal.DataWarning, match="'dan'"):
        found.posterior(labels.rename(columns={"cat": "dan"}))


def test_ids_and_coords_come_back():
    xr = pytest.importorskip("xarray", reason="xarray is optional")
    labels = xr.DataArray(VOTES, dims=("task", "who"), coords={"task": list("uvwxyz")})
    found = daskal.aggregate(labels)
    posterior = found.posterior(labels)
    assert posterior.dims == ("task", "class")
    assert posterior.indexes["task"].tolist() == list("uvwxyz")
    quality = daskal.label_quality(pd.DataFrame(VOTES, index=list("uvwxyz")), None, found)
    assert quality.compute().index.tolist() == list("uvwxyz")


# --- odd votes ---------------------------------------------------------------------------------


def test_no_vote_at_all_is_an_error():
    with pytest.raises(daskal.DaskalError, match="at least one vote, got none in 4 rows"):
        daskal.aggregate(np.full((4, 2), -1))


def test_labels_that_are_no_class_are_named():
    votes = VOTES.copy()
    votes[1, 0], votes[3, 1] = 0.5, -2
    with pytest.raises(daskal.DaskalError, match=r"labels: 1 row .* no whole number: 1 \(0.5\)"):
        daskal.aggregate(votes)
    found = daskal.aggregate(votes, on_invalid="nan")
    assert found.num_labeled == 3
    assert np.isnan(found.posterior(votes, on_invalid="nan").compute()[1]).all()
    with pytest.raises(daskal.DaskalError, match="no whole number"):
        found.posterior(votes).compute()
    with pytest.raises(daskal.DaskalError, match="beyond the last class"):
        daskal.aggregate(np.array([[2, 1]]), num_classes=2)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_and_silent_annotators_are_flags(method):
    found = daskal.aggregate(np.array([[0, 0, -1], [0, -1, -1]]), method)
    assert found.num_classes == 2
    assert any("one class, 0" in flag for flag in found.flags)
    assert any("1 annotator has no label" in flag for flag in found.flags)
    assert np.isnan(found.annotator_accuracy[2])
    assert np.isfinite(found.posterior(np.array([[0, 1, 1]])).compute()).all()


def test_single_votes_only():
    votes = np.array([[0, -1], [-1, 1]])
    found = daskal.aggregate(votes, "one_coin")
    assert any("one label" in flag for flag in found.flags)
    assert found.posterior(votes).compute().round(6).tolist() == [[1, 0], [0, 1]]
    # Who has met no example of a class, and gives another to all, tells nothing.
    found = daskal.aggregate(votes)
    assert found.posterior(votes).compute().round(6).tolist() == [[0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "mode"}, "method: expected 'dawid_skene'"),
        ({"max_iterations": 0}, "max_iterations: expected a whole number of at least 1"),
        ({"tolerance": -1}, "tolerance: expected a number of at least 0"),
        ({"tolerance": NAN}, "tolerance: expected a number of at least 0"),
        ({"random_state": 0.5}, "random_state: expected a whole number"),
        ({"random_state": -1}, "random_state: expected a whole number of at least 0, got -1"),
        ({"num_classes": 1}, "num_classes: expected a whole number from 2"),
        ({"use_gold": True}, "use_gold: expected known labels"),
        ({"on_invalid": "drop"}, "on_invalid: expected"),
    ],
)
def test_choices_that_make_no_sense(options, said):
    with pytest.raises(daskal.DaskalError, match=said):
        daskal.aggregate(VOTES, **options)


def test_an_estimate_needs_probabilities_and_an_aggregate_takes_none():
    found = daskal.aggregate(VOTES)
    with pytest.raises(daskal.DaskalError, match=r"expected None beside a daskal.Aggregate"):
        daskal.score_labeled(VOTES, np.full((6, 2), 0.5), found)
    with pytest.raises(daskal.DaskalError, match=r"expected a daskal.Aggregate"):
        daskal.label_quality(VOTES, None, None)


def test_confusion_matrices_beyond_the_memory_are_refused_with_the_way_out():
    votes = sparse_votes(np.array([[0.0, 299.0]]))
    votes = scipy.sparse.csr_array((votes.data, votes.indices, votes.indptr), shape=(1, 10**6))
    with pytest.raises(daskal.DaskalError, match="pass method='one_coin'"):
        daskal.aggregate(votes, memory_limit="2GiB")
    assert daskal.aggregate(votes, "one_coin", memory_limit="2GiB").num_classes == 300


# --- what errors speak of ----------------------------------------------------------------------


BAD_VOTES = {
    "beyond": (np.array([[0, 1, 0], [7, 1, 1], [0, 0, 1], [1, 1, 1]]), "num_classes is too low"),
    "fraction": (np.array([[0, 1, 0], [0.5, 1, 1], [0, 0, 1], [1, 1, 1]]), "Turn averages"),
    "infinite": (np.array([[0, 1, 0], [np.inf, 1, 1], [0, 0, 1], [1, 1, 1]]), "never infinity"),
}


@pytest.mark.parametrize(("votes", "said"), BAD_VOTES.values(), ids=BAD_VOTES)
def test_errors_about_votes_alone_speak_of_no_model(votes, said, tmp_path):
    good = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1]])
    found = daskal.aggregate(good)
    out = tmp_path / "out.zarr"
    batch = pd.DataFrame({"source": ["labeled"], "row": [1]})
    calls = (
        lambda: daskal.aggregate(votes, num_classes=2),
        lambda: daskal.panel(votes, num_classes=2),
        lambda: daskal.run_aggregate(labels=votes, num_classes=2, out=out),
        lambda: found.posterior(votes).compute(),
        lambda: daskal.score_labeled(votes, None, found).compute(),
        lambda: daskal.label_quality(votes, None, found).compute(),
        lambda: daskal.annotator_stats(votes, None, found),
        lambda: daskal.next_batch(daskal.score_labeled(votes, None, found), size=2),
        lambda: daskal.assign(batch, found, votes),
    )
    for call in calls:
        with pytest.raises(InvalidDataError) as caught:
            call()
        text = str(caught.value)
        assert text.startswith("labels: 1 row where")
        assert said in text
        assert "Expected classes that are whole numbers" in text
        assert "prob" not in text


@pytest.mark.parametrize(
    ("value", "said"), [(7, "too low"), (0.5, "Turn"), (np.inf, "isinf(gold)")]
)
def test_errors_about_known_classes_name_them(value, said):
    votes = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 1]])
    found = daskal.aggregate(votes)
    for call in (
        lambda known: daskal.aggregate(votes, gold=known),
        lambda known: daskal.panel(votes, known),
        lambda known: daskal.annotator_stats(votes, None, found, gold=known),
    ):
        with pytest.raises(InvalidDataError) as caught:
            call([value, 0, 1, 1])
        text = str(caught.value)
        assert text.startswith("gold: 1 row where")
        assert said in text
        assert "prob" not in text


def test_rows_left_out_speak_of_no_model(tmp_path):
    votes = BAD_VOTES["beyond"][0]
    with pytest.warns(daskal.DataWarning, match=r"(?s)labels: 1 row .* num_classes") as caught:
        daskal.run_aggregate(
            labels=votes, num_classes=2, on_invalid="nan", out=tmp_path / "out.zarr"
        )
    assert not any("prob" in str(each.message) for each in caught)


def test_annotators_that_do_not_match_are_those_of_the_aggregate():
    found = daskal.aggregate(VOTES)
    with pytest.raises(daskal.DaskalError, match="the 3 annotators of the aggregate, got 2"):
        found.posterior(VOTES[:, :2])
    named = daskal.aggregate(pd.DataFrame(VOTES, columns=list("abc")))
    with pytest.warns(daskal.DataWarning, match="the aggregate does not know 1 annotator of 3"):
        named.posterior(pd.DataFrame(VOTES, columns=list("abz")))
    with pytest.raises(daskal.DaskalError, match=r"daskal\.Estimate, got 'Aggregate'"):
        daskal.score_unlabeled(np.full((2, 2), 0.5), found)
