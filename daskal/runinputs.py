"""What a run reads and stores: its inputs opened and checked, its sections, its fingerprint."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from daskal import api, findings, fingerprint, inputs, selection
from daskal.blocks import RowBlocks, cut_rows
from daskal.errors import InputError
from daskal.redaction import redacted
from daskal.scoring import LABELED_COLUMNS, UNLABELED_COLUMNS
from daskal.sources import StoredIds
from daskal.store import Section
from daskal.weights import Estimate

Storage = Mapping[str, Any] | None


@dataclass(frozen=True)
class RunInputs:
    """What a run reads, opened and checked."""

    labels: inputs.Labels | None
    probs: inputs.Probs | None
    pool: inputs.Probs | None
    labeled: RowBlocks | None
    unlabeled: RowBlocks | None
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
        given_labels = probs = labeled = pool_probs = unlabeled = None
        if labels is not None:
            given_labels, probs, labeled = api.labeled_blocks(
                labels, pred_probs, storage_options, uniform=True
            )
        if pool is not None:
            pool_probs = inputs.open_probs("pred_probs_unlabeled", pool, storage_options)
            unlabeled = cut_rows(pool_probs.sources, has_labels=False, uniform=True)
        if probs is not None and pool_probs is not None:
            check_same_model(probs, pool_probs)
        ids = {}
        for section, blocks, known in (
            ("labeled", labeled, first_known(labeled_ids, given_labels, probs)),
            ("unlabeled", unlabeled, first_known(unlabeled_ids, pool_probs)),
        ):
            if blocks is not None and known is not None:
                ids[section] = open_ids(section, known, blocks.edges[-1], storage_options)
        return cls(given_labels, probs, pool_probs, labeled, unlabeled, ids)

    def check_estimate(self, estimate: Estimate | None) -> None:
        """Refuse an estimate made for other classes or models."""
        if estimate is None:
            return
        if self.probs is not None:
            api.check_fits(estimate, self.probs, "pred_probs")
        if self.pool is not None:
            api.check_fits(estimate, self.pool, "pred_probs_unlabeled")

    @property
    def names(self) -> findings.Names:
        """What finds the ids of examples."""
        arrays = {"labels": "labeled", "pred_probs": "labeled", "pred_probs_unlabeled": "unlabeled"}
        return {
            array: functools.partial(selection.pick_rows, self.ids[section])
            for array, section in arrays.items()
            if section in self.ids
        }

    def sections(self) -> list[Section]:
        """Sections of the store."""
        parts = (
            ("labeled", LABELED_COLUMNS, self.labeled),
            ("unlabeled", UNLABELED_COLUMNS, self.unlabeled),
        )
        return [
            Section(name, columns, blocks.edges[-1], blocks.row_chunks[0])
            for name, columns, blocks in parts
            if blocks is not None
        ]

    def fingerprint(self) -> dict[str, Any]:
        """What the inputs are known by."""
        described: dict[str, Any] = {}
        for name, blocks in (("labeled", self.labeled), ("unlabeled", self.unlabeled)):
            if blocks is not None:
                described[name] = {
                    "rows": blocks.edges[-1],
                    "block_rows": blocks.row_chunks[0],
                    "sources": {
                        source.name: fingerprint.describe(source) for source in blocks.sources
                    },
                }
        for section, ids in self.ids.items():
            described[section]["ids"] = fingerprint.describe(ids)
        if self.labels is not None:
            described["labeled"]["annotator_ids"] = fingerprint.describe_names(
                self.labels.annotator_ids
            )
        return described


def check_same_model(probs: inputs.Probs, pool: inputs.Probs) -> None:
    """Refuse a pool with other classes or models than the labelled data."""
    ours, theirs = (
        (given.ensemble, given.num_models, given.num_classes, given.class_names)
        for given in (probs, pool)
    )
    if ours[:3] != theirs[:3]:
        raise InputError(
            "expected pred_probs and pred_probs_unlabeled from the same model(s), got "
            f"{probs.form} and {pool.form}."
        )
    if None not in (ours[3], theirs[3]) and ours[3] != theirs[3]:
        raise InputError(
            "expected the classes of pred_probs and pred_probs_unlabeled in one order, got "
            f"{ours[3]!r} and {theirs[3]!r}. Put the columns of one into the order of the other."
        )


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


def first_known(ids: Any, *sources: Any) -> Any:
    """Ids that were passed, or those the inputs came with."""
    if ids is not None:
        return ids
    for source in sources:
        if source is not None and source.row_ids is not None:
            ids = source.row_ids
            return ids.array if isinstance(ids, StoredIds) else ids.to_numpy()
    return None


def open_ids(section: str, ids: Any, num_rows: int, storage_options: Storage) -> Any:
    """The array of a section's ids, one an example."""
    array = inputs.open_argument(f"{section}_ids", ids, storage_options).array
    if tuple(array.shape) != (num_rows,):
        raise InputError(
            f"{section}_ids: expected one id an example, shape ({num_rows},), got "
            f"{tuple(array.shape)}."
        )
    return array
