"""The rows of one plan in a state, whichever database holds it; what differs by database is behind `Backend`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError

from stores.errors import PlanError
from stores.state import moves, postgresql_url, sqlite_file
from stores.state.backend import Backend
from stores.state.postgresql_url import is_postgresql, read_url
from stores.state.sqlite_file import SqliteFile

_URL_FORMS = f"{sqlite_file.URL_FORM}, or {postgresql_url.URL_FORM}"


class Database:
    """The rows of one plan in a state; safe to share between threads."""

    def __init__(self, url: str, plan: str, *, read_only: bool = False) -> None:
        """Open the database, making the state and the tables it lacks; raises PlanError if it cannot be used.

        Raises TransientError E-STATE-BUSY if it does not answer. With `read_only` the state must be there, and nothing
        is made or changed.
        """
        self.plan = plan
        self._backend = backend(url)
        self._backend.open(read_only=read_only)

    def close(self) -> None:
        """Close every connection."""
        self._backend.close()

    def is_usable(self) -> bool:
        """Return whether the database answers, and is the one that was opened."""
        return self._backend.is_usable()

    def key(self, route: str) -> dict[str, Any]:
        """Return the columns that name the route in every table."""
        return {"plan": self.plan, "route": route}

    def where(self, table: sa.Table, route: str) -> sa.ColumnElement[bool]:
        """Return the condition that picks the route's rows of a table."""
        return sa.and_(table.c.plan == self.plan, table.c.route == route)

    @property
    def place(self) -> str:
        """How a message names the database: without user, password or options."""
        return self._backend.place

    @contextmanager
    def writing(self, *, fenced: bool = False) -> Iterator[Connection]:
        """Give a transaction that writes, all of it or nothing.

        Raises PlanError E-STATE-MOVED if the plan's state was moved elsewhere. That is not asked with `fenced`, for a
        transaction that changes nothing unless the lease of its run is the current one, as a move ends every lease.

        What it has read may be changed by others meanwhile, but for rows that it has locked (`with_for_update`) or
        written. Raises TransientError E-STATE-BUSY when the database does not answer, PermanentError E-STATE-BROKEN
        when it cannot be used, and PermanentError E-STATE-GONE when the state is no longer the one that was opened.
        """
        with self._backend.writing() as db:
            if not fenced:
                moves.stay_here(db, self.plan, self.place)
            yield db

    def moving(self) -> AbstractContextManager[Connection]:
        """Give a transaction that writes for a move of the plan's state. Raises the errors of the database."""
        return self._backend.writing()

    def reading(self) -> AbstractContextManager[Connection]:
        """Give a connection that reads; each query sees what is committed then. Raises the errors of `writing`."""
        return self._backend.reading()

    def now(self, db: Connection) -> float:
        """Return the time by the clock of the database, the only one by which times in the state are compared.

        In seconds since 1970; within a transaction it runs on.
        """
        return self._backend.now(db)

    def upsert(
        self,
        db: Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Each row is on record, whether one of its primary key was there or not; all rows have the same columns.

        A row that was there gets the columns of the new one, or the values of `changes`, which may name the table's
        columns for what was there. With no changes in it (``{}``), a row that was there stays as it was. Rows are
        written in the order of their keys, so that transactions with the same rows wait for one another and never in a
        circle.
        """
        if not rows:
            return
        key = [column.key for column in table.primary_key]
        if changes is None:
            changes = {name: self.new_value(table.c[name]) for name in rows[0] if name not in key}
        ordered = sorted(rows, key=lambda row: tuple(row[name] for name in key))
        self._backend.upsert(db, table, ordered, changes)

    def key_of(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return, for a page of rows in the order of their keys, what is indexed of a column of the primary key.

        It is the column itself, or what differs for values that differ, where values may be longer than an index takes.
        """
        return self._backend.key(column)

    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that picks the rows whose column, of the primary key, is one of the values."""
        return self._backend.among(column, values)

    @staticmethod
    def new_value(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return, for the `changes` of `upsert`, what the row that was to be inserted has in the column."""
        return sa.literal_column(f'excluded."{column.name}"', column.type)


def backend(url: str) -> Backend:
    """Return the database of a state's URL, before it is opened; raises PlanError E-STATE-URL for any other one.

    Raises PlanError E-STATE-DRIVER where the library for it is not installed.
    """
    if is_postgresql(url):
        found = read_url(url)
        from stores.state.postgresql import PostgresqlSchema  # psycopg is an extra.

        return PostgresqlSchema(found)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise PlanError("E-STATE-URL", f"state is not a database URL; write {_URL_FORMS}") from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        allowed = f"allowed are an SQLite file and PostgreSQL: write {_URL_FORMS}"
        raise PlanError("E-STATE-URL", f"state is of {parsed.drivername!r}; {allowed}")
    return SqliteFile(parsed)
