"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster
from hypothesis import settings

from tests.faultkit import contents, make_inputs, run_client

# Begun in the background of a shell, Python and what it starts ignore interrupts: some tests send
# them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", deadline=None)
# A failure in CI is the change's doing, not that of the seed drawn.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    """Yield a client of two worker processes, one for the whole session.

    It is not Dask's default scheduler: ``with cluster.as_current():`` makes it the active one.
    """
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # With no address the scheduler's HTTP server takes port 8787, and warns if it is taken.
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return stored inputs of a run, whose reads are counted."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="session")
def expected(paths: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the store of the undisturbed run."""
    out = tmp_path_factory.mktemp("undisturbed") / "out.zarr"
    assert run_client(paths, out)[-1] == {"done": True}
    return contents(out)
