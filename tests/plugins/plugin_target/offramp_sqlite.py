# offramp_sqlite.py
"""A target: rows of a table in an SQLite file."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from mappers.contract import Record
from stores.contract import Listable, Rejected
from stores.errors import PermanentError, PlanError, TransientError

LARGEST_BODY_BYTES = 500_000_000
ADDRESSES_PER_QUERY = 500
COLUMNS = [("address", "TEXT"), ("body", "BLOB")]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: a text that no other row of the table has, and bytes."""

    address: str
    body: bytes
    expires_at_ms: int | None = None

    def canonical(self) -> bytes:
        """Return the body: two rows mean the same exactly if their bytes are equal."""
        return self.body


class SQLiteTarget(Listable):
    """One table of an SQLite file."""

    @dataclass(frozen=True)
    class Connection:
        """The keys of `targets.sqlite`."""

        path: str
        """The file, absolute or below the working directory; it is made if it is not there, its folder is not."""

    @dataclass(frozen=True)
    class Placement:
        """The keys a route may give."""

        table: str | None = None
        """The table; the route's name by default."""

    def __init__(self, connection: Connection, placement: Placement, route: str) -> None:
        """Take the options and connect to nothing; raises ValueError, the key first, for what cannot be served."""
        self._path = Path(connection.path).absolute()
        self._table = placement.table or route
        if not re.fullmatch(r"[A-Za-z]\w*", self._table) or self._table.lower().startswith(("sqlite_", "offramp_")):
            raise ValueError(f"table: found {self._table!r}; use a letter, then letters, digits and _")

    @property
    def records(self) -> tuple[type[Record], ...]:
        """What its tables hold."""
        return (Row,)

    @property
    def territory(self) -> str:
        """The table, whose name has no case in SQLite; NUL ends it, so that `a` is not taken for the start of `ab`."""
        return f"{self._path} {self._table.lower()}\0"

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError where the table cannot be. Writes nothing."""
        if not self._path.parent.is_dir():
            raise PlanError(
                "E-SQLITE-FOLDER", f"{self._path.parent} is no folder; make it, or change targets.sqlite.path"
            )
        if not self._path.exists():
            return (f"{self._path} is not there yet and will be made",)
        with self._opened("ro") as db:
            self._refuse_another_table(db)
        return ()

    def prepare(self) -> str:
        """The table is there; returns its identity, drawn when it is made."""
        with self._opened("rwc") as db:
            db.execute("BEGIN IMMEDIATE")  # Another process may prepare it at this moment.
            self._refuse_another_table(db)
            db.execute("CREATE TABLE IF NOT EXISTS offramp_identity (name TEXT PRIMARY KEY, identity TEXT NOT NULL)")
            if not self._columns(db):
                db.execute(f'CREATE TABLE "{self._table}" (address TEXT PRIMARY KEY, body BLOB NOT NULL)')
                drawn = (self._table.lower(), uuid4().hex)
                db.execute("INSERT OR REPLACE INTO offramp_identity VALUES (?, ?)", drawn)
            named = "SELECT identity FROM offramp_identity WHERE name = ?"
            found = db.execute(named, (self._table.lower(),)).fetchone()
            db.commit()
        return str(found[0]) if found else ""

    def write(self, records: Sequence[Row], /) -> Sequence[Rejected]:
        """Every row is in the file when this returns, or named in the answer."""
        rejected, rows = [], []
        for index, row in enumerate(records):
            if len(row.body) > LARGEST_BODY_BYTES:
                reason = f"the body has {len(row.body)} bytes; a row takes {LARGEST_BODY_BYTES}"
                rejected.append(Rejected(index, "E-SQLITE-SIZE", reason))
            else:
                rows.append((row.address, row.body))
        with self._opened() as db:
            db.executemany(f'INSERT OR REPLACE INTO "{self._table}" VALUES (?, ?)', rows)
            db.commit()
        return rejected

    def delete(self, addresses: Sequence[str], /) -> None:
        """No row has these addresses."""
        with self._opened() as db:
            db.executemany(f'DELETE FROM "{self._table}" WHERE address = ?', [(each,) for each in addresses])
            db.commit()

    def read(self, addresses: Sequence[str], /) -> Mapping[str, Row]:
        """Return the rows of these addresses that are there."""
        found: dict[str, Row] = {}
        with self._opened() as db:
            for start in range(0, len(addresses), ADDRESSES_PER_QUERY):
                some = addresses[start : start + ADDRESSES_PER_QUERY]
                asked = f'SELECT address, body FROM "{self._table}" WHERE address IN ({",".join("?" * len(some))})'
                found.update((address, Row(address, body)) for address, body in db.execute(asked, some))
        return found

    def addresses(self) -> Iterator[str]:
        """Yield the address of every row: what lets verification find rows that should not be there."""
        with self._opened() as db:
            for (address,) in db.execute(f'SELECT address FROM "{self._table}"'):
                yield address

    def close(self) -> None:
        """Release nothing: every call opens the file for itself, so several threads may call at once."""

    def _columns(self, db: sqlite3.Connection) -> list[tuple[str, str]]:
        return [(str(row[1]), str(row[2])) for row in db.execute(f'PRAGMA table_info("{self._table}")')]

    def _refuse_another_table(self, db: sqlite3.Connection) -> None:
        found = self._columns(db)
        if found not in ([], COLUMNS):
            raise PlanError(
                "E-SQLITE-TABLE",
                f"table {self._table} of {self._path} has the columns {found}, not {COLUMNS}; name another with table:",
            )

    @contextmanager
    def _opened(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        """Give a connection to the file; its errors come out as the engine's, and nothing else knows sqlite3."""
        try:
            # timeout: how long SQLite itself tries again while another process writes.
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode={mode}", uri=True, timeout=30)) as db:
                yield db
        except sqlite3.Error as error:
            code, told = getattr(error, "sqlite_errorname", "unknown"), f"{self._path}: {error}"
            if code in ("SQLITE_BUSY", "SQLITE_LOCKED"):
                raise TransientError("E-SQLITE-BUSY", told) from error
            raise PermanentError("E-SQLITE", f"{told} ({code})") from error
