"""Tables of a page and the data embedded for its script."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daskal.report.page import TEMPLATES
from daskal.report.tables import Column, Matrix, Table, in_words

MACROS: Any = TEMPLATES.get_template("table.html").module


def data_of(made: str) -> dict:
    return json.loads(data_text(made))


def data_text(made: str) -> str:
    return made.split('type="application/json">')[1].split("</script>")[0]


def test_embedded_text_cannot_leave_its_element() -> None:
    hostile = "</script><!--&\u2028{{ 7*7 }}"
    columns = [Column(hostile, "text", [hostile])]
    made = str(MACROS.data_table(Table("t", columns, caption=hostile, noun=hostile)))
    assert not set("<>&") & set(data_text(made))
    assert data_of(made)["columns"][0] == {"label": hostile, "kind": "text", "values": [hostile]}
    assert made.count("</script>") == 1
    assert "<!--" not in made


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("integer", 12345, "12,345"),
        ("share", 0.12345, "0.123"),
        ("share", float("nan"), "–"),
        ("real", 1234.5678, "1,234.568"),
        ("real", 0, "0.000"),
        ("real", None, "–"),
        ("fine", 0.1234567, "0.123457"),
        ("text", "a", "a"),
        ("text", None, "–"),
    ],
)
def test_values_in_words(kind: str, value: object, shown: str) -> None:
    assert in_words(kind, value) == shown


def test_table_shows_the_first_rows_and_embeds_all() -> None:
    columns = [
        Column("Name", "text", [f"<{row}>" for row in range(30)]),
        Column("Share", "share", [float("nan"), 1.5, *[0.25] * 28], 'In "%"'),
    ]
    made = MACROS.data_table(Table("t", columns, caption="Things", noun="things"))
    assert made.count("<tr>") == 1 + 10
    assert "&lt;9&gt;" in made
    assert "&lt;10&gt;" not in made
    assert "10 of 30" in made
    assert '<th scope="col" class="text" aria-sort="ascending">Name</th>' in made
    assert made.count("aria-sort") == 1
    assert '<th scope="col" class="share" title="In &#34;%&#34;">Share</th>' in made
    # A bar never leaves its cell, whatever the number says.
    assert '<td class="share" style="--share:1.000">1.500</td>' in made
    assert '<td class="share">–</td>' in made
    data = data_of(made)
    assert data["columns"][0]["values"][29] == "<29>"
    assert data["columns"][1]["values"][:3] == [None, 1.5, 0.25]


def test_matrix_leaves_unknown_shares_empty() -> None:
    made = MACROS.matrix(Matrix(["a", "<b>"], [[1.0, 0.0], [float("nan"), 0.5]], caption="c"))
    assert '<td style="--share:1.000">100</td>' in made
    assert '<td style="--share:0.000"></td>' in made
    assert "<b>" not in made
