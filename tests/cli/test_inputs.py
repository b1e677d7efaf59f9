"""Votes and tables on the command line, and where small inputs are worked on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from click.testing import CliRunner, Result

from daskal.cli import inputs, launching
from daskal.cli.commands import main
from daskal.cli.inputs import are_small, choose_scheduler
from tests.problems import make_problem

PROBLEM = make_problem(2, num_examples=50, pool=80)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    rows, annotators = np.nonzero(~np.isnan(PROBLEM.labels))
    votes = pd.DataFrame({"task": rows, "annotator": annotators})
    votes["label"] = PROBLEM.labels[rows, annotators].astype(int)
    votes.to_csv(folder / "votes.csv", index=False)
    probs = pd.DataFrame(np.concatenate([PROBLEM.pred_probs, PROBLEM.pool]))
    probs.columns = probs.columns.astype(str)
    probs.assign(task=range(130), text="a").to_parquet(folder / "probs.parquet", index=False)
    np.save(folder / "labels.npy", PROBLEM.labels)
    np.save(folder / "probs.npy", PROBLEM.pred_probs)
    np.save(folder / "pool.npy", PROBLEM.pool)
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [os.fspath(str(given)) for given in arguments])


def test_two_files_make_a_batch(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README says it, and with other columns left out; no cluster is started."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(launching, "embedded", refuse)
    given = (
        *("--votes", files / "votes.csv", "--pred-probs", files / "probs.parquet"),
        *("--id-column", "task"),
    )
    out = ("--out", tmp_path / "scores.zarr")
    refused = invoke("score", *given, *out)
    assert refused.exit_code == 1
    assert "got also 'text'" in refused.stderr
    assert "the columns to take with --class-columns" in refused.stderr
    given = (*given, "--class-columns", "0,1,2,3")
    done = invoke("score", *given, *out)
    assert done.exit_code == 0, done.stderr
    expected = invoke(
        "score",
        *("--labels", files / "labels.npy", "--pred-probs", files / "probs.npy"),
        *("--unlabeled", files / "pool.npy", "--out", tmp_path / "expected.zarr"),
    )
    assert expected.exit_code == 0, expected.stderr
    for section in ("labeled", "unlabeled"):
        found, wanted = (
            zarr.open_array(tmp_path / f"{name}.zarr/{section}/score")[:]
            for name in ("scores", "expected")
        )
        assert found.tobytes() == wanted.tobytes()
    again = invoke("score", *given, *out)
    assert again.exit_code == 1
    # Nothing was read before.
    assert again.stderr.startswith("Error: ")
    assert "exists already" in again.stderr
    batch = invoke("batch", tmp_path / "scores.zarr", "--size", 5)
    assert batch.exit_code == 0, batch.stderr
    assert len(batch.stdout.splitlines()) == 6
    plan = invoke("plan", *given)
    assert plan.exit_code == 0, plan.stderr
    assert "80 rows" in plan.stdout


def test_unknown_tasks(files: Path, tmp_path: Path) -> None:
    votes = pd.read_csv(files / "votes.csv")
    pd.concat([votes, votes[:1].assign(task=999)]).to_csv(tmp_path / "v.csv", index=False)
    given = (
        *("score", "--votes", tmp_path / "v.csv", "--pred-probs", files / "probs.parquet"),
        *("--id-column", "task", "--class-columns", "0,1,2,3", "--out", tmp_path / "s.zarr"),
    )
    refused = invoke(*given)
    assert refused.exit_code == 1
    assert "lack 1 of 51 tasks (999), with 1 vote." in refused.stderr
    assert "--unknown-tasks ignore" in refused.stderr
    assert invoke(*given, "--unknown-tasks", "ignore").exit_code == 0


def test_a_label_that_is_no_class(files: Path, tmp_path: Path) -> None:
    votes = pd.read_csv(files / "votes.csv")
    pd.concat([votes, votes[:1].assign(label=9)]).to_csv(tmp_path / "v.csv", index=False)
    refused = invoke(
        *("score", "--votes", tmp_path / "v.csv", "--pred-probs", files / "probs.parquet"),
        *("--id-column", "task", "--class-columns", "0,1,2,3", "--out", tmp_path / "s.zarr"),
    )
    assert refused.exit_code == 1
    assert "but 1 vote has another label (9). Correct or remove" in refused.stderr
    assert "--classes" not in refused.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--votes", "v.csv"), "Pass --votes and --pred-probs together"),
        (("--votes", "v.csv", "--pred-probs", "p", "--labels", "l"), "leave out --labels"),
        (("--votes", "v.csv", "--pred-probs", "p", "--unlabeled", "u"), "leave out --labels"),
        (("--pred-probs", "p"), "Pass --pred-probs together with --labels or --votes"),
        (("--labels", "l"), "Pass --labels and --pred-probs together"),
        ((), "or --votes and --pred-probs"),
    ],
)
@pytest.mark.parametrize("command", ["score", "plan"])
def test_usage(command: str, given: tuple[str, ...], message: str) -> None:
    out = ("--out", "o.zarr") if command == "score" else ()
    refused = invoke(command, *given, *out)
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.replace("│", " ").split())


def test_small_inputs_run_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("a.csv", "folder/b.csv", "folder/c.csv"):
        (tmp_path / name).write_bytes(bytes(100))
    one, folder, several = tmp_path / "a.csv", tmp_path / "folder", tmp_path / "folder/*.csv"
    assert are_small([one], 100)
    assert not are_small([one], 99)
    assert are_small([str(folder), None], 200)
    assert not are_small([(str(folder), str(one))], 299)
    assert are_small([str(several)], 200)
    assert not are_small([str(several)], 199)
    assert not are_small(["s3://crowd/probs.parquet"], 10**9)
    # What is not there is an error that needs no cluster.
    assert are_small([str(tmp_path / "nothing")], 0)
    monkeypatch.setattr(inputs, "SMALL_BYTES", 150)
    assert choose_scheduler(None, None, None, [one]) == "threads"
    assert choose_scheduler(None, None, None, [folder]) is None
    assert choose_scheduler("processes", None, None, [one]) == "processes"
    assert choose_scheduler(None, 2, None, [one]) is None
    assert choose_scheduler(None, None, 2**30, [one]) is None


@pytest.mark.parametrize("command", ["score", "import", "aggregate", "panel"])
def test_help_says_what_is_small(command: str) -> None:
    shown = " ".join(invoke(command, "--help").stdout.split())
    assert "Local" in shown
    assert "up to 64 MiB in all" in shown
    assert inputs.SMALL_BYTES == 64 * 2**20
