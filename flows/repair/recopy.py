"""Routes opened to copy some of their documents again, or to delete: under the lease, by the one write path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flows.connect.preflight import confirm, refuse_other_identity
from flows.connect.staging import refuse_unloaded
from flows.connect.stores import opened_target, projected, reading
from flows.copying.documents import Recopied, copy_documents
from flows.copying.projection import Projection
from flows.copying.reject_budget import keeps_documents
from flows.plan.model import Plan, Route
from mappers.contract import Record
from stores.contract.journal import RejectJournal
from stores.contract.source import Source
from stores.contract.target import Target
from stores.errors import PermanentError
from stores.mongodb.database import MongoDB
from stores.state.leases import Lease
from stores.state.state import State

AT_ONCE = 500
"""Documents copied again before what became of them is put on record."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A route with its stores opened."""

    route: Route
    state: State
    lease: Lease
    source: Source
    target: Target[Record]
    projection: Projection
    journal: RejectJournal


def copy_again(opened: Opened, ids: Sequence[bytes]) -> Recopied:
    """The target holds what these documents are now; see `copy_documents`.

    Of a route that is rescanned it is on record first that the next pass must copy them whatever they are then, and
    look for them if they are gone: what a scan remembers is not what is written here.
    """
    scans = opened.state.document_hashes
    if number := scans.last_pass(opened.route.name):
        scans.save(opened.lease, [(at, b"") for at in ids], number)
    return copy_documents(opened.source, opened.projection, opened.target, opened.journal, ids)


@contextmanager
def opened_again(
    plan: Plan, route: Route, state: State, lease: Lease, database: MongoDB, id_kind: str
) -> Iterator[Opened]:
    """Give the route, which was backfilled, with its stores for the length of the body; nothing is written yet."""
    known = state.partitions.route(route.name)
    if known is None:
        raise PermanentError("E-NOT-COPIED", "it was never copied; run backfill first")
    refuse_unloaded(state, route)
    source = reading(state, route, database)
    refuse_other_identity(known, source=source.identity())
    with opened_target(route, state) as target:
        confirm(target, known)
        projection = projected(route, target, state.designs.get(route.name), id_kind)
        journal = state.journal(lease, documents=keeps_documents(plan, route))
        yield Opened(route, state, lease, source, target, projection, journal)
