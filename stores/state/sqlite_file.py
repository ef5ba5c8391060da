"""A state in an SQLite file: opened by several processes of one machine, changed in whole transactions (R130)."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as dialect
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.private_paths import UnsafePathError, make_private_file, refuse_unsafe_file
from stores.state.backup import keep_copy
from stores.state.upgrade import Format, bring_up_to_date, is_current, refuse_unready
from stores.throttling.backoff import Backoff

_log = logging.getLogger(__name__)

_BUSY_MS = 30_000
URL_FORM = "sqlite:///path/to/state.db, or sqlite:////absolute/path/to/state.db"


class SqliteFile:
    """`stores.state.backend.Backend` in a file."""

    def __init__(self, url: URL) -> None:
        """Take the URL of a file; raises PlanError E-STATE-URL for one that names no plain file."""
        if url.host or url.query or not url.database or url.database.startswith((":memory:", "file:")):
            raise PlanError("E-STATE-URL", f"state names no plain file; write {URL_FORM}")
        self._path = Path(url.database)
        self._url = url
        self._engine: Engine | None = None
        self._file: tuple[int, int] | None = None

    @property
    def place(self) -> str:
        """The file as the plan names it."""
        return str(self._path)

    def transport_notes(self) -> Iterable[str]:
        """Return nothing: a file is on this machine."""
        return ()

    def exists(self) -> bool:
        """Return whether the file is there; raises PlanError where it is not and could not be made."""
        path = self._path
        if path.exists():
            if not path.is_file():
                raise self._unusable(os.strerror(errno.EISDIR))
            try:
                self._refuse_unsafe_journals()
            except UnsafePathError as error:
                raise self._unsafe(error) from error
            if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.resolve().parent, os.W_OK | os.X_OK)):
                raise self._unusable("it, or its folder, may not be written to")
            return True
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise self._unusable(f"{str(folder)!r} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise self._unusable(f"the folder {str(folder)!r} may not be written to")
        return False

    def what_a_run_makes(self) -> str:
        """Return that a run makes the file."""
        return "a run makes it"

    def open(self, *, read_only: bool) -> None:
        """The file is open; it and its tables were made where absent, unless `read_only`."""
        self._engine = self._open_to_read() if read_only else self._open()
        self._file = self._identity()

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()

    def is_usable(self) -> bool:
        """Return whether the file is the one that was opened, and can be read."""
        try:
            with self.reading() as db:
                db.execute(sa.select(1))
        except OfframpError:
            return False
        return True

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that writes, while no other one does."""
        self._ensure_there()
        with self._translated(), self._opened().execution_options(writes=True).begin() as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that reads."""
        self._ensure_there()
        with self._translated(), self._opened().connect() as db:
            yield db

    def now(self, _db: Connection) -> float:
        """Return the time of this machine: SQLite has no other."""
        return time.time()

    def upsert(
        self, db: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], changes: Mapping[str, Any]
    ) -> None:
        """Insert the rows, or change those that are there."""
        new = dialect.insert(table)
        key = list(table.primary_key)
        if changes:
            db.execute(new.on_conflict_do_update(index_elements=key, set_=changes), list(rows))
        else:
            db.execute(new.on_conflict_do_nothing(index_elements=key), list(rows))

    def key(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """Return the column: an index takes values of any length."""
        return column

    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that picks the rows whose column is one of the values."""
        return column.in_(values)

    def _opened(self) -> Engine:
        assert self._engine is not None, "open comes first"  # noqa: S101
        return self._engine

    def _ensure_there(self) -> None:
        """Return if the file is the one that was opened: a connection to a deleted file goes on without an error."""
        found = self._identity()
        if found is None or found != self._file:
            what = "deleted" if found is None else "replaced by another file"
            raise PermanentError(
                "E-STATE-GONE",
                f"state {self.place!r} was {what} while the run was at work, which stops here; put the same file"
                " back and run the same command, or start over with backfill --restart",
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise TransientError("E-STATE-BUSY", f"the state database does not answer: {error.orig}") from error
        except DatabaseError as error:
            raise PermanentError("E-STATE-BROKEN", f"the state database cannot be used: {error.orig}") from error

    def _open(self) -> Engine:
        try:
            # Ids may be personal data, and a checkpoint that somebody else wrote could lose documents (R145). A file
            # that exists is not opened: closing it would drop the locks this process has on it by other connections
            # (POSIX), and the next process to close the state would delete the journal they go on writing to. SQLite
            # gives its journals the mode of the file.
            make_private_file(self._path)
            self._refuse_unsafe_journals()
            # No limit: threads that wait for one another's transactions wait in SQLite, which says so in words of ours.
            engine = sa.create_engine(self._url, max_overflow=-1)
            sa.event.listen(engine, "connect", _on_connect)
            sa.event.listen(engine, "begin", _on_begin)
            self._bring_up_to_date(engine)
        except UnsafePathError as error:
            raise self._unsafe(error) from error
        except (OSError, SQLAlchemyError) as error:
            reason = str(error) if isinstance(error, OSError) else getattr(error, "orig", None) or type(error).__name__
            raise self._unusable(str(reason)) from error
        return engine

    def _open_to_read(self) -> Engine:
        path = self._path
        # A file that nobody has open has no journal beside it; reading it as one that nobody changes makes none either.
        immutable = "" if Path(f"{path}-wal").exists() else "&immutable=1"
        engine = sa.create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro{immutable}",
                uri=True,
                timeout=_BUSY_MS / 1000,
                check_same_thread=False,
            ),
            poolclass=sa.pool.NullPool,
        )
        try:
            with engine.connect() as db:
                refuse_unready(db, self.place)
        except SQLAlchemyError as error:
            raise self._unusable(str(getattr(error, "orig", None) or type(error).__name__)) from error
        return engine

    def _bring_up_to_date(self, engine: Engine) -> None:
        """The file has the tables of this release; as it was before an upgrade it is kept beside it."""
        with engine.connect() as db:
            if is_current(db, self.place):
                return
        kept: list[Path] = []

        def keep(found: Format) -> None:
            kept.append(keep_copy(self._path, f"format-{found.number}"))

        try:
            # One write transaction: of several runs that start together one makes or upgrades the tables, and a file
            # that is refused stays as it was.
            with engine.execution_options(writes=True).begin() as db:
                bring_up_to_date(db, self.place, self.now(db), keep)
        except BaseException:
            for copy in kept:  # The state is still the same.
                copy.unlink(missing_ok=True)
            raise
        for copy in kept:
            _log.warning("state %s was upgraded for this release; as it was before it is kept in %s", self.place, copy)

    def _refuse_unsafe_journals(self) -> None:
        """Raise UnsafePathError if other users can meddle with a journal of SQLite beside the file."""
        for suffix in ("-wal", "-shm", "-journal"):
            refuse_unsafe_file(Path(f"{self._path.resolve()}{suffix}"))

    def _unsafe(self, error: UnsafePathError) -> PlanError:
        return PlanError("E-STATE-UNSAFE", f"state {self.place!r}: {str(error.filename)!r}: {error.strerror}")

    def _unusable(self, reason: str) -> PlanError:
        return PlanError(
            "E-STATE-OPEN", f"state {self.place!r} cannot be used: {reason}; name a writable file in `state`"
        )

    def _identity(self) -> tuple[int, int] | None:
        """Return device and number of the file, by which SQLite tells files apart; None where there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _on_connect(connection: Any, _record: Any) -> None:
    # pysqlite would begin transactions late and on its own; with None, _on_begin decides.
    connection.isolation_level = None
    cursor = connection.cursor()
    # WAL with FULL: a committed checkpoint survives a power cut (R130).
    backoff = Backoff(_BUSY_MS / 1000)
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        while True:
            try:
                cursor.execute(f"PRAGMA {pragma}")
                break
            except sqlite3.OperationalError as error:
                # Of several processes that set a new file's journal mode at once SQLite refuses a few, whatever the
                # timeout.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or not backoff.wait():
                    raise
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once: no transaction of ours fails half-way because of another one.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")
