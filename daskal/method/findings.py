"""What is wrong with some rows: counted and merged like any statistic, and put in words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from daskal.errors import ChangedInputError, InvalidDataError
from daskal.method.values import MOST_CLASSES, Floats, Ints
from daskal.text import listed, plural

FIRST_ROWS = 10

# --- kinds of fault ---------------------------------------------------------------------------

# The codes that checks mark rows by; 0 is none.
NOT_FINITE, BELOW_ZERO, ABOVE_ONE, ALL_ZERO, BAD_SUM = range(1, 6)
FRACTIONAL, OUT_OF_RANGE, NEGATIVE, INFINITE, REPEATED, UNKNOWN_ANNOTATOR = range(6, 12)
# Of several classes an example, each is chosen or not.
NOT_BINARY = 12

# Values that mark missing labels in matrices of an unsigned dtype, and in spreadsheets.
MISSING_CODES = {99.0, 255.0, 999.0, 9999.0, 65535.0, float(2**32 - 1), float(2**64 - 1)}


class Expected(NamedTuple):
    """What rows are expected to hold, in words, and whether a model's probabilities are part of it.

    Advice does not speak of arguments that nobody has passed.
    """

    text: str
    has_probs: bool = True


RULE = Expected(
    "Expected class probabilities in each row (at least 0, summing to 1 within 0.001) and labels "
    "that are whole numbers from 0 to K - 1, missing ones NaN or, in an integer matrix, negative."
)
MULTI_LABEL_RULE = Expected(
    "Expected the probability of each class, from 0 to 1, and labels that are 0, 1, or missing: "
    "NaN or, in an array of integers, negative."
)
VOTES_RULE = Expected(
    "Expected classes that are whole numbers from 0 to K - 1, missing ones NaN or, among integers, "
    "negative.",
    has_probs=False,
)


def advice_on_sum(values: Sequence[float], rule: Expected) -> str:
    """Return what may be behind sums other than 1."""
    if all(abs(value - 1) <= 0.05 for value in values):
        return "Divide each row by its sum: p / p.sum(axis=-1, keepdims=True)."
    return (
        "Rows are examples and columns classes: transpose a matrix that has them the other way "
        "round. Scores of separate classifiers (one against the rest) are no probabilities of "
        "one class among K: divide each row by its sum."
    )


def advice_on_large(values: Sequence[float], rule: Expected) -> str:
    """Return what may be behind probabilities above 1."""
    if all(value <= 100 for value in values) and any(value > 20 for value in values):
        return "They look like percent: divide by 100."
    return "Logits become probabilities by softmax; counts or weights, divided by their row's sum."


def advice_on_fractions(values: Sequence[float], rule: Expected) -> str:
    """Return what may be behind labels that are no whole numbers."""
    advice = "A label is the number of a class. Turn averages or scores into classes"
    return (
        f"{advice}; labels and pred_probs may have been swapped."
        if rule.has_probs
        else advice + "."
    )


def advice_on_codes(values: Sequence[float], rule: Expected) -> str:
    """Return what may be behind labels beyond the last class."""
    if set(values) <= MISSING_CODES:
        return (
            f"If {values[0]:.0f} stands for a missing label, use NaN in a float matrix or -1 in an "
            f"integer one: np.where({{labels}} == {values[0]:.0f}, -1, {{labels}}.astype(int))."
        )
    if not rule.has_probs:
        return (
            "Classes are numbered from 0 to K - 1, K being what num_classes, the labels' store, "
            f"the aggregate or the estimate says, else the classes among the labels, "
            f"{MOST_CLASSES:,} at most: if yours begin with 1, subtract 1; if there are more "
            "classes, num_classes is too low."
        )
    return (
        "Classes are numbered from 0 to K - 1, K the number of classes, as many as pred_probs has "
        "columns: if yours begin with 1, subtract 1; if there are more classes, pred_probs lacks "
        "columns, or num_classes is too low."
    )


@dataclass(frozen=True)
class Fault:
    """A kind of fault: its code, its description of a row, and what to do about it.

    ``advice`` is a text, or a function that finds it from the first values seen and what was
    expected. ``{labels}`` in it stands for the array at fault.
    """

    code: int
    text: str
    advice: str | Callable[[Sequence[float], Expected], str]

    def advise(self, values: Sequence[float], array: str = "labels", rule: Expected = RULE) -> str:
        """Return what to do about it, given the first values seen in an array."""
        advice = self.advice if isinstance(self.advice, str) else self.advice(values, rule)
        return advice.replace("{labels}", array)


FAULTS = {
    fault.code: fault
    for fault in (
        Fault(
            NOT_FINITE,
            "is NaN or infinite",
            "The model gave no number here, or the row is masked or was never written: predict "
            "these rows again, or drop them.",
        ),
        Fault(
            BELOW_ZERO,
            "has a negative probability",
            "They look like logits or logarithms: take softmax of logits, exp of "
            "log-probabilities.",
        ),
        Fault(ABOVE_ONE, "has a probability above 1", advice_on_large),
        Fault(
            ALL_ZERO,
            "is all zero",
            "No class has any probability: the row was never written, or rounded to whole "
            "numbers. Predict these rows again, or drop them.",
        ),
        Fault(BAD_SUM, "does not sum to 1", advice_on_sum),
        Fault(FRACTIONAL, "has a label that is no whole number", advice_on_fractions),
        Fault(OUT_OF_RANGE, "has a label beyond the last class", advice_on_codes),
        Fault(
            NEGATIVE,
            "has a negative label in a float matrix or among sparse votes",
            "Missing is NaN in a float matrix: np.where({labels} < 0, np.nan, {labels}). Sparse "
            "votes leave missing ones out.",
        ),
        Fault(
            INFINITE,
            "has a label that is no finite number",
            "Missing is NaN in a float matrix, never infinity: "
            "np.where(np.isinf({labels}), np.nan, {labels}).",
        ),
        Fault(
            REPEATED,
            "has two votes of one annotator (named by column)",
            "Keep one of them.",
        ),
        Fault(
            UNKNOWN_ANNOTATOR,
            "has a vote of an annotator outside the M columns",
            "Columns are numbered from 0 to M - 1, M the second number of the votes' shape.",
        ),
        Fault(
            NOT_BINARY,
            "has a label other than 0 and 1",
            "Of several classes an example, each is 1 where an annotator chose it, 0 where not, "
            "and missing where the annotator was not asked.",
        ),
    )
}

# --- counted and merged -----------------------------------------------------------------------


class Finding(NamedTuple):
    """One kind of fault in one array: how many rows, and the first of them with the value seen."""

    array: str
    code: int
    num_rows: int
    rows: tuple[tuple[int, float], ...]

    @property
    def fault(self) -> Fault:
        """The kind of fault."""
        return FAULTS[self.code]

    @property
    def place(self) -> tuple[str, str]:
        """Return the key by which findings are sorted."""
        return self.array, self.fault.text


@dataclass(frozen=True)
class Findings:
    """The faults of some rows, by array and kind, in that order."""

    faults: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    @classmethod
    def from_rows(cls, array: str, codes: NDArray[np.uint8], rows: Ints, seen: Floats) -> Findings:
        """Group rows at fault by their kind of fault; ``rows`` are global and ascending."""
        found = []
        for code in np.unique(codes[codes > 0]).tolist():
            at = np.flatnonzero(codes == code)
            first = at[:FIRST_ROWS]
            pairs = zip(rows[first].tolist(), seen[first].tolist(), strict=True)
            found.append(Finding(array, code, len(at), tuple(pairs)))
        # In the order that merging gives, so that one block reads like many.
        return cls(tuple(sorted(found, key=lambda finding: finding.place)))

    def of_rows(self, rows: Ints) -> Findings:
        """Return the findings in some rows of an array, by the numbers that the rows have there."""
        return Findings(
            tuple(
                finding._replace(rows=tuple((int(rows[at]), seen) for at, seen in finding.rows))
                for finding in self.faults
            )
        )

    def merge(self, other: Findings) -> Findings:
        """Return both together."""
        if not (self.faults and other.faults):
            return self if self.faults else other
        merged: dict[tuple[str, str], Finding] = {}
        for finding in (*self.faults, *other.faults):
            known = merged.get(finding.place)
            if known is not None:
                # NaN does not compare, so rows are sorted by number alone.
                rows = sorted((*known.rows, *finding.rows), key=lambda row: row[0])
                finding = finding._replace(
                    num_rows=known.num_rows + finding.num_rows, rows=tuple(rows[:FIRST_ROWS])
                )
            merged[finding.place] = finding
        return Findings(tuple(merged[place] for place in sorted(merged)))


def merge_all(parts: Iterable[Findings]) -> Findings:
    """Return all findings, merged."""
    return functools.reduce(Findings.merge, parts, Findings())


# --- in words ---------------------------------------------------------------------------------

LEAVE_OUT = "Correct these rows, or pass {on_invalid='nan'} to leave them out."

# Functions that find the ids of some rows of an array, by the array's name.
Names = Mapping[str, Callable[[Ints], Iterable[Any]]]


def describe(findings: Findings, names: Names | None = None, rule: Expected = RULE) -> str:
    """Return all findings in words, one line per kind and one of advice; rows by id where known."""
    lines = []
    for finding in findings.faults:
        rows, values = zip(*finding.rows, strict=True)
        ids = row_ids(finding.array, rows, names)
        seen = listed(
            (
                f"{row:,}{name} ({value:.6g})"
                for row, name, value in zip(rows, ids, values, strict=True)
            ),
            count=finding.num_rows,
            most=FIRST_ROWS,
        )
        lines.append(
            f"{finding.array}: {plural(finding.num_rows, 'row')} where the row "
            f"{finding.fault.text}: {seen}."
        )
        lines.append(f"  {finding.fault.advise(values, finding.array, rule)}")
    return "\n".join(lines)


def row_ids(array: str, rows: Sequence[int], names: Names | None) -> list[str]:
    """Return the ids of rows, to be shown after their numbers."""
    find = None if names is None else names.get(array.partition("[")[0])
    if find is None:
        return [""] * len(rows)
    found = np.asarray(find(np.array(rows)), dtype=object).tolist()
    return [f" = {name!r}" for name in found]


def raise_invalid(findings: Findings, names: Names | None = None, rule: Expected = RULE) -> None:
    """Raise what was found, if anything, and the rule that was broken."""
    if findings:
        described = describe(findings, names, rule)
        raise InvalidDataError(f"{described}\n{rule.text}", advice=LEAVE_OUT)


def left_out(findings: Findings, names: Names | None = None, rule: Expected = RULE) -> str:
    """Return the text of the warning that rows were left out."""
    return f"{describe(findings, names, rule)}\nThese rows take no part and get NaN."


def summarize(findings: Findings) -> list[dict[str, Any]]:
    """Return the findings as JSON holds them, the values seen as text."""
    return [
        {
            "array": finding.array,
            "fault": finding.fault.text,
            "num_rows": finding.num_rows,
            "rows": [row for row, _ in finding.rows],
            "values": [f"{value:.6g}" for _, value in finding.rows],
        }
        for finding in findings.faults
    ]


def raise_changed(rows: str = "some rows", *, given: str = "labels or pred_probs") -> NoReturn:
    """Raise the error that the labeled data was not the same each time it was read."""
    raise ChangedInputError(
        f"{given}: {rows} were not the same each time they were read. Either a chunk "
        "has vanished from storage, which Zarr reads as fill values, or an array was written to.",
        advice="Restore it and resume, or, if it was changed on purpose, begin anew with "
        "{overwrite=True}.",
    )
