"""The only writer: set up a result store, write whole regions, record what is done, finish.

A store is created whole, with every array's shape and chunks, before a block is written. A task
writes the whole chunks of its block and then a record of it; what is finished is read off the
records, never off which chunks exist, because Zarr leaves out chunks of fill values.

The root's attributes say where a store stands: ``creating``, ``running`` or ``finished``. Each
change of it is one object written whole.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import url2pathname

import numpy as np
import pandas as pd

from daskal.errors import (
    InputError,
    MissingPathError,
    StorageError,
    StoreExistsError,
    UnfinishedStoreError,
)
from daskal.options import Storage
from daskal.storage import transfers
from daskal.storage.locations import is_url, options_for, reach, storage_errors
from daskal.storage.objects import (
    attempt,
    get_bytes,
    join_key,
    list_keys,
    put_bytes,
    remove,
    remove_key,
)
from daskal.storage.redaction import redacted
from daskal.storage.retries import with_retries

# Stage of pass 2 that fills each section.
SCORE_STAGES = {"labeled": "score labeled", "unlabeled": "score unlabeled"}

# --- blocks to a store ------------------------------------------------------------------------


ROOT_KEY = "zarr.json"
ESTIMATE_KEY = "estimate.json"
RECORDS = "records"
ATTRS = "daskal"
# What a finished store says of its making.
ATTR_KINDS: dict[str, type] = {
    "version": str,
    "inputs": dict,
    "options": dict,
    "fingerprint": dict,
    "num_labeled_rows": int,
    "num_unlabeled_rows": int,
    "num_invalid_rows": int,
    "cpu_levels": list,
}
FILE_SCHEME = "file://"
# Rows of a chunk of a table or of ids.
COLUMN_CHUNK = 2**20
CREATING, RUNNING, FINISHED = "creating", "running", "finished"


class Section(NamedTuple):
    """One pool of the store: its name, its columns, its rows and the rows of a chunk."""

    name: str
    columns: Mapping[str, str]
    num_rows: int
    chunk_rows: int


class ForeignStoreError(StorageError):
    """What is stored there is none of daskal's results."""


# --- opening ----------------------------------------------------------------------------------


def open_store(path: str, storage_options: Storage, *, read_only: bool) -> Any:
    """The storage under a path or URL."""
    from zarr.storage import FsspecStore, LocalStore

    if path.endswith(".zip"):
        raise InputError(
            f"out: expected a directory or a URL, got {redacted(path)!r}: parts of a ZIP "
            "file cannot be written at the same time."
        )
    if path.startswith(FILE_SCHEME):
        # Unlike fsspec, Zarr's own store writes each object whole or not at all.
        path = url2pathname(path.removeprefix(FILE_SCHEME))
    if not is_url(path):
        # Workers may have another working directory.
        return LocalStore(Path(path).expanduser().absolute(), read_only=read_only)
    options = options_for(path, storage_options)
    return FsspecStore.from_url(path, storage_options=options, read_only=read_only)


def open_group(path: str, mode: Any, storage_options: Storage, **options: Any) -> Any:
    """The root group of a store."""
    import zarr
    from zarr.errors import ContainsArrayError

    with storage_errors("open the result store", path, storage_options):
        if mode == "r":
            reach(path, storage_options)
        store = open_store(path, storage_options, read_only=mode == "r")
        try:
            return with_retries(
                lambda: zarr.open_group(
                    store, mode=mode, use_consolidated=False, zarr_format=3, **options
                ),
                f"opening {redacted(path)!r}",
            )
        except ContainsArrayError as error:
            raise ForeignStoreError(
                f"expected a result store of daskal, got {redacted(path)!r}, which is a Zarr array."
            ) from error


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
    except ForeignStoreError:
        described = None
    except MissingPathError:
        place = None if is_url(path) else Path(path).expanduser()
        if place is not None and not place.exists():
            return None
        is_file = place is not None and place.is_file()
        if not is_file and not list_keys(open_store(path, storage_options, read_only=True), ""):
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
    set_attrs(root, {**(describe(root) or {}), **attrs, "claim": token})
    return Claim(root.store, join_key(root, ROOT_KEY), token)


def set_attrs(root: Any, described: Mapping[str, Any]) -> None:
    """Replace what the store says of itself."""

    def update() -> None:
        root.attrs[ATTRS] = dict(described)

    attempt(update, f"the attributes of {root.store_path} cannot be written")


def create(
    path: str, sections: list[Section], attrs: Mapping[str, Any], storage_options: Storage
) -> tuple[Any, Claim]:
    """Create a store whole: every array, none of its values. What there was is replaced."""
    begun = {"status": CREATING}
    root = open_group(path, "a", storage_options, attributes={ATTRS: begun})
    # From here on the store is known for an unfinished one of ours, whatever happens.
    set_attrs(root, begun)
    clear(root)
    for section in sections:
        create_section(root, section)
    return root, claim(root, **attrs, status=RUNNING)


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

    def create_columns() -> None:
        group = root.require_group(section.name)
        for column, dtype in section.columns.items():
            group.create_array(
                column,
                shape=(section.num_rows,),
                chunks=(max(1, section.chunk_rows),),
                dtype=dtype,
                fill_value=np.nan if dtype.startswith("float") else 0,
                dimension_names=("example",),
                overwrite=True,
            )

    attempt(create_columns, f"{section.name!r} of {root.store} cannot be created")


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


def write_rows(array: Any, start: int, stop: int, values: np.ndarray[Any, Any]) -> None:
    """Write whole chunks of a column."""
    assert start % array.chunks[0] == 0
    assert stop % array.chunks[0] == 0 or stop == array.shape[0]

    def write() -> None:
        transfers.write(array, slice(start, stop), values)

    attempt(
        write, f"rows {start:,} to {stop:,} of {redacted(str(array.store_path))} cannot be written"
    )


def write_table(
    root: Any, name: str, columns: Mapping[str, np.ndarray[Any, Any]], dimension: str
) -> None:
    """Write a small table as one group, one array a column."""
    group = root.require_group(name)
    for column, values in columns.items():
        write_column(group, column, values, dimension)


def write_column(group: Any, name: str, values: Any, dimension: str) -> None:
    """Write one whole array, stored values chunk by chunk; names as strings of any length."""
    text = values.dtype.kind in "OUTS"
    num_rows = values.shape[0]
    step = max(1, min(num_rows, COLUMN_CHUNK))

    def write() -> None:
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=(step,),
            dtype=str if text else values.dtype,
            dimension_names=(dimension,),
            overwrite=True,
        )
        for start in range(0, num_rows, step):
            part = np.asarray(values[start : start + step])
            if part.dtype.kind == "S":
                # Zarr's format has no arrays of bytes.
                part = np.strings.decode(part, "utf-8", "replace")
            array[start : start + step] = part.astype(object) if text else part

    attempt(write, f"{name!r} of {group.store_path} cannot be written")


def reading(root: Any, what: str) -> AbstractContextManager[None]:
    """Turn whatever a damaged store raises into one clear error."""
    return storage_errors(f"read {what} in", str(root.store_path), None)


def member(root: Any, key: str) -> Any | None:
    """An array or a group of a store, None where there is none."""
    with reading(root, key):
        return root.get(key)


@dataclass(frozen=True)
class Column:
    """A stored column as Dask takes an array: what cannot be read is one clear error."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.array.dtype)

    def __getitem__(self, place: Any) -> np.ndarray[Any, Any]:
        """Part of the column."""
        with reading(self.array, "a block"):
            return np.asarray(self.array[place])


def read_table(root: Any, name: str, required: Collection[str] = ()) -> pd.DataFrame | None:
    """One of the small tables, None where there is none."""
    group = member(root, name)
    if group is None:
        return None
    with reading(root, name):
        columns = {column: array[:] for column, array in group.arrays()}
        if {len(values) for values in columns.values()} - {len(next(iter(columns.values())))}:
            raise ValueError("columns differ in length")
        lacking = sorted(set(required) - set(columns))
        if lacking:
            raise ValueError(f"columns {', '.join(lacking)} are missing")
    # Text as pandas itself would have it, whatever Zarr hands out.
    return pd.DataFrame(
        {
            column: values.tolist() if values.dtype.kind in "OUT" else values
            for column, values in columns.items()
        }
    )


def finish(root: Any, attrs: Mapping[str, Any]) -> None:
    """Say in one step that the store is whole, its metadata consolidated for readers."""
    import zarr

    described = {**(describe(root) or {}), **attrs, "status": FINISHED}
    described.pop("claim", None)

    def consolidate() -> Any:
        with warnings.catch_warnings():
            # Zarr warns that consolidated metadata is young in format 3, and of every other object.
            warnings.simplefilter("ignore")
            return zarr.consolidate_metadata(root.store, path=root.path)

    whole = attempt(consolidate, f"the metadata of {root.store_path} cannot be written")
    # This group knows the consolidated metadata, so that both are written in one object.
    set_attrs(whole, described)
    tidy(root)


def tidy(root: Any) -> None:
    """Remove what only an unfinished run needs, and what writes that were killed left behind."""
    remove(root.store, join_key(root, RECORDS))
    directory = getattr(root.store, "root", None)
    if directory is not None:
        for litter in directory.rglob("*.partial"):
            litter.unlink(missing_ok=True)


def read_estimate(root: Any) -> str | None:
    """Text of the estimate a store holds."""
    content = get_bytes(root.store, join_key(root, ESTIMATE_KEY))
    return None if content is None else content.decode(errors="replace")


def write_estimate(root: Any, text: str) -> None:
    """Store the estimate."""
    put_bytes(root.store, join_key(root, ESTIMATE_KEY), text.encode())
