"""Memory that is freed and taken again, tile after tile."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

import numpy as np

# Free memory that a thread keeps at most: what the arrays of a tile take together, or a storage
# chunk as it is stored and decoded (measured).
KEPT_BYTES = 32 * 2**20
# Arrays beyond this size, as blocks and large chunks are, go back to the system in any case.
LARGEST_KEPT = 16 * 2**20

# Parameters of mallopt, as glibc's malloc.h numbers them.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


@functools.cache
def keep_freed_memory() -> None:
    """Have the C library keep what one tile has freed for the next one.

    Given back and taken again, every page is cleared and mapped anew: that costs as much as all the
    computing in it. By default glibc keeps twice the largest array it has seen freed; in processes
    of Dask's nanny, which sets ``MALLOC_TRIM_THRESHOLD_``, it keeps nothing unless it is told to.
    """
    np.empty(KEPT_BYTES // 2, dtype=np.uint8)
    if sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
