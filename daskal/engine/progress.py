"""Tasks computed on whatever scheduler is active, and how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import Delayed

from daskal.engine.workers import active_client, cluster_errors, waiting_for_tasks


class Progress(NamedTuple):
    """How far one stage of work has come: the argument of a ``progress`` callback.

    Attributes
    ----------
    stage : str
        Name of the stage. The tasks on Dask's dashboard are named after it: those of
        ``"score unlabeled"`` are called ``daskal-score-unlabeled``.
    done, total : int
        Finished blocks, and all blocks.
    rows, total_rows : int
        Their rows; ``total_rows`` is 0 while it is unknown, as when votes are first read.

    Examples
    --------
    >>> import tempfile, numpy as np, daskal
    >>> out, reports = tempfile.mkdtemp() + "/scores.zarr", []
    >>> run = daskal.run(
    ...     pred_probs_unlabeled=np.full((8, 2), 0.5), out=out, progress=reports.append
    ... )
    >>> reports[-1]
    Progress(stage='score unlabeled', done=1, total=1, rows=8, total_rows=8)
    """

    stage: str
    done: int
    total: int
    rows: int
    total_rows: int


ProgressCallback = Callable[[Progress], None]
RowCounter = Callable[[Any], int]


class Steps(NamedTuple):
    """The tasks ``(name, i)`` of a graph that make up the progress of a stage.

    Attributes
    ----------
    stage, name : str
    rows : tuple of int
        Rows of each step; zeros where ``count_rows`` finds them in what a step returns.
    done : collection of int
        Steps that were finished before.
    count_rows : callable, optional
    """

    stage: str
    name: str
    rows: tuple[int, ...]
    done: Collection[int] = ()
    count_rows: RowCounter | None = None


class StepCounter:
    """Counter of finished steps, each counted once however often it is tried."""

    def __init__(self, steps: Steps, report: ProgressCallback) -> None:
        self.steps = steps
        self.report = report
        self.seen = set(steps.done)
        self.rows = sum(steps.rows[step] for step in steps.done)
        self.tell()

    def tell(self) -> None:
        """Report the progress so far."""
        stage, rows = self.steps.stage, self.steps.rows
        self.report(Progress(stage, len(self.seen), len(rows), self.rows, sum(rows)))

    def count(self, step: int, counted: int | None = None) -> None:
        """Count one more step; ``counted`` are its rows where they were not known before."""
        if step not in self.seen:
            self.seen.add(step)
            self.rows += self.steps.rows[step] if counted is None else counted
            self.tell()

    def finish(self) -> None:
        """Report that every step is done, whether or not its event arrived."""
        if len(self.seen) < len(self.steps.rows):
            self.seen.update(range(len(self.steps.rows)))
            self.rows = max(self.rows, sum(self.steps.rows))
            self.tell()

    def posttask(self, key: Any, result: Any, *_: Any) -> None:
        """Count a task that one of Dask's local schedulers has finished (called by Dask)."""
        if isinstance(key, tuple) and key[0] == self.steps.name:
            count = self.steps.count_rows
            self.count(key[1], None if count is None else count(result))

    def handle(self, event: tuple[Any, tuple[int, int | None]]) -> None:
        """Count a step that a worker has announced (called by Dask's client)."""
        self.count(*event[1])


def announce(name: str, step: int, counted: int | None = None) -> None:
    """Announce to the listeners of graph ``name`` that a step is done (on a distributed worker)."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return
    worker.log_event(name, (step, counted))


def compute_steps(
    tasks: Sequence[Delayed], steps: Steps, progress: ProgressCallback | None = None
) -> list[Any]:
    """Return what the tasks compute, now, on whatever scheduler is active.

    On a distributed cluster, ``progress`` is called only for steps whose tasks announce that they
    are done.
    """
    counter = None if progress is None else StepCounter(steps, progress)
    client = active_client()
    if client is not None:
        results = compute_on_cluster(client, tasks, counter)
    elif counter is None:
        results = list(compute(*tasks))
    else:
        with Callback(posttask=counter.posttask):
            results = list(compute(*tasks))
    if counter is not None:
        counter.finish()
    return results


def compute_on_cluster(
    client: Any, tasks: Sequence[Delayed], counter: StepCounter | None
) -> list[Any]:
    """Compute on a distributed cluster."""
    with cluster_errors(), waiting_for_tasks():
        if counter is not None:
            client.subscribe_topic(counter.steps.name, counter.handle)
        try:
            futures = client.compute(list(tasks))
            try:
                return [future.result() for future in futures]
            finally:
                # An interrupt's traceback would keep the futures alive, and their tasks running.
                for future in futures:
                    future.release()
        finally:
            if counter is not None and client.status == "running":
                client.unsubscribe_topic(counter.steps.name)
