"""Which storage errors are tried again, how often, and how errors of several layers are read."""

from __future__ import annotations

import errno
import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from daskal.errors import BlockError
from daskal.inputs.readers import read_part
from daskal.storage import retries
from daskal.storage.retries import is_transient, with_retries


def answer(status: int, code: str = "") -> ClientError:
    response: Any = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
    return ClientError(response, "GetObject")


def caused_by(cause: Exception) -> Exception:
    error = OSError(errno.EIO, "something")
    error.__cause__ = cause
    return error


TRANSIENT = [
    TimeoutError(),
    ConnectionResetError(),
    BrokenPipeError(),
    OSError(errno.EBUSY, "SlowDown"),
    OSError(errno.ESTALE, "stale file handle"),
    answer(503, "SlowDown"),
    answer(500, "InternalError"),
    answer(429),
    answer(400, "RequestTimeout"),
    EndpointConnectionError(endpoint_url="http://store"),
    ReadTimeoutError(endpoint_url="http://store"),
    caused_by(answer(502)),
]
PERMANENT = [
    FileNotFoundError(),
    PermissionError(),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "quota"),
    OSError(errno.EROFS, "read-only"),
    answer(403, "AccessDenied"),
    answer(404, "NoSuchKey"),
    ValueError("bad chunk"),
    RuntimeError("zstd"),
    caused_by(answer(403)),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize("error", PERMANENT, ids=repr)
def test_permanent(error: Exception) -> None:
    assert not is_transient(error)


class Flaky:
    """Fails so many times, then gives its value."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return "value"


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would be waited, without waiting."""
    found: list[float] = []
    monkeypatch.setattr(retries.time, "sleep", found.append)
    return found


def test_transient_errors_are_tried_again_with_backoff(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    operation = Flaky(6, TimeoutError("slow"))
    with caplog.at_level(logging.WARNING, "daskal"):
        assert with_retries(operation, "reading") == "value"
    assert operation.calls == 7
    for wait, middle in zip(waits, (0.25, 0.5, 1, 2, 4, 8), strict=True):
        assert 0.75 * middle <= wait <= 1.25 * middle
    assert caplog.messages[0].startswith("reading: TimeoutError: slow; attempt 1 of 7")


def test_transient_errors_are_raised_in_the_end(waits: list[float]) -> None:
    operation = Flaky(100, TimeoutError("slow"))
    with pytest.raises(TimeoutError, match="slow"):
        with_retries(operation, "reading")
    assert operation.calls == 7


def test_permanent_errors_are_raised_at_once(waits: list[float]) -> None:
    operation = Flaky(1, PermissionError("no"))
    with pytest.raises(PermissionError, match="no"):
        with_retries(operation, "reading")
    assert (operation.calls, waits) == (1, [])


class FlakyArray:
    """As much of a Zarr array as a reader needs."""

    path = "probs"
    store_path = "s3://bucket/probs"
    store = None

    def __init__(self, failures: int, error: Exception) -> None:
        self.flaky = Flaky(failures, error)

    def __getitem__(self, place: Any) -> Any:
        return self.flaky()


def test_reads_are_tried_again_and_name_their_rows(waits: list[float]) -> None:
    array = FlakyArray(2, TimeoutError())
    assert read_part("pred_probs", "rows", array, slice(10, 20)) == "value"
    assert array.flaky.calls == 3
    array = FlakyArray(1, PermissionError("denied"))
    said = r"pred_probs: rows 10 to 20 of s3://bucket/probs cannot be read: PermissionError: denied"
    with pytest.raises(BlockError, match=said):
        read_part("pred_probs", "rows", array, slice(10, 20))
    assert array.flaky.calls == 1
