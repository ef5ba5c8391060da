"""The errors of a stream of changes, by who must act."""

from __future__ import annotations

from typing import Final

from pymongo.errors import OperationFailure, PyMongoError

from stores.errors import OfframpError, PermanentError, TransientError
from stores.mongodb.answer_codes import AUTH_CODES
from stores.mongodb.client import Client
from stores.mongodb.errors import refused_access, translate
from stores.mongodb.stream_scopes import says_off, stream_off
from stores.mongodb.times import as_text

HISTORY_LOST: Final = "E-SRC-HISTORY-LOST"
AGAIN: Final = "start over each route of this database: offramp backfill PLAN --restart --route NAME"
_LOST_CODES = frozenset((136, 286))
_TOKEN_CODES = frozenset((9, 260, 280))
"""The token is none, is of a notification that nothing can be resumed after, or is not found."""
_TOO_LARGE_CODE, _STANDALONE_CODE, _RETRY_CODE = 10334, 40573, 234


class TokenRefused(PermanentError):
    """The stream cannot be resumed by its token; it may be by its time."""


def translate_stream(database: str, error: PyMongoError, client: Client) -> OfframpError:
    """Return the error of reading a database's changes."""
    what = f"the changes of {database}"
    if not isinstance(error, OperationFailure):
        return translate(what, error, client)
    code = error.code or 0
    if says_off(error):  # Before its code, which an overtaken stream has too.
        return stream_off(database)
    if code in _LOST_CODES:
        return PermanentError(
            HISTORY_LOST,
            f"{what}: the source no longer has the changes since the position ({code}); they are lost: {AGAIN}",
        )
    if code in _TOKEN_CODES:
        return TokenRefused("E-SRC-REFUSED", f"{what}: the source does not know the resume token ({code})")
    if code == _STANDALONE_CODE:
        return PermanentError("E-SRC-STANDALONE", f"{what}: the source is a standalone server, which has no changes")
    if code == _TOO_LARGE_CODE:
        return PermanentError(
            "E-SRC-EVENT-SIZE",
            f"{what}: a change is larger than the 16 MB that a source may send, and blocks those after it: {AGAIN}",
        )
    if code in AUTH_CODES:
        return PermanentError("E-SRC-AUTH", f"{what}: {refused_access(error)}")
    if code == _RETRY_CODE or error.has_error_label("ResumableChangeStreamError"):
        return TransientError("E-SRC-AWAY", f"{what}: the source interrupted the stream ({code})")
    return translate(what, error, client)


def lost(time: int, why: str) -> PermanentError:
    """Return the error of a position that the source's history does not reach back to."""
    return PermanentError(
        HISTORY_LOST,
        f"the stream's position {as_text(time)} is older than the oldest change that the source has ({why}): the"
        f" changes in between are lost; {AGAIN}",
    )
