"""Examples that are not to be chosen: ids of either source of scores, or an earlier batch."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal.api.batches import with_source
from daskal.api.score_sources import ScoreSource
from daskal.errors import DataWarning, InputError
from daskal.inputs.ids import take_ids
from daskal.method.tallies import Smallest
from daskal.names.naming import check_names, kind_of, listed, plain_texts, slices_of
from daskal.names.normal import as_index
from daskal.names.rows import find, unknown_names

NO_IDS = as_index([])
# How batches before 0.2 may spell the sources of scores.
OLD_SPELLING = {"labelled": "labeled", "unlabelled": "unlabeled"}


@dataclass(frozen=True)
class Excluded:
    """Examples that are not to be chosen.

    Attributes
    ----------
    ids : pandas.Index
        Ids of examples of either source, compared exactly.
    batch_ids : mapping of str to pandas.Index
        Ids of an earlier batch, by source. A file may have made text of them, so they are compared
        as text if they are of another kind.
    batch_rows : mapping of str to dict of int to whether that row has an id in the batch
    """

    ids: pd.Index = field(default_factory=lambda: NO_IDS)
    batch_ids: Mapping[str, pd.Index] = field(default_factory=dict)
    batch_rows: Mapping[str, Mapping[int, bool]] = field(default_factory=dict)

    @classmethod
    def from_argument(cls, exclude: Any, names: Collection[str]) -> Excluded:
        """Return the examples that ids, or an earlier batch, exclude."""
        if exclude is None:
            return cls()
        if isinstance(exclude, pd.DataFrame):
            return cls.from_batch(exclude, names)
        if isinstance(exclude, np.ndarray) and not exclude.ndim:
            exclude = exclude.reshape(1)
        if isinstance(exclude, str | bytes):
            raise InputError(
                f"exclude: expected a list of ids, got the text {exclude!r}. Of a file of a batch, "
                "pass daskal.read_batch(path)."
            )
        if isinstance(exclude, Mapping) or not isinstance(exclude, Iterable):
            raise InputError(
                f"exclude: expected a list of ids or a batch, got {type(exclude).__name__}."
            )
        if isinstance(exclude, set | frozenset) or not hasattr(exclude, "__len__"):
            exclude = list(exclude)
        if isinstance(exclude, list | tuple) and any(
            isinstance(part, pd.DataFrame) for part in exclude
        ):
            raise InputError(
                "exclude: expected ids or one batch, got a list of batches. Put them into one: "
                "pandas.concat(batches)."
            )
        ids = as_index(exclude)
        check_names("exclude", "examples", ids)
        return cls(ids)

    @classmethod
    def from_batch(cls, batch: pd.DataFrame, names: Collection[str]) -> Excluded:
        """Return the examples that an earlier batch excludes; from a file, ids may be text."""
        batch = with_source(batch)
        missing = {"source", "row"} - set(batch.columns)
        if missing:
            advice = ""
            if {"From", "Row"} <= set(batch.columns):
                advice = " Read the CSV that a report saved with daskal.read_batch(path)."
            raise InputError(
                "exclude: expected ids, or a batch with the columns 'source' and 'row', got a "
                f"DataFrame without {' and '.join(repr(name) for name in sorted(missing))}.{advice}"
            )
        sources = [OLD_SPELLING.get(str(source), str(source)) for source in batch["source"]]
        batch = batch.assign(source=sources)
        foreign = sorted(set(sources) - set(names))
        if foreign:
            raise InputError(
                f"exclude: expected {' or '.join(map(repr, names))} in the column 'source', got "
                f"{listed(foreign)}."
            )
        ids, rows = {}, {}
        for name in names:
            part = batch[batch["source"] == name]
            known = part["id"].notna() if "id" in part else pd.Series(False, part.index)
            rows[name] = dict(zip(map(int, part["row"]), map(bool, known), strict=True))
            if known.any():
                ids[name] = as_index(part.loc[known, "id"].tolist())
        return cls(batch_ids=ids, batch_rows=rows)

    def of_source(self, source: ScoreSource) -> Exclusion:
        """Return what is left out of one source, of a batch by id if both sides have ids."""
        rows = self.batch_rows.get(source.name, {})
        if source.ids is None:
            return Exclusion(NO_IDS, NO_IDS, frozenset(rows))
        unnamed = frozenset(row for row, has_id in rows.items() if not has_id)
        named = frozenset(rows) - unnamed
        return Exclusion(self.ids, self.batch_ids.get(source.name, NO_IDS), unnamed, named)

    @property
    def num_asked(self) -> int:
        """How many examples are to be left out."""
        return len(self.ids) + sum(map(len, self.batch_rows.values()))

    def check(self, sources: Sequence[ScoreSource]) -> None:
        """Refuse an exclusion that excludes no example at all, and warn of ids that are unknown."""
        asked = self.num_asked
        if not asked:
            return
        if any(self.of_source(source).matches(source) for source in sources):
            self.warn_of_unknown(sources)
            return
        if len(self.ids) and all(source.ids is None for source in sources):
            raise InputError(
                "exclude: expected ids that the examples have, but neither the labeled examples "
                "nor the pool have ids. Pass labeled_ids or unlabeled_ids, or exclude an earlier "
                "batch (a DataFrame)."
            )
        wanted = {
            kind_of(take_ids(source.ids, np.zeros(1, dtype=np.int64)))
            for source in sources
            if source.ids is not None and source.num_rows
        }
        if len(self.ids) and wanted and kind_of(self.ids) not in wanted:
            raise InputError(
                f"exclude: expected ids that are {' or '.join(sorted(wanted))}, as the examples', "
                f"got {kind_of(self.ids)}: {listed(self.ids)}."
            )
        shown = listed(self.ids) if len(self.ids) else f"a batch of {asked:,}"
        raise InputError(
            f"exclude: expected examples of these scores, got {shown}, none of which is one. Check "
            "that ids and batch belong to them."
        )

    def warn_of_unknown(self, sources: Sequence[ScoreSource]) -> None:
        """Warn of ids that no example has: of a batch, some may well be gone."""
        known = [source.ids for source in sources if source.ids is not None]
        unknown = unknown_names(self.ids.tolist(), *known) if len(self.ids) else NO_IDS
        if len(unknown):
            warnings.warn(
                f"exclude: {len(unknown):,} of its {len(self.ids):,} ids are no example of these "
                f"scores: {listed(unknown)}. Check how they are written.",
                DataWarning,
                stacklevel=4,
            )


class Exclusion(NamedTuple):
    """What is left out of one source of scores: ids, ids of a batch, and rows.

    ``likely_rows`` are those that the examples with the ids of the batch had in it.
    """

    ids: pd.Index
    batch_ids: pd.Index
    rows: frozenset[int]
    likely_rows: frozenset[int] = frozenset()

    @property
    def size(self) -> int:
        """How many examples are left out at most, if ids are unique."""
        return len(self.ids) + len(self.batch_ids) + len(self.rows)

    def holds(self, ids: pd.Index) -> np.ndarray[Any, Any]:
        """Return whether each of some ids is left out."""
        found: np.ndarray[Any, Any] = find(self.ids, ids) >= 0
        if len(self.batch_ids):
            if kind_of(self.batch_ids) == kind_of(ids):
                found |= find(self.batch_ids, ids) >= 0
            else:
                texts = (as_index(list(plain_texts(part))) for part in (self.batch_ids, ids))
                found |= find(*texts) >= 0
        return found

    def matches(self, source: ScoreSource) -> bool:
        """Return whether any example of a source is left out."""
        if any(0 <= row < source.num_rows for row in self.rows):
            return True
        ids = source.ids
        if ids is None or not (len(self.ids) or len(self.batch_ids)):
            return False
        return any(bool(self.holds(part).any()) for _, part in slices_of(ids))

    def rows_left_out(self, source: ScoreSource, *, search: bool) -> np.ndarray[Any, Any]:
        """Return the rows that are left out, ascending; with ``search``, all ids are read for it.

        Otherwise only those that ids leave out are looked for where they were in their batch.
        """
        num_rows, ids = source.num_rows, source.ids
        parts = [np.array([row for row in self.rows if 0 <= row < num_rows], dtype=np.int64)]
        if ids is not None and (len(self.ids) or len(self.batch_ids)):
            if search:
                for start, names in slices_of(ids):
                    parts.append(np.flatnonzero(self.holds(names)) + start)
            else:
                likely = sorted(row for row in self.likely_rows if 0 <= row < num_rows)
                at = np.array(likely, dtype=np.int64)
                parts.append(at[self.holds(take_ids(ids, at))] if len(at) else at)
        return np.unique(np.concatenate(parts))

    def drop(self, state: Smallest, source: ScoreSource) -> Smallest:
        """Return the candidates that are not left out."""
        keep = np.array([row not in self.rows for row in state.rows.tolist()], dtype=bool)
        if (len(self.ids) or len(self.batch_ids)) and len(keep):
            order = np.argsort(state.rows)
            assert source.ids is not None
            keep[order] &= ~self.holds(take_ids(source.ids, state.rows[order]))
        return state.take(keep)
