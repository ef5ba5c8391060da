"""Known damage is found in every target, the scratch area is gone afterwards, and a blind comparator is found out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from elasticsearch import Elasticsearch
from msgspec.structs import replace
from plans import Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis

from flows.plan.load import load
from flows.plan.model import Route
from flows.verifier import compare, ledger, recheck
from flows.verifier.canary import canary
from flows.verifier.ledger import Entry, Finding, Mismatch
from flows.verifier.part_ledger import PartLedger
from mappers.contract import Record
from stores.errors import PermanentError

ROUTES: Mapping[str, Mapping[str, Any]] = {
    "dynamodb": {"use_case": "entity"},
    "redis": {"use_case": "session"},
    "elasticsearch": {"use_case": "search"},
}


@pytest.fixture
def route(stores: Stores, unique: str, tmp_path: Path) -> Callable[[str], Route]:
    def opened(target: str) -> Route:
        path = write_plan(tmp_path, stores, "none", {unique: ROUTES[target]})
        return load(path).routes[unique]

    return opened


def left(stores: Stores) -> list[str]:
    """What lies in scratch areas."""
    with Redis.from_url(stores.redis) as redis:
        keys = [key.decode() for key in redis.scan_iter("offramp-canary*")]
    tables = boto3.client("dynamodb", endpoint_url=stores.dynamodb).list_tables()["TableNames"]
    with Elasticsearch(stores.elasticsearch) as elastic:
        indices = list(elastic.indices.get(index="*", expand_wildcards="all"))
    return [name for name in (*keys, *tables, *indices) if "canary" in name]


@pytest.mark.parametrize("target", list(ROUTES))
def test_every_kind_of_damage_is_found_and_nothing_is_left(
    target: str, route: Callable[[str], Route], stores: Stores
) -> None:
    told = canary(route(target))
    kinds = {"changed type", "truncated text", "swapped array order", "stale version", "lost field", "foreign field"}
    kinds |= {"missing", "extra", "collided ids"} | ({"stale TTL"} if target != "elasticsearch" else set())
    assert told.startswith(f"canary: found all of {len(kinds)} kinds")
    assert all(kind in told for kind in kinds)
    assert left(stores) == []


def without(*findings: Finding) -> Callable[[pytest.MonkeyPatch], None]:
    def blind(patch: pytest.MonkeyPatch) -> None:
        real = PartLedger.expect

        def expect(self: PartLedger, same: Sequence[str], others: Sequence[Entry]) -> None:
            unseen = [one.address for one in others if one.finding in findings]
            real(self, [*same, *unseen], [one for one in others if one.finding not in findings])

        patch.setattr(PartLedger, "expect", expect)

    return blind


def all_the_same(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(compare, "same_record", lambda found, record: True)


def settled_too_soon(patch: pytest.MonkeyPatch) -> None:
    def call(self: recheck.Recheck, seeming: Sequence[Mismatch]) -> Sequence[Mismatch]:
        return [one._replace(kind="same") for one in seeming]

    patch.setattr(recheck.Recheck, "__call__", call)


def not_listed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PartLedger, "list", lambda self, addresses: None)
    patch.setattr(PartLedger, "list_again", lambda self, addresses: None)


def no_collisions(patch: pytest.MonkeyPatch) -> None:
    def blinded(real: Callable[[ledger.Balance, Mismatch], None]) -> Callable[[ledger.Balance, Mismatch], None]:
        def note(self: ledger.Balance, mismatch: Mismatch) -> None:
            if mismatch.kind != "collides":
                real(self, mismatch)

        return note

    for noting in (ledger.Balance.add, ledger.Balance.sample):
        patch.setattr(ledger.Balance, noting.__name__, blinded(noting))


def canonical(change: Callable[[bytes], bytes]) -> Callable[[pytest.MonkeyPatch], None]:
    """Blind the canonical form of the records to something, as equal bytes would not come to it."""

    def blind(patch: pytest.MonkeyPatch) -> None:
        def same(found: Record, record: Record) -> bool:
            return change(found.canonical()) == change(record.canonical())

        patch.setattr(compare, "same_record", same)

    return blind


def without_expiry(patch: pytest.MonkeyPatch) -> None:
    def same(found: Any, record: Any) -> bool:
        return bool(replace(found, expires_at_ms=None) == replace(record, expires_at_ms=None))

    patch.setattr(compare, "same_record", same)


BLIND: Mapping[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "what is missing": (without(Finding.MISSING), "missing"),
    "what differs": (without(Finding.DIFFERS), "changed type"),
    "contents": (all_the_same, "stale version"),
    "the second look": (settled_too_soon, "extra"),
    "what is listed": (not_listed, "extra"),
    "collisions": (no_collisions, "collided ids"),
    "the order of arrays": (canonical(lambda text: bytes(sorted(text))), "swapped array order"),
    "types": (canonical(lambda text: text.replace(b'"5"', b"5")), "changed type"),
    "the ends of texts": (canonical(lambda text: re.sub(rb"a text that is long[a-z ]*", b"", text)), "truncated text"),
    "expiry": (without_expiry, "stale TTL"),
}


@pytest.mark.parametrize("branch", list(BLIND))
def test_a_verification_that_is_blind_to_something_is_found_out(
    branch: str, route: Callable[[str], Route], stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind, kind = BLIND[branch]
    chosen = route("redis")
    with monkeypatch.context() as patch:
        blind(patch)
        with pytest.raises(PermanentError, match="not to be trusted") as told:
            canary(chosen)
    assert told.value.code == "E-VERIFY-CANARY"
    assert kind in told.value.message
    with Redis.from_url(stores.redis) as redis:
        assert list(redis.scan_iter("offramp-canary*")) == []


def test_a_verdict_does_not_count_without_its_canary(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.things.insert_many([{"_id": number} for number in range(20)])
    path = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "session", "key": f"{unique}:{{_id}}"}})
    assert offramp("backfill", path, folder=tmp_path).code == 0
    trusted = offramp("verify", path, "--canary", "--json", folder=tmp_path)
    assert trusted.code == 0
    found = "canary: found all of 10 kinds of damage planted among 22 documents in 2 scratch areas of redis"
    assert any(note.startswith(found) for note in trusted.route("things")["notes"])
    assert trusted.route("things")["canary"].startswith(found)
    shown = offramp("verify", path, "--canary", folder=tmp_path)
    assert shown.err.index(found) < shown.err.index("verify 0 %")
    assert found in shown.out
    for report in ("report.html", "report.md"):
        assert found in (tmp_path / ".offramp" / "reports" / "plan" / report).read_text(), report
    with monkeypatch.context() as patch:
        all_the_same(patch)
        assert offramp("verify", path, "--json", folder=tmp_path).code == 0
        refused = offramp("verify", path, "--canary", "--json", folder=tmp_path)
    row = refused.route("things")
    assert (refused.code, row["verdict"], row["verified"]) == (3, "failed", "none")
    assert "E-VERIFY-CANARY" in row["reasons"][0]
    with monkeypatch.context() as patch:
        all_the_same(patch)
        assert "E-VERIFY-CANARY" in offramp("verify", path, "--canary", folder=tmp_path).err
