"""Assignments as files: one batch for each annotator."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from daskal.api.export import WRITERS, export_batch
from daskal.errors import InputError, StoreExistsError
from daskal.names.naming import plain_texts
from daskal.names.normal import as_index
from daskal.options import check_choice
from daskal.storage import locations
from daskal.storage.redaction import redacted
from daskal.text import listed

FORMATS = tuple(ending.removeprefix(".") for ending in WRITERS)
# Characters that a file's name cannot have everywhere, and the one they are escaped with.
UNSAFE = frozenset('/\\:*?"<>|%')
# A name may be so long; file systems take up to 255 bytes.
MOST_CHARACTERS = 60


def export_assignments(
    assigned: pd.DataFrame,
    folder: str | os.PathLike[str],
    *,
    format: str = "json",
    id_key: str = "id",
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write one file for each annotator, with the examples to ask it about; return their paths.

    Each is a batch, as :func:`daskal.export_batch` writes it: JSON holds Label Studio's tasks, to
    be imported into the annotator's project.

    Parameters
    ----------
    assigned : pandas.DataFrame
        As :func:`daskal.assign` returns it.
    folder : str or path
        Folder or URL, which is made. Of existing files, only batches of the same annotators are
        replaced; others, which somebody might send out too, are an error.
    format : {"json", "csv", "parquet"}
    id_key : str
        As for :func:`daskal.export_batch`.
    storage_options : mapping, optional

    Returns
    -------
    list of str
        Paths of the files, in the order of the annotators' names. A file is called like its
        annotator; what no file can be called is escaped (``"a/b"`` is ``a%2Fb``).

    Raises
    ------
    InputError
        If the table is no assignment.
    StoreExistsError
        If there are other files in the folder.
    StorageError
        If files cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile, pandas as pd, daskal
    >>> batch = {"rank": [1, 1], "source": "labeled", "row": 7, "score": 0.2}
    >>> assigned = pd.DataFrame({**batch, "annotator": ["bo", "ann"]})
    >>> paths = daskal.export_assignments(assigned, tempfile.mkdtemp(), format="csv")
    >>> [pathlib.Path(path).name for path in paths]
    ['ann.csv', 'bo.csv']
    """
    import fsspec

    check_choice("format", format, FORMATS)
    if not isinstance(assigned, pd.DataFrame) or "annotator" not in assigned:
        raise InputError("assigned: expected the DataFrame of daskal.assign, got another one.")
    target = os.fspath(folder).rstrip("/")
    annotators = assigned["annotator"].drop_duplicates().tolist()
    stems = file_stems(plain_texts(as_index(annotators)))
    names = {stem: f"{stem}.{format}" for stem in stems}
    options = locations.options_for(target, storage_options) or {}
    with locations.storage_errors("write the assignments to", target, storage_options):
        file_system, place = fsspec.core.url_to_fs(target, **options)
        file_system.makedirs(place, exist_ok=True)
        there = {
            file.rstrip("/").rpartition("/")[2] for file in file_system.ls(place, detail=False)
        }
    strangers = sorted(there - set(names.values()))
    if strangers:
        raise StoreExistsError(
            f"{redacted(target)!r} holds other files ({listed(strangers)}), which might be sent "
            "out with the new ones. Choose a new folder, or remove them yourself."
        )
    pairs = sorted(zip(stems, annotators, strict=True), key=lambda pair: pair[0])
    paths = []
    for stem, annotator in pairs:
        part = assigned[[each == annotator for each in assigned["annotator"]]]
        path = f"{target}/{names[stem]}"
        export_batch(part, path, id_key=id_key, storage_options=storage_options)
        paths.append(path)
    return paths


def file_stems(texts: tuple[str, ...]) -> list[str]:
    """Return a name of a file for each text, no two of which differ in case alone."""
    stems: list[str] = []
    taken: set[str] = set()
    for text in texts:
        stem = "".join(
            f"%{ord(sign):02X}" if sign in UNSAFE or not sign.isprintable() else sign
            for sign in text
        )
        # Files that begin with a dot are hidden; no name ends in a dot or a blank everywhere.
        if not stem or stem[0] == "." or stem[-1] in ". ":
            stem = f"_{stem}_"
        if len(stem) > MOST_CHARACTERS or stem.lower() in taken:
            digest = hashlib.sha256(text.encode()).hexdigest()[:8]
            stem = f"{stem[: MOST_CHARACTERS - 9]}-{digest}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems
