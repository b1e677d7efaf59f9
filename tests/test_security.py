"""Data from elsewhere runs no code, estimates are what they were, and credentials stay unseen."""

from __future__ import annotations

import json
import logging
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import fsspec
import numpy as np
import pandas as pd
import pytest
import zarr
from fsspec.implementations.local import LocalFileSystem

import daskal
from daskal.errors import (
    DaskalError,
    EstimateError,
    InputError,
    MissingPathError,
    StorageError,
    StoreExistsError,
)
from daskal.method import schema
from daskal.storage import locations, redaction
from tests.problems import make_problem, single_label

PROBS = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])


# --- codecs -----------------------------------------------------------------------------------


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def write_v2(path: Path, *, dtype: str, filters: Any, compressor: Any, chunk: bytes) -> None:
    path.mkdir()
    metadata = {
        "zarr_format": 2,
        "shape": [2, 3],
        "chunks": [2, 3],
        "dtype": dtype,
        "order": "C",
        "fill_value": 0,
        "filters": filters,
        "compressor": compressor,
    }
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / "0.0").write_bytes(chunk)


@pytest.mark.parametrize(
    ("dtype", "filters", "compressor"),
    [
        ("<f8", [{"id": "pickle"}], None),
        ("<f8", None, {"id": "pickle"}),
        ("<f8", [{"id": "shuffle", "elementsize": 8}], {"id": "pickle"}),
        ("<f8", [{"id": "vlen-utf8"}, {"id": "pickle"}], None),
        ("|O", [{"id": "pickle"}], None),
        ("|O", [{"id": "pickle", "protocol": 5}], {"id": "zlib", "level": 1}),
    ],
)
def test_pickled_chunks_are_never_read(
    tmp_path: Path, dtype: str, filters: Any, compressor: Any
) -> None:
    trap = tmp_path / "sprung"
    path = tmp_path / "a.zarr"
    chunk = pickle.dumps(Trap(trap))
    write_v2(path, dtype=dtype, filters=filters, compressor=compressor, chunk=chunk)
    calls: list[Callable[[], Any]] = [
        lambda: daskal.score_unlabeled(path).compute(),
        lambda: daskal.estimate(path, PROBS),
        lambda: daskal.estimate(PROBS > 1, path),
        lambda: daskal.run(
            pred_probs_unlabeled=PROBS, unlabeled_ids=str(path), out=tmp_path / "out"
        ),
        lambda: daskal.next_batch(path, size=1),
    ]
    for call in calls:
        with pytest.raises((InputError, StorageError)):
            call()
    assert not trap.exists()
    pickle.loads(chunk)
    assert trap.exists()


@pytest.mark.parametrize("member", ["indptr", "indices", "data", "tasks", "annotators"])
def test_pickled_members_of_votes_are_never_read(tmp_path: Path, member: str) -> None:
    trap = tmp_path / "sprung"
    path = tmp_path / "votes.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs.update({"encoding-type": "csr_matrix", "shape": [2, 3]})
    for name, values in {
        "indptr": [0, 1, 2],
        "indices": [0, 1],
        "data": [0, 1],
        "tasks": [7, 8],
        "annotators": [1, 2, 3],
    }.items():
        if name != member:
            group.create_array(name, data=np.array(values))
    chunk = pickle.dumps(Trap(trap))
    write_v2(path / member, dtype="|O", filters=[{"id": "pickle"}], compressor=None, chunk=chunk)
    with pytest.raises((InputError, StorageError)):
        daskal.estimate(path, PROBS)
    assert not trap.exists()


def test_codecs_within_codecs_are_seen(tmp_path: Path) -> None:
    from daskal.storage.locations import codec_names, names_in

    plain = zarr.create_array(tmp_path / "a", data=PROBS, chunks=(1, 3), shards=(2, 3))
    names = list(codec_names(plain))
    assert names[0] == "sharding_indexed"
    assert {"bytes", "zstd", "crc32c"} <= set(names)
    nested = [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "x.Pickle"}]}}]
    assert list(names_in(nested)) == ["sharding_indexed", "x.Pickle"]
    # A mere attribute of that name does no harm.
    plain.attrs["codecs"] = [{"name": "pickle"}]
    assert daskal.score_unlabeled(plain).compute().shape == (2,)


# --- estimates --------------------------------------------------------------------------------


def estimates() -> dict[str, daskal.Estimate]:
    one = make_problem(1, num_examples=30, num_annotators=4, num_classes=3)
    two = make_problem(2, num_examples=30, num_annotators=4, num_classes=3, num_models=2)
    single = single_label(3, num_examples=20, num_annotators=4, num_classes=3)
    wider = np.insert(one.labels, 2, np.nan, axis=1)
    return {
        "one": daskal.estimate(one.labels, one.pred_probs),
        "ensemble": daskal.estimate(two.labels, two.pred_probs),
        "single labels": daskal.estimate(single.labels, single.pred_probs),
        "a silent annotator": daskal.estimate(wider, one.pred_probs),
        "no temperature": daskal.estimate(one.labels, one.pred_probs, temperature=None),
        "given temperature": daskal.estimate(one.labels, one.pred_probs, temperature=2.5),
    }


ESTIMATES = estimates()


@pytest.mark.parametrize("name", ESTIMATES)
def test_every_estimate_passes_its_own_checks(name: str) -> None:
    estimate = ESTIMATES[name]
    text = estimate.to_json()
    again = daskal.Estimate.from_json(text)
    assert again == estimate
    assert again.to_json() == text
    # Another layout of the same JSON is the same estimate.
    assert daskal.Estimate.from_json(json.dumps(json.loads(text), indent=2)) == estimate


def change(content: dict[str, Any], place: str, value: Any) -> None:
    *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    target: Any = content
    for part in path:
        target = target[part]
    if value is KeyError:
        del target[last]
    else:
        target[last] = value


CHANGES: list[tuple[str, Any]] = [
    ("final.annotator_weight.0", -0.5),
    ("final.annotator_weight.0", 0),
    ("final.annotator_weight.0", 1.5),
    ("final.annotator_weight.0", None),
    ("final.annotator_weight.0", "1"),
    ("final.annotator_weight", []),
    ("final.annotator_weight", None),
    ("final.model_weight", []),
    ("final.model_weight", [1.0, 1.0]),
    ("final.model_weight.0", -1),
    ("final.model_weight.0", None),
    ("final.model_weight.0", True),
    ("final.consensus_likelihood", None),
    ("final.consensus_likelihood", 1.01),
    ("final.class_error", -0.1),
    ("final.model_error.0", 2),
    ("majority", KeyError),
    ("majority.model_weight.0", 0),
    ("majority.annotator_weight.1", None),
    ("agreement.0", 1.5),
    ("agreement", [0.5]),
    ("tie_agreement.2", None),
    ("votes.0", -1),
    ("votes.0", 1.5),
    ("votes.0", None),
    ("votes", 7),
    ("votes.0", 10**30),
    ("class_counts", [1]),
    ("class_counts.0", 10**6),
    ("num_labeled", 0),
    ("num_labeled", 10**6),
    ("num_multiple", -1),
    ("num_multiple", "3"),
    ("num_examples", 1),
    ("num_examples", None),
    ("temperatures.0", 0),
    ("temperatures.0", None),
    ("temperatures.0", 10**400),
    ("temperatures", [1.0, 2.0]),
    ("losses", [[1.0]]),
    ("losses", [3]),
    ("losses.0.3", -1),
    ("ensemble", 1),
    ("ensemble", None),
    ("options.convention", "other"),
    ("options.temperature", -1),
    ("options.random_state", 0.5),
    ("options.more", 1),
    ("options", []),
    ("annotator_ids", ["a", "b"]),
    ("annotator_ids", ["a", "b", "c", "c"]),
    ("annotator_ids", [1.5, 2, 3, 4]),
    ("annotator_ids", [[], 2, 3, 4]),
    ("class_names", ["x", "y"]),
    ("class_names", [1, 2, 3]),
    ("flags", None),
    ("flags", [3]),
]


@pytest.mark.parametrize(("place", "value"), CHANGES)
def test_a_changed_estimate_is_refused(place: str, value: Any) -> None:
    content = json.loads(ESTIMATES["one"].to_json())
    change(content, place, value)
    with pytest.raises(EstimateError, match="cut or changed since: its checksum is another"):
        daskal.Estimate.from_json(json.dumps(content))
    # Who changes the checksum too still meets the checks of each part.
    parts = {name: part for name, part in content.items() if name != "sha256"}
    with pytest.raises(EstimateError, match="made or changed by hand: "):
        daskal.Estimate.from_json(json.dumps({**parts, "sha256": schema.digest(parts)}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "got '', which is none"),
        ("estimate.json", "pass what is in it"),
        ("{", "which is none"),
        ("[]", "got 'list'"),
        ("{}", "got None"),
        ('{"schema": "daskal.Estimate/99"}', "got 'daskal.Estimate/99'"),
        ('{"schema": "daskal.Estimate/1"}', "checksum is another"),
        ('{"schema": "daskal.Estimate/1", "x": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "which is none"),
        ("9" * 5000, "which is none"),
        (3, "got int"),
        (None, "got NoneType"),
        (b"\xff\xfe\xff", "which is none"),
    ],
)
def test_text_that_is_no_estimate(text: Any, words: str) -> None:
    with pytest.raises(EstimateError) as caught:
        daskal.Estimate.from_json(text)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600


def test_text_that_was_cut(tmp_path: Path) -> None:
    text = ESTIMATES["one"].to_json()
    for length in range(0, len(text), 97):
        with pytest.raises(EstimateError):
            daskal.Estimate.from_json(text[:length])


def test_a_store_whose_estimate_was_changed(tmp_path: Path) -> None:
    problem = make_problem(1, num_examples=30, num_annotators=4, num_classes=3)
    out = tmp_path / "out.zarr"
    daskal.run(labels=problem.labels, pred_probs=problem.pred_probs, out=out)
    file = out / "estimate.json"
    for content in (file.read_bytes().replace(b'"num_labeled":30', b'"num_labeled":29'), b"\xff"):
        file.write_bytes(content)
        run = daskal.Run.open(out)
        with pytest.raises(EstimateError):
            _ = run.estimate


# --- credentials ------------------------------------------------------------------------------

SECRET = "SeKrEt42"
NOBODY = "http://127.0.0.1:9"
URLS = (
    f"s3://AKID:{SECRET}@bucket/p.zarr",
    f"http://user:{SECRET}@127.0.0.1:9/p.zarr",
    f"{NOBODY}/p.zarr?X-Amz-Signature={SECRET}",
    f"nonesuch://user:{SECRET}@host/p.zarr",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URLS[0], "s3://...@bucket/p.zarr"),
        (URLS[1], "http://...@127.0.0.1:9/p.zarr"),
        (URLS[2], "http://127.0.0.1:9/p.zarr?..."),
        (f"Invalid bucket name 'AKID:{SECRET}@bucket'", "Invalid bucket name '...@bucket'"),
        ("/data/2026/p.zarr", "/data/2026/p.zarr"),
        ("file:///a/b@c.zarr", "file:///a/b@c.zarr"),
        ("C:/data/p.zarr", "C:/data/p.zarr"),
    ],
)
def test_what_is_shown_of_a_location(text: str, shown: str) -> None:
    assert redaction.redacted(text) == shown


@pytest.fixture
def unseen(caplog: pytest.LogCaptureFixture) -> Any:
    """Yield a check that neither a text nor daskal's log holds the secret."""

    def check(text: str) -> None:
        own = [record for record in caplog.records if record.name.startswith("daskal")]
        reported = "\n".join([text, *(record.getMessage() for record in own)])
        assert SECRET not in reported

    caplog.set_level(logging.DEBUG, logger="daskal")
    return check


def whole_traceback(error: BaseException) -> str:
    """Return a traceback as printed, without lines of code, as those here show the secret."""
    parts = traceback.TracebackException.from_exception(error)
    texts = []
    found: Any = parts
    while found is not None:
        texts += list(found.format_exception_only())
        hidden = found.__suppress_context__
        found = found.__cause__ or (None if hidden else found.__context__)
    return "".join(texts)


VOTES = pd.DataFrame({"task": [0, 1], "annotator": [0, 1], "label": [0, 1]})


class Talkative(LocalFileSystem):
    """A file system that asks to come back, then refuses, and says each time what it was given."""

    protocol = "talkative"
    cachable = False
    asked = 0

    def __init__(self, token: str = "", **options: Any) -> None:
        super().__init__(auto_mkdir=True, **options)
        self.token = token
        self.storage_options = {**options, "token": token}

    def refuse(self) -> NoReturn:
        type(self).asked += 1
        kind = ConnectionResetError if self.asked == 1 else PermissionError
        raise kind(f"{self.token} was not taken")

    def open(self, *args: Any, **options: Any) -> NoReturn:
        self.refuse()

    def cat_file(self, path: str, *args: Any, **options: Any) -> NoReturn:
        raise FileNotFoundError(path)

    def pipe_file(self, *args: Any, **options: Any) -> NoReturn:
        self.refuse()


@pytest.mark.parametrize("url", URLS)
def test_errors_of_urls_hide_credentials(url: str, unseen: Any, tmp_path: Path) -> None:
    options = {"endpoint_url": NOBODY} if url.startswith("s3") else None
    calls: list[Callable[[], Any]] = [
        lambda: daskal.score_unlabeled(url, storage_options=options),
        lambda: daskal.run(pred_probs_unlabeled=PROBS, out=url, storage_options=options),
        lambda: daskal.Run.open(url, storage_options=options),
        lambda: daskal.import_votes(url, tmp_path / "votes.zarr", storage_options=options),
        lambda: daskal.import_votes(VOTES, url, storage_options=options),
        lambda: daskal.import_votes(VOTES, tmp_path / "v", tasks=url, storage_options=options),
    ]
    for call in calls:
        with pytest.raises(DaskalError) as caught:
            call()
        unseen(whole_traceback(caught.value))


def test_errors_hide_storage_options(unseen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locations, "OPEN_SECONDS", 1.0)
    options = {"key": "AKID1234", "secret": SECRET, "endpoint_url": NOBODY}
    for given in (options, {**options, "client_kwargs": {"aws_session_token": SECRET}}):
        with pytest.raises(StorageError) as caught:
            daskal.score_unlabeled("s3://bucket/p.zarr", storage_options=given)
        unseen(whole_traceback(caught.value))
    with pytest.raises(InputError) as refused:
        daskal.score_unlabeled("s3://bucket/p.zarr", storage_options=f"secret={SECRET}")
    unseen(str(refused.value))


def test_a_secret_that_a_storage_repeats_is_not_shown(unseen: Any, tmp_path: Path) -> None:
    """Not even one that is met in mid-import, or in the log of what is tried again."""
    votes = tmp_path / "votes.csv"
    VOTES.to_csv(votes, index=False)
    fsspec.register_implementation("talkative", Talkative, clobber=True)
    for given in (
        {"votes": f"talkative://{votes}", "out": tmp_path / "out.zarr"},
        {"votes": VOTES, "out": f"talkative://{tmp_path}/out.zarr"},
        {"votes": VOTES, "out": tmp_path / "o", "tasks": f"talkative://{votes}"},
    ):
        Talkative.asked = 0
        with pytest.raises(StorageError, match="was not taken") as caught:
            daskal.import_votes(**given, storage_options={"token": SECRET})
        assert Talkative.asked > 1
        unseen(whole_traceback(caught.value))


def test_nothing_a_run_leaves_behind_holds_credentials(unseen: Any) -> None:
    url = f"memory://user:{SECRET}@host/out.zarr"
    store = fsspec.filesystem("memory")
    try:
        run = daskal.run(pred_probs_unlabeled=PROBS, out=url, storage_options={})
        unseen(repr(run) + run._repr_html_() + json.dumps(run.attrs) + run.report().html)
        for path in store.find("/"):
            assert SECRET.encode() not in store.cat(path)
        with pytest.raises(StoreExistsError) as caught:
            daskal.run(pred_probs_unlabeled=PROBS, out=url)
        unseen(str(caught.value))
    finally:
        store.store.clear()


# --- results ----------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    first = daskal.run(pred_probs_unlabeled=PROBS, out=out).pool.compute()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(StoreExistsError, match="overwrite=True"):
        daskal.run(pred_probs_unlabeled=PROBS[::-1].copy(), out=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    again = daskal.run(pred_probs_unlabeled=PROBS[::-1].copy(), out=out, overwrite=True)
    np.testing.assert_array_equal(again.pool, first[::-1])


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_result_is_never_overwritten(tmp_path: Path, overwrite: bool) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    array = tmp_path / "probs.zarr"
    zarr.create_array(array, data=PROBS)
    file = tmp_path / "file"
    file.write_text("x")
    for out in (folder, array, file):
        with pytest.raises((StoreExistsError, StorageError)):
            daskal.run(pred_probs_unlabeled=PROBS, out=out, overwrite=overwrite)
    assert (folder / "chapter.txt").read_text() == "years of work"
    np.testing.assert_array_equal(zarr.open_array(array, mode="r")[:], PROBS)
    assert file.read_text() == "x"


def test_bad_inputs_leave_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    with pytest.raises(InputError):
        daskal.run(pred_probs_unlabeled=PROBS[:, :1], out=out)
    with pytest.raises(MissingPathError):
        daskal.run(pred_probs_unlabeled=tmp_path / "none.zarr", out=out)
    assert not out.exists()
