"""The commands for votes without a model."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

import daskal
from daskal.cli import inputs, launching
from tests import problems
from tests.cli.test_commands import invoke, start

THREADS = ("--scheduler", "threads")


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    problem = problems.make_problem(1, num_examples=60, pool=None)
    zarr.create_array(tmp_path / "votes.zarr", data=problem.labels)
    truth = pd.DataFrame({"task": np.arange(0, 60, 2), "label": np.arange(30) % 4})
    truth.to_csv(tmp_path / "gold.csv", index=False)
    return tmp_path


def test_a_store_like_the_functions(votes: Path) -> None:
    out = votes / "out.zarr"
    found = invoke(
        "aggregate", votes / "votes.zarr", "--out", out, *THREADS, "--method", "one_coin",
        "--gold", votes / "gold.csv", "--use-gold", "--max-iterations", "5", "--batch-size", "3",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    run = daskal.Run.open(out)
    gold = pd.read_csv(votes / "gold.csv")
    expected = daskal.aggregate(
        votes / "votes.zarr", "one_coin", gold=gold, use_gold=True, max_iterations=5
    )
    assert run.aggregate == expected
    assert len(run.batch) == 3
    for said in ("Aggregate", "one_coin", "Annotators", "Label next: 3 examples", "Stored in"):
        assert said in found.output
    html = run.report().html
    assert "--use-gold" in html
    assert 'id="panel"' in html
    assert "How often two annotators agree" in html
    again = invoke(
        "aggregate", votes / "votes.zarr", "--out", out, *THREADS, "--method", "one_coin",
        "--gold", votes / "gold.csv", "--use-gold", "--max-iterations", "5", "--batch-size", "3",
        "--resume",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    refused = invoke("aggregate", votes / "votes.zarr", "--out", out, *THREADS)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.output
    both = invoke("aggregate", votes / "votes.zarr", "--out", out, "--resume", "--overwrite")
    assert both.exit_code == 2


def test_the_panel(votes: Path) -> None:
    out = votes / "panel.json"
    found = invoke(
        "panel", votes / "votes.zarr", "--gold", votes / "gold.csv", "--out", out, *THREADS
    )
    assert found.exit_code == 0, found.output
    gold = pd.read_csv(votes / "gold.csv")
    expected = daskal.panel(votes / "votes.zarr", gold)
    assert daskal.Panel.from_json(out.read_text()) == expected
    for said in ("Krippendorff's alpha", "effective annotators", "the worst first"):
        assert said in found.output
    refused = invoke("panel", votes / "votes.zarr", "--out", out, *THREADS)
    assert refused.exit_code == 1
    assert "expected a new file" in refused.output


def test_known_classes_beside_a_model(votes: Path) -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(4), 60)
    zarr.create_array(votes / "probs.zarr", data=probs)
    out = votes / "scores.zarr"
    found = invoke(
        "score", "--labels", votes / "votes.zarr", "--pred-probs", votes / "probs.zarr",
        "--gold", votes / "gold.csv", "--use-gold", "--panel", "--out", out, *THREADS,
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    run = daskal.Run.open(out)
    assert set(run.gold_accuracy) == {"consensus", "model"}
    gold = pd.read_csv(votes / "gold.csv")
    assert run.estimate == daskal.estimate(votes / "votes.zarr", probs, gold=gold, use_gold=True)
    assert run.panel == daskal.panel(votes / "votes.zarr", gold)
    assert f"--gold {votes / 'gold.csv'}" in run.report().html


def test_few_votes_start_no_cluster(votes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(launching, "embedded", refuse)
    given = votes / "votes.zarr"
    assert invoke("panel", given, "--gold", votes / "gold.csv").exit_code == 0
    assert invoke("aggregate", given, "--out", votes / "out.zarr").exit_code == 0
    monkeypatch.setattr(inputs, "SMALL_BYTES", 100)
    assert "a cluster was started" in invoke("panel", given).output


def test_votes_alone_are_planned(votes: Path) -> None:
    found = invoke(
        "plan", "--labels", votes / "votes.zarr", "--method", "one_coin", "--max-iterations", "7",
        "--num-classes", "4",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    assert "at most 7 iterations" in found.output
    assert invoke("plan", "--labels", votes / "votes.zarr").exit_code == 2
    unknown = invoke("plan", "--labels", votes / "votes.zarr", "--method", "one_coin")
    assert unknown.exit_code == 1
    assert unknown.stderr.endswith("Pass --num-classes.\n")


def test_errors_are_one_message(votes: Path) -> None:
    out = votes / "out.zarr"
    zarr.create_array(votes / "none.zarr", data=np.full((5, 2), -1))
    for arguments, said in (
        (("aggregate", votes / "none.zarr", "--out", out), "at least one vote"),
        (("aggregate", votes / "absent.zarr", "--out", out), "absent.zarr"),
        (("aggregate", votes / "votes.zarr", "--out", out, "--use-gold"), "gold="),
        (("panel", votes / "none.zarr"), "at least one vote"),
    ):
        found = invoke(*arguments, *THREADS)
        assert found.exit_code == 1
        assert said in found.output
        assert "Traceback" not in found.output


@pytest.mark.slow
def test_a_client_killed_in_an_iteration_resumes_to_the_same_bits(tmp_path: Path) -> None:
    problem = problems.make_problem(2, num_examples=30_000, num_annotators=40, pool=None)
    labels = problem.labels.astype(np.float32)
    zarr.create_array(tmp_path / "votes.zarr", data=labels, chunks=(4096, 40))
    options = ("aggregate", "votes.zarr", "--tolerance", "0", "--max-iterations", "24", *THREADS)
    whole = start(*options, "--out", "whole.zarr", folder=tmp_path)
    _, told = whole.communicate(timeout=200)
    assert whole.returncode == 0, told
    broken = start(*options, "--out", "broken.zarr", folder=tmp_path)
    records = tmp_path / "broken.zarr" / "records"
    sixth = records / "iteration-6-total" / "0000000.npz"  # the folder is there before its record
    while not sixth.exists():
        assert broken.poll() is None, broken.communicate()
        time.sleep(0.002)
    broken.send_signal(signal.SIGKILL)
    broken.communicate(timeout=60)
    assert sixth.exists()
    assert not (records / "iteration-24-total").exists()
    with pytest.raises(daskal.DaskalError, match="has not finished"):
        daskal.Run.open(tmp_path / "broken.zarr")
    resumed = start(*options, "--out", "broken.zarr", "--resume", folder=tmp_path)
    _, told = resumed.communicate(timeout=200)
    assert resumed.returncode == 0, told
    assert "iteration 6 " not in told
    assert "iteration 24 " in told
    one, other = (daskal.Run.open(tmp_path / name) for name in ("whole.zarr", "broken.zarr"))
    assert one.aggregate == other.aggregate
    np.testing.assert_array_equal(one.scores.compute(), other.scores.compute())
    pd.testing.assert_frame_equal(one.annotator_stats, other.annotator_stats)
    assert one.panel == other.panel
