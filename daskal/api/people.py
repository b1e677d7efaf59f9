"""Annotators who can be asked, those of the estimate and the labels, and how many examples each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal.errors import DataWarning, InputError
from daskal.inputs.data import annotator_index
from daskal.inputs.labels import Labels
from daskal.inputs.matching import find_annotators
from daskal.method.aggregates import VoteModel
from daskal.method.estimate import Estimate
from daskal.method.values import Bools, Ints, SparseLabels
from daskal.names.naming import check_names, check_unique, kind_of, listed, plain_texts
from daskal.names.normal import as_index
from daskal.names.rows import find
from daskal.options import Storage, is_whole, shown
from daskal.storage import locations
from daskal.storage.redaction import redacted

# Stands for no limit.
UNLIMITED = np.iinfo(np.int64).max


@dataclass(frozen=True)
class People:
    """Annotators: the columns of the labels first, then others.

    Attributes
    ----------
    ids : pandas.Index
    places : (m,) int64
        Place of each in the estimate, -1 for one it does not know.
    asked : (a,) int64
        Those who can be asked.
    """

    ids: pd.Index
    places: Ints
    asked: Ints

    @classmethod
    def of(cls, known: Estimate | VoteModel, labels: Labels | None, available: Any) -> People:
        """Return all annotators, of whom those ``available`` can be asked."""
        own = known.annotator_ids
        theirs = pd.RangeIndex(known.num_annotators) if own is None else as_index(list(own))
        if labels is None:
            ids, places = theirs, np.arange(len(theirs))
        else:
            ids = annotator_index(labels, own)
            places = find_annotators(known, labels).places
            if own is not None:
                others = np.setdiff1d(np.arange(len(theirs)), places)
                ids = as_index([*ids.tolist(), *theirs[others].tolist()])
                places = np.concatenate([places, others])
        if available is None:
            return cls(ids, places, np.arange(len(ids)))
        return cls(ids, places, np.arange(0)).asking(available)

    def asking(self, available: Any) -> People:
        """Return the same annotators, with some who can be asked; new ones among them are added."""
        if isinstance(available, str | bytes | Mapping) or not hasattr(available, "__iter__"):
            raise InputError(
                f"available: expected a list of annotators' ids, got {shown(available)}."
            )
        wanted = as_index(available if hasattr(available, "__len__") else list(available))
        check_names("available", "annotators", wanted)
        check_unique("available", "annotators", wanted)
        asked = find(self.ids, wanted) if len(self.ids) else np.full(len(wanted), -1)
        new = wanted[asked < 0]
        if len(new) == len(wanted):
            hint = ""
            if len(wanted) and len(self.ids) and kind_of(wanted) != kind_of(self.ids):
                hint = f" Its ids are {kind_of(self.ids)}, these are {kind_of(wanted)}."
            raise InputError(
                f"annotators to ask: expected some that the estimate or the labels know, got "
                f"{listed(wanted) or 'nobody'}, none of whom they know.{hint}"
            )
        if len(new):
            warnings.warn(
                f"annotators to ask: neither the estimate nor the labels know {len(new):,} of "
                f"{len(wanted):,}, who count as the mean: {listed(new)}. Check how they are "
                "written.",
                DataWarning,
                stacklevel=4,
            )
        asked = np.where(asked < 0, len(self.ids) + np.cumsum(asked < 0) - 1, asked)
        ids = as_index([*self.ids.tolist(), *new.tolist()]) if len(new) else self.ids
        return People(ids, np.concatenate([self.places, np.full(len(new), -1)]), asked)

    def answered(self, votes: SparseLabels) -> Bools:
        """Return who has voted on which example, (b, m)."""
        found = np.zeros((len(votes), len(self.ids)), dtype=bool)
        found[np.repeat(np.arange(len(votes)), np.diff(votes.offsets)), votes.annotators] = True
        return found


def capacities(given: Any, ids: pd.Index) -> Ints:
    """Return the most examples for each annotator.

    Raises
    ------
    InputError
        If it is none of whole numbers, or names somebody who cannot be asked.
    """
    found = np.full(len(ids), UNLIMITED)
    if given is None:
        return found
    if isinstance(given, pd.Series | Mapping):
        items = list(given.items())
        wanted = as_index([name for name, _ in items])
        check_names("capacity", "annotators", wanted)
        check_unique("capacity", "annotators", wanted)
        places = find(ids, wanted) if len(wanted) else np.zeros(0, dtype=np.int64)
        if (places < 0).any():
            raise InputError(
                "capacity: expected annotators who can be asked, got "
                f"{listed(wanted[places < 0])}, who cannot: they are in neither the estimate, the "
                "labels nor available."
            )
        for place, (_, number) in zip(places.tolist(), items, strict=True):
            found[place] = checked_capacity(number)
        return found
    found[:] = checked_capacity(given)
    return found


def checked_capacity(number: Any) -> int:
    """Return a number of examples, 0 or more."""
    if not (is_whole(number) and number >= 0):
        raise InputError(
            "capacity: expected whole numbers of at least 0, one for all or one by annotator's id, "
            f"got {shown(number)}."
        )
    return int(number)


# --- people in a file -------------------------------------------------------------------------


class Asked(NamedTuple):
    """Who can be asked, and the most examples for those who have a limit."""

    available: list[Any]
    capacity: dict[Any, int]


def read_people(
    path: str | os.PathLike[str],
    known: Estimate | VoteModel,
    usual: int | None = None,
    storage_options: Storage = None,
) -> Asked:
    """Return the annotators that a CSV or Parquet file lists, by the ids that are known.

    It has the column ``annotator`` and, perhaps, ``capacity``, where an empty cell stands for the
    usual one. Names are matched as text where a file has made text of them.

    Raises
    ------
    InputError
        If columns or names are missing, a name is there twice, or a capacity is no whole number.
    StorageError
        If the file cannot be read.
    """
    import fsspec

    target = os.fspath(path)
    options = locations.options_for(target, storage_options) or {}
    with (
        locations.storage_errors("read the annotators in", target, storage_options),
        fsspec.open(target, "rb", **options) as file,
    ):
        table = read_table(file, is_parquet=target.lower().endswith(".parquet"))
    check_people(table, redacted(target))
    own = known.annotator_ids
    ids = list(range(known.num_annotators)) if own is None else list(own)
    by_text = dict(zip(plain_texts(as_index(ids)), ids, strict=True)) if ids else {}
    exact = set(ids)
    available = [
        name if name in exact else by_text.get(str(name), name)
        for name in table["annotator"].tolist()
    ]
    given = table.get("capacity", pd.Series("", index=table.index)).tolist()
    found = [
        usual if is_blank(cell) else capacity_of(cell, name, redacted(target))
        for name, cell in zip(table["annotator"], given, strict=True)
    ]
    limits = zip(available, found, strict=True)
    return Asked(available, {name: limit for name, limit in limits if limit is not None})


def read_table(file: Any, *, is_parquet: bool) -> pd.DataFrame:
    """Return a table of people, that of a CSV file as text; of an empty file it has no columns."""
    if is_parquet:
        return pd.read_parquet(file)
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def is_blank(cell: Any) -> bool:
    """Return whether nothing is in a cell of a table."""
    return bool(pd.isna(cell)) or (isinstance(cell, str) and not cell.strip())


def check_people(table: pd.DataFrame, where: str) -> None:
    """Refuse a table that does not name each annotator once."""
    if "annotator" not in table:
        columns = listed(as_index(list(table.columns))) or "none"
        raise InputError(
            f"people: expected a table with the column annotator, got {where!r}, whose columns are "
            f"{columns}. Write it as CSV, with commas, or as Parquet."
        )
    names = table["annotator"].tolist()
    blank = [row for row, name in enumerate(names, start=1) if is_blank(name)]
    if blank:
        raise InputError(
            f"people: expected a name in each row of {where!r}, got none in row {blank[0]:,} below "
            "the head. Name the annotator, or remove the row."
        )
    twice = table["annotator"][table["annotator"].duplicated()].unique().tolist()
    if twice:
        raise InputError(
            f"people: expected each annotator once, got {listed(twice)} several times in "
            f"{where!r}. Put its rows into one."
        )


def capacity_of(cell: Any, name: Any, where: str) -> int:
    """Return the number in a cell of a table."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        number = -1.0
    if not (number >= 0 and number.is_integer()):
        raise InputError(
            f"people: expected whole numbers of at least 0 as capacity, or nothing, got {cell!r} "
            f"for {name!r} in {where!r}."
        )
    return int(number)
