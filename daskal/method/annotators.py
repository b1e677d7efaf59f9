"""The annotators' table: pass 2's tallies and the weights, put together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from daskal.method.estimate import Estimate
from daskal.method.tallies import AnnotatorStatistics, GoldCounts
from daskal.method.values import Floats, Ints
from daskal.method.weights import ratio

ANNOTATOR_COLUMNS = [
    "annotator_quality",
    "agreement_with_consensus",
    "worst_class",
    "num_examples_labeled",
]


def worst_classes(state: AnnotatorStatistics, num_classes: int) -> Ints:
    """Return the class in which each annotator agrees least with the consensus, -1 without votes.

    Ties go to the class with most votes, then with the highest mean consensus quality, then to the
    smaller class.
    """
    annotator, given = np.divmod(state.by_class.keys, num_classes)
    num, agreeing = state.by_class.counts
    agreement = agreeing / num
    quality = state.by_class.sums.values() / num
    order = np.lexsort((given, -quality, -num, agreement, annotator))
    worst = np.full(len(state.num), -1, dtype=np.int64)
    # The last write wins: in reverse order that is the first class of each annotator.
    worst[annotator[order[::-1]]] = given[order[::-1]]
    return worst


def annotator_quality(state: AnnotatorStatistics, estimate: Estimate) -> Floats:
    """Return each annotator's quality (CROWDLAB, arXiv 2210.06812, 3.3), NaN without overlap.

    ``v * mean_i q_i,L_ij + (1 - v) * agreement with the consensus``, the latter over examples with
    several labels, with ``v = w_M / (w_M + sum_j w_j * mean n_i / M)``.
    """
    agreement = ratio(state.agreeing_multiple, state.num_multiple)
    if estimate.options.quality_method == "agreement":
        return agreement
    weights = estimate.final
    model_weight = float(weights.model_weight.mean())
    # Annotators without labels take no part, and M does not count them.
    votes = estimate.num_annotations / estimate.num_labeled * weights.mean_weight
    share = model_weight / (model_weight + votes)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_quality = state.quality.values() / state.scored
    return share * mean_quality + (1 - share) * agreement


def annotator_table(
    state: AnnotatorStatistics,
    estimate: Estimate,
    ids: pd.Index | None,
    gold: GoldCounts | None = None,
) -> pd.DataFrame:
    """Return one row per annotator with labels, the worst first."""
    table = pd.DataFrame(
        {
            "annotator_quality": annotator_quality(state, estimate),
            "agreement_with_consensus": ratio(state.agreeing, state.num),
            "worst_class": worst_classes(state, estimate.num_classes),
            "num_examples_labeled": state.num,
        },
        index=ids,
    )
    return worst_first(table, state, gold)


def vote_table(
    state: AnnotatorStatistics,
    accuracy: Floats,
    num_classes: int,
    ids: pd.Index | None,
    gold: GoldCounts | None = None,
) -> pd.DataFrame:
    """Return one row per annotator with labels, from votes alone, the worst first.

    ``accuracy`` is how often each annotator is right, by the aggregate.
    """
    table = pd.DataFrame(
        {
            "annotator_quality": accuracy,
            "agreement_with_consensus": ratio(state.agreeing, state.num),
            "worst_class": worst_classes(state, num_classes),
            "num_examples_labeled": state.num,
        },
        index=ids,
    )
    return worst_first(table, state, gold)


def worst_first(
    table: pd.DataFrame, state: AnnotatorStatistics, gold: GoldCounts | None
) -> pd.DataFrame:
    """Return a table of annotators without those who have no label, with what known classes say."""
    if gold is not None:
        table = table.assign(**gold_columns(gold))
    table = table[state.num > 0].sort_values(ANNOTATOR_COLUMNS[:2], kind="stable")
    if gold is not None:
        table.attrs["gold_accuracy"] = gold.accuracy
    return table


# --- known classes ----------------------------------------------------------------------------

GOLD_COLUMNS = ["gold_accuracy", "gold_low", "gold_high", "num_gold"]
# The 97.5 % point of the normal distribution.
Z = 1.959963984540054


def gold_columns(gold: GoldCounts) -> dict[str, Floats | Ints]:
    """Return each annotator's accuracy on examples of known class, NaN without such votes.

    With a 95 % interval, Wilson's (1927).
    """
    low, high = wilson_interval(gold.right, gold.votes)
    return dict(
        zip(
            GOLD_COLUMNS,
            (ratio(gold.right, gold.votes), low, high, gold.votes),
            strict=True,
        )
    )


def wilson_interval(right: Ints, num: Ints) -> tuple[Floats, Floats]:
    """Return the 95 % interval of Wilson (1927) for shares of trials that were right."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share, spread = right / num, Z * Z / num
        center = (share + spread / 2) / (1 + spread)
        half = np.sqrt(spread * share * (1 - share) + spread * spread / 4) / (1 + spread)
    low = np.where(right == 0, 0.0, np.maximum(center - half, 0.0))
    high = np.where(right == num, 1.0, np.minimum(center + half, 1.0))
    return np.where(num > 0, low, np.nan), np.where(num > 0, high, np.nan)
