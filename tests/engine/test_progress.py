"""Tasks computed on any scheduler, and the progress that they report."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator

import dask
import pytest
from distributed import Client, LocalCluster

from daskal.engine.graph import call_each, merged, new_name
from daskal.engine.progress import Progress, StepCounter, Steps, compute_steps
from daskal.engine.reduction import reduce_calls
from daskal.errors import LostWorkersError

STEPS = Steps("votes", "daskal-votes", (4, 4, 2))


def test_each_step_counts_once_however_often_it_is_tried() -> None:
    reported: list[Progress] = []
    counter = StepCounter(STEPS, reported.append)
    for step in (2, 0, 2, 0):
        counter.count(step)
    assert [(progress.done, progress.rows) for progress in reported] == [(0, 0), (1, 2), (2, 6)]
    assert {progress[::2] for progress in reported} == {("votes", 3, 10)}


def test_steps_of_an_earlier_run_count_from_the_start() -> None:
    reported: list[Progress] = []
    counter = StepCounter(STEPS._replace(done={0, 2}), reported.append)
    counter.count(0)
    counter.count(1)
    assert reported == [Progress("votes", 2, 3, 6, 10), Progress("votes", 3, 3, 10, 10)]


def test_the_end_is_told_though_events_were_lost() -> None:
    reported: list[Progress] = []
    counter = StepCounter(STEPS, reported.append)
    counter.finish()
    counter.finish()
    assert reported[1:] == [Progress("votes", 3, 3, 10, 10)]


# ------------------------------------------------------------------------------- any scheduler


@contextlib.contextmanager
def on_cluster(client: Client) -> Iterator[None]:
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield


@pytest.fixture(params=["synchronous", "threads", "processes", "cluster"])
def active(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make each kind of scheduler the active one."""
    if request.param == "cluster":
        with on_cluster(request.getfixturevalue("cluster")):
            yield request.param
    else:
        with dask.config.set(scheduler=request.param):
            yield request.param


def double(number: int, *, factor: int) -> list[int]:
    return [factor * number]


def test_progress_is_told_alike_on_every_scheduler(active: str) -> None:
    reported: list[Progress] = []
    state = reduce_calls(
        "make labeled", double, [[3], [4], [5]], [3, 4, 5], sum_lists, reported.append, factor=2
    )
    assert state == [6, 8, 10]
    assert [progress.done for progress in reported] == [0, 1, 2, 3]
    assert {(progress.stage, progress.total, progress.total_rows) for progress in reported} == {
        ("make labeled", 3, 12)
    }
    steps = [after.rows - before.rows for before, after in itertools.pairwise(reported)]
    assert sorted(steps) == [3, 4, 5]


def sum_lists(lists: list[list[int]]) -> list[int]:
    return list(itertools.chain(*lists))


def test_rows_that_only_results_tell_are_counted_on_every_scheduler(active: str) -> None:
    reported: list[Progress] = []
    name = new_name("survey")
    calls = call_each(name, double, [[3], [4]], announces=True, count_rows=sum, factor=1)
    steps = Steps("survey", name, (0, 0), count_rows=sum)
    assert compute_steps([merged(calls, sum_lists)], steps, reported.append) == [[3, 4]]
    assert reported[0] == Progress("survey", 0, 2, 0, 0)
    assert reported[-1] == Progress("survey", 2, 2, 7, 0)


def test_several_tasks_come_back_in_order_without_progress(active: str) -> None:
    calls = call_each("daskal-some", double, [[3], [4]], factor=1)
    assert compute_steps(calls.delayed(), Steps("some", "daskal-some", (1, 1))) == [[3], [4]]


def fail(number: int) -> None:
    raise KeyError(number)


def test_what_a_task_raises_comes_out_as_it_is(active: str) -> None:
    with pytest.raises(KeyError, match="7"):
        reduce_calls("some", fail, [[7]], [1], sum_lists, lambda _: None)


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_die_again_and_again_are_one_clear_error() -> None:
    """For whatever runs through the engine: imports and demos as well as runs."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=50,
        ) as local,
        Client(local),
    ):
        local.scheduler.allowed_failures = 0
        with pytest.raises(LostWorkersError, match="died again and again"):
            reduce_calls("some", die, [[7]], [1], sum_lists)
