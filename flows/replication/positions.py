"""The sync position of a route: on record before its first document is read, and shown in reports."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Mapping, Sequence

from flows.plan.model import Route
from flows.replication.rescan import rescanned_at
from flows.reporting.model import Following
from stores.contract.changes import StreamPosition
from stores.errors import OfframpError, PermanentError
from stores.mongodb.database import MongoDB
from stores.mongodb.stream_marks import goes_by_silence
from stores.state.leases import Lease
from stores.state.state import State

_log = logging.getLogger(__name__)


class FirstPosition:
    """The position in the source's changes that the routes of one run begin with; safe to share between threads."""

    def __init__(self, state: State) -> None:
        """Ask nothing yet."""
        self._syncs = state.sync_positions
        self._position: StreamPosition | None = None
        self._refused = False
        self._asking = threading.Lock()

    def take(self, route: Route, lease: Lease, database: MongoDB) -> None:
        """The position is on record for the route; called before its first document is read (R101).

        A source without changes, or whose user may not read them, can be copied, but not followed.
        """
        if route.keys.sync == "rescan":
            self._syncs.begin(lease, rescanned_at(time.time()))
            return
        if route.keys.watermark is not None:
            self._syncs.begin(lease, database.watermark(route.collection, route.keys.watermark).begin())
            return
        with self._asking:
            if self._position is None and not self._refused:
                try:
                    self._position = database.changes().begin()
                except PermanentError as error:
                    self._refused = True
                    _log.warning("the routes begun now cannot be synced: %s", error)
        if self._position is not None:
            self._syncs.begin(lease, self._position)


def first_sync_within(state: State, database: MongoDB, routes: Sequence[Route]) -> Mapping[str, float]:
    """Return for how long the source keeps its changes, by route; warns of routes that must be synced soon."""
    sync_states = {route.name: state.sync_positions.get(route.name) for route in routes if route.keys.sync == "stream"}
    if not any(sync_states.values()):
        return {}
    try:
        window_s = database.changes().window_s()
    except OfframpError as error:
        _log.warning("for how long the source keeps its changes is unknown: %s", error)
        return {}
    found: dict[str, float] = {}
    for name, sync_state in sync_states.items():
        if sync_state is not None and window_s is not None:
            found[name] = window_s
            age_s = time.time() - (sync_state.position.time >> 32)
            if age_s > max(60.0, window_s / 2):
                _log.warning(
                    "%s: sync it soon: what changed in the last %.0f s is to be followed, and the source keeps %.0f s",
                    *(name, age_s, window_s),
                )
    return found


def sync_status(state: State, route: str, window_s: float | None = None) -> Following | None:
    """Return how far the route's target follows its source; None for a route that was never synced."""
    sync_state = state.sync_positions.get(route)
    if sync_state is None or sync_state.lag_s is None:
        return None
    seconds = sync_state.position.time >> 32
    return Following(
        position=dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds"),
        lag_s=round(sync_state.lag_s, 1),
        age_s=round(max(0.0, time.time() - seconds), 1),
        window_s=window_s,
        events=sync_state.events,
        applied=sync_state.applied,
        deleted=sync_state.deleted,
        by_silence=goes_by_silence(sync_state.position),
    )
