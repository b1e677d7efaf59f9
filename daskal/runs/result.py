"""The finished result of a run, read from its store as it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, Any

import numpy as np
import pandas as pd

from daskal.api.frames import named
from daskal.errors import InputError, UnfinishedStoreError
from daskal.method.annotators import ANNOTATOR_COLUMNS, GOLD_COLUMNS
from daskal.method.doubtful import NUM_DOUBTFUL
from daskal.options import check_size
from daskal.report.contents import CLASS_COLUMNS
from daskal.report.page import Page, make_page
from daskal.runs import store
from daskal.runs.contents import read_contents, show_batch
from daskal.runs.labels import (
    WRITERS,
    LabelTable,
    below_quality,
    check_below,
    chosen_labels,
    ending_of,
    new_file,
    write_csv,
)
from daskal.runs.stored import StoredRun
from daskal.runs.tables import stored_annotators, stored_batch, stored_doubtful
from daskal.storage import tables
from daskal.storage.redaction import redacted
from daskal.version import __version__

NO_LABELS = "expected a store with labeled examples, got one of a pool alone: it has no labels."


@dataclass(frozen=True, repr=False)
class Run(StoredRun):
    """The finished result of :func:`daskal.run`, read from its store as it is asked for.

    Attributes
    ----------
    path : str
        Where the store is.
    estimate : Estimate, MultiLabelEstimate or None
        None where a pool was scored without one, or votes without a model.
    aggregate : Aggregate or None
        Of votes without a model.
    panel : Panel or None
        Of votes without a model, unless its confusion matrices have over a million cells; beside a
        model if it was asked for.
    scores, pool : dask.array.Array of shape (N,) and (U,), float64, or None
        ActiveLab scores of the labeled examples and of the pool.
    annotator_stats : pandas.DataFrame or None
        One row per annotator, the worst first.
    class_stats : pandas.DataFrame or None
        One row per class where an example may have several.
    batch : pandas.DataFrame
        The next batch, as :func:`daskal.next_batch` returns it.
    labels : dask.dataframe.DataFrame or None
        The consensus labels of the labeled examples and what is known of them.

    Examples
    --------
    >>> import tempfile, numpy as np, daskal
    >>> out = tempfile.mkdtemp() + "/scores.zarr"
    >>> run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1], [0.5, 0.5]]), out=out)
    >>> daskal.Run.open(out).pool.compute()
    array([0.7, 0.5])
    """

    title = "daskal.Run"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        storage_options: Mapping[str, Any] | None = None,
        partial: bool = False,
    ) -> Run:
        """Open a finished store; with ``partial``, the finished part of one that is not.

        Scores that are not there yet are NaN; :attr:`finished_rows` says which rows are.

        Raises
        ------
        MissingPathError, StorageError, UnfinishedStoreError
            If there is no store, it is none of daskal's, or its run has not finished.

        Notes
        -----
        A store read with ``partial`` has neither tables nor a batch yet; :meth:`next_batch`
        chooses among what is scored.

        Examples
        --------
        >>> import tempfile, numpy as np, daskal
        >>> out = tempfile.mkdtemp() + "/scores.zarr"
        >>> run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1], [0.5, 0.5]]), out=out)
        >>> daskal.Run.open(out).batch
           rank     source  row  score
        0     1  unlabeled    1    0.5
        1     2  unlabeled    0    0.7
        """
        path = os.fspath(path)
        run = cls(path, store.open_finished(path, storage_options, partial=partial))
        version = run.attrs.get("version")
        if run.attrs["status"] != store.FINISHED and version != __version__:
            raise UnfinishedStoreError(
                f"the run in {redacted(path)!r} was begun by daskal {version} and has not "
                f"finished: daskal {__version__} cannot tell which of its blocks are. Read it with "
                "that version, or run it again with overwrite=True."
            )
        return run

    def summary(self) -> list[tuple[str, str]]:
        """Return the run in a few lines of (name, value), for people."""
        sizes = {
            "labeled examples": ("labeled", self.scores),
            "pool": ("unlabeled", self.pool),
        }
        lines = [("path", redacted(self.path))]
        finished = self.attrs["status"] == store.FINISHED
        for name, (section, scores) in sizes.items():
            if scores is None:
                continue
            done = sum(stop - start for start, stop in self.finished_rows(section))
            lines.append((name, f"{len(scores):,}" + ("" if finished else f", {done:,} scored")))
        if finished:
            counts = self.batch["source"].value_counts()
            parts = (
                f"{counts.get('labeled', 0):,} labeled, {counts.get('unlabeled', 0):,} of the pool"
            )
            lines.append(("next batch", f"{len(self.batch):,} ({parts})"))
            invalid = self.attrs["num_invalid_rows"]
            lines += [("rows at fault", f"{invalid:,}")] if invalid else []
        if self.aggregate is not None:
            left_out = ("examples", "note")
            lines += [line for line in self.aggregate.summary() if line[0] not in left_out]
        if self.estimate is not None:
            wanted = (
                "annotators, classes",
                "temperature",
                "model weight",
                "annotator weight",
                "warning",
            )
            lines += [line for line in self.estimate.summary() if line[0] in wanted]
        return lines

    @cached_property
    def annotator_stats(self) -> pd.DataFrame | None:
        """One row per annotator, the worst first."""
        table = stored_annotators(self.root)
        if table is None:
            return None
        table = table.set_index("annotator").rename_axis(None)
        gold = [name for name in GOLD_COLUMNS if name in table]
        table = table[[*ANNOTATOR_COLUMNS, *gold]]
        worst = named(table["worst_class"].to_numpy(), self.class_names)
        table = table.assign(worst_class=worst)
        return table.sort_values(ANNOTATOR_COLUMNS[:2], kind="stable")

    @cached_property
    def class_stats(self) -> pd.DataFrame | None:
        """What is known of each class where an example may have several, else None.

        Of the votes on it, 0 or 1: ``agreement``, the share like the consensus;
        ``agreement_where_present``, the share that chose it on examples whose consensus has it;
        ``num_votes``, ``num_chosen``; of examples with votes, ``num_consensus``, how many have it;
        ``model_weight`` and ``temperature``, means over models.
        """
        table = tables.read_table(self.root, "class_stats", CLASS_COLUMNS)
        if table is None:
            return None
        names = self.class_names
        index = table["class"] if names is None else pd.Index([names[k] for k in table["class"]])
        return table.drop(columns="class").set_index(pd.Index(index, name="class"))

    def _label_table(self) -> LabelTable | None:
        group = tables.member(self.root, "labeled")
        if group is None:
            return None
        return LabelTable(group, self.ids("labeled"), self.class_names)

    @property
    def labels(self) -> Any | None:
        """Consensus labels, one row per labeled example; None where only a pool was scored.

        A lazy Dask DataFrame: the columns ``id`` (where ids are known), ``consensus_label`` (by
        name where the classes have names), ``consensus_quality_score``, ``annotator_agreement``,
        ``num_annotations`` and ``score``; the index ``row`` counts the examples from 0. The label
        of an example without votes is the model's. Where an example may have several classes, the
        first of these columns is ``consensus_labels``, of lists.

        Examples
        --------
        >>> import tempfile, pandas as pd, daskal
        >>> votes = pd.DataFrame({"ann": [0, 1, 1], "bo": [0, 1, 0]}, index=["a", "b", "c"])
        >>> probs = pd.DataFrame(
        ...     [[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]], index=["a", "b", "c"], columns=["cat", "dog"]
        ... )
        >>> out = tempfile.mkdtemp() + "/scores.zarr"
        >>> run = daskal.run(labels=votes, pred_probs=probs, out=out)
        >>> run.labels.compute()[["id", "consensus_label"]].to_numpy().tolist()
        [['a', 'cat'], ['b', 'dog'], ['c', 'dog']]
        """
        table = self._label_table()
        return None if table is None else table.lazy(self.finished_rows("labeled"))

    def doubtful_labels(self, *, size: int = 100, below: float | None = None) -> pd.DataFrame:
        """Return the labels of lowest consensus quality, the lowest first (runs now).

        Examples without votes are left out: nobody has labeled them.

        Parameters
        ----------
        size : int
            How many at most.
        below : float, optional
            Only labels of a lower quality than this.

        Returns
        -------
        pandas.DataFrame
            Rows of :attr:`labels`.
        """
        check_below(below)
        check_size(size)
        found = stored_doubtful(self.root)
        table = self._label_table()
        if table is None:
            raise InputError(NO_LABELS)
        if found is None or (size > len(found) and len(found) == NUM_DOUBTFUL):
            return next(chosen_labels(self.labels, size, below))
        rows = pd.Index(found["row"])
        columns = {str(name): found[name].to_numpy() for name in found}
        return below_quality(table.frame(columns, rows), below).head(size)

    def export_labels(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        *,
        below: float | None = None,
        size: int | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> int:
        """Write the consensus labels to a CSV, Parquet or JSON Lines file; return how many.

        They are read and written chunk by chunk, in the order of the examples. Where an example may
        have several classes, its label is a list, in the column ``consensus_labels``; in CSV it is
        written as JSON: ``["sky", "sea"]``.

        Parameters
        ----------
        path : str, path or open binary file
            File or URL, ending in ``.csv``, ``.parquet`` or ``.jsonl``; an open file gets CSV. Of
            existing files, only an earlier table of labels is replaced.
        below : float, optional
            Only labels of a lower quality than this.
        size : int, optional
            At most so many, those of lowest quality, the lowest first. With ``below`` or ``size``,
            examples without votes are left out.
        storage_options : mapping, optional

        Raises
        ------
        InputError
            If the name ends otherwise, or there are no labels.
        StoreExistsError
            If there is a file that is no table of labels.
        StorageError
            If the file cannot be written.
        """
        labels = self.labels
        if labels is None:
            raise InputError(NO_LABELS)
        parts = chosen_labels(labels, size, below)
        if not isinstance(path, str | os.PathLike):
            return write_csv(parts, path, self.class_names)
        target = os.fspath(path)
        write = WRITERS[ending_of(target)]
        with new_file(target, storage_options) as file:
            return write(parts, file, self.class_names)

    @cached_property
    def batch(self) -> pd.DataFrame:
        """The next batch."""
        return stored_batch(self.root)

    def report(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        batch: pd.DataFrame | None = None,
        right_by_quality: Any = None,
    ) -> Page:
        """Return the run as one HTML page that needs no network; a notebook shows it inline.

        Made from the store's small tables alone, however many scores there are.

        Parameters
        ----------
        out : str or path, optional
            File to write the page to. Of existing files, only an earlier report is replaced. If
            there are more than 10,000 annotators, the page lists the best and the worst, and a CSV
            of all of them is written beside it.
        batch : pandas.DataFrame, optional
            A batch of :meth:`next_batch` to show in place of the run's own, and how it was chosen;
            or one that :func:`daskal.read_batch` returns, of which only Parquet tells that.
        right_by_quality : array_like of shape (2, b), int, optional
            Where the truth is known: how many consensus labels, and how many right ones, have a
            quality in each of b equal ranges from 0 to 1. They are drawn.

        Returns
        -------
        Page
            ``html`` is the text, ``path`` the file.

        Raises
        ------
        UnfinishedStoreError
            If the run has not finished.
        InputError
            If ``out`` is a file that is no report, or the batch is none of this run.
        StorageError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, numpy as np, daskal
        >>> out = tempfile.mkdtemp()
        >>> run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1]]), out=out + "/scores.zarr")
        >>> page = run.report(out + "/report.html")
        >>> "What to label next" in page.html
        True
        """
        with tables.reading(self.root, "what the report shows"):
            contents = read_contents(self.path, self.root)
        if batch is not None:
            contents = show_batch(contents, self.own_examples(batch))
        if right_by_quality is not None:
            contents = replace(contents, right_by_quality=np.asarray(right_by_quality))
        return make_page(contents, out)
