"""Blocks of rows as tasks of a graph: one task reads what it needs of its block and computes."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import dask.array as da
import numpy as np
import pandas as pd
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from daskal.engine.progress import announce
from daskal.engine.workers import keep_freed_memory
from daskal.errors import BlockError, ClusterError, DaskalError
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.ids import RowIds
from daskal.inputs.readers import Reader
from daskal.method.merging import merge_all
from daskal.method.values import Block
from daskal.storage.redaction import explain, showable
from daskal.version import __version__

logger = logging.getLogger("daskal")


class BlockRecords(Protocol):
    """What keeps the states of finished blocks."""

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
    records: BlockRecords | None = None
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
    if job.records is not None:
        job.records.put(block, result)
    if job.topic is not None:
        announce(job.topic, block)
    return result


def read_record(job: BlockJob, block: int) -> Any:
    """The state of a block that an earlier run has finished (the task of the graph)."""
    assert job.records is not None
    return job.records.get(block)


class BlockLayer(MaterializedLayer):
    """One task ``(name, i)`` a block, and the job that all of them share."""

    def __init__(
        self,
        name: str,
        job: BlockJob,
        edges: Sequence[int],
        arguments: Sequence[tuple[Any, ...]],
        done: Collection[int] = (),
    ) -> None:
        self.job, self.edges, self.arguments = job, edges, arguments
        shared = f"{name}-job"
        tasks: dict[Any, Any] = {shared: DataNode(shared, job)}
        for i, ((start, stop), given) in enumerate(zip(pairwise(edges), arguments, strict=True)):
            key = (name, i)
            if i in done:
                tasks[key] = Task(key, read_record, TaskRef(shared), i)
            else:
                tasks[key] = Task(key, run_block, TaskRef(shared), i, start, stop, List(*given))
        super().__init__(tasks)

    def with_function(self, name: str, function: Callable[..., Any]) -> BlockLayer:
        """Return the layer of the same blocks with another function and without options."""
        job = replace(self.job, function=function, options={})
        return BlockLayer(name, job, self.edges, self.arguments)


def new_name(stage: str) -> str:
    """Return a name for the keys of a stage, which the dashboard shows without its last part.

    Contents are never hashed for it.
    """
    return f"daskal-{stage.replace(' ', '-')}-{uuid.uuid4().hex}"


def block_graph(
    blocks: RowBlocks,
    name: str,
    function: Callable[..., Any],
    *,
    announces: bool = False,
    records: BlockRecords | None = None,
    done: Collection[int] = (),
    **options: Any,
) -> HighLevelGraph:
    """Return a graph with one task ``(name, i)`` a block, which ``announces`` its end if asked to.

    With records, each task keeps its state there; the states of blocks that are ``done`` are taken
    from them.
    """
    readers = tuple(source.reader for source in blocks.sources)
    job = BlockJob(
        function, options, readers, blocks.has_labels, name if announces else None, records
    )
    columns = []
    needs: list[Any] = []
    for source in blocks.sources:
        column, arrays = source.cut(blocks.edges)
        columns.append(column)
        needs.extend(arrays)
    layer = BlockLayer(name, job, blocks.edges, list(zip(*columns, strict=True)), done)
    return HighLevelGraph.from_collections(name, layer, dependencies=needs)


def same_blocks(array: da.Array, name: str, function: Callable[..., Any]) -> HighLevelGraph | None:
    """Return the graph of a lazy array made here, but with another function of its blocks.

    Its tasks are ``(name, i)``. None where the array's last layer is not one of :func:`as_array`.
    """
    layers, needs = dict(array.dask.layers), dict(array.dask.dependencies)
    layer = layers.pop(array.name, None)
    if not isinstance(layer, BlockLayer):
        return None
    layers[name], needs[name] = layer.with_function(name, function), needs.pop(array.name)
    return HighLevelGraph(layers, needs)


def as_array(
    blocks: RowBlocks, stage: str, function: Callable[..., Any], dtype: Any, **options: Any
) -> da.Array:
    """Return a lazy (N,) array of which each task computes one block."""
    name = new_name(stage)
    graph = block_graph(blocks, name, function, **options)
    return da.Array(graph, name, chunks=(blocks.row_chunks,), meta=np.empty(0, dtype=dtype))


def count_tasks(num_blocks: int, split_every: int) -> int:
    """Tasks of one reduction over blocks: one a block, the merges, the job and the root."""
    merges, width = 0, num_blocks
    while width > 1 or not merges:
        width = math.ceil(width / split_every)
        merges += width
    return num_blocks + merges + 2


class NamedGraph(Mapping[Any, Any]):
    """A graph known by its name, so that Dask does not hash what is in it."""

    def __init__(self, graph: Mapping[Any, Any], name: str) -> None:
        self.graph = graph
        self.name = name

    def __getitem__(self, key: Any) -> Any:
        return self.graph[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.graph)

    def __len__(self) -> int:
        return len(self.graph)

    def __dask_tokenize__(self) -> str:
        return self.name


def with_ids(frame: pd.DataFrame, ids: RowIds, start: int, stop: int) -> pd.DataFrame:
    """The frame of some rows, indexed by their ids; ids given as an index are those rows' only."""
    own = ids if isinstance(ids, pd.Index) else ids[start:stop]
    return frame.set_axis(own.take(frame.index.to_numpy() - start))


def as_frame(
    blocks: RowBlocks,
    stage: str,
    function: Callable[..., pd.DataFrame],
    meta: pd.DataFrame,
    ids: RowIds | None,
    **options: Any,
) -> Any:
    """Return a lazy DataFrame of which each task computes the rows of one block."""
    import dask.dataframe as dd

    name = new_name(stage)
    graph = block_graph(blocks, name, function, **options).to_dict()
    keys: list[Any] = [(name, i) for i in range(len(blocks.row_chunks))]
    divisions: tuple[Any, ...] = (None,) * (len(keys) + 1)
    if ids is not None:
        meta = meta.set_axis(ids[:0])
        named = f"{name}-ids"
        for i, (start, stop) in enumerate(pairwise(blocks.edges)):
            own = ids[start:stop] if isinstance(ids, pd.Index) else ids
            key = (named, i)
            graph[key] = Task(key, with_ids, TaskRef((name, i)), own, start, stop)
        keys = [(named, i) for i in range(len(keys))]
    elif min(blocks.row_chunks) > 0:
        divisions = (*blocks.edges[:-1], blocks.edges[-1] - 1)
    return dd.from_graph(NamedGraph(graph, name), meta, divisions, keys, name)


# States merged by one task: few enough to be held at once, enough to keep the tree flat.
SPLIT_EVERY = 8


def merged(graph: HighLevelGraph, name: str, num_blocks: int) -> Delayed:
    """Return the merged state of the block tasks ``(name, i)`` of a graph, as one task."""
    keys: list[Any] = [(name, i) for i in range(num_blocks)]
    merges: dict[Any, Any] = {}
    level = 0
    while len(keys) > 1 or not merges:
        parents = []
        for i in range(0, len(keys), SPLIT_EVERY):
            key = (f"{name}-merge", level, i // SPLIT_EVERY)
            states = (TaskRef(state) for state in keys[i : i + SPLIT_EVERY])
            merges[key] = Task(key, merge_all, List(*states))
            parents.append(key)
        keys = parents
        level += 1
    root = f"{name}-root"
    merges[root] = Alias(root, keys[0])
    layers = {**graph.layers, root: MaterializedLayer(merges)}
    needs = {**graph.dependencies, root: {name}}
    return Delayed(root, HighLevelGraph(layers, needs))
