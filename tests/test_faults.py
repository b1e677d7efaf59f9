"""What a run survives: killed workers, clients and schedulers, storage that fails or fills up.

Each fault has a short form here; those marked slow repeat it, or take longer. Nothing may hang: a
client that does not end is killed, and its test fails.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from tests.faultkit import (
    assert_same_store,
    blocks_by_stage,
    command_cluster,
    finish_client,
    forget,
    moto_server,
    num_records,
    reads,
    run_client,
    start_client,
    wait_until,
)
from tests.flakyproxy import flaky_proxy

# How often the slow tests repeat a fault: 50 for the figures in docs/failure.md.
REPEATS = int(os.environ.get("DASKAL_TEST_REPEATS", "3"))
BLOCKS = 40  # ten blocks in each of three reads of the labels and one of the pool

pytestmark = pytest.mark.timeout(max(600, 120 * REPEATS))


# ------------------------------------------------------------------------------ the client


def kill_and_resume(
    paths: dict[str, str], out: Path, moment: Callable[[], bool], **options: Any
) -> tuple[int, int]:
    """Kill -9 a client and resume in another; return blocks finished before and read after."""
    forget(paths)
    client = start_client(paths, out, delay=0.1, **options)
    wait_until(lambda: client.poll() is not None or moment())
    client.kill()
    client.communicate()
    finished = num_records(out)
    forget(paths)
    events = run_client(paths, out, resume=True, **options)
    assert events[-1] == {"done": True}
    read = reads(paths)
    assert read["labels"] == read["pred_probs"]
    for stage, (begun, ended) in blocks_by_stage(events).items():
        assert ended == 10, stage
        assert 0 <= begun <= 10, stage
    return finished, read["labels"] + read["pred_probs_unlabeled"]


@pytest.mark.slow
def test_killed_client_resumes(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """No finished block is read again, and none that is not finished is left out."""
    out = tmp_path / "out.zarr"
    finished, read = kill_and_resume(paths, out, lambda: num_records(out) >= 13)
    assert finished >= 13
    assert read == BLOCKS - finished
    assert_same_store(out, expected)


@pytest.mark.slow
def test_client_killed_at_random_moments(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    chance = random.Random(5)
    kept = []
    for repeat in range(REPEATS):
        out = tmp_path / f"out-{repeat}.zarr"
        # Some moments come before the store is there, some after the run has ended.
        progress, pause = chance.randrange(BLOCKS + 3), chance.uniform(0, 0.3)

        def moment(out: Path = out, progress: int = progress, pause: float = pause) -> bool:
            come = num_records(out) >= progress
            time.sleep(pause if come else 0)
            return come

        finished, read = kill_and_resume(paths, out, moment)
        whole = read == 0
        # Records are removed once the store says that it is finished.
        assert whole or read == BLOCKS - finished
        assert_same_store(out, expected)
        kept.append(BLOCKS if whole else finished)
    print(f"client kills: {REPEATS}, blocks finished before the kill: {sorted(kept)}")


# -------------------------------------------------------------------------------- workers


def run_while_killing(
    paths: dict[str, str], out: Path, cluster: Any, chance: random.Random, most: int = 500
) -> int:
    """Run a client while a random worker is killed every second; the number of kills.

    The next one is killed when the last is back, so that a machine under load gets on at all.
    """
    with Client(cluster.address, set_as_default=False) as watcher:
        watcher.wait_for_workers(len(cluster.workers), timeout=240)
        client = start_client(paths, out, scheduler=cluster.address, delay=0.1)
        wait_until(lambda: client.poll() is not None or num_records(out) > 0)
        kills = 0
        while client.poll() is None and kills < most:
            if len(watcher.nthreads()) == len(cluster.workers):
                kills += cluster.kill_one(chance)
            time.sleep(1)
        assert finish_client(client)[-1] == {"done": True}
    return kills


@pytest.mark.slow
def test_killed_workers_change_nothing(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    with command_cluster(tmp_path / "cluster", 2) as cluster:
        kills = run_while_killing(paths, tmp_path / "out.zarr", cluster, random.Random(1), most=2)
    assert kills > 0
    assert_same_store(tmp_path / "out.zarr", expected)


@pytest.mark.slow
def test_workers_killed_every_second(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    chance = random.Random(6)
    kills = []
    with command_cluster(tmp_path / "cluster", 3) as cluster:
        for repeat in range(REPEATS):
            out = tmp_path / f"out-{repeat}.zarr"
            kills.append(run_while_killing(paths, out, cluster, chance))
            assert_same_store(out, expected)
    print(f"runs with worker kills: {REPEATS}, kills in each: {kills}")


@pytest.mark.slow
def test_paused_worker_is_left_behind(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    """A stopped worker is given up after the scheduler's ``worker-ttl``; woken, it does no harm."""
    out = tmp_path / "out.zarr"
    # A worker under load may well be silent for some seconds while it imports.
    ttl = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s"}
    with command_cluster(tmp_path / "cluster", 2, **ttl) as cluster:
        client = start_client(paths, out, scheduler=cluster.address, delay=0.1)
        wait_until(lambda: client.poll() is not None or num_records(out) >= 5)
        paused = cluster.worker_processes()[0]
        paused.suspend()
        assert finish_client(client)[-1] == {"done": True}
        assert_same_store(out, expected)
        # Its nanny may have started another one instead.
        with contextlib.suppress(psutil.NoSuchProcess):
            paused.resume()
        time.sleep(3)
        assert_same_store(out, expected)


# ------------------------------------------------------------------------------ the cluster


@pytest.mark.slow
def test_killed_scheduler_is_an_error_and_the_run_resumes(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    with command_cluster(tmp_path / "cluster", 2) as cluster:
        client = start_client(paths, out, scheduler=cluster.address, delay=0.1)
        wait_until(lambda: client.poll() is not None or num_records(out) >= 5)
        assert cluster.scheduler is not None
        cluster.scheduler.kill()
        reported = finish_client(client)[-1]
    assert reported["error"] == "ClusterError"
    assert "connection to the scheduler was lost" in reported["message"]
    finished = num_records(out)
    forget(paths)
    assert run_client(paths, out, resume=True)[-1] == {"done": True}
    assert reads(paths)["labels"] + reads(paths)["pred_probs_unlabeled"] == BLOCKS - finished
    assert_same_store(out, expected)


# ------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no file system may be mounted here: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_full_disk_is_named_and_the_run_resumes(
    paths: dict[str, str], expected: dict[str, bytes], small_disk: Path
) -> None:
    out, ballast = small_disk / "out.zarr", small_disk / "ballast"
    ballast.write_bytes(bytes(2_700_000))
    reported = run_client(paths, out)[-1]
    assert reported["error"] == "StorageError"
    assert "No space left on device" in reported["message"]
    assert str(out) in reported["message"]
    ballast.unlink()
    finished = num_records(out)
    assert finished > 0
    forget(paths)
    assert run_client(paths, out, resume=True)[-1] == {"done": True}
    assert reads(paths)["labels"] + reads(paths)["pred_probs_unlabeled"] == BLOCKS - finished
    assert_same_store(out, expected)


# ---------------------------------------------------------------------------- object stores

S3_KEYS = {"key": "AKIATESTKEY000000000", "secret": "kept-to-itself"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as url:
        yield url


def s3_options(url: str) -> dict[str, Any]:
    return {**S3_KEYS, "endpoint_url": url, "skip_instance_cache": True}


def download(url: str, bucket: str, store: str) -> dict[str, bytes]:
    """Download every object of a store in a bucket."""
    import s3fs

    files = s3fs.S3FileSystem(**s3_options(url))
    root = f"{bucket}/{store}/"
    return {key.removeprefix(root): files.cat_file(key) for key in sorted(files.find(root))}


@pytest.mark.slow
def test_object_store_that_refuses_and_drops(
    paths: dict[str, str], expected: dict[str, bytes], endpoint: str
) -> None:
    import s3fs

    s3fs.S3FileSystem(**s3_options(endpoint)).mkdir("flaky")
    with flaky_proxy(endpoint, refuse_every=5, drop_every=17) as proxy:
        events = run_client(paths, "s3://flaky/out.zarr", storage_options=s3_options(proxy.url))
    assert events[-1] == {"done": True}
    print(f"{proxy.requests} requests, {proxy.refused} refused, {proxy.dropped} dropped")
    assert proxy.refused > 20
    assert proxy.dropped > 5
    found = download(endpoint, "flaky", "out.zarr")
    assert sorted(found) == sorted(expected)
    assert [key for key in expected if found[key] != expected[key]] == []
    assert all(S3_KEYS["secret"].encode() not in content for content in found.values())


@pytest.mark.slow
def test_object_store_that_forbids_is_reported_at_once(
    paths: dict[str, str], expected: dict[str, bytes], endpoint: str
) -> None:
    """In mid-run, with the rows; nothing is tried again, and no secret is shown."""
    import s3fs

    s3fs.S3FileSystem(**s3_options(endpoint)).mkdir("forbidden")
    out = "s3://forbidden/out.zarr"
    with flaky_proxy(endpoint, refuse_every=0, drop_every=0) as proxy:
        options = s3_options(proxy.url)
        client = start_client(paths, out, storage_options=options, delay=0.2)
        wait_until(lambda: client.poll() is not None or proxy.requests >= 120)
        proxy.forbid = True
        reported = finish_client(client)[-1]
        assert reported["error"] == "StorageError"
        assert "PermissionError" in reported["message"]
        assert S3_KEYS["secret"] not in reported["message"]
        proxy.forbid = False
        assert run_client(paths, out, storage_options=options, resume=True)[-1] == {"done": True}
    assert download(endpoint, "forbidden", "out.zarr") == expected
