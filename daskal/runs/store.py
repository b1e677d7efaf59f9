"""A result store: how it is laid out, what it says of itself, and who may write to it.

A store is created whole, with every array's shape and chunks, before a block is written. A task
writes the whole chunks of its block and then a record of it; what is finished is read off the
records, never off which chunks exist, because Zarr leaves out chunks of fill values.

The root's attributes say where a store stands: ``creating``, ``running`` or ``finished``. Each
change of it is one object written whole.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from daskal.errors import MissingPathError, StorageError, StoreExistsError, UnfinishedStoreError
from daskal.method.values import (
    LABELED_COLUMNS,
    MATRICES,
    MULTI_LABEL_COLUMNS,
    UNLABELED_COLUMNS,
)
from daskal.options import Storage
from daskal.storage import stores
from daskal.storage.objects import (
    PARTIAL,
    get_bytes,
    join_key,
    list_keys,
    list_names,
    modified_at,
    put_bytes,
    remove,
    remove_key,
    remove_partial,
)
from daskal.storage.redaction import redacted
from daskal.storage.stores import (
    NoGroupError,
    consolidate,
    create_array,
    require_group,
    update_attributes,
)
from daskal.storage.transfers import write_rows
from daskal.text import listed

# Stage of pass 2 that fills each section.
SCORE_STAGES = {"labeled": "score labeled", "unlabeled": "score unlabeled"}

ROOT_KEY = "zarr.json"
ESTIMATE_KEY = "estimate.json"
AGGREGATE_KEY = "aggregate.json"
PANEL_KEY = "panel.json"
RECORDS = "records"
ATTRS = "daskal"
# All that a run makes directly under the root.
MEMBERS = frozenset(
    {
        ROOT_KEY,
        ESTIMATE_KEY,
        AGGREGATE_KEY,
        PANEL_KEY,
        RECORDS,
        "labeled",
        "unlabeled",
        "annotators",
        "classes",
        "class_stats",
        "histograms",
        "batch",
        "doubtful_labels",
        "matched_votes",
    }
)
# All that a run makes in a section, and in each array there.
SECTION_MEMBERS = {
    "labeled": frozenset(
        {ROOT_KEY, *LABELED_COLUMNS, *MULTI_LABEL_COLUMNS, "example", "table_row"}
    ),
    "unlabeled": frozenset({ROOT_KEY, *UNLABELED_COLUMNS, "example", "table_row"}),
}
ARRAY_MEMBERS = frozenset({ROOT_KEY, "c"})
# What a finished store says of its making.
ATTR_KINDS: dict[str, type] = {
    "version": str,
    "inputs": dict,
    "options": dict,
    "fingerprint": dict,
    "num_labeled_rows": int,
    "num_unlabeled_rows": int,
    "num_invalid_rows": int,
}
CREATING, RUNNING, FINISHED = "creating", "running", "finished"


class Section(NamedTuple):
    """One section of the store: its name, its columns, its rows and the rows of a chunk."""

    name: str
    columns: Mapping[str, str]
    num_rows: int
    chunk_rows: int
    num_classes: int = 0  # of columns that are matrices


class ForeignStoreError(StorageError):
    """What is stored there is none of daskal's results."""


# --- opening ----------------------------------------------------------------------------------


def open_group(path: str, mode: Any, storage_options: Storage, **options: Any) -> Any:
    """Return the root group of a result store."""
    return stores.open_group("the result store", path, mode, storage_options, **options)


def describe(root: Any) -> dict[str, Any] | None:
    """What a store says of its making; None where it is none of daskal's."""
    described = root.attrs.get(ATTRS)
    is_ours = isinstance(described, dict) and "status" in described
    return dict(described) if is_ours else None


def find(path: str, storage_options: Storage) -> dict[str, Any] | None:
    """What the result store under a path says of itself, None where there is nothing.

    Raises
    ------
    StoreExistsError
        If there is something else: it must not be replaced.
    """
    try:
        described = describe(open_group(path, "r", storage_options))
    except NoGroupError:
        described = None
    except MissingPathError:
        place = stores.local_path(path)
        if place is not None and not place.exists():
            return None
        is_file = place is not None and place.is_file()
        if not is_file and not list_keys(
            stores.open_store(path, storage_options, read_only=True), ""
        ):
            return None
        described = None
    if described is None:
        raise StoreExistsError(
            f"{redacted(path)!r} exists already and is no result store of daskal, so it is not "
            "replaced. Choose another path, or remove it yourself."
        )
    return described


def open_finished(path: str, storage_options: Storage, *, partial: bool = False) -> Any:
    """The root group of a finished store; with ``partial``, of one whose run still goes on."""
    root = open_group(path, "r", storage_options)
    described = describe(root)
    if described is None:
        raise ForeignStoreError(
            f"expected a result store of daskal, got {redacted(path)!r}, which is none."
        )
    status = described["status"]
    if status != FINISHED and not (partial and status == RUNNING):
        raise UnfinishedStoreError(
            f"the run that writes {redacted(path)!r} has not finished.",
            advice="Continue it with {resume=True (daskal score --resume)}, read it once it is "
            "done, or read what there is with Run.open(..., partial=True).",
        )
    wrong = [
        name
        for name, kind in ATTR_KINDS.items()
        if status == FINISHED and not isinstance(described.get(name), kind)
    ]
    if wrong:
        raise StorageError(
            f"the result store {redacted(path)!r} is damaged, or of another version of daskal: its "
            f"attributes lack {', '.join(wrong)}.",
            advice="Run it again with {overwrite=True}.",
        )
    return root


# --- a run's store ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A run's claim to its store; travels to the workers.

    A client that resumes or replaces a store takes it over: tasks of an earlier client that still
    run somewhere must not write into it any more.
    """

    store: Any
    key: str
    token: str

    def check(self) -> None:
        """Refuse to write into a store that another run has taken over."""
        content = get_bytes(self.store, self.key)
        attrs = {} if content is None else json.loads(content)["attributes"]
        if attrs.get(ATTRS, {}).get("claim") != self.token:
            raise StorageError(
                f"{redacted(str(self.store))} has been taken over by another run since this one "
                "began: nothing more is written to it. Let the other run end."
            )


def claim(root: Any, **attrs: Any) -> Claim:
    """Take over a store, setting ``attrs`` in the same step."""
    token = uuid.uuid4().hex
    describe_as(root, {**(describe(root) or {}), **attrs, "claim": token})
    return Claim(root.store, join_key(root, ROOT_KEY), token)


def describe_as(root: Any, described: Mapping[str, Any]) -> None:
    """Replace what the store says of itself."""
    update_attributes(root, {ATTRS: dict(described)})


def create(
    path: str, sections: list[Section], attrs: Mapping[str, Any], storage_options: Storage
) -> tuple[Any, Claim]:
    """Create a store whole: every array, none of its values. What a run made there is replaced.

    Raises
    ------
    StoreExistsError
        If there is anything else beside it.
    """
    refuse_strangers(path, storage_options)
    begun = {"status": CREATING}
    root = open_group(path, "a", storage_options, attributes={ATTRS: begun})
    # From here on the store is known for an unfinished one of ours, whatever happens.
    describe_as(root, begun)
    clear(root)
    for section in sections:
        create_section(root, section)
    return root, claim(root, **attrs, status=RUNNING)


def refuse_strangers(path: str, storage_options: Storage) -> None:
    """Refuse to replace a store in which there is something that no run made."""
    names = stores.names_under(path, storage_options) or []
    strangers = unknown(names, MEMBERS)
    opened = stores.open_store(path, storage_options, read_only=True) if names else None
    for section in sorted(SECTION_MEMBERS.keys() & {*names}):
        columns = list_names(opened, section)
        strangers += unknown(columns, SECTION_MEMBERS[section], f"{section}/")
        for column in sorted({*columns} & SECTION_MEMBERS[section] - {ROOT_KEY}):
            within = f"{section}/{column}"
            strangers += unknown(list_names(opened, within), ARRAY_MEMBERS, f"{within}/")
    if strangers:
        raise StoreExistsError(
            f"{redacted(path)!r} holds something beside the results of a run "
            f"({listed(strangers)}), which would be deleted with them. Move it elsewhere, or "
            "choose another path."
        )


def unknown(names: Iterable[str], known: frozenset[str], prefix: str = "") -> list[str]:
    """Return the paths of what no run made; a write that was killed may have left a part."""
    return sorted(f"{prefix}{name}" for name in {*names} - known if not name.endswith(PARTIAL))


def clear(root: Any) -> None:
    """Remove everything but the root's own metadata."""
    keys = list_keys(root.store, "")
    for name in sorted({key.split("/", 1)[0] for key in keys if "/" in key}):
        remove(root.store, name)
    for key in keys:
        if "/" not in key and key != ROOT_KEY:
            remove_key(root.store, key)


def create_section(root: Any, section: Section) -> None:
    """Create the arrays of a section."""
    group = require_group(root, section.name)
    for column, dtype in section.columns.items():
        is_matrix = column in MATRICES
        width = (max(1, section.num_classes),) if is_matrix else ()
        create_array(
            group,
            column,
            shape=(section.num_rows, *width),
            chunks=(max(1, section.chunk_rows), *width),
            dtype=dtype,
            fill_value=np.nan if dtype.startswith("float") else 0,
            dimension_names=("example", "class") if is_matrix else ("example",),
        )


@dataclass(frozen=True)
class SectionWriter:
    """Writes blocks of one section; travels to the workers."""

    group: Any
    claim: Claim

    def write(self, start: int, stop: int, columns: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write rows ``start:stop``, which are whole chunks, of every column."""
        self.claim.check()
        for name, values in columns.items():
            write_rows(self.group[name], start, stop, values)


def finish(root: Any, attrs: Mapping[str, Any]) -> None:
    """Say in one step that the store is whole, its metadata consolidated for readers."""
    described = {**(describe(root) or {}), **attrs, "status": FINISHED}
    described.pop("claim", None)
    # This group knows the consolidated metadata, so that both are written in one object.
    describe_as(consolidate(root), described)
    tidy(root)


def finished_at(root: Any) -> datetime | None:
    """Return when a store was finished, as storage knows it: stores of equal runs are equal."""
    return modified_at(root.store, join_key(root, ROOT_KEY))


def tidy(root: Any) -> None:
    """Remove what only an unfinished run needs, and what writes that were killed left behind."""
    remove(root.store, join_key(root, RECORDS))
    remove_partial(root.store)


def read_text(root: Any, key: str) -> str | None:
    """Text of an object beside the root's metadata."""
    content = get_bytes(root.store, join_key(root, key))
    return None if content is None else content.decode(errors="replace")


def read_estimate(root: Any) -> str | None:
    """Text of the estimate a store holds."""
    return read_text(root, ESTIMATE_KEY)


def write_estimate(root: Any, text: str) -> None:
    """Store the estimate."""
    put_bytes(root.store, join_key(root, ESTIMATE_KEY), text.encode())


def read_aggregate(root: Any) -> str | None:
    """Text of the aggregate a store holds."""
    return read_text(root, AGGREGATE_KEY)


def write_aggregate(root: Any, text: str) -> None:
    """Store the aggregate."""
    put_bytes(root.store, join_key(root, AGGREGATE_KEY), text.encode())


def read_panel(root: Any) -> str | None:
    """Text of the panel a store holds."""
    return read_text(root, PANEL_KEY)


def write_panel(root: Any, text: str) -> None:
    """Store the panel."""
    put_bytes(root.store, join_key(root, PANEL_KEY), text.encode())
