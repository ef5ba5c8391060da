"""A state in a file: nobody else's, whole after a power cut, and refused where it is unfit."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from states import begun, line, rows, tally

from stores.contract.journal import Tally
from stores.errors import LeaseLost, PermanentError, PlanError
from stores.state.database import Database
from stores.state.state import State


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


def test_the_file_and_its_journal_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = State(f"sqlite:///{tmp_path}/a/new/folder/state.db", "shop")
        begun(state)
    finally:
        os.umask(before)
    files = sorted((tmp_path / "a/new/folder").iterdir())
    assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    state.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o644)
    path.chmod(0o644)
    State(f"sqlite:///{path}", "shop").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_committed_checkpoint_is_made_to_survive_a_power_cut(sqlite_url: str) -> None:
    database = Database(sqlite_url, "shop")
    with database.reading() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    database.close()


def test_a_path_that_cannot_be_written_is_a_fault_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database, though long enough to be taken for one " * 20)
    for name, word in (("file/state.db", "not a directory"), ("folder", "is a directory"), ("text", "not a database")):
        with pytest.raises(PlanError) as told:
            State(f"sqlite:///{tmp_path}/{name}", "shop")
        assert told.value.code == "E-STATE-OPEN"
        assert word in told.value.message.lower()
    assert (tmp_path / "text").read_text().startswith("no database")


def test_a_file_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); INSERT INTO meta VALUES ('schema', '99');")
    db.close()
    with pytest.raises(PlanError) as told:
        State(f"sqlite:///{path}", "shop")
    assert told.value.code == "E-STATE-VERSION"
    assert "99" in told.value.message
    assert rows(f"sqlite:///{path}", "SELECT name FROM sqlite_master WHERE type = 'table'") == [("meta",)]


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_state_deleted_under_a_run_stops_it_and_is_told_as_that(
    state: State, sqlite_url: str, opened: Callable[..., State], *, replaced: bool
) -> None:
    lease = begun(state)
    Path(sqlite_url.removeprefix("sqlite:///")).unlink()
    if replaced:
        opened().leases.acquire("orders")
    for ask in (
        lambda: state.partitions.checkpoint(lease, 0, b"p", tally(1)),
        lambda: state.partitions.of_route("orders"),
        lambda: state.leases.renew(lease),
        lambda: state.leases.acquire("orders"),
    ):
        with pytest.raises(PermanentError) as told:
            ask()
        assert told.value.code == "E-STATE-GONE"
        assert ("replaced" if replaced else "deleted") in told.value.message
    # Another run may begin with another file, and neither would see the lease of the other.
    with pytest.raises(LeaseLost):
        state.leases.fence(lease).ensure()


def test_a_process_that_opens_the_state_twice_keeps_what_it_writes_while_others_come_and_go(
    sqlite_url: str, opened: Callable[..., State], process: Callable[..., subprocess.Popen[str]]
) -> None:
    first = opened()
    lease = begun(first)
    opened().close()  # By the same process: an open and close of the file would drop the locks of `first`.
    look = (
        "state = State(sys.argv[1], 'shop', 60)\nprint(state.partitions.route('orders').source_identity)\nstate.close()"
    )
    assert line(process(look, sqlite_url)) == "source-uuid"

    first.partitions.checkpoint(lease, 0, b"k", Tally(read=1, copied=1, records=1))

    look = (
        "state = State(sys.argv[1], 'shop', 60)\n"
        "print(state.partitions.of_route('orders')[0].tally.read)\n"
        "state.close()"
    )
    assert line(process(look, sqlite_url)) == "1"


def test_a_state_is_usable_for_as_long_as_its_file_is_the_one_that_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(f"sqlite:///{path}", "shop")
    assert state.is_usable()
    path.rename(tmp_path / "moved.db")
    assert not state.is_usable()
    State(f"sqlite:///{path}", "shop").close()
    assert not state.is_usable()
    state.close()
