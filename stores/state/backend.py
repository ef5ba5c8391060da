"""What a state asks of its database: whatever differs from one database to another is behind this contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection


class Backend(Protocol):
    """One database, which holds the states of any number of plans; safe to share between threads."""

    @property
    def place(self) -> str:
        """How a message names the database: without user, password or options."""

    def transport_notes(self) -> Iterable[str]:
        """Return what a person should know of the way to the database."""

    def exists(self) -> bool:
        """Return whether the state is there; makes nothing.

        Raises PlanError where it cannot be used, or is not there and could not be made, and TransientError
        E-STATE-BUSY where the database does not answer.
        """

    def what_a_run_makes(self) -> str:
        """Return what the first run would make, where the state is not there."""

    def open(self, *, read_only: bool) -> None:
        """The database can be used; a state that is absent was made, unless `read_only`.

        Raises PlanError if it cannot be used, TransientError E-STATE-BUSY if it does not answer.
        """

    def close(self) -> None:
        """Close every connection."""

    def is_usable(self) -> bool:
        """Return whether the database answers, and is the one that was opened."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Give a transaction that writes, all of it or nothing; see `Database.writing`."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Give a connection that reads; see `Database.reading`."""

    def now(self, db: Connection) -> float:
        """Return the database's time, in seconds since 1970."""

    def upsert(
        self,
        db: Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        changes: Mapping[str, Any],
    ) -> None:
        """Insert the rows; `changes` are made to a row that has the primary key of one, nothing if there are none."""

    def key(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return what is indexed of a column of the primary key: it differs for values that differ."""

    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that picks the rows whose column, of the primary key, is one of the values."""
