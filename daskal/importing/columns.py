"""Long-format votes as Arrow columns: ids of one type each, and a survey of what a table holds.

A survey is a value that merges (`Survey.from_block`, `Survey.merge`), so that one read of the votes
finds every id, counts its votes, and finds every fault, whatever the partitions are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from daskal.errors import InvalidDataError
from daskal.names.normal import EXACT_FLOAT
from daskal.text import listed, plural

EXAMPLES = 5
"""How many examples an error message gives."""

WHOLE = "whole numbers"
TEXT = "text"
FRACTIONS = "fractions"
ROUNDED = "floats beyond 2**53"

_INT64_MAX = 2**63 - 1
_PROBED = 2**21
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: neighbours fall far apart


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type of values met in a column: its first value and that value's row."""

    name: str
    row: int
    example: str


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of votes in Arrow: int64, uint64 or large_string; ``None`` if types are mixed."""

    values: pa.Array | None
    kinds: tuple[Kind, ...]


@dataclasses.dataclass(frozen=True)
class Tally:
    """The distinct values of a column with the votes of each, and the rows where none is."""

    values: pa.Array
    votes: npt.NDArray[np.int64]
    kinds: tuple[Kind, ...]
    missing: int
    missing_rows: tuple[int, ...]

    @classmethod
    def from_block(cls, column: pd.Series[Any]) -> Tally:
        """Tally one block's column; rows are counted from the block's first."""
        rows = np.flatnonzero(column.isna().to_numpy())
        first_rows = tuple(rows[:EXAMPLES].tolist())
        parsed = as_column(column)
        if parsed.values is None:
            return cls(_nothing(), _no_votes(), parsed.kinds, len(rows), first_rows)
        counted = pc.value_counts(parsed.values.drop_null())
        votes = counted.field("counts").to_numpy()
        return cls(counted.field("values"), votes, parsed.kinds, len(rows), first_rows)

    @classmethod
    def merge(cls, tallies: Sequence[Tally], offsets: Sequence[int]) -> Tally:
        """Merge tallies of consecutive blocks, of which block b begins at row ``offsets[b]``."""
        kinds: dict[str, Kind] = {}
        missing_rows: list[int] = []
        for tally, offset in zip(tallies, offsets, strict=True):
            for kind in tally.kinds:
                kinds.setdefault(kind.name, dataclasses.replace(kind, row=kind.row + offset))
            missing_rows += [row + offset for row in tally.missing_rows]
        values, votes = _nothing(), _no_votes()
        if len(kinds) == 1 and FRACTIONS not in kinds:
            values, votes = _add_votes([tally for tally in tallies if len(tally.values)])
        return cls(
            values,
            votes,
            tuple(kinds.values()),
            sum(tally.missing for tally in tallies),
            tuple(missing_rows[:EXAMPLES]),
        )

    def split(self, buckets: int) -> list[Tally]:
        """Deal the values out to buckets, by the value alone; each one keeps all faults."""
        bucket = _bucket_of(self.values, buckets)
        return [
            Tally(
                self.values.filter(pa.array(bucket == number)),
                self.votes[bucket == number],
                self.kinds,
                self.missing,
                self.missing_rows,
            )
            for number in range(buckets)
        ]

    @classmethod
    def join(cls, tallies: Sequence[Tally]) -> Tally:
        """Put merged buckets together again."""
        filled = [tally for tally in tallies if len(tally.values)]
        if not filled:
            return tallies[0]
        values = pa.concat_arrays(_one_type([tally.values for tally in filled]))
        votes = np.concatenate([tally.votes for tally in filled])
        return dataclasses.replace(tallies[0], values=values, votes=votes)

    def check(self, name: str) -> None:
        """Raise the one error that says what is wrong with the column called ``name``."""
        if self.missing:
            count = plural(self.missing, "is missing", "are missing")
            rows = listed(self.missing_rows, count=self.missing)
            raise InvalidDataError(
                f"votes: expected a value in every row of column {name!r}, but {count} "
                f"(first rows: {rows}). "
                "Drop those rows, or fill them in."
            )
        names = [kind.name for kind in self.kinds]
        if len(names) > 1:
            met = " and ".join(f"{k.name} ({k.example}, row {k.row:,})" for k in self.kinds)
            raise InvalidDataError(
                f"votes: column {name!r} is of mixed types: {met}. Expected one type: convert the "
                f"column first, e.g. votes[{name!r}] = votes[{name!r}].astype(str)."
            )
        if names == [ROUNDED]:
            kind = self.kinds[0]
            raise InvalidDataError(
                f"votes: expected exact ids in column {name!r}, but row {kind.row:,} holds the "
                f"float {kind.example}: beyond 2**53 floats round whole numbers, so that several "
                "ids become one. Read the column as integers or as text."
            )
        if names == [FRACTIONS]:
            kind = self.kinds[0]
            raise InvalidDataError(
                f"votes: expected whole numbers or text in column {name!r}, but row {kind.row:,} "
                f"holds {kind.example}. Round the column, or turn it into text."
            )


@dataclasses.dataclass(frozen=True)
class Survey:
    """What a table of votes holds: its size and the tally of each of its three columns."""

    num_votes: int
    task: Tally
    annotator: Tally
    label: Tally
    # Answers that are no votes, by why: counted beside the votes, not block by block.
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_block(cls, block: pd.DataFrame, columns: Sequence[str]) -> Survey:
        """Survey one block of votes; ``columns`` names its task, annotator and label."""
        task, annotator, label = (Tally.from_block(block[name]) for name in columns)
        return cls(len(block), task, annotator, label)

    @classmethod
    def merge(cls, surveys: Sequence[Survey]) -> Survey:
        """Merge the surveys of consecutive blocks."""
        sizes = [survey.num_votes for survey in surveys]
        offsets = [sum(sizes[:block]) for block in range(len(sizes))]
        return cls(
            sum(sizes),
            Tally.merge([survey.task for survey in surveys], offsets),
            Tally.merge([survey.annotator for survey in surveys], offsets),
            Tally.merge([survey.label for survey in surveys], offsets),
        )

    def split(self, buckets: int) -> list[Survey]:
        """Deal the distinct values out to buckets, so that no merge has to hold them all."""
        columns = (tally.split(buckets) for tally in (self.task, self.annotator, self.label))
        return [Survey(self.num_votes, *tallies) for tallies in zip(*columns, strict=True)]

    @classmethod
    def join(cls, surveys: Sequence[Survey]) -> Survey:
        """Put the merged surveys of all buckets together again."""
        return cls(
            surveys[0].num_votes,
            Tally.join([survey.task for survey in surveys]),
            Tally.join([survey.annotator for survey in surveys]),
            Tally.join([survey.label for survey in surveys]),
        )


def as_column(values: pd.Series[Any]) -> Column:
    """Bring a pandas column of any dtype to int64, uint64 or large_string, with nulls kept."""
    if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) in {
        "mixed",
        "mixed-integer",
    }:
        return _from_objects(values)
    # Of a series pyarrow would make Python objects first, even where its values are Arrow's own.
    held = values.array if isinstance(values.dtype, pd.ArrowDtype) else values
    try:
        array = pa.array(held, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _from_objects(values)
    if isinstance(array, pa.ChunkedArray):
        array = _one_array(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_null(kind):
        return Column(None, ())
    if pa.types.is_floating(kind):
        fractional = pc.not_equal(array, pc.round(array))
        odd = pc.or_(fractional, pc.invert(pc.is_finite(array))).fill_null(False)
        if pc.any(odd).as_py():
            row = odd.index(True).as_py()
            return Column(None, (Kind(FRACTIONS, row, repr(array[row].as_py())),))
        rounded = pc.greater(pc.abs(array), EXACT_FLOAT).fill_null(False)
        if pc.any(rounded).as_py():
            row = rounded.index(True).as_py()
            return Column(None, (Kind(ROUNDED, row, repr(array[row].as_py())),))
        array = array.cast(pa.int64())
    elif pa.types.is_boolean(kind):
        # Named as Python writes them: True may be the first of the classes given.
        array = pc.if_else(array, "True", "False").cast(pa.large_string())
    elif pa.types.is_integer(kind):
        large = kind == pa.uint64() and (pc.max(array).as_py() or 0) > _INT64_MAX
        array = array.cast(pa.uint64() if large else pa.int64())
    elif pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return _from_objects(values)
    else:
        try:
            array = as_texts(array)
        except pa.ArrowInvalid:
            return _from_objects(values)
    return Column(array, _first_kind(array))


def as_texts(array: pa.Array) -> pa.Array:
    """Return values as text, equal for equal moments of whatever time zone and unit."""
    if not pa.types.is_timestamp(array.type):
        return array.cast(pa.large_string())
    zone = None if array.type.tz is None else "UTC"
    try:
        array = array.cast(pa.timestamp("ns", zone))
    except pa.ArrowInvalid:  # beyond the years of nanoseconds
        array = array.cast(pa.timestamp("us", zone))
    return pc.replace_substring_regex(array.cast(pa.large_string()), r"(\.\d{6})000", r"\1")


def positions(values: pa.Array, index: pa.Array) -> npt.NDArray[np.int64]:
    """Place of every value in ``index`` (distinct ids), -1 where it is not there.

    The long ``index`` is probed against a hash table of the block's distinct values, and not the
    other way round: a table of all ids would cost every block more memory and time than the block.
    """
    if len(values) > _PROBED:
        starts = range(0, len(values), _PROBED)
        return np.concatenate([positions(values[at : at + _PROBED], index) for at in starts])
    encoded = values.cast(index.type).dictionary_encode()
    found = pc.index_in(index, value_set=encoded.dictionary)
    hits = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    places = np.full(len(encoded.dictionary), -1, dtype=np.int64)
    places[found.take(pa.array(hits)).to_numpy()] = hits
    taken: npt.NDArray[np.int64] = places[encoded.indices.to_numpy()]
    return taken


def _add_votes(tallies: Sequence[Tally]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    if not tallies:
        return _nothing(), _no_votes()
    if len(tallies) == 1:
        return tallies[0].values, tallies[0].votes
    chunks = _one_type([tally.values for tally in tallies])
    # Hashed here and not by Table.group_by, which complains on stderr about the alignment of
    # whatever came over the network. Sums of votes stay exact in float64 up to 2**53.
    encoded = pa.concat_arrays(chunks).dictionary_encode()
    votes = np.concatenate([tally.votes for tally in tallies])
    summed = np.bincount(encoded.indices.to_numpy(), weights=votes)
    return encoded.dictionary, summed.astype(np.int64)


def _one_type(arrays: Sequence[pa.Array]) -> list[pa.Array]:
    kinds = {array.type for array in arrays}
    kind = pa.uint64() if pa.uint64() in kinds else kinds.pop()
    try:
        return [array.cast(kind) for array in arrays]
    except pa.ArrowInvalid as error:
        raise InvalidDataError(
            "votes: a column of ids holds both negative numbers and numbers above 2**63 - 1, which "
            "no integer type can hold together. Turn the column into text."
        ) from error


def _bucket_of(values: pa.Array, buckets: int) -> npt.NDArray[np.uint64]:
    if pa.types.is_large_string(values.type):
        # Sums of bytes: even enough, and nothing as large as a Python object for every id.
        offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset :][: len(values) + 1]
        text = np.frombuffer(values.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        sums = np.concatenate([[0], np.cumsum(text, dtype=np.uint32)]).astype(np.uint32)
        ends = sums[offsets - offsets[0]]
        keys = (ends[1:] - ends[:-1]).astype(np.uint64)
    else:
        # uint64 for both integer types: the same number in either falls into the same bucket.
        keys = values.to_numpy().astype(np.uint64)
    return ((keys * _GOLDEN) >> np.uint64(32)) % np.uint64(buckets)


def _from_objects(values: pd.Series[Any]) -> Column:
    # Arrow has no type for such objects (UUIDs, tuples, very long integers), or not one for all.
    first: dict[str, Kind] = {}
    present = values.notna().to_numpy()
    objects = values.to_list()
    for row in np.flatnonzero(present).tolist():
        value = objects[row]
        name = _kind_name(value)
        if name not in first:
            first[name] = Kind(name, row, repr(value))
    if len(first) > 1:
        return Column(None, tuple(first.values()))
    if WHOLE in first:
        try:
            array = pa.array(objects, pa.uint64(), from_pandas=True)
            return Column(array, tuple(first.values()))
        except (pa.ArrowInvalid, OverflowError):
            pass
    texts = [str(value) if here else None for value, here in zip(objects, present, strict=True)]
    array = pa.array(texts, pa.large_string())
    return Column(array, _first_kind(array))


def _kind_name(value: Any) -> str:
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return WHOLE
    return TEXT if isinstance(value, str) else f"values of type {type(value).__name__}"


def _first_kind(array: pa.Array) -> tuple[Kind, ...]:
    row = array.is_valid().index(True).as_py()
    if row < 0:
        return ()
    name = WHOLE if pa.types.is_integer(array.type) else TEXT
    return (Kind(name, row, repr(array[row].as_py())),)


def _one_array(array: pa.ChunkedArray) -> pa.Array:
    # 32-bit string offsets end at 2 GiB: beyond it only large_string makes one array.
    if pa.types.is_string(array.type):
        array = array.cast(pa.large_string())
    combined = array.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _nothing() -> pa.Array:
    return pa.array([], pa.int64())


def _no_votes() -> npt.NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)
