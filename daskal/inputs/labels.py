"""Labels of several annotators, a matrix or sparse votes, opened as a row-aligned source."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal.errors import InputError
from daskal.inputs import sparse
from daskal.inputs.arguments import check_numeric, open_argument
from daskal.inputs.compressed_rows import is_sparse
from daskal.inputs.frames import frame_values
from daskal.inputs.ids import RowIds
from daskal.inputs.sources import Source, make_source
from daskal.inputs.tags import LISTS, Tags
from daskal.names.naming import plain_names
from daskal.names.normal import as_index
from daskal.names.rows import Side
from daskal.options import Storage


class Labels(NamedTuple):
    """The labels of several annotators."""

    source: Source
    num_rows: int
    num_annotators: int
    row_ids: RowIds | None
    annotator_ids: tuple[Hashable, ...] | None
    template: Any
    class_names: tuple[str, ...] | None = None
    numbered: bool = False  # whether the rows have the default index of pandas

    @property
    def rows(self) -> Side:
        """The rows as one side of a match."""
        return Side("labels", self.num_rows, self.row_ids, self.numbered)

    @property
    def annotators(self) -> Side:
        """The annotators as one side of a match."""
        names = None if self.annotator_ids is None else as_index(list(self.annotator_ids))
        return Side("labels", self.num_annotators, names)


def open_labels(given: Any, storage_options: Storage) -> Labels:
    """Return labels given as an (N, M) matrix or as sparse votes."""
    if isinstance(given, Tags) or has_lists(given):
        raise InputError(
            "labels: expected one class for each example and annotator, got lists of classes.",
            advice="Where an example may have several, pass {multi_label=True}.",
        )
    opened = open_argument("labels", given, storage_options)
    source = labels_source(opened.array)
    check_numeric("labels", source, "fiub")
    num_rows, num_annotators = source.shape
    ids = None
    if opened.column_ids is not None:
        ids = plain_names("labels", "annotators", opened.column_ids)
    for what, found, expected in (
        ("tasks", opened.row_ids, num_rows),
        ("annotators", opened.column_ids, num_annotators),
    ):
        if found is not None and len(found) != expected:
            raise InputError(
                f"labels: expected {expected:,} ids in {what}, as the votes have, got "
                f"{len(found):,}. Import the votes anew."
            )
    return Labels(
        source,
        num_rows,
        num_annotators,
        opened.row_ids,
        ids,
        opened.template,
        opened.class_names,
        opened.numbered,
    )


def has_lists(given: Any) -> bool:
    """Return whether the first label of a DataFrame is a list of classes."""
    if not isinstance(given, pd.DataFrame):
        return False
    columns = (column for _, column in given.items() if column.dtype.kind == "O")
    first = (cell for column in columns for cell in column.dropna().head(1).tolist())
    return isinstance(next(first, None), LISTS)


def advice_on_shape(shape: Sequence[int]) -> str:
    """Return what to do with labels that are no matrix."""
    if len(shape) == 3:
        return "For an (N, M, K) array of several classes an example, pass {multi_label=True}."
    return "One annotator's labels are labels.reshape(-1, 1)."


def labels_source(array: Any) -> Source:
    """Return the source of labels of any form."""
    if hasattr(array, "members"):
        return sparse.sparse_stored_source("labels", array)
    if is_sparse(array):
        return sparse.sparse_memory_source("labels", array)
    if len(array.shape) != 2:
        raise InputError(
            "labels: expected an (N, M) matrix, one row per example and one column per "
            f"annotator, got shape {tuple(array.shape)}.",
            advice=advice_on_shape(array.shape),
        )
    if sparse.is_sparse_kind(array):
        return sparse.sparse_lazy_source("labels", array)
    if isinstance(array, np.ndarray) and array.dtype == object:
        array = frame_values("labels", pd.DataFrame(array))
    return make_source("labels", array, row_axis=0, holds_labels=True)
