"""The contents of a report: a store's small tables, and numbers derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from daskal.method.aggregates import VoteModel
from daskal.method.multi_label import AnyEstimate, MultiLabelEstimate
from daskal.method.panels import Panel
from daskal.report.charts import Counts

# The page holds at most this much, so that it stays small enough to be sent by mail.
MOST_ANNOTATORS = 10_000
MOST_CLASSES = 500
MOST_BATCH_ROWS = 5_000
MOST_LABELS = 200
# A matrix with more classes does not fit on a screen.
MATRIX_CLASSES = 12

# What the page calls the examples of each section of a store.
SECTION_NAMES = {"labeled": "labeled", "unlabeled": "pool"}


# What a store says of each of several classes that an example may have.
CLASS_COLUMNS = (
    "class",
    "agreement",
    "agreement_where_present",
    "num_votes",
    "num_chosen",
    "num_consensus",
    "model_weight",
    "temperature",
)


@dataclass(frozen=True)
class Contents:
    """The contents of a report: a store's small tables, None or empty where it has none.

    ``own_batch`` is that of the store where ``batch`` is another one.
    """

    path: str
    attrs: Mapping[str, Any]
    estimate: AnyEstimate | None
    annotators: pd.DataFrame | None
    classes: pd.DataFrame | None
    histograms: Mapping[str, Counts]
    batch: pd.DataFrame
    doubtful: pd.DataFrame | None = None
    finished_at: datetime | None = None
    right_by_quality: Counts | None = None
    aggregate: VoteModel | None = None
    panel: Panel | None = None
    own_batch: pd.DataFrame | None = None
    class_stats: pd.DataFrame | None = None  # where an example may have several classes

    @property
    def known(self) -> AnyEstimate | VoteModel | None:
        """The estimate, or the aggregate of votes without a model."""
        return self.aggregate if self.estimate is None else self.estimate

    @property
    def num_labeled(self) -> int:
        """Rows of the labeled data that were scored."""
        return int(self.attrs["num_labeled_rows"])

    @property
    def num_pool(self) -> int:
        """Rows of the pool."""
        return int(self.attrs["num_unlabeled_rows"])

    @property
    def estimate_given(self) -> bool:
        """Return whether the run was given an estimate."""
        return self.attrs["fingerprint"]["estimate"] is not None

    def class_name(self, code: int) -> str:
        """Return the name of a class."""
        names = None if self.known is None else self.known.named_classes
        return str(code) if names is None else names[code]


def batch_parts(contents: Contents) -> dict[str, int]:
    """Return how many examples of the batch are of each source that was scored."""
    scored = {"labeled": contents.num_labeled, "unlabeled": contents.num_pool}
    counts = contents.batch["source"].value_counts()
    return {source: int(counts.get(source, 0)) for source, num in scored.items() if num}


def annotators_of(contents: Contents) -> pd.DataFrame | None:
    """Return the annotators with labels, the worst first, or else those of the estimate."""
    if contents.annotators is not None:
        by = ["annotator_quality", "agreement_with_consensus"]
        return contents.annotators.sort_values(by, kind="stable", ignore_index=True)
    if contents.estimate is None or isinstance(contents.estimate, MultiLabelEstimate):
        return None
    weight = contents.estimate.annotator_weight
    table = pd.DataFrame(
        {
            "annotator": weight.index,
            "weight": weight.to_numpy(),
            "agreement_with_annotators": contents.estimate.agreement_with_annotators.to_numpy(),
            "num_examples_labeled": contents.estimate.votes,
        }
    )
    table = table[table["num_examples_labeled"] > 0]
    return table.sort_values("weight", kind="stable", ignore_index=True)


def vote_shares(classes: pd.DataFrame, num_classes: int) -> np.ndarray[Any, Any]:
    """Return the share of the votes by class given (columns) for each consensus (rows)."""
    counts = np.zeros((num_classes, num_classes))
    counts[classes["consensus"], classes["given"]] = classes["num_votes"]
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def class_agreement(classes: pd.DataFrame, num_classes: int) -> pd.DataFrame:
    """Return votes and agreement of each class that occurs, the least agreement first."""
    given, consensus, num = (
        classes[name].to_numpy() for name in ("given", "consensus", "num_votes")
    )
    same = given == consensus

    def count(codes: Any, votes: Any) -> Counts:
        return np.bincount(codes, votes, num_classes).astype(np.int64)

    agreeing, by_given, by_consensus = (
        count(given[same], num[same]),
        count(given, num),
        count(consensus, num),
    )
    other = np.flatnonzero(~same)
    instead = np.full(num_classes, -1)
    # The last write wins: in this order that is the one with most votes, of the smallest class.
    order = other[np.lexsort((-given[other], num[other]))]
    instead[consensus[order]] = given[order]
    with np.errstate(invalid="ignore"):
        table = pd.DataFrame(
            {
                "agreement": agreeing / by_consensus,
                "precision": agreeing / by_given,
                "num_given": by_given,
                "num_by_consensus": by_consensus,
                "given_instead": instead,
            }
        )
    table = table[(by_given > 0) | (by_consensus > 0)]
    return table.sort_values(["agreement", "precision"], kind="stable")
