"""A report is its owner's alone, and no link or folder of somebody else leads it elsewhere."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import reports

from flows.reporting.files import FORMS, write
from flows.reporting.private_files import private_folder, write_private


def test_the_files_of_a_report_can_be_read_by_their_owner_alone_and_replace_those_that_others_could_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "new" / "reports"
    for _ in range(2):
        paths = [*map(Path, write(reports.whole(), folder))]
        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600] * len(FORMS)
        for path in paths:
            path.chmod(0o644)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"report.{form}" for form in FORMS)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    folder = tmp_path / "reports"
    folder.mkdir()
    for form in FORMS:
        (folder / f"report.{form}").symlink_to(elsewhere)
        (folder / f".report.{form}.draft").symlink_to(elsewhere)
    for path in map(Path, write(reports.whole(), folder)):
        assert not path.is_symlink()
        assert path.read_bytes() != b"mine"
    assert elsewhere.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(PermissionError, match="every user may write to it"):
        write(reports.whole(), folder)
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_take_its_place_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "reports" / "name").mkdir(parents=True)
    (tmp_path / "reports" / "name" / "inside").touch()
    with private_folder(tmp_path / "reports") as place, pytest.raises(OSError, match="directory"):
        write_private(place, "name", b"content")
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["name"]
