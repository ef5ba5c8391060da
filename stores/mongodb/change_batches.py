"""Events of a change stream gathered into batches: each document named once, and what ends the following of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from mappers.documents.decoding import position
from stores.contract.changes import ChangeBatch, StreamPosition, Touched
from stores.errors import PermanentError
from stores.mongodb.configuration import Limits
from stores.mongodb.times import as_int

_DATA = frozenset(("insert", "update", "replace", "delete"))
_HARMLESS = frozenset(
    {"create", "createIndexes", "dropIndexes", "startIndexBuild", "commitIndexBuild", "abortIndexBuild"}
    | {"modify", "refineCollectionShardKey", "endOfTransaction"}
)
"""What leaves every document and every `_id` as it is; any other event that is not of data stops the route (R123)."""
_ENDING = {
    "drop": "was dropped",
    "shardCollection": "was sharded, so its _ids may repeat from now on",
    "reshardCollection": "was resharded into another collection of the same name",
}

Event = Mapping[str, Any]


class ChangeBatchBuilder:
    """What a batch of changes is made of, while it is read."""

    def __init__(self, database: str, followed: Mapping[str, bool], limits: Limits) -> None:
        """Take the followed names, each with whether images of documents from before a change are wanted."""
        self._database = database
        self._followed = followed
        self._limits = limits
        self._touched: dict[tuple[str, bytes], list[bytes]] = {}
        self._halts: dict[str, str] = {}
        self._parts: dict[str, Any] = {}
        self._events = 0
        self._bytes = 0
        self._began: float | None = None
        self.time = 0
        """The cluster time of the last event."""
        self.partial = False
        """Whether the last event has parts still to come."""

    def take(self, raw: RawBSONDocument) -> None:
        """Gather the event, or this part of it; gathering an event twice is gathering it once."""
        if self._began is None:
            self._began = time.monotonic()
        event = self._whole(raw)
        if event is None:
            return
        at = event.get("clusterTime")
        if isinstance(at, Timestamp):
            self.time = as_int(at)
        kind = event["operationType"]
        ns = event.get("ns") or {}
        collection = ns.get("coll", "")
        if kind in _DATA:
            if collection in self._followed and collection not in self._halts:
                self._touch(collection, kind, event)
        elif kind == "rename":
            to = event["to"]
            self.halt(collection, f"was renamed to {to['coll']}")
            if to["db"] == self._database:
                self.halt(to["coll"], f"was replaced by {collection}, renamed to its name")
        elif kind == "dropDatabase" or kind == "invalidate":
            for name in self._followed:
                self.halt(name, "was dropped with its database")
        elif kind not in _HARMLESS:
            self.halt(collection, _ENDING.get(kind, f"had an event of an unknown kind: {kind}"))

    def is_full(self) -> bool:
        """Whether enough is gathered, or for long enough; never in the midst of an event."""
        if self.partial or self._began is None:
            return False
        return (
            bool(self._halts)
            or len(self._touched) >= self._limits.changed_ids
            or self._bytes >= self._limits.changed_bytes
            or time.monotonic() - self._began >= self._limits.changed_s
        )

    def batch(self, at: StreamPosition) -> ChangeBatch:
        """Return what is gathered; nothing of a collection that halts, as reading it would find another or none."""
        touched = [
            Touched(collection, own, before)
            for (collection, own), before in self._touched.items()
            if collection not in self._halts
        ]
        return ChangeBatch(touched, at, self._events, self._halts)

    def _whole(self, raw: RawBSONDocument) -> Event | None:
        """Return the event, put together of its parts if it came in several (R124); None until its last."""
        split = raw.get("splitEvent")
        if split is None and not self.partial:
            return raw
        if split is None or split["fragment"] != self._parts.get("splitEvent", {"fragment": 0})["fragment"] + 1:
            raise PermanentError(
                "E-SRC-STREAM", f"the changes of {self._database}: the parts of a large event arrived out of order"
            )
        self._parts.update(raw.items())
        self.partial = split["fragment"] < split["of"]
        if self.partial:
            return None
        event, self._parts = self._parts, {}
        return event

    def _touch(self, collection: str, kind: str, event: Event) -> None:
        own = position(bytes(event["documentKey"].raw))
        if own is None:
            raise PermanentError(
                "E-SRC-STREAM", f"the changes of {collection}: an event does not name its document's _id"
            )
        self._events += 1
        befores = self._touched.setdefault((collection, own), [])
        if self._followed[collection] and kind != "insert":
            before = event.get("fullDocumentBeforeChange")
            if before is None:
                self.halt(
                    collection,
                    "changed a document whose earlier state was not kept (changeStreamPreAndPostImages is off, or"
                    " the kept state has expired)",
                )
                return
            befores.append(bytes(before.raw))
            self._bytes += len(befores[-1])

    def halt(self, collection: str, why: str) -> None:
        """The collection is followed no further, if it was; the first reason stands."""
        if collection in self._followed:
            self._halts.setdefault(collection, why)
