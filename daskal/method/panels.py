"""What a panel of annotators is worth: agreement, confusion, and how many of them really count."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from daskal.method import schema
from daskal.method.annotators import wilson_interval
from daskal.method.findings import Findings
from daskal.method.merging import Merging, add_padded
from daskal.method.schema import Plain
from daskal.method.values import Floats, Ints
from daskal.method.weights import ratio
from daskal.text import Summarized, in_digits, plural

# Annotators whose pairs are counted, at most.
MOST_PAIRED = 200
# Cells of confusion matrices that a store keeps as text, at most.
MOST_STORED_CELLS = 2**20
# From this score and this many answers on, someone is said to answer by habit.
HABIT, HABIT_VOTES = 0.9, 10
METRICS = ("nominal", "ordinal", "interval")


@dataclass(frozen=True)
class PanelCounts(Merging):
    """What one read of the votes counts.

    Attributes
    ----------
    num_examples, num_labeled, num_multiple, num_judged : int
        Rows; rows with a vote; with at least two; with a vote and a reference.
    coincidences : (n + 1, k, k) int64
        By the row's number of votes: ordered pairs of its votes, by both classes.
    confusion : (m, k, k) int64
        Votes by annotator, class of reference and class given.
    both, agreeing : (s, s) int64
        Of pairs of annotators: rows that both answered, and those with the same answer.
    given : (s, s, k) int64
        Those rows by the answer of the first of the pair.
    judged, wrong, wrong_both : (s, s) int64
        Those rows with a reference; where the first is wrong; where both are.
    findings : Findings
    """

    num_examples: int
    num_labeled: int
    num_multiple: int
    num_judged: int
    coincidences: Ints = field(metadata={"merge": add_padded})
    confusion: Ints
    both: Ints
    agreeing: Ints
    given: Ints
    judged: Ints
    wrong: Ints
    wrong_both: Ints
    findings: Findings


@dataclass(frozen=True, eq=False, repr=False)
class Panel(Summarized):
    """What a panel of annotators is worth; made by :func:`daskal.panel`. Immutable.

    Attributes
    ----------
    reference : {"gold", "consensus"}
        What answers are judged by. Against a consensus of these same answers everyone looks better
        than they are, and errors less alike or more: ``biased`` says so.
    confusion : numpy.ndarray of shape (M, K, K), int64
        Answers by annotator, class of the reference and class given.
    krippendorff_alpha : dict
        By metric: "nominal", "ordinal" and "interval"; NaN where all answers are alike.
    fleiss_kappa : float
        Over examples with at least two answers, each example's agreement weighing alike.
    annotators : pandas.DataFrame
        One row per annotator: ``accuracy`` against the reference with Wilson's 95 % interval,
        ``accuracy_low`` and ``accuracy_high``; ``spam_score``, 1 for answers that do not depend on
        the class, 0 for answers that are always right; ``num_judged`` and ``by_habit``.
    agreement, cohen_kappa, error_correlation : pandas.DataFrame
        Of pairs of annotators; of a sample of 200 annotators where there are more.
    sampled : bool
        Whether pairs are those of a sample.
    mean_error_correlation : float
        Mean over pairs, r.
    effective_annotators : float
        ``n / (1 + (n - 1) max(r, 0))``: as many independent annotators would know as much.
    num_examples, num_labeled, num_multiple, num_judged, num_annotators, num_classes : int

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]])
    >>> panel = daskal.panel(labels, gold=[0, 1, 0, 1])
    >>> panel.annotators["accuracy"].tolist()
    [1.0, 1.0, 0.5]
    >>> round(panel.krippendorff_alpha["nominal"], 3)
    0.389
    """

    title = "daskal.Panel"

    reference: str
    num_examples: int
    num_labeled: int
    num_multiple: int
    num_judged: int
    coincidences: Ints
    confusion: Ints
    paired: Ints  # (s,) columns of the annotators whose pairs were counted
    both: Ints
    agreeing: Ints
    given: Ints
    judged: Ints
    wrong: Ints
    wrong_both: Ints
    annotator_ids: tuple[Hashable, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ARRAYS:
            getattr(self, name).setflags(write=False)

    # sizes

    @property
    def num_annotators(self) -> int:
        """M, the columns of the label matrix."""
        return len(self.confusion)

    @property
    def num_classes(self) -> int:
        """K, the classes."""
        return int(self.confusion.shape[1])

    @property
    def biased(self) -> bool:
        """Whether answers are judged by a consensus that they are part of."""
        return self.reference != "gold"

    @property
    def sampled(self) -> bool:
        """Whether pairs are those of a sample of the annotators."""
        return len(self.paired) < self.num_annotators

    # agreement

    def _shares(self) -> Floats:
        """Coincidences, each row of n votes counted as n, (k, k)."""
        total = np.zeros(self.coincidences.shape[1:])
        for num in range(2, len(self.coincidences)):
            total += self.coincidences[num] / (num - 1)
        return total

    @property
    def krippendorff_alpha(self) -> dict[str, float]:
        """Krippendorff's alpha by metric."""
        shares = self._shares()
        return {metric: alpha(shares, metric) for metric in METRICS}

    @property
    def fleiss_kappa(self) -> float:
        """Fleiss' kappa."""
        if not self.num_multiple:
            return float("nan")
        agreement, counts = 0.0, np.zeros(self.num_classes)
        for num in range(2, len(self.coincidences)):
            pairs = self.coincidences[num]
            agreement += int(np.trace(pairs)) / (num * (num - 1))
            counts += pairs.sum(axis=1) / (num - 1)
        chance = float(((counts / counts.sum()) ** 2).sum())
        return chance_corrected(agreement / self.num_multiple, chance)

    def _pairs(self, values: Floats) -> pd.DataFrame:
        names = self._index()[self.paired]
        return pd.DataFrame(values, index=names, columns=names)

    def _index(self) -> pd.Index:
        ids = self.annotator_ids
        if ids is None:
            return pd.RangeIndex(self.num_annotators)
        return pd.Index(list(ids), tupleize_cols=False)

    @property
    def agreement(self) -> pd.DataFrame:
        """Share of the examples that both of a pair answered on which they agree."""
        return self._pairs(ratio(self.agreeing, self.both))

    @property
    def cohen_kappa(self) -> pd.DataFrame:
        """Cohen's kappa of each pair, over the examples that both answered."""
        agreed = ratio(self.agreeing, self.both)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = self.given / self.both[:, :, np.newaxis]
            chance = (shares * shares.transpose(1, 0, 2)).sum(axis=2)
            kappa = (agreed - chance) / (1 - chance)
        return self._pairs(np.where(chance < 1, kappa, np.nan))

    @property
    def error_correlation(self) -> pd.DataFrame:
        """Correlation of the errors of each pair, NaN where one of them makes none."""
        return self._pairs(self._correlation())

    def _correlation(self) -> Floats:
        num, ours = self.judged.astype(float), self.wrong.astype(float)
        theirs = ours.T
        spread = ours * (num - ours) * theirs * (num - theirs)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = (num * self.wrong_both - ours * theirs) / np.sqrt(spread)
        return np.where(spread > 0, found, np.nan)

    @property
    def mean_error_correlation(self) -> float:
        """Mean correlation of errors over pairs, NaN where no pair has one."""
        values = self._correlation()[np.triu_indices(len(self.paired), 1)]
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def effective_annotators(self) -> float:
        """Number of independent annotators that would know as much."""
        num = int(np.count_nonzero(self.confusion.sum(axis=(1, 2))))
        r = self.mean_error_correlation
        return num / (1 + (num - 1) * max(r, 0.0)) if r == r else float("nan")

    # annotators

    @property
    def annotators(self) -> pd.DataFrame:
        """One row per annotator."""
        num = self.confusion.sum(axis=(1, 2))
        right = np.trace(self.confusion, axis1=1, axis2=2)
        low, high = wilson_interval(right, num)
        scores = spam_scores(self.confusion)
        return pd.DataFrame(
            {
                "accuracy": ratio(right, num),
                "accuracy_low": low,
                "accuracy_high": high,
                "spam_score": scores,
                "num_judged": num,
                "by_habit": (scores >= HABIT) & (num >= HABIT_VOTES),
            },
            index=self._index(),
        )

    # as text

    def to_json(self) -> str:
        """Return the panel as canonical JSON: equal panels give equal text."""
        content = {part.name: getattr(self, part.name) for part in fields(self)}
        return schema.write(content, PANEL.schema)

    @classmethod
    def from_json(cls, text: str) -> Panel:
        """Read a panel back; the round trip is exact.

        Raises
        ------
        EstimateError
            If the text is no panel, or was cut or changed since it was written.
        """
        content = {**schema.read(text, PANEL)}
        del content["schema"]
        for name in ARRAYS:
            content[name] = np.array(content[name], dtype=np.int64)
        num_classes = content["confusion"].shape[1]
        content["coincidences"] = content["coincidences"].reshape(-1, num_classes, num_classes)
        for name in ("annotator_ids", "class_names"):
            content[name] = None if content[name] is None else tuple(content[name])
        return cls(**content)

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Panel) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        return Panel, tuple(getattr(self, part.name) for part in fields(self))

    def summary(self) -> list[tuple[str, str]]:
        """Return the panel in a few lines of (name, value), for people."""
        found = ", ".join(
            f"{in_digits(value, 3)} ({metric})" for metric, value in self.krippendorff_alpha.items()
        )
        habit = self.annotators["by_habit"]
        lines = [
            (
                "examples",
                f"{self.num_examples:,} ({self.num_multiple:,} with several labels, "
                f"{self.num_judged:,} judged by {self.reference})",
            ),
            ("annotators, classes", f"{self.num_annotators:,}, {self.num_classes:,}"),
            ("Krippendorff's alpha", found),
            ("Fleiss' kappa", in_digits(self.fleiss_kappa, 3)),
            ("correlation of errors", in_digits(self.mean_error_correlation, 3)),
            ("effective annotators", in_digits(self.effective_annotators, 2)),
        ]
        return lines + [("note", note) for note in self.notes(int(habit.sum()))]

    def notes(self, by_habit: int) -> list[str]:
        """Return what to beware of, in words."""
        notes = []
        if self.biased:
            notes.append("judged by the consensus of these same answers, which flatters: use gold")
        if self.sampled:
            notes.append(f"pairs are those of a sample of {len(self.paired):,} annotators")
        if by_habit:
            notes.append(f"{plural(by_habit, 'annotator')} answer by habit, whatever the class")
        return notes


ARRAYS = (
    "coincidences",
    "confusion",
    "paired",
    "both",
    "agreeing",
    "given",
    "judged",
    "wrong",
    "wrong_both",
)


# --- formulas ---------------------------------------------------------------------------------


def alpha(shares: Floats, metric: str) -> float:
    """Return Krippendorff's alpha of (k, k) coincidences, NaN where all answers are alike."""
    counts = shares.sum(axis=1)
    codes = np.arange(len(counts), dtype=np.float64)
    if metric == "nominal":
        distance = 1.0 - np.eye(len(counts))
    elif metric == "interval":
        distance = (codes[:, np.newaxis] - codes) ** 2
    else:
        # Votes up to the middle of each class.
        middle = np.cumsum(counts) - counts / 2
        distance = (middle[:, np.newaxis] - middle) ** 2
    expected = float((np.outer(counts, counts) * distance).sum())
    if not expected:
        return float("nan")
    return 1.0 - float(counts.sum() - 1) * float((shares * distance).sum()) / expected


def chance_corrected(agreement: float, chance: float) -> float:
    """Return how far an agreement is above that by chance, NaN where that is whole."""
    return (agreement - chance) / (1 - chance) if chance < 1 else float("nan")


def spam_scores(confusion: Ints) -> Floats:
    """Return how little each annotator's answers depend on the class, (m,).

    ``1 - sum_c<d |a_c - a_d|^2 / (C (C - 1))`` over the C classes that the annotator has met,
    a_c its shares of answers to class c (after Raykar and Yu, 2012); NaN where it met fewer than
    two.
    """
    met = confusion.sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.nan_to_num(confusion / met[:, :, np.newaxis])
        num = np.count_nonzero(met, axis=1)
        # Of all pairs: C sum |a_c|^2 - |sum a_c|^2.
        squares = (shares**2).sum(axis=(1, 2))
        apart = num * squares - (shares.sum(axis=1) ** 2).sum(axis=1)
        scores = 1 - apart / (num * (num - 1))
    return np.where(num > 1, np.clip(scores, 0.0, 1.0), np.nan)


def check(content: Plain) -> None:
    """Refuse content whose parts contradict each other."""
    arrays = {name: np.array(content[name]) for name in ARRAYS}
    confusion, num_paired = arrays["confusion"], len(content["paired"])
    pairs = (num_paired, num_paired)
    shapes = dict.fromkeys(("both", "agreeing", "judged", "wrong", "wrong_both"), pairs)
    whole = all(
        array.dtype.kind == "i" and not (array < 0).any() for array in arrays.values() if array.size
    )
    if confusion.ndim != 3 or confusion.shape[1] != confusion.shape[2] or not whole:
        schema.refuse("its counts are no counts")
    if any(arrays[name].shape != shape for name, shape in shapes.items()):
        schema.refuse("its tables of pairs are of different sizes")
    schema.check_names({**content, "flags": []}, len(confusion), confusion.shape[1])


# --- sizes ------------------------------------------------------------------------------------


def fits_store(num_annotators: int, num_classes: int) -> bool:
    """Return whether a panel is small enough for a store's tables."""
    return num_annotators * num_classes**2 <= MOST_STORED_CELLS


PANEL = schema.Kind("daskal.Panel/1", "a panel", "Panel", "make it again", check)
