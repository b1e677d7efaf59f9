"""Some rows of a source as a source of their own: what is read are the parts that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from numpy.typing import NDArray

from daskal.inputs.fingerprint import Identity
from daskal.inputs.readers import Reader
from daskal.inputs.sources import Cut, Source, lazy_source, take_rows

# Most bytes of neighboring parts read together, of which the rows wanted are then taken.
READ_BYTES = 2**25
# Rows that are picked at once.
TILE_ROWS = 2**16


@dataclass(frozen=True)
class Selection:
    """Ascending rows: those listed, or all of a range but those listed, whichever is shorter."""

    start: int
    stop: int
    listed: NDArray[np.int64]
    left_out: bool

    @classmethod
    def of(cls, rows: NDArray[np.int64]) -> Selection:
        """Return ascending rows in the shorter form."""
        if not len(rows):
            return cls(0, 0, rows, left_out=False)
        start, stop = int(rows[0]), int(rows[-1]) + 1
        if 2 * len(rows) < stop - start:
            return cls(start, stop, rows.copy(), left_out=False)
        kept = np.zeros(stop - start, dtype=bool)
        kept[rows - start] = True
        return cls(start, stop, np.flatnonzero(~kept) + start, left_out=True)

    def __len__(self) -> int:
        """Return the number of rows."""
        listed = len(self.listed)
        return self.stop - self.start - listed if self.left_out else listed

    def count_before(self, edges: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of the rows come before each edge."""
        listed = np.searchsorted(self.listed, edges)
        if not self.left_out:
            return listed
        return np.clip(edges, self.start, self.stop) - self.start - listed

    def bounds(self, first: int, end: int) -> tuple[int, int]:
        """Return the first and the end of fewer rows, with all those between the ones given."""
        if self.left_out:
            return max(first, self.start), min(end, self.stop)
        rows = self.between(first, end)
        return int(rows[0]), int(rows[-1]) + 1

    def between(self, first: int, end: int) -> NDArray[np.int64]:
        """Return the rows between two."""
        listed = self.listed[slice(*np.searchsorted(self.listed, [first, end]))]
        if not self.left_out:
            return listed
        first, end = self.bounds(first, end)
        return np.delete(np.arange(first, end), listed - first)


@dataclass(frozen=True)
class PickedReader:
    """Another reader's blocks, of which the rows of a selection are taken.

    ``parts`` are the edges of what storage hands out at once, or their common distance.
    """

    reader: Reader
    row_axis: int
    parts: int | NDArray[np.int64]
    most_rows: int

    @property
    def name(self) -> str:
        """Name of the argument."""
        return self.reader.name

    def __call__(self, argument: Selection, start: int, stop: int) -> Any:
        """Return the rows of the selection."""
        num_rows = len(argument)
        if num_rows == argument.stop - argument.start:
            return self.reader(None, argument.start, argument.stop)
        found: NDArray[Any] | None = None
        at = 0
        for first, end in self.pieces(argument):
            block = self.reader(None, first, end)
            if found is None:
                shape = list(block.shape)
                shape[self.row_axis] = num_rows
                found = np.empty(shape, dtype=block.dtype)
            at = self.copy_rows(argument, block, first, found, at)
            # Not to be in memory beside the next one.
            del block
        return found

    def copy_rows(
        self,
        selection: Selection,
        block: NDArray[Any],
        first: int,
        found: NDArray[Any],
        at: int,
    ) -> int:
        """Copy the rows wanted of a block, whose first row is ``first``, to ``at`` and after.

        Returns the place behind them.
        """
        before = (slice(None),) * self.row_axis
        end = first + block.shape[self.row_axis]
        for start in range(first, end, TILE_ROWS):
            rows = selection.between(start, min(start + TILE_ROWS, end)) - first
            out = found[(*before, slice(at, at + len(rows)))]
            # In any other mode NumPy would copy the output once more.
            np.take(block, rows, axis=self.row_axis, out=out, mode="clip")
            at += len(rows)
        return at

    def edges_around(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the edges of the parts that some rows lie in."""
        if isinstance(self.parts, int):
            first, last = start // self.parts, -(-stop // self.parts)
            return np.arange(first, last + 1) * self.parts
        first = int(np.searchsorted(self.parts, start, side="right")) - 1
        last = int(np.searchsorted(self.parts, stop, side="left"))
        return self.parts[first : last + 1]

    def pieces(self, selection: Selection) -> Iterator[tuple[int, int]]:
        """Yield the rows to be read: neighboring parts, none of which is without rows wanted."""
        if not len(selection):
            return
        edges = self.edges_around(selection.start, selection.stop)
        wanted = np.flatnonzero(np.diff(selection.count_before(edges)))
        begin = int(wanted[0])
        for part, following in pairwise([*wanted.tolist(), len(edges)]):
            long = edges[min(following + 1, len(edges) - 1)] - edges[begin] > self.most_rows
            if following > part + 1 or long:
                yield selection.bounds(int(edges[begin]), int(edges[part + 1]))
                begin = following


def pick_rows(source: Source, rows: NDArray[np.int64]) -> Source:
    """Return the source of some rows, in ascending order, of a dense one."""
    assert not source.is_sparse
    if source.picked_of is not None:
        whole, known = source.picked_of
        return pick_rows(whole, known[rows])
    return PICKERS[source.kind](source, rows)


def pick_lazy(source: Source, rows: NDArray[np.int64]) -> Source:
    """Return some rows of a Dask array, whose other blocks are never computed for them."""
    assert source.row_chunks is not None
    (array,) = source.cut([0, *np.cumsum(source.row_chunks).tolist()]).arrays
    picked: da.Array = array[(*(slice(None),) * source.row_axis, rows)]
    found = lazy_source(source.name, picked, source.row_axis)
    return replace(found, identity=partial(picked_identity, source.identity, rows))


def pick_stored(source: Source, rows: NDArray[np.int64]) -> Source:
    """Return some rows of what is stored."""
    parts = parts_of(source)
    edges = parts
    if isinstance(edges, int):
        edges = np.append(np.arange(0, source.num_rows, edges), source.num_rows)
    inner = np.searchsorted(rows, edges)
    filled = np.diff(inner) > 0
    most_rows = max(1, READ_BYTES // max(source.row_bytes, 1))
    largest = int(np.diff(edges)[filled].max(initial=0))
    held = max(largest, min(most_rows, source.num_rows)) * source.row_bytes
    shape = list(source.shape)
    shape[source.row_axis] = len(rows)
    return replace(
        source,
        shape=tuple(shape),
        reader=PickedReader(source.reader, source.row_axis, parts, most_rows),
        cut=partial(cut_selections, rows),
        identity=partial(picked_identity, source.identity, rows),
        chunk_rows=1,
        # Chunks are asked for together here.
        is_late=False,
        chunk_bytes=held,
        in_flight_bytes=min(held, source.in_flight_bytes),
        held_bytes=held + source.held_bytes,
        part_edges=np.unique(inner),
        rows_read=int(np.diff(edges)[filled].sum()),
        picked_of=(source, rows),
    )


def parts_of(source: Source) -> int | NDArray[np.int64]:
    """Return the edges of what storage hands out at once, or their common distance."""
    if source.part_edges is not None:
        return source.part_edges
    if source.chunk_rows > 1:
        return source.chunk_rows
    # Any row can be read by itself: what lies close together is read together.
    return max(1, READ_BYTES // 64 // max(source.row_bytes, 1))


def cut_selections(rows: NDArray[np.int64], edges: Sequence[int]) -> Cut:
    """Return the rows of each block."""
    return Cut([Selection.of(rows[slice(*part)]) for part in pairwise(edges)])


def picked_identity(identity: Any, rows: NDArray[np.int64]) -> Identity:
    """Return the identity of some rows of a source."""
    return {**identity(), "picked": {"number": len(rows), "token": tokenize(rows)}}


PICKERS = {"memory": take_rows, "lazy": pick_lazy, "stored": pick_stored}
