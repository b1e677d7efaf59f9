"""A run as one HTML page that needs no network, from its store's aggregates alone."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources
from pathlib import Path

from daskal.errors import StorageError
from daskal.report import plots, sections
from daskal.report.contents import MOST_ANNOTATORS, Contents, annotators_of
from daskal.report.markup import Markup, Page, join, tag


def template(name: str) -> Markup:
    """A file of the page that is the same for every run."""
    return Markup(resources.files("daskal.report").joinpath("templates", name).read_text("utf-8"))


def render(contents: Contents, csv: str | None = None) -> str:
    """The page. ``csv`` is the name of a file beside it that lists all annotators."""
    parts = {
        "batch": ("Next batch", sections.batch_table(contents)),
        "scores": ("Scores", plots.scores_chart(contents)),
        "annotators": ("Annotators", sections.annotators_table(contents, csv)),
        "consensus": ("Consensus", plots.consensus_chart(contents)),
        "classes": ("Classes", sections.classes_table(contents)),
        "temperature": ("Temperature", plots.temperature_chart(contents)),
        "data": ("Data", sections.quality_flags(contents)),
        "repeat": ("Repeat it", sections.repeat(contents)),
    }
    links = [tag("a", name, href=f"#{key}") for key, (name, part) in parts.items() if part]
    script = template("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Nothing is fetched, and no script but this one runs, whatever the names in the data say.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "What to label next: daskal report"),
        tag("style", template("report.css")),
    )
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", "What to label next"),
            tag("p", sections.run_in_a_line(contents), class_="line"),
            sections.tiles(contents),
        ),
        tag("nav", *links, aria_label="Parts of this report"),
        tag("main", *(part for _, part in parts.values())),
        tag("script", script),
    )
    return str(join([Markup("<!doctype html>\n"), tag("html", head, body, lang="en")]))


def make_page(contents: Contents, out: str | os.PathLike[str] | None = None) -> Page:
    """Return the page of a run, written to ``out`` if that is given.

    Where there are more annotators than a page lists, ``out`` gets a CSV of all beside it.
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
        target.write_text(page.html, encoding="utf-8")
        if csv is not None and people is not None:
            people.to_csv(target.with_name(csv), index=False)
    except OSError as error:
        raise StorageError(
            f"the report cannot be written to {str(target)!r}: {error}. Name a file in a folder "
            "that is there and may be written to."
        ) from error
    return page
