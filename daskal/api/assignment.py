"""Whom to ask about the examples of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from daskal.api.batches import LABELED, UNLABELED, with_source
from daskal.api.people import People, capacities
from daskal.engine import reduction
from daskal.engine.graph import as_matrix
from daskal.engine.workers import machine_memory
from daskal.errors import EstimateError, InputError, MemoryLimitError
from daskal.inputs.blocks import cut_rows
from daskal.inputs.labels import Labels, open_labels
from daskal.inputs.matching import check_fits
from daskal.inputs.picked import pick_rows
from daskal.inputs.probabilities import Probs, open_probs
from daskal.kernels.assignment import assign_votes, scaled_rows, votes_of_rows
from daskal.kernels.posterior import log_parameters, posterior_block
from daskal.method.aggregates import VoteModel
from daskal.method.assignment import (
    Answers,
    RowVotes,
    answers_by_agreement,
    answers_of,
    expected_information,
)
from daskal.method.estimate import Estimate
from daskal.method.expectation import DAWID_SKENE, ONE_COIN, Parameters
from daskal.method.findings import VOTES_RULE, raise_invalid
from daskal.method.values import Block, Floats, Ints, SparseLabels
from daskal.names.naming import kind_of, plain_texts, slices_of
from daskal.names.normal import as_index
from daskal.names.rows import find
from daskal.options import ON_INVALID, Storage, check_choice, check_size, shown
from daskal.text import format_bytes

NO_ROW = -1
# Arrays of examples by annotators that are held at once, of 8 bytes a cell.
TABLES = 4

# --- the examples -----------------------------------------------------------------------------


def check_batch(batch: Any) -> pd.DataFrame:
    """Return a batch with a plain index and the column ``source``, each example once.

    Examples are there several times in a table of whom to ask, which is taken as well.

    Raises
    ------
    InputError
        If it is no batch.
    """
    if not isinstance(batch, pd.DataFrame):
        raise InputError(
            f"batch: expected the DataFrame of next_batch, got {shown(batch)}. Of a file, pass "
            "daskal.read_batch(path)."
        )
    batch = with_source(batch).reset_index(drop=True)
    missing = {"source", "row"} - set(batch.columns)
    if missing:
        raise InputError(
            "batch: expected the DataFrame of next_batch, got one without "
            f"{', '.join(sorted(missing))}."
        )
    foreign = sorted(set(batch["source"]) - {LABELED, UNLABELED}, key=str)
    if foreign:
        raise InputError(f"batch: expected 'labeled' or 'unlabeled' as source, got {foreign!r}.")
    return batch.drop_duplicates(["source", "row"], ignore_index=True)


def rows_in_labels(batch: pd.DataFrame, labels: Labels | None) -> Ints:
    """Return the row of each example among the labels, -1 where it has none.

    Where both have ids these decide, as an example of the pool may have votes by now; else labeled
    examples are where their row says.
    """
    rows = np.full(len(batch), NO_ROW)
    if labels is None:
        return rows
    labeled = (batch["source"] == LABELED).to_numpy()
    by_id = np.zeros(len(batch), dtype=bool)
    if labels.row_ids is not None and "id" in batch:
        by_id = batch["id"].notna().to_numpy()
        rows[by_id] = find_ids(as_index(batch["id"][by_id].tolist()), labels.row_ids)
    by_row = labeled & ~by_id
    rows[by_row] = batch["row"].to_numpy()[by_row]
    lost = labeled & ((rows < 0) | (rows >= labels.num_rows))
    if lost.any():
        at = int(np.flatnonzero(lost)[0])
        what = f"row {batch['row'][at]:,}" if not by_id[at] else f"the id {batch['id'][at]!r}"
        raise InputError(
            f"labels: expected the labeled examples of the batch, but {int(lost.sum()):,} of them "
            f"are not there, such as {what}. Pass the labels that were scored, or newer ones with "
            "their ids."
        )
    return rows


def find_ids(wanted: pd.Index, ids: Any) -> Ints:
    """Return the rows of ids, as text where a file has made text of them; -1 for unknown ones."""
    found = np.full(len(wanted), NO_ROW)
    for start, part in slices_of(ids):
        if len(part) and kind_of(part) != kind_of(wanted):
            places = find(*(as_index(list(plain_texts(each))) for each in (part, wanted)))
        else:
            places = find(part, wanted)
        found = np.where((found < 0) & (places >= 0), places + start, found)
    return found


# --- what is known of them --------------------------------------------------------------------


def read_votes(labels: Labels, rows: Ints, num_classes: int, on_invalid: str) -> SparseLabels:
    """Return the votes of examples by their rows, -1 for one without (runs now).

    Of a matrix only parts that hold one of the rows are read; sparse votes are read once, all.
    """
    wanted = np.unique(rows[rows >= 0])
    source, at, places = labels.source, wanted, rows
    if not source.is_sparse:
        source, at = pick_rows(source, wanted), np.arange(len(wanted))
        places = np.where(rows < 0, NO_ROW, np.searchsorted(wanted, rows))
    found: RowVotes = reduction.tree(
        cut_rows([source], has_labels=True),
        "votes of the batch",
        votes_of_rows,
        rows=at,
        num_classes=num_classes,
    ).compute()
    if on_invalid == "raise":
        faults = found.findings if labels.source.is_sparse else found.findings.of_rows(wanted)
        raise_invalid(faults, rule=VOTES_RULE)
    return found.labels_of(places)


def read_probs(probs: Probs, estimate: Estimate, rows: Ints) -> Floats:
    """Return the models' scaled probabilities of some rows (runs now)."""
    if rows.max(initial=-1) >= probs.num_rows:
        raise InputError(
            f"{probs.name}: expected a row for each example of the batch, got {probs.num_rows:,} "
            f"rows, but the batch has row {int(rows.max()):,}. Pass the probabilities that were "
            "scored."
        )
    wanted, places = np.unique(rows, return_inverse=True)
    sources = [pick_rows(source, wanted) for source in probs.sources]
    blocks = cut_rows(sources, has_labels=False)
    rule = estimate.pool_rule()
    found = as_matrix(blocks, "model of the batch", scaled_rows, probs.num_classes, rule=rule)
    shares: Floats = found.compute()[places]
    return shares


def prior_of(
    batch: pd.DataFrame, known: Estimate | VoteModel, probs: Mapping[str, Probs | None]
) -> Floats:
    """Return what is known of each example before its votes, (b, k): the model's, or shares."""
    if isinstance(known, VoteModel):
        return np.tile(known.prior, (len(batch), 1))
    shares = (known.class_counts + 1) / (known.class_counts + 1).sum()
    prior = np.tile(shares, (len(batch), 1))
    for source, given in probs.items():
        at = np.flatnonzero(batch["source"] == source)
        if given is not None and len(at):
            prior[at] = read_probs(check_fits(known, given), known, batch["row"].to_numpy()[at])
    return prior


class Known(NamedTuple):
    """What an estimate or aggregate knows of annotators, by their places; -1 is the mean."""

    answers: Answers
    parameters: Parameters
    method: str


def known_of(known: Estimate | VoteModel, places: Ints) -> Known:
    """Return how annotators answer, and the parameters by which their votes are weighed."""
    if isinstance(known, VoteModel):
        answers = answers_of(known.method, known.parameters, places)
        if known.method == DAWID_SKENE:
            return Known(answers, known.parameters.of_annotators(places), DAWID_SKENE)
        # Shares of a few votes, or coins that never fail, would leave nothing to ask.
        return Known(answers, Parameters(known.prior, None, answers.accuracy), ONE_COIN)
    answers = answers_by_agreement(
        known.agreement, known.consensus_likelihood, known.num_classes, places
    )
    even = np.full(known.num_classes, 1 / known.num_classes)
    return Known(answers, Parameters(even, None, answers.accuracy), ONE_COIN)


def posterior_of(
    votes: SparseLabels, prior: Floats, known: Estimate | VoteModel, of_columns: Known
) -> Floats:
    """Return the probability of each class for each example, given its votes, (b, k)."""
    logs = log_parameters(of_columns.method, of_columns.parameters)
    found = posterior_block(Block(votes, [], 0), parameters=logs, on_invalid="nan")
    if isinstance(known, VoteModel):
        return found
    product = found * prior
    shares: Floats = product / product.sum(axis=1, keepdims=True)
    return shares


# --- whom to ask ------------------------------------------------------------------------------


def assign(
    batch: pd.DataFrame,
    known: Any,
    labels: Any = None,
    *,
    votes_per_example: int = 1,
    capacity: Any = None,
    available: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> pd.DataFrame:
    """Return whom to ask about each example of a batch: those whose votes tell most (runs now).

    The gain of a vote is the information that it is expected to give about the example's class,
    in bits: ``H(sum_k q_k p(l | k)) - sum_k q_k H(p(l | k))``, ``q`` being what is known of the
    example, ``p(l | k)`` how likely the annotator answers l to class k, and H the entropy. Nobody
    is asked twice about one example. Among all assignments within everybody's capacity, the one
    found has at least 99 % of the largest gain in all (an auction: see Notes).

    Parameters
    ----------
    batch : pandas.DataFrame
        As :func:`daskal.next_batch` or :func:`daskal.read_batch` returns it. Of an example that is
        in it several times, the first counts.
    known : Estimate or Aggregate
        What is known of annotators and classes.
    labels : array_like of shape (N, M), optional
        The votes there are, as for :func:`daskal.estimate`, or newer ones. Examples are matched by
        id where the batch and the labels have ids, else by row; annotators by id, else by
        position. Without labels, nobody has answered anything.
    votes_per_example : int
        The most votes for each example.
    capacity : int, mapping or pandas.Series, optional
        The most examples for each annotator, or by annotator; without a limit for others.
    available : sequence, optional
        Ids of the annotators who can be asked (columns of the labels where they have no ids), by
        default all. One whom nobody knows counts as the mean.
    pred_probs, pred_probs_unlabeled : array_like of shape (N, K) and (U, K), optional
        With an estimate, the model's probabilities of labeled examples and the pool, as they were
        scored: only rows of the batch are read. Without them, ``q`` begins with the shares of the
        classes among the votes.
    on_invalid : {"raise", "nan"}
        Whether votes at fault are an error or are left out.
    storage_options : mapping, optional

    Returns
    -------
    pandas.DataFrame
        The columns of the batch, ``annotator`` and ``gain``, one row for each vote to ask for, in
        the order of the batch. Examples for which nobody has time are not in it.

    Raises
    ------
    InputError, EstimateError
        If batch, estimate, labels and annotators do not fit together.
    MemoryLimitError
        If the gains of all examples and annotators do not fit into memory.

    Notes
    -----
    Under an aggregate, ``q`` is its posterior and ``p(l | k)`` its confusion matrix; by the other
    methods, votes are weighed by one coin for each annotator, its accuracy, 0.999 at most. So they
    are under an estimate, where the accuracy is what the agreement with others says:
    ``a_j = (g_j - l') / (l - l')``. Votes of an example that are asked for together are counted as
    if each were the only one.

    Votes bid for annotators, in the order of the batch, each for the one that gains it most at the
    price asked (Bertsekas, 1988); prices rise by 1 % of a mean gain at least, within which the
    result is the optimum. It is the same on every run.

    Examples
    --------
    >>> import numpy as np, pandas as pd, daskal
    >>> names = ["ann", "bo", "cy"]
    >>> votes = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [1, -1, -1]])
    >>> labels = pd.DataFrame(votes, columns=names)
    >>> aggregate = daskal.aggregate(labels, "one_coin")
    >>> batch = pd.DataFrame({"source": ["labeled"], "row": [4]})
    >>> daskal.assign(batch, aggregate, labels)["annotator"].tolist()
    ['bo']
    """
    batch = check_batch(batch)
    check_size(votes_per_example, name="votes_per_example")
    check_choice("on_invalid", on_invalid, ON_INVALID)
    if not isinstance(known, Estimate | VoteModel):
        raise EstimateError(f"expected a daskal.Estimate or daskal.Aggregate, got {shown(known)}.")
    has_probs = pred_probs is not None or pred_probs_unlabeled is not None
    if isinstance(known, VoteModel) and has_probs:
        raise InputError("expected no pred_probs with an aggregate, whose posterior needs none.")
    given = None if labels is None else open_labels(labels, storage_options)
    people = People.of(known, given, available)
    check_memory(len(batch), len(people.ids), known.num_classes)
    rows = rows_in_labels(batch, given)
    votes = RowVotes.zero().labels_of(rows)
    if given is not None:
        votes = read_votes(given, rows, known.num_classes, on_invalid)
    probs = {
        source: None if part is None else open_given(name, part, storage_options)
        for source, name, part in (
            (LABELED, "pred_probs", pred_probs),
            (UNLABELED, "pred_probs_unlabeled", pred_probs_unlabeled),
        )
    }
    posterior = posterior_of(
        votes, prior_of(batch, known, probs), known, known_of(known, people.places)
    )
    asked = people.asked
    gains = expected_information(posterior, known_of(known, people.places[asked]).answers)
    taken = assign_votes(
        gains,
        ~people.answered(votes)[:, asked],
        capacities(capacity, people.ids[asked]),
        int(votes_per_example),
    )
    return table_of(batch, people.ids[asked], gains, taken)


def open_given(name: str, given: Any, storage_options: Storage) -> Probs:
    """Return probabilities, which may be opened already."""
    return given if isinstance(given, Probs) else open_probs(name, given, storage_options)


def table_of(batch: pd.DataFrame, ids: pd.Index, gains: Floats, taken: Any) -> pd.DataFrame:
    """Return who is asked about what, in the order of the batch, the largest gain first."""
    at, who = np.nonzero(taken)
    gain = gains[at, who]
    order = np.lexsort((who, -gain, at))
    at, who, gain = at[order], who[order], gain[order]
    table = batch.drop(columns=["annotator", "gain"], errors="ignore").iloc[at]
    return table.assign(annotator=ids[who], gain=gain).reset_index(drop=True)


def check_memory(num_examples: int, num_annotators: int, num_classes: int) -> None:
    """Refuse a table of examples by annotators that does not fit into memory."""
    needed = 8 * num_examples * (TABLES * num_annotators + 3 * num_classes)
    limit = machine_memory()
    if needed > limit:
        raise MemoryLimitError(
            f"batch: expected examples and annotators whose gains fit into {format_bytes(limit)} "
            f"of memory, got {num_examples:,} examples and {num_annotators:,} annotators, which "
            f"need {format_bytes(needed)}. Pass a part of the batch, or fewer in available."
        )
