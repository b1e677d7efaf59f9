"""What an installation is for, run in an environment that has nothing else.

``python ci/extras.py NAME``, from the root of a checkout: ``none`` for the package alone, or the
name of an extra. ``examples`` runs the examples that need scikit-learn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
# Examples by what they need beside the package.
ALONE = ("quickstart", "named_data", "cluster", "llm_judges", "tags", "billion")
WITH_SCIKIT_LEARN = ("active_learning", "inference")
WITH_S3 = ("s3",)
# Run by tests/clusters, which start what they need.
IN_TESTS = ("slurm", "gateway", "gateway_config", "icechunk_scores")


def run(*command: str) -> None:
    """Run a command in an empty folder."""
    print("+", " ".join(command), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def run_example(name: str) -> None:
    """Run an example in its short form."""
    script = EXAMPLES / f"{name}.py"
    short = ["--short"] if "--short" in script.read_text(encoding="utf-8") else []
    run(sys.executable, str(script), *short)


def score_and_open(folder: str) -> Path:
    """Score a little data into a store; return its path."""
    import daskal

    crowd = daskal.demo.Crowd(num_examples=500, num_unlabeled=500, num_annotators=8)
    place = Path(folder) / "demo"
    daskal.demo.make(crowd, place)
    daskal.run(
        labels=place / "labels.zarr",
        pred_probs=place / "pred_probs.zarr",
        pred_probs_unlabeled=place / "unlabeled.zarr",
        out=place / "scores.zarr",
        overwrite=True,
    )
    return place / "scores.zarr"


def check_none() -> None:
    """Run the command line and the examples without any extra."""
    run("daskal", "demo", "--examples", "2000", "--workers", "2")
    for name in ALONE:
        run_example(name)


def check_xarray() -> None:
    """Open a result with xarray, and score a DataArray."""
    import numpy as np
    import xarray

    import daskal

    with tempfile.TemporaryDirectory() as folder:
        found = xarray.open_zarr(score_and_open(folder), group="labeled")
        assert found.sizes == {"example": 500}
        probs = xarray.DataArray(np.full((4, 2), 0.5), dims=("task", "class"))
        assert daskal.score_unlabeled(probs).compute().dims == ("task",)


def check_fast() -> None:
    """Compare the scores that zarrs decodes with those that Zarr does."""
    import numpy as np
    import zarr
    import zarrs  # noqa: F401

    import daskal

    def scores(folder: str) -> np.ndarray:
        return daskal.Run.open(score_and_open(folder)).scores.compute()

    with tempfile.TemporaryDirectory() as folder:
        expected = scores(folder)
    with (
        tempfile.TemporaryDirectory() as folder,
        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}),
    ):
        np.testing.assert_array_equal(scores(folder), expected)


def check_diversity() -> None:
    """Choose unlike examples by clusters of their embeddings."""
    import numpy as np

    import daskal

    points = np.repeat(np.arange(5.0), 4).reshape(-1, 1)
    batch = daskal.next_batch(
        np.arange(20.0), size=5, embeddings=points, diversity="cluster_margin"
    )
    assert sorted(points[batch["row"], 0]) == [0, 1, 2, 3, 4]


def check_s3() -> None:
    """Run the example on object storage, which needs moto and xarray beside the extra."""
    for name in WITH_S3:
        run_example(name)


def check_examples() -> None:
    """Run the examples that need scikit-learn."""
    for name in WITH_SCIKIT_LEARN:
        run_example(name)


CHECKS = {
    "none": check_none,
    "xarray": check_xarray,
    "fast": check_fast,
    "diversity": check_diversity,
    "s3": check_s3,
    "examples": check_examples,
}

if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    CHECKS[sys.argv[1]]()
    print(f"{sys.argv[1]}: works")
