"""Score one snapshot of an Icechunk repository, and commit the scores as one snapshot.

Inputs are read at a snapshot, whatever is committed meanwhile. The run writes plain Zarr, which can
be resumed; once it is finished, its arrays are copied into the repository and committed together.

Run with ``python examples/icechunk_scores.py``. Needs icechunk.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import icechunk
import zarr

import daskal
from daskal.demo import Crowd, make


def score(repo: icechunk.Repository, snapshot: str, out: Path, **options: Any) -> daskal.Run:
    """Return the result of both passes over the arrays of a snapshot."""
    session = repo.readonly_session(snapshot_id=snapshot)
    inputs = zarr.open_group(session.store, mode="r")
    return daskal.run(
        labels=inputs["labels"],
        pred_probs=inputs["pred_probs"],
        pred_probs_unlabeled=inputs["unlabeled"],
        out=out,
        **options,
    )


def commit(repo: icechunk.Repository, out: Path, group: str = "scores") -> str:
    """Return the snapshot in which all arrays of a result are, with its estimate."""
    session = repo.writable_session("main")
    result = zarr.open_group(out, mode="r")
    copy(result, zarr.open_group(session.store, path=group, mode="w"))
    estimate = json.loads((out / "estimate.json").read_text())
    zarr.open_group(session.store, path=group).attrs["estimate"] = estimate
    return session.commit(f"scores of {out.name}")


def copy(source: zarr.Group, target: zarr.Group) -> None:
    """Copy all that is in a group, chunk by chunk, as it is stored."""
    target.attrs.update(source.attrs)
    for name, member in source.members():
        if isinstance(member, zarr.Array):
            place = f"{target.path}/{name}"
            zarr.from_array(target.store, data=member, name=place, fill_value=member.fill_value)
        else:
            copy(member, target.create_group(name))


def fill(repo: icechunk.Repository, crowd: Crowd) -> str:
    """Return a new snapshot with labels and probabilities of a simulated crowd."""
    session = repo.writable_session("main")
    with tempfile.TemporaryDirectory() as folder:
        make(crowd, Path(folder))
        for name in ("labels", "pred_probs", "unlabeled"):
            made = zarr.open_array(Path(folder) / f"{name}.zarr", mode="r")
            zarr.from_array(
                session.store, data=made, name=name, fill_value=made.fill_value, overwrite=True
            )
    return session.commit("labels and probabilities")


def main(folder: Path, *, short: bool) -> None:
    # An absolute path: workers may be in another folder.
    storage = icechunk.local_filesystem_storage(str(folder.absolute() / "crowd.icechunk"))
    repo = icechunk.Repository.open_or_create(storage)
    snapshot = fill(repo, Crowd(2_000, 20_000) if short else Crowd(100_000, 1_000_000))
    print(score(repo, snapshot, folder / "scores.zarr", overwrite=True))
    print(
        f"The scores of snapshot {snapshot} are in snapshot {commit(repo, folder / 'scores.zarr')}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="folder to write to (default: a temporary one)")
    parser.add_argument("--short", action="store_true", help="fewer examples")
    given = parser.parse_args()
    main(given.folder or Path(tempfile.mkdtemp()), short=given.short)
