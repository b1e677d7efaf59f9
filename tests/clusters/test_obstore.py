"""Arrays opened through obstore: ``python -m pytest -m cluster tests/clusters/test_obstore.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
import zarr
from distributed import Client

import daskal
from daskal.errors import BlockError, InputError
from daskal.storage.addresses import store_url
from daskal.storage.places import places_in
from tests.faultkit import assert_same_store, contents
from tests.problems import cast_labels, make_problem
from tests.storage.test_remote import KEY, SECRET, Endpoint, moto_server

pytestmark = pytest.mark.cluster

PROBLEM = make_problem(9, num_examples=120, num_annotators=7, num_classes=3, pool=90)
# By name of the argument.
MEMBERS = {
    "labels": cast_labels(PROBLEM.labels, np.int8),
    "pred_probs": PROBLEM.pred_probs,
    "pred_probs_unlabeled": PROBLEM.pool,
}


@pytest.fixture
def stores() -> Any:
    """Return the stores of obstore."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    import obstore.store

    return obstore.store


@pytest.fixture(scope="module")
def s3() -> Iterator[Endpoint]:
    with moto_server() as url:
        endpoint = Endpoint(url)
        s3fs.S3FileSystem(**endpoint.options, skip_instance_cache=True).mkdir("crowd")
        fill("s3://crowd/in.zarr", storage_options=endpoint.options)
        yield endpoint


def fill(place: Any, **options: Any) -> None:
    root = zarr.open_group(place, mode="w", **options)
    for name, values in MEMBERS.items():
        assert values is not None
        root.create_array(name, data=values, chunks=(30, values.shape[1]))


def arrays(place: Any, **options: Any) -> dict[str, Any]:
    root = zarr.open_group(place, mode="r", **options)
    return {name: root[name] for name in MEMBERS}


def through(store: Any) -> dict[str, Any]:
    """Return the inputs read through a store of obstore."""
    from zarr.storage import ObjectStore

    return arrays(ObjectStore(store, read_only=True))


def s3_store(stores: Any, endpoint: Endpoint, key: str = KEY) -> Any:
    return stores.S3Store(
        "crowd",
        prefix="in.zarr",
        endpoint=endpoint.url,
        region="us-east-1",
        access_key_id=key,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
    )


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_local_folder_gives_the_same_store(
    stores: Any, cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """Workers find a relative path too, though they are in other folders."""
    fill(tmp_path / "in.zarr")
    daskal.run(**arrays(tmp_path / "in.zarr"), out=tmp_path / "plain.zarr")
    monkeypatch.chdir(tmp_path)
    inputs = through(stores.LocalStore("in.zarr" if relative else tmp_path / "in.zarr"))
    with cluster.as_current():
        daskal.run(**inputs, out=tmp_path / "out.zarr")
    assert_same_store(tmp_path / "out.zarr", contents(tmp_path / "plain.zarr"))


def test_s3_gives_the_same_store_as_through_s3fs(
    stores: Any, s3: Endpoint, cluster: Client, tmp_path: Path
) -> None:
    inputs = arrays("s3://crowd/in.zarr", storage_options=s3.options)
    daskal.run(**inputs, out=tmp_path / "s3fs.zarr")
    with cluster.as_current():
        daskal.run(**through(s3_store(stores, s3)), out=tmp_path / "out.zarr")
    expected = contents(tmp_path / "s3fs.zarr")
    assert_same_store(tmp_path / "out.zarr", expected)
    assert not [key for key, content in expected.items() if SECRET.encode() in content]


def test_a_run_begun_through_one_is_finished_through_the_other(
    stores: Any, s3: Endpoint, tmp_path: Path
) -> None:
    inputs = arrays("s3://crowd/in.zarr", storage_options=s3.options)
    daskal.run(**inputs, out=tmp_path / "out.zarr")
    # Other inputs would be refused.
    again = daskal.run(**through(s3_store(stores, s3)), out=tmp_path / "out.zarr", resume=True)
    assert len(again.pool) == len(MEMBERS["pred_probs_unlabeled"])


def test_wrong_credentials_are_one_error_without_secrets(stores: Any, s3: Endpoint) -> None:
    wrong = "AKIAWRONGKEY00000000"
    pool = through(s3_store(stores, s3, wrong))["pred_probs_unlabeled"]
    scores = daskal.score_unlabeled(pool)
    s3.demand_credentials("0")
    try:
        with pytest.raises(BlockError, match=r"rows 0 to 90 of .*crowd.* cannot be read") as caught:
            scores.compute()
    finally:
        s3.demand_credentials("inf")
    text = f"{caught.value}"
    assert "403" in text
    assert "Debug source" not in text
    assert wrong not in text
    assert SECRET not in text


def test_no_source_is_written_to(stores: Any, tmp_path: Path) -> None:
    fill(tmp_path / "in.zarr")
    run = daskal.run(**arrays(tmp_path / "in.zarr"), out=tmp_path / "out.zarr")
    before = contents(run.path)
    inside = zarr.open_group(
        zarr.storage.ObjectStore(stores.LocalStore(tmp_path / "out.zarr")), mode="r"
    )
    with pytest.raises(InputError, match="lies under it"):
        daskal.run(
            **through(stores.LocalStore(tmp_path / "in.zarr")),
            labeled_ids=inside["labeled/num_annotations"],
            out=run.path,
            overwrite=True,
        )
    assert contents(run.path) == before


def test_addresses(stores: Any, s3: Endpoint, tmp_path: Path) -> None:
    from zarr.storage import ObjectStore

    for store, url in (
        (stores.LocalStore(tmp_path), tmp_path.as_uri()),
        (stores.LocalStore(), "file:///"),
        (s3_store(stores, s3), "s3://crowd/in.zarr"),
        (stores.S3Store("crowd"), "s3://crowd"),
        (stores.GCSStore("crowd", prefix="a/b"), "gs://crowd/a/b"),
        (stores.AzureStore("crowd", account_name="who"), "abfs://crowd"),
        (stores.HTTPStore("https://ann:pw@host/x"), "https://...@host/x"),
    ):
        assert store_url(ObjectStore(store)) == url
    pool = through(s3_store(stores, s3))["pred_probs_unlabeled"]
    (place,) = places_in(pool)
    assert place == ("s3", ("crowd", "in.zarr", "pred_probs_unlabeled"))
