"""Blocks as tables: label quality, one row an example, and votes, one row a vote."""

from __future__ import annotations

import numpy as np
import pandas as pd

from daskal.kernels.quality import describe_block
from daskal.method.values import Block, Columns, Question


def quality_frame_block(block: Block, *, question: Question) -> pd.DataFrame:
    """Label quality of a block, one row an example, indexed by its row of the whole."""
    columns = describe_block(block, question=question, quality=True, votes=False)
    return pd.DataFrame(columns, index=block_rows(block))


def block_rows(block: Block) -> pd.RangeIndex:
    """Rows of a block in the whole."""
    return pd.RangeIndex(block.first_row, block.first_row + len(block.probs[0]))


def votes_frame_block(block: Block, *, question: Question, annotators: pd.Index) -> pd.DataFrame:
    """Quality of the votes of a block, one row a vote, indexed by its row of the whole."""
    votes = describe_block(block, question=question, quality=False, votes=True)
    return votes_table(votes, annotators)


def votes_table(columns: Columns, annotators: pd.Index) -> pd.DataFrame:
    """Votes with their annotators' ids."""
    return pd.DataFrame(
        {
            "annotator": annotators[columns["vote_annotator"]],
            "label": columns["vote_label"],
            "quality": columns["vote_quality"],
        },
        index=columns["vote_row"],
    )


def wide_frame_block(block: Block, *, question: Question, columns: pd.Index) -> pd.DataFrame:
    """Quality of the votes of a block, one row an example and one column an annotator."""
    votes = describe_block(block, question=question, quality=False, votes=True)
    return wide_table(votes, block.first_row, block_rows(block), columns)


def wide_table(votes: Columns, first_row: int, index: pd.Index, columns: pd.Index) -> pd.DataFrame:
    """Quality of votes as a matrix, NaN where there is no vote."""
    wide = np.full((len(index), len(columns)), np.nan)
    wide[votes["vote_row"] - first_row, votes["vote_annotator"]] = votes["vote_quality"]
    return pd.DataFrame(wide, index=index, columns=columns)
