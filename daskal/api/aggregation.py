"""Votes without a model: the aggregate of the votes, by iterations over them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from daskal.api.estimation import NOBODY, Following
from daskal.engine.graph import as_matrix
from daskal.engine.workers import least_memory
from daskal.errors import InputError, MemoryLimitError
from daskal.inputs.data import like_rows, rows_template
from daskal.inputs.matching import match_annotators
from daskal.inputs.votes import VotesData, check_votes_fit, open_votes
from daskal.kernels import expectation as kernels
from daskal.method import findings
from daskal.method.aggregates import VoteModel, aggregate_values
from daskal.method.expectation import (
    DAWID_SKENE,
    MAJORITY_VOTE,
    METHODS,
    ExpectationSums,
    Parameters,
    Units,
    VoteCounts,
    in_nats,
    is_converged,
    maximise,
    state_bytes,
)
from daskal.method.values import Floats
from daskal.names.columns import names_of_classes
from daskal.options import ON_INVALID, Storage, check_choice, check_size, is_number, is_whole
from daskal.text import format_bytes, parse_memory

# States that a worker holds at once: the parameters, its own sums, and those that it merges.
STATES_AT_ONCE = 12


class Aggregate(VoteModel):
    """What votes alone tell of annotators and classes; made by :func:`daskal.aggregate`.

    Immutable, of size O(M K^2) for ``"dawid_skene"``, else O(M + K). The model is Dawid and
    Skene's (1979): an example's true class k has the probability p_k, and annotator j then answers
    l with probability pi_jkl. With one coin for each annotator, pi_jkl is its accuracy for the true
    class, and the rest is shared out evenly.

    Attributes
    ----------
    method : {"dawid_skene", "one_coin", "majority_vote"}
    class_prior : pandas.Series of length K
        Share of each class, p_k.
    confusion : numpy.ndarray of shape (M, K, K), or None
        pi_jkl by annotator, true class and class given; of ``"dawid_skene"`` alone.
    annotator_accuracy : pandas.Series of length M
        How often each annotator is right: its coin, or ``sum_k p_k pi_jkk``; of a majority vote,
        the mean share of its examples' votes that agree with it. NaN without votes.
    num_examples_labeled : pandas.Series of length M
    iterations : int
    converged : bool
        Whether the likelihood rose by less than the tolerance in the end.
    log_likelihood : float or None
        Of the votes, in nats; None for a majority vote.
    num_examples, num_labeled, num_multiple, num_gold, num_annotations : int
        Rows; rows with a vote; rows with at least two; rows whose class is known; votes.
    num_annotators, num_classes : int
    class_counts : numpy.ndarray of shape (K,), int64
        Votes for each class.
    flags : tuple of str
        What is unusual in the votes, in words.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]])
    >>> aggregate = daskal.aggregate(labels, "one_coin")
    >>> aggregate.annotator_accuracy.round(3).tolist()
    [1.0, 1.0, 0.5]
    >>> daskal.Aggregate.from_json(aggregate.to_json()) == aggregate
    True
    """

    def posterior(
        self, labels: Any, *, on_invalid: str = "raise", storage_options: Storage = None
    ) -> Any:
        """Return the probability of each class for each example, given its votes (lazy).

        ``q_ik`` is in proportion to ``p_k prod_j pi_jk,L_ij`` over the annotators j of example i;
        of a majority vote it is the share of the votes. An example without votes has the prior.

        Parameters
        ----------
        labels : array_like of shape (N, M)
            As for :func:`daskal.aggregate`; those it was made of, or others. Annotators match by id
            where both sides have ids, else by position; unknown ones count as the mean.
        on_invalid : {"raise", "nan"}
            Whether a row at fault raises when its block is computed, or is NaN.
        storage_options : mapping, optional

        Returns
        -------
        dask.array.Array of shape (N, K), float64
            An ``xarray.DataArray`` if the labels are one.

        Examples
        --------
        >>> import numpy as np, daskal
        >>> labels = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0]])
        >>> aggregate = daskal.aggregate(labels, "majority_vote")
        >>> aggregate.posterior(labels).compute()[0].round(3).tolist()
        [0.667, 0.333]
        """
        weighed = weigh(labels, self, on_invalid, storage_options)
        array = as_matrix(
            weighed.given.blocks,
            "posterior",
            kernels.posterior_block,
            self.num_classes,
            parameters=weighed.parameters,
            on_invalid=on_invalid,
        )
        return like_rows(array, rows_template(weighed.given.labels), "posterior", "class")


class Weighed(NamedTuple):
    """Votes, and the parameters by which they are weighed."""

    given: VotesData
    parameters: kernels.LogParameters
    accuracy: Floats  # (m,) of the annotators of the votes


def weigh(
    labels: Any,
    aggregate: VoteModel,
    on_invalid: str,
    storage_options: Storage,
    gold: Any = None,
) -> Weighed:
    """Return opened votes and the parameters of their annotators."""
    check_choice("on_invalid", on_invalid, ON_INVALID)
    given = open_votes(labels, gold, storage_options)
    return weigh_data(given, aggregate)


def weigh_data(given: VotesData, aggregate: VoteModel) -> Weighed:
    """Return opened votes with the parameters of their annotators."""
    check_votes_fit(aggregate, given.labels)
    places = match_annotators(aggregate, given.labels)
    parameters = aggregate.parameters
    if places is not None:
        parameters = parameters.of_annotators(np.array(places, dtype=np.int64))
    logs = kernels.log_parameters(aggregate.method, parameters)
    return Weighed(given, logs, parameters.accuracy)


# --- making one -------------------------------------------------------------------------------


@dataclass(frozen=True)
class AggregateOptions:
    """The choices with which an aggregate is made."""

    method: str
    max_iterations: int = 100
    tolerance: float = 1e-5
    random_state: int = 0
    use_gold: bool = False
    num_classes: int | None = None

    def checked(self, on_invalid: str, *, has_gold: bool) -> AggregateOptions:
        """Return the options as plain Python values; refuse those that make no sense."""
        check_choice("method", self.method, METHODS)
        check_choice("on_invalid", on_invalid, ON_INVALID)
        check_size(self.max_iterations, name="max_iterations")
        if not is_number(self.tolerance) or not self.tolerance >= 0:
            raise InputError(f"tolerance: expected a number of at least 0, got {self.tolerance!r}.")
        if not is_whole(self.random_state):
            raise InputError(f"random_state: expected a whole number, got {self.random_state!r}.")
        if self.num_classes is not None and not (
            is_whole(self.num_classes) and 2 <= self.num_classes <= kernels.MOST_CLASSES
        ):
            raise InputError(
                f"num_classes: expected a whole number from 2 to {kernels.MOST_CLASSES:,}, got "
                f"{self.num_classes!r}."
            )
        if self.use_gold and not has_gold:
            raise InputError("use_gold: expected known labels, gold=, beside it, got none.")
        return replace(
            self,
            max_iterations=int(self.max_iterations),
            tolerance=float(self.tolerance),
            random_state=int(self.random_state),
            use_gold=bool(self.use_gold),
        )

    def kept(self) -> dict[str, Any]:
        """Return what an aggregate keeps of them."""
        return {
            "method": self.method,
            "max_iterations": self.max_iterations,
            "tolerance": self.tolerance,
            "random_state": self.random_state,
            "use_gold": self.use_gold,
        }


def aggregate(
    labels: Any,
    method: str = DAWID_SKENE,
    *,
    gold: Any = None,
    use_gold: bool = False,
    max_iterations: int = 100,
    tolerance: float = 1e-5,
    random_state: int = 0,
    num_classes: int | None = None,
    on_invalid: str = "raise",
    memory_limit: int | str | None = None,
    storage_options: Storage = None,
    progress: Any = None,
) -> Aggregate:
    """Return what votes alone tell of annotators and classes, without a model (runs now).

    Expectation maximisation (Dawid and Skene, 1979) in passes over the votes, from the shares of
    each example's votes, without smoothing. It ends when the log likelihood rises by less than
    ``tolerance`` a vote. The bits are the same for any chunks, scheduler and processor.

    Parameters
    ----------
    labels : array_like of shape (N, M)
        As for :func:`daskal.estimate`; sparse votes are the best form of many.
    method : {"dawid_skene", "one_coin", "majority_vote"}
        A confusion matrix for each annotator, one accuracy for each, or shares of the votes.
    gold : array_like of shape (N,), DataFrame or Series, optional
        Known classes of some examples: a code for each row, missing ones NaN or negative, or a
        table with the columns ``task`` and ``label``.
    use_gold : bool
        Hold the known classes fixed in the iterations.
    max_iterations : int
    tolerance : float
        In nats a vote.
    random_state : int
        Key of the draw among tied classes.
    num_classes : int, optional
        By default the classes that the labels' store names, else as many as occur.
    on_invalid : {"raise", "nan"}
        Whether rows at fault are an error or are left out.
    memory_limit : int or str, optional
        What a worker may take, as ``"2GiB"``; by default the workers' limit, or the machine's
        memory. Confusion matrices that would not fit are refused.
    storage_options : mapping, optional
    progress : callable, optional
        Called with a ``Progress`` as blocks end.

    Returns
    -------
    Aggregate

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
    >>> aggregate = daskal.aggregate(labels)
    >>> aggregate.posterior(labels).compute().argmax(axis=1).tolist()
    [0, 1, 0, 1]
    """
    options = AggregateOptions(
        method, max_iterations, tolerance, random_state, use_gold, num_classes
    ).checked(on_invalid, has_gold=gold is not None)
    given = open_votes(labels, gold, storage_options)
    return aggregate_data(
        given, options, on_invalid, Following(progress), parse_memory(memory_limit)
    )


def aggregate_data(
    given: VotesData,
    options: AggregateOptions,
    on_invalid: str,
    following: Following = NOBODY,
    memory_limit: int | None = None,
) -> Aggregate:
    """Return the aggregate of opened votes."""
    counts = count_data(given, options, on_invalid, following)
    num_classes = classes_of(given, options, counts)
    check_memory(options.method, given.labels.num_annotators, num_classes, memory_limit)
    found = iterate(Expectation(given, options, counts, num_classes, following))
    return Aggregate(
        **aggregate_values(
            counts,
            found.parameters,
            options.kept(),
            iterations=found.iterations,
            converged=found.converged,
            log_likelihood=found.log_likelihood,
            annotator_ids=given.labels.annotator_ids,
            class_names=names_kept(given, num_classes),
        )
    )


def names_kept(given: VotesData, num_classes: int) -> tuple[str, ...] | None:
    """Return the names of the classes, None where they are called by their codes."""
    names = names_of_classes(given.labels.class_names)
    return names if names is not None and len(names) == num_classes else None


def count_data(
    given: VotesData, options: AggregateOptions, on_invalid: str, following: Following
) -> VoteCounts:
    """Return the counts of the votes; refuse rows at fault, and data without votes."""
    names = given.labels.class_names
    known = options.num_classes if names is None else len(names)

    def count(stage: str, num_classes: int | None) -> VoteCounts:
        counts: VoteCounts = following.reduce(
            stage,
            given.blocks,
            kernels.count_votes,
            num_annotators=given.labels.num_annotators,
            num_classes=num_classes,
        )
        return counts

    counts = count("votes", known)
    if on_invalid == "raise":
        findings.raise_invalid(counts.findings, given.names)
    if not counts.num_labeled:
        raise InputError(
            f"labels: expected at least one vote, got none in {counts.num_examples:,} rows. "
            "Missing labels are NaN in a float matrix, negative in an integer one."
        )
    num_classes = classes_of(given, options, counts)
    if known is None and len(counts.gold_counts) > num_classes:
        # Read once more, now that it is known which classes there are, to name the rows.
        findings.raise_invalid(count("gold", num_classes).findings, given.names)
    return counts


def classes_of(given: VotesData, options: AggregateOptions, counts: VoteCounts) -> int:
    """Return the number of classes: those named or given, else those that occur, at least two."""
    names = given.labels.class_names
    if names is not None:
        if options.num_classes not in (None, len(names)):
            raise InputError(
                f"num_classes: expected {len(names):,}, as the labels name so many classes, got "
                f"{options.num_classes:,}."
            )
        return max(len(names), 2)
    return options.num_classes or max(len(counts.class_counts), 2)


def check_memory(
    method: str, num_annotators: int, num_classes: int, memory_limit: int | None
) -> None:
    """Refuse sums that a worker cannot hold."""
    limit = least_memory() if memory_limit is None else memory_limit
    needed = STATES_AT_ONCE * state_bytes(method, num_annotators, num_classes)
    if limit is None or needed <= limit:
        return
    advice = "one_coin needs a number for each annotator only: pass method='one_coin'"
    raise MemoryLimitError(
        f"the confusion matrices of {num_annotators:,} annotators over {num_classes:,} classes "
        f"need {format_bytes(needed)} of a worker's memory, and {format_bytes(limit)} are allowed. "
        f"{advice if method == DAWID_SKENE else 'Raise memory_limit'}."
    )


# --- iterations -------------------------------------------------------------------------------


class Found(NamedTuple):
    """Where the iterations have ended."""

    parameters: Parameters
    iterations: int
    converged: bool
    log_likelihood: float | None


@dataclass(frozen=True)
class Expectation:
    """The passes over some votes that find their posterior and sum it."""

    given: VotesData
    options: AggregateOptions
    counts: VoteCounts
    num_classes: int
    following: Following

    @property
    def units(self) -> Units:
        """Units of the sums."""
        return Units.from_counts(self.counts)

    def sums(self, stage: str, parameters: kernels.LogParameters | None) -> ExpectationSums:
        """Return the sums of one pass; without parameters, of the shares of votes."""
        state: ExpectationSums = self.following.reduce_once(
            stage,
            self.given.blocks,
            kernels.expectation,
            parameters=parameters,
            units=self.units,
            num_annotators=self.given.labels.num_annotators,
            num_classes=self.num_classes,
            one_coin=self.options.method != DAWID_SKENE,
            use_gold=self.options.use_gold,
        )
        if state.num_rows != self.counts.num_labeled:
            findings.raise_changed()
        return state

    def maximise(self, sums: ExpectationSums) -> Parameters:
        """Return the parameters that follow from the sums of a pass."""
        return maximise(sums, self.units, self.counts.votes)


def iterate(expectation: Expectation) -> Found:
    """Return the parameters at which the likelihood hardly rises any more.

    The parameters are those under which the likelihood was found.
    """
    options, units = expectation.options, expectation.units
    sums = expectation.sums("majority", None)
    if options.method == MAJORITY_VOTE:
        return Found(expectation.maximise(sums), 0, True, None)
    before = None
    for iteration in range(1, options.max_iterations + 1):
        parameters = expectation.maximise(sums)
        sums = expectation.sums(
            f"iteration {iteration}", kernels.log_parameters(options.method, parameters)
        )
        now, num_votes = sums.likelihood, expectation.counts.num_votes
        converged = is_converged(before, now, num_votes, options.tolerance, units.likelihood)
        if converged:
            break
        before = now
    return Found(parameters, iteration, converged, in_nats(now, units.likelihood))
