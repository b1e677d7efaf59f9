"""Mergeable statistics of pass 1: what the first read gives, and what a consensus gives.

Every field is an integer, a sum of integers, or a list kept in row order. With the kernels,
``functools.reduce(merge, map(kernels.first_pass.label_statistics, blocks))`` is the whole of a read
without an engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daskal.method.findings import Findings
from daskal.method.merging import Merging, add_padded
from daskal.method.temperature import PLACES, LossSums
from daskal.method.values import Floats, Ints

# Rows left tied until pass 1 knows its temperature are kept up to this many numbers (32 MiB).
PENDING_LIMIT = 2**22


@dataclass(frozen=True)
class ConsensusStatistics(Merging):
    """How votes and models agree with a consensus, over the rows with at least two votes.

    Attributes
    ----------
    agreeing : (n + 1,) int64
        Votes equal to the consensus, by the row's number of votes.
    consensus_counts : (k,) int64
        Rows of each consensus label.
    model_errors : (p,) int64
        Rows whose most probable class is not the consensus label.
    model_choices : (p, k) int64
        Rows by the most probable class.
    """

    agreeing: Ints = field(metadata={"merge": add_padded})
    consensus_counts: Ints
    model_errors: Ints
    model_choices: Ints

    @classmethod
    def zero(cls, num_models: int, num_classes: int) -> ConsensusStatistics:
        """Return statistics of no rows."""
        return cls(
            agreeing=np.zeros(0, np.int64),
            consensus_counts=np.zeros(num_classes, np.int64),
            model_errors=np.zeros(num_models, np.int64),
            model_choices=np.zeros((num_models, num_classes), np.int64),
        )


@dataclass(frozen=True)
class PendingRows:
    """Rows whose majority vote only the temperature and global statistics can decide.

    They are kept whole, as a small block of their own. Beyond ``PENDING_LIMIT`` numbers, of which
    as many states as ``sharing`` says have an equal share, only their count is kept, and pass 1
    reads the data once more.
    """

    count: int
    size: int
    index: Ints  # (r,)
    offsets: Ints  # (r + 1,)
    annotators: Ints  # (v,)
    classes: Ints  # (v,)
    probs: Floats  # (r, p, k)
    sharing: int = 1

    @classmethod
    def zero(cls, num_models: int, num_classes: int, sharing: int = 1) -> PendingRows:
        """Return no rows."""
        none, no_probs = np.zeros(0, dtype=np.int64), np.zeros((0, num_models, num_classes))
        return cls(0, 0, none, np.zeros(1, np.int64), none, none, no_probs, sharing)

    @property
    def overflown(self) -> bool:
        """Whether there were too many rows to keep."""
        return self.size > PENDING_LIMIT // self.sharing

    def merge(self, other: PendingRows) -> PendingRows:
        """Return both together, in row order."""
        sharing = max(self.sharing, other.sharing)
        if not (self.count and other.count):
            return replace(self if self.count else other, sharing=sharing)
        size = self.size + other.size
        if size > PENDING_LIMIT // sharing:
            num_models, num_classes = self.probs.shape[1:]
            none = PendingRows.zero(num_models, num_classes, sharing)
            return replace(none, count=self.count + other.count, size=size)
        index = np.concatenate([self.index, other.index])
        order = np.argsort(index, kind="stable")
        num = np.concatenate([np.diff(self.offsets), np.diff(other.offsets)])
        starts = np.concatenate([self.offsets[:-1], other.offsets[:-1] + self.offsets[-1]])[order]
        offsets = np.concatenate([[0], np.cumsum(num[order])])
        at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], num[order])
        return PendingRows(
            self.count + other.count,
            size,
            index[order],
            offsets,
            np.concatenate([self.annotators, other.annotators])[at],
            np.concatenate([self.classes, other.classes])[at],
            np.concatenate([self.probs, other.probs])[order],
            sharing,
        )


@dataclass(frozen=True)
class LabelStatistics(Merging):
    """What the first read of the labeled data gives.

    Attributes
    ----------
    num_examples, num_labeled, num_multiple : int
        Rows, rows with a vote, rows with at least two.
    votes : (m,) int64
        Votes of each annotator.
    agreeing_pairs, pairs : (m,) int64
        Over the annotator's votes: other votes of the row that agree, and other votes of the row.
    untied_agreeing, untied : (m,) int64
        Over rows untied by vote count: votes equal to the majority, and votes.
    class_counts : (k,) int64
        Votes for each class.
    losses : tuple of p LossSums
    fitted : tuple of t int
        Labeled rows whose loss at that temperature is in the sum.
    undefined : (p,) int64
        Rows whose loss is no number (only where rows at fault are kept).
    consensus : ConsensusStatistics
        Of the majority vote, over the rows that are not pending.
    pending : PendingRows
    findings : Findings
    num_gold : int
        Rows with a vote whose class is known and held fixed.
    """

    num_examples: int
    num_labeled: int
    num_multiple: int
    votes: Ints
    agreeing_pairs: Ints
    pairs: Ints
    untied_agreeing: Ints
    untied: Ints
    class_counts: Ints
    losses: tuple[LossSums, ...]
    fitted: tuple[int, ...]
    undefined: Ints
    consensus: ConsensusStatistics
    pending: PendingRows
    findings: Findings
    num_gold: int = 0

    @classmethod
    def zero(cls, num_models: int, num_annotators: int, num_classes: int) -> LabelStatistics:
        """Return statistics of no rows."""
        none = np.zeros(num_annotators, dtype=np.int64)
        return cls(
            num_examples=0,
            num_labeled=0,
            num_multiple=0,
            votes=none,
            agreeing_pairs=none,
            pairs=none,
            untied_agreeing=none,
            untied=none,
            class_counts=np.zeros(num_classes, np.int64),
            losses=(LossSums(),) * num_models,
            fitted=(0,) * len(PLACES),
            undefined=np.zeros(num_models, np.int64),
            consensus=ConsensusStatistics.zero(num_models, num_classes),
            pending=PendingRows.zero(num_models, num_classes),
            findings=Findings(),
        )


@dataclass(frozen=True)
class ClassStates(Merging):
    """States of the same rows, one for each class of several that an example may have.

    Attributes
    ----------
    states : tuple of states or None
        None for a class of which none is wanted.
    findings : Findings
        What is wrong with the rows, whichever class it concerns.
    asked : (m,) int64, optional
        Rows with votes of each annotator, on whichever classes.
    """

    states: tuple[Any, ...]
    findings: Findings
    asked: Ints | None = None
