"""Score Zarr stores on a cluster that a Dask Gateway starts.

With the same ``DASKAL_GATEWAY_PASSWORD`` in both environments, start the gateway by
``dask-gateway-server --config examples/gateway_config.py``, and then, in another process,
``python examples/gateway.py --folder DIR``.
Needs dask-gateway, and dask-gateway-server[local] for the gateway.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from dask_gateway import BasicAuth, Gateway

import daskal
from daskal.demo import Crowd, make


def score(folder: Path, address: str, workers: int) -> daskal.Run:
    """Return the result of both passes, computed by workers of a new cluster."""
    auth = BasicAuth(username="labeling", password=os.environ["DASKAL_GATEWAY_PASSWORD"])
    with Gateway(address, auth=auth) as gateway:
        options = gateway.cluster_options()
        options.worker_memory = 2  # GiB; what can be chosen is the gateway's to say
        with gateway.new_cluster(options) as cluster, cluster.get_client() as client:
            cluster.scale(workers)
            client.wait_for_workers(1)
            return daskal.run(
                labels=folder / "labels.zarr",
                pred_probs=folder / "pred_probs.zarr",
                pred_probs_unlabeled=folder / "unlabeled.zarr",
                out=folder / "scores.zarr",
                memory_limit="2GiB",
                resume=True,
            )


def main(folder: Path, *, address: str, workers: int, short: bool) -> None:
    if not (folder / "labels.zarr").exists():
        make(Crowd(2_000, 20_000) if short else Crowd(100_000, 1_000_000), folder)
    print(score(folder, address, workers))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where inputs are, or are made, and scores go")
    parser.add_argument("--gateway", default="http://127.0.0.1:8000")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--short", action="store_true", help="fewer examples")
    given = parser.parse_args()
    main(
        given.folder or Path(tempfile.mkdtemp()),
        address=given.gateway,
        workers=given.workers,
        short=given.short,
    )
