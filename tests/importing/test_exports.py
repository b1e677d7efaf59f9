"""Exports of labeling tools: a small file in each tool's documented form, written for this test."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zarr

import daskal
from daskal.errors import InputError, InvalidDataError
from daskal.importing import records
from daskal.importing.exports import Keys, form_of, value_at

REJECTED, SKIPPED = "rejected", "skipped or cancelled"


def votes_in(store: Path) -> set[tuple[Any, Any, str]]:
    """Return (task, annotator, label) of each vote stored, labels by name."""
    group = zarr.open_group(store, mode="r")
    tasks, people = group["tasks"][:].tolist(), group["annotators"][:].tolist()
    names = group.attrs["daskal"]["classes"]
    found = set()
    for row, task in enumerate(tasks):
        for at in range(*group["indptr"][row : row + 2].tolist()):
            code = int(group["data"][at])
            label = code if names is None else names[code]
            found.add((task, people[int(group["indices"][at])], label))
    return found


def read(file: Path, **options: Any) -> tuple[set[tuple[Any, Any, str]], dict[str, int]]:
    """Return the votes in a file, and what was left out."""
    out = file.parent / "labels.zarr"
    made = daskal.import_votes(file, out, overwrite=True, **options)
    found = votes_in(out)
    assert len(found) == made.num_votes
    return found, dict(made.left_out)


def write(path: Path, content: Any, *, lines: bool = True) -> Path:
    """Write objects as JSON, one a line or as one list with line breaks."""
    if lines:
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in content)
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return path


def choice(label: str | list[str], name: str = "animal", **more: Any) -> dict[str, Any]:
    """Return a result of Label Studio."""
    chosen = [label] if isinstance(label, str) else label
    return {
        "id": "Dx_aB91ISN",
        "from_name": name,
        "to_name": "img",
        "type": "choices",
        "value": {"choices": chosen},
        **more,
    }


LABEL_STUDIO = [
    {
        "id": 11,
        "data": {"image": "a.jpg"},
        "annotations": [
            {"id": 1, "completed_by": 1, "was_cancelled": False, "result": [choice("cat")]},
            {"id": 2, "completed_by": 2, "was_cancelled": True, "result": []},
            {"id": 3, "completed_by": 3, "was_cancelled": False, "result": [choice("dog")]},
        ],
        "predictions": [],
        "total_annotations": 2,
    },
    {
        "id": 12,
        "data": {"image": "b.jpg"},
        "annotations": [
            {"id": 4, "completed_by": 1, "was_cancelled": False, "result": [choice("dog")]},
            {"id": 5, "completed_by": 3, "was_cancelled": False, "result": [choice(["a", "b"])]},
            {"id": 6, "completed_by": 2, "was_cancelled": False, "result": []},
        ],
        "predictions": [],
    },
    {"id": 13, "data": {"image": "c.jpg"}, "annotations": [], "predictions": []},
]


def test_label_studio(tmp_path: Path) -> None:
    file = write(tmp_path / "export.json", LABEL_STUDIO, lines=False)
    found, left_out = read(file)
    assert found == {(11, 1, "cat"), (11, 3, "dog"), (12, 1, "dog")}
    assert left_out == {SKIPPED: 1, "with several labels": 1, "without a label": 1}
    found, _ = read(file, task="data.image")
    assert found == {("a.jpg", 1, "cat"), ("a.jpg", 3, "dog"), ("b.jpg", 1, "dog")}


def test_label_studio_users_with_addresses_and_several_questions(tmp_path: Path) -> None:
    both = [choice("cat"), choice("sharp", "focus")]
    people = [{"id": 1, "email": "a@example.org"}, {"id": 2, "email": "b@example.org"}]
    tasks = [
        {"id": 1, "data": {}, "annotations": [{"completed_by": person, "result": both}]}
        for person in people
    ]
    file = write(tmp_path / "export.json", tasks, lines=False)
    with pytest.raises(InputError, match=r"several: 'animal', 'focus'\. Name .* label="):
        read(file)
    found, _ = read(file, label="focus")
    assert found == {(1, "a@example.org", "sharp"), (1, "b@example.org", "sharp")}


def test_label_studio_min(tmp_path: Path) -> None:
    rest = {"created_at": "2024-05-01T10:00:00Z", "lead_time": 3.2}
    lines = [
        {"image": "a.jpg", "id": 1, "animal": "cat", "annotator": 7, "annotation_id": 1, **rest},
        {"image": "a.jpg", "id": 1, "animal": "dog", "annotator": 8, "annotation_id": 2, **rest},
        {"image": "b.jpg", "id": 2, "annotator": 8, "annotation_id": 3, **rest},
        {
            "image": "b.jpg",
            "id": 2,
            "annotator": 7,
            "annotation_id": 4,
            **rest,
            "animal": {"choices": ["cat", "dog"]},
        },
    ]
    file = write(tmp_path / "min.json", lines, lines=False)
    with pytest.raises(InputError, match=r"JSON-MIN does not say which key .*'animal'"):
        read(file)
    found, left_out = read(file, label="animal", task="image")
    assert found == {("a.jpg", 7, "cat"), ("a.jpg", 8, "dog")}
    assert left_out == {"with several labels": 1, "without a label": 1}


ARGILLA = {
    "nested": {
        "id": "r1",
        "fields": {"text": "x"},
        "metadata": {},
        "suggestions": {},
        "responses": {
            "animal": [
                {"value": "cat", "user_id": "u1"},
                {"value": "dog", "user_id": "u2"},
                {"value": None, "user_id": "u3"},
            ]
        },
    },
    "flattened": {
        "id": "r1",
        "status": "completed",
        "text": "x",
        "animal.responses": ["cat", "dog", "cat"],
        "animal.responses.users": ["u1", "u2", "u3"],
        "animal.responses.status": ["submitted", "submitted", "discarded"],
        "animal.suggestion": None,
    },
    "version 1": {
        "id": "r1",
        "fields": {"text": "x"},
        "responses": [
            {"user_id": "u1", "values": {"animal": {"value": "cat"}}, "status": "submitted"},
            {"user_id": "u2", "values": {"animal": {"value": "dog"}}, "status": "submitted"},
            {"user_id": "u3", "values": {"animal": {"value": "cat"}}, "status": "discarded"},
        ],
    },
}


@pytest.mark.parametrize("kind", ARGILLA)
@pytest.mark.parametrize("lines", [True, False])
def test_argilla(tmp_path: Path, kind: str, lines: bool) -> None:
    found, left_out = read(write(tmp_path / "records.json", [ARGILLA[kind]], lines=lines))
    assert found == {("r1", "u1", "cat"), ("r1", "u2", "dog")}
    assert left_out == {"without a label" if kind == "nested" else SKIPPED: 1}


def test_doccano_one_file_per_user(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    for user, labels in {"ann": [["cat"], ["dog"]], "bo": [["cat"], []]}.items():
        lines = [
            {"id": row, "text": "x", "label": label, "Comments": []}
            for row, label in enumerate(labels)
        ]
        write(folder / f"{user}.jsonl", lines)
    found, left_out = read(folder)
    assert found == {(0, "ann", "cat"), (1, "ann", "dog"), (0, "bo", "cat")}
    assert left_out == {"without a label": 1}


def test_doccano_annotations_of_all_users(tmp_path: Path) -> None:
    lines = [
        {
            "id": 1,
            "text": "x",
            "annotations": [{"label": 2, "user": 1}, {"label": 3, "user": 4}],
            "meta": {},
            "annotation_approver": None,
        },
        {"id": 2, "text": "y", "annotations": [], "meta": {}, "annotation_approver": None},
    ]
    found, left_out = read(write(tmp_path / "file.jsonl", lines))
    assert found == {(1, 1, 2), (1, 4, 3)}
    assert left_out == {"without a label": 1}


def test_prodigy(tmp_path: Path) -> None:
    def line(text: int, person: str, **answer: Any) -> dict[str, Any]:
        return {
            "text": f"text {text}",
            "_input_hash": text,
            "_task_hash": -text,
            "_annotator_id": person,
            "meta": {"id": f"t{text}"},
            **answer,
        }

    file = write(
        tmp_path / "set.jsonl",
        [
            line(1, "set-ann", accept=["cat"], answer="accept"),
            line(1, "set-bo", accept=[], answer="ignore"),
            line(2, "set-ann", accept=["dog"], answer="accept"),
            line(2, "set-bo", accept=["cat"], answer="reject"),
            line(3, "set-bo", label="cat", answer="accept"),
        ],
    )
    found, left_out = read(file)
    assert found == {(1, "set-ann", "cat"), (2, "set-ann", "dog"), (3, "set-bo", "cat")}
    assert left_out == {REJECTED: 1, SKIPPED: 1}
    assert {task for task, *_ in read(file, task="meta.id")[0]} == {"t1", "t2", "t3"}


TOLOKA = """\
INPUT:image\tOUTPUT:result\tGOLDEN:result\tHINT:text\tASSIGNMENT:link\tASSIGNMENT:task_id\t\
ASSIGNMENT:assignment_id\tASSIGNMENT:worker_id\tASSIGNMENT:status\tASSIGNMENT:started
a.jpg\tcat\t\t\thttps://x\t000--1\t000--a\tw1\tAPPROVED\t2024-01-01
a.jpg\tdog\t\t\thttps://x\t000--1\t000--b\tw2\tAPPROVED\t2024-01-01
b.jpg\tdog\t\t\thttps://x\t000--2\t000--a\tw1\tREJECTED\t2024-01-01
b.jpg\t\t\t\thttps://x\t000--2\t000--c\tw3\tSKIPPED\t2024-01-01
b.jpg\t\t\t\thttps://x\t000--2\t000--d\tw2\tAPPROVED\t2024-01-01
b.jpg\tcat\t\t\thttps://x\t000--2\t000--e\tw4\tSUBMITTED\t2024-01-01
"""


def test_toloka(tmp_path: Path) -> None:
    (tmp_path / "assignments.tsv").write_text(TOLOKA, encoding="utf-8")
    found, left_out = read(tmp_path / "assignments.tsv")
    assert found == {("a.jpg", "w1", "cat"), ("a.jpg", "w2", "dog"), ("b.jpg", "w4", "cat")}
    assert left_out == {REJECTED: 1, SKIPPED: 1, "without a label": 1}
    found, _ = read(tmp_path / "assignments.tsv", task="ASSIGNMENT:task_id", form="toloka")
    assert {task for task, *_ in found} == {"000--1", "000--2"}


def test_mechanical_turk(tmp_path: Path) -> None:
    head = '"HITId","AssignmentId","WorkerId","AssignmentStatus","Input.image_url",{}\n'
    rows = [
        ("H1", "A1", "W1", "Approved", "a.jpg", "cat"),
        ("H1", "A2", "W2", "Submitted", "a.jpg", "dog"),
        ("H2", "A3", "W1", "Rejected", "b.jpg", "dog"),
        ("H2", "A4", "W3", "Approved", "b.jpg", ""),
    ]
    one = head.format('"Answer.category.label"')
    one += "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)
    (tmp_path / "batch.csv").write_text(one, encoding="utf-8")
    expected = {("a.jpg", "W1", "cat"), ("a.jpg", "W2", "dog")}
    assert read(tmp_path / "batch.csv") == (expected, {REJECTED: 1, "without a label": 1})

    def cell(label: str) -> str:
        answers = [{"category": {"label": label}, "sure": {"yes": {"on": True}}}] if label else [{}]
        return json.dumps(answers).replace('"', '""')

    all_in_one = head.format('"Answer.taskAnswers"')
    for *rest, label in rows:
        all_in_one += ",".join(f'"{text}"' for text in (*rest, cell(label))) + "\n"
    (tmp_path / "batch.csv").write_text(all_in_one, encoding="utf-8")
    with pytest.raises(InputError, match="several: 'category', 'sure'"):
        read(tmp_path / "batch.csv")
    found, left_out = read(tmp_path / "batch.csv", label="category")
    assert (found, left_out) == (expected, {REJECTED: 1, "without a label": 1})
    found, _ = read(tmp_path / "batch.csv", label="sure", task="HITId")
    assert found == {("H1", "W1", "yes"), ("H1", "W2", "yes")}


def test_any_records_by_their_keys(tmp_path: Path) -> None:
    lines = [
        {"doc": {"id": 1}, "by": [{"who": "ann", "says": "cat"}, {"who": "bo", "says": None}]},
        {"doc": {"id": 2}, "by": [{"who": "ann", "says": "dog"}]},
        {"doc": {"id": 3}, "by": []},
    ]
    keys = {"task": "doc.id", "annotator": "by[].who", "label": "by[].says"}
    found, left_out = read(write(tmp_path / "v.jsonl", lines), **keys)
    assert found == {(1, "ann", "cat"), (2, "ann", "dog")}
    assert left_out == {"without a label": 1}
    flat = [{"task": "a", "annotator": 1, "label": 0}, {"task": "b", "annotator": 1, "label": 1}]
    found, left_out = read(write(tmp_path / "v.json", flat, lines=False))
    assert (found, left_out) == ({("a", 1, 0), ("b", 1, 1)}, {})


@pytest.mark.parametrize("lines", [True, False])
def test_same_votes_in_many_parts_and_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: bool
) -> None:
    content = [
        {"task": f'tâsk {row}, [{{"}}', "annotator": at, "label": "x" * (row % 7 + 1)}
        for row in range(60)
        for at in range(3)
    ]
    file = write(tmp_path / "v.json", content, lines=lines)
    whole = read(file)
    assert len(whole[0]) == 180
    packed = tmp_path / "v.jsonl.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert read(packed) == whole
    for size in (300, 4000):
        monkeypatch.setattr(records, "PART_BYTES", size)
        monkeypatch.setattr(records, "SCAN_BYTES", max(16, size // 3))
        assert read(file) == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "none at all"),
        ("[]", "none at all"),
        ("[1, 2]", "expected objects"),
        ('[{"task": 1, "annotator": 1, "label": 0}', "is no JSON after byte 40"),
        ('{"task": 1, "annotator": 1, "label": 0}\n{"task": 1, ', "is no JSON after byte 40"),
        ('{"task": ', "is no JSON after byte 0"),
        ('{"a": 1, "b": 2}', r"none of the tools known .*lack 'task', 'annotator', 'label'.*'a'"),
        ('{"id": 1, "data": {}, "annotations": [{"result": 3}]}', "export of label-studio"),
    ],
)
def test_bad_files_end_in_one_clear_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "v.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path / "v.json")
    assert "Traceback" not in str(error.value)


def test_an_export_without_a_vote_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "export.json", [LABEL_STUDIO[2]], lines=False)
    with pytest.raises(InvalidDataError, match="expected at least one vote"):
        read(file)


def test_forms_that_do_not_fit(tmp_path: Path) -> None:
    file = write(tmp_path / "v.jsonl", [{"a": 1}])
    with pytest.raises(InputError, match="form: expected 'label-studio'"):
        read(file, form="labelstudio")
    with pytest.raises(InputError, match="expected a table of toloka"):
        read(file, form="toloka")
    (tmp_path / "v.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected JSON of argilla"):
        read(tmp_path / "v.csv", form="argilla")


def test_a_key_may_hold_dots() -> None:
    assert value_at({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert value_at({"a": {"b": {"c": 3}}}, "a.b.c") == 3
    assert value_at({"a": 1}, "a.b") is None
    assert Keys.given(("task", "who", "label")) == Keys(None, "who", None)
    assert form_of({"id": 1, "text": "x", "label": "cat"}) == "records"
