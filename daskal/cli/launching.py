"""Schedulers of a command: a given cluster, Dask's local schedulers, or its own cluster."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from daskal.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

LOCAL_SCHEDULERS = ("threads", "processes")
# After so many seconds, a lost interrupt comes again.
AGAIN_SECONDS = 0.5


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back from threads and processes started here; the caller gets it at the end.

    A terminal interrupts the workers together with the command. The command ends them itself;
    interrupted, each of them would die with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    # Started later, it would let the signal through again in the thread that starts the workers.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_no_farewell(record: logging.LogRecord) -> bool:
    """Return whether a log record is more than a lost connection to a cluster that closes."""
    error = record.exc_info[0] if record.exc_info else None
    return error is None or error.__name__ != "CommClosedError"


def is_no_failure(record: logging.LogRecord) -> bool:
    """Return whether a log record is more than a failed task, which the command reports itself."""
    return not str(record.msg).startswith("Compute Failed")


def dask_setup(worker: object) -> None:
    """Set up a worker of the embedded cluster (Dask calls a preloaded module's function so)."""
    logger = logging.getLogger("distributed.worker")
    logger.addFilter(is_no_farewell)
    logger.addFilter(is_no_failure)


@contextmanager
def embedded(workers: int | None, memory_limit: int | None) -> Iterator[Client]:
    """Start a cluster of workers reachable from this machine only; close it at the end."""
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    with interrupts_held():
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tcp",
            dashboard_address="127.0.0.1:0",
            memory_limit="auto" if memory_limit is None else memory_limit,
            silence_logs=logging.ERROR,
            preload=[__name__],
        )
    disabled = logging.root.manager.disable
    try:
        with cluster, Client(cluster) as client:
            try:
                yield client
            except BaseException:
                # The failure itself is reported; closing a cluster at work only logs consequences.
                logging.disable(logging.ERROR)
                raise
    finally:
        logging.disable(disabled)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield a client of a cluster that is already running and keeps running afterwards."""
    from distributed import Client

    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"expected a Dask scheduler at {address!r}, could not connect: {error}. Check the "
            "address and that the scheduler runs."
        ) from error
    with client:
        yield client


@contextmanager
def local(choice: str, workers: int | None) -> Iterator[None]:
    """Use one of Dask's schedulers without a cluster."""
    import dask

    with dask.config.set(scheduler=choice, num_workers=workers):
        yield None


@contextmanager
def lasting_interrupts() -> Iterator[None]:
    """Make sure that no Ctrl-C gets lost.

    Python drops an exception that is raised in a destructor, such as that of one of Dask's futures:
    until it has left this context, an interrupt comes again and again.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or not hasattr(
        signal, "setitimer"
    ):
        yield
        return
    alarm, report = signal.getsignal(signal.SIGALRM), sys.unraisablehook

    def report_others(dropped: sys.UnraisableHookArgs) -> None:
        if dropped.exc_type is not KeyboardInterrupt:
            report(dropped)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    sys.unraisablehook = report_others
    try:
        yield
    finally:
        sys.unraisablehook = report
        if signal.getsignal(signal.SIGALRM) is interrupt:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def scheduler(
    choice: str | None, workers: int | None, memory_limit: int | None
) -> Iterator[Client | None]:
    """Make a scheduler active: an address, "threads", "processes", or None for an embedded one."""
    chosen: AbstractContextManager[Client | None]
    if choice is None:
        chosen = embedded(workers, memory_limit)
    elif choice in LOCAL_SCHEDULERS:
        chosen = local(choice, workers)
    else:
        chosen = connected(choice)
    with chosen as client, lasting_interrupts():
        yield client


def process_peak() -> int | None:
    """Return the peak memory of this process in bytes, None where it is not known."""
    try:
        # On Linux a new program inherits the value of getrusage: a worker would start with its
        # parent's peak.
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def workers_peak(client: Client) -> int | None:
    """Return the highest peak memory of any worker process, in bytes."""
    peaks = [peak for peak in client.run(process_peak).values() if peak is not None]
    return max(peaks, default=None)


def workers_limit(client: Client) -> int | None:
    """Return the lowest memory limit of any worker in bytes, None where there is none."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((worker["memory_limit"] for worker in workers), default=None) or None
