"""Object stores: a real S3 endpoint over HTTP on loopback, and plain HTTP."""

from __future__ import annotations

import functools
import http.server
import json
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import s3fs
import zarr

import daskal
from daskal.errors import MissingPathError, StorageError
from daskal.inputs import blocks
from daskal.inputs.labels import open_labels
from daskal.inputs.probabilities import open_probs
from daskal.storage import locations, retries
from tests.faultkit import free_port, moto_server
from tests.flakyproxy import flaky_proxy
from tests.inputs.test_sparse import as_csr
from tests.problems import cast_labels, forbid_compute, make_problem
from tests.tables.files import FILES

KEY, SECRET = "AKIATESTKEY000000000", "not-to-be-shown-anywhere"
PROBLEM = make_problem(9, num_examples=120, num_annotators=7, num_classes=3, pool=90)


class Endpoint:
    """A running S3 endpoint and the options that reach it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.options = self.options_for(KEY)

    def options_for(self, key: str) -> dict[str, Any]:
        """Return options with a given key."""
        return {"key": key, "secret": SECRET, "endpoint_url": self.url}

    def demand_credentials(self, after: str) -> None:
        """Refuse unknown keys after so many requests ("inf": never)."""
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth",
            data=after.encode(),
            headers={"Content-Type": "text/plain"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def s3() -> Iterator[Endpoint]:
    """Yield an S3 endpoint with the problem stored in its bucket."""
    with moto_server() as url:
        endpoint = Endpoint(url)
        fill_bucket(endpoint)
        yield endpoint


def fill_bucket(endpoint: Endpoint) -> None:
    s3fs.S3FileSystem(**endpoint.options, skip_instance_cache=True).mkdir("crowd")
    for zarr_format in (2, 3):
        root = zarr.open_group(
            f"s3://crowd/v{zarr_format}.zarr",
            mode="w",
            zarr_format=zarr_format,
            storage_options=endpoint.options,
        )
        write_members(root)


def write_members(root: zarr.Group) -> None:
    """Write labels, dense and sparse, probabilities and a pool."""
    root.create_array("labels", data=cast_labels(PROBLEM.labels, np.int8), chunks=(40, 7))
    root.create_array("probs", data=PROBLEM.pred_probs, chunks=(30, 3))
    root.create_array("pool", data=PROBLEM.pool, chunks=(40, 3))
    matrix = as_csr(PROBLEM.labels)
    votes = root.create_group("votes")
    for name in ("data", "indices", "indptr"):
        votes.create_array(name, data=getattr(matrix, name), chunks=(64,))
    votes.attrs.update({"encoding-type": "csr_matrix", "shape": list(matrix.shape)})


def results(labels: Any, probs: Any, pool: Any, **options: Any) -> list[Any]:
    estimate = daskal.estimate(labels, probs, **options)
    with forbid_compute():
        lazy = [
            daskal.score_labeled(labels, probs, estimate, **options),
            daskal.score_unlabeled(pool, estimate, **options),
        ]
    return [estimate.to_json(), *(scores.compute().tobytes() for scores in lazy)]


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    return results(PROBLEM.labels, PROBLEM.pred_probs, PROBLEM.pool)


# --- reading ----------------------------------------------------------------------------------


def test_an_object_store_is_asked_for_chunks_together(s3: Endpoint, tmp_path: Path) -> None:
    pool = open_probs("pool", "s3://crowd/v3.zarr/pool", s3.options).sources[0]
    votes = open_labels("s3://crowd/v3.zarr/votes", s3.options).source
    assert blocks.late_rows(pool) == 400
    # Chunks of 64 votes, of which each has an int64 for its annotator.
    assert blocks.late_rows(votes) == 10 * 64 * 8 // votes.row_bytes
    zarr.save(tmp_path / "pool.zarr", PROBLEM.pool)
    assert blocks.late_rows(open_probs("pool", tmp_path / "pool.zarr", None).sources[0]) == 0


@pytest.mark.parametrize("labels", ["labels", "votes"])
@pytest.mark.parametrize("root", ["v2.zarr", "v3.zarr"])
def test_s3_gives_the_same_bits(s3: Endpoint, expected: list[Any], root: str, labels: str) -> None:
    urls = [f"s3://crowd/{root}/{name}" for name in (labels, "probs", "pool")]
    with mock.patch.object(blocks, "MIN_BLOCK_ROWS", 25):
        assert results(*urls, storage_options=s3.options) == expected


def test_opened_arrays_need_no_options(s3: Endpoint, expected: list[Any]) -> None:
    root = zarr.open_group("s3://crowd/v3.zarr", mode="r", storage_options=s3.options)
    assert results(root["votes"], root["probs"], root["pool"]) == expected


def test_a_url_beside_a_local_path(s3: Endpoint, expected: list[Any], tmp_path: Path) -> None:
    write_members(zarr.open_group(tmp_path / "local.zarr", mode="w"))
    local = tmp_path / "local.zarr"
    found = results(
        "s3://crowd/v3.zarr/votes", local / "probs", local / "pool", storage_options=s3.options
    )
    assert found == expected


def test_credentials_from_the_environment(
    s3: Endpoint, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    assert results(*(f"s3://crowd/v3.zarr/{n}" for n in ("labels", "probs", "pool"))) == expected


def test_plain_http(expected: list[Any], tmp_path: Path) -> None:
    write_members(zarr.open_group(tmp_path / "x.zarr", mode="w"))
    with http_server(tmp_path) as url:
        urls = [f"{url}/x.zarr/{name}" for name in ("votes", "probs", "pool")]
        assert results(*urls) == expected
        with pytest.raises(MissingPathError, match=r"/none\.zarr'"):
            daskal.score_unlabeled(f"{url}/none.zarr")


class http_server:  # noqa: N801  (a context manager)
    """Serve a folder on loopback."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(Quiet, directory=os.fspath(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, *_: Any) -> None:
        pass


# --- secrets ----------------------------------------------------------------------------------


def test_graph_and_estimate_show_no_secret(s3: Endpoint) -> None:
    urls = [f"s3://crowd/v3.zarr/{name}" for name in ("votes", "probs", "pool")]
    estimate = daskal.estimate(*urls[:2], storage_options=s3.options)
    scores = daskal.score_unlabeled(urls[2], estimate, storage_options=s3.options)
    shown = [estimate.to_json(), repr(estimate), repr(scores), scores._repr_html_()]
    shown += [repr(dict(scores.dask)), scores.name]
    assert not [text for text in shown if SECRET in text or KEY in text]


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3://crowd/none.zarr", "s3://no-such-bucket/x.zarr"])
def test_nothing_there(s3: Endpoint, url: str) -> None:
    with pytest.raises(MissingPathError, match=f"cannot read labels from '{url}'"):
        daskal.estimate(url, PROBLEM.pred_probs, storage_options=s3.options)


def test_wrong_credentials(s3: Endpoint) -> None:
    s3.demand_credentials("0")
    wrong = s3.options_for("AKIAWRONGKEY00000000")
    try:
        start = time.monotonic()
        with pytest.raises(StorageError) as caught:
            daskal.estimate("s3://crowd/v3.zarr/labels", PROBLEM.pred_probs, storage_options=wrong)
    finally:
        s3.demand_credentials("inf")
    assert time.monotonic() - start < locations.OPEN_SECONDS + 10
    text = str(caught.value)
    assert "cannot read labels from 's3://crowd/v3.zarr/labels': PermissionError" in text
    assert SECRET not in text
    assert wrong["key"] not in text


@pytest.mark.slow
def test_nobody_listens() -> None:
    options = Endpoint(f"http://127.0.0.1:{free_port()}").options
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot read pred_probs_unlabeled from 's3://b/x'"):
        daskal.score_unlabeled("s3://b/x", storage_options=options)
    assert time.monotonic() - start < locations.OPEN_SECONDS + 10


def test_somebody_listens_and_says_nothing() -> None:
    with socket.socket() as silent, mock.patch.object(locations, "OPEN_SECONDS", 1.0):
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        options = Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}").options
        with pytest.raises(StorageError, match="no answer in 1 seconds"):
            daskal.score_unlabeled("s3://b/x", storage_options=options)


def test_a_protocol_nobody_knows() -> None:
    with pytest.raises(StorageError, match="Protocol not known: gopher"):
        daskal.score_unlabeled("gopher://x/y.zarr")


def test_a_chunk_that_is_gone_bad(s3: Endpoint) -> None:
    files = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    array = zarr.create_array(
        "s3://crowd/bad.zarr", data=PROBLEM.pool, chunks=(90, 3), storage_options=s3.options
    )
    assert array.shape == (90, 3)
    files.pipe_file("crowd/bad.zarr/c/0/0", json.dumps("no chunk").encode())
    scores = daskal.score_unlabeled("s3://crowd/bad.zarr", storage_options=s3.options)
    with pytest.raises(daskal.DaskalError, match=r"rows 0 to 90 of .*bad\.zarr.* cannot be read"):
        scores.compute()


# --- writing ----------------------------------------------------------------------------------


def test_a_run_from_and_to_s3_is_the_local_run(s3: Endpoint, tmp_path: Path) -> None:
    local = daskal.run(
        labels=PROBLEM.labels,
        pred_probs=PROBLEM.pred_probs,
        pred_probs_unlabeled=PROBLEM.pool,
        out=tmp_path / "local.zarr",
    )
    names = {"labels": "votes", "pred_probs": "probs", "pred_probs_unlabeled": "pool"}
    urls = {name: f"s3://crowd/v3.zarr/{member}" for name, member in names.items()}
    for out in ("s3://crowd/scores.zarr", str(tmp_path / "from-s3.zarr")):
        run = daskal.run(**urls, out=out, storage_options=s3.options)
        assert run.estimate == local.estimate
        assert run.scores.compute().tobytes() == local.scores.compute().tobytes()
        assert run.pool.compute().tobytes() == local.pool.compute().tobytes()
        assert run.batch.equals(local.batch)
    files = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    objects = {path: files.cat_file(path) for path in files.find("crowd/scores.zarr")}
    assert objects
    assert not [
        path
        for path, content in objects.items()
        if SECRET.encode() in content or KEY.encode() in content
    ]


@pytest.mark.slow
def test_a_store_nobody_answers_for() -> None:
    options = Endpoint(f"http://127.0.0.1:{free_port()}").options
    with pytest.raises(StorageError, match=r"cannot open the result store 's3://b/out\.zarr'"):
        daskal.run(
            pred_probs_unlabeled=PROBLEM.pool, out="s3://b/out.zarr", storage_options=options
        )


# --- importing --------------------------------------------------------------------------------

VOTES = pd.DataFrame(
    [(task, annotator, task % 3) for task in range(40) for annotator in (task % 5, 5 + task % 4)],
    columns=["task", "annotator", "label"],
)


def objects(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# Zarr drops coroutines where the first of several fails.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
# Where one of the requests that Zarr makes together is refused, it never begins the others.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine object")
@pytest.mark.parametrize(("refuse_every", "client_attempts"), [(5, 5), (13, 1)])
def test_an_import_gets_over_refused_requests(
    s3: Endpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    refuse_every: int,
    client_attempts: int,
) -> None:
    """Also where the endpoint's client does not ask again, and daskal alone does.

    What it tries again is a whole operation, such as to create an array, of up to ten requests.
    """
    out = f"{kind}-{refuse_every}.zarr"
    write = VOTES.to_parquet if kind == "parquet" else VOTES.to_csv
    write(tmp_path / f"votes.{kind}", index=False)
    np.save(tmp_path / "tasks.npy", np.arange(40)[::-1])
    daskal.import_votes(
        tmp_path / f"votes.{kind}", tmp_path / "local.zarr", tasks=tmp_path / "tasks.npy"
    )
    files = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    for name in (f"votes.{kind}", "tasks.npy"):
        files.put(str(tmp_path / name), f"crowd/in/{name}")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", client_attempts)
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    with flaky_proxy(s3.url, refuse_every=refuse_every, drop_every=0) as proxy:
        options = {
            **Endpoint(proxy.url).options,
            "config_kwargs": {"retries": {"max_attempts": 0}},
        }
        for overwrite in (False, True):
            daskal.import_votes(
                f"s3://crowd/in/votes.{kind}",
                f"s3://crowd/{out}",
                tasks="s3://crowd/in/tasks.npy",
                overwrite=overwrite,
                storage_options=options,
            )
        assert proxy.refused >= 10
    files.invalidate_cache()
    files.get(f"crowd/{out}", str(tmp_path / "copy.zarr"), recursive=True)
    assert objects(tmp_path / "copy.zarr") == objects(tmp_path / "local.zarr")


@pytest.mark.parametrize(
    "form", ["npy", "npz", "Parquet", "Parquet folder", "Parquet glob", "Hugging Face", "CSV"]
)
def test_files_on_s3_give_the_same_bits(
    s3: Endpoint, expected: list[Any], tmp_path: Path, form: str
) -> None:
    files = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    urls = []
    for name, values in (("probs", PROBLEM.pred_probs), ("pool", PROBLEM.pool)):
        (tmp_path / name).mkdir()
        path = os.fspath(FILES[form](values, tmp_path / name))
        files.put(str(tmp_path / name), f"crowd/{form}/{name}", recursive=True)
        urls.append(f"s3://crowd/{form}{path.removeprefix(str(tmp_path))}")
    found = results(PROBLEM.labels, *urls, storage_options=s3.options)
    # Names of columns are all that differs.
    assert found[1:] == expected[1:]


def test_what_forbids_an_import_is_told_without_secrets(
    s3: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    VOTES.to_parquet(tmp_path / "votes.parquet")
    files = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    files.put(str(tmp_path / "votes.parquet"), "crowd/in/forbidden.parquet")
    with flaky_proxy(s3.url, refuse_every=0, drop_every=0) as proxy:
        options = Endpoint(proxy.url).options
        proxy.forbid = True
        for votes, tasks, out in (
            ("s3://crowd/in/forbidden.parquet", None, tmp_path / "out.zarr"),
            (VOTES, "s3://crowd/in/tasks.npy", tmp_path / "out.zarr"),
            (VOTES, None, "s3://crowd/forbidden.zarr"),
        ):
            start = time.monotonic()
            with pytest.raises(StorageError, match=r"s3://crowd/.*PermissionError") as caught:
                daskal.import_votes(votes, out, tasks=tasks, storage_options=options)
            assert time.monotonic() - start < locations.OPEN_SECONDS
            reported = f"{caught.value}{caught.value.__cause__}{caplog.text}"
            assert SECRET not in reported
            assert KEY not in reported
