"""The labels of which there is most doubt, found in pass 2: a mergeable state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskal.method.values import Columns

QUALITY = "consensus_quality_score"
# Columns of the examples that are kept: the row, and all that pass 2 finds of it.
DOUBTFUL_COLUMNS = (
    "row",
    "consensus_label",
    QUALITY,
    "annotator_agreement",
    "num_annotations",
    "score",
)
# How many are kept: what a person may look through, and little in the record of each block.
NUM_DOUBTFUL = 200
# Rows compared at once: few temporary values beside the block's own.
SCAN_ROWS = 2**16


@dataclass(frozen=True)
class DoubtfulLabels:
    """Examples with votes whose consensus labels have the lowest quality, by (quality, row).

    Attributes
    ----------
    columns : tuple of (d,) arrays, as ``DOUBTFUL_COLUMNS`` names them
    """

    columns: tuple[np.ndarray, ...]

    @classmethod
    def zero(cls) -> DoubtfulLabels:
        """Return no labels."""
        dtypes = ("int64", "int32", "float64", "float64", "int32", "float64")
        return cls(tuple(np.zeros(0, dtype) for dtype in dtypes))

    @classmethod
    def first(cls, columns: Sequence[np.ndarray]) -> DoubtfulLabels:
        """Return those of lowest quality among some examples."""
        order = np.lexsort((columns[0], columns[DOUBTFUL_COLUMNS.index(QUALITY)]))[:NUM_DOUBTFUL]
        return cls(tuple(column[order] for column in columns))

    @classmethod
    def from_columns(cls, columns: Columns, first_row: int) -> DoubtfulLabels:
        """Return those of a block, from what pass 2 stores of its rows; NaN is no quality."""
        found = cls.zero()
        quality, num = columns[QUALITY], columns["num_annotations"]
        for start in range(0, len(quality), SCAN_ROWS):
            part = slice(start, start + SCAN_ROWS)
            # Of equal ones the first stay: those that come later do not beat them.
            beats = (num[part] > 0) & (quality[part] < found.limit)
            at = np.flatnonzero(beats) + start
            if len(at):
                kept = (columns[name][at] for name in DOUBTFUL_COLUMNS[1:])
                found = found.merge(cls((at + first_row, *kept)))
        return found

    @property
    def limit(self) -> float:
        """The quality that others must be below, to be among them."""
        quality = self.columns[DOUBTFUL_COLUMNS.index(QUALITY)]
        return float(quality[-1]) if len(quality) >= NUM_DOUBTFUL else np.inf

    def merge(self, other: DoubtfulLabels) -> DoubtfulLabels:
        """Return those of both together."""
        both = zip(self.columns, other.columns, strict=True)
        return DoubtfulLabels.first([np.concatenate(pair) for pair in both])
