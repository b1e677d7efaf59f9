"""Jobs of a real SLURM: ``ci/slurm python -m pytest -m cluster tests/clusters/test_slurm.py``."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.kit import make_demo, run_example
from tests.faultkit import (
    DELAY,
    ROOT,
    assert_same_store,
    finish_client,
    num_records,
    start_client,
    wait_until,
)

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip without a SLURM that is there for tests; jobs inherit the environment."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    if "DASKAL_TEST_SLURM" not in os.environ:
        pytest.skip("not started by ci/slurm, which brings a SLURM of its own")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv(DELAY, "0.1")


@contextlib.contextmanager
def slurm_cluster(directory: Path) -> Iterator[Any]:
    """Yield a cluster whose workers are jobs of one thread each."""
    from dask_jobqueue import SLURMCluster

    with SLURMCluster(
        cores=1,
        processes=1,
        memory="1GiB",
        walltime="00:10:00",
        interface="lo",
        local_directory=str(directory),
        log_directory=str(directory / "logs"),
        scheduler_options={"dashboard": False},
    ) as cluster:
        yield cluster


def running_jobs() -> list[str]:
    """Return ids of the jobs that run."""
    command = ["squeue", "--noheader", "--states=R", "--format=%i"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_the_recipe_gives_the_local_store(tmp_path: Path) -> None:
    expected = make_demo(tmp_path)
    printed = run_example("slurm", "--folder", str(tmp_path), "--interface", "lo")
    assert "2,000" in printed
    assert_same_store(tmp_path / "scores.zarr", expected)
    assert len(list((tmp_path / "logs").glob("dask-worker-*.err"))) == 2
    wait_until(lambda: not running_jobs())


def test_a_killed_job_changes_nothing(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """The other job computes what is left."""
    out = tmp_path / "out.zarr"
    with slurm_cluster(tmp_path / "jobs") as cluster:
        cluster.scale(jobs=2)
        cluster.wait_for_workers(2, timeout=120)
        client = start_client(paths, out, scheduler=cluster.scheduler_address)
        wait_until(lambda: client.poll() is not None or num_records(out) >= 5)
        assert client.poll() is None
        first, second = running_jobs()
        subprocess.run(["scancel", "--signal=KILL", "--full", first], check=True)
        wait_until(lambda: running_jobs() == [second])
        assert finish_client(client)[-1] == {"done": True}
    assert_same_store(out, expected)


def test_all_jobs_cancelled_and_others_submitted(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    with slurm_cluster(tmp_path / "jobs") as cluster:
        cluster.adapt(minimum_jobs=2, maximum_jobs=2)
        cluster.wait_for_workers(2, timeout=120)
        client = start_client(paths, out, scheduler=cluster.scheduler_address)
        wait_until(lambda: client.poll() is not None or num_records(out) >= 5)
        assert client.poll() is None
        before = running_jobs()
        subprocess.run(["scancel", *before], check=True)
        assert finish_client(client)[-1] == {"done": True}
        assert set(running_jobs()) - set(before)
    assert_same_store(out, expected)
