"""HTML made of plain strings, in which nothing is markup unless it was made here."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VOID = frozenset({"br", "hr", "img", "input", "meta"})


class Markup(str):
    """Text that is HTML already; any other string is escaped where it is put into a page."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """A value as HTML text."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def join(parts: Iterable[object]) -> Markup:
    """Parts one after the other, None left out."""
    return Markup("".join(escape(part) for part in parts if part is not None))


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """One element.

    ``class_`` stands for ``class``, other ``_`` for ``-``; attributes None or False are left out.
    """
    written = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(key if value is True else f'{key}="{escape(value)}"')
    opening = Markup(f"<{' '.join(written)}>")
    return opening if name in VOID else join([opening, *children, Markup(f"</{name}>")])


def number(value: float | None, digits: int = 3) -> str:
    """A number for people, a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def section(name: str, title: str, *children: object) -> Markup:
    """One part of the page."""
    return tag("section", tag("h2", title), *children, id=name)


def text(*parts: object) -> Markup:
    """A paragraph."""
    return tag("p", *parts)


@dataclass(frozen=True)
class Page:
    """An HTML page that stands alone; a notebook shows it inline.

    Attributes
    ----------
    html : str
        The whole page.
    path : str or None
        Where it was written, if it was.
    """

    html: str
    path: str | None = None

    def __repr__(self) -> str:
        where = "" if self.path is None else f", written to {self.path!r}"
        return f"<daskal report of {len(self.html.encode()):,} bytes{where}>"

    def _repr_html_(self) -> str:
        # A frame of its own: neither its styles nor its script meet the notebook's.
        frame: dict[str, Any] = {
            "srcdoc": str(self.html),
            "title": "daskal report",
            "sandbox": "allow-scripts allow-downloads",
            "style": "width: 100%; height: 46rem; border: 1px solid #8888; border-radius: 8px",
        }
        return str(tag("iframe", **frame))
