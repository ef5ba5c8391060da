"""The database file of a state: opened by several processes at once, changed in whole transactions (R130)."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError

from stores.errors import PermanentError, PlanError, TransientError
from stores.private_paths import UnsafePathError, make_private_file, refuse_unsafe_file
from stores.state.backup import keep_copy
from stores.state.upgrade import Format, bring_up_to_date, is_current, refuse_unready
from stores.throttling.backoff import Backoff

_log = logging.getLogger(__name__)

_BUSY_MS = 30_000


class Database:
    """The rows of one plan in a state file; safe to share between threads."""

    def __init__(self, url: str, plan: str, *, read_only: bool = False) -> None:
        """Open the file, making it and the tables it lacks; raises PlanError if it cannot be used.

        With `read_only` the file must be there, and nothing is made or changed.
        """
        self.plan = plan
        self._path, parsed = _path(url)
        self._engine = _open_to_read(self._path) if read_only else _open(self._path, parsed)
        self._file = _identity(self._path)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def key(self, route: str) -> dict[str, Any]:
        """Return the columns that name the route in every table."""
        return {"plan": self.plan, "route": route}

    def where(self, table: sa.Table, route: str) -> sa.ColumnElement[bool]:
        """Return the condition that picks the route's rows of a table."""
        return sa.and_(table.c.plan == self.plan, table.c.route == route)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a transaction that writes, all of it or nothing.

        Raises TransientError E-STATE-BUSY when the database does not answer, PermanentError E-STATE-BROKEN when it
        cannot be used, and PermanentError E-STATE-GONE when the file is no longer the one that was opened.
        """
        self._ensure_there()
        with _translated(), self._engine.execution_options(writes=True).begin() as db:
            yield db

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that reads; raises the errors of `writing`."""
        self._ensure_there()
        with _translated(), self._engine.connect() as db:
            yield db

    def _ensure_there(self) -> None:
        """Return if the file is the one that was opened: a connection to a deleted file goes on without an error."""
        found = _identity(self._path)
        if found is None or found != self._file:
            what = "deleted" if found is None else "replaced by another file"
            raise PermanentError(
                "E-STATE-GONE",
                f"state {str(self._path)!r} was {what} while the run was at work, which stops here; put the same file"
                " back and run the same command, or start over with backfill --restart",
            )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise TransientError("E-STATE-BUSY", f"the state database does not answer: {error.orig}") from error
    except DatabaseError as error:
        raise PermanentError("E-STATE-BROKEN", f"the state database cannot be used: {error.orig}") from error


def _open(path: Path, parsed: URL) -> Engine:
    try:
        # Ids may be personal data, and a checkpoint that somebody else wrote could lose documents (R145). A file that
        # exists is not opened: closing it would drop the locks this process has on it by other connections (POSIX),
        # and the next process to close the state would delete the journal they go on writing to. SQLite gives its
        # journals the mode of the file.
        make_private_file(path)
        _refuse_unsafe_journals(path)
        # No limit: threads that wait for one another's transactions wait in SQLite, which says so in words of ours.
        engine = sa.create_engine(parsed, max_overflow=-1)
        sa.event.listen(engine, "connect", _on_connect)
        sa.event.listen(engine, "begin", _on_begin)
        _bring_up_to_date(engine, path)
    except UnsafePathError as error:
        raise _unsafe(path, error) from error
    except (OSError, SQLAlchemyError) as error:
        reason = str(error) if isinstance(error, OSError) else getattr(error, "orig", None) or type(error).__name__
        raise _unusable(path, str(reason)) from error
    return engine


def _bring_up_to_date(engine: Engine, path: Path) -> None:
    """The file has the tables of this release; as it was before an upgrade it is kept beside it."""
    with engine.connect() as db:
        if is_current(db, str(path)):
            return
    kept: list[Path] = []

    def keep(found: Format) -> None:
        kept.append(keep_copy(path, f"format-{found.number}"))

    try:
        # One write transaction: of several runs that start together one makes or upgrades the tables, and a file that
        # is refused stays as it was.
        with engine.execution_options(writes=True).begin() as db:
            bring_up_to_date(db, str(path), keep)
    except BaseException:
        for copy in kept:  # The state is still the same.
            copy.unlink(missing_ok=True)
        raise
    for copy in kept:
        _log.warning("state %s was upgraded for this release; as it was before it is kept in %s", path, copy)


def _refuse_unsafe_journals(path: Path) -> None:
    """Raise UnsafePathError if other users can meddle with a journal of SQLite beside the file."""
    for suffix in ("-wal", "-shm", "-journal"):
        refuse_unsafe_file(Path(f"{path.resolve()}{suffix}"))


def exists(url: str) -> bool:
    """Return whether the state's file is there; raises PlanError where it is not and could not be made."""
    path, _ = _path(url)
    if path.exists():
        if not path.is_file():
            raise _unusable(path, os.strerror(errno.EISDIR))
        try:
            _refuse_unsafe_journals(path)
        except UnsafePathError as error:
            raise _unsafe(path, error) from error
        if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.resolve().parent, os.W_OK | os.X_OK)):
            raise _unusable(path, "it, or its folder, may not be written to")
        return True
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise _unusable(path, f"{str(folder)!r} is no folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unusable(path, f"the folder {str(folder)!r} may not be written to")
    return False


def _open_to_read(path: Path) -> Engine:
    # A file that nobody has open has no journal beside it; reading it as one that nobody changes makes none either.
    immutable = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro{immutable}", uri=True, timeout=_BUSY_MS / 1000, check_same_thread=False
        ),
        poolclass=sa.pool.NullPool,
    )
    try:
        with engine.connect() as db:
            refuse_unready(db, str(path))
    except SQLAlchemyError as error:
        raise _unusable(path, str(getattr(error, "orig", None) or type(error).__name__)) from error
    return engine


def _unsafe(path: Path, error: UnsafePathError) -> PlanError:
    return PlanError("E-STATE-UNSAFE", f"state {str(path)!r}: {str(error.filename)!r}: {error.strerror}")


def _unusable(path: Path, reason: str) -> PlanError:
    return PlanError("E-STATE-OPEN", f"state {str(path)!r} cannot be used: {reason}; name a writable file in `state`")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of the file, by which SQLite itself tells files apart; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _path(url: str) -> tuple[Path, URL]:
    """Return the SQLite file of a state URL; raises PlanError for any other database."""
    wanted = "write sqlite:///path/to/state.db, or sqlite:////absolute/path/to/state.db"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise PlanError("E-STATE-URL", f"state is not a database URL; {wanted}") from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise PlanError("E-STATE-URL", f"state is of {parsed.drivername!r}; allowed is an SQLite file: {wanted}")
    if parsed.host or parsed.query or not parsed.database or parsed.database.startswith((":memory:", "file:")):
        raise PlanError("E-STATE-URL", f"state names no plain file; {wanted}")
    return Path(parsed.database), parsed


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
