"""Positions, sweeps and scans in the state: whole or not at all, and only by the run that holds the lease."""

from __future__ import annotations

import random

import pytest

from flows.replication.sync import oldest
from stores.contract.changes import StreamPosition
from stores.contract.source import Partition
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.state import State


def test_a_position_is_saved_with_what_was_done_up_to_it(state: State, lease: Lease) -> None:
    syncs = state.sync_positions
    assert syncs.get("orders") is None
    syncs.begin(lease, StreamPosition(7 << 32 | 1, b"first"))
    begun = syncs.get("orders")
    assert begun is not None
    assert (begun.began, begun.position.token, begun.synced) == (7 << 32 | 1, b"first", False)
    for number in (1, 2):
        syncs.save(lease, StreamPosition(2**62 + number, b"later"), 0.5, events=3, applied=2, deleted=number)
    syncs.halt(lease, "was dropped")
    now = syncs.get("orders")
    assert now is not None
    assert (now.began, now.position, now.synced) == (7 << 32 | 1, StreamPosition(2**62 + 2, b"later"), True)
    assert (now.events, now.applied, now.deleted, now.halted) == (6, 4, 3, "was dropped")
    syncs.begin(lease, StreamPosition(9))
    anew = syncs.get("orders")
    assert anew is not None
    assert (anew.began, anew.events, anew.halted, anew.synced) == (9, 0, "", False)


def test_a_run_that_was_overtaken_records_nothing(state: State, lease: Lease) -> None:
    syncs, scans = state.sync_positions, state.document_hashes
    syncs.begin(lease, StreamPosition(1))
    state.leases.release(lease)
    state.leases.acquire("orders")
    before = syncs.get("orders")
    for write in (
        lambda: syncs.save(lease, StreamPosition(2), 0, events=1, applied=1, deleted=1),
        lambda: syncs.begin(lease, StreamPosition(2)),
        lambda: syncs.halt(lease, "why"),
        lambda: syncs.request_sweep(lease),
        lambda: scans.save(lease, [(b"id", b"hash")], 1),
        lambda: scans.delete(lease, [b"id"]),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert syncs.get("orders") == before
    assert not syncs.sweep_due("orders")
    assert scans.last_pass("orders") == 0


def test_a_route_that_is_forgotten_owes_a_sweep_until_it_is_swept(state: State, lease: Lease) -> None:
    syncs = state.sync_positions
    state.partitions.forget(lease)
    assert not syncs.sweep_due("orders")  # It never wrote.
    state.partitions.begin(lease, {}, "source", "target", [Partition(0)])
    syncs.begin(lease, StreamPosition(1))
    state.partitions.forget(lease)
    assert syncs.get("orders") is None
    state.partitions.forget(lease)
    assert syncs.sweep_due("orders")
    syncs.record_sweep(lease)
    assert not syncs.sweep_due("orders")


def test_what_a_pass_did_not_see_is_gone(state: State, lease: Lease) -> None:
    scans = state.document_hashes
    ids = [number.to_bytes(3, "big") for number in range(1200)]
    scans.save(lease, [(at, b"old") for at in ids], 1)
    scans.save(lease, [(at, b"new") for at in ids[::2]], 2)
    assert scans.last_pass("orders") == 2
    assert scans.known("orders", [ids[0], ids[1], b"none"]) == {ids[0]: b"new", ids[1]: b"old"}
    gone = [at for some in scans.missing("orders", 2) for at in some]
    assert gone == ids[1::2]
    for some in scans.missing("orders", 2):
        scans.delete(lease, some)
    assert [*scans.missing("orders", 2)] == []
    assert len(scans.known("orders", ids)) == 600


def test_ids_of_any_length_are_told_apart_whatever_a_pass_does_with_them(state: State, lease: Lease) -> None:
    """Random, so that no database makes them shorter; ids of one length differ at their end alone."""
    scans = state.document_hashes
    long = random.Random(1).randbytes(50_000)
    ids = sorted(
        long[:length] + bytes([end]) for length in (0, 998, 999, 1000, 1031, 2600, 50_000) for end in range(90)
    )
    for number in (1, 2):
        scans.save(lease, [(at, b"%d" % number + at[-1:]) for at in (ids, ids[::2])[number - 1]], number)
    assert scans.known("orders", [*ids, long]) == {at: b"21"[n % 2 :][:1] + at[-1:] for n, at in enumerate(ids)}
    gone = [at for some in scans.missing("orders", 2) for at in some]
    assert (len(gone), sorted(gone)) == (len(ids) // 2, ids[1::2])
    scans.delete(lease, ids[1::4])
    assert sorted(scans.known("orders", ids)) == sorted({*ids} - {*ids[1::4]})


def test_routes_of_one_stream_begin_where_the_one_furthest_behind_stands() -> None:
    early, late = StreamPosition(1 << 32, b"a"), StreamPosition(2 << 32, b"b")
    assert oldest([late, early]) == early
    assert oldest([early, early]) == early
    # Of two tokens of one time nothing tells the earlier one: all of that time is told again.
    assert oldest([early, StreamPosition(1 << 32, b"c"), late]) == StreamPosition(1 << 32)
