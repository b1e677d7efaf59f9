"""The rounds of pass 1 after the first read: which consensus is wanted next, of one class or many.

A problem asks for what it needs of the data, and problems that share their reads are answered
together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from daskal.kernels.first_pass import statistics_of_pending
from daskal.method import weights
from daskal.method.findings import raise_changed
from daskal.method.states import ConsensusStatistics, LabelStatistics
from daskal.method.values import Rule
from daskal.method.weights import ConsensusWeights, Draft
from daskal.options import Options

# The stages in which a consensus is counted, in their order.
STAGES = ("ties", "consensus")


class Settled(NamedTuple):
    """What pass 1 has found of one problem."""

    draft: Draft
    majority: ConsensusWeights
    final: ConsensusWeights
    consensus: ConsensusStatistics


# Yields the stage and the rule of a consensus, and is sent how the data stands to it.
Rounds = Generator[tuple[str, Rule], ConsensusStatistics, Settled]


def rounds_of(statistics: LabelStatistics, options: Options, num_models: int) -> Rounds:
    """Find the weights from the first read's statistics, asking for another read where needed."""
    draft = Draft.from_statistics(statistics, options)
    if statistics.num_multiple == 0:
        equal = weights.equal_weights(statistics, num_models)
        return Settled(draft, equal, equal, statistics.consensus)
    if statistics.pending.overflown:
        consensus = same_rows(statistics, (yield "ties", draft.rule()))
    else:
        decided = statistics_of_pending(statistics.pending, draft.rule())
        consensus = statistics.consensus.merge(decided)
    majority = final = weights.consensus_weights(statistics, consensus)
    if options.consensus_method == "best_quality":
        consensus = same_rows(statistics, (yield "consensus", draft.rule(majority)))
        final = weights.consensus_weights(statistics, consensus)
    return Settled(draft, majority, final, consensus)


def same_rows(statistics: LabelStatistics, consensus: ConsensusStatistics) -> ConsensusStatistics:
    """Return a consensus, refused if it is of other rows than the first read's."""
    if int(consensus.consensus_counts.sum()) != statistics.num_multiple:
        raise_changed()
    return consensus


def settle(
    problems: Sequence[Rounds | None],
    read: Callable[[str, list[Rule | None]], Sequence[ConsensusStatistics | None]],
) -> list[Settled | None]:
    """Return what each problem finds, None for None; ``read`` answers all that ask in a stage."""
    found: list[Settled | None] = [None] * len(problems)
    asking: dict[int, tuple[str, Rule]] = {}

    def go_on(number: int, problem: Rounds, answer: Any) -> None:
        try:
            asking[number] = problem.send(answer)
        except StopIteration as done:
            found[number] = done.value

    for number, problem in enumerate(problems):
        if problem is not None:
            go_on(number, problem, None)
    for stage in STAGES:
        now = {number: rule for number, (asked, rule) in asking.items() if asked == stage}
        if not now:
            continue
        states = read(stage, [now.get(number) for number in range(len(problems))])
        for number in now:
            del asking[number]
            problem = problems[number]
            assert problem is not None
            go_on(number, problem, states[number])
    return found
