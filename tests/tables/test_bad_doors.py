"""Each kind of bad file through each door: one clear error of daskal's, which names the file."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.feather
import pytest
import zarr
from click.testing import CliRunner

import daskal
from daskal.cli.commands import main
from tests.tables.files import arrow_of, write_stream

ROWS = 12
IDS = [f"t{at}" for at in range(ROWS)]
LABELS = np.tile([0.0, 1.0, 2.0], (ROWS, 1))
MATRIX = np.full((ROWS, 3), 1 / 3)
PROBS = pd.DataFrame(MATRIX, columns=["ant", "bee", "cat"]).assign(id=IDS)
ESTIMATE = daskal.estimate(LABELS, MATRIX)
VOTES = pd.DataFrame(
    {
        "task": [*IDS, *IDS],
        "annotator": ["x"] * ROWS + ["y"] * ROWS,
        "label": ["ant", "bee", "cat"] * (2 * ROWS // 3),
    }
)


# --- forms ------------------------------------------------------------------------------------


def write_dataset(frame: pd.DataFrame, folder: Path) -> Path:
    (folder / "saved").mkdir()
    write_stream(arrow_of(frame), folder / "saved" / "data.arrow", 5)
    state = {"_data_files": [{"filename": "data.arrow"}]}
    (folder / "saved" / "state.json").write_text(json.dumps(state))
    return folder / "saved"


def write_frame(frame: pd.DataFrame, form: str, folder: Path) -> Path:
    path = folder / f"given.{form}"
    if form == "saved":
        return write_dataset(frame, folder)
    if form == "parquet":
        frame.to_parquet(path, index=False)
    elif form in ("arrow", "feather"):
        pyarrow.feather.write_feather(arrow_of(frame), path)
    else:
        frame.to_csv(path, index=False, sep="\t" if form == "tsv" else ",")
    return path


def write_array(values: np.ndarray, form: str, folder: Path) -> Path:
    path = folder / f"given.{form}"
    if form == "npy":
        np.save(path, values)
    elif form == "npz":
        np.savez(path, values=values)
    else:
        zarr.create_array(path, data=values, chunks=(5, *values.shape[1:]), compressors=None)
    return path


TABLES = ("parquet", "arrow", "feather", "csv", "tsv", "csv.gz", "saved")
ARRAYS = ("npy", "npz", "zarr")


def bytes_of(path: Path) -> Path:
    """Return the file that holds the values."""
    return {"saved": path / "data.arrow", "given.zarr": path / "c/0/0"}.get(path.name, path)


# --- doors ------------------------------------------------------------------------------------


def command(*arguments: Any) -> Any:
    """Run a command; raise what it said where it ended in one message, as Python would."""
    found = CliRunner().invoke(main, [os.fspath(str(given)) for given in arguments])
    if found.exit_code == 0:
        return found
    assert isinstance(found.exception, SystemExit), repr(found.exception)
    assert found.exit_code in (1, 2)
    assert "Traceback" not in found.output
    # Lines are broken to the width of the terminal.
    raise daskal.DaskalError(found.output)


def score_votes(votes: Any, folder: Path, probs: Any = PROBS) -> Any:
    return daskal.run(votes=votes, pred_probs=probs, id_column="id", out=folder / "out.zarr")


def score_command(votes: Any, folder: Path, probs: Any = None) -> Any:
    if probs is None:
        probs = folder / "probs.parquet"
        PROBS.to_parquet(probs, index=False)
    given = ("--votes", votes, "--pred-probs", probs, "--id-column", "id")
    return command("score", *given, "--out", folder / "out.zarr")


def choose(**given: Any) -> Any:
    return daskal.next_batch(np.linspace(0, 1, ROWS), size=2, **given)


def write_votes(folder: Path) -> Path:
    VOTES.to_csv(folder / "votes.csv", index=False)
    return folder / "votes.csv"


VOTE_DOORS: dict[str, Callable[[Path, Path], Any]] = {
    "run(votes=)": score_votes,
    "daskal score --votes": score_command,
    "import_votes": lambda path, folder: daskal.import_votes(
        path, folder / "out.zarr", tasks=IDS, classes=["ant", "bee", "cat"]
    ),
    "daskal import": lambda path, folder: command("import", path, "--out", folder / "out.zarr"),
}
TABLE_DOORS: dict[str, Callable[[Path, Path], Any]] = {
    "run(pred_probs=)": lambda path, folder: score_votes(VOTES, folder, path),
    "daskal score --pred-probs": lambda path, folder: score_command(
        write_votes(folder), folder, path
    ),
}
MATRIX_DOORS: dict[str, Callable[[Path, Path], Any]] = {
    "score_unlabeled": lambda path, folder: daskal.score_unlabeled(path).compute(),
    "score_labeled": lambda path, folder: daskal.score_labeled(LABELS, path, ESTIMATE).compute(),
    "estimate, probabilities": lambda path, folder: daskal.estimate(LABELS, path),
    "estimate, labels": lambda path, folder: daskal.estimate(path, MATRIX),
    "aggregate": lambda path, folder: daskal.aggregate(path, num_classes=3),
    "daskal aggregate": lambda path, folder: command(
        "aggregate", path, "--scheduler", "threads", "--out", folder / "out.zarr"
    ),
    "embeddings": lambda path, folder: choose(embeddings=path, diversity="k_center"),
}
COLUMN_DOORS: dict[str, Callable[[Path, Path], Any]] = {
    "ids": lambda path, folder: daskal.run(
        pred_probs_unlabeled=MATRIX, unlabeled_ids=path, out=folder / "out.zarr"
    ),
    "groups": lambda path, folder: choose(groups=path, max_per_group=3),
    "tasks of an import": lambda path, folder: daskal.import_votes(
        VOTES, folder / "out.zarr", tasks=path, classes=["ant", "bee", "cat"]
    ),
    "gold": lambda path, folder: daskal.aggregate(LABELS, gold=path, num_classes=3),
}
DOORS = {**VOTE_DOORS, **TABLE_DOORS, **MATRIX_DOORS, **COLUMN_DOORS}
COUNTED_DOORS = ["score_labeled", "estimate, probabilities", "estimate, labels", "embeddings"]


def each_door(doors: Iterable[str], forms: Iterable[str]) -> pytest.MarkDecorator:
    """Try each form that a door takes.

    Without slow tests it is CSV at every door, and the other forms at the first of each kind.
    """
    first = {next(iter(kind)) for kind in (VOTE_DOORS, TABLE_DOORS, MATRIX_DOORS, COLUMN_DOORS)}
    return pytest.mark.parametrize(
        ("door", "form"),
        [
            pytest.param(
                door, form, marks=() if form == "csv" or door in first else pytest.mark.slow
            )
            for door in doors
            for form in forms
            if form in TABLES or door in MATRIX_DOORS
        ],
    )


def frame_for(door: str) -> pd.DataFrame:
    if door in VOTE_DOORS:
        return VOTES
    if door in TABLE_DOORS:
        return PROBS
    if door == "gold":
        return pd.DataFrame({"task": range(ROWS), "label": 0})
    return pd.DataFrame({"id": IDS}) if door in COLUMN_DOORS else PROBS.drop(columns="id")


def refused(door: str, path: Path, folder: Path, *said: str) -> str:
    """Check that a door refuses a file; return what it says, with the file and what is wrong."""
    with pytest.raises(daskal.DaskalError) as caught:
        DOORS[door](path, folder)
    text = re.sub(r"\s+", "", str(caught.value))
    for each in said:
        assert re.sub(r"\s+", "", each) in text, str(caught.value)
    return str(caught.value)


# --- the files themselves ---------------------------------------------------------------------


def emptied(path: Path) -> None:
    packed = path.name.endswith(".gz")
    path.write_bytes(gzip.compress(b"") if packed else b"")


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def other_content(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(128, 256)) * 4)


def check_damaged(door: str, form: str, fault: Callable[[Path], None], folder: Path) -> None:
    if form in TABLES:
        path = write_frame(frame_for(door), form, folder)
    else:
        path = write_array(MATRIX, form, folder)
    file = bytes_of(path)
    fault(file)
    said = refused(door, path, folder, path.name)
    if form != "zarr":
        # Said in our words, with what was expected and what came.
        assert "expected" in said
        assert "got" in said


@pytest.mark.parametrize("fault", [emptied, other_content])
@each_door(DOORS, [*TABLES, *ARRAYS])
def test_damaged_files(door: str, form: str, fault: Callable[[Path], None], tmp_path: Path) -> None:
    check_damaged(door, form, fault, tmp_path)


@pytest.mark.parametrize("door", [*VOTE_DOORS, *COLUMN_DOORS])
def test_text_in_another_encoding(door: str, tmp_path: Path) -> None:
    path = write_frame(frame_for(door).rename(columns=str), "csv", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", "\nZoë".encode("latin-1"), 2))
    assert "UTF-8" in refused(door, path, tmp_path, path.name)


# Text that is cut off is text as well.
@each_door(DOORS, [form for form in [*TABLES, *ARRAYS] if form not in ("csv", "tsv")])
def test_truncated_files(door: str, form: str, tmp_path: Path) -> None:
    check_damaged(door, form, truncated, tmp_path)


# --- what they hold ---------------------------------------------------------------------------

WRONG_VOTES: dict[str, tuple[pd.DataFrame, str]] = {
    "a column is lacking": (VOTES.drop(columns="annotator"), "no 'annotator'"),
    "no rows": (VOTES.iloc[:0], "at least one vote"),
    "an id is missing": (VOTES.assign(task=[None, *VOTES["task"][1:]]), "column 'task', but 1 "),
    "an annotator is missing": (
        VOTES.assign(annotator=[*VOTES["annotator"][1:], None]),
        "column 'annotator', but 1 ",
    ),
    "a vote is doubled": (pd.concat([VOTES, VOTES[:1]]), "one vote of an annotator on a task"),
}
UNMATCHED: dict[str, tuple[pd.DataFrame, str]] = {
    "one task too many": (
        pd.concat([VOTES, VOTES[:1].assign(task="t99")], ignore_index=True),
        "'t99'",
    ),
    "another class": (VOTES.assign(label=["dog", *VOTES["label"][1:]]), "'dog'"),
}


@pytest.mark.parametrize("fault", [*WRONG_VOTES, *UNMATCHED])
@each_door(VOTE_DOORS, TABLES)
def test_wrong_votes(door: str, form: str, fault: str, tmp_path: Path) -> None:
    votes, said = {**WRONG_VOTES, **UNMATCHED}[fault]
    path = write_frame(votes, form, tmp_path)
    if door == "daskal import" and fault in UNMATCHED:
        command("import", path, "--out", tmp_path / "out.zarr")  # nothing to match them with
        return
    refused(door, path, tmp_path, said)


WRONG_PROBS: dict[str, tuple[pd.DataFrame, str]] = {
    "no column of ids": (PROBS.drop(columns="id"), "expected a column 'id'"),
    "no rows": (PROBS.iloc[:0], ""),
    "an id is missing": (PROBS.assign(id=[None, *IDS[1:]]), "an id in every row of column 'id'"),
    "an id is doubled": (PROBS.assign(id=["t1", *IDS[1:]]), "'t1'"),
    "text among the probabilities": (PROBS.assign(bee="half"), "'bee'"),
    "one row too few": (PROBS[:-1], "'t11'"),
    "another class": (PROBS.rename(columns={"cat": "dog"}), "'cat'"),
}


@pytest.mark.parametrize("fault", WRONG_PROBS)
@each_door(TABLE_DOORS, TABLES)
def test_wrong_probabilities(door: str, form: str, fault: str, tmp_path: Path) -> None:
    frame, said = WRONG_PROBS[fault]
    refused(door, write_frame(frame, form, tmp_path), tmp_path, said)


# Elsewhere nothing else says how many rows there are.
@each_door([*COUNTED_DOORS, "ids", "groups"], [*TABLES, *ARRAYS])
def test_one_row_too_many(door: str, form: str, tmp_path: Path) -> None:
    if door in COLUMN_DOORS:
        path = write_frame(pd.DataFrame({"id": [*IDS, "more"]}), form, tmp_path)
    elif form in TABLES:
        frame = PROBS.drop(columns="id")
        path = write_frame(pd.concat([frame, frame[:1]]), form, tmp_path)
    else:
        path = write_array(np.concatenate([MATRIX, MATRIX[:1]]), form, tmp_path)
    refused(door, path, tmp_path, "13")


# --- files that are right ---------------------------------------------------------------------


@pytest.mark.parametrize("form", TABLES)
def test_votes_of_every_form_give_the_same(form: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    expected = score_votes(VOTES, tmp_path / "a")
    found = score_votes(write_frame(VOTES, form, tmp_path), tmp_path)
    assert found.scores.compute().tobytes() == expected.scores.compute().tobytes()
    assert found.estimate.annotator_ids == ("x", "y")


@pytest.mark.parametrize("form", TABLES)
def test_gold_of_every_form_gives_the_same(form: str, tmp_path: Path) -> None:
    gold = pd.DataFrame({"task": [3, 1, 2], "label": [1, None, 0]})
    expected = daskal.aggregate(LABELS, gold=gold, use_gold=True, num_classes=3)
    path = write_frame(gold, form, tmp_path)
    found = daskal.aggregate(LABELS, gold=path, use_gold=True, num_classes=3)
    assert found.to_json() == expected.to_json()


@pytest.mark.parametrize("form", TABLES)
def test_tasks_of_every_form(form: str, tmp_path: Path) -> None:
    ids = ["007", "10", *IDS]
    path = write_frame(pd.DataFrame({"task": ids}), form, tmp_path)
    daskal.import_votes(VOTES, tmp_path / "out.zarr", tasks=path, classes=["ant", "bee", "cat"])
    assert zarr.open_group(tmp_path / "out.zarr", mode="r")["tasks"][:].tolist() == ids


# --- names and types that do not fit ----------------------------------------------------------

MISNAMED = {
    ("parquet", "csv"): "holds Parquet",
    ("feather", "parquet"): "holds Arrow",
    ("parquet", "feather"): "holds Parquet",
    ("csv", "parquet"): "is no Parquet but text",
    ("csv", "feather"): "is no Arrow but text",
    ("csv.gz", "csv"): "is no CSV but compressed",
}


@pytest.mark.parametrize(("form", "called"), MISNAMED)
@pytest.mark.parametrize("door", DOORS)
def test_files_of_the_wrong_name(door: str, form: str, called: str, tmp_path: Path) -> None:
    path = write_frame(frame_for(door), form, tmp_path)
    path = path.rename(tmp_path / f"misnamed.{called}")
    refused(door, path, tmp_path, path.name, MISNAMED[form, called])


@pytest.mark.parametrize("column", ["task", "annotator", "label"])
@each_door(VOTE_DOORS, ["parquet", "feather"])
def test_mixed_types(door: str, form: str, column: str, tmp_path: Path) -> None:
    folder = tmp_path / "votes"
    for name, votes in (("a", VOTES[:ROWS]), ("b", VOTES[ROWS:].assign(**{column: 7}))):
        (folder / name).mkdir(parents=True)
        write_frame(votes, form, folder / name)
    refused(door, folder, tmp_path, f"column '{column}' is of mixed types")
