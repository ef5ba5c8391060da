"""What sync still owes a target while it stands at its position: read from the source's changes, none of it applied.

A verification holds the route's lease, so no sync goes on meanwhile: what changed since the position cannot settle
before the next sync, and everything else must be right now (R148).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence

from flows.copying.projection import Projection
from flows.plan.model import Route
from mappers.documents.decoding import identity_type
from stores.contract.changes import Changes, StreamPosition
from stores.errors import PermanentError
from stores.mongodb.database import MongoDB
from stores.state.database import State
from stores.state.sync_positions import Syncs


class Pending:
    """The documents that changed since a route's position; a `recheck.Progress` of a sync that stands still."""

    def __init__(
        self,
        changes: Changes,
        collection: str,
        position: StreamPosition,
        *,
        addresses: Callable[[bytes], Sequence[str] | None] = lambda _: None,
        lost: str = "",
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Read nothing yet; `addresses` tells where the records of a document are, as far as its `_id` can."""
        self.lost = lost
        """Why the changes since the position cannot be told, "" if they can: then nothing is known to be settled."""
        self.touched: set[bytes] = set()
        """BSON ``{"_id": id}`` of each document that changed, as far as was read."""
        self._changes = changes
        self._collection = collection
        self._position = position
        self._addresses = addresses
        self._stopping = stopping
        self._placed: set[bytes] = set()
        self._places: set[str] = set()
        self._unplaced = False

    def now(self) -> int:
        """Return the source's cluster time."""
        return self._changes.now()

    def passed(self, time: int) -> bool:
        """Whether every change up to this time is known, or none can be told any more."""
        if self.lost or self._position.time > time:
            return True
        reached = False
        try:
            for batch in self._changes.follow(
                {self._collection: False}, self._position, until=time, stopping=self._stopping
            ):
                self.touched.update(one.id for one in batch.touched if one.collection == self._collection)
                self._position = batch.position
                if self._collection in batch.halts:
                    self.lost = f"the collection {batch.halts[self._collection]}"
            reached = not self._stopping()  # Else the stream ends only once it has come so far.
        except PermanentError as error:
            self.lost = str(error)
        return reached or bool(self.lost)

    def touched_since(self, ids: Sequence[bytes], time: int) -> Container[bytes]:
        """Return which of these documents have changed since the position, by now."""
        del time  # What changed before it, too, is still to be synced.
        self.passed(self.now())
        return set(ids) if self.lost else self.touched.intersection(ids)

    def owes(self, address: str, at: bytes) -> bool:
        """Whether a change of the record's document is still to be synced, or may be: nothing tells whose it is."""
        if self.lost or at in self.touched:
            return True
        if at:
            return False
        for touched in self.touched - self._placed:
            places = self._addresses(touched)
            self._unplaced = self._unplaced or places is None
            self._places.update(places or ())
            self._placed.add(touched)
        return self._unplaced or address in self._places


def pending(
    state: State,
    route: Route,
    database: MongoDB,
    projection: Projection | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Pending | None:
    """Return what the route's sync still owes; None for a route never synced, or not by a stream of changes."""
    standing = Syncs(state).standing(route.name)
    if standing is None or not standing.synced or route.keys.sync != "stream":
        return None
    return Pending(
        *(database.changes(), route.collection, standing.position),
        addresses=projection.addresses if projection is not None else lambda _: None,
        lost=f"the collection {standing.halted}" if standing.halted else "",
        stopping=stopping,
    )


def moved(owed: Pending | None) -> Mapping[str, int]:
    """Return how many documents changed since the position by now, per BSON type of `_id`; nothing if unknown."""
    if owed is None or not owed.passed(owed.now()) or owed.lost:
        return {}
    return Counter(map(identity_type, owed.touched))
