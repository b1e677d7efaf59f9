"""How to make a result again: in Python, and from a shell."""

from __future__ import annotations

import re
import shlex
from typing import Any

from daskal.report.contents import Contents

OPTION_DEFAULTS = {
    "convention": "paper",
    "temperature": "fit",
    "consensus_method": "best_quality",
    "quality_method": "crowdlab",
    "random_state": 0,
    "on_invalid": "raise",
    "batch_size": 1000,
    "reduce": "mean",
}
VOTES_DEFAULTS = {
    "method": "dawid_skene",
    "max_iterations": 100,
    "tolerance": 1e-5,
    "random_state": 0,
    "use_gold": False,
    "num_classes": None,
    "on_invalid": "raise",
    "batch_size": 1000,
}
# The command line's names of inputs, and of options it can change.
INPUT_FLAGS = {
    "labels": "--labels",
    "votes": "--votes",
    "seen": "--seen",
    "pred_probs": "--pred-probs",
    "pred_probs_unlabeled": "--unlabeled",
    "labeled_ids": "--labeled-ids",
    "unlabeled_ids": "--unlabeled-ids",
    "gold": "--gold",
}
OPTION_FLAGS = {
    "convention": "--convention",
    "batch_size": "--batch-size",
    "on_invalid": "--on-invalid",
    "method": "--method",
    "max_iterations": "--max-iterations",
    "tolerance": "--tolerance",
    "num_classes": "--num-classes",
    "use_gold": "--use-gold",
    "panel": "--panel",
    "id_column": "--id-column",
    "class_columns": "--class-columns",
    "task": "--task",
    "annotator": "--annotator",
    "label": "--label",
    "unknown_tasks": "--unknown-tasks",
    "on_duplicate": "--on-duplicate",
    "multi_label": "--multi-label",
    "reduce": "--reduce",
}
# Inputs that may be votes for several classes, one a line, beside who was asked.
TAGGED = ("labels", "votes")
# How a store describes an input that was an object in memory.
IN_MEMORY = re.compile(r"[\w.]+ of shape \(")


def repeat(contents: Contents) -> dict[str, Any]:
    """Return how to make this result again, in Python and from a shell."""
    return {
        "code": python_code(contents),
        "command": command_line(contents),
        "facts": [
            ("Store", contents.path),
            ("daskal", contents.attrs["version"]),
        ],
    }


def changed_options(contents: Contents) -> dict[str, Any]:
    """Return the options that differ from the defaults."""
    options = contents.attrs["options"]
    defaults = OPTION_DEFAULTS if contents.aggregate is None else VOTES_DEFAULTS
    return {name: value for name, value in options.items() if value != defaults.get(name)}


def python_code(contents: Contents) -> str:
    """Return code that makes this result again."""
    inputs = contents.attrs["inputs"]
    seen = inputs.get("seen")
    lines = [
        f"    {name}={as_tags(value, seen) if name in TAGGED and seen else as_code(value)}"
        for name, value in inputs.items()
        if name != "seen"
    ]
    if contents.estimate_given:
        lines.append("    estimate=estimate,  # estimate.json in the store")
    lines += [f"    {name}={value!r}," for name, value in changed_options(contents).items()]
    lines.append(f"    out={contents.path!r},")
    verb = "run" if contents.aggregate is None else "run_aggregate"
    head, tail = ["import daskal", "", f"run = daskal.{verb}("], [")"]
    if contents.own_batch is None:
        tail.append("run.batch  # the next batch")
    return "\n".join([*head, *lines, *tail])


def as_code(value: Any) -> str:
    """Return an input as an argument; one that was in memory as a name to fill in."""
    values = value if isinstance(value, list) else [value]
    if any(IN_MEMORY.match(str(item)) for item in values):
        return f"...,  # {'; '.join(map(str, values))}"
    return f"{value!r},"


def as_tags(votes: Any, seen: Any) -> str:
    """Return votes and who was asked as an argument."""
    parts = [as_code(part).removesuffix(",") for part in (votes, seen)]
    if any(part.startswith("...") for part in parts):
        shown = " and ".join(part.removeprefix("...,  # ") for part in parts)
        return f"...,  # daskal.Tags of {shown}"
    return f"daskal.Tags({', '.join(parts)}),"


def as_word(value: Any) -> str:
    """Return the value of an option as the command line takes it."""
    return ",".join(value) if isinstance(value, list) else str(value)


def command_line(contents: Contents) -> str | None:
    """Return the command that makes this result, None where none does."""
    inputs, changed = contents.attrs["inputs"], changed_options(contents)
    in_memory = any(
        not isinstance(value, str) or IN_MEMORY.match(value) for value in inputs.values()
    )
    if in_memory or not set(changed) <= set(OPTION_FLAGS):
        return None
    words = ["daskal", "score"]
    if contents.aggregate is not None:
        words = ["daskal", "aggregate", inputs["labels"]]
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
    for name, value in inputs.items():
        words += [INPUT_FLAGS[name], value]
    if contents.estimate_given:
        words += ["--estimate", contents.path]
    for name, value in changed.items():
        words += [OPTION_FLAGS[name]] if value is True else [OPTION_FLAGS[name], as_word(value)]
    return shlex.join([*words, "--out", contents.path])
