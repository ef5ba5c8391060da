"""A plan's state moves by a file from one database to another: exact, whole or not at all, and never becomes two."""

from __future__ import annotations

import io
import json
import math
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgresqls import Postgresql
from states import LIMIT_S, begun, execute, line, rows, tally, until

from stores.contract.journal import Reject
from stores.errors import LeaseLost, OfframpError, PlanError, TransientError
from stores.state import moves
from stores.state.claims import Claims
from stores.state.database import Database
from stores.state.moved_tables import kind_of, moved_columns, moved_tables
from stores.state.state import State
from stores.state.state_export import export_state, reopen_state
from stores.state.state_import import import_state
from stores.state.tables import metadata

TEXTS = ["", "a\x00b\x01\x02", "é\u2028\U0010ffff\ufeff", '"\\\n\r', "x" * 5000]
BYTES = [b"", bytes(range(256)), b"\x00" * 70_000]
FLOATS = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1763971200.123456, math.inf]
INTS = [0, -1, 2**31 - 1]


@pytest.fixture(params=["sqlite to postgresql", "postgresql to sqlite"])
def urls(request: pytest.FixtureRequest, sqlite_url: str, postgresql_url: str) -> tuple[str, str]:
    """The URLs of the state that is exported, and of the one that it is imported into."""
    return (sqlite_url, postgresql_url) if request.param == "sqlite to postgresql" else (postgresql_url, sqlite_url)


@pytest.fixture
def url(urls: tuple[str, str]) -> str:
    return urls[0]


@pytest.fixture
def new_url(urls: tuple[str, str]) -> str:
    return urls[1]


@pytest.fixture
def new(new_url: str) -> Iterator[Database]:
    database = Database(new_url, "shop")
    yield database
    database.close()


@pytest.fixture
def old(url: str) -> Iterator[Database]:
    database = Database(url, "shop")
    yield database
    database.close()


def value_of(column: sa.Column[Any], at: int) -> Any:
    """Return a value of the column's kind, hard to keep; the rows of a table differ by it."""
    if column.nullable and at % 3 == 2:
        return None
    kind = kind_of(column)
    if kind == "text":
        return f"{TEXTS[at % len(TEXTS)]}{at}"
    if kind == "bytes":
        return BYTES[at % len(BYTES)] + bytes([at])
    if kind == "float":
        return FLOATS[at % len(FLOATS)]
    if kind == "bool":
        return at % 2 == 0
    return at if column.primary_key else INTS[at % len(INTS)]


def fill(database: Database, plan: str = "shop", count: int = 7) -> None:
    """Every table has rows of the plan."""
    with database.moving() as db:
        for table in moved_tables():
            given = [{"plan": plan} | {c.name: value_of(c, at) for c in moved_columns(table)} for at in range(count)]
            db.execute(sa.insert(table), given)
        # No run is at work, and no worker was cut off.
        db.execute(sa.update(metadata.tables["leases"]).values(owner="", expires=0.0))
        db.execute(sa.update(metadata.tables["claims"]).values(busy_until=None))


def contents(database: Database, plan: str = "shop") -> dict[str, list[Any]]:
    """Return every row of the plan in every table, in order, without what a database gives."""
    with database.reading() as db:
        return {
            table.name: [
                tuple(row)
                for row in db.execute(
                    sa.select(*moved_columns(table)).where(table.c.plan == plan).order_by(*table.primary_key)
                )
            ]
            for table in moved_tables()
        }


def exported(database: Database) -> bytes:
    out = io.BytesIO()
    export_state(database, out, "/tmp/move")
    return out.getvalue()


def imported(database: Database, file: bytes) -> None:
    import_state(database, io.BytesIO(file), "/tmp/move")


def test_every_table_that_names_a_plan_moves_and_no_other() -> None:
    assert {*metadata.tables} - {table.name for table in moved_tables()} == {"meta", "alembic_version", "moves"}


def test_every_value_of_every_table_is_as_it_was(old: Database, new: Database) -> None:
    fill(old)
    fill(old, "archive", 3)
    before, of_others = contents(old), contents(old, "archive")
    file = exported(old)
    imported(new, file)
    before["leases"] = [(route, "", fence + 1, 0.0) for route, _, fence, _ in before["leases"]]
    assert contents(new) == before
    assert all(len(found) == 7 for found in before.values())
    assert contents(old, "archive") == of_others
    assert not any(contents(new, "archive").values())


def test_pages_of_an_export_end_where_memory_would(old: Database, new: Database, url: str) -> None:
    lease = begun(State(url, "shop"))
    with old.moving() as db:
        big = {"plan": "shop", "route": "orders", "stage": "map", "code": "E", "field": "", "reason": "", "attempts": 1}
        rejects = metadata.tables["rejects"]
        every = [big | {"id": f"s:{at:05}", "first": 1.0, "last": 1.0, "document": "x" * 100_000} for at in range(200)]
        every += [big | {"id": f"t:{at:05}", "first": 1.0, "last": 1.0} for at in range(2_500)]
        db.execute(sa.insert(rejects), [{"document": None} | row for row in every])
        db.execute(sa.update(metadata.tables["leases"]).values(owner=""))
    assert lease.fence == 1
    imported(new, exported(old))
    assert [row[1] for row in contents(new)["rejects"]] == [row["id"] for row in every]


def test_ids_that_no_index_takes_move_page_by_page(old: Database, new: Database, url: str) -> None:
    """Random, so that no database makes them shorter; many have the same beginning."""
    begun(State(url, "shop"))
    long = random.Random(1).randbytes(30_000)
    ids = [long[:length] + at.to_bytes(2, "big") for length in (0, 30_000) for at in range(600)]
    with old.moving() as db:
        seen = {"plan": "shop", "route": "orders", "hash": b"", "pass_": 1}
        db.execute(sa.insert(metadata.tables["scans"]), [seen | {"id": id_} for id_ in ids])
        db.execute(sa.update(metadata.tables["leases"]).values(owner=""))
    imported(new, exported(old))
    assert sorted(row[1] for row in contents(new)["scans"]) == sorted(ids)


def test_a_state_that_was_exported_refuses_every_command(old: Database, state: State, url: str) -> None:
    lease = begun(state)
    state.leases.release(lease)
    exported(old)
    for read_only in (False, True):
        with pytest.raises(PlanError) as refused:
            State(url, "shop", read_only=read_only)
        assert refused.value.code == "E-STATE-MOVED"
        assert all(word in refused.value.message for word in ("/tmp/move", "state reopen PLAN --never-imported"))
    State(url, "archive").close()


def test_what_has_the_state_open_meanwhile_can_write_nothing_more(old: Database, state: State) -> None:
    lease = begun(state)
    state.leases.release(lease)
    file = exported(old)
    before = contents(old)
    unfenced: list[Callable[[], object]] = [
        lambda: state.leases.acquire("orders"),
        lambda: state.leases.acquire("a route that was never begun"),
        lambda: state.late_writes.note("orders", [b"position"]),
        lambda: state.runs.begin("sync", "2026-11-30T00:00:00.000000"),
        lambda: state.steps.record({"orders": "check"}, [lease]),
    ]
    for write in unfenced:
        with pytest.raises(PlanError) as refused:
            write()
        assert refused.value.code == "E-STATE-MOVED"
    for fenced in (lambda: state.partitions.checkpoint(lease, 0, b"q", tally(1)), lambda: state.leases.renew(lease)):
        with pytest.raises(LeaseLost):
            fenced()
    assert contents(old) == before
    assert file.endswith(b"}}\n")


def test_an_export_waits_for_no_run_but_names_it(old: Database, state: State, url: str) -> None:
    begun(state)
    with pytest.raises(TransientError) as refused:
        exported(old)
    assert refused.value.code == "E-LEASE-HELD"
    assert "route orders" in refused.value.message
    State(url, "shop").close()


def test_an_export_does_not_pass_over_a_worker_that_was_cut_off(old: Database, state: State) -> None:
    state.leases.release(begun(state))
    with old.moving() as db:
        until = old.now(db) + 40
        values = {"plan": "shop", "route": "orders", "work": "copy", "number": 0, "claim": 1, "owner": ""}
        db.execute(sa.insert(metadata.tables["claims"]).values(**values, busy_until=until))
    with pytest.raises(TransientError, match="cut off"):
        exported(old)
    assert isinstance(state.claims, Claims)
    assert state.claims.left_s("orders") > 0


def test_a_run_that_slept_past_its_lease_finds_it_ended(old: Database, new: Database, url: str, new_url: str) -> None:
    sleeper = State(url, "shop", 60)
    lease = begun(sleeper)
    execute(url, "UPDATE leases SET expires = 1.0")
    imported(new, exported(old))
    with pytest.raises(LeaseLost):
        sleeper.leases.renew(lease)
    with pytest.raises(LeaseLost):
        sleeper.partitions.checkpoint(lease, 0, b"q", tally(1))
    sleeper.close()
    state = State(new_url, "shop")
    assert state.leases.acquire("orders").fence > lease.fence + 1
    state.close()


def test_a_state_with_anything_of_the_plan_is_never_written_over(old: Database, new: Database, new_url: str) -> None:
    fill(old)
    file = exported(old)
    other = State(new_url, "shop")
    begun(other)
    other.close()
    before = contents(new)
    with pytest.raises(PlanError) as refused:
        imported(new, file)
    assert refused.value.code == "E-STATE-OCCUPIED"
    assert all(word in refused.value.message for word in ("routes 1", "partitions 2", "leases 1"))
    assert contents(new) == before


def test_a_state_comes_back_with_what_was_done_elsewhere(old: Database, new: Database, url: str, new_url: str) -> None:
    state = State(url, "shop")
    lease = begun(state)
    state.partitions.checkpoint(lease, 0, b"k", tally(3), [Reject("n:1", "map", "E", "", "r")])
    state.leases.release(lease)
    state.close()
    first = exported(old)
    imported(new, first)
    elsewhere = State(new_url, "shop")
    there = elsewhere.leases.acquire("orders")
    elsewhere.partitions.checkpoint(there, 0, b"m", tally(4))
    elsewhere.leases.release(there)
    elsewhere.close()
    imported(old, exported(new))
    assert contents(old) == contents(new)
    back = State(url, "shop")
    assert back.partitions.of_route("orders")[0].tally.read == 7
    assert back.leases.acquire("orders").fence > there.fence > lease.fence
    back.close()
    with pytest.raises(PlanError, match="exported"):
        State(new_url, "shop")


def test_the_file_of_an_export_does_not_bring_the_state_back_by_itself(old: Database, url: str) -> None:
    fill(old)
    file = exported(old)
    with pytest.raises(PlanError, match="reopen PLAN --never-imported") as refused:
        imported(old, file)
    assert refused.value.code == "E-STATE-FILE"
    with pytest.raises(PlanError, match="never-imported"):
        reopen_state(old, never_imported=False)
    assert reopen_state(old, never_imported=True)
    assert not reopen_state(old, never_imported=True)
    State(url, "shop").close()
    with pytest.raises(PlanError) as occupied:
        imported(old, file)
    assert occupied.value.code == "E-STATE-OCCUPIED"


def test_an_older_file_does_not_take_the_place_of_a_later_state(old: Database, new: Database) -> None:
    fill(old)
    first = exported(old)
    reopen_state(old, never_imported=True)
    exported(old)
    before = contents(old)
    with pytest.raises(PlanError, match="no later"):
        imported(old, first)
    assert contents(old) == before


@pytest.mark.parametrize("left", [0, 1, 40, 200])
def test_a_file_that_is_cut_off_is_not_imported(old: Database, new: Database, left: int, new_url: str) -> None:
    fill(old)
    lines = exported(old).splitlines(keepends=True)
    cut = b"".join(lines[:left]) if left < len(lines) else b"".join(lines)[:-1]
    with pytest.raises(PlanError) as refused:
        imported(new, cut)
    assert refused.value.code == "E-STATE-FILE"
    assert not any(contents(new).values())
    State(new_url, "shop").close()


def test_a_file_that_was_changed_is_not_imported(old: Database, new: Database) -> None:
    fill(old)
    file = exported(old)
    assert b"1763971200.123456" in file
    for changed in (
        file.replace(b"1763971200.123456", b"1763971200.123457", 1),
        file + b"\n",
        file.replace(b'"shop"', b'"shoq"', 1),
        file.replace(b'"state_format":"3"', b'"state_format":"9"', 1),
        file.replace(b'"version":1', b'"version":2', 1),
        file.replace(b'"routes"', b'"roads"'),
        file.replace(b'"kind":"bytes"', b'"kind":"text"'),
        b"PK\x03\x04 no state",
        b"[]\n",
    ):
        with pytest.raises(PlanError) as refused:
            imported(new, changed)
        assert refused.value.code == "E-STATE-FILE"
        assert not any(contents(new).values())


def sealed(lines: list[bytes]) -> bytes:
    """Return the file of these lines, without its last one, with a digest that is right."""
    body = b"".join(lines)
    rows = sum(line.startswith(b"[") for line in lines)
    return body + json.dumps({"end": {"rows": rows, "sha256": sha256(body).hexdigest()}}).encode() + b"\n"


HEADERS: dict[str, Any] = {"number": 10**30, "id": ["a"], "release": "\ud800", "exported": None, "rows": {"leases": -1}}
LEASES: dict[str, bytes] = {
    "a number that no database takes": b'["things","",9223372036854775808,0.0]',
    "half of a character": b'["\\ud800","",1,0.0]',
    "nothing where a value must be": b'["things","",1,null]',
    "no number where one must be": b'["things","",1,NaN]',
    "lists in lists": b"[" * 100_000,
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_file_with_a_first_line_that_nobody_writes_is_refused_by_name(
    old: Database, new: Database, name: str
) -> None:
    fill(old, count=1)
    first, *rest = exported(old).splitlines(keepends=True)[:-1]
    changed = json.dumps(json.loads(first) | {name: HEADERS[name]}).encode() + b"\n"
    with pytest.raises(PlanError, match=r"E-STATE-FILE.*line 1: its first line"):
        imported(new, sealed([changed, *rest]))
    assert not any(contents(new).values())


@pytest.mark.parametrize("what", LEASES)
def test_a_file_with_a_value_that_nobody_writes_is_refused_though_its_digest_is_right(
    old: Database, new: Database, what: str
) -> None:
    fill(old, count=1)
    lines = exported(old).splitlines(keepends=True)[:-1]
    at = next(at for at, line in enumerate(lines) if line.startswith(b'{"table":"leases"')) + 1
    assert len(json.loads(lines[at])) == 4
    lines[at] = LEASES[what] + b"\n"
    with pytest.raises(PlanError, match="E-STATE-FILE"):
        imported(new, sealed(lines))
    assert not any(contents(new).values())


def test_a_file_of_a_later_release_names_it(old: Database, new: Database) -> None:
    fill(old)
    file = exported(old).replace(b'"version":1', b'"version":2', 1).replace(b'"release":"', b'"release":"9.', 1)
    with pytest.raises(PlanError, match=r"release 9\..*version 2.*version 1"):
        imported(new, file)


class Full(io.BytesIO):
    """A disk that is full after so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_an_export_that_cannot_be_written_leaves_the_state_open(old: Database, url: str) -> None:
    fill(old)
    with pytest.raises(OSError, match="No space"):
        export_state(old, Full(3000), "/tmp/move")
    State(url, "shop").close()
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(TransientError) as refused:
        export_state(old, io.BytesIO(), "/tmp/move", stopped)
    assert refused.value.code == "E-STOPPED"
    State(url, "shop").close()


def test_an_export_that_cannot_write_its_last_line_keeps_the_state_closed(
    old: Database, new: Database, url: str
) -> None:
    fill(old)
    room = len(exported(old)) - 10
    reopen_state(old, never_imported=True)
    out = Full(room)
    with pytest.raises(OSError, match="No space"):
        export_state(old, out, "/tmp/move")
    with pytest.raises(PlanError) as refused:
        State(url, "shop")
    assert refused.value.code == "E-STATE-MOVED"
    with pytest.raises(PlanError):
        imported(new, out.getvalue())


def test_an_import_that_is_stopped_changes_nothing(old: Database, new: Database) -> None:
    fill(old)
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(TransientError) as refused:
        import_state(new, io.BytesIO(exported(old)), "/tmp/move", stopped)
    assert refused.value.code == "E-STOPPED"
    assert not any(contents(new).values())


def test_nothing_is_exported_of_a_plan_that_never_ran(old: Database, url: str) -> None:
    with pytest.raises(PlanError) as refused:
        exported(old)
    assert refused.value.code == "E-STATE-EMPTY"
    State(url, "shop").close()


def test_an_export_that_is_killed_is_repeated_or_taken_back(
    old: Database, new: Database, url: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    fill(old)
    code = (
        "from stores.state.database import Database\n"
        "from stores.state.state_export import export_state\n"
        "class Slow:\n"
        "    def __init__(self, out): self.out, self.lines = out, 0\n"
        "    def flush(self): self.out.flush()\n"
        "    def write(self, data):\n"
        "        self.out.write(data); self.out.flush(); self.lines += 1\n"
        "        if self.lines == 30: print('there', flush=True); sys.stdin.readline()\n"
        "export_state(Database(sys.argv[1], 'shop'), Slow(open(sys.argv[2], 'wb')), sys.argv[2])\n"
    )
    for repeated in (False, True):
        exporting = process(code, url, str(tmp_path / "half"))
        assert line(exporting) == "there"
        exporting.kill()
        exporting.wait(LIMIT_S)
        with pytest.raises(PlanError, match="did not end"):
            State(url, "shop")
        with pytest.raises(PlanError):
            imported(new, (tmp_path / "half").read_bytes())
        if not repeated:
            assert reopen_state(old, never_imported=False)
            State(url, "shop").close()
    imported(new, exported(old))


def test_a_state_taken_back_during_an_export_ends_it(old: Database, new: Database) -> None:
    fill(old)

    class Meddled(io.BytesIO):
        def flush(self) -> None:
            reopen_state(old, never_imported=False)

    out = Meddled()
    with pytest.raises(PlanError, match="given up"):
        export_state(old, out, "/tmp/move")
    with pytest.raises(PlanError):
        imported(new, out.getvalue())


def test_an_import_that_is_killed_changes_nothing(
    old: Database, new: Database, tmp_path: Path, process: Callable[..., subprocess.Popen[str]], new_url: str
) -> None:
    fill(old)
    (tmp_path / "move").write_bytes(file := exported(old))
    code = (
        "from stores.state.database import Database\n"
        "from stores.state.state_import import import_state\n"
        "class Slow:\n"
        "    def __init__(self, source): self.source, self.lines = source, 0\n"
        "    def read(self, size): return self.source.read(size)\n"
        "    def readline(self, size):\n"
        "        self.lines += 1\n"
        "        if self.lines == 150: print('there', flush=True); sys.stdin.readline()\n"
        "        return self.source.readline(size)\n"
        "import_state(Database(sys.argv[1], 'shop'), Slow(open(sys.argv[2], 'rb')), sys.argv[2])\n"
    )
    importing = process(code, new_url, str(tmp_path / "move"))
    assert line(importing) == "there"
    importing.kill()
    importing.wait(LIMIT_S)
    assert not any(contents(new).values())
    imported(new, file)


def test_marks_name_when_and_by_which_file(old: Database, url: str) -> None:
    fill(old)
    before = time.time()
    exported(old)
    ((stage, place, at),) = rows(url, "SELECT stage, place, at FROM moves")
    assert (stage, place) == ("exported", "/tmp/move")
    assert before - 1 <= float(str(at)) <= time.time() + 1
    with old.reading() as db, pytest.raises(OfframpError):
        moves.refuse_moved(db, "shop", "here")


def somebody_waits(url: str) -> bool:
    """Return whether a session waits for a lock; in SQLite every writer waits for every other one."""
    if url.startswith("sqlite"):
        return True
    return rows(url, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != [(0,)]


def test_an_export_waits_for_what_is_being_written(old: Database, new: Database, url: str) -> None:
    """A lease that is being taken is seen by it, and what is being written under one that has expired goes along."""
    state = State(url, "shop")
    lease = begun(state)
    execute(url, "UPDATE leases SET expires = 1.0")
    out, failures = io.BytesIO(), []

    def export() -> None:
        try:
            export_state(old, out, "/tmp/move")
        except OfframpError as error:
            failures.append(error.code)

    exporting = threading.Thread(target=export)
    with old.writing() as db:
        exporting.start()
        values = {"plan": "shop", "route": "players", "owner": "elsewhere/7 pid:[1] 1", "fence": 1}
        db.execute(sa.insert(metadata.tables["leases"]).values(**values, expires=old.now(db) + 60))
        until(lambda: somebody_waits(url))
    exporting.join(LIMIT_S)
    assert failures == ["E-LEASE-HELD"]

    execute(url, "UPDATE leases SET expires = 1.0")
    exporting = threading.Thread(target=export)
    with state.leases.fenced(lease) as db:
        exporting.start()
        db.execute(sa.update(metadata.tables["partitions"]).values(position=b"the last"))
        until(lambda: somebody_waits(url))
    exporting.join(LIMIT_S)
    imported(new, out.getvalue())
    assert {row[4] for row in contents(new)["partitions"]} == {b"the last"}
    state.close()


def test_whoever_takes_a_lease_waits_for_an_export_that_begins(old: Database, url: str) -> None:
    state = State(url, "shop")
    state.leases.release(begun(state))
    refused = []

    def acquire() -> None:
        try:
            state.leases.acquire("players")
        except OfframpError as error:
            refused.append(error.code)

    acquiring = threading.Thread(target=acquire)
    with old.moving() as db:
        move = moves.begin_export(db, "shop", "here", "/tmp/move", old.now(db))
        acquiring.start()
        until(lambda: somebody_waits(url))
    acquiring.join(LIMIT_S)
    assert refused == ["E-STATE-MOVED"]
    with old.moving() as db:
        moves.give_up(db, "shop", move)
    state.leases.acquire("players")
    state.close()


def test_a_state_moves_through_pgbouncer(
    sqlite_url: str, postgresql_url: str, postgresql: Postgresql, pgbouncer_port: int, unique: str
) -> None:
    through = postgresql.url(unique, port=pgbouncer_port)
    here, there = Database(sqlite_url, "shop"), Database(through, "shop")
    fill(here)
    before = contents(here)
    imported(there, exported(here))
    imported(here, exported(there))
    after = contents(here)
    before.pop("leases")
    after.pop("leases")
    assert after == before
    here.close()
    there.close()
