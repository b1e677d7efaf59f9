"""The manifest of a run: one record per finished block, with the result of the block's task.

A record is written after its block's data, as one object. It is a NumPy archive without pickled
objects: arrays as they are, everything else as JSON.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from daskal.errors import StorageError
from daskal.method import (
    doubtful,
    expectation,
    findings,
    merging,
    panels,
    states,
    tallies,
    temperature,
)
from daskal.method.states import ConsensusStatistics, LabelStatistics
from daskal.method.tallies import ClassTally, LabeledTally
from daskal.runs.store import RECORDS, Claim
from daskal.storage.objects import (
    get_bytes,
    join_key,
    list_keys,
    put_bytes,
    remove,
    remove_key,
)
from daskal.storage.redaction import explain, redacted
from daskal.text import listed

KINDS = {
    kind.__name__: kind
    for kind in (
        expectation.ExpectationSums,
        expectation.VoteCounts,
        temperature.LossSums,
        doubtful.DoubtfulLabels,
        findings.Finding,
        findings.Findings,
        panels.PanelCounts,
        states.ClassStates,
        states.ConsensusStatistics,
        states.LabelStatistics,
        states.PendingRows,
        merging.Cells,
        merging.FixedSums,
        tallies.AnnotatorStatistics,
        tallies.ClassTally,
        tallies.MultiLabelTally,
        tallies.GoldCounts,
        tallies.LabeledTally,
        tallies.PoolTally,
        tallies.Smallest,
    )
}


def flatten(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """Return a state as JSON, its arrays taken out."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    kind = type(value).__name__
    if is_dataclass(value) and kind in KINDS:
        parts = [getattr(value, field.name) for field in fields(value)]
        return {"kind": kind, "parts": [flatten(part, arrays) for part in parts]}
    if isinstance(value, tuple):
        parts = [flatten(part, arrays) for part in value]
        return {"kind": kind, "parts": parts} if kind in KINDS else parts
    return value.item() if isinstance(value, np.generic) else value


def restore(tree: Any, arrays: Any) -> Any:
    """Return the state that :func:`flatten` took apart."""
    if isinstance(tree, list):
        return tuple(restore(part, arrays) for part in tree)
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[f"array_{tree['array']}"]
    return KINDS[tree["kind"]](*(restore(part, arrays) for part in tree["parts"]))


def encode(state: Any) -> bytes:
    """Return a block's state as bytes."""
    arrays: list[np.ndarray[Any, Any]] = []
    text = json.dumps(flatten(state, arrays))
    named: dict[str, Any] = {f"array_{at}": array for at, array in enumerate(arrays)}
    content = io.BytesIO()
    np.savez(content, state=np.frombuffer(text.encode(), dtype=np.uint8), **named)
    return content.getvalue()


def decode(content: bytes) -> Any:
    """Return the state that bytes hold; the archive's checksums are compared."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return restore(json.loads(arrays["state"].tobytes()), arrays)


def has_faults(state: Any) -> bool:
    """Return whether a block's state contains rows at fault."""
    if isinstance(state, tallies.LabeledTally | tallies.MultiLabelTally):
        state = state.scores
    return bool(getattr(state, "findings", None))


def finished_blocks(store: Any, prefix: str) -> frozenset[int]:
    """Return the blocks that have a record under a prefix."""
    found = (
        re.fullmatch(r"(\d+)\.npz", key.rsplit("/", 1)[-1])
        for key in list_keys(store, f"{prefix}/")
    )
    return frozenset(int(match[1]) for match in found if match)


def stage_prefix(root: Any, stage: str) -> str:
    """Return the prefix under which the records of a stage are kept."""
    return join_key(root, f"{RECORDS}/{stage.replace(' ', '-')}")


@dataclass(frozen=True)
class Records:
    """The records of one stage of a run; travels to the workers.

    With ``on_invalid="raise"``, a block with rows at fault counts as unfinished: they may be
    corrected before the run is resumed.
    """

    store: Any
    prefix: str
    claim: Claim
    on_invalid: str

    @classmethod
    def of_stage(cls, root: Any, claim: Claim, stage: str, *, on_invalid: str) -> Records:
        """Return the records of a stage of the run that has the claim."""
        return cls(root.store, stage_prefix(root, stage), claim, on_invalid)

    def key(self, block: int) -> str:
        """Return the key of a block's record."""
        return f"{self.prefix}/{block:07d}.npz"

    def put(self, block: int, state: Any) -> None:
        """Record that a block is finished."""
        if self.on_invalid == "raise" and has_faults(state):
            return
        self.claim.check()
        put_bytes(self.store, self.key(block), encode(state))

    def get(self, block: int) -> Any:
        """Return the state of a finished block."""
        key = self.key(block)
        content = get_bytes(self.store, key)
        try:
            if content is None:
                raise FileNotFoundError(key)
            return decode(content)
        except Exception as error:
            raise StorageError(
                f"the record {key} of a finished block in {redacted(str(self.store))} cannot be "
                f"read: {explain(error)}. Remove that object and resume, to have the "
                "block computed again."
            ) from error

    def forget(self, block: int) -> None:
        """Mark a block as unfinished."""
        remove_key(self.store, self.key(block))

    def clear(self) -> None:
        """Remove the records of all blocks."""
        remove(self.store, self.prefix)

    def finished(self) -> frozenset[int]:
        """Return the blocks that have a record."""
        return finished_blocks(self.store, self.prefix)


def is_same(first: Any, later: Any) -> bool:
    """Return whether a later read of the same rows counted the same votes."""
    if isinstance(first, states.ClassStates):
        parts = later.states if isinstance(later, states.ClassStates) else later.by_class
        pairs = zip(first.states, parts, strict=True)
        return all(part is None or is_same_class(state, part) for state, part in pairs)
    return is_same_class(first, later)


def is_same_class(
    first: LabelStatistics, later: ConsensusStatistics | LabeledTally | ClassTally
) -> bool:
    """Return whether a later read counted the same votes on the only class, or on one of many."""
    if isinstance(later, ConsensusStatistics):
        return int(later.consensus_counts.sum()) == first.num_multiple
    return np.array_equal(later.annotators.num, first.votes)


def forget_changed(first: Records, later: Records, row_chunks: tuple[int, ...]) -> str:
    """Forget the blocks that a later read saw differently; return their rows in words, if any."""
    edges = np.cumsum([0, *row_chunks])
    changed = [
        block
        for block in sorted(first.finished() & later.finished())
        if not is_same(first.get(block), later.get(block))
    ]
    for block in changed:
        later.forget(block)
    if not changed:
        return ""
    blocks = (f"{edges[block]:,} to {edges[block + 1]:,}" for block in changed)
    return f"rows {listed(blocks, noun='blocks')}"
