"""The test kit itself: an oracle or a counter that is wrong would prove nothing."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import get_worker

from tests import oracle, problems, realdata
from tests.counting import counted_array


def test_corrected_oracle_counts_by_class() -> None:
    # cleanlab counts an integer matrix rightly, and only a float one can hold the same as floats.
    problem = problems.dense(5, num_classes=6)
    as_integers = problem.labels.astype(np.int64)
    right = oracle.cleanlab_scores(as_integers, problem.pred_probs)[0]
    with oracle.corrected():
        corrected = oracle.cleanlab_scores(problem.labels, problem.pred_probs)[0]
    shipped = oracle.cleanlab_scores(problem.labels, problem.pred_probs)[0]
    np.testing.assert_array_equal(corrected, right)
    assert np.abs(shipped - right).max() > 1e-3


def test_oracle_keeps_its_arguments_and_the_generator() -> None:
    problem = problems.make_problem(1, num_models=2)
    before = problem.pred_probs.copy()
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    oracle.cleanlab_scores_ensemble(problem.labels, problem.pred_probs, problem.pool)
    assert np.random.random() == expected  # noqa: NPY002
    np.testing.assert_array_equal(problem.pred_probs, before)


@pytest.mark.parametrize("make", problems.VARIANTS.values(), ids=problems.VARIANTS)
def test_every_row_and_annotator_has_a_label(make) -> None:
    votes = problems.is_vote(make(2).labels)
    assert votes.any(axis=0).all()
    assert votes.any(axis=1).all()


def test_forbidden_graph_is_not_computed(cluster) -> None:
    lazy = da.ones(4, chunks=2).sum()
    with (
        cluster.as_current(),
        problems.forbid_compute(),
        pytest.raises(problems.ComputedError),
    ):
        lazy.compute()


def test_reads_are_counted_by_chunk(tmp_path) -> None:
    array, store = counted_array(tmp_path / "a.zarr", np.zeros((10, 3)), chunks=(4, 3))
    array[:4]
    array[2:6]
    assert store.reads() == {"c/0/0": 2, "c/1/0": 1}
    store.forget()
    assert store.reads() == {}


def test_reads_of_a_shard_are_counted_by_inner_chunk(tmp_path) -> None:
    values = np.arange(24.0).reshape(12, 2)
    array, store = counted_array(tmp_path / "a.zarr", values, chunks=(3, 2), shards=(6, 2))
    array[:3]
    array[0:1]
    array[3:6]
    assert sorted(store.reads().values()) == [1, 2]


def test_reads_in_other_processes_are_counted(tmp_path, cluster) -> None:
    array, store = counted_array(tmp_path / "a.zarr", np.ones((8, 2)), chunks=(2, 2))
    sums = cluster.map(_sum_of_chunk, range(4), array=array)
    assert cluster.gather(sums) == [4.0] * 4
    assert store.reads() == {f"c/{i}/0": 1 for i in range(4)}
    assert pickle.loads(pickle.dumps(store)).reads() == store.reads()


def test_current_client_is_dasks_scheduler(cluster) -> None:
    lazy = dask.delayed(_runs_on_a_worker)()
    with cluster.as_current():
        assert lazy.compute()
    assert not lazy.compute(scheduler="synchronous")


def _sum_of_chunk(index: int, array: zarr.Array) -> float:
    return float(np.sum(array[2 * index : 2 * index + 2]))


def _runs_on_a_worker() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", realdata.NAMES)
def test_real_data_is_aligned(name) -> None:
    data = realdata.load(name)
    votes = data.votes.set_index(["task", "annotator"])["label"]
    task, annotator = np.argwhere(problems.is_vote(data.labels))[-1]
    key = (data.task_ids[task], data.annotator_ids[annotator])
    assert data.labels[task, annotator] == votes[key]
    assert np.isfinite(data.labels).sum() == len(votes)
    assert data.pred_probs.shape[0] == len(data.task_ids)
