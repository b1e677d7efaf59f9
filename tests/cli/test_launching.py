"""What a command runs on, and how it is interrupted."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time

import dask
import pytest
from distributed import Client, default_client

from daskal.cli import launching
from daskal.errors import ClusterError

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]


def test_an_interrupt_lost_in_a_destructor_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Future:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    class Other:
        def __del__(self) -> None:
            raise KeyError

    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: dropped.append(found.exc_type))
    monkeypatch.setattr(launching, "AGAIN_SECONDS", 0.05)
    before, passed = handlers(), []

    @launching.lasting_interrupts()
    def work() -> None:
        Other()
        Future()
        passed.append("the destructor")
        time.sleep(5)
        passed.append("the sleep")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert passed == ["the destructor"]
    assert dropped == [KeyError]
    assert handlers() == before
    time.sleep(0.1)  # Nothing comes after it has arrived.


def test_interrupts_are_left_as_they_were() -> None:
    before = handlers()
    with launching.lasting_interrupts():
        assert handlers()[0] != before[0]
    assert handlers() == before


def test_interrupts_that_are_ignored_stay_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with launching.lasting_interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_held_interrupts_arrive_at_the_end() -> None:
    passed = []

    @launching.interrupts_held()
    def work() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        passed.append("held")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert passed == ["held"]


def test_local_schedulers_are_set_and_put_back() -> None:
    with launching.scheduler("threads", 3, None) as client:
        assert client is None
        assert (dask.config.get("scheduler"), dask.config.get("num_workers")) == ("threads", 3)
    assert dask.config.get("scheduler", None) != "threads"


def test_embedded_cluster_is_as_asked_and_reachable_from_here_alone() -> None:
    with launching.scheduler(None, 1, 300 * 2**20) as client:
        assert isinstance(client, Client)
        assert default_client() is client
        info = client.scheduler_info()
        (worker,) = info["workers"].values()
        assert (worker["nthreads"], worker["memory_limit"]) == (1, 300 * 2**20)
        assert info["address"].startswith("tcp://127.0.0.1:")
        assert worker["nanny"].startswith("tcp://127.0.0.1:")
        assert launching.workers_limit(client) == 300 * 2**20
        peak = launching.workers_peak(client)
        assert peak is not None
        assert 20 * 2**20 < peak < 2**30
    with pytest.raises(ValueError, match="No client"):
        default_client()


def test_logs_are_as_before_after_a_failure() -> None:
    with pytest.raises(ClusterError), launching.scheduler(None, 1, None):
        raise ClusterError("of some kind")
    assert logging.root.manager.disable == 0


def test_only_lost_connections_are_kept_quiet() -> None:
    def record(error: type[Exception] | None) -> logging.LogRecord:
        found = None if error is None else (error, error(), None)
        return logging.LogRecord("distributed.worker", logging.ERROR, "", 0, "x", (), found)

    class CommClosedError(OSError):
        pass

    kept = [launching.is_no_farewell(record(kind)) for kind in (None, OSError, CommClosedError)]
    assert kept == [True, True, False]


LARGE_PARENT = """
import subprocess, sys
held = b"x" * 2**29
child = "from daskal.cli.launching import process_peak; print(process_peak())"
subprocess.run([sys.executable, "-c", child], check=True)
"""


def test_a_peak_is_a_process_own_and_not_its_parents() -> None:
    command = [sys.executable, "-c", LARGE_PARENT]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 2**20 < int(found.stdout) < 2**28


def test_workers_leave_a_failure_to_the_command() -> None:
    records = [
        logging.LogRecord("distributed.worker", logging.ERROR, "", 0, text, (), None)
        for text in ("Compute Failed\nKey:       %s", "something else")
    ]
    assert [launching.is_no_failure(record) for record in records] == [False, True]
