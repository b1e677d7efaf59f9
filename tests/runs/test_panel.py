"""Known classes held fixed, and the panel, in runs with a model; plans of votes without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import daskal
from daskal.errors import InputError, MemoryLimitError
from tests.counting import counted_array
from tests.faultkit import assert_same_store, contents
from tests.problems import is_vote, make_problem

PROBLEM = make_problem(5, num_examples=9_000, num_annotators=6, pool=None)
KNOWN = np.where(np.arange(9_000) % 7 == 0, np.arange(9_000) % 4, -1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> daskal.Run:
    """Return a run with known classes held fixed, and a panel."""
    out = tmp_path_factory.mktemp("run") / "out.zarr"
    given = {"labels": PROBLEM.labels, "pred_probs": PROBLEM.pred_probs}
    return daskal.run(**given, gold=KNOWN, use_gold=True, panel=True, out=out)


def test_the_estimate_of_a_run_holds_known_classes(run: daskal.Run) -> None:
    given: Any = PROBLEM.labels, PROBLEM.pred_probs
    assert run.estimate == daskal.estimate(*given, gold=KNOWN, use_gold=True)
    assert run.estimate != daskal.estimate(*given)


def test_the_panel_of_a_run_is_that_of_its_labels(run: daskal.Run) -> None:
    assert run.panel == daskal.panel(PROBLEM.labels, KNOWN)
    html = run.report().html
    assert 'id="panel"' in html


def test_without_being_asked_there_is_none(tmp_path: Path) -> None:
    labels, probs = PROBLEM.labels[:50], PROBLEM.pred_probs[:50]
    run = daskal.run(labels=labels, pred_probs=probs, out=tmp_path / "out.zarr")
    assert run.panel is None
    assert 'id="panel"' not in run.report().html


def test_the_panel_takes_the_read_of_labels_that_is_planned(tmp_path: Path) -> None:
    codes = np.where(is_vote(PROBLEM.labels), PROBLEM.labels, -1).astype("i1")
    labels, store = counted_array(tmp_path / "labels", codes, chunks=(4_500, 6))
    given = {"labels": labels, "pred_probs": PROBLEM.pred_probs}
    planned = {panel: daskal.plan(**given, panel=panel) for panel in (False, True)}
    sections = {panel: planned[panel].sections[0] for panel in planned}
    assert sections[True].arrays[0].reads[1] == sections[False].arrays[0].reads[1] + 1
    assert sections[True].arrays[1].reads == sections[False].arrays[1].reads
    assert planned[True].num_tasks > planned[False].num_tasks
    read = {}
    for panel in (False, True):
        store.forget()
        daskal.run(**given, panel=panel, out=tmp_path / f"{panel}.zarr")
        read[panel] = store.reads()
    assert {key: count + 1 for key, count in read[False].items()} == read[True]


def test_another_chunking_gives_the_same_store(run: daskal.Run, tmp_path: Path) -> None:
    labels = zarr.create_array(tmp_path / "l.zarr", data=PROBLEM.labels, chunks=(1_000, 6))
    out = tmp_path / "out.zarr"
    given = {"labels": labels, "pred_probs": PROBLEM.pred_probs}
    other = daskal.run(**given, gold=KNOWN, use_gold=True, panel=True, out=out)
    assert other.panel == run.panel
    assert other.estimate == run.estimate
    again = tmp_path / "again.zarr"
    daskal.run(**given, gold=KNOWN, use_gold=True, panel=True, out=again)
    assert_same_store(out, contents(again))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"use_gold": True}, "use_gold: expected known labels"),
        (
            {"gold": KNOWN, "use_gold": True, "estimate": "its own"},
            "use_gold: expected no estimate",
        ),
        ({"panel": True, "multi_label": True}, "panel: expected False with multi_label=True"),
        ({"panel": True, "labels": None}, "panel: expected labels and pred_probs"),
    ],
)
def test_what_does_not_go_together(
    run: daskal.Run, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"labels": PROBLEM.labels, "pred_probs": PROBLEM.pred_probs, **options}
    if "estimate" in given:
        given["estimate"] = run.estimate
    if given["labels"] is None:
        probs = given.pop("pred_probs")
        given = {"pred_probs_unlabeled": probs, "estimate": run.estimate, "panel": True}
    with pytest.raises(InputError, match=said):
        daskal.run(**given, out=tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


# --- plans of votes without a model -----------------------------------------------------------


def test_votes_alone_are_planned_for_all_iterations() -> None:
    plan = daskal.plan(labels=PROBLEM.labels, method="dawid_skene", num_classes=4, max_iterations=9)
    assert plan.max_iterations == 9
    assert plan.sections[0].arrays[0].reads == (11, 2)
    assert "at most 9 iterations" in repr(plan)
    shares = daskal.plan(labels=PROBLEM.labels, method="majority_vote", num_classes=4)
    assert shares.max_iterations is None
    assert shares.sections[0].arrays[0].reads == (2, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "mean"}, "method: expected 'dawid_skene'"),
        ({"method": "one_coin"}, "num_classes: expected the number"),
        ({"method": "one_coin", "pred_probs": PROBLEM.pred_probs}, "expected labels alone"),
        ({"method": "one_coin", "labels": None}, "expected labels alone"),
    ],
)
def test_plans_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        daskal.plan(**{"labels": PROBLEM.labels, **options})


def test_what_would_not_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    given: dict[str, Any] = {"labels": PROBLEM.labels, "num_classes": 4}
    assert not daskal.plan(**given, method="dawid_skene", memory_limit="64MiB").fits
    with pytest.raises(MemoryLimitError, match="64"):
        daskal.run_aggregate(**given, memory_limit="64MiB", out=tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
