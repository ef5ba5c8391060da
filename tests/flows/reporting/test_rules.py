"""Each rule by itself: what it finds, as the verdict and words of its reason, and what it lets pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from evidences import balance, comparison, evidence, tally

from flows.reporting import rules
from flows.reporting.evidence import Evidence
from flows.reporting.model import Following
from flows.reporting.rules import RULES, Finding
from flows.reporting.verdict import judge
from flows.verifier.compare import Comparison
from flows.verifier.counts import Counts
from flows.verifier.ledger import Balance
from flows.verifier.sample import Sampled
from mappers.losses import Loss
from stores.contract.journal import Tally
from stores.errors import OverBudget, TransientError
from stores.state.rejects import RejectCount

GONE = TransientError("E-RDS-AWAY", "gone")
HALTED = TransientError("E-STOPPED", "by a signal")
FULL = TransientError("E-RDS-MEMORY", "full")
OVER = OverBudget("E-REJECTS-BUDGET", "stopped: too many")
SYNCED = Following("2026-01-01T00:00:00+00:00", 0.0, 0.0, None, 1, 1, 0)
AGAIN: dict[str, Any] = {"level": "counts", "following": SYNCED, "one_record": True, "comparison": None}
"""What differs where ten documents of one record each are counted after a sync."""
NOTHING = Comparison(Tally(), Balance(extra=0))
WRITTEN: dict[str, Any] = {"level": "none", "comparison": None, "source_counts": {"int": 8, "string": 3}}
"""What differs where the source has one document more than was copied, and nothing was compared."""

Case = tuple[str, dict[str, Any], list[tuple[str, str]]]
"""What is the case, how the evidence differs from a clean one, and each finding: verdict and words of its reason."""

TABLES: Mapping[Callable[[Evidence], Iterable[Finding]], list[Case]] = {
    rules.over_budget: [
        ("the budget was kept", {}, []),
        ("it was exceeded", {"failures": [OVER]}, [("stopped", "stopped: too many")]),
        ("an earlier run exceeded it", {"halted": "stopped: 9 of 10"}, [("stopped", "stopped: 9 of 10")]),
        ("this run and its record", {"failures": [OVER], "halted": "stopped"}, [("stopped", str(OVER))]),
        ("in several partitions", {"failures": [OVER, GONE, OVER]}, [("stopped", str(OVER))]),
        ("another failure", {"failures": [GONE]}, []),
    ],
    rules.unfinished: [
        ("it ended", {}, []),
        ("a store failed", {"failures": [GONE]}, [("failed", "E-RDS-AWAY gone")]),
        ("a signal stopped it", {"failures": [HALTED, HALTED]}, [("stopped", "E-STOPPED by a signal")]),
        ("in several partitions", {"failures": [GONE, GONE, FULL]}, [("failed", str(GONE)), ("failed", str(FULL))]),
        ("beside its rejects", {"failures": [OVER, GONE], "complete": False}, [("failed", str(GONE))]),
        ("before its rejects", {"failures": [GONE, OVER], "complete": False}, [("failed", str(GONE))]),
        ("a partition not done", {"complete": False}, [("failed", "not every partition")]),
        ("it stopped for its rejects", {"complete": False, "halted": "stopped"}, []),
        ("it stopped for them now", {"complete": False, "failures": [OVER]}, []),
    ],
    rules.documents_add_up: [
        ("read = dropped + copied", {}, []),
        (
            "one is gone",
            {"copied": tally(copied=8)},
            [("mismatches", "10 read, but 1 dropped + 0 rejected + 8 copied")],
        ),
        ("one too many", {"copied": tally(rejected=1)}, [("mismatches", "10 read, but 1 dropped + 1 rejected")]),
        ("one is gone in a sync", {"synced": tally(copied=8)}, [("mismatches", "10 read, but 1 dropped")]),
    ],
    rules.source_counts: [
        ("equal", {}, []),
        ("not asked", {"source_counts": None}, []),
        ("one more", {"source_counts": {"int": 8, "string": 3}}, [("mismatches", "copying read another number")]),
        (
            "as many, other types",
            {"source_counts": {"int": 8, "string": 2}},
            [("mismatches", "int 7 of 8, string 3 of 2")],
        ),
        ("an unread type", {"source_counts": {"int": 7, "string": 3, "date": 1}}, [("mismatches", "date 0 of 1")]),
        (
            "only verification read others",
            {"comparison": Comparison(tally(id_types=Counter(int=7)), balance())},
            [("mismatches", "verification read another number")],
        ),
        (
            "never copied",
            {"copied": None, "source_counts": {"int": 8, "string": 3}},
            [("mismatches", "verification read another number")],
        ),
        ("a sample reads less", {"copied": None, "sampled": Sampled(10, 0, 0, 0.95), "source_counts": {"int": 99}}, []),
        ("not copied to its end", {"complete": False, "comparison": None, "source_counts": {"int": 99}}, []),
        ("it failed", {"failures": [GONE], "source_counts": {"int": 99}}, []),
        (
            "more than have changed since the sync",
            {
                "following": SYNCED,
                "comparison": Comparison(tally(id_types=Counter(int=6, string=4)), balance()),
                "came_or_went": {"int": 1},
            },
            [("mismatches", "verification read another number")],
        ),
        (
            "as many as have changed since the sync",
            {
                "following": SYNCED,
                "comparison": Comparison(tally(id_types=Counter(int=6, string=4)), balance()),
                "came_or_went": {"int": 1, "string": 1},
            },
            [("failed", "offramp sync")],
        ),
        (
            "nothing compared, and the first sync has as many changes to follow",
            WRITTEN | {"first_sync": "stream", "came_or_went": {"int": 1, "string": 5}},
            [("pending", "6 have changed since the copy began, and its first sync follows them: run `offramp sync`")],
        ),
        (
            "nothing compared, and fewer changes to follow",
            WRITTEN | {"first_sync": "stream", "came_or_went": {"string": 5}},
            [("mismatches", "copying read another number of documents than the source now counts")],
        ),
        (
            "nothing compared, and the changes are lost",
            WRITTEN | {"first_sync": "stream"},
            [("mismatches", "copying read another number")],
        ),
        (
            "nothing compared, and the first sync reads the whole collection",
            WRITTEN | {"first_sync": "rescan"},
            [("pending", "its first sync reads the whole collection")],
        ),
        (
            "nothing compared, and no sync is due that finds all changes",
            WRITTEN | {"came_or_went": {"int": 1}},
            [("mismatches", "copying read another number")],
        ),
        (
            "counted, and the first sync has as many changes to follow",
            WRITTEN | {"level": "counts", "first_sync": "stream", "came_or_went": {"int": 1}},
            [("mismatches", "copying read another number")],
        ),
    ],
    rules.changes_pending: [
        ("nothing changed", {"level": "none", "comparison": None}, []),
        (
            "documents changed since the copy",
            {"level": "none", "comparison": None, "changed": True},
            [("pending", "documents have changed since the copy began, and the next sync follows them")],
        ),
        (
            "documents changed since a sync",
            {"level": "none", "comparison": None, "changed": True, "following": SYNCED},
            [("pending", "since the last sync")],
        ),
        ("it failed", {"level": "none", "changed": True, "failures": [GONE]}, []),
        ("documents were counted", {"level": "counts", "comparison": None, "changed": True}, []),
    ],
    rules.rejects: [
        ("none", {}, []),
        ("copying rejected one", {"copied": tally(copied=8, rejected=1)}, [("rejects", "1 document was rejected")]),
        ("which is accepted", {"copied": tally(copied=8, rejected=1), "rejects": RejectCount(0, 1, 0, 0)}, []),
        (
            "which is accepted, and comparing saw another",
            {
                "copied": tally(copied=8, rejected=1),
                "rejects": RejectCount(0, 1, 0, 0),
                "comparison": Comparison(tally(copied=8, rejected=1), balance()),
            },
            [("rejects", "1 document was")],
        ),
        ("the target refused one", {"rejects": RejectCount(1, 0, 1, 0)}, [("rejects", "1 document was")]),
        (
            "repaired since: what is on record counts",
            {"recopied": True, "comparison": None, "copied": tally(copied=8, rejected=1)},
            [],
        ),
        (
            "a sync has put one on record",
            {"recopied": True, "comparison": None, "copied": None, "rejects": RejectCount(1, 0, 0, 0)},
            [("rejects", "1 document was rejected; `offramp rejects list PLAN` shows why")],
        ),
        (
            "a sample after a sync that met none of the refused ones",
            {"recopied": True, "sampled": Sampled(5, 0, 0, 0.95), "rejects": RejectCount(20, 0, 20, 0)},
            [("rejects", "20 documents")],
        ),
        (
            "a sample after a sync that met one of those that cannot be mapped",
            {
                "recopied": True,
                "sampled": Sampled(5, 0, 0, 0.95),
                "comparison": Comparison(tally(copied=8, rejected=1), balance()),
                "rejects": RejectCount(4, 0, 0, 0),
            },
            [("rejects", "4 documents")],
        ),
        (
            "a sync with rejects on record",
            {"synced": Tally(), "rejects": RejectCount(2, 0, 0, 0), "comparison": None},
            [("rejects", "2 documents")],
        ),
    ],
    rules.mismatches: [
        ("none", {}, []),
        ("nothing compared", {"comparison": None}, []),
        ("missing", {"comparison": comparison(held=8, missing=1)}, [("mismatches", "1 missing: the source has them")]),
        ("differs", {"comparison": comparison(differs=1)}, [("mismatches", "1 differs: ")]),
        ("extra", {"comparison": comparison(extra=1)}, [("mismatches", "1 extra: ")]),
        ("extra not looked for", {"comparison": comparison(extra=None)}, []),
        ("collides", {"comparison": comparison(held=8, collides=1)}, [("mismatches", "1 collides: ")]),
        (
            "all of them",
            {"comparison": comparison(held=7, missing=1, differs=2, extra=3, collides=1)},
            [
                ("mismatches", "1 missing"),
                ("mismatches", "2 differs"),
                ("mismatches", "3 extra"),
                ("mismatches", "1 coll"),
            ],
        ),
    ],
    rules.unproven: [
        ("everything is proven", {}, []),
        (
            "it kept changing",
            {"comparison": comparison(unsettled=1)},
            [("failed", "1 unsettled: their documents kept")],
        ),
        (
            "it is still to be synced",
            {"comparison": comparison(unsettled=1), "following": SYNCED},
            [("failed", "run `offramp sync`")],
        ),
        (
            "what is still to be synced is unknown",
            {
                "comparison": comparison(unsettled=1),
                "following": SYNCED,
                "pending_unknown": "the collection was dropped",
            },
            [("failed", "cannot be told: the collection was dropped")],
        ),
        (
            "no answer",
            {"comparison": comparison(inconclusive=2)},
            [("failed", "2 inconclusive: the target did not answer")],
        ),
    ],
    rules.records_add_up: [
        ("written = held", {}, []),
        ("one is nowhere", {"comparison": comparison(held=8)}, [("mismatches", "9 records, 8 held")]),
        ("one too many", {"comparison": comparison(held=10)}, [("mismatches", "9 records, 10 held")]),
        ("expired", {"comparison": comparison(held=6, expired=3)}, []),
        ("changed since it was read", {"comparison": comparison(held=8, settled=1)}, []),
        ("a mismatch says why", {"comparison": comparison(held=7, missing=1)}, []),
        ("a failure says why", {"comparison": comparison(held=7), "failures": [GONE]}, []),
        (
            "a reject does not say why",
            {"comparison": comparison(held=8), "failures": [OVER]},
            [("mismatches", "9 records, 8")],
        ),
        (
            "a loss does not say why",
            {"comparison": comparison(held=8), "copied": tally(losses=Counter(nan=1))},
            [("mismatches", "8 held")],
        ),
    ],
    rules.emptiness: [
        ("something was compared", {}, []),
        ("nothing was to be compared", {"comparison": None}, []),
        ("nothing", {"comparison": NOTHING}, [("failed", "compared nothing (allow_empty: true accepts that)")]),
        ("which the plan accepts", {"comparison": NOTHING, "allow_empty": True}, []),
        ("it failed", {"comparison": NOTHING, "failures": [GONE]}, []),
        # A wrong date field would otherwise empty a target and be called clean.
        ("all expired", {"comparison": comparison(held=0, expired=9)}, [("failed", "all 9 records have expired")]),
    ],
    rules.target_audit: [
        ("no fault", {}, []),
        ("two faults", {"target_faults": ["a", "b"]}, [("mismatches", "a"), ("mismatches", "b")]),
        ("nothing compared", {"target_faults": ["a"], "level": "none", "comparison": None}, [("failed", "a")]),
    ],
    rules.counted: [
        ("it was not to count", {"comparison": None}, []),
        ("equal", {"level": "counts", "counts": Counts(9, "listing it")}, []),
        (
            "fewer",
            {"level": "counts", "counts": Counts(8, "listing it")},
            [("mismatches", "holds 8 records, 9 were written")],
        ),
        ("more", {"level": "counts", "counts": Counts(10, "listing it")}, [("mismatches", "holds 10 records")]),
        (
            "fewer, as records may expire",
            {"level": "counts", "counts": Counts(8, "listing it"), "expires": True},
            [("failed", "its records may expire, which counting cannot tell from missing; use --level full")],
        ),
        (
            "more, as nothing that expires is one more",
            {"level": "counts", "counts": Counts(10, "listing it"), "expires": True},
            [("mismatches", "holds 10 records")],
        ),
        (
            "a partition and the order",
            {"level": "counts", "counts": Counts(9, "listing it", ["partition 1: int 3 of 4"], ordered=False)},
            [("mismatches", "do not cover"), ("mismatches", "partition 1: int 3 of 4 were copied")],
        ),
        ("the target cannot", {"level": "counts", "counts": Counts(None)}, [("failed", "cannot list")]),
        ("nobody counted", {"level": "counts", "counts": None}, [("failed", "nothing was counted")]),
        (
            "never copied",
            {"level": "counts", "copied": None, "counts": Counts(9)},
            [("failed", "has not copied the route")],
        ),
        (
            "synced since, and its documents may have any number of records",
            {"level": "counts", "following": SYNCED, "counts": Counts(9)},
            [("failed", "has been synced since, and its documents need not have one record each")],
        ),
        (
            "repaired since",
            {"level": "counts", "recopied": True, "counts": Counts(9)},
            [("failed", "has been repaired")],
        ),
        ("synced since, and equal", AGAIN | {"counts": Counts(10)}, []),
        ("repaired since, and equal", AGAIN | {"following": None, "recopied": True, "counts": Counts(10)}, []),
        (
            "synced since, and fewer",
            AGAIN | {"counts": Counts(9)},
            [("mismatches", "holds 9 records, and should hold 10")],
        ),
        ("synced since, and more", AGAIN | {"counts": Counts(11)}, [("mismatches", "should hold 10")]),
        (
            "synced since, with rejects",
            AGAIN | {"counts": Counts(10), "rejects": RejectCount(1, 2, 0, 0)},
            [("mismatches", "holds 10 records, and should hold 7")],
        ),
        ("with as many rejects", AGAIN | {"counts": Counts(7), "rejects": RejectCount(1, 2, 0, 0)}, []),
        (
            "some of which the target refused",
            AGAIN | {"counts": Counts(9), "rejects": RejectCount(1, 0, 1, 0)},
            [("failed", "of which it may hold a part")],
        ),
        ("synced since, and changed", AGAIN | {"counts": Counts(10), "changed": True}, [("failed", "not synced yet")]),
        ("records may expire", AGAIN | {"counts": Counts(10), "expires": True}, [("failed", "may expire")]),
        ("synced since, and not listed", AGAIN | {"counts": Counts(None)}, [("failed", "not both counted")]),
        (
            "synced to nothing",
            AGAIN | {"counts": Counts(0), "source_counts": {}},
            [("failed", "compared nothing")],
        ),
        ("nothing", {"level": "counts", "copied": Tally(), "counts": Counts(0)}, [("failed", "compared nothing")]),
        (
            "nothing, which the plan accepts",
            {"level": "counts", "copied": Tally(), "counts": Counts(0), "allow_empty": True},
            [],
        ),
        ("it failed", {"level": "counts", "failures": [GONE]}, []),
    ],
    rules.losses: [
        ("none", {}, []),
        (
            "two",
            {
                "copied": tally(
                    losses=Counter(nan=3, neg_zero=2), lost={("a", "nan"): Loss(3), ("b", "neg_zero"): Loss(2)}
                )
            },
            [("mismatches", 'accept_loss: ["a:nan"]'), ("mismatches", 'accept_loss: ["b:neg_zero"]')],
        ),
        (
            "accepted",
            {"copied": tally(losses=Counter(nan=3), lost={("a", "nan"): Loss(3)}), "accept_loss": ["nan"]},
            [],
        ),
        ("of a sync", {"synced": tally(losses=Counter(nan=1))}, [("mismatches", 'accept_loss: ["nan"]')]),
    ],
}

CASES = [(rule, *case) for rule, cases in TABLES.items() for case in cases]


@pytest.mark.parametrize(
    ("rule", "changes", "expected"),
    [(rule, changes, expected) for rule, _, changes, expected in CASES],
    ids=[f"{rule.__name__}: {name}" for rule, name, *_ in CASES],
)
def test_a_rule_finds(
    rule: Callable[[Evidence], Iterable[Finding]], changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    findings = list(rule(evidence(**changes)))
    assert [finding.verdict for finding in findings] == [verdict for verdict, _ in expected]
    for finding, (_, words) in zip(findings, expected, strict=True):
        assert words in finding.reason


def test_every_rule_has_a_table_with_a_finding_and_with_none() -> None:
    assert list(TABLES) == list(RULES)
    for cases in TABLES.values():
        assert {bool(expected) for *_, expected in cases} == {True, False}


@pytest.mark.parametrize(
    ("rule", "name", "changes", "expected"), CASES, ids=[f"{r.__name__}: {n}" for r, n, *_ in CASES]
)
def test_no_finding_is_lost_on_its_way_into_the_report_and_none_is_clean(
    rule: Callable[[Evidence], Iterable[Finding]], name: str, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    row = judge(evidence(**changes))
    for finding in rule(evidence(**changes)):
        assert finding.reason in row.reasons
    if expected:
        assert row.verdict != "clean"
