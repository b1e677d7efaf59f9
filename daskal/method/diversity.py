"""A batch of unlike examples, chosen among candidates by their embeddings.

Axes: c candidates, d dimensions. Candidates stand in the order of their scores, the lowest first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from daskal.method.values import Bools, Floats, Ints


def squared_distances(points: Floats, squares: Floats, place: int) -> Floats:
    """Return the squared Euclidean distance of each of the points to one of them, (c,)."""
    # Not by BLAS: its bits may depend on how many threads it takes.
    products = np.einsum("ij,j->i", points, points[place])
    found: Floats = np.maximum(squares - 2 * products + squares[place], 0)
    found[place] = 0
    return found


def k_center(
    points: Floats, relabel: Bools, *, size: int, max_relabel: int | None, seed: int
) -> Ints:
    """Return the places of greedy k-center: each is the farthest from those taken before it.

    The first is drawn by ``seed``; of equally far ones, the first in order is taken. Of ``relabel``
    ones, at most ``max_relabel`` are taken. Takes ``size`` times c d steps and 8 c d bytes.
    """
    open_ = np.ones(len(points), dtype=bool)
    taken: list[int] = []
    # Around their mean, less is lost to rounding.
    points = points - points.mean(axis=0)
    squares = np.einsum("ij,ij->i", points, points)
    nearest = np.full(len(points), np.inf)
    relabeled = 0
    while len(taken) < size:
        if relabeled == max_relabel:
            open_ &= ~relabel
        left = np.flatnonzero(open_)
        if not len(left):
            break
        if taken:
            place = int(left[np.argmax(nearest[left])])
        else:
            place = int(np.random.default_rng(seed).choice(left))
        taken.append(place)
        open_[place] = False
        relabeled += bool(relabel[place])
        nearest = np.minimum(nearest, squared_distances(points, squares, place))
    return np.array(taken, dtype=np.int64)


def round_robin(
    clusters: Ints, relabel: Bools, *, size: int, max_relabel: int | None, seed: int
) -> Ints:
    """Return the places that Cluster-Margin's round robin takes (arXiv 2107.14263, algorithm 2).

    Clusters go from the smallest to the largest, again and again; each turn takes one of a
    cluster's candidates, drawn by ``seed``, until the cluster is used up. Clusters of one size are
    in the order of their first candidates. Of ``relabel`` ones, at most ``max_relabel`` are taken.
    """
    drawn = np.random.default_rng(seed).permutation(len(clusters))
    members: dict[int, list[int]] = {cluster: [] for cluster in clusters.tolist()}
    for place in drawn.tolist():
        members[int(clusters[place])].append(place)
    # Of equally many, sorting keeps the order, which is that of the first candidates.
    turns = [iter(each) for each in sorted(members.values(), key=len)]
    taken: list[int] = []
    relabeled = 0
    while turns and len(taken) < size:
        going = []
        for turn in turns:
            if len(taken) == size:
                break
            place = next_open(turn, relabel, closed=relabeled == max_relabel)
            if place is None:
                continue
            going.append(turn)
            relabeled += bool(relabel[place])
            taken.append(place)
        turns = going
    return np.array(taken, dtype=np.int64)


def next_open(turn: Iterator[int], relabel: Bools, *, closed: bool) -> int | None:
    """Return the next of a cluster's places, none that is ``relabel`` where these are closed."""
    return next((place for place in turn if not (closed and relabel[place])), None)
