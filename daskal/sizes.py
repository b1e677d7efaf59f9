"""Sizes in bytes, as people write and read them."""

from __future__ import annotations

import math

from daskal.errors import InputError

UNITS = {
    unit: factor
    for power, letter in enumerate("KMGTP", start=1)
    for unit, factor in ((f"{letter}B", 1000**power), (f"{letter}IB", 1024**power))
} | {"": 1, "B": 1}


def parse_memory(value: int | float | str | None) -> int | None:
    """Bytes of a memory limit: a number of them, or text such as ``"2GiB"``."""
    if value is None:
        return None
    number: float
    unit = ""
    if isinstance(value, str):
        text = value.strip().upper().replace(" ", "")
        digits = text.rstrip("BIKMGTP")
        unit = text[len(digits) :]
        try:
            number = float(digits)
        except ValueError:
            number = math.nan
    else:
        number = float(value)
    size = number * UNITS.get(unit, math.nan)
    if not (math.isfinite(size) and size > 0):
        raise InputError(
            f"memory_limit: expected a positive number of bytes or text like '2GiB', got {value!r}."
        )
    return int(size)


def format_bytes(size: float) -> str:
    """A size for people."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
