"""What a result store says of its run, and the estimate, aggregate and panel in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask.array as da
import pandas as pd

from daskal.api import selection
from daskal.api.aggregation import Aggregate
from daskal.api.assignment import assign
from daskal.api.batches import LABELED, UNLABELED
from daskal.api.people import read_people
from daskal.errors import InputError
from daskal.method.multi_label import AnyEstimate, MultiLabelEstimate, read_estimate
from daskal.method.panels import Panel
from daskal.method.tallies import gold_accuracy
from daskal.runs import store
from daskal.runs.asking import labels_of_run, probs_of_run
from daskal.runs.batches import batch_of_run
from daskal.runs.contents import read_panel
from daskal.runs.input_columns import InputColumns
from daskal.runs.records import finished_blocks, stage_prefix
from daskal.runs.store import SCORE_STAGES
from daskal.runs.tables import section_ids, stored_batch
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

    def own_examples(self, batch: Any) -> pd.DataFrame:
        """Return a batch, of whose examples each is in this run at the row that it says."""
        sections = (LABELED, UNLABELED)
        scores = {name: tables.member(self.root, f"{name}/score") for name in sections}
        num_rows = {name: array.shape[0] for name, array in scores.items() if array is not None}
        return batch_of_run(batch, num_rows, {name: self.ids(name) for name in sections})

    # what to label next

    def _scores(self, section: str) -> da.Array | None:
        array = tables.member(self.root, f"{section}/score")
        if array is None:
            return None
        with tables.reading(self.root, section):
            return da.from_array(tables.Column(array), chunks=array.chunks, name=False)

    @property
    def scores(self) -> da.Array | None:
        """Scores of the labeled examples."""
        return self._scores("labeled")

    @property
    def pool(self) -> da.Array | None:
        """Scores of the pool."""
        return self._scores("unlabeled")

    def next_batch(
        self,
        *,
        size: int,
        max_relabel_fraction: float | None = None,
        exclude: Any = None,
        max_annotations: int | None = None,
        stop_at_quality: float | None = None,
        groups: Any = None,
        group_column: str | None = None,
        max_per_group: int | None = None,
        embeddings: Any = None,
        embedding_columns: Sequence[str] | None = None,
        diversity: str | None = None,
        candidates: int | None = None,
        num_clusters: int | None = None,
        random_state: int = 0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return another batch from the stored scores, as :func:`daskal.next_batch` does.

        Ids, numbers of annotations and quality are those stored. ``group_column`` without
        ``groups``, and ``embedding_columns``, are columns of the tables of probabilities that the
        run read: one of any values, and some of numbers or one of lists.

        Examples
        --------
        >>> import tempfile, numpy as np, daskal
        >>> out = tempfile.mkdtemp() + "/scores.zarr"
        >>> run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1], [0.5, 0.5]]), out=out)
        >>> run.next_batch(size=1, exclude=run.batch.head(1))
           rank     source  row  score
        0     1  unlabeled    0    0.7
        """
        columns = InputColumns(self.root, self.attrs, storage_options)
        if groups is None and group_column is not None:
            groups, group_column = columns.groups(group_column), None
        if embedding_columns is not None:
            if embeddings is not None:
                raise InputError("expected embeddings or embedding_columns, got both: choose one.")
            embeddings = columns.embeddings(embedding_columns)
        num = tables.member(self.root, "labeled/num_annotations")
        quality = tables.member(self.root, "labeled/consensus_quality_score")
        return selection.next_batch(
            self.scores,
            self.pool,
            size=size,
            labeled_ids=self.ids("labeled"),
            unlabeled_ids=self.ids("unlabeled"),
            max_relabel_fraction=max_relabel_fraction,
            exclude=exclude,
            num_annotations=num,
            max_annotations=max_annotations,
            quality=None if stop_at_quality is None else quality,
            stop_at_quality=stop_at_quality,
            groups=groups,
            group_column=group_column,
            max_per_group=max_per_group,
            embeddings=embeddings,
            diversity=diversity,
            candidates=candidates,
            num_clusters=num_clusters,
            random_state=random_state,
            storage_options=storage_options,
        )

    def assign(
        self,
        batch: pd.DataFrame | None = None,
        *,
        labels: Any = None,
        votes_per_example: int = 1,
        capacity: Any = None,
        available: Any = None,
        people: str | os.PathLike[str] | None = None,
        on_invalid: str = "raise",
        storage_options: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Return whom to ask about each example of a batch, as :func:`daskal.assign` does.

        By default, that is the run's own batch, with the labels that the run read. Probabilities
        are read again from where the run read them, unless they were in memory.

        Parameters
        ----------
        batch, labels, votes_per_example, capacity, available, on_invalid, storage_options
            As for :func:`daskal.assign`.
        people : str or path, optional
            CSV or Parquet file with the column ``annotator`` and, perhaps, ``capacity``, in place
            of ``available``. Where a capacity is empty, ``capacity``, a number, is taken.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        InputError
            If the run has no estimate, its labels were in memory and none are passed, or the batch
            is of another run; or as :func:`daskal.assign`.
        """
        known = self.aggregate if self.estimate is None else self.estimate
        if known is None:
            raise InputError(
                "expected a run with an estimate or an aggregate, got one of a pool alone: nothing "
                "is known of annotators."
            )
        if isinstance(known, MultiLabelEstimate):
            raise InputError(
                "expected a run with one class an example, got one with several: whom to ask is "
                "not known for them."
            )
        if people is not None:
            if available is not None or isinstance(capacity, Mapping | pd.Series):
                raise InputError(
                    "people: expected neither available nor capacities by annotator beside it."
                )
            available, limits = read_people(people, known, capacity, storage_options)
            capacity = limits
        probs = {}
        if self.aggregate is None:
            probs = {
                name: probs_of_run(self.root, self.attrs, section, storage_options)
                for name, section in (("pred_probs", LABELED), ("pred_probs_unlabeled", UNLABELED))
            }
        return assign(
            stored_batch(self.root) if batch is None else self.own_examples(batch),
            known,
            labels_of_run(self.path, self.root, self.attrs) if labels is None else labels,
            votes_per_example=votes_per_example,
            capacity=capacity,
            available=available,
            on_invalid=on_invalid,
            storage_options=storage_options,
            **probs,
        )
