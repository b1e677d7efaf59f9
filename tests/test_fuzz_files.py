"""Stored data that was cut, flipped, swapped or described wrongly: an error, or nothing changed.

Where a checksum covers the chunk, no wrong number comes out in silence.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import BlockError, DaskalError, DataWarning
from tests.fuzzing import MANY
from tests.problems import make_problem

CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
bounded = settings(max_examples=25, suppress_health_check=CHECKS)
exhaustive = settings(max_examples=MANY, suppress_health_check=CHECKS, database=None)

PROBLEM = make_problem(3, num_examples=12, num_annotators=4, num_classes=3, pool=12)
LABELS = np.where(np.isnan(PROBLEM.labels), -1, PROBLEM.labels).astype(np.int8)
SUMMED = (zarr.codecs.ZstdCodec(checksum=True), zarr.codecs.Crc32cCodec())
FORMATS: dict[str, dict[str, Any]] = {
    "v3": {"zarr_format": 3},
    "v3 with a checksum": {"zarr_format": 3, "compressors": SUMMED},
    "v3 sharded": {"zarr_format": 3, "shards": (8, 3), "compressors": SUMMED},
    "v3 bare": {"zarr_format": 3, "compressors": None},
    "v2": {"zarr_format": 2},
    "v2 bare": {"zarr_format": 2, "compressors": None},
}
HAS_CHECKSUM = {"v3 with a checksum", "v3 sharded"}


def write(path: Path, values: np.ndarray, name: str) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    options = dict(FORMATS[name])
    width = values.shape[1]
    if "shards" in options:
        options["shards"] = (8, width)
    zarr.create_array(path, data=values, chunks=(4, width), **options)
    return path


def chunk_files(path: Path) -> list[Path]:
    metadata = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name not in metadata)


def flip(draw: Callable[..., Any], content: bytes) -> bytes:
    """Return the content with one bit changed."""
    at = draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def damage(draw: Callable[..., Any], file: Path) -> None:
    """Damage one file in some way."""
    content = file.read_bytes()
    kind = draw(st.sampled_from(["flip", "cut", "empty", "grow", "junk", "zeros"]))
    file.write_bytes(
        {
            "flip": lambda: flip(draw, content),
            "cut": lambda: content[: draw(st.integers(0, len(content) - 1))],
            "empty": lambda: b"",
            "grow": lambda: content + draw(st.binary(min_size=1, max_size=8)),
            "junk": lambda: draw(st.binary(min_size=1, max_size=200)),
            "zeros": lambda: bytes(len(content)),
        }[kind]()
    )


def outcome(call: Callable[[], np.ndarray]) -> np.ndarray | DaskalError:
    """Return the result of a call: numbers or an error of daskal's; fail on anything else."""
    with warnings.catch_warnings(), dask.config.set(scheduler="sync"):
        warnings.simplefilter("ignore", DataWarning)
        try:
            found = np.asarray(call())
        except DaskalError as error:
            return error
    assert not np.isnan(found).any()
    return found


def score_pool(path: Path) -> np.ndarray:
    scores: np.ndarray = daskal.score_unlabeled(path).compute()
    return scores


def score_labels(path: Path) -> np.ndarray:
    probs = PROBLEM.pred_probs
    estimate = daskal.estimate(path, probs)
    scores: np.ndarray = daskal.score_labeled(path, probs, estimate).compute()
    return scores


CALLS: dict[str, tuple[np.ndarray, Callable[[Path], np.ndarray]]] = {
    "pool": (PROBLEM.pool, score_pool),
    "labels": (LABELS, score_labels),
}


# --- chunks -----------------------------------------------------------------------------------


def check_chunks(data: st.DataObject, folder: Path) -> None:
    """Check that a damaged chunk is named with its block, or changes no number."""
    which = data.draw(st.sampled_from(sorted(CALLS)))
    values, call = CALLS[which]
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    path = write(folder / "a.zarr", values, name)
    expected = outcome(lambda: call(path))
    assert isinstance(expected, np.ndarray)
    file = data.draw(st.sampled_from(chunk_files(path)))
    damage(data.draw, file)
    found = outcome(lambda: call(path))
    if isinstance(found, BlockError):
        assert "rows 0 to" in str(found)
        assert "a.zarr" in str(found)
    elif file.stat().st_size == 0 and name == "v3 sharded":
        # Zarr takes a shard of no bytes for one that was never written, before any checksum.
        return
    elif name in HAS_CHECKSUM:
        # Nothing gets so far that the checks of the values could find it.
        assert isinstance(found, np.ndarray), found
        np.testing.assert_array_equal(found, expected)


@bounded
@given(data=st.data())
def test_a_damaged_chunk(data: st.DataObject, tmp_path: Path) -> None:
    check_chunks(data, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@exhaustive
@given(data=st.data())
def test_a_damaged_chunk_many_times(data: st.DataObject, tmp_path: Path) -> None:
    check_chunks(data, tmp_path)


# --- metadata ---------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from(
        ["", "x", "int8", "float64", "<f4", "|O", "bytes", "zstd", "pickle", "C", 2, 3]
    ),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-1, 9), max_size=3),
    st.just([{"name": "bytes"}]),
    st.just([{"id": "pickle"}]),
)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Yield every place in nested JSON."""
    found = [path] if path else []
    parts = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, part in parts:
        found += places(part, (*path, key))
    return found


def change_metadata(data: st.DataObject, file: Path) -> None:
    """Change one value of some metadata, or leave it out, or damage the text."""
    if data.draw(st.integers(0, 4)) == 0:
        damage(data.draw, file)
        return
    content = json.loads(file.read_text())
    if not content:
        return
    *path, last = data.draw(st.sampled_from(places(content)))
    target = content
    for key in path:
        target = target[key]
    if data.draw(st.booleans()):
        target[last] = data.draw(VALUES)
    else:
        del target[last]
    file.write_text(json.dumps(content))


def check_metadata(data: st.DataObject, folder: Path) -> None:
    """Check that changed metadata gives numbers without NaN, or an error of daskal's."""
    values, call = CALLS[data.draw(st.sampled_from(sorted(CALLS)))]
    path = write(folder / "a.zarr", values, data.draw(st.sampled_from(sorted(FORMATS))))
    names = [path / name for name in ("zarr.json", ".zarray", ".zattrs")]
    change_metadata(data, data.draw(st.sampled_from([file for file in names if file.exists()])))
    outcome(lambda: call(path))


@bounded
@given(data=st.data())
def test_changed_metadata(data: st.DataObject, tmp_path: Path) -> None:
    check_metadata(data, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@exhaustive
@given(data=st.data())
def test_changed_metadata_many_times(data: st.DataObject, tmp_path: Path) -> None:
    check_metadata(data, tmp_path)


# --- sparse votes -----------------------------------------------------------------------------


def write_votes(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    rows, annotators = np.nonzero(LABELS >= 0)
    group = zarr.open_group(path, mode="w")
    group.attrs.update({"encoding-type": "csr_matrix", "shape": list(LABELS.shape)})
    indptr = np.searchsorted(rows, np.arange(len(LABELS) + 1)).astype(np.int32)
    members = {"indptr": indptr, "indices": annotators, "data": LABELS[LABELS >= 0]}
    for name, values in members.items():
        group.create_array(name, data=values, chunks=(5,), compressors=None)
    return path


def check_votes(data: st.DataObject, folder: Path) -> None:
    """Check that damaged sparse votes give labels of classes, or an error of daskal's."""
    path = write_votes(folder / "votes.zarr")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    if file.suffix == ".json":
        change_metadata(data, file)
    else:
        damage(data.draw, file)
    outcome(lambda: score_labels(path))


@bounded
@given(data=st.data())
def test_damaged_votes(data: st.DataObject, tmp_path: Path) -> None:
    check_votes(data, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@exhaustive
@given(data=st.data())
def test_damaged_votes_many_times(data: st.DataObject, tmp_path: Path) -> None:
    check_votes(data, tmp_path)


# --- results ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("result") / "out.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        daskal.run(
            labels=PROBLEM.labels,
            pred_probs=PROBLEM.pred_probs,
            pred_probs_unlabeled=PROBLEM.pool,
            batch_size=5,
            out=path,
        )
    return path


def check_result(data: st.DataObject, result: Path, folder: Path) -> None:
    """Check that a damaged result is read whole, or gives an error of daskal's."""
    path = folder / "out.zarr"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(result, path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = data.draw(st.sampled_from(files))
    if file.suffix == ".json":
        change_metadata(data, file)
    else:
        damage(data.draw, file)
    for read in (
        lambda run: run.estimate,
        lambda run: run.annotator_stats,
        lambda run: run.batch,
        lambda run: run.next_batch(size=3),
        lambda run: run.report().html,
        repr,
    ):
        outcome(lambda read=read: [read(daskal.Run.open(path)) is None])


@pytest.mark.slow
@bounded
@given(data=st.data())
def test_a_damaged_result(data: st.DataObject, result: Path, tmp_path: Path) -> None:
    check_result(data, result, tmp_path)
