"""Graphs of a job's tasks: one task reads what it needs of a block of rows and computes.

Keys begin with ``daskal-`` and the name of the stage: Dask's dashboard shows one bar for each.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
from dask._task_spec import Alias, DataNode, List, Task, TaskRef
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from daskal.engine.jobs import BlockJob, BlockRecords, Job, read_record, run_task
from daskal.engine.progress import RowCounter
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.ids import RowIds
from daskal.method.merging import merge_all


def new_name(stage: str) -> str:
    """Return a name for the keys of a stage, which the dashboard shows without its last part.

    Contents are never hashed for it. The name of a stage must not contain words of eight letters
    that begin with one of a to f: Dask takes them for the beginning of a hash.
    """
    return f"daskal-{stage.replace(' ', '-')}-{uuid.uuid4().hex}"


# --- layers -----------------------------------------------------------------------------------


class JobLayer(MaterializedLayer):
    """The tasks ``(name, i)`` of a job, one for each item of ``arguments``, and the job itself.

    The results of tasks that are ``done`` are taken from the job's records.
    """

    def __init__(
        self,
        name: str,
        job: Job,
        arguments: Iterable[Sequence[Any]],
        done: Collection[int] = (),
    ) -> None:
        settings = new_name("settings")
        tasks: dict[Any, Any] = {settings: DataNode(settings, job)}
        for i, given in enumerate(arguments):
            key = (name, i)
            if i in done:
                tasks[key] = Task(key, read_record, TaskRef(settings), i)
            else:
                tasks[key] = Task(key, run_task, TaskRef(settings), i, *given)
        super().__init__(tasks)


class BlockLayer(JobLayer):
    """One task ``(name, i)`` for each block of rows."""

    def __init__(
        self,
        name: str,
        job: BlockJob,
        edges: Sequence[int],
        given: Sequence[tuple[Any, ...]],
        done: Collection[int] = (),
    ) -> None:
        self.job, self.edges, self.given = job, edges, given
        cuts = zip(pairwise(edges), given, strict=True)
        super().__init__(name, job, ((*cut, List(*own)) for cut, own in cuts), done)

    def with_function(self, name: str, function: Callable[..., Any]) -> BlockLayer:
        """Return the layer of the same blocks with another function, which takes its options."""
        job = replace(self.job, function=function)
        return BlockLayer(name, job, self.edges, self.given)


class Calls(NamedTuple):
    """Tasks of one layer of a graph, by their keys."""

    graph: HighLevelGraph
    name: str
    keys: Sequence[Any]

    def delayed(self) -> list[Delayed]:
        """Return the lazy result of each task."""
        return [Delayed(key, self.graph, layer=self.name) for key in self.keys]


def call_each(
    name: str,
    function: Callable[..., Any],
    arguments: Iterable[Sequence[Any]],
    *,
    in_turn: bool = False,
    announces: bool = False,
    count_rows: RowCounter | None = None,
    **options: Any,
) -> Calls:
    """Return the tasks ``(name, i)``, each of which calls a function on its own arguments.

    Arguments, and items of lists among them, may be Delayed objects. Options are the same for all
    tasks. With ``in_turn``, the first argument of each task is the result of the task before it,
    None for the first task. With ``announce``, tasks report when they are done.
    """
    needs: dict[Any, Any] = {}

    def as_task(argument: Any) -> Any:
        if isinstance(argument, list):
            return List(*map(as_task, argument))
        if not isinstance(argument, Delayed):
            return argument
        # Many of them share one graph, which is added once.
        needs.setdefault((id(argument.dask), *argument.__dask_layers__()), argument)
        return TaskRef(argument.key)

    job = Job(
        function=function,
        options=options,
        topic=name if announces else None,
        count_rows=count_rows,
    )
    given = [tuple(map(as_task, items)) for items in arguments]
    if in_turn:
        before = [None, *(TaskRef((name, i)) for i in range(len(given) - 1))]
        given = [(state, *items) for state, items in zip(before, given, strict=True)]
    graph = HighLevelGraph.from_collections(
        name, JobLayer(name, job, given), dependencies=list(needs.values())
    )
    return Calls(graph, name, [(name, i) for i in range(len(given))])


# --- blocks of rows ---------------------------------------------------------------------------


def call_blocks(
    blocks: RowBlocks,
    name: str,
    function: Callable[..., Any],
    *,
    announces: bool = False,
    records: BlockRecords | None = None,
    done: Collection[int] = (),
    **options: Any,
) -> Calls:
    """Return the tasks ``(name, i)``, one per block; with ``announce``, they report their ends.

    With records, each task keeps its state there; the states of blocks that are ``done`` are taken
    from them.
    """
    job = BlockJob(
        function=function,
        options=options,
        topic=name if announces else None,
        readers=tuple(source.reader for source in blocks.sources),
        has_labels=blocks.has_labels,
        records=records,
    )
    columns = []
    needs: list[Any] = []
    for source in blocks.sources:
        column, arrays = source.cut(blocks.edges)
        columns.append(column)
        needs.extend(arrays)
    layer = BlockLayer(name, job, blocks.edges, list(zip(*columns, strict=True)), done)
    graph = HighLevelGraph.from_collections(name, layer, dependencies=needs)
    return Calls(graph, name, [(name, i) for i in range(len(blocks.row_chunks))])


def function_of(array: da.Array) -> Callable[..., Any] | None:
    """Return what computes each block of a lazy array made here, which is called with its options.

    None where the array's last layer is not one of :func:`as_array`.
    """
    layer = array.dask.layers.get(array.name)
    return layer.job.function if isinstance(layer, BlockLayer) else None


def same_blocks(array: da.Array, name: str, function: Callable[..., Any]) -> Calls | None:
    """Return the tasks of a lazy array made here, but with another function of its blocks.

    It is called with the options of the array's own. None where :func:`function_of` knows none.
    """
    layers, needs = dict(array.dask.layers), dict(array.dask.dependencies)
    layer = layers.pop(array.name, None)
    if not isinstance(layer, BlockLayer):
        return None
    layers[name], needs[name] = layer.with_function(name, function), needs.pop(array.name)
    keys = [(name, i) for i in range(array.numblocks[0])]
    return Calls(HighLevelGraph(layers, needs), name, keys)


def as_array(
    blocks: RowBlocks, stage: str, function: Callable[..., Any], dtype: Any, **options: Any
) -> da.Array:
    """Return a lazy (N,) array of which each task computes one block."""
    calls = call_blocks(blocks, new_name(stage), function, **options)
    meta = np.empty(0, dtype=dtype)
    return da.Array(calls.graph, calls.name, chunks=(blocks.row_chunks,), meta=meta)


def as_matrix(
    blocks: RowBlocks, stage: str, function: Callable[..., Any], num_columns: int, **options: Any
) -> da.Array:
    """Return a lazy (N, k) array of float64 of which each task computes the rows of one block."""
    calls = call_blocks(blocks, new_name(stage), function, **options)
    name = new_name(f"{stage} matrix")
    places = {(name, i, 0): Alias((name, i, 0), key) for i, key in enumerate(calls.keys)}
    layers = {**calls.graph.layers, name: MaterializedLayer(places)}
    needs = {**calls.graph.dependencies, name: {calls.name}}
    meta = np.empty((0, 0))
    chunks = (blocks.row_chunks, (num_columns,))
    return da.Array(HighLevelGraph(layers, needs), name, chunks=chunks, meta=meta)


# --- tables -----------------------------------------------------------------------------------


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


def with_ids(frame: pd.DataFrame, own: RowIds, start: int, stop: int) -> pd.DataFrame:
    """Return the frame of some rows, indexed by their ids; an index holds those rows' ids only."""
    ids = own if isinstance(own, pd.Index) else own[start:stop]
    return frame.set_axis(ids.take(frame.index.to_numpy() - start))


def make_frame(calls: Calls, meta: pd.DataFrame, divisions: tuple[Any, ...] | None = None) -> Any:
    """Return a lazy DataFrame of which each task computes one partition."""
    import dask.dataframe as dd

    if divisions is None:
        divisions = (None,) * (len(calls.keys) + 1)
    graph = NamedGraph(calls.graph.to_dict(), calls.name)
    return dd.from_graph(graph, meta, divisions, list(calls.keys), calls.name)


def as_frame(
    blocks: RowBlocks,
    stage: str,
    function: Callable[..., pd.DataFrame],
    meta: pd.DataFrame,
    ids: RowIds | None,
    **options: Any,
) -> Any:
    """Return a lazy DataFrame of which each task computes the rows of one block."""
    calls = call_blocks(blocks, new_name(stage), function, **options)
    cuts = list(pairwise(blocks.edges))
    if ids is None:
        known = (*blocks.edges[:-1], blocks.edges[-1] - 1)
        return make_frame(calls, meta, known if min(blocks.row_chunks) > 0 else None)
    own = (ids[slice(*cut)] if isinstance(ids, pd.Index) else ids for cut in cuts)
    named = call_each(
        new_name("row ids"),
        with_ids,
        ((frame, part, *cut) for frame, part, cut in zip(calls.delayed(), own, cuts, strict=True)),
    )
    return make_frame(named, meta.set_axis(ids[:0]))


# --- merges -----------------------------------------------------------------------------------

# States merged by one task: few enough to be held at once, enough to keep the tree flat.
SPLIT_EVERY = 8


def merged(calls: Calls, merge: Callable[[Sequence[Any]], Any] = merge_all) -> Delayed:
    """Return the merged state of all tasks, neighbors first, as one task."""
    name = new_name("merges")
    keys = calls.keys
    tasks: dict[Any, Any] = {}
    level = 0
    while len(keys) > 1 or not tasks:
        parents = []
        for i in range(0, len(keys), SPLIT_EVERY):
            key = (name, level, i // SPLIT_EVERY)
            states = (TaskRef(state) for state in keys[i : i + SPLIT_EVERY])
            tasks[key] = Task(key, merge, List(*states))
            parents.append(key)
        keys = parents
        level += 1
    layers = {**calls.graph.layers, name: MaterializedLayer(tasks)}
    needs = {**calls.graph.dependencies, name: {calls.name}}
    return Delayed(keys[0], HighLevelGraph(layers, needs), layer=name)


def count_tasks(num_blocks: int) -> int:
    """Return the number of tasks in one reduction over blocks: blocks, merges, and the job."""
    merges, width = 0, num_blocks
    while width > 1 or not merges:
        width = math.ceil(width / SPLIT_EVERY)
        merges += width
    return num_blocks + merges + 1
