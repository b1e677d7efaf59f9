"""The one tree reduction: what many tasks return, merged to a single state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import dask.array as da
from dask.delayed import Delayed

from daskal.engine.graph import call_blocks, call_each, merged, new_name, same_blocks
from daskal.engine.jobs import BlockRecords
from daskal.engine.progress import ProgressCallback, Steps, compute_steps
from daskal.errors import LostWorkersError
from daskal.inputs.blocks import RowBlocks

# How often in a row, with no block finished meanwhile, the scheduler may give up on a block before
# the reduction does. Each time four workers have died: machines that come and go recover by then.
FRUITLESS_ATTEMPTS = 3


class Reduction(NamedTuple):
    """A lazy merged state, and the tasks it is merged from."""

    task: Delayed
    steps: Steps

    def compute(self, progress: ProgressCallback | None = None) -> Any:
        """Return the merged state, computed now on whatever scheduler is active."""
        return compute_steps([self.task], self.steps, progress)[0]


def reduce_blocks(
    blocks: RowBlocks,
    stage: str,
    function: Callable[..., Any],
    progress: ProgressCallback | None = None,
    records: BlockRecords | None = None,
    **options: Any,
) -> Any:
    """Return the merged state of all blocks, computed now; recorded blocks are taken from there.

    Where workers die so often that the scheduler gives up on a block, the blocks that are left are
    submitted again, as long as more of them are finished from time to time.
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
    """Return the lazy merged state of all blocks; with ``announce``, they report their ends."""
    name = new_name(stage)
    calls = call_blocks(
        blocks, name, function, announces=announces, records=records, done=done, **options
    )
    return Reduction(merged(calls), Steps(stage, name, blocks.row_chunks, done))


def reduce_calls(
    stage: str,
    function: Callable[..., Any],
    arguments: Iterable[Sequence[Any]],
    rows: Sequence[int],
    merge: Callable[[Sequence[Any]], Any],
    progress: ProgressCallback | None = None,
    **options: Any,
) -> Any:
    """Return the merged results of a function for each of the arguments, computed now.

    ``rows`` are those that each call works on.
    """
    name = new_name(stage)
    calls = call_each(name, function, arguments, announces=progress is not None, **options)
    return Reduction(merged(calls, merge), Steps(stage, name, tuple(rows))).compute(progress)


def reduce_same_blocks(array: da.Array, stage: str, function: Callable[..., Any]) -> Any:
    """Return the merged state of the blocks of one of daskal's lazy arrays, else None."""
    calls = same_blocks(array, new_name(stage), function)
    if calls is None:
        return None
    return Reduction(merged(calls), Steps(stage, calls.name, array.chunks[0])).compute()
