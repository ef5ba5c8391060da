"""Transactions of a state on PostgreSQL: begun in one round trip, and known to be committed or not, whatever is lost.

The server says of a transaction's number whether it was committed (`pg_xact_status`). After a crash that is not enough:
a number that had not reached the disk is given to another transaction. So each transaction also leaves its number in a
row of its connection's own, which is there if, and only if, it was committed.
"""

from __future__ import annotations

import logging
from typing import NamedTuple
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from stores.errors import TransientError
from stores.state.postgresql_checks import driver_of
from stores.state.postgresql_faults import fault_at_work, lost_connection, passes
from stores.state.postgresql_url import PostgresqlUrl
from stores.throttling.backoff import Backoff

_log = logging.getLogger(__name__)

WAIT_S = 30
"""For a row that another transaction has locked, and for a process that stopped within a transaction."""
_ASK_AGAIN_S = 2.0
"""The longest pause between two attempts to reach a server that was away."""
_DECIDED_WITHIN_S = 60.0
"""A transaction whose connection was cut has ended by then: the server waits no longer for its next statement."""


class Begun(NamedTuple):
    """A transaction that has begun."""

    id: int
    """Grows with each transaction of the server."""
    session: str
    """The connection: of no other, and of no other server behind it."""
    identity: str | None
    standby: bool


class Transactions:
    """The transactions in one schema."""

    def __init__(self, engine: Engine, url: PostgresqlUrl) -> None:
        """Take the engine, whose connections commit each statement until a transaction is begun."""
        self._engine = engine
        self._place = url.place
        self._table = f"{sql.Identifier(url.schema).as_string()}.transactions"

    def make(self, db: Connection) -> None:
        """The table of the connections' last transactions is there."""
        driver_of(db).execute(
            f"CREATE TABLE IF NOT EXISTS {self._table}"
            ' (session text COLLATE "C" PRIMARY KEY, number bigint NOT NULL, at timestamptz NOT NULL)'
        )

    def forget_old(self, db: Connection) -> None:
        """Connections that have written nothing for a week are forgotten: none of theirs is asked about any more."""
        driver_of(db).execute(f"DELETE FROM {self._table} WHERE at < now() - interval '7 days'")  # noqa: S608

    def begin(self, identity: str, *, marked: bool = True) -> tuple[Connection, Begun]:
        """Return a transaction.

        As nothing was written by it yet, a connection that proves to be lost is replaced, and a server that does not
        answer is asked again for half a minute, or until this process is to stop.

        `identity` is an expression, whose value is that of the transaction. Without `marked`, for the one that makes
        the tables, a commit whose connection is lost counts as failed.
        """
        backoff, replaced = Backoff(WAIT_S, most_s=_ASK_AGAIN_S), False
        while True:
            db = self.connect(backoff)
            try:
                db.begin()
                session = str(db.connection.info.setdefault("session", uuid4().hex))
                cursor = driver_of(db).execute(_BEGIN + (self._mark(session) if marked else "") + _SELECT + identity)
                while cursor.nextset():
                    pass
                number, standby, found = cursor.fetchone() or (0, True, None)
                return db, Begun(number, session, found, standby)
            except BaseException as error:
                was_lost = driver_of(db).closed
                if was_lost:
                    db.invalidate()
                db.close()
                if not isinstance(error, SQLAlchemyError | psycopg.Error) or not passes(error):
                    raise
                # The first connection may have been lost long ago.
                if (replaced or not was_lost) and not self._waits(backoff):
                    raise
                replaced = True

    def connect(self, backoff: Backoff | None = None) -> Connection:
        """Return a connection; a server that does not answer is asked again as long as by `begin`."""
        backoff = backoff or Backoff(WAIT_S, most_s=_ASK_AGAIN_S)
        while True:
            try:
                return self._engine.connect()
            except (SQLAlchemyError, psycopg.Error) as error:
                if not passes(error) or not self._waits(backoff):
                    raise

    def _waits(self, backoff: Backoff) -> bool:
        """Return whether the state is to be asked again, after a wait."""
        _log.info("state %s does not answer; it is asked again for half a minute", self._place)
        return backoff.wait()

    def commit(self, db: Connection, begun: Begun) -> None:
        """The transaction is committed; raises TransientError if it was not, whatever became of its connection."""
        if driver_of(db).info.transaction_status != psycopg.pq.TransactionStatus.INTRANS:
            raise TransientError("E-STATE-BUSY", f"a transaction in state {self._place} was ended by the server")
        try:
            db.commit()
        except (SQLAlchemyError, psycopg.Error) as error:
            if not lost_connection(error) or not self._was_committed(begun, error):
                raise
            _log.info("the connection to state %s was lost, but its transaction is committed", self._place)

    def _was_committed(self, begun: Begun, lost: Exception) -> bool:
        """Return what became of a transaction whose connection was lost: read from the server, never guessed."""
        backoff = Backoff(_DECIDED_WITHIN_S)
        while True:
            try:
                with self._engine.connect() as db:
                    if not self._is_in_progress(db, begun.id):
                        found = driver_of(db).execute(
                            f"SELECT number FROM {self._table} WHERE session = '{begun.session}'"  # noqa: S608
                        )
                        return found.fetchone() == (begun.id,)
            except (SQLAlchemyError, psycopg.Error) as error:
                if not isinstance(fault_at_work(error, self._place), TransientError):
                    raise
            if not backoff.wait():
                raise TransientError(
                    "E-STATE-BUSY",
                    f"the connection to state {self._place} was lost in a commit, and the server did not say what"
                    " became of it",
                ) from lost

    def _is_in_progress(self, db: Connection, number: int) -> bool:
        """Return whether the transaction may end in either way yet; its session, which did not notice, is ended."""
        try:
            status = db.exec_driver_sql("SELECT pg_xact_status(%s::text::xid8)", (str(number),)).scalar_one()
        except SQLAlchemyError as error:
            if getattr(error, "orig", None) is None or getattr(error.orig, "sqlstate", "") != "22023":  # type: ignore[attr-defined]
                raise
            return False  # It is above all numbers given: a crash took it before anything of it reached the disk.
        if status == "in progress":
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid::text::bigint = %s"
            db.exec_driver_sql(ended, (number % 2**32,))
        return bool(status == "in progress")

    def _mark(self, session: str) -> str:
        return (
            f"INSERT INTO {self._table} VALUES ('{session}', pg_current_xact_id()::text::bigint, now())"  # noqa: S608
            " ON CONFLICT (session) DO UPDATE SET number = excluded.number, at = excluded.at;"
        )


_BEGIN = (
    f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{WAIT_S}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{WAIT_S}s';"
    # An acquired lease must outlast a crash of the server.
    " SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off';"
)
_SELECT = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE pg_current_xact_id()::text::bigint END, pg_is_in_recovery(), "
)
