"""What to do with an argument that daskal does not take as it is."""

from __future__ import annotations

from typing import Any

from daskal.errors import InputError

BATCHES = "Batches of rows become one array with numpy.concatenate(batches)."


def refuse(name: str, given: Any) -> InputError:
    """Return the error for an argument that daskal does not take."""
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    return InputError(
        f"{name}: expected a NumPy, Dask, Zarr or xarray array, a DataFrame or Arrow table, the "
        "path of Zarr, Parquet, Arrow, CSV or .npy or, for labels, sparse votes, got "
        f"{kind}. {advice_on(given, kind)}"
    )


def advice_on(given: Any, kind: str) -> str:
    """Return what to do with a value."""
    package = kind.partition(".")[0]
    if package == "daskal":
        return advice_on_ours(type(given).__name__)
    if hasattr(given, "dask") or hasattr(given, "__dask_graph__"):
        return (
            "Call .to_dask_array(lengths=True) on it; votes in long format become a store with "
            "daskal.import_votes."
        )
    if package == "pyarrow" or hasattr(given, "to_pandas"):
        return "Call .to_pandas() on it."
    if hasattr(given, "collect"):
        return "Call .collect() on it."
    if hasattr(given, "detach") and hasattr(given, "numpy"):
        return "Call .detach().cpu().numpy() on it."
    if hasattr(given, "__array__"):
        return "Call numpy.asarray on it."
    if isinstance(given, dict):
        return "Make a table of it first: pandas.DataFrame(...)."
    if hasattr(given, "__iter__"):
        return "Make an array of it first: numpy.stack(list(...)) or numpy.concatenate(list(...))."
    return "Pass an array of two axes, rows being examples."


def advice_on_ours(kind: str) -> str:
    """Return what to do with one of daskal's own objects."""
    return {
        "Estimate": "An estimate goes in as estimate=, beside labels and probabilities.",
        "ImportSummary": "Pass its .path: that is where the votes are.",
        "Run": "Pass its .path, or one of its arrays: .scores, .pool.",
        "Plan": "A plan only tells what a run would do.",
    }.get(kind, "Pass what it was made of.")


def advice_on_list(given: Any) -> str:
    """Return what to do with a list that is no array."""
    first = given[0] if len(given) else None
    if isinstance(first, dict):
        return (
            "A list of records becomes a table with pandas.DataFrame(records), and votes in long "
            "format a store with daskal.import_votes."
        )
    if len({getattr(part, "shape", (0, 0))[1:] for part in given}) == 1 and hasattr(first, "shape"):
        return BATCHES
    return "Fill missing labels up with NaN, or pass votes in long format to daskal.import_votes."


def advice_on_one_axis(dtype: Any) -> str:
    """Return what to do with probabilities that have one axis."""
    if dtype.names is not None:
        return (
            "The fields of records become columns with "
            "numpy.lib.recfunctions.structured_to_unstructured."
        )
    if dtype.kind == "O":
        return "Rows that are lists or arrays become one array with numpy.stack(list(...))."
    return (
        "The probabilities p of the second of two classes are written np.column_stack([1 - p, p])."
    )


def advice_on_dtype(kind: str) -> str:
    """Return what to do with an array of values that are no numbers."""
    if kind in "USOT":
        return (
            "Class names become codes 0 to K - 1 with "
            "daskal.multiannotator.format_multiannotator_labels."
        )
    return "Convert it to a float or integer dtype first."
