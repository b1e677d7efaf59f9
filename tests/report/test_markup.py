"""Elements, escaping, notebook pieces."""

from __future__ import annotations

import html

import pytest

from daskal.report.markup import Markup, Page, escape, join, number, tag
from daskal.text import plural, summary_table

HOSTILE = "</td><script>alert('1')</script>&\""


def test_text_is_escaped_once() -> None:
    assert tag("p", "a < b & c") == "<p>a &lt; b &amp; c</p>"
    assert tag("div", tag("p", "<")) == "<div><p>&lt;</p></div>"
    assert join(["<", Markup("<b>"), None]) == "&lt;<b>"
    assert isinstance(escape("x"), Markup)


def test_attributes() -> None:
    assert tag("a", href='"x"') == '<a href="&quot;x&quot;"></a>'
    made = tag("input", type="radio", for_="y", aria_label="z", checked=True, hidden=False, id=None)
    assert made == '<input type="radio" for="y" aria-label="z" checked>'
    # SVG's elements are no void elements of HTML: unclosed, each would hold the next.
    assert tag("path", d="M0 0") == '<path d="M0 0"></path>'


@pytest.mark.parametrize(
    ("value", "shown"), [(1234.5678, "1,234.568"), (float("nan"), "–"), (None, "–"), (0, "0.000")]
)
def test_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_counts() -> None:
    assert plural(1, "row") == "1 row"
    assert plural(2000, "row") == "2,000 rows"
    assert plural(2, "class", "classes") == "2 classes"


def test_summary_table_escapes_names_and_values() -> None:
    made = summary_table(HOSTILE, [(HOSTILE, HOSTILE)])
    assert "<script" not in made
    assert made.count(html.escape(HOSTILE)) == 3


def test_page_in_a_notebook_is_a_frame_of_its_own() -> None:
    page = Page('<p class="x">&amp;</p>', "r.html")
    assert repr(page) == "<daskal report of 23 bytes, written to 'r.html'>".replace(
        "23", str(len(page.html))
    )
    frame = page._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert html.unescape(frame.split('"')[1]) == page.html
    assert "allow-same-origin" not in frame
