"""Groups of a run's examples: a column of the tables that the run read."""

from __future__ import annotations

from typing import Any

from daskal.errors import InputError
from daskal.inputs.groups import open_groups
from daskal.inputs.picked import pick_rows
from daskal.inputs.sources import Source
from daskal.options import Storage
from daskal.storage import tables

# The inputs of each section that may be tables, the likeliest first.
INPUTS = {
    "labeled": ("pred_probs", "labels"),
    "unlabeled": ("pred_probs_unlabeled", "pred_probs"),
}
# What tells whether a table has changed.
TOLD = ("urls", "rows", "bytes", "row_groups")


def input_groups(
    root: Any, attrs: dict[str, Any], section: str, column: str, storage_options: Storage
) -> Source | None:
    """Return a column of the table that a section's rows are from; None if there is no section.

    Raises
    ------
    InputError
        If it was no table in files, or has changed since the run.
    """
    scores = tables.member(root, f"{section}/score")
    if scores is None:
        return None
    name = next((name for name in INPUTS[section] if name in attrs["inputs"]), None)
    given = None if name is None else attrs["inputs"][name]
    path = given[0] if isinstance(given, list) else given
    described: dict[str, Any] = attrs["fingerprint"][section]["sources"]
    known: dict[str, Any] = next(
        (described[key] for key in described if key.startswith(name or "?")), {}
    )
    rows = tables.member(root, f"{section}/table_row")
    if "urls" not in known or path is None:
        raise InputError(
            f"group_column: expected a run whose {section} examples are from a table in files, got "
            f"{path!r} as {name}.",
            advice="Pass the groups themselves with {groups=}.",
        )
    num_rows = scores.shape[0] if rows is None else known["rows"]
    source = open_groups(path, column, num_rows, None, storage_options)
    found = source.identity()
    differing = [key for key in TOLD if found.get(key) != known.get(key)]
    if differing:
        raise InputError(
            f"group_column: expected the table {path!r} as the run read it, but it has changed "
            f"since ({', '.join(differing)}): its rows may be others. Run it again, or pass the "
            "groups themselves.",
        )
    return source if rows is None else pick_rows(source, rows[:])
