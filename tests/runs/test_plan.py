"""The arithmetic of blocks, tasks, bytes and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import daskal
from daskal.engine import reduction
from daskal.engine.graph import count_tasks, new_name
from daskal.errors import InputError, MemoryLimitError
from daskal.inputs import blocks
from daskal.inputs.blocks import RowBlocks, block_edges, choose_block
from daskal.inputs.sources import make_source
from daskal.kernels import second_pass, tiles
from daskal.kernels.first_pass import consensus_statistics, label_statistics
from daskal.method.values import Block
from daskal.runs import memory, passes
from daskal.runs.memory import ArrayPlan, SectionPlan
from daskal.runs.plan import Plan
from daskal.text import MIB, format_bytes
from tests.counting import counted_array
from tests.problems import forbid_compute, make_problem


def test_blocks_of_a_small_array() -> None:
    assert choose_block(10, 8, [4]) == (10, "all rows fit one block")
    assert choose_block(0, 8, [4]).rows == 1
    assert block_edges(0, 1) == [0, 0]
    assert block_edges(10, 4) == [0, 4, 8, 10]


def test_blocks_keep_4096_rows_until_there_are_32() -> None:
    assert choose_block(9_000, 8, [1]) == (4096, "no block is smaller than 4,096 rows")
    rows, reason = choose_block(1_000_000, 8, [1])
    assert rows == 31_250
    assert reason == "at least 32 blocks, so that every core has work"


@pytest.mark.parametrize(
    ("num_rows", "row_bytes", "sizes", "why"),
    [
        (32_768, 80, [32_768], "all rows fit one block"),
        (60_000, 1_080, [30_000] * 2, "an even number of equal blocks of at most 32,768 rows"),
        (100_000, 480, [25_000] * 4, "an even number of equal blocks of at most 32,768 rows"),
        (5_000, 80_000, [1_250] * 4, "an even number of equal blocks of at most 128.0 MiB"),
        (2_000_000, 8, [62_500] * 32, "at least 32 blocks, so that every core has work"),
    ],
)
def test_blocks_in_memory_are_equal_and_even_in_number(
    num_rows: int, row_bytes: int, sizes: list[int], why: str
) -> None:
    rows, reason = choose_block(num_rows, row_bytes, [1], in_memory=True)
    assert np.diff(block_edges(num_rows, rows)).tolist() == sizes
    assert reason == why


def test_blocks_of_an_object_store_gather_chunks() -> None:
    rows, reason = choose_block(500_000, 400, [5_000], late_rows=50_000)
    assert rows == 50_000
    assert reason.startswith("10 storage chunks are asked for together")
    assert choose_block(10**9, 400, [5_000], late_rows=50_000).rows == 335_000
    assert (
        choose_block(10**9, 40_000, [100], late_rows=50_000).rows
        == 128 * MIB // 40_000 // 100 * 100
    )


def test_blocks_hold_128_mib_at_most() -> None:
    rows, reason = choose_block(10**9, 40, [1])
    assert rows == 128 * MIB // 40
    assert reason == "as many rows as 128.0 MiB hold"
    rows, reason = choose_block(10**9, 40, [1000, 1500])
    assert rows % 3000 == 0
    assert 128 * MIB // 40 - 3000 < rows <= 128 * MIB // 40
    assert reason == "as many rows as 128.0 MiB hold, in whole storage chunks of 3,000"


def test_chunk_larger_than_a_block_is_a_block() -> None:
    rows, reason = choose_block(10**9, 40, [10**7, 300])
    assert rows == 10**7
    assert reason == "a storage chunk has 10,000,000 rows, and a chunk is never read in parts"


@given(
    num_rows=st.integers(0, 10**10),
    row_bytes=st.integers(1, 10**6),
    chunk_rows=st.lists(st.integers(1, 10**6), min_size=1, max_size=3),
)
def test_blocks_cover_all_rows_on_chunk_edges(
    num_rows: int, row_bytes: int, chunk_rows: list[int]
) -> None:
    rows, reason = choose_block(num_rows, row_bytes, chunk_rows)
    assert 1 <= rows <= max(1, num_rows)
    assert reason
    if rows < num_rows:
        assert rows % max(chunk_rows) == 0
        if rows * row_bytes > blocks.TARGET_BLOCK_BYTES:
            assert rows == max(chunk_rows)


@pytest.mark.parametrize("num_blocks", [1, 2, 8, 9, 64, 65, 1000])
def test_tasks_are_counted_as_dask_makes_them(num_blocks: int) -> None:
    rows = np.zeros((num_blocks, 2))
    source = make_source("pool", rows, 0)
    blocks = RowBlocks((source,), tuple(range(num_blocks + 1)), False)
    graph = reduction.tree(blocks, "pool", new_name).task.dask
    assert len(dict(graph)) == count_tasks(num_blocks)


# ---------------------------------------------------------------------------------- memory


def section(rows: int, *arrays: ArrayPlan) -> SectionPlan:
    return SectionPlan(
        "unlabeled", 10 * rows, 10, rows, "because", arrays, 13, 8, 0, tiles.KERNEL_BYTES
    )


def test_projected_peak_of_a_task() -> None:
    """A stored block is there whole while chunks in flight are there twice; results thrice."""
    shape = (10_000, 100)
    big = ArrayPlan("pool", shape, "float64", "stored", 10_000, 800, 80_000, (0, 1), 1.0, 800_000)
    assert big.transient_bytes(100) == 2 * 80_000
    assert big.transient_bytes(10_000) == 2 * 800_000
    assert replace(big, stored_share=0.25).transient_bytes(10_000) == 1.25 * 800_000
    one = replace(big, chunk_bytes=2**30, in_flight_bytes=2**30)
    assert one.transient_bytes(100) == 2 * 2**30
    small = ArrayPlan("pool", (10_000, 100), "float64", "memory", 10_000, 800, 0, (0, 1))
    assert small.transient_bytes(100) == 0
    lazy = ArrayPlan("pool", (10_000, 100), "float64", "lazy", 10_000, 800, 0, (0, 1))
    assert lazy.transient_bytes(100) == 80_000
    task = section(1000, big).task_bytes - tiles.KERNEL_BYTES
    assert task == 1000 * 800 + 2 * 800_000
    assert section(1000, small).task_bytes - tiles.KERNEL_BYTES == 1000 * 800 + 3 * 1000 * 8
    # The labels are held while the probabilities are read.
    both = section(1000, small, big).task_bytes - tiles.KERNEL_BYTES
    assert both == 2 * 1000 * 800 + 2 * 800_000


def test_peak_of_a_worker_grows_with_its_threads() -> None:
    part = section(1000, ArrayPlan("p", (10_000, 100), "f8", "stored", 10_000, 800, 80_000, (0, 1)))
    one, four = Plan((part,), 1), Plan((part,), 4)
    assert four.worker_bytes - memory.IDLE_WORKER_BYTES == 4 * one.task_bytes
    assert one.worker_bytes - memory.IDLE_WORKER_BYTES == one.task_bytes


def test_refusal_names_the_numbers_and_a_way_out() -> None:
    chunk = 800 * 10**6
    array = ArrayPlan(
        "pool", (10**7, 100), "f8", "stored", 10**7, 800, chunk, (0, 1), in_flight_bytes=chunk
    )
    part = section(10**6, array)
    plan = Plan((part,), 4, 4 * 2**30)
    with pytest.raises(MemoryLimitError) as caught:
        plan.check()
    needed = format_bytes(plan.worker_bytes)
    idle = format_bytes(memory.IDLE_WORKER_BYTES)
    text = str(caught.value)
    enough = format_bytes(plan.worker_bytes / memory.USABLE_SHARE)
    assert f"needed: {needed} per worker (4 tasks of 2.3 GiB beside {idle}" in text
    assert "allowed: 2.8 GiB (70 % of the limit of 4.0 GiB" in text
    assert "block: 1,000,000 rows of unlabeled, 762.9 MiB (because)" in text
    assert f"use 1 thread per worker instead of 4, or set a memory limit of {enough}" in text
    assert "store pool in smaller chunks" in text
    Plan((part,), 1, 4 * 2**30).check()
    Plan((part,), 64).check()


# ------------------------------------------------------------------------------------ plans


def test_plan_reads_nothing_and_counts_bytes(tmp_path: Path) -> None:
    problem = make_problem(1, num_examples=9_000, num_annotators=5, num_classes=3, pool=10_000)
    labels, label_store = counted_array(tmp_path / "labels", problem.labels, chunks=(2048, 5))
    probs, _ = counted_array(tmp_path / "probs", problem.pred_probs, chunks=(1024, 3))
    pool, pool_store = counted_array(tmp_path / "pool", problem.pool, chunks=(1000, 3))
    with forbid_compute():
        plan = daskal.plan(
            labels=labels,
            pred_probs=probs,
            pred_probs_unlabeled=pool,
            memory_limit="2GiB",
            threads_per_worker=2,
        )
    assert not label_store.reads()
    assert not pool_store.reads()
    labeled, unlabeled = plan.sections
    assert (labeled.num_blocks, labeled.block_rows) == (3, 4096)
    assert (unlabeled.num_blocks, unlabeled.block_rows) == (3, 4000)
    assert [array.pass_bytes for array in labeled.arrays] == [
        (2 * 9_000 * 40, 9_000 * 40),
        (2 * 9_000 * 24, 9_000 * 24),
    ]
    assert unlabeled.arrays[0].pass_bytes == (0, 240_000)
    assert plan.bytes_to_read == 3 * 9_000 * 64 + 240_000
    assert plan.bytes_to_write == 9_000 * 32 + 10_000 * 8
    assert plan.num_tasks == 4 * (3 + 1 + 1)
    assert plan.fits
    text = " ".join(repr(plan).split())
    assert "labels: stored (9000, 5) float64 703.1 KiB in pass 1 (2x), " in " ".join(text.split())
    assert "a worker of 2 threads" in text
    assert "2.0 GiB per worker: fits" in text


def test_plan_without_pass_1() -> None:
    problem = make_problem(1)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    given_arrays = {"labels": problem.labels, "pred_probs": problem.pred_probs}
    plan = daskal.plan(**given_arrays, estimate=estimate)
    assert [array.reads for array in plan.sections[0].arrays] == [(0, 1), (0, 1)]
    plan = daskal.plan(**given_arrays, consensus_method="majority_vote")
    assert [array.reads for array in plan.sections[0].arrays] == [(1, 1), (1, 1)]
    with pytest.raises(InputError, match="consensus_method"):
        daskal.plan(**given_arrays, consensus_method="coin")


# ---------------------------------------------------------------------------------- kernels


class Sink:
    """Takes what is written."""

    def write(self, start: int, stop: int, columns: object) -> None:
        pass


@pytest.mark.parametrize(("num_classes", "num_models"), [(4000, 1), (1500, 3)])
def test_kernels_of_many_classes_take_what_is_projected(num_classes: int, num_models: int) -> None:
    rng = np.random.default_rng(1)
    probs = rng.random((num_models, 300, num_classes), dtype=np.float32)
    probs /= probs.sum(axis=2, keepdims=True)
    labels = np.where(rng.random((300, 8)) < 0.3, rng.integers(num_classes, size=(300, 8)), -1)
    estimate = daskal.estimate(labels, probs)
    block = Block(labels, probs, 0)
    kept = {"on_invalid": "raise", "writer": Sink(), "batch_size": 10}
    projected = tiles.kernel_bytes(num_models, num_classes, 300, 8)
    assert projected > tiles.KERNEL_BYTES
    for work in (
        lambda: label_statistics(block, num_annotators=8),
        lambda: consensus_statistics(block, rule=estimate.rule()),
        lambda: passes.store_labeled_block(block, rule=estimate.rule(), **kept),
        lambda: passes.store_unlabeled_block(
            Block(None, probs, 0), rule=estimate.pool_rule(), **kept
        ),
    ):
        work()  # compiles, or loads what is compiled
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= projected


@pytest.mark.slow
@pytest.mark.parametrize("num_annotators", [20, 500])
@pytest.mark.parametrize("dtype", ["i1", "f8"])
def test_kernels_of_a_full_matrix_take_no_more_than_projected(
    num_annotators: int, dtype: str
) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(10, size=(33_000, num_annotators)).astype(dtype)
    probs = rng.dirichlet(np.ones(10), 33_000)
    estimate = daskal.estimate(labels[:100], probs[:100])
    block, rule = Block(labels, [probs], 0), estimate.rule()
    projected = tiles.kernel_bytes(1, 10, 33_000, num_annotators)
    for work in (
        lambda: label_statistics(block, num_annotators=num_annotators),
        lambda: consensus_statistics(block, rule=rule),
        lambda: second_pass.score_labeled_block(block, rule=rule, on_invalid="raise"),
    ):
        work()  # compiles, or loads what is compiled
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= projected


def test_few_classes_take_what_every_task_does() -> None:
    assert tiles.kernel_bytes(1, 10, 1_000_000) == tiles.KERNEL_BYTES


# --- matching by id ---------------------------------------------------------------------------

MATCHING = """
import tracemalloc
import pandas as pd, pyarrow as pa
import daskal

small = pd.DataFrame({"id": ["a", "b"], "cat": 0.5, "dog": 0.5})
votes = pd.DataFrame({"task": ["a", "b"], "annotator": "x", "label": ["cat", "dog"]})
daskal.plan(votes=votes, pred_probs=small, id_column="id")  # imports what is needed

tracemalloc.start()
plan = daskal.plan(votes="votes.parquet", pred_probs="probs.parquet", id_column="id")
traced = tracemalloc.get_traced_memory()[1]
print(plan.matching.peak_bytes, traced + pa.default_memory_pool().max_memory())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "numbers"])
def test_matching_takes_no_more_than_planned(kind: str, tmp_path: Path) -> None:
    num_rows = 2_000_000
    ids = np.arange(num_rows)
    column = pa.array([f"task-{row:015}" for row in ids]) if kind == "text" else pa.array(ids)
    probs = pa.array(np.full(num_rows, 0.5, dtype=np.float32))
    table = pa.table({"id": column, "cat": probs, "dog": probs})
    pq.write_table(table, tmp_path / "probs.parquet", row_group_size=100_000)
    votes = {"annotator": ["x", "y"] * 50, "label": ["cat", "dog"] * 50}
    pq.write_table(
        pa.table({"task": column.take(pa.array(np.arange(100) * 1000)), **votes}),
        tmp_path / "votes.parquet",
    )
    done = subprocess.run(
        [sys.executable, "-c", MATCHING],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    planned, taken = map(int, done.stdout.split())
    # What is held beside ids, such as parts being read, does not grow with the rows.
    assert planned / 2 < taken < planned + 48 * MIB


def test_a_plan_tells_what_matching_takes() -> None:
    table = pd.DataFrame({"id": [f"t{row}" for row in range(100)], "cat": 0.5, "dog": 0.5})
    votes = pd.DataFrame({"task": ["t3", "t5"], "annotator": "x", "label": ["cat", "dog"]})
    plan = daskal.plan(votes=votes, pred_probs=table, id_column="id")
    assert plan.matching is not None
    assert plan.matching.num_rows == 100
    # An offset of 8 bytes and two or three letters.
    assert plan.matching.id_bytes == pytest.approx(100 * (8 + 2.9), abs=16)
    assert plan.matching.held_bytes == plan.matching.id_bytes + 800
    assert plan.process_bytes > plan.worker_bytes
    assert "on threads" in dict(plan.summary())["matching"]
    alone = daskal.plan(pred_probs_unlabeled=table[["cat", "dog"]])
    assert alone.matching is None
    assert alone.process_bytes == alone.worker_bytes
