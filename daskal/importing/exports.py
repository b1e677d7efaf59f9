"""Votes in the exports of labeling tools: which tool wrote a file, and what its answers say.

Each tool has a function that yields the answers in one record of its export: a vote, or why an
answer is none. Where votes are lies by the tool's own keys, unless others are given.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from daskal.errors import InputError
from daskal.text import listed

Record = Mapping[str, Any]

# Why an answer is no vote.
SKIPPED = "skipped or cancelled"
REJECTED = "rejected"
NO_LABEL = "without a label"
SEVERAL = "with several labels"


class Vote(NamedTuple):
    """One vote."""

    task: Any
    annotator: Any
    label: Any


Answer = Vote | str


class Keys(NamedTuple):
    """Where in a record a vote lies, None where the tool says it itself.

    Keys of nested objects are joined by dots: ``data.image``. In ``answers[].label``, the label is
    in each item of a list.
    """

    task: str | None = None
    annotator: str | None = None
    label: str | None = None

    @classmethod
    def given(cls, columns: Sequence[str]) -> Keys:
        """Return the keys among the names of columns that are not their defaults."""
        named = zip(cls._fields, columns, strict=True)
        return cls(*(None if column == name else column for name, column in named))


# --- values by their keys ---------------------------------------------------------------------


def value_at(record: Any, path: str) -> Any:
    """Return the value at a path, None where there is none; a key may itself hold dots."""
    if isinstance(record, Mapping) and path in record:
        return record[path]
    found = record
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def one_label(values: Any) -> Any:
    """Return the label in an answer: a value, or a list of one; else why there is none."""
    if isinstance(values, list | tuple):
        if len(values) != 1:
            return Missing(SEVERAL if values else NO_LABEL)
        values = values[0]
    if isinstance(values, Mapping) and "choices" in values:
        return one_label(values["choices"])
    nothing = values is None or values == ""
    return Missing(NO_LABEL) if nothing or isinstance(values, Mapping | list) else values


class Missing(NamedTuple):
    """Why there is no label."""

    why: str


def vote(task: Any, annotator: Any, label: Any) -> Answer:
    """Return a vote, or why it is none."""
    found = one_label(label)
    return found.why if isinstance(found, Missing) else Vote(task, annotator, found)


def only_question(form: str, given: str | None, found: Collection[str]) -> str | None:
    """Return the question that is meant: the one given, or the only one; None without any."""
    if given is not None:
        return given
    if len(found) > 1:
        raise InputError(
            f"votes: expected one question in the export of {form}, got several: "
            f"{listed(map(repr, sorted(found)))}.",
            advice="Name the one that is meant with {label=}.",
        )
    return next(iter(found), None)


# --- the tools --------------------------------------------------------------------------------


def person(value: Any) -> Any:
    """Return a user by e-mail address or id, where an export holds more of it."""
    return value.get("email") or value.get("id") if isinstance(value, Mapping) else value


def label_studio(record: Record, keys: Keys, user: str) -> Iterator[Answer]:
    """Yield the answers of a Label Studio task (the export called JSON)."""
    task = value_at(record, keys.task or "id")
    for annotation in record.get("annotations") or record.get("completions") or ():
        if annotation.get("was_cancelled"):
            yield SKIPPED
            continue
        kinds = ("choices", "rating")
        results = [
            result
            for result in annotation.get("result") or ()
            if any(kind in (result.get("value") or {}) for kind in kinds)
        ]
        question = only_question(
            "Label Studio", keys.label, {result["from_name"] for result in results}
        )
        chosen = [
            result["value"].get("choices", result["value"].get("rating"))
            for result in results
            if result["from_name"] == question
        ]
        annotator = person(value_at(annotation, keys.annotator or "completed_by"))
        yield vote(task, annotator, chosen[0] if len(chosen) == 1 else chosen)


def label_studio_min(record: Record, keys: Keys, user: str) -> Iterator[Answer]:
    """Yield the answer of a line of Label Studio's export called JSON-MIN."""
    if keys.label is None:
        raise InputError(
            "votes: Label Studio's JSON-MIN does not say which key holds the label; it has "
            f"{listed(map(repr, record), most=12)}.",
            advice="Name it with {label=}.",
        )
    annotator = person(value_at(record, keys.annotator or "annotator"))
    yield vote(value_at(record, keys.task or "id"), annotator, value_at(record, keys.label))


LEFT = {"discarded", "draft", "pending", "Discarded"}


def argilla(record: Record, keys: Keys, user: str) -> Iterator[Answer]:
    """Yield the answers of an Argilla record: nested, flattened, or as version 1 wrote it."""
    task = value_at(record, keys.task or "id")
    for status, annotator, value in argilla_responses(record, keys.label):
        yield SKIPPED if status in LEFT else vote(task, annotator, value)


def argilla_responses(record: Record, label: str | None) -> Iterator[tuple[Any, Any, Any]]:
    """Yield status, user and value of each response to a record."""
    responses = record.get("responses")
    if isinstance(responses, Mapping):
        question = only_question("Argilla", label, responses)
        for response in responses.get(question) or ():
            yield response.get("status"), response.get("user_id"), response.get("value")
    elif isinstance(responses, list):
        for response in responses:
            values = response.get("values") or {}
            answered = only_question("Argilla", label, values)
            value = values.get(answered) or {}
            yield response.get("status"), response.get("user_id"), value.get("value")
    else:
        ending = ".responses"
        questions = {key.removesuffix(ending) for key in record if key.endswith(ending)}
        key = f"{only_question('Argilla', label, questions)}{ending}"
        values, users = record.get(key) or (), record.get(f"{key}.users") or ()
        statuses = record.get(f"{key}.status") or [None] * len(values)
        yield from zip(statuses, users, values, strict=True)


def doccano(record: Record, keys: Keys, user: str) -> Iterator[Answer]:
    """Yield the answers of a doccano line; newer versions write one file per user, called so."""
    task = value_at(record, keys.task or "id")
    if "annotations" in record:
        answers = record["annotations"]
        for answer in answers:
            yield vote(task, value_at(answer, keys.annotator or "user"), answer.get("label"))
        if not answers:
            yield NO_LABEL
        return
    annotator = user if keys.annotator is None else value_at(record, keys.annotator)
    yield vote(task, annotator, value_at(record, keys.label or "label"))


def prodigy(record: Record, keys: Keys, user: str) -> Iterator[Answer]:
    """Yield the answer of a Prodigy line: an option chosen, or a label accepted."""
    if record.get("answer") == "ignore":
        yield SKIPPED
        return
    if record.get("answer") == "reject":
        yield REJECTED
        return
    task = value_at(record, keys.task or "_input_hash")
    annotator = value_at(record, keys.annotator or "_annotator_id")
    if annotator is None and keys.annotator is None:
        annotator = record.get("_session_id")
    label = record.get("accept", record.get("label"))
    yield vote(task, annotator, label if keys.label is None else value_at(record, keys.label))


def any_records(record: Record, keys: Keys, user: str) -> Iterator[Answer]:
    """Yield the answers of a record of any kind, by the keys that are given."""
    task, annotator, label = (key or name for key, name in zip(keys, Keys._fields, strict=True))
    parent, each, label_below = label.rpartition("[].")
    if not each:
        yield vote(value_at(record, task), value_at(record, annotator), value_at(record, label))
        return
    for item in value_at(record, parent) or ():

        def found(path: str, item: Any = item) -> Any:
            inside = path.startswith(f"{parent}[].")
            return value_at(*(item, path[len(parent) + 3 :]) if inside else (record, path))

        yield vote(found(task), found(annotator), value_at(item, label_below))


FORMS: dict[str, Callable[[Record, Keys, str], Iterator[Answer]]] = {
    "label-studio": label_studio,
    "label-studio-min": label_studio_min,
    "argilla": argilla,
    "doccano": doccano,
    "prodigy": prodigy,
    "records": any_records,
}


def form_of(record: Record) -> str:
    """Return which tool wrote a record; "records" if none of those known did."""
    annotations = record.get("annotations", record.get("completions"))
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    if isinstance(first, Mapping) and "result" in first:
        return "label-studio"
    if isinstance(annotations, list) and {"data", "predictions"} & set(record):
        return "label-studio"
    if {"annotation_id", "annotator"} <= set(record):
        return "label-studio-min"
    if "responses" in record or any(key.endswith(".responses") for key in record):
        return "argilla"
    if "answer" in record and {"_input_hash", "_task_hash"} & set(record):
        return "prodigy"
    labels = record.get("label")
    if {"id", "text"} <= set(record) and (isinstance(labels, list) or "annotations" in record):
        return "doccano"
    return "records"


# --- tables -----------------------------------------------------------------------------------

TOLOKA, MTURK = "toloka", "mturk"
TABLE_FORMS = (TOLOKA, MTURK)
# The state of an answer in each kind of table, and states of answers that are no votes.
STATES = {
    TOLOKA: ("ASSIGNMENT:status", {"SKIPPED": SKIPPED, "EXPIRED": SKIPPED, "REJECTED": REJECTED}),
    MTURK: ("AssignmentStatus", {"Rejected": REJECTED}),
}
# Columns of a task's inputs, of its answers, of its own id and of its worker.
TABLES = {
    TOLOKA: ("INPUT:", "OUTPUT:", "ASSIGNMENT:task_id", "ASSIGNMENT:worker_id"),
    MTURK: ("Input.", "Answer.", "HITId", "WorkerId"),
}
# Amazon's newer elements for forms put all answers into one cell.
ALL_ANSWERS = "Answer.taskAnswers"


def table_form(names: Collection[str]) -> str | None:
    """Return which tool wrote a table, by the names of its columns."""
    return next(
        (form for form, (*_, task, worker) in TABLES.items() if {task, worker} <= set(names)), None
    )


class TableKeys(NamedTuple):
    """The columns of a tool's table that hold votes, and an answer within a cell of several."""

    columns: tuple[str, ...]
    question: str | None


def table_keys(form: str, keys: Keys, names: Sequence[str]) -> TableKeys:
    """Return the columns of a tool's table: task, annotator, label, and the state if it is there.

    The task is the only input column, or else the tool's own id.
    """
    inputs, answers, own_id, worker = TABLES[form]
    given = [name for name in names if name.startswith(inputs)]
    task = keys.task or (given[0] if len(given) == 1 else own_id)
    label, question = keys.label, None
    if ALL_ANSWERS in names and label not in names:
        label, question = ALL_ANSWERS, label
    elif label is None:
        label = only_question(form, None, [name for name in names if name.startswith(answers)])
    columns = (task, keys.annotator or worker, label or f"{answers}label")
    state = STATES[form][0]
    return TableKeys((*columns, state) if state in names else columns, question)


def answer_in_cell(cell: Any, question: str | None) -> Any:
    """Return the answer to a question among all that one cell holds as JSON."""
    answers = cell[0] if isinstance(cell, list) and cell else cell
    if not isinstance(answers, Mapping):
        return None
    asked = only_question("Mechanical Turk", question, answers)
    answer = answers.get(asked) if asked is not None else None
    if isinstance(answer, Mapping):
        if "label" in answer:
            return answer["label"]
        return [name for name, chosen in answer.items() if is_chosen(chosen)]
    return answer


def is_chosen(value: Any) -> bool:
    """Return whether a radio button or a checkbox is set."""
    return value.get("on") is True if isinstance(value, Mapping) else value is True
