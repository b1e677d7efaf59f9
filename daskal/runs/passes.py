"""Both passes of a run: the estimate, and blocks scored into the store."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from daskal.api.estimation import Following, estimate_data
from daskal.api.iterations import AggregateOptions
from daskal.api.panel import panel_data
from daskal.engine import reduction
from daskal.engine.progress import ProgressCallback
from daskal.errors import ChangedInputError, DataWarning
from daskal.inputs.blocks import RowBlocks
from daskal.inputs.data import LabeledData, pool_rule
from daskal.inputs.gold import check_known, with_gold
from daskal.inputs.matching import match_annotators
from daskal.inputs.votes import VotesData
from daskal.kernels.gold import labeled_columns_with_gold
from daskal.kernels.second_pass import labeled_columns, unlabeled_scores
from daskal.method import findings
from daskal.method.doubtful import DoubtfulLabels
from daskal.method.estimate import Estimate
from daskal.method.expectation import MAJORITY_VOTE
from daskal.method.panels import Panel
from daskal.method.tallies import LabeledTally, MultiLabelTally, PoolTally
from daskal.method.values import Block, PoolRule, Rule
from daskal.options import Options
from daskal.runs.inputs import RunInputs
from daskal.runs.records import Records, forget_changed
from daskal.runs.store import SCORE_STAGES, Claim, SectionWriter


@dataclass(frozen=True)
class Passes:
    """Both passes of a run, and where they record finished blocks."""

    given: RunInputs
    root: Any
    claim: Claim
    on_invalid: str
    batch_size: int
    progress: ProgressCallback | None
    use_gold: bool = False

    def records(self, stage: str) -> Records:
        """Return the records of a stage."""
        return Records.of_stage(self.root, self.claim, stage, on_invalid=self.on_invalid)

    def estimate(self, options: Options) -> Estimate | None:
        """Return the estimate of pass 1, None without labeled data."""
        labeled = self.given.labeled
        if labeled is None:
            return None
        if self.use_gold:
            assert self.given.gold is not None
            labeled = labeled.told(self.given.gold)
        following = Following(self.progress, self.records)
        try:
            return estimate_data(labeled, options, self.on_invalid, following, self.given.names)
        except ChangedInputError:
            for stage in ("ties", "consensus"):
                self.compare_reads(labeled, stage)
            raise

    def compare_reads(self, labeled: LabeledData, stage: str) -> None:
        """Refuse a stage that read other votes than the first one, and forget those blocks."""
        first, later = self.records("votes"), self.records(stage)
        changed = forget_changed(first, later, labeled.blocks.row_chunks)
        if changed:
            findings.raise_changed(changed)

    def score(self, section: str, blocks: RowBlocks, function: Any, **rule: Any) -> Any:
        """Return the tally of a section whose blocks are scored into the store."""
        stage = SCORE_STAGES[section]
        return reduction.reduce_blocks(
            blocks,
            stage,
            function,
            self.progress,
            self.records(stage),
            **rule,
            on_invalid=self.on_invalid,
            writer=SectionWriter(self.root[section], self.claim),
            batch_size=self.batch_size,
        )

    def labeled(self, estimate: Estimate | None) -> LabeledTally | None:
        """Return the tally of the labeled data, scored."""
        labeled = self.given.labeled
        if labeled is None:
            return None
        assert estimate is not None
        rule = estimate.rule(match_annotators(estimate, labeled.labels))
        blocks, function = labeled.blocks, store_labeled_block
        if self.given.gold is not None:
            blocks, function = with_gold(blocks, self.given.gold), store_gold_block
        tally: LabeledTally = self.score("labeled", blocks, function, rule=rule)
        if not np.array_equal(tally.annotators.num, estimate.votes):
            # A given estimate has counted the votes of other data.
            self.compare_reads(labeled, SCORE_STAGES["labeled"])
        return tally

    def panel(self, random_state: int) -> Panel:
        """Return what the annotators are worth as a panel, from one more read of the labels."""
        labeled = self.given.labeled
        assert labeled is not None
        given = VotesData.beside_model(labeled, self.given.gold)
        options = AggregateOptions(
            MAJORITY_VOTE, random_state=random_state, num_classes=labeled.probs.num_classes
        )
        following = Following(self.progress, self.records)
        return panel_data(given, options, self.on_invalid, None, following, None)

    def unlabeled(self, estimate: Estimate | None) -> PoolTally | None:
        """Return the tally of the pool, scored."""
        pool = self.given.pool
        if pool is None:
            return None
        rule = pool_rule(estimate, pool)
        tally: PoolTally = self.score("unlabeled", pool.blocks, store_unlabeled_block, rule=rule)
        return tally


def report_findings(
    labeled: LabeledTally | MultiLabelTally | None,
    unlabeled: PoolTally | None,
    on_invalid: str,
    names: findings.Names,
    rule: findings.Expected = findings.RULE,
) -> None:
    """Raise an error for rows at fault, or warn of them; refuse gold that knows nothing."""
    tallies = [labeled.scores] if labeled is not None else []
    tallies += [unlabeled] if unlabeled is not None else []
    found = findings.merge_all(tally.findings for tally in tallies)
    if on_invalid == "raise":
        findings.raise_invalid(found, names, rule)
    elif found:
        warnings.warn(findings.left_out(found, names, rule), DataWarning, stacklevel=3)
    gold = getattr(labeled, "gold", None)
    if gold is not None and labeled is not None:
        check_known(gold.examples, f"{labeled.scores.num_rows:,} rows")


class Writer(Protocol):
    """A writer of the columns of some rows."""

    def write(self, start: int, stop: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Write rows ``start:stop``."""


def store_labeled_block(
    block: Block, *, rule: Rule, on_invalid: str, writer: Writer, batch_size: int
) -> LabeledTally:
    """Score a labeled block, write its columns, and return its tally."""
    columns, tally = labeled_columns(block, rule=rule, on_invalid=on_invalid, size=batch_size)
    write_block(writer, block, columns)
    return replace(tally, doubtful=DoubtfulLabels.from_columns(columns, block.first_row))


def store_gold_block(
    block: Block, *, rule: Rule, on_invalid: str, writer: Writer, batch_size: int
) -> LabeledTally:
    """Score a labeled block whose last array are known classes, and write its columns."""
    columns, tally = labeled_columns_with_gold(
        block, rule=rule, on_invalid=on_invalid, size=batch_size
    )
    write_block(writer, block, columns)
    return replace(tally, doubtful=DoubtfulLabels.from_columns(columns, block.first_row))


def store_unlabeled_block(
    block: Block, *, rule: PoolRule, on_invalid: str, writer: Writer, batch_size: int
) -> PoolTally:
    """Score a block of the pool, write its scores, and return its tally."""
    scores, tally = unlabeled_scores(block, rule=rule, on_invalid=on_invalid, size=batch_size)
    write_block(writer, block, {"score": scores})
    return tally


def write_block(writer: Writer, block: Block, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write the columns of a block that has rows."""
    stop = block.first_row + block.probs[0].shape[0]
    if stop > block.first_row:
        writer.write(block.first_row, stop, columns)
