"""What the tests of engines share: an example run as its users run it, and the local run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import daskal
from daskal.demo import Crowd, make
from tests.faultkit import ROOT, contents, environment


def make_demo(folder: Path) -> dict[str, bytes]:
    """Make inputs in a folder; return the store of the local run over them."""
    make(Crowd(2_000, 20_000), folder)
    daskal.run(
        labels=folder / "labels.zarr",
        pred_probs=folder / "pred_probs.zarr",
        pred_probs_unlabeled=folder / "unlabeled.zarr",
        out=folder / "local.zarr",
    )
    return contents(folder / "local.zarr")


def run_example(name: str, *arguments: str, **variables: str) -> str:
    """Return what an example prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
