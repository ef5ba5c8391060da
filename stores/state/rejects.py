"""The rejects of each route: a reject is open until its document is copied, or a person accepts it (R140)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from mappers.contract import MappingError
from mappers.documents.decoding import position
from mappers.documents.extended_json import to_extended
from stores.contract.journal import Reject
from stores.state.database import Database
from stores.state.leases import Lease, Leases
from stores.state.tables import halts, rejects
from stores.throttling.batches import cut

_AT_ONCE = 500
MOST_IN_MEMORY = 10_000
"""Ids of refused documents that a lookup has in memory."""
_OPEN = rejects.c.accepted_at.is_(None)
_ACCEPTANCE = ("accepted_by", "accepted_at", "accepted_why")
_REPLACED = ("code", "field", "reason", "last", "position", "document")
"""Columns that say how a document failed for the last time."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A person's decision that a document may be missing from the target."""

    by: str
    at: float
    """When, in seconds since 1970."""
    why: str


@dataclass(frozen=True, slots=True)
class StoredReject:
    """A reject on record."""

    id: str
    """The typed text of the document's `_id`."""
    stage: str
    """decode, transform, map or write."""
    code: str
    field: str
    reason: str
    attempts: int
    first: float
    """When it was first seen, in seconds since 1970."""
    last: float
    position: bytes | None
    """BSON ``{"_id": id}``, by which the source can be asked for it; None for a document without an `_id`."""
    document: str | None = dataclasses.field(repr=False)
    """Canonical Extended JSON of the document as it was then, where the plan allows it to be kept."""
    acceptance: Acceptance | None


@dataclass(frozen=True, slots=True)
class RejectFilter:
    """A choice of rejects: those that match every field; "" and None match any."""

    id: str = ""
    code: str = ""
    stage: str = ""
    accepted: bool | None = None


@dataclass(frozen=True, slots=True)
class RejectCount:
    """How many documents are on record as rejected."""

    open: int
    accepted: int
    open_refused: int
    """Open documents that the target refused."""
    accepted_refused: int


@dataclass(frozen=True, slots=True)
class RejectCause:
    """The rejects of one cause."""

    stage: str
    code: str
    field: str
    documents: int
    example: str
    """The typed text of the least `_id` among the documents."""
    reason: str
    """Why the example was rejected."""


@dataclass(frozen=True, slots=True)
class AcceptedRejects:
    """Rejects that a person accepted for one reason."""

    stage: str
    code: str
    by: str
    why: str
    at: float
    """When the last of them was accepted, in seconds since 1970."""
    documents: int
    example: str
    """The typed text of the least `_id` among the documents."""


EVERY = RejectFilter()
ACCEPTED = RejectFilter(accepted=True)
OPEN = RejectFilter(accepted=False)


def record_rejects(
    database: Database, db: sa.Connection, route: str, failed: Sequence[Reject], *, documents: bool
) -> None:
    """Each document and stage has one row, however often a batch is replayed.

    An acceptance stays while the document fails for the cause that was accepted, and ends with any other cause.
    """
    now = time.time()
    rows = [
        {
            **database.key(route),
            "id": reject.id,
            "stage": reject.stage,
            "code": reject.code,
            "field": reject.field,
            "reason": reject.reason,
            "first": now,
            "last": now,
            "position": _position(reject.document),
            "document": to_extended(reject.document) if documents and reject.document else None,
        }
        for reject in failed
    ]
    new = {name: database.new_value(rejects.c[name]) for name in _REPLACED}
    other_cause = sa.or_(rejects.c.code != new["code"], rejects.c.field != new["field"])
    acceptance = {name: sa.case((other_cause, None), else_=rejects.c[name]) for name in _ACCEPTANCE}
    database.upsert(db, rejects, rows, {**new, **acceptance, "attempts": rejects.c.attempts + 1})


class Rejects:
    """The rejects of every route of one plan; safe to share between threads.

    A method that takes a lease raises LeaseLost, and writes nothing, if another run has taken the route over.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        """Take the database and the leases that guard what is written to it."""
        self._database = database
        self._leases = leases

    def of_route(self, route: str, chosen: RejectFilter = EVERY) -> Iterator[StoredReject]:
        """Yield the route's rejects in order of id, then stage."""
        query = sa.select(rejects).where(self._where(route, chosen)).order_by(rejects.c.id, rejects.c.stage)
        with self._database.reading() as db:
            for row in db.execute(query):
                accepted = row.accepted_at is not None
                yield StoredReject(
                    *(row.id, row.stage, row.code, row.field, row.reason, row.attempts, row.first, row.last),
                    *(row.position, row.document),
                    Acceptance(row.accepted_by, row.accepted_at, row.accepted_why) if accepted else None,
                )

    def count(self, route: str) -> RejectCount:
        """Return how many documents are rejected; a document is open if any of its rejects is."""
        per_document = (
            sa.select(
                sa.func.max(sa.case((_OPEN, 1), else_=0)).label("open"),
                sa.func.max(sa.case((rejects.c.stage == "write", 1), else_=0)).label("refused"),
            )
            .where(self._database.where(rejects, route))
            .group_by(rejects.c.id)
            .subquery()
        )
        query = sa.select(per_document.c.open, per_document.c.refused, sa.func.count()).group_by(
            per_document.c.open, per_document.c.refused
        )
        with self._database.reading() as db:
            counts = {(is_open, refused): number for is_open, refused, number in db.execute(query).tuples()}
        return RejectCount(
            open=counts.get((1, 0), 0) + counts.get((1, 1), 0),
            accepted=counts.get((0, 0), 0) + counts.get((0, 1), 0),
            open_refused=counts.get((1, 1), 0),
            accepted_refused=counts.get((0, 1), 0),
        )

    def causes(self, route: str, chosen: RejectFilter = EVERY) -> list[RejectCause]:
        """Return the causes of the route's rejects, the most frequent first."""
        cause = (rejects.c.stage, rejects.c.code, rejects.c.field)
        here = self._where(route, chosen)
        groups = (
            sa.select(*cause, sa.func.count().label("documents"), sa.func.min(rejects.c.id).label("example"))
            .where(here)
            .group_by(*cause)
            .subquery()
        )
        of_example = sa.and_(here, rejects.c.id == groups.c.example, *(each == groups.c[each.name] for each in cause))
        query = (
            sa.select(*(groups.c[each.name] for each in cause), groups.c.documents, groups.c.example, rejects.c.reason)
            .join_from(groups, rejects, of_example)
            .order_by(groups.c.documents.desc(), *(groups.c[each.name] for each in cause))
        )
        with self._database.reading() as db:
            return [RejectCause(*row) for row in db.execute(query).tuples()]

    def acceptances(self, route: str) -> list[AcceptedRejects]:
        """Return the accepted rejects by cause, person and reason, the latest first."""
        group = (rejects.c.stage, rejects.c.code, rejects.c.accepted_by, rejects.c.accepted_why)
        latest = sa.func.max(rejects.c.accepted_at)
        query = (
            sa.select(*group, latest, sa.func.count(), sa.func.min(rejects.c.id))
            .where(self._where(route, ACCEPTED))
            .group_by(*group)
            .order_by(latest.desc(), *group)
        )
        with self._database.reading() as db:
            return [AcceptedRejects(*row) for row in db.execute(query).tuples()]

    def replace(self, lease: Lease, ids: Sequence[str], failed: Sequence[Reject], *, documents: bool = False) -> None:
        """The documents with these ids have exactly these rejects on record: all of it or nothing.

        With `documents` the rejected documents are kept.
        """
        here = self._database.where(rejects, lease.route)
        with self._database.reading() as db:
            if not failed and db.execute(sa.select(rejects.c.id).where(here).limit(1)).first() is None:
                return
        current = {(reject.id, reject.stage) for reject in failed}
        with self._leases.fenced(lease) as db:
            for batch in cut(ids, _AT_ONCE):
                known = sa.and_(here, rejects.c.id.in_(batch))
                for id_, stage in db.execute(sa.select(rejects.c.id, rejects.c.stage).where(known)).tuples().all():
                    if (id_, stage) not in current:
                        row = sa.and_(here, rejects.c.id == id_, rejects.c.stage == stage)
                        db.execute(sa.delete(rejects).where(row))
            record_rejects(self._database, db, lease.route, failed, documents=documents)

    def accept(self, lease: Lease, chosen: RejectFilter, by: str, why: str) -> int:
        """The chosen open rejects are accepted; returns how many there were."""
        values = {"accepted_by": by, "accepted_at": time.time(), "accepted_why": why}
        with self._leases.fenced(lease) as db:
            where = sa.and_(self._where(lease.route, chosen), _OPEN)
            return db.execute(sa.update(rejects).where(where).values(**values)).rowcount

    def reopen(self, lease: Lease, chosen: RejectFilter) -> int:
        """The chosen accepted rejects are open again; returns how many there were."""
        with self._leases.fenced(lease) as db:
            where = sa.and_(self._where(lease.route, chosen), ~_OPEN)
            return db.execute(sa.update(rejects).where(where).values(dict.fromkeys(_ACCEPTANCE))).rowcount

    def refused(self, route: str, *, most_in_memory: int = MOST_IN_MEMORY) -> RefusedDocuments:
        """Return the documents that the target refused, as a container of the typed texts of their `_id`.

        Where there are more than `most_in_memory`, each lookup asks the database.
        """
        return RefusedDocuments(self._database, route, most_in_memory)

    def count_by_code(self, route: str) -> Mapping[str, int]:
        """Return how many rejects of the route are on record, by their code."""
        query = (
            sa.select(rejects.c.code, sa.func.count())
            .where(self._database.where(rejects, route))
            .group_by(rejects.c.code)
            .order_by(rejects.c.code)
        )
        with self._database.reading() as db:
            return dict(db.execute(query).tuples().all())

    def is_accepted(self, route: str, reject: Reject) -> bool:
        """Return whether a person has accepted that this document fails for this cause."""
        same = sa.and_(
            *(getattr(rejects.c, name) == getattr(reject, name) for name in ("id", "stage", "code", "field"))
        )
        where = sa.and_(self._database.where(rejects, route), same, ~_OPEN)
        with self._database.reading() as db:
            return db.execute(sa.select(rejects.c.id).where(where)).first() is not None

    # --- halts --------------------------------------------------------------------------------------------------------

    def halt(self, lease: Lease, why: str) -> None:
        """Every worker of the route is to stop at its next checkpoint, until the halt is lifted."""
        with self._leases.fenced(lease) as db:
            self._database.upsert(db, halts, [self._database.key(lease.route) | {"why": why}])

    def halt_reason(self, route: str) -> str:
        """Return why the route is halted, "" if it is not."""
        with self._database.reading() as db:
            query = sa.select(halts.c.why).where(self._database.where(halts, route))
            return db.execute(query).scalar_one_or_none() or ""

    def lift_halt(self, lease: Lease) -> None:
        """The route is not halted any more."""
        with self._leases.fenced(lease) as db:
            db.execute(sa.delete(halts).where(self._database.where(halts, lease.route)))

    def _where(self, route: str, chosen: RejectFilter) -> sa.ColumnElement[bool]:
        conditions = [self._database.where(rejects, route)]
        conditions += [rejects.c[name] == text for name in ("id", "code", "stage") if (text := getattr(chosen, name))]
        if chosen.accepted is not None:
            conditions.append(~_OPEN if chosen.accepted else _OPEN)
        return sa.and_(*conditions)


class RefusedDocuments:
    """The documents of a route that its target refused, as a container of their typed ids.

    With few documents it is as of when this was made, with many as of each lookup.
    """

    def __init__(self, database: Database, route: str, most_in_memory: int) -> None:
        """Read the ids now unless there are more than `most_in_memory`."""
        self._database = database
        self._here = sa.and_(database.where(rejects, route), rejects.c.stage == "write")
        with database.reading() as db:
            ids = db.execute(sa.select(rejects.c.id).where(self._here).limit(most_in_memory + 1)).scalars().all()
        self._ids = frozenset(ids) if len(ids) <= most_in_memory else None

    def __bool__(self) -> bool:
        return self._ids is None or bool(self._ids)

    def __contains__(self, id_: object) -> bool:
        if self._ids is not None:
            return id_ in self._ids
        with self._database.reading() as db:
            return db.execute(sa.select(rejects.c.id).where(self._here, rejects.c.id == id_)).first() is not None


def _position(document: bytes) -> bytes | None:
    try:
        return position(document) if document else None
    except (MappingError, IndexError):
        return None
