"""What Prefect is shown of a report: counts, codes and the plan's names, and nothing that came from a document."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from reports import STARTED, row

from flows.orchestration.summary import as_page, error_line, figures, findings, headline
from flows.reporting.model import FieldLoss, Report, RouteReport
from stores.errors import PlanError

SECRET = "hunter2"
UNCLEAN = row(
    "orders",
    verdict="mismatches",
    missing=3,
    differs=1,
    rejected=3,
    rejects={"E-MAP-VALUE": 2, f"{SECRET} code": 1},
    lost=[FieldLoss(f"{SECRET}.field", "nonfinite_null", 2, (SECRET,), accepted=False)],
    losses={"nonfinite_null": 2},
    samples={"missing": [f"s:{SECRET}"]},
    reasons=[f"E-STATE-GONE the state lost {SECRET}", f"values at '{SECRET}.field' were not kept"],
    notes=[f"a note about {SECRET}"],
    accepted_rejects=[{"example": SECRET}],
    place=f"{SECRET} -> {SECRET}",
    not_checked=[f"the field {SECRET}"],
)


def report_of(*routes: RouteReport) -> Report:
    return Report("shop", "f", STARTED, STARTED, routes)


def test_a_headline_names_the_first_unclean_routes_with_counts_and_codes() -> None:
    clean = [row(f"r{number}") for number in range(3)]
    unclean = [dataclasses.replace(UNCLEAN, route=f"u{number}") for number in range(7)]
    line = headline(report_of(*clean, *unclean))
    assert line.startswith(
        "verdict mismatches: 3 of 10 routes clean; u0: mismatches (3 missing, 1 differs, 2 rejected E-MAP-VALUE,"
        " 1 rejected of another kind, 2 nonfinite_null lost, E-STATE-GONE); u1: "
    )
    assert line.endswith("; 2 more")


def test_nothing_of_a_document_is_shown_whatever_field_holds_it(tmp_path: Path) -> None:
    report = report_of(UNCLEAN)
    page = as_page(report, [f"{tmp_path}/report.json"])
    for text in (headline(report), *findings(UNCLEAN), page, repr(figures(UNCLEAN))):
        assert SECRET not in text
    assert "- 3 missing: the source has them, the target does not" in page
    assert f"`{tmp_path}/report.json`" in page
    assert report.digest() in page


def test_names_of_the_plan_are_shown_letter_by_letter() -> None:
    page = as_page(report_of(row("<b>|[x](http://h)")), [])
    assert r"\[x\](http&#58;" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PlanError("E-PLAN", f"2 faults {SECRET} E-MADE-ANEW E-NOT-ONE"), " (E-MADE-ANEW)"),
        (PlanError("E-OWN", SECRET), "E-OWN"),
        (PlanError(f"{SECRET} code", SECRET), "of another kind"),
        (KeyError(SECRET), "E-INTERNAL unexpected KeyError at "),
    ],
)
def test_an_error_is_its_code_and_what_the_code_means(error: Exception, line: str) -> None:
    with pytest.raises(type(error)) as raised:
        raise error
    shown = error_line(raised.value)
    assert line in shown
    assert SECRET not in shown
