"""Known classes of a block's rows.

Axes: n rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import read_only
from daskal.method.findings import FRACTIONAL, INFINITE, OUT_OF_RANGE, Findings
from daskal.method.values import Block, Ints

# No known class.
UNKNOWN = -1


class KnownRows(NamedTuple):
    """The known classes of a tile's rows."""

    # (n,), ``UNKNOWN`` where there is none, or one that is no class; or empty, as all are unknown
    classes: Ints
    findings: Findings


NOTHING_KNOWN = KnownRows(read_only(np.empty(0, dtype=np.int64)), Findings())


def known_rows(block: Block, place: slice, num_classes: int) -> KnownRows:
    """Return the known classes of some of a block's rows, where it has any."""
    if not block.probs:
        return KnownRows(read_only(np.full(place.stop - place.start, UNKNOWN)), Findings())
    given: NDArray[Any] = block.probs[0][place]
    with np.errstate(invalid="ignore", over="ignore"):
        seen = given.astype(np.float64)
    faults = np.zeros(len(seen), dtype=np.uint8)
    faults[seen >= num_classes] = OUT_OF_RANGE
    faults[(seen > 0) & (seen != np.floor(seen))] = FRACTIONAL
    faults[np.isinf(seen) & (seen > 0)] = INFINITE
    rows = np.flatnonzero(faults)
    known = (seen >= 0) & (faults == 0)  # False for NaN too
    return KnownRows(
        read_only(np.where(known, seen, UNKNOWN).astype(np.int64)),
        Findings.from_rows("gold", faults[rows], rows + place.start + block.first_row, seen[rows]),
    )


def without_gold(block: Block) -> tuple[Block, Block]:
    """Return a block without its known classes, its last array, and one with these alone."""
    *probs, known = block.probs
    return block._replace(probs=probs), block._replace(probs=[known])
