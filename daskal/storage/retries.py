"""Transient errors of storage: how to recognize them, and retries."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from daskal.errors import StorageError
from daskal.storage.redaction import explain, showable, without_secrets

logger = logging.getLogger("daskal")

Result = TypeVar("Result")

# Waits of about 0.25, 0.5, 1, 2, 4 and 8 seconds: a quarter of a minute in all. Clients of object
# stores have tried a few times themselves before they report an error.
ATTEMPTS = 7
FIRST_WAIT = 0.25

TRANSIENT_ERRNOS = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EINTR,
    errno.ENETDOWN,
    errno.ENETRESET,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.ESTALE,
    errno.ETIMEDOUT,
    # What s3fs calls an internal error of the endpoint.
    getattr(errno, "EREMOTEIO", errno.ETIMEDOUT),
}
TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
TRANSIENT_CODES = {
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
# Errors of the HTTP clients behind fsspec, by name: none of them is a dependency.
TRANSIENT_NAMES = {
    "ClientConnectionError",
    "ClientConnectorError",
    "ClientOSError",
    "ClientPayloadError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "EndpointConnectionError",
    "FSTimeoutError",
    "HTTPClientError",
    "IncompleteRead",
    "IncompleteReadError",
    "ReadTimeoutError",
    "ResponseStreamingError",
    "ServerDisconnectedError",
}


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def http_status(error: BaseException) -> tuple[int | None, str | None]:
    """Return the status and the code of an endpoint's answer, where the error carries one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return (
            response.get("ResponseMetadata", {}).get("HTTPStatusCode"),
            response.get("Error", {}).get("Code"),
        )
    status = getattr(error, "status", None)
    return (status if isinstance(status, int) else None), None


def is_busy(error: BaseException) -> bool:
    """Return whether the endpoint answered that it is busy."""
    answers = [http_status(found) for found in causes(error)]
    return any(status in TRANSIENT_STATUS or code in TRANSIENT_CODES for status, code in answers)


def is_transient(error: BaseException) -> bool:
    """Return whether the same request is likely to succeed in a moment."""
    if is_busy(error):
        return True
    for found in causes(error):
        names = {kind.__name__ for kind in type(found).__mro__}
        if names & TRANSIENT_NAMES or isinstance(found, TimeoutError | ConnectionError):
            return True
        if isinstance(found, OSError) and found.errno in TRANSIENT_ERRNOS:
            return True
    return False


def with_retries(
    operation: Callable[[], Result], what: str, options: Mapping[str, Any] | None = None
) -> Result:
    """Return the result of the operation, retried while its error is transient.

    ``what`` names the operation in the log, which shows no secret of the storage ``options``.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return operation()
        except Exception as error:
            if not is_transient(error):
                raise
            # Random waits: workers that were refused together must not come back together.
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            logger.warning(
                "%s: %s; attempt %d of %d, next one in %.1f s",
                without_secrets(what, options),
                explain(error, options),
                attempt,
                ATTEMPTS,
                wait,
            )
            time.sleep(wait)
    return operation()


def attempt(
    operation: Callable[[], Result], what: str, options: Mapping[str, Any] | None = None
) -> Result:
    """Return the result of the operation, retried; raise its error as a :class:`StorageError`.

    ``what`` says in the error what cannot be done.
    """
    try:
        return with_retries(operation, what, options)
    except Exception as error:
        what = without_secrets(what, options)
        raise StorageError(f"{what}: {explain(error, options)}") from showable(error, options)
