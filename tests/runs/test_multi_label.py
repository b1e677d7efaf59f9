"""Runs where an example may have several classes: store, resuming, report, command line."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

import daskal
from daskal.cli.commands import main
from daskal.engine import reduction
from daskal.errors import EstimateError, InputError, InvalidDataError, ResumeError
from daskal.inputs import blocks
from tests.counting import counted_array
from tests.faultkit import assert_same_store, contents
from tests.tagkit import make_tags

pytestmark = pytest.mark.filterwarnings("ignore::daskal.DataWarning")
NAMES = ["sky", "sea", "sand"]
# Three blocks: no block of stored rows is smaller than 4,096 rows.
ROWS = 9_000


@pytest.fixture(scope="module", autouse=True)
def blocks_as_if_stored() -> Iterator[None]:
    """Cut rows in memory as stored ones are cut."""
    with mock.patch.object(blocks, "MEMORY_FACTOR", 1):
        yield


@pytest.fixture(scope="module")
def problem():
    return make_tags(40, num_examples=ROWS, num_classes=3, dtype=np.int8)


@pytest.fixture(scope="module")
def given(problem):
    return {
        "labels": problem.labels,
        "pred_probs": pd.DataFrame(problem.pred_probs, columns=NAMES),
        "pred_probs_unlabeled": pd.DataFrame(problem.pool, columns=NAMES),
    }


@pytest.fixture(scope="module")
def run(given, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "scores.zarr"
    return daskal.run(**given, multi_label=True, batch_size=20, out=out)


def test_a_run_has_what_the_functions_give(run, given):
    labels, probs = given["labels"], given["pred_probs"]
    estimate = daskal.estimate(labels, probs, multi_label=True)
    assert run.estimate == estimate
    scores = daskal.score_labeled(labels, probs, estimate)
    pool = daskal.score_unlabeled(given["pred_probs_unlabeled"], estimate)
    np.testing.assert_array_equal(run.scores.compute(), scores.compute())
    np.testing.assert_array_equal(run.pool.compute(), pool.compute())
    pd.testing.assert_frame_equal(run.batch, daskal.next_batch(scores, pool, size=20))
    quality = daskal.label_quality(labels, probs, estimate).compute()
    stored = run.labels.compute()
    assert stored["consensus_labels"].tolist() == quality["consensus_labels"].tolist()
    for name in ("consensus_quality_score", "annotator_agreement", "num_annotations"):
        np.testing.assert_allclose(stored[name], quality[name], rtol=1e-14)
    stats = daskal.annotator_stats(labels, probs, estimate)
    pd.testing.assert_frame_equal(run.annotator_stats, stats, check_names=False)


def test_classes_as_rows(run, problem, given):
    stats = run.class_stats
    assert stats.index.tolist() == NAMES
    assert stats["num_votes"].tolist() == run.estimate.num_votes.tolist()
    assert stats["num_chosen"].tolist() == run.estimate.num_chosen.tolist()
    quality = daskal.label_quality(
        given["labels"], given["pred_probs"], run.estimate, reduce=None
    ).compute()
    consensus = quality["consensus_label"].to_numpy().reshape(ROWS, 3)
    assert stats["num_consensus"].tolist() == consensus.sum(axis=0).tolist()
    votes, same = problem.labels >= 0, problem.labels == consensus[:, None]
    agreement = (votes & same).sum(axis=(0, 1)) / votes.sum(axis=(0, 1))
    np.testing.assert_allclose(stats["agreement"], agreement)
    there = consensus[:, None] == 1
    found = (votes & same & there).sum(axis=(0, 1)) / (votes & there).sum(axis=(0, 1))
    np.testing.assert_allclose(stats["agreement_where_present"], found)


def test_xarray_opens_the_store(run):
    labeled = xr.open_zarr(run.path, group="labeled")
    assert labeled["consensus_labels"].dims == ("example", "class")
    assert labeled["consensus_labels"].attrs["classes"] == NAMES
    assert labeled["score"].shape == (ROWS,)


def test_the_report_lists_classes(run):
    page = run.report().html
    assert "An example may have several classes" in page
    assert all(name in page for name in NAMES)
    assert "multi_label=True" in page


def test_doubtful_labels(run):
    found = run.doubtful_labels(size=5)
    assert found["consensus_quality_score"].is_monotonic_increasing


def test_each_chunk_is_read_once_in_pass_2(given, run, tmp_path):
    counted = {
        name: counted_array(tmp_path / name, np.asarray(values), chunks=(2048, *values.shape[1:]))
        for name, values in given.items()
    }
    arrays = {name: array for name, (array, _) in counted.items()}
    again = daskal.run(**arrays, estimate=run.estimate, out=tmp_path / "out.zarr")
    assert {n for _, store in counted.values() for n in store.reads().values()} == {1}
    np.testing.assert_array_equal(again.scores.compute(), run.scores.compute())
    for _, store in counted.values():
        store.forget()
    daskal.run(**arrays, multi_label=True, temperature=1.0, out=tmp_path / "other.zarr")
    reads = {name: set(store.reads().values()) for name, (_, store) in counted.items()}
    assert reads == {"labels": {3}, "pred_probs": {3}, "pred_probs_unlabeled": {1}}


class StopError(Exception):
    """What interrupts a run in these tests."""


@pytest.mark.parametrize("stage", ["votes", "consensus", "score labeled"])
def test_an_interrupted_run_continues(given, run, tmp_path, stage):
    out = tmp_path / "scores.zarr"

    def stop(progress):
        if progress.stage == stage and progress.done == 1:
            raise StopError

    options = {**given, "multi_label": True, "batch_size": 20, "out": out}
    with dask.config.set(scheduler="sync"), pytest.raises(StopError):
        daskal.run(**options, progress=stop)
    done = []
    with mock.patch.object(
        reduction, "tree", side_effect=lambda *a, **k: done.append(k["done"]) or tree(*a, **k)
    ):
        daskal.run(**options, resume=True)
    assert any(done)
    assert_same_store(out, contents(run.path))
    with pytest.raises(ResumeError, match="reduce"):
        daskal.run(**options, reduce="min", resume=True)


tree = reduction.tree


def test_the_lowest_class_decides_with_min(given, run, tmp_path):
    out = tmp_path / "scores.zarr"
    least = daskal.run(**given, multi_label=True, reduce="min", out=out)
    expected = daskal.score_labeled(
        given["labels"], given["pred_probs"], run.estimate, reduce="min"
    )
    np.testing.assert_array_equal(least.scores.compute(), expected.compute())


def test_rows_at_fault_are_named_or_left_out(given, tmp_path):
    labels = given["labels"].copy()
    labels[7, :, 1] = 5
    options = {**given, "labels": labels, "multi_label": True}
    with pytest.raises(InvalidDataError, match="other than 0 and 1: 7"):
        daskal.run(**options, out=tmp_path / "a.zarr")
    found = daskal.run(**options, on_invalid="nan", out=tmp_path / "b.zarr")
    assert np.flatnonzero(np.isnan(found.scores.compute())).tolist() == [7]
    assert found.attrs["num_invalid_rows"] == 1


def test_lists_and_a_pool_alone(tmp_path):
    problem = make_tags(41)
    lists = problem.lists(["a", "b", "c", "d"])
    probs = pd.DataFrame(problem.pred_probs, columns=["a", "b", "c", "d"])
    found = daskal.run(
        labels=lists, pred_probs=probs, multi_label=True, out=tmp_path / "lists.zarr"
    )
    assert found.pool is None
    expected = daskal.score_labeled(lists, probs, found.estimate).compute()
    np.testing.assert_array_equal(found.scores.compute(), expected)
    alone = daskal.run(
        pred_probs_unlabeled=problem.pool, multi_label=True, out=tmp_path / "pool.zarr"
    )
    np.testing.assert_array_equal(
        alone.pool.compute(), daskal.score_unlabeled(problem.pool, multi_label=True).compute()
    )
    assert alone.report().html
    later = daskal.run(
        pred_probs_unlabeled=problem.pool, estimate=found.estimate, out=tmp_path / "later.zarr"
    )
    assert later.report().html


def test_a_class_without_votes(tmp_path):
    problem = make_tags(42)
    labels = problem.labels.copy()
    labels[:, :, 2] = np.nan
    found = daskal.run(
        labels=labels, pred_probs=problem.pred_probs, multi_label=True, out=tmp_path / "s.zarr"
    )
    assert found.class_stats["num_votes"].tolist()[2] == 0
    assert np.isnan(found.class_stats["agreement"][2])
    expected = daskal.score_labeled(labels, problem.pred_probs, found.estimate).compute()
    np.testing.assert_array_equal(found.scores.compute(), expected)
    assert found.report().html


def test_the_plan_grows_with_the_classes():
    def plan(num_classes):
        return daskal.plan(
            labels=np.zeros((40_000, 4, num_classes), dtype=np.int8),
            pred_probs=np.zeros((40_000, num_classes), dtype=np.float32),
            multi_label=True,
            threads_per_worker=1,
        )

    few, many = plan(20), plan(40)
    assert many.bytes_to_read == 2 * few.bytes_to_read
    assert few.sections[0].block_rows == many.sections[0].block_rows
    (one,), (two,) = few.sections, many.sections
    assert two.state_bytes == pytest.approx(2 * one.state_bytes, rel=0.01)
    assert two.block_bytes == 2 * one.block_bytes
    assert two.column_bytes - one.column_bytes == 20


def test_what_does_not_go_together_is_refused(given, run, tmp_path):
    out = tmp_path / "scores.zarr"
    with pytest.raises(InputError, match="gold: expected none where an example may have several"):
        daskal.run(**given, multi_label=True, gold=np.zeros(ROWS), out=out)
    for ask in (daskal.plan, lambda **options: daskal.run(**options, out=out)):
        with pytest.raises(InputError, match="panel: expected False with multi_label=True"):
            ask(**given, multi_label=True, panel=True)
    with pytest.raises(InputError, match="reduce: expected 'mean' or 'min', got None"):
        daskal.run(**given, multi_label=True, reduce=None, out=out)
    with pytest.raises(InputError, match="It is for multi_label=True"):
        daskal.run(**given, reduce="min", out=out)
    with pytest.raises(EstimateError, match=r"expected a daskal\.Estimate for multi_label=False"):
        daskal.run(**given, estimate=run.estimate, multi_label=False, out=out)
    assert not out.exists()


def test_the_command_line(problem, tmp_path):
    import zarr

    paths = {}
    for name in ("labels", "pred_probs", "pool"):
        paths[name] = str(tmp_path / f"{name}.zarr")
        zarr.save_array(paths[name], getattr(problem, name)[:200])
    inputs = ["--labels", paths["labels"], "--pred-probs", paths["pred_probs"]]
    inputs += ["--unlabeled", paths["pool"], "--multi-label"]
    out = str(tmp_path / "scores.zarr")

    def call(*words):
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    assert "Annotators, the best first" in call("score", *inputs, "--reduce", "min", "--out", out)
    assert "peak" in call("plan", *inputs)
    later = str(tmp_path / "later.zarr")
    call("score", "--unlabeled", paths["pool"], "--estimate", out, "--out", later)
    call("report", out, "--out", str(tmp_path / "report.html"))
    call("batch", out, "--size", "3", "--out", str(tmp_path / "next.csv"))
    assert len(pd.read_csv(tmp_path / "next.csv")) == 3
    (tmp_path / "estimate.json").write_text(daskal.Run.open(out).estimate.to_json())
    text = str(tmp_path / "estimate.json")
    call("score", "--unlabeled", paths["pool"], "--estimate", text, "--out", later, "--overwrite")
    call("labels", out, "--out", str(tmp_path / "labels.csv"))
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 200


def test_whom_to_ask_and_votes_by_quality_are_of_one_class_an_example(run):
    with pytest.raises(InputError, match="expected a run with one class an example"):
        run.assign()
    assert "votes to lift them" not in run.report().html
    quality = run.root["labeled/consensus_quality_score"][:]
    limit = float(np.median(quality))
    batch = run.next_batch(size=10**4, stop_at_quality=limit)
    labeled = batch.loc[batch["source"] == "labeled", "row"]
    voted = run.root["labeled/num_annotations"][:] > 0
    expected = np.flatnonzero(~voted | ~(quality >= limit))
    assert sorted(labeled) == expected.tolist()
