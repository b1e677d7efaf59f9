"""Processes that can be killed: a cluster started by Dask's own commands, a client in a script.

``python -m tests.faultkit '{"labels": ..., "out": ...}'`` is one run of daskal over stored arrays,
on the cluster at ``scheduler`` or, without one, on threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import zarr

from tests.counting import CountingStore, counted_array
from tests.problems import Problem, make_problem

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("labels", "pred_probs", "pred_probs_unlabeled")
# Beside the count, each chunk is handed out after this many seconds: blocks last long enough to
# be interrupted.
DELAY = "DASKAL_TEST_DELAY"


class SlowStore(CountingStore):
    """A counting store that takes its time."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        if not key.endswith("zarr.json"):
            await asyncio.sleep(float(os.environ.get(DELAY, "0")))
        return await super().get(key, prototype, byte_range)


def slow_array(root: Path | str) -> zarr.Array:
    """Return the array under a path, read through a slow store."""
    return zarr.open_array(SlowStore(root, read_only=True), mode="r")


# ---------------------------------------------------------------------------------- inputs


def store_problem(directory: Path, problem: Problem, chunk_rows: int) -> dict[str, str]:
    """Write a problem's arrays, one chunk a block; their paths by name of the argument."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, values in zip(NAMES, (problem.labels, problem.pred_probs, problem.pool), strict=True):
        if values is None:
            continue
        paths[name] = str(directory / f"{name}.zarr")
        counted_array(paths[name], values, chunks=(chunk_rows, values.shape[1]))
    return paths


def make_inputs(directory: Path, num_rows: int = 40_000, num_pool: int = 40_000) -> dict[str, str]:
    """Write inputs of ten blocks each."""
    problem = make_problem(7, num_examples=num_rows, num_annotators=6, num_classes=3, pool=num_pool)
    return store_problem(directory, problem, 4096)


def reads(paths: dict[str, str]) -> dict[str, int]:
    """Return chunks read of each input."""
    return {name: sum(CountingStore(path).reads().values()) for name, path in paths.items()}


def forget(paths: dict[str, str]) -> None:
    """Begin to count anew."""
    for path in paths.values():
        CountingStore(path).forget()


# ------------------------------------------------------------------------------- the client


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process that can import daskal and the tests."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables}


def start_client(
    paths: dict[str, str], out: Path | str, *, directory: Path = ROOT, **options: Any
) -> subprocess.Popen[str]:
    """Start a run of daskal in its own process, which prints a line of JSON for each event."""
    delay = str(options.pop("delay", 0))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faultkit", json.dumps({**paths, "out": str(out), **options})],
        cwd=directory,
        env=environment(**{DELAY: delay}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def main(given: dict[str, Any]) -> None:
    """Run daskal as asked; print progress, and the error if there is one."""
    import daskal

    connected = connect(given)
    opened = str if given.pop("as_paths", False) else slow_array
    arrays = {name: opened(given.pop(name)) for name in NAMES if name in given}

    def tell(progress: Any) -> None:
        print(json.dumps(progress._asdict()), flush=True)

    with connected:
        try:
            daskal.run(**arrays, progress=tell, **given)
        except daskal.DaskalError as error:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)
            sys.exit(1)
    print(json.dumps({"done": True}), flush=True)


def connect(given: dict[str, Any]) -> Any:
    """Return a client of the scheduler, or of the cluster of a gateway, that was asked for."""
    scheduler, gateway = given.pop("scheduler", None), given.pop("gateway", None)
    if scheduler is not None:
        from distributed import Client

        return Client(scheduler)
    if gateway is not None:
        from dask_gateway import BasicAuth, Gateway

        auth = BasicAuth("tests", gateway["password"])
        return Gateway(gateway["address"], auth=auth).connect(gateway["name"]).get_client()
    return contextlib.nullcontext()


def finish_client(client: subprocess.Popen[str], timeout: float = 240) -> list[dict[str, Any]]:
    """Return what a client printed when it has ended; if it hangs, kill it and fail the test."""
    try:
        out, err = client.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        client.kill()
        out, err = client.communicate()
        raise AssertionError(f"the client hung:\n{out[-2000:]}\n{err[-4000:]}") from None
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    if client.returncode not in (0, 1) or not events:
        raise AssertionError(f"the client failed ({client.returncode}):\n{err[-4000:]}")
    return events


def run_client(
    paths: dict[str, str], out: Path | str, timeout: float = 240, **options: Any
) -> list[dict[str, Any]]:
    """Run a client to its end."""
    return finish_client(start_client(paths, out, **options), timeout)


# ------------------------------------------------------------------------------ the cluster


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Return whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """Run an S3 endpoint in its own process; yield its URL."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: server.poll() is not None or answers(port))
        assert server.poll() is None, "the S3 endpoint did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(20)


@dataclass
class CommandCluster:
    """A scheduler and workers, each a process of its own in a directory of its own."""

    directory: Path
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def spawn(
        self, name: str, *command: str, network: str | None = None, **variables: str
    ) -> subprocess.Popen[bytes]:
        """Start one of Dask's commands, perhaps in a network namespace."""
        within = [] if network is None else ["ip", "netns", "exec", network]
        home = self.directory / name
        home.mkdir(parents=True, exist_ok=True)
        with (home / "log").open("wb") as log:
            return subprocess.Popen(
                [*within, sys.executable, "-m", "dask", *command],
                cwd=home,
                env=environment(**variables),
                stdout=log,
                stderr=log,
            )

    def start(self, num_workers: int, *, host: str = "127.0.0.1", **variables: str) -> None:
        """Start the scheduler and its workers."""
        port = free_port()
        self.address = f"tcp://{host}:{port}"
        options = ("--host", host, "--port", str(port), "--no-dashboard")
        self.scheduler = self.spawn("scheduler", "scheduler", *options, **variables)
        for number in range(num_workers):
            self.add_worker(f"worker-{number}", **variables)

    def add_worker(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        memory_limit: int | str = 0,
        network: str | None = None,
        **variables: str,
    ) -> None:
        """Start one more worker."""
        options = ["--nthreads", "1", "--no-dashboard", "--host", host]
        options += ["--memory-limit", str(memory_limit)]
        options += ["--local-directory", str(self.directory / name)]
        self.spawn_listed(name, "worker", self.address, *options, network=network, **variables)

    def spawn_listed(
        self, name: str, *command: str, network: str | None = None, **variables: str
    ) -> None:
        """Start one of Dask's commands, to be ended with the cluster."""
        self.workers.append(self.spawn(name, *command, network=network, **variables))

    def worker_processes(self) -> list[psutil.Process]:
        """Return the processes that compute, the children of nannies."""
        found = []
        for worker in self.workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                nanny = psutil.Process(worker.pid)
                found += [
                    child for child in nanny.children() if "spawn_main" in str(child.cmdline())
                ]
        return found

    def kill_one(self, chance: random.Random) -> bool:
        """Kill -9 a random worker; return whether there was one."""
        processes = self.worker_processes()
        if not processes:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            chance.choice(processes).kill()
        return True

    def stop(self) -> None:
        """End every process."""
        for parent in [*self.workers, *([self.scheduler] if self.scheduler else [])]:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(parent.pid).children(recursive=True):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.send_signal(signal.SIGCONT)
                        child.kill()
            parent.kill()
            parent.wait(timeout=20)


@contextlib.contextmanager
def command_cluster(
    directory: Path, num_workers: int = 2, **variables: str
) -> Iterator[CommandCluster]:
    """Yield a cluster for one test."""
    cluster = CommandCluster(directory)
    try:
        cluster.start(num_workers, **variables)
        yield cluster
    finally:
        cluster.stop()


# ---------------------------------------------------------------------------------- stores


def contents(store: Path | str) -> dict[str, bytes]:
    """Return every file of a store."""
    root = Path(store)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def assert_same_store(found: Path | str, expected: dict[str, bytes]) -> None:
    """Assert that two stores are equal bit for bit."""
    given = contents(found)
    assert sorted(given) == sorted(expected)
    assert [key for key in expected if given[key] != expected[key]] == []


def wait_until(condition: Any, seconds: float = 120) -> None:
    """Wait for a condition to hold; the limit is for machines under load."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def num_records(out: Path | str) -> int:
    """Return finished blocks of an unfinished store, over all stages."""
    return len(list(Path(out).glob("records/*/*.npz")))


def blocks_by_stage(events: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return blocks done at the beginning and at the end of each stage."""
    seen: dict[str, list[int]] = {}
    for event in events:
        if "stage" in event:
            seen.setdefault(event["stage"], []).append(event["done"])
    return {stage: (done[0], done[-1]) for stage, done in seen.items()}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
