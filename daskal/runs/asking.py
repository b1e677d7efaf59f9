"""What a run read, opened again: its labels, and its models' probabilities."""

from __future__ import annotations

from typing import Any

from daskal.errors import InputError
from daskal.inputs.opened import with_columns
from daskal.inputs.probabilities import Probs, open_probs
from daskal.names.normal import as_index
from daskal.options import Storage
from daskal.report.repeating import IN_MEMORY
from daskal.runs.long_votes import VOTES, rows_of_probs
from daskal.storage import tables


def labels_of_run(path: str, root: Any, attrs: dict[str, Any]) -> str | None:
    """Return where the labels of a run are, None if there were none.

    Raises
    ------
    InputError
        If they were in memory.
    """
    if tables.member(root, VOTES) is not None:
        return f"{path}/{VOTES}"
    given = attrs["inputs"].get("labels")
    if given is None:
        return None
    if not is_stored(given):
        raise InputError(
            f"labels: expected a run whose labels are stored, got {given}.",
            advice="Pass the votes there are with {labels=}.",
        )
    return str(given)


def probs_of_run(
    root: Any, attrs: dict[str, Any], section: str, storage_options: Storage
) -> Probs | None:
    """Return the probabilities of a section's rows, None where they were in memory."""
    rows = tables.member(root, f"{section}/table_row")
    name = {"labeled": "pred_probs", "unlabeled": "pred_probs_unlabeled"}[section]
    given = attrs["inputs"].get(name if rows is None else "pred_probs")
    parts = given if isinstance(given, list) else [given]
    if not all(map(is_stored, parts)) or tables.member(root, section) is None:
        return None
    options = attrs["options"]
    columns = (options.get("id_column"), options.get("class_columns"))
    probs = open_probs(name, with_columns(given, *columns), storage_options)
    if rows is None:
        return probs
    places = rows[:]
    return rows_of_probs(probs, places, as_index(places))


def is_stored(given: Any) -> bool:
    """Return whether what a store says of an input is a path, and no array in memory."""
    return isinstance(given, str) and IN_MEMORY.match(given) is None and " of length " not in given
