"""The tree of merges over blocks."""

from __future__ import annotations

from dataclasses import dataclass

import dask
import numpy as np
import pytest

from daskal.engine import reduction
from daskal.engine.graph import SPLIT_EVERY, count_tasks
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.sources import make_source
from daskal.method.values import Block


@dataclass(frozen=True)
class Rows:
    """The rows seen, in the order in which they were merged."""

    rows: tuple[float, ...]

    def merge(self, other: Rows) -> Rows:
        return Rows(self.rows + other.rows)


def see(block: Block) -> Rows:
    return Rows(tuple(block.probs[0][:, 0].tolist()))


@pytest.mark.parametrize("num_blocks", [1, 2, 7, 8, 9, 64, 65, 100])
def test_every_block_is_merged_once_and_few_at_a_time(num_blocks: int) -> None:
    source = make_source("pool", np.arange(num_blocks, dtype=float)[:, np.newaxis], row_axis=0)
    blocks = RowBlocks((source,), tuple(range(num_blocks + 1)), has_labels=False)
    with dask.config.set(scheduler="synchronous"):
        assert reduction.reduce_blocks(blocks, "pool", see) == Rows(tuple(range(num_blocks)))
    graph = dict(reduction.tree(blocks, "pool", see).task.dask)
    merges = [key for key in graph if isinstance(key, tuple) and "merge" in key[0]]
    assert all(len(graph[key].dependencies) <= SPLIT_EVERY for key in merges)
    # The plan counts them without building them; blocks in memory have one more task each.
    given = sum(1 for key in graph if "getitem" in str(key) or "array" in str(key))
    assert len(graph) - given == count_tasks(num_blocks)
