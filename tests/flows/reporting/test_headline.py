"""The headline of a report names each class of verdict with its number of routes, and claims what was proven only."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import reports

from flows.reporting.headline import meaning
from flows.reporting.model import Following, Verdict


@pytest.mark.parametrize(
    ("verdict", "changes", "words"),
    [
        ("clean", {}, "every record was read back"),
        ("clean", {"verified": "counts"}, "not every record was compared with its document: r"),
        ("clean", {"verified": "none"}, "not every record was compared"),
        ("pending", {"verified": "none"}, "the next sync has changes to bring over, and nothing was compared: r."),
        ("rejects", {"rejected": 1234, "open_rejects": 1234}, "1 234 documents were rejected"),
        # A sync may have rejected none itself while others are on record.
        ("rejects", {"rejected": 0, "accepted": 1, "open_rejects": 11}, "11 documents were rejected"),
        ("mismatches", {}, "do not hold exactly"),
        (
            "stopped",
            {"documents": 6000, "read": 1000},
            "may not have all documents: r (1 000 of 6 000 documents read).",
        ),
        ("stopped", {"documents": None}, "may not have all documents: r."),
        ("failed", {}, "Nothing is proven of these routes"),
    ],
)
def test_a_verdict_says_what_it_means(verdict: Verdict, changes: dict[str, Any], words: str) -> None:
    assert words in meaning(reports.whole(reports.row("r", verdict=verdict, **changes)))


def test_only_a_clean_route_is_said_to_be_accounted_for() -> None:
    for verdict in ("pending", "rejects", "mismatches", "stopped", "failed"):
        said = meaning(reports.whole(reports.row("r", verdict=verdict, rejected=1)))
        assert "accounted for" not in said
    assert "All that could be moved" not in meaning(reports.whole(reports.row("r", verdict="stopped", rejected=9)))


def test_each_class_is_named_with_its_number_of_routes() -> None:
    clean: list[Verdict] = ["clean"]
    verdicts: list[Verdict] = [*clean * 11, "mismatches", "mismatches", "stopped"]
    rows = [reports.row(f"r{at}", verdict=verdict) for at, verdict in enumerate(verdicts)]
    said = meaning(reports.whole(*rows))
    assert said.startswith("11 of 14 routes clean, 2 with mismatches, 1 stopped. ")
    assert "say they should: r11, r12." in said
    assert "r13 (" in said
    assert meaning(reports.whole(*rows[:2])).startswith("2 of 2 routes clean. ")


def test_a_run_without_routes_has_no_result() -> None:
    assert "no result" in meaning(dataclasses.replace(reports.whole(), routes=()))


def test_a_sync_does_not_claim_that_anything_was_counted_or_compared() -> None:
    said = meaning(dataclasses.replace(reports.whole(reports.row("r", verified="none")), command="sync"))
    assert "nothing was compared" in said
    assert "accounted for" not in said
    silent = Following("2026-01-01T00:00:00+00:00", 0.5, 1.0, None, 3, 2, 1, by_silence=True)
    rows = reports.row("r", verified="none", sync=silent)
    said = meaning(dataclasses.replace(reports.whole(rows), command="sync"))
    assert "Every change that the source has shown" in said
    assert "judged by its silence" in said
