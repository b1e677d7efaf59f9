"""The one tree reduction: blocks to a single state, used by every round of pass 1."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from daskal.blocks import RowBlocks, new_name
from daskal.progress import Listener, Report, compute

# States merged by one task: few enough to be held at once, enough to keep the tree flat.
SPLIT_EVERY = 8


class Mergeable(Protocol):
    """A state that merges with others of its kind."""

    def merge(self, other: Self) -> Self:
        """Both together."""


State = TypeVar("State", bound=Mergeable)


def merge_all(states: Sequence[State]) -> State:
    """Fold states one at a time."""
    return functools.reduce(lambda a, b: a.merge(b), states)


class Reduction(NamedTuple):
    """A lazy reduction over blocks; its block tasks have the keys ``(name, i)``."""

    task: Delayed
    name: str
    row_chunks: tuple[int, ...]

    def compute(self, stage: str, report: Report | None = None) -> Any:
        """The merged state, computed now on whatever scheduler is active."""
        listener = None if report is None else Listener(stage, self.row_chunks, report)
        return compute(self.task, self.name, listener)


def tree(
    blocks: RowBlocks, function: Callable[..., Any], *, told: bool = False, **options: Any
) -> Reduction:
    """The merged state of all blocks; ``told`` if somebody listens for the blocks' ends."""
    name = new_name("statistics")
    graph = blocks.tasks(name, function, told=told, **options)
    keys: list[Any] = [(name, i) for i in range(len(blocks.row_chunks))]
    merges: dict[Any, Any] = {}
    level = 0
    while len(keys) > 1 or not merges:
        merged = []
        for i in range(0, len(keys), SPLIT_EVERY):
            key = (f"{name}-merge", level, i // SPLIT_EVERY)
            merges[key] = (merge_all, keys[i : i + SPLIT_EVERY])
            merged.append(key)
        keys = merged
        level += 1
    root = f"{name}-root"
    merges[root] = keys[0]
    layers = {**graph.layers, root: MaterializedLayer(merges)}
    needs = {**graph.dependencies, root: {name}}
    return Reduction(Delayed(root, HighLevelGraph(layers, needs)), name, blocks.row_chunks)
