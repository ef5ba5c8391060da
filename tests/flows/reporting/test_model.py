"""report.json read back is the report it was written from, whatever stands in it."""

from __future__ import annotations

import datetime as dt

from flows.connect.progress import Throughput
from flows.reporting.model import (
    FieldLoss,
    Following,
    OtherRoute,
    Pace,
    PastRun,
    Report,
    RouteReport,
    ServerSeen,
    SourceSeen,
)
from flows.verifier.field_differences import DifferenceSamples, FieldDifference


def test_a_report_with_every_key_set_is_the_same_when_read_back() -> None:
    row = RouteReport(
        *("r", "c", "t", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, {"rounded": 1}, "mismatches", "sample", 1.5, 2.5),
        reasons=["why"],
        samples={"extra": ["a\udce9"]},
        lost=[FieldLoss("f", "rounded", 1, ["n:1"], accepted=True)],
        place="here",
        pace=Pace(1, 1.5, 2.5, None),
        sync=Following("2026-01-01T00:00:00+00:00", 1.5, 2.5, None, 1, 2, 3),
        source_keeps_s=1.5,
        unsettled=1,
        inconclusive=2,
        sampled={"drawn": 5, "bound": 0.25, "beside": None},
        verification={"pass": "p", "resumed": 1},
        counted_by="listing",
        notes=["note"],
        accepted=1,
        repairs=[{"command": "repair", "done": "copied", "kind": "missing", "count": 1, "last": "2026"}],
        accepted_rejects=[{"stage": "map", "code": "E", "by": "me", "why": "so", "at": "2026", "documents": 1}],
        differing=DifferenceSamples(
            1, {"value": 1}, [FieldDifference("a", "f", "value", "int", "int", "str", None, "x")]
        ),
        sizes={"64": 1},
        rejects={"E-MAP-VALUE": 1},
        throughput=[Throughput("copy", 1.5, 2.0, [1, 2])],
        not_checked=["that"],
        codes=["E-LEASE-HELD"],
        location="table t",
        figures="sample",
        compared={"documents": 1, "records": 2},
        warnings=["a key is left"],
        canary="found all of 10",
    )
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    past = PastRun("verify", "2026", "2027", "clean", 1, 1.5, {"r": "clean"}, "ab")
    seen = SourceSeen("d", "8", "1", "2", "a:27017")
    servers = [ServerSeen("redis", ["redis://a"], "Redis 7")]
    others = [OtherRoute("o", row, "verify", "2026", "written to"), OtherRoute("never")]
    report = Report("p", "f", now, now, [row], "verify", seen, {"python": "3"}, 1.5, [past], servers, others)
    back = Report.from_bytes(report.as_bytes())
    assert back == report
    assert back.as_bytes() == report.as_bytes()
