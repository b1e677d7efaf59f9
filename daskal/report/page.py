"""A run as one HTML page that needs no network, made only from the aggregates in its store."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from daskal.errors import InputError, StorageError
from daskal.report import batch, charts, panel, plots, repeating, sections
from daskal.report.contents import MOST_ANNOTATORS, Contents, annotators_of
from daskal.report.glossary import GLOSSARY

# All values are escaped in templates, none of which marks anything as safe.
TEMPLATES = Environment(
    loader=PackageLoader("daskal.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["percent"] = charts.percent
# Data for the page's script. Jinja2 escapes it so that no text in it can end its element.
TEMPLATES.policies["json.dumps_kwargs"] = {
    "ensure_ascii": False,
    "separators": (",", ":"),
    "allow_nan": False,
}


# What every page has in its first lines, and the bytes they are among.
TITLE = "daskal report</title>"
HEAD_BYTES = 4096


@dataclass(frozen=True)
class Page:
    """A self-contained HTML page; a notebook shows it inline.

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
        return TEMPLATES.get_template("notebook.html").render(html=self.html)


def render(contents: Contents, csv: str | None = None) -> str:
    """Return the page; ``csv`` is the name of a file beside it that lists all annotators."""
    script = TEMPLATES.get_template("report.js").render()
    digest = hashlib.sha256(script.encode()).digest()
    return TEMPLATES.get_template("page.html").render(
        script_hash=base64.b64encode(digest).decode(),
        overview=sections.overview(contents),
        parts={
            "data": sections.quality_flags(contents),
            "batch": batch.next_batch(contents),
            "labels": sections.doubtful_labels(contents),
            "scores": plots.scores(contents),
            "annotators": sections.annotators(contents, csv),
            "panel": panel.panel_part(contents),
            "consensus": plots.consensus(contents),
            "truth": plots.how_often_right(contents.right_by_quality),
            "classes": sections.classes(contents),
            "temperature": plots.temperature(contents),
            "repeat": repeating.repeat(contents),
            "glossary": {"words": words(contents)},
        },
    )


def words(contents: Contents) -> dict[str, str]:
    """Return the words that the page explains: of votes without a model there are fewer."""
    without = () if contents.aggregate is None else ("weights", "temperature")
    return {word: meaning for word, meaning in GLOSSARY.items() if word not in without}


def make_page(contents: Contents, out: str | os.PathLike[str] | None = None) -> Page:
    """Return the page of a run, also written to ``out`` if that is given.

    If there are more annotators than a page lists, a CSV of all of them is written beside ``out``.
    """
    if out is None:
        return Page(render(contents))
    target = Path(out)
    people = annotators_of(contents)
    csv = None
    if people is not None and len(people) > MOST_ANNOTATORS:
        csv = f"{target.stem}-annotators.csv"
    page = Page(render(contents, csv), str(target))
    try:
        refuse_another_file(target)
        if csv is not None:
            refuse_another_table(target, csv)
        target.write_text(page.html, encoding="utf-8")
        if csv is not None and people is not None:
            people.to_csv(target.with_name(csv), index=False)
    except OSError as error:
        raise StorageError(
            f"the report cannot be written to {str(target)!r}: {error.strerror or error}. Name a "
            "file in a folder that is there and may be written to."
        ) from error
    return page


def refuse_another_file(target: Path) -> None:
    """Refuse to write over a file that is no report.

    Raises
    ------
    InputError
        If there is such a file.
    """
    if not target.is_file():
        return
    with target.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head and TITLE.encode() not in head:
        raise InputError(
            f"out: expected a new file, or a report of daskal to replace, got {str(target)!r}, "
            "which is something else. Choose another name, or remove it yourself."
        )


def refuse_another_table(target: Path, csv: str) -> None:
    """Refuse to write over a file beside a report that is not that report's list of annotators.

    Raises
    ------
    InputError
        If there is such a file.
    """
    beside = target.with_name(csv)
    if not beside.exists():
        return
    linked = target.is_file() and f'href="{quote(csv)}"' in target.read_text(encoding="utf-8")
    if linked and beside.is_file():
        with beside.open("rb") as file:
            columns = file.readline(HEAD_BYTES).decode(errors="replace").strip().split(",")
        if {"annotator", "num_examples_labeled"} <= set(columns):
            return
    raise InputError(
        f"out: expected a name whose list of annotators is new too, or that of the report to "
        f"replace, got {str(target)!r}, and {str(beside)!r} is something else. Choose another "
        "name, or remove that file yourself."
    )
