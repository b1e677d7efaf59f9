"""The only writer: set up a result store, write whole regions, record what is done, finish.

A store is created whole, with every array's shape and chunks, before a block is written. A task
writes the whole chunks of its block and then a record of it; what is finished is read off the
records, never off which chunks exist, because Zarr leaves out chunks of fill values.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from daskal.errors import (
    MissingPathError,
    StorageError,
    StoreExistsError,
    UnfinishedStoreError,
)
from daskal.locations import explain, options_for, reach, storage_errors

ESTIMATE_KEY = "estimate.json"
ATTRS = "daskal"
LABELED_COLUMNS = {
    "score": "float64",
    "consensus_label": "int32",
    "consensus_quality_score": "float64",
    "annotator_agreement": "float64",
    "num_annotations": "int32",
}
UNLABELED_COLUMNS = {"score": "float64"}


class Section(NamedTuple):
    """One pool of the store: its name, its columns, its rows and the rows of a chunk."""

    name: str
    columns: Mapping[str, str]
    num_rows: int
    chunk_rows: int


def put_bytes(store: Any, key: str, content: bytes) -> None:
    """Write one object of the store whole."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(content)))


def get_bytes(store: Any, key: str) -> bytes | None:
    """One object of the store, None where there is none."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    found = sync(store.get(key, default_buffer_prototype()))
    return None if found is None else found.to_bytes()


def open_group(path: str, mode: Any, storage_options: Mapping[str, Any] | None) -> Any:
    """The root group of a store."""
    import zarr

    with storage_errors("open the result store", path, storage_options):
        reach(path, storage_options)
        options = options_for(path, storage_options)
        return zarr.open_group(path, mode=mode, storage_options=options, use_consolidated=False)


def exists(path: str, storage_options: Mapping[str, Any] | None) -> bool:
    """Whether anything is stored under the path."""
    try:
        open_group(path, "r", storage_options)
    except MissingPathError:
        return False
    return True


def create(
    path: str,
    sections: list[Section],
    attrs: Mapping[str, Any],
    *,
    overwrite: bool,
    storage_options: Mapping[str, Any] | None,
) -> Any:
    """Create a store whole: every array, none of its values."""
    if not overwrite and exists(path, storage_options):
        raise StoreExistsError(
            f"{path!r} exists already. Pass overwrite=True to replace it, resume=True to continue "
            "the run that made it, or another path."
        )
    root = open_group(path, "w", storage_options)
    for section in sections:
        group = root.create_group(section.name)
        for column, dtype in section.columns.items():
            group.create_array(
                column,
                shape=(section.num_rows,),
                chunks=(max(1, section.chunk_rows),),
                dtype=dtype,
                fill_value=np.nan if dtype.startswith("float") else 0,
                dimension_names=("example",),
            )
    root.attrs[ATTRS] = {**attrs, "status": "running"}
    return root


@dataclass(frozen=True)
class SectionWriter:
    """Writes blocks of one section; travels to the workers."""

    group: Any

    def write(self, start: int, stop: int, columns: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write rows ``start:stop``, which are whole chunks, of every column."""
        for name, values in columns.items():
            array = self.group[name]
            assert start % array.chunks[0] == 0
            assert stop % array.chunks[0] == 0 or stop == array.shape[0]
            try:
                array[start:stop] = values
            except Exception as error:
                raise StorageError(
                    f"rows {start:,} to {stop:,} of {array.store_path} cannot be written: "
                    f"{explain(error)}"
                ) from error


def write_table(
    root: Any, name: str, columns: Mapping[str, np.ndarray[Any, Any]], dimension: str
) -> None:
    """Write a small table as one group, one array a column."""
    group = root.require_group(name)
    for column, values in columns.items():
        write_column(group, column, values, dimension)


def write_column(group: Any, name: str, values: np.ndarray[Any, Any], dimension: str) -> None:
    """Write one whole array; names as strings of any length."""
    text = values.dtype.kind in "OUT"
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=(max(1, min(len(values), 2**20)),),
        dtype=str if text else values.dtype,
        dimension_names=(dimension,),
        overwrite=True,
    )
    array[:] = values.astype(object) if text else values


def finish(root: Any, attrs: Mapping[str, Any]) -> None:
    """Say that the store is whole, and consolidate the metadata for readers."""
    import zarr

    root.attrs[ATTRS] = {**root.attrs[ATTRS], **attrs, "status": "finished"}
    with warnings.catch_warnings():
        # Zarr warns that consolidated metadata is young in format 3, and of every other object.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(root.store, path=root.path)


def open_finished(path: str, storage_options: Mapping[str, Any] | None) -> Any:
    """The root group of a finished store."""
    root = open_group(path, "r", storage_options)
    described = root.attrs.get(ATTRS)
    if described is None:
        raise StorageError(f"expected a result store of daskal, got {path!r}, which is none.")
    if described["status"] != "finished":
        raise UnfinishedStoreError(
            f"the run that writes {path!r} has not finished. Continue it with resume=True "
            "(daskal score --resume), or read it once it is done."
        )
    return root


def read_estimate(root: Any) -> str | None:
    """Text of the estimate a store holds."""
    content = get_bytes(root.store, join_key(root, ESTIMATE_KEY))
    return None if content is None else content.decode()


def write_estimate(root: Any, text: str) -> None:
    """Store the estimate."""
    put_bytes(root.store, join_key(root, ESTIMATE_KEY), text.encode())


def join_key(root: Any, key: str) -> str:
    """Key of an object beside the group's metadata."""
    return f"{root.path}/{key}" if root.path else key
