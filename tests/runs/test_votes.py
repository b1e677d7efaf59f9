from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import zarr

import daskal
from daskal.runs import store
from daskal.runs.records import stage_prefix
from daskal.storage.objects import list_keys
from tests import problems


@pytest.fixture
def labels(tmp_path) -> str:
    """Labels of 20,000 rows in five blocks, stored."""
    problem = problems.make_problem(5, num_examples=20_000, pool=None)
    path = tmp_path / "labels.zarr"
    zarr.create_array(path, data=problem.labels.astype(np.float32), chunks=(4096, 8))
    return str(path)


def content(path) -> dict[str, bytes]:
    """All arrays of a store, and its aggregate."""
    root = zarr.open_group(path, mode="r")
    found = {
        f"{group}/{name}": array[:].tobytes()
        for group, members in root.groups()
        for name, array in members.arrays()
        if array.dtype.kind in "iuf"
    }
    return {**found, "aggregate": store.read_aggregate(root).encode()}


def test_the_store_holds_what_the_functions_return(labels, tmp_path):
    out = tmp_path / "out.zarr"
    run = daskal.run_aggregate(labels=labels, out=out, batch_size=7)
    found = daskal.aggregate(labels)
    assert run.aggregate == found
    assert run.estimate is None
    quality = daskal.label_quality(labels, None, found).compute()
    root = zarr.open_group(out, mode="r")
    for name in quality:
        np.testing.assert_array_equal(root[f"labeled/{name}"][:], quality[name], name)
    np.testing.assert_array_equal(run.scores, daskal.score_labeled(labels, None, found))
    pd.testing.assert_frame_equal(
        run.annotator_stats, daskal.annotator_stats(labels, None, found), check_names=False
    )
    pd.testing.assert_frame_equal(run.batch, daskal.next_batch(run.scores, size=7))
    assert "dawid_skene" in repr(run)
    assert not list_keys(root.store, "records/")


def test_an_interrupted_run_goes_on_in_its_iteration_to_the_same_bits(labels, tmp_path):
    whole, broken = tmp_path / "whole.zarr", tmp_path / "broken.zarr"
    expected = daskal.run_aggregate(labels=labels, out=whole, max_iterations=9, tolerance=0)

    def stop(progress: daskal.Progress) -> None:
        if progress.stage == "iteration 7" and progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        daskal.run_aggregate(
            labels=labels, out=broken, max_iterations=9, tolerance=0, progress=stop
        )
    root = zarr.open_group(broken, mode="r")
    assert list_keys(root.store, stage_prefix(root, "iteration 6 total") + "/")
    # Blocks of an iteration that is over are not kept.
    assert not list_keys(root.store, stage_prefix(root, "iteration 6") + "/")
    stages = []
    run = daskal.run_aggregate(
        labels=labels, out=broken, max_iterations=9, tolerance=0, resume=True,
        progress=lambda progress: stages.append((progress.stage, progress.done)),
    )  # fmt: skip
    assert stages[0][0] == "iteration 7"
    assert stages[0][1] >= 2
    assert run.aggregate == expected.aggregate
    assert content(broken) == content(whole)
    assert run.attrs["fingerprint"] == expected.attrs["fingerprint"]


def test_a_finished_run_is_returned_and_other_options_are_refused(labels, tmp_path):
    out = tmp_path / "out.zarr"
    daskal.run_aggregate(labels=labels, out=out, method="one_coin")
    stages = []
    daskal.run_aggregate(
        labels=labels, out=out, method="one_coin", resume=True, progress=stages.append
    )
    assert stages == []
    with pytest.raises(daskal.DaskalError, match=r"options.method: was 'one_coin'"):
        daskal.run_aggregate(labels=labels, out=out, resume=True)
    with pytest.raises(daskal.DaskalError, match="exists already"):
        daskal.run_aggregate(labels=labels, out=out)
    with pytest.raises(daskal.DaskalError, match="choose one"):
        daskal.run_aggregate(labels=labels, out=out, resume=True, overwrite=True)


def test_rows_at_fault_are_named_or_left_out(tmp_path):
    votes = np.array([[0, 1], [1, 1], [0.5, 0]])
    out = tmp_path / "out.zarr"
    with pytest.raises(daskal.DaskalError, match=r"2 \(0.5\)"):
        daskal.run_aggregate(labels=votes, out=out)
    with pytest.warns(daskal.DataWarning, match="take no part"):
        run = daskal.run_aggregate(labels=votes, out=out, on_invalid="nan", overwrite=True)
    assert np.isnan(run.scores.compute()[2])
    assert run.attrs["num_invalid_rows"] == 1


def test_names_of_tasks_annotators_and_classes(tmp_path):
    table = pd.DataFrame(
        {
            "task": ["u", "u", "v", "v", "w"],
            "annotator": ["ann", "bob", "ann", "bob", "ann"],
            "label": ["cat", "cat", "dog", "cat", "dog"],
        }
    )
    labels = tmp_path / "labels.zarr"
    with pytest.warns(daskal.DataWarning, match="sorted"):
        daskal.import_votes(table, out=labels)
    run = daskal.run_aggregate(labels=labels, out=tmp_path / "out.zarr", method="one_coin")
    assert run.aggregate.class_names == ("cat", "dog")
    assert set(run.batch["id"]) == {"u", "v", "w"}
    assert set(run.annotator_stats.index) == {"ann", "bob"}
    assert set(run.annotator_stats["worst_class"]) <= {"cat", "dog"}
    assert "Aggregate" not in run.report().html or "one coin" in run.report().html


def test_the_report_says_how_to_repeat_it(labels, tmp_path):
    out = tmp_path / "out.zarr"
    run = daskal.run_aggregate(labels=labels, out=out, max_iterations=3)
    html = run.report().html
    assert "after 3 iterations" in html
    assert "daskal.run_aggregate(" in html
    assert f"daskal aggregate {labels} --max-iterations 3 --out {out}" in html
