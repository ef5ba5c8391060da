"""docs/values.md is what the code does: its generated part is current, and a stale one is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.docgen import values
from mappers.type_matrix import TABLE

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "values.md"


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge the repository's page also where the package under test is an installed one."""
    monkeypatch.setattr(values, "FILE", PAGE)


def test_the_page_in_the_repository_is_current() -> None:
    assert values.main(["--check"]) == 0


def test_make_check_looks_at_it() -> None:
    assert "python -m flows.docgen.values --check" in (ROOT / "Makefile").read_text("utf-8")


def test_a_stale_page_is_noticed_and_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PAGE.read_text("utf-8")
    copy = tmp_path / "values.md"
    monkeypatch.setattr(values, "FILE", copy)
    copy.write_text(whole.replace("| bool | exact", "| bool | text"), encoding="utf-8")
    assert values.main(["--check"]) == 1
    assert values.main(["--write"]) == 0
    assert copy.read_text("utf-8") == whole
    copy.write_text("# no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="marks"):
        values.main(["--write"])


def test_every_row_stands_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    for row in TABLE:
        assert f"| {row.type} |" in page


def test_the_page_says_which_number_a_double_becomes() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    assert "A double is written to DynamoDB, and in JSON, as the shortest decimal number that reads back as the" in text


def test_wrong_arguments_are_told_what_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert values.main(["--wirte"]) == 2
    assert "--write" in capsys.readouterr().err
