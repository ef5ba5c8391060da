"""A plan's state taken over from a file that `export_state` wrote, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DataError, IntegrityError

from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.errors import PlanError
from stores.state import moves
from stores.state.database import Database
from stores.state.move_file import Header, Reader
from stores.state.moved_tables import count_rows, described, moved_columns, moved_tables
from stores.state.upgrade import FORMAT, release

_BATCH_ROWS = 500
_BATCH_BYTES = 8 * 1024 * 1024


def import_state(database: Database, source: BinaryIO, file: str, stop: Stop = NEVER) -> Header:
    """The plan's state is that of the file; returns what the file says of itself. If it fails, nothing has changed.

    Rows of the plan that are here are replaced if the state was exported from here and this file continues it.
    Otherwise they are never touched: PlanError E-STATE-OCCUPIED. Raises PlanError E-STATE-FILE for a file that is not
    whole, was changed, or is another plan's or another release's, OSError if it cannot be read, and TransientError
    E-STOPPED.
    """
    reader = Reader(source, file)
    header, plan = reader.header, database.plan
    if header.plan != plan:
        raise PlanError("E-STATE-FILE", f"{file!r} has the state of plan {header.plan!r}, and this is plan {plan!r}")
    if header.state_format != FORMAT:
        raise PlanError(
            "E-STATE-FILE",
            f"{file!r} has a state of format {header.state_format}, of release {header.release}; this release"
            f" ({release()}) imports format {FORMAT}. Import it with that release, then open it with a later one",
        )
    with database.moving() as db:
        _make_way(db, database, header, file)
        try:
            moves.arrived(db, plan, header.id, header.number, file, database.now(db))
            for table, rows in _checked(reader, file):
                names = [column.name for column in moved_columns(table)]
                for batch in _batches(rows):
                    raise_if_stopped(stop, "the import was stopped; nothing was imported")
                    db.execute(sa.insert(table), [{"plan": plan} | dict(zip(names, row, strict=True)) for row in batch])
        except DataError as error:
            raise PlanError(
                "E-STATE-FILE", f"{file!r} has a value that its column does not take: it was changed"
            ) from error
        except IntegrityError as error:
            raise _occupied(database, "a run of it has begun meanwhile, or the file has a row twice") from error
    return header


def _make_way(db: Connection, database: Database, header: Header, file: str) -> None:
    """No row of the plan is here; raises PlanError if there are rows that the file does not continue."""
    plan = database.plan
    last = moves.last_move(db, plan)
    there = {name: rows for name, rows in count_rows(db, plan).items() if rows}
    if last is not None and last.is_out:
        if header.number <= last.number:
            raise PlanError(
                "E-STATE-FILE",
                f"{file!r} is no later than what was exported from state {database.place!r}. If that was imported"
                " nowhere, take the state back: offramp state reopen PLAN --never-imported",
            )
        for table in moved_tables():
            db.execute(sa.delete(table).where(table.c.plan == plan))
    elif there:
        same = " by this very file" if last is not None and last.id == header.id else ""
        named = ", ".join(f"{name} {rows}" for name, rows in there.items())
        raise _occupied(database, f"rows of it are there{same} ({named})")


def _checked(reader: Reader, file: str) -> Iterator[tuple[sa.Table, Iterator[list[Any]]]]:
    """Yield this release's tables with their rows; raises PlanError E-STATE-FILE if the file's are others."""
    expected = {table.name: table for table in moved_tables()}
    if [*reader.header.rows] != [*expected]:
        raise PlanError("E-STATE-FILE", f"{file!r} has other tables than format {FORMAT}: it was changed")
    for name, columns, rows in reader.tables():
        if columns != described(expected[name]):
            raise PlanError("E-STATE-FILE", f"{file!r}: table {name!r} has other columns than format {FORMAT}")
        yield expected[name], _complete(rows, moved_columns(expected[name]), file)


def _complete(rows: Iterable[list[Any]], columns: Sequence[sa.Column[Any]], file: str) -> Iterator[list[Any]]:
    """Yield the rows; raises PlanError E-STATE-FILE for one without a value that it must have."""
    needed = [at for at, column in enumerate(columns) if not column.nullable]
    for row in rows:
        if any(row[at] is None or row[at] != row[at] for at in needed):  # A NaN is NULL in SQLite.
            raise PlanError("E-STATE-FILE", f"{file!r} has a row without a value that it must have: it was changed")
        yield row


def _batches(rows: Iterable[list[Any]]) -> Iterator[Sequence[list[Any]]]:
    batch: list[list[Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(batch) == _BATCH_ROWS or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _occupied(database: Database, why: str) -> PlanError:
    return PlanError(
        "E-STATE-OCCUPIED",
        f"state {database.place!r} is not empty of plan {database.plan!r}: {why}. Nothing was imported; name another"
        " place in `state`, or delete what is there",
    )
