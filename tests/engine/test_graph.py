"""Graphs as Dask takes them: culled, optimized, persisted, stored, sent; and their names."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from dask.callbacks import Callback
from dask.delayed import delayed
from dask.utils import key_split
from distributed import Client
from distributed.utils import color_of

import daskal
from daskal import demo, multiannotator
from daskal.cli.meters import STAGES
from daskal.engine import reduction
from daskal.engine.graph import (
    BlockLayer,
    call_each,
    function_of,
    merged,
    new_name,
    same_blocks,
)
from daskal.engine.progress import Progress
from daskal.errors import InvalidDataError
from daskal.inputs import blocks
from daskal.method.findings import Findings
from tests.counting import CountingStore, counted_array
from tests.problems import Problem, forbid_compute, make_problem

BLOCKS, ROWS = 5, 4096
SHOWN = "daskal-score-unlabeled"


@pytest.fixture
def stored(tmp_path: Path) -> tuple[zarr.Array[Any], CountingStore]:
    """Return a pool of some blocks, whose reads are counted."""
    probs = make_problem(3, pool=BLOCKS * ROWS, num_classes=3).pool
    return counted_array(tmp_path / "pool", probs, chunks=(ROWS, 3))


@pytest.fixture
def scores(stored: tuple[zarr.Array[Any], CountingStore]) -> da.Array:
    lazy: da.Array = daskal.score_unlabeled(stored[0])
    assert lazy.numblocks == (BLOCKS,)
    return lazy


@contextmanager
def computed() -> Iterator[Counter[str]]:
    """Yield how many tasks are computed under each name that the dashboard shows."""
    names: Counter[str] = Counter()

    def note(key: Any, *_: Any) -> None:
        names[key_split(key)] += 1

    with dask.config.set(scheduler="synchronous"), Callback(pretask=note):
        yield names


# -------------------------------------------------------------------------------- lazy arrays


def test_a_slice_reads_its_own_blocks_alone(
    stored: tuple[zarr.Array[Any], CountingStore], scores: da.Array
) -> None:
    _, store = stored
    with dask.config.set(scheduler="synchronous"):
        scores[:10].compute()
        assert store.reads() == {"c/0/0": 1}
        scores[ROWS + 5 : 2 * ROWS + 5].compute()
    assert store.reads() == {"c/0/0": 1, "c/1/0": 1, "c/2/0": 1}


def test_a_sliced_table_reads_its_own_blocks_alone(tmp_path: Path) -> None:
    problem = make_problem(1, num_examples=3 * ROWS, num_annotators=4, num_classes=3)
    labels, store = counted_array(tmp_path / "labels", problem.labels, chunks=(ROWS, 4))
    probs, _ = counted_array(tmp_path / "probs", problem.pred_probs, chunks=(ROWS, 3))
    estimate = daskal.estimate(labels, probs)
    store.forget()
    table = daskal.label_quality(labels, probs, estimate)
    assert table.npartitions == 3
    with dask.config.set(scheduler="synchronous"):
        # Dask 2025.3 takes a table's graph as it is; lazy values are culled by every release.
        assert len(table.partitions[1].to_delayed()[0].compute()) == ROWS
    assert store.reads() == {"c/1/0": 1}


@pytest.mark.parametrize(
    "scheduler",
    ["synchronous", "threads", pytest.param("processes", marks=pytest.mark.slow), "cluster"],
)
def test_dask_may_do_with_scores_what_it_does_with_arrays(
    scores: da.Array, cluster: Client, tmp_path: Path, scheduler: str
) -> None:
    expected = scores.compute(scheduler="synchronous")

    def check() -> None:
        np.testing.assert_array_equal(scores.persist().compute(), expected)
        np.testing.assert_array_equal(dask.optimize(scores)[0].compute(), expected)
        np.testing.assert_array_equal(da.topk(scores, -3).compute(), np.sort(expected)[:3])
        scores.to_zarr(tmp_path / "scores.zarr")
        np.testing.assert_array_equal(zarr.open_array(tmp_path / "scores.zarr")[:], expected)
        assert (scores * 2).sum().compute() == pytest.approx(2 * expected.sum())

    if scheduler != "cluster":
        with dask.config.set(scheduler=scheduler):
            check()
        return
    with cluster.as_current():
        check()
        persisted = cluster.persist(scores)
        np.testing.assert_array_equal(persisted.compute(), expected)
        # On from there, the blocks are not computed again.
        assert daskal.next_batch(persisted, size=2)["row"].tolist() == list(
            np.argsort(expected, kind="stable")[:2]
        )


def test_a_lazy_array_travels_light(stored: tuple[zarr.Array[Any], CountingStore]) -> None:
    few, many = (
        daskal.score_unlabeled(da.zeros((num * 10, 3), chunks=(10, 3)) + 1 / 3)
        for num in (100, 300)
    )
    lengths = [len(pickle.dumps(array.dask.layers[array.name])) for array in (few, many)]
    assert (lengths[1] - lengths[0]) / 200 < 200
    from_zarr = daskal.score_unlabeled(stored[0])
    assert len(pickle.dumps(from_zarr)) < 4_000
    # Rows in memory travel once.
    held = np.full((BLOCKS * ROWS, 3), 1 / 3)
    assert len(pickle.dumps(daskal.score_unlabeled(held))) < 1.05 * held.nbytes


def test_a_graph_that_has_travelled_is_as_good(scores: da.Array) -> None:
    again = pickle.loads(pickle.dumps(scores))
    np.testing.assert_array_equal(again.compute(), scores.compute())
    assert isinstance(again.dask.layers[again.name], BlockLayer)


def test_nothing_is_computed_to_build_a_graph(
    stored: tuple[zarr.Array[Any], CountingStore],
) -> None:
    with forbid_compute():
        daskal.score_unlabeled(stored[0]) + 1
    assert not stored[1].reads()


# --------------------------------------------------------------------------- the blocks behind


def no_findings(block: Any, **options: Any) -> Findings:
    assert options
    return Findings()


def test_blocks_of_an_array_made_here_are_known(scores: da.Array) -> None:
    calls = same_blocks(scores, "daskal-again", no_findings)
    assert calls is not None
    assert calls.keys == [("daskal-again", i) for i in range(BLOCKS)]
    # The tasks of the array itself are not among them.
    assert scores.name not in calls.graph.layers
    assert reduction.reduce_same_blocks(scores, "again", no_findings) == Findings()


@pytest.mark.parametrize(
    "change",
    [lambda scores: scores + 1, lambda scores: dask.optimize(scores)[0], lambda scores: scores[:9]],
    ids=["summed", "optimized", "sliced"],
)
def test_blocks_of_other_arrays_are_not(
    scores: da.Array, change: Callable[[da.Array], da.Array]
) -> None:
    assert same_blocks(change(scores), "daskal-again", no_findings) is None
    assert function_of(change(scores)) is None


def test_faults_of_all_blocks_behind_lazy_inputs_are_reported() -> None:
    pool = np.full((3 * ROWS, 2), 0.5)
    pool[[7, 2 * ROWS + 1]] = np.nan
    scores = daskal.score_unlabeled(da.from_array(pool, chunks=(ROWS, 2)))
    with pytest.raises(InvalidDataError, match=r"7 \(nan\), 8,193 \(nan\)"):
        daskal.next_batch(scores, size=2)


# -------------------------------------------------------------------------------------- calls


def add(*numbers: int, more: int = 0) -> int:
    return sum(numbers) + more


def concatenate(before: list[str] | None, *texts: str) -> list[str]:
    return [*(before or []), *texts]


def total(first: int, others: list[int]) -> int:
    return first + sum(others)


def test_calls_take_lazy_arguments_and_lists_of_them() -> None:
    lazy = [delayed(add)(number, 1) for number in range(3)]
    doubled = call_each("daskal-first", add, [(one, one) for one in lazy], more=10).delayed()
    calls = call_each("daskal-next", total, [(5, doubled), (lazy[0], [1, 2])])
    with dask.config.set(scheduler="synchronous"):
        assert dask.compute(*calls.delayed()) == (5 + 12 + 14 + 16, 1 + 3)
        assert merged(calls, sum).compute() == 47 + 4


def test_calls_in_turn_get_what_the_one_before_returned(cluster: Client) -> None:
    calls = call_each(new_name("write"), concatenate, [["a"], ["b", "c"], ["d"]], in_turn=True)
    with cluster.as_current():
        assert calls.delayed()[-1].compute() == ["a", "b", "c", "d"]


# -------------------------------------------------------------------------------------- names

PASS_1 = ("votes", "temperature", "ties", "consensus")
SCORES = ("score labeled", "score unlabeled")
DEMO = (
    "make labeled",
    "make unlabeled",
    "test labeled",
    "test unlabeled",
    "test quality labeled",
)
QUALITY = ("label quality", "vote qualities", "quality columns", "thresholds")
IMPORT = ("survey", "pick", "read ids", "number votes", "sort votes", "write")
# What all of them have: merges, and the job that tasks share.
COMMON = ("merges", "settings")
# Stages that work towards one end, and are on the dashboard at the same time or in turn.
TOGETHER = {
    "run and demo": (*PASS_1, *SCORES, *DEMO, *COMMON),
    "import": (*IMPORT, *COMMON),
    "quality": (*PASS_1, *QUALITY, "merges"),
    "row ids": ("label quality", "vote qualities", "row ids", "merges"),
    "ensemble": (*PASS_1, *SCORES, "models", "merges"),
    "majority": ("classes", "votes", "majority", "merges"),
    "batch": (*SCORES, "batch", "faulty rows", "merges"),
    # Dask leaves the number of an iteration out.
    "votes alone": ("votes", "vote shares", "iteration", "score labeled", "panel", *COMMON),
    "under an aggregate": ("annotators", "label quality", "merges"),
}
ALL = {stage for stages in TOGETHER.values() for stage in stages}


def shown(stage: str) -> str:
    return f"daskal-{stage.replace(' ', '-')}"


@pytest.mark.parametrize("stage", sorted(ALL))
def test_the_dashboard_shows_tasks_by_their_stage(stage: str) -> None:
    for _ in range(50):
        name = new_name(stage)
        assert key_split((name, 12)) == key_split(str((name, 12))) == shown(stage)


@pytest.mark.parametrize("stages", TOGETHER.values(), ids=TOGETHER)
def test_stages_differ_in_color(stages: tuple[str, ...]) -> None:
    colors = {stage: color_of(shown(stage)) for stage in stages}
    assert len(set(colors.values())) == len(stages), colors


@pytest.fixture
def problem() -> Iterator[Problem]:
    with mock.patch.object(blocks, "MEMORY_FACTOR", 1):
        yield make_problem(3, num_examples=9000, num_annotators=5, num_classes=3, pool=9000)


def own(names: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in names.items() if name.startswith("daskal-")}


def test_a_run_names_its_tasks(problem: Problem, tmp_path: Path) -> None:
    reported: list[Progress] = []
    with computed() as names:
        daskal.run(
            labels=problem.labels,
            pred_probs=problem.pred_probs,
            pred_probs_unlabeled=problem.pool,
            out=tmp_path / "o.zarr",
            progress=reported.append,
        )
    stages = list(dict.fromkeys(progress.stage for progress in reported))
    assert stages == ["votes", "consensus", "score labeled", "score unlabeled"]
    # Nothing else is among a stage's own: a bar of four for four blocks.
    assert own(names) == {**{shown(stage): 4 for stage in stages}, "daskal-merges": 4}


def test_a_cluster_shows_a_run_by_its_stages(
    problem: Problem, tmp_path: Path, cluster: Client
) -> None:
    def prefixes(dask_scheduler: Any) -> dict[str, int]:
        return {
            name: sum(prefix.state_counts.values())
            for name, prefix in dask_scheduler.task_prefixes.items()
            if name.startswith("daskal-")
        }

    before = Counter(cluster.run_on_scheduler(prefixes))
    with cluster.as_current():
        daskal.run(pred_probs_unlabeled=problem.pool, out=tmp_path / "o.zarr")
    new = Counter(cluster.run_on_scheduler(prefixes))
    new.subtract(before)
    reported = {name for name, count in new.items() if count}
    assert reported == {SHOWN, "daskal-merges", "daskal-settings"}


def test_an_import_names_its_tasks(tmp_path: Path) -> None:
    votes = pd.DataFrame({"task": range(40), "annotator": 1, "label": 0})
    frame = dd.from_pandas(votes, npartitions=20)
    reported: list[Progress] = []
    with computed() as names:
        daskal.import_votes(frame, tmp_path / "labels.zarr", progress=reported.append)
    assert set(own(names)) <= {shown(stage) for stage in (*IMPORT, *COMMON)}
    assert names["daskal-survey"] == 20
    assert names["daskal-write"] == 1
    assert {progress.stage for progress in reported} == {"survey", "write"}


def test_the_demo_names_its_tasks(tmp_path: Path) -> None:
    crowd = demo.Crowd(num_examples=5000, num_unlabeled=5000, num_annotators=4, num_classes=3)
    with computed() as names:
        demo.make(crowd, tmp_path)
    assert own(names) == {
        "daskal-make-labeled": 2,
        "daskal-make-unlabeled": 2,
        "daskal-merges": 2,
    }


def test_every_other_task_has_a_name_that_is_listed(problem: Problem) -> None:
    labels, probs, pool = problem.labels, problem.pred_probs, problem.pool
    ids = [f"x{row}" for row in range(len(labels))]
    with computed() as names:
        estimate = daskal.estimate(labels, probs)
        scores = daskal.score_unlabeled(pool, estimate)
        daskal.next_batch(scores, size=2)
        daskal.annotator_stats(labels, probs, estimate)
        frame = pd.DataFrame(labels, index=ids)
        daskal.label_quality(frame, pd.DataFrame(probs, index=ids), estimate).compute()
        daskal.detailed_quality(labels, probs, estimate).compute()
        multiannotator.get_active_learning_scores_ensemble(
            labels, np.stack([probs, probs]), np.stack([pool, pool])
        )
        multiannotator.get_label_quality_multiannotator(
            labels, probs, label_quality_score_kwargs={"adjust_pred_probs": True}
        )
        multiannotator.get_majority_vote_label(labels)
    listed = {shown(stage) for stage in ALL}
    unlisted = {name for name in own(names) if not any(name.startswith(known) for known in listed)}
    assert unlisted == set()
    met = {stage for stage in ALL if shown(stage) in names}
    assert {"models", "thresholds", "classes", "majority", "quality columns", "batch"} <= met


def test_votes_alone_name_their_tasks(problem: Problem, tmp_path: Path) -> None:
    labels = problem.labels
    reported: list[Progress] = []
    with computed() as names:
        run = daskal.run_aggregate(
            labels=labels, out=tmp_path / "out.zarr", max_iterations=2, progress=reported.append
        )
        assert run.aggregate is not None
        daskal.annotator_stats(labels, None, run.aggregate)
        daskal.label_quality(labels, None, run.aggregate).compute()
    stages = {*TOGETHER["votes alone"], *TOGETHER["under an aggregate"], "row ids"}
    assert set(own(names)) <= {shown(stage) for stage in stages}
    assert [stage for stage, _ in itertools.groupby(reported, lambda each: each.stage)] == [
        "votes", "vote shares", "iteration 1", "iteration 2", "score labeled", "panel",
    ]  # fmt: skip


def test_the_command_line_knows_every_stage_that_is_reported() -> None:
    assert set(STAGES) == {*PASS_1, *SCORES, *DEMO, "survey", "write"}
