"""Votes without a model: real sets in long and wide form, and the oracle for their aggregates."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene, OneCoinDawidSkene

from tests import realdata

ORACLES = {"dawid_skene": DawidSkene, "one_coin": OneCoinDawidSkene}


def votes_of(labels: np.ndarray) -> pd.DataFrame:
    """The votes of a label matrix, one a row, with the columns that crowd-kit takes."""
    rows, annotators = np.nonzero(labels == labels)
    classes = labels[rows, annotators].astype(int)
    return pd.DataFrame({"task": rows, "worker": annotators, "label": classes})


def wide(name: str) -> pd.DataFrame:
    """A real set's labels, rows and columns named."""
    found = realdata.load(name)
    return pd.DataFrame(found.labels, index=found.task_ids, columns=found.annotator_ids)


def oracle_posterior(
    labels: np.ndarray, num_classes: int, method: str, iterations: int
) -> np.ndarray:
    """Crowd-kit's posterior after so many iterations, (N, K), NaN for rows without votes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ORACLES[method](n_iter=iterations, tol=-np.inf)
        found = model.fit_predict_proba(votes_of(labels))
    posterior = np.full((len(labels), num_classes), np.nan)
    posterior[np.ix_(found.index, found.columns.astype(int))] = found.to_numpy()
    return posterior
