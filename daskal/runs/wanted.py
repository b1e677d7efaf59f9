"""The inputs that a caller of a run or a plan passes, together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from daskal.engine.progress import ProgressCallback
from daskal.errors import InputError
from daskal.inputs.opened import with_columns
from daskal.options import Storage, check_choice
from daskal.runs.inputs import RunInputs
from daskal.runs.long_votes import LongVotes, VoteColumns, open_long_votes

ON_DUPLICATE = ("error", "last")
SOURCES = (
    "labels",
    "pred_probs",
    "pred_probs_unlabeled",
    "votes",
    "labeled_ids",
    "unlabeled_ids",
    "gold",
)


class Wanted(NamedTuple):
    """The inputs of a run as they were passed, and how tables among them are read."""

    labels: Any = None
    pred_probs: Any = None
    pred_probs_unlabeled: Any = None
    votes: Any = None
    labeled_ids: Any = None
    unlabeled_ids: Any = None
    id_column: str | None = None
    class_columns: Sequence[str] | None = None
    vote_columns: VoteColumns = VoteColumns()
    unknown_tasks: str = "raise"
    on_duplicate: str = "error"
    gold: Any = None
    multi_label: bool = False
    use_gold: bool = False
    panel: bool = False

    def arguments(self) -> dict[str, Any]:
        """Return what data is read from, by the name of its argument."""
        return {name: getattr(self, name) for name in SOURCES}

    def changed(self) -> dict[str, Any]:
        """Return how inputs are read and used, as far as it is not as by default."""
        default = Wanted()
        mine = {**self._asdict(), **self.vote_columns._asdict()}
        usual = {**default._asdict(), **default.vote_columns._asdict()}
        names = (
            "id_column",
            "class_columns",
            *default.vote_columns._fields,
            "unknown_tasks",
            "on_duplicate",
            "use_gold",
            "panel",
        )
        found = {name: mine[name] for name in names if mine[name] != usual[name]}
        return {k: v if isinstance(v, str | bool) else list(v) for k, v in found.items()}

    def open(
        self, storage_options: Storage, progress: ProgressCallback | None
    ) -> tuple[RunInputs, LongVotes | None]:
        """Return the inputs, opened and checked; votes in long format are read once."""
        check_choice("on_duplicate", self.on_duplicate, ON_DUPLICATE)
        if self.multi_label:
            self.check_multi_label()
        if self.votes is None:
            ids, classes = self.id_column, self.class_columns
            given = RunInputs.open(
                self.labels if self.multi_label else with_columns(self.labels, ids),
                with_columns(self.pred_probs, ids, classes),
                with_columns(self.pred_probs_unlabeled, ids, classes),
                storage_options,
                ids_of_path(self.labeled_ids, ids),
                ids_of_path(self.unlabeled_ids, ids),
                multi_label=self.multi_label,
            )
            return given.with_gold(self.gold, storage_options), None
        self.check_votes_alone()
        found = open_long_votes(
            self.votes,
            self.pred_probs,
            storage_options,
            columns=self.vote_columns,
            id_column=self.id_column,
            class_columns=self.class_columns,
            unknown=self.unknown_tasks,
            progress=progress,
        )
        return found.planned().with_gold(self.gold, storage_options), found

    def check_multi_label(self) -> None:
        """Refuse what is not supported where an example may have several classes."""
        if self.votes is not None:
            raise InputError(
                "votes: expected none where an example may have several classes: one line for each "
                "chosen class does not say who was asked and chose nothing.",
                advice="Pass {labels=}, a table of one line for each task and annotator, whose "
                "column label is the list of classes chosen; in Python, also "
                "daskal.Tags(votes, seen), with a table of who was asked.",
            )
        if self.gold is not None:
            raise InputError(
                "gold: expected none where an example may have several classes: a known class is "
                "the only one of its example. Leave it out."
            )

    def check_votes_alone(self) -> None:
        """Refuse what does not go together with votes in long format."""
        if self.pred_probs is None:
            raise InputError(
                "expected votes and pred_probs together, got votes only: pass pred_probs, the "
                "table of all examples, too."
            )
        others = [
            name
            for name in SOURCES
            if name not in ("votes", "pred_probs", "gold") and getattr(self, name) is not None
        ]
        if others:
            raise InputError(
                f"expected votes and pred_probs alone, got {', '.join(others)} too: with votes, "
                "pred_probs holds all examples with their ids, and those without a vote are the "
                "pool."
            )


def ids_of_path(given: Any, id_column: str | None) -> Any:
    """Return ids, with the name of their column where they are in a file."""
    return with_columns(given, id_column) if isinstance(given, str | os.PathLike) else given
