"""Consensus labels and annotators' ranks on votes as they are, against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

import daskal
from benchmarks import timing
from benchmarks.curves import half_width
from benchmarks.replay import Floats, out_of_sample
from benchmarks.votesets import VoteSet

# At most so many votes an example, beside all of them.
MOST_VOTES = (2, 3, 5, 10)
# Annotators with fewer judged votes have no accuracy worth ranking.
LEAST_JUDGED = 10
RESAMPLES = 1000
# The weaker C of the replays makes no difference worth a column.
STRENGTH = 10.0
ALONE = {"majority vote": "majority_vote", "one coin": "one_coin", "Dawid-Skene": "dawid_skene"}
CROWDLAB: dict[str, dict[str, str | None]] = {
    "CROWDLAB, cleanlab 2.9.0": {"convention": "cleanlab"},
    "CROWDLAB, temperature 1": {"temperature": None},
    "majority vote, ties by the model": {"consensus_method": "majority_vote"},
    "CROWDLAB, paper": {},
}
BASELINE = "majority vote"


class Answer(NamedTuple):
    """What a method says: of each example with votes, and of each annotator."""

    right: Floats  # (n,): 1, 0, or NaN where the class is unknown
    quality: Floats  # (n,)
    annotators: pd.Series[float]  # by annotator


def answers(votes: VoteSet, stored: dict[str, Floats], seed: int) -> Iterator[tuple[str, Answer]]:
    """Yield what each method says. Models are trained out of fold, on the majority vote."""
    labels = votes.table()
    rows = labels.notna().any(axis=1).to_numpy()
    labels, truth = labels[rows].dropna(axis=1, how="all"), votes.truth[rows]

    def judge(probs: Floats | None, estimate: daskal.Estimate | daskal.Aggregate) -> Answer:
        found = daskal.label_quality(labels, probs, estimate).compute()
        labeled = found["consensus_label"].to_numpy()
        return Answer(
            np.where(truth < 0, np.nan, labeled == truth),
            found["consensus_quality_score"].to_numpy(),
            daskal.annotator_stats(labels, probs, estimate)["annotator_quality"],
        )

    majority = None
    for name, method in ALONE.items():
        aggregate = daskal.aggregate(labels, method, random_state=seed)
        if name == BASELINE:
            quality = daskal.label_quality(labels, None, aggregate).compute()
            majority = quality["consensus_label"].to_numpy(dtype=np.int64)
        yield name, judge(None, aggregate)
    assert majority is not None
    models = {name: probs[rows] for name, probs in stored.items()}
    if votes.features is not None:
        features = votes.features[rows]
        own = out_of_sample(features, majority, votes.num_classes, STRENGTH, seed)
        models = {"": own, **models}
    for model, probs in models.items():
        for name, options in CROWDLAB.items():
            yield name + model, judge(probs, daskal.estimate(labels, probs, **options))


def stored_models(folder: Path) -> dict[str, Floats]:
    """Read the probabilities of models beside the votes; simulated ones are left out."""
    found = {}
    for path in sorted(folder.glob("pred_probs_*.npy")):
        name = path.stem.removeprefix("pred_probs_")
        if "simulated" not in name:
            found[f" ({name.replace('_', ' ')})"] = np.load(path).astype(np.float64)
    return found


class Collected(NamedTuple):
    """Means over seeds, method by method."""

    right: pd.DataFrame  # examples with known class x methods
    ranks: pd.DataFrame  # annotators x methods
    finds: pd.Series[float]  # by method: area under the curve of quality against being right


def collect(
    votes: VoteSet, stored: dict[str, Floats], seeds: Sequence[int], most: int | None = None
) -> Collected:
    """Return what the methods say, of at most so many votes an example."""
    right: dict[str, list[Floats]] = {}
    ranks: dict[str, list[pd.Series[float]]] = {}
    finds: dict[str, list[float]] = {}
    for seed in seeds:
        given = votes if most is None else votes.thinned(most, np.random.default_rng(seed))
        for name, answer in answers(given, stored, seed):
            known = ~np.isnan(answer.right)
            right.setdefault(name, []).append(answer.right[known])
            ranks.setdefault(name, []).append(answer.annotators)
            finds.setdefault(name, []).append(
                area(answer.quality[known], answer.right[known].astype(bool))
            )
    return Collected(
        pd.DataFrame({name: np.mean(found, axis=0) for name, found in right.items()}),
        pd.DataFrame({name: mean_of(found) for name, found in ranks.items()}),
        pd.Series({name: float(np.mean(found)) for name, found in finds.items()}),
    )


def mean_of(found: list[pd.Series[float]]) -> pd.Series[float]:
    """Return the mean over seeds of each annotator's quality."""
    return pd.concat(found, axis=1).mean(axis=1)


def area(quality: Floats, right: NDArray[np.bool_]) -> float:
    """Return how often a right label has a higher quality than a wrong one, ties by half."""
    num_right, num_wrong = int(right.sum()), int((~right).sum())
    if not num_right or not num_wrong:
        return float("nan")
    ranks = stats.rankdata(quality)[right].sum()
    return float((ranks - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def consensus_rows(votes: VoteSet, full: Collected, seeds: range) -> list[list[str]]:
    """Return the rows of one set: how often each method is right, by votes an example."""
    mean = len(votes.rows) / len(np.unique(votes.rows))
    rows = []
    for most in [*(most for most in MOST_VOTES if most < mean), None]:
        found = full if most is None else collect(votes, {}, seeds, most)
        shown = f"all, {mean:.1f}" if most is None else f"up to {most}"
        for name, right in found.right.items():
            gain = (right - found.right[BASELINE]).to_numpy()
            rows.append(
                [
                    votes.name,
                    shown,
                    str(name),
                    f"{100 * right.mean():.1f}",
                    "" if name == BASELINE else as_gain(gain),
                    f"{found.finds[name]:.3f}",
                ]
            )
    return rows


def as_gain(gain: Floats) -> str:
    mean, half = 100 * gain.mean(), 100 * half_width(gain)
    text = f"{mean:+.1f} ± {half:.1f}"
    return f"**{text}**" if abs(mean) > half else text


def rank_rows(votes: VoteSet, full: Collected) -> list[list[str]]:
    """Return the rows of one set: how well each method ranks the annotators."""
    accuracy, judged = votes.true_accuracy()
    people = np.flatnonzero(judged >= LEAST_JUDGED)
    if len(people) < 3:
        return []
    found = full.ranks.reindex(people)
    qualities = found.to_numpy()
    names = list(found)

    def spearman(chosen: NDArray[np.int64]) -> Floats:
        ranks = stats.rankdata(np.column_stack([accuracy[people], qualities])[chosen], axis=0)
        with np.errstate(invalid="ignore"):
            return np.corrcoef(ranks, rowvar=False)[0, 1:]

    each = spearman(np.arange(len(people)))
    drawn = resampled(spearman, len(people))
    base = names.index(BASELINE)
    rows = []
    for place, name in enumerate(names):
        gains = drawn[:, place] - drawn[:, base]
        rows.append(
            [
                votes.name,
                f"{len(people)} of {votes.num_annotators}",
                name,
                between(each[place], drawn[:, place]),
                "" if place == base else between(each[place] - each[base], gains, gain=True),
            ]
        )
    return rows


def between(value: float, drawn: Floats, *, gain: bool = False) -> str:
    """Return a value with the interval of its bootstrap samples; a clear gain in bold."""
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or not len(drawn):
        return "all alike"
    low, high = np.percentile(drawn, [2.5, 97.5])
    form = "+.3f" if gain else ".3f"
    text = f"{value:{form}} ({low:{form}} to {high:{form}})"
    return f"**{text}**" if gain and (low > 0 or high < 0) else text


def resampled(measure: Callable[[NDArray[np.int64]], Floats], num: int) -> Floats:
    """Return a measure over bootstrap samples of ``num`` things."""
    rng = np.random.default_rng(0)
    return np.array([measure(rng.integers(num, size=num)) for _ in range(RESAMPLES)])


def report(
    sets: Sequence[tuple[VoteSet, dict[str, Floats]]], seeds: range, say: Callable[[str], None]
) -> str:
    """Return the tables of all sets."""
    consensus, ranks = [], []
    for votes, stored in sets:
        say(f"{votes.name}: consensus of {len(votes.rows):,} votes by each method")
        full = collect(votes, stored, seeds)
        consensus += consensus_rows(votes, full, seeds)
        ranks += rank_rows(votes, full)
    return "\n".join(
        [
            "Consensus labels that are right, in percent, and how often a right one has a higher "
            "quality score than a wrong one:\n",
            timing.table(
                ["set", "votes", "method", "right", "minus majority vote", "quality ranks"],
                consensus,
            ),
            "\nSpearman's correlation of the annotators' quality with their true accuracy, all "
            f"votes, annotators with {LEAST_JUDGED} judged votes or more:\n",
            timing.table(["set", "annotators", "method", "Spearman", "minus majority vote"], ranks),
            "",
        ]
    )
