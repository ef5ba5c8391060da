"""Whether a plan's state has gone elsewhere: two states of one plan would lose documents of its targets.

An export marks the state before it reads a row, and completes its file only when the mark says that it is exported. So
a file that can be imported comes from a state that refuses every command.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.errors import PlanError, TransientError
from stores.state.owners import is_gone
from stores.state.tables import claims, leases, meta, moves

_OPEN = "open"
_EXPORTING = "exporting"
_EXPORTED = "exported"


@dataclass(frozen=True, slots=True)
class Move:
    """The last move of a plan's state, out of this database or into it."""

    id: str
    number: int
    """How often the plan's state has been moved since it was begun, this time included."""
    stage: str
    place: str
    """The file, as it was named."""

    @property
    def is_out(self) -> bool:
        """Whether the rows here are no longer the plan's state."""
        return self.stage in (_EXPORTING, _EXPORTED)

    @property
    def is_complete(self) -> bool:
        """Whether the state was exported as a whole, so that it may have been imported elsewhere."""
        return self.stage == _EXPORTED


def last_move(db: Connection, plan: str) -> Move | None:
    """Return the last move of the plan's state, None if it was never moved; its row is locked for a transaction."""
    row = db.execute(sa.select(moves).where(moves.c.plan == plan).with_for_update()).one_or_none()
    return None if row is None else Move(row.id, row.number, row.stage, row.place)


def stay_here(db: Connection, plan: str, place: str) -> None:
    """The plan's state is not moved before this transaction ends; raises the error of `refuse_moved`."""
    # An export waits for this lock before it marks the state. The lock has a statement of its own: one that waited for
    # an export would not see its mark.
    db.execute(sa.select(meta.c.key).where(meta.c.key == "schema").with_for_update(read=True, key_share=True))
    refuse_moved(db, plan, place)


def refuse_moved(db: Connection, plan: str, place: str) -> None:
    """Return if the plan's state is here; raises PlanError E-STATE-MOVED if it was moved out of this database.

    `place` names the database.
    """
    query = sa.select(moves).where(moves.c.plan == plan, moves.c.stage != _OPEN)
    row = db.execute(query).one_or_none()
    if row is not None:
        raise PlanError("E-STATE-MOVED", _refusal(Move(row.id, row.number, row.stage, row.place), plan, place))


def begin_export(db: Connection, plan: str, place: str, file: str, now: float) -> Move:
    """The state is marked as leaving for the file: nothing of the plan is written any more. Returns the mark.

    Call it in a transaction that writes. `now` is the database's time. Raises TransientError E-LEASE-HELD while a run,
    or a worker that was cut off from one, may write to a target of the plan, and PlanError E-STATE-MOVED if the state
    is exported already.
    """
    db.execute(sa.select(meta.c.key).where(meta.c.key == "schema").with_for_update())
    last = last_move(db, plan)
    if last is not None and last.is_complete:
        raise PlanError("E-STATE-MOVED", _refusal(last, plan, place))
    # The locks wait for what runs have under way, and keep those out that renew their leases.
    for row in db.execute(sa.select(leases).where(leases.c.plan == plan).with_for_update()).all():
        if row.owner and row.expires > now and not is_gone(row.owner):
            raise TransientError(
                "E-LEASE-HELD",
                f"route {row.route}: a run ({row.owner.partition(' ')[0]}) is working on it; wait until it ends, or"
                f" stop it, then export the state (its lease expires in {row.expires - now:.0f} s if it is dead)",
            )
    query = sa.select(claims).where(claims.c.plan == plan, claims.c.busy_until > now)
    for row in db.execute(query.order_by(claims.c.busy_until.desc()).limit(1)):
        raise TransientError(
            "E-LEASE-HELD",
            f"route {row.route}: a worker that was cut off from its run may still write to the target for"
            f" {row.busy_until - now:.0f} s; wait until then, and export the state",
        )
    # A run that slept past its lease finds it taken over.
    ended = {"owner": "", "expires": 0.0, "fence": leases.c.fence + 1}
    db.execute(sa.update(leases).where(leases.c.plan == plan).values(**ended))
    move = Move(uuid4().hex, 1 if last is None else last.number + 1, _EXPORTING, file)
    record_move(db, plan, move, now)
    return move


def end_export(db: Connection, plan: str, move: Move) -> None:
    """The state is exported; raises PlanError E-STATE-MOVED if the export was given up meanwhile."""
    where = sa.and_(moves.c.plan == plan, moves.c.id == move.id, moves.c.stage == _EXPORTING)
    if not db.execute(sa.update(moves).where(where).values(stage=_EXPORTED)).rowcount:
        raise PlanError(
            "E-STATE-MOVED", f"the export into {move.place!r} was given up by another command; export again"
        )


def give_up(db: Connection, plan: str, move: Move) -> None:
    """The state is here again, as if this move out of it had not begun; nothing happens if it is not the last one."""
    where = sa.and_(moves.c.plan == plan, moves.c.id == move.id)
    db.execute(sa.update(moves).where(where).values(stage=_OPEN))


def arrived(db: Connection, plan: str, id_: str, number: int, file: str, now: float) -> None:
    """The state is here by the move of this id."""
    record_move(db, plan, Move(id_, number, _OPEN, file), now)


def record_move(db: Connection, plan: str, move: Move, now: float) -> None:
    """This is the last move of the plan's state."""
    db.execute(sa.delete(moves).where(moves.c.plan == plan))
    values = {"id": move.id, "number": move.number, "stage": move.stage, "place": move.place, "at": now}
    db.execute(sa.insert(moves).values(plan=plan, **values))


def _refusal(move: Move, plan: str, place: str) -> str:
    if not move.is_complete:
        return (
            f"the export of plan {plan!r} from state {place!r} into {move.place!r} is under way, or did not end;"
            " export again, into a file that is not there yet, or take the state back: offramp state reopen PLAN"
        )
    return (
        f"the state of plan {plan!r} was exported from {place!r} into {move.place!r}, and goes on where that file was"
        " imported: name that place in `state`. If it was imported nowhere, take the state back: offramp state reopen"
        " PLAN --never-imported"
    )
