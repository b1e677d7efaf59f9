"""The replay of votes: nothing is asked that nobody answered, nothing is seen too early."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import dask
import numpy as np
import pandas as pd
import pytest

import daskal
from benchmarks import consensus, curves, real_votes, replay
from benchmarks.strategies import NEED_A_POOL, STRATEGIES, capped
from benchmarks.votesets import UnusableError, VoteSet, World

NUM, NUM_CLASSES = 80, 3

pytestmark = [
    pytest.mark.filterwarnings("ignore::daskal.DataWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="sync"):
        yield


def make_set(most: int = 5, seed: int = 0) -> VoteSet:
    """Two to ``most`` votes for each of some examples, of eight annotators from bad to good."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(NUM_CLASSES, size=NUM)
    num = rng.integers(min(2, most), most + 1, NUM)
    rows = np.repeat(np.arange(NUM), num)
    annotators = np.concatenate([np.sort(rng.choice(8, size, replace=False)) for size in num])
    right = rng.random(len(rows)) < 0.3 + 0.09 * annotators
    codes = np.where(right, truth[rows], (truth[rows] + 1) % NUM_CLASSES)
    features = np.eye(NUM_CLASSES)[truth] + rng.normal(0, 0.5, (NUM, NUM_CLASSES))
    truth[:3] = -1
    return VoteSet("made", NUM_CLASSES, truth, rows, annotators, codes, features)


def store(votes: VoteSet, folder: Path, *, features: bool = True) -> Path:
    """Write a set as a folder, its tasks named in an order of their own."""
    folder.mkdir()
    names = np.array([f"task {(7 * row) % NUM:02}" for row in range(NUM)])
    long = {"task": names[votes.rows], "annotator": votes.annotators + 100, "label": votes.codes}
    pd.DataFrame(long).sort_values(["task", "annotator"]).to_parquet(folder / "labels.parquet")
    known = votes.truth >= 0
    truth = pd.DataFrame({"task": names[known], "label": votes.truth[known]})
    truth.to_parquet(folder / "truth.parquet")
    pd.DataFrame({"task": names}).to_parquet(folder / "tasks.parquet")
    classes = {"classes": {"a": 0, "b": 1, "c": 2}}
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    if features:
        np.save(folder / "features.npy", votes.features)
    return folder


# --- sets and worlds --------------------------------------------------------------------------


def test_a_folder_is_read_in_the_order_of_its_tasks(tmp_path):
    votes = make_set()
    read = VoteSet.read(store(votes, tmp_path / "made"))
    assert read.num_classes == NUM_CLASSES
    np.testing.assert_array_equal(read.truth, votes.truth)
    np.testing.assert_array_equal(read.table(), votes.table())
    # One factor for all columns, around zero.
    np.testing.assert_allclose((read.features**2).sum(axis=1).mean(), 1)
    np.testing.assert_allclose(read.features.mean(axis=0), 0, atol=1e-12)


def test_what_a_folder_lacks_is_named(tmp_path):
    with pytest.raises(UnusableError, match=r"expected labels\.parquet in it, found none"):
        VoteSet.read(tmp_path)
    folder = store(make_set(), tmp_path / "made")
    np.save(folder / "features.npy", np.zeros((3, 2)))
    with pytest.raises(UnusableError, match=r"expected 80 rows, as in tasks\.parquet, found 3"):
        VoteSet.read(folder)
    pd.DataFrame({"task": ["task 00"]}).to_parquet(folder / "tasks.parquet")
    with pytest.raises(UnusableError, match=r"lacks \d+ tasks of labels\.parquet"):
        VoteSet.read(folder)


def test_halves_and_thinned_votes():
    votes = VoteSet(
        "tiny",
        2,
        np.array([0, 1, 1, -1]),
        np.array([0, 0, 0, 1, 1, 2, 3, 3]),
        np.array([0, 1, 2, 0, 2, 1, 0, 2]),
        np.array([0, 1, 0, 1, 0, 0, 1, 1]),
    )
    accuracy, judged = votes.true_accuracy()
    np.testing.assert_array_equal(accuracy, [1.0, 0.0, 0.5])
    np.testing.assert_array_equal(judged, [2, 2, 2])
    # Annotators 1 and 2 have five of the eight votes, so that the worse half is 1 alone.
    assert set(votes.half("worse").annotators) == {1}
    assert set(votes.half("better").annotators) == {0, 2}
    thinned = votes.thinned(2, np.random.default_rng(0))
    assert thinned.rows.tolist() == [0, 0, 1, 1, 2, 3, 3]
    drawn = {
        tuple(votes.thinned(1, np.random.default_rng(seed)).annotators[:1]) for seed in range(30)
    }
    assert drawn == {(0,), (1,), (2,)}


def test_a_world_reveals_real_votes_one_after_the_other():
    votes = make_set()
    # A feature that tells the row of the set.
    numbered = replace(votes, features=np.arange(NUM)[:, None].astype(float))
    world = World.make(numbered, seed=3)
    row_of = world.features[:, 0].astype(int)
    tested = world.test_features[:, 0].astype(int)
    assert len(tested) == round(0.3 * 77)
    assert not set(row_of) & set(tested)
    np.testing.assert_array_equal(world.truth, votes.truth[row_of])
    np.testing.assert_array_equal(world.test_truth, votes.truth[tested])
    np.testing.assert_array_equal(world.available, np.bincount(votes.rows)[row_of])
    given = votes.table().to_numpy()
    everyone = np.arange(len(row_of))
    before = None
    for asked in range(1, 6):
        num = np.minimum(asked, world.available)
        labels = world.labels(everyone, num)
        np.testing.assert_array_equal((labels >= 0).sum(axis=1), num)
        if labels.shape[1] == 8:
            revealed = labels >= 0
            np.testing.assert_array_equal(labels[revealed], given[row_of][revealed])
            if before is not None:
                assert (revealed >= before).all()
            before = revealed
    assert before is not None
    np.testing.assert_array_equal(before, ~np.isnan(given[row_of]))
    drawn = [World.make(numbered, seed) for seed in range(20)]
    first = [one.annotators[one.offsets[:-1]][one.features[:, 0] == row_of[0]] for one in drawn]
    assert len({tuple(found) for found in first if len(found)}) == world.available[0]
    other = drawn[4]
    assert set(other.test_features[:, 0]) != set(world.test_features[:, 0])


# --- loops ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_strategies_begin_alike_and_spend_the_same():
    world = World.make(make_set(), seed=0)
    points = []
    for setting in replay.settings(len(world.truth), 1, 4):
        for strategy in STRATEGIES:
            if setting.with_pool or strategy not in NEED_A_POOL:
                case = replay.Case("made", lambda _: make_set())
                points += replay.run_loop(world, setting, case, strategy, 0)
    frame = pd.DataFrame(points)
    first = frame[frame["round"] == 0].drop(columns=["strategy", "again"])
    assert len(first.drop_duplicates()) == 2
    assert frame.groupby(["setting", "round"])["annotations"].nunique().eq(1).all()
    last = frame[frame["round"] == 1].set_index(["setting", "strategy"])
    assert last.loc["again only", "again"].eq(1).all()
    assert last.loc[("new or again", "random, new first"), "again"] == 0
    assert frame["consensus"].between(0.2, 1).all()


@pytest.mark.parametrize("with_pool", [True, False])
def test_a_strategy_sees_and_gets_only_what_was_revealed(monkeypatch, with_pool):
    votes = replace(make_set(), features=np.random.default_rng(1).normal(size=(NUM, 2)))
    world = World.make(votes, seed=1)
    looks = []

    def greedy(look):
        looks.append(look)
        # The same few examples, as long as somebody else has labeled them.
        chosen = look.lowest(look.labeled.astype(float), 1e6 + look.pool)
        assert set(chosen) <= {*look.labeled[look.can_ask], *look.pool}
        return chosen

    monkeypatch.setitem(STRATEGIES, "greedy", greedy)
    setting = replay.settings(len(world.truth), 4, 5)[0 if with_pool else 1]
    case = replay.Case("made", lambda _: votes)
    points = list(replay.run_loop(world, setting, case, "greedy", 0))
    assert len(looks) == len(points) - 1 >= 2
    for look, point in zip(looks, points, strict=False):
        assert (look.labels >= 0).sum() == point.annotations
        assert bool(len(look.pool)) == with_pool
        np.testing.assert_array_equal(look.features, world.features[look.labeled])
        num = (look.labels >= 0).sum(axis=1)
        np.testing.assert_array_equal(look.can_ask, num < world.available[look.labeled])
        np.testing.assert_array_equal(look.labels, world.labels(look.labeled, num))
    assert not looks[-1].can_ask.all()


def test_a_capped_model_counts_for_no_more_than_the_mean_annotator():
    votes = make_set()
    labels = votes.table().to_numpy()
    probs = np.full((NUM, NUM_CLASSES), 0.1)
    probs[np.arange(NUM), np.where(votes.truth < 0, 0, votes.truth)] = 0.8
    estimate = daskal.estimate(labels, probs)
    mean = float(estimate.annotator_weight.mean())
    # The model is better than the mean annotator, so that it has more weight than one of them.
    assert estimate.model_weight > 1.2 * mean
    lower = capped(estimate)
    assert lower.model_weight == pytest.approx(mean)
    assert lower.majority.model_weight[0] == pytest.approx(estimate.majority.mean_weight)
    assert capped(lower) == lower
    pd.testing.assert_series_equal(lower.annotator_weight, estimate.annotator_weight)
    kept = replay.consensus_labels(labels, probs, replay.CAPPED)
    found = daskal.label_quality(labels, probs, lower).compute()["consensus_label"]
    np.testing.assert_array_equal(kept, found)
    assert (kept != replay.consensus_labels(labels, probs, "best_quality")).any()


def test_a_model_of_one_class_is_sure_of_it():
    predict = replay.fit(np.zeros((3, 2)), np.array([1, 1, 1]), 3, 10.0)
    np.testing.assert_array_equal(predict(np.ones((2, 2))), [[0, 1, 0], [0, 1, 0]])


def test_rounds_end_before_the_votes_do():
    _, again = replay.settings(90, 12, 10)
    assert again.possible_rounds(np.full(90, 1)) == 0
    # 38 examples with 57 votes, of 114: half of the rest is 28.
    assert again.num_start == 38
    assert again.possible_rounds(np.full(90, 3)) == 2
    assert again.possible_rounds(np.full(90, 99)) == 12


# --- tables -----------------------------------------------------------------------------------


def made_points() -> pd.DataFrame:
    """Points of two seeds, where the second strategy gains 0.02 and 0.04 with each point."""
    rows = []
    for seed, gain in ((0, 0.02), (1, 0.04)):
        for strategy, extra in (("one", 0.0), ("two", gain)):
            for turn in range(3):
                shared = ["c", "s", strategy, seed, turn, 10 + turn]
                rows.append(
                    [*shared, 0.5 + 0.1 * seed + extra * (turn + 1), 0.8, 0.7, 0.5, 0.4, 0.6, 0.25]
                )
    return pd.DataFrame(rows, columns=replay.Point._fields)


def test_differences_are_paired_and_have_intervals():
    points = made_points()
    # With one degree of freedom, Student's t is 12.71; the intervals are half the difference.
    assert (
        curves.gains_table(points, ["one", "two"])
        .splitlines()[2]
        .startswith("| c | s | one | +6.0 ± 25.4 | +9.0 ± 38.1 | +0.0 ± 0.0 |")
    )
    shown = curves.overview(points, ["one", "two"], curves.MEASURES[0]).splitlines()[2]
    assert shown == "| c | s | 61.0 | +6.0 ± 25.4 |"
    assert curves.interval(np.array([0.01, 0.02, 0.03]), gain=True) == "+2.0 ± 2.5"
    assert curves.interval(np.array([0.02, 0.021, 0.022]), gain=True) == "**+2.1 ± 0.2**"
    short = points.drop(points.index[(points["round"] == 2) & (points["seed"] == 1)])
    assert curves.comparable(short)["round"].max() == 1
    found = curves.summarise(points).loc[("c", "s", "two", 1)]
    assert found["accuracy"] == pytest.approx(0.61)
    assert found["seeds"] == 2


def test_how_well_quality_ranks():
    quality = np.array([0.1, 0.5, 0.5, 0.9])
    assert consensus.area(quality, np.array([False, False, True, True])) == 0.875
    assert np.isnan(consensus.area(quality, np.ones(4, dtype=bool)))
    assert consensus.between(float("nan"), np.full(3, np.nan)) == "all alike"
    assert consensus.between(0.5, np.full(3, 0.5), gain=True) == "**+0.500 (+0.500 to +0.500)**"


PAGE = Path(__file__).resolve().parent.parent / "docs" / "active-learning.md"
GAIN = r"[+-]?\d+\.\d ±\s+\d+\.\d"


def test_every_difference_on_the_page_is_in_its_tables():
    page = PAGE.read_text(encoding="utf-8")
    included = re.findall(r"```\{include\} (\S+)", page)
    assert len(included) >= 3
    stored = sorted(PAGE.parent.glob("active-learning-*.txt"))
    assert {path.name for path in stored} >= set(included)
    tables = "".join(path.read_text(encoding="utf-8") for path in stored)
    measured, quoted = (
        {" ".join(found.lstrip("+-").split()) for found in re.findall(GAIN, text)}
        for text in (tables, page)
    )
    assert len(quoted) >= 10
    assert quoted <= measured, f"not in the tables: {sorted(quoted - measured)}"
    linked = re.findall(r"`(active-learning-[\w-]+\.\w+)`|\{figure\} (\S+)", page)
    for name in {one or other for one, other in linked}:
        assert (PAGE.parent / name).exists(), name


# --- the command ------------------------------------------------------------------------------


def test_the_command_writes_everything_and_continues(tmp_path, monkeypatch, capsys):
    few = {name: STRATEGIES[name] for name in ("random, new first", "ActiveLab, paper")}
    monkeypatch.setattr(real_votes, "STRATEGIES", few)
    monkeypatch.setattr(consensus, "MOST_VOTES", (2,))
    monkeypatch.setattr(consensus, "RESAMPLES", 50)
    whole = store(make_set(), tmp_path / "whole")
    bare = store(make_set(), tmp_path / "bare", features=False)
    single = store(make_set(most=1), tmp_path / "single")
    out = tmp_path / "out"
    command = [str(folder) for folder in (whole, bare, single, tmp_path / "absent")]
    rest = ["--rounds", "1", "--out", str(out), "--cases", "all votes", "--seeds"]
    assert real_votes.main([*command, *rest, "1"]) == 0
    said = capsys.readouterr().err
    assert "absent: expected labels.parquet in it, found none" in said
    assert "bare: not replayed: no features.npy" in said
    assert "single, all votes, again only: left out: there are 1.0 votes an example" in said
    tables = (out / "active-learning-consensus.txt").read_text(encoding="utf-8")
    assert "| whole | up to 2 | CROWDLAB, paper |" in tables
    assert "| bare | all, 3.6 | Dawid-Skene |" in tables
    assert "| bare | all, 3.6 | CROWDLAB" not in tables
    # The annotators differ much, so that any method finds their order.
    ranks = tables[tables.index("Spearman") :]
    assert float(ranks.partition("| CROWDLAB, paper | ")[2].partition(" ")[0]) > 0.7
    full = (out / "active-learning-whole-all.txt").read_text(encoding="utf-8")
    assert full.count("\n| all votes |") == 3 + 1
    picture = (out / "active-learning-whole-all-votes.svg").read_text(encoding="utf-8")
    assert len(ElementTree.fromstring(picture).findall(".//{*}polyline")) == 3 * 4
    overview = (out / "active-learning-single.txt").read_text(encoding="utf-8")
    assert "again only" not in overview

    def fail(*_):
        raise AssertionError("this loop was run before")

    monkeypatch.setattr(consensus, "report", lambda *_: "")
    monkeypatch.setattr(real_votes, "run_case", fail)
    assert real_votes.main([str(whole), *rest, "1"]) == 0
    assert (out / "active-learning-whole-all.txt").read_text(encoding="utf-8") == full
    with pytest.raises(UnusableError, match="found those with"):
        real_votes.main([str(whole), *rest, "1", "--batch", "3"])
    with pytest.raises(AssertionError, match="was run before"):
        real_votes.main([str(whole), *rest, "2"])


def test_only_strategies_that_are_new_are_run(tmp_path, monkeypatch):
    folder = store(make_set(), tmp_path / "whole")
    command = [str(folder), "--seeds", "1", "--rounds", "1", "--cases", "better annotators"]
    monkeypatch.setattr(consensus, "report", lambda *_: "")
    command += ["--out", str(tmp_path / "out")]
    three = {name: STRATEGIES[name] for name in ("random", "entropy", "ActiveLab, paper")}
    monkeypatch.setattr(real_votes, "STRATEGIES", three)
    assert real_votes.main(command) == 0
    run = []

    def note(world, setting, case, strategy, seed):
        run.append((setting.name, strategy))
        return real_loop(world, setting, case, strategy, seed)

    real_loop = replay.run_loop
    monkeypatch.setattr(replay, "run_loop", note)
    more = {"least confidence": STRATEGIES["least confidence"], **three}
    monkeypatch.setattr(real_votes, "STRATEGIES", more)
    assert real_votes.main(command) == 0
    assert run == [("new or again", "least confidence"), ("again only", "least confidence")]


def test_simulated_annotators_are_as_good_as_they_should_be():
    for noise, (low, high) in (("good", (0.8, 1.0)), ("bad", (0.3, 0.8))):
        accuracy, judged = VoteSet.simulate(noise, seed=0).true_accuracy()
        assert judged.tolist() == [1797] * 30
        assert low - 0.05 < accuracy.min() < accuracy.max() < high + 0.05
