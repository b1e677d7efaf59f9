"""What a run reads and stores: its inputs opened and checked, its sections, its fingerprint."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskal.api import selection
from daskal.errors import InputError
from daskal.inputs import arguments, fingerprint
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.data import (
    LabeledData,
    PoolData,
    check_fits,
    check_same_model,
    open_labeled,
    open_pool,
)
from daskal.inputs.ids import RowIds, StoredIds
from daskal.inputs.sources import make_source
from daskal.method import findings
from daskal.method.estimate import Estimate
from daskal.method.values import LABELED_COLUMNS, UNLABELED_COLUMNS
from daskal.options import Storage
from daskal.runs.store import Section
from daskal.storage.redaction import redacted


@dataclass(frozen=True)
class RunInputs:
    """What a run reads, opened and checked."""

    labeled: LabeledData | None
    pool: PoolData | None
    ids: Mapping[str, Any]

    @classmethod
    def open(
        cls,
        labels: Any,
        pred_probs: Any,
        pool: Any,
        storage_options: Storage,
        labeled_ids: Any = None,
        unlabeled_ids: Any = None,
    ) -> RunInputs:
        """Open what is given."""
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
            labeled = open_labeled(labels, pred_probs, storage_options, uniform=True)
        if pool is not None:
            opened_pool = open_pool(pool, storage_options, uniform=True)
        if labeled is not None and opened_pool is not None:
            check_same_model(labeled.probs, opened_pool.probs)
        ids = {}
        if labeled is not None:
            known = known_ids(labeled_ids, labeled.row_ids)
            if known is not None:
                ids["labeled"] = open_ids("labeled", known, labeled.blocks, storage_options)
        if opened_pool is not None:
            known = known_ids(unlabeled_ids, opened_pool.probs.row_ids)
            if known is not None:
                ids["unlabeled"] = open_ids("unlabeled", known, opened_pool.blocks, storage_options)
        return cls(labeled, opened_pool, ids)

    def check_estimate(self, estimate: Estimate | None) -> None:
        """Refuse an estimate made for other classes or models."""
        if estimate is None:
            return
        if self.labeled is not None:
            check_fits(estimate, self.labeled.probs, "pred_probs")
        if self.pool is not None:
            check_fits(estimate, self.pool.probs, "pred_probs_unlabeled")

    @property
    def names(self) -> findings.Names:
        """The ids of rows, by the name of their array."""
        arrays = {"labels": "labeled", "pred_probs": "labeled", "pred_probs_unlabeled": "unlabeled"}
        return {
            array: functools.partial(selection.pick_rows, self.ids[section])
            for array, section in arrays.items()
            if section in self.ids
        }

    def blocks(self) -> dict[str, RowBlocks]:
        """Return the blocks of each section that is given."""
        parts = (("labeled", self.labeled), ("unlabeled", self.pool))
        return {name: part.blocks for name, part in parts if part is not None}

    def sections(self) -> list[Section]:
        """Return the sections of the store."""
        columns = {"labeled": LABELED_COLUMNS, "unlabeled": UNLABELED_COLUMNS}
        return [
            Section(name, columns[name], blocks.edges[-1], blocks.row_chunks[0])
            for name, blocks in self.blocks().items()
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Return what the inputs are known by."""
        described: dict[str, Any] = {
            name: {
                "rows": blocks.edges[-1],
                "block_rows": blocks.row_chunks[0],
                "sources": {source.name: source.identity() for source in blocks.sources},
            }
            for name, blocks in self.blocks().items()
        }
        for section, ids in self.ids.items():
            described[section]["ids"] = make_source(f"{section}_ids", ids, row_axis=0).identity()
        if self.labeled is not None:
            described["labeled"]["annotator_ids"] = fingerprint.names_identity(
                self.labeled.labels.annotator_ids
            )
        return described


def describe_input(given: Any) -> Any:
    """What an input was, in words: a path, or kind, shape and dtype."""
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


def known_ids(given: Any, own: RowIds | None) -> Any:
    """Return the ids that were passed, or those the inputs came with."""
    if given is not None or own is None:
        return given
    return own.array if isinstance(own, StoredIds) else own.to_numpy()


def open_ids(section: str, ids: Any, blocks: RowBlocks, storage_options: Storage) -> Any:
    """Return the array of a section's ids, one per example."""
    array = arguments.open_argument(f"{section}_ids", ids, storage_options).array
    if tuple(array.shape) != (blocks.edges[-1],):
        raise InputError(
            f"{section}_ids: expected one id per example, shape ({blocks.edges[-1]},), got "
            f"{tuple(array.shape)}."
        )
    return array
