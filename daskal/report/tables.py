"""Tables of a page: readable as they stand, and with a script sorted, searched and saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from daskal.report.markup import Markup, join, number, tag

# Rows shown at once, the first of them to begin with; without a script, the only ones.
PAGE_SIZES = (10, 50, 250)

FORMATS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "integer": "{:,}".format,
    "share": number,
    "real": number,
    "fine": lambda value: number(value, 6),
}


class Column(NamedTuple):
    """One column: its heading, how its values are written, and the values.

    ``kind`` is "text", "integer", "share" (from 0 to 1, drawn as a bar too), "real" or "fine".
    """

    label: str
    kind: str
    values: Sequence[Any]
    explained: str = ""


def show(kind: str, value: Any) -> str:
    """A value in words."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "–" if missing else FORMATS[kind](value)


def cell(kind: str, value: Any) -> Markup:
    """A value as a cell of the table."""
    style = None
    if kind == "share" and value is not None and not math.isnan(value):
        style = f"--share:{min(max(value, 0.0), 1.0):.3f}"
    return tag("td", show(kind, value), class_=kind, style=style)


def embed(content: Any) -> Markup:
    """Data for a page's script: no text in it can end the element or begin another."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def as_data(values: Sequence[Any]) -> list[Any]:
    """Values as JSON has them: NaN as null."""
    return [
        None if isinstance(value, float) and not math.isfinite(value) else value for value in values
    ]


def data_table(name: str, columns: Sequence[Column], *, caption: str, noun: str) -> Markup:
    """A table; ``name`` is its id and the name of the file it is saved as."""
    num_rows = len(columns[0].values)
    heads = [
        tag("th", column.label, scope="col", class_=column.kind, title=column.explained or None)
        for column in columns
    ]
    rows = [
        tag("tr", *(cell(column.kind, column.values[row]) for column in columns))
        for row in range(min(num_rows, PAGE_SIZES[0]))
    ]
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *rows),
    )
    data = {
        "noun": noun,
        "columns": [
            {"label": column.label, "kind": column.kind, "values": as_data(column.values)}
            for column in columns
        ],
    }
    return tag(
        "div",
        tag(
            "div",
            tag(
                "label",
                tag("span", f"Search {noun}", class_="unseen"),
                tag("input", type="search", placeholder=f"Search {noun}", autocomplete="off"),
            ),
            tag("button", "Save as CSV", type="button", class_="save"),
            class_="toolbar needs-script",
        ),
        tag("div", table, class_="scroller", tabindex=0, role="region", aria_label=caption),
        tag(
            "div",
            tag("button", "Previous", type="button", class_="previous"),
            tag("span", f"{len(rows):,} of {num_rows:,}", class_="where", role="status"),
            tag("button", "Next", type="button", class_="next"),
            tag(
                "label",
                "Rows ",
                tag("select", *(tag("option", size) for size in PAGE_SIZES)),
                class_="needs-script",
            ),
            class_="pager",
        ),
        tag("script", embed(data), type="application/json"),
        class_="data-table",
        id=name,
    )


def matrix(names: Sequence[str], shares: Sequence[Sequence[float]], *, caption: str) -> Markup:
    """Shares by row and column as a table with shaded cells; each says its number too."""
    heads = join(tag("th", name, scope="col") for name in names)
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(
                tag(
                    "td",
                    "" if math.isnan(share) else f"{100 * share:.0f}",
                    style=f"--share:{0.0 if math.isnan(share) else share:.3f}",
                )
                for share in line
            ),
        )
        for name, line in zip(names, shares, strict=True)
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", tag("td"), heads)),
            tag("tbody", *rows),
            class_="matrix",
        ),
        class_="scroller",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
