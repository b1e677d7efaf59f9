"""What a panel of annotators is worth, from one read of its votes."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskal.api.aggregation import weigh_data
from daskal.api.estimation import Following
from daskal.api.iterations import (
    AggregateOptions,
    check_memory,
    classes_named,
    classes_of,
    count_data,
    names_kept,
)
from daskal.errors import InputError
from daskal.inputs.gold import check_known
from daskal.inputs.votes import VotesData, open_votes
from daskal.kernels.panel import panel_counts
from daskal.kernels.posterior import plain_parameters
from daskal.method import findings
from daskal.method.aggregates import VoteModel
from daskal.method.expectation import DAWID_SKENE, MAJORITY_VOTE, LogParameters
from daskal.method.panels import MOST_PAIRED, Panel, PanelCounts
from daskal.method.values import Ints
from daskal.options import Storage, shown
from daskal.text import parse_memory


def panel(
    labels: Any,
    gold: Any = None,
    *,
    aggregate: VoteModel | None = None,
    random_state: int = 0,
    num_classes: int | None = None,
    on_invalid: str = "raise",
    memory_limit: int | str | None = None,
    storage_options: Storage = None,
    progress: Any = None,
) -> Panel:
    """Return what a panel of annotators or judges is worth (runs now, one read).

    Agreement (Krippendorff's alpha, Fleiss' and Cohen's kappa), each annotator's confusion and
    whether it answers by habit, and how many of them really count: judges that err alike are worth
    fewer. Counts are exact, whatever the chunks. One more read counts the classes where neither the
    labels nor ``num_classes`` tell how many there are.

    Parameters
    ----------
    labels : array_like of shape (N, M)
        As for :func:`daskal.estimate`.
    gold : array_like of shape (N,), DataFrame or Series, optional
        Known classes, as for :func:`daskal.aggregate`: answers are judged by these alone. Without
        them the reference is the consensus of the answers.
    aggregate : Aggregate, optional
        Its consensus is the reference where there is no gold; by default the majority vote.
    random_state : int
        Key of the draw among tied classes, and of the sample where there are more than 200
        annotators, whose pairs are then those of 200 of them.
    num_classes : int, optional
        By default the classes that the labels' store names, else as many as occur.
    on_invalid : {"raise", "nan"}
        Whether rows at fault are an error or are left out.
    memory_limit : int or str, optional
        As for :func:`daskal.aggregate`.
    storage_options : mapping, optional
    progress : callable, optional
        Called with a ``Progress`` as blocks end.

    Returns
    -------
    Panel

    Raises
    ------
    InputError
        If the arrays' structure does not fit, or there is no vote.
    InvalidDataError
        If labels or known classes are no classes; names the rows.
    MemoryLimitError
        If the confusion matrices of all annotators do not fit.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]])
    >>> panel = daskal.panel(labels, gold=[0, 1, 0, 1])
    >>> float(panel.agreement.loc[0, 2])
    0.5
    """
    options = AggregateOptions(
        MAJORITY_VOTE, random_state=random_state, num_classes=num_classes
    ).checked(on_invalid, gold)
    if aggregate is not None and not isinstance(aggregate, VoteModel):
        raise InputError(
            f"aggregate: expected a daskal.Aggregate, got {shown(type(aggregate).__name__)}."
        )
    given = open_votes(labels, gold, storage_options)
    limit = parse_memory(memory_limit)
    return panel_data(given, options, on_invalid, aggregate, Following(progress), limit)


def panel_data(
    given: VotesData,
    options: AggregateOptions,
    on_invalid: str,
    aggregate: VoteModel | None,
    following: Following,
    memory_limit: int | None,
) -> Panel:
    """Return the panel of opened votes."""
    parameters = reference_of(given, options, on_invalid, aggregate, following)
    num_annotators, num_classes = parameters.num_annotators, parameters.num_classes
    advice = "Raise memory_limit, or pass fewer annotators."
    check_memory(DAWID_SKENE, num_annotators, num_classes, memory_limit, advice)
    paired = paired_annotators(num_annotators, options.random_state)
    counts: PanelCounts = following.reduce_once(
        "panel",
        given.blocks,
        panel_counts,
        parameters=parameters,
        seed=options.random_state,
        paired=paired,
    )
    if on_invalid == "raise":
        findings.raise_invalid(counts.findings, given.names, findings.VOTES_RULE)
    if not counts.num_labeled:
        raise InputError(f"labels: expected votes, got none in {counts.num_examples:,} rows.")
    if given.gold is not None:
        check_known(counts.num_judged, f"{counts.num_examples:,} rows")
    return Panel(
        reference="consensus" if given.gold is None else "gold",
        num_examples=counts.num_examples,
        num_labeled=counts.num_labeled,
        num_multiple=counts.num_multiple,
        num_judged=counts.num_judged,
        coincidences=counts.coincidences,
        confusion=counts.confusion,
        paired=paired,
        both=counts.both,
        agreeing=counts.agreeing,
        given=counts.given,
        judged=counts.judged,
        wrong=counts.wrong,
        wrong_both=counts.wrong_both,
        annotator_ids=given.labels.annotator_ids,
        class_names=names_kept(given, num_classes),
    )


def reference_of(
    given: VotesData,
    options: AggregateOptions,
    on_invalid: str,
    aggregate: VoteModel | None,
    following: Following,
) -> LogParameters:
    """Return the parameters whose consensus is the reference: the aggregate's, or shares."""
    if aggregate is not None:
        return weigh_data(given, aggregate).parameters
    num_classes = classes_named(given, options)
    if num_classes is None:
        counts = count_data(given, options, on_invalid, following)
        num_classes = classes_of(given, options, counts)
    return plain_parameters(given.labels.num_annotators, num_classes)


def paired_annotators(num_annotators: int, seed: int) -> Ints:
    """Return the annotators whose pairs are counted: all, or a sample of them."""
    if num_annotators <= MOST_PAIRED:
        return np.arange(num_annotators)
    drawn = np.random.default_rng(seed % 2**63).choice(
        num_annotators, size=MOST_PAIRED, replace=False
    )
    return np.sort(drawn)
