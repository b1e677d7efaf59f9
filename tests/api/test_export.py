"""Files of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import daskal
from daskal.api.export import to_tasks
from daskal.version import __version__

BATCH = daskal.next_batch(
    np.array([0.3]),
    np.array([0.5, 0.1]),
    size=3,
    unlabeled_ids=np.array(["ä,1.jpg", 'b"2.jpg']),
)


@pytest.mark.parametrize("name", ["b.csv", "b.PARQUET", "b.parquet"])
def test_tables_come_back(tmp_path: Path, name: str) -> None:
    daskal.export_batch(BATCH, tmp_path / name)
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    back = read(tmp_path / name)
    assert back.columns.tolist() == ["rank", "source", "row", "id", "score"]
    assert back["row"].tolist() == [1, 0, 0]
    assert back["score"].tolist() == [0.1, 0.3, 0.5]
    assert back["id"].iloc[[0, 2]].tolist() == ['b"2.jpg', "ä,1.jpg"]
    assert back["id"].isna().tolist() == [False, True, False]


def test_json_is_label_studios(tmp_path: Path) -> None:
    daskal.export_batch(BATCH, str(tmp_path / "b.json"), id_key="image")
    tasks = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert tasks[0] == {
        "data": {"image": 'b"2.jpg', "source": "unlabeled", "row": 1},
        "meta": {"rank": 1, "score": 0.1, "source": f"daskal {__version__}"},
        "predictions": [{"model_version": f"daskal {__version__}", "score": 0.1, "result": []}],
    }
    assert tasks[1]["data"] == {"image": None, "source": "labeled", "row": 0}
    assert [task["meta"]["rank"] for task in tasks] == [1, 2, 3]


def test_joined_columns_become_data() -> None:
    batch = BATCH.assign(text=["x", "y", None], when=pd.Timestamp("2026-01-02"))
    data = [task["data"] for task in to_tasks(batch)]
    assert [item["text"] for item in data] == ["x", "y", None]
    assert "score" not in data[0]


def test_values_json_lacks_are_written_as_text(tmp_path: Path) -> None:
    batch = BATCH.assign(when=pd.Timestamp("2026-01-02"))
    daskal.export_batch(batch, tmp_path / "b.json")
    tasks = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert tasks[0]["data"]["when"] == "2026-01-02 00:00:00"


def test_same_batch_same_bytes(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv", "a.json", "b.json"):
        daskal.export_batch(BATCH, tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


@pytest.mark.parametrize("name", ["b.csv", "b.parquet", "b.json"])
def test_exported_batch_is_excluded_another_time(tmp_path: Path, name: str) -> None:
    ids = np.array(["ä,1.jpg", 'b"2.jpg', "c"])
    pool = np.array([0.5, 0.1, 0.2])
    first = daskal.next_batch(np.array([0.3]), pool, size=3, unlabeled_ids=ids)
    daskal.export_batch(first, tmp_path / name, id_key="image")
    back = daskal.read_batch(tmp_path / name, id_key="image")
    later = daskal.next_batch(np.array([0.3]), pool, size=3, unlabeled_ids=ids, exclude=back)
    assert later["id"].tolist() == ["ä,1.jpg"]
    bare = daskal.next_batch(None, pool, size=1)
    daskal.export_batch(bare, tmp_path / name)
    back = daskal.read_batch(tmp_path / name)
    assert daskal.next_batch(None, pool, size=1, exclude=back)["row"].tolist() == [2]


IDS = {
    "words for missing": ["NA", "null", "", "None", "nan"],
    "digits": ["007", "7", "1e3", "1.0", "-0"],
    "whole numbers": [2**63 - 1, -1, 0, 10, 2**53 + 1],
    "64 bits": np.array([2**64 - 1, 2**63, 0, 1, 2], dtype="uint64"),
    "floats": [0.1, 1 / 3, 2.0, -1e-9, 1e300],
    "bytes": [b"a", b"\xff", b"", b"b'a'", b"0"],
    "dates": pd.date_range("2024-01-01", periods=5),
    "moments": pd.date_range("2024-01-01", periods=5, freq="h", tz="Asia/Tokyo"),
    "mixed": ["a", 1, 2.5, True, b"a"],
}


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
@pytest.mark.parametrize("kind", IDS)
def test_ids_come_back_as_they_went_out(tmp_path: Path, kind: str, ending: str) -> None:
    """Whatever they are: what was sent is excluded, and nothing else."""
    given = IDS[kind]
    ids = pd.Series(given).to_numpy() if not isinstance(given, list) else None
    if ids is None:
        ids = np.empty(len(given), dtype=object)
        ids[:] = given
    for scores in ([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.1, 0.4, 0.2, 0.3]):
        sent = daskal.next_batch(None, np.array(scores), size=2, unlabeled_ids=ids)
        daskal.export_batch(sent, tmp_path / f"b.{ending}")
        back = daskal.read_batch(tmp_path / f"b.{ending}")
        rest = daskal.next_batch(None, np.array(scores), size=5, unlabeled_ids=ids, exclude=back)
        assert rest["row"].tolist() == np.argsort(scores)[2:].tolist()


@pytest.mark.parametrize("labeled_ids", [None, [0.5, 7.0]])
def test_float_ids_come_back_equal_from_csv(
    tmp_path: Path, labeled_ids: list[float] | None
) -> None:
    ids = np.array([0.1, 1 / 3, 2.0, -1e-9, 2.0**52])
    for scores in ([0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.1, 0.6, 0.7]):
        sent = daskal.next_batch(
            np.array([0.15, 0.9]),
            np.array(scores),
            size=3,
            labeled_ids=labeled_ids,
            unlabeled_ids=ids,
        )
        daskal.export_batch(sent, tmp_path / "b.csv")
        pd.testing.assert_frame_equal(daskal.read_batch(tmp_path / "b.csv"), sent)


def test_the_reports_own_csv_is_read(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(
        "Rank,Id,From,Row,Score\n1,u2,pool,2,0.1\n2,–,labeled,0,0.2\n", encoding="utf-8"
    )
    back = daskal.read_batch(tmp_path / "b.csv")
    assert back["source"].tolist() == ["unlabeled", "labeled"]
    scores, pool = np.array([0.2, 0.4]), np.array([0.5, 0.6, 0.1])
    ids = np.array(["u0", "u1", "u2"])
    rest = daskal.next_batch(scores, pool, size=9, unlabeled_ids=ids, exclude=back)
    assert rest[["source", "row"]].to_numpy().tolist() == [
        ["labeled", 1],
        ["unlabeled", 0],
        ["unlabeled", 1],
    ]


@pytest.mark.parametrize("name", ["b.csv", "b.parquet", "b.json"])
@pytest.mark.parametrize("id_key", ["id", "source"])
def test_batches_that_call_the_source_pool_are_read(tmp_path: Path, name: str, id_key: str) -> None:
    """As daskal 0.1 wrote them, also where the interface of a labeling tool asks for $source."""
    earlier = BATCH.rename(columns={"source": "pool"})
    path = tmp_path / name
    if name.endswith("json"):
        lines = earlier.to_dict("records")
        tasks = [
            {"data": {id_key: line["id"], "pool": line["pool"], "row": line["row"]}}
            for line in lines
        ]
        path.write_text(json.dumps(tasks), encoding="utf-8")
    else:
        {"csv": earlier.to_csv, "parquet": earlier.to_parquet}[name[2:]](path, index=False)
    back = daskal.read_batch(path, id_key=id_key)
    assert back["source"].tolist() == BATCH["source"].tolist()
    assert back["row"].tolist() == BATCH["row"].tolist()
    assert back["id"].dropna().tolist() == BATCH["id"].dropna().tolist()
    daskal.export_batch(BATCH, path)  # It is a batch, which may be replaced.


def test_a_table_that_calls_the_source_pool_is_excluded_and_exported(tmp_path: Path) -> None:
    earlier = BATCH.rename(columns={"source": "pool"})
    scores, pool = np.array([0.3]), np.array([0.5, 0.1, 0.2])
    rest = daskal.next_batch(scores, pool, size=9, exclude=earlier)
    assert rest[["source", "row"]].to_numpy().tolist() == [["unlabeled", 2]]
    daskal.export_batch(earlier, tmp_path / "b.csv")
    assert "source" in pd.read_csv(tmp_path / "b.csv")
    assert to_tasks(earlier) == to_tasks(BATCH)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("id\n1\n")
    with pytest.raises(daskal.DaskalError, match="none called row or source"):
        daskal.read_batch(tmp_path / "b.csv")
    (tmp_path / "b.json").write_text("[{}]")
    with pytest.raises(daskal.DaskalError, match="cannot read the batch in"):
        daskal.read_batch(tmp_path / "b.json")
    with pytest.raises(FileNotFoundError, match="nothing is stored there"):
        daskal.read_batch(tmp_path / "none.csv")
    with pytest.raises(daskal.DaskalError, match="ends in"):
        daskal.read_batch(tmp_path / "b.txt")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(daskal.DaskalError, match=r"ends in \.csv, \.parquet, \.json"):
        daskal.export_batch(BATCH, tmp_path / "b.xlsx")
    (tmp_path / "file").touch()
    with pytest.raises(daskal.DaskalError, match="cannot write the batch to"):
        daskal.export_batch(BATCH, tmp_path / "file" / "b.csv")
    with pytest.raises(daskal.DaskalError, match="there is no such folder"):
        daskal.export_batch(BATCH, tmp_path / "none" / "b.csv")
    assert not (tmp_path / "none").exists()
    with pytest.raises(daskal.DaskalError, match="without row, source"):
        daskal.export_batch(BATCH.drop(columns=["source", "row"]), tmp_path / "b.json")
    with pytest.raises(daskal.DaskalError, match="another column"):
        to_tasks(BATCH, id_key="row")


@pytest.mark.parametrize("name", ["b.csv", "b.parquet", "b.json"])
def test_only_a_batch_is_replaced(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    votes = pd.DataFrame({"task": [1], "annotator": [2], "label": [0]})
    {"csv": votes.to_csv, "parquet": votes.to_parquet, "json": votes.to_json}[name[2:]](path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="is no batch, so it is not replaced"):
        daskal.export_batch(BATCH, path)
    assert path.read_bytes() == before
    path.unlink()
    daskal.export_batch(BATCH, path)
    daskal.export_batch(BATCH.head(1), path)
    assert len(daskal.read_batch(path)) == 1
