"""The forecast of a route's sync, before its backfill: whether it can be synced, and for how long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.connect.route_steps import StepObserver, take_step
from flows.connect.stores import open_source
from flows.copying.projection import route_projection
from flows.plan.model import Plan, Route
from flows.quantities import counted, seconds
from flows.replication.refusals import IMAGELESS
from mappers.contract import Losses
from stores.contract.stop import NEVER, Stop
from stores.errors import OfframpError
from stores.mongodb.database import MongoDB

_COPIED_PER_S = 2_000
"""What a backfill copies in a second, if it is slow."""
_TIMES = 2
"""How often the time that a copy takes the source should keep its changes for (R121)."""


def sync_notes(
    plan: Plan,
    routes: Sequence[Route],
    documents: Mapping[str, int],
    *,
    stop: Stop = NEVER,
    observer: StepObserver = lambda *_: None,
) -> Mapping[str, Sequence[str]]:
    """Return by route what a person should know of its sync; `documents` is about how many there are of each.

    Raises TransientError E-STOPPED once `stop` is set.
    """
    with open_source(plan) as database:
        found = take_step(
            *("asking how each can be synced", routes, lambda route: _notes(route, database, documents[route.name])),
            stop=stop,
            observer=observer,
            abandons=True,
        )
    notes: dict[str, Sequence[str]] = {}
    for name, outcome in found.items():
        if isinstance(outcome, OfframpError):
            raise outcome
        notes[name] = outcome
    return notes


def _notes(route: Route, database: MongoDB, documents: int) -> Sequence[str]:
    try:
        if route.keys.watermark is not None:
            return database.watermark(route.collection, route.keys.watermark).check()
        if route.keys.sync == "rescan":
            return [f"each sync reads all of {route.collection}, about {counted(documents, 'document')}"]
        found = database.source(route.collection).streaming()
    except OfframpError as error:
        return [f"it cannot be told how it could be synced: {error}"]
    if not found.possible:
        granting = f"; run {found.command}" if found.command else ""
        return [f"it can be copied, but not synced: {found.reason}{granting}; or say sync: rescan, or sync: watermark"]
    notes = list(found.notes)
    if not found.before_images and not route_projection(route, (), route.mapper(Losses()), Losses()).told_by_id:
        never = f"which {found.imageless} never does: {IMAGELESS}"
        notes.append(
            "it can be copied, but not synced: where its records are depends on other fields than _id, so the source"
            " must keep what documents were before a change"
            + (f", {never}" if found.imageless else f"; run {found.command} before the backfill")
        )
    took_s = documents / _COPIED_PER_S
    if found.window_s is not None and took_s > 60 and found.window_s < _TIMES * took_s:
        notes.append(
            f"the source keeps its changes for {seconds(found.window_s)}, and copying about"
            f" {counted(documents, 'document')} may take {seconds(took_s)}: {found.keeping} at least {_TIMES} times"
            " as long, or what changes meanwhile may be lost before it is synced"
        )
    return notes
