"""What is wrong with some rows: counted and merged like any statistic, and put in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from daskal import kernels, votes
from daskal.errors import ChangedInputError, InvalidDataError
from daskal.kernels import Floats, Ints

FIRST_ROWS = 10

PROB_FAULTS = {
    kernels.NOT_FINITE: "is NaN or infinite",
    kernels.BELOW_ZERO: "has a negative probability",
    kernels.ABOVE_ONE: "has a probability above 1",
    kernels.ALL_ZERO: "is all zero",
    kernels.BAD_SUM: "does not sum to 1",
}
LABEL_FAULTS = {
    votes.FRACTIONAL: "has a label that is no whole number",
    votes.OUT_OF_RANGE: "has a label beyond the last class",
    votes.NEGATIVE: "has a negative label in a float matrix or among sparse votes",
    votes.INFINITE: "has a label that is no finite number",
    votes.REPEATED: "has two votes of one annotator (named by column)",
    votes.UNKNOWN_ANNOTATOR: "has a vote of an annotator outside the M columns",
}


class Finding(NamedTuple):
    """One kind of fault in one array: how many rows, and the first of them with the value seen."""

    array: str
    fault: str
    num_rows: int
    rows: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Findings:
    """The faults of some rows, by array and kind."""

    faults: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.faults)

    @classmethod
    def from_rows(
        cls, array: str, kinds: dict[int, str], faults: NDArray[np.uint8], rows: Ints, seen: Floats
    ) -> Findings:
        """Group rows by their kind of fault; ``rows`` are global and ascending."""
        found = []
        for code, fault in kinds.items():
            at = np.flatnonzero(faults == code)
            if len(at):
                first = at[:FIRST_ROWS]
                pairs = zip(rows[first].tolist(), seen[first].tolist(), strict=True)
                found.append(Finding(array, fault, len(at), tuple(pairs)))
        return cls(tuple(found))

    def merge(self, other: Findings) -> Findings:
        """Both together."""
        if not (self.faults and other.faults):
            return self if self.faults else other
        merged: dict[tuple[str, str], Finding] = {}
        for finding in (*self.faults, *other.faults):
            key = (finding.array, finding.fault)
            if key in merged:
                # A NaN equals nothing, so rows are ordered by their number alone.
                rows = sorted((*merged[key].rows, *finding.rows), key=lambda row: row[0])
                num = merged[key].num_rows + finding.num_rows
                merged[key] = Finding(*key, num, tuple(rows[:FIRST_ROWS]))
            else:
                merged[key] = finding
        return Findings(tuple(merged[key] for key in sorted(merged)))


def describe(findings: Findings) -> str:
    """All findings in words, one line each."""
    lines = []
    for array, fault, num, rows in findings.faults:
        seen = ", ".join(f"{row:,} ({value:.6g})" for row, value in rows)
        more = f", and {num - len(rows):,} more" if num > len(rows) else ""
        plural = "row" if num == 1 else "rows"
        lines.append(f"{array}: {num:,} {plural} where the row {fault}: {seen}{more}.")
    return "\n".join(lines)


ADVICE = (
    "Expected class probabilities in each row (at least 0, summing to 1 within 0.001) and labels "
    "that are whole numbers from 0 to K - 1, missing ones NaN or, in an integer matrix, negative. "
    "Correct these rows, or pass on_invalid='nan' to leave them out."
)


def raise_invalid(findings: Findings) -> None:
    """Raise what was found, if anything."""
    if findings:
        raise InvalidDataError(f"{describe(findings)}\n{ADVICE}")


def raise_changed(rows: str = "some rows") -> NoReturn:
    """Say that the labelled data was not the same each time it was read."""
    raise ChangedInputError(
        f"labels or pred_probs: {rows} were not the same each time they were read. Either a chunk "
        "has vanished from storage, which Zarr reads as fill values, or an array was written to. "
        "Restore it and resume, or, if it was changed on purpose, begin anew with overwrite=True."
    )
