"""Both passes into a store: layout, promises, resuming, refusing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from distributed import Client

import daskal
from daskal.engine import reduction
from daskal.engine.progress import Progress
from daskal.errors import (
    BlockError,
    EstimateError,
    InputError,
    InvalidDataError,
    LostWorkersError,
    MemoryLimitError,
    ResumeError,
    StorageError,
    StoreExistsError,
    UnfinishedStoreError,
)
from daskal.inputs import blocks
from daskal.method.values import LABELED_COLUMNS
from daskal.runs import passes, store
from tests.counting import CountingStore, counted_array
from tests.faultkit import assert_same_store, contents
from tests.problems import Problem, make_problem

# Three blocks each, as no block of stored rows is smaller than 4,096 rows, and four in memory.
ROWS = 9_000


@pytest.fixture(scope="module", autouse=True)
def blocks_as_if_stored() -> Iterator[None]:
    """Cut rows in memory into blocks as small as stored ones."""
    with mock.patch.object(blocks, "MEMORY_FACTOR", 1):
        yield


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(3, num_examples=ROWS, num_annotators=5, num_classes=3, pool=ROWS)


def given(problem: Problem) -> dict[str, Any]:
    return {
        "labels": problem.labels,
        "pred_probs": problem.pred_probs,
        "pred_probs_unlabeled": problem.pool,
    }


def stored(directory: Path, problem: Problem, **options: Any) -> dict[str, zarr.Array]:
    """Return the inputs in counting stores, with two chunks per block."""
    return {
        name: counted_array(
            directory / f"{name}.zarr", values, chunks=(2048, values.shape[1]), **options
        )[0]
        for name, values in given(problem).items()
    }


class StopError(Exception):
    """What interrupts a run in these tests."""


def stop_after(blocks: int, stage: str) -> Any:
    """Return a callback that interrupts the run; tasks that threads have begun still end."""

    def tell(progress: Progress) -> None:
        if progress.stage == stage and progress.done >= blocks:
            raise StopError

    return tell


@pytest.fixture(scope="module")
def reference(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out.zarr"
    daskal.run(**given(problem), out=out)
    return out


# ---------------------------------------------------------------------------------- results


def test_run_equals_its_parts(problem: Problem, reference: Path) -> None:
    run = daskal.Run.open(reference)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    assert run.estimate == estimate
    scores = daskal.score_labeled(problem.labels, problem.pred_probs, estimate).compute()
    pool = daskal.score_unlabeled(problem.pool, estimate).compute()
    np.testing.assert_array_equal(run.scores, scores)
    np.testing.assert_array_equal(run.pool, pool)
    pd.testing.assert_frame_equal(run.batch, daskal.next_batch(scores, pool, size=1000))
    assert run.attrs["num_labeled_rows"] == run.attrs["num_unlabeled_rows"] == ROWS


def test_layout_and_whole_chunks(reference: Path) -> None:
    root = zarr.open_group(reference, mode="r", use_consolidated=True)
    assert sorted(root) == [
        *("annotators", "batch", "classes", "doubtful_labels", "histograms", "labeled"),
        "unlabeled",
    ]
    assert sorted(root["labeled"]) == sorted(LABELED_COLUMNS)
    for section in ("labeled", "unlabeled"):
        for array in root[section].array_values():
            assert (array.shape, array.chunks, array.shards) == ((ROWS,), (2250,), None)
            assert array.metadata.dimension_names == ("example",)
    chunks = {path.name for path in (reference / "labeled/score/c").iterdir()}
    assert chunks == {"0", "1", "2", "3"}
    assert not list(reference.rglob("*.partial"))
    assert not (reference / "records").exists()


@pytest.mark.parametrize("group", ["labeled", "unlabeled", "annotators", "histograms", "batch"])
def test_xarray_opens_it_without_warning(reference: Path, group: str) -> None:
    with xr.open_zarr(reference, group=group) as opened:
        assert len(opened.data_vars) > 0
    root = zarr.open_group(reference, mode="r")
    if group == "labeled":
        np.testing.assert_array_equal(opened["score"], root["labeled/score"][:])


def test_ids_are_stored_and_reach_the_batch(problem: Problem, tmp_path: Path) -> None:
    ids = np.array([f"image-{row:05d}.jpg" for row in range(ROWS)])
    more = np.array([f"pool-{row}" for row in range(ROWS)])
    run = daskal.run(**given(problem), out=tmp_path / "o.zarr", labeled_ids=ids, unlabeled_ids=more)
    assert list(run.ids("labeled")[:3]) == ["image-00000.jpg", "image-00001.jpg", "image-00002.jpg"]
    for row in run.batch.head(50).itertuples():
        assert row.id == (ids if row.source == "labeled" else more)[row.row]


def test_ids_of_bytes_stay_bytes(problem: Problem, tmp_path: Path) -> None:
    ids = np.array([f"image-{row}" for row in range(ROWS)]).astype("S")
    run = daskal.run(
        labels=problem.labels,
        pred_probs=problem.pred_probs,
        labeled_ids=ids,
        out=tmp_path / "o.zarr",
    )
    assert run.ids("labeled")[:2].tolist() == [b"image-0", b"image-1"]
    assert run.batch["id"][0] == f"image-{run.batch['row'][0]}".encode()


def test_ids_of_another_length_are_refused_before_anything_is_written(
    problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="labeled_ids"):
        daskal.run(**given(problem), out=tmp_path / "o.zarr", labeled_ids=np.arange(3))
    assert not (tmp_path / "o.zarr").exists()


def test_pool_alone_and_with_an_estimate(problem: Problem, tmp_path: Path) -> None:
    alone = daskal.run(pred_probs_unlabeled=problem.pool, out=tmp_path / "a.zarr")
    assert alone.estimate is None
    assert alone.scores is None
    assert alone.annotator_stats is None
    np.testing.assert_array_equal(alone.pool, daskal.score_unlabeled(problem.pool))
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    run = daskal.run(
        pred_probs_unlabeled=problem.pool, estimate=estimate, out=tmp_path / "b.zarr", batch_size=3
    )
    assert run.estimate == estimate
    np.testing.assert_array_equal(run.pool, daskal.score_unlabeled(problem.pool, estimate))
    assert len(run.batch) == 3


def test_annotators_without_ids_have_the_weights_they_score_by(
    problem: Problem, tmp_path: Path
) -> None:
    people = [f"person {j}" for j in range(problem.num_annotators)]
    frame = pd.DataFrame(problem.labels, columns=people)
    estimates = {
        "named": daskal.estimate(frame, problem.pred_probs),
        "bare": daskal.estimate(problem.labels, problem.pred_probs),
    }
    for known, labels in (("named", problem.labels), ("bare", frame)):
        run = daskal.run(
            labels=labels,
            pred_probs=problem.pred_probs,
            estimate=estimates[known],
            out=tmp_path / f"{known}.zarr",
        )
        np.testing.assert_array_equal(
            run.root["annotators/weight"][:], estimates[known].annotator_weight
        )
        assert run.root["annotators/annotator"][:].tolist() == people


def test_options_may_be_numbers_of_numpy(problem: Problem, tmp_path: Path) -> None:
    run = daskal.run(
        pred_probs_unlabeled=problem.pool,
        out=tmp_path / "o.zarr",
        batch_size=np.int64(2),
        random_state=np.int32(1),
    )
    assert len(run.batch) == 2
    assert run.attrs["options"]["batch_size"] == 2


def test_inputs_are_told_in_a_few_words(tmp_path: Path) -> None:
    labels, probs = [[0, 0], [1, 0], [1, 1]], np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    run = daskal.run(labels=labels, pred_probs=[probs, probs], out=tmp_path / "o.zarr")
    assert run.attrs["inputs"] == {
        "labels": "builtins.list of length 3",
        "pred_probs": ["numpy.ndarray of shape (3, 2), float64"] * 2,
    }


def test_ids_of_annotators_may_be_numbers_and_text(problem: Problem, tmp_path: Path) -> None:
    people = ["a", 7, "b", 2, "c"]
    frame = pd.DataFrame(problem.labels, columns=people)
    run = daskal.run(labels=frame, pred_probs=problem.pred_probs, out=tmp_path / "o.zarr")
    assert run.root["annotators/annotator"][:].tolist() == ["a", "7", "b", "2", "c"]
    assert run.estimate.annotator_weight.index.tolist() == people


def test_estimate_of_other_classes_is_refused_before_anything_is_replaced(
    problem: Problem, reference: Path
) -> None:
    before = contents(reference)
    estimate = daskal.estimate(problem.labels, problem.pred_probs)
    pool = np.full((10, 4), 0.25)
    with pytest.raises(EstimateError, match="3 classes"):
        daskal.run(pred_probs_unlabeled=pool, estimate=estimate, out=reference, overwrite=True)
    assert_same_store(reference, before)


@pytest.mark.slow
def test_every_scheduler_writes_the_same_bits(
    problem: Problem, reference: Path, tmp_path: Path, cluster: Client
) -> None:
    expected = contents(reference)
    with cluster.as_current():
        daskal.run(**given(problem), out=tmp_path / "o.zarr")
    assert_same_store(tmp_path / "o.zarr", expected)


# ------------------------------------------------------------------------------------ reads


@pytest.mark.parametrize("shards", [None, (4096,)])
def test_reads_of_each_chunk(problem: Problem, tmp_path: Path, shards: Any) -> None:
    """Promise 1: labeled chunks twice in pass 1 and once in pass 2, the pool's once."""
    arrays = {}
    for name, values in given(problem).items():
        shape = None if shards is None else (*shards, values.shape[1])
        arrays[name], _ = counted_array(
            tmp_path / name, values, chunks=(2048, values.shape[1]), shards=shape
        )
    daskal.run(**arrays, out=tmp_path / "o.zarr")
    for name, most in (("labels", 3), ("pred_probs", 3), ("pred_probs_unlabeled", 1)):
        reads = CountingStore(tmp_path / name).reads()
        assert set(reads.values()) == {most}, name


# ----------------------------------------------------------------- stores that are there already


def test_existing_store_is_refused(problem: Problem, reference: Path) -> None:
    before = contents(reference)
    with pytest.raises(StoreExistsError, match="overwrite=True to replace it, resume=True"):
        daskal.run(**given(problem), out=reference)
    with pytest.raises(InputError, match="got both"):
        daskal.run(**given(problem), out=reference, overwrite=True, resume=True)
    assert_same_store(reference, before)


def test_overwrite_replaces_a_result_store_only(problem: Problem, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    daskal.run(**given(problem), out=out)
    daskal.run(pred_probs_unlabeled=problem.pool[:100], out=out, overwrite=True)
    assert sorted(zarr.open_group(out, mode="r")) == ["batch", "histograms", "unlabeled"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(StoreExistsError, match="no result store"):
            daskal.run(pred_probs_unlabeled=problem.pool, out=tmp_path / "other", **options)
    assert (tmp_path / "other/thesis.txt").read_text() == "years of work"


def test_resume_begins_where_nothing_is(problem: Problem, reference: Path, tmp_path: Path) -> None:
    daskal.run(**given(problem), out=tmp_path / "o.zarr", resume=True)
    assert_same_store(tmp_path / "o.zarr", contents(reference))


def test_resume_begins_anew_where_creation_did_not_end(
    problem: Problem, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.zarr"

    def fail(*_: Any) -> None:
        raise StopError

    with monkeypatch.context() as patched:
        patched.setattr(store, "create_section", fail)
        with pytest.raises(StopError):
            daskal.run(**given(problem), out=out)
    with pytest.raises(StoreExistsError):
        daskal.run(**given(problem), out=out)
    daskal.run(**given(problem), out=out, resume=True)
    assert_same_store(out, contents(reference))


def test_resume_of_a_finished_store_reads_nothing(problem: Problem, tmp_path: Path) -> None:
    arrays = stored(tmp_path, problem)
    out = tmp_path / "o.zarr"
    daskal.run(**arrays, out=out)
    before = contents(out)
    for name in arrays:
        CountingStore(tmp_path / f"{name}.zarr").forget()
    reported: list[Progress] = []
    run = daskal.run(**arrays, out=out, resume=True, progress=reported.append)
    assert reported == []
    assert run.attrs["status"] == "finished"
    assert all(not CountingStore(tmp_path / f"{name}.zarr").reads() for name in arrays)
    assert_same_store(out, before)


# ---------------------------------------------------------------------------- interrupted runs


@pytest.mark.parametrize("stage", ["votes", "consensus", "score labeled", "score unlabeled"])
def test_resume_computes_only_what_is_missing(problem: Problem, tmp_path: Path, stage: str) -> None:
    arrays = stored(tmp_path, problem)
    whole, out = tmp_path / "whole.zarr", tmp_path / "o.zarr"
    daskal.run(**arrays, out=whole)
    for name in arrays:
        CountingStore(tmp_path / f"{name}.zarr").forget()
    # One block at a time: none is still at work when the run has been interrupted.
    with dask.config.set(scheduler="synchronous"), pytest.raises(StopError):
        daskal.run(**arrays, out=out, progress=stop_after(1, stage))
    finished = [int(file.stem) for file in out.glob(f"records/{stage.replace(' ', '-')}/*.npz")]
    assert len(finished) == 1
    with pytest.raises(StoreExistsError, match="holds a run that is not finished"):
        daskal.run(**arrays, out=out)
    reads = [CountingStore(tmp_path / f"{name}.zarr").reads() for name in arrays]
    reported: list[Progress] = []
    daskal.run(**arrays, out=out, resume=True, progress=reported.append)
    again = [CountingStore(tmp_path / f"{name}.zarr").reads() for name in arrays]
    read_anew = sum((now - before).total() for now, before in zip(again, reads, strict=True))
    # Labeled blocks have two arrays of two chunks; the last of three blocks one chunk of each.
    all_chunks = 3 * 2 * 5 + 5
    interrupted = sum(before.total() for before in reads)
    assert read_anew == all_chunks - interrupted
    first = next(progress for progress in reported if progress.stage == stage)
    assert (first.done, first.total) == (len(finished), 3)
    assert first.rows == sum((4096, 4096, 808)[block] for block in finished)
    assert_same_store(out, contents(whole))


def test_estimate_is_saved_at_once_and_not_made_again(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o.zarr"
    with pytest.raises(StopError):
        daskal.run(**given(problem), out=out, progress=stop_after(0, "score labeled"))
    estimate = daskal.Run.open(out, partial=True).estimate
    assert estimate == daskal.estimate(problem.labels, problem.pred_probs)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("pass 1 ran again")

    monkeypatch.setattr(passes, "estimate_data", fail)
    assert daskal.run(**given(problem), out=out, resume=True).estimate == estimate


def test_resume_refuses_other_inputs_and_options_and_says_which(
    problem: Problem, tmp_path: Path
) -> None:
    arrays = stored(tmp_path, problem)
    out = tmp_path / "o.zarr"
    with pytest.raises(StopError):
        daskal.run(**arrays, out=out, progress=stop_after(1, "votes"))
    changed = problem.pred_probs[::-1].copy()
    moved, _ = counted_array(tmp_path / "moved.zarr", problem.labels, chunks=(2048, 5))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"random_state": 1}, r"options\.random_state: was 0, is 1"),
        ({"batch_size": 7}, r"options\.batch_size: was 1000, is 7"),
        ({"labels": moved}, r"labels\.url: was 'file://.*labels\.zarr', is .*moved\.zarr"),
        ({"pred_probs": changed}, r"pred_probs\.token: was not given, is '[0-9a-f]+'"),
        ({"labeled_ids": np.arange(ROWS)}, r"labeled\.ids: was not given, is given\n"),
        (
            {"estimate": daskal.estimate(problem.labels, problem.pred_probs)},
            r"estimate: was None, is '[0-9a-f]{16}'",
        ),
    ]
    for other, said in cases:
        with pytest.raises(ResumeError, match=said):
            daskal.run(**{**arrays, **other}, out=out, resume=True)
    without_pool = {name: arrays[name] for name in ("labels", "pred_probs")}
    with pytest.raises(ResumeError, match=r"with:\n  unlabeled: was given, is not given\n"):
        daskal.run(**without_pool, out=out, resume=True)
    daskal.run(**arrays, out=out, resume=True)
    with pytest.raises(ResumeError):
        daskal.run(**arrays, out=out, resume=True, convention="cleanlab")


def test_the_same_array_under_another_name_is_the_same(problem: Problem, tmp_path: Path) -> None:
    arrays = stored(tmp_path, problem)
    out = tmp_path / "o.zarr"
    with pytest.raises(StopError):
        daskal.run(**arrays, out=out, progress=stop_after(1, "votes"))
    paths = {name: str(tmp_path / "." / f"{name}.zarr") for name in arrays}
    assert daskal.run(**paths, out=out, resume=True).attrs["status"] == "finished"


def test_secrets_are_never_stored(problem: Problem, tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "pool.zarr", problem.pool)
    out = tmp_path / "o.zarr"
    daskal.run(
        pred_probs_unlabeled=f"file://{tmp_path}/pool.zarr",
        out=f"file://{out}",
        storage_options={"auto_mkdir": True},
    )
    attrs = daskal.Run.open(out).attrs
    assert attrs["inputs"]["pred_probs_unlabeled"] == f"file://{tmp_path}/pool.zarr"
    assert all(b"auto_mkdir" not in content for content in contents(out).values())


def test_unfinished_store_is_read_on_request_only(problem: Problem, tmp_path: Path) -> None:
    out = tmp_path / "o.zarr"
    with pytest.raises(StopError):
        daskal.run(**given(problem), out=out, progress=stop_after(1, "score unlabeled"))
    with pytest.raises(UnfinishedStoreError, match="has not finished"):
        daskal.Run.open(out)
    run = daskal.Run.open(out, partial=True)
    assert run.finished_rows("labeled") == [(at, at + 2250) for at in range(0, ROWS, 2250)]
    rows = run.finished_rows("unlabeled")
    assert 1 <= len(rows) <= 3
    scores = run.pool.compute()
    for start, stop in rows:
        assert np.isfinite(scores[start:stop]).all()
    assert len(run.next_batch(size=5)) == 5
    finished = daskal.run(**given(problem), out=out, resume=True)
    assert finished.finished_rows("unlabeled") == [(0, ROWS)]


def test_keyboard_interrupt_leaves_a_store_that_resumes(
    problem: Problem, reference: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.zarr"

    def interrupt(progress: Progress) -> None:
        if progress.stage == "score labeled" and progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        daskal.run(**given(problem), out=out, progress=interrupt)
    daskal.run(**given(problem), out=out, resume=True)
    assert_same_store(out, contents(reference))


def test_second_client_takes_the_run_over(problem: Problem, tmp_path: Path) -> None:
    """The first one's tasks write nothing more, and it says why it ends."""
    out = tmp_path / "o.zarr"
    taken = False

    def take_over(progress: Progress) -> None:
        nonlocal taken
        if progress.stage == "score unlabeled" and not taken:
            taken = True
            daskal.run(**given(problem), out=out, resume=True)

    with pytest.raises(daskal.DaskalError, match="taken over by another run"):
        daskal.run(**given(problem), out=out, progress=take_over)
    assert daskal.Run.open(out).attrs["status"] == "finished"


# ------------------------------------------------------------------------------- faulty inputs


def test_rows_at_fault_are_corrected_and_the_run_resumed(problem: Problem, tmp_path: Path) -> None:
    arrays = stored(tmp_path, problem)
    out, whole = tmp_path / "o.zarr", tmp_path / "whole.zarr"
    daskal.run(**arrays, out=whole)
    rows = {"labels": 4100, "pred_probs": 20, "pred_probs_unlabeled": 8999}
    for name, row in rows.items():
        zarr.open_array(tmp_path / f"{name}.zarr")[row] = 7.5
    with pytest.raises(InvalidDataError, match=r"(?s)labels: 1 row .*4,100 .*pred_probs: 1 row"):
        daskal.run(**arrays, out=out)
    for name in ("labels", "pred_probs"):
        zarr.open_array(tmp_path / f"{name}.zarr")[rows[name]] = getattr(problem, name)[rows[name]]
    with pytest.raises(InvalidDataError, match=r"pred_probs_unlabeled: 1 row .* 8,999 \(7\.5\)"):
        daskal.run(**arrays, out=out, resume=True)
    zarr.open_array(tmp_path / "pred_probs_unlabeled.zarr")[8999] = problem.pool[8999]
    reported: list[Progress] = []
    daskal.run(**arrays, out=out, resume=True, progress=reported.append)
    first = next(progress for progress in reported if progress.stage == "score unlabeled")
    assert first.done == 2
    assert_same_store(out, contents(whole))


def hide(array: Path, chunk: str) -> Any:
    """Take a chunk away; what puts it back."""
    file = array / "c" / chunk
    content = file.read_bytes()
    file.unlink()
    return lambda: file.write_bytes(content)


@pytest.mark.parametrize("stage", ["consensus", "score labeled"])
def test_labels_that_vanish_between_reads_are_found(
    problem: Problem, tmp_path: Path, stage: str
) -> None:
    arrays = stored(tmp_path, problem)
    out, whole = tmp_path / "o.zarr", tmp_path / "whole.zarr"
    daskal.run(**arrays, out=whole)
    restore: list[Any] = []

    def vanish(progress: Progress) -> None:
        if progress.stage == stage and progress.done == 0:
            restore.append(hide(tmp_path / "labels.zarr", "2/0"))

    with pytest.raises(StorageError, match=r"a chunk of rows 4,096 to 6,144 .* is not there"):
        daskal.run(**arrays, out=out, progress=vanish)
    restore[0]()
    daskal.run(**arrays, out=out, resume=True)
    assert_same_store(out, contents(whole))


@pytest.mark.parametrize("name", ["pred_probs", "pred_probs_unlabeled"])
def test_probabilities_that_vanish_are_rows_at_fault(
    problem: Problem, tmp_path: Path, name: str
) -> None:
    arrays = stored(tmp_path, problem)
    out, whole = tmp_path / "o.zarr", tmp_path / "whole.zarr"
    daskal.run(**arrays, out=whole)
    restore = hide(tmp_path / f"{name}.zarr", "2/0")
    with pytest.raises(InvalidDataError, match=rf"{name}: 2,048 rows .* all zero: 4,096 \(0\)"):
        daskal.run(**arrays, out=out)
    restore()
    daskal.run(**arrays, out=out, resume=True)
    assert_same_store(out, contents(whole))


def test_corrupted_chunk_is_named_and_the_rest_kept(problem: Problem, tmp_path: Path) -> None:
    arrays = stored(tmp_path, problem)
    out, whole = tmp_path / "o.zarr", tmp_path / "whole.zarr"
    daskal.run(**arrays, out=whole)
    restore = hide(tmp_path / "pred_probs_unlabeled.zarr", "4/0")
    (tmp_path / "pred_probs_unlabeled.zarr/c/4/0").write_bytes(b"no frame of zstd at all")
    said = r"pred_probs_unlabeled: rows 8,192 to 9,000 of .*pred_probs_unlabeled\.zarr.*be read"
    with pytest.raises(BlockError, match=said):
        daskal.run(**arrays, out=out)
    assert daskal.Run.open(out, partial=True).finished_rows("labeled")[-1] == (8192, 9000)
    restore()
    daskal.run(**arrays, out=out, resume=True)
    assert_same_store(out, contents(whole))


# ----------------------------------------------------------------------------------- clusters


def test_run_begins_anew_while_blocks_get_done_though_workers_die(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, attempts = tmp_path / "o.zarr", []
    real = reduction.Reduction.compute

    def die(self: Any, progress: Any = None) -> Any:
        attempts.append(self.steps.stage)
        result = real(self, progress)
        if self.steps.stage == "votes" and len(attempts) == 1:
            raise LostWorkersError("killed")
        if self.steps.stage == "score unlabeled":
            raise LostWorkersError("killed, and nothing done since")
        return result

    monkeypatch.setattr(reduction.Reduction, "compute", die)
    with pytest.raises(LostWorkersError, match="nothing done since"):
        daskal.run(**given(problem), out=out)
    assert attempts == ["votes", "votes", "consensus", "score labeled", *["score unlabeled"] * 4]


def test_memory_limit_refuses_with_three_numbers(problem: Problem, tmp_path: Path) -> None:
    said = r"(?s)needed: .*allowed: 105\.0 MiB .*; block: 2,250"
    with pytest.raises(MemoryLimitError, match=said):
        daskal.run(**given(problem), out=tmp_path / "o.zarr", memory_limit="150MiB")
    assert not (tmp_path / "o.zarr").exists()
