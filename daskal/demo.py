"""Crowd data of known truth: made out of core, and used to judge the scores.

Every chunk of rows depends only on the numbers in :class:`Crowd` and on its own place, so the data
are the same on every scheduler and in every run.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from daskal.engine.progress import ProgressCallback
from daskal.engine.reduction import reduce_calls
from daskal.errors import InputError, StoreExistsError
from daskal.method.values import Floats, Ints
from daskal.storage import transfers
from daskal.storage.locations import open_zarr
from daskal.storage.stores import create_root_array, open_group, open_root_array

Random = np.random.Generator

# Chunks no larger than this keep a worker's memory small at any M and K ...
CHUNK_BYTES = 4 * 2**20
# ... and, like the blocks they end up in, there are many as long as each has this many rows.
MIN_CHUNK_ROWS = 4096
WANTED_CHUNKS = 32
# One annotator in this many only guesses; the accuracies of the others lie in this range.
GUESSERS = 10
LEAST_ACCURACY, MOST_ACCURACY = 0.55, 0.95
# Bins of the histogram of scores from which the judgement is taken.
SCORE_BINS = 4096
# Ranges of quality whose labels are counted: enough to draw, few enough for a terminal.
QUALITY_BINS = 10
SECTIONS = ("labeled", "unlabeled")
MARKER = "demo.json"
ARRAYS = ("labels.zarr", "pred_probs.zarr", "unlabeled.zarr", "truth.zarr", "scores.zarr")
REPORT = "report.html"


@dataclass(frozen=True)
class Crowd:
    """A crowd, a model and the sizes of their data.

    Attributes
    ----------
    num_examples, num_unlabeled : int
        N, the labeled examples, and U, the pool.
    num_annotators, num_classes : int
        M and K.
    labels_per_example : int
        Mean number of labels of a labeled example, each with at least one.
    model_accuracy : float
        Share of the examples on which the model's most probable class is the true one.
    seed : int

    Examples
    --------
    >>> from daskal.demo import Crowd
    >>> Crowd(num_examples=1000, num_annotators=5).accuracies().shape
    (5,)
    """

    num_examples: int = 20_000
    num_unlabeled: int = 100_000
    num_annotators: int = 50
    num_classes: int = 10
    labels_per_example: int = 3
    model_accuracy: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.labels_per_example > self.num_annotators:
            raise InputError(
                f"labels per example: expected at most one per annotator, {self.num_annotators}, "
                f"got {self.labels_per_example}."
            )
        if not 1 / self.num_classes < self.model_accuracy < 1:
            raise InputError(
                f"model accuracy: expected more than chance, 1/{self.num_classes}, and less than "
                f"1, got {self.model_accuracy}."
            )

    def accuracies(self) -> Floats:
        """Return how often each annotator is right, (M,)."""
        random = np.random.default_rng([self.seed, 0])
        accuracies = random.uniform(LEAST_ACCURACY, MOST_ACCURACY, self.num_annotators)
        guessers = random.permutation(self.num_annotators)[: self.num_annotators // GUESSERS]
        accuracies[guessers] = 1 / self.num_classes
        return accuracies

    @cached_property
    def signal(self) -> float:
        """By how much the model's evidence for the true class stands out of unit noise.

        At this value the true class has the greatest evidence as often as the model is to be right.
        """
        noise, step = np.linspace(-8, 8, 2001, retstep=True)
        density = np.exp(-(noise**2) / 2) / math.sqrt(2 * math.pi)

        def accuracy(signal: float) -> float:
            below = [0.5 * math.erfc(-x / math.sqrt(2)) for x in noise + signal]
            return float(step * (density * np.array(below) ** (self.num_classes - 1)).sum())

        low, high = 0.0, 20.0
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if accuracy(middle) < self.model_accuracy else (low, middle)
        return low

    def rows(self, section: str) -> int:
        """Return the number of examples in a section."""
        return self.num_examples if section == "labeled" else self.num_unlabeled

    def chunk_rows(self, section: str) -> int:
        """Return the number of rows per chunk of a section, a power of two."""
        row_bytes = 4 * self.num_classes
        if section == "labeled":
            row_bytes = max(row_bytes, self.num_annotators)
        rows = min(
            CHUNK_BYTES // row_bytes, max(MIN_CHUNK_ROWS, self.rows(section) // WANTED_CHUNKS)
        )
        return 2 ** (max(1, rows).bit_length() - 1)

    def cuts(self, section: str) -> Iterator[tuple[int, int]]:
        """Yield the rows ``start:stop`` of each chunk of a section."""
        step, num_rows = self.chunk_rows(section), self.rows(section)
        for start in range(0, num_rows, step):
            yield start, min(start + step, num_rows)


# --- a chunk of rows --------------------------------------------------------------------------


def draw_votes(crowd: Crowd, random: Random, truth: Ints) -> np.ndarray[Any, Any]:
    """Return a chunk of the label matrix, -1 where an annotator gave no label."""
    # n rows, m annotators, k classes, v votes
    n, m, k = len(truth), crowd.num_annotators, crowd.num_classes
    spread = 2 * (crowd.labels_per_example - 1)
    num_votes = np.minimum(1 + random.binomial(spread, 0.5, n), m)
    most = min(1 + spread, m)
    # Floyd's sampling: distinct annotators without a random number for each of the m.
    chosen = np.empty((n, most), dtype=np.int64)
    for at in range(most):
        top = m - most + at
        pick = random.integers(0, top + 1, n)
        taken = (chosen[:, :at] == pick[:, None]).any(axis=1)
        chosen[:, at] = np.where(taken, top, pick)
    # Later picks favor later annotators, so they are shuffled before only the first are used.
    chosen = random.permuted(chosen, axis=1)
    row, turn = np.nonzero(np.arange(most) < num_votes[:, None])
    annotator = chosen[row, turn]
    right = random.random(len(row)) < crowd.accuracies()[annotator]
    other = (truth[row] + random.integers(1, k, len(row))) % k
    labels = np.full((n, m), -1, dtype=label_dtype(k))
    labels[row, annotator] = np.where(right, truth[row], other)
    return labels


def draw_probs(crowd: Crowd, random: Random, truth: Ints) -> np.ndarray[Any, Any]:
    """Return a chunk of the model's probabilities.

    The posterior of the true class given evidence in unit noise: calibrated by construction.
    """
    evidence = random.standard_normal((len(truth), crowd.num_classes), dtype=np.float32)
    evidence[np.arange(len(truth)), truth] += np.float32(crowd.signal)
    evidence *= np.float32(crowd.signal)
    evidence -= evidence.max(axis=1, keepdims=True)
    np.exp(evidence, out=evidence)
    evidence /= evidence.sum(axis=1, keepdims=True)
    return evidence


def label_dtype(num_classes: int) -> str:
    """Return the smallest signed integer type that holds the classes."""
    return "int8" if num_classes <= 127 else "int16" if num_classes <= 32767 else "int32"


def make_chunk(start: int, stop: int, *, crowd: Crowd, section: str, folder: str) -> int:
    """Draw the rows of one chunk, store them, and return how many there are."""
    random = np.random.default_rng([crowd.seed, 1 if section == "labeled" else 2, start])
    truth = random.integers(0, crowd.num_classes, stop - start)
    probs = draw_probs(crowd, random, truth)

    def write(name: str, rows: np.ndarray[Any, Any]) -> None:
        transfers.write_rows(open_root_array(str(Path(folder) / name), None), start, stop, rows)

    write(f"truth.zarr/{section}", truth)
    if section == "labeled":
        write("pred_probs.zarr", probs)
        write("labels.zarr", draw_votes(crowd, random, truth))
    else:
        write("unlabeled.zarr", probs)
    return stop - start


# --- all of it --------------------------------------------------------------------------------


def prepare(crowd: Crowd, folder: Path) -> None:
    """Create the arrays of a demo, in place of those of an earlier one."""
    if folder.exists() and not folder.is_dir():
        raise StoreExistsError(f"expected a folder for the demo, {str(folder)!r} is a file.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise StoreExistsError(
            f"{str(folder)!r} holds something that is no demo. Name a new or empty folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(json.dumps(asdict(crowd), indent=2) + "\n", encoding="utf-8")
    for name in ARRAYS:
        shutil.rmtree(folder / name, ignore_errors=True)
    open_group("the true classes", str(folder / "truth.zarr"), "w", None)
    labels = label_dtype(crowd.num_classes)
    for name, section, columns, dtype in (
        ("labels.zarr", "labeled", crowd.num_annotators, labels),
        ("pred_probs.zarr", "labeled", crowd.num_classes, "float32"),
        ("unlabeled.zarr", "unlabeled", crowd.num_classes, "float32"),
        ("truth.zarr/labeled", "labeled", None, labels),
        ("truth.zarr/unlabeled", "unlabeled", None, labels),
    ):
        rest = () if columns is None else (columns,)
        create_root_array(
            str(folder / name),
            None,
            shape=(crowd.rows(section), *rest),
            chunks=(crowd.chunk_rows(section), *rest),
            dtype=dtype,
            # Zarr leaves out chunks of fill values: no chunk of labels is all -1, no other all 0.
            fill_value=-1 if name == "labels.zarr" else 0,
        )


def make(crowd: Crowd, folder: Path, progress: ProgressCallback | None = None) -> None:
    """Make the data of a demo in a folder, chunk by chunk on whatever Dask scheduler is active.

    Leaves ``labels.zarr`` (N, M), ``pred_probs.zarr`` (N, K), ``unlabeled.zarr`` (U, K) and the
    true classes in ``truth.zarr``.
    """
    prepare(crowd, folder)
    for section in SECTIONS:
        function = partial(make_chunk, crowd=crowd)
        for_each_chunk("make", function, crowd, section, folder, progress)


def for_each_chunk(
    verb: str,
    function: Callable[..., Any],
    crowd: Crowd,
    section: str,
    folder: Path,
    progress: ProgressCallback | None,
) -> Any:
    """Return the sum of what a function returns for the chunks of a section."""
    cuts = list(crowd.cuts(section))
    return reduce_calls(
        f"{verb} {section}",
        function,
        cuts,
        [stop - start for start, stop in cuts],
        sum,
        progress,
        section=section,
        # Workers may have another working directory.
        folder=str(folder.absolute()),
    )


class Judgement(NamedTuple):
    """How well the lowest scores find wrong classes: shares of rows."""

    wrong: float
    wrong_among_lowest: float
    found: float


def tally_chunk(start: int, stop: int, *, section: str, folder: str) -> Ints:
    """Return how many rows, and how many wrong classes, each score has: (2, SCORE_BINS)."""
    root, rows = Path(folder), slice(start, stop)

    def read(name: str) -> Any:
        return transfers.read(open_zarr(name, str(root / name), None), rows)

    if section == "labeled":
        given = read("scores.zarr/labeled/consensus_label")
    else:
        given = read("unlabeled.zarr").argmax(axis=1)
    scores = read(f"scores.zarr/{section}/score")
    bins = np.minimum((scores * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
    wrong = given != read(f"truth.zarr/{section}")
    return np.stack(
        [np.bincount(bins[kept], minlength=SCORE_BINS) for kept in (slice(None), wrong)]
    )


def tally_quality(start: int, stop: int, *, section: str, folder: str) -> Ints:
    """Return how many consensus labels, and how many right ones, each quality has, (2, bins)."""
    root, rows = Path(folder), slice(start, stop)

    def read(name: str) -> Any:
        return transfers.read(open_zarr(name, str(root / name), None), rows)

    quality = read(f"scores.zarr/{section}/consensus_quality_score")
    bins = np.minimum((quality * QUALITY_BINS).astype(np.int64), QUALITY_BINS - 1)
    right = read(f"scores.zarr/{section}/consensus_label") == read(f"truth.zarr/{section}")
    return np.stack(
        [np.bincount(bins[kept], minlength=QUALITY_BINS) for kept in (slice(None), right)]
    )


def judge_quality(crowd: Crowd, folder: Path, progress: ProgressCallback | None = None) -> Ints:
    """Return how many consensus labels, and how many right ones, each tenth of quality has."""
    found: Ints = for_each_chunk("test quality", tally_quality, crowd, "labeled", folder, progress)
    return found


def judge(
    crowd: Crowd,
    section: str,
    folder: Path,
    progress: ProgressCallback | None = None,
    *,
    share: float,
) -> Judgement:
    """Return how much more often the class is wrong among the lowest scores.

    The class is the consensus label of a labeled example, the model's prediction in the pool.
    Holds counts by score, never the scores.
    """
    tally = for_each_chunk("test", tally_chunk, crowd, section, folder, progress)
    return read_off(tally, share)


def read_off(tally: Ints, share: float) -> Judgement:
    """Return the judgement that counts by score give; the bin at the edge counts in part."""
    num_rows, num_wrong = tally.sum(axis=1).tolist()
    lowest = share * num_rows
    below = np.cumsum(tally, axis=1)
    edge = int(np.searchsorted(below[0], lowest))
    before = below[:, edge - 1] if edge else np.zeros(2)
    part = (lowest - before[0]) / tally[0, edge]
    found = float(before[1] + part * tally[1, edge])
    return Judgement(num_wrong / num_rows, found / lowest, found / num_wrong if num_wrong else 0.0)
