"""Tables on terminals of any width: nothing wraps, and nothing that is known is left out."""

from __future__ import annotations

import re

import pytest

from flows.reporting.text import table

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
