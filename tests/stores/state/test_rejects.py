"""Rejects on record: one for a document and stage, kept with what is needed to try again, accepted by people."""

from __future__ import annotations

import random

import bson
import pytest
from states import begun, rows, tally

from mappers.documents.extended_json import from_extended, to_extended
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.rejects import ACCEPTED, OPEN, RejectCount, RejectFilter
from stores.state.state import State

ROUTE = "orders"


@pytest.fixture
def lease(state: State) -> Lease:
    held = state.leases.acquire(ROUTE)
    state.partitions.begin(held, {}, "", "", [Partition(0)])
    return held


def reject(number: int, stage: str = "map", code: str = "E-A", field: str = "f", reason: str = "r") -> Reject:
    return Reject(f"n:{number}", stage, code, field, reason, bson.encode({"_id": number, "secret": "value"}))


def put(state: State, lease: Lease, *some: Reject, documents: bool = False) -> None:
    state.journal(lease, documents=documents).checkpoint(0, b"p", Tally(), some)


def test_a_reject_keeps_its_id_in_bson_and_its_document_only_where_that_is_allowed(state: State, lease: Lease) -> None:
    room = state.rejects
    put(state, lease, reject(1))
    [kept] = room.of_route(ROUTE)
    assert (kept.id, kept.position, kept.document, kept.attempts) == ("n:1", bson.encode({"_id": 1}), None, 1)
    assert "value" not in repr(kept)
    put(state, lease, reject(1, reason="another time"), documents=True)
    [again] = room.of_route(ROUTE)
    assert (again.attempts, again.first, again.reason) == (2, kept.first, "another time")
    assert again.last >= kept.last
    assert again.document is not None
    assert from_extended(again.document) == bson.encode({"_id": 1, "secret": "value"})
    put(state, lease, reject(1))  # The plan allows it no longer.
    assert [one.document for one in room.of_route(ROUTE)] == [None]


def test_a_document_that_no_decoder_reads_is_kept_all_the_same(state: State, lease: Lease) -> None:
    broken = b"\x0c\x00\x00\x00\x10_id\x00\x01"
    plain = b"\x0e\x00\x00\x00\x10_id\x00\x01\x00\x00\x00\x00"
    nameless = bson.encode({"n": 1})
    some = [Reject(f"unknown:{n}", "decode", "E", "", "", raw) for n, raw in enumerate((broken, plain, nameless))]
    put(state, lease, *some, documents=True)
    kept = list(state.rejects.of_route(ROUTE))
    assert [from_extended(one.document or "") for one in kept] == [broken, plain, nameless]
    assert [one.position for one in kept] == [None, plain, None]
    assert to_extended(plain) == '{"_id": {"$numberInt": "1"}}'


def test_what_is_accepted_counts_apart_and_opens_again_for_another_cause(state: State, lease: Lease) -> None:
    room = state.rejects
    put(state, lease, reject(1), reject(2), reject(3, stage="write", field=""), reject(4, stage="write", field=""))
    assert room.count(ROUTE) == RejectCount(open=4, accepted=0, open_refused=2, accepted_refused=0)
    assert room.accept(lease, RejectFilter(code="E-B"), "anna", "test data") == 0
    assert room.accept(lease, RejectFilter(id="n:1"), "anna", "test data") == 1
    assert room.accept(lease, RejectFilter(stage="write"), "bert", "known") == 2
    assert room.accept(lease, RejectFilter(stage="write"), "carl", "too late") == 0
    assert room.count(ROUTE) == RejectCount(open=1, accepted=3, open_refused=0, accepted_refused=2)
    assert [one.id for one in room.of_route(ROUTE, OPEN)] == ["n:2"]
    said = [(one.stage, one.by, one.why, one.documents, one.example) for one in room.acceptances(ROUTE)]
    assert sorted(said) == [("map", "anna", "test data", 1, "n:1"), ("write", "bert", "known", 2, "n:3")]
    put(state, lease, reject(1, reason="tried again"))
    assert room.is_accepted(ROUTE, reject(1))
    assert not room.is_accepted(ROUTE, reject(1, field="other"))
    assert not room.is_accepted(ROUTE, reject(2))
    put(state, lease, reject(1, field="other"))
    assert room.count(ROUTE).open == 2
    assert room.reopen(lease, RejectFilter(id="n:3")) == 1
    assert [one.id for one in room.of_route(ROUTE, ACCEPTED)] == ["n:4"]


def test_a_document_is_open_while_any_of_its_rejects_is(state: State, lease: Lease) -> None:
    put(state, lease, reject(1), reject(1, stage="write"))
    state.rejects.accept(lease, RejectFilter(stage="map"), "anna", "why")
    assert state.rejects.count(ROUTE) == RejectCount(1, 0, 1, 0)


def test_the_commonest_cause_comes_first(state: State, lease: Lease) -> None:
    put(state, lease, reject(9, reason="of 9"), reject(3, reason="of 3"), reject(1, code="E-B"))
    first, second = state.rejects.causes(ROUTE)
    assert (first.code, first.documents, first.example, first.reason) == ("E-A", 2, "n:3", "of 3")
    assert second.code == "E-B"


def test_rejects_are_counted_by_code(state: State, lease: Lease) -> None:
    put(state, lease, reject(0), reject(1, code="E-B"), reject(2, code="E-B"))
    assert state.rejects.count_by_code(ROUTE) == {"E-A": 1, "E-B": 2}
    assert state.rejects.count_by_code("users") == {}


@pytest.mark.parametrize("most_in_memory", [10, 5, 4, 0])
def test_refused_documents_are_looked_up_also_where_they_are_too_many_for_memory(
    most_in_memory: int, state: State, lease: Lease
) -> None:
    assert not state.rejects.refused(ROUTE)
    put(state, lease, *(reject(number, stage="write") for number in range(5)), reject(7))
    refused = state.rejects.refused(ROUTE, most_in_memory=most_in_memory)
    assert refused
    assert [number for number in range(9) if f"n:{number}" in refused] == [0, 1, 2, 3, 4]


def test_who_lost_the_lease_neither_accepts_nor_halts(state: State, lease: Lease) -> None:
    put(state, lease, reject(1))
    state.leases.release(lease)
    state.leases.acquire(ROUTE)
    room = state.rejects
    for act in (
        lambda: room.accept(lease, OPEN, "anna", "why"),
        lambda: room.reopen(lease, ACCEPTED),
        lambda: room.replace(lease, ["n:1"], []),
        lambda: room.halt(lease, "why"),
    ):
        with pytest.raises(LeaseLost):
            act()
    assert (room.count(ROUTE).open, room.halt_reason(ROUTE)) == (1, "")


def test_a_halt_lasts_until_the_route_is_gone_on_with(state: State, lease: Lease) -> None:
    room = state.rejects
    room.halt(lease, "too many")
    room.halt(lease, "still too many")
    assert room.halt_reason(ROUTE) == "still too many"
    room.lift_halt(lease)
    assert room.halt_reason(ROUTE) == ""


def test_a_reject_that_is_replayed_is_one_row_with_its_attempts(state: State, url: str) -> None:
    lease = begun(state)
    for reason in ("first", "second", "third"):
        state.partitions.checkpoint(lease, 0, b"p", tally(1), [Reject("n:1", "map", "E-MAP-VALUE", "a", reason)])
    state.partitions.checkpoint(lease, 0, b"p", tally(1), [Reject("n:1", "write", "413", "", "too large")])
    kept = [(one.id, one.stage, one.code, one.field, one.reason) for one in state.rejects.of_route("orders")]
    assert kept == [
        ("n:1", "map", "E-MAP-VALUE", "a", "third"),
        ("n:1", "write", "413", "", "too large"),
    ]
    assert rows(url, "SELECT stage, attempts FROM rejects ORDER BY stage") == [("map", 3), ("write", 1)]


def test_documents_copied_again_have_exactly_the_rejects_of_that_time(state: State, url: str) -> None:
    lease = begun(state)
    journal = state.journal(lease)
    kept = [Reject(f"n:{number}", stage, "E", "", "r") for number in range(4) for stage in ("map", "write")]
    state.partitions.checkpoint(lease, 0, None, tally(8), kept)
    again = Reject("n:2", "map", "E-OTHER", "", "r")
    journal.replace_rejects(["n:1", "n:2", "n:9"], [again, Reject("n:9", "map", "E", "", "r")])
    found = [(one.id, one.stage, one.code) for one in state.rejects.of_route("orders")]
    assert found == [
        *(("n:0", "map", "E"), ("n:0", "write", "E"), ("n:2", "map", "E-OTHER")),
        *(("n:3", "map", "E"), ("n:3", "write", "E"), ("n:9", "map", "E")),
    ]
    assert rows(url, "SELECT attempts FROM rejects WHERE id = 'n:2'") == [(2,)]
    state.leases.release(lease)
    state.leases.acquire("orders")
    with pytest.raises(LeaseLost):
        journal.replace_rejects(["n:0"], [])


def test_ids_that_differ_after_a_nul_or_in_case_are_two_rejects(state: State) -> None:
    lease = begun(state)
    ids = ["s:a\0b", "s:a\0c", "s:A\0b", "s:a", "s:é", "s:e\u0301"]
    state.partitions.checkpoint(lease, 0, b"p", tally(6), [Reject(own, "map", "E", "", "r") for own in ids])
    assert sorted(one.id for one in state.rejects.of_route("orders")) == sorted(ids)


def test_ids_of_any_length_are_told_apart_and_found(state: State) -> None:
    """Random, so that no database makes them shorter; two of them differ at the end alone."""
    lease = begun(state)
    long = random.Random(1).randbytes(50_000).hex() + "\\\0'"
    ids = [f"s:{long}a", f"s:{long}b", "s:short"]
    for _ in range(2):
        state.partitions.checkpoint(lease, 0, b"p", tally(3), [Reject(id_, "write", "E", "", "r") for id_ in ids])
    assert [(each.id, each.attempts) for each in state.rejects.of_route("orders")] == [(id_, 2) for id_ in ids]
    assert [each.id for each in state.rejects.of_route("orders", RejectFilter(id=ids[1]))] == [ids[1]]
    refused = state.rejects.refused("orders", most_in_memory=0)
    assert [id_ in refused for id_ in (*ids, f"s:{long}")] == [True, True, True, False]
    state.journal(lease).replace_rejects(ids[:1], [])
    assert [each.id for each in state.rejects.of_route("orders")] == ids[1:]
