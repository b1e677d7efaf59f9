"""How much memory choosing a batch takes, computed from sizes alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from daskal.api.score_sources import ScoreSource
from daskal.engine.graph import SPLIT_EVERY
from daskal.engine.workers import least_memory, worker_threads
from daskal.errors import MemoryLimitError
from daskal.inputs.blocks import RowBlocks, choose_block
from daskal.inputs.groups import TEXT_BYTES
from daskal.kernels.candidates import row_bytes_beside
from daskal.method.candidates import MERGE_BYTES, RANKED_BYTES, example_bytes
from daskal.text import format_bytes, plural

# Bytes of a stored score; and of number of votes and quality, which are stored beside it.
SCORE_BYTES, VOTES_BYTES = 8, 4 + 8


class ScoresSize(NamedTuple):
    """The sizes of one source of scores.

    Attributes
    ----------
    num_rows, block_rows : int
    row_bytes : int
        Bytes of a row of a block: its score, and what is known beside it.
    reading_bytes : int
        Bytes held beside a block while it is read.
    rankings : int
        How many states a block has: two where examples with and without votes are ranked apart.
    """

    num_rows: int
    block_rows: int
    row_bytes: int
    reading_bytes: int = 0
    rankings: int = 1

    @classmethod
    def of(cls, source: ScoreSource) -> ScoresSize:
        """Return the sizes of a source."""
        blocks = source.blocks
        parts = blocks.sources
        reading = max(
            2 * min(max(blocks.most_rows * part.row_bytes, part.chunk_bytes), part.in_flight_bytes)
            + part.held_bytes
            for part in parts
        )
        return cls(
            source.num_rows,
            blocks.most_rows,
            sum(part.row_bytes for part in parts),
            reading,
            2 if "num_annotations" in source.beside else 1,
        )

    @classmethod
    def of_run(cls, blocks: RowBlocks, *, labeled: bool) -> ScoresSize:
        """Return the sizes of scores that a run stores in its blocks; groups are short texts."""
        row_bytes = SCORE_BYTES + TEXT_BYTES + (VOTES_BYTES if labeled else 0)
        num_rows = blocks.edges[-1]
        rows = choose_block(num_rows, row_bytes, [blocks.chunk_rows]).rows
        # All chunks of a block may be in flight at once, encoded and decoded.
        return cls(num_rows, rows, row_bytes, 2 * rows * TEXT_BYTES, 2 if labeled else 1)

    def num_candidates(self, size: int, rows: int) -> int:
        """Return the most candidates that some rows have."""
        return min(self.rankings * size, rows)

    def num_held(self, size: int) -> int:
        """Return the most candidates that are held at once while those of all blocks are merged.

        Of each level of the tree, as many states wait as one task merges; none of them are of the
        same rows.
        """
        width, rows, held = math.ceil(self.num_rows / max(self.block_rows, 1)), self.block_rows, 0
        while width > 1:
            held += min(width, SPLIT_EVERY) * self.num_candidates(size, rows)
            width, rows = math.ceil(width / SPLIT_EVERY), rows * SPLIT_EVERY
        return min(held + self.num_candidates(size, rows), self.num_rows)


@dataclass(frozen=True)
class BatchMemory:
    """What a worker, and the client, hold while a batch is chosen.

    Attributes
    ----------
    size : int
        Examples to choose, or candidates among which unlike ones are chosen.
    grouped : bool
        Whether there are groups of which a batch holds few.
    sources : tuple of ScoresSize
    """

    size: int
    grouped: bool
    sources: tuple[ScoresSize, ...]

    @property
    def task_bytes(self) -> int:
        """Peak of one block's task: its rows, how they are read, and its candidates."""
        beside = row_bytes_beside(grouped=self.grouped)
        return max(
            each.block_rows * (each.row_bytes + beside)
            + each.reading_bytes
            + each.num_candidates(self.size, each.block_rows) * example_bytes(grouped=self.grouped)
            for each in self.sources
        )

    @property
    def held_bytes(self) -> int:
        """Candidates that wait to be merged and ranked, at most, and what merging them takes."""
        each_bytes = example_bytes(grouped=self.grouped)
        done, most = 0, 0
        for each in self.sources:
            # Those of one source are found before those of the next.
            merging = (done + each.num_held(self.size)) * each_bytes
            most = max(most, merging + MERGE_BYTES * min(self.size, each.num_rows))
            done += each.num_candidates(self.size, each.num_rows)
        return max(most, done * (each_bytes + RANKED_BYTES))

    def worker_bytes(self, threads: int) -> int:
        """Peak of a worker, beside what it takes when idle."""
        return threads * self.task_bytes + self.held_bytes

    def __str__(self) -> str:
        groups = " with groups" if self.grouped else ""
        return (
            f"{plural(self.size, 'example')}{groups}: {format_bytes(self.task_bytes)} a task, and "
            f"{format_bytes(self.held_bytes)} of candidates that are merged"
        )


def check_memory(name: str, size: int, sources: Sequence[ScoreSource], *, grouped: bool) -> None:
    """Refuse a batch whose candidates do not fit into a worker's memory; ``name`` is its argument.

    Raises
    ------
    MemoryLimitError
    """
    limit = least_memory()
    if limit is None:
        return
    memory = BatchMemory(size, grouped, tuple(map(ScoresSize.of, sources)))
    threads = worker_threads()
    needed = memory.worker_bytes(threads)
    if needed > limit:
        raise MemoryLimitError(
            f"{name}: expected a batch whose candidates fit into {format_bytes(limit)} of a "
            f"worker's memory, got {memory}, which needs {format_bytes(needed)} with "
            f"{plural(threads, 'thread')}. Pass a smaller number, or use workers with more memory "
            "or fewer threads."
        )
