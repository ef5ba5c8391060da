"""The watch over what a stream of Amazon DocumentDB does not tell: that it was turned off, and that collections moved.

No event tells of a rename, and none comes for what happens while streams are off. So the source is asked now and then
for the scopes of its streams and for the names of its collections. A name that came or went must be explained by the
stream: the first change of a collection explains that it came, its drop that it went. What is not explained may be a
rename, also one over a collection that is followed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import MongoClient

from stores.mongodb.stream_scopes import STREAM_OFF, is_recorded
from stores.mongodb.times import as_int

OFF_MEANWHILE = f"had changes that were not recorded, because the source's change streams were off ({STREAM_OFF})"
"""What is said of a followed collection whose database's streams are off."""


@dataclass(frozen=True, slots=True)
class _Moved:
    """Names that came or went between two looks."""

    after: int
    """The source's time at the look before."""
    before: int
    """The source's time at the look that saw it."""
    came: frozenset[str]
    went: frozenset[str]


class StreamWatch:
    """Looks after one open stream of a database."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str, now: int, every_s: float) -> None:
        """Look for the first time; `now` is the source's time, asked before."""
        self._client = client
        self._database = database
        self._every_s = every_s
        self._names = self._listed()
        self._time = now
        self._looked_at = time.monotonic()
        self._changed: dict[str, int] = {}
        """When each collection had its last change."""
        self._dropped: dict[str, int] = {}
        self._moved: list[_Moved] = []

    def saw(self, event: RawBSONDocument) -> None:
        """The stream gave this event."""
        at = event.get("clusterTime")
        name = (event.get("ns") or {}).get("coll", "")
        times = self._dropped if event["operationType"] == "drop" else self._changed
        if isinstance(at, Timestamp):
            times[name] = as_int(at)

    def is_due(self) -> bool:
        """Return whether it is time to look again."""
        return time.monotonic() - self._looked_at >= self._every_s

    def look(self, reached: int, now: int, followed: Iterable[str]) -> Mapping[str, str]:
        """Return what happened to followed collections that no event tells of; mostly nothing.

        `reached` is the time up to which the stream has given everything, `now` the source's, asked before. Raises
        pymongo's errors.
        """
        self._looked_at = time.monotonic()
        if is_recorded(self._client, self._database) is False:
            return dict.fromkeys(followed, OFF_MEANWHILE)
        names = self._listed()
        if names != self._names:
            self._moved.append(_Moved(self._time, now, names - self._names, self._names - names))
        self._names, self._time = names, now
        known = [moved for moved in self._moved if moved.before <= reached]
        self._moved = [moved for moved in self._moved if moved.before > reached]
        came = sorted({name for moved in known for name in moved.came if self._came_unseen(name, moved)})
        went = sorted({name for moved in known for name in moved.went if self._dropped.get(name, 0) <= moved.after})
        if not came and not went:
            return {}
        what = " and ".join(f"{', '.join(each)} {verb}" for each, verb in ((came, "came"), (went, "went")) if each)
        told = f"of its database were renamed or replaced without an event: {what}"
        return {
            name: "is not there any more, and no event tells why: it may have been renamed"
            if name in went
            else f"may be another one, as collections {told}"
            for name in followed
        }

    def _came_unseen(self, name: str, moved: _Moved) -> bool:
        """Return whether a collection that came has documents of which the stream showed no change."""
        if self._changed.get(name, 0) > moved.after or self._dropped.get(name, 0) > moved.after:
            return False
        return self._client[self._database][name].estimated_document_count() > 0

    def _listed(self) -> frozenset[str]:
        listed = self._client[self._database].list_collections()
        names = (str(each["name"]) for each in listed if each.get("type") != "view")
        return frozenset(name for name in names if not name.startswith("system."))
