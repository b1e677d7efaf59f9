"""The consensus labels in a store: as a lazy table, the doubtful ones, and written to a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from daskal.api.class_quality import chosen_lists
from daskal.api.frames import ClassNames, named
from daskal.engine.graph import call_each, make_frame, new_name
from daskal.errors import DaskalError, InputError, StorageError, StoreExistsError
from daskal.inputs.ids import RowIds, take_ids
from daskal.method.doubtful import QUALITY
from daskal.method.values import MATRICES
from daskal.names.naming import plain_texts
from daskal.names.normal import as_index
from daskal.options import check_size
from daskal.storage import locations
from daskal.storage.redaction import redacted
from daskal.storage.tables import Column, member, reading

# Columns of the table beside the ids, in order.
LABEL_COLUMNS = (
    "consensus_label",
    QUALITY,
    "annotator_agreement",
    "num_annotations",
    "score",
)


@dataclass(frozen=True)
class LabelTable:
    """The labeled section of a store as a table; travels to the workers."""

    group: Any
    ids: RowIds | None
    class_names: ClassNames

    @property
    def has_several(self) -> bool:
        """Whether an example may have several classes."""
        return MATRICES[0] in self.group

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns beside the ids, in order."""
        return (*MATRICES, *LABEL_COLUMNS[1:]) if self.has_several else LABEL_COLUMNS

    def frame(self, values: Mapping[str, np.ndarray[Any, Any]], rows: pd.Index) -> pd.DataFrame:
        """Return columns as they are stored as a table: ids first, classes by name."""
        columns: dict[str, Any] = {}
        if self.ids is not None:
            own = take_ids(self.ids, rows.to_numpy()) if len(rows) else self.ids[:0]
            columns["id"] = pd.Series(own.array, index=rows, dtype=own.dtype)
        columns |= {name: values[name] for name in self.columns}
        if self.has_several:
            lists = chosen_lists(columns["consensus_labels"], self.class_names)
            columns["consensus_labels"] = lists
        else:
            codes = columns["consensus_label"].astype(np.int64)
            columns["consensus_label"] = named(codes, self.class_names)
        columns["num_annotations"] = columns["num_annotations"].astype(np.int64)
        return pd.DataFrame(columns, index=rows.rename("row"))

    def read(self, start: int, stop: int) -> pd.DataFrame:
        """Return the rows ``start:stop``."""
        columns = {name: Column(member(self.group, name)) for name in self.columns}
        values = {name: column[start:stop] for name, column in columns.items()}
        return self.frame(values, pd.RangeIndex(start, stop))

    def lazy(self, ranges: Sequence[tuple[int, int]]) -> Any:
        """Return the table of some ranges of rows as a lazy DataFrame, one partition a chunk."""
        step = self.group["score"].chunks[0]
        cuts = [
            (at, min(at + step, stop)) for start, stop in ranges for at in range(start, stop, step)
        ] or [(0, 0)]
        with reading(self.group, "labels"):
            meta = self.read(0, 0)
        calls = call_each(new_name("labels"), read_part, cuts, table=self)
        known = (*(start for start, _ in cuts), cuts[-1][1] - 1)
        return make_frame(calls, meta, known if cuts[-1][1] else None)


def read_part(start: int, stop: int, *, table: LabelTable) -> pd.DataFrame:
    """Return the rows ``start:stop`` of a table (the task of the graph)."""
    return table.read(start, stop)


# --- the doubtful ones ------------------------------------------------------------------------


def below_quality(labels: pd.DataFrame, below: float | None) -> pd.DataFrame:
    """Return the labels of examples with votes, those of less quality if a limit is given."""
    kept = (labels["num_annotations"] > 0) & labels[QUALITY].notna()
    return labels[kept if below is None else kept & (labels[QUALITY] < below)]


def lowest_quality(parts: Iterable[pd.DataFrame], size: int, below: float | None) -> pd.DataFrame:
    """Return the labels of lowest quality, by (quality, row), holding few beyond ``size``."""
    found = None
    for part in parts:
        part = below_quality(part, below)
        if found is not None:
            part = pd.concat([found, part])
        found = part.sort_values([QUALITY, "row"], kind="stable").head(size)
    assert found is not None
    return found


def check_below(below: float | None) -> None:
    """Refuse a limit that is no quality."""
    if below is not None and not 0 < below <= 1:
        raise InputError(
            f"below: expected a quality above 0 and at most 1, such as 0.5, got {below!r}."
        )


def partitions(labels: Any) -> Iterator[pd.DataFrame]:
    """Yield the partitions of a lazy table in order, one at a time in memory."""
    for number in range(labels.npartitions):
        yield labels.partitions[number].compute()


def chosen_labels(labels: Any, size: int | None, below: float | None) -> Iterator[pd.DataFrame]:
    """Yield all labels, those below a quality, or the few of lowest quality, in parts."""
    check_below(below)
    parts = partitions(labels)
    if size is not None:
        check_size(size)
        yield lowest_quality(parts, int(size), below)
    elif below is not None:
        yield from (below_quality(part, below) for part in parts)
    else:
        yield from parts


# --- files ------------------------------------------------------------------------------------


def plain(labels: pd.DataFrame, *, texts: bool) -> pd.DataFrame:
    """Return labels as files hold them: rows as a column, classes as text, and ids if ``texts``."""
    labels = labels.reset_index()
    if label_column(labels) == LABEL_COLUMNS[0] and isinstance(
        labels[LABEL_COLUMNS[0]].dtype, pd.CategoricalDtype
    ):
        names = labels["consensus_label"].astype(object)
        labels["consensus_label"] = names.where(names.notna(), None)
    if texts and "id" in labels and labels["id"].dtype.kind not in "iu":
        ids = plain_texts(as_index(labels["id"].tolist()))
        labels["id"] = pd.Series(list(ids), dtype=object, index=labels.index)
    return labels


def label_column(labels: pd.DataFrame) -> str:
    """Return the name of the column of consensus labels, which are lists where it is a plural."""
    return MATRICES[0] if MATRICES[0] in labels else LABEL_COLUMNS[0]


def as_json(value: Any) -> str:
    """Return a value as JSON, other alphabets as they are."""
    return json.dumps(value, ensure_ascii=False)


def write_csv(parts: Iterable[pd.DataFrame], file: Any, names: ClassNames = None) -> int:
    """Write labels as CSV, lists of classes as JSON; return how many."""
    num = 0
    for at, part in enumerate(parts):
        table = plain(part, texts=True)
        if MATRICES[0] in table:
            table[MATRICES[0]] = [as_json(chosen) for chosen in table[MATRICES[0]]]
        text = table.to_csv(index=False, header=at == 0, lineterminator="\n")
        file.write(text.encode())
        num += len(part)
    return num


def write_jsonl(parts: Iterable[pd.DataFrame], file: Any, names: ClassNames = None) -> int:
    """Write labels as JSON, one object a line; return how many."""
    num = 0
    for part in parts:
        for line in plain(part, texts=True).to_dict("records"):
            known = {
                name: value if isinstance(value, list) or not pd.isna(value) else None
                for name, value in line.items()
            }
            file.write(f"{as_json(known)}\n".encode())
        num += len(part)
    return num


def write_parquet(parts: Iterable[pd.DataFrame], file: Any, names: ClassNames = None) -> int:
    """Write labels as Parquet, one row group a part; return how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.int64() if names is None else pa.string()
    num, writer = 0, None
    for part in parts:
        table = pa.Table.from_pandas(plain(part, texts=False), preserve_index=False)
        # Without a single known label, Arrow finds no type.
        column = label_column(part)
        label = table.column(column).cast(pa.list_(kind) if column == MATRICES[0] else kind)
        place = table.schema.get_field_index(column)
        table = table.set_column(place, column, label)
        if writer is None:
            writer = pq.ParquetWriter(file, table.schema)
        writer.write_table(table.cast(writer.schema))
        num += len(part)
    assert writer is not None
    writer.close()
    return num


WRITERS: dict[str, Callable[[Iterable[pd.DataFrame], Any, ClassNames], int]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".jsonl": write_jsonl,
}


def ending_of(path: str) -> str:
    """Return the ending of a file's name that says its format."""
    found = next((ending for ending in WRITERS if path.lower().endswith(ending)), None)
    if found is None:
        raise InputError(f"path: expected a name that ends in {', '.join(WRITERS)}, got {path!r}.")
    return found


def columns_in(file: Any, ending: str) -> set[str]:
    """Return the names of the columns in a file."""
    if ending == ".parquet":
        import pyarrow.parquet as pq

        return set(pq.read_schema(file).names)
    line = file.readline().decode()
    return set(json.loads(line)) if ending == ".jsonl" else set(line.strip().split(","))


@contextmanager
def new_file(path: str, storage_options: Mapping[str, Any] | None) -> Iterator[Any]:
    """Yield a file to write labels to, in place of an earlier one; a part of one is not left.

    Raises
    ------
    StoreExistsError
        If there is a file that is no table of labels.
    """
    import fsspec

    ending = ending_of(path)
    options = locations.options_for(path, storage_options) or {}
    with locations.storage_errors("write the labels to", path, storage_options):
        file_system, place = fsspec.core.url_to_fs(path, **options)
        if file_system.exists(place):
            refuse_another_file(file_system, place, path, ending)
        try:
            file = fsspec.open(path, "wb", auto_mkdir=False, **options).open()
        except FileNotFoundError as error:
            raise StorageError(
                f"the labels cannot be written to {redacted(path)!r}: there is no such folder. "
                "Name a file in a folder that is there and may be written to."
            ) from error
        try:
            with file:
                yield file
        except BaseException:
            with suppress(OSError):
                file_system.rm(place)
            raise


def refuse_another_file(file_system: Any, place: str, path: str, ending: str) -> None:
    """Refuse to write over anything but an earlier table of labels."""
    try:
        with file_system.open(place, "rb") as file:
            columns = columns_in(file, ending)
            known = {"row", QUALITY} <= columns and bool({LABEL_COLUMNS[0], MATRICES[0]} & columns)
    except DaskalError:
        raise
    except Exception:  # whatever a reader says of a file of another kind
        known = False
    if not known:
        raise StoreExistsError(
            f"{redacted(path)!r} exists already and is no table of labels, so it is not replaced. "
            "Choose another path, or remove it yourself."
        )
