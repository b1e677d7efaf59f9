"""Blocks of rows as tasks: one task reads what it needs of its block and computes."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from daskal import planning
from daskal.allocation import keep_freed_memory
from daskal.errors import BlockError, ClusterError, DaskalError, InputError
from daskal.progress import announce
from daskal.redaction import explain, showable
from daskal.sources import Reader, Source
from daskal.statistics import Block
from daskal.version import __version__

# More tasks than that no scheduler holds; a petabyte of probabilities has fewer.
MAX_BLOCKS = 2**23

logger = logging.getLogger("daskal")


class Ledger(Protocol):
    """Keeps what the tasks of finished blocks returned."""

    def put(self, block: int, state: Any) -> None:
        """Keep the state of a block that is finished."""

    def get(self, block: int) -> Any:
        """The state of a finished block."""

    def finished(self) -> frozenset[int]:
        """The finished blocks."""


@dataclass(frozen=True)
class BlockJob:
    """What is done to every block: it travels to the workers once."""

    function: Callable[..., Any]
    options: dict[str, Any]
    readers: tuple[Reader, ...]
    has_labels: bool
    topic: str | None = None
    ledger: Ledger | None = None
    version: str = __version__

    def run(self, start: int, stop: int, arguments: Sequence[Any]) -> Any:
        """Read the rows ``start:stop`` of every source and compute."""
        try:
            arrays = [
                reader(argument, start, stop)
                for reader, argument in zip(self.readers, arguments, strict=True)
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


def run_block(job: BlockJob, block: int, start: int, stop: int, arguments: Sequence[Any]) -> Any:
    """Run the job on one block (the task of the graph)."""
    if job.version != __version__:
        raise ClusterError(
            f"expected daskal {job.version} on every worker, as on the client, got {__version__}. "
            "Install one version everywhere."
        )
    keep_freed_memory()
    result = job.run(start, stop, arguments)
    if job.ledger is not None:
        job.ledger.put(block, result)
    if job.topic is not None:
        announce(job.topic, block)
    return result


def read_record(job: BlockJob, block: int) -> Any:
    """The state of a block that an earlier run has finished (the task of the graph)."""
    assert job.ledger is not None
    return job.ledger.get(block)


@dataclass(frozen=True)
class RowBlocks:
    """Row-aligned sources and where their rows are cut."""

    sources: tuple[Source, ...]
    edges: tuple[int, ...]
    has_labels: bool

    @property
    def row_chunks(self) -> tuple[int, ...]:
        """Rows of each block."""
        return tuple(b - a for a, b in zip(self.edges, self.edges[1:], strict=False))

    def tasks(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        told: bool = False,
        ledger: Ledger | None = None,
        done: Collection[int] = (),
        **options: Any,
    ) -> HighLevelGraph:
        """A graph with one task ``(name, i)`` a block, which tells of its end if ``told``.

        With a ledger, each task keeps its state there; the states of blocks that are ``done`` are
        taken from it.
        """
        readers = tuple(source.reader for source in self.sources)
        job_name = f"{name}-job"
        topic = name if told else None
        job = BlockJob(function, options, readers, self.has_labels, topic, ledger)
        graph: dict[Any, Any] = {job_name: job}
        columns = []
        needs: list[Any] = []
        for source in self.sources:
            column, arrays = source.arguments(self.edges)
            columns.append(column)
            needs.extend(arrays)
        cuts = zip(self.edges, self.edges[1:], strict=False)
        for i, ((start, stop), arguments) in enumerate(
            zip(cuts, zip(*columns, strict=True), strict=True)
        ):
            if i in done:
                graph[name, i] = (read_record, job_name, i)
            else:
                graph[name, i] = (run_block, job_name, i, start, stop, list(arguments))
        return HighLevelGraph.from_collections(name, graph, dependencies=needs)


def block_size(sources: Sequence[Source]) -> planning.BlockSize:
    """Rows of a block of row-aligned sources, and why so many."""
    return planning.choose_block(
        sources[0].shape[sources[0].row_axis],
        sum(source.row_bytes for source in sources),
        [source.chunk_rows for source in sources],
        in_memory=all(source.kind == "memory" for source in sources),
    )


def cut_rows(sources: Sequence[Source], *, has_labels: bool, uniform: bool = False) -> RowBlocks:
    """Cut row-aligned sources into blocks.

    Dask arrays keep their own row chunks where they all agree and nothing stored would be cut
    through; else, or if ``uniform``, blocks are of one size.
    """
    num_rows = sources[0].shape[sources[0].row_axis]
    lazy = {source.row_chunks for source in sources if source.row_chunks is not None}
    if len(lazy) == 1 and not uniform:
        edges = [0]
        for rows in lazy.pop():
            edges.append(edges[-1] + rows)
        units = {source.chunk_rows for source in sources}
        if all(edge % unit == 0 for unit in units for edge in edges[:-1]):
            return RowBlocks(tuple(sources), tuple(edges), has_labels)
    rows = block_size(sources).rows
    if num_rows / rows > MAX_BLOCKS:
        names = ", ".join(source.name for source in sources)
        raise InputError(
            f"{names}: expected at most {MAX_BLOCKS:,} blocks of rows, got {num_rows:,} rows in "
            f"blocks of {rows:,}. Check the shape, or score it in parts."
        )
    return RowBlocks(tuple(sources), tuple(planning.block_edges(num_rows, rows)), has_labels)


def new_name(stem: str) -> str:
    """A name for a graph's keys; contents are never hashed for it."""
    return f"daskal-{stem}-{uuid.uuid4().hex}"


def same_blocks(array: da.Array, name: str, function: Callable[..., Any]) -> HighLevelGraph | None:
    """The graph of a lazy array made here, but with another function of its blocks.

    Its tasks are ``(name, i)``. None where the array's tasks are not those of :func:`as_array`.
    """
    layers, needs = dict(array.dask.layers), dict(array.dask.dependencies)
    tasks = layers.pop(array.name, {})
    job = tasks.get(f"{array.name}-job")
    if not isinstance(job, BlockJob):
        return None
    job_name = f"{name}-job"
    graph: dict[Any, Any] = {job_name: replace(job, function=function, options={})}
    for i in range(array.numblocks[0]):
        run, _, *arguments = tasks[array.name, i]
        graph[name, i] = (run, job_name, *arguments)
    layers[name], needs[name] = MaterializedLayer(graph), needs.pop(array.name)
    return HighLevelGraph(layers, needs)


def as_array(
    blocks: RowBlocks, function: Callable[..., Any], dtype: Any, **options: Any
) -> da.Array:
    """A lazy (N,) array of which each task computes one block."""
    name = new_name(function.__name__.replace("_", "-"))
    graph = blocks.tasks(name, function, **options)
    return da.Array(graph, name, chunks=(blocks.row_chunks,), meta=np.empty(0, dtype=dtype))
