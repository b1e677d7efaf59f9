"""The demo's data: what they are drawn from, how they are stored, how scores are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import Client

from daskal import demo
from daskal.demo import Crowd, Judgement
from daskal.engine.progress import Progress
from daskal.errors import InputError, StoreExistsError


def test_accuracies_are_of_skilled_annotators_and_guessers() -> None:
    accuracies = np.sort(Crowd(num_annotators=30, num_classes=4).accuracies())
    assert accuracies[:3].tolist() == [0.25] * 3
    assert 0.55 <= accuracies[3] <= accuracies[-1] <= 0.95


@pytest.mark.parametrize(("num_classes", "accuracy"), [(2, 0.6), (10, 0.8), (300, 0.3)])
def test_model_is_as_often_right_as_asked_and_calibrated(num_classes: int, accuracy: float) -> None:
    crowd = Crowd(num_classes=num_classes, model_accuracy=accuracy)
    random = np.random.default_rng(1)
    truth = random.integers(0, num_classes, 20_000)
    probs = demo.draw_probs(crowd, random, truth)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
    right = probs.argmax(axis=1) == truth
    assert right.mean() == pytest.approx(accuracy, abs=0.015)
    assert probs.max(axis=1).mean() == pytest.approx(accuracy, abs=0.015)


def test_votes_are_as_many_and_as_often_right_as_asked() -> None:
    crowd = Crowd(num_annotators=8, num_classes=5, labels_per_example=3)
    random = np.random.default_rng(2)
    truth = random.integers(0, 5, 20_000)
    labels = demo.draw_votes(crowd, random, truth)
    given = labels >= 0
    assert labels.dtype == np.int8
    assert (labels.min(), labels.max()) == (-1, 4)
    per_example = given.sum(axis=1)
    assert (per_example.min(), per_example.max()) == (1, 5)
    assert per_example.mean() == pytest.approx(3, abs=0.03)
    # Every annotator gets the same share, and is right as often as it is said to be.
    np.testing.assert_allclose(given.mean(axis=0), 3 / 8, atol=0.02)
    right = ((labels == truth[:, None]) & given).sum(axis=0) / given.sum(axis=0)
    np.testing.assert_allclose(right, crowd.accuracies(), atol=0.02)


@pytest.mark.parametrize("labels_per_example", [1, 3])
def test_votes_of_very_few_annotators(labels_per_example: int) -> None:
    crowd = Crowd(num_annotators=3, labels_per_example=labels_per_example)
    random = np.random.default_rng(3)
    per_example = (demo.draw_votes(crowd, random, np.zeros(500, dtype=int)) >= 0).sum(axis=1)
    assert per_example.min() == 1
    assert per_example.max() == labels_per_example


def test_label_type_is_the_smallest_that_holds_the_classes() -> None:
    kinds = [demo.label_dtype(num_classes) for num_classes in (127, 128, 32767, 32768)]
    assert kinds == ["int8", "int16", "int16", "int32"]


def test_chunks_are_whole_many_and_bounded() -> None:
    crowd = Crowd(num_examples=1_000_000, num_unlabeled=5_000_000)
    assert (crowd.chunk_rows("labeled"), crowd.chunk_rows("unlabeled")) == (16384, 65536)
    assert list(Crowd(num_examples=5000).cuts("labeled")) == [(0, 4096), (4096, 5000)]
    wide = Crowd(num_annotators=100_000, num_classes=1000)
    assert wide.chunk_rows("labeled") * 100_000 <= demo.CHUNK_BYTES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_annotators": 2}, "at most one per annotator, 2, got 3"),
        ({"model_accuracy": 0.1}, "more than chance, 1/10"),
        ({"model_accuracy": 1.0}, "less than 1, got 1.0"),
    ],
)
def test_impossible_crowds_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Crowd(**options)  # type: ignore[arg-type]


def test_make_stores_the_same_data_each_time(
    cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(num_examples=5000, num_unlabeled=6000, num_annotators=6, num_classes=4)
    reported: list[Progress] = []
    monkeypatch.chdir(tmp_path)
    with cluster.as_current():
        # Where the workers are does not count.
        demo.make(crowd, Path("a"), reported.append)
    demo.make(crowd, tmp_path / "b")
    # An earlier demo is replaced.
    demo.make(crowd, tmp_path / "b")
    shapes = {}
    for name in ("labels", "pred_probs", "unlabeled", "truth.zarr/labeled", "truth.zarr/unlabeled"):
        path = name if "/" in name else f"{name}.zarr"
        first, again = (zarr.open_array(tmp_path / folder / path)[:] for folder in "ab")
        np.testing.assert_array_equal(first, again)
        shapes[name] = first.shape
    assert shapes == {
        "labels": (5000, 6),
        "pred_probs": (5000, 4),
        "unlabeled": (6000, 4),
        "truth.zarr/labeled": (5000,),
        "truth.zarr/unlabeled": (6000,),
    }
    assert reported[:3] == [
        Progress("make labeled", 0, 2, 0, 5000),
        *[Progress("make labeled", 1, 2, reported[1].rows, 5000)],
        Progress("make labeled", 2, 2, 5000, 5000),
    ]
    assert reported[5] == Progress("make unlabeled", 2, 2, 6000, 6000)


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreExistsError, match="holds something that is no demo"):
        demo.prepare(Crowd(), tmp_path)
    with pytest.raises(StoreExistsError, match="is a file"):
        demo.prepare(Crowd(), tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_judgement_is_read_off_counts_by_score() -> None:
    rows, wrong = [5, 10, 85], [4, 5, 11]
    # The lowest tenth: the first bin and half of the second.
    assert demo.read_off(np.array([rows, wrong]), 0.1) == Judgement(0.2, 0.65, 6.5 / 20)
    assert demo.read_off(np.array([[100, 0], [0, 0]]), 0.1) == Judgement(0.0, 0.0, 0.0)


def test_judge_counts_as_the_whole_arrays_do(cluster: Client, tmp_path: Path) -> None:
    crowd = Crowd(num_examples=5000, num_unlabeled=4, num_annotators=6, num_classes=4)
    demo.make(crowd, tmp_path)
    truth = zarr.open_array(tmp_path / "truth.zarr/labeled")[:]
    random = np.random.default_rng(5)
    scores = random.random(5000)
    consensus = np.where(random.random(5000) < scores, truth, (truth + 1) % 4)
    section = zarr.create_group(tmp_path / "scores.zarr/labeled")
    for name, values in (("score", scores), ("consensus_label", consensus)):
        section.create_array(name, data=values)
    reported: list[Progress] = []
    with cluster.as_current():
        judged = demo.judge(crowd, "labeled", tmp_path, reported.append, share=0.1)
    assert reported[-1] == Progress("test labeled", 2, 2, 5000, 5000)
    assert demo.judge(crowd, "labeled", tmp_path, share=0.1) == judged
    wrong = (consensus != truth)[np.argsort(scores)]
    assert judged.wrong == wrong.mean()
    assert judged.wrong_among_lowest == pytest.approx(wrong[:500].mean(), abs=2e-3)
    assert judged.found == pytest.approx(wrong[:500].sum() / wrong.sum(), abs=1e-3)
