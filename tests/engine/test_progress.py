"""Progress over the blocks of one graph."""

from __future__ import annotations

from daskal.engine.progress import BlockProgress, Progress


def test_each_block_counts_once_however_often_it_is_tried() -> None:
    told: list[Progress] = []
    listener = BlockProgress("labels", (4, 4, 2), told.append)
    for block in (2, 0, 2, 0):
        listener.count(block)
    assert [(progress.done, progress.rows) for progress in told] == [(0, 0), (1, 2), (2, 6)]
    assert {progress[::2] for progress in told} == {
        ("labels", 3, 10),
    }


def test_blocks_of_an_earlier_run_count_from_the_start() -> None:
    told: list[Progress] = []
    listener = BlockProgress("labels", (4, 4, 2), told.append, done={0, 2})
    listener.count(0)
    listener.count(1)
    assert told == [Progress("labels", 2, 3, 6, 10), Progress("labels", 3, 3, 10, 10)]


def test_the_end_is_told_though_events_were_lost() -> None:
    told: list[Progress] = []
    listener = BlockProgress("labels", (4, 4, 2), told.append)
    listener.finish()
    listener.finish()
    assert told[1:] == [Progress("labels", 3, 3, 10, 10)]
