"""Clusters: versions, errors in daskal's words, several runs at once, separate networks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from multiprocessing.pool import ThreadPool
from pathlib import Path

import dask
import pytest
from dask.system import CPU_COUNT
from distributed import Client
from distributed.comm.core import CommClosedError

import daskal
from daskal.engine import graph, workers
from daskal.engine.workers import check_cluster, cluster_errors, worker_threads
from daskal.errors import ClusterError
from tests.faultkit import (
    CommandCluster,
    assert_same_store,
    blocks_by_stage,
    command_cluster,
    contents,
    finish_client,
    free_port,
    num_records,
    run_client,
    start_client,
    wait_until,
)
from tests.problems import make_problem

# ----------------------------------------------------------------------------------- threads


def test_threads_of_a_worker(cluster: Client) -> None:
    with cluster.as_current():
        assert worker_threads() == 1
    for scheduler, threads in (("synchronous", 1), ("processes", 1), ("threads", CPU_COUNT)):
        with dask.config.set(scheduler=scheduler):
            assert worker_threads() == threads
    with dask.config.set(scheduler="threads", num_workers=3):
        assert worker_threads() == 3
    with ThreadPool(5) as pool, dask.config.set(scheduler="threads", pool=pool):
        assert worker_threads() in {5, CPU_COUNT}


# ---------------------------------------------------------------------------------- versions


def test_other_version_is_one_clear_error(
    cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(1)
    with cluster.as_current():
        check_cluster()
        monkeypatch.setattr(workers, "__version__", "9.9")
        with pytest.raises(ClusterError, match=r"expected daskal 9\.9 on the scheduler") as caught:
            daskal.run(pred_probs_unlabeled=problem.pool, out=tmp_path / "o.zarr")
    version = daskal.__version__
    assert str(caught.value).count(f"({version})") == 3
    assert f"the scheduler ({version})" in str(caught.value)
    assert not (tmp_path / "o.zarr").exists()


def test_no_cluster_is_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "__version__", "9.9")
    check_cluster()


def test_worker_of_another_version_that_joins_later_is_found_by_its_first_task(
    cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(1)
    job = graph.BlockJob

    def newer(**parts: object) -> graph.BlockJob:
        return job(**parts, version="9.9")  # type: ignore[arg-type]

    monkeypatch.setattr(graph, "BlockJob", newer)
    with cluster.as_current(), pytest.raises(ClusterError, match=r"expected daskal 9\.9 on every"):
        daskal.run(pred_probs_unlabeled=problem.pool, out=tmp_path / "o.zarr")


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("error", [CancelledError(), CommClosedError("gone")], ids=repr)
def test_lost_scheduler_in_words(error: Exception) -> None:
    with (
        pytest.raises(ClusterError, match="connection to the scheduler was lost"),
        cluster_errors(),
    ):
        raise error


def test_worker_without_daskal_that_joins_later_in_words() -> None:
    said = "a worker that joined meanwhile lacks daskal"
    with pytest.raises(ClusterError, match=said), cluster_errors():
        raise ModuleNotFoundError("No module named 'daskal'", name="daskal")
    with pytest.raises(ModuleNotFoundError), cluster_errors():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


# ------------------------------------------------------------------- clusters made by commands


@pytest.mark.slow
@pytest.mark.parametrize("as_paths", [False, True])
def test_relative_paths_hold_in_any_working_directory(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path, as_paths: bool
) -> None:
    """The client's directory counts, wherever the workers are."""
    inputs = Path(paths["labels"]).parent
    relative = {name: Path(path).name for name, path in paths.items()}
    out = Path("..") / f"{tmp_path.name}-{as_paths}" / "out.zarr"
    with command_cluster(tmp_path / "cluster", 2) as cluster:
        options = {"scheduler": cluster.address, "directory": inputs, "as_paths": as_paths}
        assert run_client(relative, out, **options)[-1] == {"done": True}
    found = contents(inputs / out)
    assert sorted(found) == sorted(expected)
    # The root's attributes say how the inputs were given.
    assert [key for key in expected if found[key] != expected[key]] in ([], ["zarr.json"])


@pytest.mark.slow
def test_several_runs_on_one_cluster(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    outs = [tmp_path / f"out-{number}.zarr" for number in range(3)]
    with command_cluster(tmp_path / "cluster", 2) as cluster:
        clients = [start_client(paths, out, scheduler=cluster.address) for out in outs]
        for client in clients:
            events = finish_client(client)
            assert events[-1] == {"done": True}
            assert blocks_by_stage(events)["score unlabeled"] == (0, 10)
    for out in outs:
        assert_same_store(out, expected)


# Python runs it as it starts: daskal is not found then, installed or not.
WITHOUT_DASKAL = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "daskal":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["scheduler", "worker"])
def test_process_without_daskal_is_one_clear_error(
    paths: dict[str, str], tmp_path: Path, where: str
) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "sitecustomize.py").write_text(WITHOUT_DASKAL)
    without = {"PYTHONPATH": str(tmp_path / "without")}
    with command_cluster(tmp_path / "cluster", 1) as cluster:
        if where == "scheduler":
            port = free_port()
            address = f"tcp://127.0.0.1:{port}"
            cluster.spawn_listed(
                "bare", "scheduler", "--host", "127.0.0.1", "--port", str(port), **without
            )
        else:
            address = cluster.address
            cluster.add_worker("bare", **without)
            wait_until(lambda: len(cluster.worker_processes()) == 2)
            time.sleep(2)
        reported = run_client(paths, tmp_path / "out.zarr", scheduler=address)[-1]
    assert reported["error"] == "ClusterError"
    assert "(no daskal)" in reported["message"]
    assert not (tmp_path / "out.zarr").exists()


# ------------------------------------------------------------------------- separate networks

# Names and addresses of this process's own.
OWN = os.getpid() % 250
BRIDGE, NETWORK = f"dkbr{OWN}", f"10.231.{OWN}"


def ip(*arguments: str, check: bool = True) -> None:
    """Run one command of iproute2."""
    subprocess.run(["ip", *arguments], check=check, capture_output=True)


@pytest.fixture
def networks() -> Iterator[list[str]]:
    """Yield two network namespaces on one bridge, like two machines on one switch."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    names = [f"daskal-{OWN}-{number}" for number in range(2)]
    try:
        try:
            ip("link", "add", BRIDGE, "type", "bridge")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network may be made here: {error.stderr.decode().strip()}")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names):
            ip("netns", "add", name)
            inside, outside = f"dkin{number}", f"dkout{OWN}-{number}"
            ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
            ip("link", "set", outside, "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{number + 2}/24", "dev", inside)
            ip("-n", name, "link", "set", inside, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)
        ip("link", "delete", BRIDGE, check=False)


@contextlib.contextmanager
def separate_workers(directory: Path, names: list[str]) -> Iterator[CommandCluster]:
    """Start a scheduler here, and one worker in each network."""
    settings = {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
    }
    cluster = CommandCluster(directory)
    try:
        cluster.start(0, host=f"{NETWORK}.1", **settings)
        for number, name in enumerate(names):
            host = f"{NETWORK}.{number + 2}"
            cluster.add_worker(f"worker-{number}", network=name, host=host, **settings)
        yield cluster
    finally:
        cluster.stop()


@pytest.mark.slow
def test_worker_cut_off_from_the_network(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path, networks: list[str]
) -> None:
    """Each worker on a network of its own; one loses it in mid-run and is left behind."""
    out = tmp_path / "out.zarr"
    with separate_workers(tmp_path / "cluster", networks) as cluster:
        client = start_client(paths, out, scheduler=cluster.address, delay=0.2)
        wait_until(lambda: client.poll() is not None or num_records(out) >= 5)
        ip("-n", networks[0], "link", "set", "dkin0", "down")
        events = finish_client(client)
        assert events[-1] == {"done": True}
        assert_same_store(out, expected)
        ip("-n", networks[0], "link", "set", "dkin0", "up")
        time.sleep(3)
        assert_same_store(out, expected)
