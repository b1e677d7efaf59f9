"""Arguments of any type, opened as a plain array with the names of its rows and columns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa

from daskal.errors import InputError, MissingPathError
from daskal.inputs.advice import advice_on_dtype, advice_on_list, refuse
from daskal.inputs.compressed_rows import is_sparse
from daskal.inputs.frames import frame_values
from daskal.inputs.ids import ID_COLUMNS, StoredIds, ids_in_memory
from daskal.inputs.opened import Opened, Table
from daskal.inputs.sources import Source, check_known_chunks
from daskal.inputs.sparse import is_csr_group
from daskal.inputs.tables import (
    choose_frame_columns,
    foreign_array,
    is_arrow,
    is_dask_frame,
    open_arrow_table,
    open_dask_frame,
    open_files,
    open_id_files,
)
from daskal.names.naming import check_names, is_default, own_names
from daskal.names.normal import as_index
from daskal.options import Storage, check_storage_options
from daskal.storage.addresses import address_of
from daskal.storage.locations import anchored, check_stored, is_url, open_zarr, storage_errors
from daskal.tables.opening import find_in_folder, find_table
from daskal.text import listed

# How many members of a group an error lists.
LIST_MEMBERS = 20
LONG_COLUMNS = {"task", "annotator", "label"}


def open_argument(name: str, given: Any, storage_options: Storage) -> Opened:
    """Return any argument that daskal takes as a plain array with its names."""
    check_storage_options(storage_options)
    columns = given if isinstance(given, Table) else Table(given)
    given = columns.given
    if isinstance(given, str | os.PathLike):
        given = open_path(name, os.fspath(given), columns, storage_options)
        if isinstance(given, Opened):
            return given
    if isinstance(given, np.ndarray) and given.ndim == 0 and given.dtype == object:
        given = given.item()  # as numpy.load gives what was saved by pickle
    if is_sparse(given):
        return Opened(given)
    if isinstance(given, pd.DataFrame):
        given = choose_frame_columns(name, given, columns)
    for base in type(given).__mro__:
        opener = OPENERS.get(base.__module__.partition(".")[0])
        if opener is not None:
            return opener(name, given)
    if isinstance(given, da.Array):
        check_known_chunks(name, given)
        return Opened(given)
    if isinstance(given, list | tuple | np.ndarray):
        return Opened(array_of(name, given))
    if is_dask_frame(given):
        return open_dask_frame(name, given, columns)
    if is_arrow(given):
        return open_arrow_table(name, given, columns)
    array = foreign_array(given)
    if array is not None:
        return Opened(array)
    raise refuse(name, given)


def open_path(name: str, path: str, columns: Table, storage_options: Storage) -> Any:
    """Return what files hold, else the Zarr array or group under a path or URL."""
    files = find_table(name, path, storage_options)
    if files is None:
        try:
            return open_zarr(name, path, storage_options)
        except MissingPathError:
            files = find_in_folder(name, path, storage_options) if is_url(path) else None
            if files is None:
                raise
    return open_files(name, files, columns)


def open_ids_argument(name: str, given: Any, storage_options: Storage) -> Any:
    """Return ids that have to be opened: an array of them, or a column of a table."""
    check_storage_options(storage_options)
    columns = given if isinstance(given, Table) else Table(given)
    given = columns.given
    if isinstance(given, str | os.PathLike):
        files = find_table(name, os.fspath(given), storage_options)
        if files is not None:
            return open_id_files(name, files, columns.id_column, ID_COLUMNS)
    elif is_dask_frame(given):
        found = [column for column in ID_COLUMNS if column in given.columns]
        return given[(found or list(given.columns))[0]].to_dask_array(lengths=True)
    elif is_arrow(given):
        return ids_in_memory(name, pa.table(given).to_pandas(types_mapper=pd.ArrowDtype))
    return open_argument(name, given, storage_options).array


def array_of(name: str, given: Any) -> np.ndarray[Any, Any]:
    """Return a list of rows, or an array, as an array."""
    try:
        array = np.asanyarray(given)
    except ValueError as error:
        raise InputError(
            f"{name}: expected rows of one length, as an array has, got a list of others. "
            f"{advice_on_list(given)}"
        ) from error
    if array.dtype == object and array.size and isinstance(array.flat[0], dict):
        raise InputError(
            f"{name}: expected rows of numbers, got a list of records. {advice_on_list(given)}"
        )
    return array


def open_pandas(name: str, given: Any) -> Opened:
    """Return a DataFrame with its index and columns, or a Series with its index."""
    if isinstance(given, pd.Index):
        return Opened(given.to_numpy())
    if isinstance(given, pd.Series):
        ids = own_names(name, "rows", given.index)
        return Opened(given.to_numpy(), ids, numbered=is_default(given.index))
    if not isinstance(given, pd.DataFrame):
        raise refuse(name, given)
    columns = given.columns
    if columns.nlevels == 1 and set(columns.astype(object)) >= LONG_COLUMNS:
        raise InputError(
            f"{name}: expected a matrix, got votes in long format (columns {list(columns)!r}). "
            "Make a store of them first: daskal.import_votes."
        )
    if columns.nlevels > 1 and len({column[:-1] for column in columns}) > 1:
        raise InputError(
            f"{name}: expected one level of columns, got {columns.nlevels}, {list(columns[:4])!r} "
            "and so on. Of a pivot, name its values: .pivot(index=, columns=, values='label')."
        )
    kind = "annotators" if name == "labels" else "classes"
    return Opened(
        frame_values(name, given),
        own_names(name, "rows", given.index),
        own_names(name, kind, columns),
        numbered=is_default(given.index),
    )


def open_xarray(name: str, given: Any) -> Opened:
    """Return the data of a DataArray or a Variable, and the coords of its last two dimensions."""
    if hasattr(given, "data_vars"):
        raise InputError(
            f"{name}: expected a DataArray, got a Dataset. Choose one of its variables: "
            f"{', '.join(map(repr, given.data_vars))}."
        )
    has_coords = hasattr(given, "coords")
    if has_coords and given.chunks is None and "preferred_chunks" in given.encoding:
        # Not loaded yet: it is read block by block, not as a whole here.
        given = given.chunk({})
    data = given.data if isinstance(given.data, da.Array) else np.asanyarray(given.data)
    if isinstance(data, da.Array):
        check_known_chunks(name, data)
    if not has_coords or not given.dims:
        return Opened(data)
    rows, columns = given.dims[-2:] if given.ndim > 1 else (given.dims[0], None)
    row_ids = coords_of(name, "rows", given, rows)
    kind = "annotators" if name == "labels" else "classes"
    column_ids = None if columns is None else coords_of(name, kind, given, columns)
    return Opened(data, row_ids, column_ids, template=given)


def coords_of(name: str, kind: str, given: Any, dim: Any) -> pd.Index | None:
    """Return the names along a dimension: its index, or the one coordinate that can name it."""
    index = given.indexes.get(dim)
    if index is None:
        along = [coord for coord in given.coords.values() if coord.dims == (dim,)]
        if len(along) > 1:
            # Of several, measures such as a place or a size name nothing.
            along = [coord for coord in along if coord.dtype.kind not in "fcb"]
        if not along:
            return None
        if len(along) > 1:
            names = [str(coord.name) for coord in along]
            raise InputError(
                f"{name}: expected one coordinate that names its {kind}, got "
                f"{', '.join(map(repr, names))}, and no index along {dim!r}. Choose one: "
                f".set_index({{{dim!r}: {names[0]!r}}}), or drop the others: .drop_vars(...)."
            )
        index = as_index(np.asarray(along[0].values))
    check_names(name, kind, index)
    return index


def open_stored(name: str, given: Any) -> Opened:
    """Return a Zarr array, or the group of one sparse matrix."""
    given = anchored(given)
    if not hasattr(given, "members"):
        check_stored(name, given)
        return Opened(given)
    if is_csr_group(given):
        return open_csr_group(name, given)
    where = address_of(given)
    with storage_errors(f"list {name} in", where, None):
        members = sorted(key for key, _ in given.members())
    raise InputError(
        f"{name}: expected a Zarr array, got the group {where} with the members "
        f"{listed(members, most=LIST_MEMBERS)}. Put the name of one after the path: "
        "PATH/NAME, or group[NAME]."
    )


def open_csr_group(name: str, group: Any) -> Opened:
    """Return a CSR group with the ids and class names that daskal's own have beside the votes."""
    where = address_of(group)
    with storage_errors(f"read ids of {name} from", where, None):
        tasks, annotators = group.get("tasks"), group.get("annotators")
        for what, ids in (("tasks", tasks), ("annotators", annotators)):
            if ids is not None:
                check_stored(f"{what} of {name}", ids)
        column_ids = None if annotators is None else StoredIds(annotators)[:]
    described = group.attrs.get("daskal")
    names = described.get("classes") if isinstance(described, Mapping) else None
    return Opened(
        group,
        None if tasks is None else StoredIds(tasks),
        column_ids,
        class_names=tuple(map(str, names)) if isinstance(names, list) else None,
    )


OPENERS = {"pandas": open_pandas, "xarray": open_xarray, "zarr": open_stored}


def check_numeric(name: str, source: Source, kinds: str) -> None:
    """Refuse a dtype that does not hold real numbers."""
    if source.dtype.kind not in kinds:
        raise InputError(
            f"{name}: expected numbers, got dtype {source.dtype}. "
            f"{advice_on_dtype(source.dtype.kind)}"
        )
