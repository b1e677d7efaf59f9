"""How far a pass has come, on whatever scheduler runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import dask
from dask.callbacks import Callback
from dask.system import CPU_COUNT

from daskal.errors import ClusterError, LostWorkersError
from daskal.version import __version__


class Progress(NamedTuple):
    """State of one pass over blocks."""

    stage: str
    done: int
    total: int
    rows: int
    total_rows: int


Report = Callable[[Progress], None]


class Listener:
    """Counts the blocks of one graph as they are done, each once however often it is tried."""

    def __init__(
        self,
        stage: str,
        row_chunks: tuple[int, ...],
        report: Report,
        done: Collection[int] = (),
    ) -> None:
        self.stage = stage
        self.row_chunks = row_chunks
        self.report = report
        self.seen = set(done)
        self.rows = sum(row_chunks[block] for block in done)
        self.tell()

    def tell(self) -> None:
        """Report where things stand."""
        total = len(self.row_chunks)
        self.report(Progress(self.stage, len(self.seen), total, self.rows, sum(self.row_chunks)))

    def count(self, block: int) -> None:
        """One more block is done."""
        if block not in self.seen:
            self.seen.add(block)
            self.rows += self.row_chunks[block]
            self.tell()

    def finish(self) -> None:
        """Every block is done, whether its event arrived or not."""
        if len(self.seen) < len(self.row_chunks):
            self.seen.update(range(len(self.row_chunks)))
            self.rows = sum(self.row_chunks)
            self.tell()


def active_client() -> Any | None:
    """The client of the distributed cluster in use, if there is one."""
    from distributed import default_client

    if dask.config.get("scheduler", None) not in (None, "dask.distributed", "distributed"):
        return None
    try:
        return default_client()
    except ValueError:
        return None


def worker_threads() -> int:
    """Tasks that one worker of the active scheduler runs at once; the most of any worker."""
    client = active_client()
    if client is not None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return max((int(worker["nthreads"]) for worker in workers), default=1)
    scheduler = dask.config.get("scheduler", None)
    if scheduler in ("sync", "synchronous", "single-threaded", "processes", "multiprocessing"):
        return 1
    pool = dask.config.get("pool", None)
    workers = dask.config.get("num_workers", None) or getattr(pool, "_max_workers", None)
    return int(workers or CPU_COUNT)


# Workers that do not answer by then are looked at again by the first task that runs on them.
PROBE_SECONDS = 10.0


def check_workers() -> None:
    """Refuse workers of the active cluster that lack daskal or have another version of it.

    Raises
    ------
    ClusterError
    """
    client = active_client()
    if client is None:
        return

    def find_version() -> str | None:
        # Travels by value: a worker without daskal could not load a function of this module.
        import importlib

        try:
            return str(importlib.import_module("daskal.version").__version__)
        except ImportError:
            return None

    async def ask() -> Any:
        return await client.run(find_version, on_error="ignore")

    try:
        found = client.sync(ask, callback_timeout=PROBE_SECONDS)
    except TimeoutError:
        return
    wrong = {address: version for address, version in found.items() if version != __version__}
    if wrong:
        listed = ", ".join(
            f"{address} ({'no daskal' if version is None else version})"
            for address, version in sorted(wrong.items())[:10]
        )
        raise ClusterError(
            f"expected daskal {__version__} on every worker, as on the client; {len(wrong)} of "
            f"{len(found)} worker(s) differ: {listed}. Install daskal {__version__} there, or put "
            "it on the workers' PYTHONPATH."
        )


def announce(name: str, block: int) -> None:
    """Tell whoever listens to graph ``name`` that a block is done (on a distributed worker)."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return
    worker.log_event(name, block)


def compute(task: Any, name: str, listener: Listener | None) -> Any:
    """Compute a task whose graph has the block tasks ``(name, i)``, reporting as they end."""
    client = active_client()
    if client is not None:
        return compute_on_cluster(client, task, name, listener)
    if listener is None:
        return task.compute()

    def posttask(key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and key[0] == name:
            listener.count(key[1])

    with Callback(posttask=posttask):
        result = task.compute()
    listener.finish()
    return result


def compute_on_cluster(client: Any, task: Any, name: str, listener: Listener | None) -> Any:
    """Compute on a distributed cluster."""
    from distributed.scheduler import KilledWorker

    def handle(event: tuple[Any, Any]) -> None:
        if listener is not None:
            listener.count(event[1])

    if listener is not None:
        client.subscribe_topic(name, handle)
    try:
        result = client.compute(task).result()
    except KilledWorker as error:
        raise LostWorkersError(
            "workers died again and again on the same block, most often for want of memory: "
            f"{error}. Give workers more memory, or use fewer threads a worker."
        ) from error
    finally:
        if listener is not None:
            client.unsubscribe_topic(name)
    if listener is not None:
        listener.finish()
    return result
