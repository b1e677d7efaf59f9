"""The estimate of examples with several classes at once: one binary estimate for each class."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from daskal.method import schema
from daskal.method.estimate import Estimate, from_plain
from daskal.method.values import PoolRule, Rule
from daskal.names.columns import names_beside_codes
from daskal.options import Options
from daskal.text import Summarized, listed, plural

SCHEMA = "daskal.MultiLabelEstimate/1"
# What is the same for all classes, and is written once.
SHARED = ("options", "ensemble", "annotator_ids")
# What only the estimate of all classes has.
OF_ALL = ("class_names", "columns_moved")
# How many classes a flag names.
FIRST_CLASSES = 5
# Flags that a summary shows, of several per class.
SHOWN_FLAGS = 5


@dataclass(frozen=True, eq=False, repr=False)
class MultiLabelEstimate(Summarized):
    """What pass 1 learns where an example may have several classes: an estimate for each class.

    Made by :func:`daskal.estimate` with ``multi_label=True``; immutable, of size O(M K). Class k is
    the binary problem of the probabilities ``[1 - p_k, p_k]`` and votes 0 and 1, with a
    temperature, weights and a consensus of its own.

    Attributes
    ----------
    by_class : dict of Estimate or None
        The binary estimate of each class, by its name, else its number; None for a class on which
        nobody has voted: it takes no part in scores.
    temperature, model_weight : pandas.Series of length K, or DataFrame of shape (K, P)
    annotator_weight, agreement_with_annotators : pandas.DataFrame of shape (M, K)
    consensus_likelihood : pandas.Series of length K
    num_votes, num_chosen : pandas.Series of length K
        Votes on each class, and those of them that chose it.
    num_examples, num_annotators, num_classes, num_models : int
    class_names : tuple of str, or None
    flags, warnings : tuple of str
        What is unusual in the data, in words, and those that question the data.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[[1, 0], [1, 1]], [[0, 1], [0, 1]], [[1, 0], [0, 0]]])
    >>> pred_probs = np.array([[0.9, 0.4], [0.2, 0.8], [0.6, 0.1]])
    >>> estimate = daskal.estimate(labels, pred_probs, multi_label=True)
    >>> estimate.num_chosen.tolist()
    [3, 3]
    >>> daskal.MultiLabelEstimate.from_json(estimate.to_json()) == estimate
    True
    """

    title = "daskal.MultiLabelEstimate"

    classes: tuple[Estimate | None, ...]
    class_names: tuple[str, ...] | None = None
    columns_moved: bool = False

    # sizes

    @property
    def known(self) -> tuple[Estimate, ...]:
        """The estimates of the classes with votes, of which there is one at least."""
        return tuple(estimate for estimate in self.classes if estimate is not None)

    @property
    def options(self) -> Options:
        """The choices with which it was made."""
        return self.known[0].options

    @property
    def annotator_ids(self) -> tuple[Hashable, ...] | None:
        """The ids of annotators, None where they have none."""
        return self.known[0].annotator_ids

    @property
    def ensemble(self) -> bool:
        """Whether it is of several models."""
        return self.known[0].ensemble

    @property
    def num_models(self) -> int:
        """P, 1 for a single model."""
        return self.known[0].num_models

    @property
    def num_examples(self) -> int:
        """N, rows of the labels."""
        return self.known[0].num_examples

    @property
    def num_annotators(self) -> int:
        """M, annotators of the labels."""
        return self.known[0].num_annotators

    @property
    def num_classes(self) -> int:
        """K, the columns of the probabilities."""
        return len(self.classes)

    # results by name

    @property
    def named_classes(self) -> tuple[str, ...] | None:
        """The names of classes, None where each is called by its own code, as results show it."""
        return names_beside_codes(self.class_names)

    @property
    def class_index(self) -> pd.Index:
        """What the classes are called, in their order."""
        names = self.named_classes
        return pd.Index(range(self.num_classes) if names is None else list(names), name="class")

    @property
    def by_class(self) -> dict[Any, Estimate | None]:
        """The binary estimate of each class, None where it has no vote."""
        return dict(zip(self.class_index.tolist(), self.classes, strict=True))

    def _series(self, name: str, take: Callable[[Estimate], Any], none: Any = np.nan) -> Any:
        values = [none if one is None else take(one) for one in self.classes]
        return pd.Series(values, index=self.class_index, name=name)

    def _per_model(self, name: str, take: Callable[[Estimate], Any]) -> Any:
        if not self.ensemble:
            return self._series(name, take).astype(np.float64)
        none = np.full(self.num_models, np.nan)
        rows = [none if one is None or take(one) is None else take(one) for one in self.classes]
        return pd.DataFrame(np.stack(rows), index=self.class_index)

    def _per_annotator(self, take: Callable[[Estimate], pd.Series[Any]]) -> pd.DataFrame:
        index = take(self.known[0]).index
        none = np.full(self.num_annotators, np.nan)
        columns = [none if one is None else take(one).to_numpy() for one in self.classes]
        return pd.DataFrame(np.stack(columns, axis=1), index=index, columns=self.class_index)

    @property
    def temperature(self) -> Any:
        """Temperature of each class, and of each model of several."""
        return self._per_model("temperature", lambda one: one.temperature)

    @property
    def model_weight(self) -> Any:
        """Weight of the model, or of each of several, in each class."""
        return self._per_model("model_weight", lambda one: one.model_weight)

    @property
    def annotator_weight(self) -> pd.DataFrame:
        """Weight of each annotator in each class."""
        return self._per_annotator(lambda one: one.annotator_weight)

    @property
    def agreement_with_annotators(self) -> pd.DataFrame:
        """Share of the other votes on an annotator's examples that agree with it, by class."""
        return self._per_annotator(lambda one: one.agreement_with_annotators)

    @property
    def consensus_likelihood(self) -> pd.Series[Any]:
        """Mean share of an example's votes that equal its consensus, by class."""
        series: pd.Series[Any] = self._series(
            "consensus_likelihood", lambda one: one.consensus_likelihood
        )
        return series

    @property
    def num_votes(self) -> pd.Series[Any]:
        """Votes on each class."""
        series: pd.Series[Any] = self._series("num_votes", lambda one: one.num_annotations, 0)
        return series

    @property
    def num_annotations(self) -> int:
        """Votes in all, on whichever classes."""
        return int(self.num_votes.sum())

    @property
    def num_chosen(self) -> pd.Series[Any]:
        """Votes that chose each class."""
        series: pd.Series[Any] = self._series("num_chosen", lambda one: int(one.class_counts[1]), 0)
        return series

    @property
    def flags(self) -> tuple[str, ...]:
        """What is unusual in the data, in words, class by class."""
        silent = [name for name, one in self.by_class.items() if one is None]
        flags = []
        if silent:
            have = plural(len(silent), "class has", "classes have")
            names = listed(map(repr, silent), most=FIRST_CLASSES)
            flags.append(f"{have} no vote, 0 or 1, and no part in scores: {names}")
        # What holds for several classes alike is said once.
        found: dict[str, list[Any]] = {}
        for name, one in self.by_class.items():
            for flag in () if one is None else one.flags:
                found.setdefault(flag, []).append(name)
        for flag, alike in found.items():
            shown = listed(map(repr, alike), most=FIRST_CLASSES)
            flags.append(f"class{'' if len(alike) == 1 else 'es'} {shown}: {flag}")
        return tuple(flags)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What questions the data as a whole.

        A model is no better than always saying no in many a rare class: that is a flag of the
        class, and a warning only where it is so in half of the classes or more.
        """
        found = {name: one.warnings for name, one in self.by_class.items() if one and one.warnings}
        silent = self.flags[:1] if None in self.classes else ()
        if 2 * len(found) < len(self.known):
            return silent
        name = next(iter(found))
        return *silent, (
            f"in {len(found):,} of {plural(len(self.known), 'class', 'classes')} with votes the "
            f"model may be worthless, such as {name!r}: {found[name][0]}"
        )

    # scoring

    def rules(self, annotators: Sequence[int] | None = None) -> tuple[Rule | None, ...]:
        """Return the rule by which each class is scored, as :meth:`Estimate.rule` does."""
        return tuple(None if one is None else one.rule(annotators) for one in self.classes)

    def pool_rules(self) -> tuple[PoolRule | None, ...]:
        """Return the rule by which the pool is scored, class by class."""
        return tuple(None if one is None else one.pool_rule() for one in self.classes)

    # as text

    def to_json(self) -> str:
        """Return the estimate as canonical JSON: equal estimates give equal text."""
        left_out = {*SHARED, *OF_ALL}

        def plain(one: Estimate) -> dict[str, Any]:
            names = [field.name for field in fields(one) if field.name not in left_out]
            return {name: schema.as_plain(getattr(one, name)) for name in names}

        content: dict[str, Any] = {name: getattr(self, name) for name in (*SHARED, *OF_ALL)}
        content["classes"] = [None if one is None else plain(one) for one in self.classes]
        return schema.write(content, SCHEMA)

    @classmethod
    def from_json(cls, text: str) -> MultiLabelEstimate:
        """Read an estimate back; the round trip is exact.

        Raises
        ------
        EstimateError
            If the text is no such estimate, or was cut or changed since it was written.
        """
        content = schema.read(text, KIND)
        names = content["class_names"]
        return cls(
            tuple(
                None if part is None else from_plain(whole(content, part))
                for part in content["classes"]
            ),
            None if names is None else tuple(names),
            content.get("columns_moved", False),
        )

    @staticmethod
    def is_written_in(text: str) -> bool:
        """Return whether a text is of such an estimate, rather than of one class an example."""
        # A name cannot hold these quotes as they are.
        return re.search(r'"schema":\s*"daskal\.MultiLabelEstimate/', text) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MultiLabelEstimate):
            return NotImplemented
        return (self.classes, self.class_names) == (other.classes, other.class_names)

    def __hash__(self) -> int:
        return hash((self.classes, self.class_names))

    def summary(self) -> list[tuple[str, str]]:
        """Return the estimate in a few lines of (name, value), for people."""
        weights = self.annotator_weight.to_numpy()
        weights = weights[~np.isnan(weights)]

        def span(values: Any) -> str:
            known = np.asarray(values, dtype=np.float64)
            known = known[~np.isnan(known)]
            return f"{known.min():.4g} .. {known.max():.4g}" if len(known) else "none"

        lines = [
            ("examples", f"{self.num_examples:,}"),
            ("annotators, classes", f"{self.num_annotators:,}, {self.num_classes:,}"),
            ("votes, chosen", f"{self.num_votes.sum():,}, {self.num_chosen.sum():,}"),
            ("convention", self.options.convention),
            ("temperature", span(self.temperature)),
            ("model weight", span(self.model_weight)),
            ("annotator weight", f"{span(weights)}, mean {weights.mean():.4g}"),
            ("consensus likelihood", span(self.consensus_likelihood)),
        ]
        notes = [("note", flag) for flag in self.flags[:SHOWN_FLAGS]]
        more = len(self.flags) - SHOWN_FLAGS
        if more > 0:
            notes.append(("note", f"{more:,} more, in the flags of the estimate"))
        return lines + [("warning", flag) for flag in self.warnings] + notes


AnyEstimate = Estimate | MultiLabelEstimate


def read_estimate(text: str) -> AnyEstimate:
    """Read back an estimate, of one class an example or of several."""
    kind = MultiLabelEstimate if MultiLabelEstimate.is_written_in(text) else Estimate
    return kind.from_json(text)


# --- the text ---------------------------------------------------------------------------------


def whole(content: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of one class's estimate, with what all classes share."""
    return {**part, **{name: content[name] for name in SHARED}, "class_names": None}


def check(content: Mapping[str, Any]) -> None:
    """Refuse content whose parts are out of range or contradict each other."""
    parts = [whole(content, part) for part in content["classes"] if part is not None]
    if not parts:
        schema.refuse("it has no class with votes")
    sizes = set()
    for part in parts:
        schema.check(part)
        if len(part["class_counts"]) != 2:
            schema.refuse(f"a class is of {len(part['class_counts'])} classes, not chosen or not")
        sizes.add((part["num_examples"], len(part["votes"]), len(part["final"]["model_weight"])))
    if len(sizes) > 1:
        schema.refuse("its classes are of other examples, annotators or models")
    names = content["class_names"]
    if names is not None:
        length = len(content["classes"])
        schema.check_list("class_names", names, length, lambda name: isinstance(name, str))
    if content.get("columns_moved", True) is not True:
        schema.refuse(f"columns_moved is {content['columns_moved']!r}")


KIND = schema.Kind(SCHEMA, "a multi-label estimate", "MultiLabelEstimate", "estimate again", check)
