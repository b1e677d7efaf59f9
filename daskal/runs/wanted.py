"""The inputs that a caller of a run or a plan passes, together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from daskal.engine.progress import ProgressCallback
from daskal.errors import InputError
from daskal.inputs.opened import with_columns
from daskal.inputs.tags import Tags
from daskal.options import Storage, check_choice
from daskal.runs.inputs import RunInputs
from daskal.runs.long_votes import LongVotes, VoteColumns, open_long_votes
from daskal.runs.tag_votes import open_tag_votes, read_run_tags

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
        """Return what data is read from, by the name of its argument.

        Who was asked is ``seen``, as on the command line.
        """
        found = {name: getattr(self, name) for name in SOURCES}
        for name in ("labels", "votes"):
            if isinstance(found[name], Tags):
                found |= {name: found[name].votes, "seen": found[name].seen}
        return found

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
            return self.open_multi_label(storage_options), None
        if isinstance(self.votes, Tags):
            raise InputError(
                "votes: expected one class for each example and annotator, got daskal.Tags.",
                advice="Where an example may have several, pass {multi_label=True}.",
            )
        if self.votes is None:
            given = self.open_apart(self.labels, storage_options)
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

    def open_apart(self, labels: Any, storage_options: Storage) -> RunInputs:
        """Return labels, probabilities and pool that were passed one by one."""
        ids, classes = self.id_column, self.class_columns
        return RunInputs.open(
            with_columns(labels, None if self.multi_label else ids),
            with_columns(self.pred_probs, ids, classes),
            with_columns(self.pred_probs_unlabeled, ids, classes),
            storage_options,
            ids_of_path(self.labeled_ids, ids),
            ids_of_path(self.unlabeled_ids, ids),
            multi_label=self.multi_label,
        )

    def open_multi_label(self, storage_options: Storage) -> RunInputs:
        """Return the inputs of a run whose examples may have several classes."""
        if self.gold is not None:
            raise InputError(
                "gold: expected none where an example may have several classes: a known class is "
                "the only one of its example. Leave it out."
            )
        if self.votes is None:
            labels = read_run_tags(
                self.labels, storage_options, self.vote_columns, self.id_column, self.on_duplicate
            )
            return self.open_apart(labels, storage_options)
        self.check_votes_alone()
        return open_tag_votes(
            self.votes,
            self.pred_probs,
            storage_options,
            columns=self.vote_columns,
            id_column=self.id_column,
            class_columns=self.class_columns,
            unknown=self.unknown_tasks,
            on_duplicate=self.on_duplicate,
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
