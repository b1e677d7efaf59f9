"""Storage errors that pass by themselves: what they look like, and trying again."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from daskal.storage.redaction import explain

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
    # s3fs's word for an internal error of the endpoint.
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
    """The error and what it was raised from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def http_status(error: BaseException) -> tuple[int | None, str | None]:
    """Status and code of an endpoint's answer, where the error carries one."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return (
            response.get("ResponseMetadata", {}).get("HTTPStatusCode"),
            response.get("Error", {}).get("Code"),
        )
    status = getattr(error, "status", None)
    return (status if isinstance(status, int) else None), None


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed in a moment."""
    for found in causes(error):
        status, code = http_status(found)
        if status in TRANSIENT_STATUS or code in TRANSIENT_CODES:
            return True
        names = {kind.__name__ for kind in type(found).__mro__}
        if names & TRANSIENT_NAMES or isinstance(found, TimeoutError | ConnectionError):
            return True
        if isinstance(found, OSError) and found.errno in TRANSIENT_ERRNOS:
            return True
    return False


def with_retries(operation: Callable[[], Result], what: str) -> Result:
    """Return what the operation returns, tried again while its error is transient.

    ``what`` names the operation in the log.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return operation()
        except Exception as error:
            if not is_transient(error):
                raise
            # Workers that were refused together must not come back together.
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            logger.warning(
                "%s: %s; attempt %d of %d, next one in %.1f s",
                what,
                explain(error),
                attempt,
                ATTEMPTS,
                wait,
            )
            time.sleep(wait)
    return operation()
