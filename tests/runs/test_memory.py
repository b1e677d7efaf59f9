"""What a worker really takes, against what a plan projects; and data ten times its memory.

A worker process of Dask's own command; its peaks come from the kernel (``VmHWM``), which can be set
back between the cases.
"""

from __future__ import annotations

import gc
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

import daskal
from daskal.inputs import blocks
from daskal.runs.memory import IDLE_WORKER_BYTES
from daskal.text import MIB
from tests.faultkit import command_cluster
from tests.problems import make_problem
from tests.tagkit import make_tags

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc"),
]

# The nanny's own setting: large blocks go back to the system as soon as they are freed.
SETTINGS = {"MALLOC_TRIM_THRESHOLD_": "65536"}


def memory(field: str) -> int:
    """Return a line of the process's status, in bytes."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) * 1024


def reset_peak() -> int:
    """Forget the peak so far; what is in use now."""
    gc.collect()
    with open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")
    return memory("VmRSS:")


@contextmanager
def one_worker(directory: Path) -> Iterator[Client]:
    """Yield a worker of one thread that has run a small job, its kernels from the cache."""
    daskal.warmup()
    with (
        command_cluster(directory, 1, **SETTINGS) as cluster,
        Client(cluster.address, set_as_default=False) as client,
    ):
        client.wait_for_workers(1, timeout=120)
        problem = make_problem(1)
        with client.as_current():
            daskal.run(
                labels=problem.labels,
                pred_probs=problem.pred_probs,
                pred_probs_unlabeled=problem.pool,
                out=directory / "warm.zarr",
            )
        yield client


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Yield a worker that the cases share."""
    with one_worker(tmp_path_factory.mktemp("cluster")) as client:
        yield client


class Stored(NamedTuple):
    """An array to be stored."""

    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int
    shard_rows: int | None = None


def store_array(path: Path, stored: Stored, is_labels: bool) -> str:
    """Store random probabilities, which hardly compress, or some votes per row."""
    dtype = np.dtype(stored.dtype)
    num_rows, num_columns = stored.shape
    array = zarr.create_array(
        path,
        shape=stored.shape,
        chunks=(stored.chunk_rows, num_columns),
        shards=None if stored.shard_rows is None else (stored.shard_rows, num_columns),
        dtype=dtype,
    )
    rng = np.random.default_rng(0)
    unit = stored.shard_rows or stored.chunk_rows
    step = max(unit, 200_000 // unit * unit)
    for start in range(0, num_rows, step):
        rows = min(step, num_rows - start)
        if is_labels:
            missing = -1 if dtype.kind == "i" else np.nan
            values = np.full((rows, num_columns), missing, dtype)
            for _ in range(3):
                at = rng.integers(0, num_columns, rows)
                values[np.arange(rows), at] = rng.integers(0, 2, rows)
        else:
            values = rng.random((rows, num_columns), dtype=np.float32)
            values = (values / values.sum(axis=1, keepdims=True)).astype(dtype)
        array[start : start + rows] = values
    return str(path)


def tile_array(path: Path, stored: Stored, is_labels: bool) -> str:
    """Store one chunk under all names: as much to read, decode and score, but little to store."""
    store_array(path, stored._replace(shape=(stored.chunk_rows, stored.shape[1])), is_labels)
    zarr.open_array(path).resize(stored.shape)
    for chunk in range(1, stored.shape[0] // stored.chunk_rows):
        (path / f"c/{chunk}").mkdir()
        os.link(path / "c/0/0", path / f"c/{chunk}/0")
    return str(path)


CASES = {
    "one chunk a block": {"pool": Stored((9_000_000, 10), "f4", 3_000_000)},
    "a few chunks a block": {"pool": Stored((9_000_000, 10), "f4", 600_000)},
    "many chunks a block": {"pool": Stored((9_000_000, 10), "f4", 100_000)},
    "two classes": {"pool": Stored((20_000_000, 2), "f8", 1_000_000)},
    "100 classes": {"pool": Stored((400_000, 100), "f8", 20_000)},
    "1,000 classes": {"pool": Stored((80_000, 1000), "f4", 4096)},
    "shards": {"pool": Stored((1_600_000, 100), "f2", 10_000, 200_000)},
    "a chunk beyond a block": {"pool": Stored((12_000_000, 10), "f4", 6_000_000)},
    "int8 labels": {
        "labels": Stored((3_000_000, 50), "i1", 100_000),
        "pred_probs": Stored((3_000_000, 10), "f4", 100_000),
    },
    "float64 labels": {
        "labels": Stored((600_000, 50), "f8", 50_000),
        "pred_probs": Stored((600_000, 10), "f8", 50_000),
    },
    "500 annotators": {
        "labels": Stored((100_000, 500), "f8", 8192),
        "pred_probs": Stored((100_000, 10), "f4", 8192),
    },
    "labels beside large probabilities": {
        "labels": Stored((300_000, 10), "i2", 100_000),
        "pred_probs": Stored((300_000, 100), "f8", 100_000),
    },
}


@pytest.mark.parametrize("name", CASES)
def test_projected_peak_holds(
    name: str, worker: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """measured <= projected <= 2 x measured, above the idle worker, for blocks over 32 MiB."""
    # Blocks as large as those of far more data.
    monkeypatch.setattr(blocks, "MIN_BLOCKS", 4)
    arguments = {"pool": "pred_probs_unlabeled"}
    paths = {
        arguments.get(key, key): store_array(tmp_path / f"{key}.zarr", stored, key == "labels")
        for key, stored in CASES[name].items()
    }
    with worker.as_current():
        plan = daskal.plan(**paths)
        (idle,) = worker.run(reset_peak).values()
        daskal.run(**paths, out=tmp_path / "out.zarr")
    (peak,) = worker.run(memory, "VmHWM:").values()
    shutil.rmtree(tmp_path)
    block = plan.sections[0].block_bytes
    assert block > 32 * MIB
    measured, projected = peak - idle, plan.worker_bytes - IDLE_WORKER_BYTES
    print(
        f"{name}: block {block / MIB:.0f} MiB, idle {idle / MIB:.0f}, measured "
        f"{measured / MIB:.0f}, projected {projected / MIB:.0f}, {projected / measured:.2f} times"
    )
    assert idle <= IDLE_WORKER_BYTES
    assert measured <= projected <= 2 * measured
    assert peak <= plan.worker_bytes


def test_projected_peak_of_several_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, with a hundred classes an example, on a worker of its own."""
    monkeypatch.setattr(blocks, "MIN_BLOCKS", 4)
    rng = np.random.default_rng(0)
    shapes = {"labels": (120_000, 10, 100), "pred_probs": (120_000, 100)}
    paths: dict[str, Any] = {name: str(tmp_path / f"{name}.zarr") for name in shapes}
    arrays = [
        zarr.create_array(
            paths[name], shape=shape, chunks=(5_000, *shape[1:]), dtype=dtype, fill_value=-1
        )
        for (name, shape), dtype in zip(shapes.items(), ("i1", "f8"), strict=True)
    ]
    for start in range(0, 120_000, 5_000):
        rows = slice(start, start + 5_000)
        votes = np.full((5_000, 10, 100), -1, dtype=np.int8)
        for _ in range(3):
            chosen = rng.random((5_000, 100)) < 0.2
            votes[np.arange(5_000), rng.integers(0, 10, 5_000)] = chosen
        arrays[0][rows], arrays[1][rows] = votes, rng.random((5_000, 100))
    paths["multi_label"] = True
    small = make_tags(1, dtype=np.int8)
    with one_worker(tmp_path) as worker, worker.as_current():
        daskal.run(
            labels=small.labels,
            pred_probs=small.pred_probs,
            multi_label=True,
            out=tmp_path / "small.zarr",
        )
        plan = daskal.plan(**paths)
        (idle,) = worker.run(reset_peak).values()
        daskal.run(**paths, out=tmp_path / "out.zarr")
        (peak,) = worker.run(memory, "VmHWM:").values()
    shutil.rmtree(tmp_path)
    block = plan.sections[0].block_bytes
    assert block > 32 * MIB
    measured, projected = peak - idle, plan.worker_bytes - IDLE_WORKER_BYTES
    print(
        f"block {block / MIB:.0f} MiB, idle {idle / MIB:.0f}, measured {measured / MIB:.0f}, "
        f"projected {projected / MIB:.0f}, {projected / measured:.2f} times"
    )
    assert idle <= IDLE_WORKER_BYTES
    assert peak <= plan.worker_bytes
    assert measured <= projected <= 2 * measured


def write_table(path: Path, num_rows: int, group_rows: tuple[int, ...]) -> str:
    """Write ids and random probabilities of ten classes, in row groups of these sizes."""
    rng = np.random.default_rng(0)
    names = [f"class {at}" for at in range(10)]
    schema = pa.schema([("task", pa.int64()), *((name, pa.float32()) for name in names)])
    # Ids in no order, each once: the factor and the size have no common divisor.
    ids, start = np.arange(num_rows) * 7_654_321 % num_rows, 0
    with pq.ParquetWriter(path, schema) as writer:
        while start < num_rows:
            for rows in group_rows:
                rows = min(rows, num_rows - start)
                values = rng.random((rows, 10), dtype=np.float32)
                values /= values.sum(axis=1, keepdims=True)
                columns = [ids[start : start + rows], *values.T]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=max(rows, 1))
                start += rows
    return str(path)


TABLES = {
    "row groups of one size": (2**20,),
    "small row groups": (122_880,),
    "row groups of differing sizes": (400_000, 50_000, 900_000),
}


@pytest.mark.parametrize("votes", [False, True], ids=["pool", "votes"])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_ten_million_rows(
    name: str, votes: bool, worker: Client, tmp_path: Path
) -> None:
    """Parquet, read by rows; with votes on 1 % of them, both passes."""
    num_rows = 10_000_000
    given: dict[str, Any] = {
        "pred_probs_unlabeled": write_table(tmp_path / "t.parquet", num_rows, TABLES[name])
    }
    if votes:
        rng = np.random.default_rng(1)
        tasks = np.repeat(rng.choice(num_rows, num_rows // 100, replace=False), 3)
        people = np.tile([[0, 1, 2], [3, 4, 5]], (num_rows // 200, 1)).ravel()
        table = pa.table({"task": tasks, "annotator": people, "label": tasks % 10})
        pq.write_table(table, tmp_path / "votes.parquet")
        given = {"pred_probs": given.popitem()[1], "votes": str(tmp_path / "votes.parquet")}
        given["id_column"] = "task"
    else:
        given["class_columns"] = [f"class {at}" for at in range(10)]
    small = write_table(tmp_path / "small.parquet", 2**19, (2**18,))
    with worker.as_current():
        # What reading tables takes once is there from now on.
        daskal.score_unlabeled(daskal.Table(small, "task")).compute()
        plan = daskal.plan(**given)
        (idle,) = worker.run(reset_peak).values()
        began = time.monotonic()
        run = daskal.run(**given, out=tmp_path / "out.zarr")
        seconds = time.monotonic() - began
    pool_rows = len(run.pool)
    (peak,) = worker.run(memory, "VmHWM:").values()
    measured, projected = peak - idle, plan.worker_bytes - plan.idle_bytes
    print(
        f"{name}, {'votes' if votes else 'pool'}: {pool_rows:,} rows of the pool in "
        f"{seconds:.1f} s, idle {idle / MIB:.0f} MiB, measured {measured / MIB:.0f}, projected "
        f"{projected / MIB:.0f}, the worker in all {peak / MIB:.0f} of "
        f"{plan.worker_bytes / MIB:.0f}"
    )
    shutil.rmtree(tmp_path)
    assert pool_rows == (num_rows * 99 // 100 if votes else num_rows)
    assert measured <= projected
    assert peak <= plan.worker_bytes


def watch(dask_worker: Any) -> dict[str, Any]:
    """Return a worker's peak, and what it did for lack of memory."""
    return {
        "peak": memory("VmHWM:"),
        "spilled": len(getattr(dask_worker.data, "slow", ())),
        "status": dask_worker.status.name,
        "pid": os.getpid(),
    }


def test_ten_times_the_memory_of_all_workers(tmp_path: Path) -> None:
    """Labeled data and pool together; no spill, no pause, no restart, within the limit."""
    limit = 800 * MIB
    rows, pool_rows, chunk = 1_000_000, 20_000_000, 5_000
    paths = {
        "labels": tile_array(tmp_path / "labels", Stored((rows, 300), "i1", chunk), True),
        "pred_probs": tile_array(tmp_path / "probs", Stored((rows, 100), "f8", chunk), False),
        "pred_probs_unlabeled": tile_array(
            tmp_path / "pool", Stored((pool_rows, 100), "f8", chunk), False
        ),
    }
    with command_cluster(tmp_path / "cluster", 0, **SETTINGS) as cluster:
        for number in range(2):
            cluster.add_worker(f"worker-{number}", memory_limit=limit, **SETTINGS)
        with Client(cluster.address) as client:
            client.wait_for_workers(2, timeout=120)
            before = client.run(os.getpid)
            plan = daskal.plan(**paths, memory_limit=limit)
            data = sum(array.num_bytes for part in plan.sections for array in part.arrays)
            assert data >= 10 * 2 * limit
            daskal.run(**paths, out=tmp_path / "out.zarr", memory_limit=limit)
            found = client.run(watch)
            logs = "".join(text for log in client.get_worker_logs().values() for _, text in log)
    shutil.rmtree(tmp_path)
    peaks = [worker["peak"] / MIB for worker in found.values()]
    print(
        f"{data / 2**30:.1f} GiB by 2 workers of {limit / MIB:.0f} MiB, projected "
        f"{plan.worker_bytes / MIB:.0f}, peaks {[round(peak) for peak in peaks]} MiB"
    )
    assert {address: worker["pid"] for address, worker in found.items()} == before
    assert all(peak * MIB <= limit for peak in peaks)
    assert all(worker["spilled"] == 0 for worker in found.values())
    assert all(worker["status"] == "running" for worker in found.values())
    for word in ("Pausing", "paused", "spill", "Restarting", "exceeded"):
        assert word not in logs
