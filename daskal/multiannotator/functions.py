"""The functions that score and judge, with cleanlab's names and arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskal.errors import ArgumentTypeError, InputError
from daskal.multiannotator import arguments, returns
from daskal.multiannotator.multi_label import is_multi_label, multi_label_scores

# --- active learning --------------------------------------------------------------------------


def get_active_learning_scores(
    labels_multiannotator: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    *,
    multi_label: bool = False,
) -> tuple[Any, Any]:
    """Return the ActiveLab scores of labeled examples and of the pool.

    The lower the score, the more informative a label of the example, the first one or another
    (ActiveLab, arXiv 2301.11856). As ``cleanlab.multiannotator.get_active_learning_scores``; see
    :func:`daskal.score_labeled` for the same in steps, and for the convention that counts labels
    as the paper does.

    Parameters
    ----------
    labels_multiannotator : array_like of shape (N, M), optional
        Class of each example by each annotator, NaN or ``pd.NA`` where there is none; at least one
        in each row and column.
    pred_probs : array_like of shape (N, K), optional
        Class probabilities of the labeled examples.
    pred_probs_unlabeled : array_like of shape (U, K), optional
        Class probabilities of the pool.
    multi_label : bool
        Whether an example may have several classes, which cleanlab does not score: each is then a
        binary problem, and the score is the mean over classes. Labels are of shape (N, M, K), or
        lists of classes as :func:`daskal.estimate` takes them; probabilities need not sum to 1.

    Returns
    -------
    scores : numpy.ndarray or dask.array.Array of shape (N,)
        Empty without ``pred_probs``.
    scores_unlabeled : numpy.ndarray or dask.array.Array of shape (U,)
        Empty without ``pred_probs_unlabeled``.

    Raises
    ------
    InputError, InvalidDataError
        Both are ValueError, where cleanlab raises that.
    ArgumentTypeError
        Also a TypeError, where cleanlab raises that.

    Examples
    --------
    >>> import numpy as np
    >>> from daskal.multiannotator import get_active_learning_scores
    >>> labels = np.array([[0, 0, np.nan], [1, np.nan, 1], [1, 0, np.nan], [np.nan, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> scores, scores_unlabeled = get_active_learning_scores(labels, pred_probs, pred_probs)
    >>> int(scores.argmin())
    2
    """
    score = multi_label_scores if is_multi_label(multi_label) else returns.active_learning_scores
    labeled, pool, notes = score(
        labels_multiannotator, pred_probs, pred_probs_unlabeled, ensemble=False
    )
    arguments.warn(notes)
    return labeled, pool


def get_active_learning_scores_ensemble(
    labels_multiannotator: Any = None,
    pred_probs: Any = None,
    pred_probs_unlabeled: Any = None,
    *,
    multi_label: bool = False,
) -> tuple[Any, Any]:
    """Return the ActiveLab scores of labeled examples and of the pool from several models.

    As ``cleanlab.multiannotator.get_active_learning_scores_ensemble``, but the arrays are left as
    they are, and one model is enough.

    Parameters
    ----------
    labels_multiannotator : array_like of shape (N, M), optional
    pred_probs : array_like of shape (P, N, K), optional
    pred_probs_unlabeled : array_like of shape (P, U, K), optional
    multi_label : bool
        As :func:`get_active_learning_scores`.

    Returns
    -------
    scores : numpy.ndarray or dask.array.Array of shape (N,)
    scores_unlabeled : numpy.ndarray or dask.array.Array of shape (U,)

    Raises
    ------
    InputError, InvalidDataError, ArgumentTypeError
        As :func:`get_active_learning_scores`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskal.multiannotator import get_active_learning_scores_ensemble
    >>> pool = np.array([[[0.9, 0.1], [0.4, 0.6]], [[0.8, 0.2], [0.3, 0.7]]])
    >>> get_active_learning_scores_ensemble(pred_probs_unlabeled=pool)[1].round(4)
    array([0.7333, 0.6   ])
    """
    score = multi_label_scores if is_multi_label(multi_label) else returns.active_learning_scores
    labeled, pool, notes = score(
        labels_multiannotator, pred_probs, pred_probs_unlabeled, ensemble=True
    )
    arguments.warn(notes)
    return labeled, pool


# --- label quality ----------------------------------------------------------------------------


def get_label_quality_multiannotator(
    labels_multiannotator: Any,
    pred_probs: Any,
    *,
    consensus_method: str | Sequence[str] = "best_quality",
    quality_method: str = "crowdlab",
    calibrate_probs: bool = False,
    return_detailed_quality: bool = True,
    return_annotator_stats: bool = True,
    return_weights: bool = False,
    verbose: bool = True,
    label_quality_score_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return consensus labels and how good they, single labels and annotators are (CROWDLAB).

    As ``cleanlab.multiannotator.get_label_quality_multiannotator`` (arXiv 2210.06812); see
    :func:`daskal.label_quality` for the same in steps.

    Parameters
    ----------
    labels_multiannotator : array_like of shape (N, M)
        Class of each example by each annotator, NaN or ``pd.NA`` where there is none; at least one
        in each row and column, and an example with two.
    pred_probs : array_like of shape (N, K)
    consensus_method : {"best_quality", "majority_vote"} or list of them
        Of a list, the first gives the main columns, the last the weights.
    quality_method : {"crowdlab", "agreement"}
    calibrate_probs : bool
        Fit a temperature to the votes and scale the probabilities by it.
    return_detailed_quality, return_annotator_stats, return_weights : bool
        Which entries beside ``label_quality`` there are.
    verbose : bool
        Whether remarks on the data are logged, at level INFO under the name ``daskal``.
    label_quality_score_kwargs : mapping, optional
        ``method`` ("self_confidence", "normalized_margin" or "confidence_weighted_entropy") and
        ``adjust_pred_probs`` (bool).

    Returns
    -------
    dict
        ``label_quality``: DataFrame of one row per example; ``detailed_label_quality``: DataFrame
        of shape (N, M); ``annotator_stats``: pandas.DataFrame of one row per annotator, the worst
        first; ``model_weight`` and ``annotator_weight``. The first two are Dask DataFrames if the
        labels or probabilities are Dask or Zarr arrays.

    Raises
    ------
    InputError, InvalidDataError, ArgumentTypeError
        As :func:`get_active_learning_scores`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskal.multiannotator import get_label_quality_multiannotator
    >>> labels = np.array([[0, 0, np.nan], [1, np.nan, 1], [1, 0, np.nan], [np.nan, 1, 1]])
    >>> pred_probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> found = get_label_quality_multiannotator(labels, pred_probs)
    >>> found["label_quality"]["consensus_label"].tolist()
    [0, 1, 1, 1]
    """
    if return_weights and quality_method != "crowdlab":
        raise InputError(
            f"return_weights: expected quality_method='crowdlab', which has weights, got "
            f"{quality_method!r}."
        )
    methods = [consensus_method] if isinstance(consensus_method, str) else list(consensus_method)
    info, notes = returns.label_quality_info(
        arguments.take_labeled(labels_multiannotator, pred_probs, ensemble=False),
        methods,
        quality_method,
        calibrate=calibrate_probs,
        detailed=return_detailed_quality,
        stats=return_annotator_stats,
        weights=return_weights,
        verbose=verbose,
        score_options=label_quality_score_kwargs or {},
    )
    arguments.warn(notes)
    return info


def get_label_quality_multiannotator_ensemble(
    labels_multiannotator: Any,
    pred_probs: Any,
    *,
    calibrate_probs: bool = False,
    return_detailed_quality: bool = True,
    return_annotator_stats: bool = True,
    return_weights: bool = False,
    verbose: bool = True,
    label_quality_score_kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return consensus labels and how good they, single labels and annotators are, by P models.

    As ``cleanlab.multiannotator.get_label_quality_multiannotator_ensemble``, but the arrays are
    left as they are.

    Parameters
    ----------
    labels_multiannotator : array_like of shape (N, M)
    pred_probs : array_like of shape (P, N, K)
    calibrate_probs, return_detailed_quality, return_annotator_stats, return_weights, verbose
        As :func:`get_label_quality_multiannotator`.
    label_quality_score_kwargs : mapping, optional
        There are none for ensembles.

    Returns
    -------
    dict
        As :func:`get_label_quality_multiannotator`; ``model_weight`` is an array of shape (P,).

    Raises
    ------
    InputError, InvalidDataError, ArgumentTypeError
        As :func:`get_active_learning_scores`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskal.multiannotator import get_label_quality_multiannotator_ensemble
    >>> labels = np.array([[0, 0, np.nan], [1, np.nan, 1], [1, 0, np.nan], [np.nan, 1, 1]])
    >>> model = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6], [0.1, 0.9]])
    >>> found = get_label_quality_multiannotator_ensemble(labels, np.stack([model, model]))
    >>> found["label_quality"]["consensus_label"].tolist()
    [0, 1, 1, 1]
    """
    if label_quality_score_kwargs:
        raise ArgumentTypeError(
            "label_quality_score_kwargs: expected none for an ensemble, got "
            f"{sorted(label_quality_score_kwargs)}. daskal.label_quality takes method= for one."
        )
    info, notes = returns.label_quality_info(
        arguments.take_labeled(labels_multiannotator, pred_probs, ensemble=True),
        ["best_quality"],
        "crowdlab",
        calibrate=calibrate_probs,
        detailed=return_detailed_quality,
        stats=return_annotator_stats,
        weights=return_weights,
        verbose=verbose,
        score_options={},
    )
    arguments.warn(notes)
    return info


def get_majority_vote_label(
    labels_multiannotator: Any, pred_probs: Any = None, verbose: bool = True
) -> Any:
    """Return the class most annotators gave each example.

    Ties are broken by the probabilities, then for the class rarer over all labels, then by the
    agreement of its voters with untied majorities, then by a draw keyed by the row. As
    ``cleanlab.multiannotator.get_majority_vote_label``.

    Parameters
    ----------
    labels_multiannotator : array_like of shape (N, M)
    pred_probs : array_like of shape (N, K), optional
    verbose : bool
        Whether the labels must meet the conditions of the other functions: a label in each row and
        column, and two in some row.

    Returns
    -------
    numpy.ndarray or dask.array.Array of shape (N,), int64

    Raises
    ------
    InputError, InvalidDataError, ArgumentTypeError
        As :func:`get_active_learning_scores`.

    Examples
    --------
    >>> import numpy as np
    >>> from daskal.multiannotator import get_majority_vote_label
    >>> get_majority_vote_label(np.array([[0, 0, 1], [1, 1, np.nan]]))
    array([0, 1])
    """
    labels, notes = returns.majority_vote(labels_multiannotator, pred_probs, strict=verbose)
    arguments.warn(notes)
    return labels
