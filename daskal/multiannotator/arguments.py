"""Arguments as cleanlab takes and refuses them, converted for daskal.

NumPy arrays and DataFrames follow cleanlab 2.9.0 in what they accept; Dask and Zarr arrays, which
it does not know, follow daskal: rows at fault are errors, negative integers are missing labels.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd

from daskal.api.estimation import read_labels
from daskal.engine import reduction
from daskal.errors import ArgumentTypeError, DataWarning, InputError, InvalidDataError
from daskal.inputs.blocks import cut_rows
from daskal.inputs.data import LabeledData, PoolData, annotator_index, open_labeled, open_pool
from daskal.inputs.frames import float_values
from daskal.inputs.ids import RowIds
from daskal.inputs.labels import open_labels
from daskal.inputs.matching import with_classes
from daskal.inputs.probabilities import Probs
from daskal.kernels.quality import largest_label_block
from daskal.method.estimate import Estimate
from daskal.method.findings import FIRST_ROWS, Findings, describe, raise_invalid
from daskal.method.states import LabelStatistics
from daskal.names.columns import match_classes
from daskal.names.naming import is_default
from daskal.options import Options
from daskal.text import listed, plural

LAZY_PACKAGES = ("dask", "zarr", "xarray", "daskal")
LABELS, PROBS, POOL = "labels_multiannotator", "pred_probs", "pred_probs_unlabeled"


# --- forms ------------------------------------------------------------------------------------


def is_lazy(given: Any) -> bool:
    """Return whether an argument is an array that daskal takes and cleanlab does not."""
    if isinstance(given, list | tuple):
        return len(given) > 0 and all(is_lazy(item) for item in given)
    package = type(given).__module__.partition(".")[0]
    return isinstance(given, str | os.PathLike) or package in LAZY_PACKAGES


def check_type(name: str, given: Any) -> None:
    """Refuse probabilities that are not an array."""
    if not isinstance(given, np.ndarray) and not is_lazy(given):
        raise ArgumentTypeError(
            f"{name}: expected a NumPy, Dask, Zarr or xarray array, or the path of a Zarr array, "
            f"got {type(given).__name__}."
        )


def check_rank(name: str, probs: Probs, *, ensemble: bool) -> None:
    """Refuse the probabilities of one model where several are expected, and the reverse."""
    if probs.ensemble != ensemble:
        expected = "(P, N, K), of several models" if ensemble else "(N, K), of one model"
        other = "without _ensemble in its name" if ensemble else "whose name ends in _ensemble"
        raise InputError(
            f"{name}: expected shape {expected}. For others, use the function {other}."
        )


def take_pool(given: Any, *, ensemble: bool) -> PoolData:
    """Return the pool's probabilities."""
    pool = open_pool(given, None, least_classes=1)
    check_rank(POOL, pool.probs, ensemble=ensemble)
    return pool


class Matrix(NamedTuple):
    """Labels as daskal takes them, and the names a DataFrame gave them."""

    values: Any
    lazy: bool
    row_names: pd.Index | None
    column_names: pd.Index | None

    @property
    def convention(self) -> str:
        """How cleanlab counts: integer arrays as the paper does, all else by its own convention."""
        whole = isinstance(self.values, np.ndarray) and self.values.dtype.kind in "iu"
        return "paper" if whole else "cleanlab"


def take_labels(given: Any) -> Matrix:
    """Return the label matrix in the form in which cleanlab sees it."""
    if is_lazy(given):
        return Matrix(given, True, None, None)
    if isinstance(given, pd.DataFrame):
        try:
            values = float_values(given)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(
                f"{LABELS}: expected a DataFrame of class codes 0 to K - 1, got one that cannot be "
                f"read as numbers ({error}). format_multiannotator_labels turns names into codes."
            ) from error
        return Matrix(values, False, given.index, given.columns)
    if not isinstance(given, np.ndarray):
        raise InputError(
            f"{LABELS}: expected a NumPy array, a DataFrame, or a Dask or Zarr array, got "
            f"{type(given).__name__}."
        )
    if given.ndim != 2:
        raise InputError(
            f"{LABELS}: expected shape (N, M), one row per example and one column per "
            f"annotator, got {given.shape}."
        )
    if given.dtype.kind not in "fiub":
        raise ArgumentTypeError(
            f"{LABELS}: expected class codes 0 to K - 1 in a float or integer dtype, got dtype "
            f"{given.dtype}. format_multiannotator_labels turns names into codes."
        )
    if given.dtype.kind == "i" and given.size and given.min() < 0:
        rows = np.flatnonzero((given < 0).any(axis=1))
        raise InvalidDataError(
            f"{LABELS}: expected class codes of at least 0, got negative ones in {name_rows(rows)}."
            " Missing labels are NaN in a float matrix here; daskal.estimate and the functions "
            "beside it take negative codes for missing."
        )
    return Matrix(given.astype(np.float64) if given.dtype.kind == "b" else given, False, None, None)


def name_rows(rows: np.ndarray[Any, Any], noun: str = "row") -> str:
    """Return in words how many rows there are, and the first of them."""
    return f"{plural(len(rows), noun)}: {listed(rows.tolist(), most=FIRST_ROWS)}"


class Given(NamedTuple):
    """Labeled data, ready for both passes."""

    matrix: Matrix
    data: LabeledData
    lazy: bool

    @property
    def row_ids(self) -> RowIds | None:
        """Ids of the examples, where something names them."""
        if self.data.row_ids is not None:
            return self.data.row_ids  # of the order in which labels and probabilities are read
        names = self.matrix.row_names
        return None if names is None or is_default(names) else names

    @property
    def annotator_ids(self) -> pd.Index:
        """Ids of the annotators, else their numbers."""
        if self.matrix.column_names is not None:
            return self.matrix.column_names
        return annotator_index(self.data.labels, None)

    @property
    def on_invalid(self) -> str:
        """How rows at fault are treated: as an error, or as cleanlab treats them."""
        return "raise" if self.lazy else "keep"

    def options(self, **chosen: Any) -> Options:
        """Return the options of an estimate: cleanlab's, except for those chosen."""
        usual = Options(self.matrix.convention, "fit", "best_quality", "crowdlab", 0)
        options = usual._replace(**chosen)
        if options.temperature == "fit" and self.data.probs.num_classes == 1:
            # A single class has the probability 1 at every temperature.
            return options._replace(temperature=1.0)
        return options


def take_labeled(labels: Any, pred_probs: Any, *, ensemble: bool) -> Given:
    """Return the labeled data, if its form is one of those taken."""
    matrix = take_labels(labels)
    check_type(PROBS, pred_probs)
    values = matrix.values
    if matrix.row_names is not None and is_lazy(pred_probs):
        # Probabilities of other forms than cleanlab's may have names of rows themselves.
        values = pd.DataFrame(values, index=matrix.row_names)
    data = open_labeled(values, pred_probs, None, least_classes=1)
    check_rank(PROBS, data.probs, ensemble=ensemble)
    return Given(matrix, data, matrix.lazy or is_lazy(pred_probs))


def fit_pool(data: LabeledData, pool: PoolData) -> PoolData:
    """Return a pool with its columns in the order of the labeled examples' classes.

    Raises
    ------
    InputError
        If it is of other classes or models.
    """
    probs = data.probs
    for what, ours, others in (
        ("classes", probs.num_classes, pool.probs.num_classes),
        ("models", probs.num_models, pool.probs.num_models),
    ):
        if ours != others:
            raise InputError(
                f"expected {PROBS} and {POOL} of the same {what}, got {ours} and {others}."
            )
    return pool.with_probs(
        with_classes(pool.probs, match_classes(data.classes, pool.probs.classes))
    )


# --- contents ---------------------------------------------------------------------------------


def read(given: Given, options: Options, *, single: bool, strict: bool = True) -> LabelStatistics:
    """Read the labels once, and refuse what cleanlab refuses.

    ``single`` accepts data with one label per example, ``strict=False`` also rows and annotators
    without labels.
    """
    statistics = read_labels(given.data, options, given.on_invalid)
    of_labels = [fault for fault in statistics.findings.faults if fault.array == "labels"]
    raise_invalid(statistics.findings if given.lazy else Findings(tuple(of_labels)))
    if strict:
        check_gaps(given, statistics)
        if not (single or (given.data.labels.num_annotators > 1 and statistics.num_multiple)):
            raise InvalidDataError(
                f"{LABELS}: expected examples with labels of several annotators, got "
                f"{plural(given.data.labels.num_annotators, 'annotator')} and no example with two "
                "labels."
            )
    return statistics


def check_gaps(given: Given, statistics: LabelStatistics) -> None:
    """Refuse examples and annotators without labels."""
    unlabeled = statistics.num_examples - statistics.num_labeled
    if unlabeled or not statistics.num_examples:
        rows = f"{unlabeled:,} rows"
        if not given.matrix.lazy:
            rows = name_rows(np.flatnonzero(np.isnan(given.matrix.values).all(axis=1)))
        raise InvalidDataError(
            f"{LABELS}: expected at least one label in each row, got none in {rows}. Pass those "
            "examples' probabilities as pred_probs_unlabeled, or use daskal.score_labeled, which "
            "takes rows without labels."
        )
    silent = np.flatnonzero(statistics.votes == 0)
    if len(silent):
        columns = given.matrix.column_names
        names = silent if columns is None else columns[silent].to_numpy()
        raise InvalidDataError(
            f"{LABELS}: expected at least one label of each annotator, got none of "
            f"{name_rows(names, 'annotator')}. Drop those columns."
        )


def notes_on(statistics: LabelStatistics) -> list[str]:
    """Return notes on accepted data."""
    notes = [describe(statistics.findings)] if statistics.findings else []
    if statistics.num_multiple and not statistics.agreeing_pairs.any():
        notes.append(f"{LABELS}: no two annotators agree on any example. Check the labels.")
    return notes


def warn(notes: list[str]) -> None:
    """Warn the caller of the public function once, if there are notes."""
    if notes:
        warnings.warn("\n".join(notes), DataWarning, stacklevel=3)


def count_classes(matrix: Matrix) -> int:
    """Return the number of classes that labels imply, from the largest label."""
    opened = open_labels(matrix.values, None)
    blocks = cut_rows([opened.source], has_labels=True)
    largest = reduction.tree(blocks, "classes", largest_label_block).compute().value
    return max(2, largest + 1)


def uniform_probs(matrix: Matrix, num_classes: int) -> Any:
    """Return probabilities that favor no class."""
    if not matrix.lazy:
        shape = (len(matrix.values), num_classes)
        return np.broadcast_to(np.float64(1 / num_classes), shape)
    opened = open_labels(matrix.values, None)
    blocks = cut_rows([opened.source], has_labels=True)
    shape = (opened.num_rows, num_classes)
    return da.full(shape, 1 / num_classes, chunks=(blocks.row_chunks, num_classes))


# --- results ----------------------------------------------------------------------------------


def by_method(estimate: Estimate, method: str) -> Estimate:
    """Return the estimate as it would be under another consensus method.

    Best quality starts from the majority vote, so its estimate contains that of the majority vote.
    """
    options = estimate.options._replace(consensus_method=method)
    majority = method == "majority_vote"
    return replace(
        estimate, options=options, final=estimate.majority if majority else estimate.final
    )
