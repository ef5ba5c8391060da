"""Books that do not close are never called clean, and the report says why."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows.reporting.files import write
from flows.reporting.markdown import as_markdown
from flows.reporting.model import Following, Report, RouteReport
from flows.reporting.text import as_text
from flows.reporting.verdict import Books, settle
from flows.verifier.compare import Comparison
from flows.verifier.counts import Counts
from flows.verifier.ledger import Balance
from mappers.losses import Loss
from stores.contract.journal import Tally
from stores.errors import TransientError


def tally(**changes: Any) -> Tally:
    return dataclasses.replace(
        Tally(read=10, dropped=1, rejected=0, copied=9, records=9, id_types=Counter(int=7, string=3)), **changes
    )


def balance(**changes: Any) -> Balance:
    return dataclasses.replace(Balance(records=9, held=9, extra=0, listed=9), **changes)


CLEAN = Books(
    route="orders",
    collection="orders",
    target="redis",
    backfilled=tally(),
    complete=True,
    source_counts={"int": 7, "string": 3},
    verified="full",
    comparison=Comparison(tally(), balance()),
    counts=None,
    allow_empty=False,
    expires=False,
    backfill_s=1.25,
    verify_s=0.5,
)


def books(**changes: Any) -> Books:
    return dataclasses.replace(CLEAN, **changes)


def test_books_that_close_are_clean() -> None:
    row = settle(CLEAN)
    assert row.verdict == "clean"
    assert row.reasons == []
    assert (row.documents, row.held, row.extra) == (10, 9, 0)


NOTHING = Tally()
GONE = TransientError("E-RDS-AWAY", "gone")

WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("a document unaccounted for", "mismatches", {"backfilled": tally(copied=8)}),
    ("fewer read than the source counts", "mismatches", {"source_counts": {"int": 8, "string": 3}}),
    ("the same sum, other types", "mismatches", {"source_counts": {"int": 8, "string": 2}}),
    ("a type never read", "mismatches", {"source_counts": {"int": 7, "string": 3, "objectId": 1}}),
    ("verification read others", "mismatches", {"comparison": Comparison(tally(id_types=Counter(int=7)), balance())}),
    ("missing", "mismatches", {"comparison": Comparison(tally(), balance(held=8, missing=1))}),
    ("differs", "mismatches", {"comparison": Comparison(tally(), balance(differs=1))}),
    ("extra", "mismatches", {"comparison": Comparison(tally(), balance(extra=1))}),
    ("collides", "mismatches", {"comparison": Comparison(tally(), balance(held=8, collides=1))}),
    ("a record nobody accounts for", "mismatches", {"comparison": Comparison(tally(), balance(held=8))}),
    ("a record too many", "mismatches", {"comparison": Comparison(tally(), balance(held=10))}),
    ("rejects", "rejects", {"backfilled": tally(dropped=0, rejected=1)}),
    ("a store failed", "failed", {"failures": [GONE], "comparison": None}),
    ("a partition not done", "failed", {"complete": False, "comparison": None}),
    (
        "nothing compared",
        "failed",
        {"backfilled": NOTHING, "source_counts": {}, "comparison": Comparison(NOTHING, Balance(extra=0))},
    ),
    ("fewer counted", "mismatches", {"verified": "counts", "comparison": None, "counts": Counts(8, "listing it")}),
    ("more counted", "mismatches", {"verified": "counts", "comparison": None, "counts": Counts(10, "listing it")}),
    ("nothing to count", "failed", {"verified": "counts", "comparison": None, "counts": Counts(None)}),
    (
        "counted nothing",
        "failed",
        {
            "verified": "counts",
            "backfilled": NOTHING,
            "source_counts": {},
            "comparison": None,
            "counts": Counts(0, "listing it"),
        },
    ),
    (
        "never copied, only counted",
        "failed",
        {"verified": "counts", "backfilled": None, "comparison": None, "counts": Counts(9, "listing it")},
    ),
]


@pytest.mark.parametrize(("verdict", "changes"), [wrong[1:] for wrong in WRONG], ids=[wrong[0] for wrong in WRONG])
def test_whatever_does_not_add_up_has_a_verdict_and_a_reason(verdict: str, changes: dict[str, Any]) -> None:
    row = settle(books(**changes))
    assert row.verdict == verdict
    assert row.reasons


def lossy(*accepted: str, **counts: int) -> RouteReport:
    lost = {("a.b", "neg_zero"): Loss(2, ["n:1", "n:2"]), ("c", "nan"): Loss(3, ["s:x"])}
    kept = tally(losses=Counter({"neg_zero": 2, "nan": 3, **counts}), lost=lost)
    return settle(books(backfilled=kept, accept_loss=accepted))


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
    row = settle(books(backfilled=kept, comparison=Comparison(tally(), balance(held=8))))
    assert ["do not close" in reason for reason in row.reasons] == [True, False]


def test_losses_are_told_with_their_fields_as_text_and_as_markdown() -> None:
    began = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
    told = Report("shop", "f" * 64, began, began, [lossy("nan")])
    for text in (as_text(told), as_markdown(told)):
        assert "lost 3 x nan at c (accepted; such as s:x)" in text
        assert "lost 2 x neg_zero at a.b (not accepted; such as n:1, n:2)" in text


def test_an_empty_collection_is_clean_only_where_the_plan_says_so() -> None:
    empty = books(
        backfilled=NOTHING, source_counts={}, comparison=Comparison(NOTHING, Balance(extra=0)), allow_empty=True
    )
    assert settle(empty).verdict == "clean"


def test_a_route_whose_records_have_all_expired_proves_nothing() -> None:
    """A wrong date field would otherwise empty a target and be called clean."""
    gone = books(comparison=Comparison(tally(), balance(held=0, expired=9)))
    assert settle(gone).verdict == "failed"
    assert "all 9 records have expired" in settle(gone).reasons[0]
    assert settle(dataclasses.replace(gone, allow_empty=True)).verdict == "clean"


def test_expired_records_are_accounted_for() -> None:
    row = settle(books(comparison=Comparison(tally(), balance(held=6, expired=3))))
    assert (row.verdict, row.expired) == ("clean", 3)


def test_a_route_that_was_never_copied_is_judged_by_what_verification_read() -> None:
    row = settle(books(backfilled=None, backfill_s=None))
    assert row.verdict == "clean"
    assert row.read == 10
    assert row.backfill_s is None


def report(*routes: Books) -> Report:
    began = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
    return Report("shop", "f" * 64, began, began + dt.timedelta(seconds=48), [settle(route) for route in routes])


def test_the_worst_route_decides_and_a_report_about_nothing_fails() -> None:
    missing = books(comparison=Comparison(tally(), balance(held=8, missing=1)))
    assert report(CLEAN).exit_code == 0
    assert report(CLEAN, missing).verdict == "mismatches"
    assert report(CLEAN, missing).exit_code == 1
    assert report(books(failures=[GONE], comparison=None), missing).exit_code == 3
    assert report().exit_code == 3


GOLDEN = """\
route   target  documents  read  dropped  rejected  records  held  expired  missing  differs  extra  collides  losses  backfill  verify  verdict
orders  redis          10    10        1         0        9     9        0        0        0      0         0       0      1.2s    0.5s  clean
carts   redis          10    10        1         0        9     8        0        1        0      0         0       0      1.2s    0.5s  mismatches
logs    redis          10    10        1         0        9     -        -        -        -      -         -       0      1.2s       -  clean
carts: 1 missing: the source has them, the target does not
carts: missing at carts:n:1

verdict mismatches: 3 routes in 48.0s; not verified: logs"""


def three() -> Report:
    lost = balance(held=8, missing=1, samples={"missing": ["carts:n:1"]})
    return report(
        CLEAN,
        books(route="carts", comparison=Comparison(tally(), lost)),
        books(route="logs", verified="none", comparison=None, verify_s=None),
    )


def test_the_text_is_this() -> None:
    assert as_text(three()) == GOLDEN


def test_json_keeps_its_keys_and_says_null_for_what_was_not_checked(tmp_path: Path) -> None:
    paths = write(three(), tmp_path / "new")
    kept = json.loads(paths[0].read_text(encoding="utf-8"))
    first = {"version", "plan", "fingerprint", "started", "finished", "verdict", "routes"}
    assert set(kept) == first | {"command", "elapsed_s", "source", "versions", "history"}
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
    assert page.startswith("# a\\|b: mismatches")
    assert "| carts | redis | 10 | 10 | 1 | 0 | 9 | 8 | 0 | 1 | 0 | 0 | 0 | 0 | 1.2s | 0.5s | mismatches |" in page
    assert "carts:n:1" in page


def test_a_count_that_moved_by_no_more_than_changed_is_unsettled_and_else_a_mismatch() -> None:
    read = tally(id_types=Counter(int=6, string=4))
    synced = books(
        sync=Following("now", 0.0, 0.0, None, 1, 1, 0), comparison=Comparison(read, balance()), moved={"int": 1}
    )
    assert settle(synced).verdict == "mismatches"  # One string too many, and no string has changed.
    row = settle(dataclasses.replace(synced, moved={"int": 1, "string": 1}))
    assert (row.verdict, "offramp sync" in row.reasons[0]) == ("failed", True)
