"""Pure arithmetic: how rows are cut into blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

TARGET_BLOCK_BYTES = 128 * 2**20
MIN_BLOCKS = 32
MIN_BLOCK_ROWS = 4096


def block_rows(num_rows: int, row_bytes: int, chunk_rows: Sequence[int]) -> int:
    """Rows of a block, a fixed rule whatever the machine.

    Blocks hold at most ``TARGET_BLOCK_BYTES``, and there are at least ``MIN_BLOCKS`` of them while
    each keeps ``MIN_BLOCK_ROWS``. Their edges fall on edges of every storage chunking in
    ``chunk_rows`` where that is possible, else on those of the coarsest.
    """
    fitting = max(1, TARGET_BLOCK_BYTES // max(row_bytes, 1))
    wanted = min(fitting, max(MIN_BLOCK_ROWS, math.ceil(num_rows / MIN_BLOCKS)))
    unit = math.lcm(*chunk_rows)
    if unit > fitting:
        unit = max(chunk_rows, default=1)
    rows = max(unit, wanted // unit * unit)
    return max(1, min(rows, num_rows))


def block_edges(num_rows: int, rows: int) -> list[int]:
    """Edges of blocks of equal size, the last one perhaps smaller; one empty block for no rows."""
    return [*range(0, num_rows, rows), num_rows] if num_rows else [0, 0]
