"""Greedy k-center and the round robin over clusters, beside plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daskal.method.diversity import k_center, round_robin, squared_distances


def test_each_center_is_the_farthest_from_those_before() -> None:
    points = np.array([[0.0], [1.0], [10.0], [4.0], [10.0]])
    relabel = np.zeros(5, dtype=bool)
    for seed in range(10):
        taken = k_center(points, relabel, size=5, max_relabel=None, seed=seed).tolist()
        first = taken[0]
        # By hand, of equally far ones the first.
        others = {
            0: [2, 3, 1, 4],
            1: [2, 3, 0, 4],
            2: [0, 3, 1, 4],
            3: [2, 0, 1, 4],
            4: [0, 3, 1, 2],
        }
        assert taken[1:] == others[first]
    assert (
        len({k_center(points, relabel, size=1, max_relabel=None, seed=s)[0] for s in range(50)})
        == 5
    )


def test_small_clusters_come_first_and_are_used_up() -> None:
    clusters = np.array([7, 7, 7, 3, 3, 9])
    relabel = np.zeros(6, dtype=bool)
    taken = round_robin(clusters, relabel, size=6, max_relabel=None, seed=1)
    assert clusters[taken].tolist() == [9, 3, 7, 3, 7, 7]
    assert sorted(taken) == list(range(6))
    draws = {
        tuple(round_robin(clusters, relabel, size=3, max_relabel=None, seed=s)) for s in range(60)
    }
    assert len(draws) == 6


def test_at_most_so_many_are_labeled_again() -> None:
    points = np.array([[0.0], [5.0], [9.0], [9.5]])
    relabel = np.array([True, True, True, False])
    for cap in range(4):
        for taken in (
            k_center(points, relabel, size=3, max_relabel=cap, seed=0),
            round_robin(np.array([0, 0, 1, 1]), relabel, size=3, max_relabel=cap, seed=0),
        ):
            assert relabel[taken].sum() <= cap
            assert len(taken) == min(3, cap + 1)


POINTS = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.booleans()), min_size=1, max_size=25
)


@given(POINTS, st.integers(1, 30), st.sampled_from([None, 0, 2]), st.integers(0, 5))
def test_k_center_is_the_plain_loop(
    drawn: list[tuple[int, int, bool]], size: int, cap: int | None, seed: int
) -> None:
    points = np.array([[x, y] for x, y, _ in drawn], dtype=float)
    relabel = np.array([again for *_, again in drawn])
    taken = k_center(points, relabel, size=size, max_relabel=cap, seed=seed).tolist()
    again = set(np.flatnonzero(relabel).tolist())

    def closed(taken: list[int]) -> set[int]:
        full = cap is not None and len(again & set(taken)) == cap
        return {*taken, *(again if full else ())}

    for at, place in enumerate(taken):
        left = set(range(len(points))) - closed(taken[:at])
        near = {
            one: min([((points[one] - points[two]) ** 2).sum() for two in taken[:at]], default=0)
            for one in left
        }
        # Rounding may make another one of those equally far the farthest.
        assert near[place] == max(near.values())
    assert len(taken) == size or not set(range(len(points))) - closed(taken)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=25),
    st.integers(1, 30),
    st.sampled_from([None, 0, 2]),
    st.integers(0, 5),
)
def test_round_robin_is_the_plain_loop(
    drawn: list[tuple[int, bool]], size: int, cap: int | None, seed: int
) -> None:
    clusters = np.array([cluster for cluster, _ in drawn])
    relabel = np.array([again for _, again in drawn])
    taken = round_robin(clusters, relabel, size=size, max_relabel=cap, seed=seed).tolist()
    order = np.random.default_rng(seed).permutation(len(drawn)).tolist()
    names = sorted(
        set(clusters.tolist()), key=lambda c: (np.sum(clusters == c), list(clusters).index(c))
    )
    members = {name: [place for place in order if clusters[place] == name] for name in names}
    expected: list[int] = []
    while any(members.values()) and len(expected) < size:
        for name in names:
            while members[name] and len(expected) < size:
                place = members[name].pop(0)
                if relabel[place] and cap is not None and relabel[expected].sum() >= cap:
                    continue
                expected.append(place)
                break
    assert taken == expected


def test_distances_of_copies_are_tiny_far_from_the_origin() -> None:
    points = np.full((3, 8), 1e3)
    points[2] += 1e-3
    centered = points - points.mean(axis=0)
    found = squared_distances(centered, np.einsum("ij,ij->i", centered, centered), 0)
    np.testing.assert_allclose(found, [0, 0, 8e-6], rtol=1e-9, atol=1e-18)
