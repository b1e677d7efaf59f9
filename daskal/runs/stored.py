"""What a result store says of its run, and the estimate, aggregate and panel in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from daskal.api.aggregation import Aggregate
from daskal.method.multi_label import AnyEstimate, read_estimate
from daskal.method.panels import Panel
from daskal.method.tallies import gold_accuracy
from daskal.runs import store
from daskal.runs.contents import read_panel
from daskal.runs.records import finished_blocks, stage_prefix
from daskal.runs.store import SCORE_STAGES
from daskal.runs.tables import section_ids
from daskal.storage import tables
from daskal.text import Summarized


@dataclass(frozen=True, repr=False)
class StoredRun(Summarized):
    """A result store that is open."""

    path: str
    root: Any

    @property
    def attrs(self) -> dict[str, Any]:
        """Scalars, inputs, options and versions, as the store records them."""
        return dict(self.root.attrs[store.ATTRS])

    def finished_rows(self, section: str) -> list[tuple[int, int]]:
        """Return the ranges of rows of ``"labeled"`` or ``"unlabeled"`` whose scores are stored."""
        array = tables.member(self.root, f"{section}/score")
        if array is None:
            return []
        num_rows, step = array.shape[0], array.chunks[0]
        if self.attrs["status"] == store.FINISHED:
            return [(0, num_rows)]
        prefix = stage_prefix(self.root, SCORE_STAGES[section])
        blocks = sorted(finished_blocks(self.root.store, prefix))
        return [(block * step, min((block + 1) * step, num_rows)) for block in blocks]

    @cached_property
    def aggregate(self) -> Aggregate | None:
        """The aggregate of votes without a model."""
        text = store.read_aggregate(self.root)
        return None if text is None else Aggregate.from_json(text)

    @cached_property
    def panel(self) -> Panel | None:
        """What the annotators are worth as a panel, if the store holds that."""
        return read_panel(self.root)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes, where they have any."""
        known = self.aggregate if self.estimate is None else self.estimate
        return None if known is None else known.named_classes

    @cached_property
    def estimate(self) -> AnyEstimate | None:
        """The estimate the scores were made with."""
        text = store.read_estimate(self.root)
        return None if text is None else read_estimate(text)

    @property
    def gold_accuracy(self) -> dict[str, float | list[float]]:
        """Share of examples of known class on which the consensus and each model are right."""
        attrs = self.attrs
        if "num_gold" not in attrs:
            return {}
        right = (attrs[f"num_gold_{of}_right"] for of in ("consensus", "model"))
        return gold_accuracy(attrs["num_gold"], *right)

    def ids(self, section: str) -> Any | None:
        """Return the stored ids of a section's examples."""
        return section_ids(self.root)[section]
