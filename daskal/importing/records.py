"""Exports read in parts: JSON, one object a line or a list of them, and tables of tools."""

from __future__ import annotations

import codecs
import dataclasses
import itertools
import json
import operator
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from dask.delayed import Delayed, delayed
from fsspec.utils import read_block

from daskal.errors import InputError
from daskal.importing.exports import (
    FORMS,
    NO_LABEL,
    STATES,
    Keys,
    Missing,
    TableKeys,
    Vote,
    answer_in_cell,
    form_of,
    one_label,
)
from daskal.storage.files import read_file
from daskal.storage.redaction import redacted
from daskal.tables.kinds import JSON_ENDINGS, is_packed, unpacked
from daskal.text import listed

# Bytes of a file that a task reads at once, and that are looked at to find where to cut a list.
PART_BYTES = 32 * 2**20
SCAN_BYTES = 2**20
COLUMNS = Keys._fields
# What stands between the items of a list.
BETWEEN = re.compile(r"[\s,]*")


@dataclasses.dataclass(frozen=True)
class Answers:
    """The votes of a part as a table, and how many answers were left out, by why."""

    votes: pd.DataFrame
    left_out: Mapping[str, int]


def is_json(file: str) -> bool:
    """Return whether a file is JSON, by its name."""
    return unpacked(file).endswith(JSON_ENDINGS)


def split(parts: Sequence[Delayed]) -> tuple[list[Delayed], list[Delayed]]:
    """Return the lazy tables of votes, and the lazy counts of what was left out."""
    take_votes, take_counts = operator.attrgetter("votes"), operator.attrgetter("left_out")
    return [delayed(take_votes)(part) for part in parts], [
        delayed(take_counts)(part) for part in parts
    ]


def add_counts(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Return all counts added, the largest first."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


# --- JSON -------------------------------------------------------------------------------------


def open_json(
    file_system: Any, files: Sequence[str], keys: Keys, form: str | None
) -> list[Delayed]:
    """Return the lazy answers in the parts of JSON files."""
    parts = []
    for file in files:
        packed = is_packed(file)
        is_list, record = read_first(file_system, file)
        if record is None:
            continue
        kind = form or form_of(record)
        if kind == "records":
            check_keys(record, keys, file)
        places: Sequence[tuple[int, int] | None]
        if packed:
            places = [None]
        elif is_list:
            places = read_file("votes", file_system, file, cut_list)
        else:
            size = int(file_system.size(file))
            edges = np.linspace(0, size, max(1, size // PART_BYTES) + 1).astype(np.int64).tolist()
            places = list(itertools.pairwise(edges))
        parts += [
            delayed(read_part)(file_system, file, place, is_list, kind, keys) for place in places
        ]
    if not parts:
        raise InputError(
            f"votes: expected objects in {redacted(files[0])}, one a line or a list of them, got "
            "none at all. Export it again."
        )
    return parts


def read_first(file_system: Any, file: str) -> tuple[bool, Mapping[str, Any] | None]:
    """Return whether a file is one list, and its first record, None where it has none."""

    def read(opened: Any) -> tuple[bool, Any]:
        texts, decode = "", codecs.getincrementaldecoder("utf-8-sig")(errors="strict")
        while chunk := opened.read(SCAN_BYTES):
            texts += decode.decode(chunk)
            begun = texts.lstrip()
            if not begun:
                continue
            is_list = begun.startswith("[")
            begun = begun[1:].lstrip() if is_list else begun
            if is_list and begun.startswith("]"):
                return True, None
            try:
                return is_list, json.JSONDecoder().raw_decode(begun)[0]
            except ValueError:
                continue
        if not texts.strip():
            return False, None
        raise not_json(file, 0)

    is_list, record = read_file("votes", file_system, file, read, compression="infer")
    if record is not None and not isinstance(record, Mapping):
        raise InputError(
            f"votes: expected objects in {redacted(file)}, one a line or a list of them, got "
            f"{type(record).__name__}."
        )
    return is_list, record


def cut_list(opened: Any) -> list[tuple[int, int]]:
    """Return where parts of a list begin and end, in bytes, each of some whole items."""
    decode, parse = codecs.getincrementaldecoder("utf-8")(), json.JSONDecoder().raw_decode
    text, at, passed = "", 0, 0
    cuts: list[tuple[int, int]] = []
    first: int | None = None
    wanted, inside = SCAN_BYTES, False
    while chunk := opened.read(wanted):
        text += decode.decode(chunk)
        wanted = SCAN_BYTES
        while True:
            if not inside:
                at = text.find("[") + 1
                inside = at > 0
                if not inside:
                    break
            at = BETWEEN.match(text, at).end()  # type: ignore[union-attr]
            if at == len(text) or text[at] == "]":
                break
            try:
                _, end = parse(text, at)
            except ValueError:
                # More is needed for it; ever more, so that a long one is not parsed too often.
                wanted = max(SCAN_BYTES, len(text) - at)
                break
            passed += len(text[:at].encode())
            first = passed if first is None else first
            passed += len(text[at:end].encode())
            text, at = text[end:], 0
            if passed - first >= PART_BYTES:
                cuts.append((first, passed))
                first = None
    if first is not None:
        cuts.append((first, passed))
    if text[at:].strip() != "]":
        raise not_json(str(getattr(opened, "path", "the file")), passed)
    return cuts


def not_json(file: str, at: int) -> InputError:
    """Return the error about a file that is damaged."""
    return InputError(
        f"votes: {redacted(file)} is no JSON after byte {at:,}: it is damaged, or was cut short. "
        "Expected one object a line, or one list of objects. Export it again."
    )


def check_keys(record: Mapping[str, Any], keys: Keys, file: str) -> None:
    """Refuse records of no known tool that lack the top of a key."""
    names = [key or name for key, name in zip(keys, COLUMNS, strict=True)]
    tops = [re.split(r"\.|\[\]", name)[0] for name in names]
    lacking = [
        name
        for name, top in zip(names, tops, strict=True)
        if top not in record and name not in record
    ]
    if lacking:
        raise InputError(
            f"votes: {redacted(file)} is of none of the tools known ({', '.join(FORMS)}), and its "
            f"records lack {listed(map(repr, lacking))}; they have "
            f"{listed(map(repr, record), most=12)}.",
            advice="Name the tool with {form=}, or the keys with {task=}, {annotator=} and "
            "{label=}.",
        )


def read_part(
    file_system: Any,
    file: str,
    place: tuple[int, int] | None,
    is_list: bool,
    form: str,
    keys: Keys,
) -> Answers:
    """Return the answers in a part of a file: its bytes from ``place[0]`` to ``place[1]``."""

    def read(opened: Any) -> bytes:
        if place is None:
            return opened.read()
        start, stop = place
        if is_list:
            opened.seek(start)
            return opened.read(stop - start)
        return read_block(opened, start, stop - start, b"\n")

    content = read_file("votes", file_system, file, read, compression="infer")
    # doccano names a file after the user whose answers it holds.
    user = PurePosixPath(file).name.partition(".")[0]
    start = 0 if place is None else place[0]
    lines = items_of(content, file) if is_list else lines_of(content, file, start)
    return take_answers(lines, form, keys, user, file)


def items_of(content: bytes, file: str) -> Iterator[Any]:
    """Yield the items of a part of a list."""
    try:
        text = content.decode("utf-8-sig").strip()
        yield from json.loads(text if text.startswith("[") else f"[{text}]")
    except ValueError as error:
        raise not_json(file, 0) from error


def lines_of(content: bytes, file: str, start: int) -> Iterator[Any]:
    """Yield the objects in lines."""
    for line in content.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise not_json(file, start) from error
        start += len(line) + 1


def take_answers(records: Iterator[Any], form: str, keys: Keys, user: str, file: str) -> Answers:
    """Return the answers in records as a table."""
    votes: list[Vote] = []
    left_out: Counter[str] = Counter()
    for record in records:
        try:
            for answer in FORMS[form](record, keys, user):
                if isinstance(answer, str):
                    left_out[answer] += 1
                else:
                    votes.append(answer)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"votes: expected an export of {form} in {redacted(file)}, got a record of another "
                f"form: {str(record)[:200]}."
            ) from error
    columns = zip(*votes, strict=True) if votes else ([], [], [])
    frame = {name: column_of(values) for name, values in zip(COLUMNS, columns, strict=True)}
    return Answers(pd.DataFrame(frame), dict(left_out))


def column_of(values: Sequence[Any]) -> pd.Series[Any]:
    """Return values as they are: no number becomes a float beside a missing one."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return pd.Series(column, dtype=object)


# --- tables -----------------------------------------------------------------------------------


def answers_in_table(table: pd.DataFrame, form: str, keys: TableKeys) -> Answers:
    """Return the votes of a part of a tool's table."""
    left_out: Counter[str] = Counter()
    columns, question = keys
    state_of, reasons = STATES[form]
    if state_of in columns:
        why = table[state_of].map(reasons)
        left_out.update(why.dropna().tolist())
        table = table[why.isna()]
    labels = table[columns[2]]
    if question is not None or columns[2].endswith("taskAnswers"):
        cells = (None if pd.isna(cell) else json.loads(cell) for cell in labels)
        found = [one_label(answer_in_cell(cell, question)) for cell in cells]
        known = [not isinstance(label, Missing) for label in found]
        left_out.update(label.why for label in found if isinstance(label, Missing))
        values = [str(label) for label, kept in zip(found, known, strict=True) if kept]
        table = table[known].assign(**{columns[2]: pd.array(values, dtype="string[pyarrow]")})
    else:
        missing = labels.isna()
        left_out[NO_LABEL] += int(missing.sum())
        table = table[~missing]
    votes = table[list(columns[:3])].set_axis(list(COLUMNS), axis=1)
    counts = {why: num for why, num in left_out.items() if num}
    return Answers(votes.reset_index(drop=True), counts)
