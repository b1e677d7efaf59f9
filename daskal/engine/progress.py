"""How far a pass has come, on whatever scheduler runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from dask.callbacks import Callback

from daskal.engine.workers import active_client, cluster_errors


class Progress(NamedTuple):
    """How far one pass over blocks has come, as :func:`daskal.run` tells its ``progress``.

    Attributes
    ----------
    stage : str
        What is being done.
    done, total : int
        Blocks that are finished, and all.
    rows, total_rows : int
        Their rows.

    Examples
    --------
    >>> import tempfile, numpy as np, daskal
    >>> out, told = tempfile.mkdtemp() + "/scores.zarr", []
    >>> run = daskal.run(
    ...     pred_probs_unlabeled=np.full((8, 2), 0.5), out=out, progress=told.append
    ... )
    >>> told[-1]
    Progress(stage='score unlabeled', done=1, total=1, rows=8, total_rows=8)
    """

    stage: str
    done: int
    total: int
    rows: int
    total_rows: int


ProgressCallback = Callable[[Progress], None]


class BlockProgress:
    """Counts the blocks of one graph as they are done, each once however often it is tried."""

    def __init__(
        self,
        stage: str,
        row_chunks: tuple[int, ...],
        report: ProgressCallback,
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


def announce(name: str, block: int) -> None:
    """Tell whoever listens to graph ``name`` that a block is done (on a distributed worker)."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return
    worker.log_event(name, block)


def compute_blocks(task: Any, name: str, listener: BlockProgress | None) -> Any:
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


def compute_on_cluster(client: Any, task: Any, name: str, listener: BlockProgress | None) -> Any:
    """Compute on a distributed cluster."""

    def handle(event: tuple[Any, Any]) -> None:
        if listener is not None:
            listener.count(event[1])

    if listener is not None:
        client.subscribe_topic(name, handle)
    try:
        with cluster_errors():
            future = client.compute(task)
            try:
                result = future.result()
            finally:
                # An interrupt's traceback would keep the future, and its tasks at work.
                future.release()
    finally:
        if listener is not None and client.status == "running":
            client.unsubscribe_topic(name)
    if listener is not None:
        listener.finish()
    return result
