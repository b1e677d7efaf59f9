"""Sparse votes as sources: SciPy matrices, CSR groups as AnnData stores them, and Dask arrays.

A stored 0 is a vote for class 0. So nothing here goes through an operation of SciPy's that adds up
or drops entries: the three arrays of the compressed rows are cut and joined as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask._task_spec import List, TaskRef
from numpy.typing import NDArray

from daskal.errors import InputError, InvalidDataError
from daskal.inputs.sources import Chunks, Reader, Source, read_part
from daskal.kernels.votes import order_votes
from daskal.method.values import SparseLabels
from daskal.storage import transfers
from daskal.storage.locations import check_stored, storage_errors
from daskal.storage.redaction import redacted

MEMBERS = ("indptr", "indices", "data")
# Offsets looked at together when broken ones are described (8 MiB).
SCAN_ROWS = 2**20
FIRST_ROWS = 10
# A lazy block does not say how many votes it holds: taken for some five a row.
LAZY_ROW_BYTES = 64

# Formats of SciPy that hold other entries than those the caller stored.
LOSSY_FORMATS = {
    "lil": "drops a stored 0",
    "dok": "drops a stored 0",
    "bsr": "fills its blocks up with zeros",
    "dia": "fills its diagonals up with zeros",
}


class Rows(NamedTuple):
    """Compressed rows, unchecked: votes of row i are ``offsets[i]:offsets[i + 1]``."""

    offsets: NDArray[np.integer]
    annotators: NDArray[np.integer]
    classes: NDArray[Any]

    def cut(self, start: int, stop: int) -> Rows:
        """Rows ``start:stop``, as views."""
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        return Rows(
            self.offsets[start : stop + 1], self.annotators[first:last], self.classes[first:last]
        )

    def ordered(self, num_annotators: int) -> SparseLabels:
        """The block they make."""
        offsets = self.offsets.astype(np.int64)
        return order_votes(offsets - offsets[0], self.annotators, self.classes, num_annotators)


# --- structure --------------------------------------------------------------------------------


def check_dtypes(name: str, rows: Rows) -> None:
    """Refuse members that hold no such numbers."""
    for member, array, kinds in zip(MEMBERS, rows, ("iu", "iu", "fiub"), strict=True):
        if array.dtype.kind not in kinds:
            expected = "class codes" if member == "data" else "integers"
            raise InputError(f"{name}: expected {expected} in {member}, got {array.dtype}.")


def offsets_are_sound(
    offsets: NDArray[np.integer], num_votes: int, *, first: bool, last: bool
) -> bool:
    """Whether the offsets of a block rise within the votes there are, from end to end."""
    low, high = int(offsets[0]), int(offsets[-1])
    return bool(
        (low == 0 if first else low >= 0)
        and (high == num_votes if last else high <= num_votes)
        and (offsets[1:] >= offsets[:-1]).all()
    )


def raise_broken_offsets(name: str, where: str, indptr: Any, num_votes: int) -> None:
    """Describe all that is wrong with the offsets, the same from whichever block it was found."""
    ends = int(indptr[0]), int(indptr[-1])
    rows: list[str] = []
    count = 0
    for start in range(0, indptr.shape[0] - 1, SCAN_ROWS):
        offsets = np.asarray(indptr[start : start + SCAN_ROWS + 1])
        before, after = offsets[:-1], offsets[1:]
        bad = np.flatnonzero((after < before) | (before < 0) | (after > num_votes))
        count += len(bad)
        rows += [
            f"{start + at:,} ({before[at]:,} to {after[at]:,})"
            for at in bad[: FIRST_ROWS - len(rows)].tolist()
        ]
    more = f", and {count - len(rows):,} more" if count > len(rows) else ""
    listed = f", and has {count:,} bad row(s): {', '.join(rows)}{more}" if count else ""
    raise InvalidDataError(
        f"{name}: expected indptr of {where} to begin with 0, never fall and end with "
        f"{num_votes:,}, the length of data; it begins with {ends[0]:,}, ends with {ends[1]:,}"
        f"{listed}. Write the sparse votes anew."
    )


# --- in memory --------------------------------------------------------------------------------


def is_sparse(value: Any) -> bool:
    """Whether a value is one of SciPy's sparse matrices or arrays; SciPy need not be there."""
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "tocsr")


def rows_of(name: str, matrix: Any) -> Rows:
    """The compressed rows of a SciPy matrix, whichever of the faithful formats it has."""
    if matrix.ndim != 2:
        raise InputError(f"{name}: expected an (N, M) sparse matrix, got shape {matrix.shape}.")
    if matrix.format in LOSSY_FORMATS:
        raise InputError(
            f"{name}: expected a CSR, CSC or COO matrix, got {matrix.format.upper()}, which "
            f"{LOSSY_FORMATS[matrix.format]}: a 0 is a vote for class 0. Build a CSR matrix from "
            "(label, (row, annotator)) instead."
        )
    if matrix.format == "csr":
        return Rows(matrix.indptr, matrix.indices, matrix.data)
    if matrix.format == "csc":
        columns = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
        return compress(matrix.indices, columns, matrix.data, matrix.shape[0])
    return compress(matrix.row, matrix.col, matrix.data, matrix.shape[0])


def compress(
    rows: NDArray[np.integer], annotators: NDArray[np.integer], classes: NDArray[Any], num_rows: int
) -> Rows:
    """Votes in any order as compressed rows; SciPy's own way would add up repeated ones."""
    order = np.argsort(rows, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=num_rows))])
    return Rows(offsets, annotators[order], classes[order])


def mean_row_bytes(num_rows: int, rows: Any) -> int:
    """Bytes of a row of votes on average; ``rows`` has the three members, read or not."""
    offsets, annotators, classes = rows
    vote = annotators.dtype.itemsize + classes.dtype.itemsize
    return offsets.dtype.itemsize + math.ceil(vote * annotators.shape[0] / max(num_rows, 1))


@dataclass(frozen=True)
class GivenRowsReader:
    """The task is handed its rows."""

    name: str
    num_annotators: int

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Rows ``start:stop``."""
        return Rows(*argument).ordered(self.num_annotators)


@dataclass(frozen=True)
class SparseMemorySource:
    """Compressed rows in memory; each task is handed views of its own."""

    name: str
    rows: Rows
    shape: tuple[int, ...]
    row_axis: int = 0
    chunk_rows: int = 1
    chunk_bytes: int = 0
    flying_bytes: int = 0
    row_chunks: Chunks | None = None
    kind: str = "memory"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the class codes."""
        return np.dtype(self.rows.classes.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, on average."""
        return mean_row_bytes(self.shape[0], self.rows)

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return GivenRowsReader(self.name, self.shape[1])

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Views of the rows."""
        return [list(self.rows.cut(*cut)) for cut in pairwise(edges)], []


def open_matrix(name: str, matrix: Any) -> Source:
    """The source behind a SciPy matrix."""
    rows = rows_of(name, matrix)
    check_dtypes(name, rows)
    num_votes = len(rows.annotators)
    # SciPy's arrays may be longer than the votes in them.
    if not offsets_are_sound(rows.offsets, num_votes, first=True, last=False):
        raise_broken_offsets(name, f"the {matrix.format} matrix", rows.offsets, num_votes)
    return SparseMemorySource(name, rows, tuple(matrix.shape))


# --- stored -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredRowsReader:
    """Rows of a CSR group."""

    name: str
    group: str
    members: Rows  # Zarr arrays
    num_rows: int
    num_annotators: int

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Rows ``start:stop``."""
        indptr, indices, data = self.members
        num_votes = int(data.shape[0])
        offsets = read_part(self.name, "rows", indptr, slice(start, stop + 1))
        first, last = start == 0, stop == self.num_rows
        if not offsets_are_sound(offsets, num_votes, first=first, last=last):
            raise_broken_offsets(self.name, self.group, indptr, num_votes)
        votes = slice(int(offsets[0]), int(offsets[-1]))
        annotators = read_part(self.name, "votes", indices, votes)
        classes = read_part(self.name, "votes", data, votes)
        return Rows(offsets, annotators, classes).ordered(self.num_annotators)


@dataclass(frozen=True)
class SparseStoredSource:
    """A CSR group as AnnData writes it; each task reads its rows.

    Votes of a row end anywhere in a chunk, and a block needs one offset more than it has rows: no
    place to cut saves a chunk from being read by both neighbours, so that none is preferred.
    """

    name: str
    group: str
    members: Rows  # Zarr arrays
    shape: tuple[int, ...]
    row_axis: int = 0
    chunk_rows: int = 1
    row_chunks: Chunks | None = None
    kind: str = "stored"

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk of annotators, the largest of the three members' as a rule."""
        annotators: Any = self.members.annotators
        return int(annotators.chunks[0] * annotators.dtype.itemsize)

    @property
    def flying_bytes(self) -> int:
        """Bytes of the chunks that are in flight at most while a block is read, decoded."""
        return transfers.most_at_once(self.members.annotators)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the class codes."""
        return np.dtype(self.members.classes.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, on average."""
        return mean_row_bytes(self.shape[0], self.members)

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        return StoredRowsReader(self.name, self.group, self.members, *self.shape)

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Nothing: the reader holds the arrays."""
        return [None] * (len(edges) - 1), []


def is_csr_group(group: Any) -> bool:
    """Whether a Zarr group says that it holds a sparse matrix, or has the members of one."""
    encoding = group.attrs.get("encoding-type")
    if encoding is None:
        with storage_errors("read labels from", str(group.store_path), None):
            return all(member in group for member in MEMBERS)
    return str(encoding) in ("csr_matrix", "csc_matrix")


def open_group(name: str, group: Any) -> Source:
    """The source behind a CSR group; only its metadata is read."""
    where = redacted(str(group.store_path))
    encoding = group.attrs.get("encoding-type")
    if encoding != "csr_matrix":
        advice = (
            "Write its CSR form: anndata.io.write_elem(group, key, matrix.tocsr())."
            if encoding == "csc_matrix"
            else "It may be an import that has not finished: import the votes anew."
        )
        raise InputError(
            f"{name}: expected encoding-type 'csr_matrix' in the attributes of {where}, got "
            f"{encoding!r}. {advice}"
        )
    with storage_errors(f"read {name} from", where, None):
        lacking = [member for member in MEMBERS if member not in group]
        if lacking:
            raise InputError(
                f"{name}: expected {', '.join(MEMBERS)} in {where}, found no {', '.join(lacking)}."
            )
        rows = Rows(*(group[member] for member in MEMBERS))
    for member, array in zip(MEMBERS, rows, strict=True):
        check_stored(f"{member} of {name}", array)
    shape = group.attrs.get("shape")
    if not (
        isinstance(shape, list | tuple)
        and len(shape) == 2
        and all(isinstance(size, int) and size >= 0 for size in shape)
    ):
        raise InputError(
            f"{name}: expected shape [N, M] in the attributes of {where}, got {shape!r}."
        )
    check_dtypes(name, rows)
    shapes = [array.shape for array in rows]
    if shapes != [(shape[0] + 1,), shapes[1], shapes[1]] or len(shapes[1]) != 1:
        raise InputError(
            f"{name}: expected indptr of length N + 1 = {shape[0] + 1:,}, and indices and data "
            f"of one length, in {where}, got {', '.join(map(str, shapes))}."
        )
    return SparseStoredSource(name, where, rows, tuple(shape))


# --- lazy -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LazyRowsReader:
    """Rows cut out of the sparse blocks of a Dask array."""

    name: str
    column_starts: tuple[int, ...]
    num_annotators: int

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Rows ``start:stop``; the argument lists (first row, its blocks of columns)."""
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
        """Some rows of blocks that stand side by side."""
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
        """The rows of each block."""
        for block in blocks:
            if not is_sparse(block):
                raise InputError(
                    f"{self.name}: expected SciPy's sparse matrices as blocks, as the Dask array's "
                    f"meta says, got {type(block).__name__}."
                )
            start, stop, _ = rows.indices(block.shape[0])
            yield rows_of(self.name, block).cut(start, stop)


@dataclass(frozen=True)
class SparseLazySource:
    """A Dask array of SciPy's sparse blocks; each task takes those its rows are in.

    Dask would rechunk them through SciPy, which adds up repeated entries on the way.
    """

    name: str
    array: da.Array
    row_axis: int = 0
    chunk_rows: int = 1
    chunk_bytes: int = 0
    flying_bytes: int = 0
    kind: str = "lazy"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the class codes."""
        return np.dtype(self.array.dtype)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, guessed."""
        return LAZY_ROW_BYTES

    @property
    def row_chunks(self) -> Chunks | None:
        """Chunks along the rows."""
        return tuple(int(size) for size in self.array.chunks[0])

    @property
    def reader(self) -> Reader:
        """What a worker needs to read a block."""
        starts = np.cumsum([0, *self.array.chunks[1]])[:-1]
        return LazyRowsReader(self.name, tuple(starts.tolist()), self.shape[1])

    def arguments(self, edges: Sequence[int]) -> tuple[Iterable[Any], list[da.Array]]:
        """Keys of the blocks that hold each task's rows, with the first row of each."""
        rows = np.cumsum([0, *self.array.chunks[0]])
        keys = self.array.__dask_keys__()
        columns = []
        for start, stop in pairwise(edges):
            # Of no rows at all there is still one block.
            low = min(int(np.searchsorted(rows, start, side="right")), len(keys)) - 1
            high = max(int(np.searchsorted(rows, stop, side="left")), low + 1)
            columns.append(List(*(block_parts(int(rows[at]), keys[at]) for at in range(low, high))))
        return columns, [self.array]


def block_parts(first: int, keys: Any) -> List:
    """Return the first row of a row of blocks and the blocks, which stand side by side."""
    return List(first, List(*(TaskRef(key) for key in keys)))
