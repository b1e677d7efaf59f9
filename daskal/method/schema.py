"""Estimates and aggregates as JSON: canonical text, and the refusal of text that is none."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from daskal.errors import EstimateError, InputError
from daskal.method.temperature import TEMPERATURE_GRID
from daskal.method.values import Floats
from daskal.options import ON_INVALID, Options, check_options, shown

SCHEMA = "daskal.Estimate/1"
DIGEST = "sha256"
# Enough for some ten million annotators; longer text is refused before it fills the memory.
MAX_CHARACTERS = 2**30

# Written only where it is true: the text of all other estimates is as it was without it.
IF_TRUE = "columns_moved"

Plain = Mapping[str, Any]


class Kind(NamedTuple):
    """What a text holds: its schema, what it is called, its class, and how to make it anew."""

    schema: str
    noun: str
    title: str
    again: str
    check: Callable[[Plain], None]


# --- writing ----------------------------------------------------------------------------------


def as_plain(value: Any) -> Any:
    """Return a field as JSON holds it: arrays as lists, NaN as null."""
    if isinstance(value, np.ndarray):
        return as_plain(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_plain(item) for name, item in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, np.generic):
        return as_plain(value.item())
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def as_floats(values: Any) -> Floats:
    """Return numbers and nulls as float64."""
    return np.array(values, dtype=np.float64)


def canonical(content: Plain) -> str:
    """Return the canonical text of some content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Plain) -> str:
    """Return the checksum of an estimate's content."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def write(fields: Mapping[str, Any], schema: str = SCHEMA) -> str:
    """Return the canonical text of an estimate's fields, with its checksum."""
    kept = {name: value for name, value in fields.items() if name != IF_TRUE or value}
    content = {"schema": schema, **{name: as_plain(value) for name, value in kept.items()}}
    return canonical({**content, DIGEST: digest(content)})


# --- reading ----------------------------------------------------------------------------------


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{name} is no JSON")


def finite_float(text: str) -> float:
    """Return a number written with a point or an exponent; refuse one beyond all floats."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shown(text)} is beyond all numbers")
    return number


def read(text: Any, kind: Kind | None = None) -> Plain:
    """Return the content of an estimate's text, or another kind's, every part of it checked."""
    kind = ESTIMATE if kind is None else kind
    if not isinstance(text, str | bytes) or len(text) > MAX_CHARACTERS:
        got = f"{len(text):,} characters" if isinstance(text, str | bytes) else type(text).__name__
        raise EstimateError(
            f"expected the JSON text of {kind.noun}, got {got}. Pass what {kind.title}.to_json() "
            "returned."
        )
    try:
        content = json.loads(text, parse_constant=refuse_constant, parse_float=finite_float)
    except (ValueError, RecursionError) as error:
        path = "Of a file, pass what is in it: pathlib.Path(path).read_text()."
        hint = path if len(text) < 1000 else "It may have been cut."
        raise EstimateError(
            f"expected the JSON text of {kind.noun}, got {shown(text)}, which is none ({error}). "
            f"{hint}"
        ) from error
    if not isinstance(content, Mapping) or content.get("schema") != kind.schema:
        seen = content.get("schema") if isinstance(content, Mapping) else type(content).__name__
        raise EstimateError(
            f"expected {kind.noun} of schema {kind.schema!r}, got {shown(seen)}. "
            f"{kind.again[:1].upper()}{kind.again[1:]} with this version of daskal."
        )
    parts = {name: part for name, part in content.items() if name != DIGEST}
    if content.get(DIGEST) != digest(parts):
        raise EstimateError(
            f"expected {kind.noun} as it was written, got one that was cut or changed since: its "
            f"checksum is another. Pass the whole text that {kind.title}.to_json() returned, or "
            f"{kind.again}."
        )
    try:
        kind.check(parts)
    except (ArithmeticError, AttributeError, LookupError, TypeError, InputError) as error:
        refuse(f"a part is missing or of another kind ({error!r})")
    return parts


def refuse(fault: str) -> NoReturn:
    """Refuse an estimate that contradicts itself."""
    raise EstimateError(
        f"expected a consistent estimate, got one that was made or changed by hand: {fault}. "
        "Estimate again."
    )


def is_count(value: Any) -> bool:
    """Return whether a value is a count: a whole number of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_positive(value: Any) -> bool:
    """Return whether a value is a number above 0."""
    return is_finite(value) and value > 0


def is_share(value: Any) -> bool:
    """Return whether a value is a number from 0 to 1."""
    return is_finite(value) and 0 <= value <= 1


def check_list(
    name: str, values: Any, length: int, is_good: Callable[[Any], bool], nulls: Sequence[bool] = ()
) -> None:
    """Refuse a list of another length, or with a bad value; ``nulls`` says where null may be."""
    if not isinstance(values, list) or len(values) != length:
        got = len(values) if isinstance(values, list) else type(values).__name__
        refuse(f"{name} has {got} values, not {length}")
    for place, value in enumerate(values):
        expects_null = bool(nulls) and nulls[place]
        if (value is not None) if expects_null else not is_good(value):
            refuse(f"{name}[{place}] is {shown(value)}")


def check(content: Plain) -> None:
    """Refuse content whose parts are out of range or contradict each other."""
    counts = [content[name] for name in ("num_multiple", "num_labeled", "num_examples")]
    votes, class_counts = content["votes"], content["class_counts"]
    check_list("counts", counts, 3, is_count)
    check_list("votes", votes, len(votes), is_count)
    check_list("class_counts", class_counts, len(class_counts), is_count)
    if not counts[0] <= counts[1] <= counts[2] or counts[1] < 1:
        refuse(f"{counts[2]} examples with {counts[1]} labeled, {counts[0]} more than once")
    if len(class_counts) < 2:
        refuse("it has fewer than 2 classes")
    if sum(votes) != sum(class_counts) or sum(votes) < counts[0] + counts[1]:
        refuse(f"votes sum to {sum(votes)}, class_counts to {sum(class_counts)}")
    num_models = len(content["final"]["model_weight"])
    if not isinstance(content["ensemble"], bool) or num_models < 1:
        refuse(f"it has {num_models} models")
    if num_models > 1 and not content["ensemble"]:
        refuse(f"it has {num_models} models and is no ensemble")
    silent = [num == 0 for num in votes]
    single = counts[0] == 0
    check_options(Options(**content["options"]), ON_INVALID[0])
    check_temperatures(content, num_models)
    check_list("agreement", content["agreement"], len(votes), is_share, silent)
    check_list("tie_agreement", content["tie_agreement"], len(votes), is_share, silent)
    for name in ("majority", "final"):
        check_weights(name, content[name], num_models, silent, single=single)
    check_names(content, len(votes), len(class_counts))
    if content.get(IF_TRUE, True) is not True:
        refuse(f"{IF_TRUE} is {shown(content[IF_TRUE])}")


def check_temperatures(content: Plain, num_models: int) -> None:
    """Refuse impossible temperatures and losses."""
    if content["temperatures"] is not None:
        check_list("temperatures", content["temperatures"], num_models, is_positive)
    if content["losses"] is not None:
        check_list("losses", content["losses"], num_models, lambda curve: isinstance(curve, list))
        for model, curve in enumerate(content["losses"]):
            check_list(
                f"losses[{model}]",
                curve,
                len(TEMPERATURE_GRID),
                lambda loss: loss is None or (is_finite(loss) and loss >= 0),
            )


def check_weights(
    name: str, weights: Plain, num_models: int, silent: Sequence[bool], *, single: bool
) -> None:
    """Refuse weights below 0, and NaN where it is not allowed."""
    for part in ("consensus_likelihood", "class_error"):
        value = weights[part]
        if (value is not None) if single else not is_share(value):
            refuse(f"{name}.{part} is {shown(value)}")
    no_error = [single] * num_models
    check_list(f"{name}.model_error", weights["model_error"], num_models, is_share, no_error)
    check_list(f"{name}.model_weight", weights["model_weight"], num_models, is_positive)
    check_list(
        f"{name}.annotator_weight",
        weights["annotator_weight"],
        len(silent),
        lambda weight: is_positive(weight) and weight <= 1,
        silent,
    )


def check_names(content: Plain, num_annotators: int, num_classes: int) -> None:
    """Refuse ids and names that are not unique, or not as many as expected."""
    ids, names, flags = (content[name] for name in ("annotator_ids", "class_names", "flags"))
    if ids is not None:
        check_list("annotator_ids", ids, num_annotators, lambda found: isinstance(found, int | str))
        if len(set(ids)) < len(ids):
            refuse("two annotators have one id")
    if names is not None:
        check_list("class_names", names, num_classes, lambda found: isinstance(found, str))
    check_list("flags", flags, len(flags), lambda found: isinstance(found, str))


ESTIMATE = Kind(SCHEMA, "an estimate", "Estimate", "estimate again", check)
