"""Votes of several classes an example in compressed rows: who was asked, and what was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.inputs.fingerprint import memory_identity
from daskal.inputs.sources import Cut, Source
from daskal.method.values import Ints, TagLabels


class CompressedTags(NamedTuple):
    """Votes of several classes in compressed rows, as :class:`TagLabels` has them."""

    offsets: Ints
    annotators: NDArray[np.int32]
    chosen_offsets: Ints
    chosen: NDArray[np.int32]

    def cut(self, start: int, stop: int) -> CompressedTags:
        """Return rows ``start:stop``, as views."""
        first, last = self.offsets[start], self.offsets[stop]
        within = slice(self.chosen_offsets[first], self.chosen_offsets[last])
        return CompressedTags(
            self.offsets[start : stop + 1],
            self.annotators[first:last],
            self.chosen_offsets[first : last + 1],
            self.chosen[within],
        )


def tag_source(name: str, shape: tuple[int, int, int], tags: CompressedTags) -> Source:
    """Return the source of votes in memory; each task is handed views of its rows."""
    size = sum(array.nbytes for array in tags)
    return Source(
        name=name,
        kind="memory",
        shape=shape,
        dtype=np.dtype(np.int8),
        row_axis=0,
        row_bytes=-(-size // max(shape[0], 1)),
        reader=TagsReader(name),
        cut=partial(cut_tags, tags),
        identity=partial(memory_identity, shape, np.dtype(np.int8), *tags),
        is_sparse=True,
    )


def cut_tags(tags: CompressedTags, edges: Sequence[int]) -> Cut:
    """Return views of the votes of each block."""
    return Cut([tuple(tags.cut(*part)) for part in pairwise(edges)])


@dataclass(frozen=True)
class TagsReader:
    """The task is handed its compressed rows."""

    name: str

    def __call__(self, argument: Any, start: int, stop: int) -> TagLabels:
        """Return rows ``start:stop``."""
        tags = CompressedTags(*argument)
        return TagLabels(
            tags.offsets - tags.offsets[0],
            tags.annotators,
            tags.chosen_offsets - tags.chosen_offsets[0],
            tags.chosen,
        )
