"""Why a route cannot be synced, or goes no further: the errors, and which of them is one for all routes."""

from __future__ import annotations

from collections.abc import Mapping

from flows.connect.lease_renewal import LEASE_HELD, join_held
from flows.connect.preflight import join_faults
from flows.plan.model import Route
from mappers.transforms.filters import compiled
from stores.contract.stop import STOPPED
from stores.errors import OfframpError, PermanentError, PlanError
from stores.mongodb.database import MongoDB
from stores.mongodb.stream_watch import OFF_MEANWHILE

IMAGELESS = (
    "key the records by _id, and the route can be synced by sync: stream, rescan or watermark; or copy it when nothing"
    " writes to the source any more"
)
"""What to do with a route that needs earlier forms of documents, of a source that never keeps any."""


def as_halted(route: Route, error: OfframpError) -> OfframpError:
    """Return the error of a route whose sync has ended for good, if the error is that its collection is gone."""
    if error.code == "E-SRC-COLLECTION":
        return PermanentError("E-SYNC-HALTED", halt_message(route, "is not there any more"))
    return error


def raise_common(refused: Mapping[str, OfframpError]) -> None:
    """Raise one error for all of these routes if each is wrong in the plan, has another run at work, or was stopped.

    Return if their reasons differ, or are those of a store: then each stands in the report.
    """
    errors = list(refused.values())
    codes = {error.code for error in errors}
    if all(isinstance(error, PlanError) for error in errors):
        raise join_faults([_named(name, error) for name, error in refused.items()])
    if codes == {LEASE_HELD}:
        raise join_held(errors, len(errors))
    if codes == {STOPPED}:
        raise errors[0]


def _named(route: str, error: OfframpError) -> PlanError:
    """Return the fault with the name of its route, which that of a check has already."""
    start = f"route {route}: "
    return PlanError(error.code, error.message if error.message.startswith(start) else start + error.message)


def halt_message(route: Route, why: str) -> str:
    """Return what to say of a route whose collection is not what was copied any more, and what to do."""
    return (
        f"the collection {route.collection} {why}, so what changed cannot be told any more; look at it, then copy the"
        f" route anew: backfill --restart --route {route.name} (it also deletes what is gone)"
    )


class Unrecorded(PermanentError):
    """Changes since the route's position are recorded nowhere, so it cannot go on from it and is to be halted."""

    why = OFF_MEANWHILE

    @classmethod
    def of(cls, route: Route) -> Unrecorded:
        """Return the error of the route."""
        return cls("E-SYNC-HALTED", halt_message(route, cls.why))


def refuse_unsyncable(route: Route, database: MongoDB, *, needs_former: bool) -> None:
    """Raise PlanError if what the route says of its sync cannot be done, or nothing tells where records were (R125).

    Raises Unrecorded for a route by whose stream changes went unrecorded.
    """
    moving = "where its records are depends on other fields than _id, so nothing tells what to delete when a document"
    if route.keys.sync != "stream" and not needs_former:
        return
    streaming = database.source(route.collection).streaming()
    if route.keys.sync != "stream" and streaming.imageless:
        raise PlanError("E-KEY-NOTDERIVABLE", f"{moving} changes or goes: {IMAGELESS}")
    if route.keys.sync != "stream":
        also = f", run {streaming.command}" if streaming.command else ""
        raise PlanError(
            "E-KEY-NOTDERIVABLE",
            f"{moving} changes or goes; only the stream of changes may tell: say sync: stream{also}, then start over"
            " with backfill --restart",
        )
    if streaming.unrecorded:
        raise Unrecorded.of(route)
    if not streaming.possible:
        raise PlanError(
            "E-SYNC-STREAM",
            f"{streaming.reason}{'; run ' + streaming.command if streaming.command else ''}; or say sync: rescan, or"
            " sync: watermark",
        )
    if not needs_former:
        return
    if streaming.imageless:
        raise PlanError(
            "E-KEY-NOTDERIVABLE",
            f"{moving} changes or goes, and {streaming.imageless} never keeps what a document was: {IMAGELESS}",
        )
    if not streaming.before_images:
        raise PlanError(
            "E-KEY-NOTDERIVABLE",
            f"{moving} changes or goes, unless the source keeps what it was: run {streaming.command}, then start over"
            " with backfill --restart",
        )
    try:
        compiled(route.where)
    except ValueError as error:
        raise PlanError(
            "E-KEY-NOTDERIVABLE",
            "where its records are depends on other fields than _id, so what documents were is judged by `where`,"
            f" which cannot be done here for {error}; simplify `where`, or key the records by _id, then start over with"
            " backfill --restart",
        ) from None
