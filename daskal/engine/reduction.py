"""The one tree reduction: blocks to a single state."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import dask.array as da
from dask.delayed import Delayed

from daskal.engine.graph import BlockRecords, block_graph, merged, new_name, same_blocks
from daskal.engine.progress import BlockProgress, ProgressCallback, compute_blocks
from daskal.errors import LostWorkersError
from daskal.inputs.blocks import RowBlocks

# How often the scheduler may give up on a block before the reduction does, with no other block
# finished meanwhile: each time four workers have died. Machines that come and go recover by then.
FRUITLESS_ATTEMPTS = 3


class Reduction(NamedTuple):
    """A lazy reduction over blocks; its block tasks have the keys ``(name, i)``."""

    task: Delayed
    name: str
    stage: str
    row_chunks: tuple[int, ...]
    done: Collection[int] = ()

    def compute(self, progress: ProgressCallback | None = None) -> Any:
        """Return the merged state, computed now on whatever scheduler is active."""
        listener = None
        if progress is not None:
            listener = BlockProgress(self.stage, self.row_chunks, progress, self.done)
        return compute_blocks(self.task, self.name, listener)


def reduce_blocks(
    blocks: RowBlocks,
    stage: str,
    function: Callable[..., Any],
    progress: ProgressCallback | None = None,
    records: BlockRecords | None = None,
    **options: Any,
) -> Any:
    """Return the merged state of all blocks, computed now; recorded blocks are taken from there.

    Where workers die so often that the scheduler gives up on a block, what is left is begun anew,
    as long as some blocks more are finished now and then.
    """
    fruitless = 0
    while True:
        done = frozenset() if records is None else records.finished()
        reduction = tree(
            blocks,
            stage,
            function,
            announces=progress is not None,
            records=records,
            done=done,
            **options,
        )
        try:
            return reduction.compute(progress)
        except LostWorkersError:
            if records is None:
                raise
            fruitless = 0 if records.finished() > done else fruitless + 1
            if fruitless >= FRUITLESS_ATTEMPTS:
                raise


def tree(
    blocks: RowBlocks,
    stage: str,
    function: Callable[..., Any],
    *,
    announces: bool = False,
    records: BlockRecords | None = None,
    done: Collection[int] = (),
    **options: Any,
) -> Reduction:
    """Return the lazy merged state of all blocks, which ``announce`` their ends if asked to."""
    name = new_name(stage)
    graph = block_graph(
        blocks, name, function, announces=announces, records=records, done=done, **options
    )
    task = merged(graph, name, len(blocks.row_chunks))
    return Reduction(task, name, stage, blocks.row_chunks, done)


def reduce_same_blocks(array: da.Array, stage: str, function: Callable[..., Any]) -> Any:
    """Return the merged state of the blocks of a lazy array made here, now; None of others."""
    name = new_name(stage)
    graph = same_blocks(array, name, function)
    if graph is None:
        return None
    return compute_blocks(merged(graph, name, array.numblocks[0]), name, None)
