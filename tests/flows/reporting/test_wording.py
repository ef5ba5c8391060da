"""What a report says in words follows from its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import reports
from plans import Stores, write_plan

from flows.plan.load import load
from flows.reporting import svg_charts as charts
from flows.reporting.model import Following
from flows.reporting.not_checked import not_checked
from flows.reporting.wording import remarks, size, sums, unchecked


@pytest.mark.parametrize(
    ("changes", "closing"),
    [
        ({}, [True, True, True]),
        ({"rejected": 1}, [True, False, True]),
        ({"documents": 52_311}, [False, True, True]),
        ({"held": 52_000, "missing": 100, "collides": 50, "expired": 48}, [True, True, True]),
        ({"held": 52_199}, [True, True, False]),
        ({"missing": None, "collides": None, "expired": None}, [True, True, True]),
        ({"held": None, "missing": None}, [True, True]),
        ({"documents": None, "held": None, "missing": None}, [True]),
        ({"figures": "sample", "documents": 90_000}, [True, True]),
        ({"figures": "past", "held": None, "missing": None}, []),
        ({"figures": "none"}, []),
    ],
)
def test_a_sum_closes_exactly_where_it_adds_up(changes: dict[str, Any], closing: list[bool]) -> None:
    assert [equation.closes for equation in sums(reports.row("r", **changes))] == closing


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"figures": "none"}, "not backfilled: this plan's state has no copy of the route"),
        (
            {"figures": "none", "compared": {"documents": 1830, "records": 1820}},
            "compared as it is: 1 830 documents map to 1 820 records",
        ),
        ({"figures": "past"}, "the figures of the copy are history; verify with --level full"),
        ({"figures": "sample", "read": 1000}, "the figures are of the 1 000 documents of the sample"),
    ],
)
def test_figures_that_are_not_of_the_copy_say_what_they_are_of(changes: dict[str, Any], words: str) -> None:
    [sentence] = remarks(reports.row("r", **changes))
    assert words in sentence


def test_how_long_the_source_keeps_its_changes_is_never_rounded_to_nothing() -> None:
    sync = Following("2026-01-01T00:00:00+00:00", 0.5, 1.0, 90.0, 3, 2, 1)
    [sentence] = remarks(reports.row("r", sync=sync))
    assert sentence.endswith("since the backfill; the source keeps its changes for 90.0 s")


def test_a_position_that_silence_alone_proves_is_called_that() -> None:
    sync = Following("2026-01-01T00:00:00+00:00", 0.5, 1.0, None, 3, 2, 1, by_silence=True)
    [sentence] = remarks(reports.row("r", sync=sync))
    assert "0.5 s behind, as far as its silence tells:" in sentence


def test_what_was_not_checked_names_the_routes_it_holds_for() -> None:
    report = reports.whole(reports.row("a"), reports.row("b"), reports.damaged())
    sentences = unchecked(report)
    assert sentences["Unique indexes of the source (email_1): redis does not enforce them."] == ["a", "b"]
    assert len(sentences) == 2


def test_whatever_a_plan_leaves_out_is_reported(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def mine(document):\n    return []\n", encoding="utf-8")
    stores = Stores("mongodb://m", "redis://r", "http://127.0.0.1:1", "http://127.0.0.1:1")
    routes = {
        "plain": {"use_case": "session"},
        "fields": {"use_case": "session", "fields": {"drop": ["ssn"]}, "accept_loss": ["nan"]},
        "where": {"use_case": "session", "where": {"a": 1}, "transforms": [{"rename": {"a": "b"}}]},
        "own": {"target": "redis", "use": "own.py:mine"},
    }
    plan = load(write_plan(tmp_path, stores, "d", routes), {})

    def sentences(route: str, **changes: Any) -> list[str]:
        return not_checked(plan.routes[route], reports.row(route, **changes))

    assert sentences("plain") == []
    assert len(sentences("fields")) == 2
    assert "nan" in sentences("fields")[1]
    assert [sentence.split("`")[1] for sentence in sentences("where")] == ["where", "transforms"]
    assert "own.py:mine" in sentences("own")[0]
    assert sentences("plain", verified="none") == ["The records: nothing was compared with the source."]
    assert "only their number" in sentences("plain", verified="counts")[0]
    assert "no document maps to" in sentences("plain", extra=None)[0]
    assert "7 records that have expired" in sentences("plain", expired=7)[0]
    assert "3 rejected" in sentences("plain", rejected=3)[0]
    assert "two documents share" in sentences("plain", verification={"absent_unread": True})[0]


def test_sizes_have_units() -> None:
    assert [size(1 << bits) for bits in (0, 8, 9, 10, 14, 19, 20, 23)] == [
        *("1–2 B", "256–512 B", "½–1 KB", "1–2 KB", "16–32 KB", "512–1024 KB", "1–2 MB", "8–16 MB")
    ]


@pytest.mark.parametrize("most", [0, 1, 3, 7, 10, 999, 1_234_567, 0.02])
def test_axes_begin_at_zero_and_reach_beyond_the_largest_value(most: float) -> None:
    top, step = charts._scale(most)
    assert top >= most
    assert 1 <= round(top / step) <= 5
    drawing = charts.over_time("t", charts.Steps(1, [most, 0]), "seconds", "documents / s")
    assert 'text-anchor="end">0</text>' in drawing
    assert "NaN" not in drawing


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    for drawing in (
        charts.over_time("t", charts.Steps(1, []), "s", "n"),
        charts.columns("t", [], [], "n"),
        charts.rows("t", [], [], []),
    ):
        assert drawing.startswith("<svg role=")


def test_names_in_a_chart_are_text() -> None:
    assert "<b>" not in charts.rows("<b>", ["<b>&"], [1], ["<b>"])
