"""A column is described once, and each place that shows columns shows the same value."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import reports

from flows.reporting.columns import Place, cells, columns
from flows.reporting.html_page import as_html
from flows.reporting.markdown import as_markdown
from flows.reporting.model import Following, RouteReport
from flows.reporting.text import as_text

PAGE = Path(__file__).parents[3] / "docs" / "report.md"


def test_the_columns_in_the_documents_are_these_with_these_meanings() -> None:
    section = PAGE.read_text("utf-8").partition("## Columns\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", section, re.MULTILINE)
    assert rows[1:] == [(column.heading, column.meaning) for column in columns("docs")]


@pytest.mark.parametrize("place", ["terminal", "markdown", "html", "mismatches", "event", "sync", "docs"])
def test_every_place_shows_columns_under_different_headings(place: Place) -> None:
    headings = [column.heading for column in columns(place)]
    assert headings
    assert len({*headings}) == len(headings)


def test_what_the_page_shows_is_a_field_of_the_report() -> None:
    """The page names the place of each number in report.json."""
    row = reports.damaged()
    fields = {field.name for field in dataclasses.fields(RouteReport)}
    for column in {*columns("html"), *columns("mismatches")}:
        assert column.name in fields
        assert column.value(row) == getattr(row, column.name)
        assert column.meaning


def test_a_cell_is_a_number_a_duration_a_word_or_not_checked() -> None:
    row = reports.row("r", extra=None, losses={"nan": 1_000, "rounded": 234}, verify_s=None)
    shown = cells(row, "terminal")
    assert [shown[name] for name in ("route", "read", "extra", "losses", "backfill", "verify", "verdict")] == [
        *("r", "52 310", "-", "1 234", "8.4 s", "-", "clean")
    ]


def test_an_event_has_the_numbers_that_automations_go_by() -> None:
    synced = reports.row("r", sync=Following("2026-01-01T00:00:00+00:00", 1.5, 2.54, None, 1, 2, 3))
    assert {column.name: column.value(synced) for column in columns("event")} == {
        "read": 52_310,
        "rejected": 0,
        "held": 52_198,
        "missing": 0,
        "differs": 0,
        "extra": 0,
        "behind_s": 2.5,
        "window_s": None,
        "verdict": "clean",
    }


def test_the_tables_have_these_headings_and_no_others() -> None:
    report = reports.whole(reports.row("r"))
    terminal = re.split(r" {2,}", as_text(report).splitlines()[0])
    markdown = next(line for line in as_markdown(report).splitlines() if line.startswith("| route"))
    page = re.findall(r"<th[^>]*>([^<]*)</th>", as_html(report).partition("</thead>")[0])
    assert terminal == [column.heading for column in columns("terminal")]
    assert markdown.strip("| ").split(" | ") == [column.heading for column in columns("markdown")]
    assert page == ["route", "verdict", "target", *(column.heading for column in columns("html")), "verified"]
