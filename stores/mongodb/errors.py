"""The MongoDB driver's errors, translated by who must act."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WaitQueueTimeoutError,
)

from stores.errors import OfframpError, PermanentError, TransientError

# Server answers after which the same read may succeed: a killed cursor or operation, a fail-over, a moved chunk (R108).
_TRANSIENT_CODES = frozenset(
    {6, 7, 43, 63, 64, 89, 91, 133, 134, 150, 175, 189, 202, 237, 262, 290, 317}
    | {9001, 10107, 11600, 11601, 11602, 13388, 13435, 13436}
)
AUTH_CODES = frozenset((13, 18, 8000))


def translated(collection: str) -> AbstractContextManager[None]:
    """The driver's errors of reading the collection come out as this program's own."""
    return translating(lambda error: translate(collection, error))


@contextmanager
def translating(translate: Callable[[PyMongoError], OfframpError]) -> Iterator[None]:
    """The driver's errors come out as the function has them."""
    try:
        yield
    except PyMongoError as error:
        raise translate(error) from error


def translate(what: str, error: PyMongoError) -> OfframpError:
    """Return the error of reading a collection, or what is named, by who must act; what is unknown needs a person."""
    name = type(error).__name__
    if isinstance(error, CursorNotFound | AutoReconnect | ExecutionTimeout | WaitQueueTimeoutError | ConnectionFailure):
        return TransientError("E-SRC-AWAY", f"reading {what!r}: the source does not answer ({name})")
    if isinstance(error, OperationFailure):
        code = error.code or 0
        if code in _TRANSIENT_CODES:
            return TransientError("E-SRC-AWAY", f"reading {what!r}: the source interrupted the read ({code})")
        if code in AUTH_CODES:
            return PermanentError(
                "E-SRC-AUTH",
                f"reading {what!r}: the source's user has no permission (code {code}); give it the role read on this"
                " database",
            )
        known = (error.details or {}).get("codeName", "no name")
        return PermanentError("E-SRC-REFUSED", f"reading {what!r}: the source refused the read ({known}, {code})")
    return PermanentError("E-SRC-FAILED", f"reading {what!r}: {name}")
