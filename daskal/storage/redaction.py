"""Texts to show or to store, without the secrets that URLs and storage options hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_SECRET_NAME = re.compile("key|secret|token|pass|cred|auth|sas|connection", re.IGNORECASE)


def redacted(text: str) -> str:
    """Return a text without the users, passwords and signatures in its URLs."""
    text = re.sub(r"://[^/@\s'\"]*@", "://...@", text)
    # File systems name a bucket without its scheme, and treat user and password as part of it.
    text = re.sub(r"(?<![\w.])[^/:@\s'\"()]+:[^/@\s'\"()]+@", "...@", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1?...", text)


def secrets_of(options: Any, name: str = "") -> Iterator[str]:
    """Return the values among storage options that must not be shown."""
    if isinstance(options, Mapping):
        for key, value in options.items():
            yield from secrets_of(value, str(key))
    elif isinstance(options, str) and len(options) > 3 and _SECRET_NAME.search(name):
        yield options


def explain(error: BaseException, options: Mapping[str, Any] | None = None) -> str:
    """Return the kind and the text of an error, without secrets."""
    # obstore has the same once more behind these words, at length.
    text = str(error).partition("\n\nDebug source:")[0]
    text = without_secrets(text, options).strip()
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def without_secrets(text: str, options: Mapping[str, Any] | None = None) -> str:
    """Return a text without secrets, including those among the storage options."""
    text = redacted(text)
    for secret in secrets_of(options):
        text = text.replace(secret, "...")
    return text


def showable(
    error: BaseException, options: Mapping[str, Any] | None = None
) -> BaseException | None:
    """Return the error to raise another one from, None if its traceback would show a secret."""
    found: BaseException | None = error
    while found is not None:
        text = str(found)
        if without_secrets(text, options) != text:
            return None
        found = found.__cause__ or found.__context__
    return error
