"""``daskal batch``: groups, quality and diversity from a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import daskal
from tests.cli.test_commands import invoke
from tests.problems import make_problem


def rows(result: Any) -> list[tuple[str, int]]:
    assert result.exit_code == 0, result.stderr
    batch = pd.read_csv(io.StringIO(result.stdout))
    return list(zip(batch["source"], batch["row"], strict=True))


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    """Return a run on tables, which have a column of users."""
    folder = tmp_path_factory.mktemp("scored")
    problem = make_problem(2, num_examples=30, pool=20, num_classes=3)
    for name, probs in (("probs", problem.pred_probs), ("pool", problem.pool)):
        frame = pd.DataFrame(probs, columns=["a", "b", "c"])
        frame.assign(user=np.arange(len(frame)) % 7).to_parquet(folder / f"{name}.parquet")
    np.save(folder / "halves.npy", np.arange(20) // 10)
    return daskal.run(
        labels=problem.labels,
        pred_probs=str(folder / "probs.parquet"),
        pred_probs_unlabeled=str(folder / "pool.parquet"),
        class_columns=["a", "b", "c"],
        out=folder / "scores.zarr",
    )


def test_groups_are_a_column_of_the_tables_or_of_others(scored: daskal.Run) -> None:
    folder = Path(scored.path).parent
    expected = scored.next_batch(
        size=50, max_per_group=2, groups=(np.arange(30) % 7, np.arange(20) % 7)
    )
    pairs = list(zip(expected["source"], expected["row"], strict=True))
    assert len(pairs) == 14
    given = ("batch", scored.path, "--size", 50, "--max-per-group", 2)
    assert rows(invoke(*given, "--group-column", "user")) == pairs
    files = ("--labeled-groups", folder / "probs.parquet")
    others = ("--unlabeled-groups", folder / "pool.parquet")
    assert rows(invoke(*given, *files, *others, "--group-column", "user")) == pairs
    alone = rows(invoke(*given, "--unlabeled-groups", folder / "halves.npy"))
    assert [source for source, _ in alone].count("unlabeled") == 4
    assert [source for source, _ in alone].count("labeled") == 30


def test_what_groups_lack_is_said_in_options(scored: daskal.Run) -> None:
    result = invoke("batch", scored.path, "--group-column", "film", "--max-per-group", 1)
    assert result.exit_code == 1
    assert "expected a column 'film'" in result.stderr
    assert "Name the column of the groups with --group-column." in result.stderr


def test_labels_that_are_good_enough_are_left_out(scored: daskal.Run) -> None:
    quality = scored.root["labeled/consensus_quality_score"][:]
    result = invoke("batch", scored.path, "--size", 100, "--stop-at-quality", 0.7)
    labeled = [row for source, row in rows(result) if source == "labeled"]
    assert sorted(labeled) == np.flatnonzero(quality < 0.7).tolist()


def test_unlike_examples_by_columns_or_files(scored: daskal.Run, tmp_path: Path) -> None:
    pool = np.random.default_rng(0).normal(size=(20, 3))
    labeled = np.random.default_rng(1).normal(size=(30, 3))
    given = ("batch", scored.path, "--size", 4, "--seed", 3)
    for method in ("k-center", "cluster-margin"):
        expected = scored.next_batch(
            size=4,
            embeddings=(labeled, pool),
            diversity=method.replace("-", "_"),
            random_state=3,
            candidates=30,
        )
        np.save(tmp_path / "labeled.npy", labeled)
        pd.DataFrame({"e": list(pool), "name": "x"}).to_parquet(tmp_path / "pool.parquet")
        pd.DataFrame({"e": list(labeled), "name": "x"}).to_parquet(tmp_path / "labeled.parquet")
        files = ("--labeled-embeddings", tmp_path / "labeled.parquet")
        others = ("--unlabeled-embeddings", tmp_path / "pool.parquet")
        chosen = ("--embedding-column", "e", "--diversity", method, "--candidates", 30)
        pairs = list(zip(expected["source"], expected["row"], strict=True))
        assert rows(invoke(*given, *files, *others, *chosen)) == pairs
    column = ("--embedding-column", "user", "--diversity", "k-center")
    expected = scored.next_batch(
        size=4, embedding_columns=["user"], diversity="k_center", random_state=3
    )
    assert rows(invoke(*given, *column)) == list(
        zip(expected["source"], expected["row"], strict=True)
    )


def test_embeddings_alone_are_not_enough(scored: daskal.Run) -> None:
    result = invoke("batch", scored.path, "--embedding-column", "user")
    assert result.exit_code == 1
    assert "diversity: expected 'cluster_margin' or 'k_center', got None" in result.stderr


def test_a_plan_counts_a_batch_with_groups(scored: daskal.Run) -> None:
    pool = Path(scored.path).parent / "pool.parquet"
    given = ("plan", "--unlabeled", pool, "--class-columns", "a,b,c")
    assert "batch" not in invoke(*given).stdout
    result = invoke(*given, "--batch-size", 7, "--max-per-group", 2)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"^batch +7 examples with groups: ", result.stdout, re.M)


def test_a_report_shows_the_batch_that_was_chosen(scored: daskal.Run, tmp_path: Path) -> None:
    page, file = tmp_path / "page.html", tmp_path / "next.parquet"
    result = invoke(
        *("batch", scored.path, "--size", 12, "--max-per-group", 1, "--group-column", "user"),
        *("--out", file, "--report", page),
    )
    assert result.exit_code == 0, result.stderr
    line = "Groups: at most 1 example of each; 7 groups, the largest with 1"
    assert result.stderr.splitlines()[:2] == [f"7 examples written to {file}", line]
    assert f"written to {page}" in result.stderr
    text = page.read_text(encoding="utf-8")
    assert "<dt>Groups</dt><dd>at most 1 example of each; 7 groups, the largest with 1</dd>" in text
    again = scored.report(batch=daskal.read_batch(file))
    assert again.html == text
