"""The sources of scores that a batch is chosen from, and what is known of their examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from daskal.api.batches import LABELED, UNLABELED
from daskal.errors import InputError
from daskal.inputs import arguments
from daskal.inputs.blocks import RowBlocks, cut_rows
from daskal.inputs.groups import open_groups
from daskal.inputs.ids import RowIds, open_ids
from daskal.inputs.opened import Opened
from daskal.inputs.sources import Source, make_source, take_rows
from daskal.names.rows import Side, match_rows
from daskal.options import Storage

SCORES = "scores"


@dataclass(frozen=True)
class ScoreSource:
    """One of the two sources of scores, and what is known of its examples.

    Attributes
    ----------
    name : {"labeled", "unlabeled"}
    argument : str
        Name of the argument that the scores are.
    scores : Source
    ids : RowIds, optional
    beside : mapping of str to Source
        One value for each score: ``num_annotations``, ``quality``, ``groups``.
    numbered : bool
        Whether the scores have the default index of pandas.
    """

    name: str
    argument: str
    scores: Source
    ids: RowIds | None = None
    beside: Mapping[str, Source] = field(default_factory=dict)
    numbered: bool = False

    @property
    def rows(self) -> Side:
        """The examples as one side of a match."""
        return Side("scores", self.num_rows, self.ids, self.numbered)

    @property
    def num_rows(self) -> int:
        """Number of examples."""
        return self.scores.num_rows

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the arrays of a block."""
        return SCORES, *self.beside

    @property
    def blocks(self) -> RowBlocks:
        """The scores, and what is known beside them, in blocks."""
        return cut_rows([self.scores, *self.beside.values()], has_labels=False)


class Beside(NamedTuple):
    """Arguments with one value for each example of a source, None where they are not given."""

    ids: Any = None
    num_annotations: Any = None
    quality: Any = None
    groups: Any = None


def open_scores(
    name: str, given: Any, kinds: str, storage_options: Storage
) -> tuple[Source, Opened]:
    """Return an array of one axis as a source of blocks, and the argument as it was opened."""
    if isinstance(given, pd.DataFrame):
        raise InputError(
            f"{name}: expected an array of shape (N,), got a DataFrame. Pass its column of scores."
        )
    opened = arguments.open_argument(name, given, storage_options)
    if len(opened.array.shape) != 1:
        raise InputError(f"{name}: expected shape (N,), got {tuple(opened.array.shape)}.")
    source = make_source(name, opened.array, row_axis=0)
    arguments.check_numeric(name, source, kinds)
    return source, opened


def open_beside(
    name: str, given: Any, kinds: str, scores: Opened, num_rows: int, storage_options: Storage
) -> Source:
    """Return a number for each example, in the order of the scores."""
    source, opened = open_scores(name, given, kinds, storage_options)
    if source.num_rows != num_rows:
        raise InputError(
            f"{name}: expected one number per score, {num_rows:,}, got {source.num_rows:,}."
        )
    rows = match_rows(
        Side("scores", num_rows, scores.row_ids, scores.numbered),
        Side(name, num_rows, opened.row_ids, opened.numbered),
        movable=source.kind == "memory",
    )
    return source if rows.order is None else take_rows(source, rows.order)


def open_source(
    name: str,
    argument: str,
    given: Any,
    beside: Beside,
    group_column: str | None,
    storage_options: Storage,
) -> ScoreSource:
    """Return one source of scores with what is known beside them."""
    scores, opened = open_scores(argument, given, "fiu", storage_options)
    num_rows = scores.num_rows
    ids = known_ids(f"{name}_ids", beside.ids, opened, storage_options)
    found = {}
    for what, values, kinds in (
        ("num_annotations", beside.num_annotations, "iu"),
        ("quality", beside.quality, "f"),
    ):
        if values is not None:
            found[what] = open_beside(what, values, kinds, opened, num_rows, storage_options)
    if beside.groups is not None:
        found["groups"] = open_groups(beside.groups, group_column, num_rows, ids, storage_options)
    return ScoreSource(name, argument, scores, ids, found, opened.numbered)


def known_ids(name: str, given: Any, opened: Opened, storage: Storage) -> RowIds | None:
    """Return the ids that are given, else those that the scores came with."""

    def open_array() -> Any:
        return arguments.open_ids_argument(name, given, storage)

    num_rows = int(opened.array.shape[0])
    return open_ids(name, given, num_rows, opened.row_ids, "the scores", open_array)


def by_source(name: str, given: Any, scores: Any, pool: Any) -> dict[str, Any]:
    """Return an argument's part for each source: of a pair both, else that of the only source."""
    if isinstance(given, tuple) and len(given) == 2:
        return {LABELED: given[0], UNLABELED: given[1]}
    if given is not None and scores is not None and pool is not None:
        raise InputError(
            f"{name}: expected a pair, of the labeled examples and of the pool, as both have "
            f"scores, got one. Pass {name}=(labeled, pool); either may be None."
        )
    return {LABELED: None if scores is None else given, UNLABELED: None if pool is None else given}
