"""The judge of the soak by itself: it finds what is planted, and it blames nobody for what is as it should be."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from chaos.forms import Content, Expected
from chaos.judge import Comparison, Findings, Outcome, compare, judge_claim, judge_ending, verdict_of

from flows import exit_codes

LATER = 4_102_444_800_000
RECORDS: dict[str, Content] = {
    "k:n:1": ("string", ("object", ("_id", ("int", "1"))), None),
    "k:n:2": ("hash", {b"a": b"1"}, LATER),
    "k:n:3": ("string", b"7", 1_000),
}
CLEAN: dict[str, Any] = {
    "route": "r0",
    "verdict": "clean",
    "verified": "full",
    "read": 3,
    "dropped": 0,
    "rejected": 0,
    "copied": 3,
    "records": 3,
    "held": 2,
    "missing": 0,
    "differs": 0,
    "extra": 0,
    "collides": 0,
    "expired": 1,
}

Change = Callable[[dict[str, Content]], object]


def ended(code: int, *rows: dict[str, Any], verdict: str | None = "clean", err: str = "", **more: Any) -> Outcome:
    out = json.dumps({"verdict": verdict, "routes": rows}) if verdict is not None else ""
    return Outcome(["verify"], code, out, err, **more)


def blamed(outcome: Outcome, found: Comparison, expected: Expected | None = None) -> set[str]:
    findings = Findings()
    judge_ending(outcome, exit_codes.OF_VERDICT, findings)
    judge_claim(outcome, "r0", expected or Expected(RECORDS), found, findings)
    return set(findings.by_class)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda held: held.pop("k:n:1"), "missing"),
        (lambda held: held.update({"k:n:1": ("string", ("object", ("_id", ("float", "1.0"))), None)}), "differs"),
        (lambda held: held.update({"k:n:2": ("hash", {b"a": b"2"}, LATER)}), "differs"),
        (lambda held: held.update({"k:n:2": ("hash", {b"a": b"1"}, None)}), "differs"),
        (lambda held: held.update({"k:n:2": ("string", {b"a": b"1"}, LATER)}), "differs"),
        (lambda held: held.update({"k:n:9": ("string", b"7", None)}), "extra"),
    ],
)
def test_a_target_that_is_called_clean_and_is_damaged_is_wrong(change: Change, kind: str) -> None:
    held = dict(RECORDS)
    change(held)
    found = compare(RECORDS, held)
    assert len(getattr(found, kind)) == 1
    assert blamed(ended(0, CLEAN), found) == {"WRONG"}
    assert blamed(ended(1, {**CLEAN, "verdict": "mismatches", kind: 1}, verdict="mismatches"), found) == set()
    assert blamed(ended(1, {**CLEAN, "verdict": "mismatches", kind: 2}, verdict="mismatches"), found) == {"WRONG"}


def test_a_target_as_it_should_be_is_right_whether_what_has_expired_is_gone_or_not() -> None:
    for held in (RECORDS, {address: RECORDS[address] for address in ("k:n:1", "k:n:2")}):
        assert blamed(ended(0, CLEAN), compare(RECORDS, held)) == set()
    early = compare(RECORDS, {address: RECORDS[address] for address in ("k:n:1", "k:n:2")}, now_ms=500)
    assert list(early.missing) == ["k:n:3"]


def test_a_reject_that_is_called_clean_is_wrong_unless_a_person_accepted_it() -> None:
    expected = Expected(RECORDS, rejected=1)
    assert blamed(ended(0, CLEAN), compare(RECORDS, RECORDS), expected) == {"WRONG"}
    assert blamed(ended(0, {**CLEAN, "accepted": 1}), compare(RECORDS, RECORDS), expected) == set()


def test_a_sync_that_reached_its_end_claims_that_the_target_follows_the_source() -> None:
    stale = compare(RECORDS, {**RECORDS, "k:n:1": ("string", b"old", None)})
    row = {"route": "r0", "verdict": "clean", "verified": "none"}
    synced = Outcome(["sync"], 0, json.dumps({"verdict": "clean", "routes": [row]}), "")
    assert blamed(synced, stale) == {"WRONG"}
    assert blamed(ended(0, row), stale) == set(), "a backfill that verified nothing claims nothing"


@pytest.mark.parametrize(
    ("outcome", "classes"),
    [
        (ended(0, {**CLEAN, "verdict": "mismatches"}, verdict="mismatches"), {"contradiction"}),
        (ended(0, {**CLEAN, "verdict": "pending"}, verdict="pending"), set()),
        (ended(1, verdict=None, err="No module named flows"), {"contradiction"}),
        (ended(130, verdict=None, err="Traceback (most recent call last):\nKeyboardInterrupt\n", signal=2), set()),
        (ended(130, verdict=None, err="Traceback (most recent call last):\nOSError\n", signal=2), {"internal"}),
        (ended(1, CLEAN), {"contradiction"}),
        (ended(0, {**CLEAN, "copied": 2}), {"books"}),
        (ended(0, {**CLEAN, "held": 1}), {"books"}),
        (ended(3, verdict="failed", err="Traceback (most recent call last):\n"), {"internal"}),
        (ended(3, verdict="failed", err="offramp: E-INTERNAL unexpected"), {"internal"}),
        (ended(-11, verdict=None), {"internal"}),
        (ended(-9, verdict=None, signal=signal.SIGKILL), set()),
        (ended(143, verdict="failed", signal=signal.SIGTERM), set()),
        (ended(3, verdict="failed", err="offramp: E-LEASE-HELD"), set()),
    ],
)
def test_how_a_command_ends_is_judged_by_itself(outcome: Outcome, classes: set[str]) -> None:
    findings = Findings()
    judge_ending(outcome, exit_codes.OF_VERDICT, findings)
    assert set(findings.by_class) == classes


def test_an_iteration_is_of_the_worst_class_that_was_found() -> None:
    findings = Findings({"late": ["a signal"], "internal": ["a traceback"], "WRONG": ["a record"]})
    assert verdict_of(findings, ended(0)) == "WRONG"
    assert verdict_of(Findings({"late": ["a signal"]}), ended(0)) == "clean"
    assert verdict_of(Findings(), ended(1, verdict="rejects")) == "told"
