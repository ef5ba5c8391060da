"""The changes of the source that are yet to be synced, read from its stream and not applied.

A verification holds the route's lease, so no sync runs meanwhile. A document that changed since the position of sync is
pending until the next sync; every other document must be right now (R148).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence

from flows.copying.projection import Projection
from flows.plan.model import Route
from mappers.documents.decoding import identity_type
from stores.contract.changes import Changes, StreamPosition
from stores.contract.stop import NEVER, Stop
from stores.errors import PermanentError
from stores.mongodb.database import MongoDB
from stores.state.state import State
from stores.state.sync_positions import SyncState


class PendingChanges:
    """The documents that changed since a route's position; a `recheck.SyncProgress` while no sync runs."""

    def __init__(
        self,
        changes: Changes,
        collection: str,
        position: StreamPosition,
        *,
        addresses: Callable[[bytes], Sequence[str] | None] = lambda _: None,
        lost: str = "",
        stop: Stop = NEVER,
    ) -> None:
        """Read nothing yet; `addresses` gives the addresses of records by their `_id`, None if it cannot."""
        self.lost = lost
        """Why the changes since the position are lost, "" if they are not; then every document counts as pending."""
        self.touched: set[bytes] = set()
        """BSON ``{"_id": id}`` of each changed document read so far."""
        self._changes = changes
        self._collection = collection
        self._position = position
        self._addresses = addresses
        self._stop = stop
        self._addressed: set[bytes] = set()
        self._pending_addresses: set[str] = set()
        self._unknown_addresses = False

    def now(self) -> int:
        """Return the source's cluster time."""
        return self._changes.now()

    def has_passed(self, time: int) -> bool:
        """Return True when every change up to this time was read, or the changes are lost."""
        if self.lost or self._position.time > time:
            return True
        reached = False
        try:
            for batch in self._changes.follow({self._collection: False}, self._position, until=time, stop=self._stop):
                self.touched.update(touch.id for touch in batch.touched if touch.collection == self._collection)
                self._position = batch.position
                if self._collection in batch.halts:
                    self.lost = f"the collection {batch.halts[self._collection]}"
            reached = not self._stop.is_set()  # Without a stop the stream ends only at that time.
        except PermanentError as error:
            self.lost = str(error)
        return reached or bool(self.lost)

    def is_any(self) -> bool:
        """Return whether a document is known to have changed since the position, up to now; reads to the first."""
        if self.lost:
            return False
        try:
            return any(
                touch.collection == self._collection
                for batch in self._changes.follow(
                    {self._collection: False}, self._position, until=self.now(), stop=self._stop
                )
                for touch in batch.touched
            )
        except PermanentError as error:
            self.lost = str(error)
            return False

    def touched_since(self, ids: Sequence[bytes], time: int) -> Container[bytes]:
        """Return those of the documents that have changed since the position, up to now."""
        del time  # A change before it is pending, too.
        self.has_passed(self.now())
        return set(ids) if self.lost else self.touched.intersection(ids)

    def is_pending(self, address: str, at: bytes) -> bool:
        """Return True when a change of the record's document is pending, or may be as its document is unknown."""
        if self.lost or at in self.touched:
            return True
        if at:
            return False
        for touched in self.touched - self._addressed:
            addresses = self._addresses(touched)
            self._unknown_addresses = self._unknown_addresses or addresses is None
            self._pending_addresses.update(addresses or ())
            self._addressed.add(touched)
        return self._unknown_addresses or address in self._pending_addresses


def pending_changes(
    state: State,
    route: Route,
    database: MongoDB,
    projection: Projection | None = None,
    stop: Stop = NEVER,
) -> PendingChanges | None:
    """Return the pending changes of the route; None for a route never synced, or not synced by a change stream."""
    sync_state = state.sync_positions.get(route.name)
    if sync_state is None or not sync_state.synced or route.keys.sync != "stream":
        return None
    return _changes_since(sync_state, route, database, projection, stop)


def unsynced_changes(state: State, route: Route, database: MongoDB, stop: Stop = NEVER) -> PendingChanges | None:
    """Return the changes since the route's last sync, or since its copy began; None for one without a change stream."""
    sync_state = state.sync_positions.get(route.name)
    if sync_state is None or route.keys.sync != "stream":
        return None
    return _changes_since(sync_state, route, database, None, stop)


def _changes_since(
    sync_state: SyncState, route: Route, database: MongoDB, projection: Projection | None, stop: Stop
) -> PendingChanges:
    return PendingChanges(
        *(database.changes(), route.collection, sync_state.position),
        addresses=projection.addresses if projection is not None else lambda _: None,
        lost=f"the collection {sync_state.halted}" if sync_state.halted else "",
        stop=stop,
    )


def changed_by_type(changes: PendingChanges | None) -> Mapping[str, int]:
    """Return how many documents changed since the position, by BSON type of `_id`; empty if unknown."""
    if changes is None or not changes.has_passed(changes.now()) or changes.lost:
        return {}
    return Counter(map(identity_type, changes.touched))
