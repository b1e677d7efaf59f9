"""Imported votes, and who is who in them."""

from __future__ import annotations

import tempfile
from functools import lru_cache

import numpy as np
import pandas as pd

import daskal
from tests.who_is_who.asking import Case
from tests.who_is_who.who import ANNOTATORS, BASES, CLASSES, ROWS, Base, Names, base

FOLDER = tempfile.TemporaryDirectory()


@lru_cache(maxsize=BASES)
def imported(seed: int) -> tuple[Base, Names, Names, Names, str]:
    """Return imported votes of known classes, and who is who in them."""
    rng = np.random.default_rng(1000 + seed)
    problem = base(seed, 1)
    kinds = ("int", "uint", "text", "digit", "number")
    rows, annotators = (
        Names.draw(rng, count, str(rng.choice(kinds))) for count in (ROWS, ANNOTATORS)
    )
    classes = Names.draw(rng, CLASSES, str(rng.choice(("text", "digit"))))
    out = f"{FOLDER.name}/{seed}"
    daskal.import_votes(
        long_votes(problem.labels, rows, annotators, classes, rng),
        out,
        tasks=list(rows.values),
        classes=list(classes.values),
    )
    return problem, rows, annotators, classes, out


def long_votes(
    labels: np.ndarray, rows: Names, annotators: Names, classes: Names, rng: np.random.Generator
) -> pd.DataFrame:
    """Return votes in long format, in a random order."""
    at, by = np.nonzero(labels >= 0)
    order = rng.permutation(len(at))
    at, by = at[order], by[order]
    return pd.DataFrame(
        {
            "task": [rows.values[row] for row in at],
            "annotator": [annotators.values[who] for who in by],
            "label": [classes.values[code] for code in labels[at, by]],
        }
    )


def open_import(case: Case) -> str:
    """Give the case the names of some imported votes, and return their path."""
    found = imported(int(case.rng.integers(BASES)))
    case.base, case.rows, case.annotators, case.classes, path = found
    return path


def named_estimate(case: Case) -> daskal.Estimate:
    """Return the estimate of the same votes by annotators that have names: imports sort them."""
    labels = pd.DataFrame(case.base.labels, columns=case.annotators.index(case.rng))
    return daskal.estimate(labels, case.base.models())
