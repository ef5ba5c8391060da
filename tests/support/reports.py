"""Reports that hold everything a report can hold, for tests of the forms it takes."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

from flows.connect.progress import Throughput
from flows.reporting.model import (
    FieldLoss,
    OtherRoute,
    Pace,
    PastRun,
    Report,
    RouteReport,
    ServerSeen,
    SourceSeen,
)
from flows.verifier.field_differences import DifferenceSamples, FieldDifference

STARTED = dt.datetime(2026, 11, 23, 9, 0, tzinfo=dt.UTC)
_BEGAN = STARTED.timestamp()

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![i](http://evil/x.png)",
    "[click](javascript:alert(1))",
    "[ref]: http://evil",
    "<http://evil>",
    "http://evil www.evil.example a@evil.example",
    "a | b | c",
    "a\\|b",
    "`code` ``` `<b>`",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "| a | b |\n| --- | --- |\n| c | d |",
    "line\n\n# verdict: clean",
    "**bold** _it_ __b__ ~~gone~~ &lt; &#60;",
    "\x1b[31m\u202e",
    "a`",
    "\\",
    "$x$",
    " ",
    '"\' onmouseover=alert(1) x="',
    "</title></style></script></svg><b>",
    "]]>--><!--",
    "",
)
"""Texts that are markup where they are not escaped, or end what surrounds them."""


def row(name: str, **changes: Any) -> RouteReport:
    """Return the row of a clean route, changed so."""
    keys: dict[str, Any] = {
        "route": name,
        "collection": name,
        "target": "redis",
        "documents": 52_310,
        "read": 52_310,
        "dropped": 112,
        "rejected": 0,
        "copied": 52_198,
        "records": 52_198,
        "held": 52_198,
        "missing": 0,
        "differs": 0,
        "extra": 0,
        "collides": 0,
        "expired": 0,
        "unsettled": 0,
        "inconclusive": 0,
        "losses": {},
        "verdict": "clean",
        "verified": "full",
        "backfill_s": 8.4,
        "verify_s": 6.1,
        "sizes": {"256": 1200, "512": 18_110, "1024": 30_000, "2048": 2_980, "16384": 20},
        "throughput": [
            Throughput(
                "copy", _BEGAN, 0.5, [0, 1800, 3200, 3300, 3350, 3100, 3400, 3380, 3300, 3290, 3350, 3340, 3400]
            ),
            Throughput(
                "verify", _BEGAN + 9, 0.5, [2000, 4100, 4300, 4350, 4400, 4380, 4290, 4200, 4310, 4400, 4300, 4280]
            ),
        ],
        "not_checked": ["Unique indexes of the source (email_1): redis does not enforce them."],
        "location": f"keys {name}:*",
    }
    return RouteReport(**{**keys, **changes})


def damaged(*, show_values: bool = False) -> RouteReport:
    """Return the row of a route that has everything wrong with it."""
    values = {"expected": '"2026-01-01T00:00:00.123Z"', "found": '"2026-01-01T00:00:00Z"'} if show_values else {}
    return row(
        "orders <b>&amp;",
        target="dynamodb",
        documents=120_010,
        read=120_000,
        rejected=2,
        dropped=0,
        copied=119_997,
        records=359_994,
        held=359_980,
        missing=11,
        differs=4,
        extra=None,
        collides=1,
        losses={"neg_zero": 31, "name_path": 7},
        verdict="mismatches",
        backfill_s=41.2,
        verify_s=18.9,
        place="orders -> orders-20261123",
        reasons=["11 missing: the source has them, the target does not", "the books do not close: 120000 read"],
        samples={"missing": ["s:1", "s:`2`|\x1b[31m"], "collides": ["\udc80"]},
        lost=[
            FieldLoss("items.price", "neg_zero", 31, ["n:1", "n:2"], accepted=False),
            FieldLoss("", "name_path", 7, [], accepted=True),
        ],
        pace=Pace(throttled=17, waited_s=61.5, source_waited_s=0.0, rate=880.0),
        rejects={"E-DDB-SIZE": 1, "E-MAP-KEY": 1},
        differing=DifferenceSamples(
            4,
            {"precision": 1, "order": 1, "type": 2},
            [
                FieldDifference('{"_id":{"S":"o:1"}}', "created_at", "precision", "date", "S", "S", **values),
                FieldDifference('{"_id":{"S":"o:2"}}', "tags", "order", "array", "array", "array"),
                FieldDifference('{"_id":{"S":"o:3"}}', "total", "type", "decimal", "N", "S"),
                FieldDifference('{"_id":{"S":"o:4"}}', "customer.address.zip", "type", "string", "S", "N"),
            ],
        ),
        not_checked=["Records that no document maps to: they were not looked for."],
    )


def whole(*routes: RouteReport) -> Report:
    """Return a report of these routes, with all that stands around its books."""
    return Report(
        plan="shop & co",
        fingerprint="3f9a1c2b7d",
        started=STARTED,
        finished=STARTED + dt.timedelta(seconds=71.5),
        routes=routes or (row("sessions"), damaged()),
        command="backfill",
        elapsed_s=71.5,
        source=SourceSeen(
            "shop",
            "8.0.4",
            "2026-11-23T08:59:59+00:00 (1795424399:7)",
            "2026-11-23T09:01:11+00:00 (1795424471:2)",
            "db1:27017, db2:27017",
        ),
        servers=[
            ServerSeen("redis", ["redis://cache:6379"], "Valkey 9.1.2"),
            ServerSeen("dynamodb", ["eu-west-1"], "DynamoDB in eu-west-1"),
        ],
        versions={"python": "3.11.7", "offramp": "0.1.0", "pymongo": "4.9"},
        history=[
            PastRun(
                "verify",
                "2026-11-22T20:00:00.000001+00:00",
                "2026-11-22T20:01:00+00:00",
                "clean",
                52_310,
                None,
                {},
                "ab" * 32,
            ),
            PastRun("backfill", "2026-11-22T19:00:00.000001+00:00"),
        ],
    )


def of_text(text: str) -> Report:
    """Return a report in which this is every text that a plan, a store, a document or another user may have written.

    Who may write to the state may change the reports there.
    """

    def replaced(row: Any, **others: Any) -> Any:
        own = {each.name for each in dataclasses.fields(row) if isinstance(getattr(row, each.name), str)}
        return dataclasses.replace(row, **{**dict.fromkeys(own, text), **others})

    row = damaged(show_values=True)
    assert row.differing is not None
    differing = [replaced(sample, expected=text, found=text) for sample in row.differing.samples]
    row = replaced(
        row,
        verdict=row.verdict,
        verified=row.verified,
        reasons=[text],
        samples={"missing": [text], "collides": [text]},
        lost=[replaced(loss, examples=[text]) for loss in row.lost],
        differing=dataclasses.replace(row.differing, samples=differing),
        not_checked=[text],
        rejects={text: 1},
    )
    made = whole(row)
    servers = [ServerSeen(text, [text], text)]
    others = [OtherRoute(text, void=text), OtherRoute(text, row, text, text)]
    own = {"plan": text, "fingerprint": text, "source": replaced(made.source), "versions": {text: text}}
    return dataclasses.replace(made, **own, servers=servers, others=others)
