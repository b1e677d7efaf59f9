"""Votes of a batch's examples, and who is asked about each: an auction of annotators' votes.

Axes: b examples, m annotators.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled, read_only
from daskal.kernels.vote_tiles import vote_tiles
from daskal.method.assignment import RowVotes, mean_of_models
from daskal.method.values import Block, Bools, Floats, Ints, PoolRule

# Bids rise by this share of what a vote gains on average, at least. The auction ends with so much
# less than the optimum, at most.
STEP = 0.01
# What votes bid for where none gains anything.
LEAST_STEP = 1e-9


def votes_of_rows(block: Block, *, rows: Ints, num_classes: int) -> RowVotes:
    """Return the votes of some rows, in ascending order, of a block; those at fault have none."""
    found = RowVotes.zero()
    for tile in vote_tiles(block, num_classes):
        first = block.first_row + tile.start
        low, high = np.searchsorted(rows, [first, first + len(tile)])
        wanted = np.zeros(len(tile), dtype=bool)
        wanted[rows[low:high] - first] = True
        of_row = np.repeat(np.arange(len(tile)), tile.num_annotations)
        kept = wanted[of_row]
        found = found.merge(
            RowVotes(
                of_row[kept] + first,
                tile.annotators[kept].astype(np.int64),
                tile.classes[kept].astype(np.int64),
                tile.findings,
            )
        )
    return found


def scaled_rows(block: Block, *, rule: PoolRule) -> Floats:
    """Return the scaled probabilities of a block's rows, the mean over its models, (n, k)."""
    return mean_of_models(block.probs, rule)


# --- who is asked -----------------------------------------------------------------------------


def assign_votes(gains: Floats, allowed: Bools, capacity: Ints, votes_per_example: int) -> Bools:
    """Return who is asked about which example, (b, m), for the largest gain in all, or nearly.

    An example gets at most ``votes_per_example`` votes, an annotator gives at most ``capacity``.
    First, pairs are taken by gain, the largest first. Then votes of examples, in their order, bid
    for annotators: each for the one that gains it most at the price asked, so much that it would
    gain as much elsewhere, and ``STEP`` more. A full annotator drops its lowest bid, whose vote
    bids again, and asks at least what the lowest is now (Bertsekas's auction, 1988). It ends within
    ``STEP`` of the optimum. The better one of both is returned.
    """
    num, most = gains.shape
    capacity = np.minimum(capacity, num)
    greedy = np.zeros((num, most), dtype=np.uint8)
    order = np.argsort(np.where(allowed, -gains, np.inf), axis=None, kind="stable")
    order = order[: int(allowed.sum())]
    left = np.full(num, votes_per_example)
    take_pairs(read_only(order), capacity.copy(), left, greedy)
    total = float(gains[greedy > 0].sum())
    step = max(STEP * total / max(int(greedy.sum()), 1), LEAST_STEP)
    # An annotator who may answer all examples never has to drop one.
    rooms = np.where(capacity < num, capacity, 0)
    starts = np.concatenate([[0], np.cumsum(rooms)])
    bids, holders = np.zeros(starts[-1]), np.zeros(starts[-1], dtype=np.int64)
    queue = np.tile(np.arange(num), min(votes_per_example, most))
    held = np.zeros((num, most), dtype=np.uint8)
    auction(
        read_only(gains),
        allowed.astype(np.uint8),
        read_only(capacity),
        step,
        queue,
        np.zeros(most),
        np.zeros(most, dtype=np.int64),
        read_only(starts),
        bids,
        holders,
        held,
    )
    best = held if float(gains[held > 0].sum()) >= total else greedy
    return best > 0


@compiled
def take_pairs(order: Ints, capacity: Ints, left: Ints, taken: NDArray[np.uint8]) -> None:
    """Take pairs in an order while both the example and the annotator have room."""
    most = taken.shape[1]
    for at in range(len(order)):
        i, j = order[at] // most, order[at] % most
        if left[i] > 0 and capacity[j] > 0:
            left[i] -= 1
            capacity[j] -= 1
            taken[i, j] = 1


@compiled
def auction(
    gains: Floats,
    allowed: NDArray[np.uint8],
    capacity: Ints,
    step: float,
    queue: Ints,
    prices: Floats,
    counts: Ints,
    starts: Ints,
    bids: Floats,
    holders: Ints,
    held: NDArray[np.uint8],
) -> None:
    """Let the votes in the queue, by their examples, bid until each is held or gives up."""
    num, most = gains.shape
    first, waiting = 0, len(queue)
    while waiting > 0:
        i = queue[first]
        first = (first + 1) % len(queue)
        waiting -= 1
        best, top, second = -1, 0.0, 0.0
        for j in range(most):
            if allowed[i, j] == 0 or held[i, j] != 0 or capacity[j] == 0:
                continue
            net = gains[i, j] - prices[j]
            # A vote that gains nothing is still given where somebody has time for it.
            if net < 0 or (net == 0 and prices[j] > 0):
                continue
            if best < 0 or net > top:
                if best >= 0:
                    second = top
                best, top = j, net
            elif net > second:
                second = net
        if best < 0:
            continue
        held[i, best] = 1
        if capacity[best] == num:
            continue
        bid = prices[best] + (top - second) + step
        if counts[best] < capacity[best]:
            raise_bid(bids, holders, starts[best], counts[best], bid, i)
            counts[best] += 1
        else:
            dropped = holders[starts[best]]
            held[dropped, best] = 0
            queue[(first + waiting) % len(queue)] = dropped
            waiting += 1
            sink_bid(bids, holders, starts[best], counts[best], bid, i)
        if counts[best] == capacity[best]:
            prices[best] = bids[starts[best]]


@compiled
def is_lower(bid: float, holder: int, other: float, other_holder: int) -> bool:
    """Return whether a bid is dropped before another: of equal ones that of the later example."""
    return bid < other or (bid == other and holder > other_holder)


@compiled
def raise_bid(bids: Floats, holders: Ints, start: int, count: int, bid: float, holder: int) -> None:
    """Add a bid to the heap of ``count`` bids from ``start`` on, the lowest of which is first."""
    at = count
    while at > 0:
        parent = (at - 1) // 2
        up = start + parent
        if not is_lower(bid, holder, bids[up], holders[up]):
            break
        bids[start + at], holders[start + at] = bids[up], holders[up]
        at = parent
    bids[start + at], holders[start + at] = bid, holder


@compiled
def sink_bid(bids: Floats, holders: Ints, start: int, count: int, bid: float, holder: int) -> None:
    """Put a bid in place of the lowest of a heap."""
    at = 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        low = start + child
        if child + 1 < count and is_lower(bids[low + 1], holders[low + 1], bids[low], holders[low]):
            child, low = child + 1, low + 1
        if not is_lower(bids[low], holders[low], bid, holder):
            break
        bids[start + at], holders[start + at] = bids[low], holders[low]
        at = child
    bids[start + at], holders[start + at] = bid, holder
