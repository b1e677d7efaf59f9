"""What people see: progress lines, tables, costs."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

import daskal
from daskal.cli import console
from daskal.demo import Judgement


def printed(show: Callable[[Console], None]) -> str:
    file = io.StringIO()
    show(Console(file=file, width=100, highlight=False))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_batch_shows_ids_as_they_are() -> None:
    batch = pd.DataFrame(
        {
            "rank": [1, 2, 3],
            "source": ["labeled", "unlabeled", "unlabeled"],
            "row": [1234, 5, 6],
            "id": ["[bold]x", "y", "z"],
            "score": [0.12345, 0.5, 0.6],
        }
    )
    text = printed(lambda output: console.show_batch(output, batch, shown=2))
    assert text.splitlines()[0] == "Label next: 3 examples, 1 of them again, the first 2"
    assert "1   labeled     1,234   [bold]x   0.1235" in text
    assert "2   unlabeled       5   y         0.5000" in text
    assert " z " not in text


def test_batch_leaves_the_place_of_an_unknown_id_empty() -> None:
    batch = pd.DataFrame(
        {
            "rank": [1, 2],
            "source": ["labeled", "unlabeled"],
            "row": [3, 4],
            "id": ["a", None],
            "score": [0.1, 0.2],
        }
    )
    text = printed(lambda output: console.show_batch(output, batch))
    none = printed(lambda output: console.show_batch(output, batch[1:]))
    assert none.splitlines()[0] == "Label next: 1 example, none of them again"
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["1", "labeled", "3", "a", "0.1000"],
        ["2", "unlabeled", "4", "0.2000"],
    ]


def test_labels_are_shown_as_a_table() -> None:
    labels = pd.DataFrame(
        {
            "id": ["[bold]x", "y"],
            "consensus_label": ["cat", "dog"],
            "consensus_quality_score": [0.25, 0.5],
            "annotator_agreement": [1 / 3, 1.0],
            "num_annotations": [3, 2],
            "score": [0.2, 0.4],
        },
        index=pd.Index([1234, 5], name="row"),
    )
    text = printed(lambda output: console.show_labels(output, labels, 0.6))
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines[0] == "Consensus labels below a quality of 0.6: the 2 of lowest quality"
    assert lines[1].split() == ["row", "id", "label", "quality", "agreement", "votes", "score"]
    assert lines[3].split() == ["1,234", "[bold]x", "cat", "0.2500", "0.333", "3", "0.2000"]
    text = printed(lambda output: console.show_labels(output, labels[:1], None))
    assert text.splitlines()[0] == "Consensus labels: the one of lowest quality"


def test_a_panel_shows_names_whole_and_no_number_where_there_is_none() -> None:
    name = "a panel's judge " * 8 + "1"
    votes = pd.DataFrame({name: [0, 1, 1], "bo": [0, 1, -1], "cy": [-1, -1, 0]})
    file = io.StringIO()
    console.show_panel(Console(file=file, width=80), daskal.panel(votes))
    text = file.getvalue()
    assert name in text
    assert [line.split()[4] for line in text.splitlines() if line.split()[:1] == ["cy"]] == ["1"]
    assert "nan" not in text


def test_ids_are_not_broken_into_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/data/" + "very/long/" * 20 + "image.jpg"
    batch = pd.DataFrame(
        {"rank": [1], "source": ["labeled"], "row": [5], "id": [path], "score": [0.5]}
    )
    file = io.StringIO()
    console.show_batch(Console(file=file, width=80), batch)
    assert path in file.getvalue()
    assert f"1   labeled     5   {path}   0.5000" in file.getvalue()


def test_right_labels_are_drawn() -> None:
    counts = np.array([[0, 10], [0, 5]])
    text = printed(lambda output: console.show_right_by_quality(output, counts))
    assert "0.0 to 0.5        0" in text
    assert f"0.5 to 1.0       10   50.0%   {'█' * 15}" in text
    assert "not the chance that a label is right" in " ".join(text.split())


def test_no_blanks_end_a_line_that_goes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    counts = np.array([[0, 10], [0, 5]])
    console.show_right_by_quality(console.open_console(), counts)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 8
    assert [line for line in lines if line != line.rstrip()] == []


def test_judgements_name_what_was_judged() -> None:
    judged = {"consensus labels": Judgement(0.04, 0.25, 0.625)}
    text = printed(lambda output: console.show_judgements(output, judged, 0.1))
    assert "consensus labels         4.0%                         25.0%" in text
    assert "The lowest 10% of scores hold 62% of the wrong consensus labels." in text


@pytest.mark.parametrize(
    ("peak", "limit", "text"),
    [
        (None, None, "Done in 1.2 s"),
        (3 * 2**20, None, "Done in 1.2 s; no worker held more than 3.0 MiB"),
        (3 * 2**20, 2**31, "Done in 1.2 s; no worker held more than 3.0 MiB of its 2.0 GiB"),
    ],
)
def test_cost(peak: int | None, limit: int | None, text: str) -> None:
    assert console.describe_cost(1.23, peak, limit) == text
