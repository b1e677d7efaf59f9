"""The loop: reveal votes, train, choose the next, and measure before each round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

import daskal
from benchmarks.strategies import STRATEGIES, Floats, Ints, Look, capped
from benchmarks.votesets import VoteSet, World

Predict = Callable[[Floats], Floats]

FOLDS = 5
# The kind of consensus labels for which the model counts for no more than the mean annotator.
CAPPED = "capped"
# A loop ends when it has asked for this share of the votes there are: later, all strategies would
# have to ask for the same ones.
MOST_ASKED = 0.5
# Examples at the start and in a batch: at most so many, and at most this share of all.
NEW_START, AGAIN_START, BATCH = (100, 1 / 7), (300, 3 / 7), (75, 1 / 9)


class Setting(NamedTuple):
    """How a loop starts and continues."""

    name: str
    num_start: int  # examples labeled at the start
    start_labels: tuple[int, ...]  # number of labels of each of them, repeated in turn
    with_pool: bool
    rounds: int
    batch: int

    def start(self, available: Ints) -> Ints:
        """Return the number of votes that each example starts with, (n,)."""
        num = np.zeros(len(available), dtype=np.int64)
        num[: self.num_start] = np.resize(self.start_labels, self.num_start)
        return np.minimum(num, available)

    def possible_rounds(self, available: Ints) -> int:
        """Return how many rounds there are votes for, at most those wanted."""
        num = self.start(available)
        left = int((available - num)[slice(None) if self.with_pool else num > 0].sum())
        return min(self.rounds, int(MOST_ASKED * left / self.batch))


def settings(num_examples: int, rounds: int, batch: int | None) -> tuple[Setting, Setting]:
    """Return both settings, at a size that suits the number of examples."""

    def size(limits: tuple[int, float]) -> int:
        return max(2, min(limits[0], int(num_examples * limits[1])))

    each = batch or size(BATCH)
    return (
        Setting("new or again", size(NEW_START), (2,), True, rounds, each),
        Setting("again only", size(AGAIN_START), (1, 2), False, rounds, each),
    )


class Case(NamedTuple):
    """What a replay is made of, apart from setting, strategy and seed."""

    name: str
    votes: Callable[[int], VoteSet]  # by seed
    strength: float = 10.0  # C of the logistic regression: the less, the flatter its probabilities
    # Which consensus labels are kept, and learned by the model: CROWDLAB's, majority votes, whose
    # ties the model breaks, or CROWDLAB's with a capped model.
    consensus: str = "best_quality"
    varies: str = ""  # the case that this one is but for one thing


class Point(NamedTuple):
    """The state of one loop before a round. Shares are of the examples with a known class."""

    case: str
    setting: str
    strategy: str
    seed: int
    round: int
    annotations: int
    accuracy: float  # of the model, on the test set
    consensus: float  # share of labeled examples whose consensus label is correct
    everything: float  # the same over all examples: the model's class where there is no vote
    kept: float  # labeled examples a vote
    right: float  # correct consensus labels a vote
    majority: float  # the same of majority votes whose ties are drawn
    again: float  # share of the last batch that had labels already


@dataclass(frozen=True)
class Learned:
    """What is known once a model is trained on the votes revealed so far."""

    labeled: Ints  # numbers of the examples with votes
    rest: Ints  # of those without
    labels: NDArray[np.int16]
    majority: Ints  # (len(labeled),)
    consensus: Ints  # (len(labeled),)
    probs: Floats  # (n, k), of each example by a model that has not seen its label
    predict: Predict


def fit(features: Floats, labels: Ints, num_classes: int, strength: float) -> Predict:
    """Return a trained model as a function from features to probabilities of all classes."""
    classes = np.unique(labels)
    model = LogisticRegression(C=strength, tol=1e-2, max_iter=200)
    if len(classes) > 1:
        model.fit(features, labels)

    def predict(given: Floats) -> Floats:
        probs = np.zeros((len(given), num_classes))
        probs[:, classes] = model.predict_proba(given) if len(classes) > 1 else 1.0
        return probs

    return predict


def out_of_sample(
    features: Floats, labels: Ints, num_classes: int, strength: float, seed: int
) -> Floats:
    """Return probabilities of each example by a model that has not seen its label."""
    probs = np.empty((len(labels), num_classes))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
        predict = fit(features[train], labels[train], num_classes, strength)
        probs[test] = predict(features[test])
    return probs


def consensus_labels(labels: NDArray[np.int16], probs: Floats, method: str) -> Ints:
    """Return consensus labels, with the paper's convention."""
    if method == CAPPED:
        estimate = capped(daskal.estimate(labels, probs))
    else:
        estimate = daskal.estimate(labels, probs, consensus_method=method)
    found = daskal.label_quality(labels, probs, estimate).compute()
    return found["consensus_label"].to_numpy(dtype=np.int64)


def majority_labels(labels: NDArray[np.int16], seed: int) -> Ints:
    """Return the majority votes; one of the classes that tie is drawn."""
    aggregate = daskal.aggregate(labels, "majority_vote", random_state=seed)
    found = daskal.label_quality(labels, None, aggregate).compute()
    return found["consensus_label"].to_numpy(dtype=np.int64)


def share(found: Ints, truth: Ints) -> float:
    """Return how often labels are right, of those whose class is known."""
    known = truth >= 0
    return float((found[known] == truth[known]).mean()) if known.any() else float("nan")


def learn(world: World, num: Ints, case: Case, before: Floats | None, seed: int) -> Learned:
    """Train on the first ``num`` votes of each example; ``before`` are the last round's probs."""
    labeled, rest = np.flatnonzero(num), np.flatnonzero(num == 0)
    labels, features = world.labels(labeled, num[labeled]), world.features[labeled]
    majority = majority_labels(labels, seed)
    consensus = majority
    if before is not None:
        consensus = consensus_labels(labels, before[labeled], case.consensus)
    predict = fit(features, consensus, world.num_classes, case.strength)
    probs = np.empty((len(num), world.num_classes))
    probs[labeled] = out_of_sample(features, consensus, world.num_classes, case.strength, seed)
    if len(rest):
        probs[rest] = predict(world.features[rest])
    return Learned(labeled, rest, labels, majority, consensus, probs, predict)


def look_at(
    world: World, num: Ints, learned: Learned, setting: Setting, turn: int, rng: np.random.Generator
) -> Look:
    """Return what a strategy may see of it."""
    labeled = learned.labeled
    pool = learned.rest if setting.with_pool else learned.rest[:0]
    return Look(
        size=setting.batch,
        round=turn,
        labeled=labeled,
        pool=pool,
        labels=learned.labels,
        probs=learned.probs[labeled],
        pool_probs=learned.probs[pool],
        features=world.features[labeled],
        pool_features=world.features[pool],
        can_ask=num[labeled] < world.available[labeled],
        rng=rng,
    )


def measure(world: World, num: Ints, learned: Learned) -> dict[str, float]:
    """Return what a point says of a state."""
    truth = world.truth[learned.labeled]
    everything = learned.probs.argmax(axis=1)
    everything[learned.labeled] = learned.consensus
    consensus, kept = share(learned.consensus, truth), len(learned.labeled) / float(num.sum())
    tested = learned.predict(world.test_features).argmax(axis=1)
    return {
        "annotations": int(num.sum()),
        "accuracy": share(tested, world.test_truth),
        "consensus": consensus,
        "everything": share(everything, world.truth),
        "kept": kept,
        "right": consensus * kept,
        "majority": share(learned.majority, truth),
    }


def run_loop(
    world: World, setting: Setting, case: Case, strategy: str, seed: int
) -> Iterator[Point]:
    """Run one loop and yield a point per round, the state at the end included."""
    rng = np.random.default_rng([seed, 1])
    num = setting.start(world.available)
    rounds = setting.possible_rounds(world.available)
    before, again = None, float("nan")
    for turn in range(rounds + 1):
        learned = learn(world, num, case, before, seed)
        found = measure(world, num, learned)
        yield Point(case.name, setting.name, strategy, seed, turn, **found, again=again)
        if turn == rounds:
            return
        chosen = STRATEGIES[strategy](look_at(world, num, learned, setting, turn, rng))
        again = float((num[chosen] > 0).mean())
        np.add.at(num, chosen, 1)
        assert (num <= world.available).all(), f"{strategy} asked for a vote that nobody gave"
        before = learned.probs
