"""Where the sync of a route stands: taken before its first document is read, told in reports."""

from __future__ import annotations

import datetime as dt
import logging
import time

from flows.books import Following
from stores.contract import StreamPosition
from stores.errors import PermanentError
from stores.mongodb import MongoDB
from stores.state import Lease, State
from stores.state_sync import Syncs

_log = logging.getLogger(__name__)


class FirstPosition:
    """The position in the source's changes that the routes of one run begin with."""

    def __init__(self, state: State) -> None:
        """Ask nothing yet."""
        self._syncs = Syncs(state)
        self._taken: StreamPosition | None = None
        self._refused = False

    def take(self, lease: Lease, database: MongoDB) -> None:
        """The position is on record for the route; called before its first document is read (R101).

        A source without changes, or whose user may not read them, can be copied, but not followed.
        """
        if self._taken is None and not self._refused:
            try:
                self._taken = database.changes().begin()
            except PermanentError as error:
                self._refused = True
                _log.warning("the routes begun now cannot be synced: %s", error)
        if self._taken is not None:
            self._syncs.begin(lease, self._taken)


def followed(state: State, route: str, window_s: float | None = None) -> Following | None:
    """Return how far the route's target follows its source; None for a route that was never synced."""
    standing = Syncs(state).standing(route)
    if standing is None or standing.lag_s is None:
        return None
    seconds = standing.position.time >> 32
    return Following(
        position=dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds"),
        lag_s=round(standing.lag_s, 1),
        age_s=round(max(0.0, time.time() - seconds), 1),
        window_s=window_s,
        events=standing.events,
        applied=standing.applied,
        deleted=standing.deleted,
    )
