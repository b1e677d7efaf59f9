"""Random crowd problems: label matrices with holes, and the probabilities of imperfect models."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NoReturn

import dask
import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike


@dataclass(frozen=True)
class Problem:
    """Labels (N, M), probabilities (N, K) or (P, N, K), and a pool (U, K) or (P, U, K) or none."""

    labels: np.ndarray
    pred_probs: np.ndarray
    pool: np.ndarray | None = None

    @property
    def num_examples(self) -> int:
        return self.labels.shape[0]

    @property
    def num_annotators(self) -> int:
        return self.labels.shape[1]

    @property
    def num_classes(self) -> int:
        return self.pred_probs.shape[-1]


def is_vote(labels: np.ndarray) -> np.ndarray:
    """Return where the matrix holds a label: not NaN, or not negative."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0


# ------------------------------------------------------------------------------------ making


def make_problem(
    seed: int,
    *,
    num_examples: int = 80,
    num_annotators: int = 8,
    num_classes: int = 4,
    num_models: int = 1,
    pool: int | None = 40,
    labels_per_example: int | tuple[int, int] = (1, 4),
    class_shares: np.ndarray | None = None,
    dtype: DTypeLike = np.float64,
    probs_dtype: DTypeLike = np.float64,
) -> Problem:
    """Make one problem: the same for the same arguments.

    Every row and every column of the labels holds at least one label, and where the range
    ``labels_per_example`` starts at one, at least one row holds exactly one. Annotators differ in
    skill, models in skill and confidence. ``num_models=1`` gives (N, K) probabilities. An integer
    ``dtype`` marks missing labels by -1.
    """
    rng = np.random.default_rng(seed)
    low, high = np.broadcast_to(labels_per_example, 2)
    if class_shares is None:
        class_shares = rng.dirichlet(np.full(num_classes, 2.0))
    truth = rng.choice(num_classes, size=num_examples, p=class_shares)
    voted = _draw_voted(rng, num_examples, num_annotators, int(low), int(high))
    labels = np.where(voted, _draw_labels(rng, truth, num_annotators, num_classes), -1)

    skills = rng.uniform(0.5, 3.0, size=num_models)
    scales = np.exp(rng.uniform(np.log(0.5), np.log(4.0), size=num_models))
    probs = _draw_probs(rng, truth, num_classes, skills, scales)
    unlabeled = None
    if pool is not None:
        pool_truth = rng.choice(num_classes, size=pool, p=class_shares)
        unlabeled = _draw_probs(rng, pool_truth, num_classes, skills, scales)
        unlabeled = unlabeled.astype(probs_dtype)
    return Problem(cast_labels(labels, dtype), probs.astype(probs_dtype), unlabeled)


def cast_labels(labels: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Return labels in ``dtype``, missing ones NaN in a float dtype, -1 in a signed integer one."""
    if np.dtype(dtype).kind == "f":
        return np.where(is_vote(labels), labels, np.nan).astype(dtype)
    return np.where(is_vote(labels), labels, -1).astype(dtype)


def _draw_voted(
    rng: np.random.Generator, num_examples: int, num_annotators: int, low: int, high: int
) -> np.ndarray:
    """Return who labeled what, (N, M) bool, with busy and rare annotators."""
    wanted = rng.integers(low, high + 1, size=num_examples)
    if low == 1:
        wanted[rng.integers(num_examples)] = 1
    wanted = np.minimum(wanted, num_annotators)
    activity = rng.gumbel(size=(num_examples, num_annotators)) + rng.normal(size=num_annotators)
    rank = np.argsort(np.argsort(-activity, axis=1), axis=1)
    voted = rank < wanted[:, None]
    for annotator in np.flatnonzero(~voted.any(axis=0)):
        # Handing over a vote keeps the number of labels of the row.
        givers = voted & (voted.sum(axis=0) > 1)
        row, giver = rng.permutation(np.argwhere(givers))[0]
        voted[row, giver] = False
        voted[row, annotator] = True
    return voted


def _draw_labels(
    rng: np.random.Generator, truth: np.ndarray, num_annotators: int, num_classes: int
) -> np.ndarray:
    skill = rng.uniform(0.35, 0.95, size=num_annotators)
    right = rng.random((len(truth), num_annotators)) < skill
    guess = rng.integers(num_classes, size=right.shape)
    return np.where(right, truth[:, None], guess)


def _draw_probs(
    rng: np.random.Generator,
    truth: np.ndarray,
    num_classes: int,
    skills: np.ndarray,
    scales: np.ndarray,
) -> np.ndarray:
    logits = rng.normal(size=(len(skills), len(truth), num_classes))
    logits += skills[:, None, None] * (truth[:, None] == np.arange(num_classes))
    probs = normalize(np.exp(scales[:, None, None] * logits))
    return probs[0] if len(skills) == 1 else probs


def normalize(probs: np.ndarray) -> np.ndarray:
    """Return the rows of ``probs``, divided by their sums."""
    return probs / probs.sum(axis=-1, keepdims=True)


# ---------------------------------------------------------------------------------- variants


def single_label(seed: int, **sizes: Any) -> Problem:
    """Every example has exactly one label."""
    return make_problem(seed, labels_per_example=1, **sizes)


def one_doubly_labeled(seed: int, **sizes: Any) -> Problem:
    """One example has two labels, every other one: the other path for the whole set."""
    problem = single_label(seed, **sizes)
    labels = problem.labels.copy()
    row = seed % len(labels)
    free = np.flatnonzero(~is_vote(labels[row]))[0]
    labels[row, free] = (np.nanmax(labels[row]) + seed % 2) % problem.num_classes
    return replace(problem, labels=labels)


def one_example(seed: int, **sizes: Any) -> Problem:
    """One labeled example, by every annotator."""
    sizes = {"num_annotators": 5, **sizes, "num_examples": 1}
    return make_problem(seed, labels_per_example=sizes["num_annotators"], **sizes)


def unseen_class(seed: int, *, num_classes: int = 5, **sizes: Any) -> Problem:
    """No one voted for the middle class; the model still gives it probability."""
    problem = make_problem(seed, num_classes=num_classes, **sizes)
    unseen = num_classes // 2
    labels = np.where(problem.labels == unseen, 0, problem.labels)
    return replace(problem, labels=labels.astype(problem.labels.dtype))


def no_overlap(seed: int, **sizes: Any) -> Problem:
    """The first two annotators share no example with anyone; the others do."""
    problem = make_problem(seed, **sizes)
    labels = problem.labels.copy()
    labels[:, :2] = np.nan
    labels[~is_vote(labels).any(axis=1), 2] = 0
    for annotator in (0, 1):
        rows = slice(annotator, None, 5)
        labels[rows] = np.nan
        labels[rows, annotator] = np.arange(len(labels[rows])) % problem.num_classes
    empty = np.flatnonzero(~is_vote(labels).any(axis=0))
    labels[2, empty] = 0
    return replace(problem, labels=labels)


def rare_classes(seed: int, *, num_classes: int = 12, **sizes: Any) -> Problem:
    """Each class is half as common as the one before."""
    shares = normalize(0.5 ** np.arange(num_classes))
    return make_problem(seed, num_classes=num_classes, class_shares=shares, **sizes)


def all_ties(seed: int, **sizes: Any) -> Problem:
    """Every example has two labels that differ."""
    problem = make_problem(seed, labels_per_example=2, **sizes)
    labels = problem.labels.copy()
    for row in labels:
        first, second = np.flatnonzero(is_vote(row))
        if row[first] == row[second]:
            row[second] = (row[first] + 1) % problem.num_classes
    return replace(problem, labels=labels)


def unanimous(seed: int, **sizes: Any) -> Problem:
    """Annotators of one example always agree."""
    problem = make_problem(seed, **sizes)
    first = np.nanmax(problem.labels, axis=1, keepdims=True)
    return replace(problem, labels=np.where(is_vote(problem.labels), first, np.nan))


def dense(seed: int, **sizes: Any) -> Problem:
    """Every annotator labeled every example."""
    sizes = {"num_annotators": 7, **sizes}
    return make_problem(seed, labels_per_example=sizes["num_annotators"], **sizes)


def exact_zeros(seed: int, **sizes: Any) -> Problem:
    """A class in many rows of the probabilities has probability zero, voted for or not."""
    problem = make_problem(seed, **sizes)
    probs = problem.pred_probs.copy()
    rows = np.arange(0, problem.num_examples, 2)
    probs[..., rows, rows % problem.num_classes] = 0
    return replace(problem, pred_probs=normalize(probs))


VARIANTS: dict[str, Callable[..., Problem]] = {
    "plain": make_problem,
    "single_label": single_label,
    "one_doubly_labeled": one_doubly_labeled,
    "one_example": one_example,
    "unseen_class": unseen_class,
    "no_overlap": no_overlap,
    "rare_classes": rare_classes,
    "all_ties": all_ties,
    "unanimous": unanimous,
    "dense": dense,
    "exact_zeros": exact_zeros,
}


@dataclass(frozen=True)
class Gapped:
    """A problem with unlabeled rows and unused columns put between those of ``kept``."""

    problem: Problem
    kept: Problem
    rows: np.ndarray
    annotators: np.ndarray


def with_gaps(problem: Problem, seed: int, *, rows: int = 3, annotators: int = 2) -> Gapped:
    """Add rows and columns without a label: cleanlab refuses them, daskal takes them in."""
    rng = np.random.default_rng(seed)
    n, m = problem.labels.shape
    kept_rows = np.sort(rng.choice(n + rows, size=n, replace=False))
    kept_columns = np.sort(rng.choice(m + annotators, size=m, replace=False))
    missing = np.nan if problem.labels.dtype.kind == "f" else -1
    labels = np.full((n + rows, m + annotators), missing, dtype=problem.labels.dtype)
    labels[np.ix_(kept_rows, kept_columns)] = problem.labels
    probs_shape = (*problem.pred_probs.shape[:-2], n + rows, problem.num_classes)
    probs = normalize(rng.random(probs_shape)).astype(problem.pred_probs.dtype)
    probs[..., kept_rows, :] = problem.pred_probs
    gapped = replace(problem, labels=labels, pred_probs=probs)
    return Gapped(gapped, problem, kept_rows, kept_columns)


# -------------------------------------------------------------------- hypothesis and graphs


@st.composite
def problems(
    draw: st.DrawFn,
    *,
    max_examples: int = 60,
    max_annotators: int = 40,
    max_classes: int = 30,
    max_models: int = 1,
    pool: bool = True,
    min_labels: int = 1,
    probs_dtype: DTypeLike = np.float64,
) -> Problem:
    """Draw small problems of every shape: M from 1, K from 2, single labels and full rows too."""
    m = draw(st.integers(min(min_labels, max_annotators), max_annotators))
    low = draw(st.integers(min_labels, max(min_labels, min(m, 4))))
    high = draw(st.integers(low, max(low, min(m, 8))))
    # With one label a row, N = M rows are what M annotators need to have one each.
    least = -(-m // low)
    return make_problem(
        draw(st.integers(0, 2**32 - 1)),
        num_examples=draw(st.integers(least + 1, max(max_examples, least + 1))),
        num_annotators=m,
        num_classes=draw(st.integers(2, max_classes)),
        num_models=draw(st.integers(1, max_models)),
        pool=draw(st.integers(1, max_examples)) if pool else None,
        labels_per_example=(low, high),
        probs_dtype=probs_dtype,
    )


def chunkings(n: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw chunks that sum to ``n``: irregular ones, single rows, one chunk of all."""
    assert n >= 1
    if n == 1:
        return st.just((1,))
    cuts = st.sets(st.integers(1, n - 1), max_size=min(n - 1, 12))
    irregular = cuts.map(lambda found: _chunks_between(n, found))
    return st.one_of(irregular, st.sampled_from([(n,), (1,) * n, (1, n - 1), (n - 1, 1)]))


def _chunks_between(n: int, cuts: set[int]) -> tuple[int, ...]:
    edges = [0, *sorted(cuts), n]
    return tuple(stop - start for start, stop in pairwise(edges))


class ComputedError(AssertionError):
    """A graph was computed where only building one is allowed."""


@contextlib.contextmanager
def forbid_compute() -> Iterator[None]:
    """Fail if anything computes a Dask graph inside."""

    def refuse(dsk: Any, keys: Any, **kwargs: Any) -> NoReturn:
        raise ComputedError(f"{keys!r} were computed")

    with dask.config.set(scheduler=refuse):
        yield
