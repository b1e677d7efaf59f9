"""Thousands of graphs of a few tasks are computed in the thread of the test."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    """Compute in the thread of the test."""
    with dask.config.set(scheduler="synchronous"):
        yield
