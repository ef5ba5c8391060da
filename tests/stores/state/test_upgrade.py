"""A state of an earlier format becomes what a new one is; one of a later format, or with a run at work, is refused."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from states import LIMIT_S, execute, line, rows

from stores.errors import LeaseLost, PlanError, TransientError
from stores.state import revisions
from stores.state.leases import Lease
from stores.state.revisions import format_2, format_3
from stores.state.state import State
from stores.state.upgrade import FORMAT, NotReadyError

OLD = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); INSERT INTO meta VALUES ('schema', '2');"


@pytest.fixture
def url(sqlite_url: str) -> str:
    """No earlier release wrote to another database."""
    return sqlite_url


@pytest.fixture
def old(url: str) -> str:
    """Return the URL of a whole state of format 2."""
    engine = sa.create_engine(url)
    format_2.metadata.create_all(engine)
    engine.dispose()
    execute(url, "INSERT INTO meta VALUES ('schema', '2')")
    return url


def described(url: str) -> dict[str, Any]:
    """Return every table of a state with its columns, types, defaults and keys, by the database itself."""
    engine = sa.create_engine(url)
    found = sa.inspect(engine)
    tables: dict[str, Any] = {
        name: (
            {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in found.get_columns(name)
            },
            found.get_pk_constraint(name),
            found.get_unique_constraints(name),
            found.get_indexes(name),
        )
        for name in found.get_table_names()
    }
    engine.dispose()
    return tables


def test_the_format_of_this_release_is_the_last_revision() -> None:
    folder = Path(str(revisions.__file__)).parent
    assert ScriptDirectory(folder, version_locations=[folder]).get_heads() == [FORMAT] == [format_3.revision]


def test_an_upgraded_state_has_what_a_new_one_has(old: str, tmp_path: Path) -> None:
    new = f"sqlite:///{tmp_path}/new.db"
    State(new, "shop").close()
    State(old, "shop").close()
    assert described(old) == described(new)


@pytest.mark.parametrize("table", [*format_2.metadata.tables])
def test_a_state_that_lacks_a_table_of_its_format_is_upgraded_too(old: str, tmp_path: Path, table: str) -> None:
    if table != "meta":
        execute(old, f"DROP TABLE {table}")
    new = f"sqlite:///{tmp_path}/new.db"
    State(new, "shop").close()
    State(old, "shop").close()
    assert described(old) == described(new)


def test_a_state_from_the_first_minutes_of_format_2_gets_the_column_it_lacks(old: str, tmp_path: Path) -> None:
    execute(
        old,
        "ALTER TABLE routes DROP COLUMN recopied;"
        "INSERT INTO routes VALUES ('shop', 'orders', '{}', 'source', 'target', 1.5, 2.5, NULL)",
    )
    new = f"sqlite:///{tmp_path}/new.db"
    State(new, "shop").close()
    state = State(old, "shop")
    assert described(old) == described(new)
    assert not state.repairs.recopied("orders")
    route = state.partitions.route("orders")
    assert route is not None
    assert (route.source_identity, route.started, route.backfill_s) == ("source", 1.5, 2.5)
    state.close()


def test_the_upgrade_makes_no_sound(
    old: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    State(old, "shop").close()
    assert capfd.readouterr().out == ""
    assert [record.name for record in caplog.records] == ["stores.state.sqlite_file"]
    assert f"{old.removeprefix('sqlite:///')}.format-2" in caplog.text


def test_a_run_of_the_earlier_release_that_is_at_work_is_named(old: str) -> None:
    end = time.time() + 50
    execute(old, f"INSERT INTO leases VALUES ('archive', 'orders', 'elsewhere/7 pid:[1] 1', 4, {end})")
    with pytest.raises(TransientError) as refused:
        State(old, "shop")
    assert refused.value.code == "E-STATE-UPGRADE"
    assert all(word in refused.value.message for word in ("elsewhere/7", "orders", "archive"))
    assert rows(old, "SELECT * FROM meta") == [("schema", "2")]
    assert not [*Path(old.removeprefix("sqlite:///")).parent.glob("*.format-2*")]


def test_a_run_of_the_earlier_release_that_sleeps_past_its_lease_can_write_nothing_more(
    old: str, opened: Callable[..., State]
) -> None:
    execute(old, "INSERT INTO leases VALUES ('shop', 'orders', 'elsewhere/7 pid:[1] 1', 4, 1.0)")
    state = opened()
    with pytest.raises(LeaseLost):
        state.leases.renew(Lease("shop", "orders", "elsewhere/7 pid:[1] 1", 4))
    assert state.leases.acquire("orders").fence == 6


def test_a_state_of_a_later_release_is_refused_by_name(url: str) -> None:
    execute(
        url,
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);"
        "INSERT INTO meta VALUES ('schema', '99'), ('release', '7.8.9')",
    )
    for read_only in (False, True):
        with pytest.raises(PlanError) as refused:
            State(url, "shop", read_only=read_only)
        assert refused.value.code == "E-STATE-VERSION"
        assert all(word in refused.value.message for word in ("format 99", "release 7.8.9", f"format {FORMAT}"))
    assert rows(url, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("meta",)]


def test_a_state_that_is_only_read_is_not_upgraded(old: str, tmp_path: Path) -> None:
    before = described(old)
    with pytest.raises(NotReadyError, match="format 2"):
        State(old, "shop", read_only=True)
    assert described(old) == before
    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


def test_a_file_without_tables_is_only_read_as_one_that_a_run_makes(url: str) -> None:
    execute(url, "PRAGMA user_version = 0")
    with pytest.raises(NotReadyError, match="a run makes it"):
        State(url, "shop", read_only=True)


def dump(url: str) -> list[str]:
    """Return the whole file as SQL."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db:
        return [*db.iterdump()]


def test_an_upgrade_that_fails_at_its_last_step_leaves_the_state_as_it_was(old: str, tmp_path: Path) -> None:
    execute(
        old,
        "DROP TABLE steps; INSERT INTO leases VALUES ('shop', 'orders', '', 4, 0.0);"
        "CREATE TRIGGER unfit BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'no more room'); END",
    )
    before = dump(old)
    with pytest.raises(PlanError, match="no more room"):
        State(old, "shop")
    assert dump(old) == before
    assert [path.name for path in tmp_path.iterdir() if "format" in path.name] == []
    execute(old, "DROP TRIGGER unfit")
    State(old, "shop").close()
    assert rows(old, "SELECT value FROM meta WHERE key = 'schema'") == [(FORMAT,)]


@pytest.mark.parametrize("statement", ["CREATE TABLE steps", "INSERT INTO alembic_version", "UPDATE meta"])
def test_an_upgrade_that_is_killed_leaves_the_state_as_it_was(
    old: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]], statement: str
) -> None:
    execute(old, "DROP TABLE steps; INSERT INTO leases VALUES ('shop', 'orders', '', 4, 0.0)")
    before = dump(old)
    code = (
        "import sqlalchemy\n"
        "def stop(_db, _cursor, statement, *_rest):\n"
        "    if statement.strip().startswith(sys.argv[2]):\n"
        "        print('there', flush=True)\n"
        "        sys.stdin.readline()\n"
        "sqlalchemy.event.listen(sqlalchemy.Engine, 'before_cursor_execute', stop)\n"
        "State(sys.argv[1], 'shop')\n"
    )
    upgrading = process(code, old, statement)
    assert line(upgrading) == "there"
    upgrading.kill()
    upgrading.wait(LIMIT_S)
    assert dump(old) == before
    assert dump(f"sqlite:///{tmp_path}/state.db.format-2") == before
    State(old, "shop").close()
    assert rows(old, "SELECT value FROM meta WHERE key = 'schema'") == [(FORMAT,)]
    assert (tmp_path / "state.db.format-2-2").is_file()


def test_where_there_is_no_room_for_a_copy_nothing_is_upgraded(
    old: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    execute(old, f"INSERT INTO loads VALUES ('shop', 'orders', '{'x' * 300_000}')")
    before = dump(old)
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: State(sys.argv[1], 'shop')\n"
        "except PlanError as error: print(error)\n"
    )
    refusal = line(process(code, old))
    assert refusal.startswith("E-STATE-BACKUP ")
    assert str(tmp_path) in refusal
    assert dump(old) == before
    assert [path.name for path in tmp_path.iterdir() if "format" in path.name] == []
