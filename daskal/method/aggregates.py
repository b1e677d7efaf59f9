"""What votes alone tell of annotators and classes: all that a posterior needs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pandas as pd

from daskal.method import schema
from daskal.method.expectation import (
    DAWID_SKENE,
    MAJORITY_VOTE,
    METHODS,
    Parameters,
    VoteCounts,
)
from daskal.method.schema import Plain, as_floats
from daskal.method.values import Floats, Ints
from daskal.names.columns import names_beside_codes
from daskal.text import Summarized, listed, plural

FIRST_CLASSES = 10


@dataclass(frozen=True, eq=False, repr=False)
class VoteModel(Summarized):
    """The values of an aggregate: see :class:`daskal.Aggregate`."""

    title = "daskal.Aggregate"

    method: str
    max_iterations: int
    tolerance: float
    random_state: int
    use_gold: bool
    num_examples: int
    num_labeled: int
    num_multiple: int
    num_gold: int
    class_counts: Ints
    votes: Ints
    prior: Floats
    confusion: Floats | None  # (m, k, k): annotator, true class, class given
    accuracy: Floats
    iterations: int
    converged: bool
    log_likelihood: float | None
    flags: tuple[str, ...]
    annotator_ids: tuple[Hashable, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for array in (self.class_counts, self.votes, self.prior, self.confusion, self.accuracy):
            if array is not None:
                array.setflags(write=False)

    # sizes

    @property
    def num_annotators(self) -> int:
        """M, the columns of the label matrix."""
        return len(self.votes)

    @property
    def num_classes(self) -> int:
        """K, the classes."""
        return len(self.prior)

    @property
    def num_annotations(self) -> int:
        """Votes in all."""
        return int(self.votes.sum())

    @property
    def parameters(self) -> Parameters:
        """What votes are weighed by."""
        return Parameters(self.prior, self.confusion, self.accuracy)

    # results by name

    def _per_annotator(self, values: np.ndarray[Any, Any], name: str) -> pd.Series[Any]:
        ids = self.annotator_ids
        index = None if ids is None else pd.Index(list(ids), tupleize_cols=False)
        series = pd.Series(values, index=index, name=name, copy=True)
        series.index.name = "annotator"
        return series

    @property
    def named_classes(self) -> tuple[str, ...] | None:
        """The names of the classes, None where they are called by their codes."""
        return names_beside_codes(self.class_names)

    @property
    def class_prior(self) -> pd.Series[Any]:
        """Share of each class, by its name or code."""
        index = None if self.class_names is None else pd.Index(list(self.class_names))
        series = pd.Series(self.prior, index=index, name="class_prior", copy=True)
        series.index.name = "class"
        return series

    @property
    def annotator_accuracy(self) -> pd.Series[Any]:
        """How often each annotator is right, in the estimate; NaN without votes."""
        return self._per_annotator(self.accuracy, "annotator_accuracy")

    @property
    def num_examples_labeled(self) -> pd.Series[Any]:
        """Labels of each annotator."""
        return self._per_annotator(self.votes, "num_examples_labeled")

    # as text

    def to_json(self) -> str:
        """Return the aggregate as canonical JSON: equal aggregates give equal text."""
        content = {field.name: getattr(self, field.name) for field in fields(VoteModel)}
        return schema.write(content, AGGREGATE.schema)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read an aggregate back; the round trip is exact.

        Raises
        ------
        EstimateError
            If the text is no aggregate, is one of another version of daskal's format, or was cut or
            changed since it was written.
        """
        content = {**schema.read(text, AGGREGATE)}
        del content["schema"]
        for name in ("class_counts", "votes"):
            content[name] = np.array(content[name], dtype=np.int64)
        for name in ("prior", "confusion", "accuracy"):
            content[name] = None if content[name] is None else as_floats(content[name])
        for name in ("annotator_ids", "class_names", "flags"):
            content[name] = None if content[name] is None else tuple(content[name])
        return cls(**content)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VoteModel):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled arrays would be writeable; a new object makes them read-only again.
        return type(self), tuple(getattr(self, field.name) for field in fields(VoteModel))

    def summary(self) -> list[tuple[str, str]]:
        """Return the aggregate in a few lines of (name, value), for people."""
        known = self.accuracy[~np.isnan(self.accuracy)]
        lines = [
            ("method", self.method),
            (
                "examples",
                f"{self.num_examples:,} ({self.num_labeled:,} labeled, "
                f"{self.num_multiple:,} more than once)",
            ),
            ("annotators, classes", f"{self.num_annotators:,}, {self.num_classes:,}"),
            ("annotations", f"{self.num_annotations:,}"),
            (
                "annotator accuracy",
                f"{known.min():.4g} .. {known.max():.4g}, mean {known.mean():.4g}",
            ),
        ]
        if self.method != MAJORITY_VOTE:
            end = "" if self.converged else ", not converged"
            lines.append(("iterations", f"{self.iterations:,}{end}"))
            lines.append(("log likelihood", f"{self.log_likelihood:.6g}"))
        return lines + [("note", flag) for flag in self.flags]


# --- text -------------------------------------------------------------------------------------


def check(content: Plain) -> None:
    """Refuse content whose parts are out of range or contradict each other."""
    refuse, check_list = schema.refuse, schema.check_list
    votes, class_counts, prior = (content[name] for name in ("votes", "class_counts", "prior"))
    counts = [content[name] for name in ("num_multiple", "num_labeled", "num_examples", "num_gold")]
    whole = (content["max_iterations"], content["iterations"])
    check_list("counts", [*counts, *whole], 6, schema.is_count)
    if content["method"] not in METHODS:
        refuse(f"its method is {content['method']!r}")
    check_list("votes", votes, len(votes), schema.is_count)
    check_list("class_counts", class_counts, len(prior), schema.is_count)
    check_list("prior", prior, len(prior), schema.is_share)
    check_list(
        "accuracy", content["accuracy"], len(votes), schema.is_share, [num == 0 for num in votes]
    )
    if len(prior) < 2:
        refuse("it has fewer than 2 classes")
    if sum(votes) != sum(class_counts) or not counts[0] <= counts[1] <= counts[2]:
        refuse(f"votes sum to {sum(votes)}, class_counts to {sum(class_counts)}")
    confusion = content["confusion"]
    if (confusion is not None) != (content["method"] == DAWID_SKENE):
        refuse(f"the method {content['method']!r} and its confusion matrices do not fit")
    if confusion is not None:
        shares = as_floats(confusion)
        good = shares.shape == (len(votes), len(prior), len(prior)) and bool(
            ((shares >= 0) & (shares <= 1)).all()
        )
        if not good:
            refuse(f"its confusion matrices are of shape {shares.shape}, or no probabilities")
    for name in ("use_gold", "converged"):
        if not isinstance(content[name], bool):
            refuse(f"{name} is {content[name]!r}")
    schema.check_names(content, len(votes), len(prior))


AGGREGATE = schema.Kind("daskal.Aggregate/1", "an aggregate", "Aggregate", "aggregate again", check)


# --- flags ------------------------------------------------------------------------------------


def aggregate_flags(
    counts: VoteCounts, parameters: Parameters, class_names: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Return what is unusual in the votes, in words."""
    flags = []
    for finding in counts.findings.faults:
        flags.append(
            f"{finding.array}: {plural(finding.num_rows, 'row')} at fault, where the row "
            f"{finding.fault.text}"
        )
    unvoted = counts.num_examples - counts.num_labeled
    if unvoted:
        has, they = ("has", "it scores") if unvoted == 1 else ("have", "they score")
        flags.append(f"{plural(unvoted, 'row')} of the labels {has} no label: {they} as the prior")
    silent = int(np.count_nonzero(counts.votes == 0))
    if silent:
        have = plural(silent, "annotator has", "annotators have")
        flags.append(f"{have} no label and {'takes' if silent == 1 else 'take'} no part")
    num_classes = len(parameters.prior)
    class_counts = padded(counts.class_counts, num_classes)
    voted = np.flatnonzero(class_counts)
    called = [
        str(code) if class_names is None else repr(class_names[code]) for code in range(num_classes)
    ]
    absent = [called[code] for code in np.flatnonzero(class_counts == 0)]
    if len(voted) == 1:
        flags.append(f"all votes are for one class, {called[voted[0]]}: there is nothing to learn")
    elif absent:
        flags.append(
            f"{plural(len(absent), 'class has', 'classes have')} no vote at all: "
            f"{listed(absent, most=FIRST_CLASSES)}"
        )
    single = counts.num_labeled - counts.num_multiple
    if counts.num_multiple == 0:
        flags.append("every example has one label: no vote can be checked by another")
    elif single:
        share = single / counts.num_labeled
        have = "has" if single == 1 else "have"
        flags.append(f"{plural(single, 'labeled example')}, {share:.1%}, {have} a single label")
    if parameters.accuracy.size:
        known = np.nan_to_num(parameters.accuracy, nan=1.0)
        low = int(np.count_nonzero(known <= 1 / num_classes))
        if low:
            are = plural(low, "annotator is", "annotators are")
            flags.append(f"{are} right no more often than by chance")
    return tuple(flags)


def padded(counts: Ints, num_classes: int) -> Ints:
    """Return counts by class, up to the last class."""
    whole = np.zeros(num_classes, dtype=np.int64)
    whole[: len(counts)] = counts
    return whole


def aggregate_values(
    counts: VoteCounts,
    parameters: Parameters,
    options: Mapping[str, Any],
    *,
    iterations: int,
    converged: bool,
    log_likelihood: float | None,
    annotator_ids: tuple[Hashable, ...] | None,
    class_names: tuple[str, ...] | None,
) -> dict[str, Any]:
    """Return the fields of an aggregate, once the parameters are known."""
    return {
        **options,
        "num_examples": counts.num_examples,
        "num_labeled": counts.num_labeled,
        "num_multiple": counts.num_multiple,
        "num_gold": counts.num_gold,
        "class_counts": padded(counts.class_counts, len(parameters.prior)),
        "votes": counts.votes.copy(),
        "prior": parameters.prior,
        "confusion": parameters.confusion,
        "accuracy": parameters.accuracy,
        "iterations": iterations,
        "converged": converged,
        "log_likelihood": log_likelihood,
        "flags": aggregate_flags(counts, parameters, class_names),
        "annotator_ids": annotator_ids,
        "class_names": class_names,
    }
