# test_sqlite.py
"""The laws of a target, on SQLite."""

import sqlite3

import pytest
from offramp_sqlite import Row, SQLiteTarget

from stores.testing import TargetLaws


class TestSQLite(TargetLaws):
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "things.db"

    @pytest.fixture
    def target(self, path):
        made = SQLiteTarget(SQLiteTarget.Connection(str(path)), SQLiteTarget.Placement("things"), "route")
        made.prepare()
        return made

    @pytest.fixture
    def another(self, target, path):
        return SQLiteTarget(SQLiteTarget.Connection(str(path)), SQLiteTarget.Placement("things"), "route")

    @pytest.fixture
    def records(self):
        bodies = [b"", b"\x00\xff", "é 😀".encode(), b"long " * 10_000]
        return [Row(f"{number} é'\" \x00", body) for number, body in enumerate(bodies)]

    @pytest.fixture
    def changed(self, records):
        return [Row(record.address, bytes(reversed(record.body)) + b"x") for record in records]

    @pytest.fixture
    def many(self):
        return lambda n: [Row(f"many {number}", b"%d" % number) for number in range(n)]

    @pytest.fixture
    def peek(self, path):
        def held(address):
            with sqlite3.connect(path) as db:
                found = db.execute("SELECT body FROM things WHERE address = ?", [address]).fetchone()
            return Row(address, found[0]) if found else None

        return held

    @pytest.fixture
    def count(self, path):
        def held():
            with sqlite3.connect(path) as db:
                return db.execute("SELECT count(*) FROM things").fetchone()[0]

        return held
