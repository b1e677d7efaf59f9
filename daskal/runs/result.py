"""The finished result of a run, read from its store as it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask.array as da
import pandas as pd

from daskal.api import selection
from daskal.api.frames import named
from daskal.errors import StorageError, UnfinishedStoreError
from daskal.method.annotators import ANNOTATOR_COLUMNS
from daskal.method.estimate import Estimate
from daskal.report.contents import Contents
from daskal.report.page import Page, make_page
from daskal.runs import store
from daskal.runs.records import finished_blocks, stage_prefix
from daskal.runs.store import SCORE_STAGES
from daskal.runs.tables import section_ids, stored_annotators, stored_batch
from daskal.storage import tables
from daskal.storage.redaction import redacted
from daskal.text import Summarized
from daskal.version import __version__


def read_contents(path: str, root: Any) -> Contents:
    """Return the small tables of a finished store, without reading any score."""
    path = redacted(path)
    attrs = root.attrs[store.ATTRS]
    if attrs["status"] != store.FINISHED:
        raise UnfinishedStoreError(
            f"the run that writes {path!r} has not finished: its report is made of what is "
            "known at its end.",
            advice="Continue it with {resume=True (daskal score --resume)}.",
        )
    text = store.read_estimate(root)
    histograms = tables.read_table(root, "histograms")
    assert histograms is not None
    estimate = None if text is None else Estimate.from_json(text)
    classes = tables.read_table(root, "classes", ("given", "consensus", "num_votes"))
    if classes is not None and estimate is not None:
        codes = classes[["given", "consensus"]].to_numpy()
        if not ((codes >= 0) & (codes < estimate.num_classes)).all():
            raise StorageError(
                f"the table 'classes' in {path!r} is damaged: it names classes there are not.",
                advice="Run it again with {overwrite=True}.",
            )
    return Contents(
        path=path,
        attrs=attrs,
        estimate=estimate,
        annotators=stored_annotators(root),
        classes=classes,
        histograms={str(name): histograms[name].to_numpy() for name in histograms},
        batch=stored_batch(root),
    )


@dataclass(frozen=True, repr=False)
class Run(Summarized):
    """The finished result of :func:`daskal.run`, read from its store as it is asked for.

    Attributes
    ----------
    path : str
        Where the store is.
    estimate : Estimate or None
        None where a pool was scored without one.
    scores, pool : dask.array.Array of shape (N,) and (U,), float64, or None
        ActiveLab scores of the labeled examples and of the pool.
    annotator_stats : pandas.DataFrame or None
        One row per annotator, the worst first.
    batch : pandas.DataFrame
        The next batch, as :func:`daskal.next_batch` returns it.

    Examples
    --------
    >>> import tempfile, numpy as np, daskal
    >>> out = tempfile.mkdtemp() + "/scores.zarr"
    >>> run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1], [0.5, 0.5]]), out=out)
    >>> daskal.Run.open(out).pool.compute()
    array([0.7, 0.5])
    """

    title = "daskal.Run"

    path: str
    root: Any

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
           rank       pool  row  score
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
    def estimate(self) -> Estimate | None:
        """The estimate the scores were made with."""
        text = store.read_estimate(self.root)
        return None if text is None else Estimate.from_json(text)

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
            counts = self.batch["pool"].value_counts()
            parts = (
                f"{counts.get('labeled', 0):,} labeled, {counts.get('unlabeled', 0):,} of the pool"
            )
            lines.append(("next batch", f"{len(self.batch):,} ({parts})"))
            invalid = self.attrs["num_invalid_rows"]
            lines += [("rows at fault", f"{invalid:,}")] if invalid else []
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

    def ids(self, section: str) -> Any | None:
        """Return the stored ids of a section's examples."""
        return section_ids(self.root)[section]

    @cached_property
    def annotator_stats(self) -> pd.DataFrame | None:
        """One row per annotator, the worst first."""
        table = stored_annotators(self.root)
        if table is None:
            return None
        table = table.set_index("annotator").rename_axis(None)[ANNOTATOR_COLUMNS]
        names = None if self.estimate is None else self.estimate.named_classes
        table = table.assign(worst_class=named(table["worst_class"].to_numpy(), names))
        return table.sort_values(ANNOTATOR_COLUMNS[:2], kind="stable")

    @cached_property
    def batch(self) -> pd.DataFrame:
        """The next batch."""
        return stored_batch(self.root)

    def next_batch(
        self,
        *,
        size: int,
        max_relabel_fraction: float | None = None,
        exclude: Any = None,
        max_annotations: int | None = None,
    ) -> pd.DataFrame:
        """Return another batch from the stored scores, as :func:`daskal.next_batch` does.

        ``max_annotations`` and ``max_relabel_fraction`` use the stored number of annotations.

        Examples
        --------
        >>> import tempfile, numpy as np, daskal
        >>> out = tempfile.mkdtemp() + "/scores.zarr"
        >>> run = daskal.run(pred_probs_unlabeled=np.array([[0.9, 0.1], [0.5, 0.5]]), out=out)
        >>> run.next_batch(size=1, exclude=run.batch.head(1))
           rank       pool  row  score
        0     1  unlabeled    0    0.7
        """
        return selection.next_batch(
            self.scores,
            self.pool,
            size=size,
            labeled_ids=self.ids("labeled"),
            unlabeled_ids=self.ids("unlabeled"),
            max_relabel_fraction=max_relabel_fraction,
            exclude=exclude,
            num_annotations=tables.member(self.root, "labeled/num_annotations"),
            max_annotations=max_annotations,
        )

    def report(self, out: str | os.PathLike[str] | None = None) -> Page:
        """Return the run as one HTML page that needs no network; a notebook shows it inline.

        Made from the store's small tables alone, however many scores there are.

        Parameters
        ----------
        out : str or path, optional
            File to write the page to. Of existing files, only an earlier report is replaced. If
            there are more than 10,000 annotators, the page lists the best and the worst, and a CSV
            of all of them is written beside it.

        Returns
        -------
        Page
            ``html`` is the text, ``path`` the file.

        Raises
        ------
        UnfinishedStoreError
            If the run has not finished.
        InputError
            If ``out`` is a file that is no report.
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
            return make_page(read_contents(self.path, self.root), out)
