"""Sources: what the client knows of an array, and what it works out only when asked."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import zarr

from daskal.errors import InputError
from daskal.inputs import fingerprint
from daskal.inputs.fingerprint import lazy_identity, stored_identity
from daskal.inputs.sources import make_source
from daskal.inputs.sparse import sparse_lazy_source, sparse_memory_source, sparse_stored_source
from tests.inputs.sparsekit import LABELS, as_csr, lazy, write_group
from tests.problems import forbid_compute


def test_in_memory() -> None:
    source = make_source("probs", np.zeros((2, 50, 3), dtype="f4"), 1)
    assert (source.kind, source.num_rows, source.row_bytes) == ("memory", 50, 2 * 3 * 4)
    assert (source.chunk_rows, source.chunk_bytes, source.in_flight_bytes) == (1, 0, 0)
    assert (source.row_chunks, source.is_sparse, source.is_compressed) == (None, False, False)
    views, needs = source.cut((0, 20, 50))
    assert [view.shape for view in views] == [(2, 20, 3), (2, 30, 3)]
    assert all(view.base is not None for view in views)
    assert list(needs) == []


@pytest.mark.parametrize("compressors", [None, "auto"])
def test_stored(tmp_path: Path, compressors: str | None) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(50, 4),
        chunks=(5, 2),
        shards=(20, 4),
        dtype="f4",
        compressors=compressors,
    )
    source = make_source("probs", array, 0)
    assert (source.kind, source.num_rows, source.row_bytes) == ("stored", 50, 16)
    # Blocks may end with any inner chunk, and a shard is read at once.
    assert (source.chunk_rows, source.chunk_bytes) == (5, 20 * 4 * 4)
    assert source.in_flight_bytes > 0
    assert source.is_compressed == (compressors is not None)
    assert source.cut((0, 20, 50)) == ([None, None], ())


def test_lazy() -> None:
    array = da.zeros((50, 4), chunks=(20, 2), dtype="f8")
    with forbid_compute():
        source = make_source("probs", array, 0)
        whole = array.rechunk((20, 4))
        _, needs = make_source("probs", whole, 0).cut((0, 20, 40, 50))
        keys, rechunked = source.cut((0, 30, 50))
    assert (source.kind, source.num_rows, source.row_bytes) == ("lazy", 50, 32)
    assert (source.row_chunks, source.chunk_rows) == ((20, 20, 10), 1)
    assert needs[0] is whole
    assert rechunked[0].chunks == ((30, 20), (4,))
    assert [key.key for key in keys] == [(rechunked[0].name, i, 0) for i in range(2)]


def test_unknown_chunks_are_refused() -> None:
    array = da.zeros((50, 4), chunks=(20, 4))
    with pytest.raises(InputError, match="compute_chunk_sizes"):
        make_source("probs", array[array[:, 0] > 0], 0)


def test_sparse_votes(tmp_path: Path) -> None:
    votes = as_csr(LABELS)
    group = write_group(tmp_path / "votes.zarr", votes)
    stored = sparse_stored_source("labels", group)
    found = [
        sparse_memory_source("labels", votes),
        stored,
        sparse_lazy_source("labels", lazy(votes, (3, 1), (3,))),
    ]
    assert [source.kind for source in found] == ["memory", "stored", "lazy"]
    assert all(source.is_sparse and source.shape == (4, 3) for source in found)
    assert all(source.dtype == np.int16 and source.chunk_rows == 1 for source in found)
    # Offset, and one vote and a half of an annotator and a class.
    vote = votes.indices.itemsize + votes.data.itemsize
    assert found[0].row_bytes == votes.indptr.itemsize + -(-6 * vote // 4)
    assert stored.row_bytes == found[0].row_bytes
    assert stored.is_compressed
    assert stored.chunk_bytes == 5 * votes.indices.itemsize


# --- identities -------------------------------------------------------------------------------


def test_nothing_is_hashed_until_a_run_asks() -> None:
    with mock.patch.object(fingerprint, "tokenize", return_value="a token") as tokenize:
        dense = make_source("labels", LABELS, 0)
        sparse = sparse_memory_source("labels", as_csr(LABELS))
        tokenize.assert_not_called()
        assert dense.identity()["token"] == sparse.identity()["token"] == "a token"


def test_identities_tell_inputs_apart(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=LABELS)
    assert make_source("labels", array, 0).identity() == stored_identity(array)
    given = da.from_array(LABELS, chunks=2)
    assert make_source("labels", given, 0).identity() == lazy_identity(given)
    here = make_source("labels", LABELS, 0)
    assert here.identity() == make_source("pred_probs", LABELS.copy(), 0).identity()
    assert here.identity() != make_source("labels", LABELS + 1, 0).identity()


def test_identities_of_sparse_votes(tmp_path: Path) -> None:
    votes = as_csr(LABELS)
    here = sparse_memory_source("labels", votes).identity()
    assert here == sparse_memory_source("labels", votes.copy()).identity()
    for other in ([0, 0, 1, 1, 2, 1], [0, 1, 1, 1, 2, 0]):
        changed = sp.csr_array((np.array(other, np.int16), votes.indices, votes.indptr), (4, 3))
        assert sparse_memory_source("labels", changed).identity() != here
    group = write_group(tmp_path / "votes.zarr", votes)
    found = sparse_stored_source("labels", group).identity()
    assert found == {
        "shape": [4, 3],
        **{name: stored_identity(group[name]) for name in ("indptr", "indices", "data")},
    }
    blocks = lazy(votes, (3, 1), (3,))
    assert sparse_lazy_source("labels", blocks).identity() == lazy_identity(blocks)
