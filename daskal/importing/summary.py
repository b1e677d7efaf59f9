"""What an import stored, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ImportSummary:
    """What `import_votes` stored, and where.

    Attributes
    ----------
    path
        Where the store is, as it was given.
    num_examples, num_annotators, num_votes, num_classes
        N, M, the number of stored votes, and K.
    num_unlabeled
        Rows without a vote.
    num_replaced
        Votes left out because a later one of the same annotator on the same task was kept.
    classes
        Names of the classes in the order of their codes, where known.
    task_order, class_order
        How tasks and classes came to their order: "as given", "sorted by value", "sorted as text",
        for classes also "whole numbers as they are" or "as the ordered categories of the column".
    left_out
        Answers in the export of a labeling tool that are no votes: how many, by why.

    Examples
    --------
    >>> import tempfile, pandas as pd, daskal
    >>> votes = pd.DataFrame({"task": ["a", "b"], "annotator": ["x", "x"], "label": [0, 1]})
    >>> out = tempfile.mkdtemp() + "/labels.zarr"
    >>> summary = daskal.import_votes(votes, out, tasks=["a", "b"])
    >>> summary.task_order, summary.class_order
    ('as given', 'whole numbers as they are')
    >>> summary.num_examples, summary.num_annotators, summary.num_votes, summary.num_classes
    (2, 1, 2, 2)
    """

    path: str
    num_examples: int
    num_annotators: int
    num_votes: int
    num_classes: int
    num_unlabeled: int
    num_replaced: int
    classes: tuple[str, ...] | None
    task_order: str
    class_order: str
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)
