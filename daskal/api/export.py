"""A batch as a file that a labeling tool takes, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from daskal.api.batches import COLUMNS, EARLIER_SOURCE, as_id_column, with_source
from daskal.errors import DaskalError, InputError, StorageError, StoreExistsError
from daskal.names.naming import plain_texts
from daskal.names.normal import as_index
from daskal.storage import locations
from daskal.storage.redaction import redacted
from daskal.version import __version__


def to_tasks(batch: pd.DataFrame, *, id_key: str = "id") -> list[dict[str, Any]]:
    """Return a batch as Label Studio tasks, in the order of the batch.

    Parameters
    ----------
    batch : pandas.DataFrame
        As :func:`daskal.next_batch` returns it; any columns joined to it go into a task's data.
    id_key : str
        Name of the ids in a task's data, as the labeling interface asks for them: ``"image"``
        where it says ``$image`` and ids are addresses of images.

    Returns
    -------
    list of dict
        For each example ``data`` (its id, source and row, and further columns), ``meta`` (rank,
        score and daskal's version) and one of ``predictions`` without a result, whose ``score`` is
        that of the batch: Label Studio shows tasks with the lowest prediction score first.
    """
    batch = with_source(batch)
    missing = {"rank", "source", "row", "score"} - set(batch.columns)
    if missing:
        raise InputError(
            "batch: expected the DataFrame of next_batch, got one without "
            f"{', '.join(sorted(missing))}."
        )
    more = [name for name in batch.columns if name not in COLUMNS]
    names = {**({"id": id_key} if "id" in batch else {}), "source": "source", "row": "row"}
    names |= {name: str(name) for name in more}
    if len(set(names.values())) < len(names):
        raise InputError(f"id_key: {id_key!r} is the name of another column: choose another.")
    plain = batch.astype(object).where(batch.notna(), None)
    columns = {name: plain[name].tolist() for name in plain}
    return [
        {
            "data": {key: columns[name][at] for name, key in names.items()},
            "meta": {
                "rank": columns["rank"][at],
                "score": columns["score"][at],
                "source": f"daskal {__version__}",
            },
            "predictions": [
                {"model_version": f"daskal {__version__}", "score": score, "result": []}
            ],
        }
        for at, score in enumerate(columns["score"])
    ]


def with_text_ids(batch: pd.DataFrame) -> pd.DataFrame:
    """Return a batch with each id's unique text; an unknown id stays unknown."""
    if "id" not in batch:
        return batch
    known = batch["id"].notna()
    texts = pd.Series(None, index=batch.index, dtype=object)
    texts[known] = plain_texts(as_index(batch.loc[known, "id"].tolist()))
    return batch.assign(id=texts)


def json_ids(batch: pd.DataFrame) -> pd.DataFrame:
    """Return a batch with ids that JSON can hold: numbers and text, all else turned into text."""
    ids = batch.get("id", pd.Series(dtype=object)).dropna().tolist()
    plain = all(isinstance(value, int | float | str) for value in ids)
    return batch if plain else with_text_ids(batch)


# Says in a CSV file that ids are floats, which no text tells: "2.5" may be text too.
KIND_COLUMN = "id_kind"
FLOAT = "float"


def write_csv(batch: pd.DataFrame, file: Any, id_key: str) -> None:
    """Write a batch as CSV."""
    known = batch["id"].dropna().tolist() if "id" in batch else []
    written = with_text_ids(batch)
    if known and all(isinstance(value, float | np.floating) for value in known):
        written = written.assign(**{KIND_COLUMN: batch["id"].notna().map({True: FLOAT})})
    written.to_csv(file, index=False, lineterminator="\n")


def write_parquet(batch: pd.DataFrame, file: Any, id_key: str) -> None:
    """Write a batch as Parquet."""
    kinds = {type(value) for value in batch.get("id", pd.Series(dtype=object)).dropna().tolist()}
    # Values in a column of Parquet have one type.
    (batch if len(kinds) < 2 else with_text_ids(batch)).to_parquet(file, index=False)


def write_json(batch: pd.DataFrame, file: Any, id_key: str) -> None:
    """Write a batch as Label Studio tasks."""
    tasks = to_tasks(json_ids(batch), id_key=id_key)
    text = json.dumps(tasks, ensure_ascii=False, indent=1, allow_nan=False, default=str)
    file.write(f"{text}\n".encode())


WRITERS: dict[str, Callable[[pd.DataFrame, Any, str], None]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".json": write_json,
}


def export_batch(
    batch: pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    id_key: str = "id",
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Write a batch to a CSV, Parquet or JSON file, by its ending; the JSON is for Label Studio.

    Parameters
    ----------
    batch : pandas.DataFrame
        As :func:`daskal.next_batch` returns it. Columns joined to it, an image's address or a text,
        are written too.
    path : str or path
        File or URL, ending in ``.csv``, ``.parquet`` or ``.json``.
    id_key : str
        Name of the ids in the tasks of a JSON file, as the labeling interface asks for them.
    storage_options : mapping, optional

    Raises
    ------
    InputError
        If the name ends otherwise, or the batch lacks columns.
    StoreExistsError
        If there is a file that is no batch: only a batch is replaced.
    StorageError
        If the file cannot be written.

    Notes
    -----
    The JSON is a list of Label Studio's tasks::

        {"data": {"id": "img/7.jpg", "source": "unlabeled", "row": 7},
         "meta": {"rank": 1, "score": 0.21, "source": "daskal 0.2.0"},
         "predictions": [{"model_version": "daskal 0.2.0", "score": 0.21, "result": []}]}

    The score is there twice: as the prediction's, by which Label Studio orders tasks (the lowest
    first, which is what a score of daskal means), and in ``meta``, for everything else.

    Examples
    --------
    >>> import json, pathlib, tempfile, numpy as np, daskal
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "next.json"
    >>> batch = daskal.next_batch(None, np.array([0.5, 0.1]), size=1)
    >>> daskal.export_batch(batch, file)
    >>> json.loads(file.read_text())[0]["data"]
    {'source': 'unlabeled', 'row': 1}
    """
    import fsspec

    target = os.fspath(path)
    batch = with_source(batch)
    write = WRITERS[format_of(target)]
    refuse_foreign_file(target, id_key, storage_options)
    options = locations.options_for(target, storage_options) or {}
    with locations.storage_errors("write the batch to", target, storage_options):
        try:
            with fsspec.open(target, "wb", auto_mkdir=False, **options) as file:
                write(batch, file, id_key)
        except FileNotFoundError as error:
            raise StorageError(
                f"the batch cannot be written to {redacted(target)!r}: there is no such "
                "folder. Name a file in a folder that is there and may be written to."
            ) from error


def refuse_foreign_file(path: str, id_key: str, storage_options: Mapping[str, Any] | None) -> None:
    """Refuse to write over anything but an earlier batch: it may be somebody's only copy."""
    import fsspec

    options = locations.options_for(path, storage_options) or {}
    with locations.storage_errors("write the batch to", path, storage_options):
        file_system, place = fsspec.core.url_to_fs(path, **options)
        if not file_system.exists(place):
            return
    try:
        read_batch(path, id_key=id_key, storage_options=storage_options)
    except DaskalError as error:
        raise StoreExistsError(
            f"{redacted(path)!r} exists already and is no batch, so it is not replaced. Choose "
            "another path, or remove it yourself."
        ) from error


def format_of(path: str) -> str:
    """Return the format that a file's name ends in."""
    ending = next((ending for ending in WRITERS if path.lower().endswith(ending)), None)
    if ending is None:
        raise InputError(f"path: expected a name that ends in {', '.join(WRITERS)}, got {path!r}.")
    return ending


# --- and back ---------------------------------------------------------------------------------


def read_tasks(file: Any, id_key: str) -> pd.DataFrame:
    """Return the examples of Label Studio tasks, with what else is in their data."""
    tasks = json.load(file)
    data = [task["data"] for task in tasks]
    columns = {"source": "source", EARLIER_SOURCE: EARLIER_SOURCE, "row": "row", "id": id_key}
    if id_key == "source":
        # Only a file of the time when no other value had that name.
        del columns["source"]
    known = {*columns.values(), *columns}
    more = [key for key in (data[0] if data else ()) if key not in known]
    columns |= {key: key for key in more}
    meta = [task.get("meta") or {} for task in tasks]
    parts = [(name, key, data) for name, key in columns.items()]
    parts = [("rank", "rank", meta), *parts, ("score", "score", meta)]
    return pd.DataFrame(
        {
            name: as_id_column([item[key] for item in items])
            for name, key, items in parts
            if all(key in item for item in items)
        }
    )


# Columns of the table that the report's own button saves, and what they are called in a batch.
REPORT_COLUMNS = {"Rank": "rank", "Id": "id", "From": "source", "Row": "row", "Score": "score"}
# Reports before 0.2 spelled it "labelled"; their tables are still read.
REPORT_SOURCES = {"labeled": "labeled", "labelled": "labeled", "pool": "unlabeled"}


def read_csv(file: Any, id_key: str) -> pd.DataFrame:
    """Return the examples of a CSV file, ids as the text they are written as: 007, NA and "" too.

    Floats come back as floats. Where no example of a source has an id, that source has none.
    """
    found = pd.read_csv(
        file, dtype={"id": str, "Id": str}, keep_default_na=False, na_values={"score": [""]}
    )
    if {"From", "Row"} <= set(found.columns):
        found = found.rename(columns=REPORT_COLUMNS)
        found["source"] = found["source"].map(REPORT_SOURCES)
        if "id" in found:
            found["id"] = found["id"].replace("–", "")
    found = with_source(found)
    if "id" in found and "source" in found:
        ids = found["id"].astype(object)
        blank = (ids == "").groupby(found["source"]).transform("all")
        found["id"] = ids.where(~blank, None)
        if KIND_COLUMN in found and (found[KIND_COLUMN] == FLOAT).any():
            kinds = found.pop(KIND_COLUMN)
            pairs = zip(found["id"], kinds, strict=True)
            found["id"] = as_id_column([float(v) if kind == FLOAT else None for v, kind in pairs])
    return found


READERS: dict[str, Callable[[Any, str], pd.DataFrame]] = {
    ".csv": read_csv,
    ".parquet": lambda file, id_key: pd.read_parquet(file),
    ".json": read_tasks,
}


def read_batch(
    path: str | os.PathLike[str],
    *,
    id_key: str = "id",
    storage_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return the examples of a file that :func:`export_batch` wrote, to exclude them another time.

    Parameters
    ----------
    path : str or path
    id_key : str
        As it was written.
    storage_options : mapping, optional

    Returns
    -------
    pandas.DataFrame
        With the columns ``source``, ``row`` and, where the batch had ids, ``id``.

    Raises
    ------
    InputError
        If the name ends otherwise, or no batch is in the file.
    StorageError
        If the file cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, daskal
    >>> file, scores = pathlib.Path(tempfile.mkdtemp()) / "out.csv", np.array([0.5, 0.1])
    >>> daskal.export_batch(daskal.next_batch(None, scores, size=1), file)
    >>> daskal.next_batch(None, scores, size=1, exclude=daskal.read_batch(file))
       rank     source  row  score
    0     1  unlabeled    0    0.5
    """
    import fsspec

    target = os.fspath(path)
    read = READERS[format_of(target)]
    with (
        locations.storage_errors("read the batch in", target, storage_options),
        fsspec.open(target, "rb", **(locations.options_for(target, storage_options) or {})) as file,
    ):
        found = with_source(read(file, id_key))
    missing = {"source", "row"} - set(found.columns)
    if missing:
        raise InputError(
            f"{target!r}: expected a batch with the columns source and row, found none called "
            f"{' or '.join(sorted(missing))}."
        )
    return found
