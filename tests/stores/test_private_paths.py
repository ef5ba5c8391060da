"""What is the owner's alone is so whatever the umask, and a place with which others can meddle is refused."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stores.errors import PlanError
from stores.private_paths import (
    UnsafePathError,
    fault,
    make_private_file,
    make_private_folder,
    path_part,
    refuse_unsafe_file,
)
from stores.state.state import State

NOBODY = 65_534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def give_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path belongs to somebody else: by its owner, or, where that cannot be changed, by who we are."""
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask")
def test_what_is_made_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for _ in range(2):
        make_private_file(path)
    assert [mode(each) for each in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]


@pytest.mark.usefixtures("_umask")
def test_a_state_and_its_journals_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path}/new/state.db", "shop")
    state.leases.acquire("orders")
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal"]
    assert {mode(file) for file in files} == {0o600}
    assert mode(tmp_path / "new") == 0o700
    state.close()


def refused(path: Path) -> str:
    """Return why the state at the path is refused."""
    with pytest.raises(PlanError) as error:
        State(f"sqlite:///{path}", "shop").close()
    assert error.value.code == "E-STATE-UNSAFE"
    return error.value.message


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / "state.db"
    State(f"sqlite:///{path}", "shop").close()
    other = tmp_path / f"state.db{suffix}"
    other.touch(0o600)
    content = path.read_bytes()
    give_away(other, monkeypatch)
    assert "another user" in refused(path)
    monkeypatch.undo()
    assert path.read_bytes() == content


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    give_away(folder, monkeypatch)
    assert "another user" in refused(folder / "state.db")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o702])
def test_a_folder_that_every_user_may_write_to_is_refused(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(bits)
    told = refused(folder / "state.db")
    assert "every user may write to it" in told
    assert told.endswith("name another place in a folder of your own")
    # Others need a folder with the sticky bit, such as /tmp.
    assert ("chmod o-w" in told) == (not bits & 0o1000)


@pytest.mark.parametrize(("mode", "command"), [(0o40777, "chmod o-w"), (0o41777, ""), (0o40757, "chmod o-w")])
def test_only_a_folder_of_ones_own_is_to_be_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, command: str
) -> None:
    fields = list(tmp_path.stat())
    fields[0] = mode
    found = os.stat_result(fields)
    assert (command or "name another") in fault(found, is_folder=True)
    assert bool(command) == ("chmod" in fault(found, is_folder=True))
    fields[4] = 0
    monkeypatch.setattr(os, "geteuid", lambda: 4_711)
    assert fault(os.stat_result(fields), is_folder=True) == (
        "every user may write to it; name another place in a folder of your own"
    )


def test_a_group_of_nobody_else_may_write_and_one_with_others_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import grp
    import pwd

    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o770)
    group, me = folder.stat().st_gid, pwd.getpwuid(os.geteuid())
    other = pwd.struct_passwd(("ada", "x", me.pw_uid + 7, group, "", "/", "/bin/sh"))
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group(("shared", "x", group, [])))
    monkeypatch.setattr(pwd, "getpwall", lambda: [me])
    make_private_folder(folder)
    monkeypatch.setattr(pwd, "getpwall", lambda: [me, other])
    with pytest.raises(UnsafePathError, match="chmod g-w"):
        make_private_folder(folder)


def test_a_file_that_others_may_write_is_refused_and_one_that_they_may_read_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    path.chmod(0o666)
    assert "chmod o-w" in refused(path)
    path.chmod(0o644)
    State(f"sqlite:///{path}", "shop").close()
    assert mode(path) == 0o600


def test_a_link_is_not_followed_to_make_a_state(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.symlink_to(tmp_path / "elsewhere")
    assert "link" in refused(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_link_of_ones_own_leads_to_a_state_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "big").mkdir()
    State(f"sqlite:///{tmp_path}/big/state.db", "shop").close()
    link = tmp_path / "state.db"
    link.symlink_to(tmp_path / "big" / "state.db")
    State(f"sqlite:///{link}", "shop").close()
    (tmp_path / "big").chmod(0o777)
    assert "chmod o-w" in refused(link)
    (tmp_path / "big").chmod(0o755)
    give_away(link, monkeypatch)
    assert "another user" in refused(link)


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_link_in_the_place_of_a_journal_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / f"state.db{suffix}").symlink_to(tmp_path / "victim")
    assert "link" in refused(tmp_path / "state.db")
    assert (tmp_path / "victim").read_text() == "mine"


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    refuse_unsafe_file(tmp_path / "none")
    with pytest.raises(UnsafePathError):
        refuse_unsafe_file(tmp_path)


def test_the_state_of_a_killed_run_is_opened_with_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = State(f"sqlite:///{path}", "shop")
    state.leases.acquire("orders")
    for suffix in ("", "-wal"):
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"state.db{suffix}").read_bytes())
    state.close()
    copy = State(f"sqlite:///{tmp_path}/copy.db", "shop")
    assert copy.leases.holder("orders")
    copy.close()
    with sqlite3.connect(tmp_path / "copy.db") as database:
        assert database.execute("select count(*) from leases").fetchone() == (1,)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("shop", "shop"),
        ("Größe 2", "Größe 2"),
        ("a.b-c_d", "a.b-c_d"),
        ("../../etc", "%2E.%2F..%2Fetc"),
        ("..", "%2E."),
        (".", "%2E"),
        (".hidden", "%2Ehidden"),
        ("/etc/passwd", "%2Fetc%2Fpasswd"),
        ("a\\b", "a%5Cb"),
        ("a\x00b\n", "a%00b%0A"),
        ("100%", "100%25"),
        ("~root", "%7Eroot"),
        ("", "%"),
    ],
)
def test_a_name_is_one_part_of_a_path(name: str, part: str) -> None:
    assert path_part(name) == part
    assert Path("/base", part).parent == Path("/base")


def test_a_long_name_is_cut_and_stays_distinct() -> None:
    one, other = path_part("ä" * 300), path_part("ä" * 301)
    assert one != other
    assert len(one.encode()) <= 200
