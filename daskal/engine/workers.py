"""The workers of the active scheduler: memory, threads, versions, and what goes wrong there."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import functools
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
from dask.system import CPU_COUNT

from daskal.errors import ClusterError, LostWorkersError
from daskal.version import __version__

# --- memory that is freed and taken again, tile after tile -------------------------------------

# Most free memory that a thread keeps: enough for the arrays of a tile, or for a storage chunk,
# encoded and decoded (measured).
KEPT_BYTES = 32 * 2**20
# Arrays beyond this size, as blocks and large chunks are, go back to the system in any case.
LARGEST_KEPT = 16 * 2**20

# Parameters of mallopt, as glibc's malloc.h numbers them.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep what one tile has freed for the next one.

    Pages that are given back and taken again are cleared and mapped anew, which costs as much as
    the computation itself. By default glibc keeps twice the largest array it has seen freed; in
    processes of Dask's nanny, which sets ``MALLOC_TRIM_THRESHOLD_``, it keeps nothing by itself.
    """
    np.empty(KEPT_BYTES // 2, dtype=np.uint8)
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)


# --- the scheduler ----------------------------------------------------------------------------


def active_client() -> Any | None:
    """Return the client of the distributed cluster in use, if there is one."""
    from distributed import default_client

    if dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None
    try:
        client = default_client()
    except ValueError:
        return None
    if client.asynchronous:
        raise ClusterError(
            "expected a client that can be waited for, got an asynchronous one. Use Client() "
            "without asynchronous=True, or dask.config.set(scheduler='threads') around the call."
        )
    return client


def in_task() -> bool:
    """Return whether this is a task on a distributed worker."""
    # A thread of a worker has the key of the task that it runs.
    state: Any = importlib.import_module("distributed.worker").__dict__["thread_state"]
    return getattr(state, "key", None) is not None


def has_seceded() -> bool:
    """Return whether the worker may already run another task in place of this one."""
    # ``worker_client()`` and ``secede()`` see to that; Dask's error of a second time is a KeyError.
    state: Any = importlib.import_module("distributed.threadpoolexecutor").__dict__["thread_state"]
    return not getattr(state, "proceed", True)


@contextlib.contextmanager
def waiting_for_tasks() -> Iterator[None]:
    """Let another task run in place of this one while it waits for tasks of its own.

    Otherwise a worker with one thread would wait forever.
    """
    if not in_task() or has_seceded():
        yield
        return
    from distributed import rejoin, secede

    secede()
    try:
        yield
    finally:
        rejoin()


def worker_threads() -> int:
    """Return how many tasks a worker of the active scheduler runs at once, at most."""
    client = active_client()
    if client is not None:
        with cluster_errors():
            return max(client.nthreads().values(), default=1)
    scheduler = dask.config.get("scheduler", None)
    if scheduler in ("sync", "synchronous", "single-threaded", "processes", "multiprocessing"):
        return 1
    pool = dask.config.get("pool", None)
    workers = dask.config.get("num_workers", None) or getattr(pool, "_max_workers", None)
    return int(workers or CPU_COUNT)


def machine_memory() -> int:
    """Return the memory that this process may take, in bytes: the machine's, or its container's."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)


def least_memory() -> int | None:
    """Return the memory of the smallest worker in bytes, the machine's without a cluster."""
    client = active_client()
    if client is None:
        return machine_memory()
    with cluster_errors():
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return min((worker["memory_limit"] for worker in workers), default=None) or None


# --- versions ---------------------------------------------------------------------------------

# Processes that do not answer in time are checked by the first task that runs on them.
PROBE_SECONDS = 10.0
NAMED = 10


def check_cluster() -> None:
    """Refuse a cluster with processes that lack daskal or have another version of it.

    Raises
    ------
    ClusterError
    """
    client = active_client()
    if client is None or in_task():
        # A worker that runs this has this version, and each task checks its own again.
        return
    with cluster_errors():
        wrong = {
            address: version
            for address, version in ask_versions(client).items()
            if version != __version__
        }
    if not wrong:
        return
    listed = ", ".join(
        f"{address} ({'no daskal' if version is None else version})"
        for address, version in sorted(wrong.items())[:NAMED]
    )
    more = f" and {len(wrong) - NAMED:,} more" if len(wrong) > NAMED else ""
    raise ClusterError(
        f"expected daskal {__version__} on the scheduler and on every worker, as on the client; "
        f"not so: {listed}{more}. Install daskal {__version__} there and start them again."
    )


def ask_versions(client: Any) -> dict[str, str | None]:
    """Return the version of daskal in each process of a cluster, None where there is none."""

    def find_version() -> str | None:
        # Pickled by value: a process without daskal could not import a function of this module.
        import importlib

        try:
            return str(importlib.import_module("daskal.version").__version__)
        except ImportError:
            return None

    async def ask() -> dict[str, str | None]:
        found: dict[str, str | None] = {
            "the scheduler": await client.run_on_scheduler(find_version)
        }
        found.update(await client.run(find_version, on_error="ignore"))
        return found

    try:
        versions: dict[str, str | None] = client.sync(ask, callback_timeout=PROBE_SECONDS)
    except TimeoutError:
        return {}
    return versions


# --- errors -----------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster_errors() -> Iterator[None]:
    """Turn the errors of a cluster into daskal's own, which say what to do."""
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise LostWorkersError(
            "workers died again and again on the same task, most often for want of memory: "
            f"{error}. Give workers more memory, or use fewer threads per worker."
        ) from error
    except (concurrent.futures.CancelledError, CommClosedError) as error:
        raise ClusterError(
            "the connection to the scheduler was lost, or its tasks were cancelled. Check that the "
            "scheduler runs.",
            advice="A run into a store goes on where it was with {resume=True}.",
        ) from error
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "daskal":
            raise
        raise ClusterError(
            f"a worker that joined meanwhile lacks daskal ({error}). Install daskal {__version__} "
            "on every worker."
        ) from error
