"""What choosing a batch holds, against what is projected for it."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.api import batch_memory, selection
from daskal.api.batch_memory import BatchMemory, ScoresSize
from daskal.api.choosing import rank
from daskal.engine.graph import SPLIT_EVERY
from daskal.errors import MemoryLimitError
from daskal.kernels.candidates import candidates_of_block, row_bytes_beside
from daskal.method.candidates import MERGE_BYTES, RANKED_BYTES, Limits, example_bytes
from daskal.method.merging import merge_all
from daskal.method.tallies import Candidates
from daskal.method.values import Block
from tests.problems import make_problem

# Text of this length, of which every example has another, is what is planned for.
TEXT = 64


def made_groups(kind: str, num: int, seed: int = 0) -> Any:
    """Return a group of its own for each example, which is what takes most memory."""
    if kind == "none":
        return None
    numbers = np.random.default_rng(0).permutation(num) + 10**6 * (1 + seed)
    if kind == "numbers":
        return numbers
    texts = [f"{number:0{TEXT}d}" for number in numbers]
    if kind == "mixed":
        texts = [text if at % 2 else at + 0.5 for at, text in enumerate(texts)]
    return np.array(texts, dtype=object)


def candidates(kind: str, rows: int, size: int, seed: int = 0) -> Callable[[], Candidates]:
    """Return what finds the candidates of a block."""
    rng = np.random.default_rng(seed)
    arrays = {
        "scores": rng.random(rows),
        "num_annotations": rng.integers(0, 2, rows),
        "quality": rng.random(rows),
        "groups": made_groups(kind, rows, seed),
    }
    known = {name: array for name, array in arrays.items() if array is not None}
    return lambda: candidates_of_block(
        Block(None, list(known.values()), 0),
        parts=tuple(known),
        size=size,
        limits=Limits(3, 0.99, None if kind == "none" else 1),
        left_out=np.zeros(0, dtype=np.int64),
    )


def traced(work: Callable[[], Any]) -> tuple[int, int]:
    """Return the bytes that a call leaves, and the most that it takes.

    Threads that earlier tests left behind may allocate meanwhile: the least of three calls counts.
    """
    work()
    left, peak = [], []
    for _ in range(3):
        gc.collect()
        tracemalloc.start()
        try:
            kept = work()
            now, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        del kept
        left.append(now)
        peak.append(most)
    return min(left), min(peak)


def count(found: Candidates) -> int:
    return len(found.with_votes.rows) + len(found.without_votes.rows)


# ------------------------------------------------------------------------------------ bytes


@pytest.mark.parametrize("kind", ["none", "numbers", "text", "mixed"])
def test_a_state_takes_what_is_projected(kind: str) -> None:
    found = candidates(kind, 20_000, 5_000)()
    # As a worker holds it that was sent it: no text is shared with the block.
    sent = pickle.dumps(found)
    left, _ = traced(lambda: pickle.loads(sent))
    projected = count(found) * example_bytes(grouped=kind != "none")
    assert count(found) > 9_000
    assert 0.5 * projected < left < projected + 5_000


@pytest.mark.parametrize("kind", ["none", "numbers", "text", "mixed"])
@pytest.mark.parametrize("size", [100, 10_000, 50_000])
def test_a_block_takes_no_more_than_projected(kind: str, size: int) -> None:
    rows, grouped = 50_000, kind != "none"
    find = candidates(kind, rows, size)
    _, peak = traced(find)
    projected = rows * row_bytes_beside(grouped=grouped)
    assert peak < projected + count(find()) * example_bytes(grouped=grouped)
    assert peak > projected / 10


def trace_merging(kind: str, size: int) -> tuple[int, int, int]:
    """Return the most that merging takes, and ranking, and how many candidates are ranked."""
    sent = [pickle.dumps(candidates(kind, 10_000, size, seed)()) for seed in range(SPLIT_EVERY)]
    states = [pickle.loads(each) for each in sent]
    _, merging = traced(lambda: merge_all(states))
    found = merge_all(states)
    _, ranking = traced(lambda: rank(size, found.with_votes, None, found.without_votes))
    return merging, ranking, count(found)


@pytest.fixture(scope="module")
def alone() -> Iterator[ProcessPoolExecutor]:
    """Yield a process of its own: the scheduler of a cluster in this one would be traced too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("kind", ["none", "numbers", "text"])
@pytest.mark.parametrize("size", [2_000, 50_000])
def test_merging_and_ranking_take_no_more_than_projected(
    kind: str, size: int, alone: ProcessPoolExecutor
) -> None:
    merging, ranking, num = alone.submit(trace_merging, kind, size).result()
    projected = MERGE_BYTES * min(size, SPLIT_EVERY * 10_000)
    assert projected / 5 < merging < projected
    assert ranking < RANKED_BYTES * num + 100_000


# ----------------------------------------------------------------------------------- the tree


def test_candidates_that_are_held_by_hand() -> None:
    one = ScoresSize(num_rows=100, block_rows=100, row_bytes=8)
    assert one.num_held(10) == 10
    # Ten blocks, then two merges of at most 80 rows, then the last one.
    ten = ScoresSize(num_rows=1_000, block_rows=100, row_bytes=8)
    assert ten.num_held(10) == 8 * 10 + 2 * 10 + 10
    assert ten._replace(rankings=2).num_held(10) == 8 * 20 + 2 * 20 + 20
    assert ScoresSize(num_rows=0, block_rows=0, row_bytes=8).num_held(10) == 0
    # All rows, where each may be chosen.
    assert ten.num_held(1_000) == 1_000
    assert BatchMemory(10, True, (ten,)).held_bytes == 110 * 216 + 10 * 272
    assert BatchMemory(10, False, (ten, one)).held_bytes == max(110 * 16 + 2720, 20 * 176)
    assert BatchMemory(10, True, (ten,)).task_bytes == 100 * (8 + 96) + 10 * 216
    assert BatchMemory(10, True, (ten,)).worker_bytes(3) == 3 * 12_560 + 26_480


def merge_depth_first(rows: list[int], size: int, live: list[int]) -> Iterator[int]:
    """Yield how many candidates are held, at each step of merging blocks in Dask's order."""
    if len(rows) == 1:
        live.append(min(size, rows[0]))
        yield sum(live)
        return
    step = 1
    while step * SPLIT_EVERY < len(rows):
        step *= SPLIT_EVERY
    parts = [rows[start : start + step] for start in range(0, len(rows), step)]
    for part in parts:
        yield from merge_depth_first(part, size, live)
    live[-len(parts) :] = [min(size, sum(rows))]
    yield sum(live)


@given(st.integers(1, 700), st.integers(1, 50), st.integers(1, 3_000))
def test_no_more_candidates_are_held_than_projected(blocks: int, rows: int, size: int) -> None:
    held = max(merge_depth_first([rows] * blocks, size, []))
    projected = ScoresSize(num_rows=rows * blocks, block_rows=rows, row_bytes=8).num_held(size)
    assert held <= projected <= max(3 * held, size)


# ------------------------------------------------------------------------------ the whole of it


@pytest.fixture
def projected(monkeypatch: pytest.MonkeyPatch) -> list[BatchMemory]:
    """Return a list to which each call of next_batch adds what is projected for it."""
    seen: list[BatchMemory] = []

    def note(name: str, size: int, sources: Any, *, grouped: bool) -> None:
        seen.append(BatchMemory(size, grouped, tuple(map(ScoresSize.of, sources))))

    monkeypatch.setattr(selection, "check_memory", note)
    return seen


@pytest.mark.parametrize("kind", ["none", "numbers", "text"])
@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        (200, 20_000),
        pytest.param(10_000, 5_000, marks=pytest.mark.slow),
        pytest.param(60_000, 60_000, marks=pytest.mark.slow),
    ],
)
def test_a_batch_takes_no_more_than_projected(
    kind: str, size: int, chunk: int, projected: list[BatchMemory]
) -> None:
    num = 60_000
    scores, pool = np.random.default_rng(0).random((2, num))
    groups, num_annotations = made_groups(kind, num), np.arange(num) % 3
    options: dict[str, Any] = {}
    if kind != "none":
        options = {"groups": (groups, groups), "max_per_group": 1}

    def choose() -> pd.DataFrame:
        return daskal.next_batch(
            da.from_array(scores, chunks=chunk),
            da.from_array(pool, chunks=chunk),
            size=size,
            num_annotations=num_annotations,
            **options,
        )

    with dask.config.set(scheduler="sync"):
        _, peak = traced(choose)
    # The graph itself takes some memory.
    assert peak < projected[0].worker_bytes(1) + 500_000
    assert peak > projected[0].worker_bytes(1) / 4


def test_a_batch_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, groups = np.zeros(100_000), np.arange(100_000)
    monkeypatch.setattr(batch_memory, "least_memory", lambda: 30 * 2**20)
    monkeypatch.setattr(batch_memory, "worker_threads", lambda: 2)
    assert len(daskal.next_batch(scores, size=10_000, groups=groups, max_per_group=1)) == 10_000
    words = (
        r"^size: expected a batch whose candidates fit into 30\.0 MiB of a worker's memory, got "
        r"50,000 examples with groups: 7\.8 MiB a task, and 33\.6 MiB of candidates that are "
        r"merged, which needs 49\.2 MiB with 2 threads\. Pass a smaller number"
    )
    with pytest.raises(MemoryLimitError, match=words):
        daskal.next_batch(scores, size=50_000, groups=groups, max_per_group=1)
    assert len(daskal.next_batch(scores, size=50_000)) == 50_000
    with pytest.raises(MemoryLimitError, match=r"^candidates: expected"):
        daskal.next_batch(
            scores,
            size=1_000,
            candidates=50_000,
            groups=groups,
            max_per_group=1,
            embeddings=scores[:, None],
            diversity="k_center",
        )
    monkeypatch.setattr(batch_memory, "least_memory", lambda: None)
    assert len(daskal.next_batch(scores, size=50_000, groups=groups, max_per_group=1)) == 50_000


def test_a_plan_counts_what_the_batch_of_the_run_takes(
    tmp_path: Path, projected: list[BatchMemory]
) -> None:
    problem = make_problem(1, num_examples=3_000, num_annotators=5, num_classes=3, pool=5_000)
    inputs: dict[str, Any] = {
        "labels": problem.labels,
        "pred_probs": problem.pred_probs,
        "pred_probs_unlabeled": problem.pool,
    }
    plan = daskal.plan(**inputs, batch_size=500, max_per_group=2, memory_limit="2GiB")
    run = daskal.run(**inputs, out=tmp_path / "s.zarr")
    groups = tuple([f"{row:{TEXT}d}" for row in range(num)] for num in (3_000, 5_000))
    run.next_batch(size=500, groups=groups, max_per_group=2, stop_at_quality=0.9)
    assert plan.batch is not None
    for planned, real in zip(plan.batch.sources, projected[0].sources, strict=True):
        assert planned[:3] == real[:3]
        assert planned.rankings == real.rankings
        assert planned.reading_bytes >= real.num_rows * 8 * 2
    assert plan.batch.held_bytes == projected[0].held_bytes
    assert f"batch         {plan.batch}" in repr(plan)
    assert daskal.plan(**inputs).batch is None


def test_a_plan_beyond_the_limit_says_that_it_is_the_batch() -> None:
    pool = np.broadcast_to(np.float32(0.5), (1_000_000, 2))
    given: dict[str, Any] = {"memory_limit": "700MiB", "threads_per_worker": 1}
    assert daskal.plan(pred_probs_unlabeled=pool, batch_size=10**6, **given).fits
    plan = daskal.plan(pred_probs_unlabeled=pool, batch_size=10**6, max_per_group=1, **given)
    assert not plan.fits
    assert plan.batch is not None
    assert plan.worker_bytes == plan.idle_bytes + plan.batch.worker_bytes(1)
    with pytest.raises(MemoryLimitError) as caught:
        plan.check()
    text = str(caught.value)
    assert "per worker, to choose a batch of 1,000,000 examples with groups: " in text
    assert "choose a smaller batch" in text
    daskal.plan(pred_probs_unlabeled=pool, batch_size=1_000, max_per_group=1, **given).check()
