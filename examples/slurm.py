"""Score Zarr stores by jobs of SLURM, which dask-jobqueue submits.

Run ``python examples/slurm.py --folder DIR`` where ``sbatch`` works, with a folder that all nodes
see. ``ci/slurm python examples/slurm.py --interface lo`` tries it on one machine, with a SLURM of
its own. Needs dask-jobqueue.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client

import daskal
from daskal.demo import Crowd, make


def score(folder: Path, jobs: int, interface: str | None = None) -> daskal.Run:
    """Return the result of both passes, computed by jobs of one thread each."""
    cluster = SLURMCluster(
        cores=1,
        processes=1,
        memory="2GiB",
        walltime="02:00:00",
        interface=interface,  # the network that all nodes are on, such as "ib0"
        log_directory=str(folder / "logs"),
        job_script_prologue=[f"{sys.executable} -m daskal.cli warmup"],
    )
    with cluster, Client(cluster) as client:
        # Unlike scale(), this submits another job for each that is cancelled or out of time.
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
        client.wait_for_workers(1)
        return daskal.run(
            labels=folder / "labels.zarr",
            pred_probs=folder / "pred_probs.zarr",
            pred_probs_unlabeled=folder / "unlabeled.zarr",
            out=folder / "scores.zarr",
            memory_limit="2GiB",
            resume=True,
        )


def main(folder: Path, *, jobs: int, interface: str | None, short: bool) -> None:
    if not (folder / "labels.zarr").exists():
        make(Crowd(2_000, 20_000) if short else Crowd(100_000, 1_000_000), folder)
    print(score(folder, jobs, interface))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where inputs are, or are made, and scores go")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--interface", help="the network that all nodes are on")
    parser.add_argument("--short", action="store_true", help="fewer examples")
    given = parser.parse_args()
    main(
        given.folder or Path(tempfile.mkdtemp()),
        jobs=given.jobs,
        interface=given.interface,
        short=given.short,
    )
