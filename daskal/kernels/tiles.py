"""Tiles of a block: loaded, checked, and ready for the other kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.votes import votes_a_row, votes_of
from daskal.method.findings import (
    ABOVE_ONE,
    ALL_ZERO,
    BAD_SUM,
    BELOW_ZERO,
    NOT_FINITE,
    Findings,
)
from daskal.method.values import Block, Bools, Floats, Ints
from daskal.text import MIB

Number = TypeVar("Number", bound=np.generic)

# A tile of so many float64 is 1.25 MiB, a little more than the L2 of many cores. In smaller ones,
# threads would hand Python's lock to and fro too often (measured). For many classes long rows count
# for more: a reduction pays for each class of each tile.
TILE_ELEMENTS = 10 * 2**14
MIN_TILE_ROWS = 256
# Sums over a tile of values of at most 2**39 are exact.
MAX_TILE_ROWS = 2**14
# About so many votes a tile at most, as the kernels make ten arrays of them; and labels, missing
# ones counted too, as a matrix in Fortran order is copied tile by tile.
TILE_VOTES = 2**17
TILE_LABELS = 2**23
# From so many classes on a tile of the pool keeps its rows together (measured: as fast from 20 on).
ROW_CLASSES = 32
# A row of more classes than NumPy's buffer holds is summed otherwise by einsum where it is alone.
BUFFERED_CLASSES = 8192
# Elements that are brought into classes-before-rows order in one go, 512 KiB of them (measured).
STRIP_ELEMENTS = 2**16

# Probabilities are clipped here before their logarithm is taken, and losses floored at its log.
PROB_FLOOR = 1e-30

SUM_TOLERANCE = 1e-3
LEAST_SUM, MOST_SUM = 1 - SUM_TOLERANCE, 1 + SUM_TOLERANCE
LOW_TOLERANCE, HIGH_TOLERANCE = -1e-6, MOST_SUM


class Tile(NamedTuple):
    """One tile of labeled rows; :func:`make_tile` puts it together."""

    probs: Floats  # (p, k, n)
    rows: Ints  # (v,) row of each vote within the tile, ascending
    annotators: NDArray[np.integer]  # (v,)
    classes: Ints  # (v,)
    cells: Ints  # (v,) place of each vote's class and row in a flat (k, n) array
    counts: Ints  # (k, n) votes for each class and row
    num_annotations: Ints  # (n,)
    global_rows: Ints  # (n,)

    def without_votes(self, emptied: Bools) -> Tile:
        """Return the same rows, those of the (n,) mask without votes."""
        kept = ~emptied.take(self.rows)
        votes = (self.rows[kept], self.annotators[kept], self.classes[kept])
        return make_tile(self.probs, *votes, self.global_rows)


# --- tiles ------------------------------------------------------------------------------------


def tile_rows(
    num_models: int, num_classes: int, num_annotators: int = 0, votes_a_row: float = 0.0
) -> int:
    """Rows of a tile, from the shapes of probabilities and labels and the votes of a row."""
    fitting = min(
        TILE_ELEMENTS // (num_models * num_classes),
        TILE_LABELS // max(num_annotators, 1),
        int(TILE_VOTES / max(votes_a_row, 1)),
    )
    return max(MIN_TILE_ROWS, min(MAX_TILE_ROWS, fitting))


def make_tile(
    probs: Floats,
    rows: Ints,
    annotators: NDArray[np.integer],
    classes: Ints,
    global_rows: Ints,
) -> Tile:
    """A tile of these (p, k, n) probabilities and votes, its votes counted."""
    _, num_classes, num_rows = probs.shape
    cells = classes * num_rows
    cells += rows
    counts = count_cells(cells, num_classes, num_rows)
    return Tile(probs, rows, annotators, classes, cells, counts, counts.sum(axis=0), global_rows)


def least_prob(blocks: Sequence[NDArray[np.generic]], start: int, stop: int) -> float:
    """The least value of rows ``start:stop``, NaN if one is NaN; infinite for no rows.

    Asked before the rows are loaded: this goes through memory in order, and the loading, which goes
    across, then finds them in the cache.
    """
    if start == stop:
        return np.inf
    return float(np.min([block[start:stop].min() for block in blocks]))


def keeps_rows(num_models: int, num_classes: int) -> bool:
    """Whether a tile of the pool keeps its rows together."""
    return num_models == 1 and num_classes >= ROW_CLASSES


def load_rows(block: NDArray[np.generic], start: int, stop: int) -> Floats:
    """Rows ``start:stop`` of an (n, k) block as a float64 (1, k, n) tile, kept together."""
    with np.errstate(over="ignore"):
        rows = block[start:stop].astype(np.float64, order="C")
    return rows.T[np.newaxis]


def load_probs(blocks: Sequence[NDArray[np.generic]], start: int, stop: int) -> Floats:
    """Rows ``start:stop`` of one (n, k) block a model, as a class-major float64 (p, k, n) tile."""
    num_classes = blocks[0].shape[1]
    tile = np.empty((len(blocks), num_classes, stop - start))
    step = max(STRIP_ELEMENTS // num_classes, 1)
    # Of more than double precision, what is beyond all float64 becomes infinite, and is refused.
    with np.errstate(over="ignore"):
        for out, block in zip(tile, blocks, strict=True):
            for at in range(0, stop - start, step):
                part = block[start + at : min(start + at + step, stop)].T
                np.copyto(out[:, at : at + step], part, casting="unsafe")
    return tile


def sum_classes(x: Floats) -> Floats:
    """Sum over the classes of a (..., k, n) array, each row alike whatever n is."""
    if x.shape[-1] == 1:
        # NumPy sums a single column in another order than a column among many.
        return np.add.reduce(np.repeat(x, 2, axis=-1), axis=-2)[..., :1]
    return np.add.reduce(x, axis=-2)


def sum_rows(rows: Floats) -> Floats:
    """Sum of each row of an (n, k) array, each row alike whatever n is."""
    if rows.shape[1] > BUFFERED_CLASSES:
        return np.add.reduce(rows, axis=1)
    sums: Floats = np.einsum("ij->i", rows)
    return sums


def largest_of_rows(rows: Floats) -> Floats:
    """The largest of each row of an (n, k) array: unlike ``max``, ``argmax`` is fast along rows."""
    first = rows.argmax(axis=1)
    first += np.arange(0, rows.size, rows.shape[1])
    return rows.reshape(-1).take(first)


def largest_of_columns(x: Floats) -> Floats:
    """The largest of each column of a (k, n) array."""
    largest: Floats = x.max(axis=0)
    return largest


def first_true(mask: Bools) -> Ints:
    """The first true class of each column of a (k, n) mask, k where there is none.

    ``mask.argmax(axis=0)`` goes through columns one by one and takes four times as long.
    """
    num_classes = len(mask)
    rank = np.arange(num_classes, 0, -1, dtype=np.min_scalar_type(num_classes))[:, np.newaxis]
    first = (mask.view(np.uint8) * rank).max(axis=0).astype(np.int64)
    return np.subtract(num_classes, first, out=first)


def count_true(mask: Bools) -> NDArray[np.unsignedinteger]:
    """True classes of each column of a (k, n) mask."""
    return np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.min_scalar_type(len(mask)))


def first_largest(x: Floats) -> Ints:
    """As ``x.argmax(axis=0)`` of a (k, n) array."""
    first = first_true(x == x.max(axis=0))
    nowhere = np.flatnonzero(first == len(x))
    if len(nowhere):
        first[nowhere] = x[:, nowhere].argmax(axis=0)
    return first


def at_class(x: NDArray[Number], labels: Ints) -> NDArray[Number]:
    """``x[label_i, i]`` of each column i of a (k, n) array."""
    num_rows = x.shape[1]
    return x.reshape(-1).take(labels * num_rows + np.arange(num_rows))


def check_probs(probs: Floats, total: Floats, *, least: float) -> NDArray[np.uint8] | None:
    """Kind of fault of each (p, n) row of probabilities, 0 for none; None where all are good.

    ``total`` are their (p, n) sums, ``least`` is the least of them all.
    """
    # No term of a good sum is above it.
    if probs.size == 0 or (
        least >= 0 and bool(total.min() >= LEAST_SUM) and bool(total.max() <= MOST_SUM)
    ):
        return None
    faults = np.zeros(total.shape, dtype=np.uint8)
    with np.errstate(invalid="ignore"):
        faults[(total < LEAST_SUM) | (total > MOST_SUM)] = BAD_SUM
        faults[(probs == 0).all(axis=1)] = ALL_ZERO
        faults[(probs > HIGH_TOLERANCE).any(axis=1)] = ABOVE_ONE
        faults[(probs < LOW_TOLERANCE).any(axis=1)] = BELOW_ZERO
    faults[~np.isfinite(probs).all(axis=1)] = NOT_FINITE
    return faults if faults.any() else None


# --- votes and consensus ----------------------------------------------------------------------


def count_cells(cells: Ints, num_classes: int, num_rows: int) -> Ints:
    """Votes for each class and row, (k, n), from their places in a flat (k, n) array."""
    counts = np.bincount(cells, minlength=num_classes * num_rows)
    return counts.reshape(num_classes, num_rows)


def sum_by_class(tile: Tile, weights: Floats) -> Floats:
    """Sum of the votes' weights for each class and row, (k, n)."""
    sums = np.bincount(tile.cells, weights, minlength=tile.counts.size)
    return sums.astype(np.float64, copy=False).reshape(tile.counts.shape)


def miscounted_cells(tile: Tile) -> Ints:
    """As ``cells``, but a row's distinct labels count as the classes 0, 1, 2, ..."""
    position = np.cumsum(tile.counts > 0, axis=0) - 1
    return position.reshape(-1).take(tile.cells) * tile.counts.shape[1] + tile.rows


# Tiles, what the kernels make of them, and what the allocator keeps between blocks (measured).
KERNEL_BYTES = 32 * MIB
# Float64 arrays of a value a class and row that are alive at once, and more of them a model
# (measured: 5 to 8 for one model, 12 for three).
FLAT_ARRAYS, MODEL_ARRAYS = 6, 2
# Of each vote of a tile (measured).
VOTE_BYTES = 92


def kernel_bytes(
    num_models: int, num_classes: int, block_rows: int, num_annotators: int = 0
) -> int:
    """Most bytes that the kernels take: a tile of many classes does not fit a cache any more."""
    rows = min(tile_rows(num_models, num_classes), block_rows)
    arrays = FLAT_ARRAYS + MODEL_ARRAYS * num_models
    # The smallest tile may have all its labels given.
    most_votes = max(TILE_VOTES, MIN_TILE_ROWS * num_annotators)
    votes = min(rows * num_annotators, most_votes)
    return max(KERNEL_BYTES, 8 * arrays * rows * num_classes) + VOTE_BYTES * votes


def row_bounds(block: Block) -> Iterator[tuple[int, int]]:
    """Bounds of the tiles of a block."""
    num_rows, num_classes = block.probs[0].shape
    num_annotators = block.labels.shape[1] if isinstance(block.labels, np.ndarray) else 0
    given = 0.0 if block.labels is None else votes_a_row(block.labels)
    step = tile_rows(len(block.probs), num_classes, num_annotators, given)
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


class CheckedProbs(NamedTuple):
    """Probabilities of a tile, what is wrong with them, and the rows at fault.

    ``plain`` ones are known to hold no value at fault or below the floor.
    """

    probs: Floats  # (p, k, n)
    findings: Findings
    faulty: NDArray[np.intp]
    plain: bool


def checked_pool(block: Block, start: int, stop: int) -> CheckedProbs:
    """The probabilities of a tile of the pool."""
    by_rows = keeps_rows(len(block.probs), block.probs[0].shape[1])
    return checked_probs(block, start, stop, "pred_probs_unlabeled", by_rows=by_rows)


def checked_probs(
    block: Block, start: int, stop: int, name: str, *, by_rows: bool = False
) -> CheckedProbs:
    """The probabilities of a tile, which may keep its rows together."""
    least = least_prob(block.probs, start, stop)
    # Infinities of both signs in one row have no sum, huge numbers one beyond all numbers.
    with np.errstate(invalid="ignore", over="ignore"):
        if by_rows:
            probs = load_rows(block.probs[0], start, stop)
            totals = sum_rows(probs[0].T)[np.newaxis]
        else:
            probs = load_probs(block.probs, start, stop)
            totals = sum_classes(probs)
    faults = check_probs(probs, totals, least=least)
    if faults is None:
        plain = least >= PROB_FLOOR
        return CheckedProbs(probs, Findings(), np.empty(0, dtype=np.intp), plain)
    findings = Findings()
    for model, (found, values, total) in enumerate(zip(faults, probs, totals, strict=True)):
        rows = np.flatnonzero(found)
        with np.errstate(invalid="ignore"):
            low, high = values.min(0), values.max(0)
        seen = np.where(found == BELOW_ZERO, low, total)
        seen = np.where(found == ABOVE_ONE, high, seen)
        array = name if len(probs) == 1 else f"{name}[{model}]"
        findings = findings.merge(
            Findings.from_rows(array, found[rows], rows + block.first_row + start, seen[rows])
        )
    return CheckedProbs(probs, findings, np.flatnonzero(faults.any(axis=0)), plain=False)


class CheckedTile(NamedTuple):
    """A tile ready for the kernels, what was found wrong in it, and the rows at fault."""

    tile: Tile
    findings: Findings
    faulty: NDArray[np.intp]


def checked_tiles(block: Block, *, on_invalid: str = "raise") -> Iterator[CheckedTile]:
    """The tiles of a labeled block.

    A row at fault takes no part: it loses its votes and its probabilities become uniform; with
    ``on_invalid="keep"`` its probabilities stay as they are (labels that are no class never do).
    """
    assert block.labels is not None
    num_classes = block.probs[0].shape[1]
    for start, stop in row_bounds(block):
        first = block.first_row + start
        probs, findings, faulty, _ = checked_probs(block, start, stop, "pred_probs")
        given = votes_of(block.labels, start, stop, num_classes)
        if len(given.faulty_rows):
            rows = given.faulty_rows + first
            findings = findings.merge(
                Findings.from_rows("labels", given.faults, rows, given.values)
            )
        if len(faulty) and on_invalid != "keep":
            probs[:, :, faulty] = 1 / num_classes
            given = given.drop_rows(faulty)
        if len(given.faulty_rows):
            faulty = np.union1d(faulty, given.faulty_rows)
        index = np.arange(first, first + stop - start)
        tile = make_tile(probs, given.rows, given.annotators, given.classes, index)
        yield CheckedTile(tile, findings, faulty)
