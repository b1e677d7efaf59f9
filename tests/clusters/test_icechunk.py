"""Snapshots of Icechunk: ``python -m pytest -m cluster tests/clusters/test_icechunk.py``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import s3fs
import zarr
from distributed import Client

import daskal
from daskal.errors import InputError, ResumeError
from tests.faultkit import NAMES, assert_same_store, command_cluster, contents, moto_server
from tests.problems import Problem, make_problem
from tests.storage.test_remote import KEY, SECRET, Endpoint
from tests.test_examples import load

pytestmark = pytest.mark.cluster

# Three blocks of 4,000 rows in each stage, however quickly storage is believed to answer.
ROWS, CHUNK_ROWS = 12_000, 400


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(7, num_examples=ROWS, num_annotators=6, num_classes=3, pool=ROWS)


@pytest.fixture
def repo(tmp_path: Path) -> Any:
    """Return an empty repository."""
    icechunk = pytest.importorskip("icechunk", reason="icechunk is not installed")
    return icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repo")))


def fill(store: Any, problem: Problem) -> None:
    root = zarr.open_group(store, mode="a")
    for name, values in zip(NAMES, (problem.labels, problem.pred_probs, problem.pool), strict=True):
        assert values is not None
        root.create_array(name, data=values, chunks=(CHUNK_ROWS, values.shape[1]), overwrite=True)


def commit(repo: Any, problem: Problem) -> str:
    """Return the snapshot that holds a problem."""
    session = repo.writable_session("main")
    fill(session.store, problem)
    return str(session.commit("a problem"))


def move_on(repo: Any, problem: Problem) -> str:
    """Return a later snapshot, with other values under the same names."""
    assert problem.pool is not None
    turned = {
        "labels": problem.labels[::-1],
        "pred_probs": problem.pred_probs[::-1],
        "pool": problem.pool[::-1],
    }
    return commit(repo, replace(problem, **turned))


def arrays(store: Any) -> dict[str, zarr.Array]:
    root = zarr.open_group(store, mode="r")
    return {name: root[name] for name in NAMES}


def at(number: int, act: Callable[[], Any]) -> Callable[[Any], None]:
    """Return a callback of progress that acts once, after so many calls."""
    calls = iter(range(number, -1, -1))

    def tell(_: Any) -> None:
        if next(calls, None) == 0:
            act()

    return tell


@pytest.fixture(scope="module")
def plain(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the store of the local run over plain Zarr."""
    folder = tmp_path_factory.mktemp("plain")
    fill(folder / "in.zarr", problem)
    daskal.run(**arrays(folder / "in.zarr"), out=folder / "out.zarr")
    return contents(folder / "out.zarr")


def but_for_places(store: dict[str, bytes]) -> dict[str, Any]:
    """Return a store without where its inputs lay."""
    root = json.loads(store["zarr.json"])
    identity = root["attributes"]["daskal"]["fingerprint"]
    for section in ("labeled", "unlabeled"):
        for source in identity[section]["sources"].values():
            del source["url"]
    return {**store, "zarr.json": root}


def test_a_snapshot_gives_the_local_store_though_a_worker_dies(
    repo: Any, problem: Problem, plain: dict[str, bytes], tmp_path: Path
) -> None:
    inputs = arrays(repo.readonly_session(snapshot_id=commit(repo, problem)).store)
    daskal.run(**inputs, out=tmp_path / "threads.zarr")
    with command_cluster(tmp_path / "cluster", 2) as cluster, Client(cluster.address) as client:
        client.wait_for_workers(2, timeout=120)
        killed: list[bool] = []
        kill = at(2, lambda: killed.append(cluster.kill_one(random.Random(0))))
        daskal.run(**inputs, out=tmp_path / "cluster.zarr", progress=kill)
    assert killed == [True]
    expected = contents(tmp_path / "threads.zarr")
    assert_same_store(tmp_path / "cluster.zarr", expected)
    assert but_for_places(expected) == but_for_places(plain)


def test_a_snapshot_on_s3_gives_the_local_store(
    problem: Problem, plain: dict[str, bytes], cluster: Client, tmp_path: Path
) -> None:
    icechunk = pytest.importorskip("icechunk", reason="icechunk is not installed")
    with moto_server() as url:
        endpoint = Endpoint(url)
        s3fs.S3FileSystem(**endpoint.options, skip_instance_cache=True).mkdir("crowd")
        storage = icechunk.s3_storage(
            bucket="crowd",
            prefix="repo",
            region="us-east-1",
            endpoint_url=url,
            allow_http=True,
            force_path_style=True,
            access_key_id=KEY,
            secret_access_key=SECRET,
        )
        repo = icechunk.Repository.create(storage)
        inputs = arrays(repo.readonly_session(snapshot_id=commit(repo, problem)).store)
        with cluster.as_current():
            daskal.run(**inputs, out=tmp_path / "out.zarr")
    found = contents(tmp_path / "out.zarr")
    assert but_for_places(found) == but_for_places(plain)
    assert not [key for key, content in found.items() if SECRET.encode() in content]


def test_a_branch_that_moves_on_changes_nothing(
    repo: Any, problem: Problem, plain: dict[str, bytes], tmp_path: Path
) -> None:
    """A read-only session stays at the snapshot the branch was at when it was opened."""
    commit(repo, problem)
    inputs = arrays(repo.readonly_session("main").store)
    later = at(2, lambda: move_on(repo, problem))
    daskal.run(**inputs, out=tmp_path / "out.zarr", progress=later)
    assert but_for_places(contents(tmp_path / "out.zarr")) == but_for_places(plain)
    now = arrays(repo.readonly_session("main").store)
    assert daskal.estimate(now["labels"], now["pred_probs"]) == daskal.estimate(
        problem.labels[::-1], problem.pred_probs[::-1]
    )


class StoppedError(Exception):
    """The end of a client."""


def stop() -> None:
    raise StoppedError


def test_a_run_is_resumed_at_its_snapshot_and_no_other(
    repo: Any, problem: Problem, plain: dict[str, bytes], tmp_path: Path
) -> None:
    begun, out = commit(repo, problem), tmp_path / "out.zarr"
    inputs = arrays(repo.readonly_session(snapshot_id=begun).store)
    with dask.config.set(scheduler="sync"), pytest.raises(StoppedError):
        daskal.run(**inputs, out=out, progress=at(5, stop))
    later = move_on(repo, problem)
    with pytest.raises(ResumeError, match=rf"was 'icechunk://{begun}/.*is 'icechunk://{later}/"):
        daskal.run(**arrays(repo.readonly_session("main").store), out=out, resume=True)
    # Opened anew, as another client does.
    inputs = arrays(repo.readonly_session(snapshot_id=begun).store)
    finished: list[Any] = []
    daskal.run(**inputs, out=out, resume=True, progress=finished.append)
    assert finished[0].done > 0
    assert but_for_places(contents(out)) == but_for_places(plain)


def test_a_snapshot_that_is_deleted_meanwhile_is_one_error(
    repo: Any, problem: Problem, tmp_path: Path
) -> None:
    begun, out = commit(repo, problem), tmp_path / "out.zarr"

    def delete() -> None:
        move_on(repo, problem)
        repo.expire_snapshots(datetime.now(UTC))
        assert repo.garbage_collect(datetime.now(UTC)).chunks_deleted > 0

    inputs = arrays(repo.readonly_session(snapshot_id=begun).store)
    with (
        dask.config.set(scheduler="sync"),
        pytest.raises(
            daskal.DaskalError, match=rf"rows .* of icechunk://{begun}/.* cannot be read"
        ),
    ):
        daskal.run(**inputs, out=out, progress=at(2, delete))
    with pytest.raises(daskal.DaskalError, match="not finished"):
        daskal.Run.open(out)


def test_changes_in_no_snapshot_are_refused(repo: Any, problem: Problem, tmp_path: Path) -> None:
    session = repo.writable_session("main")
    fill(session.store, problem)
    inputs = arrays(session.store)
    with pytest.raises(InputError, match=r"repo\.readonly_session\(snapshot_id="):
        daskal.run(**inputs, out=tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
    # In this process alone, values that may change are as good as those in memory.
    found = daskal.score_unlabeled(inputs["pred_probs_unlabeled"]).compute()
    np.testing.assert_array_equal(found, daskal.score_unlabeled(problem.pool).compute())


# Zarr warns of codecs that are in no specification, which HDF5 uses.
@pytest.mark.filterwarnings("ignore::zarr.errors.ZarrUserWarning")
def test_chunks_of_hdf5_that_a_snapshot_refers_to(
    problem: Problem, cluster: Client, tmp_path: Path
) -> None:
    for module in ("icechunk", "virtualizarr", "h5py", "obstore"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    import h5py
    import icechunk
    import obstore
    import virtualizarr
    from obspec_utils.registry import ObjectStoreRegistry
    from virtualizarr.parsers import HDFParser

    assert problem.pool is not None
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.create_dataset("pool", data=problem.pool, chunks=(CHUNK_ROWS, 3), compression="gzip")
    config, where = icechunk.RepositoryConfig.default(), f"{tmp_path.as_uri()}/"
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(where, icechunk.local_filesystem_store(str(tmp_path)))
    )
    # Of version 2; version 1 says None.
    access = getattr(icechunk.credentials, "LocalFileSystemAccess", None)
    repo = icechunk.Repository.create(
        icechunk.local_filesystem_storage(str(tmp_path / "repo")),
        config,
        authorize_virtual_chunk_access={where: access},
    )
    registry = ObjectStoreRegistry({"file://": obstore.store.LocalStore()})
    session, url = repo.writable_session("main"), (tmp_path / "model.h5").as_uri()
    with virtualizarr.open_virtual_dataset(url, registry=registry, parser=HDFParser()) as found:
        found.vz.to_icechunk(session.store)
    snapshot = session.commit("chunks of model.h5")
    root = zarr.open_group(repo.readonly_session(snapshot_id=snapshot).store, mode="r")
    with cluster.as_current():
        run = daskal.run(pred_probs_unlabeled=root["pool"], out=tmp_path / "out.zarr")
    expected = daskal.score_unlabeled(problem.pool).compute()
    assert run.pool.compute().tobytes() == expected.tobytes()


def test_scores_are_committed_as_one_snapshot(repo: Any, tmp_path: Path) -> None:
    example = load("icechunk_scores")
    snapshot = example.fill(repo, daskal.demo.Crowd(2_000, 20_000))
    run = example.score(repo, snapshot, tmp_path / "out.zarr")
    committed = example.commit(repo, tmp_path / "out.zarr")
    first, second = list(repo.ancestry(branch="main"))[:2]
    assert (first.id, second.id) == (committed, snapshot)
    scores = zarr.open_group(
        repo.readonly_session(snapshot_id=committed).store, path="scores", mode="r"
    )
    plain = zarr.open_group(tmp_path / "out.zarr", mode="r")
    members = dict(plain.members(max_depth=None))
    assert set(dict(scores.members(max_depth=None))) == set(members)
    for name, member in members.items():
        if isinstance(member, zarr.Array):
            assert str(scores[name].metadata.to_dict()) == str(member.metadata.to_dict())
            assert scores[name][:].tobytes() == member[:].tobytes(), name
    estimate = daskal.Estimate.from_json(json.dumps(scores.attrs["estimate"]))
    assert estimate == run.estimate
