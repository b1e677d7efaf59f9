"""The estimate: all that scoring needs to know of annotators, models and consensus."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from daskal.method import schema
from daskal.method.flags import QUESTION, quality_flags
from daskal.method.schema import as_floats
from daskal.method.states import ConsensusStatistics
from daskal.method.temperature import PLACES, TEMPERATURE_GRID, compared_places
from daskal.method.values import Floats, Ints, PoolRule, Rule, TieBreak, inverse_temperature
from daskal.method.weights import ConsensusWeights, Draft, agreement_with_others, mean_of_known
from daskal.names.columns import names_beside_codes
from daskal.options import Options
from daskal.text import Summarized


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Summarized):
    """What pass 1 learns of annotators, models and consensus: all that scoring needs.

    Made by :func:`daskal.estimate`; immutable, of size O(M + K). The method and its symbols are
    CROWDLAB's (arXiv 2210.06812) and ActiveLab's (arXiv 2301.11856).

    Attributes
    ----------
    temperature : float, numpy.ndarray of shape (P,), or None
        Temperature of each model's probabilities, None where they are used as they are.
    model_weight : float or numpy.ndarray of shape (P,)
        Weight of each model, ``max(1e-6, 1 - m/e) * sqrt(mean n_i)``.
    annotator_weight : pandas.Series of length M
        Weight of each annotator by id, ``max(1e-6, 1 - (1 - g_j)/e)``; NaN without labels.
    agreement_with_annotators : pandas.Series of length M
        Share of the other votes on an annotator's examples that agree, g_j.
    num_examples_labeled : pandas.Series of length M
    consensus_likelihood : float
        Mean share of an example's votes that equal its consensus, l.
    num_examples, num_labeled, num_multiple, num_annotations : int
        Rows; rows with a vote; rows with at least two; votes.
    num_annotators, num_classes, num_models : int
    class_counts : numpy.ndarray of shape (K,), int64
        Votes for each class.
    temperature_curve : pandas.DataFrame
        Mean soft cross-entropy by temperature, one column per model, at the temperatures that were
        compared; empty where none was fitted.
    class_names : tuple of str, or None
        Names of the classes in the order of their codes, as text; None where they came without.
    columns_moved : bool
        Whether columns of the probabilities were put in order by their names: columns without names
        are then refused, as their order is not known.
    flags : tuple of str
        What is unusual in the data, in words.
    warnings : tuple of str
        Those of the flags that question the data: a model that may be worthless.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> estimate = daskal.estimate(labels, pred_probs)
    >>> estimate.consensus_likelihood
    0.875
    >>> daskal.Estimate.from_json(estimate.to_json()) == estimate
    True
    """

    title = "daskal.Estimate"

    options: Options
    ensemble: bool
    num_examples: int
    num_labeled: int
    num_multiple: int
    temperatures: Floats | None
    losses: Floats | None  # (p, t) means
    class_counts: Ints
    votes: Ints
    agreement: Floats
    tie_agreement: Floats
    majority: ConsensusWeights
    final: ConsensusWeights
    flags: tuple[str, ...]
    annotator_ids: tuple[Hashable, ...] | None = None
    class_names: tuple[str, ...] | None = None
    columns_moved: bool = False

    def __post_init__(self) -> None:
        for array in (self.temperatures, self.losses, self.class_counts, self.votes):
            if array is not None:
                array.setflags(write=False)
        for array in (self.agreement, self.tie_agreement, *self.majority[2:], *self.final[2:]):
            array.setflags(write=False)

    # sizes

    @property
    def num_annotators(self) -> int:
        """M, the columns of the label matrix."""
        return len(self.votes)

    @property
    def num_classes(self) -> int:
        """K, the columns of the probabilities."""
        return len(self.class_counts)

    @property
    def num_models(self) -> int:
        """P, 1 for a single model."""
        return len(self.final.model_weight)

    @property
    def num_annotations(self) -> int:
        """Votes in all."""
        return int(self.votes.sum())

    @property
    def single_label(self) -> bool:
        """Whether no example has more than one label: the weights are then all 1, T = 1."""
        return self.num_multiple == 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """The flags that question the data: a model that may be worthless."""
        return tuple(flag for flag in self.flags if QUESTION in flag)

    # results by name

    @property
    def named_classes(self) -> tuple[str, ...] | None:
        """The names of classes, None where each is called by its own code, as results show it."""
        return names_beside_codes(self.class_names)

    def _per_model(self, values: Floats) -> float | Floats:
        return values if self.ensemble else float(values[0])

    def _per_annotator(self, values: np.ndarray[Any, Any], name: str) -> pd.Series[Any]:
        index = None if self.annotator_ids is None else pd.Index(list(self.annotator_ids))
        series = pd.Series(values, index=index, name=name, copy=True)
        series.index.name = "annotator"
        return series

    @property
    def temperature(self) -> float | Floats | None:
        """Temperature of each model's probabilities."""
        return None if self.temperatures is None else self._per_model(self.temperatures)

    @property
    def model_weight(self) -> float | Floats:
        """Weight of each model."""
        return self._per_model(self.final.model_weight)

    @property
    def annotator_weight(self) -> pd.Series[Any]:
        """Weight of each annotator."""
        return self._per_annotator(self.final.annotator_weight, "annotator_weight")

    @property
    def agreement_with_annotators(self) -> pd.Series[Any]:
        """Share of the other votes on an annotator's examples that agree with it."""
        return self._per_annotator(self.agreement, "agreement_with_annotators")

    @property
    def num_examples_labeled(self) -> pd.Series[Any]:
        """Labels of each annotator."""
        return self._per_annotator(self.votes, "num_examples_labeled")

    @property
    def consensus_likelihood(self) -> float:
        """Mean share of an example's votes that equal its consensus."""
        return self.final.consensus_likelihood

    @property
    def temperature_curve(self) -> pd.DataFrame:
        """Mean soft cross-entropy by temperature."""
        index = pd.Index(TEMPERATURE_GRID, name="temperature")
        if self.losses is None:
            return pd.DataFrame(index=index[:0])
        return pd.DataFrame(self.losses.T.copy(), index=index).dropna()

    # scoring

    def rule(self, annotators: Sequence[int] | None = None) -> Rule:
        """Return the rule by which the kernels score.

        ``annotators`` gives, for each column of the labels to be scored, its place in this
        estimate, -1 for one it does not know, which then weighs as much as the mean.
        """
        majority, final = (
            weights.for_kernels(self.num_classes) for weights in (self.majority, self.final)
        )
        tie_break = TieBreak(self.class_counts, self.tie_agreement, self.options.random_state)
        if annotators is not None:
            place = np.asarray(annotators, dtype=np.int64)

            def pick(values: Floats) -> Floats:
                known = mean_of_known(values)
                return np.where(place < 0, known, np.nan_to_num(values, nan=known)[place])

            majority = majority._replace(annotator=pick(self.majority.annotator_weight))
            final = final._replace(annotator=pick(self.final.annotator_weight))
            tie_break = tie_break._replace(agreement=pick(self.tie_agreement))
        return Rule(
            inverse_temperature(self.temperatures, len(final.model)),
            tie_break,
            majority,
            final,
            self.final.mean_weight,
            self.options.consensus_method == "best_quality",
            self.options.quality_method == "agreement",
            self.options.convention == "cleanlab",
            self.single_label,
        )

    def pool_rule(self) -> PoolRule:
        """Return the rule that scores the pool."""
        by_model = self.final.model_weight
        inverse = inverse_temperature(self.temperatures, len(by_model))
        return PoolRule(inverse, by_model, self.final.mean_weight)

    # as text

    def to_json(self) -> str:
        """Return the estimate as canonical JSON: equal estimates give equal text."""
        return schema.write({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> Estimate:
        """Read an estimate back; the round trip is exact.

        Raises
        ------
        EstimateError
            If the text is no estimate, is one of another version of daskal's format, or was cut or
            changed since it was written.
        """
        return from_plain(schema.read(text))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Estimate):
            return NotImplemented
        return self._in_order().to_json() == other._in_order().to_json()

    def __hash__(self) -> int:
        return hash(self._in_order().to_json())

    def _in_order(self) -> Estimate:
        # In which order the columns came is no part of what was estimated.
        return replace(self, columns_moved=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Unpickled arrays would be writeable; a new object makes them read-only again.
        return Estimate, tuple(getattr(self, field.name) for field in fields(self))

    def summary(self) -> list[tuple[str, str]]:
        """Return the estimate in a few lines of (name, value), for people."""

        def show(values: float | Floats | None) -> str:
            if values is None:
                return "none (probabilities as they are)"
            return ", ".join(f"{value:.4g}" for value in np.atleast_1d(values))

        weights = self.annotator_weight.dropna()
        lines = [
            (
                "examples",
                f"{self.num_examples:,} ({self.num_labeled:,} labeled, "
                f"{self.num_multiple:,} more than once)",
            ),
            ("annotators, classes", f"{self.num_annotators:,}, {self.num_classes:,}"),
            ("annotations", f"{self.num_annotations:,}"),
            ("convention", self.options.convention),
            ("temperature", show(self.temperature)),
            ("model weight", show(self.model_weight)),
            (
                "annotator weight",
                f"{weights.min():.4g} .. {weights.max():.4g}, mean {weights.mean():.4g}",
            ),
            ("consensus likelihood", f"{self.consensus_likelihood:.4g}"),
        ]
        return lines + [
            ("warning" if flag in self.warnings else "note", flag) for flag in self.flags
        ]


def make_estimate(
    draft: Draft,
    majority: ConsensusWeights,
    final: ConsensusWeights,
    consensus: ConsensusStatistics,
    *,
    ensemble: bool,
    annotator_ids: tuple[Hashable, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
    columns_moved: bool = False,
) -> Estimate:
    """Return the estimate, once the weights are known."""
    statistics = draft.statistics
    losses = None
    if draft.options.temperature == "fit" and statistics.num_multiple:
        curves = [model.losses for model in statistics.losses]
        unit = statistics.num_labeled * np.log(len(statistics.class_counts))
        losses = np.full((len(curves), len(PLACES)), np.nan)
        # Which other losses are known depends on how the rows were cut into blocks.
        for place in compared_places(curves):
            losses[:, place] = [curve[place] / unit for curve in curves]
    return Estimate(
        options=draft.options,
        ensemble=ensemble,
        num_examples=statistics.num_examples,
        num_labeled=statistics.num_labeled,
        num_multiple=statistics.num_multiple,
        temperatures=draft.temperature,
        losses=losses,
        class_counts=statistics.class_counts.copy(),
        votes=statistics.votes.copy(),
        agreement=agreement_with_others(statistics),
        tie_agreement=draft.tie_break.agreement,
        majority=majority,
        final=final,
        flags=quality_flags(
            draft,
            final,
            consensus,
            ensemble=ensemble,
            class_names=names_beside_codes(class_names),
        ),
        annotator_ids=annotator_ids,
        class_names=class_names,
        columns_moved=columns_moved,
    )


# --- the estimate -----------------------------------------------------------------------------


def from_plain(content: Mapping[str, Any]) -> Estimate:
    """Return the estimate that checked content describes."""

    def weights(name: str) -> ConsensusWeights:
        values = content[name]
        return ConsensusWeights(
            float(as_floats(values["consensus_likelihood"])),
            float(as_floats(values["class_error"])),
            as_floats(values["model_error"]),
            as_floats(values["model_weight"]),
            as_floats(values["annotator_weight"]),
        )

    def optional(name: str, make: Any) -> Any:
        return None if content[name] is None else make(content[name])

    return Estimate(
        options=Options(**content["options"]),
        ensemble=content["ensemble"],
        num_examples=content["num_examples"],
        num_labeled=content["num_labeled"],
        num_multiple=content["num_multiple"],
        temperatures=optional("temperatures", as_floats),
        losses=optional("losses", as_floats),
        class_counts=np.array(content["class_counts"], dtype=np.int64),
        votes=np.array(content["votes"], dtype=np.int64),
        agreement=as_floats(content["agreement"]),
        tie_agreement=as_floats(content["tie_agreement"]),
        majority=weights("majority"),
        final=weights("final"),
        flags=tuple(content["flags"]),
        annotator_ids=optional("annotator_ids", tuple),
        class_names=optional("class_names", tuple),
        columns_moved=content.get("columns_moved", False),
    )
