"""Both passes of a run where an example may have several classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskal.api import multi_label as many
from daskal.api.estimation import Following
from daskal.errors import ChangedInputError
from daskal.inputs.matching import match_annotators
from daskal.kernels.multi_label import tallied_labels, tallied_pool
from daskal.method import findings
from daskal.method.multi_label import MultiLabelEstimate
from daskal.method.tallies import MultiLabelTally, PoolTally
from daskal.method.values import Block, PoolRule, Rule
from daskal.options import Options
from daskal.runs.passes import Passes, Writer, write_block
from daskal.runs.store import SCORE_STAGES


@dataclass(frozen=True)
class ClassPasses(Passes):
    """Both passes over all classes at once, and what becomes of an example's scores."""

    reduce: str = "mean"

    def estimate(self, options: Options) -> Any:
        """Return the estimate of pass 1, None without labeled data."""
        labeled = self.given.labeled
        if labeled is None:
            return None
        following = Following(self.progress, self.records)
        try:
            first = many.read_labels(labeled, options, self.on_invalid, following.reduce)
            if self.on_invalid == "raise":
                names = self.given.names
                findings.raise_invalid(first.findings, names, findings.MULTI_LABEL_RULE)
            return many.finish_estimate(first, labeled, options, following.reduce)
        except ChangedInputError:
            for stage in ("ties", "consensus"):
                self.compare_reads(labeled, stage)
            raise

    def labeled(self, estimate: Any) -> Any:
        """Return the tally of the labeled data, scored."""
        labeled = self.given.labeled
        if labeled is None:
            return None
        assert isinstance(estimate, MultiLabelEstimate)
        tally: MultiLabelTally = self.score(
            "labeled",
            labeled.blocks,
            store_labels_block,
            rules=estimate.rules(match_annotators(estimate, labeled.labels)),
            num_annotators=labeled.labels.num_annotators,
            reduce=self.reduce,
        )
        pairs = zip(tally.by_class, estimate.classes, strict=True)
        if not all(
            one is None or (found is not None and np.array_equal(found.annotators.num, one.votes))
            for found, one in pairs
        ):
            # A given estimate has counted the votes of other data.
            self.compare_reads(labeled, SCORE_STAGES["labeled"])
        return tally

    def unlabeled(self, estimate: Any) -> PoolTally | None:
        """Return the tally of the pool, scored."""
        pool = self.given.pool
        if pool is None:
            return None
        tally: PoolTally = self.score(
            "unlabeled",
            pool.blocks,
            store_pool_block,
            rules=many.pool_rules(pool, estimate),
            reduce=self.reduce,
        )
        return tally


def store_labels_block(
    block: Block,
    *,
    rules: Sequence[Rule | None],
    num_annotators: int,
    reduce: str,
    on_invalid: str,
    writer: Writer,
    batch_size: int,
) -> MultiLabelTally:
    """Score a labeled block in all classes, write its columns, and return its tally.

    Rows at fault are left out, whatever ``on_invalid`` says: the tally holds the findings.
    """
    columns, tally = tallied_labels(
        block, rules=rules, num_annotators=num_annotators, reduce=reduce, size=batch_size
    )
    write_block(writer, block, columns)
    return tally


def store_pool_block(
    block: Block,
    *,
    rules: Sequence[PoolRule | None],
    reduce: str,
    on_invalid: str,
    writer: Writer,
    batch_size: int,
) -> PoolTally:
    """Score a block of the pool in all classes, write its scores, and return its tally."""
    scores, tally = tallied_pool(block, rules=rules, reduce=reduce, size=batch_size)
    write_block(writer, block, {"score": scores})
    return tally
