"""The command line: real processes for its cluster, click's runner for the rest."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import psutil
import pytest
import zarr
from click.testing import CliRunner, Result
from distributed import Client

import daskal
from daskal.cli import commands, options
from daskal.cli.options import TYPED
from daskal.errors import ARGUMENT, ClusterError

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = (
    *("aggregate", "assign", "batch", "demo", "import", "labels"),
    *("panel", "plan", "report", "score", "warmup"),
)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands.main, [str(argument) for argument in arguments])


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Start a command in its own process and session, as a terminal would."""
    return subprocess.Popen(
        [sys.executable, "-m", "daskal.cli", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def session_members(leader: int) -> list[str]:
    """Return commands of the live processes in a session."""
    listed = subprocess.run(
        ["ps", "-o", "stat=,args=", "-s", str(leader)], capture_output=True, text=True, check=False
    ).stdout
    return [line for line in listed.splitlines() if not line.startswith("Z")]


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Compile the kernels, which the commands would say, before any of them runs."""
    daskal.warmup()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return the folder of a demo made by the command, and what the command printed."""
    folder = tmp_path_factory.mktemp("cli")
    sizes = ("--examples", "3000", "--pool", "5000", "--annotators", "12", "--classes", "4")
    running = start("demo", *sizes, "--workers", "2", "--memory-limit", "1GiB", folder=folder)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    return folder / "daskal-demo", out, err


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Return a folder with a small labeled set, a pool and ids."""
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.ones(3), 60).astype("float32")
    labels = np.where(random.random((40, 5)) < 0.6, random.integers(0, 3, (40, 5)), -1)
    for name, values in (
        ("labels", labels.astype("int8")),
        ("probs", probs[:40]),
        ("pool", probs[40:]),
        ("names", np.array([f"task-{row}" for row in range(20)], dtype=object)),
    ):
        array = zarr.create_array(
            tmp_path / f"{name}.zarr",
            shape=values.shape,
            chunks=values.shape,
            dtype=str if values.dtype == object else values.dtype,
        )
        array[...] = values
    return tmp_path


def score(folder: Path, *arguments: str | Path) -> Result:
    return invoke("score", "--scheduler", "threads", "--out", folder / "out.zarr", *arguments)


def labeled(folder: Path) -> tuple[str | Path, ...]:
    return ("--labels", folder / "labels.zarr", "--pred-probs", folder / "probs.zarr")


# --- compiled kernels -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "status", "said"),
    [
        ((True, 24.31, "/cache"), 0, "Compiled in 24.3 s.\nCache: /cache\n"),
        ((False, 0.2, "/cache"), 0, "Nothing to compile: already there.\nCache: /cache\n"),
        ((False, 0.2, None), 1, "Error: expected a folder to keep compiled kernels in, found none"),
    ],
)
def test_warmup(
    monkeypatch: pytest.MonkeyPatch, done: tuple[Any, ...], status: int, said: str
) -> None:
    monkeypatch.setattr(daskal, "warmup", lambda: daskal.Warmup(*done), raising=False)
    result = invoke("warmup")
    assert result.exit_code == status
    assert result.output.startswith(said)


def test_warmup_says_where_the_cache_is() -> None:
    said = invoke("warmup").output
    assert said == f"Nothing to compile: already there.\nCache: {daskal.warmup().folder}\n"


@pytest.mark.parametrize("scheduler", [None, "processes", "threads"])
def test_kernels_are_compiled_before_new_processes_start(
    monkeypatch: pytest.MonkeyPatch, arrays: Path, scheduler: str | None
) -> None:
    done = []

    def begin(choice: str | None, *_: Any) -> None:
        done.append(f"began {choice}")
        raise ClusterError("enough")

    def warmup() -> daskal.Warmup:
        done.append("compiled")
        logging.getLogger("daskal.kernels").info("Compiling ...")
        return daskal.Warmup(False, 0.0, None)

    monkeypatch.setattr(daskal, "warmup", warmup, raising=False)
    monkeypatch.setattr(options.launching, "scheduler", begin)
    # Small inputs start no cluster unless they are told to.
    chosen = ("--workers", "2") if scheduler is None else ("--scheduler", scheduler)
    said = invoke("score", *labeled(arrays), "--out", arrays / "out.zarr", *chosen).output
    if scheduler == "threads":
        # They compile what they need, when they need it.
        assert (done, said) == (["began threads"], "Error: enough\n")
    else:
        assert done == ["compiled", f"began {scheduler}"]
        assert said.splitlines()[0] == "Compiling ..."
        assert said.splitlines()[1].startswith("Each process compiles its kernels")
    assert logging.getLogger("daskal.kernels").handlers == []


# --- help -------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "pandas", "dask", "distributed", "zarr", "rich", "fsspec")
    code = f"import sys, daskal.cli.commands; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_help_lists_the_commands() -> None:
    text = invoke("--help").output
    assert tuple(re.findall(r"^  (\w+)  ", text.partition("Commands:")[2], re.M)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    result = invoke(command, "-h")
    assert result.exit_code == 0
    assert "--debug" in result.output


def test_help_of_the_commands_is_whole() -> None:
    result = CliRunner().invoke(commands.main, ["--help"], terminal_width=80)
    lines = result.output.partition("Commands:")[2].splitlines()[1:]
    assert [line for line in lines if line.endswith("...") or not line.endswith(".")] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(command: str) -> None:
    result = CliRunner().invoke(commands.main, [command, "--help"], terminal_width=80)
    lines = result.output.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    # No name is broken at a hyphen: it could not be copied.
    assert [line for line in lines if line.endswith("-")] == []


def test_plan_takes_what_score_takes(arrays: Path) -> None:
    names = [
        {option for parameter in commands.main.commands[name].params for option in parameter.opts}
        for name in ("score", "plan")
    ]
    assert names[0] - names[1] == set()
    given = (*labeled(arrays), "--unlabeled", arrays / "pool.zarr", "--convention", "cleanlab")
    more = ("--out", arrays / "o.zarr", "--overwrite", "--workers", "3", "--scheduler", "threads")
    result = invoke("plan", *given, *more)
    assert (result.exit_code, result.output) == (0, invoke("plan", *given[:-2]).output)
    assert not (arrays / "o.zarr").exists()


def test_version() -> None:
    assert invoke("--version").output == f"daskal, version {daskal.__version__}\n"


# --- the demo, its cluster --------------------------------------------------------------------


def test_demo_leaves_data_and_scores(made: tuple[Path, str, str]) -> None:
    folder, out, err = made
    shapes = {
        name: zarr.open_array(folder / name, mode="r").shape
        for name in ("labels.zarr", "pred_probs.zarr", "unlabeled.zarr")
    }
    assert shapes == {
        "labels.zarr": (3000, 12),
        "pred_probs.zarr": (3000, 4),
        "unlabeled.zarr": (5000, 4),
    }
    run = daskal.Run.open(folder / "scores.zarr")
    assert run.attrs["status"] == "finished"
    assert len(run.batch) == 1000
    # What is printed is what is stored.
    assert run.estimate is not None
    for name, value in run.estimate.summary()[:8]:
        assert re.search(f"{re.escape(name)} +{re.escape(value)}", out)
    first = run.batch.iloc[0]
    assert re.search(f" 1 +{first['source']} +{first['row']:,} +{first['score']:.4f}", out)
    assert "daskal batch daskal-demo/scores.zarr" in out
    # Plain lines, as standard error is no terminal; a quiet cluster.
    lines = err.splitlines()
    assert re.fullmatch(r"Dashboard: http://127\.0\.0\.1:\d+/status", lines.pop(2))
    assert lines[0].startswith("3,000 examples labeled by 12 annotators, a pool of 5,000")
    assert lines.pop(1) == "in daskal-demo"
    assert re.fullmatch(r"Done in [\d.]+ s; no worker held more than .* of its 1\.0 GiB", lines[-1])
    progress = (
        r"(making|pass [12]|judging): (votes|labeled|consensus|pool|quality) +\d+/\d+ blocks .*"
    )
    assert [line for line in lines[1:-1] if not re.fullmatch(progress, line)] == []
    assert len(lines) == 11


def test_demo_finds_what_is_wrong(made: tuple[Path, str, str]) -> None:
    folder, out, _ = made
    scores = daskal.Run.open(folder / "scores.zarr").root
    truth = zarr.open_group(folder / "truth.zarr", mode="r")
    wrong = scores["labeled/consensus_label"][:] != truth["labeled"][:]
    lowest = np.argsort(scores["labeled/score"][:])[:300]
    overall, among = re.findall(r"consensus labels +([\d.]+)% +([\d.]+)%", out)[0]
    assert float(overall) == pytest.approx(100 * wrong.mean(), abs=0.05)
    assert float(among) == pytest.approx(100 * wrong[lowest].mean(), abs=1)
    assert float(among) > 3 * float(overall)


def test_score_and_batch_in_processes(made: tuple[Path, str, str]) -> None:
    folder, _, _ = made
    inputs = ("--labels", "labels.zarr", "--pred-probs", "pred_probs.zarr")
    running = start(
        *("score", *inputs, "--unlabeled", "unlabeled.zarr", "--out", "again.zarr"),
        *("--workers", "1", "--batch-size", "7"),
        folder=folder,
    )
    _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    first, again = (daskal.Run.open(folder / name) for name in ("scores.zarr", "again.zarr"))
    for section in ("labeled", "unlabeled"):
        ours, theirs = (run.root[f"{section}/score"][:] for run in (first, again))
        np.testing.assert_array_equal(ours, theirs)
    running = start("batch", "again.zarr", "--size", "7", folder=folder)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    header, *rows = out.splitlines()
    assert header == "rank,source,row,score"
    assert [row.split(",")[:3] for row in rows] == [
        [str(rank), pool, str(row)]
        for rank, pool, row, _ in first.batch.head(7).itertuples(index=False)
    ]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and sessions")
def test_interrupt_ends_the_cluster(tmp_path: Path) -> None:
    running = start("demo", "--examples", "200000", "--workers", "1", folder=tmp_path)
    assert running.stderr is not None
    try:
        said = [running.stderr.readline() for _ in range(4)]
        assert said[3].startswith("making: labeled")
        # As Ctrl-C in a terminal does: the workers get it too.
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == options.INTERRUPTED, err
    assert [line for line in err.splitlines() if "blocks" not in line] == ["Interrupted."]
    deadline = time.monotonic() + 20
    while session_members(running.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert session_members(running.pid) == []


def workers() -> set[int]:
    """Return the worker processes of clusters in this process."""
    alive = [
        child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE
    ]
    return {child.pid for child in alive if "spawn_main" in str(child.cmdline())}


def test_embedded_cluster_is_closed_on_errors(arrays: Path) -> None:
    before = workers()
    result = invoke(
        *("score", "--labels", arrays / "labels.zarr", "--pred-probs", arrays / "pool.zarr"),
        *("--out", arrays / "out.zarr", "--workers", "1"),
    )
    assert result.exit_code == 1
    assert "same number of rows, got 40 and 20" in result.stderr
    assert workers() == before


def test_score_on_a_cluster_that_is_there(arrays: Path, cluster: Client) -> None:
    address = cluster.scheduler.address
    given = ("score", *labeled(arrays), "--out", arrays / "out.zarr", "--scheduler", address)
    result = invoke(*given)
    assert result.exit_code == 0, result.stderr
    assert len(cluster.scheduler_info()["workers"]) == 2
    known = daskal.estimate(arrays / "labels.zarr", arrays / "probs.zarr")
    assert daskal.Run.open(arrays / "out.zarr").estimate == known


def test_no_scheduler_at_the_address(arrays: Path) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        given = ("score", *labeled(arrays), "--out", arrays / "out.zarr")
        result = invoke(*given, "--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 1
    assert "expected a Dask scheduler at 'tcp://127.0.0.1:9', could not connect" in result.stderr


# --- score ------------------------------------------------------------------------------------


def test_score_takes_what_run_takes(arrays: Path) -> None:
    given = (*labeled(arrays), "--unlabeled", arrays / "pool.zarr", "--batch-size", "5")
    ids = ("--unlabeled-ids", arrays / "names.zarr")
    result = score(arrays, *given, *ids, "--convention", "cleanlab")
    assert result.exit_code == 0, result.stderr
    run = daskal.Run.open(arrays / "out.zarr")
    expected = daskal.run(
        labels=arrays / "labels.zarr",
        pred_probs=arrays / "probs.zarr",
        pred_probs_unlabeled=arrays / "pool.zarr",
        out=arrays / "expected.zarr",
        unlabeled_ids=arrays / "names.zarr",
        convention="cleanlab",
        batch_size=5,
    )
    assert run.estimate == expected.estimate
    pd.testing.assert_frame_equal(run.batch, expected.batch)
    assert run.attrs["options"] == expected.attrs["options"]
    assert str(run.batch["id"].dropna().iloc[0]) in result.stdout


def test_score_several_models(arrays: Path) -> None:
    twice = ("--unlabeled", arrays / "pool.zarr") * 2
    assert score(arrays, *twice).exit_code == 0
    pool = zarr.open_array(arrays / "pool.zarr")[:]
    expected = daskal.score_unlabeled(np.stack([pool, pool])).compute()
    np.testing.assert_array_equal(
        daskal.Run.open(arrays / "out.zarr").root["unlabeled/score"], expected
    )


@pytest.mark.parametrize("kind", ["json", "zarr"])
def test_score_with_an_earlier_estimate(arrays: Path, kind: str) -> None:
    first = daskal.run(
        labels=arrays / "labels.zarr", pred_probs=arrays / "probs.zarr", out=arrays / "old.zarr"
    )
    assert first.estimate is not None
    (arrays / "old.json").write_text(first.estimate.to_json(), encoding="utf-8")
    given = ("--unlabeled", arrays / "pool.zarr", "--estimate", arrays / f"old.{kind}")
    assert score(arrays, *given).exit_code == 0
    expected = daskal.score_unlabeled(arrays / "pool.zarr", first.estimate).compute()
    stored = daskal.Run.open(arrays / "out.zarr")
    np.testing.assert_array_equal(stored.root["unlabeled/score"][:], expected)


def test_estimates_that_are_none(arrays: Path) -> None:
    pool = ("--unlabeled", arrays / "pool.zarr")
    assert score(arrays, *pool).exit_code == 0
    (arrays / "bad.json").write_text("{}", encoding="utf-8")
    for path, message in (
        ("out.zarr", "expected a store with an estimate"),
        ("bad.json", "expected an estimate of schema"),
        ("none.json", "cannot read the estimate in .*none.json': nothing is stored there"),
    ):
        result = score(arrays, *pool, "--estimate", arrays / path, "--overwrite")
        assert result.exit_code == 1
        assert re.search(message, result.stderr)


def test_a_store_is_replaced_or_resumed_only_if_asked(arrays: Path) -> None:
    pool = ("--unlabeled", arrays / "pool.zarr")
    codes = [
        score(arrays, *pool, *more).exit_code for more in ((), (), ("--resume",), ("--overwrite",))
    ]
    assert codes == [0, 1, 0, 0]
    error = score(arrays, *pool).stderr.splitlines()[-1]
    assert "exists already. Pass --overwrite to replace it, --resume to continue" in error
    error = score(arrays, *pool, "--resume", "--batch-size", "3").stderr
    assert "cannot be resumed" in error


# --- the other commands -----------------------------------------------------------------------


def test_plan_reads_nothing_and_checks_memory(arrays: Path) -> None:
    given = ("plan", *labeled(arrays), "--unlabeled", arrays / "pool.zarr")
    for chunk in (arrays / "probs.zarr").glob("c/**/*"):
        if chunk.is_file():
            chunk.unlink()
    result = invoke(*given, "--memory-limit", "2GiB")
    assert result.exit_code == 0
    plan = daskal.plan(
        labels=arrays / "labels.zarr",
        pred_probs=arrays / "probs.zarr",
        pred_probs_unlabeled=arrays / "pool.zarr",
        memory_limit="2GiB",
        threads_per_worker=1,
    )
    assert result.stdout.split() == repr(plan).replace("Plan:", "Plan").split()
    result = invoke(*given, "--memory-limit", "50MB", "--threads", "3")
    assert result.exit_code == 1
    assert "does not fit" in result.stdout
    assert "per worker (3 tasks of" in result.stderr


def in_terminal(*arguments: str | Path, stream: str) -> str:
    """Return what a command shows on one stream that is a terminal of 80 columns."""
    main_end, other_end = os.openpty()
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    done = subprocess.run(
        [sys.executable, "-m", "daskal.cli", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "80", "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
        **{**streams, stream: other_end},
    )
    os.close(other_end)
    assert done.returncode == 0
    shown = os.read(main_end, 2**16).decode()
    os.close(main_end)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
def test_a_plan_is_broken_between_words(arrays: Path) -> None:
    """The terminal itself would break anywhere."""
    given = ("plan", *labeled(arrays), "--unlabeled", arrays / "pool.zarr")
    shown = in_terminal(*given, stream="stdout")
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.split() == invoke(*given).stdout.split()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
def test_warnings_have_lines_of_their_own_beside_bars(tmp_path: Path) -> None:
    votes = pd.DataFrame({"task": ["a", "b"], "annotator": "x", "label": ["cat", "dog"]})
    votes.to_csv(tmp_path / "votes.csv", index=False)
    given = ("import", tmp_path / "votes.csv", "--out", tmp_path / "labels.zarr")
    shown = in_terminal(*given, stream="stderr")
    begins = [line for line in re.split(r"[\r\n]+", shown) if "Warning: " in line]
    assert [line[:17] for line in begins] == ["Warning: rows are", "Warning: classes "]


@pytest.fixture
def scored(arrays: Path) -> daskal.Run:
    return daskal.run(
        labels=arrays / "labels.zarr",
        pred_probs=arrays / "probs.zarr",
        pred_probs_unlabeled=arrays / "pool.zarr",
        unlabeled_ids=arrays / "names.zarr",
        out=arrays / "scored.zarr",
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_batch_is_written_in_each_format(scored: daskal.Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"next.{suffix}"
    capped = ("--size", "6", "--max-relabel-fraction", "0.5", "--max-annotations", "4")
    result = invoke("batch", scored.path, *capped, "--out", path)
    assert (result.exit_code, result.stdout) == (0, "")
    expected = scored.next_batch(size=6, max_relabel_fraction=0.5, max_annotations=4)
    assert expected["source"].tolist().count("labeled") == 3
    if suffix == "json":
        tasks = json.loads(path.read_text(encoding="utf-8"))
        assert [task["data"]["row"] for task in tasks] == expected["row"].tolist()
        return
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[suffix]
    pd.testing.assert_frame_equal(read(path), expected, check_dtype=False)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_earlier_batches_are_left_out(scored: daskal.Run, tmp_path: Path, suffix: str) -> None:
    both = scored.next_batch(size=12)
    names = [tmp_path / f"{name}.{suffix}" for name in ("first", "second")]
    assert invoke("batch", scored.path, "--size", "6", "--out", names[0]).exit_code == 0
    given = ("batch", scored.path, "--size", "6", "--exclude", names[0])
    assert invoke(*given, "--out", names[1]).exit_code == 0
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}[suffix]
    assert pd.concat(map(read, names))["row"].tolist() == both["row"].tolist()
    third = invoke(*given, "--exclude", names[1]).stdout.splitlines()[1].split(",")
    assert int(third[2]) == scored.next_batch(size=13)["row"].iloc[12]


@pytest.mark.parametrize(("dtype", "start"), [("int64", 100), (str, 100)])
def test_ids_of_an_earlier_batch_keep_their_type(
    arrays: Path, dtype: type | str, start: int
) -> None:
    ids = np.arange(start, start + 20).astype(object if dtype is str else dtype)
    names = zarr.create_array(arrays / "ids.zarr", shape=20, chunks=20, dtype=dtype)
    names[:] = [str(name) for name in ids] if dtype is str else ids
    given = ("--unlabeled", arrays / "pool.zarr", "--unlabeled-ids", arrays / "ids.zarr")
    assert score(arrays, *given).exit_code == 0
    store, csv = arrays / "out.zarr", arrays / "first.csv"
    assert invoke("batch", store, "--size", "4", "--out", csv).exit_code == 0
    # By id alone: the rows of the earlier batch are those of another order.
    pd.read_csv(csv).assign(row=-1).to_csv(csv, index=False)
    result = invoke("batch", store, "--size", "4", "--exclude", csv)
    expected = daskal.Run.open(store).next_batch(size=8)["row"].tolist()[4:]
    assert [int(line.split(",")[2]) for line in result.stdout.splitlines()[1:]] == expected


def test_labels_go_to_files_and_pipes(scored: daskal.Run, tmp_path: Path) -> None:
    assert scored.labels is not None
    expected = scored.labels.compute().reset_index()
    result = invoke("labels", scored.path)
    assert (result.exit_code, result.stderr) == (0, "")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(result.stdout)), expected)
    for name, read in (
        ("l.csv", pd.read_csv),
        ("l.parquet", pd.read_parquet),
        ("l.jsonl", lambda path: pd.read_json(path, lines=True)),
    ):
        result = invoke("labels", scored.path, "--out", tmp_path / name)
        assert result.stderr == f"40 labels written to {tmp_path / name}\n"
        pd.testing.assert_frame_equal(read(tmp_path / name), expected, check_dtype=False)
    result = invoke("labels", scored.path, "--size", "1", "--out", tmp_path / "l.csv")
    assert "1 label written to" in result.stderr
    assert invoke("labels", scored.path, "--out", "labels.txt").exit_code == 2


def test_batch_where_no_file_can_be(scored: daskal.Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = invoke("batch", scored.path, "--out", tmp_path / "file" / "next.csv")
    assert result.exit_code == 1
    assert "next.csv" in result.stderr


def test_batch_goes_on_after_earlier_ones(scored: daskal.Run, tmp_path: Path) -> None:
    for name in ("first.json", "second.csv"):
        earlier = [word for file in tmp_path.glob("*.json") for word in ("--exclude", file)]
        out = ("--out", tmp_path / name, "--id-key", "task")
        result = invoke("batch", scored.path, "--size", "5", *earlier, *out)
        assert result.exit_code == 0, result.stderr
    both = [daskal.read_batch(tmp_path / "first.json", id_key="task")]
    both.append(daskal.read_batch(tmp_path / "second.csv"))
    expected = scored.next_batch(size=10)
    for column in ("source", "row"):
        assert pd.concat(both)[column].tolist() == expected[column].tolist()


def test_batch_leaves_out_examples_with_labels_enough(scored: daskal.Run) -> None:
    result = invoke("batch", scored.path, "--size", "1000", "--max-annotations", "2")
    rows = pd.read_csv(io.StringIO(result.stdout)).query("source == 'labeled'")["row"]
    num = scored.root["labeled/num_annotations"][:]
    assert sorted(rows) == np.flatnonzero(num < 2).tolist()


def test_batch_is_not_written_over_what_it_leaves_out(scored: daskal.Run, tmp_path: Path) -> None:
    path = tmp_path / "sent.csv"
    assert invoke("batch", scored.path, "--size", "5", "--out", path).exit_code == 0
    before = path.read_text()
    away = ("--exclude", path, "--out", tmp_path / "." / "sent.csv")
    result = invoke("batch", scored.path, "--size", "5", *away)
    assert result.exit_code == 1
    assert "--exclude names too" in result.stderr
    assert path.read_text() == before


def test_report_is_written(scored: daskal.Run, tmp_path: Path) -> None:
    result = invoke("report", scored.path, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.stderr
    assert "page.html" in result.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == scored.report().html


def test_imported_votes_are_scored(tmp_path: Path) -> None:
    votes = pd.DataFrame(
        {
            "task": ["b", "a", "b", "c"],
            "who": ["x", "x", "y", "y"],
            "label": ["cat", "dog", "dog", "cat"],
        }
    )
    votes.to_csv(tmp_path / "votes.csv", index=False)
    given = ("import", tmp_path / "votes.csv", "--annotator", "who", "--classes", "dog, cat")
    local = ("--scheduler", "threads", "--out", tmp_path / "labels.zarr")
    result = invoke(*given, *local)
    assert result.exit_code == 0, result.stderr
    assert re.search(
        r"tasks +3\s.*annotators +2\s.*votes +4\s.*classes +2\s.*order of tasks +sorted as text"
        r".*order of classes +as given\s.*their order +dog, cat",
        result.stdout,
        re.S,
    )
    assert "Warning: rows are the 3 tasks met in the votes, sorted as text" in result.stderr
    zarr.create_array(tmp_path / "probs.zarr", data=np.array([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]))
    assert score(tmp_path, *labeled(tmp_path)).exit_code == 0
    run = daskal.Run.open(tmp_path / "out.zarr")
    assert run.root["labeled/num_annotations"][:].tolist() == [1, 2, 1]
    assert run.root["labeled/consensus_label"][[0, 2]].tolist() == [0, 1]
    result = invoke(*given, *local)
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("score --out o.zarr", "Pass --labels and --pred-probs, --unlabeled, or all three"),
        ("score --labels l.zarr --out o.zarr", "Pass --labels and --pred-probs together"),
        ("plan --pred-probs p.zarr", "Pass --pred-probs together with --labels or --votes"),
        ("score --unlabeled u.zarr", "Missing option '--out'"),
        ("score --unlabeled u --out o --overwrite --resume", "Choose --overwrite or --resume"),
        ("score --unlabeled u --out o --scheduler tcp://h:1 --workers 2", "--workers is for work"),
        ("score --unlabeled u --out o --memory-limit much", "expected a size such as 2GiB"),
        ("score --unlabeled u --out o --convention ours", "'ours' is not one of"),
        ("score --unlabeled u --out o --storage-options [1]", "expected a JSON object"),
        ("score --unlabeled u --out o --storage-options {key:s3cret}", "no JSON at character 1"),
        ("batch s.zarr --out next.txt", "expected a name in .csv, .parquet, .json"),
        ("batch s.zarr --exclude old.txt", "expected a name in .csv, .parquet, .json"),
        ("score --unlabeled u --out o --report no/r.html", "expected a file in a folder that is"),
        ("batch s.zarr --report .", "expected a file in a folder that is there, got '.'"),
        ("report s.zarr --out no/r.html", "expected a file in a folder that is there"),
        ("batch s.zarr --size 0", "0 is not in the range"),
        ("demo --accuracy 2", "2.0 is not in the range"),
        ("import --out l.zarr", "Missing argument 'VOTES...'"),
        ("compute", "No such command 'compute'"),
    ],
)
def test_usage_errors(arguments: str, message: str) -> None:
    result = invoke(*arguments.split())
    assert result.exit_code == 2
    assert message in result.stderr
    assert "s3cret" not in result.output


def test_a_failure_is_one_message(arrays: Path) -> None:
    result = score(arrays, "--unlabeled", arrays / "none.zarr")
    assert result.exit_code == 1
    message = result.stderr.splitlines()
    assert len(message) == 1
    assert message[0].startswith("Error: cannot read pred_probs_unlabeled from")


def test_advice_is_given_as_it_is_typed(arrays: Path) -> None:
    bad = zarr.open_array(arrays / "probs.zarr")[:]
    bad[7] = 2
    zarr.save_array(arrays / "bad.zarr", bad)
    given = ("score", "--labels", arrays / "labels.zarr", "--pred-probs", arrays / "bad.zarr")
    out = ("--scheduler", "threads", "--out", arrays / "bad-scores.zarr")
    assert "or pass --on-invalid nan to leave them out" in invoke(*given, *out).stderr
    left = invoke(*given, *out, "--on-invalid", "nan", "--overwrite")
    assert left.exit_code == 0, left.stderr
    assert np.isnan(zarr.open_array(arrays / "bad-scores.zarr/labeled/score")[7])
    (arrays / "votes.csv").write_text("item,worker,answer\na,ann,x\n")
    away = ("--scheduler", "threads", "--out", arrays / "votes.zarr")
    refused = invoke("import", arrays / "votes.csv", *away)
    assert "Name them with --task, --annotator and --label." in refused.stderr
    long = "become a store with `daskal import`, or are passed to `daskal score` as --votes."
    refused = invoke(*given[:2], arrays / "votes.csv", *given[3:], *out)
    assert f"with --class-columns. Votes in long format {long}" in refused.stderr
    (arrays / "votes.csv").write_text("task,annotator,label\na,ann,x\n")
    refused = invoke("panel", arrays / "votes.csv")
    assert "got votes in long format ('task', 'annotator', 'label')." in refused.stderr
    assert long in refused.stderr
    assert "--id-column" not in refused.stderr


def test_every_argument_that_advice_names_can_be_typed() -> None:
    texts = {
        node.value
        for path in Path(daskal.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = {argument for text in texts for argument in ARGUMENT.findall(text)}
    arguments = {name for name in named if re.match(r"\w+=|daskal\.", name)}
    # One is the example in the docstring of DaskalError.
    assert arguments == set(TYPED)


def test_values_are_shown_as_they_are(arrays: Path) -> None:
    """Only the advice is put in the command line's words, not a name that looks like advice."""
    path = arrays / "overwrite=True.zarr"
    result = score(arrays, "--unlabeled", path)
    assert "overwrite=True.zarr" in result.stderr


def test_debug_shows_the_traceback(arrays: Path) -> None:
    result = score(arrays, "--unlabeled", arrays / "none.zarr", "--debug")
    assert result.exit_code == 1
    assert "Traceback (most recent call last):" in result.stderr
    assert "MissingPathError" in result.stderr


def test_an_unforeseen_error_names_its_kind(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(daskal, "run", fail, raising=False)
    result = score(arrays, "--unlabeled", arrays / "pool.zarr")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: RuntimeError: out of luck (run again with --debug for the traceback)\n"
    )


def test_an_interrupted_score_says_how_to_go_on(
    arrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(daskal, "run", interrupt, raising=False)
    result = score(arrays, "--unlabeled", arrays / "pool.zarr")
    assert result.exit_code == options.INTERRUPTED
    assert result.stderr == "Interrupted. The same command with --resume continues.\n"


def test_storage_options_are_read_as_json() -> None:
    given = json.dumps({"anon": True, "client_kwargs": {"region_name": "x"}})
    assert options.parse_storage(None, None, given) == json.loads(given)  # type: ignore[arg-type]
    assert options.parse_storage(None, None, None) is None  # type: ignore[arg-type]
