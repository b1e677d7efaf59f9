"""Tables of a page: readable without a script; a script can sort, search and save them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from daskal.text import listed


def fixed(digits: int) -> Callable[[float], str]:
    """Return a format of so many digits after the point."""
    return f"{{:,.{digits}f}}".format


FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "integer": "{:,}".format,
    "share": fixed(3),
    "real": fixed(3),
    "fine": fixed(6),
}


class Cell(NamedTuple):
    """A value as the page shows it: as text, and as a number from 0 to 1 if it is drawn too."""

    kind: str
    text: str
    share: str | None = None


class Column(NamedTuple):
    """One column: its heading, how its values are written, and the values.

    ``kind`` is "text", "integer", "share" (from 0 to 1, drawn as a bar too), "real" or "fine".
    """

    label: str
    kind: str
    values: Sequence[Any]
    explained: str = ""

    def cell(self, row: int) -> Cell:
        """Return one value as the page shows it."""
        value = self.values[row]
        drawn = self.kind == "share" and not is_missing(value)
        share = f"{min(max(value, 0.0), 1.0):.3f}" if drawn else None
        return Cell(self.kind, in_words(self.kind, value), share)

    @property
    def data(self) -> dict[str, Any]:
        """The column as the page's script reads it: JSON has no NaN."""
        values = [None if is_missing(value) else value for value in self.values]
        return {"label": self.label, "kind": self.kind, "values": values}


@dataclass(frozen=True)
class Table:
    """A table; ``name`` is its id and the name of the file it is saved as."""

    # How many rows are shown at once; without a script, only the first ones.
    page_sizes: ClassVar[tuple[int, ...]] = (10, 50, 250)

    name: str
    columns: Sequence[Column]
    caption: str
    noun: str
    # The column by which the rows are in ascending order at first, and are marked so.
    sorted_by: int = 0

    @property
    def first_rows(self) -> list[list[Cell]]:
        """The rows shown at first, before the script shows others."""
        num_rows = min(len(self.columns[0].values), self.page_sizes[0])
        return [[column.cell(row) for column in self.columns] for row in range(num_rows)]

    @property
    def where(self) -> str:
        """Which rows are shown, in words."""
        return f"{len(self.first_rows):,} of {len(self.columns[0].values):,}"

    @property
    def data(self) -> dict[str, Any]:
        """All rows as the page's script reads them."""
        columns = [column.data for column in self.columns]
        return {"noun": self.noun, "sorted": self.sorted_by, "columns": columns}


@dataclass(frozen=True)
class Matrix:
    """Shares by row and column as a table of shaded cells, which show their numbers too."""

    names: Sequence[str]
    shares: Sequence[Sequence[float]]
    caption: str

    @property
    def rows(self) -> list[tuple[str, list[Cell]]]:
        """Each row's name and cells, empty where the share is not known."""
        cells = [
            [
                Cell("share", "", "0.000")
                if is_missing(share)
                else Cell("share", f"{100 * share:.0f}", f"{share:.3f}")
                for share in line
            ]
            for line in self.shares
        ]
        return list(zip(self.names, cells, strict=True))


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN or infinite."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def in_words(kind: str, value: Any) -> str:
    """Return a value as people read it, a dash where it is missing."""
    return "–" if is_missing(value) else FORMATS[kind](value)


def side_by_side(values: Sequence[float]) -> str:
    """Return the first few of some numbers as text."""
    return listed((f"{value:.2f}" for value in values), most=3)
