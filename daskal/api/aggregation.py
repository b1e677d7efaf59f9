"""Votes without a model: the aggregate of the votes, by iterations over them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daskal.api.estimation import Following
from daskal.api.iterations import AggregateOptions, aggregate_fields
from daskal.engine.graph import as_matrix
from daskal.inputs.data import like_rows, rows_template
from daskal.inputs.matching import match_annotators
from daskal.inputs.votes import VotesData, check_votes_fit, open_votes
from daskal.kernels.posterior import log_parameters, posterior_block
from daskal.method.aggregates import VoteModel
from daskal.method.expectation import DAWID_SKENE, LogParameters
from daskal.method.values import Floats
from daskal.options import ON_INVALID, Storage, check_choice
from daskal.text import parse_memory


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
        How often each annotator is right: the mean posterior of the classes it gave, which is its
        coin; of a majority vote, the mean share of its examples' votes that agree. NaN without
        votes.
    num_examples_labeled : pandas.Series of length M
    iterations : int
    converged : bool
        Whether the likelihood rose by less than the tolerance in the end.
    log_likelihood : float or None
        Of the votes, in nats; None for a majority vote.
    num_examples, num_labeled, num_multiple, num_gold, num_annotations : int
        Rows; rows with a vote; those with at least two; those whose class is known; votes.
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
            posterior_block,
            self.num_classes,
            parameters=weighed.parameters,
            on_invalid=on_invalid,
        )
        return like_rows(array, rows_template(weighed.given.labels), "posterior", "class")


class Weighed(NamedTuple):
    """Votes, and the parameters by which they are weighed."""

    given: VotesData
    parameters: LogParameters
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
    logs = log_parameters(aggregate.method, parameters)
    return Weighed(given, logs, parameters.accuracy)


# --- making one -------------------------------------------------------------------------------


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
    ).checked(on_invalid, gold)
    given = open_votes(labels, gold, storage_options)
    limit = parse_memory(memory_limit)
    return Aggregate(**aggregate_fields(given, options, on_invalid, Following(progress), limit))
