"""Votes for several classes an example and one table of probabilities: runs, and commands."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import daskal
from daskal.cli.commands import main
from daskal.errors import InputError, InvalidDataError, ResumeError
from tests.tagkit import make_tags

pytestmark = pytest.mark.filterwarnings("ignore::daskal.DataWarning")
NAMES = ["sky", "sea", "sand"]
COLUMNS = {"id_column": "id", "class_columns": NAMES}
PROBLEM = make_tags(60, num_examples=50, num_classes=3)
PEOPLE = ["ann", "bo", "cy", "di", "em"]
# The table of all examples is shuffled: its ids tell which row is which.
ORDER = np.random.default_rng(0).permutation(80)


def probabilities() -> pd.DataFrame:
    values = np.concatenate([PROBLEM.pred_probs, PROBLEM.pool])
    table = pd.DataFrame(values, columns=NAMES)
    table.insert(0, "id", [f"t{row:02}" for row in range(80)])
    return table.assign(film=np.arange(80) % 9)


def answers() -> pd.DataFrame:
    lists = PROBLEM.lists(NAMES).set_axis(PEOPLE, axis=1)
    lists.index = pd.Index([f"t{row:02}" for row in range(50)])
    long = lists.stack(future_stack=True).rename_axis(["task", "annotator"]).rename("label")
    return long.dropna().reset_index().sample(frac=1, random_state=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    probs, lists = probabilities(), answers()
    probs.iloc[ORDER].to_parquet(folder / "all.parquet", index=False)
    probs[:50].to_parquet(folder / "probs.parquet", index=False)
    probs[50:].to_parquet(folder / "pool.parquet", index=False)
    lists.to_parquet(folder / "lists.parquet", index=False)
    lists.assign(label=lists["label"].map(json.dumps)).to_csv(folder / "lists.csv", index=False)
    lists.explode("label").dropna().to_csv(folder / "votes.csv", index=False)
    lists[["task", "annotator"]].to_csv(folder / "seen.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    """Return a run of the same examples as an array, beside their pool."""
    probs = probabilities().set_index("id")[NAMES]
    lists = PROBLEM.lists(NAMES).set_axis(PEOPLE, axis=1).set_axis(probs.index[:50])
    out = tmp_path_factory.mktemp("expected") / "scores.zarr"
    return daskal.run(
        labels=lists,
        pred_probs=probs[:50],
        pred_probs_unlabeled=probs[50:],
        multi_label=True,
        out=out,
    )


def by_id(run: daskal.Run, section: str) -> dict[str, float]:
    scores = run.scores if section == "labeled" else run.pool
    return dict(zip(run.ids(section)[:].tolist(), scores.compute().tolist(), strict=True))


def assert_same(run: daskal.Run, expected: daskal.Run) -> None:
    assert run.estimate.to_json() == expected.estimate.to_json()
    for section in ("labeled", "unlabeled"):
        assert by_id(run, section) == by_id(expected, section)
    labels = expected.labels.compute().set_index("id")["consensus_labels"]
    found = run.labels.compute().set_index("id")["consensus_labels"]
    assert found.to_dict() == labels.to_dict()


# --- runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "votes", ["lists.parquet", "lists.csv", ["votes.csv", "seen.csv"], "in memory"]
)
def test_votes_and_one_table_of_probabilities(
    files: Path, expected: daskal.Run, tmp_path: Path, votes: Any
) -> None:
    given: Any = (
        answers() if votes == "in memory" else files / votes if isinstance(votes, str) else None
    )
    if given is None:
        given = daskal.Tags(*(files / name for name in votes))
    options: dict[str, Any] = {"pred_probs": files / "all.parquet", **COLUMNS, "multi_label": True}
    run = daskal.run(votes=given, **options, out=tmp_path / "s.zarr")
    assert_same(run, expected)
    for section, known in (("labeled", ORDER[ORDER < 50]), ("unlabeled", ORDER[ORDER >= 50])):
        assert run.root[f"{section}/table_row"][:].tolist() == [
            at for at, row in enumerate(ORDER) if row in known
        ]
    batch = run.next_batch(size=9, group_column="film", max_per_group=1)
    film = probabilities().set_index("id")["film"]
    assert film[batch["id"]].is_unique
    with pytest.raises(ResumeError, match="reduce"):
        daskal.run(votes=given, **options, reduce="min", out=tmp_path / "s.zarr", resume=True)
    again = daskal.run(votes=given, **options, out=tmp_path / "s.zarr", resume=True)
    assert_same(again, expected)


def test_an_estimate_scores_later_votes(files: Path, expected: daskal.Run, tmp_path: Path) -> None:
    run = daskal.run(
        votes=answers(),
        pred_probs=files / "all.parquet",
        **COLUMNS,
        estimate=expected.estimate,
        out=tmp_path / "s.zarr",
    )
    assert_same(run, expected)


def test_tasks_that_the_table_lacks(files: Path, expected: daskal.Run, tmp_path: Path) -> None:
    more = pd.DataFrame({"task": ["zz", "zy"], "annotator": "ann", "label": [["sky"], []]})
    options: dict[str, Any] = {"pred_probs": files / "all.parquet", **COLUMNS, "multi_label": True}
    votes = pd.concat([answers(), more])
    with pytest.raises(InvalidDataError, match=r"lack 2 of 52 tasks \('zz', 'zy'\), in 2 lines\."):
        daskal.run(votes=votes, **options, out=tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()
    left_out = daskal.run(votes=votes, **options, unknown_tasks="ignore", out=tmp_path / "s.zarr")
    assert_same(left_out, expected)
    tags = daskal.Tags(votes.explode("label").dropna(), votes)
    left_out = daskal.run(votes=tags, **options, unknown_tasks="ignore", out=tmp_path / "t.zarr")
    assert_same(left_out, expected)
    with pytest.raises(InvalidDataError, match=r"2 of 2 tasks .* hold the same ids\.$"):
        daskal.run(votes=more, **options, unknown_tasks="ignore", out=tmp_path / "u.zarr")


def test_tasks_that_only_have_missing_lists_are_the_pool(files: Path, tmp_path: Path) -> None:
    votes = answers()
    votes.loc[votes["task"] == "t07", "label"] = None
    run = daskal.run(
        votes=votes,
        pred_probs=files / "all.parquet",
        **COLUMNS,
        multi_label=True,
        out=tmp_path / "s.zarr",
    )
    assert "t07" in by_id(run, "unlabeled")
    assert len(run.scores) == 49


def test_all_examples_may_be_labeled(files: Path, expected: daskal.Run, tmp_path: Path) -> None:
    run = daskal.run(
        votes=answers(),
        pred_probs=files / "probs.parquet",
        **COLUMNS,
        multi_label=True,
        out=tmp_path / "s.zarr",
    )
    assert run.pool is None
    assert by_id(run, "labeled") == by_id(expected, "labeled")


def test_other_columns_and_the_last_of_several_lists(
    files: Path, expected: daskal.Run, tmp_path: Path
) -> None:
    earlier = answers()[:3].assign(label=[["sand"]] * 3)
    names = {"task": "photo", "annotator": "who", "label": "tags"}
    votes = pd.concat([earlier, answers()]).rename(columns=names)
    options: dict[str, Any] = {**names, **COLUMNS, "multi_label": True}
    with pytest.raises(InvalidDataError, match="several for task"):
        daskal.run(
            votes=votes, pred_probs=files / "all.parquet", **options, out=tmp_path / "s.zarr"
        )
    options["on_duplicate"] = "last"
    run = daskal.run(
        votes=votes, pred_probs=files / "all.parquet", **options, out=tmp_path / "s.zarr"
    )
    assert_same(run, expected)
    apart = daskal.run(
        labels=votes,
        pred_probs=files / "probs.parquet",
        pred_probs_unlabeled=files / "pool.parquet",
        **options,
        out=tmp_path / "t.zarr",
    )
    assert_same(apart, expected)


def test_what_does_not_go_together_is_refused(files: Path, tmp_path: Path) -> None:
    import dask.dataframe as dd

    out = tmp_path / "s.zarr"
    with pytest.raises(InputError, match="expected ids of its rows, which votes= are matched by"):
        daskal.run(votes=answers(), pred_probs=PROBLEM.pred_probs, multi_label=True, out=out)
    probs = probabilities().set_index("id")[NAMES]
    with pytest.raises(InputError, match="expected votes and pred_probs alone, got labels too"):
        daskal.run(
            votes=answers(), labels=PROBLEM.labels, pred_probs=probs, multi_label=True, out=out
        )
    with pytest.raises(InputError, match="expected votes and pred_probs together"):
        daskal.run(votes=answers(), multi_label=True, out=out)
    lazy = dd.from_pandas(
        pd.DataFrame({"task": ["t01"], "annotator": ["a"], "label": ["sky"]}), npartitions=1
    )
    with pytest.raises(InputError, match=r"got a Dask DataFrame\. Pass votes\.compute\(\)"):
        daskal.run(votes=lazy, pred_probs=probs, multi_label=True, out=out)
    with pytest.raises(InputError, match=r"columns task, annotator, label .*Name them with task="):
        daskal.run(votes=answers()[["task"]], pred_probs=probs, multi_label=True, out=out)
    with pytest.raises(InputError, match="unknown_tasks: expected 'raise' or 'ignore', got 'x'"):
        daskal.run(votes=answers(), pred_probs=probs, multi_label=True, unknown_tasks="x", out=out)
    lines = answers().explode("label").dropna()
    with pytest.raises(InputError, match=r"with daskal\.Tags\(votes, seen\)"):
        daskal.run(votes=lines, pred_probs=probs, multi_label=True, out=out)
    with pytest.raises(InputError, match="seen: expected a place apart from out"):
        daskal.run(
            votes=daskal.Tags(lines, files / "seen.csv"),
            pred_probs=probs,
            multi_label=True,
            overwrite=True,
            out=files,
        )
    assert not out.exists()


@pytest.mark.parametrize("form", ["frame", "parquet"])
def test_a_column_of_ids_beside_one_column_per_annotator(
    files: Path, expected: daskal.Run, tmp_path: Path, form: str
) -> None:
    lists = PROBLEM.lists(NAMES).set_axis(PEOPLE, axis=1)
    lists.insert(2, "id", [f"t{row:02}" for row in range(50)])
    given: Any = lists
    if form == "parquet":
        given = tmp_path / "lists.parquet"
        lists.to_parquet(given, index=False)
    run = daskal.run(
        labels=given,
        pred_probs=files / "probs.parquet",
        pred_probs_unlabeled=files / "pool.parquet",
        **COLUMNS,
        multi_label=True,
        out=tmp_path / "s.zarr",
    )
    assert_same(run, expected)


def test_rows_at_fault_are_named_by_id(files: Path, tmp_path: Path) -> None:
    probs = probabilities().iloc[ORDER].set_index("id")[NAMES]
    probs.loc[["t07", "t60"], "sea"] = [1.5, -0.5]
    options: dict[str, Any] = {"votes": answers(), "pred_probs": probs, "multi_label": True}
    with pytest.raises(InvalidDataError, match=r"pred_probs: 1 row .* = 't07' \(1\.5\)"):
        daskal.run(**options, out=tmp_path / "s.zarr")
    run = daskal.run(**options, on_invalid="nan", out=tmp_path / "t.zarr")
    for section, name in (("labeled", "t07"), ("unlabeled", "t60")):
        assert [key for key, score in by_id(run, section).items() if np.isnan(score)] == [name]
    assert run.attrs["num_invalid_rows"] == 2


# --- the command line -------------------------------------------------------------------------


def invoke(*words: Any) -> Result:
    return CliRunner().invoke(main, [os.fspath(str(word)) for word in words])


def given(files: Path, *, votes: bool) -> list[Any]:
    """Return the options for votes and who was asked, beside one table or two."""
    named = ["--id-column", "id", "--class-columns", ",".join(NAMES), "--multi-label"]
    asked = [files / "votes.csv", "--seen", files / "seen.csv"]
    if votes:
        return ["--votes", *asked, "--pred-probs", files / "all.parquet", *named]
    probs = ["--pred-probs", files / "probs.parquet", "--unlabeled", files / "pool.parquet"]
    return ["--labels", *asked, *probs, *named]


@pytest.mark.parametrize("votes", [True, False])
def test_who_was_asked_is_a_file_of_its_own(
    files: Path, expected: daskal.Run, tmp_path: Path, votes: bool
) -> None:
    out, page = tmp_path / "s.zarr", tmp_path / "report.html"
    done = invoke("score", *given(files, votes=votes), "--out", out, "--report", page)
    assert done.exit_code == 0, done.output
    assert_same(daskal.Run.open(out), expected)
    planned = invoke("plan", *given(files, votes=votes))
    assert planned.exit_code == 0, planned.output
    assert "50 rows in 1 block" in planned.output
    html = page.read_text(encoding="utf-8").replace("&#39;", "'")
    tags = f"daskal.Tags('{files / 'votes.csv'}', '{files / 'seen.csv'}'),"
    assert f"    {'votes' if votes else 'labels'}={tags}" in html
    assert f"--seen {files / 'seen.csv'}" in html
    assert "seen=" not in html


def test_tags_in_memory_are_named_in_the_report(tmp_path: Path, files: Path) -> None:
    lines = answers().explode("label").dropna()
    run = daskal.run(
        votes=daskal.Tags(lines, files / "seen.csv"),
        pred_probs=files / "all.parquet",
        **COLUMNS,
        multi_label=True,
        out=tmp_path / "s.zarr",
    )
    html = run.report().html.replace("&#39;", "'")
    shape = f"pandas.DataFrame of shape {lines.shape}"
    assert f"votes=...,  # daskal.Tags of {shape} and '{files / 'seen.csv'}'" in html
    assert "--seen" not in html


@pytest.mark.parametrize("command", ["score", "plan"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--votes", "v", "--seen", "s", "--pred-probs", "p"], "--seen is for --multi-label"),
        (["--unlabeled", "p", "--seen", "s", "--multi-label"], "together with --labels or --votes"),
    ],
)
def test_usage(command: str, words: list[str], said: str) -> None:
    refused = invoke(command, *words, *(["--out", "o"] if command == "score" else []))
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.replace("│", " ").split())


def test_errors_advise_in_the_words_of_the_command_line(files: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "s.zarr"]
    words = given(files, votes=True)
    without_seen = [*words[:2], *words[4:]]
    for changed, said in (
        (without_seen, "not told from not asked. Pass it with --seen."),
        ([*words, "--task", "clip"], "Name them with --task, --annotator and --label."),
        ([*words[:5], files / "pool.parquet", *words[6:]], "hold the same ids."),
    ):
        refused = invoke("score", *changed, *out)
        assert refused.exit_code == 1
        assert said in refused.output


# --- files of labels --------------------------------------------------------------------------


def test_files_of_labels_hold_lists(expected: daskal.Run, tmp_path: Path) -> None:
    labels = expected.labels.compute()
    paths = {ending: tmp_path / f"labels.{ending}" for ending in ("csv", "jsonl", "parquet")}
    for path in paths.values():
        assert expected.export_labels(path) == 50
        assert expected.export_labels(path) == 50  # in place of the earlier one
    found = {
        "csv": pd.read_csv(paths["csv"], converters={"consensus_labels": json.loads}),
        "jsonl": pd.DataFrame(map(json.loads, paths["jsonl"].read_text().splitlines())),
        "parquet": pd.read_parquet(paths["parquet"]),
    }
    for table in found.values():
        assert list(table) == ["row", *labels]
        lists = [list(chosen) for chosen in table["consensus_labels"]]
        assert lists == labels["consensus_labels"].tolist()
        assert table["id"].tolist() == labels["id"].tolist()
        np.testing.assert_allclose(table["score"], labels["score"], rtol=1e-15)
    assert paths["csv"].read_text().splitlines()[0].startswith("row,id,consensus_labels,")
    few = invoke("labels", expected.path, "--size", 3)
    assert few.exit_code == 0, few.output
    assert len(few.stdout.splitlines()) == 4
    limit = float(labels["consensus_quality_score"].median())
    assert expected.export_labels(paths["csv"], below=limit) == 25


@pytest.mark.parametrize("names", [None, NAMES])
def test_types_in_parquet_do_not_depend_on_the_lists(tmp_path: Path, names: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = np.zeros((6, 3, 3), dtype=np.int8)
    probs = pd.DataFrame(np.full((6, 3), 0.1), columns=names)
    run = daskal.run(labels=labels, pred_probs=probs, multi_label=True, out=tmp_path / "s.zarr")
    assert run.labels.compute()["consensus_labels"].tolist() == [[]] * 6
    run.export_labels(tmp_path / "labels.parquet")
    kind = pq.read_schema(tmp_path / "labels.parquet").field("consensus_labels").type
    assert kind == pa.list_(pa.int64() if names is None else pa.string())


def test_the_terminal_shows_the_most_doubtful_tags(
    expected: daskal.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daskal.cli import console

    output = console.open_console()
    with output.capture() as captured:
        console.show_labels(output, expected.doubtful_labels(size=3), None)
    shown = captured.get()
    first = expected.doubtful_labels(size=1)["consensus_labels"].iloc[0]
    assert ", ".join(first) in shown
    assert "the 3 of lowest quality" in shown
