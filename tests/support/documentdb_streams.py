"""Change streams as an Amazon DocumentDB has them: turned on by scope, with tokens of their own, and slow to begin."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import Timestamp

KINDS = frozenset(("insert", "update", "replace", "delete", "drop"))
"""What a stream tells; a rename, a creation and an index are not among it."""
_TOKEN = "01"
_NOT_ENABLED = "modifyChangeStreams has not been run for this collection/database/cluster"
LOST, MALFORMED = 136, 9


class StreamRefused(Exception):
    """A stream that is not opened, with the code and the text of the error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass
class Scope:
    """After and until when the changes of a database, a collection, or ("") of all are kept."""

    database: str
    collection: str
    since: int
    until: int | None = None

    def covers(self, database: str, collection: str) -> bool:
        """Return whether the scope holds all of a collection, or with "" of a database."""
        return self.database in ("", database) and self.collection in ("", collection)


@dataclass
class Streams:
    """The streams of one server."""

    post_batch_token: bool
    empty_answers: int = 4
    """So many answers of a new stream say that there is nothing, without a token, whatever there is."""
    not_enabled_code: int = LOST
    stalled: threading.Event = field(default_factory=threading.Event)
    """While it is set, a long write runs, and streams say that there is nothing."""
    _scopes: list[Scope] = field(default_factory=list)
    _silent: dict[int, int] = field(default_factory=dict)
    """The cursors of streams, each with how many empty answers are left."""
    _expired: int = 0
    """Nothing is kept of what was before this time."""
    _times: dict[str, int] = field(default_factory=dict)
    """The time of each token that was given."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def modify(self, database: str, collection: str, now: int, *, enable: bool) -> None:
        """From now on the changes of the scope are kept, or are not."""
        with self._lock:
            for scope in self._scopes:
                if (scope.database, scope.collection, scope.until) == (database, collection, None):
                    scope.until = now
            if enable:
                self._scopes.append(Scope(database, collection, now))

    def listed(self) -> list[Mapping[str, Any]]:
        """Return the scopes as $listChangeStreams does."""
        with self._lock:
            open_now = (scope for scope in self._scopes if scope.until is None)
            return [{"database": scope.database, "collection": scope.collection} for scope in open_now]

    def expire(self, now: int) -> None:
        """What was before is not kept any more."""
        self._expired = now

    def opening(self, database: str, collection: str, stream: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the stage as the server behind takes it; raises StreamRefused."""
        with self._lock:
            # A stream of a database needs a scope that holds all of it.
            if not any(scope.covers(database, collection) for scope in self._scopes if scope.until is None):
                raise StreamRefused(self.not_enabled_code, _NOT_ENABLED)
            token = (stream.get("resumeAfter") or {}).get("_data")
            since = stream.get("startAtOperationTime")
            if "resumeAfter" in stream:
                if not isinstance(token, str) or not token.startswith(_TOKEN):
                    raise StreamRefused(MALFORMED, "Resume token is malformed")
                if self._times.get(token, self._expired) < self._expired:
                    raise StreamRefused(LOST, "CappedPositionLost: the resume token is no longer in the log")
                return {**stream, "resumeAfter": {"_data": token.removeprefix(_TOKEN)}}
            if since is not None and since.time << 32 | since.inc < self._expired:
                raise StreamRefused(LOST, "CappedPositionLost: the time is no longer in the log")
            return stream

    def opened(self, cursor: int) -> None:
        """Remember that the cursor is one of a stream."""
        with self._lock:
            self._silent[cursor] = self.empty_answers

    def is_stream(self, cursor: int) -> bool:
        """Return whether the cursor is one of a stream."""
        with self._lock:
            return cursor in self._silent

    def is_silent(self, cursor: int) -> bool:
        """Return whether the cursor's next answer says that there is nothing, whatever there is; counts that answer."""
        with self._lock:
            left = self._silent.get(cursor, 0)
            if left:
                self._silent[cursor] = left - 1
            return bool(left) or (cursor in self._silent and self.stalled.is_set())

    def shown(self, batch: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the events that the service gives, with tokens as it makes them."""
        with self._lock:
            return [{**event, "_id": self._token(event["_id"], _time(event))} for event in batch if self._tells(event)]

    def token_after(self, token: Mapping[str, Any], now: int) -> Mapping[str, Any] | None:
        """Return the token of where an answer ends; None where the version gives none."""
        with self._lock:
            return self._token(token, now) if self.post_batch_token else None

    def _token(self, token: Mapping[str, Any], time: int) -> Mapping[str, Any]:
        data = _TOKEN + token["_data"]
        self._times.setdefault(data, time)
        return {"_data": data}

    def _tells(self, event: Mapping[str, Any]) -> bool:
        if event.get("operationType", "insert") not in KINDS:
            return False
        time, ns = _time(event), event.get("ns") or {}
        return any(
            scope.covers(ns.get("db", ""), ns.get("coll", ""))
            and scope.since < time
            and (scope.until is None or time <= scope.until)
            for scope in self._scopes
        )


def _time(event: Mapping[str, Any]) -> int:
    at = event.get("clusterTime")
    return at.time << 32 | at.inc if isinstance(at, Timestamp) else 0
