"""The store of sparse votes: AnnData's CSR convention in a Zarr v3 group, with ids beside it.

Members of the group: ``data`` (class codes), ``indices`` (annotators, ascending within a row),
``indptr`` (offsets of the rows), ``tasks`` and ``annotators`` (their ids). A group gets its
``encoding-type`` as the last step, so that a torn import is no votes at all for any reader; until
then it is marked as one, so that the next import knows it may be replaced.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from daskal.errors import InvalidDataError, MissingPathError, StoreExistsError
from daskal.importing.columns import EXAMPLES
from daskal.storage.objects import PARTIAL, remove
from daskal.storage.redaction import redacted
from daskal.storage.stores import (
    NoGroupError,
    create_array,
    cut_array,
    local_path,
    names_under,
    open_group,
    open_store,
    update_attributes,
)
from daskal.storage.tables import Column, member
from daskal.storage.transfers import write_rows
from daskal.text import listed

ROOT_KEY = "zarr.json"
MEMBERS = ("data", "indices", "indptr", "tasks", "annotators")
ENCODING = "csr_matrix"
ATTRS = "daskal"
UNFINISHED = {"importing": True}
"""What the attributes say of an import that has not ended, in place of its classes."""

CHUNK = 2**18
"""Elements a chunk: 1 MiB of annotators, so that a block of rows decodes little beyond itself."""

CHANGED = (
    "votes: the second read found other ids, labels or counts than the first. Expected votes that "
    "stay the same while they are imported: store them first."
)

_NEVER_WRITTEN = -1
_LOW_HALF = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class VotesStore:
    """Where the group is kept: small, and able to travel to every worker."""

    url: str
    options: Mapping[str, Any] | None = dataclasses.field(repr=False)

    @classmethod
    def under(cls, out: str, options: Mapping[str, Any] | None) -> VotesStore:
        """Return the store under a path or URL, links followed: a link itself holds nothing."""
        place = local_path(out)
        return cls(out if place is None else os.path.realpath(place), options)

    def refuse_existing(self, *, overwrite: bool) -> None:
        """Raise `StoreExistsError` if something is there that may not be replaced."""
        names = names_under(self.url, self.options)
        if names is None:
            return
        if not overwrite:
            raise StoreExistsError(
                f"{redacted(self.url)} exists already.",
                advice="Choose another path, or pass {overwrite=True}.",
            )
        # What a write that was killed left behind is nobody's.
        names = [name for name in names if not name.endswith(PARTIAL)]
        strangers = sorted(set(names) - {ROOT_KEY, *MEMBERS})
        if names and not strangers and not self.is_import():
            strangers = ["what no import made"]
        if strangers:
            raise StoreExistsError(
                f"{redacted(self.url)} is no import of daskal, or holds something beside one "
                f"({listed(strangers)}), so that",
                advice="{overwrite=True} would delete it. Choose another path, or remove it "
                "yourself.",
            )

    def is_import(self) -> bool:
        """Return whether the attributes are those of an import, finished or torn."""
        try:
            attributes = self._group("r").attrs.asdict()
        except (MissingPathError, NoGroupError):
            return False
        described = attributes.get(ATTRS)
        finished = attributes.get("encoding-type") == ENCODING and isinstance(described, dict)
        return finished or described == UNFINISHED

    def is_finished(self) -> bool:
        """Return whether all votes of an import are there."""
        try:
            return self._group("r").attrs.get("encoding-type") == ENCODING
        except (MissingPathError, NoGroupError):
            return False

    def remove(self) -> None:
        """Delete whatever is there."""
        remove(open_store(self.url, self.options, read_only=False), "")

    def successor(self) -> VotesStore:
        """Return where to write what is to stand here in the end.

        On a local disk that is beside an earlier import, which stays until the new one is whole.
        Elsewhere nothing can be moved, and it is here.
        """
        place = local_path(self.url)
        if place is None or not place.exists():
            return self
        return dataclasses.replace(self, url=f"{place}.importing")

    def give_way(self, successor: VotesStore) -> None:
        """Have the finished successor stand here."""
        place = local_path(self.url)
        if place is None or successor == self:
            return
        aside = Path(tempfile.mkdtemp(prefix=f"{place.name}.", dir=place.parent))
        place.rename(aside / place.name)
        Path(successor.url).rename(place)
        shutil.rmtree(aside)

    def create(
        self, *, num_votes: int, num_classes: int, tasks: pa.Array, annotators: pa.Array
    ) -> None:
        """Make the group with its ids, and room for ``num_votes`` votes."""
        group = self._group("a", attributes={ATTRS: UNFINISHED})
        code = np.int16 if num_classes <= np.iinfo(np.int16).max else np.int32
        sizes = {"data": num_votes, "indices": num_votes, "indptr": len(tasks) + 1}
        dtypes = {"data": code, "indices": np.int32, "indptr": np.int64}
        for name, size in sizes.items():
            # A fill value no vote has: Zarr leaves out chunks that hold nothing but it, and a
            # chunk of votes for class 0 shall be there.
            create_array(
                group,
                name,
                shape=(size,),
                chunks=(min(CHUNK, size),),
                dtype=np.dtype(dtypes[name]),
                fill_value=_NEVER_WRITTEN,
            )
        _write_ids(group, "tasks", tasks)
        _write_ids(group, "annotators", annotators)

    def read_ids(self, name: str) -> pa.Array:
        """Read back the ids ``"tasks"`` or ``"annotators"``."""
        array = member(self._group("r"), name)
        assert array is not None
        ids = Column(array)
        if ids.dtype.kind in "iu":
            return pa.array(ids[:])
        # By chunks: a Python object for every id at once would take ten times the ids' memory.
        (step,) = array.chunks
        parts = [
            pa.array(ids[start : start + step].astype(object), pa.large_string())
            for start in range(0, array.shape[0], step)
        ]
        return pa.concat_arrays(parts)

    def append(self, before: Appended, block: SortedVotes, *, last: bool = False) -> Appended:
        """Append the next range of rows: whole chunks are written, the rest travels on.

        Only ``last`` writes what is left. Each call writes the same bytes when it is repeated.
        """
        ends = before.num_votes + np.cumsum(block.counts)
        fresh: dict[str, npt.NDArray[Any]] = {
            "data": block.codes,
            "indices": block.annotators,
            "indptr": ends,
        }
        done = {"data": before.num_votes, "indices": before.num_votes, "indptr": before.num_rows}
        # `indptr` has one element more than rows: it begins as the tail of `Appended.nothing`.
        done["indptr"] += 1
        tails: dict[str, npt.NDArray[Any]] = {}
        group = self._group("r+")
        for name, values in fresh.items():
            array = member(group, name)
            assert array is not None
            tail = before.tails[name]
            pending = np.concatenate([tail, values.astype(array.dtype)])
            (chunk,) = array.chunks
            whole = len(pending) if last else len(pending) // chunk * chunk
            start = done[name] - len(tail)
            if start + whole > array.shape[0]:
                raise InvalidDataError(CHANGED)
            if last and start + whole < array.shape[0]:
                # Votes that were replaced by later ones left room.
                cut_array(array, start + whole)
            if whole:
                write_rows(array, start, start + whole, pending[:whole])
            # A view would keep the whole range alive while the next one waits for its tail.
            tails[name] = pending[whole:].copy()
        return Appended(
            before.num_rows + len(block.counts),
            before.num_votes + len(block.codes),
            before.repeated + block.repeated,
            (before.examples + block.examples)[:EXAMPLES],
            tails,
        )

    def finish(self, *, shape: tuple[int, int], **attributes: Any) -> None:
        """Mark the group as complete."""
        update_attributes(
            self._group("r+"),
            {
                "encoding-type": ENCODING,
                "encoding-version": "0.1.0",
                "shape": list(shape),
                ATTRS: attributes,
            },
        )

    def _group(self, mode: str, **options: Any) -> Any:
        return open_group("the store of votes", self.url, mode, self.options, **options)


@dataclasses.dataclass(frozen=True)
class SortedVotes:
    """The votes of a range of rows in order, and the (row, annotator) pairs met repeatedly."""

    counts: npt.NDArray[np.int64]
    annotators: npt.NDArray[np.int32]
    codes: npt.NDArray[np.int32]
    repeated: int
    examples: tuple[tuple[int, int], ...]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, first: int, end: int) -> SortedVotes:
        """Sort votes on rows ``first`` to ``end`` by row (the frame's index) and annotator.

        Of votes for the same pair the last in column ``order`` is kept, any without that column.
        """
        # v votes; a pair is one number, row in the high half, since sorting one key is fastest
        pairs = ((frame.index.to_numpy() - first) << 32) + frame["annotator"].to_numpy()
        if "order" in frame.columns:
            order = np.lexsort((frame["order"].to_numpy(), pairs))
        else:
            order = np.argsort(pairs)
        pairs = pairs[order]
        kept = np.ones(len(pairs), dtype=bool)
        kept[:-1] = pairs[1:] != pairs[:-1]
        repeated = np.unique(pairs[~kept])
        codes = frame["code"].to_numpy()[order][kept]
        return cls(
            np.bincount(pairs[kept] >> 32, minlength=end - first),
            (pairs[kept] & _LOW_HALF).astype(np.int32),
            codes,
            len(repeated),
            tuple((int(pair >> 32) + first, int(pair & _LOW_HALF)) for pair in repeated[:EXAMPLES]),
        )

    @classmethod
    def nothing(cls) -> SortedVotes:
        """No rows at all."""
        none = np.empty(0, dtype=np.int32)
        return cls(np.empty(0, dtype=np.int64), none, none, 0, ())


@dataclasses.dataclass(frozen=True)
class Appended:
    """What a store holds so far, and the ends of its arrays that fill no chunk yet."""

    num_rows: int
    num_votes: int
    repeated: int
    examples: tuple[tuple[int, int], ...]
    tails: dict[str, npt.NDArray[Any]]

    @classmethod
    def nothing(cls) -> Appended:
        """No votes; `indptr` begins with 0."""
        none = np.empty(0, dtype=np.int32)
        tails: dict[str, npt.NDArray[Any]] = {
            "data": none,
            "indices": none,
            "indptr": np.zeros(1, dtype=np.int64),
        }
        return cls(0, 0, 0, (), tails)


def _write_ids(group: Any, name: str, ids: pa.Array) -> None:
    text = pa.types.is_large_string(ids.type)
    array = create_array(
        group,
        name,
        shape=(len(ids),),
        chunks=(min(CHUNK, len(ids)),),
        dtype=str if text else ids.type.to_pandas_dtype(),
        attributes={
            "encoding-type": "string-array" if text else "array",
            "encoding-version": "0.2.0",
        },
    )
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        write_rows(array, start, start + len(part), part.to_numpy(zero_copy_only=False))
