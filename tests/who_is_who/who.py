"""Random names in random containers: one small problem, held in many ways."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
import zarr

import daskal
from daskal.names.normal import as_index
from tests.names.test_matching import containers
from tests.problems import make_problem

ROWS, ANNOTATORS, CLASSES, POOL = 12, 4, 3, 7
BASES = 24

# --- names ------------------------------------------------------------------------------------

TOP = 2**63
DAY = pd.Timestamp("2024-03-01", tz="UTC")
VALUES: dict[str, list[Any]] = {
    "int": [*range(-9, 14), *(2**53 + n for n in range(4)), *(TOP - n for n in range(1, 5)), -TOP],
    "uint": [*range(3, 12), *range(TOP - 3, TOP + 8), *range(2 * TOP - 8, 2 * TOP)],
    "text": [
        *("", "NA", "nan", "null", "None", "True", "é", "e\u0301", "a", "A", " a", "a ", "ä"),
        *("0", "1", "01", "1.0", "10", "2", "-1", "1e3", "x,y", 'q"', "b\nc", "9" * 25),
    ],
    "bytes": [f"{n}".encode() for n in range(20)],
    "half": [n / 2 for n in range(-9, 12)],
    "time": [DAY + pd.Timedelta(n, "h") for n in range(20)],
    "clock": [DAY.tz_localize(None) + pd.Timedelta(n, "D") for n in range(20)],
    "pair": [(n // 3, "abc"[n % 3]) for n in range(20)],
    "mixed": [-1, 0, 5, 77, "a", "b", "cd", True, b"1", b"2", 0.5, 1.5, "é", "7.", (1, "a")],
}
# Names that are numbers of places: permuted, they say another order than the places do.
NUMBERED = ("number", "digit")
KINDS = (*VALUES, *NUMBERED)


def text(value: Any) -> str:
    """Return a name as one text, equal for equal names of whatever type."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | float | np.number | decimal.Decimal):
        return str(int(value)) if value == int(value) else str(float(value))
    if isinstance(value, datetime.datetime | np.datetime64):
        moment = pd.Timestamp(value)
        return str(moment if moment.tz is None else moment.tz_convert("UTC"))
    if isinstance(value, tuple):
        return str(tuple(int(p) if isinstance(p, int | float | np.integer) else p for p in value))
    return str(value)


@dataclass(frozen=True)
class Names:
    """Names of one kind, and one more of that kind that is none of them."""

    kind: str
    values: tuple[Any, ...]
    spare: Any

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, kind: str | None = None) -> Names:
        """Return so many names of a random kind."""
        kind = str(rng.choice(KINDS)) if kind is None else kind
        if kind in NUMBERED:
            drawn: list[Any] = [*rng.permutation(count).tolist(), count]
            drawn = [str(value) for value in drawn] if kind == "digit" else drawn
        else:
            known = VALUES[kind]
            drawn = [known[at] for at in rng.permutation(len(known))[: count + 1]]
        return cls(kind, tuple(drawn[:-1]), drawn[-1])

    @property
    def texts(self) -> list[str]:
        """The names as texts."""
        return [text(value) for value in self.values]

    def renamed(self, rng: np.random.Generator) -> Names:
        """Return them with one called otherwise."""
        values = list(self.values)
        values[int(rng.integers(len(values)))] = self.spare
        return Names(self.kind, tuple(values), self.spare)

    def take(self, order: Sequence[int]) -> Names:
        """Return them in another order."""
        return Names(self.kind, tuple(self.values[at] for at in order), self.spare)

    def index(self, rng: np.random.Generator) -> pd.Index:
        """Return them in a random container."""
        values = list(self.values)
        kind = {"number": "int", "digit": "text", "clock": "mixed", "pair": "mixed"}.get(self.kind)
        held = containers(kind or self.kind, values)
        if self.kind == "clock":
            index = pd.DatetimeIndex(values)
            held += [index, index.as_unit("s"), as_index([v.to_pydatetime() for v in values])]
            held += [pd.Index(pd.array(index, dtype=pd.ArrowDtype(pa.timestamp("ms"))))]
        if self.kind == "pair":
            held += [pd.MultiIndex.from_tuples(values)]
        return held[int(rng.integers(len(held)))]


def in_code_order(names: Names) -> Names:
    """Return names of classes, those that are the codes 0 to K - 1 in their order: so they are
    read."""
    if sorted(names.texts) == [str(code) for code in range(len(names.values))]:
        return names.take(np.argsort([int(value) for value in names.texts]).tolist())
    return names


# --- containers -------------------------------------------------------------------------------

NAMED_FRAMES = ("frame", "nullable", "arrow")
NAMED = (*NAMED_FRAMES, "xarray", "lazy xarray")
BARE = ("numpy", "dask", "zarr")


def coords(index: pd.Index | None) -> Any:
    """Return names as xarray takes them."""
    if index is None:
        return None
    if isinstance(index.dtype, np.dtype) and not isinstance(index, pd.MultiIndex):
        return index
    return as_index(index.astype(object).tolist())


def array_in(
    how: str, values: np.ndarray, dims: tuple[str, str], rows: Any, columns: Any, chunk: int
) -> Any:
    """Return a matrix in a container with these names, or in a bare one."""
    if how == "numpy":
        return values.copy()
    if how == "dask":
        return da.from_array(values, chunks=(chunk, -1))
    if how == "zarr":
        stored = zarr.create_array(
            zarr.storage.MemoryStore(),
            shape=values.shape,
            chunks=(chunk, values.shape[1]),
            dtype=values.dtype,
            fill_value=-1,
        )
        stored[:] = values
        return stored
    if how in ("xarray", "lazy xarray"):
        given = {
            dim: coords(index)
            for dim, index in zip(dims, (rows, columns), strict=True)
            if index is not None
        }
        data = values if how == "xarray" else da.from_array(values, chunks=(chunk, -1))
        return xr.DataArray(data, dims=dims, coords=given)
    frame = pd.DataFrame(values, index=rows, columns=columns)
    whole = values.dtype.kind in "iu"
    if how == "nullable":
        frame = frame.astype("Int64" if whole else "Float64")
        return frame.where(values >= 0) if whole else frame
    if how == "arrow":
        return frame.astype("int64[pyarrow]" if whole else "double[pyarrow]")
    if how == "float":
        return frame.where(values >= 0).astype(np.float64)
    if how == "category":
        return frame.where(values >= 0).astype(object).astype("category")
    return frame


def labels_in(how: str, values: np.ndarray, rows: Any, annotators: Any, chunk: int) -> Any:
    """Return labels in a container."""
    if how == "csr":
        from scipy.sparse import csr_matrix

        at = np.nonzero(values >= 0)
        return csr_matrix((values[at], at), shape=values.shape)
    return array_in(how, values, ("row", "annotator"), rows, annotators, chunk)


def probs_in(how: str, values: np.ndarray, rows: Any, classes: Any, chunk: int) -> Any:
    """Return the probabilities of one model in a container."""
    return array_in(how, values, ("row", "class"), rows, classes, chunk)


# --- the truth --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A problem without names, and what daskal says of it: what all else is compared with."""

    labels: np.ndarray
    probs: tuple[np.ndarray, ...]
    pool: tuple[np.ndarray, ...]

    def models(self, pool: bool = False) -> Any:
        """Return the probabilities as an argument."""
        given = self.pool if pool else self.probs
        return given[0] if len(given) == 1 else np.stack(given)

    @cached_property
    def estimate(self) -> daskal.Estimate:
        """The estimate."""
        return daskal.estimate(self.labels, self.models())

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores of the labeled examples."""
        return daskal.score_labeled(self.labels, self.models(), self.estimate).compute()

    @cached_property
    def pool_scores(self) -> np.ndarray:
        """Scores of the pool."""
        return daskal.score_unlabeled(self.models(pool=True), self.estimate).compute()

    @cached_property
    def quality(self) -> pd.DataFrame:
        """Consensus labels and their quality."""
        return daskal.label_quality(self.labels, self.models(), self.estimate).compute()

    @cached_property
    def votes(self) -> pd.DataFrame:
        """Votes and their quality."""
        return daskal.detailed_quality(self.labels, self.models(), self.estimate).compute()

    @cached_property
    def stats(self) -> pd.DataFrame:
        """The annotators."""
        return daskal.annotator_stats(self.labels, self.models(), self.estimate)


@lru_cache(maxsize=2 * BASES)
def base(seed: int, models: int) -> Base:
    """Return a problem: each row has at least two votes, and two in three are right."""
    problem = make_problem(
        seed,
        num_examples=ROWS,
        num_annotators=ANNOTATORS,
        num_classes=CLASSES,
        num_models=models,
        pool=POOL,
        labels_per_example=(2, 3),
        dtype=np.int64,
    )
    probs = np.atleast_3d(problem.pred_probs).reshape(models, ROWS, CLASSES)
    assert problem.pool is not None
    return Base(problem.labels, tuple(probs), tuple(problem.pool.reshape(models, POOL, CLASSES)))


Table = dict[Hashable, Any]
Maker = Callable[..., Table]
