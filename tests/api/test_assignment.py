"""Whom to ask: on arrays, as files, and of a stored run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import daskal
from daskal.errors import DataWarning, EstimateError, InputError, StoreExistsError
from tests.problems import make_problem

NAMES = ["ann", "bo", "cy"]
VOTES = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 0], [1, -1, -1], [-1, -1, -1]])
LABELS = pd.DataFrame(VOTES, columns=NAMES)


def examples(*rows: int, source: str = "labeled") -> pd.DataFrame:
    """Return a batch of some rows."""
    count = np.arange(1, len(rows) + 1)
    return pd.DataFrame({"rank": count, "source": source, "row": rows, "score": 0.1 * count})


@pytest.fixture(scope="module")
def aggregate() -> daskal.Aggregate:
    return daskal.aggregate(LABELS, "one_coin")


def pairs(table: pd.DataFrame) -> list[tuple[int, Any]]:
    return list(zip(table["row"], table["annotator"], strict=True))


def test_nobody_answers_twice_and_the_better_one_is_asked(aggregate: daskal.Aggregate) -> None:
    table = daskal.assign(examples(4, 0), aggregate, LABELS)
    # Everybody has answered row 0; of row 4, cy is right less often than bo.
    assert pairs(table) == [(4, "bo")]
    assert list(table) == ["rank", "source", "row", "score", "annotator", "gain"]
    assert pairs(daskal.assign(examples(4), aggregate, LABELS, votes_per_example=3)) == [
        (4, "bo"),
        (4, "cy"),
    ]
    # Without labels, nobody has answered anything.
    everybody = daskal.assign(examples(0), aggregate, votes_per_example=9)
    assert sorted(everybody["annotator"]) == NAMES


def test_capacity_and_who_is_there(aggregate: daskal.Aggregate) -> None:
    batch = examples(0, 1, 2, source="unlabeled")
    for capacity in (1, {"ann": 1, "bo": 1, "cy": 1}, pd.Series(1, index=NAMES)):
        table = daskal.assign(batch, aggregate, LABELS, capacity=capacity)
        assert sorted(table["annotator"]) == NAMES
    table = daskal.assign(batch, aggregate, LABELS, available=["cy"], capacity={"cy": 2})
    assert pairs(table) == [(0, "cy"), (1, "cy")]
    assert len(daskal.assign(batch, aggregate, LABELS, capacity=0)) == 0
    with pytest.warns(DataWarning, match="neither the estimate nor the labels know 1 of 2"):
        table = daskal.assign(batch, aggregate, available=["cy", "dee"], votes_per_example=2)
    assert set(table["annotator"]) == {"cy", "dee"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"available": "ann"}, "available: expected a list"),
        ({"available": ["eve"]}, "annotators to ask: expected some .* none of whom they know"),
        ({"available": [1, 2]}, "Its ids are"),
        ({"capacity": {"eve": 1}}, "capacity: expected annotators who can be asked"),
        ({"capacity": -1}, "whole numbers of at least 0"),
        ({"capacity": 1.5}, "whole numbers of at least 0"),
        ({"votes_per_example": 0}, "votes_per_example"),
        ({"pred_probs": np.ones((6, 2)) / 2}, "no pred_probs with an aggregate"),
        ({"batch": VOTES}, "batch: expected the DataFrame of next_batch"),
        ({"batch": examples(1).drop(columns="row")}, "without row"),
        ({"batch": examples(1, source="pool")}, "as source, got"),
        ({"batch": examples(6)}, "such as row 6"),
    ],
)
def test_what_makes_no_sense_is_refused(
    aggregate: daskal.Aggregate, change: dict[str, Any], text: str
) -> None:
    options = {"batch": examples(4), "labels": LABELS, **change}
    with pytest.raises(InputError, match=text):
        daskal.assign(options.pop("batch"), aggregate, **options)


def test_an_estimate_is_needed() -> None:
    with pytest.raises(EstimateError, match="expected a daskal"):
        daskal.assign(examples(1), None)


def test_examples_are_found_by_id_wherever_their_row_is(aggregate: daskal.Aggregate) -> None:
    named = LABELS.set_index(pd.Index(list("uvwxyz")))
    moved = named.iloc[::-1]
    batch = examples(4, 5).assign(id=["y", "z"])
    for labels in (named, moved):
        table = daskal.assign(batch, aggregate, labels, votes_per_example=3)
        assert table.groupby("id")["annotator"].apply(sorted).to_dict() == {
            "y": ["bo", "cy"],
            "z": NAMES,
        }
    # An example of the pool that has votes by now.
    table = daskal.assign(
        examples(0, source="unlabeled").assign(id="y"), aggregate, named, votes_per_example=3
    )
    assert sorted(table["annotator"]) == ["bo", "cy"]
    with pytest.raises(InputError, match="the id 'q'"):
        daskal.assign(examples(0).assign(id="q"), aggregate, named)


def test_a_model_that_is_sure_leaves_little_to_ask() -> None:
    problem = make_problem(3, num_examples=40, num_classes=3)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    pool = np.array([[0.98, 0.01, 0.01], [0.4, 0.3, 0.3]])
    table = daskal.assign(
        examples(0, 1, source="unlabeled"), estimate, problem.labels, pred_probs_unlabeled=pool
    )
    sure, unsure = table["gain"]
    assert sure < unsure
    # Without probabilities, both are alike.
    table = daskal.assign(examples(0, 1, source="unlabeled"), estimate, problem.labels)
    assert table["gain"].nunique() == 1
    with pytest.raises(InputError, match="but the batch has row 7"):
        daskal.assign(examples(7, source="unlabeled"), estimate, pred_probs_unlabeled=pool)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    votes=st.integers(1, 3),
    capacity=st.integers(0, 8),
    method=st.sampled_from(["estimate", "dawid_skene", "one_coin", "majority_vote"]),
)
def test_limits_hold_and_chunks_do_not_matter(
    seed: int, votes: int, capacity: int, method: str
) -> None:
    problem = make_problem(seed, num_examples=30, pool=10, num_classes=3)
    options: dict[str, Any] = {}
    if method == "estimate":
        known: Any = daskal.estimate(problem.labels, problem.pred_probs)
        options = {"pred_probs": problem.pred_probs, "pred_probs_unlabeled": problem.pool}
    else:
        known = daskal.aggregate(problem.labels, method, num_classes=3)
    rng = np.random.default_rng(seed)
    batch = pd.concat(
        [
            examples(*rng.permutation(30)[:6].tolist()),
            examples(*rng.permutation(10)[:4].tolist(), source="unlabeled"),
        ],
        ignore_index=True,
    )
    limits = {"votes_per_example": votes, "capacity": capacity}
    table = daskal.assign(batch, known, problem.labels, **limits, **options)
    labels = np.asarray(problem.labels, dtype=float)
    assert not table.duplicated(["source", "row", "annotator"]).any()
    assert (table.groupby(["source", "row"]).size() <= votes).all()
    assert (table["annotator"].value_counts() <= capacity).all()
    again = table[table["source"] == "labeled"]
    assert np.isnan(labels[again["row"], again["annotator"]]).all()
    chunked = zarr.array(labels, chunks=(7, 2), fill_value=np.nan)
    if method == "estimate":
        options = {name: zarr.array(given, chunks=(4, 2)) for name, given in options.items()}
    pd.testing.assert_frame_equal(
        table, daskal.assign(batch, known, chunked, **limits, **options), check_exact=True
    )


# --- files ------------------------------------------------------------------------------------


def assigned() -> pd.DataFrame:
    table = examples(7, 7, 9).assign(annotator=["bo", "a/b", "bo"], gain=[0.5, 0.25, 0.125])
    return table.assign(id=["x.jpg", "x.jpg", "y.jpg"])


@pytest.mark.parametrize("form", ["csv", "parquet", "json"])
def test_each_annotator_gets_a_file(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "out"
    paths = daskal.export_assignments(assigned(), folder, format=form)
    assert [Path(path).name for path in paths] == [f"a%2Fb.{form}", f"bo.{form}"]
    back = daskal.read_batch(paths[1])
    assert back[["id", "row", "annotator", "gain"]].to_numpy().tolist() == [
        ["x.jpg", 7, "bo", 0.5],
        ["y.jpg", 9, "bo", 0.125],
    ]
    assert daskal.export_assignments(assigned(), folder, format=form) == paths


def test_label_studio_gets_its_tasks(tmp_path: Path) -> None:
    paths = daskal.export_assignments(assigned(), tmp_path / "out", id_key="image")
    tasks = json.loads(Path(paths[0]).read_text(encoding="utf-8"))
    assert tasks[0]["data"] == {
        "image": "x.jpg",
        "source": "labeled",
        "row": 7,
        "annotator": "a/b",
        "gain": 0.25,
    }


def test_files_of_somebody_else_are_not_sent_out_too(tmp_path: Path) -> None:
    (tmp_path / "dee.json").write_text("[]")
    with pytest.raises(StoreExistsError, match=r"holds other files \(dee.json\)"):
        daskal.export_assignments(assigned(), tmp_path)
    with pytest.raises(InputError, match="assigned: expected the DataFrame"):
        daskal.export_assignments(examples(1), tmp_path / "new")


def test_no_two_annotators_share_a_file(tmp_path: Path) -> None:
    names = ["Ann", "ann", ".", "x" * 300, "x" * 299, "", "CON ", "a:b"]
    table = examples(*range(len(names))).assign(annotator=names, gain=0.0)
    paths = daskal.export_assignments(table, tmp_path / "out", format="csv")
    stems = [Path(path).name.lower() for path in paths]
    assert len(set(stems)) == len(names)
    found = pd.concat(map(daskal.read_batch, paths))["annotator"]
    assert sorted(found.fillna("").str.strip()) == sorted(map(str.strip, names))


# --- of a run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    """Return a run on a table and votes in long format."""
    folder = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(1)
    tasks = [f"t{number}" for number in range(60)]
    probs = pd.DataFrame(rng.dirichlet(np.ones(3), 60), columns=["cat", "dog", "fox"])
    probs.insert(0, "task", tasks)
    probs.to_parquet(folder / "probs.parquet", index=False)
    rows, who = np.nonzero(rng.random((30, 5)) < 0.5)
    labels = rng.choice(["cat", "fox"], len(who))
    votes = pd.DataFrame({"task": rows, "annotator": who, "label": labels})
    votes["task"] = [tasks[2 * row] for row in rows]
    votes["annotator"] = [f"p{one}" for one in who]
    votes.to_csv(folder / "votes.csv", index=False)
    return daskal.run(
        votes=str(folder / "votes.csv"),
        pred_probs=str(folder / "probs.parquet"),
        id_column="task",
        class_columns=["cat", "dog", "fox"],
        batch_size=20,
        out=folder / "scores.zarr",
    )


def test_a_run_asks_with_what_it_read(run: daskal.Run) -> None:
    folder = Path(run.path).parent
    votes = pd.read_csv(folder / "votes.csv")
    table = run.assign(votes_per_example=2, capacity=9)
    known = set(zip(votes["task"], votes["annotator"], strict=True))
    assert not known & set(zip(table["id"], table["annotator"], strict=True))
    assert table["annotator"].value_counts().max() <= 9
    probs = pd.read_parquet(folder / "probs.parquet").set_index("task")
    labeled = run.ids("labeled")
    labeled = list(labeled[:] if hasattr(labeled, "__getitem__") else labeled)
    wide = votes.pivot(index="task", columns="annotator", values="label")
    codes = wide.apply(lambda column: column.map({"cat": 0, "dog": 1, "fox": 2}))
    codes = codes.reindex([name for name in probs.index if name in codes.index])
    pool = probs[~probs.index.isin(codes.index)]
    expected = daskal.assign(
        run.batch,
        run.estimate,
        codes,
        votes_per_example=2,
        capacity=9,
        pred_probs=probs.loc[codes.index].to_numpy(),
        pred_probs_unlabeled=pool.to_numpy(),
    )
    pd.testing.assert_frame_equal(table, expected)


def test_people_of_a_file(run: daskal.Run, tmp_path: Path) -> None:
    frame = pd.DataFrame({"annotator": ["p1", "p3"], "capacity": ["2", ""]})
    frame.to_csv(tmp_path / "people.csv", index=False)
    frame.assign(capacity=[2.0, np.nan]).to_parquet(tmp_path / "people.parquet")
    for path in ("people.csv", "people.parquet"):
        found = run.assign(people=tmp_path / path, capacity=4)["annotator"].value_counts()
        assert found.to_dict() == {"p1": 2, "p3": 4}
    frame.rename(columns={"annotator": "name"}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError, match="with the column annotator"):
        run.assign(people=tmp_path / "other.csv")
    frame.assign(capacity="many").to_csv(tmp_path / "many.csv", index=False)
    with pytest.raises(InputError, match="got 'many'"):
        run.assign(people=tmp_path / "many.csv")
    with pytest.raises(InputError, match="neither available nor"):
        run.assign(people=tmp_path / "people.csv", available=["p1"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "people: expected a table with the column annotator, got .*, whose columns are none"),
        ("annotator;capacity\np1;2\n", "whose columns are 'annotator;capacity'. .* with commas"),
        ("annotator,capacity\np1,2\np1,3\n", "people: expected each annotator once, got 'p1'"),
        ("annotator,capacity\np1,2\n ,3\n", "people: expected a name in .* got none in row 2"),
        ("annotator,capacity\np1,2.5\n", "people: expected whole numbers .* got '2.5' for 'p1'"),
        ("annotator,capacity\np1,-1\n", "people: expected whole numbers .* got '-1' for 'p1'"),
        ("annotator,capacity\np1,nan\n", "people: expected whole numbers .* got 'nan' for 'p1'"),
        ("annotator\nP1\n", "annotators to ask: expected some .* got 'P1', none of whom they know"),
    ],
)
def test_a_file_of_people_says_what_is_wrong(
    run: daskal.Run, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        run.assign(people=tmp_path / "people.csv")


def test_each_example_of_a_batch_counts_once(run: daskal.Run) -> None:
    """Whom to ask is no other batch: nobody is asked twice for being asked about it already."""
    once = run.assign(votes_per_example=2)
    assert once.duplicated(["source", "row"]).any()
    again = run.assign(once, votes_per_example=2)
    pd.testing.assert_frame_equal(again, once)
    assert not again.duplicated(["source", "row", "annotator"]).any()


def test_a_batch_of_another_run_is_refused(run: daskal.Run, tmp_path: Path) -> None:
    """Its rows are other examples here, though all its ids are known."""
    folder = Path(run.path).parent
    votes = pd.read_csv(folder / "votes.csv")
    # An example of the pool has votes by now: all that are behind it have moved.
    task = run.ids("unlabeled")[:1][0]
    more = pd.DataFrame({"task": [task], "annotator": "p0", "label": "cat"})
    pd.concat([votes, more]).to_csv(tmp_path / "votes.csv", index=False)
    later = daskal.run(
        votes=str(tmp_path / "votes.csv"),
        pred_probs=str(folder / "probs.parquet"),
        id_column="task",
        class_columns=["cat", "dog", "fox"],
        out=tmp_path / "later.zarr",
    )
    for method in (later.assign, lambda batch: later.report(batch=batch)):
        with pytest.raises(InputError, match=r"ones have other ids here, such as 't.*, row \d"):
            method(run.batch)
        with pytest.raises(InputError, match=r"which has 30 labeled ones, but 1 of 1 are of other"):
            method(pd.DataFrame({"source": ["labeled"], "row": [30], "rank": 1, "score": 0.5}))
    path = tmp_path / "next.csv"
    daskal.export_batch(later.batch, path)
    found = later.assign(daskal.read_batch(path))
    pd.testing.assert_frame_equal(found, later.assign(), check_dtype=False)


def test_numbered_annotators_of_a_file(tmp_path: Path) -> None:
    problem = make_problem(4, num_examples=30, num_classes=3)
    labels = tmp_path / "labels.zarr"
    zarr.create_array(labels, data=np.asarray(problem.labels, dtype=np.float64))
    run = daskal.run(
        labels=str(labels), pred_probs=problem.pred_probs, out=tmp_path / "scores.zarr"
    )
    (tmp_path / "people.csv").write_text("annotator\n0\n1\n")
    assert set(run.assign(people=tmp_path / "people.csv")["annotator"]) <= {0, 1}


def test_labels_in_memory_have_to_be_passed(tmp_path: Path) -> None:
    problem = make_problem(4, num_examples=30, pool=5, num_classes=3)
    run = daskal.run(
        labels=problem.labels, pred_probs=problem.pred_probs, out=tmp_path / "scores.zarr"
    )
    with pytest.raises(InputError, match="expected a run whose labels are stored"):
        run.assign()
    assert len(run.assign(labels=problem.labels)) > 0
    pool = daskal.run(pred_probs_unlabeled=problem.pool, out=tmp_path / "pool.zarr")
    with pytest.raises(InputError, match="nothing is known of annotators"):
        pool.assign()
    scored = daskal.run(
        pred_probs_unlabeled=problem.pool, estimate=run.estimate, out=tmp_path / "more.zarr"
    )
    assert len(scored.assign()) == 5
