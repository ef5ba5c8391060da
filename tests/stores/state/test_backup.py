"""The copy of a state before an upgrade: whole, private, beside it, and never in the place of another."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from states import begun, everything

from stores.errors import PlanError
from stores.state.backup import keep_copy
from stores.state.state import State


@pytest.fixture
def url(sqlite_url: str) -> str:
    """No earlier release wrote to another database."""
    return sqlite_url


def test_the_copy_holds_what_is_committed_for_its_owner_alone(state: State, url: str, tmp_path: Path) -> None:
    begun(state)
    before = os.umask(0)
    try:
        copy = keep_copy(tmp_path / "state.db", "format-2")
    finally:
        os.umask(before)
    assert copy == tmp_path / "state.db.format-2"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert everything(f"sqlite:///{copy}") == everything(url)
    assert sqlite3.connect(copy).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_copy_takes_the_place_of_no_other(state: State, tmp_path: Path) -> None:
    begun(state)
    copies = [keep_copy(tmp_path / "state.db", "format-2") for _ in range(3)]
    assert [copy.name for copy in copies] == ["state.db.format-2", "state.db.format-2-2", "state.db.format-2-3"]


def test_what_a_killed_copy_left_is_written_again(state: State, url: str, tmp_path: Path) -> None:
    begun(state)
    (tmp_path / "state.db.format-2.part").write_bytes(b"half of a copy" * 1000)
    copy = keep_copy(tmp_path / "state.db", "format-2")
    assert everything(f"sqlite:///{copy}") == everything(url)
    assert not (tmp_path / "state.db.format-2.part").exists()


def test_a_state_behind_a_link_is_copied_beside_the_file_itself(state: State, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/state.db").symlink_to(tmp_path / "state.db")
    assert keep_copy(tmp_path / "linked/state.db", "format-2").parent == tmp_path


def test_a_copy_that_cannot_be_made_leaves_nothing_and_names_the_folder(state: State, tmp_path: Path) -> None:
    (tmp_path / "state.db.format-2.part").mkdir()
    with pytest.raises(PlanError) as refused:
        keep_copy(tmp_path / "state.db", "format-2")
    assert refused.value.code == "E-STATE-BACKUP"
    assert str(tmp_path) in refused.value.message
    assert not (tmp_path / "state.db.format-2").exists()
