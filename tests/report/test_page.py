"""The report: what it says, that it stands alone, and that it works in a real browser."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from zarr.core.array import Array

import daskal
from daskal.errors import InputError
from daskal.method.costs import cost_curve
from daskal.report import contents
from daskal.report.glossary import GLOSSARY
from daskal.report.page import TEMPLATES, Page, make_page, render
from daskal.runs.contents import read_contents
from tests.problems import make_problem

HOSTILE = (
    "</script><script>document.title='hit'</script><img src=x onerror=alert(1)>"
    "\"'& {{ 7 * 7 }} {% raw %} {# x"
)


def make_run(folder: Path, **options: Any) -> daskal.Run:
    problem = make_problem(3, num_examples=200, num_annotators=30, pool=400)
    columns = [HOSTILE, *(f"worker {index}" for index in range(1, 30))]
    return daskal.run(
        labels=pd.DataFrame(problem.labels, columns=columns),
        pred_probs=problem.pred_probs,
        pred_probs_unlabeled=problem.pool,
        unlabeled_ids=np.array([HOSTILE, *(f"img/{row}" for row in range(1, 400))], dtype=object),
        out=folder / "scores.zarr",
        batch_size=50,
        **options,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(run: daskal.Run) -> str:
    return run.report().html


class Outline(HTMLParser):
    """Elements of a page, that each is closed, and the data of each table."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, dict[str, list[Any]]] = {}
        self.words: list[str] = []
        self.table: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if dict(attrs).get("class") == "data-table":
            self.table = dict(attrs)["id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            if self.table is not None and data.startswith("{"):
                columns = json.loads(data)["columns"]
                self.tables[self.table] = {item["label"]: item["values"] for item in columns}
                self.table = None
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    @functools.cached_property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


# ------------------------------------------------------------------------------------ contents


def test_page_is_well_formed(outline: Outline) -> None:
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] for tag, attrs in outline.seen if tag == "a"]
    assert targets
    assert {str(target)[1:] for target in targets} <= set(ids)


def test_page_fetches_nothing(page: str, outline: Outline) -> None:
    assert not [attrs for _, attrs in outline.seen if "src" in attrs]
    assert "url(" not in page
    assert "@import" not in page
    policy = next(a for t, a in outline.seen if t == "meta" and "http-equiv" in a)["content"]
    assert str(policy).startswith("default-src 'none'")
    script = page.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert str(policy).endswith(f"script-src 'sha256-{digest}'")


def test_names_from_the_data_are_text(page: str, outline: Outline) -> None:
    assert HOSTILE not in page
    assert [tag for tag, _ in outline.seen].count("img") == 0
    assert HOSTILE in outline.tables["annotators-table"]["Annotator"]


def test_every_name_of_a_store_is_text(run: daskal.Run) -> None:
    """Ids, annotators, classes, flags, inputs and the path, whatever is in them."""
    given = read_contents(run.path, run.root)
    assert given.estimate is not None
    classes = tuple(f"{HOSTILE}{code}" for code in range(4))
    hostile = replace(
        given,
        path=HOSTILE,
        attrs={**given.attrs, "version": HOSTILE, "inputs": {"labels": HOSTILE}},
        estimate=replace(given.estimate, class_names=classes, flags=(HOSTILE,)),
        batch=given.batch.assign(id=HOSTILE),
    )
    outline, harmless = Outline(render(hostile, f"{HOSTILE}.csv")), Outline(render(given, "a.csv"))
    assert outline.open == []
    assert {tag for tag, _ in outline.seen} == {tag for tag, _ in harmless.seen}
    for tag in ("script", "style", "section", "table", "svg", "a"):
        assert [name for name, _ in outline.seen].count(tag) == [
            name for name, _ in harmless.seen
        ].count(tag)
    assert set(outline.tables["next-batch"]["Id"]) == {HOSTILE}
    assert sorted(outline.tables["classes-table"]["Class"]) == list(classes)
    for text in (*classes, HOSTILE, f"{HOSTILE}.", repr(HOSTILE), shlex.quote(HOSTILE)):
        assert text in outline.text


def test_no_template_trusts_what_it_is_given() -> None:
    """Nothing is marked safe, and the page's own style and script hold no words of templates."""
    loader = TEMPLATES.loader
    assert loader is not None
    for name in loader.list_templates():
        source = loader.get_source(TEMPLATES, name)[0]
        assert not re.search(r"\|\s*safe|autoescape|Markup", source), name
        if not name.endswith(".html"):
            assert not re.search(r"{[{%#]", source), name
    assert TEMPLATES.autoescape is True


def test_run_in_one_line(run: daskal.Run, outline: Outline) -> None:
    assert run.estimate is not None
    assert (
        "200 labeled examples and a pool of 400 scored with "
        f"{run.estimate.num_annotations} labels by 30 annotators over 4 classes."
    ) in outline.text


def test_batch_is_the_stored_one(run: daskal.Run, outline: Outline) -> None:
    table = outline.tables["next-batch"]
    assert table["Row"] == run.batch["row"].tolist()
    assert table["Score"] == run.batch["score"].tolist()
    names = {"labeled": "labeled", "unlabeled": "pool"}
    assert table["From"] == [names[pool] for pool in run.batch["source"]]
    assert table["Id"] == ["–" if pd.isna(value) else value for value in run.batch["id"]]


def test_another_batch_is_shown_with_how_it_was_chosen(run: daskal.Run, tmp_path: Path) -> None:
    groups = (np.arange(200) % 9, np.arange(400) % 11)
    batch = run.next_batch(size=30, groups=groups, max_per_group=2, exclude=run.batch.head(5))
    page = run.report(tmp_path / "r.html", batch=batch)
    outline = Outline(page.html)
    assert outline.open == []
    assert outline.tables["next-batch"]["Row"] == batch["row"].tolist()
    assert "22 examples, the lowest score first" in outline.text
    assert "Groups at most 2 examples of each; 11 groups, the largest with 2 " in outline.text
    assert "Left out 5 examples that were excluded " in outline.text
    lowest = set(zip(run.batch["source"][:22], run.batch["row"][:22], strict=True))
    both = len(lowest & set(zip(batch["source"], batch["row"], strict=True)))
    words = f"Scores {both} of the 22 lowest of all are in it; {22 - both} were passed over"
    assert 0 < both < 22
    assert words in outline.text
    assert "run.batch" not in page.html
    own = Outline(run.report(batch=run.batch).html)
    assert "Scores 50 of the 50 lowest of all are in it" in own.text
    assert "passed over" not in own.text
    # More than the run's own batch has: it is compared with what there is.
    more = Outline(run.report(batch=run.next_batch(size=60)).html)
    assert "Scores 50 of the 50 lowest of all are in it" in more.text


def test_a_report_without_another_batch_tells_no_choice(outline: Outline) -> None:
    assert "lowest of all" not in outline.text
    assert not [attrs for tag, attrs in outline.seen if attrs.get("class") == "facts"]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([1], "batch: expected the DataFrame of next_batch, got"),
        (pd.DataFrame({"source": ["labeled"], "row": [1]}), "got one without rank, score"),
        (
            pd.DataFrame({"rank": [1, 2], "source": "labeled", "row": [1, 200], "score": 0.5}),
            "this run, which has 200 labeled ones, but 1 of 2 are of other rows",
        ),
    ],
)
def test_what_is_no_batch_of_the_run_is_refused(run: daskal.Run, batch: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        run.report(batch=batch)


def test_annotators_are_the_stored_ones(run: daskal.Run, outline: Outline) -> None:
    table = outline.tables["annotators-table"]
    stats = run.annotator_stats
    assert stats is not None
    assert table["Annotator"] == stats.index.tolist()
    assert table["Quality"] == pytest.approx(stats["annotator_quality"].tolist(), abs=1e-6)
    assert table["Labels"] == stats["num_examples_labeled"].tolist()
    assert run.estimate is not None
    weight = run.estimate.annotator_weight[stats.index]
    assert table["Weight"] == pytest.approx(weight.tolist(), abs=1e-6)


def test_doubtful_labels_are_the_stored_ones(run: daskal.Run, outline: Outline) -> None:
    table = outline.tables["doubtful-labels"]
    expected = run.doubtful_labels(size=1000)
    assert table["Row"] == expected.index.tolist()
    assert table["Consensus label"] == [str(label) for label in expected["consensus_label"]]
    assert table["Quality"] == pytest.approx(expected["consensus_quality_score"].tolist(), abs=1e-6)
    assert table["Quality"] == sorted(table["Quality"])
    assert table["Votes"] == expected["num_annotations"].tolist()


def test_doubtful_labels_bear_names(tmp_path: Path) -> None:
    problem = make_problem(3, num_examples=30, num_annotators=5)
    ids = [f"text {row}" for row in range(30)]
    run = daskal.run(
        labels=pd.DataFrame(problem.labels, index=ids),
        pred_probs=pd.DataFrame(problem.pred_probs, index=ids, columns=["cat", "dog", "cow", "?"]),
        out=tmp_path / "s.zarr",
    )
    table = Outline(run.report().html).tables["doubtful-labels"]
    expected = run.doubtful_labels()
    assert table["Id"] == expected["id"].tolist()
    assert table["Consensus label"] == expected["consensus_label"].tolist()


def test_a_store_without_doubtful_labels_or_a_date_has_a_report(run: daskal.Run) -> None:
    """As 0.1.0 made them."""
    given = read_contents(run.path, run.root)
    outline = Outline(render(replace(given, finished_at=None, doubtful=None)))
    assert "doubtful-labels" not in outline.tables
    assert "Finished" not in outline.text


def test_date_and_meaning_of_words_are_there(run: daskal.Run, outline: Outline) -> None:
    written = Path(run.path, "zarr.json").stat().st_mtime
    assert f"Finished {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(written))}" in outline.text
    for word, meaning in GLOSSARY.items():
        assert f"{word} {meaning}" in outline.text
    assert "not the chance that a label is right" in outline.text


def test_each_axis_has_a_title_and_each_table_marks_its_order(page: str) -> None:
    assert re.findall('class="x-title">(.*?)<', page) == [
        *("score", "score"),
        *("quality of the consensus label", "temperature"),
    ]
    assert re.findall('class="y-title">(.*?)<', page) == [
        *("examples", "examples, logarithmic"),
        *("examples", "mean loss"),
    ]
    marked = re.findall('aria-sort="ascending"[^>]*>(.*?)<', page)
    assert marked == ["Rank", "Quality", "Quality", "Agreement"]


def test_right_labels_by_quality_are_drawn_where_the_truth_is_known(run: daskal.Run) -> None:
    counts = np.array([[0, 10, 20, 70], [0, 4, 19, 70]])
    outline = Outline(run.report(right_by_quality=counts).html)
    assert "Of the 10 labels of a quality below one half, 40% are right." in outline.text
    assert "0.25 10 40.0% 0.50 20 95.0% 0.75 70 100.0%" in outline.text
    none = Outline(run.report(right_by_quality=np.zeros((2, 4), dtype=int)).html)
    assert "How often labels" not in none.text


def test_votes_by_quality_are_those_of_the_histogram(run: daskal.Run, outline: Outline) -> None:
    counts = run.root["histograms/consensus_quality_score"][:]
    first, *_, last = cost_curve(counts, run.estimate)
    assert f"votes to lift them 0.5 {first.num_above:,} {first.num_below:,}" in outline.text
    votes = "beyond reach" if last.votes is None else f"{last.votes:,}"
    assert f"0.99 {last.num_above:,} {last.num_below:,} {votes}" in outline.text
    assert counts.sum() == first.num_above + first.num_below


def test_classes_count_every_label(run: daskal.Run, outline: Outline) -> None:
    assert run.estimate is not None
    table = outline.tables["classes-table"]
    assert sum(table["Labels given"]) == run.estimate.num_annotations
    assert sum(table["Labels there"]) == run.estimate.num_annotations
    assert table["Agreement"] == sorted(table["Agreement"])


def test_flags_and_temperature_are_shown(run: daskal.Run, outline: Outline) -> None:
    assert run.estimate is not None
    assert f"T = {run.estimate.temperature:g}" in outline.text
    for flag in run.estimate.flags:
        assert flag[1:] in outline.text


def test_histograms_in_numbers_add_up(page: str) -> None:
    data = [
        json.loads(text) for text in re.findall(r'application/json">({"span".*?)</script>', page)
    ]
    assert data[0]["names"] == ["pool", "labeled", "pool, in the batch", "labeled, in the batch"]
    sums = [sum(counts) for counts in data[0]["counts"]]
    assert sums[:2] == [400, 200]
    assert sums[2] + sums[3] == 50
    for of_all, of_batch in zip(data[0]["counts"][:2], data[0]["counts"][2:], strict=True):
        assert all(few <= many for few, many in zip(of_batch, of_all, strict=True))
    assert sum(data[1]["counts"][0]) == 200


def test_same_store_same_page(run: daskal.Run, page: str) -> None:
    assert daskal.Run.open(run.path).report().html == page


def test_no_score_is_read(run: daskal.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Array.__getitem__

    def refuse(array: Array, selection: Any) -> Any:
        assert not re.search(r"/(labeled|unlabeled)/", array.path), array.path
        assert array.path.split("/")[0] not in ("labeled", "unlabeled"), array.path
        return read(array, selection)

    monkeypatch.setattr(Array, "__getitem__", refuse)
    assert len(daskal.Run.open(run.path).report().html) > 10_000


def test_class_agreement_by_hand() -> None:
    cells = pd.DataFrame(
        {"given": [0, 1, 0, 1, 2], "consensus": [0, 0, 1, 1, 1], "num_votes": [6, 2, 1, 4, 1]}
    )
    table = contents.class_agreement(cells, 4)
    # A class that was never the consensus has no agreement and comes last.
    assert table.index.tolist() == [1, 0, 2]
    assert table.loc[0].tolist() == [6 / 8, 6 / 7, 7, 8, 1]
    # Two classes were given once each: the smaller is named.
    assert table.loc[1].tolist() == [4 / 6, 4 / 6, 6, 6, 0]
    assert np.isnan(table.loc[2, "agreement"])
    assert table.loc[2, ["num_given", "num_by_consensus", "given_instead"]].tolist() == [1, 0, -1]


# ------------------------------------------------------------------------------ kinds of run


def test_pool_alone(tmp_path: Path) -> None:
    pool = np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]])
    run = daskal.run(pred_probs_unlabeled=pool, out=tmp_path / "s.zarr")
    outline = Outline(run.report().html)
    assert "a pool of 3 scored without an estimate" in outline.text
    assert outline.tables["next-batch"]["Row"] == [1, 2, 0]
    assert set(outline.tables) == {"next-batch"}


def test_pool_with_an_estimate_lists_its_annotators(run: daskal.Run, tmp_path: Path) -> None:
    problem = make_problem(4, pool=20)
    later = daskal.run(
        pred_probs_unlabeled=problem.pool, estimate=run.estimate, out=tmp_path / "s.zarr"
    )
    outline = Outline(later.report().html)
    assert len(outline.tables["annotators-table"]["Annotator"]) == 30
    assert "estimate=estimate" in outline.text


def test_one_label_each_says_so(tmp_path: Path) -> None:
    labels = np.array([[0, -1], [-1, 1], [1, -1]])
    probs = np.array([[0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    text = Outline(
        daskal.run(labels=labels, pred_probs=probs, out=tmp_path / "s.zarr").report().html
    ).text
    assert "No temperature was fitted" in text
    assert "Every example has one label: temperature 1, all weights 1." in text


def test_votes_alone_have_no_model_no_weights_and_no_pool(tmp_path: Path) -> None:
    votes = make_problem(3, num_examples=40, pool=None).labels
    run = daskal.run_aggregate(labels=votes, out=tmp_path / "s.zarr", batch_size=10)
    outline = Outline(run.report().html)
    # Names of options and classes are quoted there.
    shown = outline.text.partition("How to repeat it")[0]
    for word in ("model", "pool", "Weight"):
        assert word not in shown, word
    assert "10 examples, the lowest score first. The lower" in shown
    assert "How strongly the votes support each label." in shown
    assert "10 labeled" in shown
    assert "temperature" not in outline.text
    # The panel's annotators are ordered, and marked so, by how often they are right.
    assert re.findall('aria-sort="ascending"[^>]*>(.*?)<', run.report().html)[3] == "Right"
    assert outline.tables["panel-table"]["Right"] == sorted(outline.tables["panel-table"]["Right"])


def test_known_classes_are_told_in_the_same_digits(tmp_path: Path) -> None:
    problem = make_problem(3, num_examples=40, pool=None)
    gold = np.where(np.arange(40) < 10, 1.0, np.nan)
    given = {"labels": problem.labels, "pred_probs": problem.pred_probs, "gold": gold}
    run = daskal.run(**given, out=tmp_path / "s.zarr")
    text = Outline(run.report().html).text
    assert f"Consensus is right {run.gold_accuracy['consensus']:.3f} on 10" in text
    assert f"Model is right {run.gold_accuracy['model'][0]:.3f} on 10" in text


def test_ensemble_names_its_models(tmp_path: Path) -> None:
    problem = make_problem(5, num_models=3, pool=None)
    run = daskal.run(labels=problem.labels, pred_probs=problem.pred_probs, out=tmp_path / "s.zarr")
    assert run.estimate is not None
    text = Outline(run.report().html).text
    for model, temperature in enumerate(np.atleast_1d(run.estimate.temperature)):
        assert f"model {model}: T = {temperature:g}" in text


def test_invalid_rows_are_flagged(tmp_path: Path) -> None:
    pool = np.array([[0.9, 0.1], [np.nan, 0.5]])
    with pytest.warns(daskal.DataWarning):
        run = daskal.run(pred_probs_unlabeled=pool, out=tmp_path / "s.zarr", on_invalid="nan")
    assert "1 row with values that are no probabilities" in Outline(run.report().html).text


def test_repeating_names_paths_and_changed_options(tmp_path: Path) -> None:
    import zarr

    path = str(tmp_path / "my pool.zarr")
    zarr.save_array(path, np.array([[0.9, 0.1], [0.5, 0.5]]))
    out = str(tmp_path / "s.zarr")
    text = Outline(daskal.run(pred_probs_unlabeled=path, out=out, batch_size=7).report().html).text
    assert f"pred_probs_unlabeled={path!r}," in text
    assert "batch_size=7," in text
    assert f"daskal score --unlabeled '{path}' --batch-size 7 --out {out}" in text


def test_repeating_tells_how_tables_were_read(tmp_path: Path) -> None:
    names, classes = [f"img-{at}" for at in range(6)], ["cat", "dog"]
    table = pd.DataFrame(np.full((6, 2), 0.5), columns=classes).assign(image=names, split="test")
    votes = pd.DataFrame({"image": names[:4] * 2, "who": ["ann"] * 4 + ["bo"] * 4})
    votes["answer"] = ["cat", "dog", "cat", "dog", "cat", "dog", "dog", "cat"]
    paths = {name: str(tmp_path / f"{name}.csv") for name in ("probs", "votes")}
    table.to_csv(paths["probs"], index=False)
    votes.to_csv(paths["votes"], index=False)
    run = daskal.run(
        votes=paths["votes"],
        pred_probs=paths["probs"],
        out=tmp_path / "s.zarr",
        id_column="image",
        class_columns=classes,
        task="image",
        annotator="who",
        label="answer",
    )
    text = Outline(run.report().html).text
    assert f"votes={paths['votes']!r}," in text
    assert "class_columns=['cat', 'dog']," in text
    command = re.search(r"daskal score --.*? --out \S+", text)
    assert command is not None
    words = shlex.split(command.group())[2:]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given == {
        "--pred-probs": paths["probs"],
        "--votes": paths["votes"],
        "--id-column": "image",
        "--class-columns": "cat,dog",
        "--task": "image",
        "--annotator": "who",
        "--label": "answer",
        "--out": run.path,
    }


def test_secrets_of_an_address_are_not_shown(run: daskal.Run) -> None:
    page = make_page(read_contents("https://me:s3cret@example.org/s.zarr?sig=t0ken", run.root)).html
    assert "example.org/s.zarr" in page
    assert "s3cret" not in page
    assert "t0ken" not in page


def test_inputs_from_memory_are_named_for_filling_in(outline: Outline) -> None:
    assert "labels=..., # pandas.DataFrame of shape (200, 30)" in outline.text
    assert "daskal score" not in outline.text


# -------------------------------------------------------------------------------------- files


def test_written_page_is_the_page(run: daskal.Run, page: str, tmp_path: Path) -> None:
    made = run.report(tmp_path / "r.html")
    assert made.path == str(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == made.html == page
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_only_a_report_is_replaced(run: daskal.Run, page: str, tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("<title>mine</title>", encoding="utf-8")
    with pytest.raises(daskal.DaskalError, match="something else"):
        run.report(path)
    assert path.read_text(encoding="utf-8") == "<title>mine</title>"
    path.write_text("", encoding="utf-8")
    run.report(path)
    run.report(path)
    assert path.read_text(encoding="utf-8") == page


def test_of_many_annotators_the_ends_are_listed_and_all_saved(
    run: daskal.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskal.report.sections.MOST_ANNOTATORS", 10)
    monkeypatch.setattr("daskal.report.page.MOST_ANNOTATORS", 10)
    outline = Outline(run.report(tmp_path / "r.html").html)
    stats = run.annotator_stats
    assert stats is not None
    names = stats.index.tolist()
    assert outline.tables["annotators-table"]["Annotator"] == names[:5] + names[-5:]
    assert "Of 30, the 5 worst and the 5 best are listed." in outline.text
    saved = pd.read_csv(tmp_path / "r-annotators.csv")
    assert saved["annotator"].tolist() == names
    assert ("a", {"href": "r-annotators.csv", "download": "r-annotators.csv"}) in outline.seen


def test_only_the_annotators_of_the_report_are_replaced(
    run: daskal.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskal.report.sections.MOST_ANNOTATORS", 10)
    monkeypatch.setattr("daskal.report.page.MOST_ANNOTATORS", 10)
    report, beside = tmp_path / "r.html", tmp_path / "r-annotators.csv"
    beside.write_text("annotator,num_examples_labeled\nmine,3\n", encoding="utf-8")

    def refused() -> None:
        before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
        with pytest.raises(InputError, match=r"r-annotators\.csv' is something else"):
            run.report(report)
        after = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
        assert after == before

    refused()  # without a report that links to it
    beside.unlink()
    run.report(report)
    saved = beside.read_bytes()
    beside.write_bytes(b"annotator,num_examples_labeled\nchanged,3\n")
    run.report(report)
    assert beside.read_bytes() == saved
    beside.write_text("name,wage\nann,3\n", encoding="utf-8")
    refused()
    beside.unlink()
    beside.mkdir()
    refused()
    beside.rmdir()
    report.write_text(run.report().html.replace("r-annotators.csv", "other.csv"), encoding="utf-8")
    beside.write_bytes(saved)
    refused()


def test_link_to_the_annotators_is_an_address(run: daskal.Run) -> None:
    outline = Outline(render(read_contents(run.path, run.root), "javascript:a #1.csv"))
    (link,) = [attrs for tag, attrs in outline.seen if tag == "a" and "download" in attrs]
    assert link == {"href": "javascript%3Aa%20%231.csv", "download": "javascript:a #1.csv"}


def test_folder_that_is_not_there(run: daskal.Run, tmp_path: Path) -> None:
    with pytest.raises(daskal.DaskalError, match="cannot be written"):
        run.report(tmp_path / "none" / "r.html")


def test_notebook_shows_the_page_inline(run: daskal.Run, page: str) -> None:
    frame = run.report()._repr_html_()
    assert frame.startswith("<iframe srcdoc=")
    assert html.unescape(re.findall('srcdoc="(.*?)"', frame, re.DOTALL)[0]) == page
    assert "allow-same-origin" not in frame


def test_repr_of_a_page_says_its_size_and_place() -> None:
    page = Page('<p class="x">&amp;–</p>', "r.html")
    assert repr(page) == "<daskal report of 25 bytes, written to 'r.html'>"


def test_reprs_of_run_and_estimate(run: daskal.Run) -> None:
    assert run.estimate is not None
    for shown in (repr(run), run._repr_html_()):
        assert html.escape(run.path) in shown
        assert "50 (" in shown
    assert Outline(run._repr_html_()).open == []
    assert "consensus likelihood" in Outline(run.estimate._repr_html_()).text


def test_repr_of_a_plan_is_its_text(run: daskal.Run) -> None:
    plan = daskal.plan(pred_probs_unlabeled=np.full((10, 2), 0.5), memory_limit="2GiB")
    shown = Outline(plan._repr_html_())
    assert shown.open == []
    for name, value in plan.summary():
        assert f"{name.strip()} {value}" in shown.text
        assert value in repr(plan)


def test_unfinished_run_has_a_repr_and_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("daskal.runs.store.finish", fail)
    pool = np.array([[0.9, 0.1], [0.5, 0.5]])
    with pytest.raises(RuntimeError, match="killed"):
        daskal.run(pred_probs_unlabeled=pool, out=tmp_path / "s.zarr")
    run = daskal.Run.open(tmp_path / "s.zarr", partial=True)
    assert "2, 2 scored" in repr(run)
    with pytest.raises(daskal.DaskalError, match="has not finished"):
        run.report()


def test_ten_million_scores_and_five_thousand_annotators_stay_small(run: daskal.Run) -> None:
    rng = np.random.default_rng(0)
    num = 5000
    people = pd.DataFrame(
        {
            "annotator": [f"worker-{index:06d}" for index in range(num)],
            "annotator_quality": rng.random(num),
            "agreement_with_consensus": rng.random(num),
            "worst_class": rng.integers(0, 4, num),
            "num_examples_labeled": rng.integers(1, 9999, num),
            "weight": rng.random(num),
            "agreement_with_annotators": rng.random(num),
        }
    )
    given = read_contents(run.path, run.root)
    grown = replace(
        given,
        annotators=people,
        histograms={name: value * 10**7 for name, value in given.histograms.items()},
    )
    assert len(render(grown).encode()) < 1_000_000


# ------------------------------------------------------------------------------------- browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=10000",
)
# Loads the report in a frame of a given width, does what a reader does, and says what came of it.
DRIVER = """<!doctype html><pre id="result"></pre>
<iframe style="width:{width}px;height:900px" srcdoc="{page}"></iframe>
<script>
const frame = document.querySelector("iframe");
const said = {{}};
frame.addEventListener("load", () => {{
  const page = frame.contentDocument;
  const table = (id) => page.getElementById(id);
  const rows = (id) => [...table(id).querySelectorAll("tbody tr")].map(
    (row) => [...row.cells].map((cell) => cell.textContent));
  const head = (id, name) => [...table(id).querySelectorAll("thead th")].find(
    (cell) => cell.textContent === name);
  try {{ (() => {{ {steps} }})(); }} catch (error) {{ said.error = String(error); }}
  document.getElementById("result").textContent = JSON.stringify(said);
}});
</script>"""


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "profile"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def browse(page: str, steps: str, profile: Path, width: int = 1200) -> dict[str, Any]:
    """Return what JavaScript steps put into ``said``; fail on any message of the console."""
    file = profile.with_suffix(".html")
    text = DRIVER.format(width=width, page=html.escape(page), steps=steps)
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not messages, "\n".join(messages)
    said = re.findall(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)[0]
    result = json.loads(html.unescape(said))
    assert "error" not in result
    return result


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@in_browser
def test_browser_sorts_filters_and_turns_pages(run: daskal.Run, page: str, profile: Path) -> None:
    said = browse(
        page,
        """
        const id = "annotators-table";
        said.title = page.title;
        said.images = page.images.length;
        said.first = rows(id);
        said.where = table(id).querySelector(".where").textContent;
        const labels = head(id, "Labels").querySelector("button");
        labels.click();
        said.ascending = rows(id).map((row) => row[5]);
        labels.click();
        said.descending = rows(id).map((row) => row[5]);
        said.sorted = head(id, "Labels").getAttribute("aria-sort");
        table(id).querySelector(".next").click();
        said.second = rows(id).map((row) => row[5]);
        const search = table(id).querySelector("input");
        search.value = "WORKER 2";
        search.dispatchEvent(new Event("input"));
        said.found = rows(id).map((row) => row[0]);
        search.value = "nobody";
        search.dispatchEvent(new Event("input"));
        said.none = [rows(id).length, table(id).querySelector(".where").textContent];
        const size = table(id).querySelector("select");
        search.value = "";
        search.dispatchEvent(new Event("input"));
        size.value = "50";
        size.dispatchEvent(new Event("change"));
        said.all = rows(id).length;
        """,
        profile,
    )
    stats = run.annotator_stats
    assert stats is not None
    assert said["title"] == "What to label next: daskal report"
    assert said["images"] == 0
    assert [row[0] for row in said["first"]] == stats.index[:10].tolist()
    assert [row[1] for row in said["first"]] == [
        f"{value:.3f}" for value in stats["annotator_quality"].iloc[:10]
    ]
    assert said["where"] == "1–10 of 30"
    counts = sorted(stats["num_examples_labeled"])
    assert said["ascending"] == [str(count) for count in counts[:10]]
    assert said["descending"] == [str(count) for count in counts[::-1][:10]]
    assert said["sorted"] == "descending"
    assert said["second"] == [str(count) for count in counts[::-1][10:20]]
    wanted = {name for name in stats.index if name.startswith("worker 2")}
    assert set(said["found"]) <= wanted
    assert len(said["found"]) == 10
    assert said["none"] == [0, "No annotators found"]
    assert said["all"] == 30


@in_browser
def test_browser_reads_bars_and_changes_the_scale(page: str, profile: Path) -> None:
    said = browse(
        page,
        """
        const part = page.getElementById("scores");
        const shown = (name) => part.querySelector(name).getBoundingClientRect().height > 0;
        said.before = [shown(".linear"), shown(".log")];
        page.getElementById("scale-log").click();
        said.after = [shown(".linear"), shown(".log")];
        const area = part.querySelector(".log .area");
        const box = area.getBoundingClientRect();
        area.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + 1}));
        said.readout = part.querySelector(".readout").textContent;
        """,
        profile,
    )
    assert said["before"] == [True, False]
    assert said["after"] == [False, True]
    assert re.fullmatch(
        r"0\.\d{3} to 0\.\d{3}: pool \d+ · labeled \d+ · pool, in the batch \d+ · "
        r"labeled, in the batch \d+",
        said["readout"],
    )


@in_browser
def test_browser_stays_on_the_page_in_a_notebook(page: str, profile: Path) -> None:
    said = browse(
        page,
        """
        page.documentElement.style.scrollBehavior = "auto";
        page.querySelector('nav a[href="#repeat"]').click();
        said.scrolled = frame.contentWindow.scrollY;
        said.address = frame.contentWindow.location.href;
        """,
        profile,
    )
    assert said["scrolled"] > 500
    assert said["address"] == "about:srcdoc"


@in_browser
@pytest.mark.parametrize(("width", "hinted"), [(400, True), (1600, False)])
def test_browser_says_that_a_table_scrolls(
    page: str, profile: Path, width: int, hinted: bool
) -> None:
    said = browse(
        page,
        """
        const hint = table("annotators-table").querySelector(".hint");
        said.hinted = hint.getBoundingClientRect().height > 0;
        """,
        profile,
        width,
    )
    assert said["hinted"] == hinted


@in_browser
@pytest.mark.parametrize("width", [320, 1600])
def test_browser_fits_the_width(page: str, profile: Path, width: int) -> None:
    said = browse(page, "said.wide = page.documentElement.scrollWidth;", profile, width)
    assert said["wide"] <= width
