"""What a report shows, from the small tables of a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from daskal.api.aggregation import Aggregate
from daskal.errors import InputError, StorageError, UnfinishedStoreError
from daskal.method.multi_label import read_estimate
from daskal.method.panels import Panel
from daskal.report.contents import CLASS_COLUMNS, Contents
from daskal.runs import store
from daskal.runs.tables import stored_annotators, stored_batch, stored_doubtful
from daskal.storage import tables
from daskal.storage.redaction import redacted


def read_contents(path: str, root: Any) -> Contents:
    """Return the small tables of a finished store, without reading any score."""
    path = redacted(path)
    attrs = root.attrs[store.ATTRS]
    if attrs["status"] != store.FINISHED:
        raise UnfinishedStoreError(
            f"the run that writes {path!r} has not finished: its report is made of what is "
            "known at its end.",
            advice="Continue it with {resume=True (daskal score --resume)}.",
        )
    text = store.read_estimate(root)
    histograms = tables.read_table(root, "histograms")
    assert histograms is not None
    estimate = None if text is None else read_estimate(text)
    text = store.read_aggregate(root)
    aggregate = None if text is None else Aggregate.from_json(text)
    known: Any = aggregate if estimate is None else estimate
    classes = tables.read_table(root, "classes", ("given", "consensus", "num_votes"))
    if classes is not None and known is not None:
        codes = classes[["given", "consensus"]].to_numpy()
        if not ((codes >= 0) & (codes < known.num_classes)).all():
            raise StorageError(
                f"the table 'classes' in {path!r} is damaged: it names classes there are not.",
                advice="Run it again with {overwrite=True}.",
            )
    return Contents(
        path=path,
        attrs=attrs,
        estimate=estimate,
        annotators=stored_annotators(root),
        classes=classes,
        histograms={str(name): histograms[name].to_numpy() for name in histograms},
        batch=stored_batch(root),
        doubtful=stored_doubtful(root),
        finished_at=store.finished_at(root),
        aggregate=aggregate,
        panel=read_panel(root),
        class_stats=tables.read_table(root, "class_stats", CLASS_COLUMNS),
    )


def show_batch(contents: Contents, batch: pd.DataFrame) -> Contents:
    """Return what a report shows, with another batch of the run in place of its own.

    Raises
    ------
    InputError
        If it lacks columns.
    """
    missing = {"rank", "score"} - set(batch.columns)
    if missing:
        raise InputError(
            "batch: expected the DataFrame of next_batch, got one without "
            f"{', '.join(sorted(missing))}."
        )
    return replace(contents, batch=batch, own_batch=contents.batch)


def read_panel(root: Any) -> Panel | None:
    """Return the panel of a store, None where it has none."""
    text = store.read_panel(root)
    return None if text is None else Panel.from_json(text)
