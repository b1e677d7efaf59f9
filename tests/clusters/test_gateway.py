"""A real Dask Gateway: ``python -m pytest -m cluster tests/clusters/test_gateway.py``."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.kit import make_demo, run_example
from tests.faultkit import (
    DELAY,
    ROOT,
    answers,
    assert_same_store,
    environment,
    finish_client,
    free_port,
    num_records,
    start_client,
    wait_until,
)

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Gateway.__del__"),
]

PASSWORD = {"DASKAL_GATEWAY_PASSWORD": "known-to-tests-alone"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a gateway in its own process, as the example's configuration has it."""
    for module in ("dask_gateway", "dask_gateway_server", "sqlalchemy"):
        pytest.importorskip(module, reason="dask-gateway-server[local] is not installed")
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "dask_gateway_server"),
                *("--config", ROOT / "examples" / "gateway_config.py"),
                f"--Proxy.address=127.0.0.1:{port}",
            ],
            cwd=folder,
            env=environment(**PASSWORD, **{DELAY: "0.1"}),
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: server.poll() is not None or answers(port))
        assert server.poll() is None, (folder / "log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        # It ends its clusters first.
        server.terminate()
        server.wait(60)


@pytest.fixture
def two_workers(gateway: str) -> Iterator[Any]:
    """Yield a cluster of two workers."""
    from dask_gateway import BasicAuth, Gateway

    auth = BasicAuth("tests", PASSWORD["DASKAL_GATEWAY_PASSWORD"])
    with contextlib.ExitStack() as opened:
        connected = opened.enter_context(Gateway(gateway, auth=auth))
        cluster = opened.enter_context(connected.new_cluster(worker_memory=1))
        cluster.scale(2)
        client = opened.enter_context(cluster.get_client(set_as_default=False))
        client.wait_for_workers(2, timeout=120)
        yield cluster
    # A gateway that is closed closes once more when it is deleted, and fails at that.
    del connected, cluster, client
    gc.collect()


def pids(cluster: Any) -> dict[str, int]:
    """Return the processes of workers by address."""
    with cluster.get_client(set_as_default=False) as client:
        return dict(client.run(os.getpid))


def test_the_recipe_gives_the_local_store(gateway: str, tmp_path: Path) -> None:
    expected = make_demo(tmp_path)
    printed = run_example("gateway", "--folder", str(tmp_path), "--gateway", gateway, **PASSWORD)
    assert "2,000" in printed
    assert_same_store(tmp_path / "scores.zarr", expected)


@pytest.mark.parametrize("how", ["removed", "killed"])
def test_a_worker_that_ends_changes_nothing(
    paths: dict[str, str], expected: dict[str, bytes], tmp_path: Path, two_workers: Any, how: str
) -> None:
    out = tmp_path / "out.zarr"
    begun = pids(two_workers)
    connection = {"address": two_workers.gateway.address, "name": two_workers.name}
    client = start_client(
        paths, out, gateway={**connection, "password": PASSWORD["DASKAL_GATEWAY_PASSWORD"]}
    )
    wait_until(lambda: client.poll() is not None or num_records(out) >= 5)
    assert client.poll() is None
    if how == "removed":
        two_workers.scale(1)
    else:
        os.kill(next(iter(begun.values())), signal.SIGKILL)
    assert finish_client(client)[-1] == {"done": True}
    assert_same_store(out, expected)
    left = pids(two_workers)
    assert len(left.items() & begun.items()) == 1


def test_what_the_gateway_does_not_offer_is_refused(gateway: str) -> None:
    from dask_gateway import BasicAuth, Gateway

    auth = BasicAuth("tests", PASSWORD["DASKAL_GATEWAY_PASSWORD"])
    with Gateway(gateway, auth=auth) as connected:
        assert dict(connected.cluster_options()) == {"worker_threads": 1, "worker_memory": 2}
        with pytest.raises(ValueError, match="worker_memory"):
            connected.new_cluster(worker_memory=100)
        assert connected.list_clusters() == []
    del connected
    gc.collect()
