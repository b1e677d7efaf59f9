"""Plain values that every part of the method shares: arrays by type, blocks, rules and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Columns = dict[str, NDArray[Any]]

# More classes than anyone has: a label beyond is a code that stands for something else.
MOST_CLASSES = 2**15


def inverse_temperature(temperature: Floats | None, num_models: int) -> Floats:
    """Return 1/T of each model, 0 where the probabilities are taken as they are."""
    return np.zeros(num_models) if temperature is None else 1.0 / temperature


class VoteWeights(NamedTuple):
    """How much a vote and a model count: one set of CROWDLAB weights."""

    likelihood: float
    other_likelihood: float
    model: Floats  # (p,)
    annotator: Floats  # (m,)

    @classmethod
    def unknown(cls) -> VoteWeights:
        """Return what stands for weights that are not known yet, and not used."""
        return cls(0.0, 0.0, np.zeros(0), np.zeros(0))


class TieBreak(NamedTuple):
    """What decides a majority vote that the probabilities leave tied."""

    class_counts: Ints  # (k,) votes for each class in the whole data set
    agreement: Floats  # (m,) share of an annotator's labels equal to the untied majority
    seed: int


class Rule(NamedTuple):
    """Everything that scores a labeled row once pass 1 is over."""

    inverse: Floats  # (p,) 1/T, 0 where the probabilities are taken as they are
    tie_break: TieBreak
    majority: VoteWeights  # used where they find better labels
    final: VoteWeights  # unknown while only the consensus can be taken
    mean_weight: float
    best_quality: bool  # whether the majority's weights find better labels
    by_agreement: bool
    miscount: bool
    single_label: bool


class PoolRule(NamedTuple):
    """Everything that scores a row of the pool."""

    inverse: Floats  # (p,) 1/T, 0 where the probabilities are taken as they are
    model_weight: Floats  # (p,)
    mean_weight: float
    tie_break: TieBreak | None = None  # of the models' votes, where cleanlab's ensembles take them

    @classmethod
    def without_estimate(cls, num_models: int) -> PoolRule:
        """Return the rule of a pool alone: temperature 1, every weight 1."""
        return cls(np.ones(num_models), np.ones(num_models), 1.0)


class Scorer(NamedTuple):
    """How labels are scored by the posterior of their examples.

    With thresholds, the mean confidence of a class among its labels is subtracted from that
    class's probability first, so that rare and hard classes are not seen as mislabeled.
    """

    method: str = "self_confidence"
    consensus_thresholds: Floats | None = None  # (k,)
    annotator_thresholds: Floats | None = None  # (m, k)

    @property
    def plain(self) -> bool:
        """Whether a label's score is its probability."""
        return self.method == "self_confidence" and (
            self.consensus_thresholds is None and self.annotator_thresholds is None
        )


class Question(NamedTuple):
    """What is asked of labeled rows: the consensus by each rule, the first one in detail."""

    rules: tuple[Rule, ...]
    suffixes: tuple[str, ...]  # of the columns of each rule
    scorers: tuple[Scorer, ...]  # of the consensus by each rule
    vote_scorer: Scorer
    on_invalid: str


# What is kept of each scored row, and its types.
LABELED_COLUMNS = {
    "score": "float64",
    "consensus_label": "int32",
    "consensus_quality_score": "float64",
    "annotator_agreement": "float64",
    "num_annotations": "int32",
}
UNLABELED_COLUMNS = {"score": "float64"}
# Where an example may have several classes: the consensus of each is a column of a matrix.
MULTI_LABEL_COLUMNS = {
    "score": "float64",
    "consensus_labels": "int8",
    "consensus_quality_score": "float64",
    "annotator_agreement": "float64",
    "num_annotations": "int32",
}
MATRICES = ("consensus_labels",)

# The columns of label quality, beside the number of annotations.
QUALITY_COLUMNS = ("consensus_label", "consensus_quality_score", "annotator_agreement")


class LabeledScores(NamedTuple):
    """Results of pass 2 for each labeled row."""

    score: Floats  # (n,)
    consensus_label: Ints  # (n,)
    consensus_quality_score: Floats  # (n,)
    annotator_agreement: Floats  # (n,), NaN for a row without votes
    posterior: Floats  # (k, n)


ProbBlocks = Sequence[NDArray[np.generic]]


class Block(NamedTuple):
    """A row-aligned block: labels (None for the pool), probabilities of each model, its rows."""

    labels: LabelBlock | None
    probs: ProbBlocks
    first_row: int


@dataclass(frozen=True)
class SparseLabels:
    """A block of labels from sparse storage, in compressed sparse row form, unchecked.

    ``order_votes`` of ``inputs`` makes it. Votes of row ``i`` are ``offsets[i]:offsets[i + 1]``,
    from 0 on; rows whose annotators are at fault are in ``faulty_rows``, and their votes left out.
    """

    offsets: NDArray[np.int64]
    annotators: NDArray[np.integer]
    classes: NDArray[Any]
    faulty_rows: NDArray[np.int64]
    faults: NDArray[np.uint8]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1


NO_FAULTS = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint8), np.empty(0))

LabelBlock = NDArray[np.generic] | SparseLabels


@dataclass(frozen=True)
class TagLabels:
    """A block of labels of several classes an example: who was asked, and what they chose.

    Annotators of row ``i`` are ``offsets[i]:offsets[i + 1]``, in ascending order, and classes that
    the annotator at ``v`` chose ``chosen_offsets[v]:chosen_offsets[v + 1]``; both are from 0 on.
    """

    offsets: Ints
    annotators: NDArray[np.int32]
    chosen_offsets: Ints
    chosen: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1


def quality_meta(suffixes: Sequence[str]) -> Columns:
    """Return an empty table of label quality: its columns and types."""
    none, whole = np.zeros(0), np.zeros(0, dtype=np.int64)
    columns: Columns = {}
    for suffix in suffixes:
        columns |= {name + suffix: none for name in QUALITY_COLUMNS}
        columns[QUALITY_COLUMNS[0] + suffix] = whole
        columns.setdefault("num_annotations", whole)
    return columns


def votes_meta() -> Columns:
    """Return an empty table of the quality of votes: its columns and types."""
    whole = np.zeros(0, dtype=np.int64)
    names = ("vote_row", "vote_annotator", "vote_label", "vote_quality")
    return {name: np.zeros(0) if name == "vote_quality" else whole for name in names}
