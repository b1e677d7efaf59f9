"""The part of a report on the panel: agreement, a heat map of pairs, who answers by habit."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskal.method.panels import Panel
from daskal.report.contents import MOST_ANNOTATORS, Contents
from daskal.report.tables import Column, Matrix, Table, in_words

# Annotators on each side of the heat map: more do not fit on a screen.
MOST_PAIRS = 30


def panel_part(contents: Contents) -> dict[str, Any] | None:
    """Return what the panel is worth."""
    panel = contents.panel
    if panel is None or panel.num_annotators < 2:
        return None
    table = panel.annotators
    answered = np.flatnonzero(table["num_judged"].to_numpy() > 0)
    shown = table.iloc[answered].sort_values("accuracy", kind="stable").head(MOST_ANNOTATORS)
    columns = [
        Column("Annotator", "text", [str(name) for name in shown.index]),
        Column("Right", "share", floats(shown["accuracy"]), "Answers equal to the reference"),
        Column("at least", "real", floats(shown["accuracy_low"]), "Lower end of the 95 % interval"),
        Column("at most", "real", floats(shown["accuracy_high"]), "Upper end of the 95 % interval"),
        Column(
            "Habit",
            "share",
            floats(shown["spam_score"]),
            "1: the answers do not depend on the class; 0: always right",
        ),
        Column("Judged", "integer", shown["num_judged"].tolist(), "Answers with a reference"),
    ]
    num = len(answered)
    return {
        "facts": [
            *(
                (f"Krippendorff's alpha, {metric}", in_words("real", value))
                for metric, value in panel.krippendorff_alpha.items()
            ),
            ("Fleiss' kappa", in_words("real", panel.fleiss_kappa)),
            ("Mean correlation of errors", in_words("real", panel.mean_error_correlation)),
            ("Effective annotators", f"{in_words('real', panel.effective_annotators)} of {num:,}"),
        ],
        "notes": [
            f"{note[:1].upper()}{note[1:]}." for note in panel.notes(int(shown["by_habit"].sum()))
        ],
        "matrix": heat_map(panel),
        "table": Table("panel-table", columns, "The panel", "annotators", sorted_by=1),
    }


def floats(values: Any) -> list[float]:
    """Return numbers as plain floats of six digits."""
    return [float(value) for value in values.round(6)]


def heat_map(panel: Panel) -> Matrix:
    """Return how often the annotators with most answers agree, pair by pair."""
    votes = np.diag(panel.both)
    busiest = np.sort(np.argsort(-votes, kind="stable")[:MOST_PAIRS])
    agreement = panel.agreement.iloc[busiest, busiest]
    caption = "How often two annotators agree, in % of the examples that both answered"
    if len(busiest) < panel.num_annotators:
        caption += f"; the {len(busiest):,} with most answers"
    return Matrix([str(name) for name in agreement.index], agreement.to_numpy().tolist(), caption)
