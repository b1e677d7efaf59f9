"""How a worker gets a block: small values sent to workers, without any array in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskal.errors import BlockError, InputError
from daskal.inputs.compressed_rows import (
    Rows,
    compress,
    is_sparse,
    offsets_are_sound,
    raise_broken_offsets,
    rows_of,
)
from daskal.method.values import SparseLabels
from daskal.storage import transfers
from daskal.storage.addresses import address_of
from daskal.storage.missing import check_chunks
from daskal.storage.objects import options_of
from daskal.storage.redaction import explain, showable
from daskal.storage.retries import with_retries

# Stands for masked integers: a missing label, and a probability that is refused.
MISSING_CODE = -1


class Reader(Protocol):
    """What a worker needs to get a block."""

    @property
    def name(self) -> str:
        """Name of the argument."""

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Return rows ``start:stop``, given the argument of the block's task."""


# --- dense ------------------------------------------------------------------------------------


def plain_block(name: str, block: Any) -> Any:
    """Return a block as a plain array, in which masked values are missing."""
    if isinstance(block, np.ma.MaskedArray):
        if block.dtype.kind == "i":
            return block.filled(MISSING_CODE)
        # Unsigned integers have no code for missing.
        return np.ma.filled(block if block.dtype.kind == "f" else block.astype(float), np.nan)
    if not isinstance(block, np.ndarray) and hasattr(block, "tocsr"):
        raise InputError(
            f"{name}: expected dense blocks, as the Dask array's meta says, got "
            f"{type(block).__name__}. Say what the blocks are: "
            "array.map_blocks(lambda block: block, meta=scipy.sparse.csr_array((0, 0), dtype=...))."
        )
    return np.asarray(block)


def read_part(name: str, what: str, array: Any, part: slice, axis: int = 0) -> Any:
    """Return part of a stored array, or raise an error that says which part of what."""
    options = options_of(array.store)
    try:
        return with_retries(
            lambda: transfers.read(array, part, axis), f"{name}: {what} {part.start:,}", options
        )
    except Exception as error:
        raise BlockError(
            f"{name}: {what} {part.start:,} to {part.stop:,} of {address_of(array)} "
            f"cannot be read: {explain(error, options)}"
        ) from showable(error, options)


@dataclass(frozen=True)
class GivenReader:
    """The task is handed the block itself."""

    name: str
    shape: tuple[int, ...]
    row_axis: int

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Return rows ``start:stop``."""
        block = plain_block(self.name, argument)
        expected = list(self.shape)
        expected[self.row_axis] = stop - start
        if block.shape != tuple(expected) or block.dtype.kind not in "fiub":
            raise InputError(
                f"{self.name}: expected a block of numbers of shape {tuple(expected)} for rows "
                f"{start:,} to {stop:,}, as the Dask array says, got {block.dtype} of shape "
                f"{block.shape}. Give map_blocks the right dtype= and chunks=."
            )
        return block


@dataclass(frozen=True)
class StoredReader:
    """The task reads its rows of a Zarr array."""

    name: str
    array: Any
    row_axis: int
    holds_labels: bool = False

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Return rows ``start:stop``."""
        rows = read_part(self.name, "rows", self.array, slice(start, stop), self.row_axis)
        if self.holds_labels:
            check_chunks(self.name, self.array, start, rows)
        return rows


class Matrix(Protocol):
    """Numbers in files, read by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""

    @property
    def edges(self) -> NDArray[np.int64] | None:
        """First row of each part that is read whole, and the number of rows, if there are such."""

    @property
    def held_bytes(self) -> int:
        """Most bytes held beside the rows that are wanted."""

    def read(self, name: str, start: int, stop: int, row_axis: int = 0) -> NDArray[Any]:
        """Return some rows."""

    def identity(self) -> dict[str, Any]:
        """Return what identifies it, from metadata alone."""


@dataclass(frozen=True)
class FileReader:
    """The task reads its rows of a table or an array in files."""

    name: str
    matrix: Matrix
    row_axis: int

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Return rows ``start:stop``."""
        return self.matrix.read(self.name, start, stop, self.row_axis)


@dataclass(frozen=True)
class ColumnsReader:
    """Another reader's block, its columns put in another order."""

    reader: Reader
    columns: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the argument."""
        return self.reader.name

    def __call__(self, argument: Any, start: int, stop: int) -> Any:
        """Return rows ``start:stop``."""
        return self.reader(argument, start, stop)[..., list(self.columns)]


# --- sparse -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class GivenRowsReader:
    """The task is handed its compressed rows."""

    name: str
    num_annotators: int

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Return rows ``start:stop``."""
        return Rows(*argument).ordered(self.num_annotators)


@dataclass(frozen=True)
class StoredRowsReader:
    """The task reads its rows of a CSR group."""

    name: str
    group: str
    members: Rows  # Zarr arrays
    num_rows: int
    num_annotators: int

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Return rows ``start:stop``."""
        members: tuple[Any, ...] = self.members
        indptr, indices, data = members
        num_votes = int(data.shape[0])
        offsets = read_part(self.name, "rows", indptr, slice(start, stop + 1))
        first, last = start == 0, stop == self.num_rows
        if not offsets_are_sound(offsets, num_votes, first=first, last=last):
            raise_broken_offsets(self.name, self.group, indptr, num_votes)
        votes = slice(int(offsets[0]), int(offsets[-1]))
        annotators = read_part(self.name, "votes", indices, votes)
        classes = read_part(self.name, "votes", data, votes)
        for array, values in ((indices, annotators), (data, classes)):
            # Many votes in a row may well be for class 0: a chunk of them may be left out.
            if array.metadata.fill_value is None:
                check_chunks(f"votes of {self.name}", array, votes.start, values)
        return Rows(offsets, annotators, classes).ordered(self.num_annotators)


@dataclass(frozen=True)
class LazyRowsReader:
    """The task cuts its rows out of the sparse blocks of a Dask array."""

    name: str
    column_starts: tuple[int, ...]
    num_annotators: int

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Return rows ``start:stop``; the argument lists (first row, its blocks of columns)."""
        parts = [
            self.join_columns(blocks, slice(max(start - first, 0), stop - first))
            for first, blocks in argument
        ]
        sizes = np.cumsum([0, *(len(part.annotators) for part in parts)])
        offsets = [
            part.offsets[1:].astype(np.int64) - part.offsets[0] + size
            for part, size in zip(parts, sizes[:-1], strict=True)
        ]
        return Rows(
            np.concatenate([np.zeros(1, dtype=np.int64), *offsets]),
            np.concatenate([part.annotators for part in parts]),
            np.concatenate([part.classes for part in parts]),
        ).ordered(self.num_annotators)

    def join_columns(self, blocks: Sequence[Any], rows: slice) -> Rows:
        """Return some rows of blocks that lie side by side."""
        cuts = list(self.cut_blocks(blocks, rows))
        if len(cuts) == 1:
            return cuts[0]
        at = [np.repeat(np.arange(len(cut.offsets) - 1), np.diff(cut.offsets)) for cut in cuts]
        annotators = [
            cut.annotators.astype(np.int64) + start
            for cut, start in zip(cuts, self.column_starts, strict=True)
        ]
        return compress(
            np.concatenate(at),
            np.concatenate(annotators),
            np.concatenate([cut.classes for cut in cuts]),
            len(cuts[0].offsets) - 1,
        )

    def cut_blocks(self, blocks: Sequence[Any], rows: slice) -> Iterator[Rows]:
        """Yield the rows of each block."""
        for block in blocks:
            if not is_sparse(block):
                raise InputError(
                    f"{self.name}: expected SciPy's sparse matrices as blocks, as the Dask array's "
                    f"meta says, got {type(block).__name__}."
                )
            start, stop, _ = rows.indices(block.shape[0])
            yield rows_of(self.name, block).cut(start, stop)
