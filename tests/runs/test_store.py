"""The result store: created whole, claimed, written by whole chunks, finished in one step."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from daskal.errors import (
    InputError,
    MissingPathError,
    StorageError,
    StoreExistsError,
    UnfinishedStoreError,
)
from daskal.kernels.second_pass import pool_tally
from daskal.method.findings import ALL_ZERO, NOT_FINITE, Finding, Findings
from daskal.method.tallies import PoolTally
from daskal.method.values import LABELED_COLUMNS, UNLABELED_COLUMNS
from daskal.runs import store
from daskal.runs.records import Records, decode, encode
from daskal.runs.store import Section, SectionWriter
from daskal.storage.tables import write_table

SECTION = Section("unlabeled", UNLABELED_COLUMNS, 10, 4)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "out.zarr")


def root_attrs(path: str) -> dict[str, Any]:
    return dict(json.loads((Path(path) / "zarr.json").read_text())["attributes"]["daskal"])


def test_create_makes_every_array_and_no_value(path: str) -> None:
    root, _ = store.create(path, [SECTION], {"version": "1"}, None)
    assert root["unlabeled/score"].shape == (10,)
    assert root["unlabeled/score"].chunks == (4,)
    assert np.isnan(root["unlabeled/score"][:]).all()
    found = store.find(path, None)
    assert found is not None
    assert (found["status"], found["version"]) == ("running", "1")
    files = {str(file.relative_to(path)) for file in Path(path).rglob("*") if file.is_file()}
    assert files == {"zarr.json", "unlabeled/zarr.json", "unlabeled/score/zarr.json"}


def test_create_replaces_what_was_there(path: str) -> None:
    root, claim = store.create(path, [SECTION], {}, None)
    SectionWriter(root["unlabeled"], claim).write(0, 10, {"score": np.ones(10)})
    store.write_estimate(root, "{}")
    write_table(root, "batch", {"rank": np.arange(3)}, "rank")
    labeled = Section("labeled", LABELED_COLUMNS, 6, 6)
    root, _ = store.create(path, [labeled], {}, None)
    assert sorted(root) == ["labeled"]
    assert store.read_estimate(root) is None


@pytest.mark.parametrize("stranger", ["votes", "notes.txt"])
def test_what_no_run_made_is_not_replaced(path: str, stranger: str) -> None:
    root, _ = store.create(path, [SECTION], {}, None)
    store.write_estimate(root, "{}")
    if stranger == "votes":
        root.create_array("votes", data=np.ones(3))
    else:
        (Path(path) / stranger).write_text("years of work")
    before = {file: file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}
    with pytest.raises(StoreExistsError, match=rf"beside the results of a run \({stranger}\)"):
        store.create(path, [SECTION], {}, None)
    after = {file: file.read_bytes() for file in Path(path).rglob("*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize("stranger", ["unlabeled/notes", "unlabeled/score/votes", "labeled/mine"])
def test_what_no_run_made_inside_a_section_is_not_replaced(path: str, stranger: str) -> None:
    labeled = Section("labeled", LABELED_COLUMNS, 6, 6)
    root, claim = store.create(path, [SECTION, labeled], {}, None)
    SectionWriter(root["unlabeled"], claim).write(0, 10, {"score": np.ones(10)})
    write_table(root, "annotators", {"annotator": np.arange(3)}, "annotator")
    store.create(path, [SECTION, labeled], {}, None)
    mine = Path(path) / stranger / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(StoreExistsError, match=rf"beside the results of a run \({stranger}\)"):
        store.create(path, [SECTION], {}, None)
    assert mine.read_text() == "years of work"


def test_interrupted_creation_is_known_as_such(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "create_section", fail)
    with pytest.raises(KeyboardInterrupt):
        store.create(path, [SECTION], {"version": "1"}, None)
    assert store.find(path, None) == {"status": "creating"}
    with pytest.raises(UnfinishedStoreError, match="has not finished"):
        store.open_finished(path, None, partial=True)
    monkeypatch.undo()
    root, _ = store.create(path, [SECTION], {"version": "1"}, None)
    assert root["unlabeled/score"].shape == (10,)


def test_nothing_but_a_result_store_is_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreExistsError, match="no result store of daskal"):
        store.find(str(tmp_path), None)
    zarr.create_group(tmp_path / "group.zarr")
    with pytest.raises(StoreExistsError, match="no result store of daskal"):
        store.find(str(tmp_path / "group.zarr"), None)
    with pytest.raises(StorageError, match="which is none"):
        store.open_finished(str(tmp_path / "group.zarr"), None)
    zarr.create_array(tmp_path / "array.zarr", shape=(2,), dtype="int8")
    with pytest.raises(StoreExistsError, match="no result store of daskal"):
        store.find(str(tmp_path / "array.zarr"), None)
    with pytest.raises(StorageError, match="which is a Zarr array"):
        store.open_finished(str(tmp_path / "array.zarr"), None)
    with pytest.raises(StoreExistsError, match="no result store of daskal"):
        store.find(str(tmp_path / "thesis.txt"), None)


def test_nothing_there(tmp_path: Path) -> None:
    assert store.find(str(tmp_path / "no" / "where"), None) is None
    (tmp_path / "empty").mkdir()
    assert store.find(str(tmp_path / "empty"), None) is None
    with pytest.raises(MissingPathError, match="nothing is stored there"):
        store.open_finished(str(tmp_path / "no"), None)


def test_zip_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ZIP"):
        store.create(str(tmp_path / "out.zip"), [SECTION], {}, None)


def test_writer_writes_whole_chunks_only(path: str) -> None:
    root, claim = store.create(path, [SECTION], {}, None)
    writer = SectionWriter(root["unlabeled"], claim)
    writer.write(4, 8, {"score": np.arange(4.0)})
    writer.write(8, 10, {"score": np.array([8.0, 9.0])})
    np.testing.assert_array_equal(
        root["unlabeled/score"][:], [np.nan] * 4 + [0.0, 1.0, 2.0, 3.0, 8.0, 9.0]
    )
    for start, stop in ((2, 4), (0, 3)):
        with pytest.raises(AssertionError):
            writer.write(start, stop, {"score": np.zeros(stop - start)})


def test_earlier_claim_writes_nothing_more(path: str) -> None:
    root, old = store.create(path, [SECTION], {}, None)
    new = store.claim(root)
    with pytest.raises(StorageError, match="taken over by another run"):
        SectionWriter(root["unlabeled"], old).write(0, 4, {"score": np.zeros(4)})
    with pytest.raises(StorageError, match="taken over by another run"):
        Records.of_stage(root, old, "score unlabeled", on_invalid="raise").put(0, PoolTally.zero(1))
    SectionWriter(root["unlabeled"], new).write(0, 4, {"score": np.zeros(4)})
    store.finish(root, {})
    with pytest.raises(StorageError, match="taken over by another run"):
        SectionWriter(root["unlabeled"], new).write(0, 4, {"score": np.zeros(4)})


def test_failed_write_names_rows_and_array(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root, claim = store.create(path, [SECTION], {}, None)
    score = Path(path) / "unlabeled/score"
    (score / "c").mkdir()
    (score / "c/0").mkdir()
    with pytest.raises(StorageError, match=r"rows 0 to 4 of .*unlabeled/score cannot be written"):
        SectionWriter(root["unlabeled"], claim).write(0, 4, {"score": np.ones(4)})


def test_finish_is_one_object(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last write the store is unfinished; that write brings status and metadata."""
    root, claim = store.create(path, [SECTION], {}, None)
    records = Records.of_stage(root, claim, "score unlabeled", on_invalid="raise")
    records.put(0, PoolTally.zero(1))

    def stop(*_: Any) -> None:
        assert root_attrs(path)["status"] == "running"
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "describe_as", stop)
        with pytest.raises(KeyboardInterrupt):
            store.finish(root, {"num": 3})
    with pytest.raises(UnfinishedStoreError):
        store.open_finished(path, None)
    assert records.finished() == {0}
    (Path(path) / "unlabeled/score/0.1a2b.partial").write_bytes(b"left by a kill")
    store.finish(root, {"num": 3})
    # Nothing of times is in it: stores of equal runs are equal file by file.
    assert root_attrs(path) == {"status": "finished", "num": 3}
    date = store.finished_at(root)
    assert date is not None
    assert abs((datetime.now(UTC) - date).total_seconds()) < 3600
    metadata = json.loads((Path(path) / "zarr.json").read_text())
    assert sorted(metadata["consolidated_metadata"]["metadata"]) == [
        "unlabeled",
        "unlabeled/score",
    ]
    files = {str(file.relative_to(path)) for file in Path(path).rglob("*") if file.is_file()}
    assert files == {"zarr.json", "unlabeled/zarr.json", "unlabeled/score/zarr.json"}


def test_finished_again_after_a_crash_between(path: str) -> None:
    root, _ = store.create(path, [SECTION], {}, None)
    store.finish(root, {})
    again = store.open_group(path, "r+", None)
    store.finish(again, {})
    assert root_attrs(path)["status"] == "finished"


def test_records_hold_states_exactly(path: str) -> None:
    root, claim = store.create(path, [SECTION], {}, None)
    records = Records.of_stage(root, claim, "score unlabeled", on_invalid="nan")
    found = Findings((Finding("pred_probs", NOT_FINITE, 2, ((0, np.nan), (7, 0.1))),))
    state = pool_tally(np.array([0.25, np.nan, 1 / 3]), 5, 2, found)
    records.put(3, state)
    assert records.finished() == {3}
    read = records.get(3)
    assert read.smallest.rows.tolist() == [5, 7]
    assert read.smallest.scores.tolist() == [0.25, 1 / 3]
    assert repr(read.findings) == repr(found)
    assert read.num_rows == 3
    np.testing.assert_array_equal(read.histogram, state.histogram)
    records.forget(3)
    assert records.finished() == frozenset()


def test_faulty_blocks_are_left_unfinished_where_asked(path: str) -> None:
    root, claim = store.create(path, [SECTION], {}, None)
    found = Findings((Finding("pred_probs", ALL_ZERO, 1, ((0, 0.0),)),))
    state = pool_tally(np.array([np.nan]), 0, 1, found)
    records = Records.of_stage(root, claim, "score unlabeled", on_invalid="raise")
    records.put(0, state)
    records.put(1, pool_tally(np.array([0.5]), 1, 1, Findings()))
    assert records.finished() == {1}


def test_damaged_record_is_named(path: str) -> None:
    root, claim = store.create(path, [SECTION], {}, None)
    records = Records.of_stage(root, claim, "votes", on_invalid="raise")
    records.put(0, PoolTally.zero(1))
    file = Path(path) / records.key(0)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"records/votes/0000000\.npz .* cannot be read"):
        records.get(0)


def test_records_are_no_pickles() -> None:
    assert decode(encode((1, None, "a", 2**80, (True, 0.1)))) == (1, None, "a", 2**80, (True, 0.1))
    with pytest.raises(ValueError, match="Object arrays cannot be"):
        decode(encode(np.array([object()], dtype=object)))
