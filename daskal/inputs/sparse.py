"""Sparse votes as sources: SciPy matrices, CSR groups as AnnData stores them, and Dask arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import List, TaskRef

from daskal.errors import InputError
from daskal.inputs.compressed_rows import (
    MEMBERS,
    Rows,
    check_dtypes,
    is_sparse,
    mean_row_bytes,
    offsets_are_sound,
    raise_broken_offsets,
    rows_of,
)
from daskal.inputs.fingerprint import lazy_identity, memory_identity, stored_identities
from daskal.inputs.readers import GivenRowsReader, LazyRowsReader, StoredRowsReader
from daskal.inputs.sources import Cut, Source, cut_nothing
from daskal.storage import transfers
from daskal.storage.addresses import address_of
from daskal.storage.locations import check_stored, storage_errors

# A lazy block does not say how many votes it holds: five per row are assumed.
LAZY_ROW_BYTES = 64


def is_sparse_kind(array: Any) -> bool:
    """Return whether an array is sparse: a SciPy matrix, a CSR group, or a Dask array of these."""
    is_group = hasattr(array, "members")
    return is_group or is_sparse(array) or is_sparse(getattr(array, "_meta", None))


# --- in memory --------------------------------------------------------------------------------


def sparse_memory_source(name: str, matrix: Any) -> Source:
    """Return the source of a SciPy matrix; each task is handed views of its compressed rows."""
    rows = rows_of(name, matrix)
    check_dtypes(name, rows)
    num_votes = len(rows.annotators)
    # SciPy's arrays may be longer than the votes in them.
    if not offsets_are_sound(rows.offsets, num_votes, first=True, last=False):
        raise_broken_offsets(name, f"the {matrix.format} matrix", rows.offsets, num_votes)
    shape, dtype = tuple(matrix.shape), rows.classes.dtype
    return Source(
        name=name,
        kind="memory",
        shape=shape,
        dtype=dtype,
        row_axis=0,
        row_bytes=mean_row_bytes(shape[0], rows),
        reader=GivenRowsReader(name, shape[1]),
        cut=partial(cut_rows_of, rows),
        identity=partial(memory_identity, shape, dtype, *rows),
        is_sparse=True,
    )


def cut_rows_of(rows: Rows, edges: Sequence[int]) -> Cut:
    """Return views of the compressed rows of each block."""
    # No list: a block with no other source would be taken for its own list of sources.
    return Cut([tuple(rows.cut(*part)) for part in pairwise(edges)])


# --- stored -----------------------------------------------------------------------------------


def is_csr_group(group: Any) -> bool:
    """Return whether a Zarr group says it is a sparse matrix, or has the members of one."""
    encoding = group.attrs.get("encoding-type")
    if encoding is None:
        with storage_errors("read labels from", address_of(group), None):
            return all(member in group for member in MEMBERS)
    return str(encoding) in ("csr_matrix", "csc_matrix")


def check_group(name: str, group: Any) -> tuple[Rows, tuple[int, ...]]:
    """Return the members of a CSR group, which are not read, and its shape; refuse any other."""
    where = address_of(group)
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
    return rows, tuple(shape)


def sparse_stored_source(name: str, group: Any) -> Source:
    """Return the source of a CSR group as AnnData writes it; each task reads its rows.

    The votes of a row end anywhere in a chunk, and a block needs one more offset than it has rows:
    wherever blocks are cut, both neighbors read the chunk there, so no place is preferred.
    """
    rows, shape = check_group(name, group)
    # The largest chunks of the three members, as a rule.
    annotators: Any = rows.annotators
    return Source(
        name=name,
        kind="stored",
        shape=shape,
        dtype=np.dtype(rows.classes.dtype),
        row_axis=0,
        row_bytes=mean_row_bytes(shape[0], rows),
        reader=StoredRowsReader(name, address_of(group), rows, *shape),
        cut=cut_nothing,
        identity=partial(stored_identities, shape, dict(zip(MEMBERS, rows, strict=True))),
        chunk_bytes=int(annotators.chunks[0] * annotators.dtype.itemsize),
        in_flight_bytes=transfers.most_at_once(annotators),
        is_sparse=True,
        is_compressed=bool(annotators.compressors),
        is_late=transfers.is_late(annotators),
    )


# --- lazy -------------------------------------------------------------------------------------


def sparse_lazy_source(name: str, array: da.Array) -> Source:
    """Return the source of a Dask array of SciPy's blocks; a task takes those with its rows.

    Dask would rechunk them through SciPy, which adds up repeated entries on the way.
    """
    shape = tuple(int(size) for size in array.shape)
    starts = np.cumsum([0, *array.chunks[1]])[:-1]
    return Source(
        name=name,
        kind="lazy",
        shape=shape,
        dtype=np.dtype(array.dtype),
        row_axis=0,
        row_bytes=LAZY_ROW_BYTES,
        reader=LazyRowsReader(name, tuple(starts.tolist()), shape[1]),
        cut=partial(cut_sparse_blocks, array),
        identity=partial(lazy_identity, array),
        row_chunks=tuple(int(size) for size in array.chunks[0]),
        is_sparse=True,
    )


def cut_sparse_blocks(array: da.Array, edges: Sequence[int]) -> Cut:
    """Return the keys of the blocks that hold each task's rows, with the first row of each."""
    rows = np.cumsum([0, *array.chunks[0]])
    keys = array.__dask_keys__()
    parts = []
    for start, stop in pairwise(edges):
        # Even without rows there is one block.
        low = min(int(np.searchsorted(rows, start, side="right")), len(keys)) - 1
        high = max(int(np.searchsorted(rows, stop, side="left")), low + 1)
        parts.append(List(*(block_parts(int(rows[at]), keys[at]) for at in range(low, high))))
    return Cut(parts, [array])


def block_parts(first: int, keys: Any) -> List:
    """Return the first row of a row of blocks and the blocks, which stand side by side."""
    return List(first, List(*(TaskRef(key) for key in keys)))
