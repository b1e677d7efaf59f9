"""The choices a caller makes, and the refusal of those that make no sense."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from daskal.errors import InputError

Storage = Mapping[str, Any] | None

CONVENTIONS = ("paper", "cleanlab")
CONSENSUS_METHODS = ("best_quality", "majority_vote")
QUALITY_METHODS = ("crowdlab", "agreement")
SCORE_METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
# How rows at fault are treated: they are an error, or they are left out and score NaN. No public
# function takes the third choice, "keep", which is for daskal.multiannotator alone: their
# probabilities are used as they are, as cleanlab uses them; labels that are no class are left out.
ON_INVALID = ("raise", "nan")
# What becomes of the scores of an example's classes, where it may have several.
REDUCE = ("mean", "min")


class Options(NamedTuple):
    """The choices with which an estimate is made."""

    convention: str
    temperature: str | float | None
    consensus_method: str
    quality_method: str
    random_state: int


def is_number(value: Any) -> bool:
    """Return whether a value is one real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Return whether a value is one whole number, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_flag(name: str, value: Any) -> None:
    """Refuse a value that is not True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name}: expected True or False, got {shown(value)}.")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name}: expected {' or '.join(map(repr, choices))}, got {value!r}.")


def check_options(options: Options, on_invalid: str) -> Options:
    """Return the options as plain Python values; refuse those that make no sense."""
    check_choice("on_invalid", on_invalid, ON_INVALID)
    check_choice("convention", options.convention, CONVENTIONS)
    check_choice("consensus_method", options.consensus_method, CONSENSUS_METHODS)
    check_choice("quality_method", options.quality_method, QUALITY_METHODS)
    return options._replace(
        temperature=checked_temperature(options.temperature),
        random_state=checked_seed(options.random_state),
    )


def checked_seed(given: Any) -> int:
    """Return the key of what is drawn, such as tied classes, as a plain Python value."""
    if not (is_whole(given) and given >= 0):
        raise InputError(
            f"random_state: expected a whole number of at least 0, got {shown(given)}."
        )
    return int(given)


def check_gold(use_gold: Any, gold: Any) -> None:
    """Refuse to hold known classes fixed where there are none."""
    if not isinstance(use_gold, bool):
        raise InputError(f"use_gold: expected True or False, got {shown(use_gold)}.")
    if use_gold and gold is None:
        raise InputError("use_gold: expected known labels, gold=, beside it, got none.")


def checked_temperature(given: Any) -> str | float | None:
    """Return the temperature to use, or how to find it."""
    if given is None or (isinstance(given, str) and given == "fit"):
        return given
    try:
        temperature = float(given) if is_number(given) else math.nan
    except OverflowError:
        temperature = math.inf
    # The smallest numbers have no finite reciprocal.
    if not (0 < temperature < math.inf and math.isfinite(1 / temperature)):
        raise InputError(
            "temperature: expected 'fit', a positive number, or None for the probabilities as "
            f"they are, got {shown(given)}."
        )
    return temperature


def check_size(size: Any, max_relabel_fraction: Any = None, *, name: str = "size") -> None:
    """Refuse sizes and fractions that make no sense."""
    if not (is_whole(size) and size >= 1):
        raise InputError(f"{name}: expected a whole number of at least 1, got {shown(size)}.")
    if max_relabel_fraction is None:
        return
    if not (is_number(max_relabel_fraction) and 0 <= max_relabel_fraction <= 1):
        raise InputError(
            "max_relabel_fraction: expected a number from 0 to 1, got "
            f"{shown(max_relabel_fraction)}."
        )


def check_storage_options(given: Any) -> None:
    """Refuse storage options that are no mapping; what they hold is never shown."""
    if given is not None and not isinstance(given, Mapping):
        raise InputError(
            "storage_options: expected a mapping of what the file system takes, such as "
            f"{{'anon': True}}, got {type(given).__name__}."
        )


def shown(value: Any) -> str:
    """Return a value as an error shows it, short whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = f"an {type(value).__name__} too large to show"
    return text if len(text) <= 80 else f"{text[:77]}..."
