from __future__ import annotations

import functools
import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from daskal.kernels import expectation as kernels
from daskal.kernels.posterior import log_parameters, plain_parameters, posterior_of
from daskal.kernels.vote_tiles import TILE_ELEMENTS, vote_tiles
from daskal.method.expectation import Parameters, Units, maximise
from daskal.method.values import Block
from tests import problems

ROOT = Path(__file__).resolve().parents[2]
NAN = np.nan
VOTES = np.array([[0, 1, NAN], [NAN, NAN, NAN], [2, 2, 0], [1.5, 0, NAN]])


def block(labels: np.ndarray, first_row: int = 0, *probs: np.ndarray) -> Block:
    return Block(labels, list(probs), first_row)


# --- tiles -------------------------------------------------------------------------------------


def test_votes_of_a_block():
    (tile,) = vote_tiles(block(VOTES, 100), 3)
    assert tile.offsets.tolist() == [0, 2, 2, 5, 5]
    assert tile.annotators.tolist() == [0, 1, 0, 1, 2]
    assert tile.classes.tolist() == [0, 1, 2, 2, 0]
    assert tile.faulty.tolist() == [3]
    assert tile.findings.faults[0].rows == ((103, 1.5),)


def test_tiles_cover_every_row_once():
    labels = problems.make_problem(0, num_examples=TILE_ELEMENTS // 4 + 5, pool=None).labels
    tiles = list(vote_tiles(block(labels), 4))
    assert len(tiles) > 1
    assert [tile.start for tile in tiles] == [0, *np.cumsum([len(tile) for tile in tiles])[:-1]]
    num = np.concatenate([tile.num_annotations for tile in tiles])
    np.testing.assert_array_equal(num, problems.is_vote(labels).sum(axis=1))


def test_counts_with_and_without_a_number_of_classes():
    counts = kernels.count_votes(
        block(VOTES, 0, np.array([1, NAN, 2, 0])), num_annotators=3, num_classes=None
    )
    assert counts.votes.tolist() == [2, 2, 1]
    assert counts.class_counts.tolist() == [2, 1, 2]
    assert counts.gold_counts.tolist() == [1, 1, 1]
    assert (counts.num_examples, counts.num_labeled, counts.num_multiple) == (4, 2, 2)
    few = kernels.count_votes(block(VOTES), num_annotators=3, num_classes=2)
    assert few.class_counts.tolist() == [1, 1]
    assert [finding.num_rows for finding in few.findings.faults] == [1, 1]


# --- one pass ----------------------------------------------------------------------------------


def sums_of(labels: np.ndarray, parameters=None, *, one_coin: bool = False, gold=None):
    units = Units(40, 40, 20)
    probs = [] if gold is None else [gold]
    return units, kernels.expectation(
        block(labels, 0, *probs),
        parameters=parameters or plain_parameters(labels.shape[1], 3),
        units=units,
        one_coin=one_coin,
        use_gold=gold is not None,
    )


def test_shares_of_votes_are_summed():
    units, sums = sums_of(VOTES)
    half = 2**39
    assert sums.num_rows == 2
    assert sums.prior.tolist() == [half + round(2**40 / 3), half, round(2**41 / 3)]
    assert sums.cells[0, 0].tolist() == [half, half, 0]
    assert sums.cells[2, 0].tolist() == [round(2**40 / 3), 0, round(2**41 / 3)]
    assert sums.likelihood == 0
    found = maximise(sums, units, np.array([2, 2, 1]))
    np.testing.assert_allclose(found.prior, [5 / 12, 1 / 4, 1 / 3])
    np.testing.assert_allclose(found.accuracy, [7 / 12, 7 / 12, 1 / 3])


def test_a_known_class_is_certain():
    _, sums = sums_of(VOTES, gold=np.array([1.0, NAN, NAN, NAN]))
    assert sums.cells[0, 0].tolist() == [0, 2**40, 0]
    coins = Parameters(np.full(3, 1 / 3), None, np.array([0.8, 0.5, 0.6]))
    logs = log_parameters("one_coin", coins)
    units, sums = sums_of(VOTES[:2], logs, one_coin=True, gold=np.array([1.0, NAN]))
    assert sums.cells.tolist() == [0, 2**40, 0]
    expected = np.log2(1 / 3 * 0.1 * 0.5)
    assert sums.likelihood * 2.0**-units.likelihood == pytest.approx(expected, abs=1e-5)


def test_likelihood_and_posterior_of_one_coin():
    coins = Parameters(np.array([0.5, 0.3, 0.2]), None, np.array([0.8, 0.5, 0.6]))
    logs = log_parameters("one_coin", coins)
    (tile,) = vote_tiles(block(VOTES[:1]), 3)
    shares = posterior_of(tile, logs)
    joint = np.array([0.5 * 0.8 * 0.25, 0.3 * 0.1 * 0.5, 0.2 * 0.1 * 0.25])
    np.testing.assert_allclose(shares[0], joint / joint.sum(), rtol=1e-13)
    units, sums = sums_of(VOTES[:1], logs, one_coin=True)
    expected = np.log2(joint.sum())
    assert sums.likelihood * 2.0**-units.likelihood == pytest.approx(expected, abs=1e-6)


# --- exact in any order ------------------------------------------------------------------------


@pytest.mark.parametrize("one_coin", [True, False])
def test_sums_of_parts_are_those_of_the_whole(one_coin):
    labels = problems.make_problem(7, num_examples=500, pool=None, num_classes=3).labels
    method = "one_coin" if one_coin else "dawid_skene"
    units, start = sums_of(labels, one_coin=one_coin)
    votes = problems.is_vote(labels).sum(axis=0)
    parameters = log_parameters(method, maximise(start, units, votes))
    _, whole = sums_of(labels, parameters, one_coin=one_coin)
    cuts = [0, 1, 77, 300, 500]
    parts = [
        sums_of(labels[a:b], parameters, one_coin=one_coin)[1] for a, b in itertools.pairwise(cuts)
    ]
    merged = functools.reduce(lambda a, b: a.merge(b), reversed(parts))
    assert merged.likelihood == whole.likelihood
    np.testing.assert_array_equal(merged.cells, whole.cells)
    np.testing.assert_array_equal(merged.prior, whole.prior)


PROGRAM = """
import hashlib, numpy as np
import daskal
rng = np.random.default_rng(0)
truth = rng.integers(4, size=3000)
right = rng.random((3000, 9)) < rng.uniform(.3, .9, 9)
votes = np.where(right, truth[:, None], rng.integers(4, size=(3000, 9)))
votes[rng.random(votes.shape) < .6] = -1
for method in ("dawid_skene", "one_coin"):
    found = daskal.aggregate(votes, method, max_iterations=5, tolerance=0)
    posterior = found.posterior(votes).compute()
    print(hashlib.sha256(found.to_json().encode() + posterior.tobytes()).hexdigest())
"""


def digests(**settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()[0]) == len(hashlib.sha256().hexdigest())
    return done.stdout


@pytest.mark.slow
def test_the_same_bits_on_every_processor(tmp_path):
    """Numba compiles for another processor than this one, NumPy takes its plainest loops."""
    expected = digests()
    for name in ("generic", "core2"):
        cache = str(tmp_path / name)
        assert (
            digests(NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=cache) == expected
        )
    plain = digests(NPY_DISABLE_CPU_FEATURES="AVX2 FMA3 AVX512F AVX512_SKX")
    assert plain == expected


def test_nothing_imports_numba_before_a_kernel_runs():
    code = "import daskal.runs.votes, daskal.api.panel, sys; print('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
