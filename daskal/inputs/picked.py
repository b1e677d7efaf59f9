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

    def rows(self) -> NDArray[np.int64]:
        """Return the rows."""
        if not self.left_out:
            return self.listed
        kept = np.ones(self.stop - self.start, dtype=bool)
        kept[self.listed - self.start] = False
        return np.flatnonzero(kept) + self.start


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
        rows = argument.rows()
        before = (slice(None),) * self.row_axis
        found: NDArray[Any] | None = None
        at = 0
        for wanted in self.pieces(rows):
            first, end = int(wanted[0]), int(wanted[-1]) + 1
            block = self.reader(None, first, end)
            if len(wanted) == len(rows) == end - first:
                return block
            if found is None:
                shape = list(block.shape)
                shape[self.row_axis] = len(rows)
                found = np.empty(shape, dtype=block.dtype)
            found[(*before, slice(at, at + len(wanted)))] = block[(*before, wanted - first)]
            at += len(wanted)
        return self.reader(None, 0, 0) if found is None else found

    def part_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the part that each row is in."""
        if isinstance(self.parts, int):
            return rows // self.parts
        return np.searchsorted(self.parts, rows, side="right") - 1

    def pieces(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Yield the rows in runs of neighboring parts, none of which is without such rows."""
        if not len(rows):
            return
        parts = self.part_of(rows)
        firsts = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(rows)]
        begin = 0
        for part, following in pairwise(firsts):
            # The rows of a part are ``part:following``.
            apart = part > begin and parts[part] > parts[part - 1] + 1
            long = rows[following - 1] + 1 - rows[begin] > self.most_rows
            if part > begin and (apart or long):
                yield rows[begin:part]
                begin = part
        yield rows[begin:]


def pick_rows(source: Source, rows: NDArray[np.int64]) -> Source:
    """Return the source of some rows, in ascending order, of a dense one."""
    assert not source.is_sparse
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
        in_flight_bytes=held + source.in_flight_bytes,
        part_edges=np.unique(inner),
        rows_read=int(np.diff(edges)[filled].sum()),
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
