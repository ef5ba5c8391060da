"""Books that do not close are never called clean, and the report says why."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter
from pathlib import Path

import pytest
from evidences import balance, evidence, tally

from flows.reporting.evidence import Evidence
from flows.reporting.files import write
from flows.reporting.markdown import as_markdown
from flows.reporting.model import Report, RouteReport
from flows.reporting.text import as_text
from flows.reporting.verdict import judge
from flows.verifier.compare import Comparison
from flows.verifier.ledger import Balance
from mappers.losses import Loss
from stores.contract.journal import Tally
from stores.errors import TransientError

CLEAN = evidence()
NOTHING = Tally()
GONE = TransientError("E-RDS-AWAY", "gone")


def test_books_that_close_are_clean() -> None:
    row = judge(CLEAN)
    assert row.verdict == "clean"
    assert row.reasons == []
    assert (row.documents, row.held, row.extra) == (10, 9, 0)


def lossy(*accepted: str, **counts: int) -> RouteReport:
    lost = {("a.b", "neg_zero"): Loss(2, ["n:1", "n:2"]), ("c", "nan"): Loss(3, ["s:x"])}
    kept = tally(losses=Counter({"neg_zero": 2, "nan": 3, **counts}), lost=lost)
    return judge(evidence(copied=kept, accept_loss=accepted))


@pytest.mark.parametrize(
    ("accepted", "left"),
    [
        ((), ["c:nan", "a.b:neg_zero"]),
        (("nan",), ["a.b:neg_zero"]),
        (("a.b",), ["c:nan"]),
        (("a",), ["c:nan"]),
        (("a:nan", "a.b:nan", "a.b.c", "b", "neg"), ["c:nan", "a.b:neg_zero"]),
        (("a.b:neg_zero", "c:nan"), []),
        (("a:neg_zero", "nan"), []),
        (("neg_zero", "nan"), []),
    ],
)
def test_a_loss_is_clean_only_where_the_plan_accepts_it(accepted: tuple[str, ...], left: list[str]) -> None:
    row = lossy(*accepted)
    assert row.verdict == ("mismatches" if left else "clean")
    assert [f"{loss.field}:{loss.kind}" for loss in row.lost if not loss.accepted] == left
    assert len(row.reasons) == len(left)
    for key, reason in zip(left, row.reasons, strict=True):
        assert f'accept_loss: ["{key}"]' in reason


def test_a_loss_that_was_counted_without_a_field_is_not_clean_either() -> None:
    row = lossy("neg_zero", "c", nan=4)
    assert row.verdict == "mismatches"
    assert [(loss.field, loss.kind, loss.count) for loss in row.lost if not loss.accepted] == [("", "nan", 1)]
    assert 'accept_loss: ["nan"]' in row.reasons[0]


def test_a_loss_does_not_hide_that_the_books_do_not_close() -> None:
    kept = tally(losses=Counter(nan=1))
    row = judge(evidence(copied=kept, comparison=Comparison(tally(), balance(held=8))))
    assert ["do not close" in reason for reason in row.reasons] == [True, False]


def test_losses_have_their_fields_on_the_terminal_and_in_markdown() -> None:
    began = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
    lossy_report = Report("shop", "f" * 64, began, began, [lossy("nan")])
    for text in (as_text(lossy_report), as_markdown(lossy_report)):
        assert "lost 3 x nan at c (accepted; such as s:x)" in text
        assert "lost 2 x neg_zero at a.b (not accepted; such as n:1, n:2)" in text


def test_an_empty_collection_is_clean_only_where_the_plan_says_so() -> None:
    empty = evidence(
        copied=NOTHING, source_counts={}, comparison=Comparison(NOTHING, Balance(extra=0)), allow_empty=True
    )
    assert judge(empty).verdict == "clean"


def test_a_route_whose_records_have_all_expired_proves_nothing() -> None:
    """A wrong date field would otherwise empty a target and be called clean."""
    gone = evidence(comparison=Comparison(tally(), balance(held=0, expired=9)))
    assert judge(gone).verdict == "failed"
    assert "all 9 records have expired" in judge(gone).reasons[0]
    assert judge(dataclasses.replace(gone, allow_empty=True)).verdict == "clean"


def test_expired_records_are_accounted_for() -> None:
    row = judge(evidence(comparison=Comparison(tally(), balance(held=6, expired=3))))
    assert (row.verdict, row.expired) == ("clean", 3)


def test_a_route_that_was_never_copied_is_judged_by_what_verification_read() -> None:
    row = judge(evidence(copied=None, backfill_s=None))
    assert row.verdict == "clean"
    assert (row.figures, row.read, row.copied, row.records) == ("none", 0, 0, 0)
    assert row.compared == {"documents": 10, "dropped": 1, "rejected": 0, "records": 9}
    assert row.backfill_s is None


def report(*routes: Evidence) -> Report:
    began = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
    return Report("shop", "f" * 64, began, began + dt.timedelta(seconds=48), [judge(route) for route in routes])


def test_the_worst_route_decides_and_a_report_about_nothing_fails() -> None:
    missing = evidence(comparison=Comparison(tally(), balance(held=8, missing=1)))
    assert report(CLEAN).exit_code == 0
    assert report(CLEAN, missing).verdict == "mismatches"
    assert report(CLEAN, missing).exit_code == 1
    assert report(evidence(failures=[GONE], comparison=None), missing).exit_code == 3
    assert report().exit_code == 3


GOLDEN = """\
route   target  documents  read  dropped  rejected  records  held  expired  missing  differs  extra  collides  losses  backfill  verify  verdict
orders  redis          10    10        1         0        9     9        0        0        0      0         0       0     1.2 s   0.5 s  clean
carts   redis          10    10        1         0        9     8        0        1        0      0         0       0     1.2 s   0.5 s  mismatches
logs    redis          10    10        1         0        9     -        -        -        -      -         -       0     1.2 s       -  clean
total                  30    30        3         0       27     -        -        -        -      -         -       0                    2 of 3 clean
carts: 1 missing: the source has them, the target does not
carts: missing at carts:n:1

2 of 3 routes clean, 1 with mismatches. The targets do not hold exactly what the source and the plan say they should: carts.
next: Do not retire the source yet.
next: carts: If the source was written to meanwhile, bring that over with 'offramp sync PLAN --route carts'. Copy again what was found missing or different with 'offramp repair PLAN --route carts', then run 'offramp verify PLAN --route carts'.
next: logs: Run 'offramp verify PLAN --level full --route logs' before the source is retired.

verdict mismatches: 3 routes in 48.0 s; not verified: logs"""


def three() -> Report:
    lost = balance(held=8, missing=1, samples={"missing": ["carts:n:1"]})
    return report(
        CLEAN,
        evidence(route="carts", comparison=Comparison(tally(), lost)),
        evidence(route="logs", level="none", comparison=None, verify_s=None),
    )


def test_the_text_is_this() -> None:
    assert as_text(three()) == GOLDEN


def test_json_keeps_its_keys_and_says_null_for_what_was_not_checked(tmp_path: Path) -> None:
    paths = write(three(), tmp_path / "new")
    kept = json.loads(Path(paths[0]).read_text(encoding="utf-8"))
    first = {"version", "plan", "fingerprint", "started", "finished", "verdict", "routes"}
    assert set(kept) == first | {
        *("command", "elapsed_s", "source", "versions", "history", "servers", "plan_verdict", "others")
    }
    assert kept["version"] == 1
    assert kept["started"] == "2026-11-23T08:00:00+00:00"
    promised = (
        "route collection target documents read dropped rejected records held missing differs extra collides losses"
    )
    assert set(promised.split()) | {"verdict", "backfill_s", "verify_s"} <= set(kept["routes"][0])
    assert kept["routes"][2]["held"] is None
    assert kept["routes"][2]["extra"] is None


def test_markdown_has_the_same_numbers_and_survives_odd_names() -> None:
    odd = dataclasses.replace(three(), plan="a|b")
    page = as_markdown(odd)
    assert page.startswith("# a&#124;b: mismatches")
    assert "| carts | redis | 10 | 10 | 1 | 0 | 9 | 8 | 0 | 1 | 0 | 0 | 0 | 0 | 1.2 s | 0.5 s | mismatches |" in page
    assert "carts:n:1" in page
