"""Memory that a tile has freed is there for the next one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from daskal.engine.workers import KEPT_BYTES, LARGEST_KEPT

# Pages fetched while arrays, as many as a tile has at once, are taken and freed over and over.
CHURN = f"""
import resource, sys
import numpy as np
from daskal.engine.workers import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def churn(size):
    arrays = [np.ones(size) for _ in range(9)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

size = {KEPT_BYTES} // 8 // 10
assert size * 8 < {LARGEST_KEPT}
churn(size)
before = faults()
for _ in range(20):
    churn(size)
print(faults() - before)
"""


def pages_fetched(how: str, **settings: str) -> int:
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", CHURN, how],
        env={**others, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None, reason="glibc's matter"
)
@pytest.mark.parametrize("settings", [{}, {"MALLOC_TRIM_THRESHOLD_": "65536"}])
def test_freed_memory_is_kept_between_tiles(settings: dict[str, str]) -> None:
    assert pages_fetched("keep", **settings) < 500
    if settings:
        # As Dask's nanny starts its workers, each array would be fetched anew, every time.
        assert pages_fetched("leave", **settings) > 10_000
