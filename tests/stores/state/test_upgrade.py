"""A state of an earlier format becomes what a new one is; one of a later format, or with a run at work, is refused."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from postgresqls import raw
from states import LIMIT_S, execute, line, rows

from stores.errors import LeaseLost, OfframpError, PlanError, TransientError
from stores.state import revisions
from stores.state.leases import Lease
from stores.state.revisions import format_2, format_3
from stores.state.state import State
from stores.state.upgrade import FORMAT, NotReadyError

OLD = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); INSERT INTO meta VALUES ('schema', '2');"


@pytest.fixture
def old(url: str) -> str:
    """Return the URL of a whole state of format 2. In PostgreSQL there was none; it shows that revisions run there."""
    return _as_before(url)


@pytest.fixture
def old_file(sqlite_url: str) -> str:
    """Return the URL of a whole state of format 2 in a file."""
    return _as_before(sqlite_url)


def _as_before(url: str) -> str:
    if not url.startswith("sqlite"):
        schema = re.findall(r"schema=(\w+)", url)[0]
        execute(url, f"CREATE SCHEMA {schema}")
    engine = engine_of(url)
    format_2.metadata.create_all(engine)
    engine.dispose()
    execute(url, "INSERT INTO meta VALUES ('schema', '2')")
    return url


@pytest.fixture
def new(request: pytest.FixtureRequest, url: str, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a state that this release has made."""
    made = f"sqlite:///{tmp_path}/new.db"
    if not url.startswith("sqlite"):
        made = request.getfixturevalue("postgresql").url(f"{request.getfixturevalue('unique')}_new")
    State(made, "shop").close()
    yield made
    if not url.startswith("sqlite"):
        execute(made, f"DROP SCHEMA {request.getfixturevalue('unique')}_new CASCADE")


def engine_of(url: str) -> sa.Engine:
    """Return a way to the state past the modules under test."""
    if url.startswith("sqlite"):
        return sa.create_engine(url)
    return sa.create_engine("postgresql+psycopg://", creator=lambda: raw(url), isolation_level="AUTOCOMMIT")


def described(url: str) -> dict[str, Any]:
    """Return every table of a state with its columns, types, defaults and keys, by the database itself."""
    engine = engine_of(url)
    found = sa.inspect(engine)
    tables: dict[str, Any] = {
        name: (
            {
                column["name"]: (
                    str(column["type"]),
                    column["nullable"],
                    re.sub(r"'\w+\.", "'", str(column["default"])),  # A default in PostgreSQL names the schema.
                )
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


def everything_in(url: str) -> dict[str, Any]:
    """Return every table of a state as it is described, and its rows."""
    return {name: (made, sorted(rows(url, f"SELECT * FROM {name}"))) for name, made in described(url).items()}


def test_the_format_of_this_release_is_the_last_revision() -> None:
    folder = Path(str(revisions.__file__)).parent
    assert ScriptDirectory(folder, version_locations=[folder]).get_heads() == [FORMAT] == [format_3.revision]


def test_an_upgraded_state_has_what_a_new_one_has(old: str, new: str) -> None:
    State(old, "shop").close()
    assert described(old) == described(new)


@pytest.mark.parametrize("table", [*format_2.metadata.tables])
def test_a_state_that_lacks_a_table_of_its_format_is_upgraded_too(old: str, new: str, table: str) -> None:
    if table != "meta":
        execute(old, f"DROP TABLE {table}")
    State(old, "shop").close()
    assert described(old) == described(new)


def test_a_state_from_the_first_minutes_of_format_2_gets_the_column_it_lacks(old: str, new: str) -> None:
    execute(
        old,
        "ALTER TABLE routes DROP COLUMN recopied;"
        "INSERT INTO routes VALUES ('shop', 'orders', '{}', 'source', 'target', 1.5, 2.5, NULL)",
    )
    state = State(old, "shop")
    assert described(old) == described(new)
    assert not state.repairs.recopied("orders")
    route = state.partitions.route("orders")
    assert route is not None
    assert (route.source_identity, route.started, route.backfill_s) == ("source", 1.5, 2.5)
    state.close()


def test_the_upgrade_makes_no_sound(
    old_file: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    State(old_file, "shop").close()
    assert capfd.readouterr().out == ""
    assert [record.name for record in caplog.records] == ["stores.state.sqlite_file"]
    assert f"{old_file.removeprefix('sqlite:///')}.format-2" in caplog.text


def test_a_run_of_the_earlier_release_that_is_at_work_is_named(old: str, tmp_path: Path) -> None:
    end = time.time() + 50
    execute(old, f"INSERT INTO leases VALUES ('archive', 'orders', 'elsewhere/7 pid:[1] 1', 4, {end})")
    before = everything_in(old)
    with pytest.raises(TransientError) as refused:
        State(old, "shop")
    assert refused.value.code == "E-STATE-UPGRADE"
    assert all(word in refused.value.message for word in ("elsewhere/7", "orders", "archive"))
    assert everything_in(old) == before
    assert not [*tmp_path.glob("*.format-2*")]


def test_a_run_of_the_earlier_release_that_sleeps_past_its_lease_can_write_nothing_more(
    old: str, opened: Callable[..., State]
) -> None:
    execute(old, "INSERT INTO leases VALUES ('shop', 'orders', 'elsewhere/7 pid:[1] 1', 4, 1.0)")
    state = opened()
    with pytest.raises(LeaseLost):
        state.leases.renew(Lease("shop", "orders", "elsewhere/7 pid:[1] 1", 4))
    assert state.leases.acquire("orders").fence == 6


def test_a_state_of_a_later_release_is_refused_by_name(url: str) -> None:
    if not url.startswith("sqlite"):
        execute(url, f"CREATE SCHEMA {re.findall(r'schema=([a-z0-9]+)', url)[0]}")
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
    assert [*described(url)] == ["meta"]


def test_a_state_that_is_only_read_is_not_upgraded(old: str, tmp_path: Path) -> None:
    before = everything_in(old)
    with pytest.raises(NotReadyError, match="format 2"):
        State(old, "shop", read_only=True)
    assert everything_in(old) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"state.db"}


def test_a_file_without_tables_is_only_read_as_one_that_a_run_makes(sqlite_url: str) -> None:
    execute(sqlite_url, "PRAGMA user_version = 0")
    with pytest.raises(NotReadyError, match="a run makes it"):
        State(sqlite_url, "shop", read_only=True)


FAILS = {
    "sqlite": "CREATE TRIGGER unfit BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'no more room'); END",
    "postgresql": (
        "CREATE FUNCTION unfit() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no more room'; END $$ LANGUAGE plpgsql;"
        "CREATE TRIGGER unfit BEFORE UPDATE ON meta FOR EACH ROW EXECUTE FUNCTION unfit()"
    ),
}


def test_an_upgrade_that_fails_at_its_last_step_leaves_the_state_as_it_was(old: str, tmp_path: Path) -> None:
    execute(old, "DROP TABLE steps; INSERT INTO leases VALUES ('shop', 'orders', '', 4, 0.0)")
    execute(old, FAILS[old.partition(":")[0]])
    before = everything_in(old)
    with pytest.raises(OfframpError, match="no more room"):
        State(old, "shop")
    assert everything_in(old) == before
    assert [path.name for path in tmp_path.iterdir() if "format" in path.name] == []
    execute(old, "DROP TRIGGER unfit" + ("" if old.startswith("sqlite") else " ON meta"))
    State(old, "shop").close()
    assert rows(old, "SELECT value FROM meta WHERE key = 'schema'") == [(FORMAT,)]


@pytest.mark.parametrize(
    "statement", [r"CREATE TABLE (\w+\.)?steps", r"INSERT INTO (\w+\.)?alembic_version", r"UPDATE (\w+\.)?meta"]
)
def test_an_upgrade_that_is_killed_leaves_the_state_as_it_was(
    old: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]], statement: str
) -> None:
    execute(old, "DROP TABLE steps; INSERT INTO leases VALUES ('shop', 'orders', '', 4, 0.0)")
    before = everything_in(old)
    code = (
        "import re, sqlalchemy\n"
        "def stop(_db, _cursor, statement, *_rest):\n"
        "    if re.match(sys.argv[2], statement.strip()):\n"
        "        print('there', flush=True)\n"
        "        sys.stdin.readline()\n"
        "sqlalchemy.event.listen(sqlalchemy.Engine, 'before_cursor_execute', stop)\n"
        "State(sys.argv[1], 'shop')\n"
    )
    upgrading = process(code, old, statement)
    assert line(upgrading) == "there"
    upgrading.kill()
    upgrading.wait(LIMIT_S)
    assert everything_in(old) == before
    if old.startswith("sqlite"):
        assert everything_in(f"sqlite:///{tmp_path}/state.db.format-2") == before
    State(old, "shop").close()
    assert rows(old, "SELECT value FROM meta WHERE key = 'schema'") == [(FORMAT,)]
    assert (tmp_path / "state.db.format-2-2").is_file() or not old.startswith("sqlite")


def test_where_there_is_no_room_for_a_copy_nothing_is_upgraded(
    old_file: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    execute(old_file, f"INSERT INTO loads VALUES ('shop', 'orders', '{'x' * 300_000}')")
    before = everything_in(old_file)
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: State(sys.argv[1], 'shop')\n"
        "except PlanError as error: print(error)\n"
    )
    refusal = line(process(code, old_file))
    assert refusal.startswith("E-STATE-BACKUP ")
    assert str(tmp_path) in refusal
    assert everything_in(old_file) == before
    assert [path.name for path in tmp_path.iterdir() if "format" in path.name] == []


def test_of_processes_that_open_it_at_once_one_upgrades_it(
    old: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    code = (
        "print('ready')\nsys.stdin.readline()\n"
        "try: State(sys.argv[1], 'shop').leases.acquire(sys.argv[2])\n"
        "except Exception as error: print(repr(error))\n"
        "else: print('open')\n"
    )
    runs = [process(code, old, f"route{number}") for number in range(4)]
    assert [line(run) for run in runs] == ["ready"] * 4
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [line(run) for run in runs] == ["open"] * 4
    assert rows(old, "SELECT version_num FROM alembic_version") == [(FORMAT,)]
    assert len([*tmp_path.glob("*.format-2*")]) == (1 if old.startswith("sqlite") else 0)
