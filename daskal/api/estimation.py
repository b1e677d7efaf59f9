"""Pass 1 on arrays: the estimate of annotators, models and consensus."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, overload

from daskal.api import multi_label as many
from daskal.api.rounds import rounds_of, settle
from daskal.engine import reduction
from daskal.engine.jobs import BlockRecords
from daskal.engine.progress import ProgressCallback
from daskal.errors import DataWarning, InputError
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.data import LabeledData, open_labeled, open_multi_labeled
from daskal.inputs.gold import check_known, open_gold
from daskal.kernels import first_pass
from daskal.method import findings, weights
from daskal.method.estimate import Estimate, make_estimate
from daskal.method.multi_label import AnyEstimate, MultiLabelEstimate
from daskal.method.states import ClassStates, ConsensusStatistics, LabelStatistics
from daskal.method.values import Rule
from daskal.options import Options, Storage, check_flag, check_gold, check_options


@overload
def estimate(
    labels: Any,
    pred_probs: Any,
    *,
    multi_label: Literal[False] = ...,
    convention: str = ...,
    temperature: str | float | None = ...,
    consensus_method: str = ...,
    quality_method: str = ...,
    random_state: int = ...,
    gold: Any = ...,
    use_gold: bool = ...,
    on_invalid: str = ...,
    storage_options: Storage = ...,
) -> Estimate: ...


@overload
def estimate(
    labels: Any,
    pred_probs: Any,
    *,
    multi_label: Literal[True],
    convention: str = ...,
    temperature: str | float | None = ...,
    consensus_method: str = ...,
    quality_method: str = ...,
    random_state: int = ...,
    gold: Any = ...,
    use_gold: bool = ...,
    on_invalid: str = ...,
    storage_options: Storage = ...,
) -> MultiLabelEstimate: ...


def estimate(
    labels: Any,
    pred_probs: Any,
    *,
    multi_label: bool = False,
    convention: str = "paper",
    temperature: str | float | None = "fit",
    consensus_method: str = "best_quality",
    quality_method: str = "crowdlab",
    random_state: int = 0,
    gold: Any = None,
    use_gold: bool = False,
    on_invalid: str = "raise",
    storage_options: Storage = None,
) -> AnyEstimate:
    """Return an estimate of annotators, models and consensus from the labels (pass 1; runs now).

    Reads each block of the labeled data at most twice, and once more only if blocks differ so much
    that one of them guesses the best temperature wrong. The weights are CROWDLAB's (arXiv
    2210.06812, section 3), on probabilities scaled by the temperature that best fits the votes, as
    ActiveLab takes them (arXiv 2301.11856, section 3).

    Parameters
    ----------
    labels : array_like of shape (N, M)
        Label of each example by each annotator, 0 to K - 1. Missing: NaN in a float matrix, any
        negative number in an integer one, ``pd.NA`` in a DataFrame. NumPy, pandas, Dask,
        ``zarr.Array``, xarray, Arrow, a :class:`daskal.Table`, or the path or URL of Zarr, Parquet,
        Arrow, CSV or ``.npy``.
    pred_probs : array_like of shape (N, K) or (P, N, K), or list of P of shape (N, K)
        Class probabilities from one model, or from P.
    multi_label : bool
        Whether an example may have several classes. Each class is then a binary problem of its own,
        and all of them share each read. Labels are an array of shape (N, M, K) of 0, 1 and missing,
        a DataFrame of lists of classes, or :class:`daskal.Tags`; probabilities are independent
        ones, which need not sum to 1.
    convention : {"paper", "cleanlab"}
        How labels are counted for the temperature and for ``quality_method="agreement"``: by class,
        or as cleanlab 2.9.0 does.
    temperature : "fit", float or None
        Fit each model's temperature, use this one, or None: the probabilities as they are.
    consensus_method : {"best_quality", "majority_vote"}
    quality_method : {"crowdlab", "agreement"}
    random_state : int
        Key of the last tie-break of the majority vote.
    gold : array_like of shape (N,), DataFrame or Series, optional
        Known classes of some examples, as for :func:`daskal.aggregate`.
    use_gold : bool
        Hold the known classes fixed in all statistics: as the consensus of their examples, as what
        the others answered there, and as the class to which the temperature is fitted. Without it
        they are not used here.
    on_invalid : {"raise", "nan"}
        Whether rows at fault are an error or are left out.
    storage_options : mapping, optional
        Passed on to the storage behind a path or URL.

    Returns
    -------
    Estimate, or MultiLabelEstimate with ``multi_label``

    Raises
    ------
    InputError
        If the arrays' structure does not fit.
    InvalidDataError
        If rows hold no probabilities or no labels of classes, or known classes are none; names
        them.

    Examples
    --------
    >>> import numpy as np, daskal
    >>> labels = np.array([[0, 0, -1], [1, -1, 1], [1, 0, -1], [-1, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> daskal.estimate(labels, pred_probs).num_annotations
    8
    """
    options = Options(convention, temperature, consensus_method, quality_method, random_state)
    options = check_options(options, on_invalid)
    check_flag("multi_label", multi_label)
    check_gold(use_gold, gold)
    statistics: ClassStates | LabelStatistics
    if multi_label:
        if gold is not None:
            raise InputError("gold: expected none with multi_label=True, which does not use it.")
        given = open_multi_labeled(labels, pred_probs, storage_options)
        statistics = many.read_labels(given, options, on_invalid, many.reduce_blocks)
    else:
        given = open_labeled(labels, pred_probs, storage_options)
        known = None if gold is None else open_gold(gold, given.labels, storage_options)
        if use_gold and known is not None:
            given = given.told(known)
        statistics = read_labels(given, options, on_invalid)
    rule = findings.MULTI_LABEL_RULE if multi_label else findings.RULE
    if on_invalid == "raise":
        findings.raise_invalid(statistics.findings, given.names, rule)
    elif statistics.findings:
        text = findings.left_out(statistics.findings, given.names, rule)
        warnings.warn(text, DataWarning, stacklevel=2)
    found: AnyEstimate
    if isinstance(statistics, ClassStates):
        found = many.finish_estimate(statistics, given, options, many.reduce_blocks)
    else:
        found = finish_estimate(statistics, given, options, on_invalid)
    warn_of(found)
    return found


def warn_of(estimate: AnyEstimate) -> None:
    """Warn the caller of a public function that something in the data is questionable."""
    for flag in estimate.warnings:
        warnings.warn(flag, DataWarning, stacklevel=3)


@dataclass(frozen=True)
class Following:
    """Who follows pass 1: a progress callback, and the records of each stage."""

    progress: ProgressCallback | None = None
    records: Callable[[str], BlockRecords] | None = None

    def reduce(
        self, stage: str, blocks: RowBlocks, function: Callable[..., Any], **options: Any
    ) -> Any:
        """Return the state of one round of pass 1."""
        kept = None if self.records is None else self.records(stage)
        return reduction.reduce_blocks(blocks, stage, function, self.progress, kept, **options)

    def reduce_once(
        self, stage: str, blocks: RowBlocks, function: Callable[..., Any], **options: Any
    ) -> Any:
        """Return the state of one of many rounds; it is kept in place of those of its blocks."""
        kept = None if self.records is None else self.records(f"{stage} total")
        if kept is not None and kept.finished():
            return kept.get(0)
        state = self.reduce(stage, blocks, function, **options)
        if kept is not None and self.records is not None:
            kept.put(0, state)
            self.records(stage).clear()
        return state


NOBODY = Following()


def estimate_data(
    given: LabeledData,
    options: Options,
    on_invalid: str,
    following: Following = NOBODY,
    names: findings.Names | None = None,
) -> Estimate:
    """Return the estimate of opened data (pass 1); ``names`` are the ids of rows."""
    statistics = read_labels(given, options, on_invalid, following)
    if on_invalid == "raise":
        findings.raise_invalid(statistics.findings, names)
    return finish_estimate(statistics, given, options, on_invalid, following)


def read_labels(
    given: LabeledData, options: Options, on_invalid: str, following: Following = NOBODY
) -> LabelStatistics:
    """Return the statistics of the first read, or of a second if a block guessed T wrong."""

    def read(stage: str, *, guess: bool) -> LabelStatistics:
        state: LabelStatistics = following.reduce(
            stage,
            given.blocks,
            first_pass.label_statistics,
            num_annotators=given.labels.num_annotators,
            miscount=options.convention == "cleanlab",
            fit=options.temperature == "fit",
            guess=guess,
            use_gold=given.use_gold,
            on_invalid=on_invalid,
        )
        return state

    statistics = read("votes", guess=True)
    needless = options.temperature != "fit" or statistics.num_multiple == 0
    refused = on_invalid == "raise" and statistics.findings
    if needless or refused or weights.is_loss_known(statistics):
        return statistics
    return read("temperature", guess=False)


def finish_estimate(
    statistics: LabelStatistics,
    given: LabeledData,
    options: Options,
    on_invalid: str,
    following: Following = NOBODY,
) -> Estimate:
    """Return the estimate from the first read, and from a second one where it is needed."""
    if given.use_gold:
        check_known(statistics.num_gold, f"{statistics.num_examples:,} rows")

    def read_again(stage: str, rules: list[Rule | None]) -> list[ConsensusStatistics]:
        return [
            following.reduce(
                stage,
                given.blocks,
                first_pass.consensus_statistics,
                rule=rules[0],
                use_gold=given.use_gold,
                on_invalid=on_invalid,
            )
        ]

    (settled,) = settle([rounds_of(statistics, options, given.probs.num_models)], read_again)
    assert settled is not None
    return make_estimate(
        *settled,
        ensemble=given.probs.ensemble,
        annotator_ids=given.labels.annotator_ids,
        class_names=given.class_names,
        columns_moved=given.probs.moved,
    )
