"""The measurements behind docs/performance.md run through, at sizes that say nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import realdata

ROOT = Path(__file__).resolve().parent.parent


def run_small(name: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--small"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_rows"),
    [
        ("compare", 18),
        ("overlap", 1),
        ("scheduler", 3),
        ("growth", 3),
        ("scaling", 4),
        ("batch", 8),
        ("multi_label", 3),
    ],
)
def test_a_measurement_prints_its_table(name, num_rows):
    _, empty, header, rule, *rows = run_small(name)
    assert empty == ""
    assert set(rule) <= set("|- ")
    assert len(rows) == num_rows
    assert {row.count("|") for row in rows} == {header.count("|")}


def test_the_profile_names_functions():
    printed = "\n".join(run_small("profile"))
    # Compiled kernels are one function to Python's profiler.
    assert "compiling.__call__" in printed


@pytest.mark.slow
def test_workers_print_what_was_measured_and_what_follows():
    printed = run_small("workers")
    assert [line.split()[1] for line in printed[4:6]] == ["10", "100"]
    rows = [line.split(" | ")[:2] for line in printed[9:]]
    assert [row[0] for row in rows[:5]] == [f"| 10^{power}" for power in range(8, 13)]
    assert [row[1] for row in rows] == ["10"] * 5 + ["100"] * 5


@pytest.mark.slow
def test_votes_print_two_tables():
    printed = run_small("votes")
    at = printed.index("", 2)
    assert [line.partition(",")[0] for line in printed[4:at]] == ["| dawid_skene", "| one_coin"]
    assert [line.split()[1] for line in printed[at + 3 :]] == ["10,000", "100,000"]


@pytest.mark.slow
def test_unlike_batches_print_two_tables():
    printed = run_small("unlike")
    at = printed.index("", 2)
    distinct = [float(line.split("|")[2].strip(" %")) for line in printed[4:at]]
    assert distinct[0] < 50
    assert distinct[1:4] == [100.0] * 3
    assert distinct[0] < distinct[4] < 100
    assert len(printed[at + 3 :]) == 5


@pytest.mark.skipif(
    not (realdata.DATA / "rte" / "truth.parquet").exists(),
    reason="no real data under DASKAL_TEST_DATA or ../shared/data",
)
def test_the_truth_is_compared_set_by_set():
    header, _, *rows = run_small("truth")
    names = [name.strip() for name in header.strip("|").split("|")]
    assert names[5:] == ["majority vote", "one coin", "Dawid-Skene", "CROWDLAB"]
    found = {row.split("|")[1].strip(): row.split("|") for row in rows}
    assert set(found) >= set(realdata.PROBS_OF)
    assert found["rte"][2].strip() == "8,000"
    # On bluebird a bias that most share misleads the majority, but not Dawid and Skene.
    majority, skene = (float(found["bluebird"][at].strip(" %")) for at in (6, 8))
    assert majority < 80 < skene
