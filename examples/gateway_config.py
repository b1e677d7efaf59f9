"""A Dask Gateway on one machine: ``dask-gateway-server --config examples/gateway_config.py``.

Its clusters are processes of whoever starts it, all with the same rights: for one team on a machine
that it trusts. ``DASKAL_GATEWAY_PASSWORD`` in the environment is what clients have to know.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dask_gateway_server.options import Float, Integer, Options

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821  (given by traitlets)

c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = os.environ["DASKAL_GATEWAY_PASSWORD"]
# The one address that clients need: of the HTTP API, and of all their schedulers behind it.
c.Proxy.address = "127.0.0.1:8000"

# The gateway's defaults, dask-scheduler and dask-worker, no longer come with distributed.
c.ClusterConfig.scheduler_cmd = [sys.executable, "-m", "dask", "scheduler"]
c.ClusterConfig.worker_cmd = [sys.executable, "-m", "dask", "worker"]
# What each worker finds, beside PATH, PYTHONPATH and the like: not all of the server's environment.
c.ClusterConfig.environment = {
    name: os.environ[name] for name in ("NUMBA_CACHE_DIR",) if name in os.environ
}
c.ClusterConfig.cluster_max_workers = 8
c.ClusterConfig.idle_timeout = 3600  # seconds after which a forgotten cluster ends


def cluster_options(options: Any) -> dict[str, Any]:
    """Return the settings of a cluster, given what a client asked for."""
    return {
        "worker_cores": 1,
        "worker_threads": options.worker_threads,
        "worker_memory": f"{options.worker_memory} G",
    }


c.Backend.cluster_options = Options(
    Integer("worker_threads", default=1, min=1, max=4, label="Threads of a worker"),
    Float("worker_memory", default=2, min=1, max=8, label="Memory of a worker, in GiB"),
    handler=cluster_options,
)
