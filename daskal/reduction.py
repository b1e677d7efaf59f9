"""The one tree reduction: blocks to a single state, used by every round of pass 1."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import dask.array as da
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from daskal.blocks import Ledger, RowBlocks, new_name, same_blocks
from daskal.errors import LostWorkersError
from daskal.progress import Listener, Report, compute
from daskal.tallies import State

# States merged by one task: few enough to be held at once, enough to keep the tree flat.
SPLIT_EVERY = 8

# How often the scheduler may give up on a block before the reduction does, with no other block
# finished meanwhile: each time four workers have died. Machines that come and go recover by then.
BARREN_ATTEMPTS = 3


def merge_all(states: Sequence[State]) -> State:
    """Fold states one at a time."""
    return functools.reduce(lambda a, b: a.merge(b), states)


class Reduction(NamedTuple):
    """A lazy reduction over blocks; its block tasks have the keys ``(name, i)``."""

    task: Delayed
    name: str
    row_chunks: tuple[int, ...]
    done: Collection[int] = ()

    def compute(self, stage: str, report: Report | None = None) -> Any:
        """The merged state, computed now on whatever scheduler is active."""
        listener = None
        if report is not None:
            listener = Listener(stage, self.row_chunks, report, self.done)
        return compute(self.task, self.name, listener)


def reduce_blocks(
    blocks: RowBlocks,
    function: Callable[..., Any],
    stage: str,
    report: Report | None = None,
    ledger: Ledger | None = None,
    **options: Any,
) -> Any:
    """The merged state of all blocks, computed now; blocks in the ledger are taken from there.

    Where workers die so often that the scheduler gives up on a block, what is left is begun anew,
    as long as some blocks more are finished now and then.
    """
    barren = 0
    while True:
        done = frozenset() if ledger is None else ledger.finished()
        task = tree(blocks, function, told=report is not None, ledger=ledger, done=done, **options)
        try:
            return task.compute(stage, report)
        except LostWorkersError:
            if ledger is None:
                raise
            barren = 0 if ledger.finished() > done else barren + 1
            if barren >= BARREN_ATTEMPTS:
                raise


def tree(
    blocks: RowBlocks,
    function: Callable[..., Any],
    *,
    told: bool = False,
    ledger: Ledger | None = None,
    done: Collection[int] = (),
    **options: Any,
) -> Reduction:
    """The merged state of all blocks; ``told`` if somebody listens for the blocks' ends."""
    name = new_name("statistics")
    graph = blocks.tasks(name, function, told=told, ledger=ledger, done=done, **options)
    return Reduction(merged(graph, name, len(blocks.row_chunks)), name, blocks.row_chunks, done)


def merged(graph: HighLevelGraph, name: str, num_blocks: int) -> Delayed:
    """The merged state of the block tasks ``(name, i)`` of a graph."""
    keys: list[Any] = [(name, i) for i in range(num_blocks)]
    merges: dict[Any, Any] = {}
    level = 0
    while len(keys) > 1 or not merges:
        parents = []
        for i in range(0, len(keys), SPLIT_EVERY):
            key = (f"{name}-merge", level, i // SPLIT_EVERY)
            merges[key] = (merge_all, keys[i : i + SPLIT_EVERY])
            parents.append(key)
        keys = parents
        level += 1
    root = f"{name}-root"
    merges[root] = keys[0]
    layers = {**graph.layers, root: MaterializedLayer(merges)}
    needs = {**graph.dependencies, root: {name}}
    return Delayed(root, HighLevelGraph(layers, needs))


def reduce_same_blocks(array: da.Array, function: Callable[..., Any]) -> Any:
    """The merged state of the blocks of a lazy array made here, computed now; None of others."""
    name = new_name("statistics")
    graph = same_blocks(array, name, function)
    return None if graph is None else compute(merged(graph, name, array.numblocks[0]), name, None)
