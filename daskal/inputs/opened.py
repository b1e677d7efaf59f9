"""What an argument becomes once it is opened, and the columns of a table that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from daskal.errors import InputError
from daskal.inputs.ids import RowIds
from daskal.options import shown


class Opened(NamedTuple):
    """An argument as a plain array, with the names its rows and columns came with."""

    # numpy.ndarray, dask.array.Array, zarr.Array, a matrix in files, a SciPy matrix or a CSR group
    array: Any
    row_ids: RowIds | None = None
    column_ids: pd.Index | None = None
    numbered: bool = False  # whether the rows have the default index of pandas
    template: Any = None  # the xarray.DataArray it was
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """A table, with the names of the columns that hold its ids and its classes.

    Every function takes one in place of an array. Of arrays, which have no columns, the names say
    nothing.

    Parameters
    ----------
    given
        Path or URL of Parquet, Arrow, Feather or CSV, a folder or a glob of such files, or a
        DataFrame or Arrow table.
    id_column : str, optional
        The column with the ids of the rows.
    class_columns : sequence of str, optional
        The columns to take: one for each class, or one that holds a list in each row. By default
        all but the ids.

    Examples
    --------
    >>> import pandas as pd, daskal
    >>> frame = pd.DataFrame({"task": ["a", "b"], "cat": [0.9, 0.5], "dog": [0.1, 0.5], "x": ""})
    >>> pool = daskal.Table(frame, id_column="task", class_columns=["cat", "dog"])
    >>> daskal.score_unlabeled(pool).compute().round(2).tolist()
    [0.7, 0.5]
    """

    given: Any
    id_column: str | None = None
    class_columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id_column, str | None):
            raise InputError(
                f"id_column: expected the name of a column, got {shown(self.id_column)}."
            )
        if self.class_columns is None:
            return
        names = checked_names(self.class_columns)
        if self.id_column in names:
            raise InputError(
                f"class_columns: expected columns of numbers alone, got {self.id_column!r}, which "
                "is the column of ids too."
            )
        object.__setattr__(self, "class_columns", names)


def with_columns(given: Any, id_column: Any = None, class_columns: Any = None) -> Any:
    """Return an argument, or each of several models', with the names of its columns."""
    if given is None or (id_column is None and class_columns is None):
        return given
    if isinstance(given, list | tuple) and given and not isinstance(given[0], float | int):
        return [with_columns(item, id_column, class_columns) for item in given]
    return given if isinstance(given, Table) else Table(given, id_column, class_columns)


def checked_names(class_columns: Any) -> tuple[str, ...]:
    """Return names of columns, refused where they are none or repeated."""
    is_list = isinstance(class_columns, Sequence | pd.Index) and not isinstance(class_columns, str)
    names = tuple(class_columns) if is_list else ()
    if not names or len(set(names)) < len(names):
        raise InputError(
            "class_columns: expected a list of distinct names of columns, got "
            f"{shown(class_columns)}."
        )
    return names
