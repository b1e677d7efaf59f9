"""A Zarr store that writes down what is read from it, so that tests can count the reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


class CountingStore(LocalStore):
    """A local store that appends a line to ``<root>.reads`` for every chunk it hands out.

    The log is a file beside the store: a copy of the store in another process, pickled or opened
    by zarr itself, writes into the same one, and short appends do not interleave.
    """

    @property
    def _log(self) -> Path:
        return Path(f"{self.root}.reads")

    def _note(self, key: str, byte_range: Any) -> None:
        if key.rsplit("/", 1)[-1] in METADATA:
            return
        line = f"{key}\t{byte_range}\n".encode()
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(log, line)
        finally:
            os.close(log)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        self._note(key, byte_range)
        return await super().get(key, prototype, byte_range)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        self._note(key, byte_range)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    async def get_partial_values(
        self, prototype: Any, key_ranges: Iterable[tuple[str, Any]]
    ) -> list[Any]:
        wanted = list(key_ranges)
        for key, byte_range in wanted:
            self._note(key, byte_range)
        return await super().get_partial_values(prototype, wanted)

    def reads(self, under: str = "") -> Counter[str]:
        """Return how often each chunk was read, by key; for shards, by key and range of bytes.

        The index of a shard is left out: reading it decodes no chunk.
        """
        if not self._log.exists():
            return Counter()
        asked = (line.split("\t") for line in self._log.read_text().splitlines())
        return Counter(
            key if byte_range == "None" else f"{key} {byte_range}"
            for key, byte_range in asked
            if key.startswith(under) and not byte_range.startswith("SuffixByteRequest")
        )

    def forget(self) -> None:
        """Begin to count anew."""
        self._log.unlink(missing_ok=True)


def counted_array(
    root: Path | str,
    values: np.ndarray,
    *,
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None = None,
    zarr_format: int = 3,
) -> tuple[zarr.Array, CountingStore]:
    """Store ``values`` under ``root``; the array to give to daskal, and the store that counts.

    Every chunk is written, also those of nothing but zeros: zarr fetches a missing chunk too, but
    a test should not depend on it.
    """
    store = CountingStore(root)
    array = zarr.create_array(
        store,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        zarr_format=zarr_format,
        config={"write_empty_chunks": True},
    )
    array[...] = values
    store.forget()
    return array, store
