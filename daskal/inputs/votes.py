"""Votes without probabilities, opened as blocks: labels, and known classes beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskal.errors import EstimateError
from daskal.inputs.blocks import RowBlocks, cut_rows
from daskal.inputs.compressed_rows import Rows, mean_row_bytes
from daskal.inputs.data import LabeledData
from daskal.inputs.gold import open_gold, with_gold
from daskal.inputs.ids import take_ids
from daskal.inputs.labels import Labels, open_labels
from daskal.inputs.readers import plain_block
from daskal.inputs.sources import Cut, Source
from daskal.method.aggregates import VoteModel
from daskal.method.findings import Names
from daskal.method.values import SparseLabels
from daskal.options import Storage

# Labels of a matrix that are looked at in one go.
PART = 2**22


@dataclass(frozen=True)
class VotesData:
    """Labels, and known classes of some examples, as row-aligned blocks."""

    labels: Labels
    gold: Source | None
    blocks: RowBlocks

    @classmethod
    def beside_model(cls, labeled: LabeledData, gold: Source | None) -> VotesData:
        """Return the labels of labeled data alone, in the same blocks."""
        sources = labeled.blocks.sources[:1]
        blocks = replace(labeled.blocks, sources=sources)
        return cls(labeled.labels, gold, blocks if gold is None else with_gold(blocks, gold))

    @property
    def names(self) -> Names:
        """The ids of rows, by the name of their array."""
        ids = self.labels.row_ids
        if ids is None:
            return {}
        return dict.fromkeys(("labels", "gold"), partial(take_ids, ids))


def open_votes(
    labels: Any, gold: Any, storage_options: Storage, *, uniform: bool = False
) -> VotesData:
    """Return labels and known classes as row-aligned blocks, ``uniform`` ones if asked for."""
    given = open_labels(labels, storage_options)
    given = given._replace(source=ordered(given.source))
    known = None if gold is None else open_gold(gold, given, storage_options)
    sources = [given.source] if known is None else [given.source, known]
    return VotesData(given, known, cut_rows(sources, has_labels=True, uniform=uniform))


def check_votes_fit(aggregate: VoteModel, labels: Labels) -> None:
    """Refuse labels whose class codes mean other classes than the aggregate's."""
    names = labels.class_names
    if names is not None and aggregate.class_names is not None and names != aggregate.class_names:
        raise EstimateError(
            f"labels: expected the classes in the aggregate's order, {aggregate.class_names!r}, "
            f"got {names!r}. Import the votes with classes= in that order."
        )


# --- in memory --------------------------------------------------------------------------------


def ordered(source: Source) -> Source:
    """Return the source of labels in memory with their votes found and put in order, once.

    They are read in each iteration.
    """
    if source.kind != "memory":
        return source
    whole = [0, source.num_rows]
    (given,) = source.cut(whole).arguments
    rows = Rows(*given) if source.is_sparse else compress_matrix(given)
    labels = rows.ordered(source.shape[1])
    if labels.annotators.dtype.itemsize > 4:
        labels = replace(labels, annotators=labels.annotators.astype(np.int32))
    return replace(
        source,
        row_bytes=mean_row_bytes(
            source.num_rows, (labels.offsets, labels.annotators, labels.classes)
        ),
        reader=OrderedReader(source.name),
        cut=partial(cut_ordered, labels),
        is_sparse=True,
    )


def cut_ordered(labels: SparseLabels, edges: Sequence[int]) -> Cut:
    """Return views of the labels of each block."""
    faulty = np.searchsorted(labels.faulty_rows, edges).tolist()
    parts = []
    for (start, stop), bad in zip(pairwise(edges), pairwise(faulty), strict=True):
        votes = slice(int(labels.offsets[start]), int(labels.offsets[stop]))
        parts.append(
            (
                labels.offsets[start : stop + 1],
                labels.annotators[votes],
                labels.classes[votes],
                labels.faulty_rows[slice(*bad)],
                labels.faults[slice(*bad)],
                labels.values[slice(*bad)],
            )
        )
    return Cut(parts)


@dataclass(frozen=True)
class OrderedReader:
    """The task is handed its votes, in order already."""

    name: str

    def __call__(self, argument: Any, start: int, stop: int) -> SparseLabels:
        """Return rows ``start:stop``."""
        offsets, annotators, classes, faulty, faults, values = argument
        return SparseLabels(
            offsets - offsets[0], annotators, classes, faulty - start, faults, values
        )


def compress_matrix(matrix: NDArray[Any]) -> Rows:
    """Return the labels of a matrix that are not missing, in their own dtype."""
    if isinstance(matrix, np.ma.MaskedArray):
        matrix = plain_block("labels", matrix)
    num_rows, num_annotators = matrix.shape
    step = max(PART // max(num_annotators, 1), 1)
    counts: list[NDArray[Any]] = [np.zeros(1, dtype=np.int64)]
    annotators: list[NDArray[Any]] = [np.empty(0, dtype=np.int32)]
    classes: list[NDArray[Any]] = [np.empty(0, dtype=matrix.dtype)]
    for start in range(0, num_rows, step):
        part = np.asarray(matrix[start : start + step])
        given = is_given(part)
        counts.append(given.sum(axis=1))
        annotators.append(np.nonzero(given)[1].astype(np.int32))
        classes.append(part[given])
    return Rows(
        np.cumsum(np.concatenate(counts)), np.concatenate(annotators), np.concatenate(classes)
    )


def is_given(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which labels are not missing."""
    if labels.dtype.kind == "i":
        return np.greater_equal(labels, 0)
    # NaN alone differs from itself.
    return np.equal(labels, labels)
