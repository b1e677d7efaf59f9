"""Blocks as tables: label quality, one row per example, and votes, one row per vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from daskal.kernels.quality import describe_block
from daskal.method.values import Block, Columns, Ints, Question

ClassNames = Sequence[str] | None


def named(codes: Ints, names: ClassNames) -> Ints | pd.Categorical[Any]:
    """Return class codes as categories of their names, as they are where classes have none."""
    return codes if names is None else pd.Categorical.from_codes(codes, pd.Index(list(names)))


def quality_frame_block(
    block: Block, *, question: Question, class_names: ClassNames
) -> pd.DataFrame:
    """Return the label quality of a block, one row per example, indexed by its row of the whole."""
    columns = describe_block(block, question=question, quality=True, votes=False)
    return quality_table(columns, block_rows(block), class_names)


def quality_table(columns: Columns, rows: pd.Index, class_names: ClassNames) -> pd.DataFrame:
    """Return label quality as a table, consensus labels by the names of their classes."""
    return pd.DataFrame(
        {
            name: named(values, class_names) if name.startswith("consensus_label") else values
            for name, values in columns.items()
        },
        index=rows,
    )


def block_rows(block: Block) -> pd.RangeIndex:
    """Return the rows of a block in the whole."""
    return pd.RangeIndex(block.first_row, block.first_row + len(block.probs[0]))


def votes_frame_block(
    block: Block, *, question: Question, annotators: pd.Index, class_names: ClassNames
) -> pd.DataFrame:
    """Return the quality of the votes of a block, one row per vote, indexed by its row."""
    votes = describe_block(block, question=question, quality=False, votes=True)
    return votes_table(votes, annotators, class_names)


def votes_table(columns: Columns, annotators: pd.Index, class_names: ClassNames) -> pd.DataFrame:
    """Return votes with the ids of their annotators and the names of their classes."""
    return pd.DataFrame(
        {
            "annotator": annotators[columns["vote_annotator"]],
            "label": named(columns["vote_label"], class_names),
            "quality": columns["vote_quality"],
        },
        index=columns["vote_row"],
    )


def wide_frame_block(block: Block, *, question: Question, columns: pd.Index) -> pd.DataFrame:
    """Return the quality of a block's votes, one row per example, one column per annotator."""
    votes = describe_block(block, question=question, quality=False, votes=True)
    return wide_table(votes, block.first_row, block_rows(block), columns)


def wide_table(votes: Columns, first_row: int, index: pd.Index, columns: pd.Index) -> pd.DataFrame:
    """Return the quality of votes as a matrix, NaN where there is no vote."""
    wide = np.full((len(index), len(columns)), np.nan)
    wide[votes["vote_row"] - first_row, votes["vote_annotator"]] = votes["vote_quality"]
    return pd.DataFrame(wide, index=index, columns=columns)
