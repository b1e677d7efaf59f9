"""The job that all tasks of a stage share, and how a worker runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daskal.engine.progress import RowCounter, announce
from daskal.engine.workers import keep_freed_memory
from daskal.errors import BlockError, ClusterError, DaskalError
from daskal.inputs.readers import Reader
from daskal.method.values import Block
from daskal.storage.redaction import explain, showable
from daskal.version import __version__


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every task of a stage does; sent to the workers once.

    With a ``topic``, each task announces there that it is done, with the rows that ``count_rows``
    finds in its result.
    """

    function: Callable[..., Any]
    options: dict[str, Any]
    topic: str | None = None
    count_rows: RowCounter | None = None
    version: str = __version__

    def run(self, number: int, *arguments: Any) -> Any:
        """Return the result of task ``number``."""
        return self.function(*arguments, **self.options)


def run_task(job: Job, number: int, *arguments: Any) -> Any:
    """Run a job on the arguments of one task (the task of the graph)."""
    if job.version != __version__:
        raise ClusterError(
            f"expected daskal {job.version} on every worker, as on the client, got {__version__}. "
            "Install one version everywhere."
        )
    result = job.run(number, *arguments)
    if job.topic is not None:
        announce(job.topic, number, None if job.count_rows is None else job.count_rows(result))
    return result


# --- blocks of rows ---------------------------------------------------------------------------


class BlockRecords(Protocol):
    """A place that keeps the states of finished blocks."""

    def put(self, block: int, state: Any) -> None:
        """Keep the state of a block that is finished."""

    def get(self, block: int) -> Any:
        """Return the state of a finished block."""

    def finished(self) -> frozenset[int]:
        """Return the finished blocks."""

    def clear(self) -> None:
        """Remove all states."""


@dataclass(frozen=True, kw_only=True)
class BlockJob(Job):
    """What every task of a stage does with its block of rows."""

    readers: tuple[Reader, ...]
    has_labels: bool
    records: BlockRecords | None = None

    def run(self, number: int, *arguments: Any) -> Any:
        """Return the result for a block; ``arguments`` are its rows and those of each reader."""
        keep_freed_memory()
        start, stop, given = arguments
        result = self.compute(start, stop, given)
        if self.records is not None:
            self.records.put(number, result)
        return result

    def compute(self, start: int, stop: int, given: Sequence[Any]) -> Any:
        """Read the rows ``start:stop`` of every source and compute."""
        try:
            arrays = [
                reader(argument, start, stop)
                for reader, argument in zip(self.readers, given, strict=True)
            ]
            labels = arrays.pop(0) if self.has_labels else None
            probs = [model for array in arrays for model in (array if array.ndim == 3 else [array])]
            return self.function(Block(labels, probs, start), **self.options)
        except DaskalError:
            raise
        except Exception as error:
            names = ", ".join(reader.name for reader in self.readers)
            raise BlockError(
                f"rows {start:,} to {stop:,} of {names} failed: {explain(error)}"
            ) from showable(error)


def read_record(job: BlockJob, block: int) -> Any:
    """Return the state of a block that an earlier run has finished (the task of the graph)."""
    assert job.records is not None
    return job.records.get(block)
