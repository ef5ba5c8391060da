"""docs/rules.md has one row for every rule that the code or a test cites, and for no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.docgen import rules

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rules.md"
ROWS = "# Rules\n\n| rule | fact | source | cited in |\n| --- | --- | --- | --- |\n"


@pytest.fixture(autouse=True)
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge the repository's page also where the package under test is an installed one."""
    monkeypatch.setattr(rules, "FILE", PAGE)


def test_every_rule_that_is_cited_has_a_row_and_every_row_is_cited() -> None:
    cited = rules.citing(ROOT)
    assert len(cited) > 100
    assert list(rules.faults(PAGE.read_text("utf-8"), cited)) == []
    assert rules.page(PAGE.read_text("utf-8"), cited) == PAGE.read_text("utf-8")


def test_every_row_says_a_fact_and_its_source() -> None:
    rows = [line.split(" | ") for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| R")]
    assert len(rows) > 100
    assert [row[0] for row in rows if len(row) != 4 or len(row[1]) < 40 or len(row[2]) < 8] == []


def test_make_check_looks_at_it() -> None:
    assert "python -m flows.docgen.rules --check" in (ROOT / "Makefile").read_text("utf-8")


def test_a_rule_without_a_row_a_row_without_a_rule_and_a_wrong_order_are_faults() -> None:
    cited = {"R2": ["mappers"], "R10": ["stores/redis"]}
    assert list(rules.faults(f"{ROWS}| R2 | a | b |  |\n| R10 | c | d |  |\n", cited)) == []
    assert list(rules.faults(f"{ROWS}| R10 | c | d |  |\n| R3 | a | b |  |\n", cited)) == [
        "R2 is cited in mappers and has no row in docs/rules.md: add it",
        "R3 has a row in docs/rules.md, but nothing cites it: remove the row",
        "the rows of docs/rules.md are out of order, or two have one number: sort them by number",
    ]
    assert len(list(rules.faults(f"{ROWS}| R2 | a | b |  |\n| R2 | a | b |  |\n| R10 | c | d |  |\n", cited))) == 1


def test_the_last_column_names_the_folders_and_tests_only_where_nothing_else_cites(tmp_path: Path) -> None:
    for name, text in {
        "mappers/redis/a.py": "# R2 and R3",
        "tests/mappers/b.py": "# R2, R4",
        "stores/c.hpp": "// R2",
        "flows/d.md": "R5",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    cited = rules.citing(tmp_path)
    assert cited == {"R2": ["mappers/redis", "stores"], "R3": ["mappers/redis"], "R4": ["tests/mappers"]}
    assert (
        rules.page(f"{ROWS}| R2 | a | b | `gone` |\n", cited) == f"{ROWS}| R2 | a | b | `mappers/redis`, `stores` |\n"
    )


def test_a_stale_page_is_noticed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "rules.md"
    copy.write_text(PAGE.read_text("utf-8").replace("`flows/verifier`", "`flows/elsewhere`"), encoding="utf-8")
    monkeypatch.setattr(rules, "FILE", copy)
    monkeypatch.setattr(rules, "ROOT", ROOT)  # Also where the package under test is an installed one.
    assert rules.main(["--check"]) == 1
    assert "flows.docgen.rules --write" in capsys.readouterr().err
    assert rules.main(["--write"]) == 0
    assert copy.read_text("utf-8") == PAGE.read_text("utf-8")
    assert rules.main(["--wirte"]) == 2
