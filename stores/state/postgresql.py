"""A state on PostgreSQL: one schema, used by any number of machines, directly or through PgBouncer (R130).

A connection may lead to another session of the server in each transaction (PgBouncer, `pool_mode = transaction`). So
nothing here belongs to a session: tables are named with their schema, no statement is prepared, settings are those of
one transaction, and no lock outlives one.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql as dialect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError

from stores.errors import OfframpError
from stores.state.postgresql_checks import driver_of, look
from stores.state.postgresql_faults import fault_at_opening, fault_at_work, gone, only_reads
from stores.state.postgresql_keys import among, key_of, lift_limit, unique_by
from stores.state.postgresql_transactions import WAIT_S, Begun, Transactions
from stores.state.postgresql_url import PostgresqlUrl
from stores.state.tables import meta
from stores.state.upgrade import bring_up_to_date, is_current, refuse_unready

_log = logging.getLogger(__name__)

_CONNECTIONS = 8
"""Of one process, opened as they are needed: a transaction is short, so many threads share them."""
_IDENTITY = "identity"


class PostgresqlSchema:
    """`stores.state.backend.Backend` in a schema of a PostgreSQL database."""

    def __init__(self, url: PostgresqlUrl) -> None:
        """Take the URL; nothing is connected yet."""
        self._url = url
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(**url.parameters, autocommit=True, prepare_threshold=None),
            isolation_level="AUTOCOMMIT",
            pool_size=_CONNECTIONS,
            max_overflow=_CONNECTIONS,
            pool_timeout=WAIT_S,
            pool_use_lifo=True,
            use_native_hstore=False,  # Looking for it would be the first query, before the search path is looked at.
            # Rows of documents' ids are in the parameters.
            hide_parameters=True,
        )
        sa.event.listen(engine, "checkout", _refuse_stale)
        self._engine = engine.execution_options(schema_translate_map={None: url.schema})
        schema = sql.Identifier(url.schema).as_string()
        self._transactions = Transactions(self._engine, url)
        self._identity_sql = f"(SELECT value || '/' || tableoid FROM {schema}.meta WHERE key = '{_IDENTITY}')"  # noqa: S608
        self._identity: str | None = None
        self._last_id = 0

    @property
    def place(self) -> str:
        """Hosts, database and schema."""
        return self._url.place

    def transport_notes(self) -> Iterator[str]:
        """Yield what a person should know of the way to the database."""
        return self._url.transport_notes()

    def exists(self) -> bool:
        """Return whether the schema is there; raises PlanError where it is not and may not be made."""
        with self._opening(), self._engine.connect() as db:
            return look(db, self._url)

    def what_a_run_makes(self) -> str:
        """Return that a run makes the schema and its tables."""
        return f"a run makes the schema {self._url.schema} and its tables"

    def open(self, *, read_only: bool) -> None:
        """The schema has the tables of this release; they, and it, were made where absent, unless `read_only`."""
        with self._opening():
            with self._engine.connect() as db:
                there = look(db, self._url)
                if read_only:
                    refuse_unready(db, self.place)
                    return
                ready = there and is_current(db, self.place)
            if not ready:
                self._make()
            with self._engine.connect() as db:
                self._identity = self._read_identity(db)
                self._transactions.forget_old(db)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def is_usable(self) -> bool:
        """Return whether the server answers, and the schema has the tables that were opened."""
        try:
            with self._engine.connect() as db:
                return self._read_identity(db) == self._identity
        except (SQLAlchemyError, psycopg.Error):
            return False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that writes; what it reads others may change, but for rows that it locks."""
        try:
            last = self._last_id
            db, begun = self._transactions.begin(self._identity_sql)
            try:
                self._ensure_same(begun, last)
                yield db
                self._commit(db, begun)
            finally:
                db.close()  # Rolls back what was not committed.
        except (SQLAlchemyError, psycopg.Error) as error:
            raise fault_at_work(error, self.place) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection; each query sees what is committed then, and no transaction stays open."""
        try:
            with self._transactions.connect() as db:
                yield db
        except (SQLAlchemyError, psycopg.Error) as error:
            raise fault_at_work(error, self.place) from error

    def now(self, db: Connection) -> float:
        """Return the server's time; not that of the transaction's begin."""
        return float(db.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8").scalar_one())

    def upsert(
        self, db: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], changes: Mapping[str, Any]
    ) -> None:
        """Insert the rows, or change those that are there."""
        new = dialect.insert(table)
        key = unique_by(table)
        if changes:
            db.execute(new.on_conflict_do_update(index_elements=key, set_=changes), list(rows))
        else:
            db.execute(new.on_conflict_do_nothing(index_elements=key), list(rows))

    def key(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return the column, or of ids that may be too long for an index what stands for them there."""
        return key_of(column)

    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that picks the rows whose column is one of the values."""
        return among(column, values)

    def _ensure_same(self, begun: Begun, last: int) -> None:
        """Return if the state is the one that was opened, and has all that this process has committed to it."""
        if begun.standby:
            raise only_reads(self.place)
        if begun.identity != self._identity:
            raise gone(self.place, "its tables are others now")
        # The server numbers transactions in order, so a later one with no larger number is of an earlier copy.
        if begun.id <= last:
            raise gone(self.place, "it was restored from an earlier backup, or a standby that lacked commits took over")

    def _commit(self, db: Connection, begun: Begun) -> None:
        """The transaction is committed; raises TransientError if it was not, whatever became of its connection."""
        self._transactions.commit(db, begun)
        self._last_id = max(self._last_id, begun.id)

    def _read_identity(self, db: Connection) -> str | None:
        """Return what names the tables: it is another one for a copy of them."""
        found = driver_of(db).execute(f"SELECT {self._identity_sql}").fetchone()
        return None if found is None else found[0]

    def _make(self) -> None:
        """The schema and its tables are made, or upgraded for this release, by one of those that come at once."""
        db, begun = self._transactions.begin("NULL", marked=False)
        try:
            if begun.standby:
                raise only_reads(self.place)
            schema = sql.Identifier(self._url.schema).as_string()
            db.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"offramp {self._url.schema}",))
            if not look(db, self._url):
                driver_of(db).execute(f"CREATE SCHEMA {schema}")
            driver_of(db).execute(f"SET LOCAL search_path = {schema}")
            bring_up_to_date(db, self.place, self.now(db), lambda _found: None)
            lift_limit(db)
            self._transactions.make(db)
            self.upsert(db, meta, [{"key": _IDENTITY, "value": uuid4().hex}], {})
            self._commit(db, begun)
        finally:
            db.close()

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, psycopg.Error) as error:
            self.close()
            raise fault_at_opening(error, self.place) from error
        except OfframpError:
            self.close()
            raise


def _refuse_stale(connection: psycopg.Connection[Any], _record: Any, _proxy: Any) -> None:
    """Refuse a pooled connection that the server has ended meanwhile: nothing else makes an idle one readable."""
    if connection.closed:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError
