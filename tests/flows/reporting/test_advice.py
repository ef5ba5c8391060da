"""Each advice applies to the routes it is for: what to do about a route follows from what is known of it."""

from __future__ import annotations

from typing import Any

import pytest
import reports

from flows.reporting.advice import KEEP, SIGN, Step, next_steps
from flows.reporting.model import FieldLoss


@pytest.mark.parametrize(
    ("changes", "words", "without"),
    [
        ({"verified": "counts"}, ["offramp verify PLAN --level full"], ["retire the source yet"]),
        ({"verdict": "pending", "verified": "none"}, ["offramp sync PLAN", "offramp verify PLAN"], ["--restart"]),
        # A sync that rejected none itself, of a route with rejects on record.
        (
            {"verdict": "rejects", "rejected": 0, "open_rejects": 3},
            ["rejects list", "rejects retry", "rejects drop"],
            [],
        ),
        (
            {"verdict": "rejects", "rejected": 9, "open_rejects": 9},
            ["rejects list", "rejects retry", "rejects drop"],
            ["repair"],
        ),
        ({"verdict": "mismatches", "differs": 1}, ["offramp repair PLAN"], ["--restart", "rejects"]),
        ({"verdict": "mismatches", "extra": 1}, ["--delete-extras"], ["--restart"]),
        (
            {"verdict": "mismatches", "missing": 1, "rejected": 2, "open_rejects": 2},
            ["repair PLAN", "rejects list"],
            [],
        ),
        ({"verdict": "mismatches", "missing": 30_000}, ["common cause", "--restart", "repair PLAN --all"], []),
        ({"verdict": "mismatches", "collides": 2}, ["`key`", "--restart"], ["repair"]),
        ({"verdict": "mismatches", "verified": "counts"}, ["sync PLAN", "verify PLAN"], ["repair", "--restart"]),
        ({"verdict": "mismatches", "missing": 99, "figures": "none"}, ["`offramp backfill PLAN`"], ["repair"]),
        (
            {"verdict": "rejects", "rejected": 1, "open_rejects": 1, "figures": "none"},
            ["`offramp backfill PLAN`"],
            ["rejects"],
        ),
        ({"verdict": "failed", "codes": ["E-NOT-COPIED"], "figures": "none"}, ["backfill PLAN"], ["Not backfilled"]),
        ({"verdict": "failed", "codes": ["E-MADE-ANEW"]}, ["`offramp backfill PLAN --restart`"], ["same command"]),
        ({"verdict": "failed", "codes": ["E-ES-NOINDEX"]}, ["`offramp backfill PLAN --restart`"], ["same command"]),
        ({"verdict": "failed", "codes": ["E-SRC-AUTH"]}, ["Then run the same command again"], ["explain", "--restart"]),
        ({"verdict": "failed", "codes": ["E-SHELF-OWN"]}, ["offramp explain CODE", "same command"], []),
        ({"verdict": "stopped", "reasons": ["E-REJECTS-BUDGET x"]}, ["rejects list", "raise the limit"], []),
        ({"verdict": "stopped", "reasons": ["E-STOPPED x"]}, ["same command again, without `--restart`"], ["rejects"]),
        (
            {"verdict": "failed", "verified": "counts", "held": 5, "missing": None},
            ["sync PLAN", "verify PLAN --level full"],
            ["same command", "explain"],
        ),
        ({"verdict": "failed", "held": 0}, ["`allow_empty: true`"], ["explain"]),
        ({"verdict": "failed"}, ["offramp explain CODE", "same command again, without `--restart`"], ["sync"]),
        ({"verdict": "failed", "unsettled": 3}, ["sync PLAN", "verify PLAN"], ["same command"]),
        (
            {"verdict": "mismatches", "lost": [FieldLoss("a", "nan", 1, [], accepted=False)]},
            ["accept_loss", "values"],
            ["repair"],
        ),
    ],
)
def test_an_advice_is_of_use_for_what_was_found(changes: dict[str, Any], words: list[str], without: list[str]) -> None:
    said = " ".join(map(str, next_steps(reports.whole(reports.row("r", **changes)))))
    assert [word for word in words if word not in said] == []
    assert [word for word in without if word in said] == []
    assert (KEEP in said) is (changes.get("verdict", "clean") != "clean")


def test_a_clean_and_complete_report_is_to_be_signed_and_no_other() -> None:
    assert next_steps(reports.whole(reports.row("r"))) == [Step(SIGN)]
    assert Step(SIGN) not in next_steps(reports.whole(reports.row("r"), reports.damaged()))


def test_an_advice_names_its_routes_where_it_is_not_for_all() -> None:
    steps = next_steps(reports.whole(reports.row("a", verdict="rejects", rejected=1, open_rejects=1), reports.row("b")))
    assert any(str(step).startswith("a: `offramp rejects list") for step in steps)


def test_the_commands_of_an_advice_name_the_routes_that_it_is_for() -> None:
    """A person copies the command; the routes beside it would have to be typed."""
    wrong = [reports.row(name, verdict="mismatches", differs=1) for name in ("a", "b-2")]
    [step] = [str(step) for step in next_steps(reports.whole(*wrong, reports.row("c"))) if "repair" in step.text]
    assert "`offramp repair PLAN --route a --route b-2`" in step
    [step] = [str(step) for step in next_steps(reports.whole(*wrong)) if "repair" in step.text]
    assert "`offramp repair PLAN`" in step
    for names in (["a b", "$(x)"], [f"r{number}" for number in range(6)]):  # Too odd or too many to be typed so.
        rows = [reports.row(name, verdict="mismatches", differs=1) for name in names]
        [step] = [str(step) for step in next_steps(reports.whole(*rows, reports.row("c"))) if "repair" in step.text]
        assert "`offramp repair PLAN --route ROUTE`" in step
