"""Tables on terminals of any width: nothing wraps, and nothing that is known is left out."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import reports

from flows.reporting.model import Following
from flows.reporting.text import as_lines, table

FIGURES = ("documents", "read", "dropped", "rejected", "records", "held", "expired", "missing", "differs", "extra")
ROWS = [
    {"route": name, "target": "elasticsearch"}
    | dict.fromkeys(FIGURES, "12 000")
    | {"dropped": "0", "rejected": "0", "expired": "-", "missing": missing, "differs": "0", "extra": "0"}
    | {"verdict": verdict}
    for name, missing, verdict in (("orders", "0", "clean"), ("users", "3", "mismatches"))
]
LEFT = ("route", "target", "verdict")


def test_a_table_that_fits_or_goes_to_a_file_is_one() -> None:
    whole = table(ROWS, LEFT)
    assert max(map(len, whole)) > 120
    assert table(ROWS, LEFT, 165) == whole
    assert whole[0].split() == [*ROWS[0]]


def test_columns_without_news_make_room_and_are_named_below() -> None:
    assert table(ROWS, LEFT, 90) == [
        "route   target         documents    read  records    held  missing  verdict",
        "orders  elasticsearch     12 000  12 000   12 000  12 000        0  clean",
        "users   elasticsearch     12 000  12 000   12 000  12 000        3  mismatches",
        "0 in each: dropped, rejected, differs, extra",
        "not known of any: expired",
    ]


@pytest.mark.parametrize("width", [40, 60])
def test_a_table_that_is_still_too_wide_has_a_paragraph_for_each_row(width: int) -> None:
    lines = table(ROWS, LEFT, width)
    assert all(len(line) <= width for line in lines)
    assert (lines[0], [line for line in lines if line == "users"]) == ("orders", ["users"])
    text = re.sub(r"\s+", " ", " ".join(lines))
    assert "users target elasticsearch documents 12 000 read 12 000 records 12 000 held 12 000 missing 3" in text
    assert "verdict mismatches 0 in each: dropped, rejected, differs, extra not known of any: expired" in text


def test_spare_columns_make_room_before_a_row_becomes_a_paragraph() -> None:
    assert table(ROWS, LEFT, 48, spare=("target", "read", "records")) == [
        "route   documents    held  missing  verdict",
        "orders     12 000  12 000        0  clean",
        "users      12 000  12 000        3  mismatches",
        "in a wider terminal: target, read, records",
        "0 in each: dropped, rejected, differs, extra",
        "not known of any: expired",
    ]


def test_a_paragraph_has_no_cells_without_a_content() -> None:
    rows = [{"route": "orders", "target": "redis", "read": "12"}, {"route": "total", "target": "", "read": "12"}]
    assert table(rows, ("route", "target"), 10)[-2:] == ["total", "  read 12"]


def test_a_long_text_of_a_paragraph_breaks_between_its_words() -> None:
    reason = "the server of the target refused this document as its field holds more than it takes"
    rows = [{"route": "orders", "id": '{"$oid":"65a000000000000000000001"}', "code": "E-MAP-VALUE", "reason": reason}]
    lines = table(rows, ("route", "id", "code", "reason"), 40)
    assert all(len(line) <= 40 for line in lines)
    assert " ".join(" ".join(lines).split()).endswith(f"reason {reason}")


def test_the_report_of_the_demo_is_a_line_for_each_route_at_80_columns() -> None:
    figures = {"documents": 2_000, "read": 2_000, "copied": 2_000, "records": 2_000, "held": 2_000}
    rows = [
        reports.row(name, target="elasticsearch", **figures, missing=0, collides=0, expired=0)
        for name in ("projects", "freelancers_by_rating")
    ]
    lines = as_lines(reports.whole(*rows), 80)
    assert [line.split()[0] for line in lines[1:4]] == ["projects", "freelancers_by_rating", "total"]
    assert all(len(line) <= 80 for line in lines[:4])
    assert lines[3].endswith("2 of 2 clean")


def test_the_report_of_a_sync_has_the_figures_of_a_sync() -> None:
    sync = Following("2026-01-01T00:00:00+00:00", 0.5, 1.0, 90.0, 1_234, 2, 1)
    report = replace(reports.whole(reports.row("r", sync=sync)), command="sync")
    heading, cells = as_lines(report)[:2]
    assert heading.split("  ")[0] == "route"
    assert "synced to" in heading
    assert "documents" not in heading
    assert "1 234" in cells


def test_a_report_says_on_a_terminal_what_the_canary_found_and_has_no_backticks() -> None:
    found = "canary: found all of 10 kinds of damage planted among 11 documents in 1 scratch area of redis"
    rows = [
        reports.row("a", canary=found),
        reports.row(
            "b", canary=found, verdict="rejects", reasons=["1 document was rejected; `offramp rejects list PLAN`"]
        ),
    ]
    lines = as_lines(reports.whole(*rows))
    assert lines.count(found) == 1
    assert "b: 1 document was rejected; 'offramp rejects list PLAN'" in lines
    assert not any("`" in line for line in lines)


def test_how_far_a_sync_was_behind_is_not_said_of_now() -> None:
    sync = Following("2026-01-01T00:00:00+00:00", 11.7, 900.0, 90.0, 5, 4, 1)
    lines = as_lines(reports.whole(reports.row("r", sync=sync)))
    assert any(line.startswith("r: synced to 2026-01-01T00:00:00+00:00, then 11.7 s behind: ") for line in lines)
