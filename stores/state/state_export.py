"""A plan's state written to a file that another database can take over; it is closed here from then on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.errors import OfframpError, PlanError
from stores.state import moves
from stores.state.database import Database
from stores.state.move_file import Header, Writer
from stores.state.moved_tables import count_rows, described, kind_of, moved_columns, moved_tables
from stores.state.upgrade import FORMAT, release

_PAGE_ROWS = 1_000
_PAGE_BYTES = 8 * 1024 * 1024


def export_state(database: Database, out: BinaryIO, file: str, stop: Stop = NEVER) -> Header:
    """The plan's state is in the file, whole, and refuses every command here; returns what the file says of itself.

    If it fails or is stopped, the file is none that can be imported, and the state is open as before. If the process is
    killed, the state stays closed until it is exported again or `reopen_state` is called. `file` names the file for
    people. Raises TransientError E-LEASE-HELD while a run is at work, PlanError E-STATE-MOVED if the state is exported
    already, E-STATE-EMPTY if no run has begun, TransientError E-STOPPED, and OSError if the file cannot be written.
    """
    plan = database.plan
    with database.moving() as db:
        move = moves.begin_export(db, plan, database.place, file, database.now(db))
    try:
        with database.reading() as db:
            header = _header(db, database, move)
            if not any(header.rows.values()):
                raise PlanError("E-STATE-EMPTY", f"state {database.place!r} has nothing of plan {plan!r} to export")
            writer = Writer(out, header)
            for table in moved_tables():
                writer.table(table.name, described(table))
                for row in _rows(db, table, database, stop):
                    writer.row(row)
        out.flush()  # What fails here fails while the state can still be opened again.
        with database.moving() as db:
            moves.end_export(db, plan, move)
    except BaseException:
        # Without its last line the file is imported nowhere, so that the state may go on here.
        with suppress(OfframpError), database.moving() as db:
            moves.give_up(db, plan, move)
        raise
    # Only now can it be imported. Whether it is whole is not known if this fails, so that the state stays closed.
    writer.end()
    return header


def reopen_state(database: Database, *, never_imported: bool) -> bool:
    """The plan's state goes on here, as if it had not been exported; returns False if it was not.

    `never_imported` is a person's word that the file of a whole export was imported nowhere. Raises PlanError
    E-STATE-MOVED without it.
    """
    with database.moving() as db:
        last = moves.last_move(db, database.plan)
        if last is None or not last.is_out:
            return False
        if last.is_complete and not never_imported:
            moves.refuse_moved(db, database.plan, database.place)
        moves.give_up(db, database.plan, last)
    return True


def _header(db: Connection, database: Database, move: moves.Move) -> Header:
    return Header(
        plan=database.plan,
        id=move.id,
        number=move.number,
        state_format=FORMAT,
        release=release(),
        exported=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        source=database.place,
        rows=count_rows(db, database.plan),
    )


def _rows(db: Connection, table: sa.Table, database: Database, stop: Stop) -> Iterator[sa.Row[Any]]:
    """Yield the rows in the order of their keys, and hold no more of them than a page.

    Nobody changes them meanwhile, as the state is marked; so no transaction is open for as long as that takes.
    """
    key = [database.key_of(column) for column in table.primary_key if column.name != "plan"]
    here = table.c.plan == database.plan
    lengths = [
        sa.func.coalesce(sa.func.length(column), 0)
        for column in moved_columns(table)
        if kind_of(column) in ("text", "bytes")
    ]
    size = sum(lengths, sa.literal(0))
    while True:
        raise_if_stopped(stop, "the export was stopped; the state is open as before, and the file cannot be imported")
        ends = db.execute(sa.select(size, *key).where(here).order_by(*key).limit(_PAGE_ROWS)).all()
        if not ends:
            return
        last = ends[_fitting([end[0] for end in ends]) - 1]
        until = sa.tuple_(*key) <= sa.tuple_(*(sa.literal(last[at + 1], each.type) for at, each in enumerate(key)))
        yield from db.execute(sa.select(*moved_columns(table)).where(here, until).order_by(*key))
        here = sa.and_(table.c.plan == database.plan, sa.not_(until))


def _fitting(sizes: list[int]) -> int:
    """Return how many of the first rows of these sizes fit into a page, at least 1."""
    total = 0
    for number, size in enumerate(sizes):
        total += size
        if total > _PAGE_BYTES:
            return max(number, 1)
    return len(sizes)
