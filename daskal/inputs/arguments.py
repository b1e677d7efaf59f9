"""Whatever the user holds, opened as a bare array with the names of its rows and columns."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd

from daskal.errors import InputError
from daskal.inputs.compressed_rows import is_sparse
from daskal.inputs.ids import RowIds, StoredIds, own_ids
from daskal.inputs.sources import Source, check_known_chunks
from daskal.inputs.sparse import is_csr_group
from daskal.options import Storage, check_storage_options
from daskal.storage.locations import anchored, check_stored, open_zarr, storage_errors
from daskal.storage.redaction import redacted

# Members of a group that an error lists.
LIST_MEMBERS = 20
LONG_COLUMNS = {"task", "annotator", "label"}


class Opened(NamedTuple):
    """An argument as a bare array, with the names its rows and columns came with."""

    array: Any  # numpy.ndarray, dask.array.Array, zarr.Array, a SciPy matrix or a CSR group
    row_ids: RowIds | None = None
    column_ids: pd.Index | None = None
    template: Any = None  # the xarray.DataArray it was
    class_names: tuple[str, ...] | None = None


def open_argument(name: str, given: Any, storage_options: Storage) -> Opened:
    """Return the bare array behind any argument that daskal takes."""
    check_storage_options(storage_options)
    if isinstance(given, str | os.PathLike):
        given = open_zarr(name, os.fspath(given), storage_options)
    if is_sparse(given):
        return Opened(given)
    kind = type(given).__module__.partition(".")[0]
    if kind in OPENERS:
        return OPENERS[kind](name, given)
    if isinstance(given, da.Array):
        check_known_chunks(name, given)
        return Opened(given)
    if isinstance(given, list | tuple | np.ndarray):
        try:
            return Opened(np.asanyarray(given))
        except ValueError as error:
            raise InputError(
                f"{name}: expected rows of one length, as an array has, got a list of others. "
                "Fill missing labels up with NaN, or pass votes in long format to "
                "daskal.import_votes."
            ) from error
    raise refuse(name, given)


def refuse(name: str, given: Any) -> InputError:
    """Return the error for what daskal does not take."""
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    advice = (
        " Call .to_dask_array(lengths=True) on it; votes in long format become a store with "
        "daskal.import_votes."
        if kind.startswith("dask")
        else ""
    )
    return InputError(
        f"{name}: expected a NumPy, Dask, Zarr or xarray array, a DataFrame, the path of a Zarr "
        f"array or, for labels, sparse votes, got {kind}.{advice}"
    )


def open_pandas(name: str, given: Any) -> Opened:
    """Return a DataFrame with its index and columns, or the values of a Series or an index."""
    if isinstance(given, pd.Series | pd.Index):
        return Opened(given.to_numpy())
    if not isinstance(given, pd.DataFrame):
        raise refuse(name, given)
    if given.columns.isin(list(LONG_COLUMNS)).sum() == len(LONG_COLUMNS):
        raise InputError(
            f"{name}: expected a matrix, got votes in long format (columns "
            f"{list(given.columns)!r}). Make a store of them first: daskal.import_votes."
        )
    return Opened(frame_values(name, given), own_ids(given.index), own_ids(given.columns))


def frame_values(name: str, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the values of a DataFrame of numbers, missing ones as NaN."""
    kinds = {str(dtype) for dtype in frame.dtypes}
    is_whole = all(dtype.kind in "iub" for dtype in frame.dtypes)
    try:
        if is_whole and not frame.isna().to_numpy().any():
            return frame.to_numpy()
        return float_values(frame)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: expected numbers, got columns of {', '.join(sorted(kinds))} ({error}). Turn "
            "class names into codes 0 to K - 1 first: "
            "daskal.multiannotator.format_multiannotator_labels does."
        ) from error


def float_values(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the values of a DataFrame as float64, missing ones as NaN."""
    if any(dtype.kind == "O" for dtype in frame.dtypes):
        # pandas leaves the NA in a column of objects as it is.
        return frame.to_numpy(dtype=object, na_value=np.nan).astype(np.float64)
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def open_xarray(name: str, given: Any) -> Opened:
    """Return the data of a DataArray, and the coords of its last two dimensions."""
    if hasattr(given, "data_vars"):
        raise InputError(
            f"{name}: expected a DataArray, got a Dataset. Choose one of its variables: "
            f"{', '.join(map(repr, given.data_vars))}."
        )
    if given.chunks is None and "preferred_chunks" in given.encoding:
        # It stands for a stored array: read by blocks, not all of it here.
        given = given.chunk({})
    rows, columns = given.dims[-2:] if given.ndim > 1 else (given.dims[0], None)
    row_ids, column_ids = given.indexes.get(rows), given.indexes.get(columns)
    data = given.data if isinstance(given.data, da.Array) else np.asanyarray(given.data)
    if isinstance(data, da.Array):
        check_known_chunks(name, data)
    return Opened(data, row_ids, column_ids, given)


def open_stored(name: str, given: Any) -> Opened:
    """Return a Zarr array, or the group of one sparse matrix."""
    given = anchored(given)
    if not hasattr(given, "members"):
        check_stored(name, given)
        return Opened(given)
    if is_csr_group(given):
        return open_csr_group(name, given)
    where = redacted(str(given.store_path))
    with storage_errors(f"list {name} in", where, None):
        members = sorted(key for key, _ in given.members())
    more = ", ..." if len(members) > LIST_MEMBERS else ""
    raise InputError(
        f"{name}: expected a Zarr array, got the group {where} with the members "
        f"{', '.join(members[:LIST_MEMBERS])}{more}. Put the name of one after the path: "
        "PATH/NAME, or group[NAME]."
    )


def open_csr_group(name: str, group: Any) -> Opened:
    """Return a CSR group with the ids and class names that daskal's own have beside the votes."""
    where = redacted(str(group.store_path))
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
    """Refuse a dtype that holds no such numbers."""
    if source.dtype.kind not in kinds:
        raise InputError(
            f"{name}: expected numbers, got dtype {source.dtype}. Convert it to a float or "
            "integer dtype first."
        )
