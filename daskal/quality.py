"""Quality of consensus labels, of votes and of annotators, for data of any size."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal import describing, inputs, reduction
from daskal.annotators import annotator_table
from daskal.api import Storage, check_fits, labeled_blocks, match_annotators
from daskal.blocks import RowBlocks, new_name
from daskal.choices import ON_INVALID, check_choice
from daskal.confidence import METHODS, Scorer
from daskal.describing import Question
from daskal.findings import raise_invalid
from daskal.gathering import Gathered
from daskal.sources import RowIds
from daskal.weights import Estimate


class NamedGraph(Mapping[Any, Any]):
    """A graph known by its name, so that Dask does not hash what is in it."""

    def __init__(self, graph: Mapping[Any, Any], name: str) -> None:
        self.graph = graph
        self.name = name

    def __getitem__(self, key: Any) -> Any:
        return self.graph[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.graph)

    def __len__(self) -> int:
        return len(self.graph)

    def __dask_tokenize__(self) -> str:
        return self.name


def with_ids(frame: pd.DataFrame, ids: RowIds, start: int, stop: int) -> pd.DataFrame:
    """The frame of some rows, indexed by their ids; ids given as an index are those rows' only."""
    own = ids if isinstance(ids, pd.Index) else ids[start:stop]
    return frame.set_axis(own.take(frame.index.to_numpy() - start))


def as_frame(
    blocks: RowBlocks,
    function: Callable[..., pd.DataFrame],
    meta: pd.DataFrame,
    ids: RowIds | None,
    **options: Any,
) -> Any:
    """A lazy DataFrame of which each task computes the rows of one block."""
    import dask.dataframe as dd

    name = new_name(function.__name__.replace("_", "-"))
    graph = blocks.tasks(name, function, **options).to_dict()
    keys = [(name, i) for i in range(len(blocks.row_chunks))]
    divisions: tuple[Any, ...] = (None,) * (len(keys) + 1)
    if ids is not None:
        meta = meta.set_axis(ids[:0])
        cuts = zip(blocks.edges, blocks.edges[1:], strict=False)
        for i, (start, stop) in enumerate(cuts):
            own = ids[start:stop] if isinstance(ids, pd.Index) else ids
            graph[f"{name}-ids", i] = (with_ids, (name, i), own, start, stop)
        keys = [(f"{name}-ids", i) for i in range(len(keys))]
    elif min(blocks.row_chunks) > 0:
        divisions = (*blocks.edges[:-1], blocks.edges[-1] - 1)
    return dd.from_graph(NamedGraph(graph, name), meta, divisions, keys, name)


class Asked(NamedTuple):
    """Labelled data and the question put to it."""

    labels: inputs.Labels
    blocks: RowBlocks
    question: Question
    row_ids: RowIds | None
    annotator_ids: pd.Index


def ask(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    scorer: Scorer,
    on_invalid: str,
    storage_options: Storage,
) -> Asked:
    """The labelled data, and what the estimate can say of it."""
    check_choice("on_invalid", on_invalid, ON_INVALID)
    check_choice("method", scorer.method, METHODS)
    given, probs, blocks = labeled_blocks(labels, pred_probs, storage_options)
    check_fits(estimate, probs, "pred_probs")
    rule = estimate.rule(match_annotators(estimate, given))
    row_ids = probs.row_ids if given.row_ids is None else given.row_ids
    return Asked(
        given,
        blocks,
        Question((rule,), ("",), (scorer,), scorer, on_invalid),
        row_ids,
        annotator_index(given, estimate.annotator_ids),
    )


def annotator_index(labels: inputs.Labels, known: Sequence[Hashable] | None) -> pd.Index:
    """Ids of the labels' columns: their own, else the estimate's, else their numbers."""
    ids = labels.annotator_ids
    if ids is None and known is not None and len(known) == labels.num_annotators:
        ids = tuple(known)
    if ids is None:
        return pd.RangeIndex(labels.num_annotators)
    # Ids that are tuples are names, not levels.
    return pd.Index(list(ids), tupleize_cols=False)


def label_quality(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    *,
    method: str = "self_confidence",
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return the consensus label of each example and how good it is (CROWDLAB; lazy).

    The quality of a consensus label is its posterior probability, the mean of the model's scaled
    probability and the votes' likelihoods weighted by how good model and annotators are (CROWDLAB,
    arXiv 2210.06812, section 3).

    Parameters
    ----------
    labels : array_like of shape (N, M)
        As for :func:`daskal.estimate`.
    pred_probs : array_like of shape (N, K) or (P, N, K), or list of P of shape (N, K)
    estimate : Estimate
        It settles ``consensus_method`` and ``quality_method``. Made with ``temperature=None``, it
        takes probabilities as they are, as CROWDLAB's paper does.
    method : {"self_confidence", "normalized_margin", "confidence_weighted_entropy"}
        How the quality follows from the posterior q: the label's q, its lead over the best other
        class, or the posterior's entropy against the label's q; all between 0 and 1.
    on_invalid : {"raise", "nan"}
        Whether a row at fault raises when its block is computed, or has the quality NaN.
    storage_options : mapping, optional

    Returns
    -------
    dask.dataframe.DataFrame of N rows
        Columns ``consensus_label`` (int64), ``consensus_quality_score``, ``annotator_agreement``
        (share of the votes equal to the consensus; float64) and ``num_annotations`` (int64). The
        index is the examples' ids where the labels or probabilities have them, else their rows. An
        example without votes has the model's label and confidence, and NaN for agreement.

    Raises
    ------
    InputError, EstimateError
        If arrays and estimate do not fit together.
    InvalidDataError
        On computing, if a block holds a row at fault.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> estimate = daskal.estimate(labels, pred_probs)
    >>> quality = daskal.label_quality(labels, pred_probs, estimate).compute()
    >>> quality["consensus_label"].tolist()
    [0, 1, 1, 1]
    >>> quality["annotator_agreement"].tolist()
    [1.0, 1.0, 0.5, 1.0]
    """
    asked = ask(labels, pred_probs, estimate, Scorer(method), on_invalid, storage_options)
    return quality_frame(asked)


def quality_frame(asked: Asked) -> Any:
    """Label quality, lazily."""
    meta = pd.DataFrame(describing.quality_meta(asked.question.suffixes))
    return as_frame(
        asked.blocks,
        describing.quality_frame_block,
        meta,
        asked.row_ids,
        question=asked.question,
    )


def detailed_quality(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    *,
    method: str = "self_confidence",
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> Any:
    """Return how good each single vote is, one row a vote (CROWDLAB; lazy).

    The quality of a vote is the posterior probability of the class it gives. As many rows come out
    as there are votes, whatever N and M are.

    Parameters
    ----------
    labels, pred_probs, estimate, method, on_invalid, storage_options
        As for :func:`daskal.label_quality`. Rows at fault have no votes under
        ``on_invalid="nan"``.

    Returns
    -------
    dask.dataframe.DataFrame of one row a vote
        Columns ``annotator`` (id where known, else column), ``label`` (int64) and ``quality``
        (float64), in the order of examples and then annotators. The index is the examples' ids
        where known, else their rows.

    Raises
    ------
    InputError, EstimateError
        If arrays and estimate do not fit together.
    InvalidDataError
        On computing, if a block holds a row at fault.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> estimate = daskal.estimate(labels, pred_probs)
    >>> votes = daskal.detailed_quality(labels, pred_probs, estimate).compute()
    >>> votes.loc[2, ["annotator", "label"]].to_numpy().tolist()
    [[0, 1], [1, 0]]
    """
    asked = ask(labels, pred_probs, estimate, Scorer(method), on_invalid, storage_options)
    return votes_frame(asked)


def votes_frame(asked: Asked) -> Any:
    """Quality of votes, lazily."""
    ids = asked.annotator_ids
    return as_frame(
        asked.blocks,
        describing.votes_frame_block,
        describing.votes_frame(describing.votes_meta(), ids),
        asked.row_ids,
        question=asked.question,
        annotators=ids,
    )


def wide_frame(asked: Asked, prefix: str) -> Any:
    """Quality of votes as a lazy matrix, one column an annotator."""
    columns = pd.Index([f"{prefix}{annotator}" for annotator in asked.annotator_ids])
    return as_frame(
        asked.blocks,
        describing.wide_frame_block,
        pd.DataFrame(np.zeros((0, len(columns))), columns=columns),
        asked.row_ids,
        question=asked.question,
        columns=columns,
    )


def annotator_stats(
    labels: Any,
    pred_probs: Any,
    estimate: Estimate,
    *,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> pd.DataFrame:
    """Return how good each annotator is, the worst first (CROWDLAB; runs now, one read).

    An annotator's quality is the mean quality of all its votes, weighted by the model's part in
    them, and its agreement with the consensus where others voted too (CROWDLAB, arXiv 2210.06812,
    section 3.3).

    Parameters
    ----------
    labels, pred_probs, estimate, storage_options
        As for :func:`daskal.label_quality`.
    on_invalid : {"raise", "nan"}
        Whether rows at fault, all of which are named, are an error or are left out.

    Returns
    -------
    pandas.DataFrame of one row an annotator with votes
        Columns ``annotator_quality`` (NaN for one who shares no example with another, sorted last),
        ``agreement_with_consensus`` over all its votes, ``worst_class``, the class it gave that
        agrees least, and ``num_examples_labeled``; indexed by annotator, sorted by the first two.

    Raises
    ------
    InputError, EstimateError
        If arrays and estimate do not fit together.
    InvalidDataError
        If rows are at fault.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> estimate = daskal.estimate(labels, pred_probs)
    >>> stats = daskal.annotator_stats(labels, pred_probs, estimate)
    >>> stats["num_examples_labeled"].to_dict()
    {1: 3, 0: 3, 2: 2}
    """
    asked = ask(labels, pred_probs, estimate, Scorer(), on_invalid, storage_options)
    # Faults of all blocks are merged before they are raised.
    asked = asked._replace(question=asked.question._replace(on_invalid="nan"))
    found = gather(asked, quality=False, votes=False)
    if on_invalid == "raise":
        raise_invalid(found.findings)
    assert found.annotators is not None
    return annotator_table(found.annotators, estimate, asked.annotator_ids)


def gather(asked: Asked, *, quality: bool, votes: bool) -> Gathered:
    """All that is asked, in one read, now."""
    state: Gathered = reduction.tree(
        asked.blocks,
        describing.gather_block,
        question=asked.question,
        num_annotators=asked.labels.num_annotators,
        quality=quality,
        votes=votes,
    ).compute("quality")
    return state
