"""The measurements behind docs/performance.md run through, at sizes that say nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("name", "num_rows"),
    [
        ("compare", 18),
        ("overlap", 1),
        ("scheduler", 3),
        ("growth", 3),
        ("scaling", 4),
        ("batch", 8),
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
