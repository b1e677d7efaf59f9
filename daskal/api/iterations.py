"""Expectation maximisation over votes: one pass an iteration, whose sums a run may keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from daskal.api.estimation import Following
from daskal.engine.workers import least_memory
from daskal.errors import InputError, MemoryLimitError
from daskal.inputs.gold import check_known
from daskal.inputs.votes import VotesData
from daskal.kernels.expectation import count_votes, expectation
from daskal.kernels.posterior import log_parameters, plain_parameters
from daskal.method import findings
from daskal.method.aggregates import aggregate_values
from daskal.method.expectation import (
    DAWID_SKENE,
    MAJORITY_VOTE,
    METHODS,
    ExpectationSums,
    LogParameters,
    Parameters,
    Units,
    VoteCounts,
    in_nats,
    is_converged,
    maximise,
    sums_bytes,
)
from daskal.method.values import MOST_CLASSES
from daskal.names.columns import names_beside_codes
from daskal.options import (
    ON_INVALID,
    check_choice,
    check_gold,
    check_size,
    checked_seed,
    is_number,
    is_whole,
)
from daskal.text import format_bytes

# States that a worker holds at once: the parameters, its own sums, and those that it merges.
STATES_AT_ONCE = 12


@dataclass(frozen=True)
class AggregateOptions:
    """The choices with which an aggregate is made."""

    method: str
    max_iterations: int = 100
    tolerance: float = 1e-5
    random_state: int = 0
    use_gold: bool = False
    num_classes: int | None = None

    def checked(self, on_invalid: str, gold: Any) -> AggregateOptions:
        """Return the options as plain Python values; refuse those that make no sense."""
        check_choice("method", self.method, METHODS)
        check_choice("on_invalid", on_invalid, ON_INVALID)
        check_size(self.max_iterations, name="max_iterations")
        if not is_number(self.tolerance) or not self.tolerance >= 0:
            raise InputError(f"tolerance: expected a number of at least 0, got {self.tolerance!r}.")
        if self.num_classes is not None and not (
            is_whole(self.num_classes) and 2 <= self.num_classes <= MOST_CLASSES
        ):
            raise InputError(
                f"num_classes: expected a whole number from 2 to {MOST_CLASSES:,}, got "
                f"{self.num_classes!r}."
            )
        check_gold(self.use_gold, gold)
        return replace(
            self,
            max_iterations=int(self.max_iterations),
            tolerance=float(self.tolerance),
            random_state=checked_seed(self.random_state),
        )

    def kept(self) -> dict[str, Any]:
        """Return what an aggregate keeps of them."""
        return {
            "method": self.method,
            "max_iterations": self.max_iterations,
            "tolerance": self.tolerance,
            "random_state": self.random_state,
            "use_gold": self.use_gold,
        }


def aggregate_fields(
    given: VotesData,
    options: AggregateOptions,
    on_invalid: str,
    following: Following,
    memory_limit: int | None = None,
) -> dict[str, Any]:
    """Return the fields of the aggregate of opened votes."""
    counts = count_data(given, options, on_invalid, following)
    num_classes = classes_of(given, options, counts)
    check_memory(options.method, given.labels.num_annotators, num_classes, memory_limit)
    found = iterate(Expectation(given, options, counts, num_classes, following))
    return aggregate_values(
        counts,
        found.parameters,
        options.kept(),
        iterations=found.iterations,
        converged=found.converged,
        log_likelihood=found.log_likelihood,
        annotator_ids=given.labels.annotator_ids,
        class_names=names_kept(given, num_classes),
    )


def names_kept(given: VotesData, num_classes: int) -> tuple[str, ...] | None:
    """Return the names of the classes, None where they are called by their codes."""
    names = names_beside_codes(given.labels.class_names)
    return names if names is not None and len(names) == num_classes else None


def count_data(
    given: VotesData, options: AggregateOptions, on_invalid: str, following: Following
) -> VoteCounts:
    """Return the counts of the votes; refuse rows at fault, and data without votes."""
    names = given.labels.class_names
    known = options.num_classes if names is None else len(names)

    def count(stage: str, num_classes: int | None) -> VoteCounts:
        counts: VoteCounts = following.reduce_once(
            stage,
            given.blocks,
            count_votes,
            num_annotators=given.labels.num_annotators,
            num_classes=num_classes,
        )
        return counts

    counts = count("votes", known)
    if on_invalid == "raise":
        findings.raise_invalid(counts.findings, given.names, findings.VOTES_RULE)
    if not counts.num_labeled:
        raise InputError(
            f"labels: expected at least one vote, got none in {counts.num_examples:,} rows. "
            "Missing labels are NaN in a float matrix, negative in an integer one."
        )
    num_classes = classes_of(given, options, counts)
    if known is None and len(counts.gold_counts) > num_classes:
        # Read once more, now that it is known which classes there are, to name the rows.
        found = count("gold", num_classes).findings
        findings.raise_invalid(found, given.names, findings.VOTES_RULE)
    if given.gold is not None:
        check_known(counts.num_gold, f"{counts.num_examples:,} rows")
    return counts


def classes_named(given: VotesData, options: AggregateOptions) -> int | None:
    """Return the number of classes where it is known before the votes are read."""
    names = given.labels.class_names
    return options.num_classes if names is None else max(len(names), 2)


def classes_of(given: VotesData, options: AggregateOptions, counts: VoteCounts) -> int:
    """Return the number of classes: those named or given, else those that occur, at least two."""
    names = given.labels.class_names
    if names is not None:
        if options.num_classes not in (None, len(names)):
            raise InputError(
                f"num_classes: expected {len(names):,}, as the labels name so many classes, got "
                f"{options.num_classes:,}."
            )
        return max(len(names), 2)
    return options.num_classes or max(len(counts.class_counts), 2)


ONE_COIN_INSTEAD = "one_coin needs a number for each annotator only: pass method='one_coin'."


def check_memory(
    method: str,
    num_annotators: int,
    num_classes: int,
    memory_limit: int | None,
    advice: str = ONE_COIN_INSTEAD,
) -> None:
    """Refuse sums that a worker cannot hold."""
    limit = least_memory() if memory_limit is None else memory_limit
    needed = STATES_AT_ONCE * sums_bytes(method, num_annotators, num_classes)
    if limit is None or needed <= limit:
        return
    raise MemoryLimitError(
        f"the confusion matrices of {num_annotators:,} annotators over {num_classes:,} classes "
        f"need {format_bytes(needed)} of a worker's memory, and {format_bytes(limit)} are allowed. "
        f"{advice if method == DAWID_SKENE else 'Raise memory_limit.'}"
    )


# --- iterations -------------------------------------------------------------------------------


class Found(NamedTuple):
    """Where the iterations have ended."""

    parameters: Parameters
    iterations: int
    converged: bool
    log_likelihood: float | None


@dataclass(frozen=True)
class Expectation:
    """The passes over some votes that find their posterior and sum it."""

    given: VotesData
    options: AggregateOptions
    counts: VoteCounts
    num_classes: int
    following: Following

    @property
    def units(self) -> Units:
        """Units of the sums."""
        return Units.from_counts(self.counts)

    def sums(self, stage: str, parameters: LogParameters) -> ExpectationSums:
        """Return the sums of one pass."""
        state: ExpectationSums = self.following.reduce_once(
            stage,
            self.given.blocks,
            expectation,
            parameters=parameters,
            units=self.units,
            one_coin=self.options.method != DAWID_SKENE,
            use_gold=self.options.use_gold,
        )
        if state.num_rows != self.counts.num_labeled:
            findings.raise_changed(given="labels")
        return state

    def maximise(self, sums: ExpectationSums) -> Parameters:
        """Return the parameters that follow from the sums of a pass."""
        return maximise(sums, self.units, self.counts.votes)


def iterate(passes: Expectation) -> Found:
    """Return the parameters at which the likelihood hardly rises any more.

    The parameters are those under which the likelihood was found.
    """
    options, units = passes.options, passes.units
    plain = plain_parameters(passes.given.labels.num_annotators, passes.num_classes)
    sums = passes.sums("vote shares", plain)
    if options.method == MAJORITY_VOTE:
        return Found(passes.maximise(sums), 0, True, None)
    before = None
    for iteration in range(1, options.max_iterations + 1):
        parameters = passes.maximise(sums)
        sums = passes.sums(f"iteration {iteration}", log_parameters(options.method, parameters))
        now, num_votes = sums.likelihood, passes.counts.num_votes
        converged = is_converged(before, now, num_votes, options.tolerance, units.likelihood)
        if converged:
            break
        before = now
    return Found(parameters, iteration, converged, in_nats(now, units.likelihood))
