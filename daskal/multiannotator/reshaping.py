"""Votes in long format and labels of any kind, brought into the form that the functions take."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from daskal.errors import ArgumentTypeError, InputError, MissingColumnError
from daskal.method.findings import FIRST_ROWS


def convert_long_to_wide_dataset(labels_multiannotator_long: pd.DataFrame) -> pd.DataFrame:
    """Return votes in long format as a matrix: one row a task, one column an annotator.

    As ``cleanlab.multiannotator.convert_long_to_wide_dataset``. The matrix is dense: for many
    annotators, daskal's import of votes keeps them sparse.

    Parameters
    ----------
    labels_multiannotator_long : pandas.DataFrame
        Columns ``task``, ``annotator`` and ``label``, at most one label a task and annotator.

    Returns
    -------
    pandas.DataFrame
        Tasks and annotators in ascending order, NaN where there is no label.

    Raises
    ------
    MissingColumnError
        If one of the columns is missing (also a KeyError).
    InputError
        If an annotator labelled a task twice.

    Examples
    --------
    >>> import pandas as pd
    >>> from daskal.multiannotator import convert_long_to_wide_dataset
    >>> votes = pd.DataFrame({"task": [0, 0, 1], "annotator": ["a", "b", "b"], "label": [1, 0, 1]})
    >>> convert_long_to_wide_dataset(votes)
         a    b
    0  1.0  0.0
    1  NaN  1.0
    """
    votes = labels_multiannotator_long
    missing = [name for name in ("task", "annotator", "label") if name not in votes.columns]
    if missing:
        raise MissingColumnError(
            f"expected columns task, annotator and label, got none named {', '.join(missing)} "
            f"among {list(votes.columns)}."
        )
    repeated = votes.duplicated(["task", "annotator"])
    if repeated.any():
        first = votes.loc[repeated, ["task", "annotator"]].head(FIRST_ROWS)
        raise InputError(
            "expected one label a task and annotator, got another for "
            f"{list(first.itertuples(index=False, name=None))} ({int(repeated.sum()):,} in all)."
        )
    wide = votes.pivot(index="task", columns="annotator", values="label")
    return wide.rename_axis(index=None, columns=None)


def format_multiannotator_labels(
    labels: pd.DataFrame | np.ndarray[Any, Any],
) -> tuple[pd.DataFrame, dict[int, Any]]:
    """Return labels of any kind as class codes 0 to K - 1, and what the codes stand for.

    Codes follow the order of the labels. As
    ``cleanlab.internal.multiannotator_utils.format_multiannotator_labels``.

    Parameters
    ----------
    labels : pandas.DataFrame or numpy.ndarray of shape (N, M)
        Names or numbers; NaN, None or ``pd.NA`` where there is no label.

    Returns
    -------
    formatted_labels : pandas.DataFrame of shape (N, M)
    mapping : dict
        Label of each code.

    Raises
    ------
    ArgumentTypeError
        If the labels are neither.

    Examples
    --------
    >>> import numpy as np
    >>> from daskal.multiannotator import format_multiannotator_labels
    >>> codes, names = format_multiannotator_labels(np.array([["cat", "dog"], ["dog", "dog"]]))
    >>> codes.to_numpy().tolist()
    [[0, 1], [1, 1]]
    """
    if not isinstance(labels, pd.DataFrame | np.ndarray):
        raise ArgumentTypeError(
            f"labels: expected a DataFrame or a NumPy array, got {type(labels).__name__}."
        )
    frame = pd.DataFrame(labels).copy()
    for at, dtype in enumerate(frame.dtypes):
        if not takes_codes(dtype):
            frame.isetitem(at, frame.iloc[:, at].astype(object).to_numpy())
    seen = pd.unique(frame.to_numpy().ravel())
    # An array of strings holds a NaN as the string; in a DataFrame that is a name.
    spelled = isinstance(labels, np.ndarray)
    missing = np.array([pd.isna(name) or (spelled and name == "nan") for name in seen], dtype=bool)
    try:
        names = np.sort(seen[~missing])
    except TypeError as error:
        raise ArgumentTypeError(
            f"labels: expected labels of one kind, which have an order, got several ({error})."
        ) from error
    if names.dtype.kind == "f" and (names == np.floor(names)).all():
        # They are floats for the sake of NaN alone.
        names = names.astype(np.int64)
    with warnings.catch_warnings():
        # Older pandas tells of the dtype that becomes of the codes.
        warnings.simplefilter("ignore", FutureWarning)
        codes = frame.replace({name: code for code, name in enumerate(names)})
    return codes, dict(enumerate(names))


def takes_codes(dtype: Any) -> bool:
    """Return whether labels of a column can be replaced by codes in their place."""
    if isinstance(dtype, np.dtype | pd.StringDtype):
        return True
    return not isinstance(dtype, pd.CategoricalDtype) and dtype.kind in "iuf"
