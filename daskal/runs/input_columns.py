"""Columns of the tables that a run read, which it did not score: groups and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskal.errors import InputError
from daskal.inputs.arguments import open_argument
from daskal.inputs.fingerprint import canonical
from daskal.inputs.groups import open_groups
from daskal.inputs.opened import Table
from daskal.inputs.picked import pick_rows
from daskal.inputs.sources import Source, make_source
from daskal.options import Storage
from daskal.storage import tables

# The inputs of each section that may be tables, the likeliest first.
INPUTS = {
    "labeled": ("pred_probs", "labels"),
    "unlabeled": ("pred_probs_unlabeled", "pred_probs"),
}
# What tells whether a table has changed.
TOLD = ("urls", "rows", "bytes", "row_groups")


class InputColumns:
    """The tables that a run's examples are from.

    Parameters
    ----------
    root : zarr.Group
        The run's store.
    attrs : mapping
        What the store says of the run.
    storage_options : mapping, optional
    """

    def __init__(self, root: Any, attrs: dict[str, Any], storage_options: Storage) -> None:
        self.root, self.attrs, self.storage_options = root, attrs, storage_options

    def groups(self, column: str) -> tuple[Source | None, ...]:
        """Return a column of any values for the rows of each section."""

        def open_column(path: str, num_rows: int) -> Source:
            return open_groups(path, column, num_rows, None, self.storage_options)

        return tuple(
            self.rows_of(section, "group_column", "groups", open_column) for section in INPUTS
        )

    def embeddings(self, columns: Sequence[str]) -> tuple[Source | None, ...]:
        """Return columns of numbers, or one of lists, for the rows of each section."""

        def open_columns(path: str, num_rows: int) -> Source:
            table = Table(path, class_columns=columns)
            opened = open_argument("embeddings", table, self.storage_options)
            return make_source("embeddings", opened.array, row_axis=0)

        return tuple(
            self.rows_of(section, "embedding_columns", "embeddings", open_columns)
            for section in INPUTS
        )

    def rows_of(self, section: str, argument: str, instead: str, open_column: Any) -> Source | None:
        """Return what is opened of the table of a section; None if there is no section.

        Raises
        ------
        InputError
            If it was no table in files, or has changed since the run.
        """
        scores = tables.member(self.root, f"{section}/score")
        if scores is None:
            return None
        path, known = self.table_of(section)
        if "urls" not in known:
            raise InputError(
                f"{argument}: expected a run whose {section} examples are from a table in files, "
                f"got {path!r}.",
                advice=f"Pass the values themselves with {{{instead}=}}.",
            )
        rows = tables.member(self.root, f"{section}/table_row")
        source: Source = open_column(path, scores.shape[0] if rows is None else known["rows"])
        found = canonical(source.identity())
        differing = [key for key in TOLD if found.get(key) != known.get(key)]
        if differing:
            raise InputError(
                f"{argument}: expected the table {path!r} as the run read it, but it has changed "
                f"since ({', '.join(differing)}), so its rows may be others. Run it again.",
            )
        return source if rows is None else pick_rows(source, rows[:])

    def table_of(self, section: str) -> tuple[Any, dict[str, Any]]:
        """Return the path of the table that a section is from, and what identified it then."""
        inputs = self.attrs["inputs"]
        name = next((name for name in INPUTS[section] if name in inputs), "")
        given = inputs.get(name)
        path = given[0] if isinstance(given, list) else given
        for source, identity in self.attrs["fingerprint"][section]["sources"].items():
            if source.partition("[")[0] in (name, INPUTS[section][0]) and "urls" in identity:
                return path, identity
        return path, {}
