"""What an Amazon DocumentDB records changes of: its streams are off until they are turned on for a scope."""

from __future__ import annotations

import json
from typing import Any, Final

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from stores.errors import PermanentError
from stores.mongodb.answer_codes import TRANSIENT_CODES

STREAM_OFF: Final = "E-SRC-STREAM-OFF"
DEFAULT_WINDOW_S: Final = 10_800.0
"""How long the service keeps changes unless its parameter change_stream_log_retention_duration says otherwise."""
OFF: Final = "the source records no changes of this database, because its change streams are off"
"""What is said of a database whose changes are not recorded."""
LONGEST_WINDOW_S: Final = 604_800.0
"""How long it keeps changes at the most."""
_IN_TEXT = "modifyChangeStreams"
"""What the service's text names where streams are off: it has no code of its own for that."""


def enabling(database: str) -> str:
    """Return the command by which an administrator turns the streams of all the database's collections on."""
    return (
        f'db.adminCommand({{modifyChangeStreams: 1, database: {json.dumps(database)}, collection: "", enable: true}})'
    )


def says_off(error: OperationFailure) -> bool:
    """Return whether a stream was refused because streams are off."""
    return _IN_TEXT in str(error)


def stream_off(database: str) -> PermanentError:
    """Return the error of a database whose changes are not recorded."""
    return PermanentError(
        STREAM_OFF,
        f"the changes of {database}: {OFF}; turn them on as an administrator: {enabling(database)}",
    )


def is_recorded(client: MongoClient[dict[str, Any]], database: str) -> bool | None:
    """Return whether the changes of all the database's collections are recorded; None where this user may not ask.

    A stream of a database needs a scope that holds all of it. Raises pymongo's errors of a source that is away.
    """
    try:
        with client.admin.aggregate([{"$listChangeStreams": 1}]) as scopes:
            return any(scope["database"] in ("", database) and not scope["collection"] for scope in scopes)
    except OperationFailure as error:
        if error.code in TRANSIENT_CODES:
            raise
        return None
