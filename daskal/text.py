"""Counts, lists, sizes and summary tables, in words and in HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, ClassVar

from daskal.errors import InputError


def plural(num: int, singular: str, several: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{num:,} {singular if num == 1 else several or singular + 's'}"


def listed(
    things: Iterable[Any], *, count: int | None = None, most: int = 5, noun: str = ""
) -> str:
    """Return the first few things as a list in words, and how many more there are.

    ``count`` says how many there are in all, if ``things`` are only the first of them; ``noun``
    names the others.
    """
    texts = [str(thing) for thing in things]
    shown = texts[:most]
    more = (len(texts) if count is None else count) - len(shown)
    rest = f" and {more:,} more {noun}".rstrip() if more > 0 else ""
    return ", ".join(shown) + rest


# --- notebooks --------------------------------------------------------------------------------

# Colors and fonts are the notebook's own, so that light and dark themes keep their contrast.
SUMMARY_STYLE = "border-collapse: collapse; border: 0"
NAME_STYLE = "text-align: left; padding: 1px 1.5em 1px 0; font-weight: normal; opacity: .75"
VALUE_STYLE = "text-align: left; padding: 1px 0"


def summary_table(title: str, lines: Sequence[tuple[str, object]]) -> str:
    """Return a small table of names and values, as notebooks show an object."""
    rows = "".join(
        f'<tr><th scope="row" style="{NAME_STYLE}">{escape(name)}</th>'
        f'<td style="{VALUE_STYLE}">{escape(str(value))}</td></tr>'
        for name, value in lines
    )
    table = f'<table style="{SUMMARY_STYLE}"><tbody>{rows}</tbody></table>'
    return f"<div><strong>{escape(title)}</strong>{table}</div>"


class Summarized:
    """An object that shows its title and summary as text, and in notebooks as a table."""

    title: ClassVar[str]
    # The first line of the text, and the width of the names below it.
    heading: ClassVar[str] = "<{title}>"
    name_width: ClassVar[int] = 22

    def summary(self) -> list[tuple[str, str]]:
        """Return the object in a few lines of (name, value), for people."""
        raise NotImplementedError

    def __repr__(self) -> str:
        lines = (f"  {name:<{self.name_width}} {value}" for name, value in self.summary())
        return "\n".join([self.heading.format(title=self.title), *lines])

    def _repr_html_(self) -> str:
        return summary_table(self.title, self.summary())


# --- sizes ------------------------------------------------------------------------------------

MIB = 2**20


def parse_memory(value: int | float | str | None) -> int | None:
    """Return the bytes of a memory limit: a number of them, or text such as ``"2GiB"``."""
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        # Dask reads a unit alone as one of it, and an empty text as one byte.
        has_number = not isinstance(value, str) or any(map(str.isdigit, value))
        size = parse_bytes(value) if has_number else 0
    except (AttributeError, ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise InputError(
            f"memory_limit: expected a positive number of bytes or text like '2GiB', got {value!r}."
        )
    return size


def format_bytes(size: float) -> str:
    """Return a size as people read it."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def in_digits(value: float, digits: int) -> str:
    """Return a number with so many decimals, a dash where it is not known."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
