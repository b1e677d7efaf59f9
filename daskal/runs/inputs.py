"""Inputs of a run, opened and checked; its sections and its fingerprint."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from daskal.errors import InputError
from daskal.inputs import arguments, fingerprint
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.data import (
    LabeledData,
    PoolData,
    fit_pool,
    open_labeled,
    open_multi_labeled,
    open_pool,
)
from daskal.inputs.gold import open_gold
from daskal.inputs.ids import RowIds, ids_identity, nbytes_of, open_ids, take_ids
from daskal.inputs.matching import check_labeled_fits, check_same_model
from daskal.inputs.opened import Table
from daskal.inputs.sources import Source
from daskal.method import findings
from daskal.method.multi_label import AnyEstimate
from daskal.method.values import LABELED_COLUMNS, MULTI_LABEL_COLUMNS, UNLABELED_COLUMNS
from daskal.names.naming import check_names
from daskal.options import Storage
from daskal.runs.memory import MatchingMemory
from daskal.runs.store import Section
from daskal.storage.redaction import redacted


class Given(Protocol):
    """The inputs of a run, with a model or without."""

    @property
    def ids(self) -> Mapping[str, RowIds]:
        """The ids of the rows of each section, where they are known."""

    @property
    def table_rows(self) -> Mapping[str, NDArray[np.int64]]:
        """The rows that examples have in the one table that they came from, if they did."""

    def sections(self) -> list[Section]:
        """Return the sections of the store."""

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the inputs."""


@dataclass(frozen=True)
class RunInputs:
    """The inputs of a run, opened and checked.

    ``table_rows`` are the rows that the examples of each section have in the one table that they
    came from, if they did.
    """

    labeled: LabeledData | None
    pool: PoolData | None
    ids: Mapping[str, RowIds]
    table_rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    gold: Source | None = None
    multi_label: bool = False

    @classmethod
    def joined(
        cls,
        labeled: LabeledData,
        pool: PoolData | None,
        ids: Mapping[str, RowIds],
        table_rows: Mapping[str, NDArray[np.int64]],
        *,
        multi_label: bool = False,
    ) -> RunInputs:
        """Return sections that came from one table."""
        if pool is not None:
            pool = pool.with_probs(check_same_model(labeled.probs, pool.probs, labeled.classes))
        return cls(labeled, pool, ids, table_rows, multi_label=multi_label)

    @classmethod
    def open(
        cls,
        labels: Any,
        pred_probs: Any,
        pool: Any,
        storage_options: Storage,
        labeled_ids: Any = None,
        unlabeled_ids: Any = None,
        *,
        multi_label: bool = False,
    ) -> RunInputs:
        """Open the arguments that are given."""
        if (labels is None) != (pred_probs is None):
            missing, given = ("labels", "pred_probs")
            if pred_probs is None:
                missing, given = given, missing
            raise InputError(
                f"expected labels and pred_probs together, got {given} only: pass {missing} too."
            )
        if labels is None and pool is None:
            raise InputError(
                "expected labels and pred_probs, pred_probs_unlabeled, or all three; got none."
            )
        labeled = opened_pool = None
        if labels is not None:
            open_both = open_multi_labeled if multi_label else open_labeled
            labeled = open_both(labels, pred_probs, storage_options, uniform=True)
        if pool is not None:
            least = 1 if multi_label else 2
            opened_pool = open_pool(pool, storage_options, uniform=True, least_classes=least)
        if labeled is not None and opened_pool is not None:
            opened_pool = opened_pool.with_probs(
                check_same_model(labeled.probs, opened_pool.probs, labeled.classes)
            )
        ids = {}
        if labeled is not None:
            ids["labeled"] = open_row_ids(
                "labeled_ids", labeled_ids, labeled.blocks, labeled.row_ids, storage_options
            )
        if opened_pool is not None:
            ids["unlabeled"] = open_row_ids(
                "unlabeled_ids",
                unlabeled_ids,
                opened_pool.blocks,
                opened_pool.probs.row_ids,
                storage_options,
            )
        return cls(
            labeled,
            opened_pool,
            {name: known for name, known in ids.items() if known is not None},
            multi_label=multi_label,
        )

    def with_gold(self, gold: Any, storage_options: Storage) -> RunInputs:
        """Return the inputs with known classes of labeled examples, if any are given."""
        if gold is None:
            return self
        if self.labeled is None:
            raise InputError("gold: expected labels and pred_probs beside it, got none.")
        return replace(self, gold=open_gold(gold, self.labeled.labels, storage_options))

    def fit(self, estimate: AnyEstimate | None) -> RunInputs:
        """Return the inputs in the order of an estimate's classes; refuse other classes."""
        if estimate is None:
            return self
        if self.labeled is not None:
            check_labeled_fits(
                estimate, self.labeled.probs, self.labeled.classes, multi_label=self.multi_label
            )
        pool = None if self.pool is None else fit_pool(estimate, self.pool)
        return replace(self, pool=pool)

    @property
    def names(self) -> findings.Names:
        """The ids of rows, by the name of their array."""
        arrays = {
            "labels": "labeled",
            "pred_probs": "labeled",
            "gold": "labeled",
            "pred_probs_unlabeled": "unlabeled",
        }
        return {
            array: functools.partial(take_ids, self.ids[section])
            for array, section in arrays.items()
            if section in self.ids
        }

    @property
    def matching(self) -> MatchingMemory | None:
        """What this process holds for matching by id, None where the inputs came apart."""
        if not self.table_rows:
            return None
        num_rows = sum(map(len, self.table_rows.values()))
        return MatchingMemory(num_rows, max(map(nbytes_of, self.ids.values())))

    def blocks(self) -> dict[str, RowBlocks]:
        """Return the blocks of each section that is given."""
        parts = (("labeled", self.labeled), ("unlabeled", self.pool))
        return {name: part.blocks for name, part in parts if part is not None}

    def sections(self) -> list[Section]:
        """Return the sections of the store."""
        columns = {
            "labeled": MULTI_LABEL_COLUMNS if self.multi_label else LABELED_COLUMNS,
            "unlabeled": UNLABELED_COLUMNS,
        }
        classes = 0 if self.labeled is None else self.labeled.probs.num_classes
        return [
            Section(name, columns[name], blocks.edges[-1], blocks.chunk_rows, classes)
            for name, blocks in self.blocks().items()
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the inputs."""
        described: dict[str, Any] = {
            name: {
                "rows": blocks.edges[-1],
                "block_rows": blocks.chunk_rows,
                "sources": {source.name: source.identity() for source in blocks.sources},
            }
            for name, blocks in self.blocks().items()
        }
        for section, ids in self.ids.items():
            # Ids of the one table are as long as it; its columns are known already.
            if section not in self.table_rows:
                described[section]["ids"] = ids_identity(ids)
        if self.gold is not None:
            described["labeled"]["sources"][self.gold.name] = self.gold.identity()
        if self.labeled is not None:
            described["labeled"]["annotator_ids"] = fingerprint.names_identity(
                self.labeled.labels.annotator_ids
            )
        return described


def describe_input(given: Any) -> Any:
    """Return in words what an input was: a path, or kind, shape and dtype."""
    if isinstance(given, Table):
        given = given.given
    if isinstance(given, str | os.PathLike):
        return redacted(os.fspath(given))
    if isinstance(given, list | tuple):
        if all(isinstance(item, str | os.PathLike) or getattr(item, "shape", ()) for item in given):
            return [describe_input(item) for item in given]
        # Rows, not models: as many of them as there are examples.
        return f"builtins.{type(given).__name__} of length {len(given)}"
    kind = f"{type(given).__module__.partition('.')[0]}.{type(given).__qualname__}"
    shape = tuple(getattr(given, "shape", ()))
    dtype = getattr(given, "dtype", None)
    return f"{kind} of shape {shape}" + (f", {dtype}" if dtype is not None else "")


def open_row_ids(
    name: str, given: Any, blocks: RowBlocks, own: RowIds | None, storage_options: Storage
) -> RowIds | None:
    """Return the ids of a section's rows: those given, else those the rows came with."""

    def open_array() -> Any:
        return arguments.open_ids_argument(name, given, storage_options)

    of = blocks.sources[0].name
    ids = open_ids(name, given, blocks.edges[-1], own, of, open_array)
    if isinstance(ids, pd.Index):
        check_names(name, "rows", ids)
    return ids
