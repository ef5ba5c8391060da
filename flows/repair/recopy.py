"""Routes opened to copy some of their documents again, or to delete: each was copied, to the target it has now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flows.connect.identities import confirm_target, refuse_other_source
from flows.connect.session import Session
from flows.connect.staging import refuse_unloaded
from flows.connect.stores import OpenRoute
from flows.plan.model import Route
from stores.errors import PermanentError
from stores.mongodb.database import MongoDB


def never_copied() -> PermanentError:
    """Return the error of a route that was never copied."""
    return PermanentError("E-NOT-COPIED", "it was never copied; run backfill first")


@contextmanager
def open_copied(session: Session, route: Route, database: MongoDB | None = None) -> Iterator[OpenRoute]:
    """Give the route, which was backfilled, with its stores open for the length of the body; no record is written yet.

    Raises PermanentError if it never was, TransientError if its records are staged and not loaded, PermanentError if
    its collection or what it was copied to has been made anew since.
    """
    known = session.state.partitions.route(route.name)
    if known is None:
        raise never_copied()
    refuse_unloaded(session.state, route)
    with session.open(route, database) as opened:
        refuse_other_source(known, opened.source.identity())
        confirm_target(opened.target, known)
        yield opened
