"""The part of a report that shows the batch, and how it was chosen."""

from __future__ import annotations

from typing import Any

import pandas as pd

from daskal.method.choice import Choice
from daskal.report.contents import MOST_BATCH_ROWS, SECTION_NAMES, Contents, batch_parts
from daskal.report.tables import Column, Table
from daskal.text import plural


def next_batch(contents: Contents) -> dict[str, Any]:
    """Return the next batch."""
    batch = contents.batch
    if not len(batch):
        return {"table": None}
    shown = batch.head(MOST_BATCH_ROWS)
    named = {"labeled": "labeled data", "unlabeled": "pool"}
    parts = [f"{num:,} of the {named[source]}" for source, num in batch_parts(contents).items()]
    columns = [Column("Rank", "integer", shown["rank"].tolist())]
    if "id" in shown:
        ids = ["–" if pd.isna(value) else str(value) for value in shown["id"].tolist()]
        columns.append(Column("Id", "text", ids))
    columns += [
        Column("From", "text", shown["source"].map(SECTION_NAMES).tolist()),
        Column("Row", "integer", shown["row"].tolist(), "Row of the array it is from, from 0"),
        Column("Score", "fine", shown["score"].tolist()),
    ]
    return {
        "size": plural(len(batch), "example"),
        "parts": " and ".join(parts) if len(parts) > 1 else None,
        "last_score": f"{batch['score'].iloc[-1]:.6f}",
        "listed": f"{len(shown):,}" if len(shown) < len(batch) else None,
        "choice": [*Choice.of_batch(batch).lines(), *passed_over(contents)],
        "table": Table("next-batch", columns, "The next batch", "examples"),
    }


def passed_over(contents: Contents) -> list[tuple[str, str]]:
    """Return how many of as many lowest scores are in a batch that is not the run's own."""
    own = contents.own_batch
    if own is None or not len(own):
        return []
    lowest = own.head(len(contents.batch))
    num = len(lowest.merge(contents.batch, on=["source", "row"]))
    left = len(lowest) - num
    words = f"{num:,} of the {plural(len(lowest), 'lowest', 'lowest')} of all are in it"
    if left:
        words += f"; {left:,} {'was' if left == 1 else 'were'} passed over"
    return [("Scores", words)]
