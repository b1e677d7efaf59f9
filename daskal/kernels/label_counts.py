"""What the first read counts: votes, agreement among annotators, and the majority's statistics.

Axes: p models, n rows, k classes, m annotators, v votes, l lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daskal.kernels.compiling import compiled
from daskal.kernels.consensus import (
    LaneRule,
    Room,
    clear_leader,
    find_tied,
    load_scaled,
    make_room,
    take_consensus,
)
from daskal.kernels.lanes import Marks, first_largest, load_lanes
from daskal.kernels.votes import Votes
from daskal.method.values import Floats, Ints

# Columns of the counts of each annotator.
VOTES, AGREEING_PAIRS, PAIRS, UNTIED_AGREEING, UNTIED = range(5)


class ConsensusCounts(NamedTuple):
    """How votes and models stand to a consensus, over the rows with at least two votes."""

    agreeing: Ints  # (m + 1,) votes equal to the consensus, by the row's number of votes
    labels: Ints  # (k,) rows of each consensus label
    model_errors: Ints  # (p,)
    model_choices: Ints  # (p, k) rows by the class that each model gives
    most_votes: Ints  # (1,) of any row


def make_counts(num_models: int, num_classes: int, num_annotators: int) -> ConsensusCounts:
    """Return counts of nothing."""
    by_model = (num_models, num_classes)
    sizes = (num_annotators + 1, num_classes, num_models, by_model, 1)
    return ConsensusCounts(*(np.zeros(size, dtype=np.int64) for size in sizes))


@compiled
def count_consensus(
    votes: Votes,
    start: int,
    num: int,
    odd: Marks,
    labels: Ints,
    counts: ConsensusCounts,
    room: Room,
) -> None:
    """Count how rows that lie in lanes stand to their consensus labels, -1 for unknown ones."""
    offsets, classes, best = votes.offsets, votes.classes, room.best
    agreeing, num_labels, most_votes = counts.agreeing, counts.labels, counts.most_votes
    model_errors, model_choices = counts.model_errors, counts.model_choices
    for at in range(num):
        first, last = offsets[start + at], offsets[start + at + 1]
        most_votes[0] = max(most_votes[0], last - first)
        if last - first < 2 or labels[at] < 0:
            continue
        num_labels[labels[at]] += 1
        for v in range(first, last):
            agreeing[last - first] += classes[v] == labels[at]
    for p in range(len(room.lanes)):
        first_largest(room.lanes[p], room.totals, odd[start : start + num], best)
        for at in range(num):
            if offsets[start + at + 1] - offsets[start + at] >= 2 and labels[at] >= 0:
                model_errors[p] += best[at] != labels[at]
                model_choices[p, best[at]] += 1


@compiled
def add_consensus(
    probs: Floats,
    votes: Votes,
    counted: NDArray[np.int32],
    odd: Marks,
    rule: LaneRule,
    global_rows: Ints,
    counts: ConsensusCounts,
) -> None:
    """Count how votes and models stand to the consensus of (p, n, k) rows under a rule."""
    room = make_room(len(probs), probs.shape[2])
    for start in range(0, probs.shape[1], room.lanes.shape[2]):
        num = load_scaled(probs, start, rule.inverses, odd, room)
        take_consensus(votes, counted, start, num, odd, rule, global_rows, room)
        count_consensus(votes, start, num, odd, room.labels, counts, room)


@compiled
def add_labels(
    probs: Floats,
    votes: Votes,
    odd: Marks,
    by_annotator: Ints,
    class_counts: Ints,
    pending: Marks,
    counts: ConsensusCounts,
) -> None:
    """Count the votes of (p, n, k) rows, and how they stand to the majority vote.

    ``by_annotator`` is (m, 5). Rows whose majority vote the probabilities leave open are marked in
    ``pending``.
    """
    room = make_room(len(probs), probs.shape[2])
    labels, lanes, tied, row_counts = room.labels, room.lanes, room.tied, room.counts
    offsets, classes = votes.offsets, votes.classes
    for start in range(0, probs.shape[1], lanes.shape[2]):
        num = load_lanes(probs[0], start, lanes[0])
        for p in range(1, len(probs)):
            load_lanes(probs[p], start, lanes[p])
        count_rows(votes, start, num, by_annotator, class_counts, room)
        for at in range(num):
            i = start + at
            first, last = offsets[i], offsets[i + 1]
            if labels[at] < 0 and first < last:
                num_tied, _ = find_tied(classes, first, last, row_counts, tied)
                labels[at] = clear_leader(lanes, at, tied, num_tied)
                pending[i] = labels[at] < 0
        count_consensus(votes, start, num, odd, labels, counts, room)


@compiled
def count_rows(
    votes: Votes, start: int, num: int, by_annotator: Ints, class_counts: Ints, room: Room
) -> None:
    """Count the votes of rows, and write their majority label, -1 where none is alone."""
    offsets, classes, annotators = votes.offsets, votes.classes, votes.annotators
    counts, labels = room.counts, room.labels
    for at in range(num):
        first, last = offsets[start + at], offsets[start + at + 1]
        most, num_most, label = 0, 0, -1
        for v in range(first, last):
            counts[classes[v]] += 1
        for v in range(first, last):
            k = classes[v]
            if counts[k] > most:
                most, num_most, label = counts[k], 0, k
            # Each vote of the most frequent class comes by once.
            num_most += counts[k] == most
        untied = num_most == most and most > 0
        for v in range(first, last):
            j, k = annotators[v], classes[v]
            by_annotator[j, VOTES] += 1
            by_annotator[j, AGREEING_PAIRS] += counts[k] - 1
            by_annotator[j, PAIRS] += last - first - 1
            by_annotator[j, UNTIED_AGREEING] += untied and k == label
            by_annotator[j, UNTIED] += untied
            class_counts[k] += 1
        for v in range(first, last):
            counts[classes[v]] = 0
        labels[at] = label if untied else -1
